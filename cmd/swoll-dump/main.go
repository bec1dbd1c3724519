// Swoll-dump shows what swolld recorded: the last system calls of a pod, now or as a
// snapshot kept them when a container died, and what they tell about why.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/client"
)

// The exit statuses. That of run is the command's, where it ran.
type exitStatus int

const (
	exitDone        exitStatus = 0
	exitFailed      exitStatus = 1
	exitUsage       exitStatus = 2
	exitNotFound    exitStatus = 3
	exitUnreachable exitStatus = 4
	exitDenied      exitStatus = 5
)

func main() { os.Exit(int(run(os.Args[1:]))) }

func run(args []string) exitStatus {
	a := &app{out: os.Stdout, errOut: os.Stderr}
	cmd := a.command()
	cmd.SetArgs(args)
	chosen, err := cmd.ExecuteC()
	if a.client != nil {
		a.client.Close()
	}
	if err == nil {
		return exitDone
	}
	var child *commandError
	if errors.As(err, &child) && child.err == nil {
		return child.status // it said itself what was wrong
	}
	fmt.Fprintf(a.errOut, "swoll-dump: %v\n", err)
	if e := (*api.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		fmt.Fprintf(a.errOut, "Try: %s\n", e.Hint)
	}
	status := statusOf(err)
	if !a.started {
		// Cobra found the fault: an unknown command or flag, too few arguments.
		status = exitUsage
		fmt.Fprintf(a.errOut, "Try: %s --help\n", chosen.CommandPath())
	}
	return status
}

func statusOf(err error) exitStatus {
	var child *commandError
	var dial *client.DialError
	var usage *usageError
	switch {
	case errors.As(err, &child):
		return child.status
	case errors.As(err, &usage), errors.Is(err, api.ErrBadRequest):
		return exitUsage
	case errors.Is(err, api.ErrNotFound):
		return exitNotFound
	case errors.Is(err, api.ErrDenied):
		return exitDenied
	case errors.As(err, &dial):
		if errors.Is(err, fs.ErrPermission) {
			return exitDenied
		}
		return exitUnreachable
	}
	return exitFailed
}

// A usageError is a command line that asks for what there is not.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// An app is what the commands share: the global flags and the client that they make.
type app struct {
	socket, output, color string

	client      *client.Client
	started     bool // the command line was understood
	out, errOut io.Writer
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "swoll-dump",
		Short: "Shows the last system calls of a pod, and why it died",
		Long: `Swoll-dump asks swolld, the node's flight recorder, for the last system calls of a
pod, now or as a snapshot kept them when a container died, and what they tell about
why.

POD is NAMESPACE/NAME, or NAME where only one namespace has it. Cgroups that belong
to no pod are in the namespace "host". show and explain read snapshot files, too,
on any machine.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 the service cannot be
reached, 5 denied. That of run is the command's.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"auto", "always", "never"}, a.color) {
				return usagef("--color %q is not one of auto, always, never", a.color)
			}
			a.started = true
			a.client = &client.Client{Socket: a.socket, Warn: func(msg string) {
				fmt.Fprintf(a.errOut, "swoll-dump: warning: %s\n", msg)
			}}
			return nil
		},
	}
	socket := api.DefaultSocket
	if s := os.Getenv("SWOLL_SOCKET"); s != "" {
		socket = s
	}
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", socket, "`path` of the service's socket; also $SWOLL_SOCKET")
	f.StringVarP(&a.output, "output", "o", "text", "`format` of the output: text, json, and where it makes sense wide, yaml")
	f.StringVar(&a.color, "color", "auto", "color failed calls: `when` is auto, always or never")
	root.AddCommand(
		a.listCommand(), a.dumpCommand(), a.freezeCommand("freeze"), a.freezeCommand("thaw"),
		a.snapshotCommand(), a.snapshotsCommand(), a.showCommand(), a.explainCommand(), a.exportCommand(), a.rmCommand(),
		a.recordCommand(), a.forgetCommand(), a.runCommand(), a.versionCommand(),
	)
	return root
}

// format checks --output against what the command can write; the first is the default.
func (a *app) format(can ...string) (string, error) {
	if slices.Contains(can, a.output) {
		return a.output, nil
	}
	return "", usagef("--output %q is not one of %s", a.output, strings.Join(can, ", "))
}

// pod finds the pod that arg means.
func (a *app) pod(ctx context.Context, arg string) (namespace, name string, err error) {
	if namespace, name, ok := strings.Cut(arg, "/"); ok {
		if namespace == "" || name == "" || strings.Contains(name, "/") {
			return "", "", usagef("%q is no POD: use NAMESPACE/NAME or NAME", arg)
		}
		return namespace, name, nil
	}
	pods, err := a.client.Pods(ctx)
	if err != nil {
		return "", "", err
	}
	var found []string
	for _, p := range pods {
		if p.Name == arg && !slices.Contains(found, p.Namespace) {
			found = append(found, p.Namespace)
		}
	}
	switch len(found) {
	case 0:
		return "", "", api.Errorf(api.CodeNotFound, "no pod %s is recorded", arg).WithHint("swoll-dump list")
	case 1:
		return found[0], arg, nil
	}
	for i, namespace := range found {
		found[i] = namespace + "/" + arg
	}
	return "", "", usagef("%s is the name of several pods; choose one of %s", arg, strings.Join(found, ", "))
}

// completePods completes the names of pods for the shell.
func (a *app) completePods(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	c := &client.Client{Socket: a.socket}
	defer c.Close()
	pods, err := c.Pods(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, p := range pods {
		if name := p.Namespace + "/" + p.Name; strings.HasPrefix(name, prefix) || strings.HasPrefix(p.Name, prefix) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// colored wraps standard output so that failed calls stand out, where that is wanted.
// What it returns must be flushed.
func (a *app) colored() *colorWriter {
	on := a.color == "always"
	if f, ok := a.out.(*os.File); ok && a.color == "auto" {
		on = isTerminal(f.Fd()) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return &colorWriter{w: a.out, on: on}
}
