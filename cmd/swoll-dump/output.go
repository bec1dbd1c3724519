package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// encode writes v as format says, which is json or yaml.
func (a *app) encode(format string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return err
		}
		_, err = a.out.Write(b)
		return err
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}

// A table is written in columns, kubectl's way.
type table struct {
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write puts the header above the rows. An empty cell shows as <none>.
func (t *table) write(w io.Writer, header ...string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tw, strings.Join(header, "\t"))
	for _, row := range t.rows {
		for i, cell := range row {
			if row[i] = printable(cell); cell == "" {
				row[i] = "<none>"
			}
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// printable keeps names that others chose from steering the terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// span shows a duration in at most two units.
func span(d time.Duration) string {
	type unit struct {
		d    time.Duration
		name string
	}
	switch {
	case d <= 0:
		return "0s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + "µs"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	units := []unit{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.d {
			continue
		}
		s := strconv.FormatInt(int64(d/u.d), 10) + u.name
		if i+1 < len(units) {
			if rest := d % u.d / units[i+1].d; rest > 0 {
				s += strconv.FormatInt(int64(rest), 10) + units[i+1].name
			}
		}
		return s
	}
	return "0s"
}

// ago shows a time by how long it is past.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(time.Since(t)) + " ago"
}

// stamp shows a time in full.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// size shows a number of bytes.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	f, u := float64(n)/1024, 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + units[u:u+1] + "iB"
}

// short cuts a text that must fit into a table.
func short(s string, max int) string {
	r := []rune(s)
	if len(r) <= max {
		return s
	}
	return string(r[:max-1]) + "…"
}

// count shows how many there are of what.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// failed matches the end of a call that returned an error.
var failed = regexp.MustCompile(`\) += (-1 E[A-Z0-9]+|\? ERESTART)`)

// colorWriter colors whole lines, as they are written to w.
type colorWriter struct {
	w    io.Writer
	on   bool
	line []byte // begun, not ended
}

// Write keeps back what is after the last newline, until Flush.
func (c *colorWriter) Write(p []byte) (int, error) {
	if !c.on {
		return c.w.Write(p)
	}
	end := bytes.LastIndexByte(p, '\n') + 1
	if end == 0 {
		c.line = append(c.line, p...)
		return len(p), nil
	}
	var out []byte
	for line := range bytes.Lines(append(c.line, p[:end]...)) {
		out = append(out, paint(line)...)
	}
	c.line = append([]byte(nil), p[end:]...)
	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what was kept back.
func (c *colorWriter) Flush() error {
	line := c.line
	c.line = nil
	if len(line) == 0 {
		return nil
	}
	_, err := c.w.Write(paint(line))
	return err
}

func paint(line []byte) []byte {
	var color string
	switch {
	case bytes.HasPrefix(line, []byte("# ")):
		color = "\x1b[2m"
	case failed.Match(line):
		color = "\x1b[31m"
	default:
		return line
	}
	text, newline := bytes.CutSuffix(line, []byte("\n"))
	out := append([]byte(color), text...)
	out = append(out, "\x1b[0m"...)
	if newline {
		out = append(out, '\n')
	}
	return out
}

// isTerminal tells whether the file is one.
func isTerminal(fd uintptr) bool { return term.IsTerminal(int(fd)) }
