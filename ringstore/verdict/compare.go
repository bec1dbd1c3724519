package verdict

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A Comparison is where two histories of the same program part: two lives of a container,
// or one that died and a sibling that did well.
type Comparison struct {
	A Side `json:"a"`
	B Side `json:"b"`
	// First is the first call that both made, with different results; nil: there is none.
	First *Divergence `json:"first"`
	// Order is where the first threads of their processes first do different things; one of
	// its calls is nil where that side did nothing there. nil: they do not.
	Order *Divergence `json:"order"`
	// OnlyA and OnlyB are the calls, with their results, that just one side has. The earliest
	// come first; there are at most 20.
	OnlyA []Only `json:"onlyA"`
	OnlyB []Only `json:"onlyB"`
}

// A Side is one of the two histories.
type Side struct {
	Name    string `json:"name"`    // NAMESPACE/NAME, container and life
	Summary string `json:"summary"` // of its verdict
	// Complete says that nothing is missing; else a difference may be one of what was
	// overwritten.
	Complete bool `json:"complete"`
}

// A Divergence is a place in a thread where two histories differ.
type Divergence struct {
	Role string `json:"role"` // the thread: its program and, if it is not the first one, its name
	A    *Step  `json:"a"`
	B    *Step  `json:"b"`
}

// A Step is a call that means something: one about a path or an address, an end, or one
// that failed.
type Step struct {
	Call   string `json:"call"`
	Result string `json:"result"` // ok, running, or the error's name
	Time   string `json:"time"`
	Seq    uint64 `json:"seq"` // of its record, in its own history; 0: it has none

	at  int64
	key string
}

// Only is a call that one side has.
type Only struct {
	Role     string   `json:"role"`
	Call     string   `json:"call"`
	Result   string   `json:"result"`
	Count    int      `json:"count"`
	Evidence []uint64 `json:"evidence"` // the first of them
}

const (
	maxSteps = 20000 // of a thread; later ones are left out
	maxOnly  = 20
	lookout  = 100 // how far ahead the threads may meet again
)

// Compare compares two histories by thread role, call and subject; h and events are as for
// Explain.
func Compare(a *ringstore.History, eventsA iter.Seq[*ringstore.Event], b *ringstore.History, eventsB iter.Seq[*ringstore.Event]) *Comparison {
	c := &Comparison{A: sideOf(a, eventsA), B: sideOf(b, eventsB)}
	x, y := strandsOf(a, eventsA), strandsOf(b, eventsB)
	begin := func(h *ringstore.History) int64 { return cmp.Or(h.Oldest, h.Meta.Armed) }
	offsetA, offsetB := begin(a), begin(b)
	var first, order int64
	for _, role := range slices.Sorted(maps.Keys(x)) {
		other, ok := y[role]
		if !ok {
			continue
		}
		result, sequence := align(x[role], other)
		at := func(d *Divergence) int64 {
			if d.A != nil {
				return d.A.at - offsetA
			}
			return d.B.at - offsetB
		}
		if result != nil && (c.First == nil || at(result) < first) {
			c.First, first = result, at(result)
			result.Role = role
		}
		if sequence != nil && !strings.Contains(role, "/") && (c.Order == nil || at(sequence) < order) {
			c.Order, order = sequence, at(sequence)
			sequence.Role = role
		}
	}
	c.OnlyA, c.OnlyB = only(x, y), only(y, x)
	return c
}

func sideOf(h *ringstore.History, events iter.Seq[*ringstore.Event]) Side {
	v := Explain(h, events)
	m := &h.Meta
	name := m.Pod
	if m.Namespace != "" {
		name = m.Namespace + "/" + name
	}
	if m.Container != "" && m.Container != m.Pod {
		name += ", container " + m.Container
	}
	return Side{Name: fmt.Sprintf("%s, life %d", orUnknown(name), m.Instance), Summary: v.Summary, Complete: v.Complete}
}

// numbers are those that differ from life to life: ids in paths.
var numbers = regexp.MustCompile(`[0-9]{3,}`)

// strandsOf takes a history apart into what each thread did, by the thread's role.
func strandsOf(h *ringstore.History, events iter.Seq[*ringstore.Event]) map[string][]Step {
	// A thread gets its name after it was made: so its last one counts.
	type id struct{ pid, tid uint32 }
	names := map[id]string{}
	programs := map[uint32]string{}
	var order []id
	for e := range events {
		k := id{e.PID, e.TID}
		if _, ok := names[k]; !ok {
			order = append(order, k)
			names[k] = ""
		}
		if e.Comm != "" {
			names[k] = e.Comm
		}
		if e.Kind == ringstore.KindExec && e.Exec != nil {
			programs[e.PID] = path.Base(string(e.Exec.Filename.Data))
		}
	}
	roles := map[id]string{}
	used := map[string]int{}
	numbered := func(name string) string {
		if used[name]++; used[name] > 1 {
			return fmt.Sprintf("%s#%d", name, used[name])
		}
		return name
	}
	leaders := map[uint32]string{}
	for _, k := range order {
		if _, ok := leaders[k.pid]; !ok {
			leader := id{k.pid, k.pid}
			name := cmp.Or(programs[k.pid], names[leader], names[k], "unknown")
			leaders[k.pid] = numbered(oneLine(name))
			roles[leader] = leaders[k.pid]
		}
		if k.pid != k.tid {
			name := names[k]
			if name == "" || name == names[id{k.pid, k.pid}] {
				name = "thread"
			}
			roles[k] = numbered(leaders[k.pid] + "/" + oneLine(name))
		}
	}

	strands := map[string][]Step{}
	g := newGatherer(&h.Meta)
	for e := range events {
		role := roles[id{e.PID, e.TID}]
		if s, ok := g.step(e); ok && len(strands[role]) < maxSteps {
			list := strands[role]
			// A run of the same is one step: how long a wait took is no difference.
			if n := len(list); n == 0 || list[n-1].key != s.key || list[n-1].Result != s.Result {
				s.Time = wall(&h.Meta, e.Start)
				strands[role] = append(list, s)
			}
		}
		g.add(e)
	}
	return strands
}

// step makes a step of an event, if it means something.
func (g *gatherer) step(e *ringstore.Event) (Step, bool) {
	s := Step{Seq: e.Seq, at: e.Start, Result: "ok"}
	if e.Kind == ringstore.KindSignal && e.Signal != nil {
		s.Call = decode.SignalName(e.Signal.Signal)
		s.key = s.Call
		return s, !slices.Contains([]string{"SIGCHLD", "SIGURG", "SIGALRM", "SIGVTALRM", "SIGPROF"}, s.Call)
	}
	if c, ok := decode.AsCall(g.meta.Arch, e, registered); ok {
		e = &c
	}
	if e.Kind != ringstore.KindCall {
		return s, false
	}
	row := syscalls.Lookup(g.meta.Arch, e.ABI, e.Nr)
	name := decode.CallName(g.meta.Arch, e)
	failed := !e.Unfinished && e.Ret < 0 && e.Ret >= -4095
	if failed {
		errno := int(-e.Ret)
		s.Result = errnoName(errno)
		if restarted(errno) || syscalls.Routine(errno) && name != "connect" || routineCall(name, s.Result) {
			return s, false
		}
	}
	switch {
	case row == nil:
		return s, false
	case row.Ret.Format == syscalls.RetNone:
		s.Call = fmt.Sprintf("%s(%d)", name, int32(arg(e, 0)))
		s.key = s.Call
		return s, name == "exit_group"
	case e.Unfinished:
		s.Result = "running"
	}
	switch row.Class {
	case "Memory", "Time":
		if !failed {
			return s, false
		}
	}
	switch row.Group {
	case "Futexes", "Polling", "Waiting", "Scheduling":
		if !failed {
			return s, false
		}
	}
	subject, isPath := g.subject(g.process(e.PID), e)
	switch {
	case subject == "" && !failed:
		return s, false
	case subject == "":
		s.Call = name
	case isPath:
		s.Call = name + "(" + quoted(subject) + ")"
		if failed && routinePath(subject) {
			return s, false
		}
	default:
		s.Call = name + " " + oneLine(subject)
	}
	s.key = s.Call
	if isPath || strings.Contains(subject, "/") {
		s.key = numbers.ReplaceAllString(s.Call, "#")
	}
	return s, true
}

// align walks two threads of one role at once. It returns the first step that both took
// with different results, and the first where they part though they may meet again.
func align(a, b []Step) (result, order *Divergence) {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if a[i].key == b[j].key {
			if a[i].Result != b[j].Result && result == nil {
				result = &Divergence{A: &a[i], B: &b[j]}
			}
			i, j = i+1, j+1
			continue
		}
		if order == nil {
			order = &Divergence{A: &a[i], B: &b[j]}
		}
		if result != nil {
			return result, order
		}
		di, dj, ok := meet(a[i:], b[j:])
		if !ok {
			return result, order
		}
		i, j = i+di, j+dj
	}
	if order == nil && (i < len(a)) != (j < len(b)) {
		order = &Divergence{}
		if i < len(a) {
			order.A = &a[i]
		} else {
			order.B = &b[j]
		}
	}
	return result, order
}

// meet finds the nearest steps ahead that are the same.
func meet(a, b []Step) (i, j int, ok bool) {
	for d := 1; d < 2*lookout; d++ {
		for i := max(0, d-lookout); i <= min(d, lookout); i++ {
			if j := d - i; i < len(a) && j < len(b) && a[i].key == b[j].key {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// only lists what the threads of a did and those of b did not, whatever their order.
func only(a, b map[string][]Step) []Only {
	type what struct{ key, result string }
	have := map[what]bool{}
	for _, list := range b {
		for i := range list {
			have[what{list[i].key, list[i].Result}] = true
		}
	}
	found := map[what]*Only{}
	first := map[what]int64{}
	for _, role := range slices.Sorted(maps.Keys(a)) {
		for i := range a[role] {
			s := &a[role][i]
			k := what{s.key, s.Result}
			if have[k] {
				continue
			}
			o := found[k]
			if o == nil {
				o = &Only{Role: role, Call: s.Call, Result: s.Result, Evidence: []uint64{}}
				found[k], first[k] = o, s.at
			}
			o.Count++
			if s.Seq != 0 && len(o.Evidence) < maxEvidence {
				o.Evidence = append(o.Evidence, s.Seq)
			}
		}
	}
	keys := slices.SortedFunc(maps.Keys(found), func(x, y what) int {
		return cmp.Or(cmp.Compare(first[x], first[y]), cmp.Compare(x.key, y.key), cmp.Compare(x.result, y.result))
	})
	out := []Only{}
	for _, k := range keys[:min(len(keys), maxOnly)] {
		out = append(out, *found[k])
	}
	return out
}

// WriteComparison writes a comparison as JSON, or as a page for people.
func WriteComparison(w io.Writer, format string, c *Comparison) error {
	if err := decode.CheckFormat(format); err != nil {
		return err
	}
	var b bytes.Buffer
	if format == decode.JSON {
		data, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("encoding the comparison: %w", err)
		}
		b.Write(append(data, '\n'))
	} else {
		c.page(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (c *Comparison) page(b *bytes.Buffer) {
	for _, s := range []struct {
		name string
		Side
	}{{"a", c.A}, {"b", c.B}} {
		fmt.Fprintf(b, "%s: %s: %s\n", s.name, oneLine(s.Name), oneLine(s.Summary))
		if !s.Complete {
			fmt.Fprintf(b, "   not all of it is held: what is only in the other may have been overwritten here\n")
		}
	}
	divergence := func(title string, d *Divergence) {
		if d == nil {
			return
		}
		fmt.Fprintf(b, "\n%s, in %s:\n", title, d.Role)
		for _, s := range []struct {
			name string
			*Step
		}{{"a", d.A}, {"b", d.B}} {
			if s.Step == nil {
				fmt.Fprintf(b, "  %s: nothing more\n", s.name)
				continue
			}
			fmt.Fprintf(b, "  %s: %s = %s%s\n", s.name, s.Call, s.Result, references(seqsOf(s.Seq)))
		}
	}
	divergence("the first call with another result", c.First)
	divergence("where they part", c.Order)
	list := func(name string, calls []Only) {
		if len(calls) == 0 {
			return
		}
		fmt.Fprintf(b, "\nonly in %s:\n", name)
		for _, o := range calls {
			times := ""
			if o.Count > 1 {
				times = fmt.Sprintf(", %d times", o.Count)
			}
			fmt.Fprintf(b, "  %s: %s = %s%s%s\n", o.Role, o.Call, o.Result, times, references(o.Evidence))
		}
	}
	list("a", c.OnlyA)
	list("b", c.OnlyB)
	if c.First == nil && c.Order == nil && len(c.OnlyA)+len(c.OnlyB) == 0 {
		b.WriteString("\nno difference in what is recorded\n")
	}
}

func seqsOf(seq uint64) []uint64 {
	if seq == 0 {
		return nil
	}
	return []uint64{seq}
}
