package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A program is what a row or a stage needs on the machine; get says how one gets it.
type program struct{ name, get string }

// missing returns an error for the first program that is not there.
func missing(programs []program) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			return fmt.Errorf("there is no %s. Try: %s", p.name, p.get)
		}
	}
	return nil
}

// A row is a workload.
type row struct {
	name  string
	title string
	unit  string
	needs []program
}

func (r row) id() string { return r.name }

const (
	threadsRow = "threads"
	redisRow   = "redis"
	redisTime  = "redis-history"
	nginxTime  = "nginx-history"
	pollTime   = "poll-history"
	waitTime   = "wait-history"
)

var rows = []row{
	{"getppid", "getppid", "ns", nil},
	{"read", "read of 1 byte", "ns", nil},
	{"write", "write of 64 bytes", "ns", nil},
	{"lseek", "lseek, elsewhere each time", "ns", nil},
	{"openclose", "open + close", "ns", nil},
	{threadsRow, "getppid, %d threads", "ns", nil},
	{"tar", "tar cf", "ms", []program{{"tar", "apt-get install tar"}}},
	{redisRow, "redis-server, a call", "bytes", []program{
		{"redis-server", "apt-get install redis-server"},
		{"redis-benchmark", "apt-get install redis-tools"},
	}},
	{redisTime, "redis-server under load: history in 1 MiB", "s", []program{
		{"redis-server", "apt-get install redis-server"},
		{"redis-benchmark", "apt-get install redis-tools"},
	}},
	{nginxTime, "nginx, 100 requests/s: history in 1 MiB", "s", []program{{"nginx", "apt-get install nginx"}}},
	{pollTime, "Python, poll of 1 ms: history in 1 MiB", "s", []program{{"python3", "apt-get install python3"}}},
	{waitTime, "Python, stat and sleep of 1 ms: history in 1 MiB", "s", []program{{"python3", "apt-get install python3"}}},
}

// A column is a way of watching the worker.
type column struct {
	name  string
	stage string // in which it is measured
	title string
	what  string // for the legend
}

func (c column) id() string { return c.name }

// againstColumn is only there if another swolld is named.
const againstColumn = "against"

var columns = []column{
	{"absent", "absent", "absent", "nothing is attached"},
	{"empty", "empty", "empty pair", "programs on sys_enter and sys_exit (tp_btf) that do nothing"},
	{"miss", "miss", "lookup pair", "the same, looking the cgroup up in a BPF hash, in vain"},
	{"attached", "swolld", "not recorded", "swolld attached, the worker in a cgroup that it does not record"},
	{"recorded", "swolld", "recorded", "swolld attached, the worker in a cgroup that it records"},
	{againstColumn, againstColumn, "against", "recorded as well, but by the swolld of -against"},
	{"unfolded", "unfolded", "each call apart", "the same with --fold=false: a run of the same call is not one record"},
	{"dumped", "swolld", "dumped", "the same, while its history is dumped over and over, the dumps one after the other"},
	{"ftrace", "ftrace", "ftrace", "a tracefs instance in overwrite mode, raw_syscalls:sys_enter and sys_exit enabled, for all processes"},
	{"perf", "perf", "perf record", "perf record --overwrite -e 'raw_syscalls:*' -p WORKER"},
	{"bpftrace", "bpftrace", "bpftrace", "bpftrace -e 'tracepoint:raw_syscalls:sys_enter { @ = count(); }'"},
	{"strace", "strace", "strace", "strace -f -o /dev/null -p WORKER"},
}

// A measurer makes the measurement of a column. It does nothing for a column that is not
// wanted.
type measurer func(column string) (result, error)

// A stage is a time in which something is attached. One stage can serve several columns.
type stage struct {
	name  string
	needs []program
	// run attaches, calls measure for each of its columns, and detaches.
	run func(h *harness, measure measurer) error
}

var stages = []stage{
	{"absent", nil, func(_ *harness, measure measurer) error {
		_, err := measure("absent")
		return err
	}},
	{"empty", nil, func(h *harness, measure measurer) error {
		return withPair(h.floor.EmptyEnter, h.floor.EmptyExit, measure, "empty")
	}},
	{"miss", nil, func(h *harness, measure measurer) error {
		return withPair(h.floor.MissEnter, h.floor.MissExit, measure, "miss")
	}},
	{"swolld", nil, withSwolld},
	{againstColumn, nil, withOther},
	{"unfolded", nil, withUnfolded},
	{"ftrace", nil, withFtrace},
	{"perf", []program{{"perf", "apt-get install linux-perf (Debian) or linux-tools-generic (Ubuntu)"}}, withPerf},
	{"bpftrace", []program{{"bpftrace", "apt-get install bpftrace"}}, withBpftrace},
	{"strace", []program{{"strace", "apt-get install strace"}}, withStrace},
}

// withPair measures while both programs are attached.
func withPair(enter, exit *ebpf.Program, measure measurer, column string) error {
	for _, p := range []*ebpf.Program{enter, exit} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach %s: %w", p, err)
		}
		defer l.Close()
	}
	_, err := measure(column)
	return err
}

// withFtrace measures while an ftrace instance of our own records both system call
// events, with the settings that an instance has by default.
func withFtrace(_ *harness, measure measurer) (err error) {
	dir := filepath.Join(tracefs, "instances", mark(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make an ftrace instance: %w", err)
	}
	defer func() {
		var e error
		// The kernel may still be letting go of the events.
		for range 50 {
			if e = os.Remove(dir); e == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		err = errors.Join(err, fmt.Errorf("remove the ftrace instance: %w", e))
	}()
	set := func(name, value string) error {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0); err != nil {
			return fmt.Errorf("set up ftrace: %w", err)
		}
		return nil
	}
	defer func() { err = errors.Join(err, set("events/raw_syscalls/enable", "0")) }()
	if err := set("options/overwrite", "1"); err != nil {
		return err
	}
	if err := set("events/raw_syscalls/enable", "1"); err != nil {
		return err
	}
	_, err = measure("ftrace")
	return err
}

// foreign counts the programs of others on the system call tracepoints, as far as they
// are attached by links: each makes every system call of the machine dearer.
func foreign() int {
	n := 0
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			continue // it went meanwhile
		}
		if tp := info.RawTracepoint(); tp != nil && (tp.Name == "sys_enter" || tp.Name == "sys_exit") {
			n++
		}
	}
	return n
}
