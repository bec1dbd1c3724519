package decode

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
)

// The formats of Write and WriteVerdict. An empty format is Text.
const (
	Text = "text"
	JSON = "json"
)

// Header writes what a reader must know of a history before its calls, in lines that
// begin with `# `, which strace has no use for.
func Header(w io.Writer, h *ringstore.History) error {
	_, err := w.Write(appendHeader(nil, h))
	return err
}

func appendHeader(dst []byte, h *ringstore.History) []byte {
	m := &h.Meta
	line := func(name, format string, args ...any) {
		dst = fmt.Appendf(dst, "# %s: "+format+"\n", append([]any{name}, args...)...)
	}
	pod := m.Pod
	if m.Namespace != "" {
		pod = m.Namespace + "/" + pod
	}
	line("pod", "%s", clean(orUnknown(pod)))
	line("container", "%s, life %d", clean(orUnknown(m.Container)), m.Instance)
	state := m.State
	if m.Trigger != "" {
		state += ", snapshot by " + m.Trigger
	}
	if m.Reason != "" {
		state += " (" + m.Reason + ")"
	}
	line("state", "%s", clean(orUnknown(state)))
	if h.Oldest != 0 || h.Newest != 0 {
		line("span", "%s to %s, %s", wallString(m, h.Oldest), wallString(m, h.Newest), time.Duration(h.Newest-h.Oldest).Round(time.Microsecond))
	} else {
		line("span", "no events")
	}
	if h.CompleteSince <= m.Armed {
		line("complete", "since recording began, %s", wallString(m, m.Armed))
	} else {
		line("complete", "since %s", wallString(m, h.CompleteSince))
	}
	var held, overwritten uint64
	var lanes []string
	for l := range ringstore.Lanes {
		held += h.Held[l]
		overwritten += h.Overwritten[l]
		if h.Overwritten[l] > 0 {
			lanes = append(lanes, laneNames[l]+" "+strconv.FormatUint(h.Overwritten[l], 10))
		}
	}
	if overwritten > 0 {
		line("records", "%d held, %d overwritten (%s)", held, overwritten, strings.Join(lanes, ", "))
	} else {
		line("records", "%d held, none overwritten", held)
	}
	var lost []string
	for _, cause := range slices.Sorted(maps.Keys(m.Lost)) {
		if n := m.Lost[cause]; n > 0 {
			lost = append(lost, clean(cause)+" "+strconv.FormatUint(n, 10))
		}
	}
	if len(lost) > 0 {
		line("lost", "%s", strings.Join(lost, ", "))
	}
	for _, note := range m.Notes {
		line("note", "%s", clean(note))
	}
	return dst
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// clean keeps what others named from ending the line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func wallString(m *ringstore.Meta, ns int64) string {
	return string(appendWall(nil, ns+m.WallOffset))
}

// CheckFormat returns an error for a format that Write does not know.
func CheckFormat(format string) error {
	switch format {
	case "", Text, JSON:
		return nil
	}
	return fmt.Errorf("unknown format %q: it is %s or %s", format, Text, JSON)
}

// Write writes the wanted events of histories, merged by time. In text each history's
// Header comes first, and with f.All a line `# complete from here` stands where the
// complete part of all of them begins; f.Last counts lines there, so events that strace
// has no line for do not count.
func Write(w io.Writer, format string, hs []*ringstore.History, f Filter) error {
	if err := CheckFormat(format); err != nil {
		return err
	}
	var sources []*source
	var complete int64 // Unix ns
	for _, h := range hs {
		sources = append(sources, &source{h: h, container: appendContainer(nil, &h.Meta), order: len(sources)})
		complete = max(complete, h.CompleteSince+h.Meta.WallOffset)
	}
	// What has no line does not count among the last ones either.
	wanted := func(s *source) iter.Seq[*ringstore.Event] {
		return func(yield func(*ringstore.Event) bool) {
			for e := range f.Each(s.h) {
				if (format == JSON || hasLine(e)) && !yield(e) {
					return
				}
			}
		}
	}
	skip := 0
	if f.Last > 0 {
		// To count first takes another walk, but no memory.
		for _, s := range sources {
			for range wanted(s) {
				skip++
			}
		}
		skip = max(0, skip-f.Last)
	}

	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	if format != JSON {
		for _, h := range hs {
			out.Write(appendHeader(line[:0], h))
		}
	}
	// The marker stands only where something older is above it.
	first, mark := true, false
	for e, s := range merge(sources, wanted) {
		if skip > 0 {
			skip--
			continue
		}
		at := e.Start + s.h.Meta.WallOffset
		if first {
			first, mark = false, format != JSON && f.All && at < complete
		}
		if mark && at >= complete {
			mark = false
			out.WriteString("# complete from here\n")
		}
		if format == JSON {
			line = appendJSON(line[:0], &s.h.Meta, s.container, e)
		} else {
			line = AppendText(line[:0], &s.h.Meta, e)
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if mark {
		out.WriteString("# complete from here\n")
	}
	return out.Flush()
}

// A source is a history that is being written.
type source struct {
	h         *ringstore.History
	container []byte // its JSON
	order     int
	next      *ringstore.Event // nil: there is none
}

// merge yields the events of all sources by time; those of the same time in the order of
// the sources. Each is valid until the next one is asked for.
func merge(sources []*source, events func(*source) iter.Seq[*ringstore.Event]) iter.Seq2[*ringstore.Event, *source] {
	return func(yield func(*ringstore.Event, *source) bool) {
		if len(sources) == 1 {
			for e := range events(sources[0]) {
				if !yield(e, sources[0]) {
					return
				}
			}
			return
		}
		pull := make([]func() (*ringstore.Event, bool), len(sources))
		for i, s := range sources {
			next, stop := iter.Pull(events(s))
			defer stop()
			pull[i] = next
			s.next, _ = next()
		}
		for {
			var least *source
			for _, s := range sources {
				if s.next != nil && (least == nil || s.time() < least.time()) {
					least = s
				}
			}
			if least == nil || !yield(least.next, least) {
				return
			}
			least.next, _ = pull[least.order]()
		}
	}
}

// time is when the next event began, Unix ns.
func (s *source) time() int64 { return s.next.Start + s.h.Meta.WallOffset }
