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

	// Consent, if not nil, is called when a pod's consent becomes known as anything but the
	// zero Consent, and when it changes. Calls come from one goroutine; of several changes
	// to a pod that wait, only the newest is told. It may block.
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
}

// New returns a client. It does not contact the API server: an error is about the
// configuration.
func New(cfg Config) (*Client, error) {
	if cfg.Node == "" {
		return nil, errors.New("kubernetes: the name of this node is not known. Try: --node-name, or NODE_NAME from the field spec.nodeName")
	}
	c := newClient(cfg, nil)
	var rc *rest.Config
	var err error
	if cfg.Kubeconfig != "" {
		if rc, err = clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig); err != nil {
			return nil, fmt.Errorf("kubernetes: kubeconfig %s: %w. Try: kubectl --kubeconfig %s get pods", cfg.Kubeconfig, err, cfg.Kubeconfig)
		}
	} else if rc, err = rest.InClusterConfig(); err != nil {
		return nil, fmt.Errorf("kubernetes: service account of this pod: %w. Try: --kubeconfig, or --kubernetes=false", err)
	}
	rc.UserAgent = "swoll/" + api.BuildVersion().Version
	rc.Wrap(func(rt http.RoundTripper) http.RoundTripper { return reachability{rt, c} })
	if c.api, err = kubernetes.NewForConfig(rc); err != nil {
		return nil, fmt.Errorf("kubernetes: client: %w. Try: check the certificates that the kubeconfig names", err)
	}
	return c, nil
}

func newClient(cfg Config, a kubernetes.Interface) *Client {
	c := &Client{cfg: cfg, log: cfg.Logger, api: a}
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
// the API server. An error means that it could not start: it runs already.
func (c *Client) Run(ctx context.Context, coll *containers.Collection) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("kubernetes: the client runs already. Try: one Run for each client")
	}
	defer c.running.Store(false)
	// Losing the API server is logged here, once; client-go would say it with every attempt.
	quiet := slog.New(debugHandler{c.log.Handler()})
	klog.SetSlogLogger(quiet)

	stopEvents := c.startEvents(ctx, quiet)
	defer stopEvents()

	pods := coreinformers.NewFilteredPodInformer(c.api, metav1.NamespaceAll, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = "spec.nodeName=" + c.cfg.Node
	})
	namespaces := coreinformers.NewNamespaceInformer(c.api, 0, cache.Indexers{})
	for _, s := range []struct {
		what string
		inf  cache.SharedIndexInformer
		h    cache.ResourceEventHandlerFuncs
		done *atomic.Bool
	}{
		{"namespaces", namespaces, cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { c.cache.namespace(o.(*corev1.Namespace)) },
			UpdateFunc: func(_, o any) { c.cache.namespace(o.(*corev1.Namespace)) },
			DeleteFunc: func(o any) {
				if n, ok := deleted(o).(*corev1.Namespace); ok {
					c.cache.forgetNamespace(n.Name)
				}
			},
		}, &c.namespacesSynced},
		{"pods", pods, cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { c.pod(coll, o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { c.pod(coll, o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if p, ok := deleted(o).(*corev1.Pod); ok {
					c.pod(coll, p)
					c.cache.remove(p)
				}
			},
		}, &c.podsSynced},
	} {
		if err := s.inf.SetTransform(trim); err != nil {
			return err
		}
		var refused atomic.Bool
		if err := s.inf.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			c.watchFailed(s.what, err, &refused)
		}); err != nil {
			return err
		}
		reg, err := s.inf.AddEventHandler(s.h)
		if err != nil {
			return err
		}
		go func() {
			if cache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
				s.done.Store(true)
			}
		}()
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.consent.run(ctx) })
	wg.Go(func() { namespaces.RunWithContext(ctx) })
	wg.Go(func() { pods.RunWithContext(ctx) })
	wg.Wait()
	return nil
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
	for _, f := range facts {
		coll.Update(f.ID, f.fill)
	}
	coll.Refresh(containers.Selector{PodUID: uid, Exited: true})
}
