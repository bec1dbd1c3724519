package installation

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func namespace(name string, deleted bool) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if deleted {
		now := metav1.Now()
		ns.DeletionTimestamp, ns.Finalizers = &now, []string{"kubernetes"}
	}
	return ns
}

// start watches the namespace "own" until the test ends.
func start(t *testing.T, client *fake.Clientset) *Watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w, err := Watch(ctx, client, "own", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// watching waits for the watcher's first watch.
func watching(t *testing.T, client *fake.Clientset) {
	t.Helper()
	for range 3000 {
		for _, a := range client.Actions() {
			if a.GetVerb() == "watch" {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing is watched")
}

// refuseGet makes the API server answer no further question, as it does when the service
// account is gone. Watches go on.
func refuseGet(client *fake.Clientset, err error) {
	client.PrependReactor("get", "namespaces", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, err })
}

var (
	resource     = schema.GroupResource{Resource: "namespaces"}
	unauthorized = apierrors.NewUnauthorized("Unauthorized")
	forbidden    = apierrors.NewForbidden(resource, "own", errors.New("no role"))
)

// TestUpgrade: a pod that is ended while its namespace stays leaves all where it is.
func TestUpgrade(t *testing.T) {
	client := fake.NewClientset(namespace("own", false), namespace("other", true))
	if start(t, client).Removed(t.Context()) {
		t.Error("removed, though its namespace is there")
	}
}

// TestRemovedByWatch: the pod may not ask any more when it is ended, but has seen it.
func TestRemovedByWatch(t *testing.T) {
	for _, refusal := range []error{unauthorized, forbidden, errors.New("connection refused")} {
		client := fake.NewClientset(namespace("own", false), namespace("other", false))
		w := start(t, client)
		watching(t, client)
		refuseGet(client, refusal)
		if _, err := client.CoreV1().Namespaces().Update(t.Context(), namespace("own", true), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if !w.Removed(t.Context()) {
			t.Errorf("not removed, with its namespace being deleted and GET answered by %v", refusal)
		}
	}
}

// TestRemovedByAsking: the watch is late, or never came up.
func TestRemovedByAsking(t *testing.T) {
	for name, client := range map[string]*fake.Clientset{
		"terminating": fake.NewClientset(namespace("own", true)),
		"gone":        fake.NewClientset(namespace("other", false)),
	} {
		noWatch := func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden }
		client.PrependReactor("list", "namespaces", noWatch)
		if !start(t, client).Removed(t.Context()) {
			t.Errorf("%s: not removed", name)
		}
	}
}

// TestDoubt: no answer is no removal, and it is given up in time.
func TestDoubt(t *testing.T) {
	client := fake.NewClientset(namespace("own", false))
	w := start(t, client)
	watching(t, client)
	refuseGet(client, unauthorized)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if w.Removed(ctx) {
		t.Error("removed, though nobody says so")
	}
}
