package main_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDumpWhileWriting: dumps taken while four threads write as fast as they can, each
// overwriting the ring many times over, never fail, and never show a record that is torn
// or was not written: the calls carry numbers, a hash of them, and both as text.
func TestDumpWhileWriting(t *testing.T) {
	t.Parallel()
	const (
		threads = 4
		dumps   = 1000
		readers = 2
	)
	s := newService(t, "--memory", "1MiB", "--ring-size", "256KiB")
	path := program(t, "numbers")
	// Writers and readers do not compete for CPUs: so the ratio below tells what a dump
	// costs those who write.
	cpus := ownCPUs(t)
	confine(t, s.cmd.Process.Pid, cpus[0])
	// load runs the writers for as long as f takes, and returns calls per second.
	load := func(name string, f func(c *container)) float64 {
		c := s.container(name)
		p := c.start(path, "payload", fmt.Sprint(threads), "0", "0")
		p.expect("ready")
		confine(t, p.pid, cpus[1:]...)
		begin := time.Now()
		p.send()
		f(c)
		p.in.Close()
		made := 0
		for range threads {
			var tid, n int
			if _, err := fmt.Sscan(p.expect("done"), &tid, &n); err != nil {
				t.Error(err)
			}
			made += n
		}
		rate := float64(made) / time.Since(begin).Seconds()
		p.kill()
		return rate
	}

	quiet := load("quiet", func(*container) { time.Sleep(time.Second) })
	var began time.Time
	var took time.Duration
	loaded := load("loaded", func(c *container) {
		began = time.Now()
		var wg sync.WaitGroup
		for reader := range readers {
			wg.Go(func() {
				newest := map[int]uint32{}
				for i := range dumps / readers {
					query := []string{"", "all=true"}[(i+reader)%2]
					if err := dumpUnderLoad(s, c.name, query, newest); err != nil {
						t.Errorf("dump %d, query %q: %v", i, query, err)
						return
					}
				}
				if len(newest) != threads {
					t.Errorf("calls of %d threads were seen, want %d", len(newest), threads)
				}
			})
		}
		wg.Wait()
		took = time.Since(began)
		for cause, n := range s.ring(c.name).Ring.Lost {
			if n != 0 {
				t.Errorf("%d records lost: %s", n, cause)
			}
		}
	})
	t.Logf("%d dumps in %v; writers: %.0f calls/s without, %.0f with (%.2f)",
		dumps, took.Round(time.Millisecond), quiet, loaded, loaded/quiet)
}

// dumpUnderLoad takes a dump and checks it. newest holds each thread's newest number so
// far; later dumps must not go back behind it.
func dumpUnderLoad(s *service, pod, query string, newest map[int]uint32) error {
	status, _, body, err := s.try("GET", "/v1/pods/host/"+pod+"/dump?"+query, nil)
	if err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("status %d: %s", status, body)
	}
	calls, _, err := parseText(strings.Split(string(body), "\n"))
	if err != nil {
		return err
	}
	last, gaps := map[int]uint32{}, map[int]int{}
	for _, c := range calls {
		n, ok, err := number(c)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		before, seen := last[c.tid]
		if seen && n <= before {
			return fmt.Errorf("thread %d: %d follows %d", c.tid, n, before)
		}
		if !seen && n != 0 || seen && n != before+1 {
			// One gap is what there must be, between what boot keeps and the rest.
			if gaps[c.tid]++; gaps[c.tid] > 1 && query == "" {
				return fmt.Errorf("thread %d: %d follows %d where all should be complete", c.tid, n, before)
			}
		}
		last[c.tid] = n
	}
	for tid, n := range last {
		// Where the writers went round the ring while it was copied, only what boot keeps
		// is complete; with all=true, some that were older than others that are gone.
		if query == "" && gaps[tid] > 0 && n < newest[tid] {
			return fmt.Errorf("thread %d: the newest call is %d, an earlier dump had %d", tid, n, newest[tid])
		}
		newest[tid] = max(n, newest[tid])
	}
	return nil
}
