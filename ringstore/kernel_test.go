package ringstore

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// A kernel writes a ring as the kernel side does, claims and commits included; its CPUs
// are goroutines. Memory is only touched in atomic words, so the race detector has a say.
type kernel struct {
	mem     memory
	bytes   []byte
	shape   layout.Shape
	control int
	clock   atomic.Int64
	cursors [][Lanes]kernelCursor // by slot
	lanes   [Lanes]laneFigures
}

type kernelCursor struct {
	busy    atomic.Bool
	page    int // 1 + index; 0: none
	records uint64
}

// What was really written; the test compares.
type laneFigures struct{ made atomic.Uint64 }

const testCgroup = 4711

// testShape is a ring with the given pages per lane and cursors per lane.
func testShape(slots int, pages, cursors [Lanes]int) layout.Shape {
	shape := layout.Shape{Layout: layout.SizesLayout, Rings: 1, Slots: uint32(slots)}
	for lane := range pages {
		shape.Lane[lane] = layout.LaneShape{
			First: shape.Pages, Pages: uint32(pages[lane]), Mask: uint32(cursors[lane] - 1),
		}
		if cursors[lane] < slots {
			shape.Lane[lane].Shared = 1
		}
		shape.Pages += uint32(pages[lane])
	}
	shape.Bytes = shape.Pages*layout.SizesPage + uint32(controlLen(&shape))
	shape.Bytes = (shape.Bytes + layout.SizesPage - 1) &^ (layout.SizesPage - 1)
	return shape
}

// newKernel arms a ring.
func newKernel(t testing.TB, shape layout.Shape) (*kernel, *Ring) {
	t.Helper()
	k := &kernel{bytes: make([]byte, shape.Bytes), shape: shape, control: int(shape.Pages) * layout.SizesPage}
	ring, err := NewRing(k.bytes, shape)
	if err != nil {
		t.Fatal(err)
	}
	k.mem = ring.mem
	k.cursors = make([][Lanes]kernelCursor, shape.Slots)
	k.put(k.control+layout.RingAtCgroup, testCgroup)
	k.put(k.control+layout.RingAtArmed, uint64(k.now()))
	k.put(k.control+layout.RingAtLife, 1)
	return k, ring
}

// now is a clock that never shows the same time twice.
func (k *kernel) now() int64 { return k.clock.Add(1) }

func (k *kernel) put(at int, v uint64) { atomic.StoreUint64(&k.mem[at/8], v) }

func (k *kernel) or(at int, v uint64) {
	for {
		old := k.mem.load(at)
		if atomic.CompareAndSwapUint64(&k.mem[at/8], old, old|v) {
			return
		}
	}
}

func (k *kernel) lose(cpu, cause int) {
	atomic.AddUint64(&k.mem[(k.control+layout.SizesSlotsAt+cpu*layout.SizesSlot+layout.SlotAtLost+8*cause)/8], 1)
}

// takePage hands the cursor a new page.
func (k *kernel) takePage(c *kernelCursor, lane Lane, slot int, now int64) bool {
	shape := k.shape.Lane[lane]
	for range 64 {
		next := (k.control + layout.RingAtLane + int(lane)*layout.SizeofLaneState) / 8
		n := atomic.AddUint64(&k.mem[next], 1)
		if lane == LaneBoot && n > uint64(shape.Pages) {
			k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
			return false
		}
		index := int(shape.First) + int(n%uint64(shape.Pages))
		at := index * layout.SizesPage
		state := k.mem.load(at)
		if stateOpen(state) || stateSeq(state) >= n {
			continue
		}
		open := n<<layout.PageStateSeqShift | layout.PageStateOpen
		if !atomic.CompareAndSwapUint64(&k.mem[at/8], state, open) {
			continue
		}
		k.put(at+layout.PageAtDestroyed, k.mem.load(at+layout.PageAtLast))
		k.put(at+layout.PageAtFirst, c.records)
		k.put(at+layout.PageAtTaken, uint64(now))
		k.put(at+layout.PageAtSlot, uint64(slot)|uint64(lane)<<32)
		k.put(at+layout.PageAtLife, k.mem.load(k.control+layout.RingAtLife))
		k.put(at, open|layout.SizesPageHead)
		if c.page > 0 {
			old := (c.page - 1) * layout.SizesPage
			k.put(old, k.mem.load(old)&^layout.PageStateOpen)
		}
		c.page = index + 1
		return true
	}
	return false
}

// write writes a record as the CPU; it tells whether it did.
func (k *kernel) write(cpu int, lane Lane, now int64, record []byte) bool {
	return k.writeBy(nil, cpu, lane, now, record)
}

// A kernelThread is what the kernel side remembers of a thread that may make its last call
// again: where its record is.
type kernelThread struct {
	page, at, fold int // page: 1 + index; 0: none
	seq            uint64
}

// writeBy is write for a thread whose runs are folded; nil: they are not.
func (k *kernel) writeBy(t *kernelThread, cpu int, lane Lane, now int64, record []byte) bool {
	if k.mem.load(k.control+layout.RingAtFlags)&layout.RingFlagBootDone == 0 {
		if k.writeLane(t, cpu, LaneBoot, now, record) < 0 {
			return true
		}
	}
	cause := k.writeLane(t, cpu, lane, now, record)
	if cause >= 0 {
		k.lose(cpu, cause)
		if t != nil {
			t.page = 0
		}
	}
	return cause < 0
}

// writeLane returns the cause of loss, or -1.
func (k *kernel) writeLane(t *kernelThread, cpu int, lane Lane, now int64, record []byte) int {
	shape := k.shape.Lane[lane]
	slot := cpu & int(shape.Mask)
	c := &k.cursors[slot][lane]
	for range 4 {
		if c.busy.CompareAndSwap(false, true) {
			defer c.busy.Store(false)
			return k.writeCursor(t, c, lane, slot, now, record)
		}
		slot = (slot + 1) & int(shape.Mask)
		c = &k.cursors[slot][lane]
	}
	return layout.LostBusy
}

func (k *kernel) writeCursor(t *kernelThread, c *kernelCursor, lane Lane, slot int, now int64, record []byte) int {
	if c.page > 0 {
		state := k.mem.load((c.page - 1) * layout.SizesPage)
		handedOut := k.mem.load(k.control + layout.RingAtLane + int(lane)*layout.SizeofLaneState)
		old := lane != LaneBoot && handedOut-stateSeq(state) > uint64(k.shape.Lane[lane].Pages/2)
		if (old || stateUsed(state)+len(record) > layout.SizesPage) && !k.takePage(c, lane, slot, now) {
			return layout.LostNoPage
		}
	} else if !k.takePage(c, lane, slot, now) {
		return layout.LostNoPage
	}
	page := (c.page - 1) * layout.SizesPage
	state := k.mem.load(page)
	at := stateUsed(state)
	for i := 0; i < len(record); i += 8 {
		k.put(page+at+i, le.Uint64(record[i:]))
		if i == 16 && now%64 == 0 {
			runtime.Gosched() // let readers see a page in the middle of a record
		}
	}
	if t != nil {
		if t.page == c.page && t.seq == stateSeq(state) && k.sameCall(page+t.at, record) {
			record = k.repeat(t, page, at, now, record)
		} else {
			*t = kernelThread{c.page, at, 0, stateSeq(state)}
		}
	}
	k.put(page+layout.PageAtLast, max(k.mem.load(page+layout.PageAtLast), uint64(now)))
	c.records++
	k.put(k.control+layout.SizesSlotsAt+slot*layout.SizesSlot+int(lane)*layout.SizeofCursor+layout.CursorAtRecords, c.records)
	k.put(page, state+uint64(len(record)))
	k.lanes[lane].made.Add(1)
	return -1
}

// sameCall tells whether a record is that of the same call as the one at some place in
// memory, but for its times, which must be near enough.
func (k *kernel) sameCall(at int, record []byte) bool {
	old := make([]byte, len(record))
	k.mem.copyTo(old, at)
	if le.Uint64(record[layout.RecordAtStart:])-le.Uint64(old[layout.RecordAtStart:]) > 1<<31 {
		return false
	}
	copy(old[layout.RecordAtStart:], record[layout.RecordAtStart:][:8])
	copy(old[layout.RecordAtDuration:], record[layout.RecordAtDuration:][:4])
	return bytes.Equal(old, record)
}

// repeat counts a call as one of a thread's run: it returns the fold that is now in the
// record's place, or nothing where there was one before.
func (k *kernel) repeat(t *kernelThread, page, at int, now int64, record []byte) []byte {
	first := int64(k.mem.load(page + t.at + layout.RecordAtStart))
	duration := uint64(le.Uint32(record[layout.RecordAtDuration:]))
	if t.fold == 0 {
		t.fold = at
		b := make([]byte, layout.SizeofFold)
		le.PutUint16(b[layout.FoldAtLen:], layout.SizeofFold)
		b[layout.FoldAtKind] = layout.KindFold
		le.PutUint32(b[layout.FoldAtOf:], uint32(t.at))
		le.PutUint32(b[layout.FoldAtCount:], 1)
		le.PutUint32(b[layout.FoldAtSecond:], uint32(int64(le.Uint64(record[layout.RecordAtStart:]))-first))
		le.PutUint64(b[layout.FoldAtAt+layout.SizeofRepeats:], uint64(now-first)|duration<<32)
		for i := 0; i < len(b); i += 8 {
			k.put(page+at+i, le.Uint64(b[i:]))
		}
		return b
	}
	fold := page + t.fold
	counter := k.mem.load(fold + layout.FoldAtCount)
	total := k.mem.load(fold+layout.FoldAtAt+int(counter&1)*layout.SizeofRepeats)>>32 + duration
	counter++
	k.put(fold+layout.FoldAtAt+int(counter&1)*layout.SizeofRepeats, uint64(now-first)|total<<32)
	if now%64 == 0 {
		runtime.Gosched() // let readers see a run in the middle of being counted
	}
	k.put(fold+layout.FoldAtCount, counter)
	return nil
}

// freeze freezes the ring as the service does.
func (k *kernel) freeze() int64 {
	now := k.now()
	k.put(k.control+layout.RingAtFrozen, uint64(now))
	k.or(k.control+layout.RingAtFlags, layout.RingFlagFrozen)
	return now
}

// appendRecord writes an event as the kernel side does; Seq, Lane and the identity of
// calls have no place in a record. It is the inverse of arena.decode.
func appendRecord(b []byte, e *Event) []byte {
	var r []byte
	head := make([]byte, layout.SizeofRecord)
	head[layout.RecordAtKind] = uint8(e.Kind)
	le.PutUint64(head[layout.RecordAtStart:], uint64(e.Start))
	le.PutUint32(head[layout.RecordAtTID:], e.TID)
	le.PutUint32(head[layout.RecordAtTGID:], e.PID)
	if e.Kind.timed() {
		r = appendCall(head, e)
	} else {
		r = le.AppendUint32(head, e.UID)
		r = le.AppendUint32(r, e.GID)
		r = append(r, make([]byte, layout.SizesComm)...)
		copy(r[layout.EventAtComm:], e.Comm)
	}
	bit := func(set bool, n uint32) uint32 {
		if set {
			return n
		}
		return 0
	}
	switch e.Kind {
	case KindFork:
		r = le.AppendUint32(r, e.Fork.ChildTID)
		r = le.AppendUint32(r, e.Fork.ChildPID)
	case KindExec:
		r = le.AppendUint64(r, uint64(e.Exec.OldTID))
		r = appendCapture(r, &e.Exec.Filename)
	case KindExit:
		r = le.AppendUint32(r, e.Exit.Status)
		r = le.AppendUint32(r, bit(e.Exit.Group, layout.ExitFlagGroup)|bit(e.Exit.First, layout.ExitFlagFirst)|
			bit(e.Exit.OOM, layout.ExitFlagOOM))
	case KindSignal:
		r = le.AppendUint32(r, e.Signal.Signal)
		r = le.AppendUint32(r, uint32(e.Signal.Code))
		r = le.AppendUint32(r, e.Signal.PID)
		r = le.AppendUint32(r, e.Signal.UID)
		r = le.AppendUint64(r, e.Signal.Addr)
		r = le.AppendUint32(r, bit(e.Signal.Handled, layout.SignalFlagHandled)|bit(e.Signal.Ignored, layout.SignalFlagIgnored)|
			bit(e.Signal.Fatal, layout.SignalFlagFatal))
		r = le.AppendUint32(r, uint32(e.Signal.Errno))
		for _, w := range e.Signal.More {
			r = le.AppendUint64(r, w)
		}
		r = appendSender(r, e.Signal.Sender)
	}
	for len(r)%8 != 0 {
		r = append(r, 0xee) // padding is not zeroed
	}
	le.PutUint16(r[layout.RecordAtLen:], uint16(len(r)))
	return append(b, r...)
}

func appendCall(r []byte, e *Event) []byte {
	flags, wide, end := uint8(e.ABI), uint8(0), len(r)
	if e.PID != e.TID {
		flags |= layout.FlagThread
	} else {
		end = layout.SizesRecordHead
		r = r[:end]
	}
	if e.NoEnter {
		flags |= layout.FlagNoEnter
	}
	if e.Unfinished {
		flags |= layout.FlagUnfinished
	}
	if e.Duration>>32 != 0 {
		flags |= layout.FlagLongDuration
		r = le.AppendUint64(r, uint64(e.Duration))
	}
	if int64(int32(e.Ret)) != e.Ret {
		flags |= layout.FlagLongReturn
		r = le.AppendUint64(r, uint64(e.Ret))
	}
	for i, arg := range e.Args {
		if arg>>32 != 0 {
			wide |= 1 << i
			r = le.AppendUint64(r, arg)
		} else {
			r = le.AppendUint32(r, uint32(arg))
		}
	}
	for i := range e.Captures {
		r = appendCapture(r, &e.Captures[i])
		if e.Captures[i].Status&(CaptureCut|CaptureFault) != 0 {
			flags |= layout.FlagCut
		}
	}
	head := r[:end]
	head[layout.RecordAtFlags] = flags
	le.PutUint16(head[layout.RecordAtNr:], e.Nr)
	head[layout.RecordAtWide] = wide
	head[layout.RecordAtShape] = uint8(len(e.Args) | len(e.Captures)<<4)
	le.PutUint32(head[layout.RecordAtDuration:], uint32(e.Duration))
	le.PutUint32(head[layout.RecordAtRet:], uint32(e.Ret))
	return r
}

func appendCapture(r []byte, c *Capture) []byte {
	r = le.AppendUint16(r, uint16(len(c.Data)))
	r = append(append(r, uint8(c.Arg|c.Each/8<<layout.SizesCaptureCap), uint8(c.Status)), c.Data...)
	for len(r)%4 != 0 {
		r = append(r, 0xdd)
	}
	return r
}

// A seed makes events from random numbers.
type seed interface{ IntN(int) int }

// randomEvent returns an event of any kind and shape; of its times only the duration.
func randomEvent(s seed) Event {
	e := Event{Kind: KindCall, TID: uint32(1 + s.IntN(40)), PID: uint32(1 + s.IntN(8))}
	if s.IntN(8) == 0 {
		e.Kind = []Kind{KindFork, KindExec, KindExit, KindSignal, KindCred, KindUring}[s.IntN(6)]
	}
	if e.Kind.timed() {
		randomCall(s, &e)
	} else {
		e.Known, e.UID, e.GID, e.Comm = true, uint32(s.IntN(3)), uint32(s.IntN(3)), fmt.Sprintf("comm-%d", s.IntN(4))
	}
	switch e.Kind {
	case KindFork:
		e.Fork = &Fork{ChildTID: uint32(1 + s.IntN(40)), ChildPID: uint32(1 + s.IntN(8))}
	case KindExec:
		e.Exec = &Exec{OldTID: uint32(1 + s.IntN(40)), Filename: randomCapture(s, 1)}
	case KindExit:
		e.Exit = &Exit{Status: uint32(s.IntN(1 << 16)), Group: s.IntN(2) == 0, First: s.IntN(2) == 0, OOM: s.IntN(2) == 0}
	case KindSignal:
		e.Signal = &Signal{
			Signal: uint32(1 + s.IntN(64)), Code: int32(s.IntN(20) - 10), Errno: int32(s.IntN(4)), PID: uint32(s.IntN(9)),
			UID: uint32(s.IntN(9)), Addr: randomWord(s), More: [3]uint64{randomWord(s), 0, randomWord(s)}, Handled: s.IntN(2) == 0, Ignored: s.IntN(2) == 0, Fatal: s.IntN(2) == 0,
		}
		switch s.IntN(4) {
		case 0:
			e.Signal.Sender = &Sender{Kernel: true}
		case 1:
			e.Signal.Sender = &Sender{PID: uint32(s.IntN(9)), Cgroup: randomWord(s), Comm: "killer"}
		}
	}
	return e
}

func appendSender(b []byte, s *Sender) []byte {
	raw := make([]byte, layout.SizeofSender)
	if s != nil {
		le.PutUint32(raw[layout.SenderAtTGID:], s.PID)
		le.PutUint32(raw[layout.SenderAtKnown:], layout.SenderKnownProcess)
		if s.Kernel {
			le.PutUint32(raw[layout.SenderAtKnown:], layout.SenderKnownKernel)
		}
		le.PutUint64(raw[layout.SenderAtCgroup:], s.Cgroup)
		copy(raw[layout.SenderAtComm:], s.Comm)
	}
	return append(b, raw...)
}

func randomCall(s seed, e *Event) {
	e.Nr, e.ABI, e.Ret = uint16(s.IntN(500)), ABI(s.IntN(3)), int64(randomWord(s))
	switch s.IntN(8) {
	case 0:
		e.NoEnter = true
	case 1:
		e.Unfinished, e.Ret = true, 0
	case 2:
		e.NoEnter, e.Unfinished, e.Ret = true, true, 0 // never made
	default:
		e.Duration = int64(s.IntN(3))
	}
	most := maxArgs
	if e.Kind == KindUring {
		most = layout.SizesUringArgs
		e.Nr, e.ABI = uint16(s.IntN(256)), ABINative
	}
	for range s.IntN(most + 1) {
		e.Args = append(e.Args, randomWord(s))
	}
	for range s.IntN(5) {
		e.Captures = append(e.Captures, randomCapture(s, most))
	}
}

func randomCapture(s seed, args int) Capture {
	size := s.IntN(40)
	if s.IntN(16) == 0 {
		size = s.IntN(layout.SizesMaxLimit + 1)
	}
	arg := s.IntN(args)
	if arg == CaptureFile {
		arg-- // no random bytes
	}
	c := Capture{Arg: arg, Each: s.IntN(4) * 8, Status: CaptureStatus(s.IntN(maxStatus + 1)), Data: make([]byte, size)}
	for i := range c.Data {
		c.Data[i] = byte(s.IntN(256))
	}
	return c
}

func randomWord(s seed) uint64 {
	switch s.IntN(4) {
	case 0:
		return uint64(s.IntN(100))
	case 1:
		return -uint64(s.IntN(100))
	case 2:
		return uint64(s.IntN(1 << 32))
	}
	return uint64(s.IntN(1<<62)) << 1
}
