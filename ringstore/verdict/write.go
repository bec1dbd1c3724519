package verdict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
)

// maxStack is how many frames a page shows; `show` has them all.
const maxStack = 24

// Write writes a verdict as JSON, or as a page for people; format is that of decode.Write.
// h is the history that was explained, of which no events are needed.
func Write(w io.Writer, format string, v *Verdict, h *ringstore.History) error {
	if err := decode.CheckFormat(format); err != nil {
		return err
	}
	var b bytes.Buffer
	if format == decode.JSON {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encoding the verdict: %w", err)
		}
		b.Write(data)
		b.WriteByte('\n')
	} else if err := v.page(&b, h); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Show writes a snapshot as decode.Write does; in text, what was told of it when it was
// saved comes first, in lines that begin with `# `.
func Show(w io.Writer, format string, snap *ringstore.Snapshot, f decode.Filter) error {
	h, _ := snap.Stream()
	if (format == "" || format == decode.Text) && len(snap.Meta.Verdict) > 0 && !f.NoHeader {
		var v Verdict
		// What cannot be read is of another version; explain tells it anew.
		if err := json.Unmarshal(snap.Meta.Verdict, &v); err == nil && v.Summary != "" {
			if h.Meta.Reason == v.Summary {
				h.Meta.Reason = ""
			}
			if err := v.head(w); err != nil {
				return err
			}
		}
	}
	return decode.Write(w, format, []*ringstore.History{h}, f)
}

// head writes the verdict in lines that strace has no use for.
func (v *Verdict) head(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# verdict: %s\n", oneLine(v.Summary))
	for _, c := range v.Claims {
		fmt.Fprintf(&b, "# why: %s %s: %s%s\n", c.Confidence, c.Kind, oneLine(c.Text), references(c.Evidence))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// page is what somebody reads who was called at night: how, why, and what to look at.
func (v *Verdict) page(b *bytes.Buffer, h *ringstore.History) error {
	m := &h.Meta
	fmt.Fprintf(b, "%s\n", v.Summary)
	if t := v.Thread; t != nil {
		fmt.Fprintf(b, "%s, process %d, thread %d, at %s\n", orUnknown(oneLine(t.Comm)), t.PID, t.TID, v.Time)
	}
	if v.How.Core {
		b.WriteString("a core was dumped\n")
	}
	if len(v.Claims) > 0 {
		b.WriteString("\nwhy, the surest first:\n")
		for _, c := range v.Claims {
			fmt.Fprintf(b, "  %-6s %s: %s%s\n", c.Confidence, c.Kind, oneLine(c.Text), references(c.Evidence))
		}
	} else if v.How.Kind != "none" {
		b.WriteString("\nwhy: what is recorded does not say\n")
	}
	if v.Stack != nil {
		b.WriteByte('\n')
		decode.WriteStack(b, "", v.Stack, maxStack)
	}
	for _, words := range v.LastWords {
		fmt.Fprintf(b, "\nlast words (fd %d):\n", words.FD)
		for line := range strings.Lines(words.Text) {
			fmt.Fprintf(b, "  %s\n", oneLine(strings.TrimSuffix(line, "\n")))
		}
	}
	if len(v.Running) > 0 {
		b.WriteString("\nrunning calls:\n")
		for i, r := range v.Running {
			if i == maxLast {
				fmt.Fprintf(b, "  and %d more\n", len(v.Running)-i)
				break
			}
			fmt.Fprintf(b, "  %-5d %s for %s\n", r.TID, r.Call, span(int64(r.Seconds*1e9)))
		}
	}
	if len(v.lines) > 0 {
		b.WriteString("\nlast calls, and what is evidence:\n")
		for _, line := range v.lines {
			b.WriteString(line)
		}
	}
	if m.Pod == "" && m.Container == "" && m.State == "" {
		return nil
	}
	b.WriteByte('\n')
	return decode.Header(b, h)
}

// references are the records behind a claim, as `show` names them in JSON.
func references(seqs []uint64) string {
	if len(seqs) == 0 {
		return ""
	}
	const most = 4
	text := make([]string, 0, most)
	for _, seq := range seqs[max(0, len(seqs)-most):] {
		text = append(text, strconv.FormatUint(seq, 10))
	}
	return " [seq " + strings.Join(text, ", ") + "]"
}

// oneLine keeps what others named on one line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func quoted(s string) string { return `"` + oneLine(s) + `"` }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// span is a duration with as many digits as people care for.
func span(ns int64) string {
	d := time.Duration(max(ns, 0))
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d >= time.Millisecond:
		return strconv.FormatFloat(float64(d)/1e6, 'f', 1, 64) + " ms"
	}
	return strconv.FormatInt(int64(d)/1000, 10) + " µs"
}

func byteCount(n uint64) string {
	switch {
	case n >= 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatUint(n>>10, 10) + " KiB"
}
