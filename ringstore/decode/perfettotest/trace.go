// Package perfettotest reads traces as Perfetto's importers do, for tests: what they would
// take for damaged, drop, or draw elsewhere than it belongs is an error here. It was written
// after the source of Perfetto's trace processor of August 2026.
package perfettotest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Slice is something that is drawn on a thread, or beside the threads of a process: for
// some time, or for an instant.
type Slice struct {
	Async           bool // it is of the process; TID is 0
	PID, TID        uint32
	Process, Thread string // their last names
	Category, Name  string
	Start           int64 // ns from the trace's time zero
	Duration        int64 // ns; 0: an instant, Open: it has no end
	Depth           int   // how many slices it lies in
	Args            map[string]any
}

// Open is the Duration of a slice without an end.
const Open = -1

// A Flow is an arrow between two slices, given as places in Trace.Slices.
type Flow struct {
	Name     string
	From, To int
}

// A Trace is what Perfetto makes of a trace.
type Trace struct {
	Metadata map[string]any
	Slices   []Slice // by their begin
	Flows    []Flow
}

type event struct {
	Phase    string          `json:"ph"`
	PID      *uint32         `json:"pid"`
	TID      *uint32         `json:"tid"`
	Time     json.Number     `json:"ts"`
	Duration *json.Number    `json:"dur"`
	Category string          `json:"cat"`
	Name     string          `json:"name"`
	Scope    string          `json:"s"`
	ID       *uint64         `json:"id"`
	ID2      *asyncID        `json:"id2"`
	Args     json.RawMessage `json:"args"`

	at, duration int64
}

// An asyncID has the scope that an id is of.
type asyncID struct {
	Local, Global *string
}

type threadKey struct{ pid, tid uint32 }

// A trackKey is what slices nest on: a thread, or one row of what a process has of a name.
type trackKey struct {
	threadKey
	name string // empty: a thread
	row  int
}

func trackOf(key threadKey) trackKey { return trackKey{threadKey: key} }

// A cookie is who an async event is of.
type cookie struct {
	pid       uint32
	class, id string
}

// An asyncRow is a row of async slices: it is lent to one cookie at a time.
type asyncRow struct {
	cookie cookie
	open   int // begins without their end
}

type rowsKey struct {
	pid  uint32
	name string
}

type flowKey struct {
	id          uint64
	class, name string
}

type reader struct {
	trace     Trace
	processes map[uint32]string
	threads   map[threadKey]string
	sorted    map[uint32]bool
	stacks    map[trackKey][]int
	names     map[cookie]string // the name that each had first: by it its row is looked for
	rows      map[rowsKey][]asyncRow
	flows     map[flowKey]int
	pending   map[threadKey][]flowKey
}

// Read reads a trace in the Trace Event Format (Chrome JSON).
func Read(r io.Reader) (*Trace, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	// By this the format is known.
	if start := strings.Map(dropSpace, string(data[:min(len(data), 64)])); !strings.HasPrefix(start, `{"`) {
		return nil, fmt.Errorf("a trace that begins with %q is not taken for JSON", start)
	}
	if !json.Valid(data) {
		return nil, errors.New("the trace is no JSON")
	}
	var document struct {
		Metadata map[string]any    `json:"metadata"`
		Events   []json.RawMessage `json:"traceEvents"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&document); err != nil {
		return nil, err
	}
	rd := reader{
		trace:     Trace{Metadata: document.Metadata},
		processes: map[uint32]string{}, threads: map[threadKey]string{}, sorted: map[uint32]bool{},
		stacks: map[trackKey][]int{}, names: map[cookie]string{}, rows: map[rowsKey][]asyncRow{}, flows: map[flowKey]int{}, pending: map[threadKey][]flowKey{},
	}
	var events []*event
	for _, raw := range document.Events {
		e, err := parse(raw)
		if err != nil {
			return nil, fmt.Errorf("%w in %s", err, raw)
		}
		events = append(events, e)
	}
	slices.SortStableFunc(events, func(a, b *event) int { return int(min(max(a.at-b.at, -1), 1)) })
	for _, e := range events {
		if err := rd.add(e); err != nil {
			text, _ := json.Marshal(e)
			return nil, fmt.Errorf("%w in %s", err, text)
		}
	}
	for i := range rd.trace.Slices {
		s := &rd.trace.Slices[i]
		s.Process, s.Thread = rd.processes[s.PID], rd.threads[threadKey{s.PID, s.TID}]
		if s.Process == "" {
			return nil, fmt.Errorf("process %d has no name", s.PID)
		}
		if !rd.sorted[s.PID] {
			return nil, fmt.Errorf("process %d has no place among the others", s.PID)
		}
	}
	return &rd.trace, nil
}

func dropSpace(r rune) rune {
	if strings.ContainsRune(" \t\r\n", r) {
		return -1
	}
	return r
}

func parse(raw []byte) (*event, error) {
	// A second half of a pair of surrogates, escaped, is an error to the importer.
	if bytes.Contains(bytes.ToLower(raw), []byte(`\ud`)) {
		return nil, errors.New("an escape that the importer refuses")
	}
	var e event
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return nil, err
	}
	if e.PID == nil || e.TID == nil || *e.PID == 0 || *e.TID == 0 {
		return nil, errors.New("no process or thread")
	}
	var err error
	if e.at, err = nanos(e.Time); err != nil {
		return nil, err
	}
	if e.Duration != nil {
		if e.duration, err = nanos(*e.Duration); err != nil {
			return nil, err
		}
	}
	if len(e.Args) > 0 {
		return &e, numbers(e.Args)
	}
	return &e, nil
}

// nanos reads a time as the importer does: as microseconds in a double.
func nanos(n json.Number) (int64, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		if i > math.MaxInt64/1000 || i < math.MinInt64/1000 {
			return 0, fmt.Errorf("the time %s is too large", n)
		}
		return i * 1000, nil
	}
	f, err := n.Float64()
	if err != nil {
		return 0, fmt.Errorf("the time %q: %w", n, err)
	}
	got := int64(math.Round(f * 1000))
	if exact, err := exactNanos(n.String()); err != nil || exact != got {
		return 0, fmt.Errorf("the time %s is read as %d ns", n, got)
	}
	return got, nil
}

func exactNanos(s string) (int64, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) > 3 {
		return 0, errors.New("less than a nanosecond")
	}
	return strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
}

// numbers refuses integers that the importer has no room for.
func numbers(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n, ok := token.(json.Number); ok {
			if _, err := n.Int64(); err != nil {
				return fmt.Errorf("the number %s does not fit", n)
			}
		}
	}
}

func (r *reader) add(e *event) error {
	key := threadKey{*e.PID, *e.TID}
	if _, ok := r.threads[key]; !ok {
		for other := range r.threads {
			if other.tid == key.tid {
				return fmt.Errorf("thread %d is of the processes %d and %d", key.tid, other.pid, key.pid)
			}
		}
		r.threads[key] = ""
	}
	var args map[string]any
	if len(e.Args) > 0 {
		if err := json.Unmarshal(e.Args, &args); err != nil {
			return err
		}
	}
	switch e.Phase {
	case "M":
		return r.metadata(e, key, args)
	case "X":
		if e.Duration == nil || e.duration < 0 {
			return errors.New("a complete event without its duration")
		}
		return r.begin(e, trackOf(key), e.duration, args)
	case "B":
		return r.begin(e, trackOf(key), Open, args)
	case "i":
		if e.Scope != "t" {
			return errors.New("an instant that is not a thread's")
		}
		return r.begin(e, trackOf(key), 0, args)
	case "E":
		return r.end(e, trackOf(key), args)
	case "b", "e", "n":
		return r.async(e, key, args)
	case "s":
		stack := r.stacks[trackOf(key)]
		if len(stack) == 0 {
			return errors.New("a flow that leaves no slice")
		}
		top := stack[len(stack)-1]
		if s := &r.trace.Slices[top]; s.Duration != Open && s.Start+s.Duration < e.at {
			return fmt.Errorf("a flow that leaves %s, which is over", s.Name)
		}
		id, err := flowOf(e)
		if err != nil {
			return err
		}
		if _, ok := r.flows[id]; ok {
			return errors.New("a flow of an id that is in use")
		}
		r.flows[id] = top
		return nil
	case "f":
		id, err := flowOf(e)
		if err != nil {
			return err
		}
		if _, ok := r.flows[id]; !ok {
			return errors.New("a flow that nothing leaves")
		}
		r.pending[key] = append(r.pending[key], id)
		return nil
	}
	return fmt.Errorf("the phase %q", e.Phase)
}

func flowOf(e *event) (flowKey, error) {
	if e.ID == nil {
		return flowKey{}, errors.New("a flow without an id")
	}
	return flowKey{*e.ID, e.Category, e.Name}, nil
}

func (r *reader) metadata(e *event, key threadKey, args map[string]any) error {
	switch e.Name {
	case "process_name", "thread_name":
		name, _ := args["name"].(string)
		if name == "" || len(args) != 1 {
			return errors.New("a name that is none")
		}
		if e.Name == "process_name" {
			r.processes[key.pid] = name
		} else {
			r.threads[key] = name
		}
	case "process_sort_index":
		if _, ok := args["sort_index"].(float64); !ok || len(args) != 1 {
			return errors.New("a place that is none")
		}
		r.sorted[key.pid] = true
	default:
		return fmt.Errorf("metadata %q", e.Name)
	}
	return nil
}

// begin puts a slice on the stack of its thread, from which it takes what is over.
func (r *reader) begin(e *event, key trackKey, duration int64, args map[string]any) error {
	if e.Name == "" || e.Category == "" {
		return errors.New("a slice without a name or category")
	}
	stack := r.stacks[key]
	openAbove := false
	for i := len(stack) - 1; i >= 0; i-- {
		s := &r.trace.Slices[stack[i]]
		if s.Duration == Open {
			openAbove = true
			continue
		}
		end := s.Start + s.Duration
		if openAbove {
			if e.at > end {
				return fmt.Errorf("an open slice is cut off by the end of %s", s.Name)
			}
			continue
		}
		if end < e.at || end == e.at && (s.Duration != 0 || duration != 0) {
			stack = stack[:i]
			continue
		}
		if duration != Open && e.at < end && e.at+duration > end {
			return fmt.Errorf("it overlaps %s, which is at %d for %d ns", s.Name, s.Start, s.Duration)
		}
	}
	n := len(r.trace.Slices)
	r.trace.Slices = append(r.trace.Slices, Slice{
		PID: key.pid, TID: key.tid, Category: e.Category, Name: e.Name,
		Start: e.at, Duration: duration, Depth: len(stack), Args: args,
	})
	r.stacks[key] = append(stack, n)
	if key.name != "" {
		s := &r.trace.Slices[n]
		s.Async, s.TID = true, 0
		return nil // flows bind to what is drawn on threads
	}
	for _, id := range r.pending[key.threadKey] {
		r.trace.Flows = append(r.trace.Flows, Flow{id.name, r.flows[id], n})
	}
	delete(r.pending, key.threadKey)
	return nil
}

// async puts an event on the row of its cookie, or on one that nobody has, or on a new one.
func (r *reader) async(e *event, key threadKey, args map[string]any) error {
	switch {
	case e.ID != nil || e.ID2 != nil && e.ID2.Global != nil:
		return errors.New("an async event of no process: its id is not a local one")
	case e.ID2 == nil || e.ID2.Local == nil:
		return errors.New("an async event without an id")
	case e.Name == "":
		return errors.New("an async event without a name")
	}
	c := cookie{key.pid, e.Category, *e.ID2.Local}
	if _, ok := r.names[c]; !ok {
		r.names[c] = e.Name
	} else if r.names[c] != e.Name {
		return fmt.Errorf("it is drawn with %s, which had its id", r.names[c])
	}
	set := rowsKey{key.pid, e.Name}
	rows := r.rows[set]
	n := slices.IndexFunc(rows, func(row asyncRow) bool { return row.cookie == c })
	if n < 0 {
		if n = slices.IndexFunc(rows, func(row asyncRow) bool { return row.open == 0 }); n < 0 {
			n = len(rows)
			rows = append(rows, asyncRow{})
			r.rows[set] = rows
		}
		rows[n].cookie = c
	}
	track := trackKey{threadKey{key.pid, 0}, e.Name, n}
	switch e.Phase {
	case "b":
		if rows[n].open++; rows[n].open > 1 {
			return errors.New("it begins in another one of its id")
		}
		return r.begin(e, track, Open, args)
	case "e":
		if rows[n].open == 0 {
			return errors.New("an end without its begin")
		}
		rows[n].open--
		return r.end(e, track, args)
	}
	return r.begin(e, track, 0, args)
}

// end ends the slice that is open and has its category and name, if it has any.
func (r *reader) end(e *event, key trackKey, args map[string]any) error {
	stack := r.stacks[key]
	for i := len(stack) - 1; i >= 0; i-- {
		s := &r.trace.Slices[stack[i]]
		if s.Duration != Open || e.Category != "" && e.Category != s.Category || e.Name != "" && e.Name != s.Name {
			continue
		}
		if e.at < s.Start {
			return errors.New("an end before its begin")
		}
		s.Duration = e.at - s.Start
		for k, v := range args {
			s.Args[k] = v
		}
		r.stacks[key] = stack[:i]
		return nil
	}
	return errors.New("an end without its begin")
}
