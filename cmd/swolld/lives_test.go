package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A kubepods is a cgroup with the kubelet's names for what is in it, watched beside the
// service's other one. To be made before the service starts.
func (s *service) kubepods() string {
	s.t.Helper()
	dir := filepath.Join(makeCgroup(s.t, unified(s.t)), "kubepods")
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { removeCgroup(s.t, dir) })
	s.args = append(s.args, "--watch-cgroup", dir)
	return dir
}

// podContainer makes a container's cgroup in that of a pod.
func (s *service) podContainer(kubepods, uid, id string) *container {
	s.t.Helper()
	pod := filepath.Join(kubepods, "pod"+uid)
	if err := os.Mkdir(pod, 0o755); err == nil {
		s.t.Cleanup(func() { removeCgroup(s.t, pod) })
	}
	dir := filepath.Join(pod, id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { removeCgroup(s.t, dir) })
	return &container{s, id, dir}
}

// podUID is a pod's.
const podUID = "0dd8c5e1-77c6-11e7-9350-020968147796"

// A podName is what a container is called, as the service keeps it from one start to the
// next.
type podName struct {
	Namespace   string `json:"namespace"`
	Pod         string `json:"pod"`
	UID         string `json:"uid"`
	Container   string `json:"container"`
	ContainerID string `json:"containerID"`
	Instance    int    `json:"instance"`
}

// names writes the file in which services keep the names of containers, for the next start.
func (s *service) names(names ...podName) {
	s.t.Helper()
	data, err := json.Marshal(names)
	if err == nil {
		err = os.MkdirAll(s.state, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.state, "names.json"), data, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestTwentyRestarts: of a container of a pod that restarted twenty times, each life in a
// cgroup of its own, the first snapshot and the newest are there, in order and with the
// right numbers, and each can be asked for: also when the service was started anew, the
// rings are gone, and the pod is.
func TestTwentyRestarts(t *testing.T) {
	t.Parallel()
	const lives, keep = 21, 6
	s := prepareService(t, unified(t), "--memory", "8MiB", "--snapshot-keep", strconv.Itoa(keep), "--keep-exited", "1s")
	kubepods := s.kubepods()
	id := func(n int) string { return fmt.Sprintf("%064x", 0xabc000+n) }
	var names []podName
	for n := range lives {
		names = append(names, podName{"ns", "loop", podUID, "app", id(n), n})
	}
	s.names(names...)
	s.start()
	for n := range lives {
		c := s.podContainer(kubepods, podUID, id(n))
		c.start("/bin/sh", "-c", "exit "+strconv.Itoa(100+n)).wait()
		eventually(t, fmt.Sprint("the snapshot of life ", n), func() error {
			snaps := s.snapshots("loop")
			if len(snaps) == 0 || snaps[len(snaps)-1].Instance != n {
				return fmt.Errorf("%+v", snaps)
			}
			return nil
		})
		removeCgroup(t, c.dir)
	}
	want := []int{0, 16, 17, 18, 19, 20}
	check := func(when string) {
		t.Helper()
		var got []int
		for _, snap := range s.snapshots("loop") {
			got = append(got, snap.Instance)
			if snap.Namespace != "ns" || snap.Container != "app" || *snap.ExitCode != 100+snap.Instance {
				t.Errorf("%s: the snapshot of life %d: %+v", when, snap.Instance, snap)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, snapshots of lives %v; want %v", when, got, want)
		}
		for _, pod := range []string{"ns/loop", "loop"} {
			for flag, code := range map[string]int{
				"--previous": 119, "--previous=4": 116, "--first": 100, "--instance=18": 118, "--previous=20": 100,
			} {
				for _, command := range []string{"show", "explain"} {
					args := []string{command, pod, flag}
					text := s.mustCLI(args...)
					if !strings.Contains(text, fmt.Sprintf("exit_group(%d)", code)) && !strings.HasPrefix(text, fmt.Sprintf("exit %d", code)) {
						t.Errorf("%s, %v is not of the life that ended with %d:\n%s", when, args, code, text)
					}
				}
			}
			for flag, says := range map[string]string{"--previous=5": "life 15", "--previous=21": "number 20"} {
				if r := s.cli("show", pod, flag); r.code != 3 || !strings.Contains(r.stderr, says) || !strings.Contains(r.stderr, "0, 16 to 20") {
					t.Errorf("%s, show %s %s: exit status %d\n%s", when, pod, flag, r.code, r.stderr)
				}
			}
		}
	}
	check("after the last life")
	eventually(t, "the pod's cgroup is removed", func() error { return os.Remove(filepath.Join(kubepods, "pod"+podUID)) })
	eventually(t, "its rings are freed", func() error {
		if pods := s.podNames(); len(pods) > 0 {
			return fmt.Errorf("%v", pods)
		}
		return nil
	})
	check("without the pod")
	s.stop()
	s.start()
	check("after a start")
}
