package decode

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode/perfettotest"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// TestAnything: whatever the captures of a call hold, be it too short, cut, unreadable or
// garbage, every form of every call, and every operation of io_uring, has one line of text,
// a run of it two, and one valid object of JSON, and is drawn as one slice.
func TestAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() uint64 {
		switch r.IntN(6) {
		case 0:
			return 0
		case 1:
			return uint64(r.IntN(16))
		case 2:
			return r.Uint64()
		case 3:
			return ^uint64(0)
		}
		return uint64(r.IntN(1 << 12))
	}
	meta := &ringstore.Meta{Arch: "amd64"}
	forms := 0
	// What Perfetto is given at once, one call after the other.
	drawing := &ringstore.History{Meta: *meta}
	draw := func() {
		t.Helper()
		var b bytes.Buffer
		if err := Write(&b, Perfetto, []*ringstore.History{drawing}, Filter{}); err != nil {
			t.Fatal(err)
		}
		trace, err := perfettotest.Read(&b)
		if err != nil {
			t.Fatal(err)
		}
		if calls := len(trace.Slices) - 1; calls != len(drawing.Events) {
			t.Fatalf("%d calls are drawn of %d", calls, len(drawing.Events))
		}
		drawing.Events = nil
	}
	checked := 0
	check := func(e *ringstore.Event) {
		if checked++; checked%7 == 0 { // reading it takes long
			shown := *e
			shown.Start = int64(len(drawing.Events)+1) * 1e6
			if e.Run != nil {
				shown.Run = &ringstore.Run{Count: e.Run.Count, Last: shown.Start + 1e5, Total: e.Run.Total}
			}
			drawing.Oldest, drawing.Now = 1e6, shown.Start+1
			if drawing.Events = append(drawing.Events, shown); len(drawing.Events) == 2000 {
				draw()
			}
		}
		text := AppendText(nil, meta, e)
		lines := 1
		if e.Run != nil {
			lines = 2
		}
		if bytes.Count(text, []byte("\n")) != lines || text[len(text)-1] != '\n' {
			t.Fatalf("not %d lines: %q of %+v", lines, text, e)
		}
		line := AppendJSON(nil, meta, e)
		if !json.Valid(line) {
			t.Fatalf("%s is no JSON: %s", CallName(meta.Arch, e), line)
		}
	}
	for _, abi := range []ringstore.ABI{ringstore.ABINative, ringstore.ABI32, ringstore.ABIX32} {
		for nr, c := range syscalls.Table("amd64", abi) {
			if c == nil {
				continue
			}
			// The arguments that choose each form.
			choose := [][]syscalls.Cond{nil}
			for _, v := range c.Variants {
				choose = append(choose, v.When)
			}
			for _, when := range choose {
				forms++
				for range 40 {
					e := &ringstore.Event{Kind: ringstore.KindCall, TID: 5, PID: 5, Start: 1e9, Nr: uint16(nr), ABI: abi, Duration: 1000, Ret: int64(word())}
					if r.IntN(4) == 0 {
						e.Ret = -int64(r.IntN(140))
					}
					if r.IntN(8) == 0 {
						e.Unfinished, e.Ret = true, 0
					}
					for range c.NArgs {
						e.Args = append(e.Args, word())
					}
					for _, w := range when {
						if len(w.Values) > 0 && w.Arg < len(e.Args) {
							e.Args[w.Arg] = w.Values[r.IntN(len(w.Values))]
						}
					}
					for _, rule := range c.RulesFor(e.Args) {
						exit := rule.Flags&syscalls.AtExit != 0
						if exit && (e.Unfinished || e.Ret < 0 && e.Ret >= -4095) {
							continue
						}
						capture := ringstore.Capture{Arg: int(rule.Arg), Status: ringstore.CaptureStatus(r.IntN(4)), Each: r.IntN(4) * 16}
						if exit {
							capture.Status |= ringstore.CaptureExit
						}
						sizes := []int{0, int(rule.Size), int(rule.Size) - 1, int(rule.Size) * 3, r.IntN(layout.SizesMaxLimit)}
						capture.Data = make([]byte, min(max(sizes[r.IntN(len(sizes))], 0), layout.SizesMaxLimit))
						for i := range capture.Data {
							capture.Data[i] = byte(word())
						}
						e.Captures = append(e.Captures, capture)
					}
					if !e.Unfinished && r.IntN(4) == 0 {
						e.Run = &ringstore.Run{Count: 2 + word()>>1, Last: int64(word()), Total: int64(word())}
					}
					check(e)
				}
			}
		}
	}
	opcodes := []uint16{ringstore.NoOpcode}
	for opcode := range len(uringOps) + 3 {
		opcodes = append(opcodes, uint16(opcode))
	}
	for _, opcode := range opcodes {
		for range 200 {
			e := operation(opcode, int64(word()))
			e.NoEnter = opcode == ringstore.NoOpcode || r.IntN(8) == 0
			if !e.NoEnter && r.IntN(8) == 0 {
				e.Unfinished, e.Ret, e.Seq = true, 0, e.Seq*uint64(r.IntN(2))
			}
			for range r.IntN(layout.SizesUringArgs + 1) {
				e.Args = append(e.Args, word())
			}
			for _, arg := range []int{layout.UringArgAddr, layout.UringArgOff, layout.UringArgAddr3} {
				capture := ringstore.Capture{Arg: arg, Status: ringstore.CaptureStatus(r.IntN(4)), Data: make([]byte, r.IntN(200))}
				for i := range capture.Data {
					capture.Data[i] = byte(word())
				}
				e.Captures = append(e.Captures, capture)
			}
			check(e)
		}
	}
	draw()
	t.Logf("%d forms of calls, %d operations", forms, len(opcodes))
}
