package ringstore

import (
	"fmt"
	"math"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// A Running is a task of a recorded cgroup, and the call that it is in.
type Running struct {
	Ring     uint32 // index of the ring that records it, and
	Life     uint64 // which use of that ring
	TID, PID uint32 // in the host's pid namespace
	UID, GID uint32
	Comm     string
	// InCall tells whether the task is between entry and exit of a call. Only then the
	// fields below mean anything.
	InCall   bool
	Start    int64 // ns CLOCK_MONOTONIC
	Nr       uint16
	ABI      ABI
	Args     [maxArgs]uint64 // the call may have less
	Captures []Capture
	// Operation is the record of an operation of io_uring in flight, which this is then in
	// place of a task: of the fields above Ring, Life, TID, PID, InCall and Start count.
	Operation []byte
}

const maxTaskFlags = layout.TaskFlagRunning | layout.TaskFlagFault | layout.TaskFlagCut | layout.TaskFlagForked |
	layout.TaskFlagUring

// ParseRunning returns the tasks that the task iterator printed. The captures alias b.
// Where b is not valid it returns an error and the tasks before that.
func ParseRunning(b []byte) ([]Running, error) {
	var tasks []Running
	var a arena
	for total := len(b); len(b) > 0; {
		var r Running
		n := r.parse(b, &a)
		if n == 0 {
			return tasks, fmt.Errorf("list of running tasks: task %d, at byte %d of %d, is not valid",
				len(tasks), total-len(b), total)
		}
		tasks = append(tasks, r)
		b = b[n:]
	}
	return tasks, nil
}

// parse reads the task that b begins with and returns its length, or 0.
func (r *Running) parse(b []byte, a *arena) int {
	if len(b) < layout.SizeofRunning {
		return 0
	}
	size := int64(le.Uint32(b[layout.RunningAtCaptureLen:]))
	n := layout.SizeofRunning + (size+7)&^7
	if n > int64(len(b)) {
		return 0
	}
	flags, start := le.Uint32(b[layout.RunningAtFlags:]), le.Uint64(b[layout.RunningAtStart:])
	*r = Running{
		Ring:   le.Uint32(b[layout.RunningAtRing:]),
		Life:   le.Uint64(b[layout.RunningAtLife:]),
		TID:    le.Uint32(b[layout.RunningAtTID:]),
		PID:    le.Uint32(b[layout.RunningAtTGID:]),
		UID:    le.Uint32(b[layout.RunningAtUID:]),
		GID:    le.Uint32(b[layout.RunningAtGID:]),
		Comm:   text(b[layout.RunningAtComm:][:layout.SizesComm]),
		InCall: flags&layout.TaskFlagRunning != 0,
	}
	if flags&^maxTaskFlags != 0 || r.TID == 0 || r.PID == 0 {
		return 0
	}
	if !r.InCall {
		return int(n)
	}
	r.Start = int64(start)
	r.Nr = le.Uint16(b[layout.RunningAtNr:])
	r.ABI = ABI(b[layout.RunningAtABI])
	captures := int(b[layout.RunningAtCaptures])
	if start == 0 || start > math.MaxInt64/2 || r.ABI > ABIX32 || captures > layout.SizesRecordCaptures {
		return 0
	}
	for i := range r.Args {
		r.Args[i] = le.Uint64(b[layout.RunningAtArgs+8*i:])
	}
	b = b[layout.SizeofRunning:n]
	if flags&layout.TaskFlagUring != 0 {
		if len(b) == 0 || recordLen(b) != len(b) || recordKind(b) != KindUring || b[layout.RecordAtFlags]&layout.FlagUnfinished == 0 ||
			recordStart(b) != r.Start || recordTID(b) != r.TID || recordPID(b) != r.PID || captures != 0 {
			return 0
		}
		r.Operation = b
		return int(n)
	}
	if end := capturesEnd(b, captures, captureArgs); end < 0 || len(b)-end >= 8 {
		return 0
	}
	r.Captures, _ = a.decodeCaptures(b, captures)
	return int(n)
}

// append writes the task as ParseRunning reads it.
func (r *Running) append(b []byte) []byte {
	head := len(b)
	b = append(b, make([]byte, layout.SizeofRunning)...)
	for _, c := range r.Captures {
		b = le.AppendUint16(b, uint16(len(c.Data)))
		b = append(b, uint8(c.Arg|c.Each/8<<layout.SizesCaptureCap), uint8(c.Status))
		b = append(b, c.Data...)
		for len(b)%4 != head%4 {
			b = append(b, 0)
		}
	}
	b = append(b, r.Operation...)
	size := len(b) - head - layout.SizeofRunning
	for (len(b)-head)%8 != 0 {
		b = append(b, 0)
	}
	h := b[head:]
	le.PutUint32(h[layout.RunningAtRing:], r.Ring)
	le.PutUint64(h[layout.RunningAtLife:], r.Life)
	le.PutUint32(h[layout.RunningAtTID:], r.TID)
	le.PutUint32(h[layout.RunningAtTGID:], r.PID)
	le.PutUint32(h[layout.RunningAtUID:], r.UID)
	le.PutUint32(h[layout.RunningAtGID:], r.GID)
	copy(h[layout.RunningAtComm:][:layout.SizesComm], r.Comm)
	if !r.InCall {
		return b
	}
	flags := uint32(layout.TaskFlagRunning)
	if r.Operation != nil {
		flags |= layout.TaskFlagUring
	}
	le.PutUint32(h[layout.RunningAtFlags:], flags)
	le.PutUint64(h[layout.RunningAtStart:], uint64(r.Start))
	for i, arg := range r.Args {
		le.PutUint64(h[layout.RunningAtArgs+8*i:], arg)
	}
	le.PutUint16(h[layout.RunningAtNr:], r.Nr)
	h[layout.RunningAtABI] = uint8(r.ABI)
	h[layout.RunningAtCaptures] = uint8(len(r.Captures))
	le.PutUint32(h[layout.RunningAtCaptureLen:], uint32(size))
	return b
}

// event presents the call that the task is in, or the operation. A call's arguments are all six.
func (r *Running) event() Event {
	if r.Operation != nil {
		var a arena
		var e Event
		a.decode(r.Operation, &e)
		e.Lane = LaneRecent
		return e
	}
	return Event{
		Kind: KindCall, Lane: LaneRecent, Start: r.Start, TID: r.TID, PID: r.PID,
		Nr: r.Nr, ABI: r.ABI, Args: r.Args[:], Unfinished: true, Captures: r.Captures,
		Known: true, UID: r.UID, GID: r.GID, Comm: r.Comm,
	}
}
