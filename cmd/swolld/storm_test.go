package main_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cpuTime is what a process has used of all CPUs so far; see proc_pid_stat(5).
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var ticks int64
	for _, field := range f[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}

// TestStorm: when 20 containers die 100 times, each death is saved, the quotas hold, of
// each container the first snapshot and the newest are there, and all of it takes the
// service less CPU time than 5 % of the minute in which they may die so often.
func TestStorm(t *testing.T) {
	const containers, deaths, keep = 20, 100, 3
	s := newService(t, "--memory", "64MiB", "--snapshot-keep", strconv.Itoa(keep), "--log-level", "warn")
	before := cpuTime(t, s.cmd.Process.Pid)
	var all []*container
	for i := range containers {
		all = append(all, s.container(fmt.Sprint("storm-", i)))
	}
	// Asking the service would be most of its work: its directory tells, too.
	seen := map[string]bool{}
	first := map[string]string{}
	for n := range deaths {
		c := all[n%containers]
		c.start("/bin/sh", "-c", `find /usr/share /usr/lib -maxdepth 2 >/dev/null; exit `+strconv.Itoa(1+n/containers)).wait()
		eventually(t, "the snapshot of "+c.name, func() error {
			entries, err := os.ReadDir(s.state)
			if err != nil {
				return err
			}
			for _, e := range entries {
				id, ok := strings.CutSuffix(e.Name(), ".swoll")
				if !ok || strings.HasPrefix(id, ".") || seen[id] {
					continue
				}
				if seen[id] = true; n < containers {
					first[c.name] = id
				}
				return nil
			}
			return errors.New("no new file")
		})
	}
	used := cpuTime(t, s.cmd.Process.Pid) - before
	t.Logf("%v of CPU time for %d deaths", used, deaths)
	if most := time.Minute * 5 / 100; used > most {
		t.Errorf("%v of CPU time for %d deaths, more than %v", used, deaths, most)
	}
	for _, c := range all {
		snaps := s.snapshots(c.name)
		if len(snaps) != keep || snaps[0].ID != first[c.name] || *snaps[keep-1].ExitCode != deaths/containers {
			t.Errorf("of %s are kept %+v; want %d, the first and the newest among them", c.name, snaps, keep)
		}
	}
}
