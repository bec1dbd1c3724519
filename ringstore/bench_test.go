package ringstore

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// realistic is calls as services make them: mostly reads, writes and waits, some with a
// path or a few bytes; a new thread now and then.
func realistic(k *kernel, n int) {
	r := rand.New(rand.NewPCG(31, 31))
	data := []byte("GET /index.html HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test/1.0\r\n")
	k.clock.Store(1e15)
	for i := range n {
		cpu := i / 16 % int(k.shape.Slots)
		e := Event{Kind: KindCall, TID: uint32(1000 + cpu), PID: 1000, Nr: uint16(i % 5), Start: k.clock.Load(), Ret: int64(r.IntN(100))}
		e.Duration = r.Int64N(20000)
		k.clock.Add(e.Duration + r.Int64N(3000))
		lane := LaneRecent
		switch i % 8 {
		case 0:
			e.Args = []uint64{0xffffff9c, 0x7f0012345678, 0x80000}
			e.Captures = []Capture{{Arg: 1, Data: []byte("/etc/nginx/conf.d/default.conf")}}
			if i%64 == 0 {
				lane, e.Ret = LaneError, -2
			}
		case 1, 2:
			e.Args = []uint64{3, 0x7f0012345678, 64}
			e.Captures = []Capture{{Arg: 1, Data: data[:r.IntN(len(data))]}}
		case 3:
			e.Args = []uint64{5, 0x7f0012345678, 512, 0xffffffff}
		case 4, 5:
			e.Args = []uint64{7, 0x7f0012345678, 8}
		default:
			e.Args = []uint64{9}
		}
		k.write(cpu, lane, e.Start+e.Duration, appendRecord(nil, &e))
		if i%1000 == 0 {
			fork := Event{Kind: KindFork, TID: e.TID, PID: 1000, Start: k.now(), Comm: "nginx", Fork: &Fork{uint32(5000 + i/1000), 1000}}
			k.write(cpu, LaneLife, fork.Start, appendRecord(nil, &fork))
		}
	}
}

// benchImage is the copy of a ring with about n records.
func benchImage(b testing.TB, n int) *Image {
	b.Helper()
	pages := n*72/4000 + 64
	k, ring := newKernel(b, testShape(4, [Lanes]int{4, pages / 64, pages / 16, pages}, [Lanes]int{1, 4, 4, 4}))
	realistic(k, n)
	img, err := ring.Copy(k.now, nil)
	if err != nil {
		b.Fatal(err)
	}
	return img
}

const million = 1_000_000

func BenchmarkCopy(b *testing.B) {
	k, ring := newKernel(b, testShape(4, [Lanes]int{4, 8, 40, 200}, [Lanes]int{1, 2, 4, 4}))
	realistic(k, 30000)
	b.SetBytes(int64(k.shape.Bytes))
	for b.Loop() {
		if _, err := ring.Copy(k.now, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStat(b *testing.B) {
	k, ring := newKernel(b, testShape(4, [Lanes]int{4, 8, 40, 200}, [Lanes]int{1, 2, 4, 4}))
	realistic(k, 30000)
	b.SetBytes(int64(k.shape.Bytes))
	b.ReportAllocs()
	for b.Loop() {
		stat := ring.Stat(k.now)
		b.ReportMetric(float64(stat.Records()), "records")
	}
}

// What a reader of a whole history pays.
func BenchmarkHistoryMillion(b *testing.B) {
	img := benchImage(b, million)
	b.ReportAllocs()
	for b.Loop() {
		h := img.History(Meta{})
		b.ReportMetric(float64(len(h.Events)), "events")
	}
}

func BenchmarkWriteSnapshotMillion(b *testing.B) {
	img := benchImage(b, million)
	b.ReportAllocs()
	for b.Loop() {
		var w bytes.Buffer
		n, err := WriteSnapshot(&w, Meta{}, nil, img)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/(1<<20), "MiB")
	}
}

// Opening a snapshot and going through its events once; live is the heap in use then.
func BenchmarkReadSnapshotMillion(b *testing.B) {
	var w bytes.Buffer
	if _, err := WriteSnapshot(&w, Meta{}, json.RawMessage("null"), benchImage(b, million)); err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name string
		run  func(s *Snapshot) any
	}{
		{"open", func(s *Snapshot) any { return s }},
		{"events", func(s *Snapshot) any {
			bytes := 0
			for e := range s.Image().Events() {
				bytes += len(e.Args) + layout.SizeofRecord
			}
			return []any{s, bytes}
		}},
		{"history", func(s *Snapshot) any { return s.History() }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var kept any
			for b.Loop() {
				s, err := ReadSnapshot(bytes.NewReader(w.Bytes()), int64(w.Len()))
				if err != nil {
					b.Fatal(err)
				}
				kept = bench.run(s)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "live-MiB")
			runtime.KeepAlive(kept)
		})
	}
}
