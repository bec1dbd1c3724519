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

func main() { os.Exit(int(run(os.Args[0], os.Args[1:]))) }

func run(argv0 string, args []string) exitStatus {
	a := &app{name: "swoll-dump", out: os.Stdout, errOut: os.Stderr}
	if isPlugin(argv0) {
		a.name, a.plugin = "kubectl swoll", new(plugin)
	}
	cmd := a.command()
	cmd.SetArgs(args)
	chosen, err := cmd.ExecuteC()
	if a.client != nil {
		a.client.Close()
	}
	if a.fleet != nil {
		a.fleet.close()
	}
	if err == nil {
		return exitDone
	}
	var child *commandError
	if errors.As(err, &child) && child.err == nil {
		return child.status // it said itself what was wrong
	}
	fmt.Fprintf(a.errOut, "%s: %v\n", a.name, err)
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
	name                  string // of the program, as its user calls it
	socket, output, color string
	plugin                *plugin // nil but for kubectl's

	client      *client.Client // of this machine's service
	fleet       *fleet         // of the cluster's, in place of client; nil but for kubectl's
	started     bool           // the command line was understood
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
			if a.plugin != nil {
				a.fleet = &fleet{connect: a.plugin.connect, only: a.plugin.node, warn: a.warn}
				return nil
			}
			a.client = &client.Client{Socket: a.socket, Warn: a.warn}
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", "text", "`format` of the output: text, json, and where it makes sense wide, yaml, perfetto")
	f.StringVar(&a.color, "color", "auto", "color failed calls: `when` is auto, always or never")
	root.AddCommand(
		a.listCommand(), a.dumpCommand(), a.freezeCommand("freeze"), a.freezeCommand("thaw"),
		a.snapshotCommand(), a.snapshotsCommand(), a.showCommand(), a.explainCommand(), a.diffCommand(), a.exportCommand(), a.rmCommand(),
		a.recordCommand(), a.forgetCommand(), a.runCommand(), a.versionCommand(),
	)
	if a.plugin != nil {
		root.Use = pluginName
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: a.name}
		root.Long = pluginLong
		a.plugin.addTo(root)
		return root
	}
	root.AddCommand(a.proxyCommand(), a.probeCommand())
	socket := api.DefaultSocket
	if s := os.Getenv("SWOLL_SOCKET"); s != "" {
		socket = s
	}
	f.StringVar(&a.socket, "socket", socket, "`path` of the service's socket; also $SWOLL_SOCKET")
	return root
}

// warn tells what does not keep a command from going on.
func (a *app) warn(msg string) { fmt.Fprintf(a.errOut, "%s: warning: %s\n", a.name, msg) }

// format checks --output against what the command can write; the first is the default.
func (a *app) format(can ...string) (string, error) {
	if slices.Contains(can, a.output) {
		return a.output, nil
	}
	return "", usagef("--output %q is not one of %s", a.output, strings.Join(can, ", "))
}

// completePods completes the names of pods for the shell.
func (a *app) completePods(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 || a.plugin != nil {
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
