package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// A ratio pairs the two cells of a round; a round that lacks one of them does not count.
func TestRatioIsPairedByRound(t *testing.T) {
	tab := &table{all: []measurement{
		{0, "getppid", "recorded", "ns", 300, 40}, {0, "getppid", "ftrace", "ns", 300, 150},
		{1, "getppid", "recorded", "ns", 800, 400}, {1, "getppid", "ftrace", "ns", 1000, 500},
		{2, "getppid", "recorded", "ns", 100, 50}, {2, "getppid", "ftrace", "ns", 200, 100},
		{3, "getppid", "recorded", "ns", 9000, 4500},
		{4, "getppid", "ftrace", "ns", 1, 0.5},
		{0, "read", "recorded", "ns", 1, 0.5}, {0, "getppid", "absent", "ns", 1, 0.5},
	}}
	got := tab.ratio(bar{Row: "getppid", Col: "recorded", Row2: "getppid", Col2: "ftrace"})
	if diff := cmp.Diff(summary{N: 3, Median: 0.8, Min: 0.5, Max: 1}, got); diff != "" {
		t.Error(diff)
	}
	got = tab.ratio(bar{Row: "getppid", Col: "recorded", Row2: "getppid", Col2: "ftrace", Best: true})
	if diff := cmp.Diff(summary{N: 3, Median: 80, Min: 0.5, Max: 1}, got); diff != "" {
		t.Error(diff)
	}
	got = tab.ratio(bar{Row: "getppid", Col: "recorded"})
	if diff := cmp.Diff(summary{N: 4, Median: 550, Min: 100, Max: 9000}, got); diff != "" {
		t.Error(diff)
	}
}

// A bar that was wanted and could not be measured is not met.
func TestVerdict(t *testing.T) {
	b := bar{Limit: 1.1}
	for _, c := range []struct {
		s    summary
		want string
	}{
		{summary{N: 1, Median: 1.1}, "PASS"},
		{summary{N: 1, Median: 1.1001}, "FAIL"},
		{summary{}, "NOT MEASURED"},
	} {
		if got := b.verdict(c.s); got != c.want {
			t.Errorf("verdict(%v) = %q, want %q", c.s, got, c.want)
		}
	}
	tab := &table{rows: rows, columns: columns, cpus: []int{0}}
	if tab.print(new(strings.Builder), false) {
		t.Error("an empty table meets all bars")
	}
	// Bars of cells that were not asked for do not count.
	tab = &table{rows: rows[:1], columns: columns[:1], cpus: []int{0}}
	if !tab.print(new(strings.Builder), false) {
		t.Error("a table of one cell, which has no bar, does not meet all bars")
	}
}

// Every bar names cells that there are, and every column a stage that there is.
func TestNames(t *testing.T) {
	tab := &table{rows: rows, columns: columns}
	if diff := cmp.Diff(bars, tab.bars()); diff != "" {
		t.Errorf("bars of cells that there are not: %s", diff)
	}
	all := map[string]bool{}
	for _, s := range stages {
		all[s.name] = true
	}
	for _, c := range columns {
		if !all[c.stage] {
			t.Errorf("column %s: there is no stage %q", c.name, c.stage)
		}
	}
}

// Columns line up, whatever is in them.
func TestLayOut(t *testing.T) {
	var b strings.Builder
	layOut(&b, [][]string{{"", "absent", "ftrace"}, {"open + close", "2,363", "–"}, {"", "1–2,400", "x"}}, false)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3:\n%s", len(lines), b.String())
	}
	for _, l := range lines {
		if utf8.RuneCountInString(l) != utf8.RuneCountInString(lines[0]) {
			t.Errorf("lines of different length:\n%s", b.String())
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{
		{[]float64{5}, 5},
		{[]float64{9, 1, 4}, 4},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		if got := median(c.list); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.list, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0.04: "0.0", 27.34: "27.3", 167.4: "167", 1494: "1,494", 17841.6: "17,842", 1234567: "1,234,567",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	got, err := choose(rows, "tar,getppid")
	if err != nil || names(got) != "getppid,tar" {
		t.Errorf("choose = %q, %v; want the rows in the table's order", names(got), err)
	}
	if _, err := choose(rows, "getpid"); err == nil || !strings.Contains(err.Error(), "getppid") {
		t.Errorf("choose of an unknown name: %v; want an error that lists the names", err)
	}
}
