package main_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	splitBegun   = regexp.MustCompile(`^([\w?]+)\(.*<unfinished \.\.\.>$`)
	splitResumed = regexp.MustCompile(`^<\.\.\. ([\w?]+) resumed>`)
)

// orderErrors says where a trace of several threads is not in the order in which strace
// writes: by time; a call in two parts where, and only where, something else came between;
// the second part after the first. Of two threads that did something to each other, what
// was done comes before what it did.
func orderErrors(lines []string) (errs []string) {
	wrong := func(line, format string, args ...any) {
		errs = append(errs, fmt.Sprintf(format, args...)+": "+line)
	}
	type line struct {
		tid  int
		text string
	}
	var before line
	var time string
	begun := map[int]string{} // thread -> the call that it is in
	gone := map[int]bool{}    // threads whose end was written
	for _, l := range lines {
		if l == "" || strings.HasPrefix(l, "# ") || strings.Contains(l, " bit mode. ]") {
			continue
		}
		m := oracleLine.FindStringSubmatch(l)
		if m == nil {
			wrong(l, "not a line of strace")
			continue
		}
		tid, err := strconv.Atoi(m[1])
		if err != nil {
			wrong(l, "no thread")
			continue
		}
		at := strings.Fields(l)[1]
		if len(at) == len(time) && at < time {
			wrong(l, "older than the line before")
		}
		time = at
		now := line{tid, oracleDuration.ReplaceAllString(m[2], "")}
		if gone[tid] {
			wrong(l, "of a thread that has ended")
		}
		second := splitResumed.FindStringSubmatch(now.text)
		switch super := straceSuper.FindStringSubmatch(now.text); {
		case super != nil:
			old, _ := strconv.Atoi(super[1])
			if begun[old] == "" || begun[tid] != "" {
				wrong(l, "%d is in %q, %d in %q", old, begun[old], tid, begun[tid])
			}
			begun[tid] = begun[old]
			delete(begun, old)
		case second != nil:
			if begun[tid] != second[1] {
				wrong(l, "the thread is in %q", begun[tid])
			}
			if before.tid == tid && splitBegun.MatchString(before.text) {
				wrong(l, "nothing came between")
			}
			delete(begun, tid)
		case begun[tid] != "" && !strings.HasPrefix(now.text, "+++ "):
			wrong(l, "the thread is in %s", begun[tid])
		}
		if first := splitBegun.FindStringSubmatch(now.text); first != nil && second == nil {
			begun[tid] = first[1]
		}
		if strings.HasPrefix(now.text, "+++ exited") || strings.HasPrefix(now.text, "+++ killed") {
			gone[tid] = true
			delete(begun, tid)
		}
		// Who waited for a child saw its end.
		if waited := splitWaited.FindStringSubmatch(now.text); waited != nil {
			if child, _ := strconv.Atoi(waited[1]); !gone[child] {
				wrong(l, "the child has not ended")
			}
		}
		before = now
	}
	return errs
}

var splitWaited = regexp.MustCompile(`^(?:wait4|<\.\.\. wait4 resumed>).*WIFEXITED.* = (\d+)$`)
