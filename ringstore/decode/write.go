package decode

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/fds"
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
	type source struct {
		h         *ringstore.History
		container []byte // its JSON
		names     *namer
	}
	type item struct {
		e *ringstore.Event
		s *source
	}
	last := f.Last
	f.Last = 0 // it counts in all histories together
	var items []item
	var complete int64 // Unix ns
	for _, h := range hs {
		s := &source{h: h, container: appendContainer(nil, &h.Meta)}
		if format == JSON || f.FDs {
			s.names = &namer{fds.Of(h), f.FDs}
		}
		for _, e := range f.Apply(h) {
			// What has no line does not count among the last ones either.
			if format == JSON || hasLine(e) {
				items = append(items, item{e, s})
			}
		}
		complete = max(complete, h.CompleteSince+h.Meta.WallOffset)
	}
	if len(hs) > 1 {
		slices.SortStableFunc(items, func(a, b item) int {
			x, y := a.e.Start+a.s.h.Meta.WallOffset, b.e.Start+b.s.h.Meta.WallOffset
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
	}
	if last > 0 && len(items) > last {
		items = items[len(items)-last:]
	}

	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	if format != JSON {
		for _, h := range hs {
			out.Write(appendHeader(line[:0], h))
		}
	}
	// The marker stands only where something older is above it.
	mark := format != JSON && f.All && len(items) > 0 && items[0].e.Start+items[0].s.h.Meta.WallOffset < complete
	for i := range items {
		e, s := items[i].e, items[i].s
		if mark && e.Start+s.h.Meta.WallOffset >= complete {
			mark = false
			out.WriteString("# complete from here\n")
		}
		if format == JSON {
			line = appendJSON(line[:0], &s.h.Meta, s.container, e, s.names)
		} else {
			line = appendEvent(line[:0], &s.h.Meta, e, s.names)
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
