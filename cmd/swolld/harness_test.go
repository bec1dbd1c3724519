// End-to-end tests of the node service: the real programs, built once, on the real
// kernel, spoken to as users do. They need root, BTF, and the tools that need() names.
// Each test runs a service of its own, with its own socket, state, bpffs and cgroups.
package main_test

import (
	"bufio"
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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for something that must happen before it gives up.
// It is generous: it only bounds how long a failure takes.
var patience = 30 * time.Second * slowness

// slowness is how many times longer than here things may take where the tests run: in an
// emulated machine, SWOLL_TEST_SLOW says.
var slowness = func() time.Duration {
	n, err := strconv.Atoi(os.Getenv("SWOLL_TEST_SLOW"))
	if err != nil {
		return 1
	}
	return time.Duration(n)
}()

// built is where TestMain put the programs under test.
var built string

// prebuilt is where all programs are already, and those of testdata/programs with them:
// in an emulated machine there is no compiler.
var prebuilt = os.Getenv("SWOLL_TEST_PROGRAMS")

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if prebuilt != "" {
		built = prebuilt
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "swoll-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// The service is also started as an unprivileged user.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "../swolld", "../swoll-dump")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", cmd, err, out)
		return 1
	}
	built = dir
	return m.Run()
}

// packages says which Debian package has a tool, where the names differ.
var packages = map[string]string{
	"gcc": "gcc libc6-dev", "find": "findutils", "python3.11": "python3",
	"ls": "coreutils", "cat": "coreutils", "dd": "coreutils", "sort": "coreutils",
	"unshare": "util-linux", "gofmt": "golang", "go": "golang", "awk": "mawk",
	"node": "nodejs", "nginx": "nginx-light",
}

// need returns the path of a tool that the test cannot do without.
func need(t testing.TB, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		pkg := packages[tool]
		if pkg == "" {
			pkg = tool
		}
		t.Fatalf("this test needs %s: apt-get install %s", tool, pkg)
	}
	return path
}

var programs sync.Map // name -> func() (string, error)

// program builds testdata/programs/NAME.c, statically, and returns the program's path.
func program(t testing.TB, name string) string {
	t.Helper()
	if prebuilt != "" {
		return filepath.Join(prebuilt, name)
	}
	gcc := need(t, "gcc")
	build, _ := programs.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		path := filepath.Join(built, name)
		cmd := exec.Command(gcc, "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread",
			"-o", path, filepath.Join("../../testdata/programs", name+".c"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %v\n%s", cmd, err, out)
		}
		return path, nil
	}))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually calls f until it returns nil.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ---- mounts and cgroups

// mounted returns the mount points of a file system type, with their super options.
func mounted(t testing.TB, fstype string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, line := range strings.Split(string(data), "\n") {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if ok && len(left) > 4 && len(right) > 2 && right[0] == fstype && left[3] == "/" {
			found[left[4]] = right[2]
		}
	}
	return found
}

// mount mounts a file system at a new directory of the test's own.
func mount(t testing.TB, fstype, dir string, flags uintptr, data string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fstype, dir, fstype, flags, data); err != nil {
		t.Fatalf("mount %s at %s: %v; these tests must run as root, outside of a user namespace", fstype, dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("umount %s: %v", dir, err)
		}
	})
}

// unified returns where cgroup v2 is mounted.
func unified(t testing.TB) string {
	t.Helper()
	for dir := range mounted(t, "cgroup2") {
		return dir
	}
	t.Fatal("cgroup v2 is not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	return ""
}

// legacy returns where a v1 hierarchy with a controller is mounted, or "".
func legacy(t testing.TB, controller string) string {
	t.Helper()
	for dir, options := range mounted(t, "cgroup") {
		for _, o := range strings.Split(options, ",") {
			if o == controller {
				return dir
			}
		}
	}
	return ""
}

var cgroupsMade atomic.Int64

// makeCgroup makes a cgroup below a hierarchy's root, and removes it after the test.
func makeCgroup(t testing.TB, root string) string {
	t.Helper()
	dir := filepath.Join(root, fmt.Sprintf("swoll-test-%d-%d", os.Getpid(), cgroupsMade.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, dir) })
	return dir
}

// removeCgroup removes a cgroup as soon as its last process is gone.
func removeCgroup(t testing.TB, dir string) {
	t.Helper()
	eventually(t, "rmdir "+dir, func() error {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}

// ---- the service

// A service is one swolld with everything that is its own.
type service struct {
	t      testing.TB
	dir    string // holds the rest
	socket string
	state  string // directory of snapshots
	pins   string // in a bpffs of the test's own
	watch  string // cgroup; those made below it are recorded
	args   []string
	http   *http.Client
	cmd    *exec.Cmd
	gone   chan struct{} // closed when cmd has ended
	log    *logBuffer
}

// newService starts a service that watches a cgroup v2 of its own; args are further flags.
func newService(t testing.TB, args ...string) *service {
	t.Helper()
	s := prepareService(t, unified(t), args...)
	s.start()
	return s
}

// prepareService makes everything that a service needs and does not start it.
func prepareService(t testing.TB, hierarchy string, args ...string) *service {
	t.Helper()
	s := &service{t: t, dir: t.TempDir(), args: args, log: &logBuffer{}}
	s.socket = filepath.Join(s.dir, "swoll.sock")
	s.state = filepath.Join(s.dir, "state")
	bpffs := filepath.Join(s.dir, "bpf")
	mount(t, "bpf", bpffs, 0, "")
	// Apart from the iterators that the kernel puts into each bpffs.
	own := filepath.Join(bpffs, "own")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	s.pins = filepath.Join(own, "swoll")
	s.watch = makeCgroup(t, hierarchy)
	s.http = &http.Client{
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 16,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
			},
		},
	}
	t.Cleanup(func() {
		if s.cmd != nil {
			s.stop()
		}
		if code, out := s.uninstall(); code != 0 {
			t.Errorf("swolld --uninstall: exit status %d\n%s", code, out)
		}
		if t.Failed() {
			t.Logf("log of the service:\n%s", s.log)
		}
	})
	return s
}

// in returns the service for use by a subtest, which then is what fails.
func (s *service) in(t testing.TB) *service {
	sub := *s
	sub.t = t
	return &sub
}

// flags are the service's command line.
func (s *service) flags() []string {
	flags := []string{"--socket", s.socket, "--state-dir", s.state, "--pin-dir", s.pins,
		"--watch-cgroup", s.watch}
	// The last of two equal flags holds.
	return append(append(flags, "--memory", "16MiB", "--ring-size", "1MiB"), s.args...)
}

// start starts the service and returns once it says that it is ready.
func (s *service) start() {
	s.t.Helper()
	s.startUnder()
}

// startUnder is start, with the service's command line appended to another command,
// which must end by executing it.
func (s *service) startUnder(prefix ...string) {
	s.t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(s.dir, "notify"), Net: "unixgram"}
	os.Remove(address.Name)
	notify, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer notify.Close()

	argv := append(append(prefix[:len(prefix):len(prefix)], filepath.Join(built, "swolld")), s.flags()...)
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+address.Name)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	gone, cmd := make(chan struct{}), s.cmd
	s.gone = gone
	ready := make(chan error, 1)
	go func() {
		cmd.Wait()
		close(gone)
		notify.SetReadDeadline(time.Now())
	}()
	go func() {
		notify.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				ready <- err
				return
			}
			for _, line := range strings.Split(string(buf[:n]), "\n") {
				if line == "READY=1" {
					ready <- nil
					return
				}
			}
		}
	}()
	if err := <-ready; err != nil {
		s.t.Fatalf("the service did not say READY=1: %v\n%s", err, s.log)
	}
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

// kill ends the service without any warning.
func (s *service) kill() {
	s.cmd.Process.Kill()
	<-s.gone
	s.cmd = nil
}

// uninstall runs swolld --uninstall.
func (s *service) uninstall() (int, string) {
	s.t.Helper()
	return runSwolld(s.t, nil, append(s.flags(), "--uninstall")...)
}

// runSwolld runs a swolld that must end by itself, and returns its exit status and
// what it wrote. prefix is a command to run it under.
func runSwolld(t testing.TB, prefix []string, args ...string) (int, string) {
	t.Helper()
	argv := append(append(prefix[:len(prefix):len(prefix)], filepath.Join(built, "swolld")), args...)
	return run(t, exec.Command(argv[0], argv[1:]...))
}

func run(t testing.TB, cmd *exec.Cmd) (int, string) {
	t.Helper()
	var out logBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	cmd.Wait()
	if !timer.Stop() {
		t.Errorf("%v: still running after %v", cmd, patience)
	}
	return cmd.ProcessState.ExitCode(), out.String()
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

// ---- HTTP

// do makes a request and returns status and body.
func (s *service) do(method, path string, body io.Reader) (int, http.Header, []byte) {
	s.t.Helper()
	status, header, data, err := s.try(method, path, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, path, err, s.log)
	}
	return status, header, data
}

func (s *service) try(method, path string, body io.Reader) (int, http.Header, []byte, error) {
	req, err := http.NewRequest(method, "http://swoll"+path, body)
	if err != nil {
		return 0, nil, nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, data, err
}

// get fetches path, which must be there.
func (s *service) get(path string) []byte {
	s.t.Helper()
	status, _, body := s.do("GET", path, nil)
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: status %d: %s", path, status, body)
	}
	return body
}

// post posts a JSON body (nil: none) and expects a status of the 200s.
func (s *service) post(path string, body any) []byte {
	s.t.Helper()
	var r io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(data)
	}
	status, _, out := s.do("POST", path, r)
	if status/100 != 2 {
		s.t.Fatalf("POST %s: status %d: %s", path, status, out)
	}
	return out
}

// problem makes a request that must fail with an RFC 9457 document, and returns
// the status, the code and the text.
func (s *service) problem(method, path string, body io.Reader) (int, string, string) {
	s.t.Helper()
	status, header, data := s.do(method, path, body)
	if got := header.Get("Content-Type"); got != "application/problem+json" {
		s.t.Errorf("%s %s: status %d of type %q, want application/problem+json: %s", method, path, status, got, data)
	}
	var p struct{ Code, Title, Detail string }
	if err := json.Unmarshal(data, &p); err != nil {
		s.t.Errorf("%s %s: %v in %s", method, path, err, data)
	}
	return status, p.Code, p.Title + ": " + p.Detail
}

// ringState is what the service tells of a container.
type ringState struct {
	Instance int
	State    string
	Cgroup   string
	Ring     ring
}

// A ring is what a list says that a container's ring holds.
type ring struct {
	Bytes, Records, Overwritten uint64
	Lost                        map[string]uint64
	IOUring                     bool
}

// podNames lists what is recorded.
func (s *service) podNames() []string {
	s.t.Helper()
	var list struct {
		Items []struct{ Namespace, Name string }
	}
	unmarshal(s.t, s.get("/v1/pods"), &list)
	var names []string
	for _, p := range list.Items {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	return names
}

// ring returns the state of a pod's newest container.
func (s *service) ring(pod string) ringState {
	s.t.Helper()
	var list struct {
		Items []struct{ Containers []ringState }
	}
	body := s.get("/v1/pods/host/" + pod)
	unmarshal(s.t, body, &list)
	if len(list.Items) != 1 || len(list.Items[0].Containers) == 0 {
		s.t.Fatalf("not one pod with a container: %s", body)
	}
	newest := list.Items[0].Containers[0]
	for _, c := range list.Items[0].Containers {
		if c.Instance > newest.Instance {
			newest = c
		}
	}
	return newest
}

func unmarshal(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v in %.300s", err, data)
	}
}

// An event is one line of a JSON dump.
type event struct {
	Syscall *struct {
		Nr        int
		Name, ABI string
	}
	Event    string
	PID, TID int
	Comm     string
	Return   *int64
	Error    string
	Start    int64
	Finish   *int64
	Args     map[string]any
	Seq      uint64
	Lane     string
	Cut      bool
	Late     bool
	Signal   any // of events: its name
	Child    struct{ PID, TID int }
	// Of exits.
	LastThread bool
	// Of a run of the same call; Count is 0 otherwise.
	Count uint64
	Last  int64
	Total int64
	// Of operations of io_uring.
	Opcode                 struct{ Name string }
	UserData               string `json:"user_data"`
	FD                     *int
	Flags, CompletionFlags []string
}

// calls is for how many calls an event stands.
func (e event) calls() uint64 { return max(1, e.Count) }

// name is the call's name, or "" for events that are no calls.
func (e event) name() string {
	if e.Syscall == nil {
		return ""
	}
	return e.Syscall.Name
}

func (e event) String() string {
	data, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// events fetches a JSON dump.
func (s *service) events(path string) []event {
	s.t.Helper()
	body := s.get(path)
	var events []event
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var e event
		err := d.Decode(&e)
		if err == io.EOF {
			return events
		}
		if err != nil {
			s.t.Fatalf("GET %s: %v after %d lines", path, err, len(events))
		}
		events = append(events, e)
	}
}

// dump is the history of a pod of the namespace host; query like "all=true&last=5".
func (s *service) dump(pod, query string) []event {
	s.t.Helper()
	return s.events("/v1/pods/host/" + url.PathEscape(pod) + "/dump?format=json&" + query)
}

// text is dump, as lines of text.
func (s *service) text(pod, query string) []string {
	s.t.Helper()
	return strings.Split(strings.TrimSuffix(string(s.get("/v1/pods/host/"+pod+"/dump?"+query)), "\n"), "\n")
}

// A snapshot is a saved history's metadata.
type snapshot struct {
	ID, Namespace, Pod, Container string
	Trigger, Reason               string
	Instance                      int
	ExitCode                      *int
	Signal                        *string
	Bytes, Records                int64
}

// snapshots lists the snapshots of a pod, or all for "".
func (s *service) snapshots(pod string) []snapshot {
	s.t.Helper()
	var list struct{ Items []snapshot }
	unmarshal(s.t, s.get("/v1/snapshots"), &list)
	var found []snapshot
	for _, snap := range list.Items {
		if pod == "" || snap.Pod == pod {
			found = append(found, snap)
		}
	}
	return found
}

// waitSnapshot waits for the first snapshot of a pod.
func (s *service) waitSnapshot(pod string) snapshot {
	s.t.Helper()
	var snaps []snapshot
	eventually(s.t, "a snapshot of "+pod, func() error {
		if snaps = s.snapshots(pod); len(snaps) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	if len(snaps) > 1 {
		s.t.Errorf("%d snapshots of %s, want one: %+v", len(snaps), pod, snaps)
	}
	return snaps[0]
}

// ---- swoll-dump

type result struct {
	code           int
	stdout, stderr string
}

// cli runs swoll-dump against the service.
func (s *service) cli(args ...string) result {
	s.t.Helper()
	return s.cliInput("", args...)
}

func (s *service) cliInput(input string, args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(built, "swoll-dump"), append([]string{"--socket", s.socket}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	if ctx.Err() != nil {
		s.t.Fatalf("swoll-dump %q did not end", args)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// mustCLI is cli for a command that must succeed; it returns standard output.
func (s *service) mustCLI(args ...string) string {
	s.t.Helper()
	r := s.cli(args...)
	if r.code != 0 {
		s.t.Fatalf("swoll-dump %q: exit status %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// ---- containers and their processes

// A container is a cgroup that a service records.
type container struct {
	s    *service
	name string // the pod's name as well
	dir  string
}

// container makes a cgroup below the watched one.
func (s *service) container(name string) *container {
	s.t.Helper()
	dir := filepath.Join(s.watch, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { removeCgroup(s.t, dir) })
	return &container{s, name, dir}
}

// A process is one that a test started.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	pid   int
	in    *os.File
	out   *os.File
	lines *bufio.Reader
	gone  chan struct{}
	died  time.Time // when its end was seen; valid once gone is closed
}

// start starts a program as the container's own: no call of it is made elsewhere.
func (c *container) start(argv ...string) *process {
	c.s.t.Helper()
	dir, err := os.Open(c.dir)
	if err != nil {
		c.s.t.Fatal(err)
	}
	defer dir.Close()
	return startProcess(c.s.t, &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}, argv...)
}

// startProcess starts a program with pipes for the test to talk to it.
func startProcess(t testing.TB, attr *syscall.SysProcAttr, argv ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(argv[0], argv[1:]...), gone: make(chan struct{})}
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out, p.lines = inW, outR, bufio.NewReader(outR)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = inR, outW, os.Stderr
	p.cmd.SysProcAttr = attr
	err = p.cmd.Start()
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatalf("start %q: %v", argv, err)
	}
	p.pid = p.cmd.Process.Pid
	go func() {
		p.cmd.Wait()
		p.died = time.Now()
		close(p.gone)
	}()
	t.Cleanup(func() {
		p.kill()
		p.in.Close()
		p.out.Close()
	})
	return p
}

// line reads the next line that the program prints.
func (p *process) line() string {
	p.t.Helper()
	p.out.SetReadDeadline(time.Now().Add(patience))
	line, err := p.lines.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%v: no further line: %v", p.cmd, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// expect reads a line that begins with want, and returns the rest.
func (p *process) expect(want string) string {
	p.t.Helper()
	line := p.line()
	rest, ok := strings.CutPrefix(line, want)
	if !ok {
		p.t.Fatalf("%v said %q, want %q", p.cmd, line, want)
	}
	return strings.TrimSpace(rest)
}

// send gives the program the byte that it waits for.
func (p *process) send() {
	p.t.Helper()
	if _, err := p.in.Write([]byte("x")); err != nil {
		p.t.Fatalf("%v: %v", p.cmd, err)
	}
}

// wait waits for the end of the program.
func (p *process) wait() *os.ProcessState {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.t.Fatalf("%v did not end within %v", p.cmd, patience)
	}
	return p.cmd.ProcessState
}

// kill ends the program at once, if it has not ended.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.gone
}

// tids lists the threads of the program.
func (p *process) tids() []int {
	p.t.Helper()
	return threadsOf(p.t, p.pid)
}

func threadsOf(t testing.TB, pid int) []int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	var tids []int
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		tids = append(tids, tid)
	}
	return tids
}

// confine keeps a process's threads, and those that they make, on some CPUs.
func confine(t testing.TB, pid int, cpus ...int) {
	t.Helper()
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	for _, tid := range threadsOf(t, pid) {
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			t.Fatalf("sched_setaffinity of %d to %v: %v", tid, cpus, err)
		}
	}
}

// ownCPUs lists the CPUs that this process may use.
func ownCPUs(t testing.TB) []int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) < 2 {
		t.Fatal("this test needs a machine with at least two CPUs")
	}
	return cpus
}
