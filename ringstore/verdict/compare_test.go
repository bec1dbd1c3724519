package verdict

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
)

func compared(a, b *ringstore.History) *Comparison { return Compare(a, a.All(), b, b.All()) }

// stepLine is a step as a line; "" for none.
func stepLine(s *Step) string {
	if s == nil {
		return ""
	}
	return s.Call + " = " + s.Result
}

func onlyLines(list []Only) (out []string) {
	for _, o := range list {
		out = append(out, o.Role+": "+o.Call+" = "+o.Result)
	}
	return out
}

// TestCompare: the first call with another result, where two histories part, and what only
// one of them has; what differs in each run is no difference.
func TestCompare(t *testing.T) {
	app := func() *ringstore.Event {
		e := event(ringstore.KindExec)
		e.Exec = &ringstore.Exec{OldTID: 11, Filename: ringstore.Capture{Data: []byte("/bin/app")}}
		return e
	}
	main := func(e *ringstore.Event) *ringstore.Event { return on(11, e) }
	worker := func(tid uint32, e *ringstore.Event) *ringstore.Event {
		e.TID, e.PID, e.Known, e.Comm = tid, 11, true, "worker"
		return e
	}
	for _, x := range []struct {
		name         string
		a, b         *ringstore.History
		first, order [2]string
		role         string
		onlyA, onlyB []string
	}{
		{name: "the same",
			a: history(ending(1), app(), main(open("/a", 3)), main(call("brk", 0x1000, 0)), main(open("/proc/1234/stat", 4)), main(leave(1))),
			b: history(ending(1), app(), main(open("/a", 3)), main(open("/proc/99999/stat", 4)), main(call("read", -11, 3, 0, 0)), main(leave(1)))},
		{name: "another result",
			a:     history(ending(1), app(), main(open("/a", 3)), main(open("/conf", -2)), main(leave(1))),
			b:     history(nil, app(), main(open("/a", 3)), main(open("/conf", 4)), main(connect(0))),
			first: [2]string{`openat("/conf") = ENOENT`, `openat("/conf") = ok`}, role: "app",
			order: [2]string{"exit_group(1) = ok", "connect 10.0.0.7:8080 = ok"},
			onlyA: []string{`app: openat("/conf") = ENOENT`, "app: exit_group(1) = ok"},
			onlyB: []string{`app: openat("/conf") = ok`, "app: connect 10.0.0.7:8080 = ok"}},
		{name: "more, and together again",
			a:     history(nil, app(), main(open("/a", 3)), main(open("/extra", 3)), main(open("/b", 3))),
			b:     history(nil, app(), main(open("/a", 3)), main(open("/b", 3))),
			order: [2]string{`openat("/extra") = ok`, `openat("/b") = ok`},
			onlyA: []string{`app: openat("/extra") = ok`}},
		{name: "one ends early",
			a:     history(nil, app(), main(open("/a", 3)), main(open("/b", 3))),
			b:     history(nil, app(), main(open("/a", 3))),
			order: [2]string{`openat("/b") = ok`, ""},
			onlyA: []string{`app: openat("/b") = ok`}},
		{name: "how often is no difference",
			a: history(nil, app(), main(connect(-111)), main(connect(-111)), main(connect(-111))),
			b: history(nil, app(), main(connect(-111)))},
		{name: "threads by their names, whatever their ids",
			a:     history(nil, app(), main(open("/a", 3)), worker(15, open("/w", 3)), worker(16, open("/x", -13))),
			b:     history(nil, app(), main(open("/a", 3)), worker(25, open("/w", 3)), worker(26, open("/x", 3))),
			first: [2]string{`openat("/x") = EACCES`, `openat("/x") = ok`}, role: "app/worker#2",
			onlyA: []string{`app/worker#2: openat("/x") = EACCES`}, onlyB: []string{`app/worker#2: openat("/x") = ok`}},
	} {
		c := compared(x.a, x.b)
		if c.First == nil {
			c.First = &Divergence{}
		}
		if c.Order == nil {
			c.Order = &Divergence{}
		}
		got := [2]string{stepLine(c.First.A), stepLine(c.First.B)}
		if got != x.first || c.First.Role != x.role {
			t.Errorf("%s: first is %q in %q, want %q in %q", x.name, got, c.First.Role, x.first, x.role)
		}
		if got := [2]string{stepLine(c.Order.A), stepLine(c.Order.B)}; got != x.order {
			t.Errorf("%s: they part at %q, want %q", x.name, got, x.order)
		}
		if diff := cmp.Diff([2][]string{x.onlyA, x.onlyB}, [2][]string{onlyLines(c.OnlyA), onlyLines(c.OnlyB)}); diff != "" {
			t.Errorf("%s: only one side has (-want +got):\n%s", x.name, diff)
		}
		// Seen from the other side it is the same.
		d := compared(x.b, x.a)
		if diff := cmp.Diff([2][]Only{c.OnlyA, c.OnlyB}, [2][]Only{d.OnlyB, d.OnlyA}); diff != "" {
			t.Errorf("%s: the other way round (-want +got):\n%s", x.name, diff)
		}
	}
}

// TestCompareRecordings: of two real recordings of one program, the planted difference is
// found; compared with itself, none has any.
func TestCompareRecordings(t *testing.T) {
	load := func(name string) *ringstore.Snapshot {
		data, err := os.ReadFile("testdata/deaths/" + name + ".swoll")
		if err != nil {
			t.Fatal(err)
		}
		snap, err := ringstore.ReadSnapshot(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	for _, name := range []string{"python", "node", "go-panic", "shell-child", "deadlock"} {
		h := load(name).History()
		if c := compared(h, h); c.First != nil || c.Order != nil || len(c.OnlyA)+len(c.OnlyB) != 0 {
			t.Errorf("%s is not like itself: %+v", name, c)
		}
	}
	a, b := load("config-missing"), load("found-elsewhere")
	ha, ea := a.Stream()
	hb, eb := b.Stream()
	c := Compare(ha, ea, hb, eb)
	if got := onlyLines(c.OnlyA); !slices.Contains(got, `die: openat("/etc/die/config.yaml") = ENOENT`) || !slices.Contains(got, "die: exit_group(1) = ok") {
		t.Errorf("only the first has %q", got)
	}
	if got := onlyLines(c.OnlyB); !slices.Contains(got, `die: openat("/etc/passwd") = ok`) {
		t.Errorf("only the second has %q", got)
	}
	var page bytes.Buffer
	if err := WriteComparison(&page, decode.Text, c); err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, want := range []string{"a: host/config-missing, life 0: exit 1", "\nb: host/found-elsewhere, life 0: exit 3", "\nwhere they part, in die:\n  a: ", "\nonly in a:\n", "\nonly in b:\n"} {
		n := strings.Index(page.String()[at:], want)
		if n < 0 {
			t.Fatalf("%q is not there, or not in its place:\n%s", want, page.String())
		}
		at += n
	}
	if err := WriteComparison(&page, "xml", c); err == nil {
		t.Error("an unknown format is no error")
	}
}
