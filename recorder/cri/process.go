package cri

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

// info is what containerd and CRI-O tell of a container's or sandbox's process, if they are
// asked for all. CRI does not say how; both use this.
type info struct {
	PID         uint32 `json:"pid"`
	RuntimeSpec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	} `json:"runtimeSpec"`
}

func parseInfo(m map[string]string) (info, error) {
	var i info
	text, ok := m["info"]
	if !ok {
		return i, nil // cri-dockerd tells nothing
	}
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		return info{}, err
	}
	return i, nil
}

func restartCount(annotation string, attempt uint32) int {
	if n, err := strconv.ParseUint(annotation, 10, 31); err == nil {
		return int(n)
	}
	return int(attempt)
}

// process is what is found of a container's process.
type process struct {
	pid                 uint32
	cgroup              string
	mntNS, netNS, pidNS uint64 // inode numbers; 0: not known
}

func (p process) fill(c *containers.Container) {
	if p.pid != 0 {
		c.PID = p.pid
	}
	setIfEmpty(&c.Cgroup, p.cgroup)
	if p.mntNS != 0 {
		c.MountNS, c.NetNS, c.PIDNS = p.mntNS, p.netNS, p.pidNS
	}
}

// process looks at a container's process. Where it is gone, or its number belongs to
// another process by now, the cgroup is that which the runtime was told to make.
func (c *Client) process(id string, i info) process {
	p := process{pid: i.PID, cgroup: cgroupPath(i.RuntimeSpec.Linux.CgroupsPath)}
	if i.PID == 0 {
		return p
	}
	dir := filepath.Join(c.cfg.Proc, strconv.FormatUint(uint64(i.PID), 10))
	cgroup, ok := cgroupOf(dir, id)
	if !ok {
		return p
	}
	mnt, err1 := namespace(dir, "mnt")
	net, err2 := namespace(dir, "net")
	pid, err3 := namespace(dir, "pid")
	// Once more: the process may have ended and its number be another's while we looked.
	if _, ok = cgroupOf(dir, id); !ok || err1 != nil || err2 != nil || err3 != nil {
		return p
	}
	p.cgroup, p.mntNS, p.netNS, p.pidNS = cgroup, mnt, net, pid
	return p
}

// cgroupOf returns the path of the container's cgroup that a process is in, from cgroup v2
// where it is there. ok is false where it is in none of the container with this id.
func cgroupOf(dir, id string) (cgroup string, ok bool) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		i := strings.LastIndex(f[2], id)
		if i < 0 {
			continue
		}
		// crun, and who uses cgroups inside, puts processes further below.
		end := len(f[2])
		if j := strings.IndexByte(f[2][i:], '/'); j >= 0 {
			end = i + j
		}
		if cgroup = f[2][:end]; f[0] == "0" {
			return cgroup, true
		}
		ok = true
	}
	return cgroup, ok
}

// namespace returns the inode number of a process's namespace, see namespaces(7).
func namespace(dir, kind string) (uint64, error) {
	s, err := os.Readlink(filepath.Join(dir, "ns", kind))
	if err != nil {
		return 0, err
	}
	n, found := strings.CutPrefix(s, kind+":[")
	if !found {
		return 0, fmt.Errorf("%s/ns/%s: %q is not a namespace", dir, kind, s)
	}
	return strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 64)
}

// cgroupPath turns the cgroupsPath of an OCI runtime's configuration into the path of the
// cgroup: a path already, or SLICE:PREFIX:NAME for systemd, whose slices lie in those that
// their names begin with. It is empty where it is neither.
func cgroupPath(s string) string {
	if strings.HasPrefix(s, "/") {
		return path.Clean(s)
	}
	f := strings.Split(s, ":")
	if len(f) != 3 || f[2] == "" {
		return ""
	}
	slice, isSlice := strings.CutSuffix(f[0], ".slice")
	if !isSlice && f[0] != "" {
		return ""
	}
	dir := "/"
	switch {
	case f[0] == "":
		dir = "/system.slice"
	case slice != "-":
		for i, r := range slice + "-" {
			if r == '-' {
				dir = path.Join(dir, slice[:i]+".slice")
			}
		}
	}
	name := f[2]
	if !strings.HasSuffix(name, ".slice") {
		if f[1] != "" {
			name = f[1] + "-" + name
		}
		name += ".scope"
	}
	return path.Join(dir, name)
}
