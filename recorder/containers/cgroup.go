package containers

// A CgroupName is what the path of a container's cgroup tells.
type CgroupName struct {
	ID      string // of the container
	Runtime string // where the path tells; else ""
	PodUID  string // where the path tells; else ""
}

// ParseCgroup reads the path of a cgroup, below the root of its hierarchy, as containerd,
// CRI-O, docker and podman make them, with the cgroupfs and the systemd driver, on cgroup
// v1, hybrid and v2, also nested (kind). ok is false where it is not a container's.
func ParseCgroup(path string) (n CgroupName, ok bool) { return CgroupName{}, false }
