package perfettotest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A StraceCall is a line that Perfetto's importer of strace's text takes for a call, or for
// one half of it.
type StraceCall struct {
	TID             uint32
	Time            int64 // Unix ns
	Name            string
	Args, Return    string
	Begins, Returns bool // the first half, the second half; both false: it is whole
}

// A StraceTrace is what Perfetto makes of strace's text.
type StraceTrace struct {
	Calls   []StraceCall
	Skipped []string // lines that are no calls
	// Slices have a duration where a call came in two halves, and none where it was whole.
	Slices []Slice
}

// ReadStrace reads what strace -f -ttt wrote. A trace whose first line is not a call is not
// taken for strace's.
func ReadStrace(r io.Reader) (*StraceTrace, error) {
	var t StraceTrace
	open := map[uint32][]int{} // thread -> its slices that have not ended
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		c, err := ParseStrace(lines.Text())
		if err != nil {
			if n == 1 {
				return nil, fmt.Errorf("by its first line it is not strace's: %w", err)
			}
			t.Skipped = append(t.Skipped, lines.Text())
			continue
		}
		t.Calls = append(t.Calls, c)
		stack := open[c.TID]
		if c.Returns && len(stack) > 0 {
			s := &t.Slices[stack[len(stack)-1]]
			s.Duration = c.Time - s.Start
			open[c.TID] = stack[:len(stack)-1]
		}
		if c.Begins || !c.Returns {
			s := Slice{PID: c.TID, TID: c.TID, Category: "strace", Name: c.Name, Start: c.Time}
			if c.Begins {
				s.Duration = Open
				open[c.TID] = append(open[c.TID], len(t.Slices))
			}
			t.Slices = append(t.Slices, s)
		}
	}
	return &t, lines.Err()
}

var errNoCall = errors.New("it is not a call")

// ParseStrace reads a line.
func ParseStrace(line string) (c StraceCall, err error) {
	rest := strings.TrimSpace(line)
	if rest == "" || rest[0] == '-' || rest[0] == '+' {
		return c, errNoCall
	}
	word, after, ok := strings.Cut(rest, " ")
	tid, err := strconv.ParseUint(word, 10, 32)
	const secondsDigits = 10 // a number of so many is a time
	if !ok || err != nil || len(word) >= secondsDigits {
		return c, fmt.Errorf("%w: it has no thread", errNoCall)
	}
	c.TID = uint32(tid)
	word, rest, ok = strings.Cut(strings.TrimSpace(after), " ")
	seconds, micros, _ := strings.Cut(word, ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if !ok || err != nil || s < 0 {
		return c, fmt.Errorf("%w: it has no time", errNoCall)
	}
	us := int64(0)
	if micros != "" {
		if us, err = strconv.ParseInt(micros, 10, 64); err != nil || us < 0 || us > 999_999 {
			return c, fmt.Errorf("%w: it has no time", errNoCall)
		}
	}
	c.Time = s*1e9 + us*1e3
	rest = strings.TrimSpace(rest)
	if resumed, ok := strings.CutPrefix(rest, "<... "); ok {
		c.Returns = true
		if c.Name, rest, ok = strings.Cut(resumed, " resumed>"); !ok {
			return c, errNoCall
		}
		rest = strings.TrimSpace(rest)
	} else if c.Name, rest, ok = strings.Cut(rest, "("); !ok {
		return c, errNoCall
	}
	if before, _, ok := strings.Cut(rest, "<unfinished ...>"); ok {
		c.Begins = true
		c.Args = strings.TrimRight(strings.TrimSpace(before), ",")
		return c, nil
	}
	// The parenthesis that ends the arguments is the first with a result behind it.
	for i := 0; i < len(rest); i++ {
		if rest[i] != ')' {
			continue
		}
		if result, ok := strings.CutPrefix(strings.TrimLeft(rest[i+1:], " \t"), "="); ok {
			c.Args, c.Return = strings.TrimSpace(rest[:i]), strings.TrimSpace(result)
			return c, nil
		}
	}
	if _, result, ok := strings.Cut(rest, "="); ok {
		c.Return = strings.TrimSpace(result)
		return c, nil
	}
	return c, errNoCall
}
