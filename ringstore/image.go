package ringstore

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sync"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// An Image is a copy of a ring as of one instant. It is never changed once it is made,
// and safe for concurrent use.
type Image struct {
	shape   layout.Shape
	control []byte // the control area with its slots
	instant int64
	owed    int64 // until when the exits of a death were still written
	// unvouched, per lane: what was written until then may be missing; 0: nothing is.
	unvouched [Lanes]int64
	pages     []imagePage
	running   []Running
	files     []*FileList // what processes had open, the oldest first
	blocks    blocks
}

// An imagePage is the used part of a page. Its state is that of the moment of copying.
type imagePage struct {
	index uint32
	lane  Lane
	b     []byte
}

// images are those that Stat works in.
var images = sync.Pool{New: func() any { return new(Image) }}

// blocks hand out memory for pages.
type blocks struct {
	all  [][]byte
	next int // index of the block in use + 1
	used int // bytes of it
}

const blockSize = 64 * layout.SizesPage

func (bl *blocks) reset() { bl.next, bl.used = 0, blockSize }

// take returns n bytes, at most a page.
func (bl *blocks) take(n int) []byte {
	if bl.next == 0 || bl.used+n > blockSize {
		if bl.next == len(bl.all) {
			bl.all = append(bl.all, make([]byte, blockSize))
		}
		bl.next++
		bl.used = 0
	}
	bl.used += n
	return bl.all[bl.next-1][bl.used-n : bl.used : bl.used]
}

// giveBack takes back the n bytes that were taken last.
func (bl *blocks) giveBack(n int) { bl.used -= n }

// Control returns the state of the ring when it was copied.
func (img *Image) Control() Control { return parseControl(img.control) }

// Instant returns the time as of which the content is, ns CLOCK_MONOTONIC.
func (img *Image) Instant() int64 { return img.instant }

// setInstant sets the instant for a copy that begins now.
func (img *Image) setInstant(now int64) {
	img.instant, img.owed = now, now
	flags := le.Uint32(img.control[layout.RingAtFlags:])
	frozen := int64(le.Uint64(img.control[layout.RingAtFrozen:]))
	if flags&(layout.RingFlagFrozen|layout.RingFlagDying) == 0 || frozen == 0 {
		return
	}
	img.instant = frozen
	done := int64(le.Uint64(img.control[layout.RingAtDeath+layout.DeathAtDone:]))
	switch {
	case flags&layout.RingFlagDying != 0 && done != 0:
		img.owed = done
	case flags&layout.RingFlagDying == 0:
		img.owed = frozen
	}
}

// complete returns since when the lane holds every record. destroyed is the youngest
// one that it lost.
func (img *Image) complete(destroyed int64) int64 {
	armed := int64(le.Uint64(img.control[layout.RingAtArmed:]))
	if destroyed == 0 {
		return armed
	}
	return max(armed, destroyed+1)
}

// outrun tells whether a lane was overwritten whole while it was copied.
func (img *Image) outrun() bool {
	for _, page := range img.pages {
		if h := headOf(page.b); h.life == img.life() && h.destroyed > img.instant {
			return true
		}
	}
	return slices.Max(img.unvouched[:]) >= img.instant
}

func (img *Image) life() uint64 { return le.Uint64(img.control[layout.RingAtLife:]) }

// cursors returns the number of cursors that a ring has room for.
func (img *Image) cursors() uint64 { return Lanes * uint64(img.shape.Slots) }

// seq returns an event's Seq: the n-th record of a page's.
func (img *Image) seq(page *imagePage, n int) uint64 {
	h := headOf(page.b)
	return (h.first+uint64(n))*img.cursors() + uint64(page.lane)*uint64(img.shape.Slots) + uint64(h.slot) + 1
}

// A span is the records that one page holds of a cursor's, by their numbers.
type span struct {
	lane    Lane
	slot    uint32
	first   uint64
	end     uint64
	partial bool // others may follow that are neither here nor overwritten
}

// A marks says of each place in a page, in steps of 8 bytes, whether it has them.
type marks [layout.SizesPage / 8 / 64]uint64

func (m *marks) set(at int) { m[at/512] |= 1 << (at / 8 % 64) }

// take tells whether at has a mark, and removes it.
func (m *marks) take(at int) bool {
	bit := uint64(1) << (at / 8 % 64)
	had := m[at/512]&bit != 0
	m[at/512] &^= bit
	return had
}

// scan visits the records of the image, page by page, and returns its figures. n numbers
// the records of a page; start is that of the record. A fold comes after its call, once.
func (img *Image) scan(visit func(page, at, n int, start int64)) Stat {
	stat := Stat{Lost: lostOf(img.control)}
	if le.Uint32(img.control[layout.RingAtFlags:])&layout.RingFlagFrozen != 0 {
		// What a frozen ring refuses is younger than what it holds, and not missing there.
		delete(stat.Lost, layout.LostNames[layout.LostFrozen])
	}
	spans := make([]span, 0, len(img.pages))
	destroyed := img.unvouched
	oldest, newest := int64(math.MaxInt64), int64(0)
	for i := range img.pages {
		page := &img.pages[i]
		head, ok := img.checkPage(page)
		if head.life != img.life() && ok {
			continue // of an earlier use of the ring
		}
		if !ok {
			stat.Damaged++
			destroyed[page.lane] = max(destroyed[page.lane], img.instant)
			continue
		}
		destroyed[page.lane] = max(destroyed[page.lane], head.destroyed)
		state := le.Uint64(page.b[layout.PageAtState:])
		if stateUsed(state) <= layout.SizesPageHead {
			// Its head may still be that of the contents that it replaces.
			destroyed[page.lane] = max(destroyed[page.lane], head.last)
			if stateUsed(state) == 0 {
				continue
			}
		}
		stat.Bytes += uint64(len(page.b))
		n, at := 0, layout.SizesPageHead
		made := head.first // calls and events, of which a fold has many
		var calls marks
		for at < len(page.b) {
			size := recordLen(page.b[at:])
			if size == 0 {
				break
			}
			b := page.b[at : at+size]
			var start int64
			if recordKind(b) == kindFold {
				of := foldOf(b)
				if !calls.take(of) {
					break
				}
				f := parseFold(b)
				made += f.count
				if first := page.b[of:]; img.folds(first, f) {
					stat.Held[page.lane] += f.count
					newest = max(newest, min(recordStart(first)+f.end, img.instant))
				}
			} else {
				made++
				start = recordStart(b)
				if img.holds(b) {
					stat.Held[page.lane]++
					oldest, newest = min(oldest, start), max(newest, start)
				}
				if foldable(b) {
					calls.set(at)
				}
			}
			if visit != nil {
				visit(i, at, n, start)
			}
			at += size
			n++
		}
		if at < len(page.b) {
			stat.Damaged++
			destroyed[page.lane] = max(destroyed[page.lane], head.last)
		}
		spans = append(spans, span{
			lane: page.lane, slot: head.slot, first: head.first, end: made,
			partial: stateOpen(state) || at < len(page.b),
		})
	}
	if newest > 0 {
		stat.Oldest, stat.Newest = oldest, newest
	}
	img.countOverwritten(&stat, spans)
	for lane := range stat.LaneCompleteSince {
		stat.LaneCompleteSince[lane] = img.complete(destroyed[lane])
	}
	stat.CompleteSince = slices.Max(stat.LaneCompleteSince[:])
	return stat
}

// checkPage returns the head of a page, and whether it is one.
func (img *Image) checkPage(page *imagePage) (pageHead, bool) {
	lane := &img.shape.Lane[page.lane]
	state, head := le.Uint64(page.b[layout.PageAtState:]), headOf(page.b)
	used := stateUsed(state)
	if used == 0 && stateOpen(state) {
		return head, stateSeq(state) != 0
	}
	ok := used == len(page.b) && stateSeq(state) != 0 &&
		uint64(page.index) == uint64(lane.First)+stateSeq(state)%uint64(lane.Pages) &&
		head.slot <= lane.Mask && head.first < 1<<40 &&
		le.Uint32(page.b[layout.PageAtLane:]) == uint32(page.lane) &&
		head.last >= 0 && head.last <= math.MaxInt64/2 && head.destroyed >= 0 && head.destroyed <= math.MaxInt64/2
	return head, ok
}

// countOverwritten adds the records that cursors wrote and no page holds. A cursor's
// records are numbered, and its newest page is open; only behind what was copied of an
// open page are there records that are just younger than the copy.
func (img *Image) countOverwritten(stat *Stat, spans []span) {
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.lane, b.lane), cmp.Compare(a.slot, b.slot), cmp.Compare(a.first, b.first))
	})
	for lane := range img.shape.Lane {
		for slot := range img.shape.Slots {
			next, partial := uint64(0), false
			for len(spans) > 0 && spans[0].lane == Lane(lane) && spans[0].slot == slot {
				if s := spans[0]; s.first > next && !partial {
					stat.Overwritten[lane] += s.first - next
				}
				next, partial = max(next, spans[0].end), spans[0].partial
				spans = spans[1:]
			}
			at := layout.SizesSlotsAt + int(slot)*layout.SizesSlot + lane*layout.SizeofCursor
			if written := le.Uint64(img.control[at+layout.CursorAtRecords:]); written > next && !partial {
				stat.Overwritten[lane] += written - next
			}
		}
	}
}

// What a record is as of the instant.
type status uint8

const (
	statusHeld    status = iota
	statusRunning        // a call that had not returned
	statusLater          // it had not begun
)

func (img *Image) status(b []byte) status {
	limit := img.instant
	if kind := recordKind(b); kind == KindExit || kind == KindFiles {
		limit = img.owed
	}
	switch {
	case recordStart(b) > limit:
		return statusLater
	case recordKind(b).timed() && recordFinish(b) > img.instant:
		return statusRunning
	}
	return statusHeld
}

func (img *Image) holds(b []byte) bool { return img.status(b) == statusHeld }

// Senders are the cgroups of the processes that sent the signals that are recorded, and
// those that led to the death; each once.
func (img *Image) Senders() []uint64 {
	var list []uint64
	add := func(s *Sender) {
		if s != nil && s.Cgroup != 0 && !slices.Contains(list, s.Cgroup) {
			list = append(list, s.Cgroup)
		}
	}
	if d := img.Control().Death; d != nil {
		add(d.Sender)
		add(d.Teller)
	}
	img.scan(func(page, at, _ int, _ int64) {
		if b := img.pages[page].b[at:]; recordKind(b) == KindSignal && len(list) < maxSenders {
			add(senderOf(b[layout.SignalAtSender:]))
		}
	})
	return list
}

// maxSenders bounds what Senders returns.
const maxSenders = 64

// folds tells whether the call of the record first was made again, which f tells, as of
// the instant. How many of these calls began later f does not tell.
func (img *Image) folds(first []byte, f fold) bool {
	return img.holds(first) && recordStart(first)+f.second <= img.instant
}

// Stat returns the image's figures.
func (img *Image) Stat() Stat { return img.scan(nil) }

// A ref is where an event is: at bytes into a page, as its n-th record; or a running
// call.
type ref struct {
	start int64
	page  int32 // -1: running call number n
	at, n uint16
}

// hasRun is set in a ref's at, which is a multiple of 8, where the call has a fold.
const hasRun = 1

func (r ref) offset() int { return int(r.at &^ hasRun) }

// key names a place in an image.
func (r ref) key() uint64 { return uint64(r.page)<<16 | uint64(r.offset()) }

// index is the order of an image's events.
type index struct {
	img   *Image
	refs  []ref
	calls []*Running      // those of the running tasks that are events
	folds map[uint64]fold // of calls, by their ref's key
	ids   *identities
	stat  Stat
}

func newIndex(img *Image) *index {
	x := &index{img: img, ids: newIdentities()}
	records := 0
	for i := range img.pages {
		records += len(img.pages[i].b) / 64 // a guess at how many there are
	}
	x.refs = make([]ref, 0, records)
	x.stat = img.scan(func(page, at, n int, start int64) {
		b := img.pages[page].b[at:]
		if recordKind(b) == kindFold {
			x.addFold(page, b)
			return
		}
		if img.status(b) == statusLater {
			return
		}
		x.refs = append(x.refs, ref{start: start, page: int32(page), at: uint16(at), n: uint16(n)})
		if !recordKind(b).timed() {
			x.ids.addEvent(b)
		}
	})
	x.sort()
	x.addRunning()
	x.ids.done()
	return x
}

// addFold adds the fold b to its call, which was added before it.
func (x *index) addFold(page int, b []byte) {
	f := parseFold(b)
	if !x.img.folds(x.img.pages[page].b[foldOf(b):], f) {
		return
	}
	for i := len(x.refs) - 1; i >= 0 && int(x.refs[i].page) == page; i-- {
		if r := &x.refs[i]; r.offset() == foldOf(b) {
			if x.folds == nil {
				x.folds = make(map[uint64]fold)
			}
			x.folds[r.key()] = f
			r.at |= hasRun
			return
		}
	}
}

func (x *index) sort() {
	slices.SortFunc(x.refs, func(a, b ref) int {
		if c := cmp.Compare(a.start, b.start); c != 0 {
			return c
		}
		return cmp.Compare(x.seq(a), x.seq(b))
	})
}

func (x *index) seq(r ref) uint64 {
	if r.page < 0 {
		return 0
	}
	return x.img.seq(&x.img.pages[r.page], int(r.n))
}

// addRunning adds the running calls that have no record.
func (x *index) addRunning() {
	var runs map[uint32]int64 // thread -> when the last call of its last run returned
	if len(x.img.running) > 0 && len(x.folds) > 0 {
		runs = make(map[uint32]int64)
		for key, f := range x.folds {
			first := x.img.pages[key>>16].b[key&0xffff:]
			tid := recordTID(first)
			runs[tid] = max(runs[tid], recordStart(first)+f.end)
		}
	}
	for i := range x.img.running {
		r := &x.img.running[i]
		if r.Operation == nil {
			x.ids.addRunning(r)
		}
		// What returned after it began was it, or came later.
		counted := r.Operation == nil && runs[r.TID] > r.Start
		if r.InCall && r.Start <= x.img.instant && !counted && !x.recorded(r) {
			x.calls = append(x.calls, r)
		}
	}
	if len(x.calls) == 0 {
		return
	}
	// They are mostly few and young, and the rest is in order.
	slices.SortStableFunc(x.calls, func(a, b *Running) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.TID, b.TID))
	})
	refs := make([]ref, 0, len(x.refs)+len(x.calls))
	for i := 0; ; i++ {
		from := len(refs) - i // refs taken so far
		if i == len(x.calls) {
			x.refs = append(refs, x.refs[from:]...)
			return
		}
		to := from + x.before(x.refs[from:], x.calls[i].Start)
		refs = append(append(refs, x.refs[from:to]...), ref{start: x.calls[i].Start, page: -1})
	}
}

// before returns how many refs start before a time.
func (x *index) before(refs []ref, start int64) int {
	i, _ := slices.BinarySearchFunc(refs, start, func(r ref, start int64) int { return cmp.Compare(r.start, start) })
	return i
}

// recorded tells whether the running call has a record by now.
func (x *index) recorded(r *Running) bool {
	kind := KindCall
	if r.Operation != nil {
		kind = KindUring
	}
	for _, ref := range x.refs[x.before(x.refs, r.Start):] {
		if ref.start != r.Start {
			return false
		}
		if b := x.img.pages[ref.page].b[ref.offset():]; recordTID(b) == r.TID && recordKind(b) == kind {
			return true
		}
	}
	return false
}

// all calls yield with each event in order, decoded into a, until it returns false.
func (x *index) all(a *arena, yield func(*Event) bool) {
	calls := x.calls
	var e Event
	for _, r := range x.refs {
		if r.page < 0 {
			e, calls = calls[0].event(), calls[1:]
			if e.Kind == KindUring {
				x.ids.name(&e)
			}
		} else {
			page := &x.img.pages[r.page]
			b := page.b[r.offset():]
			a.decode(b, &e)
			e.Lane, e.Seq = page.lane, x.img.seq(page, int(r.n))
			if e.Kind.timed() {
				if x.img.status(b) == statusRunning {
					e.unfinish()
				}
				x.ids.name(&e)
				if r.at&hasRun != 0 {
					a.run(&e, x.folds[r.key()])
				}
			}
		}
		if !yield(&e) {
			return
		}
	}
}

// unfinish turns a call that returned into one that is still running.
func (e *Event) unfinish() {
	e.Seq, e.Lane, e.Unfinished, e.Ret, e.Duration = 0, LaneRecent, true, 0, 0
	e.Captures = slices.DeleteFunc(e.Captures, func(c Capture) bool { return c.Status&CaptureExit != 0 })
}

// Events yields the image's events in the order of History.Events, which needs far less
// memory than having them all. An event, with all that it points to, is valid until the
// next one is asked for.
func (img *Image) Events() iter.Seq[*Event] {
	return func(yield func(*Event) bool) { newIndex(img).events(yield) }
}

// Stream returns what History returns, but as a history that streams: its events are apart,
// as Events yields them, and in its All. Going through them again costs far less than the
// first time, and having them takes a fifth of the memory.
func (img *Image) Stream(meta Meta) (*History, iter.Seq[*Event]) {
	x := newIndex(img)
	h := img.header(meta, &x.stat)
	h.Stream, h.Takeovers = x.events, x.ids.takeovers
	if n := len(x.refs); n > 0 {
		h.Oldest, h.Newest = x.refs[0].start, max(x.refs[n-1].start, x.stat.Newest)
	}
	return h, x.events
}

// events yields all events, each valid until the next one is asked for.
func (x *index) events(yield func(*Event) bool) {
	var a arena
	x.all(&a, func(e *Event) bool {
		more := yield(e)
		a.args, a.captures, a.runs = a.args[:0], a.captures[:0], a.runs[:0]
		return more
	})
}

// History decodes the image. What the ring knows of its container's life (when it was
// armed, its death, its losses) replaces what meta says. The events' bytes alias the
// image.
func (img *Image) History(meta Meta) *History {
	x := newIndex(img)
	h := img.header(meta, &x.stat)
	h.Takeovers = x.ids.takeovers
	if len(x.refs) == 0 {
		return h
	}
	h.Events = make([]Event, 0, len(x.refs))
	args, captures := 0, 0
	for _, r := range x.refs {
		if r.page >= 0 && recordKind(img.pages[r.page].b[r.offset():]).timed() {
			shape := img.pages[r.page].b[r.offset()+layout.RecordAtShape]
			args += int(shape & 15)
			captures += int(shape >> 4)
		}
	}
	a := arena{args: make([]uint64, 0, args), captures: make([]Capture, 0, captures), runs: make([]Run, 0, len(x.folds))}
	x.all(&a, func(e *Event) bool {
		h.Events = append(h.Events, *e)
		return true
	})
	h.Oldest, h.Newest = h.Events[0].Start, max(h.Events[len(h.Events)-1].Start, x.stat.Newest)
	return h
}

// listed returns what processes had open.
func (img *Image) listed() []Files {
	var all []Files
	for _, l := range img.files {
		all = append(all, l.files()...)
	}
	return all
}

// header returns a history without events.
func (img *Image) header(meta Meta, stat *Stat) *History {
	control := img.Control()
	meta.Armed, meta.CgroupID, meta.Death, meta.Lost = control.Armed, control.CgroupID, control.Death, stat.Lost
	meta.Late, meta.Gaps, meta.MoreGaps = control.Late, control.Gaps, control.MoreGaps
	meta.Uring = meta.Uring || control.UsesUring
	return &History{
		Meta: meta, Now: img.instant,
		CompleteSince: stat.CompleteSince, LaneCompleteSince: stat.LaneCompleteSince,
		BootDone: control.BootDone, Thawed: control.Thawed, Listed: img.listed(),
		Held: stat.Held, Overwritten: stat.Overwritten, Damaged: stat.Damaged,
	}
}
