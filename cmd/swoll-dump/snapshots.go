package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

func (a *app) snapshotCommand() *cobra.Command {
	var s selection
	var reason string
	cmd := &cobra.Command{
		Use:               "snapshot POD",
		Short:             "Saves the history up to now, and prints the snapshot's id",
		Long:              "Snapshot freezes a pod, saves its history, one snapshot for each container, thaws\nit, and prints the ids.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "yaml")
			if err != nil {
				return err
			}
			svc, sel, err := s.of(a, cmd, args[0])
			if err != nil {
				return err
			}
			made, err := svc.Snapshot(cmd.Context(), sel, reason)
			if err != nil {
				return err
			}
			if format != "text" {
				return a.encode(format, api.List[api.Snapshot]{Items: made})
			}
			for _, snap := range made {
				fmt.Fprintln(a.out, snap.ID)
			}
			return nil
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, as a `text` for the list of snapshots")
	return cmd
}

func (a *app) snapshotsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "snapshots [POD]",
		Short:             "What is saved",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "wide", "yaml")
			if err != nil {
				return err
			}
			lists, err := gather(cmd.Context(), a, func(ctx context.Context, s service) ([]api.Snapshot, error) {
				snaps, err := s.Snapshots(ctx)
				for i := range snaps {
					snaps[i].Node = cmp.Or(s.node, snaps[i].Node)
				}
				return snaps, err
			})
			if !partial(err) {
				return err
			}
			snaps := slices.Concat(lists...)
			if len(lists) > 1 {
				slices.SortStableFunc(snaps, func(a, b api.Snapshot) int { return a.Created.Compare(b.Created) })
			}
			if len(args) == 1 {
				// The pod may be gone, so its namespace is looked up among the snapshots.
				namespace, name, ok := strings.Cut(args[0], "/")
				if !ok {
					namespace, name = "", args[0]
					if a.fleet != nil {
						namespace, ok = a.fleet.cluster.Namespace, true
					}
				}
				snaps = slices.DeleteFunc(snaps, func(s api.Snapshot) bool {
					return s.Pod != name || ok && s.Namespace != namespace
				})
			}
			if format == "json" || format == "yaml" {
				return cmp.Or(a.encode(format, api.List[api.Snapshot]{Items: snaps}), err)
			}
			if len(snaps) == 0 {
				fmt.Fprintln(a.errOut, "There are no snapshots.")
				return err
			}
			return cmp.Or(a.writeSnapshots(snaps, format == "wide"), err)
		},
	}
}

func (a *app) writeSnapshots(snaps []api.Snapshot, wide bool) error {
	header := []string{"ID", "POD", "CONTAINER", "TRIGGER", "REASON", "CREATED", "SIZE"}
	if wide {
		header = append(header, "INSTANCE", "EXIT", "SIGNAL", "CALLS")
	}
	if a.fleet != nil {
		header = slices.Insert(header, 2, "NODE")
	}
	var t table
	for _, s := range snaps {
		reason, created := short(s.Reason, 60), ago(s.Created)
		if wide {
			reason, created = s.Reason, stamp(s.Created)
		}
		row := []string{s.ID, s.Namespace + "/" + s.Pod, s.Container, s.Trigger, reason, created, size(s.Bytes)}
		if wide {
			var exit, signal string
			if s.ExitCode != nil {
				exit = strconv.Itoa(*s.ExitCode)
			}
			if s.Signal != nil {
				signal = *s.Signal
			}
			row = append(row, strconv.Itoa(s.Instance), exit, signal, strconv.FormatUint(s.Records, 10))
		}
		if a.fleet != nil {
			row = slices.Insert(row, 2, s.Node)
		}
		t.add(row...)
	}
	return t.write(a.out, header...)
}

// openFile reads a snapshot file. It returns nil without an error where arg is no file's
// name, and what is whole of a damaged file, with the damage as error.
func openFile(arg string) (*ringstore.Snapshot, error) {
	f, err := os.Open(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, nil
	}
	snap, err := ringstore.ReadSnapshot(f, info.Size())
	if err != nil {
		err = fmt.Errorf("%s: %w", arg, err)
	}
	return snap, err
}

// looksLikeFile tells whether arg can only have meant a file.
func looksLikeFile(arg string) bool {
	return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".") || strings.HasSuffix(arg, ".swoll")
}

func noFile(arg string) error {
	return api.Errorf(api.CodeNotFound, "there is no file %s", arg)
}

func (a *app) showCommand() *cobra.Command {
	var s selection
	var f filter
	cmd := &cobra.Command{
		Use:   "show ID|FILE|POD...",
		Short: "The calls of a snapshot, or of a snapshot's file",
		Long: `Show writes the calls of a snapshot, of a snapshot's file, or of the newest snapshot
of a pod, or of one life of it. The pod may be gone. Several snapshots and files are merged
by time; with -o perfetto they are on one time line, for ui.perfetto.dev.`,
		Example: `  swoll-dump show 20261120T031204-web-5f0c2a --errors
  swoll-dump show default/web --previous`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "perfetto")
			if err != nil {
				return err
			}
			q, err := f.query(cmd, format)
			if err != nil {
				return err
			}
			out := a.colored()
			if len(args) > 1 {
				if s.given(cmd) {
					return usagef("of several snapshots, --container, --previous, --instance and --first choose none: name them by their ids")
				}
				return cmp.Or(a.showAll(cmd, args, q, out), out.Flush())
			}
			var snap *ringstore.Snapshot
			var damage error
			if !s.given(cmd) {
				snap, damage = openFile(args[0])
			}
			switch {
			case snap != nil:
				filter, err := filterOf(q, snap)
				if err != nil {
					return err
				}
				if err := verdict.Show(out, q.Format, snap, filter); err != nil {
					return err
				}
			case damage != nil:
				return damage
			case !s.given(cmd) && looksLikeFile(args[0]):
				return noFile(args[0])
			case s.given(cmd) || strings.Contains(args[0], "/"):
				var svc service
				var sel api.Selector
				if svc, sel, err = s.of(a, cmd, args[0]); err != nil {
					return err
				}
				id, err := newestSnapshot(cmd.Context(), svc, sel)
				if err == nil && id == "" {
					err = noSnapshot(sel)
				}
				if err == nil {
					err = svc.SnapshotDump(cmd.Context(), id, q, out)
				}
				return cmp.Or(err, out.Flush())
			default:
				var svc service
				if svc, err = a.serviceOfSnapshot(cmd.Context(), args[0]); err == nil {
					err = svc.SnapshotDump(cmd.Context(), args[0], q, out)
				}
			}
			return cmp.Or(err, out.Flush(), damage)
		},
	}
	s.flags(cmd)
	s.lives(cmd)
	f.flags(cmd)
	return cmd
}

// filterOf is what decode calls a query, checked for a snapshot.
func filterOf(q api.DumpQuery, snap *ringstore.Snapshot) (decode.Filter, error) {
	arch := snap.Meta.Arch
	for _, name := range q.Syscalls {
		if !decode.KnownCall(arch, name) {
			return decode.Filter{}, usagef("--syscall %q: %s has no such system call", name, arch)
		}
	}
	return decode.Filter{
		Since: q.Since, Last: q.Last, Syscalls: q.Syscalls, Errors: q.Errors, PID: q.PID, All: q.All,
		FDs: q.FDs, Split: q.Split, NoHeader: q.NoHeader,
	}, nil
}

// showAll writes several snapshots, merged. What is damaged is shown as far as it is whole.
func (a *app) showAll(cmd *cobra.Command, args []string, q api.DumpQuery, w io.Writer) error {
	var hs []*ringstore.History
	var filter decode.Filter
	var damaged error
	for _, arg := range args {
		snap, err := openFile(arg)
		switch {
		case snap != nil:
			damaged = cmp.Or(damaged, err)
		case err != nil:
			return err
		case looksLikeFile(arg):
			return noFile(arg)
		default:
			svc, err := a.serviceOfSnapshot(cmd.Context(), arg)
			if err != nil {
				return err
			}
			if snap, err = download(cmd.Context(), svc, arg); err != nil {
				return err
			}
		}
		if filter, err = filterOf(q, snap); err != nil {
			return err
		}
		h, _ := snap.Stream()
		hs = append(hs, h)
	}
	return cmp.Or(decode.Write(w, q.Format, hs, filter), damaged)
}

// noSnapshot says that there is none of what was selected.
func noSnapshot(sel api.Selector) error {
	what := sel.Namespace + "/" + sel.Pod
	if sel.Container != "" {
		what += ", container " + sel.Container
	}
	if sel.Instance != nil {
		what += fmt.Sprintf(", life %d", *sel.Instance)
	}
	return api.Errorf(api.CodeNotFound, "there is no snapshot of %s", what).WithHint("swoll-dump dump shows what is recorded")
}

func (a *app) explainCommand() *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use:   "explain ID|FILE|POD",
		Short: "How it died, and why",
		Long: `Explain tells how a container died and why, by a snapshot, a snapshot's file, or
the present history of a pod.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "yaml")
			if err != nil {
				return err
			}
			wire := format
			if format == "yaml" {
				wire = "json"
			}
			var b bytes.Buffer
			damage, err := a.explain(cmd, args[0], &s, wire, &b)
			if err != nil {
				return err
			}
			if format == "yaml" {
				err = a.encode(format, json.RawMessage(b.Bytes()))
			} else {
				_, err = a.out.Write(b.Bytes())
			}
			return cmp.Or(err, damage)
		},
	}
	s.flags(cmd)
	s.lives(cmd)
	return cmd
}

// explain writes the verdict on what arg means: a file, then a snapshot, then a pod. The
// first error is a file's damage, which a verdict can be written in spite of.
func (a *app) explain(cmd *cobra.Command, arg string, s *selection, format string, w io.Writer) (damage, err error) {
	ctx := cmd.Context()
	pod := s.given(cmd)
	if !pod {
		snap, damage := openFile(arg)
		if snap != nil {
			h, events := snap.Stream()
			return damage, verdict.Write(w, format, verdict.Explain(h, events), h)
		}
		if damage != nil {
			return nil, damage
		}
		if looksLikeFile(arg) {
			return nil, noFile(arg)
		}
	}
	// In a cluster, all nodes are asked for a snapshot only where arg looks like one.
	if !pod && !strings.Contains(arg, "/") && (a.fleet == nil || snapshotID.MatchString(arg)) {
		svc, err := a.serviceOfSnapshot(ctx, arg)
		if err == nil {
			err = svc.Explain(ctx, arg, format, w)
		}
		if !errors.Is(err, api.ErrNotFound) {
			return nil, err
		}
	}
	svc, sel, err := s.of(a, cmd, arg)
	if errors.Is(err, api.ErrNotFound) && !pod {
		return nil, api.Errorf(api.CodeNotFound, "%s is no snapshot, no file and no recorded pod", arg).
			WithHint("%s snapshots, or %[1]s list", a.name)
	}
	if err != nil {
		return nil, err
	}
	return nil, svc.ExplainPod(ctx, sel, format, w)
}

func (a *app) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export ID FILE",
		Short: "Writes a snapshot to a file, to be read on any machine",
		Long: `Export writes a snapshot to FILE, or with - to standard output. show and explain
read it on any machine. It has what the programs read and wrote: only its owner may
read it.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.format("text"); err != nil {
				return err
			}
			id, file := args[0], args[1]
			svc, err := a.serviceOfSnapshot(cmd.Context(), id)
			if err != nil {
				return err
			}
			if file == "-" {
				return svc.SnapshotFile(cmd.Context(), id, a.out)
			}
			if info, err := os.Stat(file); err == nil && info.IsDir() {
				file = filepath.Join(file, filepath.Base(id)+".swoll")
			}
			f, err := renameio.NewPendingFile(file, renameio.WithTempDir(filepath.Dir(file)), renameio.WithPermissions(0o600))
			if err != nil {
				return err
			}
			defer f.Cleanup()
			if err := svc.SnapshotFile(cmd.Context(), id, f); err != nil {
				return err
			}
			return f.CloseAtomicallyReplace()
		},
	}
}

func (a *app) rmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID...",
		Short: "Removes snapshots",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.format("text"); err != nil {
				return err
			}
			for _, id := range args {
				svc, err := a.serviceOfSnapshot(cmd.Context(), id)
				if err == nil {
					err = svc.DeleteSnapshot(cmd.Context(), id)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s is removed\n", id)
			}
			return nil
		},
	}
}
