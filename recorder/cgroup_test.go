package recorder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/swoll-recorder/swoll/api"
)

// The pod's uid and the container's id are found in the cgroup names that each runtime
// and driver makes; what is no pod belongs to the host; nothing else is guessed.
func TestIdentify(t *testing.T) {
	const uid = "2c48913c-b29f-11e7-9350-020968147796"
	const id = "d24b5e2ee95b07b2a7aaf4a5d1cf29ac3de9a3e3dcbb3a1a1f8c1cb6b0d2b4c5"
	pod := func(short string) identity {
		return identity{namespace: unknown, pod: "pod" + uid, uid: uid, container: short[:12], containerID: short}
	}
	for name, c := range map[string]struct {
		parent, name string
		want         identity
	}{
		"cgroupfs":            {"pod" + uid, id, pod(id)},
		"systemd, containerd": {"kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice", "cri-containerd-" + id + ".scope", pod(id)},
		"systemd, guaranteed": {"kubepods-pod2c48913c_b29f_11e7_9350_020968147796.slice", "crio-" + id + ".scope", pod(id)},
		"kind":                {"kubelet-kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice", "cri-containerd-" + id + ".scope", pod(id)},
		"kind, cgroupfs":      {"pod" + uid, id, pod(id)},
		"a static pod": {"kubepods-burstable-pod3a8f0e6dd1b1b2a4c5d6e7f8091a2b3c.slice", "cri-containerd-" + id + ".scope",
			identity{namespace: unknown, pod: "pod3a8f0e6dd1b1b2a4c5d6e7f8091a2b3c", uid: "3a8f0e6dd1b1b2a4c5d6e7f8091a2b3c", container: id[:12], containerID: id}},
		"a host cgroup":    {"system.slice", "nginx.service", identity{namespace: api.HostNamespace, pod: "nginx.service", container: "nginx.service"}},
		"named like a pod": {"podman", id, identity{namespace: api.HostNamespace, pod: id, container: id}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := identify(c.parent, c.name); got != c.want {
				t.Errorf("identify(%q, %q) = %+v, want %+v", c.parent, c.name, got, c.want)
			}
		})
	}
}

// A directory that is no cgroup is refused; a cgroup is found in the hierarchy of the
// mount that it is below.
func TestHierarchyOf(t *testing.T) {
	mounted, err := mountedHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if len(mounted) == 0 {
		t.Fatal("no cgroup hierarchy is mounted")
	}
	if _, err := hierarchyOf(t.TempDir(), mounted); err == nil {
		t.Error("a directory that is no cgroup was taken for one")
	}
	for _, h := range mounted {
		got, err := hierarchyOf(h.mount, mounted)
		if h.controllers == nil && !isV2(h.mount) {
			if err == nil {
				t.Errorf("%s has no controllers and was accepted", h.mount)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", h.mount, err)
		} else if (got.id == 0) != isV2(h.mount) || got.mount != h.mount {
			t.Errorf("%s: %+v", h.mount, got)
		}
	}
}

// QoS levels below kubepods, which hold pods, are told from pods, which hold containers.
func TestQoSDir(t *testing.T) {
	for name, want := range map[string]bool{
		"burstable":                                  true,
		"besteffort":                                 true,
		"kubepods-burstable.slice":                   true,
		"kubepods-besteffort.slice":                  true,
		"kubelet-kubepods-burstable.slice":           true,
		"kubelet-kubepods-besteffort.slice":          true,
		"kubelet-kubepods-pod2c48913c.slice":         false,
		"kubelet-kubepods-burstable-pod2c489.slice":  false,
		"kubelet-kubepods.slice":                     false,
		"pod2c48913c-b29f-11e7":                      false,
		"kubepods-pod2c48913c.slice":                 false,
		"kubepods-burstable-pod2c48913c_b29f.slice":  false,
		"kubepods-besteffort-pod2c48913c_b29f.slice": false,
	} {
		if got := isQoSDir(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// The first process of a cgroup is the one whose parent is outside.
func TestFirstProcess(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstProcess(dir); got != 1 {
		t.Errorf("first process %d, want 1", got)
	}
	if got := firstProcess(t.TempDir()); got != 0 {
		t.Errorf("first process of nothing: %d", got)
	}
}

// The kubelet's cgroups are found below a mount wherever the kubelet, or kind, puts them,
// and are known by their names where a user gives them.
func TestKubepods(t *testing.T) {
	for _, n := range namings {
		nd := newNode(t, n)
		if len(nd.roots) != 1 || !nd.roots[0].kubepods || nd.roots[0].dir != nd.root {
			t.Errorf("%s: given %s, it watches %+v", n.name, nd.root, nd.roots)
		}
		below := hierarchy{mount: filepath.Dir(nd.root)}
		if n.root == "kubelet-kubepods.slice" {
			// It is looked for in a slice of kind's.
			nd.mkdir(filepath.Join(below.mount, "kubelet.slice"))
			nd.mkdir(filepath.Join(below.mount, "kubelet.slice", n.root))
			nd.root = filepath.Join(below.mount, "kubelet.slice", n.root)
		}
		if got := kubepodsIn(below); len(got) != 1 || got[0] != (watchRoot{dir: nd.root, kubepods: true}) {
			t.Errorf("%s: below %s it finds %+v, want %s", n.name, below.mount, got, nd.root)
		}
	}
}
