package decode

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
)

// A gap is where a line belongs that says that nothing was recorded.
type gap struct {
	from, to int64 // Unix ns
	line     []byte
}

// gapsOf returns the lines for the gaps in histories, by time, in a format. Where there are
// several histories, a line says whose gap it is.
func gapsOf(format string, hs []*ringstore.History) (gaps []gap) {
	for _, h := range hs {
		for _, g := range h.Meta.Gaps {
			from, to := g.From+h.Meta.WallOffset, g.To+h.Meta.WallOffset
			var line []byte
			if format == JSON {
				line = append(line, `{"event":"gap","container":`...)
				line = appendContainer(line, &h.Meta)
				line = fmt.Appendf(line, `,"start":%d,"finish":%d,"time":"%s"}`+"\n", g.From, g.To, appendWall(nil, from))
			} else {
				line = append(line, "# gap"...)
				if len(hs) > 1 {
					line = fmt.Appendf(line, " in %s", clean(orUnknown(h.Meta.Container)))
				}
				line = fmt.Appendf(line, ": nothing was recorded from %s to %s, %s: it was frozen\n",
					appendWall(nil, from), appendWall(nil, to), time.Duration(g.To-g.From).Round(time.Microsecond))
			}
			gaps = append(gaps, gap{from, to, line})
		}
	}
	slices.SortStableFunc(gaps, func(a, b gap) int { return cmp.Compare(a.from, b.from) })
	return gaps
}

// within leaves the gaps that do not end before the first of what is shown.
func within(gaps []gap, first int64) []gap {
	return slices.DeleteFunc(gaps, func(g gap) bool { return g.to <= first })
}

// before takes the gaps that begin before a time off the list, and returns their lines.
func before(gaps []gap, at int64) (lines []byte, rest []gap) {
	n := 0
	for n < len(gaps) && gaps[n].from < at {
		n++
	}
	if n == 0 {
		return nil, gaps
	}
	var all [][]byte
	for _, g := range gaps[:n] {
		all = append(all, g.line)
	}
	return bytes.Join(all, nil), gaps[n:]
}
