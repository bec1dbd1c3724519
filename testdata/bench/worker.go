package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The worker is the measured process: one process for the whole run, so that every
// column sees the same code at the same addresses. The harness tells it through a pipe
// what to do; between two orders all its threads sleep.

// An order is one measurement that the worker is to make.
type order struct {
	Row     string
	Threads int
	Slices  int           // a thread's figure is the median of that many slices
	Slice   time.Duration // length of one
	File    string        // what openclose opens
	Tree    string        // what tar reads
	Archive string        // what tar writes
}

// A result is the worker's answer to an order.
type result struct {
	Value float64 // ns per call of one thread (mean of the threads), or ms for tar
	// The same in the slice that took least. Of several threads it is Value: when a slice took
	// least, the others may have been away.
	Least float64
	Calls uint64 // system calls made for it, at least
	Err   string
}

// worker is the harness's end of the worker process.
type worker struct {
	cmd *exec.Cmd
	enc *json.Encoder
	dec *json.Decoder
	in  io.Closer
}

// startWorker starts the worker; its threads pin themselves to the given CPUs, the
// first thread to the first CPU.
func startWorker(cpus []int) (*worker, error) {
	list, err := json.Marshal(cpus)
	if err != nil {
		return nil, err
	}
	cmd := child("/proc/self/exe", workerCommand, string(list))
	// A thread in a measuring loop must not be interrupted by its own runtime.
	cmd.Env = append(os.Environ(), "GOGC=off", "GODEBUG=asyncpreemptoff=1",
		fmt.Sprintf("GOMAXPROCS=%d", len(cpus)+2))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	return &worker{cmd: cmd, enc: json.NewEncoder(in), dec: json.NewDecoder(out), in: in}, nil
}

// do has the worker carry out an order and waits for the result.
func (w *worker) do(o order) (result, error) {
	var r result
	if err := w.enc.Encode(o); err != nil {
		return r, fmt.Errorf("order to worker: %w", err)
	}
	if err := w.dec.Decode(&r); err != nil {
		return r, fmt.Errorf("result of worker: %w", err)
	}
	if r.Err != "" {
		return r, fmt.Errorf("%s: %s", o.Row, r.Err)
	}
	return r, nil
}

// stop ends the worker.
func (w *worker) stop() {
	w.in.Close()
	w.cmd.Wait()
}

// serveWorker is the main function of the worker process.
func serveWorker(cpus []int) error {
	type job struct {
		run  func() (result, error)
		done func(result, error)
	}
	threads := make([]chan job, len(cpus))
	for i, cpu := range cpus {
		threads[i] = make(chan job)
		ready := make(chan error)
		go func() {
			runtime.LockOSThread()
			var set unix.CPUSet
			set.Set(cpu)
			err := unix.SchedSetaffinity(0, &set)
			if err == nil {
				// Whatever else the machine does is to go to other CPUs.
				err = unix.Setpriority(unix.PRIO_PROCESS, 0, highest)
			}
			ready <- err
			for j := range threads[i] {
				j.done(j.run())
			}
		}()
		if err := <-ready; err != nil {
			return fmt.Errorf("pin a thread to CPU %d: %w", cpu, err)
		}
	}

	dec, enc := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		switch err := dec.Decode(&o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var (
			sum  result
			mu   sync.Mutex
			wg   sync.WaitGroup
			gate atomic.Int32
		)
		gate.Store(int32(o.Threads))
		for _, t := range threads[:o.Threads] {
			wg.Add(1)
			t <- job{
				run: func() (result, error) {
					// All threads measure at the same time.
					for gate.Add(-1); gate.Load() > 0; {
					}
					return measure(o)
				},
				done: func(r result, err error) {
					mu.Lock()
					defer mu.Unlock()
					sum.Value += r.Value / float64(o.Threads)
					sum.Least = sum.Value
					if o.Threads == 1 {
						sum.Least = r.Least
					}
					sum.Calls += r.Calls
					if err != nil {
						sum.Err = err.Error()
					}
					wg.Done()
				},
			}
		}
		wg.Wait()
		if err := enc.Encode(sum); err != nil {
			return err
		}
	}
}

// measure carries out an order on the calling thread.
func measure(o order) (result, error) {
	switch o.Row {
	case "getppid", threadsRow:
		return loop(o, 1, func() syscall.Errno {
			_, _, e := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
			return e
		})
	case "read":
		fd, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return result{}, err
		}
		defer unix.Close(fd)
		buf := make([]byte, 1)
		return loop(o, 1, func() syscall.Errno {
			_, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), 1)
			return e
		})
	case "write":
		fd, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return result{}, err
		}
		defer unix.Close(fd)
		buf := make([]byte, 64)
		copy(buf, "2026-11-20 03:12:04.118 INFO request served in 12.4 ms status=200")
		return loop(o, 1, func() syscall.Errno {
			_, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), 64)
			return e
		})
	case "lseek":
		fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return result{}, err
		}
		defer unix.Close(fd)
		at := uintptr(0)
		return loop(o, 1, func() syscall.Errno {
			at = (at + 1) & 0xffff
			_, _, e := syscall.RawSyscall(unix.SYS_LSEEK, uintptr(fd), at, 0)
			return e
		})
	case "openclose":
		path, err := unix.BytePtrFromString(o.File)
		if err != nil {
			return result{}, err
		}
		at := unix.AT_FDCWD
		return loop(o, 2, func() syscall.Errno {
			fd, _, e := syscall.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(path)),
				unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
			if e == 0 {
				_, _, e = syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
			}
			return e
		})
	case "tar":
		return tar(o)
	}
	return result{}, fmt.Errorf("unknown row")
}

// loop repeats f, which makes that many system calls, for all slices of an order.
func loop(o order, calls int, f func() syscall.Errno) (result, error) {
	// So many rounds between two looks at the clock: few enough for a slice to end in
	// time under strace, enough for the clock not to be seen in the figure.
	const batch = 256
	var r result
	figures := make([]float64, 0, o.Slices+1)
	for range o.Slices + 1 {
		begin, rounds := time.Now(), 0
		for {
			for range batch {
				if e := f(); e != 0 {
					return r, e
				}
			}
			rounds += batch
			if took := time.Since(begin); took >= o.Slice {
				figures = append(figures, float64(took)/float64(rounds))
				break
			}
		}
		r.Calls += uint64(rounds * calls)
	}
	figures = figures[1:] // the first one warms up
	r.Value, r.Least = median(figures), slices.Min(figures)
	return r, nil
}

// tar archives the tree as often as fits into the time of an order, at least twice.
// The tar process runs on the calling thread's CPU and in its cgroup.
func tar(o order) (result, error) {
	path, err := exec.LookPath("tar")
	if err != nil {
		return result{}, err
	}
	var figures []float64
	limit := time.Duration(o.Slices) * o.Slice
	for start := time.Now(); len(figures) < 2 || time.Since(start) < limit; {
		begin := time.Now()
		p, err := os.StartProcess(path, []string{"tar", "-cf", o.Archive, "-C", o.Tree, "."}, &os.ProcAttr{
			Files: []*os.File{nil, nil, os.Stderr},
		})
		if err != nil {
			return result{}, err
		}
		state, err := p.Wait()
		if err != nil {
			return result{}, err
		}
		if !state.Success() {
			return result{}, fmt.Errorf("tar: %v", state)
		}
		figures = append(figures, float64(time.Since(begin))/float64(time.Millisecond))
	}
	// At least an open, a read and a close of every file.
	return result{Value: median(figures), Least: slices.Min(figures), Calls: uint64(len(figures)) * 3 * treeFiles}, nil
}

// median of a list that is not empty; the mean of the middle two if there are two.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}
