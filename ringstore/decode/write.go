package decode

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
)

// The formats of Write. An empty format is Text.
const (
	Text     = "text"
	JSON     = "json"
	Perfetto = "perfetto" // one JSON document, for a timeline
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
