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
	if flags&layout.RingFlagFrozen != 0 {
		img.owed = max(frozen, int64(le.Uint64(img.control[layout.RingAtDeath+layout.DeathAtDone:])))
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

// scan visits the records of the image, page by page, and returns its figures. n numbers
// the records of a page; start is that of the record.
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
		for at < len(page.b) {
			size := recordLen(page.b[at:])
			if size == 0 {
				break
			}
			b := page.b[at : at+size]
			if img.holds(b) {
				stat.Held[page.lane]++
				start := recordStart(b)
				oldest, newest = min(oldest, start), max(newest, start)
			}
			if visit != nil {
				visit(i, at, n, recordStart(b))
			}
			at += size
			n++
		}
		if at < len(page.b) {
			stat.Damaged++
			destroyed[page.lane] = max(destroyed[page.lane], head.last)
		}
		spans = append(spans, span{
			lane: page.lane, slot: head.slot, first: head.first, end: head.first + uint64(n),
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
	case recordKind(b) == KindCall && recordFinish(b) > img.instant:
		return statusRunning
	}
	return statusHeld
}

func (img *Image) holds(b []byte) bool { return img.status(b) == statusHeld }

// Stat returns the image's figures.
func (img *Image) Stat() Stat { return img.scan(nil) }

// A ref is where an event is: at bytes into a page, as its n-th record; or a running
// call.
type ref struct {
	start int64
	page  int32 // -1: running call number n
	at, n uint16
}

// index is the order of an image's events.
type index struct {
	img   *Image
	refs  []ref
	calls []*Running // those of the running tasks that are events
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
		if img.status(b) == statusLater {
			return
		}
		x.refs = append(x.refs, ref{start: start, page: int32(page), at: uint16(at), n: uint16(n)})
		if recordKind(b) != KindCall {
			x.ids.addEvent(b)
		}
	})
	x.sort()
	x.addRunning()
	x.ids.done()
	return x
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
	for i := range x.img.running {
		r := &x.img.running[i]
		x.ids.addRunning(r)
		if r.InCall && r.Start <= x.img.instant && !x.recorded(r) {
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
	for _, ref := range x.refs[x.before(x.refs, r.Start):] {
		if ref.start != r.Start {
			return false
		}
		if b := x.img.pages[ref.page].b[ref.at:]; recordTID(b) == r.TID && recordKind(b) == KindCall {
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
		} else {
			page := &x.img.pages[r.page]
			b := page.b[r.at:]
			a.decode(b, &e)
			e.Lane, e.Seq = page.lane, x.img.seq(page, int(r.n))
			if e.Kind == KindCall {
				if x.img.status(b) == statusRunning {
					e.unfinish()
				}
				x.ids.name(&e)
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

// Stream returns what History returns, but the events apart, as Events yields them. Going
// through them again costs far less than the first time.
func (img *Image) Stream(meta Meta) (*History, iter.Seq[*Event]) {
	x := newIndex(img)
	h := img.header(meta, &x.stat)
	if n := len(x.refs); n > 0 {
		h.Oldest, h.Newest = x.refs[0].start, x.refs[n-1].start
	}
	return h, x.events
}

// events yields all events, each valid until the next one is asked for.
func (x *index) events(yield func(*Event) bool) {
	var a arena
	x.all(&a, func(e *Event) bool {
		more := yield(e)
		a.args, a.captures = a.args[:0], a.captures[:0]
		return more
	})
}

// History decodes the image. What the ring knows of its container's life (when it was
// armed, its death, its losses) replaces what meta says. The events' bytes alias the
// image.
func (img *Image) History(meta Meta) *History {
	x := newIndex(img)
	h := img.header(meta, &x.stat)
	if len(x.refs) == 0 {
		return h
	}
	h.Events = make([]Event, 0, len(x.refs))
	args, captures := 0, 0
	for _, r := range x.refs {
		if r.page >= 0 && recordKind(img.pages[r.page].b[r.at:]) == KindCall {
			shape := img.pages[r.page].b[int(r.at)+layout.RecordAtShape]
			args += int(shape & 15)
			captures += int(shape >> 4)
		}
	}
	a := arena{args: make([]uint64, 0, args), captures: make([]Capture, 0, captures)}
	x.all(&a, func(e *Event) bool {
		h.Events = append(h.Events, *e)
		return true
	})
	h.Oldest, h.Newest = h.Events[0].Start, h.Events[len(h.Events)-1].Start
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
	return &History{
		Meta: meta, Now: img.instant,
		CompleteSince: stat.CompleteSince, LaneCompleteSince: stat.LaneCompleteSince,
		BootDone: control.BootDone, Thawed: control.Thawed, Listed: img.listed(),
		Held: stat.Held, Overwritten: stat.Overwritten, Damaged: stat.Damaged,
	}
}
