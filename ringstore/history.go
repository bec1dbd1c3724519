package ringstore

import (
	"iter"
	"time"
)

// Meta says whose history it is. It is stored as JSON in a snapshot's header, and
// names a dump's first lines. Fields are added, never changed.
type Meta struct {
	Version     int               `json:"version"` // of this metadata; 1
	ID          string            `json:"id,omitempty"`
	Namespace   string            `json:"namespace"`
	Pod         string            `json:"pod"`
	PodUID      string            `json:"podUID,omitempty"`
	Container   string            `json:"container"`
	ContainerID string            `json:"containerID,omitempty"`
	Image       string            `json:"image,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Instance    int               `json:"instance"` // counts the lives of a container, from 0
	Cgroup      string            `json:"cgroup"`   // path below the hierarchy's root, as far as known
	CgroupID    uint64            `json:"cgroupID"`
	Node        string            `json:"node,omitempty"`
	Arch        string            `json:"arch"` // GOARCH of the recording node: names the system calls
	Kernel      string            `json:"kernel,omitempty"`
	State       string            `json:"state"`             // recording, frozen or exited
	Trigger     string            `json:"trigger,omitempty"` // of a snapshot: signal, oom, exit or manual
	Reason      string            `json:"reason,omitempty"`
	Created     time.Time         `json:"created"`
	Armed       int64             `json:"armed"` // ns CLOCK_MONOTONIC
	// WallOffset added to a CLOCK_MONOTONIC time gives Unix time in ns.
	WallOffset int64  `json:"wallOffset"`
	PageSize   int    `json:"pageSize,omitempty"` // of the kernel, bytes; 0: not known
	Death      *Death `json:"death,omitempty"`
	Stack      *Stack `json:"stack,omitempty"` // of the thread that died by a signal
	// Deletion is when the pod was asked to go away; nil: it was not, or nobody said so.
	Deletion *time.Time `json:"deletion,omitempty"`
	// Deleted says that the death was a part of it: a container runtime's signal.
	Deleted bool              `json:"deleted,omitempty"`
	Peers   []Peer            `json:"peers,omitempty"` // recorded cgroups that signals came from
	Notes   []string          `json:"notes,omitempty"` // what a reader must know: gaps, late starts
	Lost    map[string]uint64 `json:"lost,omitempty"`  // records not written, by cause
	// Late says that processes of the container ran already when recording began.
	Late bool `json:"late,omitempty"`
	// Gaps are the times in which nothing was recorded since: the first ones, and the last
	// one. MoreGaps are between those two, and their times are not known.
	Gaps     []Gap `json:"gaps,omitempty"`
	MoreGaps int   `json:"moreGaps,omitempty"`
	// Uring says that the container used io_uring. UringUnseen says that the kernel does not
	// let the recorder see its operations, whether it was used or not.
	Uring       bool `json:"ioUring,omitempty"`
	UringUnseen bool `json:"ioUringUnseen,omitempty"`
}

// A Gap is a time in which nothing was recorded, since the ring was frozen, in ns
// CLOCK_MONOTONIC.
type Gap struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Death is how a process of the container died, as the kernel side saw it.
type Death struct {
	Kind   string `json:"kind"` // signal, oom or exit
	Time   int64  `json:"time"` // ns CLOCK_MONOTONIC
	PID    uint32 `json:"pid"`
	TID    uint32 `json:"tid"`
	Comm   string `json:"comm"`
	First  bool   `json:"first"` // it was the container's first process
	Status uint32 `json:"status"`
	// Final says that Status is final: the process's last thread is gone.
	Final     bool   `json:"final"`
	Signal    uint32 `json:"signal,omitempty"`
	Code      int32  `json:"code,omitempty"`
	Addr      uint64 `json:"addr,omitempty"`
	More      uint64 `json:"more,omitempty"`      // the first of Signal.More: of SIGSYS the call's number, and its AUDIT_ARCH above
	SenderPID uint32 `json:"senderPID,omitempty"` // si_pid: as the receiver's namespace sees it
	SenderUID uint32 `json:"senderUID,omitempty"`
	// Sender is who was seen to send the signal; nil: nobody was.
	Sender *Sender `json:"sender,omitempty"`
	// Told is when a SIGTERM came that was ignored, and so is no event, ns CLOCK_MONOTONIC;
	// 0: none was seen. Teller is who sent it.
	Told   int64   `json:"told,omitempty"`
	Teller *Sender `json:"teller,omitempty"`
	IP     uint64  `json:"ip,omitempty"` // user registers at a fault; 0: not known
	SP     uint64  `json:"sp,omitempty"`
	// Memory of a process that SIGKILL ended, in pages: what it held, and the limit of the
	// memory cgroup that was nearest to its own, with what was charged there. 0: not known,
	// or no limit.
	RSSPages   uint64 `json:"rssPages,omitempty"`
	UsedPages  uint64 `json:"usedPages,omitempty"`
	LimitPages uint64 `json:"limitPages,omitempty"`
}

// A Peer names the container of another recorded cgroup.
type Peer struct {
	Cgroup    uint64 `json:"cgroup"` // its id
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
}

// ExitCode is the exit code as a shell or container runtime reports it: 128+signal
// for deaths by signal.
func (d *Death) ExitCode() int {
	if s := d.Status & 0x7f; s != 0 {
		return 128 + int(s)
	}
	if d.Signal != 0 && d.Kind != "exit" {
		return 128 + int(d.Signal)
	}
	return int(d.Status >> 8 & 0xff)
}

// History is what a ring or a snapshot held at one instant.
type History struct {
	Meta Meta
	// Events are ordered by Start, then Seq. Calls that were running at that instant
	// are among them, Unfinished. A history that streams has none here: see All.
	Events []Event
	// Now is the instant: nothing that started later is in Events, but for the exits of a
	// process whose death froze the ring, and the last calls of a Run. ns CLOCK_MONOTONIC.
	Now int64
	// CompleteSince: every call that started at or after it is in Events, losses
	// (Meta.Lost) excepted. LaneCompleteSince is the same for the records of each lane.
	CompleteSince     int64
	LaneCompleteSince [Lanes]int64
	// BootDone is when the boot lane was full, which is complete from Meta.Armed till then;
	// 0: it is not. Before Thawed, the ring was frozen at times; 0: it never was.
	BootDone, Thawed int64
	// Listed is what processes had open when the service looked, the oldest first. Events
	// of KindFiles tell more.
	Listed         []Files
	Held           [Lanes]uint64 // calls and events in Events, all of each Run, without the running calls
	Overwritten    [Lanes]uint64 // calls and events that were written and are gone
	Oldest, Newest int64         // Start of the first and last event, or the end of a Run; 0 if there is none
	// Damaged counts the pages with something in them that is no record; what stands
	// behind it is left out.
	Damaged int

	// Takeovers are ordered by Time.
	Takeovers []Takeover

	// Stream yields the events of a history that streams; nil: they are in Events.
	Stream iter.Seq[*Event]
}

// A Takeover is a successful execve of a thread that was not the first of its process: it
// got the first one's id, and the call's record has that.
type Takeover struct {
	TID, Old uint32
	Time     int64 // ns CLOCK_MONOTONIC
}

// Complete tells whether e stands where its lane is complete. A default dump leaves
// out the events for which it is false. A Run counts by its last call: of the calls that
// began since then none is left out.
func (h *History) Complete(e *Event) bool {
	since := e.Start
	if e.Run != nil {
		since = e.Run.Last
	}
	return e.Seq == 0 || since >= h.LaneCompleteSince[e.Lane]
}

// All yields the events in their order, each time that it is asked. Those of a history that
// streams are decoded as they are asked for: each is valid until the next one is.
func (h *History) All() iter.Seq[*Event] {
	if h.Stream != nil {
		return h.Stream
	}
	return func(yield func(*Event) bool) {
		for i := range h.Events {
			if !yield(&h.Events[i]) {
				return
			}
		}
	}
}
