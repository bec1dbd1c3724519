package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// An Announcement is a warning to put on a pod, as an event.
type Announcement struct {
	Namespace, Pod string
	UID            string // as the pod's cgroup has it
	Container      string // empty: the pod as a whole
	Reason         string // empty: SwollSnapshot
	Message        string // cut at 1,024 bytes, which is all that an event holds; what is not UTF-8 goes
}

// Announce queues an event on a pod, which may be gone already, such that `kubectl
// describe pod` shows it. It never blocks. Events on one pod are limited to 10 at once and
// 2 a minute, and the queue is bounded: what is more is dropped. While the API server is
// away an event is tried again for about two minutes, and those behind it wait; Run does
// not wait for events when it ends. An error means that nothing was queued: no pod is
// named, or Run does not run.
func (c *Client) Announce(a Announcement) error {
	if a.Namespace == "" || a.Pod == "" {
		return errors.New("kubernetes: event without a pod. Try: give namespace and pod")
	}
	r := c.recorder.Load()
	if r == nil {
		return errors.New("kubernetes: event on " + a.Namespace + "/" + a.Pod + ": the client does not run. Try: again after Run")
	}
	if a.Reason == "" {
		a.Reason = "SwollSnapshot"
	}
	if a.Message = strings.ToValidUTF8(a.Message, ""); len(a.Message) > 1024 {
		a.Message = strings.ToValidUTF8(a.Message[:1021], "") + "..."
	}
	uid, field := c.cache.reference(a.UID, a.Container)
	ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: a.Namespace, Name: a.Pod, UID: types.UID(uid)}
	if a.Container != "" {
		ref.FieldPath = field + "{" + a.Container + "}"
	}
	(*r).Event(ref, corev1.EventTypeWarning, a.Reason, a.Message)
	return nil
}

// FailedEvents is the number of attempts to write an event that failed.
func (c *Client) FailedEvents() uint64 { return c.failedEvents.Load() }

// startEvents begins to write events. After ctx is done, or stop was called, requests that
// run are ended.
func (c *Client) startEvents(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	b := record.NewBroadcaster(record.WithContext(ctx), record.WithSleepDuration(c.eventRetry),
		record.WithCorrelatorOptions(record.CorrelatorOptions{BurstSize: 10, QPS: 1.0 / 30}))
	b.StartRecordingToSink(&sink{ctx: ctx, c: c})
	r := b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "swoll", Host: c.cfg.Node}).WithLogger(klog.FromContext(ctx))
	c.recorder.Store(&r)
	return func() {
		c.recorder.Store(nil)
		cancel()
		b.Shutdown() // waits for its queue, which drops what does not fit, but for no request
	}
}

// A sink writes events, and counts what fails.
type sink struct {
	ctx     context.Context
	c       *Client
	refused bool // that was said
}

func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.write(e, func(ctx context.Context) (*corev1.Event, error) {
		return s.c.api.CoreV1().Events("").CreateWithEventNamespaceWithContext(ctx, e)
	})
}

func (s *sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.write(e, func(ctx context.Context) (*corev1.Event, error) {
		return s.c.api.CoreV1().Events("").PatchWithEventNamespaceWithContext(ctx, e, data)
	})
}

// Update is not called by the broadcaster, which patches.
func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return nil, errors.ErrUnsupported
}

func (s *sink) write(e *corev1.Event, call func(context.Context) (*corev1.Event, error)) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.c.eventTimeout)
	defer cancel()
	n, err := call(ctx)
	if err == nil {
		return n, nil
	}
	if s.ctx.Err() == nil {
		s.c.failedEvents.Add(1)
	}
	if (apierrors.IsForbidden(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsUnauthorized(err)) && !s.refused {
		s.refused = true
		s.c.log.Warn("the Kubernetes API server refuses events. Try: allow create and patch on events", "error", err)
	} else {
		s.c.log.Debug("event", "namespace", e.InvolvedObject.Namespace, "pod", e.InvolvedObject.Name, "error", err)
	}
	// The broadcaster gives up on whatever the server itself says, also that it cannot now.
	var status apierrors.APIStatus
	if errors.As(err, &status) && (status.Status().Code >= 500 || status.Status().Code == http.StatusTooManyRequests) {
		err = fmt.Errorf("for now: %w", err)
	}
	return nil, err
}
