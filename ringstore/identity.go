package ringstore

import (
	"cmp"
	"math"
	"slices"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// An identity is who a task is at some time.
type identity struct {
	uid, gid uint32
	comm     [layout.SizesComm]byte
}

func (e *Event) setIdentity(id identity) {
	e.Known, e.UID, e.GID, e.Comm = true, id.uid, id.gid, text(id.comm[:])
}

// identityOf returns what the valid record b of an event that is no call says.
func identityOf(b []byte) identity {
	return identity{
		uid:  le.Uint32(b[layout.EventAtUID:]),
		gid:  le.Uint32(b[layout.EventAtGID:]),
		comm: [layout.SizesComm]byte(b[layout.EventAtComm:]),
	}
}

// A sighting says who the task with some id is from a time on.
type sighting struct {
	task uint32
	mark mark
	who  int32 // index into identities.known
	time int64
}

// A mark tells where a task with some id begins and ends: ids are used again.
type mark uint8

const (
	seen mark = iota
	born
	gone
)

// identities answers who a task was at a time. Calls do not say it: only events other
// than calls and the list of running tasks do.
type identities struct {
	takeovers []Takeover
	known     []known
	index     map[identity]int32
	byTID     sightings
	byProcess sightings
}

type known struct {
	uid, gid uint32
	comm     string
}

func newIdentities() *identities { return &identities{index: make(map[identity]int32)} }

func (ids *identities) who(id identity) int32 {
	i, ok := ids.index[id]
	if !ok {
		i = int32(len(ids.known))
		ids.known = append(ids.known, known{id.uid, id.gid, text(id.comm[:])})
		ids.index[id] = i
	}
	return i
}

// addEvent takes the valid record b of an event that is no call.
func (ids *identities) addEvent(b []byte) {
	who, time, tid, pid := ids.who(identityOf(b)), recordStart(b), recordTID(b), recordPID(b)
	task, process := seen, seen
	switch recordKind(b) {
	case KindExit:
		task = gone
		if le.Uint32(b[layout.ExitAtFlags:])&layout.ExitFlagGroup != 0 {
			process = gone
		}
	case KindFork:
		childTID, childPID := le.Uint32(b[layout.ForkAtChildTID:]), le.Uint32(b[layout.ForkAtChildTGID:])
		ids.byTID.add(childTID, born, who, time)
		if childPID != pid {
			ids.byProcess.add(childPID, born, who, time)
		}
	case KindExec:
		if old := le.Uint32(b[layout.ExecAtOldTID:]); old != tid {
			ids.byTID.add(old, gone, who, time)
			ids.takeovers = append(ids.takeovers, Takeover{tid, old, time})
		}
	}
	ids.byTID.add(tid, task, who, time)
	ids.byProcess.add(pid, process, who, time)
}

// addRunning takes a task that was alive when the history was copied.
func (ids *identities) addRunning(r *Running) {
	id := identity{uid: r.UID, gid: r.GID}
	copy(id.comm[:], r.Comm)
	who := ids.who(id)
	ids.byTID.add(r.TID, seen, who, math.MaxInt64)
	ids.byProcess.add(r.PID, seen, who, math.MaxInt64)
}

// done ends the adding; then name may be called.
func (ids *identities) done() {
	slices.SortFunc(ids.takeovers, func(a, b Takeover) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.TID, b.TID), cmp.Compare(a.Old, b.Old))
	})
	ids.byTID.sort()
	ids.byProcess.sort()
}

// name fills in who made a call: as its thread was last seen, else its process, else as
// they are seen next.
func (ids *identities) name(e *Event) {
	threadBefore, threadAfter := ids.byTID.around(e.TID, e.Start)
	who := threadBefore
	if who < 0 {
		var processAfter int32
		if who, processAfter = ids.byProcess.around(e.PID, e.Start); who < 0 {
			if who = threadAfter; who < 0 {
				who = processAfter
			}
		}
	}
	if who >= 0 {
		k := &ids.known[who]
		e.Known, e.UID, e.GID, e.Comm = true, k.uid, k.gid, k.comm
	}
}

// sightings are those of all tasks, in the order of tasks, then times.
type sightings struct {
	all  []sighting
	task map[uint32][2]int32 // where each task's begin and end
}

func (s *sightings) add(task uint32, m mark, who int32, time int64) {
	s.all = append(s.all, sighting{task, m, who, time})
}

func (s *sightings) sort() {
	slices.SortFunc(s.all, func(a, b sighting) int {
		return cmp.Or(cmp.Compare(a.task, b.task), cmp.Compare(a.time, b.time),
			// Tasks that follow each other in one instant: the old one ends first.
			-cmp.Compare(a.mark, b.mark), cmp.Compare(a.who, b.who))
	})
	s.task = make(map[uint32][2]int32)
	for i := 0; i < len(s.all); {
		first := i
		for i < len(s.all) && s.all[i].task == s.all[first].task {
			i++
		}
		s.task[s.all[first].task] = [2]int32{int32(first), int32(i)}
	}
}

// around returns who the task was when last seen at or before time and when next seen;
// -1 if it was not, or if the id was then another task's.
func (s *sightings) around(task uint32, time int64) (before, after int32) {
	before, after = -1, -1
	bounds, ok := s.task[task]
	if !ok {
		return before, after
	}
	all := s.all[bounds[0]:bounds[1]]
	i, _ := slices.BinarySearchFunc(all, time, func(s sighting, time int64) int {
		if s.time <= time {
			return -1
		}
		return 1
	})
	if i > 0 && (all[i-1].mark != gone || all[i-1].time == time) {
		before = all[i-1].who
	}
	if i < len(all) && all[i].mark != born {
		after = all[i].who
	}
	return before, after
}
