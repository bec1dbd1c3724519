package ringstore

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

const (
	maxArgs = 6
	// captureArgs is behind what a capture of a call may be of.
	captureArgs = CaptureFile + 1
	maxFlags    = layout.FlagABI | layout.FlagLongDuration | layout.FlagLongReturn |
		layout.FlagNoEnter | layout.FlagUnfinished | layout.FlagCut | layout.FlagThread
	maxStatus = layout.CaptureStatusCut | layout.CaptureStatusFault | layout.CaptureStatusLate |
		layout.CaptureStatusExit | layout.CaptureStatusNone
)

var le = binary.LittleEndian

// recordLen returns the length of the record that b begins with, or 0 if there is none
// that is valid in every respect. Only of records that it accepts may any other function
// here be asked.
func recordLen(b []byte) int {
	if len(b) < layout.SizesRecordHead {
		return 0
	}
	n := int(le.Uint16(b[layout.RecordAtLen:]))
	if n < layout.SizesRecordHead || n > len(b) || n%8 != 0 {
		return 0
	}
	b = b[:n]
	if Kind(b[layout.RecordAtKind]) == kindFold {
		if !validFold(b) {
			return 0
		}
		return n
	}
	start := le.Uint64(b[layout.RecordAtStart:])
	if start == 0 || start > math.MaxInt64/2 ||
		le.Uint32(b[layout.RecordAtTID:]) == 0 {
		return 0
	}
	var ok bool
	switch Kind(b[layout.RecordAtKind]) {
	case KindCall:
		ok = validCall(b, maxArgs)
	case KindUring:
		// It came in by no entry, and its opcode has 8 bits.
		ok = b[layout.RecordAtFlags]&layout.FlagABI == 0 && b[layout.RecordAtNr+1] == 0 &&
			validCall(b, layout.SizesUringArgs)
	default:
		ok = validEvent(b)
	}
	if !ok {
		return 0
	}
	return n
}

// validCall tells whether b is a record of a call, or of an operation of io_uring, which
// has the same form; most is how many arguments it may have.
func validCall(b []byte, most int) bool {
	flags, shape, wide := b[layout.RecordAtFlags], b[layout.RecordAtShape], b[layout.RecordAtWide]
	args, captures := int(shape&15), int(shape>>4)
	if flags&^maxFlags != 0 || flags&layout.FlagABI == layout.FlagABI ||
		args > most || captures > layout.SizesRecordCaptures || wide>>args != 0 {
		return false
	}
	const noEnd = layout.FlagNoEnter | layout.FlagUnfinished
	if flags&noEnd != 0 && flags&layout.FlagLongDuration != 0 {
		return false
	}
	at := argsAt(flags) + argsLen(shape, wide)
	if at > len(b) {
		return false
	}
	// Without the flag the ids are the same, so with it they are not.
	if flags&layout.FlagThread != 0 {
		if tgid := le.Uint32(b[layout.RecordAtTGID:]); tgid == 0 || tgid == recordTID(b) {
			return false
		}
	}
	if flags&layout.FlagLongDuration != 0 && le.Uint64(b[callHead(flags):]) > math.MaxInt64/2 {
		return false
	}
	end := capturesEnd(b[at:], captures, max(most, captureArgs))
	return end >= 0 && len(b)-(at+end) < 8
}

func validEvent(b []byte) bool {
	sizes := [...]int{
		KindFork:   layout.SizeofFork,
		KindExec:   layout.SizeofExec,
		KindExit:   layout.SizeofExit,
		KindSignal: layout.SizeofSignal,
		KindCred:   layout.SizeofEvent,
		KindFiles:  layout.SizeofFiles,
	}
	kind := Kind(b[layout.RecordAtKind])
	if int(kind) >= len(sizes) || sizes[kind] == 0 || len(b) < sizes[kind] {
		return false
	}
	// Of the head, events use neither the call's number nor its result.
	if le.Uint32(b[layout.RecordAtTGID:]) == 0 || b[layout.RecordAtFlags] != 0 || le.Uint32(b[layout.RecordAtNr:]) != 0 ||
		le.Uint64(b[layout.RecordAtDuration:]) != 0 {
		return false
	}
	end := 0
	switch kind {
	case KindFiles:
		if end = filesEnd(b); end >= 0 {
			end -= sizes[kind]
		}
	case KindExec:
		end = capturesEnd(b[sizes[kind]:], 1, 1)
	case KindFork:
		if le.Uint32(b[layout.ForkAtChildTID:]) == 0 || le.Uint32(b[layout.ForkAtChildTGID:]) == 0 {
			return false
		}
	}
	return end >= 0 && len(b)-(sizes[kind]+end) < 8
}

// kindFold is a record that says how often the call of another one was made again. It is
// no event, and has no start, thread or process of its own.
const kindFold = Kind(layout.KindFold)

// validFold tells whether b can be a fold. What call it is of only its page can tell.
func validFold(b []byte) bool {
	if len(b) != layout.SizeofFold || b[layout.FoldAtFlags] != 0 {
		return false
	}
	of, f := le.Uint32(b[layout.FoldAtOf:]), parseFold(b)
	return of >= layout.SizesPageHead && of < layout.SizesPage && of%8 == 0 && f.count > 0 &&
		f.second <= f.end && f.total <= f.end-f.second
}

// A fold is what is known of the calls of a run besides the first. Times are ns after the
// start of the first.
type fold struct {
	count              uint64
	second, end, total int64
}

func parseFold(b []byte) fold {
	count := le.Uint32(b[layout.FoldAtCount:])
	at := b[layout.FoldAtAt+int(count&1)*layout.SizeofRepeats:]
	return fold{
		count:  uint64(count),
		second: int64(le.Uint32(b[layout.FoldAtSecond:])),
		end:    int64(le.Uint32(at[layout.RepeatsAtEnd:])),
		total:  int64(le.Uint32(at[layout.RepeatsAtTotal:])),
	}
}

// foldOf returns where in its page the call of the valid fold b stands.
func foldOf(b []byte) int { return int(le.Uint32(b[layout.FoldAtOf:])) }

// foldable tells whether a call that the valid record b tells of can have a fold: it has
// a start and an end, and they are not far apart.
func foldable(b []byte) bool {
	return recordKind(b) == KindCall &&
		b[layout.RecordAtFlags]&(layout.FlagNoEnter|layout.FlagUnfinished|layout.FlagLongDuration) == 0
}

// callHead returns the bytes of a call's head: its process stands there only if it is not
// what the thread is called, too.
func callHead(flags uint8) int {
	if flags&layout.FlagThread != 0 {
		return layout.SizeofRecord
	}
	return layout.SizesRecordHead
}

// argsAt returns where the arguments of a call with these flags begin.
func argsAt(flags uint8) int {
	at := callHead(flags)
	if flags&layout.FlagLongDuration != 0 {
		at += 8
	}
	if flags&layout.FlagLongReturn != 0 {
		at += 8
	}
	return at
}

// argsLen returns the bytes that a call's arguments take.
func argsLen(shape, wide uint8) int {
	n := 4 * int(shape&15)
	for ; wide != 0; wide &= wide - 1 {
		n += 4
	}
	return n
}

// capturesEnd returns where n captures of arguments below args end in b, each padded to
// 4, or -1 if they are not valid.
func capturesEnd(b []byte, n, args int) int {
	at := 0
	for range n {
		if len(b)-at < layout.SizeofCapture {
			return -1
		}
		size := int(le.Uint16(b[at+layout.CaptureAtLen:]))
		if size > layout.SizesMaxLimit || int(b[at+layout.CaptureAtArg])&layout.SizesCaptureArg >= args ||
			b[at+layout.CaptureAtStatus]&^maxStatus != 0 {
			return -1
		}
		if b[at+layout.CaptureAtArg]&layout.SizesCaptureArg == CaptureFile {
			if data := b[at+layout.SizeofCapture:]; size > len(data) {
				return -1
			} else if _, ok := ParseFile(data[:size]); !ok {
				return -1
			}
		}
		at += layout.SizeofCapture + (size+3)&^3
		if at > len(b) {
			return -1
		}
	}
	return at
}

// nextCapture returns the first capture in b, and what follows it. Its data aliases b.
func nextCapture(b []byte) (Capture, []byte) {
	size := int(le.Uint16(b[layout.CaptureAtLen:]))
	end := layout.SizeofCapture + size
	return Capture{
		Arg:    int(b[layout.CaptureAtArg]) & layout.SizesCaptureArg,
		Each:   int(b[layout.CaptureAtArg]) >> layout.SizesCaptureCap * 8,
		Status: CaptureStatus(b[layout.CaptureAtStatus]),
		Data:   b[layout.SizeofCapture:end:end],
	}, b[(end+3)&^3:]
}

// Accessors to a valid record's head.

func recordKind(b []byte) Kind   { return Kind(b[layout.RecordAtKind]) }
func recordStart(b []byte) int64 { return int64(le.Uint64(b[layout.RecordAtStart:])) }
func recordTID(b []byte) uint32  { return le.Uint32(b[layout.RecordAtTID:]) }

// recordPID returns the process of a record's thread.
func recordPID(b []byte) uint32 {
	if recordKind(b).timed() && b[layout.RecordAtFlags]&layout.FlagThread == 0 {
		return recordTID(b)
	}
	return le.Uint32(b[layout.RecordAtTGID:])
}

// recordFinish returns when the record's call returned; for what has no end, its start.
func recordFinish(b []byte) int64 {
	start := recordStart(b)
	switch flags := b[layout.RecordAtFlags]; {
	case flags&(layout.FlagNoEnter|layout.FlagUnfinished) != 0:
		return start
	case flags&layout.FlagLongDuration != 0:
		return start + int64(le.Uint64(b[callHead(flags):]))
	}
	return start + int64(le.Uint32(b[layout.RecordAtDuration:]))
}

// arena is where the variable parts of events live, so that a million events are a
// handful of allocations.
type arena struct {
	args     []uint64
	captures []Capture
	runs     []Run
}

// run makes a run of an event whose call was made again.
func (a *arena) run(e *Event, f fold) {
	a.runs = append(a.runs, Run{Count: 1 + f.count, Last: e.Start + f.end, Total: e.Duration + f.total})
	e.Run = &a.runs[len(a.runs)-1]
}

// decode fills in what the valid record b says of an event; captures alias b.
func (a *arena) decode(b []byte, e *Event) {
	*e = Event{
		Kind:  recordKind(b),
		Start: recordStart(b),
		TID:   recordTID(b),
		PID:   recordPID(b),
	}
	if e.Kind.timed() {
		a.decodeCall(b, e)
		return
	}
	e.setIdentity(identityOf(b))
	switch e.Kind {
	case KindFork:
		e.Fork = &Fork{
			ChildTID: le.Uint32(b[layout.ForkAtChildTID:]),
			ChildPID: le.Uint32(b[layout.ForkAtChildTGID:]),
		}
	case KindExec:
		name, _ := nextCapture(b[layout.SizeofExec:])
		e.Exec = &Exec{OldTID: le.Uint32(b[layout.ExecAtOldTID:]), Filename: name}
	case KindExit:
		flags := le.Uint32(b[layout.ExitAtFlags:])
		e.Exit = &Exit{
			Status: le.Uint32(b[layout.ExitAtStatus:]),
			Group:  flags&layout.ExitFlagGroup != 0,
			First:  flags&layout.ExitFlagFirst != 0,
			OOM:    flags&layout.ExitFlagOOM != 0,
		}
	case KindFiles:
		e.Files = decodeFiles(b)
	case KindSignal:
		flags := le.Uint32(b[layout.SignalAtFlags:])
		e.Signal = &Signal{
			Signal:  le.Uint32(b[layout.SignalAtSignal:]),
			Code:    int32(le.Uint32(b[layout.SignalAtCode:])),
			Errno:   int32(le.Uint32(b[layout.SignalAtError:])),
			PID:     le.Uint32(b[layout.SignalAtPID:]),
			UID:     le.Uint32(b[layout.SignalAtUID:]),
			Addr:    le.Uint64(b[layout.SignalAtAddr:]),
			More:    [3]uint64{le.Uint64(b[layout.SignalAtMore:]), le.Uint64(b[layout.SignalAtMore+8:]), le.Uint64(b[layout.SignalAtMore+16:])},
			Sender:  senderOf(b[layout.SignalAtSender:]),
			Handled: flags&layout.SignalFlagHandled != 0,
			Ignored: flags&layout.SignalFlagIgnored != 0,
			Fatal:   flags&layout.SignalFlagFatal != 0,
		}
	}
}

// senderOf returns what a struct swoll_sender says.
func senderOf(b []byte) *Sender {
	switch le.Uint32(b[layout.SenderAtKnown:]) {
	case layout.SenderKnownKernel:
		return &Sender{Kernel: true}
	case layout.SenderKnownProcess:
		return &Sender{
			PID:    le.Uint32(b[layout.SenderAtTGID:]),
			Cgroup: le.Uint64(b[layout.SenderAtCgroup:]),
			Comm:   text(b[layout.SenderAtComm : layout.SenderAtComm+layout.SizesComm]),
		}
	}
	return nil
}

func (a *arena) decodeCall(b []byte, e *Event) {
	flags, shape, wide := b[layout.RecordAtFlags], b[layout.RecordAtShape], b[layout.RecordAtWide]
	e.Nr = le.Uint16(b[layout.RecordAtNr:])
	e.ABI = ABI(flags & layout.FlagABI)
	e.NoEnter = flags&layout.FlagNoEnter != 0
	e.Unfinished = flags&layout.FlagUnfinished != 0
	if !e.Unfinished {
		e.Duration = recordFinish(b) - e.Start
		e.Ret = int64(int32(le.Uint32(b[layout.RecordAtRet:])))
		if at := argsAt(flags); flags&layout.FlagLongReturn != 0 {
			e.Ret = int64(le.Uint64(b[at-8:]))
		}
	}
	b = b[argsAt(flags):]

	first := len(a.args)
	for i := range int(shape & 15) {
		if wide>>i&1 != 0 {
			a.args = append(a.args, le.Uint64(b))
			b = b[8:]
		} else {
			a.args = append(a.args, uint64(le.Uint32(b)))
			b = b[4:]
		}
	}
	if len(a.args) > first {
		e.Args = a.args[first:len(a.args):len(a.args)]
	}
	e.Captures, _ = a.decodeCaptures(b, int(shape>>4))
}

// decodeCaptures returns the n valid captures that b begins with, and what follows.
func (a *arena) decodeCaptures(b []byte, n int) ([]Capture, []byte) {
	if n == 0 {
		return nil, b
	}
	first := len(a.captures)
	for range n {
		var c Capture
		c, b = nextCapture(b)
		a.captures = append(a.captures, c)
	}
	return a.captures[first:len(a.captures):len(a.captures)], b
}

// text returns what stands before the first NUL.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// A pageHead is the head of a page's copy, without its state.
type pageHead struct {
	last, destroyed int64
	first, life     uint64
	slot            uint32
}

func headOf(page []byte) pageHead {
	return pageHead{
		last:      int64(le.Uint64(page[layout.PageAtLast:])),
		destroyed: int64(le.Uint64(page[layout.PageAtDestroyed:])),
		first:     le.Uint64(page[layout.PageAtFirst:]),
		slot:      le.Uint32(page[layout.PageAtSlot:]),
		life:      le.Uint64(page[layout.PageAtLife:]),
	}
}

// The parts of a page's state word.

func stateSeq(state uint64) uint64 { return state >> layout.PageStateSeqShift }
func stateOpen(state uint64) bool  { return state&layout.PageStateOpen != 0 }
func stateUsed(state uint64) int   { return int(state & layout.PageStateUsed) }
