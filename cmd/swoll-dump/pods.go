package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/client"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "What is recorded",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := a.format("text", "json", "wide", "yaml")
			if err != nil {
				return err
			}
			lists, err := gather(cmd.Context(), a, func(ctx context.Context, s service) ([]nodePod, error) {
				pods, err := s.Pods(ctx)
				var list []nodePod
				for _, p := range pods {
					list = append(list, nodePod{p, s.node})
				}
				return list, err
			})
			if !partial(err) {
				return err
			}
			pods := slices.Concat(lists...)
			if format == "json" || format == "yaml" {
				return cmp.Or(a.encode(format, api.List[nodePod]{Items: pods}), err)
			}
			if len(pods) == 0 {
				fmt.Fprintln(a.errOut, "Nothing is recorded.")
				return err
			}
			return cmp.Or(a.writePods(pods, format == "wide"), err)
		},
	}
}

// A nodePod is a pod, and the node that it was asked of; empty: this machine.
type nodePod struct {
	api.Pod
	Node string `json:"node,omitempty"`
}

func (a *app) writePods(pods []nodePod, wide bool) error {
	header := []string{"POD", "CONTAINER", "INSTANCE", "STATE", "CALLS", "SPAN", "COMPLETE SINCE"}
	if wide {
		header = append(header, "OVERWRITTEN", "LOST", "BYTES", "ID", "CGROUP")
	}
	if a.fleet != nil {
		header = append([]string{"NODE"}, header...)
	}
	var t table
	for _, p := range pods {
		for _, c := range p.Containers {
			since := ago(c.Ring.CompleteSince)
			if wide {
				since = stamp(c.Ring.CompleteSince)
			}
			row := []string{
				p.Namespace + "/" + p.Name, c.Name, strconv.Itoa(c.Instance), c.State,
				strconv.FormatUint(c.Ring.Records, 10), span(c.Ring.Newest.Sub(c.Ring.Oldest)), since,
			}
			if wide {
				var lost []string
				for _, cause := range slices.Sorted(maps.Keys(c.Ring.Lost)) {
					if n := c.Ring.Lost[cause]; n > 0 {
						lost = append(lost, fmt.Sprintf("%s=%d", cause, n))
					}
				}
				row = append(row, strconv.FormatUint(c.Ring.Overwritten, 10), cmp.Or(strings.Join(lost, ","), "0"),
					size(c.Ring.Bytes), c.ID, c.Cgroup)
			}
			if a.fleet != nil {
				row = append([]string{p.Node}, row...)
			}
			t.add(row...)
		}
	}
	return t.write(a.out, header...)
}

// selection is the flags that choose among a pod's containers.
type selection struct {
	container string
	instance  int
	previous  int
	first     bool
}

func (s *selection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.container, "container", "c", "", "only this `container` of the pod")
	cmd.Flags().IntVar(&s.instance, "instance", -1, "only this `life` of the container, counted from 0 (default: the newest)")
	cmd.Flags().Lookup("instance").DefValue = "" // -1 is no answer
}

// lives adds the flags that choose among the lives of a container without their numbers.
func (s *selection) lives(cmd *cobra.Command) {
	cmd.Flags().IntVar(&s.previous, "previous", 0, "the life before the newest, or `N` lives before it")
	cmd.Flags().Lookup("previous").NoOptDefVal = "1"
	cmd.Flags().Lookup("previous").DefValue = ""
	cmd.Flags().BoolVar(&s.first, "first", false, "the first life that something is known of")
}

// given tells that the flags mean a pod, whatever the argument looks like.
func (s *selection) given(cmd *cobra.Command) bool {
	return s.container != "" || cmd.Flags().Changed("instance") || s.chosen()
}

func (s *selection) chosen() bool { return s.previous != 0 || s.first }

// choose finds the number of the life that --previous or --first mean: among those that are
// recorded, and those that there are snapshots of. The pod itself may be gone.
func (s *selection) choose(ctx context.Context, svc service, sel *api.Selector) error {
	if s.previous < 0 {
		return usagef("--previous %d: there is no such life", s.previous)
	}
	type life struct {
		name, uid string
		number    int
		seen      time.Time
	}
	var all []life
	pods, err := svc.Pod(ctx, sel.Namespace, sel.Pod)
	if err != nil && !errors.Is(err, api.ErrNotFound) {
		return err
	}
	for _, p := range pods {
		for _, c := range p.Containers {
			all = append(all, life{c.Name, p.UID, c.Instance, c.Ring.Newest})
		}
	}
	recorded := len(all)
	snaps, err := svc.Snapshots(ctx)
	if err != nil {
		return err
	}
	for _, snap := range snaps {
		if ofPod(&snap, sel) {
			all = append(all, life{snap.Container, snap.UID, snap.Instance, snap.Created})
		}
	}
	if len(all) == 0 {
		return api.Errorf(api.CodeNotFound, "no pod %s/%s is recorded, and there is no snapshot of one", sel.Namespace, sel.Pod)
	}
	// Of pods that had the name one after the other, it is the newest; one that is recorded
	// is newer than one that is not.
	newest := slices.MaxFunc(all[:cmp.Or(recorded, len(all))], func(a, b life) int { return a.seen.Compare(b.seen) })
	names, lives := map[string]bool{}, map[int]bool{}
	for _, l := range all {
		if l.uid == newest.uid && (sel.Container == "" || l.name == sel.Container) {
			names[l.name], lives[l.number] = true, true
		}
	}
	if len(names) > 1 {
		return usagef("pod %s/%s has several containers: name one with --container", sel.Namespace, sel.Pod)
	}
	known := slices.Sorted(maps.Keys(lives))
	if len(known) == 0 {
		return api.Errorf(api.CodeNotFound, "of %s/%s nothing is known of a container %s", sel.Namespace, sel.Pod, sel.Container)
	}
	number := known[len(known)-1] - s.previous
	if s.first {
		number = known[0]
	}
	if !lives[number] {
		what := fmt.Sprintf("nothing is known of life %d", number)
		if number < 0 {
			what = fmt.Sprintf("the newest life is number %d", known[len(known)-1])
		}
		return api.Errorf(api.CodeNotFound, "of %s/%s, %s", sel.Namespace, sel.Pod, what).
			WithHint("--first, or --instance with one of those that are known: %s", ranges(known))
	}
	sel.Instance = &number
	return nil
}

// ranges lists numbers that are in order, like 0, 13 to 20.
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, strconv.Itoa(numbers[i]))
		default:
			parts = append(parts, fmt.Sprintf("%d to %d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// of is the selection in a pod, and the service that has it.
func (s *selection) of(a *app, cmd *cobra.Command, pod string) (service, api.Selector, error) {
	if s.chosen() && (cmd.Flags().Changed("instance") || s.previous != 0 && s.first) {
		return service{}, api.Selector{}, usagef("only one of --instance, --previous and --first can be given")
	}
	svc, namespace, name, err := a.pod(cmd.Context(), pod)
	if err != nil {
		return svc, api.Selector{}, err
	}
	sel := api.Selector{Namespace: namespace, Pod: name, Container: s.container}
	if cmd.Flags().Changed("instance") {
		sel.Instance = &s.instance
	}
	if s.chosen() {
		return svc, sel, s.choose(cmd.Context(), svc, &sel)
	}
	return svc, sel, nil
}

// filter is the flags that choose among the calls of a history.
type filter struct{ api.DumpQuery }

func (f *filter) flags(cmd *cobra.Command) {
	g := cmd.Flags()
	g.DurationVar(&f.Since, "since", 0, "only calls that ended in this `time` before the end, like 5s")
	g.IntVar(&f.Last, "last", 0, "only the last `N`")
	g.StringSliceVar(&f.Syscalls, "syscall", nil, "only these `calls`, like openat,read, also where io_uring made them; io_uring: all that was done through it")
	g.BoolVar(&f.Errors, "errors", false, "only failed calls")
	g.Uint32Var(&f.PID, "pid", 0, "only this `process` or thread")
	g.BoolVar(&f.All, "all", false, "also what is held from before the history is complete")
	g.BoolVar(&f.Split, "split", false, "in the order of time, as strace does: calls in two lines where others come between")
	g.BoolVar(&f.NoHeader, "no-headers", false, "begin with the first call")
	g.BoolVar(&f.FDs, "fds", false, "show what file descriptors stand for, as strace -y -yy does, where it is known")
}

// query checks the flags as the service would.
func (f *filter) query(cmd *cobra.Command, format string) (api.DumpQuery, error) {
	q := f.DumpQuery
	q.Format = format
	for name, bad := range map[string]bool{
		"since": q.Since <= 0, "last": q.Last <= 0, "pid": q.PID == 0,
		"syscall": len(q.Syscalls) == 0 || slices.Contains(q.Syscalls, ""),
	} {
		if bad && cmd.Flags().Changed(name) {
			return q, usagef("--%s %q: there is no such %s", name, cmd.Flag(name).Value, name)
		}
	}
	return q, nil
}

func (a *app) dumpCommand() *cobra.Command {
	var s selection
	var f filter
	var node bool
	cmd := &cobra.Command{
		Use:   "dump POD | --all-pods",
		Short: "The history up to now, oldest first; recording goes on",
		Example: `  swoll-dump dump web
  swoll-dump dump default/web -c app --since 5s --errors
  swoll-dump dump web -o json | jq 'select(.error=="ENOENT").args.pathname'
  swoll-dump dump -A -o perfetto > node.json # for ui.perfetto.dev`,
		Args:              cobra.MaximumNArgs(1),
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
			if node == (len(args) == 1) {
				return usagef("dump takes either a POD or --all-pods")
			}
			if node {
				if s.given(cmd) {
					return usagef("--all-pods means all containers: it goes without --container, --instance, --previous and --first")
				}
				svc, err := a.oneNode(cmd.Context())
				if err != nil {
					return err
				}
				out := a.colored()
				return cmp.Or(svc.DumpNode(cmd.Context(), q, out), out.Flush())
			}
			svc, sel, err := s.of(a, cmd, args[0])
			if err != nil {
				return err
			}
			out := a.colored()
			err = svc.Dump(cmd.Context(), sel, q, out)
			if errors.Is(err, api.ErrNotFound) && sel.Instance != nil {
				// Its ring records another by now; a snapshot may have it.
				if id, _ := newestSnapshot(cmd.Context(), svc, sel); id != "" {
					err = svc.SnapshotDump(cmd.Context(), id, q, out)
				}
			}
			if err != nil {
				return err
			}
			return out.Flush()
		},
	}
	s.flags(cmd)
	s.lives(cmd)
	f.flags(cmd)
	cmd.Flags().BoolVarP(&node, "all-pods", "A", false, "all containers of the node, one after the other; with -o perfetto, on one time line")
	return cmd
}

// ofPod tells whether a snapshot is of the selected pod, given by its name or UID.
func ofPod(s *api.Snapshot, sel *api.Selector) bool {
	return s.Namespace == sel.Namespace && (s.Pod == sel.Pod || s.UID != "" && s.UID == sel.Pod)
}

// newestSnapshot is the id of the newest snapshot of a container, or of one life of it;
// empty: there is none.
func newestSnapshot(ctx context.Context, svc service, sel api.Selector) (string, error) {
	snaps, err := svc.Snapshots(ctx)
	if err != nil {
		return "", err
	}
	newest := ""
	for _, s := range snaps { // the newest comes last
		if !ofPod(&s, &sel) || sel.Container != "" && s.Container != sel.Container ||
			sel.Instance != nil && s.Instance != *sel.Instance {
			continue
		}
		newest = s.ID
	}
	return newest, nil
}

// freezeCommand is freeze or thaw.
func (a *app) freezeCommand(verb string) *cobra.Command {
	var s selection
	var all bool
	cmd := &cobra.Command{
		Use:               verb + " POD | --all",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "yaml")
			if err != nil {
				return err
			}
			if all == (len(args) == 1) {
				return usagef("%s takes either a POD or --all", verb)
			}
			if all && (s.container != "" || cmd.Flags().Changed("instance")) {
				return usagef("--all means all containers: it goes without --container and --instance")
			}
			change, done := (*client.Client).Freeze, "frozen"
			if verb == "thaw" {
				change, done = (*client.Client).Thaw, "thawed"
			}
			type changed struct {
				what string
				n    int
			}
			var list []changed
			if all {
				list, err = gather(cmd.Context(), a, func(ctx context.Context, s service) (changed, error) {
					n, err := change(s.Client, ctx, nil)
					what := "the node"
					if s.node != "" {
						what = "node " + s.node
					}
					return changed{what, n}, err
				})
			} else {
				svc, sel, err := s.of(a, cmd, args[0])
				if err != nil {
					return err
				}
				n, err := change(svc.Client, cmd.Context(), &sel)
				if err != nil {
					return err
				}
				list = append(list, changed{sel.Namespace + "/" + sel.Pod, n})
			}
			if !partial(err) {
				return err
			}
			sum := 0
			for _, c := range list {
				if sum += c.n; format == "text" {
					fmt.Fprintf(a.out, "%s: %s %s\n", printable(c.what), count(c.n, "container"), done)
				}
			}
			if format != "text" {
				return cmp.Or(a.encode(format, api.Changed{Changed: sum}), err)
			}
			return err
		},
	}
	cmd.Short = "Stops recording a pod, or the node, so that its history stays"
	if verb == "thaw" {
		cmd.Short = "Records again what was frozen"
	}
	s.flags(cmd)
	whole := "the whole node"
	if a.plugin != nil {
		whole = "all nodes, or that of --node"
	}
	cmd.Flags().BoolVar(&all, "all", false, whole)
	return cmd
}

func (a *app) recordCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "record CGROUP",
		Short: "Records any cgroup, as a pod of the namespace host",
		Example: `  swoll-dump record /sys/fs/cgroup/system.slice/nginx.service
  swoll-dump dump host/nginx.service`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := a.format("text", "json", "yaml")
			if err != nil {
				return err
			}
			cgroup, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			pod, err := a.client.Record(cmd.Context(), cgroup, name)
			if err != nil {
				return err
			}
			if format != "text" {
				return a.encode(format, pod)
			}
			_, err = fmt.Fprintf(a.out, "%s is recorded\n", printable(pod.Namespace+"/"+pod.Name))
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "list it by this `name` (default: the cgroup's)")
	return cmd
}

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "forget POD",
		Short:             "Ends a recording begun with record; its snapshots stay",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.format("text"); err != nil {
				return err
			}
			name, _ := strings.CutPrefix(args[0], api.HostNamespace+"/")
			if strings.Contains(name, "/") {
				return usagef("%s is a pod's; only what record began can be forgotten, in the namespace %s", args[0], api.HostNamespace)
			}
			if err := a.client.Forget(cmd.Context(), name); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.out, "%s/%s is forgotten\n", api.HostNamespace, printable(name))
			return err
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "The versions of the client and the service",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := a.format("text", "json", "yaml")
			if err != nil {
				return err
			}
			var v struct {
				Client   api.Version   `json:"client"`
				Service  *api.Version  `json:"service,omitempty"`
				Services []api.Version `json:"services,omitempty"` // of a cluster
			}
			v.Client = api.BuildVersion()
			var unreachable error // the client's is shown anyway
			var services []api.Version
			if !clientOnly {
				services, unreachable = gather(cmd.Context(), a, func(ctx context.Context, s service) (api.Version, error) {
					v, err := s.Version(ctx)
					v.Node = cmp.Or(v.Node, s.node)
					return v, err
				})
			}
			if format != "text" {
				if v.Services = services; a.fleet == nil && len(services) == 1 {
					v.Service, v.Services = &services[0], nil
				}
				return cmp.Or(a.encode(format, v), unreachable)
			}
			fmt.Fprintf(a.out, "client:  %s\n", versionLine(v.Client))
			for _, s := range services {
				fmt.Fprintf(a.out, "service: %s\n", versionLine(s))
			}
			return unreachable
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only the client's: do not ask the service")
	return cmd
}

func versionLine(v api.Version) string {
	line := fmt.Sprintf("%s (%s, %s", v.Version, v.Go, v.Platform)
	if v.Kernel != "" {
		line += ", kernel " + v.Kernel
	}
	if v.Node != "" {
		line += ", node " + v.Node
	}
	return line + ")"
}
