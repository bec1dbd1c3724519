package kube

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// An Announcement is a warning to put on a pod, as an event.
type Announcement struct {
	Namespace, Pod string
	UID            string // as the pod's cgroup has it; `kubectl describe` finds events by it
	Container      string // empty: the pod as a whole
	Reason         string // empty: SwollSnapshot
	Message        string // cut at 1,024 bytes, which is all that an event holds
}

// Announce queues an event on a pod, which may be gone already. It never blocks. Events on
// one pod are limited to 10 at once and 2 a minute, and the queue is bounded: what is more
// is dropped. While the API server is away an event is tried again for two minutes. An
// error means that nothing was queued: no pod is named, or Run does not run.
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
	if len(a.Message) > 1024 {
		a.Message = strings.ToValidUTF8(a.Message[:1021], "") + "..."
	}
	ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: a.Namespace, Name: a.Pod, UID: types.UID(a.UID)}
	if a.Container != "" {
		ref.FieldPath = c.cache.field(a.UID, a.Container) + "{" + a.Container + "}"
	}
	(*r).Event(ref, corev1.EventTypeWarning, a.Reason, a.Message)
	return nil
}

// FailedEvents is the number of attempts to write an event that failed.
func (c *Client) FailedEvents() uint64 { return c.failedEvents.Load() }

func (c *Client) startEvents(ctx context.Context, log *slog.Logger) (stop func()) {
	b := record.NewBroadcaster(
		record.WithContext(klog.NewContext(ctx, logr.FromSlogHandler(log.Handler()))),
		record.WithCorrelatorOptions(record.CorrelatorOptions{BurstSize: 10, QPS: 1.0 / 30}))
	w := b.StartRecordingToSink(sink{&typedv1.EventSinkImpl{Interface: c.api.CoreV1().Events("")}, c})
	r := b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "swoll", Host: c.cfg.Node})
	c.recorder.Store(&r)
	return func() {
		c.recorder.Store(nil)
		w.Stop()
		b.Shutdown()
	}
}

// A sink counts what fails.
type sink struct {
	record.EventSink
	c *Client
}

func (s sink) Create(e *corev1.Event) (*corev1.Event, error) {
	n, err := s.EventSink.Create(e)
	s.failed(e, err)
	return n, err
}

func (s sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	n, err := s.EventSink.Patch(e, data)
	s.failed(e, err)
	return n, err
}

func (s sink) failed(e *corev1.Event, err error) {
	if err != nil {
		s.c.failedEvents.Add(1)
		s.c.log.Debug("event", "namespace", e.InvolvedObject.Namespace, "pod", e.InvolvedObject.Name, "error", err)
	}
}
