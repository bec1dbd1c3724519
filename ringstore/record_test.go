package ringstore

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// What event.go declares for its readers is what the kernel side writes.
func TestConstants(t *testing.T) {
	got := []int{int(KindCall), int(KindFork), int(KindExec), int(KindExit), int(KindSignal), int(KindCred), int(KindUring), int(KindFiles),
		int(LaneBoot), int(LaneLife), int(LaneError), int(LaneRecent), Lanes,
		int(CaptureCut), int(CaptureFault), int(CaptureLate), int(CaptureExit), int(CaptureNone)}
	want := []int{layout.KindCall, layout.KindFork, layout.KindExec, layout.KindExit, layout.KindSignal, layout.KindCred, layout.KindUring, layout.KindFiles,
		layout.LaneBoot, layout.LaneLife, layout.LaneError, layout.LaneRecent, layout.LaneLanes,
		layout.CaptureStatusCut, layout.CaptureStatusFault, layout.CaptureStatusLate, layout.CaptureStatusExit, layout.CaptureStatusNone}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("constants (-layout +declared):\n%s", diff)
	}
	if len(layout.KindNames) != layout.KindKinds || len(layout.LaneNames) != Lanes {
		t.Errorf("%d kinds and %d lanes have names, want %d and %d",
			len(layout.KindNames), len(layout.LaneNames), layout.KindKinds, Lanes)
	}
}

// Every event is read as it was written, whatever stands behind it.
func TestDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		want := randomEvent(r)
		want.Start = 1 + r.Int64N(1<<50)
		if want.Duration > 0 && r.IntN(4) == 0 {
			want.Duration = r.Int64N(1 << 40)
		}
		b := appendRecord(nil, &want)
		n := len(b)
		b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
		if got := recordLen(b); got != n {
			t.Fatalf("record of %d bytes has length %d: %+v", n, got, want)
		}
		var got Event
		new(arena).decode(b[:n], &got)
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("event (-written +read):\n%s", cmp.Diff(want, got))
		}
	}
}

// Each rule that makes a record valid is needed: breaking it alone makes it none.
func TestInvalidRecords(t *testing.T) {
	call := Event{Kind: KindCall, Start: 100, TID: 7, PID: 7, Nr: 1, Args: []uint64{1, 1 << 40},
		Captures: []Capture{{Arg: 1, Data: []byte("hello")}}}
	thread := call
	thread.PID = 6
	fork := Event{Kind: KindFork, Start: 100, TID: 7, PID: 7, Fork: &Fork{8, 8}}
	operation := Event{Kind: KindUring, Start: 100, TID: 7, PID: 7, Nr: 18, Args: []uint64{1, 2, 3, 4, 5, 6, 7, 1 << 40},
		Captures: []Capture{{Arg: 7, Data: []byte("hello")}}}
	exec := Event{Kind: KindExec, Start: 100, TID: 7, PID: 7, Exec: &Exec{OldTID: 7, Filename: Capture{Data: []byte("/bin/sh")}}}
	const (
		args    = layout.SizesRecordHead
		capture = args + 4 + 8
	)
	u8 := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] = v } }
	u32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	u64 := func(at int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[at:], v) } }
	for _, test := range []struct {
		name    string
		event   *Event
		corrupt func(b []byte)
	}{
		{"no length", &call, u8(layout.RecordAtLen, 0)},
		{"odd length", &call, u8(layout.RecordAtLen, 41)},
		{"too short", &call, u8(layout.RecordAtLen, 48)},
		{"too long", &call, u8(layout.RecordAtLen, 64)},
		{"behind the end", &call, u8(layout.RecordAtLen+1, 1)},
		{"no kind", &call, u8(layout.RecordAtKind, 0)},
		{"unknown kind", &call, u8(layout.RecordAtKind, layout.KindKinds)},
		{"process without room", &call, u8(layout.RecordAtFlags, layout.FlagThread)},
		{"no process", &thread, u32(layout.RecordAtTGID, 0)},
		{"process that is the thread", &thread, u32(layout.RecordAtTGID, 7)},
		{"unknown ABI", &call, u8(layout.RecordAtFlags, 3)},
		{"duration without room", &call, u8(layout.RecordAtFlags, layout.FlagLongDuration)},
		{"seven arguments", &call, u8(layout.RecordAtShape, 1<<4|7)},
		{"five captures", &call, u8(layout.RecordAtShape, 5<<4|2)},
		{"fewer captures than bytes", &call, u8(layout.RecordAtShape, 2)},
		{"wide argument that is none", &call, u8(layout.RecordAtWide, 4)},
		{"no start", &call, u64(layout.RecordAtStart, 0)},
		{"start in no time", &call, u64(layout.RecordAtStart, 1<<63)},
		{"no thread", &call, u32(layout.RecordAtTID, 0)},
		{"event of no process", &fork, u32(layout.RecordAtTGID, 0)},
		{"capture longer than the record", &call, u8(capture+layout.CaptureAtLen, 30)},
		{"capture longer than any", &call, u8(capture+layout.CaptureAtLen+1, 255)},
		{"capture of no argument", &call, u8(capture+layout.CaptureAtArg, 7)},
		{"capture of a file that is none", &call, u8(capture+layout.CaptureAtArg, CaptureFile)},
		{"capture of unknown status", &call, u8(capture+layout.CaptureAtStatus, 32)},
		{"event with flags", &fork, u8(layout.RecordAtFlags, layout.FlagUnfinished)},
		{"event with a number", &fork, u8(layout.RecordAtNr, 1)},
		{"event with a shape", &fork, u8(layout.RecordAtShape, 1)},
		{"event with a result", &fork, u32(layout.RecordAtRet, 1)},
		{"event too long", &fork, u8(layout.RecordAtKind, layout.KindCred)},
		{"event too short", &fork, u8(layout.RecordAtKind, layout.KindSignal)},
		{"child without a thread", &fork, u32(layout.ForkAtChildTID, 0)},
		{"child without a process", &fork, u32(layout.ForkAtChildTGID, 0)},
		{"operation by an entry", &operation, u8(layout.RecordAtFlags, uint8(ABI32))},
		{"operation without an opcode", &operation, u8(layout.RecordAtNr+1, 1)},
		{"operation with nine arguments", &operation, u8(layout.RecordAtShape, 1<<4|9)},
		{"operation that is a call", &operation, u8(layout.RecordAtKind, layout.KindCall)},
		{"exec without a name", &exec, u8(layout.SizeofExec+layout.CaptureAtLen, 200)},
		{"exec of an argument", &exec, u8(layout.SizeofExec+layout.CaptureAtArg, 1)},
	} {
		b := appendRecord(nil, test.event)
		if recordLen(b) != len(b) {
			t.Fatalf("%s: the record is not valid to begin with", test.name)
		}
		test.corrupt(b)
		if n := recordLen(append(b, make([]byte, 8)...)); n != 0 {
			t.Errorf("%s: is a record of %d bytes, want none", test.name, n)
		}
	}
}

// An operation says what its submission said, as far as that has something to say.
func TestOperation(t *testing.T) {
	e := Event{Kind: KindUring, Args: []uint64{7, 0xffffff9c, 1<<48 | 2<<32 | 5<<8 | 0x10, 0x1000, 3<<48 | 4<<32 | 0644, 8, 9<<32 | 0x241}}
	want := Operation{UserData: 7, FD: -100, Flags: 0x10, IOPrio: 5, CompletionFlags: 1<<16 | 2, Addr: 0x1000, Off: 8,
		Len: 0644, OpFlags: 0x241, FileIndex: 9, BufIndex: 4, Personality: 3}
	if diff := cmp.Diff(want, e.Operation()); diff != "" {
		t.Errorf("operation (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Operation{}, (&Event{Kind: KindUring}).Operation()); diff != "" {
		t.Errorf("of nothing (-want +got):\n%s", diff)
	}
}

// What is in flight is among the events, unfinished, unless it has a record by now; a list
// with anything else in place of its record is none.
func TestOperationsInFlight(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	over := Event{Kind: KindUring, Start: k.now(), TID: 7, PID: 6, Nr: 22, Args: []uint64{77}}
	flying := over
	flying.Start = k.now()
	var list []Running
	for _, e := range []Event{over, flying} {
		e.Unfinished = true
		list = append(list, Running{Life: 1, TID: e.TID, PID: e.PID, InCall: true, Start: e.Start, Operation: appendRecord(nil, &e)})
	}
	var raw []byte
	for i := range list {
		raw = list[i].append(raw)
	}
	parsed, err := ParseRunning(raw)
	if diff := cmp.Diff(list, parsed); err != nil || diff != "" {
		t.Fatalf("%v, list (-written +read):\n%s", err, diff)
	}
	over.Duration = 1
	k.write(0, LaneRecent, k.now(), appendRecord(nil, &over))
	img, err := ring.Copy(k.now, func() ([]Running, error) { return parsed, nil })
	if err != nil {
		t.Fatal(err)
	}
	events := img.History(Meta{}).Events
	if len(events) != 2 || events[0].Unfinished || events[0].Duration != 1 || !events[1].Unfinished || events[1].Seq != 0 ||
		events[1].Start != flying.Start || events[1].Operation().UserData != 77 {
		t.Fatalf("events: %+v", events)
	}
	if _, err := ParseRunning(list[0].append(nil)[:layout.SizeofRunning]); err == nil {
		t.Error("without a record it is a list still")
	}
	none := (&Running{Life: 1, TID: 7, PID: 6, InCall: true, Start: 5, Operation: []byte{}}).append(nil)
	if _, err := ParseRunning(none); err == nil {
		t.Error("with an empty record it is a list still")
	}
	record := layout.SizeofRunning
	for at, v := range map[int]byte{
		record + layout.RecordAtKind: layout.KindCall, record + layout.RecordAtTID: 9, record + layout.RecordAtStart: 99,
		record + layout.RecordAtFlags: layout.FlagThread, record + layout.RecordAtTGID: 1, layout.RunningAtCaptures: 1,
	} {
		b := list[0].append(nil)
		b[at] = v
		if _, err := ParseRunning(b); err == nil {
			t.Errorf("with byte %d changed it is a list still", at)
		}
	}
}

// No cut of a record is one.
func TestCutRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 500 {
		e := randomEvent(r)
		e.Start = 1
		b := appendRecord(nil, &e)
		for n := range b {
			if got := recordLen(b[:n:n]); got != 0 {
				t.Fatalf("%d of %d bytes are a record of %d", n, len(b), got)
			}
		}
	}
}
