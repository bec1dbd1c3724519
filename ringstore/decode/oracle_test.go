package decode

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore"
)

// The fixtures are of two runs of a program at the same addresses, see testdata/record:
// what strace wrote, and the events that the recorder would have of it.

// known are the calls whose text differs from strace's in the fixtures, and why. A line
// of another call that differs fails the test, and so does an entry without one.
var known = map[string]string{
	"cachestat":      "strace 6.1 does not know it",
	"clock_gettime":  "two runs, two times",
	"connect":        "the name of an interface, which is another's on another machine",
	"execve":         "the number of variables in the environment; arguments behind the 24th",
	"file_getattr":   "strace 6.1 does not know it",
	"file_setattr":   "strace 6.1 does not know it",
	"getitimer":      "two runs, two times",
	"getrandom":      "random",
	"getsockname":    "an address that the kernel chose",
	"getsockopt":     "struct ucred",
	"mseal":          "strace 6.1 does not know it",
	"setitimer":      "two runs, two times",
	"socket":         "the comment beside unknown bits of the type",
	"syscall_0xffff": "the record has 16 bits of the number",
	"writev":         "buffers behind the recorded bytes",
}

func readEvents(t *testing.T, path string) []ringstore.Event {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var events []ringstore.Event
	for scan := bufio.NewScanner(file); scan.Scan(); {
		var e ringstore.Event
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

var (
	lineForm   = regexp.MustCompile(`^(\d+) +\d+\.\d{6} (.*)$`)
	duration   = regexp.MustCompile(` <\d+\.\d{6}>$`)
	unfinished = regexp.MustCompile(`^(.*?) <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	aligned    = regexp.MustCompile(`\) += `)
	ports      = regexp.MustCompile(`htons\(\d{5}\)`)
	directory  = regexp.MustCompile(`/tmp/record\d+/`)
	name       = regexp.MustCompile(`^(--- )?\w+`)
	word       = regexp.MustCompile(`\b\d+\b`)
)

// normalize takes from a trace what two runs cannot have in common: times, and process
// ids, which become their rank. Calls that strace wrote in two parts are joined; where
// their results are aligned to says nothing.
func normalize(t *testing.T, trace string) []string {
	t.Helper()
	ranks := map[string]string{}
	begun := map[string]int{}
	var lines []string
	for line := range strings.Lines(trace) {
		m := lineForm.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("not a line of strace: %s", line)
		}
		tid, text := m[1], m[2]
		if ranks[tid] == "" {
			ranks[tid] = "P" + strconv.Itoa(len(ranks))
		}
		text = duration.ReplaceAllString(text, "")
		if r := resumed.FindStringSubmatch(text); r != nil {
			at := begun[tid]
			delete(begun, tid)
			if text = lines[at] + r[1]; strings.HasSuffix(text, "= ?") {
				// Killed inside the call: for the record it never returned.
				text = strings.TrimSuffix(strings.TrimSuffix(lines[at], ")"), " ") + " <unfinished ...>"
			}
			lines[at] = aligned.ReplaceAllString(text, ") = ")
			continue
		}
		if u := unfinished.FindStringSubmatch(text); u != nil {
			begun[tid] = len(lines)
			text = u[1]
		}
		lines = append(lines, tid+" "+text)
	}
	for _, at := range begun {
		lines[at] = strings.TrimSuffix(lines[at], " ") + " <unfinished ...>"
	}
	for i, line := range lines {
		line = word.ReplaceAllStringFunc(line, func(s string) string {
			if r := ranks[s]; r != "" {
				return r
			}
			return s
		})
		line = ports.ReplaceAllString(line, "htons(PORT)")
		line = directory.ReplaceAllString(line, "/tmp/record/")
		lines[i] = strings.Replace(line, ",  <unfinished", ", <unfinished", 1)
	}
	return lines
}

// perTask orders lines by task, keeping each task's own order.
func perTask(lines []string) map[string][]string {
	out := map[string][]string{}
	for _, line := range lines {
		tid, text, _ := strings.Cut(line, " ")
		out[tid] = append(out[tid], text)
	}
	return out
}

func TestSameAsStrace(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.strace")
	if err != nil || len(paths) == 0 {
		t.Fatal("no fixtures", err)
	}
	meta := &ringstore.Meta{Arch: "amd64", WallOffset: 1795222709e9}
	seen := map[string]bool{}
	same, all := 0, 0
	for _, path := range paths {
		trace, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		for _, e := range readEvents(t, strings.TrimSuffix(path, ".strace")+".events") {
			text = AppendText(text, meta, &e)
		}
		want, got := perTask(normalize(t, string(trace))), perTask(normalize(t, string(text)))
		for tid := range want {
			if len(want[tid]) != len(got[tid]) {
				t.Fatalf("%s: %s has %d lines, strace %d", path, tid, len(got[tid]), len(want[tid]))
			}
			for i := range want[tid] {
				all++
				if got[tid][i] == want[tid][i] || aligned.ReplaceAllString(got[tid][i], ") = ") == want[tid][i] {
					same++
					continue
				}
				call := name.FindString(got[tid][i])
				seen[call] = true
				if known[call] == "" {
					t.Errorf("%s: %s line %d\ngot  %s\nwant %s", path, tid, i, got[tid][i], want[tid][i])
				}
			}
		}
	}
	for call := range known {
		if !seen[call] {
			t.Errorf("%s is said to differ from strace's, but does not", call)
		}
	}
	t.Logf("%d of %d lines are strace's", same, all)
}
