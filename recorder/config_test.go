package recorder

import (
	"fmt"
	"strings"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// Whatever the size of the ring and the number of CPUs, lanes fill the pages without
// overlap, each cursor of a lane has the pages that it needs, every CPU has a slot, and
// the reader accepts the shape.
func TestShape(t *testing.T) {
	for _, cpus := range []int{1, 2, 3, 4, 6, 8, 24, 64, 96, 128, 256, 1000} {
		for size := int64(minRingSize); size <= maxRingSize; size *= 2 {
			t.Run(fmt.Sprintf("%d CPUs, %d KiB", cpus, size>>10), func(t *testing.T) {
				s, err := shapeOf(4*size, size, cpus)
				control := layout.SizesSlotsAt + cpus*layout.SizesSlot
				if err != nil {
					if int64(control+8*layout.SizesPage)*2 < size {
						t.Fatalf("refused, though there is room: %v", err)
					}
					return
				}
				if int64(s.Bytes) != size || s.Rings != 4 {
					t.Errorf("%d rings of %d bytes", s.Rings, s.Bytes)
				}
				if int(s.Slots) < cpus || int64(s.Pages)*layout.SizesPage+layout.SizesSlotsAt+int64(s.Slots)*layout.SizesSlot > size {
					t.Errorf("%d slots and %d pages do not fit", s.Slots, s.Pages)
				}
				// The programs bound a write by the end of the ring less a page.
				if size-int64(s.Pages)*layout.SizesPage < layout.SizesPage {
					t.Errorf("the control area is less than a page")
				}
				next := uint32(0)
				for i, l := range s.Lane {
					if l.First != next || l.Pages < 2 {
						t.Errorf("lane %d: pages %d+%d, expected to begin at %d", i, l.First, l.Pages, next)
					}
					next += l.Pages
					cursors := l.Mask + 1
					if cursors&l.Mask != 0 || cursors > s.Slots || cursors > 1 && cursors*3 > l.Pages {
						t.Errorf("lane %d: %d cursors for %d pages", i, cursors, l.Pages)
					}
					if shared := l.Shared != 0; shared != (cpus > int(cursors)) {
						t.Errorf("lane %d: %d CPUs, %d cursors, shared: %v", i, cpus, cursors, shared)
					}
				}
				if next != s.Pages {
					t.Errorf("lanes end at page %d of %d", next, s.Pages)
				}
				if _, err := ringstore.NewRing(make([]byte, size), s); err != nil {
					t.Errorf("the reader refuses it: %v", err)
				}
			})
		}
	}
}

// A Config that cannot work is refused with a text that names the value.
func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"memory below one ring": {Config{Memory: 1 << 19, RingSize: 1 << 20}, "524288 bytes holds no ring of 1048576"},
		"tiny ring":             {Config{RingSize: 4096}, "ring size of 4096"},
		"huge ring":             {Config{RingSize: 1 << 40}, "ring size of 1099511627776"},
		"odd ring":              {Config{RingSize: 1<<20 + 1}, "multiple of 4096"},
		"huge memory":           {Config{Memory: 1 << 50}, "at most 64 GiB"},
		"data limit":            {Config{DataLimit: 4096}, "data limit of 4096"},
		"payload of nothing":    {Config{PayloadCalls: map[string]int{"raed": 1}}, `"raed"`},
		"payload too large":     {Config{PayloadCalls: map[string]int{"read": 381}}, "read of 381"},
		"payload below 0":       {Config{PayloadCalls: map[string]int{"Files": -1}}, "Files of -1"},
		"string limit":          {Config{StringLimit: -1}, "string limit of -1"},
		"quota":                 {Config{SnapshotKeep: -1}, "quota"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.cfg.withDefaults()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if _, err := (Config{}).withDefaults(); err != nil {
		t.Errorf("the zero Config is refused: %v", err)
	}
}

// The kernel side's table says of each call what the table of calls does, reserves for
// what is captured at exit at least what the rules can need, and puts the rules of the
// entry first.
func TestCallTable(t *testing.T) {
	const data, str = 64, 256
	none, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	limits, err := none.captureLimits()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		table, _ := callTable(arch, limits)
		for nr, row := range table {
			if row.Enters > row.Rules || int(row.Rules) > len(row.Rule) || row.Args > 6 {
				t.Fatalf("%s row %d: %+v", arch, nr, row)
			}
			var need uint16
			for i, r := range row.Rule[:row.Rules] {
				exit := r.Flags&layout.CaptureRuleFlagExit != 0
				if exit != (i >= int(row.Enters)) {
					t.Errorf("%s row %d: rule %d is out of order", arch, nr, i)
				}
				if r.Arg >= row.Args {
					t.Errorf("%s row %d: rule %d reads argument %d of %d", arch, nr, i, r.Arg, row.Args)
				}
				if exit {
					need += layout.SizesCaptureHead
				}
			}
			if row.Room < need || row.Room > layout.SizesPage-layout.SizesPageHead-layout.SizesCapture-128 {
				t.Errorf("%s row %d: room %d for %d rules", arch, nr, row.Room, row.Rules-row.Enters)
			}
		}
	}
	amd, _ := callTable("amd64", limits)
	if read := amd[0]; read.Args != 3 || read.Rules != 1 || read.Enters != 0 || read.Room != layout.SizesCaptureHead+data {
		t.Errorf("read: %+v", read)
	}
	if open := amd[257]; open.Args != 4 || open.Enters != 1 || open.Rule[0].How != layout.CaptureHowString || open.Rule[0].Arg != 1 {
		t.Errorf("openat: %+v", open)
	}
	for nr, name := range map[int]string{56: "clone", 57: "fork", 58: "vfork", 435: "clone3"} {
		if amd[nr].Flags&layout.CallFlagFork == 0 || amd[nr].Flags&layout.CallFlagLife == 0 {
			t.Errorf("%s: flags %d", name, amd[nr].Flags)
		}
	}
}

// A limit of a call's, its group's or its class's stands at each of the rules that read
// data, and at no other: the smallest of them.
func TestPayloadCalls(t *testing.T) {
	c, err := Config{DataLimit: NoData, PayloadCalls: map[string]int{"read": 0, "write": 256, "Network": 16, "sendto": 8, "recvfrom": 100}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	limits, err := c.captureLimits()
	if err != nil {
		t.Fatal(err)
	}
	table, values := limits.table(), [2]int{}
	rows, _ := callTable("amd64", limits)
	want := map[int]int{0: 0, 1: 256, 44: 8, 45: 16, 46: 16}
	for nr := range 450 {
		for _, r := range rows[nr].Rule[:rows[nr].Rules] {
			number := r.Arg >> layout.SizesRuleLimit
			data := r.Flags&(layout.CaptureRuleFlagData|layout.CaptureRuleFlagEnviron) != 0
			limit, limited := want[nr]
			if limited && data {
				values[0]++
				if number == 0 || int(table[number]) != limit {
					t.Errorf("call %d: limit %d of number %d, want %d", nr, table[number], number, limit)
				}
			}
			if !data && number != 0 {
				t.Errorf("call %d: a rule that reads no data has limit %d", nr, number)
			}
			if data && number == 0 {
				values[1]++
			}
		}
	}
	if values[0] < len(want) || values[1] == 0 {
		t.Errorf("%d rules have limits, %d none", values[0], values[1])
	}
	if limits.data != 0 {
		t.Errorf("data limit %d, want none", limits.data)
	}
	many := map[string]int{}
	for i, call := range []string{"read", "write", "pread64", "pwrite64", "readv", "writev", "sendto", "recvfrom", "sendmsg", "recvmsg", "open", "openat", "close", "stat", "fstat", "lstat",
		"poll", "lseek", "mmap", "ioctl", "access", "pipe", "select", "dup", "dup2", "pause", "alarm", "getpid", "socket", "connect", "accept", "bind"} {
		many[call] = i
	}
	if _, err := (Config{PayloadCalls: many}).withDefaults(); err == nil || !strings.Contains(err.Error(), "32 different") {
		t.Errorf("32 limits: %v", err)
	}
}
