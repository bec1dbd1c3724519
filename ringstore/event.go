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

	// The call. Nr is the number in its ABI.
	Nr         uint16
	ABI        ABI
	Args       []uint64
	Ret        int64 // as the kernel returned it: -4095..-1 is an errno, -512..-516 interrupted
	Unfinished bool  // had not returned when it was last seen
	NoEnter    bool  // only its exit was seen (a seccomp denial, or recording began inside)
	Captures   []Capture

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
	KindFiles  Kind = 7 // what the process has open
)

// String returns the kind's name: call, fork, exec, exit, signal or cred.
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
