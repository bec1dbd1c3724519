package cri

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

const testImage = "swoll.test/pause:1"

// until polls a condition, and fails the test if it does not come true.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// A node is a containerd of the test's own: its root, state and socket are in the test's
// directory, and its mounts and what it has in /run in a mount namespace, which lasts
// longer than one containerd. Its containers' cgroups lie below one cgroup.
type node struct {
	t                    *testing.T
	dir, socket, cgroups string
	holder, containerd   *exec.Cmd
	api                  runtimeapi.RuntimeServiceClient
	pods                 int
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri") // t.TempDir's name may be too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, socket: filepath.Join(dir, "c.sock"), cgroups: "/swoll-cri-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(dir)}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})

	n.holder = exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", "mount -t tmpfs tmpfs /run; echo; read line")
	in, err := n.holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.holder.Stderr = os.Stderr
	if err := n.holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("a mount namespace for containerd: %v", err)
	}
	t.Cleanup(func() { in.Close(); n.holder.Wait() })
	t.Cleanup(n.removeCgroups)
	t.Cleanup(n.killRest)

	config := fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.grpc.v1.introspection", "io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %[3]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = %[5]q
    bin_dir = %[5]q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), n.socket, testImage, filepath.Join(dir, "cni"))
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix:"+n.socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n.api = runtimeapi.NewRuntimeServiceClient(conn)
	n.start()
	t.Cleanup(n.kill)
	n.importImage()
	images := runtimeapi.NewImageServiceClient(conn)
	until(t, "the image is known", func() bool {
		r, err := images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: testImage}})
		return err == nil && r.GetImage() != nil
	})
	t.Cleanup(n.removePods)
	return n
}

// in makes a command that runs in the node's mount namespace.
func (n *node) in(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(n.holder.Process.Pid), "-m", "--"}, args...)...)
}

func (n *node) start() {
	n.t.Helper()
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.containerd = n.in("containerd", "--config", filepath.Join(n.dir, "config.toml"))
	n.containerd.Stdout, n.containerd.Stderr = log, log
	if err := n.containerd.Start(); err != nil {
		n.t.Fatal(err)
	}
	until(n.t, "containerd answers", func() bool {
		ctx, cancel := context.WithTimeout(n.t.Context(), time.Second)
		defer cancel()
		_, err := n.api.Version(ctx, &runtimeapi.VersionRequest{})
		return err == nil
	})
}

// kill kills containerd. Its containers run on.
func (n *node) kill() {
	n.containerd.Process.Kill()
	n.containerd.Wait()
	if n.t.Failed() {
		data, _ := os.ReadFile(filepath.Join(n.dir, "log"))
		lines := strings.Split(string(data), "\n")
		n.t.Logf("the end of containerd's log:\n%s", strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}

func (n *node) removePods() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ps, err := n.api.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		n.t.Error(err)
		return
	}
	for _, p := range ps.Items {
		if _, err := n.api.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			n.t.Error(err)
		}
	}
}

// killRest kills what a test that failed may leave: who is in the cgroups, and the shims in
// the mount namespace.
func (n *node) killRest() {
	pids := map[string]bool{}
	for _, dir := range n.cgroupDirs() {
		data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for pid := range strings.FieldsSeq(string(data)) {
			pids[pid] = true
		}
	}
	holder := strconv.Itoa(n.holder.Process.Pid)
	mine, err := os.Readlink("/proc/" + holder + "/ns/mnt")
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if ns, e := os.Readlink(p + "/ns/mnt"); err == nil && e == nil && ns == mine && filepath.Base(p) != holder {
			pids[filepath.Base(p)] = true
		}
	}
	for pid := range pids {
		if i, err := strconv.Atoi(pid); err == nil {
			syscall.Kill(i, syscall.SIGKILL)
		}
	}
	until(n.t, "all processes of the node are gone", func() bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(pids)), func(pid string) bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return err == nil && !strings.Contains(string(stat), ") Z ")
		})
	})
}

// cgroupDirs are the node's directories in all hierarchies, the innermost first.
func (n *node) cgroupDirs() []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + n.cgroups)
	roots = append(roots, "/sys/fs/cgroup"+n.cgroups)
	var dirs []string
	for _, r := range roots {
		filepath.WalkDir(r, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
	}
	slices.Reverse(dirs)
	return dirs
}

func (n *node) removeCgroups() {
	until(n.t, "the cgroups are removed", func() bool {
		dirs := n.cgroupDirs()
		for _, d := range dirs {
			os.Remove(d)
		}
		return len(dirs) == 0
	})
}

// importImage makes an image of one program, and gives it to containerd.
func (n *node) importImage() {
	t := n.t
	t.Helper()
	program := filepath.Join(n.dir, "pause")
	build := exec.Command("go", "build", "-o", program, "./testdata/pause")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building pause: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	layer := tarOf(t, map[string][]byte{"pause": binary})
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{testImage}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(n.dir, "image.tar")
	if err := os.WriteFile(archive, tarOf(t, map[string][]byte{"manifest.json": manifest, "config.json": config, "layer.tar": layer}), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.in("ctr", "--address", n.socket, "-n", "k8s.io", "images", "import", "--snapshotter", "native", archive).CombinedOutput(); err != nil {
		t.Fatalf("importing the image: %v\n%s", err, out)
	}
}

func tarOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// runPod makes a sandbox as the kubelet does, on the host's network: there is no CNI.
func (n *node) runPod(namespace, name string) (id string, config *runtimeapi.PodSandboxConfig) {
	n.t.Helper()
	n.pods++
	uid := fmt.Sprintf("2c48913c-b29f-41e7-9350-%012d", n.pods)
	config = &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: uid},
		Labels: map[string]string{
			labelPod: name, labelNamespace: namespace, labelUID: uid, "app": "web",
		},
		Annotations:  map[string]string{"swoll.dev/payload": "none", "kubernetes.io/config.source": "api"},
		LogDirectory: filepath.Join(n.dir, "logs", uid),
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: n.cgroups + "/pod" + uid,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
			},
		},
	}
	r, err := n.api.RunPodSandbox(n.t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.PodSandboxId, config
}

// runContainer makes and starts a container as the kubelet does.
func (n *node) runContainer(pod string, config *runtimeapi.PodSandboxConfig, name string, restarts int, args ...string) string {
	n.t.Helper()
	c := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name, Attempt: uint32(restarts)},
		Image:    &runtimeapi.ImageSpec{Image: testImage},
		Args:     args,
		Labels: map[string]string{
			labelContainer: name, labelPod: config.Metadata.Name, labelNamespace: config.Metadata.Namespace, labelUID: config.Metadata.Uid,
		},
		Annotations: map[string]string{annotationRestartCount: strconv.Itoa(restarts)},
		LogPath:     name + "_" + strconv.Itoa(restarts) + ".log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: config.Linux.SecurityContext.NamespaceOptions,
		}},
	}
	r, err := n.api.CreateContainer(n.t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c, SandboxConfig: config})
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.api.StartContainer(n.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		n.t.Fatal(err)
	}
	return r.ContainerId
}

// run runs a client until the test ends.
func run(t *testing.T, cfg Config) (*Client, *containers.Collection) {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	if cfg.Poll == 0 {
		cfg.Poll = 50 * time.Millisecond
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	coll := containers.New(containers.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx, coll) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if c.Connected() {
			t.Error("connected after the end of Run")
		}
	})
	return c, coll
}

func inode(t *testing.T, pid uint32, ns string) uint64 {
	t.Helper()
	st, err := os.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Ino
}

// A real containerd tells whose a container is, where it is, and how it ended; also after
// it was killed and started again.
func TestContainerd(t *testing.T) {
	n := newNode(t)
	client, coll := run(t, Config{Socket: n.socket})
	until(t, "connected", client.Connected)

	// A container made after Run started.
	pod, config := n.runPod("shop", "web-0")
	id := n.runContainer(pod, config, "nginx", 4)
	var c containers.Container
	until(t, "the container is known with its process", func() bool {
		c, _ = coll.Get(id)
		return c.State == containers.StateRunning && c.PID != 0 && c.MountNS != 0
	})
	type names struct{ Runtime, Sandbox, Name, Namespace, Pod, PodUID, Image string }
	uid := config.Metadata.Uid
	if got, want := (names{c.Runtime, c.Sandbox, c.Name, c.Namespace, c.Pod, c.PodUID, c.Image}), (names{"containerd", pod, "nginx", "shop", "web-0", uid, testImage}); got != want {
		t.Errorf("names\n got %+v\nwant %+v", got, want)
	}
	if c.Kind != containers.KindUnknown || c.RestartCount != 4 || c.ExitCode != nil || !strings.HasPrefix(c.ImageID, "sha256:") {
		t.Errorf("kind %q, restart count %d, exit code %v, image %q", c.Kind, c.RestartCount, c.ExitCode, c.ImageID)
	}
	if !maps.Equal(c.Labels, map[string]string{"app": "web"}) || !maps.Equal(c.Annotations, map[string]string{"swoll.dev/payload": "none"}) {
		t.Errorf("not the pod's own labels and annotations: %v, %v", c.Labels, c.Annotations)
	}
	if c.Created.IsZero() || c.Started.Before(c.Created) || !c.Finished.IsZero() {
		t.Errorf("created %v, started %v, finished %v", c.Created, c.Started, c.Finished)
	}
	if want := n.cgroups + "/pod" + uid + "/" + id; c.Cgroup != want {
		t.Errorf("cgroup %q, not %q", c.Cgroup, want)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.PID)); err != nil || exe != "/pause" {
		t.Errorf("process %d is %q (%v), not the container's", c.PID, exe, err)
	}
	if c.MountNS != inode(t, c.PID, "mnt") || c.PIDNS != inode(t, c.PID, "pid") || c.NetNS != inode(t, c.PID, "net") {
		t.Errorf("namespaces %d, %d, %d are not those of the process", c.MountNS, c.PIDNS, c.NetNS)
	}
	if c.MountNS == inode(t, uint32(os.Getpid()), "mnt") || c.PIDNS == inode(t, uint32(os.Getpid()), "pid") || c.NetNS != inode(t, uint32(os.Getpid()), "net") {
		t.Error("only the network namespace is the host's")
	}

	// Its sandbox.
	until(t, "the sandbox is known", func() bool { c, _ = coll.Get(pod); return c.MountNS != 0 })
	if c.Kind != containers.KindSandbox || c.Sandbox != pod || c.Name != "" || c.Pod != "web-0" || c.State != containers.StateRunning {
		t.Errorf("the sandbox: %+v", c)
	}

	// How it ends.
	fails := n.runContainer(pod, config, "migrate", 0, "exit", "3")
	until(t, "the exit code is known", func() bool { c, _ = coll.Get(fails); return c.ExitCode != nil })
	if *c.ExitCode != 3 || c.Reason != "Error" || c.State != containers.StateExited || c.Finished.IsZero() || c.Name != "migrate" {
		t.Errorf("exit code %d, reason %q: %+v", *c.ExitCode, c.Reason, c)
	}
	fine := n.runContainer(pod, config, "setup", 0, "exit", "0")
	until(t, "the exit code is known", func() bool { c, _ = coll.Get(fine); return c.ExitCode != nil })
	if *c.ExitCode != 0 || c.Reason != "Completed" {
		t.Errorf("exit code %d, reason %q", *c.ExitCode, c.Reason)
	}

	// The runtime dies: nothing is forgotten. It comes back: names catch up.
	n.kill()
	until(t, "the connection is lost", func() bool { return !client.Connected() })
	if c, _ := coll.Get(id); c.State != containers.StateRunning || c.Name != "nginx" {
		t.Errorf("after containerd was killed: %+v", c)
	}
	n.start()
	// Run may be connected again only later than this.
	pod2, config2 := n.runPod("bank", "web-0")
	id2 := n.runContainer(pod2, config2, "nginx", 0)
	until(t, "connected again", client.Connected)
	until(t, "what was made meanwhile is known", func() bool { c, _ = coll.Get(id2); return c.PID != 0 })
	if c.Namespace != "bank" || c.Pod != "web-0" || c.PodUID != config2.Metadata.Uid {
		t.Errorf("made meanwhile: %+v", c)
	}
	if c, _ := coll.Get(id); c.State != containers.StateRunning || c.Namespace != "shop" {
		t.Errorf("after containerd's restart: %+v", c)
	}

	// What is removed ends; another client finds what is there, also what ended.
	if _, err := n.api.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod2}); err != nil {
		t.Fatal(err)
	}
	until(t, "the removed container ended", func() bool { c, _ = coll.Get(id2); return c.State == containers.StateExited })
	_, late := run(t, Config{Socket: n.socket})
	until(t, "a late client knows how it ended", func() bool { c, _ = late.Get(fails); return c.ExitCode != nil })
	if c.Name != "migrate" || c.Labels["app"] != "web" || *c.ExitCode != 3 {
		t.Errorf("found late: %+v", c)
	}
	if _, ok := late.Get(id2); ok {
		t.Error("a late client knows what was removed before")
	}
}
