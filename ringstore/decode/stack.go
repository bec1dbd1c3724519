package decode

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/swoll-recorder/swoll/ringstore"
)

// WriteStack writes a stack as text, each line behind a prefix: at most so many lines of
// frames; 0: all. A run of frames at one address is one line. w must not fail.
func WriteStack(w io.Writer, prefix string, s *ringstore.Stack, most int) {
	fmt.Fprintf(w, "%sstack of thread %d:\n", prefix, s.TID)
	lines := 0
	for n := 0; n < len(s.Frames); n++ {
		f := &s.Frames[n]
		if lines++; most > 0 && lines > most {
			fmt.Fprintf(w, "%s  and %d more frames\n", prefix, len(s.Frames)-n)
			break
		}
		// A function that calls itself without end.
		run := 1
		for n+run < len(s.Frames) && s.Frames[n+run].Address == f.Address {
			run++
		}
		fmt.Fprintf(w, "%s  #%-2d %s%s\n", prefix, n, frameText(f), ifMany(run))
		n += run - 1
	}
	if s.End != "" {
		fmt.Fprintf(w, "%s  (%s)\n", prefix, clean(s.End))
	}
	// A file that was not read is why its frames have no names.
	for _, m := range s.Mappings {
		if m.Unread == "" || m.File == "[anonymous]" {
			continue
		}
		for _, f := range s.Frames {
			if f.File == m.File && f.Function == "" {
				fmt.Fprintf(w, "%s  %s was not read: %s\n", prefix, clean(m.File), clean(m.Unread))
				break
			}
		}
	}
	for _, note := range s.Notes {
		fmt.Fprintf(w, "%s  note: %s\n", prefix, clean(note))
	}
}

func ifMany(run int) string {
	if run == 1 {
		return ""
	}
	return fmt.Sprintf(", %d frames", run)
}

// frameText is FUNCTION+OFFSET (FILE+OFFSET), and how sure it is where that is less than high.
func frameText(f *ringstore.StackFrame) string {
	var b strings.Builder
	switch {
	case f.Function != "" && f.FunctionOffset != 0:
		fmt.Fprintf(&b, "%s+0x%x", clean(f.Function), f.FunctionOffset)
	case f.Function != "":
		b.WriteString(clean(f.Function))
	default:
		fmt.Fprintf(&b, "? %s", f.Address)
	}
	if f.File != "" {
		fmt.Fprintf(&b, " (%s+%s", clean(f.File), f.Offset)
		if f.Function == "" && f.BuildID != "" {
			fmt.Fprintf(&b, ", build id %s", clean(f.BuildID))
		}
		b.WriteByte(')')
	}
	if f.Confidence != "high" {
		fmt.Fprintf(&b, " [%s, %s]", clean(f.Confidence), clean(f.How))
	}
	return b.String()
}

func writeStackJSON(w io.Writer, m *ringstore.Meta) error {
	line, err := json.Marshal(struct {
		Event     string          `json:"event"`
		Container json.RawMessage `json:"container"`
		*ringstore.Stack
	}{"stack", appendContainer(nil, m), m.Stack})
	if err != nil {
		return fmt.Errorf("encoding the stack: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
