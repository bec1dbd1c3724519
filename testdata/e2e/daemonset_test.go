package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// capabilities are the numbers of those that the manifest may name, see capabilities(7).
var capabilities = map[string]int{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
	"FOWNER": unix.CAP_FOWNER, "KILL": unix.CAP_KILL, "NET_ADMIN": unix.CAP_NET_ADMIN, "SYS_PTRACE": unix.CAP_SYS_PTRACE,
	"SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "SYSLOG": unix.CAP_SYSLOG,
	"PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF,
}

// What deploy/ calls things.
const (
	swollNamespace = "swoll-system"
	swollLabel     = "app.kubernetes.io%2Fname%3Dswoll"
)

// TestDaemonSet runs the service as users do: by the manifests of deploy/, of which it
// changes only where the image comes from. kubectl swoll reaches it there. When it is
// removed, nothing of it is left on the node.
func TestDaemonSet(t *testing.T) {
	before := nodeFiles(t)
	overlay := writeOverlay(t)
	kubectl(t, "apply", "-k", overlay)
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			tryKubectl(t, "delete", "-k", overlay, "--ignore-not-found")
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the service:\n%s", tryKubectl(t, "-n", swollNamespace, "logs", "-l", "app.kubernetes.io/name=swoll", "--tail=200").stdout)
		}
	})
	daemon := daemonPod(t)

	template, wanted := daemonSetTemplate(t)
	pid := servicePID(t, daemon)
	t.Run("Privileges", func(t *testing.T) { checkPrivileges(t, pid, wanted) })
	t.Run("MissingCapability", func(t *testing.T) {
		for _, c := range wanted {
			t.Run(c, func(t *testing.T) { runWithout(t, template, wanted, c) })
		}
	})
	t.Run("Kubectl", func(t *testing.T) { useFromOutside(t) })
	t.Run("Upgrade", func(t *testing.T) { upgrade(t) })
	pid = servicePID(t, daemonPod(t))

	held := kernelObjects(t, pid)
	if len(held.programs) == 0 || len(held.maps) == 0 || len(held.links) == 0 {
		t.Errorf("the service has no programs, maps or links in the kernel: %+v", held)
	}
	kubectl(t, "delete", "-k", overlay, "--timeout=60s")
	deleted = true
	eventually(t, "nothing of it is left on the node", func() error {
		if err := held.gone(); err != nil {
			return err
		}
		var left []string
		for path := range nodeFiles(t) {
			if !before[path] {
				left = append(left, path)
			}
		}
		if len(left) > 0 {
			slices.Sort(left)
			return fmt.Errorf("there are %q", left)
		}
		return nil
	})
}

// writeOverlay makes a kustomization that is deploy/, but takes the image that the tests
// made, and returns its directory.
func writeOverlay(t *testing.T) string {
	t.Helper()
	dir := in("overlay")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	// An absolute path is not accepted.
	if deploy, err = filepath.Rel(dir, deploy); err != nil {
		t.Fatal(err)
	}
	name, tag, _ := strings.Cut(image("swoll"), ":")
	text := `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [` + deploy + `]
images: [{name: ghcr.io/swoll-recorder/swoll, newName: ` + name + `, newTag: "` + tag + `"}]
sortOptions: {order: legacy}
`
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// daemonSetTemplate returns the spec of the DaemonSet's pods, and the capabilities that
// its container asks for.
func daemonSetTemplate(t *testing.T) (spec map[string]any, wanted []string) {
	t.Helper()
	var list struct {
		Items []struct {
			Spec struct {
				Template struct{ Spec map[string]any }
			}
		}
	}
	if err := the.get("/apis/apps/v1/namespaces/"+swollNamespace+"/daemonsets", &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("there are %d DaemonSets", len(list.Items))
	}
	spec = list.Items[0].Spec.Template.Spec
	for _, c := range capabilitiesOf(spec)["add"].([]any) {
		wanted = append(wanted, c.(string))
	}
	if dropped := fmt.Sprint(capabilitiesOf(spec)["drop"]); dropped != "[ALL]" || len(wanted) == 0 {
		t.Fatalf("the container drops %s and adds %q", dropped, wanted)
	}
	return spec, wanted
}

// capabilitiesOf is the field of that name of a pod's only container.
func capabilitiesOf(spec map[string]any) map[string]any {
	container := spec["containers"].([]any)[0].(map[string]any)
	return container["securityContext"].(map[string]any)["capabilities"].(map[string]any)
}

// servicePID finds the process of the service in its pod.
func servicePID(t *testing.T, p *pod) int {
	t.Helper()
	for _, mount := range cgroupMounts() {
		dirs, err := filepath.Glob(filepath.Join(mount, podCgroup, "*/pod"+p.Metadata.UID, p.status("swolld").id()))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if pids := pidsBelow(dir); len(pids) > 0 {
				return slices.Min(pids)
			}
		}
	}
	t.Fatalf("no process of %v", p)
	return 0
}

// checkPrivileges sees that the process has what the manifest says, and no more.
func checkPrivileges(t *testing.T, pid int, wanted []string) {
	var want uint64
	for _, name := range wanted {
		bit, ok := capabilities[name]
		if !ok {
			t.Fatalf("this test does not know the capability %s", name)
		}
		want |= 1 << bit
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		switch f[0] {
		case "CapEff:", "CapPrm:", "CapBnd:":
			if got, err := strconv.ParseUint(f[1], 16, 64); err != nil || got != want {
				t.Errorf("%s %#x (%d capabilities), want %#x (%v)", f[0], got, bits.OnesCount64(got), want, wanted)
			}
		case "NoNewPrivs:":
			if f[1] != "1" {
				t.Error("it can gain privileges")
			}
		case "Seccomp:":
			if f[1] == "0" {
				t.Error("it has no seccomp filter")
			}
		}
	}
	namespaceOf := func(pid any) string {
		link, err := os.Readlink(fmt.Sprintf("/proc/%v/ns/net", pid))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	if namespaceOf(pid) == namespaceOf("self") {
		t.Error("it is in the node's network")
	}
}

// runWithout runs the DaemonSet's container in a pod, without one of its capabilities: it
// must end, and say which one it was.
func runWithout(t *testing.T, template map[string]any, wanted []string, missing string) {
	data, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	var rest []any
	for _, c := range wanted {
		if c != missing {
			rest = append(rest, c)
		}
	}
	capabilitiesOf(spec)["add"] = rest
	spec["restartPolicy"] = "Never"
	// It is not to meet the one that runs.
	container := spec["containers"].([]any)[0].(map[string]any)
	args, _ := container["args"].([]any)
	container["args"] = append(args, "--pin-dir=/host/bpf/without", "--state-dir=/var/log/swoll-without")
	data, err = json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	name := "without-" + strings.ReplaceAll(strings.ToLower(missing), "_", "-")
	createPod(t, swollNamespace, "{name: "+name+"}", string(data))
	waitPod(t, swollNamespace, name, "ended", func(p *pod) error {
		st := p.status("swolld")
		if st == nil || st.State.Terminated == nil {
			return errors.New("it has not")
		}
		if st.State.Terminated.ExitCode != 1 {
			return fmt.Errorf("exit status %d, want 1", st.State.Terminated.ExitCode)
		}
		return nil
	})
	log := kubectl(t, "-n", swollNamespace, "logs", name)
	for _, c := range wanted {
		if named := strings.Contains(log, "CAP_"+c); named != (c == missing) {
			t.Errorf("without CAP_%s the log names CAP_%s: %v\n%s", missing, c, named, log)
		}
	}
	deletePod(t, swollNamespace, name)
}

// useFromOutside uses the service as from a laptop: by kubectl's plugin.
func useFromOutside(t *testing.T) {
	ns := namespace(t, "laptop")
	createPod(t, ns, "{name: shop, labels: {app: shop}}", `{containers: [`+containerOf("app", "[cat, /etc/shop/config.yaml]", "")+`]}`)
	createPod(t, ns, "{name: other}", `{terminationGracePeriodSeconds: 0, containers: [`+containerOf("main", "[/bin/marker, other]", "")+`]}`)
	waitRunning(t, ns, "other")

	var id string
	eventually(t, "kubectl swoll snapshots lists the death", func() error {
		r := tryKubectl(t, "swoll", "snapshots", "-o", "json")
		if r.code != 0 {
			return fmt.Errorf("exit status %d: %s%s", r.code, r.stdout, r.stderr)
		}
		for d := json.NewDecoder(strings.NewReader(r.stdout)); ; {
			var list struct {
				Items []snapshot
				snapshot
			}
			if err := d.Decode(&list); err != nil {
				return fmt.Errorf("it is not in %s", r.stdout)
			}
			for _, snap := range append(list.Items, list.snapshot) {
				if snap.Namespace == ns && snap.Pod == "shop" && snap.Container == "app" && snap.Instance == 0 {
					id = snap.ID
					return nil
				}
			}
		}
	})
	waitTold(t, ns, "shop", id)
	explained := kubectl(t, "swoll", "explain", ns+"/shop")
	for _, want := range []string{"exit 1", "/etc/shop/config.yaml", "ENOENT"} {
		if !strings.Contains(explained, want) {
			t.Errorf("kubectl swoll explain does not say %q:\n%s", want, explained)
		}
	}
	if dumped := kubectl(t, "swoll", "dump", ns+"/other", "--last", "40"); !strings.Contains(dumped, "/marks/other") {
		t.Errorf("kubectl swoll dump has not the pod's calls:\n%s", dumped)
	}
	if listed := kubectl(t, "swoll", "list"); !strings.Contains(listed, ns+"/other") {
		t.Errorf("kubectl swoll list has not the pod:\n%s", listed)
	}
}

// daemonPod is the DaemonSet's one pod, which must be ready.
func daemonPod(t *testing.T) *pod {
	t.Helper()
	var daemon pod
	eventually(t, "the DaemonSet's pod is ready", func() error {
		var list struct{ Items []pod }
		if err := the.get("/api/v1/namespaces/"+swollNamespace+"/pods?labelSelector="+swollLabel, &list); err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("there are %d", len(list.Items))
		}
		daemon = list.Items[0]
		for _, c := range daemon.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				return nil
			}
		}
		return fmt.Errorf("it is %v", &daemon)
	})
	return &daemon
}

// upgrade replaces the DaemonSet's pod: what was recorded before is there after, in rings
// as in snapshots, and what happens meanwhile as well.
func upgrade(t *testing.T) {
	ns := namespace(t, "upgrade")
	createPod(t, ns, "{name: lives}", `{terminationGracePeriodSeconds: 0, containers: [`+containerOf("main", "[/bin/marker, lives]", "")+`]}`)
	waitRunning(t, ns, "lives")
	eventually(t, "the pod is recorded", func() error {
		if r := tryKubectl(t, "swoll", "dump", ns+"/lives"); !strings.Contains(r.stdout, "/marks/lives") {
			return errors.New(r.stderr)
		}
		return nil
	})
	id := strings.TrimSpace(kubectl(t, "swoll", "snapshot", ns+"/lives"))
	before := daemonPod(t)

	kubectl(t, "-n", swollNamespace, "rollout", "restart", "daemonset/swoll")
	kubectl(t, "-n", swollNamespace, "rollout", "status", "daemonset/swoll", "--timeout=60s")
	after := daemonPod(t)
	if before.Metadata.UID == after.Metadata.UID {
		t.Fatal("the pod was not replaced")
	}
	if log := kubectl(t, "-n", swollNamespace, "logs", after.Metadata.Name); !strings.Contains(log, "adopted=true") {
		t.Errorf("the new service adopted nothing:\n%s", log)
	}
	if dumped := kubectl(t, "swoll", "dump", ns+"/lives", "--all"); !strings.Contains(dumped, "execve(\"/bin/marker\"") {
		t.Errorf("the first calls of the pod are lost:\n%s", dumped)
	}
	if shown := kubectl(t, "swoll", "show", id, "--all"); !strings.Contains(shown, "/marks/lives") {
		t.Errorf("the snapshot from before shows:\n%s", shown)
	}
}

// ---- what is on the node

// nodeFiles are the paths of all files where the service may leave one, without those of
// the pods themselves, which are the kubelet's and the runtime's.
func nodeFiles(t *testing.T) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	for _, root := range []string{"/sys/fs/bpf", "/run", "/var", "/etc"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch path {
			case clusterDir, filepath.Dir(criSocket), "/run/containerd-shim", "/run/netns", "/run/utsns", "/run/ipcns",
				"/var/log/pods", "/var/log/containers", "/var/lib/kubelet", "/var/lib/cni", "/var/run":
				return filepath.SkipDir
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			files[path] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// objects are the ids of what a service has in the kernel.
type objects struct {
	programs, maps, links []uint32
}

// kernelObjects are those that a process has open, and what is pinned on the node.
func kernelObjects(t *testing.T, pid int) objects {
	t.Helper()
	var o objects
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range infos {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range bytes.Lines(data) {
			f := bytes.Fields(line)
			if len(f) != 2 {
				continue
			}
			id, err := strconv.ParseUint(string(f[1]), 10, 32)
			if err != nil {
				continue
			}
			switch string(f[0]) {
			case "map_id:":
				o.maps = append(o.maps, uint32(id))
			case "link_id:":
				o.links = append(o.links, uint32(id))
			case "prog_id:": // also said of links
				o.programs = append(o.programs, uint32(id))
			}
		}
	}
	err = filepath.WalkDir("/sys/fs/bpf", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if l, err := link.LoadPinnedLink(path, nil); err == nil {
			defer l.Close()
			info, err := l.Info()
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			o.links = append(o.links, uint32(info.ID))
			o.programs = append(o.programs, uint32(info.Program))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// gone is an error while the kernel has any of them.
func (o objects) gone() error {
	for _, id := range o.links {
		if l, err := link.NewFromID(link.ID(id)); !errors.Is(err, os.ErrNotExist) {
			l.Close()
			return fmt.Errorf("link %d is there (%v)", id, err)
		}
	}
	for _, id := range o.programs {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); !errors.Is(err, os.ErrNotExist) {
			p.Close()
			return fmt.Errorf("program %d is there (%v)", id, err)
		}
	}
	for _, id := range o.maps {
		if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); !errors.Is(err, os.ErrNotExist) {
			m.Close()
			return fmt.Errorf("map %d is there (%v)", id, err)
		}
	}
	return nil
}
