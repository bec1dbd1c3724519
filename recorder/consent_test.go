package recorder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
)

// These tests run the recorder on the real kernel, over cgroups that are named like the
// kubelet's, and search the raw memory of all rings. They need root, cgroup v2 and gcc.

const patience = 30 * time.Second

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// builtDir is where test programs are put.
var builtDir string

func TestMain(m *testing.M) {
	var err error
	if builtDir, err = os.MkdirTemp("", "swoll-recorder-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(builtDir)
	os.Exit(code)
}

// secretsProgram builds testdata/programs/secrets.c.
var secretsProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(builtDir, "secrets")
	out, err := exec.Command("gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread",
		"-o", path, "../testdata/programs/secrets.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building secrets.c: %w\n%s", err, out)
	}
	return path, nil
})

// A naming is how a cgroup driver names what the kubelet makes.
type naming struct {
	name           string
	root, qos      string // a pod is in one of them, or in the root
	pod, container func(string) string
}

var namings = []naming{
	{"cgroupfs", "kubepods", "burstable",
		func(uid string) string { return "pod" + uid }, func(id string) string { return id }},
	{"systemd", "kubepods.slice", "kubepods-besteffort.slice",
		func(uid string) string {
			return "kubepods-besteffort-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
		},
		func(id string) string { return "cri-containerd-" + id + ".scope" }},
	{"systemd, guaranteed", "kubepods.slice", "",
		func(uid string) string { return "kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice" },
		func(id string) string { return "crio-" + id + ".scope" }},
	{"kind", "kubelet-kubepods.slice", "kubelet-kubepods-burstable.slice",
		func(uid string) string {
			return "kubelet-kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
		},
		func(id string) string { return "cri-containerd-" + id + ".scope" }},
}

var made atomic.Int64

// unique is a name that nothing else has, of hexadecimal digits; its first half is that of
// no other of this process.
func unique() string {
	const odd = 2654435761 // so it maps no two numbers of 32 bits to one
	return fmt.Sprintf("%08x%08x", uint32(made.Add(1)*odd), os.Getpid())
}

// A node is a recorder over a tree of cgroups of its own.
type node struct {
	*Recorder
	t    testing.TB
	cfg  Config
	root string // kubepods
	naming
	stop func()
}

func newNode(t testing.TB, n naming) *node {
	t.Helper()
	var v2 string
	mounted, err := mountedHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range mounted {
		if h.controllers == nil && isV2(h.mount) {
			v2 = h.mount
		}
	}
	if v2 == "" {
		t.Fatal("cgroup v2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	}
	bpffs := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(bpffs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatalf("mounting a bpffs: %v; this test must run as root", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(bpffs, unix.MNT_DETACH) })
	nd := &node{t: t, naming: n, root: filepath.Join(v2, "swoll-test-"+unique(), n.root)}
	nd.mkdir(filepath.Dir(nd.root))
	nd.mkdir(nd.root)
	if n.qos != "" {
		nd.mkdir(filepath.Join(nd.root, n.qos))
	}
	nd.cfg = Config{
		PinDir: filepath.Join(bpffs, "swoll"), StateDir: filepath.Join(t.TempDir(), "state"),
		Memory: 16 << 20, RingSize: 512 << 10, WatchCgroups: []string{nd.root},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	nd.start()
	t.Cleanup(func() {
		nd.shut()
		if err := Uninstall(nd.cfg.PinDir, nd.cfg.Logger); err != nil {
			t.Error(err)
		}
	})
	return nd
}

func (nd *node) start() {
	nd.t.Helper()
	r, err := New(nd.t.Context(), nd.cfg)
	if err != nil {
		nd.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	nd.Recorder = r
	nd.stop = func() {
		cancel()
		if err := errors.Join(<-done, r.Close()); err != nil {
			nd.t.Error(err)
		}
	}
}

// shut ends the service; the kernel side goes on.
func (nd *node) shut() {
	if nd.stop != nil {
		nd.stop()
	}
	nd.stop = nil
}

func (nd *node) mkdir(dir string) {
	nd.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		nd.t.Fatal(err)
	}
	nd.t.Cleanup(func() {
		eventually(nd.t, "removing "+dir, func() bool {
			err := os.Remove(dir)
			return err == nil || errors.Is(err, os.ErrNotExist)
		})
	})
}

// A pod is one of the node's, and what its containers have to hide.
type pod struct {
	nd         *node
	uid        string
	dir        string
	path, data string
}

// pod invents a pod, and does not make its cgroup.
func (nd *node) pod() *pod {
	id := unique()
	uid := id[:8] + "-" + id[8:12] + "-11e7-9350-" + id[4:]
	return &pod{
		nd: nd, uid: uid, dir: filepath.Join(nd.root, nd.qos, nd.naming.pod(uid)),
		path: "path-" + unique() + "-of-" + id, data: "DATA" + strings.ToUpper(unique()) + "OF" + strings.ToUpper(id),
	}
}

// run makes a container that carries the pod's secrets around, in two threads.
func (p *pod) run() {
	p.nd.t.Helper()
	if _, err := os.Stat(p.dir); err != nil {
		p.nd.mkdir(p.dir)
	}
	dir := filepath.Join(p.dir, p.nd.naming.container(unique()+unique()+unique()+unique()))
	p.nd.mkdir(dir)
	program, err := secretsProgram()
	if err != nil {
		p.nd.t.Fatal(err)
	}
	fd, err := os.Open(dir)
	if err != nil {
		p.nd.t.Fatal(err)
	}
	defer fd.Close()
	backwards := []byte(p.data)
	slices.Reverse(backwards)
	cmd := exec.Command(program, "2", p.path, string(backwards))
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd()), Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.nd.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.nd.t.Fatal(err)
	}
	p.nd.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		p.nd.t.Fatalf("the program says %q, %v", line, err)
	}
}

// inRings tells whether something is anywhere in the memory of the node's rings.
func (nd *node) inRings(what string) bool { return bytes.Contains(nd.k.rings, []byte(what)) }

// known is of how many pods the recorder keeps consent.
func (nd *node) known() int {
	nd.consents.mu.Lock()
	defer nd.consents.mu.Unlock()
	return len(nd.consents.of)
}

func (p *pod) dump() string {
	p.nd.t.Helper()
	var b strings.Builder
	for _, i := range p.nd.all() {
		if i.who().uid != p.uid {
			continue
		}
		if err := p.nd.Recorder.dump(p.nd.t.Context(), []*instance{i}, api.DumpQuery{Format: "text", All: true}, &b); err != nil {
			p.nd.t.Fatal(err)
		}
	}
	return b.String()
}

// recorded waits until both of the pod's secrets are there.
func (p *pod) recorded() {
	p.nd.t.Helper()
	eventually(p.nd.t, "the secrets of a pod that consents are recorded", func() bool {
		return p.nd.inRings(p.path) && p.nd.inRings(p.data)
	})
}

// goesOn waits until much more was recorded of another pod.
func (p *pod) goesOn() {
	p.nd.t.Helper()
	records := func() uint64 {
		pods, err := p.nd.Pods(context.Background())
		if err != nil {
			p.nd.t.Fatal(err)
		}
		for _, x := range pods {
			if x.UID == p.uid {
				return x.Containers[0].Ring.Records + x.Containers[0].Ring.Overwritten
			}
		}
		return 0
	}
	from := records()
	if from == 0 {
		p.nd.t.Fatal("another pod is not recorded")
	}
	eventually(p.nd.t, "another pod is recorded further", func() bool { return records() > from+2000 })
}

func (p *pod) set(c Consent) {
	p.nd.t.Helper()
	if err := p.nd.SetConsent(p.uid, c); err != nil {
		p.nd.t.Fatal(err)
	}
}

// Once SetConsent has returned, nothing of a pod that does not consent is in the raw memory
// of any ring, nor ever comes there: not of what runs, not of containers that come later,
// not while no service runs, not with the next service. Another pod is recorded all the
// time. When consent is given back, the pod is recorded again.
func TestNoRecord(t *testing.T) {
	for _, n := range namings {
		t.Run(n.name, func(t *testing.T) {
			nd := newNode(t, n)
			p, other := nd.pod(), nd.pod()
			p.run()
			p.run()
			other.run()
			p.recorded()
			other.recorded()
			nothing := func(when string) {
				t.Helper()
				for _, s := range []string{p.path, p.data} {
					if nd.inRings(s) {
						t.Fatalf("%s, %s is in a ring", when, s)
					}
				}
				if d := p.dump(); d != "" {
					t.Fatalf("%s, the pod has a dump: %.200s", when, d)
				}
			}
			p.set(Consent{NoRecord: true})
			nothing("after consent was withdrawn")
			other.goesOn()
			nothing("a while later")
			p.run()
			other.goesOn()
			nothing("with a new container")
			nd.shut()
			p.run()
			nd.start()
			other.goesOn()
			nothing("with a container that came while no service ran")
			if !other.nd.inRings(other.data) {
				t.Error("the other pod's data are gone")
			}
			p.set(Consent{})
			p.recorded()
			if n := nd.known(); n != 0 {
				t.Errorf("%d consents are left", n)
			}
			p.path = "path-" + unique()
			p.run()
			p.recorded()
		})
	}
}

// A pod that does not consent to payloads is recorded, but once SetConsent has returned no
// byte of a data buffer is in the raw memory of its rings, nor in its dumps: not of calls
// that returned, not of one that runs since before.
func TestNoPayload(t *testing.T) {
	for _, n := range namings {
		t.Run(n.name, func(t *testing.T) {
			nd := newNode(t, n)
			p, other := nd.pod(), nd.pod()
			p.run()
			p.run()
			other.run()
			p.recorded()
			other.recorded()
			// The service may learn of a ring a moment after there is something in it.
			eventually(t, "a dump holds data while the pod consents", func() bool { return strings.Contains(p.dump(), p.data[:12]) })
			// The shortest piece that says something; readv and others capture halves.
			piece := p.data[len(p.data)/2+1 : len(p.data)/2+11]
			none := func(when string) {
				t.Helper()
				for _, s := range []string{p.data, p.data[:12], piece} {
					if nd.inRings(s) {
						t.Fatalf("%s, %q is in a ring", when, s)
					}
				}
				d := p.dump()
				if strings.Contains(d, p.data[:12]) || strings.Contains(d, piece) {
					t.Fatalf("%s, a dump holds data", when)
				}
				for _, s := range []string{p.path, "write(", "writev(", "sendmsg(", "recvmsg(", "sendto(", "recvfrom(", "readv(", "unfinished"} {
					if !strings.Contains(d, s) {
						t.Fatalf("%s, the dump has no %s", when, s)
					}
				}
			}
			p.set(Consent{NoPayload: true})
			none("after consent was withdrawn")
			other.goesOn()
			none("a while later")
			p.run()
			other.goesOn()
			none("with a new container")
			nd.shut()
			p.run()
			nd.start()
			other.goesOn()
			none("with a container that came while no service ran")
			if d := other.dump(); !strings.Contains(d, other.data[:12]) {
				t.Error("the other pod's data are gone")
			}
			p.set(Consent{})
			p.recorded()
			p.set(Consent{NoPayload: true})
			none("after consent was withdrawn again")
			p.set(Consent{NoRecord: true})
			if nd.inRings(p.path) {
				t.Fatal("the pod is recorded")
			}
			p.set(Consent{NoPayload: true})
			eventually(t, "recorded without payload", func() bool { return nd.inRings(p.path) })
			other.goesOn()
			if nd.inRings(p.data[:12]) {
				t.Fatal("what is recorded again holds data")
			}
		})
	}
}

// Of a pod that consents to a number of bytes, no more of a data buffer is in the raw memory
// of the rings, whichever call had it, and that much is: once SetConsent has returned, of
// containers that come later, also while no service runs, and when more is given back.
func TestPayloadLimit(t *testing.T) {
	for _, n := range namings[:2] {
		t.Run(n.name, func(t *testing.T) {
			nd := newNode(t, n)
			p, other := nd.pod(), nd.pod()
			p.run()
			other.run()
			p.recorded()
			other.recorded()
			most := func(when string, bytes int) {
				t.Helper()
				eventually(t, when+", the first bytes are recorded", func() bool { return nd.inRings(p.data[:bytes]) })
				// Of the whole buffer and of its second half, which some calls have apart. What
				// pads a capture may be any byte that the task captured before, of a path too: so
				// a few more are searched for; in what a dump shows, the very next one.
				d := p.dump()
				for _, from := range []int{0, 1, 2, 3, 4, 19, 20, 21} {
					if s := p.data[from : from+bytes+4]; nd.inRings(s) {
						t.Fatalf("%s, %q is in a ring: more than %d bytes", when, s, bytes)
					}
					if s := p.data[from : from+bytes+1]; strings.Contains(d, s) {
						t.Fatalf("%s, %q is in a dump: more than %d bytes", when, s, bytes)
					}
				}
			}
			p.set(Consent{Payload: 10})
			most("after less was consented to", 10)
			other.goesOn()
			most("a while later", 10)
			p.run()
			other.goesOn()
			most("with a new container", 10)
			nd.shut()
			p.run()
			nd.start()
			other.goesOn()
			most("with a container that came while no service ran", 10)
			p.set(Consent{Payload: 12})
			other.goesOn()
			most("with more", 12)
			p.set(Consent{NoPayload: true, Payload: 12})
			if nd.inRings(p.data[:10]) {
				t.Fatal("what is not consented to at all is in a ring")
			}
			p.set(Consent{Payload: 5})
			other.goesOn()
			most("with little", 5)
			p.set(Consent{})
			p.recorded()
			if !nd.inRings(other.data) {
				t.Error("the other pod's data are gone")
			}
		})
	}
}

// A new service with other limits adopts the rings, and the limits hold from then on. Where
// there are to be no data any more, none are left.
func TestOtherLimits(t *testing.T) {
	nd := newNode(t, namings[0])
	p := nd.pod()
	p.run()
	p.recorded()
	restart := func(change func(*Config)) {
		t.Helper()
		nd.shut()
		change(&nd.cfg)
		nd.start()
		if !nd.k.adopted {
			t.Fatal("the rings are not adopted")
		}
	}
	restart(func(*Config) {})
	restart(func(c *Config) { c.PayloadCalls = map[string]int{"write": 4, "Network": 0, "sendto": 20} })
	older := map[string]bool{}
	for line := range strings.Lines(p.dump()) {
		older[line] = true
	}
	eventually(t, "recorded", func() bool { return nd.inRings(p.path) && nd.inRings(p.data) })
	eventually(t, "limits by call", func() bool {
		d := p.dump()
		return strings.Contains(d, `, "`+p.data[:4]+`"..., 38) = 38`) && strings.Contains(d, "sendto(") && strings.Contains(d, "recvfrom(")
	})
	for line := range strings.Lines(p.dump()) {
		if older[line] {
			continue
		}
		if strings.Contains(line, " write(") && strings.Contains(line, p.data[:5]) ||
			(strings.Contains(line, "sendto(") || strings.Contains(line, "recvfrom(") || strings.Contains(line, "msg(")) && strings.Contains(line, p.data[:1]+p.data[1:4]) {
			t.Fatalf("more than the call may have: %s", line)
		}
	}
	restart(func(c *Config) { c.PayloadCalls, c.DataLimit = nil, NoData })
	if nd.inRings(p.data[:12]) {
		t.Error("data are in the rings just when they are to have none")
	}
	eventually(t, "recorded without data", func() bool { return nd.inRings(p.path) && strings.Contains(p.dump(), " writev(") })
	eventually(t, "more", func() bool { return strings.Count(p.dump(), " write(") > 1000 })
	if nd.inRings(p.data[:12]) {
		t.Error("data are in the rings that are to have none")
	}
}

// Consent may be known before the pod has a cgroup; then its first call is not recorded.
func TestConsentComesFirst(t *testing.T) {
	for _, n := range namings {
		t.Run(n.name, func(t *testing.T) {
			nd := newNode(t, n)
			hidden, bare, other := nd.pod(), nd.pod(), nd.pod()
			hidden.set(Consent{NoRecord: true})
			bare.set(Consent{NoPayload: true})
			hidden.run()
			bare.run()
			other.run()
			other.recorded()
			other.goesOn()
			if nd.inRings(hidden.path) || nd.inRings(hidden.data) {
				t.Error("a pod is recorded that does not consent")
			}
			if !nd.inRings(bare.path) {
				t.Error("a pod is not recorded that consents, but to payloads")
			}
			if nd.inRings(bare.data) {
				t.Error("payloads are recorded of a pod that does not consent to that")
			}
		})
	}
}

// No snapshot that is saved after SetConsent has returned holds a byte of a data buffer, and
// SetConsent returns though snapshots are taken all the time.
func TestConsentDuringSnapshots(t *testing.T) {
	nd := newNode(t, namings[0])
	nd.shut()
	nd.cfg.SnapshotKeep = 1000
	nd.start()
	p := nd.pod()
	p.run()
	p.recorded()
	var sel api.Selector
	nd.refresh() // what is recorded need not have been looked at yet
	for _, i := range nd.all() {
		sel = api.Selector{Namespace: i.who().namespace, Pod: i.who().pod}
	}
	stop := meanwhile(3, func() bool {
		if _, err := nd.Snapshot(context.Background(), sel, "test"); err != nil {
			t.Error(err)
			return false
		}
		if err := nd.dump(t.Context(), nd.all(), api.DumpQuery{Format: "json"}, io.Discard); err != nil {
			t.Error(err)
			return false
		}
		return true
	})
	for range 3 {
		p.set(Consent{})
		p.recorded()
		eventually(t, "a snapshot", func() bool { return len(nd.store.list()) > 3 })
		p.set(Consent{NoPayload: true})
		before := map[string]bool{}
		for _, s := range nd.store.list() {
			before[s.ID] = true
		}
		eventually(t, "snapshots after that", func() bool {
			n := 0
			for _, s := range nd.store.list() {
				if before[s.ID] {
					continue
				}
				var b strings.Builder
				if err := nd.SnapshotDump(context.Background(), s.ID, api.DumpQuery{Format: "text", All: true}, &b); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(b.String(), p.data[:12]) {
					t.Fatal("a snapshot that was saved after consent was withdrawn holds data")
				}
				n++
			}
			return n > 5
		})
	}
	stop()
}

// A service that dies while it withdraws consent leaves that to the next one.
func TestConsentHalfWay(t *testing.T) {
	nd := newNode(t, namings[1])
	hidden, bare := nd.pod(), nd.pod()
	hidden.run()
	bare.run()
	hidden.recorded()
	bare.recorded()
	nd.shut()
	nd.start()
	for p, c := range map[*pod]Consent{hidden: {NoRecord: true}, bare: {NoPayload: true}} {
		if err := nd.k.setConsent(podCgroups(p.uid), c.flags()|consentPending); err != nil {
			t.Fatal(err)
		}
	}
	nd.shut()
	nd.start()
	if nd.inRings(hidden.path) || nd.inRings(hidden.data) {
		t.Error("a pod is recorded that does not consent")
	}
	if nd.inRings(bare.data) || !nd.inRings(bare.path) {
		t.Error("a pod is not recorded as it consents to")
	}
}

// What is recorded by hand obeys the consent of the pods in it.
func TestConsentByHand(t *testing.T) {
	nd := newNode(t, namings[0])
	p, other := nd.pod(), nd.pod()
	p.run()
	other.run()
	p.recorded()
	p.set(Consent{NoRecord: true})
	conflict := func(dir string) {
		t.Helper()
		var e *api.Error
		if _, err := nd.Record(context.Background(), dir, ""); !errors.As(err, &e) || e.Code != api.CodeConflict || !errors.Is(err, errNoConsent) {
			t.Errorf("recording %s: %v, want a conflict", dir, err)
		}
	}
	entries, err := children(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	conflict(p.dir)
	conflict(filepath.Join(p.dir, entries[0]))
	conflict(nd.root)
	conflict(filepath.Dir(nd.root))
	conflict(filepath.Join(nd.root, nd.qos))
	p.set(Consent{})
	p.recorded()
	// A recording that pods are below ends with the consent of one of them.
	host := filepath.Join(nd.root, "guaranteed")
	nd.mkdir(host)
	if _, err := nd.Record(context.Background(), filepath.Dir(nd.root), "above"); err != nil {
		t.Fatal(err)
	}
	p.set(Consent{NoRecord: true})
	if nd.inRings(p.path) || nd.inRings(p.data) {
		t.Error("the pod is recorded by way of its parents")
	}
	other.goesOn()
}

// The consent of a pod that has no cgroup is forgotten after an hour, not before; that of
// one that has is not.
func TestConsentIsForgotten(t *testing.T) {
	nd := newNode(t, namings[1])
	p, gone := nd.pod(), nd.pod()
	p.run()
	p.set(Consent{NoRecord: true})
	gone.set(Consent{NoRecord: true})
	now := time.Now()
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{keepConsent / 2, 2}, {keepConsent + time.Minute, 1}, {3 * keepConsent, 1}} {
		nd.forgetConsents(now.Add(c.after))
		if n := nd.known(); n != c.left {
			t.Errorf("after %v %d consents are left, want %d", c.after, n, c.left)
		}
	}
	gone.run()
	gone.recorded()
	if nd.inRings(p.path) {
		t.Error("a pod is recorded that does not consent")
	}
}

// What is no pod's UID is refused.
func TestConsentOfNobody(t *testing.T) {
	r := &Recorder{}
	for _, uid := range []string{"", ".", "..", "a/b", "a\x00b", strings.Repeat("a", maxPodUID+1)} {
		if err := r.SetConsent(uid, Consent{NoRecord: true}); err == nil {
			t.Errorf("%q was accepted", uid)
		}
	}
}
