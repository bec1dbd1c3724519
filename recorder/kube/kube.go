// Package kube tells a container collection what the Kubernetes API knows of this node's
// pods, follows the consent that pods and namespaces give by annotation, and puts events on
// pods. It needs get, list and watch on pods and namespaces, create and patch on events.
//
// The API server may be away at any time, also at the start: what was learned stays valid.
// Everything is keyed by the UID that a pod's cgroup has, which for a static pod is the
// kubelet's and not the one of its mirror in the API.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/containers"
)

// A Config says where the API server is, and whose pods to follow.
type Config struct {
	Kubeconfig string       // path of a kubeconfig; empty: the service account of the pod
	Node       string       // name of this node; required
	Logger     *slog.Logger // nil: nothing is logged

	// Consent, if not nil, is called when a pod's consent becomes known, also as the zero
	// Consent, and when it changes; not when a pod is deleted. Before the pod's namespace is
	// known only a refusal of the pod's own is told. Calls come from one goroutine; of
	// several changes to a pod that wait, only the newest is told. It may block.
	Consent func(podUID string, c Consent)
}

// A Client follows the pods of one node. It is safe for concurrent use.
type Client struct {
	cfg Config
	log *slog.Logger
	api kubernetes.Interface

	podsSynced, namespacesSynced, away atomic.Bool
	running                            atomic.Bool
	failedEvents                       atomic.Uint64
	recorder                           atomic.Pointer[record.EventRecorderLogger]

	cache   *podCache
	consent *consentQueue

	namespaceWait time.Duration // how long the first pods wait for the namespaces
	eventTimeout  time.Duration // how long the API server may take to answer, when it is told of an event
	eventRetry    time.Duration // and between two attempts
}

// setKlog makes client-go's own log lines ours: it has but one logger, where it takes none.
var setKlog sync.Once

// New returns a client. It does not contact the API server: an error is about the
// configuration.
func New(cfg Config) (*Client, error) {
	if cfg.Node == "" {
		return nil, errors.New("kubernetes: the name of this node is not known. Try: --node-name, or NODE_NAME from the field spec.nodeName")
	}
	c := newClient(cfg, nil)
	setKlog.Do(func() { klog.SetSlogLogger(slog.New(debugHandler{c.log.Handler()})) })
	var rc *rest.Config
	var err error
	if cfg.Kubeconfig != "" {
		if rc, err = clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig); err != nil {
			return nil, fmt.Errorf("kubernetes: kubeconfig %s: %w. Try: kubectl --kubeconfig %s get pods", cfg.Kubeconfig, err, cfg.Kubeconfig)
		}
	} else if rc, err = rest.InClusterConfig(); err != nil {
		return nil, fmt.Errorf("kubernetes: service account of this pod: %w. Try: --kubeconfig, or --kubernetes=false", err)
	}
	rc.AcceptContentTypes, rc.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	rc.UserAgent = "swoll/" + api.BuildVersion().Version
	rc.Wrap(func(rt http.RoundTripper) http.RoundTripper { return reachability{rt, c} })
	if c.api, err = kubernetes.NewForConfig(rc); err != nil {
		return nil, fmt.Errorf("kubernetes: client: %w. Try: check the certificates that the kubeconfig names", err)
	}
	return c, nil
}

// API is what the client asks, for other questions of the same service.
func (c *Client) API() kubernetes.Interface { return c.api }

func newClient(cfg Config, a kubernetes.Interface) *Client {
	c := &Client{cfg: cfg, log: cfg.Logger, api: a, namespaceWait: time.Second, eventTimeout: 10 * time.Second, eventRetry: 10 * time.Second}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.consent = newConsentQueue(cfg.Consent)
	c.cache = newPodCache(cfg.Node, c.log, c.consent.put)
	return c
}

// Synced tells whether all pods of the node and all namespaces were seen once. It stays
// true while the API server is away.
func (c *Client) Synced() bool { return c.podsSynced.Load() && c.namespacesSynced.Load() }

// Enrich adds what is known of a container's pod, found by the container's ID or PodUID; it
// is a containers.Enricher. It neither blocks nor asks the API server.
func (c *Client) Enrich(ct *containers.Container) { c.cache.enrich(ct) }

// Run fills the collection until ctx is done, and then returns nil. It survives outages of
// the API server. An error means that it could not start: it runs already. After it has
// returned it may be called again.
func (c *Client) Run(ctx context.Context, coll *containers.Collection) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("kubernetes: the client runs already. Try: one Run for each client")
	}
	defer c.running.Store(false)
	// Losing the API server is logged here, once; client-go would say it with every attempt.
	logger := logr.FromSlogHandler(debugHandler{c.log.Handler()})
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logger))
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()

	pods := coreinformers.NewFilteredPodInformer(c.api, metav1.NamespaceAll, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = "spec.nodeName=" + c.cfg.Node
	})
	namespaces := coreinformers.NewNamespaceInformer(c.api, 0, cache.Indexers{})

	namespacesSeen, err := c.follow(namespaces, "namespaces", logger, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.cache.namespace(o.(*corev1.Namespace)) },
		UpdateFunc: func(_, o any) { c.cache.namespace(o.(*corev1.Namespace)) },
		DeleteFunc: func(o any) {
			if n, ok := deleted(o).(*corev1.Namespace); ok {
				c.cache.forgetNamespace(n.Name)
			}
		},
	})
	if err != nil {
		return err
	}
	// A pod's consent is only known with its namespace: the first pods wait for the
	// namespaces, but not for long.
	waited := make(chan struct{})
	podsSeen, err := c.follow(pods, "pods", logger, cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			<-waited
			c.pod(coll, o.(*corev1.Pod))
		},
		UpdateFunc: func(was, is any) {
			<-waited
			// A name that is used again comes as an update, if the end of the first was missed.
			if w := was.(*corev1.Pod); w.UID != is.(*corev1.Pod).UID {
				c.gone(coll, string(w.UID))
			}
			c.pod(coll, is.(*corev1.Pod))
		},
		DeleteFunc: func(o any) {
			<-waited
			if p, ok := deleted(o).(*corev1.Pod); ok {
				c.pod(coll, p)
				c.gone(coll, string(p.UID))
			}
		},
	})
	if err != nil {
		return err
	}

	defer c.startEvents(ctx)()
	wg.Go(func() {
		defer close(waited)
		limit := time.NewTimer(c.namespaceWait)
		defer limit.Stop()
		select {
		case <-namespacesSeen:
		case <-limit.C:
		case <-ctx.Done():
		}
	})
	wg.Go(func() {
		if seen(ctx, namespacesSeen) {
			// An earlier Run may have seen some that are gone.
			c.cache.keepNamespaces(func(name string) bool { return has(namespaces, name, "") })
			c.namespacesSynced.Store(true)
		}
	})
	wg.Go(func() {
		if seen(ctx, podsSeen) {
			for _, uid := range c.cache.unlisted(func(ns, name, uid string) bool { return has(pods, ns+"/"+name, uid) }) {
				c.gone(coll, uid)
			}
			c.podsSynced.Store(true)
		}
	})
	wg.Go(func() { c.consent.run(ctx) })
	wg.Go(func() { namespaces.RunWithContext(ctx) })
	wg.Go(func() { pods.RunWithContext(ctx) })
	<-ctx.Done()
	wg.Wait()
	return nil
}

// follow prepares an informer. The channel is closed when the handlers have seen all that
// was there.
func (c *Client) follow(inf cache.SharedIndexInformer, what string, logger klog.Logger, h cache.ResourceEventHandler) (<-chan struct{}, error) {
	if err := inf.SetTransform(trim); err != nil {
		return nil, err
	}
	var refused atomic.Bool
	if err := inf.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		c.watchFailed(what, err, &refused)
	}); err != nil {
		return nil, err
	}
	reg, err := inf.AddEventHandlerWithOptions(h, cache.HandlerOptions{Logger: &logger})
	if err != nil {
		return nil, err
	}
	return reg.HasSyncedChecker().Done(), nil
}

// seen waits; false: in vain.
func seen(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-done:
		return true
	}
}

// has tells whether an informer has an object; uid may be empty: whatever it is.
func has(inf cache.SharedIndexInformer, key, uid string) bool {
	o, ok, err := inf.GetStore().GetByKey(key)
	if err != nil || !ok {
		return false
	}
	m, ok := o.(metav1.Object)
	return ok && (uid == "" || string(m.GetUID()) == uid)
}

func deleted(o any) any {
	if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
		return d.Obj
	}
	return o
}

func (c *Client) pod(coll *containers.Collection, p *corev1.Pod) {
	// The cache is not locked while the collection is: the collection asks it.
	facts, uid := c.cache.update(p)
	for _, a := range c.cache.takeComplaints() {
		if err := c.Announce(a); err != nil {
			c.log.Debug("a pod is not told of its annotation", "pod", a.Namespace+"/"+a.Pod, "error", err)
		}
	}
	for _, f := range facts {
		if f.again && f.State == containers.StateExited {
			coll.Exit(f.ID, f.fill) // which the collection may have let go
		} else {
			coll.Update(f.ID, f.fill)
		}
	}
	coll.Refresh(containers.Selector{PodUID: uid, Exited: true})
}

// gone takes in that a pod was deleted. Its containers may still be running, if somebody
// was in a hurry: those that were seen on the node are left to who sees them there.
func (c *Client) gone(coll *containers.Collection, apiUID string) {
	for _, id := range c.cache.remove(apiUID) {
		if ct, ok := coll.Get(id); ok && ct.PID == 0 && ct.CgroupID == 0 {
			coll.Exit(id, nil)
		}
	}
}
