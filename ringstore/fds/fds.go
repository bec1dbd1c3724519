// Package fds tells what file descriptors stood for at the time of a call.
//
// It knows it from two kinds of records: those of calls that opened a descriptor, which
// say what it is, and lists of all that a process had open at some time. From these it
// goes forward through the history to the call that is asked for, and backward where that
// call proves that the descriptor was open. What it says is sure: where a record may be
// missing in between, where another thread changed the descriptor just then, or where the
// process may change it by other means than calls (io_uring), it says nothing.
//
// A name is that of the time when the file was opened or listed last: of a file that is
// renamed or removed later it is the old one, and a socket keeps its peer when the
// connection ends by itself.
package fds

import (
	"math"
	"slices"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

const never = math.MaxInt64

// An item is something known of a slot, which is a descriptor of a table or a socket,
// between two times.
type item struct {
	lo, hi int64
	// A change makes the slot something else, at some time between lo and hi. What is no
	// change was seen all that time.
	change bool
	what   what
	file   *ringstore.File // of known
	// Of alias the descriptor of which this is a copy; of peer the inode.
	of uint64
}

type what uint8

const (
	unknown what = iota
	closed
	known
	alias // what another descriptor of the table was at lo
	peer  // of sockets: what it was before, but connected to another
)

// A span is an item of several descriptors: from first to last, except those in not.
type span struct {
	item
	first, last int
	not         []int // in order
}

// A table is a process's table of file descriptors.
type table struct {
	items map[int][]item
	spans []span
	// It began as a copy of another one, made between two times.
	base           *table
	baseLo, baseHi int64
	// From when on the kernel may change it without a call, and several threads may.
	uring, shared int64
	// now is what descriptors are in the order in which records are read: for sockets that
	// are not bound.
	now map[int]*ringstore.File
	// cwdShared: others can change the working directory.
	cwdShared bool
}

func newTable() *table {
	return &table{items: make(map[int][]item), now: make(map[int]*ringstore.File), uring: never, shared: never}
}

func (t *table) copyOf(base *table, lo, hi int64) *table {
	t.base, t.baseLo, t.baseHi, t.uring = base, lo, hi, base.uring
	return t
}

// An epoch is from when on a process, or a thread, has a table.
type epoch struct {
	from int64
	t    *table // nil: that of the process
}

// A gap is a time in which records may be missing.
type gap struct{ lo, hi int64 }

// A send is a call that binds a socket which is not bound yet.
type send struct {
	t      *table
	fd     int
	lo, hi int64
}

// A clone is a running or returned call that makes a task.
type clone struct {
	start, end int64
	flags      uint64
}

// Names knows what descriptors stood for in a history. It may be used by one at a time.
type Names struct {
	arch      string
	processes map[uint32][]epoch
	threads   map[uint32][]epoch // those with a table of their own
	sockets   map[uint64][]item
	gaps      []gap
	boot      int64 // when the boot lane ended, if there is a gap behind it; else 0
	sends     []send
	files     map[string]*ringstore.File // by the bytes of captures
	clones    map[uint32]clone           // by thread, the last one
	several   map[uint32]bool            // processes that had several threads
	now       int64                      // the history's instant
	depth     int
}

// Of goes through a history, once, and keeps nothing of its events.
func Of(h *ringstore.History) *Names {
	n := &Names{
		arch: h.Meta.Arch, processes: make(map[uint32][]epoch), threads: make(map[uint32][]epoch),
		sockets: make(map[uint64][]item), files: make(map[string]*ringstore.File), clones: make(map[uint32]clone), several: make(map[uint32]bool), now: h.Now,
	}
	n.findGaps(h)
	for e := range h.All() {
		n.add(e, h.Now)
	}
	for i := range h.Listed {
		n.addList(&h.Listed[i])
	}
	n.sort()
	for _, s := range n.sends {
		if f := n.slot(s.t, s.fd, s.lo, s.lo, true); f != nil && f.Kind == ringstore.FileSocket {
			n.sockets[f.Inode] = append(n.sockets[f.Inode], item{lo: s.lo, hi: s.hi, change: true})
		}
	}
	n.sort()
	return n
}

// findGaps lists when records may be missing.
func (n *Names) findGaps(h *ringstore.History) {
	for cause, lost := range h.Meta.Lost {
		// What a frozen ring refuses is younger than all, or before it thawed.
		if lost > 0 && cause != "frozen" && cause != "death" {
			n.gaps = []gap{{0, never}}
			return
		}
	}
	if h.Damaged > 0 {
		n.gaps = []gap{{0, never}}
		return
	}
	complete := slices.Max(h.LaneCompleteSince[:])
	n.gaps = append(n.gaps, gap{h.Now, never})
	if h.Thawed > h.Meta.Armed {
		n.gaps = append(n.gaps, gap{0, max(h.Thawed, complete)})
		return
	}
	n.gaps = append(n.gaps, gap{0, h.Meta.Armed})
	if complete > h.Meta.Armed {
		n.boot = max(h.BootDone, h.Meta.Armed)
		n.gaps = append(n.gaps, gap{n.boot, complete})
	}
}

// linked tells whether no record can be missing between two times.
func (n *Names) linked(from, to int64) bool {
	for _, g := range n.gaps {
		if g.lo < to && g.hi > from {
			return false
		}
	}
	return true
}

// table returns the table that a thread has at a time.
func (n *Names) table(tid, pid uint32, time int64) *table {
	if t := at(n.threads[tid], time); t != nil {
		return t
	}
	if t := at(n.processes[pid], time); t != nil {
		return t
	}
	t := newTable()
	n.processes[pid] = slices.Insert(n.processes[pid], 0, epoch{0, t})
	return t
}

func at(epochs []epoch, time int64) *table {
	for i := len(epochs) - 1; i >= 0; i-- {
		if epochs[i].from <= time {
			return epochs[i].t
		}
	}
	return nil
}

// Flags of clone and unshare.
const (
	cloneFS    = 0x200
	cloneFiles = 0x400
)

func (n *Names) add(e *ringstore.Event, now int64) {
	if e.TID != e.PID {
		n.several[e.PID] = true
		if t := n.table(e.TID, e.PID, e.Start); t.shared == never {
			t.shared = 0 // since nobody knows when
		}
	}
	switch e.Kind {
	case ringstore.KindCall:
		n.addCall(e)
	case ringstore.KindFork:
		n.addFork(e)
	case ringstore.KindExec:
		n.processes[e.PID] = append(n.processes[e.PID], epoch{e.Start, newTable()})
		if n.threads[e.TID] != nil {
			n.threads[e.TID] = append(n.threads[e.TID], epoch{e.Start, nil})
		}
		delete(n.several, e.PID)
	case ringstore.KindExit:
		if e.Exit != nil && e.Exit.Group {
			n.processes[e.PID] = append(n.processes[e.PID], epoch{e.Start, newTable()})
		}
	case ringstore.KindFiles:
		// While a process dies, its other threads go on for a moment without records.
		if e.Files != nil && (e.Start <= now || !n.several[e.PID]) {
			f := *e.Files
			if f.Why == ringstore.FilesDeath {
				f.Start, f.End = min(f.Start, now), min(f.End, now)
			}
			n.addList(&f)
		}
	}
}

func (n *Names) addFork(e *ringstore.Event) {
	if e.Fork == nil {
		return
	}
	parent := n.table(e.TID, e.PID, e.Start)
	thread := e.Fork.ChildPID == e.PID
	c, ok := n.clones[e.TID]
	if ok = ok && c.start <= e.Start && c.end >= e.Start; !ok {
		c = clone{start: e.Start}
		if thread {
			c.flags = cloneFiles | cloneFS // as all threads have
		}
	}
	t := parent
	if c.flags&cloneFiles == 0 {
		t = newTable().copyOf(parent, c.start, e.Start)
		if !ok {
			t = newTable()
		}
		if c.flags&cloneFS != 0 {
			t.cwdShared, parent.cwdShared = true, true
		}
		for fd, f := range parent.now {
			t.now[fd] = f
		}
	} else {
		t.shared = min(t.shared, c.start)
		if c.flags&cloneFS == 0 {
			t.cwdShared = true
		}
	}
	if !thread {
		n.processes[e.Fork.ChildPID] = append(n.processes[e.Fork.ChildPID], epoch{e.Start, t})
		t = nil
	}
	if thread && t == parent {
		t = at(n.threads[e.TID], e.Start)
	}
	if t != nil || n.threads[e.Fork.ChildTID] != nil {
		n.threads[e.Fork.ChildTID] = append(n.threads[e.Fork.ChildTID], epoch{e.Start, t})
	}
	if thread {
		n.several[e.PID] = true
	} else {
		delete(n.several, e.Fork.ChildPID)
	}
}

// end is when a call had returned.
func end(e *ringstore.Event) int64 {
	if e.Unfinished {
		return never
	}
	return e.Start + max(e.Duration, 0)
}

// Errors of close that leave the descriptor as it is, and of dup2.
const badFD = -9

func (n *Names) addCall(e *ringstore.Event) {
	var t *table // looked for only where it is needed
	my := func() *table {
		if t == nil {
			t = n.table(e.TID, e.PID, e.Start)
		}
		return t
	}
	lo, hi := e.Start, end(e)
	call := syscalls.Lookup(n.arch, e.ABI, e.Nr)
	if call == nil {
		return
	}
	for i := range e.Captures {
		c := &e.Captures[i]
		if c.Arg != ringstore.CaptureFile {
			continue
		}
		if f := n.file(c.Data); f != nil {
			renames := call.Flags&syscalls.Renames != 0
			// What was renamed was the same before.
			my().put(f, lo, hi, !renames)
			n.see(f, lo, hi, true)
			if call.Flags&syscalls.Pair == 0 {
				n.seePeer(f, lo, hi)
			}
		}
	}
	arg := func(i int) int {
		if i < len(e.Args) {
			return int(int32(e.Args[i]))
		}
		return -1
	}
	number := func(i int) uint64 {
		if i < len(e.Args) {
			return e.Args[i]
		}
		return 0
	}
	ok := e.Ret >= 0 && !e.Unfinished
	copies := call.Name == "dup" || call.Name == "dup2" || call.Name == "dup3"
	if call.Ret.Format == syscalls.RetFD && ok && !copies && !n.captured(e, int(e.Ret)) {
		my().set(int(e.Ret), item{lo: lo, hi: hi, change: true})
	}
	switch call.Name {
	case "close":
		// It closes also where it returns an error.
		if e.Ret != badFD || e.Unfinished {
			my().set(arg(0), item{lo: lo, hi: hi, change: true, what: closed})
		}
	case "close_range":
		const unshare, cloexec = 2, 4
		if !ok && !e.Unfinished {
			return
		}
		flags := number(2)
		if flags&unshare != 0 {
			t = n.unshare(e, my(), lo, hi)
		}
		if flags&cloexec == 0 {
			last := min(uint64(uint32(number(1))), math.MaxInt32)
			my().spans = append(my().spans, span{item: item{lo: lo, hi: hi, change: true, what: closed}, first: int(min(uint64(uint32(number(0))), math.MaxInt32)), last: int(last)})
			for fd := range my().now {
				if uint64(fd) >= number(0) && uint64(fd) <= last {
					delete(my().now, fd)
				}
			}
		}
	case "dup2", "dup3":
		switch from, to := arg(0), arg(1); {
		case from == to || !ok && !e.Unfinished:
		case e.Unfinished:
			my().set(to, item{lo: lo, hi: hi, change: true})
		case !n.captured(e, to):
			my().set(to, item{lo: lo, hi: hi, change: true, what: alias, of: uint64(from)})
		}
	case "dup", "fcntl", "fcntl64":
		const dupFD, dupFDCloexec = 0, 1030
		if call.Name != "dup" && number(1) != dupFD && number(1) != dupFDCloexec {
			return
		}
		if fd := int(e.Ret); ok && !n.captured(e, fd) {
			my().set(fd, item{lo: lo, hi: hi, change: true, what: alias, of: uint64(arg(0))})
		}
	case "unshare":
		if !ok {
			return
		}
		if number(0)&cloneFiles != 0 {
			t = n.unshare(e, my(), lo, hi)
		}
		if number(0)&^cloneFiles != 0 {
			my().cwdShared = true // or not shared any more: nobody knows with whom
		}
	case "chroot", "pivot_root", "setns":
		if ok || e.Unfinished {
			my().set(ringstore.CWD, item{lo: lo, hi: hi, change: true})
		}
	case "chdir", "fchdir":
		if e.Unfinished || ok && !n.captured(e, ringstore.CWD) {
			my().set(ringstore.CWD, item{lo: lo, hi: hi, change: true})
		}
	case "io_uring_setup":
		if ok || e.Unfinished {
			my().uring = min(my().uring, lo)
		}
	case "sendto", "sendmsg", "sendmmsg":
		// It may bind the socket. What is bound stays so.
		if !ok && !e.Unfinished {
			return
		}
		fd := arg(0)
		f, have := my().now[fd]
		if have && (f == nil || !bindable(f)) {
			return
		}
		my().now[fd] = nil
		n.sends = append(n.sends, send{my(), fd, lo, hi})
	case "clone", "clone3", "fork", "vfork":
		c := clone{start: lo, end: hi}
		switch call.Name {
		case "clone":
			c.flags = number(0)
		case "clone3":
			if len(e.Captures) == 0 || len(e.Captures[0].Data) < 8 {
				delete(n.clones, e.TID)
				return
			}
			for i, b := range e.Captures[0].Data[:8] {
				c.flags |= uint64(b) << (8 * i)
			}
		}
		n.clones[e.TID] = c
	}
	if call.Flags&syscalls.Renames != 0 && e.Unfinished {
		// Only then there is no capture of what came of it.
		if f, ok := my().now[arg(0)]; ok && f != nil && f.Kind == ringstore.FileSocket {
			n.sockets[f.Inode] = append(n.sockets[f.Inode], item{lo: lo, hi: hi, change: true})
		} else {
			n.sends = append(n.sends, send{my(), arg(0), lo, hi})
		}
	}
}

// file returns what a capture says of a descriptor; nil: nothing. What is said again, as of
// a file that is opened over and over, takes no memory again.
func (n *Names) file(data []byte) *ringstore.File {
	if f := n.files[string(data)]; f != nil {
		return f
	}
	f, ok := ringstore.ParseFile(data)
	if !ok {
		return nil
	}
	n.files[string(data)] = &f
	return &f
}

// captured tells whether the record of a call says what a descriptor is.
func (n *Names) captured(e *ringstore.Event, fd int) bool { return fileOf(e, fd) != nil }

// fileOf returns what the record of a call says of a descriptor.
func fileOf(e *ringstore.Event, fd int) *ringstore.File {
	for i := range e.Captures {
		if e.Captures[i].Arg == ringstore.CaptureFile {
			if f, ok := ringstore.ParseFile(e.Captures[i].Data); ok && f.FD == fd {
				return &f
			}
		}
	}
	return nil
}

// unshare gives a thread a copy of its table.
func (n *Names) unshare(e *ringstore.Event, t *table, lo, hi int64) *table {
	own := newTable().copyOf(t, lo, hi)
	for fd, f := range t.now {
		own.now[fd] = f
	}
	n.threads[e.TID] = append(n.threads[e.TID], epoch{e.Start + 1, own})
	return own
}

// bindable tells whether a socket gets an address when it sends.
func bindable(f *ringstore.File) bool {
	if f.Kind != ringstore.FileSocket {
		return false
	}
	s := &f.Socket
	if s.Local.IsValid() {
		return s.Local.Port() == 0
	}
	const netlink = 16
	return s.Family == netlink && s.Peer == 0
}

// put says what a descriptor is.
func (t *table) put(f *ringstore.File, lo, hi int64, change bool) {
	i := item{lo: lo, hi: hi, change: change, what: known, file: f}
	if f.Kind == ringstore.FileUnknown {
		i.what = unknown
	}
	t.set(f.FD, i)
	t.now[f.FD] = f
	if f.Kind == ringstore.FileAnon && f.Path == "[io_uring]" {
		t.uring = min(t.uring, lo)
	}
}

func (t *table) set(fd int, i item) {
	t.items[fd] = append(t.items[fd], i)
	delete(t.now, fd)
}

// see notes what a socket is called.
func (n *Names) see(f *ringstore.File, lo, hi int64, change bool) {
	if f.Kind != ringstore.FileSocket {
		return
	}
	n.sockets[f.Inode] = append(n.sockets[f.Inode], item{lo: lo, hi: hi, change: change, what: known, file: f})
}

// seePeer notes that a socket which was just made, or connected, is another one's peer.
func (n *Names) seePeer(f *ringstore.File, lo, hi int64) {
	const unix = 1
	if f.Kind == ringstore.FileSocket && f.Socket.Family == unix && f.Socket.Peer != 0 {
		n.sockets[f.Socket.Peer] = append(n.sockets[f.Socket.Peer], item{lo: lo, hi: hi, change: true, what: peer, of: f.Inode})
	}
}

// addList adds what a process had open.
func (n *Names) addList(f *ringstore.Files) {
	t := n.table(f.TID, f.PID, f.Start)
	if f.TID != f.PID && at(n.threads[f.TID], f.Start) == nil || t != n.table(f.TID, f.PID, f.End) {
		return // a table that nobody saw made; or another one by then
	}
	s := span{item: item{lo: f.Start, hi: f.End, what: closed}, first: int(f.From), last: int(min(f.To, math.MaxInt32)) - 1}
	for i := range f.List {
		file := &f.List[i]
		t.put(file, f.Start, f.End, false)
		n.see(file, f.Start, f.End, false)
		s.not = append(s.not, file.FD)
	}
	slices.Sort(s.not)
	t.spans = append(t.spans, s)
}

// sort brings all items into the order of their ends.
func (n *Names) sort() {
	byEnd := func(a, b item) int {
		switch {
		case a.hi != b.hi && a.hi < b.hi, a.hi == b.hi && a.lo < b.lo:
			return -1
		case a.hi != b.hi || a.lo != b.lo:
			return 1
		}
		return 0
	}
	done := make(map[*table]bool)
	for _, epochs := range []map[uint32][]epoch{n.processes, n.threads} {
		for _, list := range epochs {
			for _, e := range list {
				if e.t == nil || done[e.t] {
					continue
				}
				done[e.t] = true
				for _, items := range e.t.items {
					slices.SortStableFunc(items, byEnd)
				}
			}
		}
	}
	for _, items := range n.sockets {
		slices.SortStableFunc(items, byEnd)
	}
}

// around returns the items next to a time between lo and hi: the last that ended before
// it, and the first that began after it. Clear is false where a change was going on.
func around(items []item, spans []span, fd int, lo, hi int64) (before, after *item, clear bool) {
	clear = true
	look := func(i *item) {
		switch {
		case i.hi <= lo:
			if before == nil || i.hi > before.hi || i.hi == before.hi && i.lo >= before.lo {
				before = i
			}
		case i.lo >= hi:
			if after == nil || i.lo < after.lo || i.lo == after.lo && i.change && !after.change {
				after = i
			}
		case i.change:
			clear = false
		default: // it was seen then
			before = i
			if i.hi > hi {
				after = i
			}
		}
	}
	// Items are in the order of their ends, so few have to be looked at; but one that
	// ended late may have begun early.
	first, _ := slices.BinarySearchFunc(items, lo, func(i item, lo int64) int {
		if i.hi <= lo {
			return -1
		}
		return 1
	})
	if first > 0 {
		look(&items[first-1])
	}
	for i := first; i < len(items); i++ {
		look(&items[i])
		if after != nil && items[i].lo >= hi && i > first+64 {
			// Enough: what follows ends later still. It can only have begun earlier if it
			// took longer than all these.
			break
		}
	}
	for i := range spans {
		s := &spans[i]
		if fd < s.first || fd > s.last {
			continue
		}
		if _, not := slices.BinarySearch(s.not, fd); !not {
			look(&s.item)
		}
	}
	return before, after, clear
}

// mixed tells that a change was going on while an item was, so that nobody knows which
// came first.
func mixed(items []item, spans []span, fd int, i *item) bool {
	overlaps := func(o *item) bool {
		return o != i && o.change && o.lo < i.hi && o.hi > i.lo
	}
	for k := len(items) - 1; k >= 0 && items[k].hi > i.lo; k-- {
		if overlaps(&items[k]) {
			return true
		}
	}
	for k := range spans {
		s := &spans[k]
		if fd < s.first || fd > s.last || !overlaps(&s.item) {
			continue
		}
		if _, not := slices.BinarySearch(s.not, fd); !not {
			return true
		}
	}
	return false
}

// maxDepth bounds how many copies of copies are followed.
const maxDepth = 64

// slot returns what a descriptor was at some time between lo and hi, all that time; nil:
// unknown. open says that it was open.
func (n *Names) slot(t *table, fd int, lo, hi int64, open bool) *ringstore.File {
	if n.depth++; n.depth > maxDepth {
		n.depth--
		return nil
	}
	defer func() { n.depth-- }()
	if t.uring < hi || t.shared < hi && hi <= n.boot {
		// At the end of the boot lane, another thread was in a call that has no record.
		return nil
	}
	if fd == ringstore.CWD && t.cwdShared {
		return nil
	}
	items := t.items[fd]
	before, after, clear := around(items, t.spans, fd, lo, hi)
	if !clear {
		return nil
	}
	since := func(lo, hi int64) int64 {
		if t.shared < hi {
			return lo // others may have changed it again before the call returned
		}
		return hi
	}
	if before != nil && (before.hi > lo || n.linked(since(before.lo, before.hi), hi)) {
		switch {
		case mixed(items, t.spans, fd, before):
			return nil
		case before.what == known:
			return before.file
		case before.what == closed:
			return nil
		case before.what == alias:
			if f := n.slot(t, int(before.of), before.lo, before.hi, true); f != nil {
				return f
			}
		}
	}
	if before == nil && t.base != nil && n.linked(t.baseLo, hi) {
		// That it is open now does not say that it was then.
		if f := n.slot(t.base, fd, t.baseLo, t.baseHi, fd == ringstore.CWD); f != nil {
			return f
		}
	}
	if open && after != nil && !after.change && after.what == known && n.linked(lo, after.lo) && !mixed(items, t.spans, fd, after) {
		return after.file
	}
	return nil
}

// socket returns what a socket was called at a time; nil: unknown.
func (n *Names) socket(inode uint64, time int64) *ringstore.File {
	if n.depth++; n.depth > maxDepth {
		n.depth--
		return nil
	}
	defer func() { n.depth-- }()
	items := n.sockets[inode]
	before, after, clear := around(items, nil, 0, time, time)
	if !clear {
		return nil
	}
	if before != nil && (before.hi > time || n.linked(before.lo, time)) && !mixed(items, nil, 0, before) {
		switch before.what {
		case known:
			return before.file
		case peer:
			if f := n.socket(inode, before.lo); f != nil {
				g := *f
				g.Socket.Peer = before.of
				return &g
			}
		}
	}
	if after != nil && !after.change && after.what == known && n.linked(time, after.lo) && !mixed(items, nil, 0, after) {
		return after.file
	}
	return nil
}

// named is the text for a file at a time.
func (n *Names) named(f *ringstore.File, time int64) *ringstore.File {
	if f != nil && f.Kind == ringstore.FileSocket {
		return n.socket(f.Inode, time)
	}
	return f
}

// At returns what a descriptor stood for when a call was made with it; nil: it is not
// known. FD ringstore.CWD is the working directory.
func (n *Names) At(e *ringstore.Event, fd int) *ringstore.File {
	if fd < 0 && fd != ringstore.CWD || e.Kind != ringstore.KindCall {
		return nil
	}
	f := n.slot(n.table(e.TID, e.PID, e.Start), fd, e.Start, e.Start, fd == ringstore.CWD || n.proves(e, fd))
	return n.named(f, e.Start)
}

// looked is how long a call runs at least, in ns, that has surely looked at its descriptor.
const looked = 200e6

// proves tells whether what became of a call says that a descriptor which it was given was
// open: the first argument is one, and the call would have failed.
func (n *Names) proves(e *ringstore.Event, fd int) bool {
	if len(e.Args) == 0 || int(int32(e.Args[0])) != fd || e.Ret < 0 && !e.Unfinished || e.Unfinished && n.now-e.Start < looked {
		return false
	}
	call := syscalls.Lookup(n.arch, e.ABI, e.Nr)
	if call == nil {
		return false
	}
	args, _ := call.Shape(e.Args)
	if len(args) == 0 || args[0].Index != 0 {
		return false
	}
	switch args[0].Format {
	case syscalls.FormatFD:
		return true
	case syscalls.FormatDirFD:
		// Not if the path begins at the root: then nobody looks.
		for i := range e.Captures {
			if c := &e.Captures[i]; c.Arg == 1 && c.Status == 0 {
				return len(c.Data) == 0 || c.Data[0] != '/'
			}
		}
	}
	return false
}

// After returns what a descriptor stands for that a call returned, or stored somewhere;
// nil: it is not known.
func (n *Names) After(e *ringstore.Event, fd int) *ringstore.File {
	if fd < 0 || e.Kind != ringstore.KindCall || e.Unfinished {
		return nil
	}
	if f := fileOf(e, fd); f != nil {
		return f
	}
	time := end(e)
	return n.named(n.slot(n.table(e.TID, e.PID, e.Start), fd, time, time, true), time)
}
