package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

func (a *app) diffCommand() *cobra.Command {
	var container string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Where two histories part: two lives, or a crash and a healthy sibling",
		Long: `Diff compares two histories by thread, call and path: the first call that both made
with different results, where they part, and the calls that only one of them has.
A and B are each a snapshot's id, a snapshot's file, or a pod: of one that runs, what
it did up to now, else its newest snapshot.`,
		Example: `  swoll-dump diff 20261120T031204-web-5f0c2a default/web-7d4b9
  swoll-dump diff crashed.swoll healthy.swoll -o json`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "yaml")
			if err != nil {
				return err
			}
			var snaps [2]*ringstore.Snapshot
			for i, arg := range args {
				if snaps[i], err = a.load(cmd.Context(), arg, container); snaps[i] == nil {
					return err
				}
				if err != nil {
					a.warn(err.Error()) // a part of it is whole
				}
			}
			h0, events0 := snaps[0].Stream()
			h1, events1 := snaps[1].Stream()
			c := verdict.Compare(h0, events0, h1, events1)
			if format == "yaml" {
				data, err := json.Marshal(c)
				if err != nil {
					return err
				}
				return a.encode(format, json.RawMessage(data))
			}
			return verdict.WriteComparison(a.out, format, c)
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "this `container`, where a pod has several")
	return cmd
}

// load reads what arg means: a file, a snapshot of a service, or a pod. Of what is damaged
// it returns the whole part, with the error.
func (a *app) load(ctx context.Context, arg, container string) (*ringstore.Snapshot, error) {
	if snap, err := openFile(arg); snap != nil || err != nil {
		return snap, err
	}
	if looksLikeFile(arg) {
		return nil, noFile(arg)
	}
	if !strings.Contains(arg, "/") && (a.fleet == nil || snapshotID.MatchString(arg)) {
		svc, err := a.serviceOfSnapshot(ctx, arg)
		if err == nil {
			var snap *ringstore.Snapshot
			if snap, err = download(ctx, svc, arg); err == nil {
				return snap, nil
			}
		}
		if !errors.Is(err, api.ErrNotFound) {
			return nil, err
		}
	}
	svc, namespace, name, err := a.pod(ctx, arg)
	if errors.Is(err, api.ErrNotFound) {
		return nil, api.Errorf(api.CodeNotFound, "%s is no snapshot, no file and no recorded pod", arg).
			WithHint("%s snapshots, or %[1]s list", a.name)
	}
	if err != nil {
		return nil, err
	}
	return loadPod(ctx, svc, api.Selector{Namespace: namespace, Pod: name, Container: container})
}

// loadPod takes a snapshot of a pod that runs, for as long as it takes to read it; of one
// that does not, it reads the newest.
func loadPod(ctx context.Context, svc service, sel api.Selector) (*ringstore.Snapshot, error) {
	pods, err := svc.Pod(ctx, sel.Namespace, sel.Pod)
	if err != nil {
		return nil, err
	}
	names, runs := map[string]bool{}, false
	for _, p := range pods {
		for _, c := range p.Containers {
			if sel.Container == "" || c.Name == sel.Container {
				names[c.Name] = true
				runs = runs || c.State != api.StateExited
			}
		}
	}
	if len(names) > 1 {
		return nil, usagef("pod %s/%s has several containers: name one with --container", sel.Namespace, sel.Pod)
	}
	if !runs {
		snaps, err := svc.Snapshots(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range slices.Backward(snaps) {
			if s.Namespace == sel.Namespace && s.Pod == sel.Pod && (sel.Container == "" || s.Container == sel.Container) {
				return download(ctx, svc, s.ID)
			}
		}
	}
	made, err := svc.Snapshot(ctx, sel, "compared by diff")
	if err != nil {
		return nil, err
	}
	snap, err := download(ctx, svc, made[0].ID)
	for _, m := range made {
		err = cmp.Or(err, svc.DeleteSnapshot(ctx, m.ID))
	}
	return snap, err
}

func download(ctx context.Context, svc service, id string) (*ringstore.Snapshot, error) {
	var b bytes.Buffer
	if err := svc.SnapshotFile(ctx, id, &b); err != nil {
		return nil, err
	}
	snap, err := ringstore.ReadSnapshot(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		err = fmt.Errorf("snapshot %s: %w", id, err)
	}
	return snap, err
}
