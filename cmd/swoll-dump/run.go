package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/swoll-recorder/swoll/api"
)

const (
	snapshotWait = 3 * time.Second // for the service to save how it died
	snapshotPoll = 20 * time.Millisecond
)

// A commandError ends swoll-dump with the status of the command that it ran. Where err is
// nil there is nothing to add.
type commandError struct {
	status exitStatus
	err    error
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

func (a *app) runCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "run [--keep] -- COMMAND [ARG...]",
		Short: "Runs a command, recorded; where it fails, tells why",
		Long: `Run makes a cgroup, has it recorded, and runs COMMAND in it. Where COMMAND fails,
the verdict and the last calls follow on standard error. The exit status is
COMMAND's, 128+N if signal N killed it, 127 if there is no such command, 126 if it
cannot be executed.`,
		Example: `  swoll-dump run -- ./app --config app.yaml`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.format("text"); err != nil {
				return err
			}
			return a.runRecorded(cmd.Context(), args, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the cgroup and the recording")
	cmd.Flags().SetInterspersed(false) // flags behind COMMAND are its own
	return cmd
}

func (a *app) runRecorded(ctx context.Context, args []string, keep bool) (err error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return startError(err)
	}
	cgroup, err := makeCgroup(args[0])
	if err != nil {
		return err
	}
	defer cgroup.Close()
	name := filepath.Base(cgroup.Name())
	if _, err := a.client.Record(ctx, cgroup.Name(), name); err != nil {
		os.Remove(cgroup.Name())
		return err
	}
	defer func() {
		if cleanErr := a.tidy(ctx, cgroup.Name(), name, keep); cleanErr != nil {
			fmt.Fprintf(a.errOut, "swoll-dump: %v\n", cleanErr)
		}
	}()

	child := exec.Command(path)
	child.Args = args
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = inCgroup(cgroup)
	status, err := startAndWait(child)
	if err != nil {
		return startError(err)
	}
	code := status.ExitStatus()
	how := fmt.Sprintf("exit status %d", code)
	if status.Signaled() {
		code = 128 + int(status.Signal())
		how = fmt.Sprintf("signal %d, %s", int(status.Signal()), status.Signal())
	}
	if code == 0 {
		return nil
	}
	fmt.Fprintf(a.errOut, "swoll-dump: %s failed: %s\n", args[0], how)
	if err := a.explainRun(ctx, name, code); err != nil {
		fmt.Fprintf(a.errOut, "swoll-dump: why is not known: %v\n", err)
	}
	return &commandError{status: exitStatus(code)}
}

// startError is for a command that did not start, by the status that a shell would give.
func startError(err error) error {
	status := exitStatus(126)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = 127
	}
	return &commandError{status: status, err: err}
}

// startAndWait passes signals on to the command. Those that the terminal sends reach the
// command anyhow, since it is in the same process group.
func startAndWait(child *exec.Cmd) (syscall.WaitStatus, error) {
	fromTerminal := []os.Signal{syscall.SIGINT, syscall.SIGQUIT}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, append(fromTerminal, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)...)
	defer signal.Stop(signals)
	hasTerminal := false
	if tty, err := os.Open("/dev/tty"); err == nil {
		hasTerminal = true
		tty.Close()
	}
	if err := child.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- child.Wait() }()
	for {
		select {
		case s := <-signals:
			if !hasTerminal || !slices.Contains(fromTerminal, s) {
				child.Process.Signal(s)
			}
		case err := <-done:
			if child.ProcessState == nil {
				return 0, err
			}
			return child.ProcessState.Sys().(syscall.WaitStatus), nil
		}
	}
}

// explainRun writes the verdict on a command that ended with code, which has its last
// calls: by the snapshot that the service made, or if there is none by what is recorded.
func (a *app) explainRun(ctx context.Context, name string, code int) error {
	snap, err := a.waitForSnapshot(ctx, name, code)
	if err != nil {
		return err
	}
	if snap == nil {
		return a.client.ExplainPod(ctx, api.Selector{Namespace: api.HostNamespace, Pod: name}, "text", a.errOut)
	}
	if err := a.client.Explain(ctx, snap.ID, "text", a.errOut); err != nil {
		return err
	}
	fmt.Fprintf(a.errOut, "swoll-dump: all of it: swoll-dump show %s\n", snap.ID)
	return nil
}

// waitForSnapshot waits for the snapshot of the death with that exit code. If it does not
// come, it is the newest of the command's; or nil.
func (a *app) waitForSnapshot(ctx context.Context, name string, code int) (*api.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	var newest *api.Snapshot
	for {
		snaps, err := a.client.Snapshots(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return newest, nil
			}
			return nil, err
		}
		for i, s := range snaps {
			if s.Namespace != api.HostNamespace || s.Pod != name {
				continue
			}
			if newest == nil || !s.Created.Before(newest.Created) {
				newest = &snaps[i]
			}
		}
		if newest != nil && newest.ExitCode != nil && *newest.ExitCode == code {
			return newest, nil
		}
		select {
		case <-ctx.Done():
			return newest, nil
		case <-time.After(snapshotPoll):
		}
	}
}

// tidy removes the cgroup and the recording, unless they are to stay or still in use.
func (a *app) tidy(ctx context.Context, cgroup, name string, keep bool) error {
	if !keep {
		err := os.Remove(cgroup)
		if errors.Is(err, syscall.EBUSY) {
			fmt.Fprintf(a.errOut, "swoll-dump: processes of the command still run in %s\n", cgroup)
			keep = true
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if keep {
		fmt.Fprintf(a.errOut, "swoll-dump: the recording goes on as %s/%s, in %s\n", api.HostNamespace, name, cgroup)
		return nil
	}
	// With its cgroup gone, the service may have dropped it already.
	if err := a.client.Forget(ctx, name); err != nil && !errors.Is(err, api.ErrNotFound) {
		return err
	}
	return nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// makeCgroup makes a cgroup for a command, below the one that this process is in, or
// where that is not possible, at the top of the hierarchy.
func makeCgroup(command string) (*os.File, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	parents := cgroupParents(string(mounts), string(own))
	if len(parents) == 0 {
		return nil, errors.New("no cgroup hierarchy of version 2 is mounted. Try: mount -t cgroup2 none DIRECTORY")
	}
	name := notInName.ReplaceAllString(filepath.Base(command), "-")
	if len(name) > 40 {
		name = name[:40]
	}
	var first error
	for _, parent := range parents {
		dir, err := os.MkdirTemp(parent, name+"-*")
		if err == nil {
			return os.Open(dir)
		}
		if first == nil {
			first = err
		}
	}
	err = fmt.Errorf("make a cgroup for the command: %w", first)
	if errors.Is(first, fs.ErrPermission) || errors.Is(first, syscall.EROFS) {
		err = api.Errorf(api.CodeDenied, "%w", err).
			WithHint("as root, or in a cgroup that is yours: systemd-run --user --scope -p Delegate=yes swoll-dump run …")
	}
	return nil, err
}

// cgroupParents are the directories below which a cgroup may be made, best first, by the
// text of /proc/self/mountinfo and /proc/self/cgroup.
func cgroupParents(mounts, own string) []string {
	var mine string
	for line := range strings.Lines(own) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			mine = path
		}
	}
	var parents []string
	for line := range strings.Lines(mounts) {
		// See proc_pid_mountinfo(5): fields 4 and 5 are the root within the file system and
		// the mount point; behind " - " comes the type.
		front, back, _ := strings.Cut(line, " - ")
		fields := strings.Fields(front)
		if len(fields) < 5 || !strings.HasPrefix(back, "cgroup2 ") {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		if rel, ok := strings.CutPrefix(mine, strings.TrimSuffix(root, "/")); ok && (rel == "" || rel[0] == '/') && !strings.Contains(rel, "/..") {
			parents = append(parents, filepath.Join(point, rel))
		}
		if !slices.Contains(parents, point) {
			parents = append(parents, point)
		}
	}
	return parents
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
