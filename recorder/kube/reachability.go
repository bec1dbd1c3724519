package kube

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// reachability sees from each answer whether the API server is there.
type reachability struct {
	next http.RoundTripper
	c    *Client
}

func (r reachability) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := r.next.RoundTrip(q)
	switch {
	case err != nil && q.Context().Err() != nil: // we ended it
	case err != nil || a.StatusCode >= 500:
		if r.c.away.CompareAndSwap(false, true) {
			err := err
			if err == nil {
				err = errors.New(a.Status)
			}
			r.c.log.Warn("the Kubernetes API server cannot be reached: recording goes on, names of new pods come later", "host", q.URL.Host, "error", err)
		}
	case r.c.away.CompareAndSwap(true, false):
		r.c.log.Info("the Kubernetes API server is back", "host", q.URL.Host)
	}
	return a, err
}

// WrappedRoundTripper lets client-go find the transport, to close what is idle.
func (r reachability) WrappedRoundTripper() http.RoundTripper { return r.next }

func (c *Client) watchFailed(what string, err error, refused *atomic.Bool) {
	if (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) && refused.CompareAndSwap(false, true) {
		c.log.Warn("the Kubernetes API server refuses to list "+what+". Try: allow get, list and watch on pods and namespaces", "error", err)
		return
	}
	c.log.Debug("listing or watching "+what, "error", err)
}

// debugHandler makes every record one of level debug. It looks itself whether that is
// wanted: for errors logr does not ask.
type debugHandler struct{ slog.Handler }

func (h debugHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}
func (h debugHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level = slog.LevelDebug; !h.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
func (h debugHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return debugHandler{h.Handler.WithAttrs(a)}
}
func (h debugHandler) WithGroup(n string) slog.Handler { return debugHandler{h.Handler.WithGroup(n)} }
