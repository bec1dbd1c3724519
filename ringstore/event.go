package ringstore

import "github.com/swoll-recorder/swoll/ringstore/layout"

// An Event is one decoded record: a system call, or something that happened to a
// task. Its byte slices belong to the event; they do not alias the ring.
type Event struct {
	Kind Kind
	Lane Lane
	// Seq identifies the event within its ring: the same record has the same Seq in
	// every dump and in the snapshot. Seqs are unique, not contiguous. It is 0 for a
	// call that is still running, which has no record yet.
	Seq uint64
	// Start is the time of entry, in ns of CLOCK_MONOTONIC. For NoEnter calls, and for
	// events other than calls, it is the time at which they were seen.
	Start int64
	// Duration in ns; meaningless for Unfinished and NoEnter calls.
	Duration int64
	TID, PID uint32 // thread and process id in the host's pid namespace

	// The call, or the operation of io_uring (see Operation). Nr is the number in its ABI,
	// or the opcode.
	Nr         uint16
	ABI        ABI
	Args       []uint64
	Ret        int64 // as the kernel returned it: -4095..-1 is an errno, -512..-516 interrupted
	Unfinished bool  // had not returned when it was last seen
	// NoEnter: only its exit was seen (a seccomp denial, or recording began inside). An
	// Unfinished one was never made: a seccomp filter ended the thread that was about to.
	NoEnter  bool
	Captures []Capture
	Run      *Run // the thread made the call again at once; nil: it did not

	// Who, as far as the history tells; Known says whether UID, GID and Comm are.
	Known    bool
	UID, GID uint32
	Comm     string

	// The payload of events other than calls; exactly one is set, by Kind.
	Fork   *Fork
	Exec   *Exec
	Exit   *Exit
	Signal *Signal
	Files  *Files
}

// A Run is one call that a thread made several times, with the same arguments, captures and
// result, and with nothing else in between: the event is the first of these calls, and its
// Start and Duration are those of the first.
type Run struct {
	// Count is how many calls there were, the first included: 2 or more. Of a run that was
	// going on while it was copied, these may be some that were made just after
	// [History.Now]; then so is Last.
	Count uint64
	Last  int64 // when the last of them returned, ns of CLOCK_MONOTONIC
	Total int64 // durations of all of them, ns
}

// Calls returns for how many calls, or other events, e stands: 1, or those of its run.
func (e *Event) Calls() uint64 {
	if e.Run != nil {
		return e.Run.Count
	}
	return 1
}

// End returns when a call returned, of a run the last one; of what has no end, its Start.
func (e *Event) End() int64 {
	switch {
	case e.Run != nil:
		return e.Run.Last
	case !e.Kind.timed() || e.NoEnter || e.Unfinished:
		return e.Start
	}
	return e.Start + max(e.Duration, 0)
}

// NoOpcode is the Nr of a KindUring event that is a completion of no operation: another
// io_uring instance sent it, or it tells that a registered resource is free.
const NoOpcode = layout.NoneNoOpcode

// An Operation is what a KindUring event knows of the submission and the completion, by the
// names of struct io_uring_sqe. What of it an opcode has no use for is 0, mostly.
type Operation struct {
	UserData        uint64
	FD              int32
	Flags           uint8 // IOSQE_*
	IOPrio          uint16
	CompletionFlags uint32 // IORING_CQE_F_*
	Addr, Off       uint64
	Len, OpFlags    uint32
	FileIndex       uint32
	BufIndex        uint16
	Personality     uint16
	Addr3           uint64
}

// Operation returns what a KindUring event is about. Its result is Ret, and Captures are
// of the fields that layout.UringArg* number. Where NoEnter is set, only the completion was seen: there is
// nothing but UserData, and the flags of the completion. Start is the time of submission;
// of one that completes again and again, that of the completion before. An operation that
// asked to be told of failures only is Unfinished in one event and, if it failed, has
// another.
func (e *Event) Operation() Operation {
	var a [layout.SizesUringArgs]uint64
	copy(a[:], e.Args)
	flags, length, op := a[layout.UringArgFlags], a[layout.UringArgLen], a[layout.UringArgOpFlags]
	return Operation{
		UserData: a[layout.UringArgUserData], FD: int32(a[layout.UringArgFd]),
		Flags: uint8(flags), IOPrio: uint16(flags >> 8), CompletionFlags: uint32(flags >> 32),
		Addr: a[layout.UringArgAddr], Off: a[layout.UringArgOff], Addr3: a[layout.UringArgAddr3],
		Len: uint32(length), BufIndex: uint16(length >> 32), Personality: uint16(length >> 48),
		OpFlags: uint32(op), FileIndex: uint32(op >> 32),
	}
}

// Kind is what an Event is.
type Kind uint8

// The kinds of events.
const (
	KindCall   Kind = 1
	KindFork   Kind = 2
	KindExec   Kind = 3
	KindExit   Kind = 4
	KindSignal Kind = 5
	KindCred   Kind = 6 // ids or name changed; they are in UID, GID and Comm
	KindUring  Kind = 8 // an operation of io_uring that completed, or is in flight
	KindFiles  Kind = 9 // what the process has open
)

// timed tells that an event of this kind takes time: it has the form of a call.
func (k Kind) timed() bool { return k == KindCall || k == KindUring }

// String returns the kind's name: call, fork, exec, exit, signal, cred, uring or files.
func (k Kind) String() string {
	if int(k) >= len(layout.KindNames) {
		return "unknown"
	}
	return layout.KindNames[k]
}

// Lane is the lane of a ring that holds an event.
type Lane uint8

// The lanes; see ARCHITECTURE.md for what goes where.
const (
	LaneBoot Lane = iota
	LaneLife
	LaneError
	LaneRecent
	Lanes = 4
)

// String returns the lane's name: boot, life, error or recent.
func (l Lane) String() string {
	if int(l) >= len(layout.LaneNames) {
		return "unknown"
	}
	return layout.LaneNames[l]
}

// ABI tells by which entry the call was made; numbers differ between them.
type ABI uint8

// The ABIs.
const (
	ABINative ABI = 0 // 64-bit
	ABI32     ABI = 1 // 32-bit compat (i386 on x86_64)
	ABIX32    ABI = 2
)

// A Capture is what an argument of a call pointed to.
type Capture struct {
	Arg int // 0 to 5; or CaptureFile
	// Each is the most bytes of each buffer of an iovec that were gathered; 0: as far as
	// they go.
	Each   int `json:",omitempty"`
	Status CaptureStatus
	// Data is what was read. For strings it has no NUL; for string arrays each
	// string ends with one.
	Data []byte
}

// CaptureStatus says what is wrong with a capture; 0 is a whole one.
type CaptureStatus uint8

// The bits of a CaptureStatus.
const (
	CaptureCut   CaptureStatus = 1  // there was more than the limit
	CaptureFault CaptureStatus = 2  // it could not be read (to its end)
	CaptureLate  CaptureStatus = 4  // read at exit though it belongs to the entry
	CaptureExit  CaptureStatus = 8  // filled by the kernel, read at exit
	CaptureNone  CaptureStatus = 16 // not read: payloads are off
)

// Fork tells of a new task, which may be a thread (ChildPID is then the event's PID).
type Fork struct{ ChildTID, ChildPID uint32 }

// Exec tells of a successful execve. OldTID is the thread that made the call, which
// took over the leader's id.
type Exec struct {
	OldTID   uint32
	Filename Capture
}

// Exit tells of the end of a task. Status is as wait(2) gives it.
type Exit struct {
	Status uint32
	Group  bool // the last thread of its process
	First  bool // the container's first process
	OOM    bool // chosen by the OOM killer
}

// Signal tells of the delivery of a signal.
type Signal struct {
	Signal                  uint32
	Code, Errno             int32
	PID, UID                uint32
	Addr                    uint64
	More                    [3]uint64 // what follows PID and UID, or Addr, in a siginfo
	Handled, Ignored, Fatal bool
	Sender                  *Sender // nil: nobody was seen
}

// Sender is who sent a signal, as the kernel side saw it.
type Sender struct {
	Kernel bool   `json:"kernel,omitempty"` // the kernel, and so no process
	PID    uint32 `json:"pid,omitempty"`    // in the host's pid namespace
	Cgroup uint64 `json:"cgroup,omitempty"` // id of its cgroup
	Comm   string `json:"comm,omitempty"`
}
