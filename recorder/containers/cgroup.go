package containers

import "strings"

// A CgroupName is what the path of a container's cgroup tells.
type CgroupName struct {
	ID      string // of the container
	Runtime string // as in Container, where the path tells; else ""
	PodUID  string // where the path tells, as Kubernetes writes it; else ""
}

// ParseCgroup reads the path of a cgroup, below the root of its hierarchy, as containerd,
// CRI-O, docker and podman make them, with the cgroupfs and the systemd driver, on cgroup
// v1, hybrid and v2, also nested (kind). ok is false where it is not a container's own: a
// pod's, a runtime's monitor's, or one that a container made inside itself, which belongs
// to the nearest of its parents for which ok is true.
func ParseCgroup(path string) (n CgroupName, ok bool) {
	// The kernel says so of the cgroup of a process that outlived it.
	path = strings.TrimSuffix(path, " (deleted)")
	dir, base := cutBase(path)
	_, parent := cutBase(dir)

	// A runtime that is told systemd's form of a path, but uses cgroupfs, makes a directory
	// of that name: SLICE:PREFIX:ID.
	if f := strings.Split(base, ":"); len(f) == 3 {
		r, known := scopes[f[1]]
		if !known || !isID(f[2]) {
			return CgroupName{}, false
		}
		return CgroupName{ID: f[2], Runtime: r, PodUID: podUID(f[0])}, true
	}

	// Who uses systemd must call it a scope; CRI-O and podman use their prefix in both drivers.
	name := strings.TrimSuffix(base, ".scope")
	if prefix, id, found := cutLast(name, "-"); found {
		r, known := scopes[prefix]
		if !known || !isID(id) {
			return CgroupName{}, false
		}
		return CgroupName{ID: id, Runtime: r, PodUID: podUID(parent)}, true
	}
	if !isID(base) {
		return CgroupName{}, false
	}
	n = CgroupName{ID: base, PodUID: podUID(parent)}
	if parent == "docker" {
		n.Runtime = "docker"
	}
	return n, true
}

// scopes are the words that runtimes put before a container's id. Their monitors' have
// others, such as crio-conmon.
var scopes = map[string]string{
	"cri-containerd": "containerd",
	"nerdctl":        "containerd",
	"crio":           "cri-o",
	"docker":         "docker",
	"libpod":         "podman",
	"libpod-payload": "podman", // with --cgroups=split
}

// podUID reads the name of a pod's cgroup: podUID, or SOMETHING-podUID.slice, in which
// systemd needs the dashes for itself. It is empty where the name is not a pod's.
func podUID(base string) string {
	if name, isSlice := strings.CutSuffix(base, ".slice"); isSlice {
		_, name, found := cutLast(name, "-pod")
		if !found {
			return ""
		}
		base = "pod" + strings.ReplaceAll(name, "_", "-")
	}
	uid, found := strings.CutPrefix(base, "pod")
	if !found || !isUID(uid) {
		return ""
	}
	return uid
}

// isID tells whether s looks like the id of a container: all these runtimes take 256 bits.
func isID(s string) bool { return len(s) == 64 && isHex(s) }

// isUID tells whether s is the UID of a pod: a UUID; of a static pod: a hash.
func isUID(s string) bool {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = strings.ReplaceAll(s, "-", "")
	}
	return len(s) == 32 && isHex(s)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func cutBase(path string) (dir, base string) {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
