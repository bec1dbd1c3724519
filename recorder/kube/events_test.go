package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

// announcing returns a client that runs, and knows these pods.
func announcing(t *testing.T, s *apiServer, pods ...object) *Client {
	t.Helper()
	c := s.client(Config{})
	s.set(pods...)
	start(t, c, containers.New(containers.Options{Enrichers: []containers.Enricher{c}}))
	eventually(t, "running", c.Synced)
	return c
}

func announce(t *testing.T, c *Client, a Announcement) {
	t.Helper()
	if err := c.Announce(a); err != nil {
		t.Fatal(err)
	}
}

// An event is where `kubectl describe pod` looks: it asks by name, namespace and UID, and
// takes for the UID of a static pod's mirror what the annotation kubernetes.io/config.mirror
// says.
func TestEvents(t *testing.T) {
	s := newAPIServer(t)
	c := announcing(t, s,
		podOf("shop", "web", "u1", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
			debug := corev1.EphemeralContainer{}
			debug.Name = "debugger"
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{debug}
		}),
		podOf("kube-system", "etcd-n1", "api1", mirror("hash")))
	long := strings.Repeat("ä", 600)
	sent := []Announcement{
		{Namespace: "shop", Pod: "web", UID: "u1", Message: "m"},
		{Namespace: "shop", Pod: "web", UID: "u1", Container: "app", Reason: "R", Message: long},
		{Namespace: "shop", Pod: "web", UID: "u1", Container: "setup", Message: "a\xffb"},
		{Namespace: "shop", Pod: "web", UID: "u1", Container: "debugger"},
		{Namespace: "kube-system", Pod: "etcd-n1", UID: "hash"},
		{Namespace: "kube-system", Pod: "etcd-n1", UID: "api1", Message: "m"},
		{Namespace: "shop", Pod: "gone", UID: "u2", Container: "app"},
	}
	for _, a := range sent {
		announce(t, c, a)
	}
	eventually(t, "events", func() bool { return len(s.taken()) == len(sent) })
	want := []corev1.ObjectReference{
		{Namespace: "shop", Name: "web", UID: "u1"},
		{Namespace: "shop", Name: "web", UID: "u1", FieldPath: "spec.containers{app}"},
		{Namespace: "shop", Name: "web", UID: "u1", FieldPath: "spec.initContainers{setup}"},
		{Namespace: "shop", Name: "web", UID: "u1", FieldPath: "spec.ephemeralContainers{debugger}"},
		{Namespace: "kube-system", Name: "etcd-n1", UID: "hash"},
		{Namespace: "kube-system", Name: "etcd-n1", UID: "hash"},
		{Namespace: "shop", Name: "gone", UID: "u2", FieldPath: "spec.containers{app}"},
	}
	for i, ev := range s.taken() {
		want[i].Kind, want[i].APIVersion = "Pod", "v1"
		if d := cmp.Diff(want[i], ev.InvolvedObject); d != "" {
			t.Errorf("event %d, - want + got:\n%s", i, d)
		}
		if ev.Namespace != want[i].Namespace || ev.Type != "Warning" || ev.Source.Component != "swoll" || ev.Source.Host != "n1" || !utf8.ValidString(ev.Message) || len(ev.Message) > 1024 {
			t.Errorf("event %d: %+v", i, ev)
		}
	}
	ev := s.taken()
	if ev[0].Reason != "SwollSnapshot" || ev[0].Message != "m" || ev[1].Reason != "R" || !strings.HasPrefix(ev[1].Message, long[:1020]) ||
		!strings.HasSuffix(ev[1].Message, "...") || ev[2].Message != "ab" {
		t.Errorf("reasons and messages: %q %q %q %q %q", ev[0].Reason, ev[0].Message, ev[1].Reason, ev[1].Message, ev[2].Message)
	}
	for _, a := range []Announcement{{}, {Namespace: "shop"}, {Pod: "web"}} {
		if err := c.Announce(a); err == nil {
			t.Errorf("%+v: no error", a)
		}
	}
}

// A pod whose annotation cannot be read is told so, once, for each value.
func TestEventOfAnnotation(t *testing.T) {
	s := newAPIServer(t)
	web := func(value string) object {
		return podOf("shop", "web", "u1", func(p *corev1.Pod) { p.Annotations = map[string]string{AnnotationPayload: value} })
	}
	announcing(t, s, web("32 bytes"))
	s.set(web("16"))
	s.set(web("32 bytes"))
	s.set(web("-1"))
	eventually(t, "events", func() bool { return len(s.taken()) == 2 })
	for i, value := range []string{"32 bytes", "-1"} {
		if ev := s.taken()[i]; ev.InvolvedObject.Name != "web" || ev.InvolvedObject.UID != "u1" || ev.Reason != "SwollConsent" || !strings.Contains(ev.Message, fmt.Sprintf("%q", value)) ||
			!strings.Contains(ev.Message, AnnotationPayload) {
			t.Errorf("event %d: %s %s of %+v", i, ev.Reason, ev.Message, ev.InvolvedObject)
		}
	}
}

// A pod in a crash loop gets a few events, and takes none from the others.
func TestEventsAreLimited(t *testing.T) {
	s := newAPIServer(t)
	c := announcing(t, s)
	for i := range 200 {
		announce(t, c, Announcement{Namespace: "shop", Pod: "crash", UID: "u1", Message: fmt.Sprint("snapshot ", i)})
	}
	announce(t, c, Announcement{Namespace: "shop", Pod: "web", UID: "u2"})
	eventually(t, "the other pod's event", func() bool {
		ev := s.taken()
		return len(ev) > 0 && ev[len(ev)-1].InvolvedObject.Name == "web"
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	// 10 at once; one more is due each 30 s.
	if n := len(s.events) - 1 + s.patches; n < 10 || n > 14 {
		t.Errorf("%d requests for 200 announcements", n)
	}
}

// Whoever announces never waits, and the queue does not grow.
func TestAnnounceNeverBlocks(t *testing.T) {
	s := newAPIServer(t)
	c := announcing(t, s)
	s.fail(hang, "events")
	for i := range 20_000 {
		announce(t, c, Announcement{Namespace: "shop", Pod: fmt.Sprint("p", i), UID: fmt.Sprint("u", i)})
	}
	if ev := s.taken(); len(ev) != 0 {
		t.Errorf("%d events taken by a server that hangs", len(ev))
	}
}

// What is announced in an outage is written after it.
func TestEventsAfterOutage(t *testing.T) {
	for name, f := range map[string]fault{"connection cut": cut, "no answer": hang, "503": code503} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			c := s.client(Config{})
			c.eventRetry = time.Second // there are 12 attempts
			if f == hang {
				c.eventTimeout = time.Second
			}
			start(t, c, containers.New(containers.Options{}))
			eventually(t, "running", c.Synced)
			s.fail(f, "events")
			for i := range 5 {
				announce(t, c, Announcement{Namespace: "shop", Pod: fmt.Sprint("p", i), UID: "u"})
			}
			eventually(t, "a failure", func() bool { return c.FailedEvents() > 0 })
			s.fail(none, "events")
			eventually(t, "events", func() bool { return len(s.taken()) == 5 })
		})
	}
}

// A server that refuses events is not asked again about the same.
func TestEventsRefused(t *testing.T) {
	s := newAPIServer(t)
	c := announcing(t, s)
	s.fail(forbid, "events")
	announce(t, c, Announcement{Namespace: "shop", Pod: "a"})
	announce(t, c, Announcement{Namespace: "shop", Pod: "b"})
	eventually(t, "two failures", func() bool { return c.FailedEvents() == 2 })
	s.fail(none, "events")
	announce(t, c, Announcement{Namespace: "shop", Pod: "c"})
	eventually(t, "an event", func() bool { return len(s.taken()) == 1 })
	if n := s.taken()[0].InvolvedObject.Name; n != "c" {
		t.Errorf("the event is on %s", n)
	}
}
