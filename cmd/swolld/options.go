package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder"
	"github.com/swoll-recorder/swoll/recorder/secrets"
)

// options are what the command line and the environment say.
type options struct {
	recorder    recorder.Config
	socket      string
	socketGroup string
	groupPermit api.Permission
	cri         string // path of its socket; empty: as found
	kubernetes  bool
	fold        bool
	kubeconfig  string
	redact      string // default, none, or the path of a file with patterns
	uninstall   bool
	logLevel    string
	logFormat   string
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (o *options) logger() *slog.Logger {
	h := &slog.HandlerOptions{Level: logLevels[o.logLevel]}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, h))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, h))
}

// A usageError is a wrong command line or environment.
type usageError struct{ error }

func newCommand(service func(context.Context, *options) error) *cobra.Command {
	o := &options{
		recorder: recorder.Config{
			Memory: 256 << 20, RingSize: 1 << 20, DataLimit: 64, StringLimit: 256, StackLimit: 16 << 10,
			SnapshotMaxBytes: 1 << 30, SnapshotKeep: 8, SnapshotsPerHour: 60, KeepExited: time.Hour,
		},
		kubernetes:  true,
		fold:        true,
		redact:      "default",
		groupPermit: api.PermitWrite,
		logLevel:    "info",
		logFormat:   "text",
	}
	cmd := &cobra.Command{
		Use:   "swolld",
		Short: "Records the system calls of every container on this node",
		Long: `Swolld records the system calls of every container on this node into rings of
the container's own, saves them when a container dies badly, and serves them on a
Unix domain socket. swoll-dump asks it.

Each flag can be given in the environment, too: --ring-size as SWOLL_RING_SIZE, and
so on. The flag beats the environment. Sizes are numbers of bytes, or like 512KiB,
256MiB, 1GiB.`,
		Version:       api.BuildVersion().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unexpected argument %q; swolld --help shows the flags", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.Flags()); err != nil {
				return err
			}
			o.recorder.NoFold = !o.fold
			o.recorder.NodeName = cmp.Or(o.recorder.NodeName, os.Getenv("NODE_NAME"))
			return service(cmd.Context(), o)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })

	f := cmd.Flags()
	f.SortFlags = false
	c := &o.recorder
	f.StringVar(&o.socket, "socket", api.DefaultSocket, "`path` of the socket to listen on; one that is passed by systemd goes first")
	f.StringVar(&o.socketGroup, "socket-group", "", "`group` that owns the socket, by name or number; its members may use the service (default: that of the process)")
	f.Var((*permission)(&o.groupPermit), "socket-group-permit", "what members of the socket's group may do: none, read (list, dump, explain), write (all)")
	f.StringVar(&c.StateDir, "state-dir", "/var/lib/swoll", "`directory` of the snapshots")
	f.StringVar(&c.PinDir, "pin-dir", "/sys/fs/bpf/swoll", "`directory` below a bpffs where the recorder is pinned; empty: recording ends with the service")
	f.Var((*byteSize)(&c.Memory), "memory", "ring memory of the node; 25 KiB for each ring come on top, for stacks of the dying")
	f.Var((*byteSize)(&c.RingSize), "ring-size", "ring memory of one container")
	f.StringSliceVar(&c.WatchCgroups, "watch-cgroup", nil, "`directory` of cgroups: each one made in it is a container; one named kubepods, kubepods.slice or kubelet-kubepods.slice holds pods, as the kubelet makes them; repeatable (default: kubepods, as found)")
	f.DurationVar(&c.KeepExited, "keep-exited", c.KeepExited, "how `long` the ring of a container that is gone is kept, while there are others")
	f.StringVar(&o.cri, "cri", "", "`path` of the container runtime's socket, which names containers; none: do without (default: as found)")
	f.BoolVar(&o.kubernetes, "kubernetes", o.kubernetes, "ask the API server about this node's pods, and tell them of their snapshots")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that tells how to reach the API server (default: from within the cluster)")
	f.Var((*dataLimit)(&c.DataLimit), "data-limit", "`bytes` kept of what a call reads or writes; 0: none, not even of what is written to standard error")
	f.Var((*count)(&c.StringLimit), "string-limit", "`bytes` kept of a path or another string, and of what is written to standard error")
	f.StringToIntVar(&c.PayloadCalls, "payload-calls", nil, "`NAME=BYTES,...`: what is kept at most of what these calls read or write; NAME is a call, or a group or class of them, as dump -o json names it; repeatable; the smallest limit holds")
	f.Var((*stackLimit)(&c.StackLimit), "stack-limit", "memory taken of the stack of a thread that a signal kills, to unwind it; 0: none")
	f.BoolVar(&o.fold, "fold", o.fold, "keep a run of the same call, with the same arguments and result, as one record with a count")
	f.StringVar(&o.redact, "redact", o.redact, "what is masked in dumps and snapshots: default (what looks like a secret), none, or a `file` of regular expressions to mask as well, one a line")
	f.Var((*byteSize)(&c.SnapshotMaxBytes), "snapshot-max-bytes", "what all snapshots may take")
	f.Var((*count)(&c.SnapshotKeep), "snapshot-keep", "`number` of snapshots kept for each container")
	f.Var((*count)(&c.SnapshotsPerHour), "snapshots-per-hour", "`number` of deaths of a container that are saved in an hour, at most")
	f.StringVar(&c.NodeName, "node-name", "", "`name` of this node, as the cluster calls it (default: $NODE_NAME, or the host's name)")
	f.BoolVar(&o.uninstall, "uninstall", false, "remove what is pinned, and exit")
	f.Var(&choice{&o.logLevel, []string{"debug", "info", "warn", "error"}}, "log-level", "least `level` of what is logged: debug, info, warn, error")
	f.Var(&choice{&o.logFormat, []string{"text", "json"}}, "log-format", "`format` of the log on stderr: text, json")
	return cmd
}

// secrets are the patterns that --redact asks for.
func (o *options) secrets() (*secrets.Patterns, error) {
	switch o.redact {
	case "default":
		return secrets.Default(), nil
	case "none":
		return nil, nil
	}
	f, err := os.Open(o.redact)
	if err != nil {
		return nil, fmt.Errorf("--redact: %w. Try: default, none, or the path of a file", err)
	}
	defer f.Close()
	p, err := secrets.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("--redact %s: %w", o.redact, err)
	}
	return p, nil
}

// fromEnvironment sets the flags that the command line did not.
func fromEnvironment(flags *pflag.FlagSet) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" {
			return
		}
		name := "SWOLL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v, ok := os.LookupEnv(name)
		if !ok || f.Changed || err != nil {
			return
		}
		if e := flags.Set(f.Name, v); e != nil {
			err = &usageError{fmt.Errorf("environment variable %s: %w", name, e)}
		}
	})
	return err
}

// stackLimit is a byteSize that may be none: then it is below 0, as recorder.Config has it.
type stackLimit int64

func (l *stackLimit) String() string {
	if *l < 0 {
		return "0"
	}
	return (*byteSize)(l).String()
}

func (l *stackLimit) Set(s string) error {
	if s == "0" {
		*l = -1
		return nil
	}
	return (*byteSize)(l).Set(s)
}

func (l *stackLimit) Type() string { return "size" }

// byteSize is a flag that holds a number of bytes.
type byteSize int64

// The units of a byteSize, largest first: the one that it is printed in is the first that
// divides it.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String is the size in the largest unit in which it is whole.
func (b *byteSize) String() string {
	for _, u := range units {
		if *b != 0 && int64(*b)%u.bytes == 0 {
			return strconv.FormatInt(int64(*b)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set takes a whole number above 0, with or without a unit. Ki and K mean KiB, as in
// Kubernetes and docker.
func (b *byteSize) Set(s string) error {
	number, unit := strings.TrimRight(s, "BKMGTib"), int64(1)
	if suffix := strings.TrimPrefix(s, number); suffix != "" && suffix != "B" {
		unit = 0
		for _, u := range units {
			if suffix == u.name || suffix == u.name[:2] || suffix == u.name[:1] {
				unit = u.bytes
			}
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || unit == 0 || n <= 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a size: use a number of bytes, or one with KiB, MiB or GiB", s)
	}
	*b = byteSize(n * unit)
	return nil
}

// Type names the value in the help.
func (b *byteSize) Type() string { return "size" }

// count is a flag that holds a number above 0.
type count int

// String is the number.
func (c *count) String() string { return strconv.Itoa(int(*c)) }

// Set takes a number above 0.
func (c *count) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is not a whole number above 0", s)
	}
	*c = count(n)
	return nil
}

// Type names the value in the help.
func (c *count) Type() string { return "number" }

// dataLimit is a flag that holds a recorder.Config's DataLimit.
type dataLimit int

// String is the number of bytes.
func (d *dataLimit) String() string { return strconv.Itoa(max(int(*d), 0)) }

// Set takes a number from 0.
func (d *dataLimit) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a whole number from 0", s)
	}
	if *d = dataLimit(n); n == 0 {
		*d = recorder.NoData
	}
	return nil
}

// Type names the value in the help.
func (d *dataLimit) Type() string { return "number" }

// permission is a flag that holds an api.Permission.
type permission api.Permission

var permissions = []string{api.PermitNone: "none", api.PermitRead: "read", api.PermitWrite: "write"}

// String is the permission's name.
func (p *permission) String() string { return permissions[*p] }

// Set takes a permission's name.
func (p *permission) Set(s string) error {
	for i, name := range permissions {
		if s == name {
			*p = permission(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", s, strings.Join(permissions, ", "))
}

// Type names the value in the help.
func (p *permission) Type() string { return "permission" }

// choice is a flag that holds one of some words.
type choice struct {
	value *string
	of    []string
}

// String is the word.
func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

// Set takes one of the words.
func (c *choice) Set(s string) error {
	for _, w := range c.of {
		if s == w {
			*c.value = s
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", s, strings.Join(c.of, ", "))
}

// Type names the value in the help.
func (c *choice) Type() string { return "word" }
