package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A service is a swolld that runs on the node, beside the cluster, with everything that is
// its own. It records all pods of the cluster, also those of other tests.
type service struct {
	t      testing.TB
	dir    string // holds the rest
	socket string
	state  string // directory of snapshots
	pins   string // in a bpffs of the test's own
	args   []string
	http   *http.Client
	cmd    *exec.Cmd
	gone   chan struct{} // closed when cmd has ended
	log    *logBuffer
}

// newService starts a service with further flags; the last of two equal ones holds.
func newService(t testing.TB, args ...string) *service {
	t.Helper()
	dir, err := os.MkdirTemp(clusterDir, "service-")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		t: t, dir: dir, args: args, log: &logBuffer{},
		socket: filepath.Join(dir, "swoll.sock"), state: filepath.Join(dir, "state"), pins: filepath.Join(dir, "bpf", "swoll"),
	}
	bpffs := filepath.Dir(s.pins)
	if err := os.Mkdir(bpffs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		t.Fatalf("mounting a bpffs: %v", err)
	}
	s.http = overSocket(s.socket)
	t.Cleanup(func() {
		if s.cmd != nil {
			s.stop()
		}
		if r := run(t, append(s.command(), "--uninstall")...); r.code != 0 {
			t.Errorf("swolld --uninstall: exit status %d\n%s", r.code, r.stderr)
		}
		if err := unix.Unmount(bpffs, 0); err != nil {
			t.Errorf("umount %s: %v", bpffs, err)
		}
		if t.Failed() {
			t.Logf("log of the service:\n%s", s.log)
		}
	})
	s.start()
	return s
}

// overSocket makes a client that talks to a Unix domain socket.
func overSocket(socket string) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 4,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}
}

// in returns the service for use by a subtest, which then is what fails.
func (s *service) in(t testing.TB) *service {
	sub := *s
	sub.t = t
	return &sub
}

// command is the service's command line.
func (s *service) command() []string {
	return append([]string{built + "/swolld", "--socket", s.socket, "--state-dir", s.state, "--pin-dir", s.pins,
		"--kubeconfig", in("admin.kubeconfig"), "--node-name", nodeName,
		"--memory", "128MiB", "--ring-size", "512KiB"}, s.args...)
}

// start starts the service and returns once it is ready.
func (s *service) start() {
	s.t.Helper()
	argv := s.command()
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := startChild(s.cmd); err != nil {
		s.t.Fatal(err)
	}
	gone, cmd := make(chan struct{}), s.cmd
	s.gone = gone
	go func() {
		cmd.Wait()
		close(gone)
	}()
	eventually(s.t, "the service is ready", func() error {
		select {
		case <-gone:
			s.t.Fatalf("the service ended: %v\n%s", cmd.ProcessState, s.log)
		default:
		}
		_, err := s.try("GET", "/readyz", nil)
		return err
	})
}

// stop ends the service as systemd does, and expects it to go in peace.
func (s *service) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.gone:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			s.t.Errorf("the service, told to stop, ended with %v", s.cmd.ProcessState)
		}
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.gone
		s.t.Errorf("the service did not stop within %v", patience)
	}
	s.cmd = nil
}

// try makes a request; any status but 200 to 299 is an error.
func (s *service) try(method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequest(method, "http://swoll"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, data)
	}
	return data, nil
}

// get fetches path, which must be there.
func (s *service) get(path string) []byte {
	s.t.Helper()
	body, err := s.try("GET", path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return body
}

// A recorded is one life of a container that the service has.
type recorded struct {
	Namespace, Pod, UID string // of its pod
	Labels              map[string]string

	Name, ID, Image, Cgroup, State string
	Instance                       int
	Ring                           struct {
		Bytes, Records, Overwritten uint64
		Lost                        map[string]uint64
		Oldest, Newest              time.Time
	}
}

func (r recorded) String() string {
	return fmt.Sprintf("%s/%s/%s#%d (%.12s, %s)", r.Namespace, r.Pod, r.Name, r.Instance, r.ID, r.State)
}

// tryList lists all that the service has.
func (s *service) tryList() ([]recorded, error) {
	body, err := s.try("GET", "/v1/pods", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Namespace, Name, UID string
			Labels               map[string]string
			Containers           []recorded
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%w in %.300s", err, body)
	}
	var all []recorded
	for _, p := range list.Items {
		for _, c := range p.Containers {
			c.Namespace, c.Pod, c.UID, c.Labels = p.Namespace, p.Name, p.UID, p.Labels
			all = append(all, c)
		}
	}
	return all, nil
}

func (s *service) list() []recorded {
	s.t.Helper()
	all, err := s.tryList()
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// waitNamed waits until the service has a container under its pod's name.
func (s *service) waitNamed(namespace, pod, container string) *recorded {
	s.t.Helper()
	var found *recorded
	eventually(s.t, fmt.Sprintf("the service records %s/%s/%s", namespace, pod, container), func() error {
		all, err := s.tryList()
		if err != nil {
			return err
		}
		for i, r := range all {
			if r.Namespace == namespace && r.Pod == pod && r.Name == container {
				found = &all[i]
				return nil
			}
		}
		return fmt.Errorf("it has %v", all)
	})
	return found
}

// An event is one line of a JSON dump.
type event struct {
	Syscall *struct {
		Nr   int
		Name string
	}
	Event     string
	PID, TID  int
	Comm      string
	Container struct{ ID, Pod, Name, Namespace string }
	Return    *int64
	Error     string
	Start     int64
	Args      map[string]any
	Seq       uint64
	Lane      string
	Cut       bool
}

// name is the call's name, or "" for events that are no calls.
func (e event) name() string {
	if e.Syscall == nil {
		return ""
	}
	return e.Syscall.Name
}

// mentions tells whether an argument of a call has text in it.
func (e event) mentions(text string) bool {
	data, err := json.Marshal(e.Args)
	return err == nil && bytes.Contains(data, []byte(text))
}

func (e event) String() string {
	data, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// tryEvents fetches a JSON dump.
func (s *service) tryEvents(path string) ([]event, error) {
	body, err := s.try("GET", path, nil)
	if err != nil {
		return nil, err
	}
	var events []event
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var e event
		err := d.Decode(&e)
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w after %d lines", path, err, len(events))
		}
		events = append(events, e)
	}
}

// dumpPath is where the whole history of one life of a container is.
func dumpPath(r *recorded) string {
	pod := r.Pod
	if r.UID != "" {
		pod = r.UID // others had the name before, or have it now
	}
	return fmt.Sprintf("/v1/pods/%s/%s/dump?format=json&all=true&container=%s&instance=%d", r.Namespace, pod, url.QueryEscape(r.Name), r.Instance)
}

// dump is the whole history of one life of a container.
func (s *service) dump(r *recorded) []event {
	s.t.Helper()
	events, err := s.tryEvents(dumpPath(r))
	if err != nil {
		s.t.Fatal(err)
	}
	return events
}

// A snapshot is a saved history's metadata.
type snapshot struct {
	ID, Namespace, Pod, Container string
	UID, ContainerID, Image       string
	Labels                        map[string]string
	Instance                      int
	Trigger, Reason               string
	ExitCode                      *int
	Signal                        *string
	Records                       int64
}

func (s snapshot) String() string {
	data, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func (s *service) trySnapshots() ([]snapshot, error) {
	body, err := s.try("GET", "/v1/snapshots", nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []snapshot }
	err = json.Unmarshal(body, &list)
	return list.Items, err
}

// snapshots lists the snapshots of a namespace.
func (s *service) snapshots(namespace string) []snapshot {
	s.t.Helper()
	all, err := s.trySnapshots()
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(s snapshot) bool { return s.Namespace != namespace })
}

// waitSnapshot waits for a snapshot of a container, which f takes; nil: any.
func (s *service) waitSnapshot(namespace, pod, container string, f func(snapshot) bool) snapshot {
	s.t.Helper()
	var found snapshot
	eventually(s.t, fmt.Sprintf("a snapshot of %s/%s/%s", namespace, pod, container), func() error {
		all, err := s.trySnapshots()
		if err != nil {
			return err
		}
		for _, snap := range all {
			if snap.Namespace == namespace && snap.Pod == pod && snap.Container == container && (f == nil || f(snap)) {
				found = snap
				return nil
			}
		}
		return fmt.Errorf("there are %v", all)
	})
	return found
}

// events is the history that a snapshot has.
func (s *service) events(snap snapshot) []event {
	s.t.Helper()
	events, err := s.tryEvents("/v1/snapshots/" + snap.ID + "/dump?format=json&all=true")
	if err != nil {
		s.t.Fatal(err)
	}
	return events
}

// cli runs swoll-dump against the service, and expects it to succeed.
func (s *service) cli(args ...string) string {
	s.t.Helper()
	r := run(s.t, append([]string{built + "/swoll-dump", "--socket", s.socket}, args...)...)
	if r.code != 0 {
		s.t.Fatalf("swoll-dump %q: exit status %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// firstExec checks that a history, which must be a whole one, begins with what the runtime
// did before it executed the container's program, and that the first execve is that of the
// program. The runtime moves its own process into the cgroup, which may be in the middle of
// its execve: of that one there is the end, without arguments.
func firstExec(events []event, program string) error {
	at := slices.IndexFunc(events, func(e event) bool {
		return e.name() == "execve" && e.Error == "OK" && !(e.Start == 0 && strings.HasPrefix(e.Comm, "runc"))
	})
	if at < 0 {
		return errors.New("it has no execve")
	}
	if !events[at].mentions(program) {
		return fmt.Errorf("its first execve is not that of %s: %v", program, events[at])
	}
	if at == 0 {
		return fmt.Errorf("it has nothing of before its execve, so it may not be whole: %v", events[at])
	}
	return nil
}

// eachMap shows f every map that the service has pinned, open until f returns.
func (s *service) eachMap(t testing.TB, f func(m *ebpf.Map) error) {
	t.Helper()
	err := filepath.WalkDir(s.pins, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "link_") {
			return err
		}
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err == nil {
			defer m.Close()
			err = f(m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mentions tells whether any call of a history has text in an argument.
func mentions(events []event, text string) bool {
	return slices.ContainsFunc(events, func(e event) bool { return e.mentions(text) })
}

// A logBuffer collects what a program writes while others read it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
