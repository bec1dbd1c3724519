package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A measurement is one figure.
type measurement struct {
	Round  int     `json:"round"`
	Row    string  `json:"row"`
	Column string  `json:"column"`
	Unit   string  `json:"unit"`
	Value  float64 `json:"value"`
	Least  float64 `json:"least"` // of the slices of which Value is the median
}

// A table holds what was measured.
type table struct {
	rows    []row
	columns []column
	all     []measurement
	broken  map[string]string // by column or row: why (the rest of) it was not measured
	foreign int               // programs of others on the system call tracepoints, at most
	rounds  int
	slice   time.Duration
	cpus    []int
	path    string // that the openclose row opens
	begin   time.Time
}

func (t *table) add(round int, r row, c column, v, least float64) {
	t.all = append(t.all, measurement{round, r.name, c.name, r.unit, v, least})
}

func (t *table) titleOf(r row) string {
	if r.name == threadsRow {
		return fmt.Sprintf(r.title, len(t.cpus))
	}
	return r.title
}

// values returns a cell's figures by round.
func (t *table) values(row, column string) map[int]float64 {
	m := map[int]float64{}
	for _, v := range t.all {
		if v.Row == row && v.Column == column {
			m[v.Round] = v.Value
		}
	}
	return m
}

// least returns the least figure of any slice of a cell.
func (t *table) least(row, column string) float64 {
	least := math.Inf(1)
	for _, v := range t.all {
		if v.Row == row && v.Column == column {
			least = min(least, v.Least)
		}
	}
	return least
}

// A summary is what is shown of some figures.
type summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func summarize(values map[int]float64) summary {
	if len(values) == 0 {
		return summary{}
	}
	var list []float64
	for _, v := range values {
		list = append(list, v)
	}
	return summary{len(list), median(list), slices.Min(list), slices.Max(list)}
}

// A bar is a ratio of two cells, and what is demanded of it. Without a denominator it is
// the cell itself.
type bar struct {
	Title      string
	Row, Col   string  // numerator
	Row2, Col2 string  // denominator
	Limit      float64 // 0: only shown
	Goal       float64 // what would be nice; 0: nothing more
	// Best takes the least slice of each cell, not the ratio of each round. Whatever
	// disturbs a measurement makes its figure larger: so what little two services differ in
	// shows there, and not in medians, which differ as much between two runs of the same.
	Best bool
}

var bars = []bar{
	{"not recorded / lookup pair, getppid", "getppid", "attached", "getppid", "miss", 1.1, 0, false},
	{"not recorded / lookup pair, read", "read", "attached", "read", "miss", 1.1, 0, false},
	{"not recorded / lookup pair, write", "write", "attached", "write", "miss", 1.1, 0, false},
	{"not recorded / lookup pair, open + close", "openclose", "attached", "openclose", "miss", 1.1, 0, false},
	{"recorded / not recorded, getppid", "getppid", "recorded", "getppid", "attached", 1.4, 1.3, false},
	{"recorded / ftrace, getppid", "getppid", "recorded", "getppid", "ftrace", 1.0, 0.9, false},
	{"recorded / ftrace, open + close", "openclose", "recorded", "openclose", "ftrace", 1.15, 0, false},
	{"folded / each call apart, lseek", "lseek", "recorded", "lseek", "unfolded", 1.05, 0, false},
	{"folded / each call apart, open + close", "openclose", "recorded", "openclose", "unfolded", 1.05, 0, false},
	{"folded / each call apart, getppid", "getppid", "recorded", "getppid", "unfolded", 1.1, 0, false},
	{"dumped / recorded, getppid", "getppid", "dumped", "getppid", "recorded", 1.1, 0, false},
	{"threads at once / one thread, recorded", "threads", "recorded", "getppid", "recorded", 1.15, 0, false},
	{"threads at once / one thread, absent", "threads", "absent", "getppid", "absent", 0, 0, false},
	{"recorded / against, getppid", "getppid", "recorded", "getppid", againstColumn, 1.05, 0, true},
	{"recorded / against, read", "read", "recorded", "read", againstColumn, 1.05, 0, true},
	{"recorded / against, write", "write", "recorded", "write", againstColumn, 1.05, 0, true},
	{"recorded / against, open + close", "openclose", "recorded", "openclose", againstColumn, 1.05, 0, true},
	{"recorded / against, getppid, threads at once", "threads", "recorded", "threads", againstColumn, 1.05, 0, true},
	{"recorded / against, tar", "tar", "recorded", "tar", againstColumn, 1.05, 0, true},
	{"recorded / against, redis-server, a record", "redis", "recorded", "redis", againstColumn, 1.05, 0, true},
	{"mean record of redis-server, bytes", "redis", "recorded", "", "", 80, 0, false},
}

// bars returns those bars all cells of which the table has.
func (t *table) bars() []bar {
	has := func(name, under string) bool {
		return slices.ContainsFunc(t.rows, func(r row) bool { return r.name == name }) &&
			slices.ContainsFunc(t.columns, func(c column) bool { return c.name == under })
	}
	var list []bar
	for _, b := range bars {
		if has(b.Row, b.Col) && (b.Row2 == "" || has(b.Row2, b.Col2)) {
			list = append(list, b)
		}
	}
	return list
}

// ratio computes a bar's ratio in each round, in which its two cells were measured
// shortly one after the other; of a bar for the best, that of the least slices takes the
// median's place.
func (t *table) ratio(b bar) summary {
	ratios := t.values(b.Row, b.Col)
	if b.Row2 != "" {
		below := t.values(b.Row2, b.Col2)
		for round := range ratios {
			if v, ok := below[round]; ok {
				ratios[round] /= v
			} else {
				delete(ratios, round)
			}
		}
	}
	all := summarize(ratios)
	if b.Best && all.N > 0 {
		all.Median = t.least(b.Row, b.Col) / t.least(b.Row2, b.Col2)
	}
	return all
}

// verdict says whether a bar is met.
func (b bar) verdict(s summary) string {
	switch {
	case b.Limit == 0:
		return ""
	case s.N == 0:
		return "NOT MEASURED"
	case s.Median > b.Limit:
		return "FAIL"
	}
	return "PASS"
}

// print writes the table, the bars and what a reader must know. It returns whether all
// bars are met.
func (t *table) print(w io.Writer, markdown bool) bool {
	grid := [][]string{{""}}
	for _, c := range t.columns {
		grid[0] = append(grid[0], c.title)
	}
	for _, r := range t.rows {
		line, spread := []string{t.titleOf(r) + ", " + r.unit}, []string{""}
		for _, c := range t.columns {
			s := summarize(t.values(r.name, c.name))
			switch {
			case s.N == 0:
				line, spread = append(line, "–"), append(spread, "")
			case markdown:
				line = append(line, fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max)))
			default:
				line = append(line, number(s.Median))
				spread = append(spread, number(s.Min)+"–"+number(s.Max))
			}
		}
		grid = append(grid, line)
		if strings.Join(spread, "") != "" {
			grid = append(grid, spread)
		}
	}
	layOut(w, grid, markdown)

	ok := true
	grid = [][]string{{"ratio", "median", "min–max", "bar", "goal", ""}}
	for _, b := range t.bars() {
		s := t.ratio(b)
		line := []string{b.Title, "–", "–", "", "", b.verdict(s)}
		if s.N > 0 {
			line[1] = fmt.Sprintf("%.2f", s.Median)
			line[2] = fmt.Sprintf("%.2f–%.2f", s.Min, s.Max)
		}
		if b.Limit != 0 {
			line[3] = fmt.Sprintf("≤ %.2f", b.Limit)
			ok = ok && line[5] == "PASS"
		}
		if b.Goal != 0 {
			line[4] = fmt.Sprintf("≤ %.2f", b.Goal)
		}
		grid = append(grid, line)
	}
	if len(grid) > 1 {
		fmt.Fprintln(w)
		layOut(w, grid, markdown)
	}

	bullet := ""
	if markdown {
		bullet = "* "
	}
	fmt.Fprintln(w)
	for _, n := range t.notes() {
		fmt.Fprintf(w, "%s%s\n", bullet, n)
	}
	return ok
}

// notes says how the table came about.
func (t *table) notes() []string {
	notes := []string{
		fmt.Sprintf("%s, %s, Linux %s, %s", t.begin.Format(time.DateOnly), processor(), release(), runtime.GOARCH),
		fmt.Sprintf("medians of %d interleaved rounds, min–max; a round's figure is the median of %d slices of %s; "+
			"ratios are medians of the rounds' ratios, those to against of the least slices", t.rounds, slicesPerRound, t.slice),
		fmt.Sprintf("one worker process for all columns, pinned to CPU %d; threads at once: %d, on CPUs %v, mean per thread; "+
			"tools run on other CPUs, but for strace, which does best on the worker's", t.cpus[0], len(t.cpus), t.cpus),
		fmt.Sprintf("read: /dev/zero; write: /dev/null; open + close: a path of %d bytes; tar: %d files of up to 8 KiB in tmpfs, to a file there; "+
			"redis-server: mean of all calls made while redis-benchmark -n %d runs, page heads included; "+
			"lseek: a file that it moves in, no two calls in a row are the same; history: measured once, by the bytes that records take",
			len(t.path), treeFiles, redisRequests),
	}
	for _, c := range t.columns {
		notes = append(notes, c.title+": "+c.what)
	}
	for _, c := range t.columns {
		if why := t.broken[c.name]; why != "" {
			notes = append(notes, fmt.Sprintf("%s was not measured (to the end): %s", c.title, why))
		}
	}
	for _, r := range t.rows {
		if why := t.broken[r.name]; why != "" {
			notes = append(notes, fmt.Sprintf("%s was not measured (to the end): %s", t.titleOf(r), why))
		}
	}
	if t.foreign > 0 {
		notes = append(notes, fmt.Sprintf("%d programs of others were attached to the system call tracepoints meanwhile: "+
			"all figures are too high", t.foreign))
	}
	return notes
}

// layOut writes a grid of cells, the first line of which is its head.
func layOut(w io.Writer, grid [][]string, markdown bool) {
	width := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, c := range line {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	before, between, after := "", "  ", ""
	if markdown {
		before, between, after = "| ", " | ", " |"
	}
	for n, line := range grid {
		cells := make([]string, len(line))
		for i, c := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				cells[i] = c + pad
			} else {
				cells[i] = pad + c
			}
		}
		fmt.Fprintln(w, before+strings.TrimRight(strings.Join(cells, between), " ")+after)
		if markdown && n == 0 {
			fmt.Fprintln(w, "|---"+strings.Repeat("|--:", len(line)-1)+"|")
		}
	}
}

// number formats a figure with about three digits of meaning.
func number(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", math.Round(v))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// writeJSON writes every measurement, and what was computed from them, to a file.
func (t *table) writeJSON(name string) error {
	type ratio struct {
		Title   string  `json:"title"`
		Limit   float64 `json:"limit,omitempty"`
		Goal    float64 `json:"goal,omitempty"`
		Verdict string  `json:"verdict,omitempty"`
		summary
	}
	out := struct {
		Time         time.Time         `json:"time"`
		CPU          string            `json:"cpu"`
		Kernel       string            `json:"kernel"`
		Arch         string            `json:"arch"`
		MeasuredCPUs []int             `json:"measuredCPUs"`
		SliceSeconds float64           `json:"sliceSeconds"`
		Measurements []measurement     `json:"measurements"`
		Ratios       []ratio           `json:"ratios"`
		Failed       map[string]string `json:"failed"`
		Foreign      int               `json:"foreign"`
	}{
		t.begin, processor(), release(), runtime.GOARCH, t.cpus, t.slice.Seconds(), t.all, nil, t.broken, t.foreign,
	}
	for _, b := range t.bars() {
		s := t.ratio(b)
		out.Ratios = append(out.Ratios, ratio{b.Title, b.Limit, b.Goal, b.verdict(s), s})
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// processor names the CPU, as far as the kernel says.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(info) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// release is the kernel's.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
