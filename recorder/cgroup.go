package recorder

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// hierarchy is a tree of cgroups: that of version 2, or one of version 1. The recorder
// keys on the cgroup ids of one hierarchy.
type hierarchy struct {
	id          uint32 // as in /proc/PID/cgroup; 0 is version 2
	subsystem   uint32 // version 1: index of one of its controllers in the kernel's css_set
	controllers []string
	mount       string // where it is mounted
}

func (h hierarchy) String() string {
	if h.id == 0 {
		return "v2 at " + h.mount
	}
	return fmt.Sprintf("v1 (%s) at %s", strings.Join(h.controllers, ","), h.mount)
}

// cgroupID is the id of a cgroup, given by its directory: kernfs numbers its inodes by
// it, see kernfs_ino() in include/linux/kernfs.h.
func cgroupID(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("cgroup %s: not a directory", dir)
	}
	return st.Ino, nil
}

// mountedHierarchies lists the cgroup mounts of this process, version 2 first.
func mountedHierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var hs []hierarchy
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		// See proc_pid_mountinfo(5): the fields behind " - " are type, source, options.
		front, back, ok := strings.Cut(sc.Text(), " - ")
		fields, kind := strings.Fields(front), strings.Fields(back)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		mount := unescapeMount(fields[4])
		switch kind[0] {
		case "cgroup2":
			hs = slices.Insert(hs, 0, hierarchy{mount: mount})
		case "cgroup":
			h := hierarchy{mount: mount}
			for _, o := range strings.Split(kind[2], ",") {
				if slices.Contains(controllers, o) {
					h.controllers = append(h.controllers, o)
				}
			}
			hs = append(hs, h)
		}
	}
	return hs, sc.Err()
}

// unescapeMount undoes the octal escapes of a path in mountinfo.
func unescapeMount(s string) string {
	for _, e := range [][2]string{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, e[0], e[1])
	}
	return s
}

// controllers are those of version 1 that the kernel has, as mount options name them.
var controllers = []string{"memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "devices", "freezer", "net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc"}

// resolve fills in the numbers of a version 1 hierarchy.
func (h *hierarchy) resolve() error {
	if h.controllers == nil {
		return nil
	}
	data, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != h.controllers[0] {
			continue
		}
		id, err := strconv.ParseUint(f[1], 10, 32)
		if err != nil {
			return fmt.Errorf("/proc/cgroups: %w", err)
		}
		h.id = uint32(id)
	}
	if h.id == 0 {
		return fmt.Errorf("/proc/cgroups has no hierarchy of controller %s", h.controllers[0])
	}
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("this kernel does not describe its types (BTF): %w", err)
	}
	var enum *btf.Enum
	if err := spec.TypeByName("cgroup_subsys_id", &enum); err != nil {
		return fmt.Errorf("looking for the numbers of cgroup controllers: %w", err)
	}
	name := h.controllers[0]
	if name == "blkio" {
		name = "io" // its name in the kernel
	}
	for _, v := range enum.Values {
		if v.Name == name+"_cgrp_id" {
			h.subsystem = uint32(v.Value)
			return nil
		}
	}
	return fmt.Errorf("this kernel has no cgroup controller %s", name)
}

// hierarchyOf finds the hierarchy that a cgroup directory is in.
func hierarchyOf(dir string, mounted []hierarchy) (hierarchy, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return hierarchy{}, fmt.Errorf("cgroup %s: %w", dir, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC && st.Type != unix.CGROUP_SUPER_MAGIC {
		return hierarchy{}, fmt.Errorf("%s is not a cgroup: give a directory below a cgroup mount, such as %s", dir, mountExample(mounted))
	}
	var best *hierarchy
	for i, h := range mounted {
		if (dir == h.mount || strings.HasPrefix(dir, strings.TrimSuffix(h.mount, "/")+"/")) &&
			(best == nil || len(h.mount) > len(best.mount)) {
			best = &mounted[i]
		}
	}
	if best == nil {
		return hierarchy{}, fmt.Errorf("cgroup %s is below no mount of this process", dir)
	}
	h := *best
	if st.Type == unix.CGROUP_SUPER_MAGIC && h.controllers == nil {
		return hierarchy{}, fmt.Errorf("cgroup %s is in a hierarchy without controllers, which cannot be recorded by: give its path in another one", dir)
	}
	return h, h.resolve()
}

func mountExample(hs []hierarchy) string {
	if len(hs) == 0 {
		return "/sys/fs/cgroup"
	}
	return hs[0].mount
}

// watchRoot is a cgroup below which containers appear.
type watchRoot struct {
	dir      string
	kubepods bool // containers are two levels below it, or three with a QoS level
}

// chooseRoots decides what is watched, and in which hierarchy.
func chooseRoots(dirs []string) ([]watchRoot, hierarchy, error) {
	mounted, err := mountedHierarchies()
	if err != nil {
		return nil, hierarchy{}, fmt.Errorf("looking for cgroup mounts: %w", err)
	}
	if len(mounted) == 0 {
		return nil, hierarchy{}, errors.New("no cgroup hierarchy is mounted; try: mount -t cgroup2 none /sys/fs/cgroup")
	}
	var roots []watchRoot
	var chosen *hierarchy
	for _, dir := range dirs {
		given := dir
		dir, err := filepath.EvalSymlinks(given)
		if err != nil {
			return nil, hierarchy{}, fmt.Errorf("watched cgroup %s: %w", given, err)
		}
		h, err := hierarchyOf(dir, mounted)
		if err != nil {
			return nil, hierarchy{}, err
		}
		if chosen != nil && chosen.id != h.id {
			return nil, hierarchy{}, fmt.Errorf("watched cgroups are in two hierarchies, %s and %s; all must be in one", chosen, h)
		}
		chosen = &h
		roots = append(roots, watchRoot{dir: dir, kubepods: isKubepods(filepath.Base(dir))})
	}
	if chosen != nil {
		return roots, *chosen, nil
	}
	// As found: kubepods where it is, version 2 if it is nowhere.
	for _, h := range mounted {
		if found := kubepodsIn(h); found != nil {
			return found, h, h.resolve()
		}
	}
	h := mounted[0]
	return nil, h, h.resolve()
}

// kubepodsDirs are the cgroups that the kubelet keeps its pods in, below a mount: with
// each cgroup driver, and in kind.
var kubepodsDirs = []string{"kubepods", "kubepods.slice", "kubelet/kubepods", "kubelet.slice/kubelet-kubepods.slice"}

// aboveKubepods are the cgroups that one of them may be made in.
var aboveKubepods = []string{".", "kubelet", "kubelet.slice"}

// isKubepods tells by its base name that a cgroup holds pods, wherever it is: the kubelet
// may be given another root.
func isKubepods(name string) bool {
	return slices.ContainsFunc(kubepodsDirs, func(dir string) bool { return filepath.Base(dir) == name })
}

// kubepodsIn lists the kubepods cgroups below a mount.
func kubepodsIn(h hierarchy) []watchRoot {
	if h.controllers == nil && !isV2(h.mount) {
		return nil
	}
	var roots []watchRoot
	for _, name := range kubepodsDirs {
		dir := filepath.Join(h.mount, name)
		if _, err := cgroupID(dir); err == nil {
			roots = append(roots, watchRoot{dir: dir, kubepods: true})
		}
	}
	return roots
}

func isV2(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// isQoSDir tells the levels below kubepods apart, with both cgroup drivers.
func isQoSDir(name string) bool {
	switch strings.TrimPrefix(name, "kubelet-") {
	case "burstable", "besteffort", "kubepods-burstable.slice", "kubepods-besteffort.slice":
		return true
	}
	return false
}

// children lists the cgroups directly below one.
func children(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// populated tells whether a cgroup or one below it has tasks. A directory that cannot be
// read has none.
func populated(dir string) bool {
	if data, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err == nil {
		return strings.Contains(string(data), "populated 1")
	}
	found := false
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			if data, err := os.ReadFile(filepath.Join(p, "cgroup.procs")); err == nil && len(data) > 0 {
				found = true
				return fs.SkipAll
			}
		}
		return nil
	})
	return found
}
