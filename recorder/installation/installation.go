// Package installation tells whether swoll is being taken off its cluster.
//
// A service in a pod is told to stop when it is upgraded, when its node shuts down, and
// when swoll is removed. In the first two cases what it left in the kernel and on disk must
// stay; in the last one all must go, since nobody comes after it. To its pod all look the
// same, and when the pod is ended its right to ask may have been deleted already. So the
// service watches its own namespace from the start: where that is being deleted, swoll is
// being removed. `kubectl delete -k` deletes it first, before any pod of it is told to stop.
//
// In doubt the answer is that it is not removed: a leftover can be taken away by hand,
// a lost history cannot be brought back.
package installation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// How long Removed asks and waits at most, each. The kubelet gives the pod 30 s.
const (
	askFor  = 2 * time.Second
	waitFor = 3 * time.Second
)

// A Watcher watches the namespace that swoll is installed in. It is safe for concurrent use.
type Watcher struct {
	client    kubernetes.Interface
	namespace string
	log       *slog.Logger
	removed   chan struct{} // closed once the namespace was seen to be deleted
	once      sync.Once
}

// Watch begins to watch the namespace until ctx is done. It does not wait for the API
// server. log may be nil.
func Watch(ctx context.Context, client kubernetes.Interface, namespace string, log *slog.Logger) (*Watcher, error) {
	if log == nil {
		log = slog.Default()
	}
	w := &Watcher{client: client, namespace: namespace, log: log, removed: make(chan struct{})}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", namespace).String()
	}))
	informer := factory.Core().V1().Namespaces().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.see(o) },
		UpdateFunc: func(_, o any) { w.see(o) },
		DeleteFunc: func(o any) { w.gone() },
	})
	if err != nil {
		return nil, fmt.Errorf("watching namespace %s: %w", namespace, err)
	}
	factory.Start(ctx.Done())
	return w, nil
}

func (w *Watcher) see(o any) {
	if ns, ok := o.(*corev1.Namespace); ok && ns.Name == w.namespace && ns.DeletionTimestamp != nil {
		w.gone()
	}
}

func (w *Watcher) gone() {
	w.once.Do(func() {
		w.log.Info("the namespace of swoll is being deleted: the service will leave nothing on this node", "namespace", w.namespace)
		close(w.removed)
	})
}

// Removed tells whether swoll is being removed. It is to be called when the service was told
// to stop, and returns within a few seconds, or when ctx is done. It asks the API server
// once more, in case the watch is late. Where the answer is none, it is what the watch
// says within some seconds.
func (w *Watcher) Removed(ctx context.Context) bool {
	select {
	case <-w.removed:
		return true
	default:
	}
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	ns, err := w.client.CoreV1().Namespaces().Get(asking, w.namespace, metav1.GetOptions{})
	switch {
	case err == nil && ns.DeletionTimestamp == nil:
		return false
	case err == nil, apierrors.IsNotFound(err):
		w.gone()
		return true
	}
	// Nobody answers, or this pod may not ask any more. The latter is what the removal of
	// swoll looks like, but also that of a pod by force, so it decides nothing.
	select {
	case <-w.removed:
		return true
	case <-ctx.Done():
	case <-time.After(waitFor):
	}
	w.log.Warn("is swoll being removed? Nobody says, so what is pinned records on, and snapshots stay",
		"namespace", w.namespace, "err", err)
	return false
}
