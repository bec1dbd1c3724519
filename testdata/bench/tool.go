package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A tool is a program that runs beside the worker.
type tool struct {
	cmd    *exec.Cmd
	output syncBuffer // standard error, and standard output unless that was set
	done   chan struct{}
}

// child makes a command that dies with the harness.
func child(name string, arg ...string) *exec.Cmd {
	cmd := exec.Command(name, arg...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// startTool starts a command. The caller stops it.
func startTool(cmd *exec.Cmd) (*tool, error) {
	t := &tool{cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &t.output
	}
	cmd.Stderr = &t.output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		cmd.Wait()
		close(t.done)
	}()
	return t, nil
}

// await waits until ready returns true.
func (t *tool) await(ctx context.Context, ready func() bool) error {
	const limit = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if ready() {
			return nil
		}
		select {
		case <-t.done:
			return fmt.Errorf("%s ended too early, %s:\n%s", t.cmd.Path, t.cmd.ProcessState, t.output.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s:\n%s", t.cmd.Path, limit, t.output.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the tool by a signal. An exit status of its own in answer to the signal is
// no error: tools do not agree on one.
func (t *tool) stop(sig syscall.Signal) error {
	t.cmd.Process.Signal(sig)
	select {
	case <-t.done:
		return nil
	case <-time.After(30 * time.Second):
		t.cmd.Process.Kill()
		<-t.done
		return fmt.Errorf("%s did not end at %s and was killed:\n%s", t.cmd.Path, sig, t.output.tail())
	}
}

// A syncBuffer is a buffer that can be read while it is being written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tail returns the last lines.
func (b *syncBuffer) tail() string {
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// withStrace measures while strace traces all threads of the worker.
func withStrace(h *harness, measure measurer) error {
	pid := h.worker.cmd.Process.Pid
	t, err := startTool(child("strace", "-f", "-o", "/dev/null", "-p", fmt.Sprint(pid)))
	if err != nil {
		return err
	}
	// strace and its tracee take turns, and a wakeup of another CPU is dear: strace does
	// best on the CPU of the tracee, so that it alone is put there, as its equal.
	var same unix.CPUSet
	same.Set(h.cpus[0])
	err = errors.Join(unix.SchedSetaffinity(t.cmd.Process.Pid, &same),
		unix.Setpriority(unix.PRIO_PROCESS, t.cmd.Process.Pid, highest))
	if err == nil {
		err = t.await(h.ctx, func() bool { return traced(pid) })
	}
	if err == nil {
		_, err = measure("strace")
	}
	return errors.Join(err, t.stop(syscall.SIGINT))
}

// traced tells whether all threads of a process have a tracer.
func traced(pid int) bool {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false
	}
	for _, task := range tasks {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if err != nil || bytes.Contains(status, []byte("TracerPid:\t0\n")) {
			return false
		}
	}
	return len(tasks) > 0
}

// withBpftrace measures while bpftrace counts the system calls of the whole machine. It
// prints its count ten times a second, by which it is seen to be attached.
func withBpftrace(h *harness, measure measurer) error {
	t, err := startTool(child("bpftrace", "-B", "line",
		"-e", "tracepoint:raw_syscalls:sys_enter { @ = count(); } interval:ms:100 { print(@); }"))
	if err != nil {
		return err
	}
	err = t.await(h.ctx, func() bool { return strings.Contains(t.output.String(), "\n@: ") })
	if err == nil {
		_, err = measure("bpftrace")
	}
	return errors.Join(err, t.stop(syscall.SIGINT))
}

// withPerf measures while perf records both system call events of the worker and its
// children into buffers that it overwrites.
func withPerf(h *harness, measure measurer) (err error) {
	orders, orderEnd, err := os.Pipe() // perf reads, we write
	if err != nil {
		return err
	}
	defer orders.Close()
	defer orderEnd.Close()
	ackEnd, acks, err := os.Pipe() // we read, perf writes
	if err != nil {
		return err
	}
	defer ackEnd.Close()
	defer acks.Close()

	cmd := child("perf", "record", "--overwrite", "-q", "-o", filepath.Join(h.dir, "perf.data"), "-e", "raw_syscalls:*",
		"-p", fmt.Sprint(h.worker.cmd.Process.Pid), "--delay=-1", "--control=fd:3,4")
	cmd.ExtraFiles = []*os.File{orders, acks}
	t, err := startTool(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop(syscall.SIGINT)) }()

	if _, err := orderEnd.WriteString("enable\n"); err != nil {
		return fmt.Errorf("enable perf: %w", err)
	}
	// perf answers when it records.
	acked := make(chan struct{})
	go func() {
		buf := make([]byte, 16)
		if n, _ := ackEnd.Read(buf); strings.HasPrefix(string(buf[:n]), "ack") {
			close(acked)
		}
	}()
	err = t.await(h.ctx, func() bool {
		select {
		case <-acked:
			return true
		default:
			return false
		}
	})
	if err != nil {
		return err
	}
	_, err = measure("perf")
	return err
}
