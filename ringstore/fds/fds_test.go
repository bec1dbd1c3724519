package fds

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// fileData is a capture's data for a file of one name below the root.
func fileData(fd int, name string) []byte {
	b := make([]byte, layout.SizeofFile)
	binary.LittleEndian.PutUint32(b[layout.FileAtFd:], uint32(fd))
	b[layout.FileAtKind] = layout.FileKindPath
	binary.LittleEndian.PutUint16(b[layout.FileAtLen:], uint16(len(name)+1))
	return append(append(b, name...), 0)
}

func capture(fd int, name string) ringstore.Capture {
	return ringstore.Capture{Arg: ringstore.CaptureFile, Status: ringstore.CaptureExit, Data: fileData(fd, name)}
}

func nr(name string) uint16 {
	for nr, c := range syscalls.Table("amd64", ringstore.ABINative) {
		if c != nil && c.Name == name {
			return uint16(nr)
		}
	}
	panic(name)
}

// A modelTable is what a process has open, by descriptor.
type modelTable map[int]string

func (t modelTable) free() int {
	for fd := 0; ; fd++ {
		if _, open := t[fd]; !open {
			return fd
		}
	}
}

func (t modelTable) clone() modelTable {
	c := modelTable{}
	for fd, name := range t {
		c[fd] = name
	}
	return c
}

type modelTask struct {
	tid, pid uint32
	table    *modelTable
	op       string
	args     []uint64
	start    int64
	done     bool // it took effect
	ret      int64
	rets     []int // descriptors whose names are captured at exit
	// What its descriptors were when it was made, "": closed; and what it found, which may
	// have come meanwhile.
	truth map[int][2]string
}

// A model is a node on which processes open and close files.
type model struct {
	r      *rand.Rand
	now    int64
	ids    uint32
	files  int
	tasks  []*modelTask
	events []ringstore.Event
	truths []map[int][2]string // of each event
	listed []ringstore.Files
	late   []func()
}

func (m *model) emit(e ringstore.Event, truth map[int][2]string) {
	m.events = append(m.events, e)
	m.truths = append(m.truths, truth)
}

func (m *model) spawn(parent *modelTask, thread bool) *modelTask {
	m.ids++
	t := &modelTask{tid: m.ids}
	switch {
	case parent == nil:
		table := modelTable{0: "stdin", 1: "stdout"}
		t.pid, t.table = t.tid, &table
	case thread:
		t.pid, t.table = parent.pid, parent.table
	default:
		table := parent.table.clone()
		t.pid, t.table = t.tid, &table
	}
	m.tasks = append(m.tasks, t)
	return t
}

func (m *model) siblings(t *modelTask) (n int) {
	for _, o := range m.tasks {
		if o.pid == t.pid {
			n++
		}
	}
	return n
}

// begin lets a task enter a call.
func (m *model) begin(t *modelTask) {
	ops := []string{"read", "read", "read", "read", "write", "openat", "openat", "openat", "close", "close", "dup2", "dup", "close_range", "recvmsg", "fork", "clone", "execve", "exit", "dup2"}
	t.op = ops[m.r.IntN(len(ops))]
	fd := func() uint64 { return uint64(m.r.IntN(8)) }
	t.args, t.start, t.done, t.ret, t.rets, t.truth = nil, m.now, false, 0, nil, map[int][2]string{}
	switch t.op {
	case "exit":
		if len(m.tasks) < 3 || m.siblings(t) > 1 {
			t.op = "read"
		}
	case "execve":
		if m.siblings(t) > 1 {
			t.op = "read"
		}
	case "fork", "clone":
		if len(m.tasks) > 5 {
			t.op = "read"
		}
	}
	switch t.op {
	case "read", "write", "close", "dup", "recvmsg":
		t.args = []uint64{fd(), 0, 0}
	case "dup2":
		t.args = []uint64{fd(), fd()}
	case "close_range":
		first := fd()
		t.args = []uint64{first, first + uint64(m.r.IntN(3)), 0}
	case "openat":
		t.args = []uint64{fd(), 0, 0, 0}
	case "clone":
		t.args = []uint64{cloneFiles | cloneFS, 0, 0, 0, 0}
	}
	for _, a := range t.args {
		t.truth[int(a)] = [2]string{(*t.table)[int(a)]}
	}
}

func (m *model) file() string {
	m.files++
	return fmt.Sprint("file", m.files)
}

// effect lets the call of a task do what it does.
func (m *model) effect(t *modelTask) {
	t.done = true
	table := *t.table
	name, open := "", false
	if len(t.args) > 0 {
		name, open = table[int(t.args[0])]
		t.truth[int(t.args[0])] = [2]string{t.truth[int(t.args[0])][0], name}
	}
	switch t.op {
	case "read", "write":
		if t.ret = 1; !open {
			t.ret = -9
		} else if m.r.IntN(8) == 0 {
			t.ret = -14
		}
		if !open && m.r.IntN(4) == 0 {
			t.ret = -14 // it did not come as far as to look
		}
	case "close":
		if !open {
			t.ret = -9
		} else if m.r.IntN(10) == 0 {
			t.ret = -5 // closed nevertheless
		}
		delete(table, int(t.args[0]))
	case "openat":
		fd := table.free()
		table[fd] = m.file()
		t.ret, t.rets = int64(fd), []int{fd}
	case "recvmsg":
		if t.ret = 1; !open {
			t.ret = -9
		} else {
			table[table.free()] = m.file()
		}
	case "dup":
		if t.ret = -9; open {
			fd := table.free()
			table[fd] = name
			t.ret, t.rets = int64(fd), []int{fd}
		}
	case "dup2":
		if t.ret = -9; open {
			table[int(t.args[1])] = name
			t.ret, t.rets = int64(t.args[1]), []int{int(t.args[1])}
		}
	case "close_range":
		for fd := t.args[0]; fd <= t.args[1]; fd++ {
			delete(table, int(fd))
		}
	case "fork", "clone":
		child := m.spawn(t, t.op == "clone")
		t.ret = int64(child.tid)
		// The record comes a little after the copy.
		m.now++
		m.emit(ringstore.Event{Kind: ringstore.KindFork, Start: m.now, TID: t.tid, PID: t.pid,
			Fork: &ringstore.Fork{ChildTID: child.tid, ChildPID: child.pid}}, nil)
	case "execve":
		for _, fd := range slices.Sorted(maps.Keys(table)) {
			if m.r.IntN(3) == 0 {
				delete(table, fd)
			}
		}
		m.emit(ringstore.Event{Kind: ringstore.KindExec, Start: m.now, TID: t.tid, PID: t.pid, Exec: &ringstore.Exec{OldTID: t.tid}}, nil)
		m.now++
		list := m.list(t, ringstore.FilesExec)
		m.emit(ringstore.Event{Kind: ringstore.KindFiles, Start: m.now, TID: t.tid, PID: t.pid, Files: &list}, nil)
	case "exit":
		m.emit(ringstore.Event{Kind: ringstore.KindExit, Start: m.now, TID: t.tid, PID: t.pid, Exit: &ringstore.Exit{Group: true}}, nil)
		m.tasks = slices.DeleteFunc(m.tasks, func(o *modelTask) bool { return o == t })
		if m.r.IntN(2) == 0 {
			m.ids-- // used again
			m.ids = max(m.ids, 1)
			for slices.ContainsFunc(m.tasks, func(o *modelTask) bool { return o.tid > m.ids }) {
				m.ids++
			}
		}
	}
}

func (m *model) list(t *modelTask, why ringstore.FilesWhy) ringstore.Files {
	f := ringstore.Files{TID: t.pid, PID: t.pid, Start: m.now, End: m.now, To: 1 << 31, Why: why}
	for _, fd := range slices.Sorted(maps.Keys(*t.table)) {
		name := (*t.table)[fd]
		file, _ := ringstore.ParseFile(fileData(fd, name))
		f.List = append(f.List, file)
	}
	return f
}

// finish lets a task return.
func (m *model) finish(t *modelTask, complete bool) {
	if t.op == "exit" {
		t.op = ""
		return
	}
	e := ringstore.Event{Kind: ringstore.KindCall, Start: t.start, Duration: m.now - t.start, TID: t.tid, PID: t.pid,
		Nr: nr(t.op), Args: t.args, Ret: t.ret}
	if !complete {
		e.Unfinished, e.Ret, e.Duration = true, 0, 0
	} else {
		for _, fd := range t.rets {
			// What is there by now, and not always.
			if name, open := (*t.table)[fd]; open && m.r.IntN(5) > 0 {
				e.Captures = append(e.Captures, capture(fd, name))
			}
		}
	}
	m.emit(e, t.truth)
	t.op = ""
}

func (m *model) run(steps int, threads bool) {
	m.now = 100
	m.spawn(nil, false)
	if threads {
		m.spawn(nil, false)
		m.spawn(m.tasks[0], true)
	}
	for range steps {
		m.now++
		late := m.late
		m.late = nil
		for _, f := range late {
			f()
		}
		if m.r.IntN(60) == 0 {
			// Listed by the service, half of it a little later.
			t := m.tasks[m.r.IntN(len(m.tasks))]
			f := m.list(t, ringstore.FilesListed)
			low := f
			m.now++
			low.To, low.List = 4, slices.DeleteFunc(slices.Clone(f.List), func(f ringstore.File) bool { return f.FD >= 4 })
			lists := &m.listed
			m.late = append(m.late, func() {
				if slices.Contains(m.tasks, t) {
					high := m.list(t, ringstore.FilesListed)
					high.From, high.List = 4, slices.DeleteFunc(high.List, func(f ringstore.File) bool { return f.FD < 4 })
					high.Start = low.Start
					low.End = m.now
					*lists = append(*lists, low, high)
				}
			})
		}
		t := m.tasks[m.r.IntN(len(m.tasks))]
		switch {
		case t.op == "":
			m.begin(t)
		case !t.done:
			m.effect(t)
		default:
			m.finish(t, true)
		}
		if !threads {
			for t.op != "" && slices.Contains(m.tasks, t) {
				m.now++
				if !t.done {
					m.effect(t)
				} else {
					m.finish(t, true)
				}
			}
		}
	}
	m.now++
	for _, t := range m.tasks {
		if t.op != "" {
			m.finish(t, false)
		}
	}
}

// history returns what is recorded of the model, in order, and the truth of each event.
func (m *model) history() (*ringstore.History, []map[int][2]string) {
	order := make([]int, len(m.events))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return m.events[order[a]].Start < m.events[order[b]].Start })
	h := &ringstore.History{Now: m.now, Listed: m.listed}
	h.Meta.Arch = "amd64"
	h.Meta.Armed = 1
	for lane := range h.LaneCompleteSince {
		h.LaneCompleteSince[lane] = 1
	}
	var truths []map[int][2]string
	for _, i := range order {
		h.Events = append(h.Events, m.events[i])
		truths = append(truths, m.truths[i])
	}
	return h, truths
}

// drop takes events out that ended in a time.
func drop(h *ringstore.History, truths []map[int][2]string, from, to int64) []map[int][2]string {
	var events []ringstore.Event
	var left []map[int][2]string
	for i := range h.Events {
		if e := &h.Events[i]; !e.Unfinished && e.Start+e.Duration >= from && e.Start+e.Duration < to {
			continue
		}
		events = append(events, h.Events[i])
		left = append(left, truths[i])
	}
	h.Events = events
	return left
}

// check returns how many names are known of those that were, and fails for any that is
// wrong.
func check(t *testing.T, h *ringstore.History, truths []map[int][2]string, seed uint64) (known, all int) {
	t.Helper()
	names := Of(h)
	for i := range h.Events {
		e := &h.Events[i]
		for fd, truth := range truths[i] {
			f := names.At(e, fd)
			if truth[0] != "" {
				all++
			}
			if f == nil {
				continue
			}
			if got := f.String(); got != "/"+truth[0] && got != "/"+truth[1] {
				t.Fatalf("seed %d: at %d, thread %d of %d: descriptor %d of %s is %q, was %q", seed, e.Start, e.TID, e.PID, fd, Name(e), got, truth)
			}
			known++
		}
	}
	return known, all
}

// Name is the name of an event's call.
func Name(e *ringstore.Event) string { return syscalls.Lookup("amd64", e.ABI, e.Nr).Name }

// TestNeverWrong: whatever processes do, and whatever of it is recorded, a descriptor is
// called what it was, or nothing.
func TestNeverWrong(t *testing.T) {
	known, all := 0, 0
	for seed := range uint64(3000) {
		m := &model{r: rand.New(rand.NewPCG(seed, 1))}
		m.run(60+m.r.IntN(400), true)
		h, truths := m.history()
		switch seed % 4 {
		case 1: // the recent lane was overwritten
			c := 100 + m.r.Int64N(m.now-99)
			h.BootDone = 100 + m.r.Int64N(c-99)
			truths = drop(h, truths, h.BootDone, c)
			for lane := range h.LaneCompleteSince {
				h.LaneCompleteSince[lane] = c
			}
		case 2: // it was frozen for a while
			h.Thawed = 100 + m.r.Int64N(m.now-99)
			truths = drop(h, truths, h.Thawed-m.r.Int64N(50), h.Thawed)
		case 3: // records were lost, nobody knows when
			from := 100 + m.r.Int64N(m.now-99)
			truths = drop(h, truths, from, from+20)
			h.Meta.Lost = map[string]uint64{"busy": 3}
		}
		k, n := check(t, h, truths, seed)
		if seed%4 == 0 {
			known, all = known+k, all+n
		}
	}
	t.Logf("%d of %d are known", known, all)
	if known*2 < all {
		t.Errorf("only %d of %d are known", known, all)
	}
}

// TestAllKnown: of one process at a time, recorded from its first program on, all is
// known that its records say, or a copy of what they say.
func TestAllKnown(t *testing.T) {
	known, all := 0, 0
	for seed := range uint64(500) {
		m := &model{r: rand.New(rand.NewPCG(seed, 2))}
		m.run(300, false)
		h, truths := m.history()
		// What it began with is listed.
		first := ringstore.Files{TID: 1, PID: 1, Start: 50, End: 50, To: 1 << 31, Why: ringstore.FilesExec}
		for fd, name := range map[int]string{0: "stdin", 1: "stdout"} {
			file, _ := ringstore.ParseFile(fileData(fd, name))
			first.List = append(first.List, file)
		}
		h.Events = slices.Insert(h.Events, 0, ringstore.Event{Kind: ringstore.KindFiles, Start: 50, TID: 1, PID: 1, Files: &first})
		truths = slices.Insert(truths, 0, map[int][2]string(nil))
		k, n := check(t, h, truths, seed)
		known, all = known+k, all+n
	}
	// What came by a message, and what nobody noted, is not.
	t.Logf("%d of %d are known", known, all)
	if known*100 < all*70 {
		t.Errorf("only %d of %d are known", known, all)
	}
}
