package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What a pod does not consent to is not in the memory of the rings, whoever looks at it; and
// this holds within a second of the annotation.
const (
	consentTakes = time.Second
	// The test cannot look at the memory at the very end of that second: it shares two CPUs
	// with a cluster, and one look takes a while.
	consentMargin = 2 * time.Second
)

// TestConsent looks for texts that only one pod's calls have in the memory of all rings.
func TestConsent(t *testing.T) {
	t.Parallel()
	s := newService(t)
	memory := ringMemory(t, s)

	// mark makes a name that is nowhere else, and start a pod whose calls name it.
	mark := func(name string) string { return fmt.Sprintf("%s-%016x", name, rand.Uint64()) }
	start := func(t *testing.T, ns, name, annotations, mark string) {
		t.Helper()
		createPod(t, ns, "{name: "+name+", annotations: {"+annotations+"}}", `{terminationGracePeriodSeconds: 0,
			containers: [`+containerOf("main", "[/bin/marker, "+mark+"]", "")+`]}`)
	}
	path := func(mark string) string { return "/marks/" + mark }
	payload := func(mark string) string { return "bytes-of-" + mark }
	annotate := func(t *testing.T, object, annotation string) {
		t.Helper()
		value := "null"
		name, v, found := strings.Cut(annotation, "=")
		if found {
			value = `"` + v + `"`
		}
		body := `{"metadata": {"annotations": {"` + name + `": ` + value + `}}}`
		if err := the.do("PATCH", object, "application/merge-patch+json", body, nil); err != nil {
			t.Fatal(err)
		}
	}
	// gone checks that texts leave the memory in time, and do not come back.
	gone := func(t *testing.T, texts ...string) {
		t.Helper()
		if err := within(consentTakes+consentMargin, func() error { return memory.lacks(texts...) }); err != nil {
			t.Errorf("%v", err)
		}
		for until := time.Now().Add(consentTakes); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
			if err := memory.lacks(texts...); err != nil {
				t.Fatalf("it came back: %v", err)
			}
		}
	}
	there := func(t *testing.T, texts ...string) {
		t.Helper()
		eventually(t, "the memory has what is recorded", func() error { return memory.has(texts...) })
	}
	unlisted := func(t *testing.T, ns, name string) {
		t.Helper()
		uid := getPod(t, ns, name).Metadata.UID
		for _, r := range s.in(t).list() {
			if r.UID == uid || r.Namespace == ns && r.Pod == name {
				t.Errorf("listed is %v", r)
			}
		}
	}

	for _, c := range []struct {
		name string
		run  func(t *testing.T, ns, mark string)
	}{
		{"PodFromTheStart", func(t *testing.T, ns, mark string) {
			start(t, ns, "pod", `swoll.dev/record: "false"`, mark)
			waitRunning(t, ns, "pod")
			gone(t, path(mark), payload(mark))
			unlisted(t, ns, "pod")
		}},
		{"NamespaceFromTheStart", func(t *testing.T, ns, mark string) {
			annotate(t, "/api/v1/namespaces/"+ns, "swoll.dev/record=false")
			start(t, ns, "pod", "", mark)
			waitRunning(t, ns, "pod")
			gone(t, path(mark), payload(mark))
			unlisted(t, ns, "pod")
		}},
		{"PayloadFromTheStart", func(t *testing.T, ns, mark string) {
			start(t, ns, "pod", `swoll.dev/payload: none`, mark)
			waitRunning(t, ns, "pod")
			there(t, path(mark))
			gone(t, payload(mark))
			there(t, path(mark))
		}},
		{"RunningPod", func(t *testing.T, ns, mark string) {
			start(t, ns, "pod", "", mark)
			there(t, path(mark), payload(mark))
			annotate(t, "/api/v1/namespaces/"+ns+"/pods/pod", "swoll.dev/record=false")
			gone(t, path(mark), payload(mark))
			unlisted(t, ns, "pod")
			annotate(t, "/api/v1/namespaces/"+ns+"/pods/pod", "swoll.dev/record")
			there(t, path(mark), payload(mark))
			r := s.in(t).waitNamed(ns, "pod", "main")
			eventually(t, "it is recorded again", func() error {
				if events := s.in(t).dump(r); !mentions(events, mark) {
					return errors.New("its history does not have it")
				}
				return nil
			})
		}},
		{"RunningNamespace", func(t *testing.T, ns, mark string) {
			start(t, ns, "pod", "", mark)
			there(t, path(mark), payload(mark))
			annotate(t, "/api/v1/namespaces/"+ns, "swoll.dev/record=false")
			gone(t, path(mark), payload(mark))
			unlisted(t, ns, "pod")
			annotate(t, "/api/v1/namespaces/"+ns, "swoll.dev/record")
			there(t, path(mark), payload(mark))
		}},
		{"RunningPodsPayload", func(t *testing.T, ns, mark string) {
			start(t, ns, "pod", "", mark)
			there(t, path(mark), payload(mark))
			annotate(t, "/api/v1/namespaces/"+ns+"/pods/pod", "swoll.dev/payload=none")
			gone(t, payload(mark))
			there(t, path(mark))
			annotate(t, "/api/v1/namespaces/"+ns+"/pods/pod", "swoll.dev/payload")
			there(t, payload(mark))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Not parallel: each must be in time, also on a slow machine.
			c.run(t, namespace(t, "consent"), mark(strings.ToLower(c.name)))
		})
	}
}

// memoryOf is the memory of a recorder that user space can map: that of its rings.
type memoryOf [][]byte

// ringMemory maps what a service has pinned.
func ringMemory(t *testing.T, s *service) memoryOf {
	t.Helper()
	var memory memoryOf
	s.eachMap(t, func(m *ebpf.Map) error {
		if m.Type() != ebpf.Array || m.Flags()&unix.BPF_F_MMAPABLE == 0 {
			return nil
		}
		size := int(m.ValueSize()+7)&^7*int(m.MaxEntries()) + os.Getpagesize() - 1
		size -= size % os.Getpagesize()
		data, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("mapping it: %w", err)
		}
		memory = append(memory, data)
		return nil
	})
	total := 0
	for _, m := range memory {
		total += len(m)
	}
	if total < 128<<20 {
		t.Fatalf("only %d bytes of ring memory are pinned in %s", total, s.pins)
	}
	t.Cleanup(func() {
		for _, m := range memory {
			unix.Munmap(m)
		}
	})
	return memory
}

// lacks is an error if one of the texts is anywhere in the memory.
func (m memoryOf) lacks(texts ...string) error {
	for _, text := range texts {
		for _, data := range m {
			if at := bytes.Index(data, []byte(text)); at >= 0 {
				return fmt.Errorf("%q is in the memory, at %#x: %q", text, at, data[max(0, at-64):min(len(data), at+64)])
			}
		}
	}
	return nil
}

// has is an error if one of the texts is nowhere in the memory.
func (m memoryOf) has(texts ...string) error {
	for _, text := range texts {
		if m.lacks(text) == nil {
			return fmt.Errorf("%q is not in the memory", text)
		}
	}
	return nil
}
