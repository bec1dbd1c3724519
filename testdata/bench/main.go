// Command bench measures what recording costs a system call, beside what other ways to
// watch system calls cost, all in one run: `make bench`, or
// `go run ./testdata/bench -h`. It needs root, and installs nothing.
//
// Every row is a workload, every column a way of watching it. One worker process, pinned
// to CPUs that the harness and the tools keep off, carries out all of them, so that
// columns differ in what is attached and in nothing else. A round goes through all rows,
// and for each row through all columns, beginning with another one each time; what a
// column needs is attached just for its turn.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the process's own ways to be started, besides by a user.
const (
	workerCommand = "worker"          // argument: be the worker
	cpusVariable  = "SWOLLBENCH_CPUS" // environment: set up already; the CPUs to measure on
)

func main() {
	// Children are to die with the harness (Pdeathsig), which the kernel ties to the
	// thread that started them: so all are started by this one, which never ends.
	runtime.LockOSThread()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) == 3 && os.Args[1] == workerCommand {
		var cpus []int
		if err := json.Unmarshal([]byte(os.Args[2]), &cpus); err != nil {
			return err
		}
		return serveWorker(cpus)
	}

	var (
		rounds   = flag.Int("rounds", 5, "rounds; the table shows the medians of them")
		slice    = flag.Duration("slice", 15*time.Millisecond, "length of one of the 11 slices of a measurement")
		quick    = flag.Bool("quick", false, "3 rounds of short slices: a first impression")
		rowList  = flag.String("rows", "", "only these rows, separated by commas: "+names(rows))
		colList  = flag.String("columns", "", "only these columns, separated by commas: "+names(columns))
		swolld   = flag.String("swolld", "bin/swolld", "the service to measure")
		against  = flag.String("against", "", "another swolld to compare with, in a column of its own: `FILE`")
		markdown = flag.Bool("md", false, "print the table as Markdown")
		file     = flag.String("json", "", "write every single measurement to this `FILE`")
		check    = flag.Bool("check", false, "exit with status 1 when a bar is missed or could not be measured")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *quick {
		*rounds, *slice = min(*rounds, 3), min(*slice, 5*time.Millisecond)
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds %d: at least one is needed", *rounds)
	}
	wantRows, err := choose(rows, *rowList)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	wantColumns, err := choose(columns, *colList)
	if err != nil {
		return fmt.Errorf("-columns: %w", err)
	}

	if *against == "" {
		if *colList != "" && slices.ContainsFunc(wantColumns, func(c column) bool { return c.name == againstColumn }) {
			return errors.New("-columns against: with what? Try: -against FILE")
		}
		wantColumns = slices.DeleteFunc(slices.Clone(wantColumns), func(c column) bool { return c.name == againstColumn })
	} else if *colList == "" {
		// That is all that is compared.
		wantColumns = slices.DeleteFunc(slices.Clone(wantColumns), func(c column) bool {
			return c.name != againstColumn && c.name != "recorded"
		})
	}

	if os.Getenv(cpusVariable) == "" {
		return settle()
	}
	var cpus []int
	if err := json.Unmarshal([]byte(os.Getenv(cpusVariable)), &cpus); err != nil {
		return fmt.Errorf("%s: %w", cpusVariable, err)
	}
	os.Unsetenv(cpusVariable)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	h, err := newHarness(ctx, cpus, *swolld, *against)
	if err != nil {
		return err
	}
	defer h.close()
	h.slice = *slice

	t := &table{
		rows: wantRows, columns: wantColumns, broken: map[string]string{},
		rounds: *rounds, slice: *slice, cpus: cpus, path: h.file(), begin: time.Now(),
	}
	for round := range *rounds {
		begin := time.Now()
		t.foreign = max(t.foreign, foreign())
		for _, row := range wantRows {
			h.measureRow(t, round, row)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %.1f s\n", round+1, *rounds, time.Since(begin).Seconds())
	}

	if *file != "" {
		if err := t.writeJSON(*file); err != nil {
			return err
		}
	}
	ok := t.print(os.Stdout, *markdown)
	if *check && !ok {
		return errors.New("not all bars are met")
	}
	return nil
}

// settle starts the program anew, in the same process, with mounts of its own (so that
// what it mounts is gone with it, however it ends) and on the CPUs that it leaves to the
// tools. The last CPU is the first one to measure on: the first CPU often has more
// interrupts to handle.
func settle() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can attach to system calls. Try: sudo make bench")
	}
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("read CPU affinity: %w", err)
	}
	var cpus []int
	for i := len(all)*strconv.IntSize - 1; i >= 0; i-- {
		if all.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	measured := cpus[:min(len(cpus), maxThreads)]
	if len(cpus) > 1 {
		all.Clear(measured[0])
	}
	list, err := json.Marshal(measured)
	if err != nil {
		return err
	}
	// unshare and the affinity are the calling thread's; exec keeps them.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		return fmt.Errorf("set CPU affinity: %w", err)
	}
	env := append(os.Environ(), cpusVariable+"="+string(list))
	return fmt.Errorf("start anew: %w", unix.Exec("/proc/self/exe", os.Args, env))
}

// named is a row or a column.
type named interface{ id() string }

func names[T named](all []T) string {
	list := make([]string, len(all))
	for i, n := range all {
		list[i] = n.id()
	}
	return strings.Join(list, ",")
}

// choose returns those of all that list names, in their own order; all of them for an
// empty list.
func choose[T named](all []T, list string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	want := strings.Split(list, ",")
	for _, name := range want {
		if !slices.ContainsFunc(all, func(n T) bool { return n.id() == name }) {
			return nil, fmt.Errorf("there is no %q. Try: %s", name, names(all))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(n T) bool { return !slices.Contains(want, n.id()) }), nil
}
