package verdict

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// The manners of a death: they decide what a failed call is evidence of.
type manner uint8

const (
	alive    manner = iota
	clean           // it ended well
	gaveUp          // it ended by itself, and said that something was wrong
	faulted         // it did what cannot be done
	piped           // it wrote to where nobody reads
	killed          // it was ended from outside
	starved         // the OOM killer ended it
	filtered        // a seccomp filter ended it
)

// How many calls of its process a failure may lie before the end.
const (
	nearCalls = 12          // then it may well be why
	farCalls  = 100         // then it may be: what programs print when they give up takes calls, too
	soon      = int64(10e9) // and how many ns, for it to be why
)

// told is how long before its end a process that handled SIGTERM may have been told to end.
const told = int64(60e9)

// weights order claims that are equally sure.
var weights = map[string]int{
	"killed": 0, "no_memory": 1, "seccomp": 2, "exec_failed": 3, "missing_file": 4, "denied": 4, "refused": 4, "unreachable": 4,
	"timeout": 4, "no_space": 4, "no_files": 4, "bad_address": 4, "broken_pipe": 4, "hang": 5, "repeated_failure": 6, "last_words": 7,
}

var ranks = map[string]int{High: 0, Medium: 1, Low: 2}

func (x *explanation) manner(how *How) manner {
	switch {
	case x.clean || x.death != nil && how.Kind == "none":
		return clean
	case x.death == nil:
		return alive
	case how.Kind == "oom":
		return starved
	case how.Kind == "seccomp":
		return filtered
	case how.Kind == "exit":
		if x.ended(how) == High {
			return killed
		}
		return gaveUp
	}
	switch n := x.signalNumber(); {
	case n == sigPIPE && x.self():
		return piped
	case n == sigABRT && x.self():
		return gaveUp
	case faults(n) && n != sigSYS && x.death.Code > 0:
		return faulted
	}
	return killed
}

// ended is how sure it is that a process exited because a signal told it to; "" if none did.
func (x *explanation) ended(how *How) string {
	s := x.toldToEnd()
	switch {
	case s == nil || x.at-s.time > told:
		return ""
	case x.at-s.time <= 1e9 || *how.ExitCode == 128+int(s.Signal.Signal):
		return High
	}
	return Medium
}

// self tells that the process sent the fatal signal to itself.
func (x *explanation) self() bool {
	d := x.death
	if d.Sender != nil {
		return !d.Sender.Kernel && d.Sender.PID == d.PID
	}
	if x.dead == nil {
		return false
	}
	for _, s := range slices.Backward(x.dead.signals) {
		if s.Signal.Signal == d.Signal && s.Sender != nil {
			return s.Sender.PID == d.PID
		}
	}
	return d.SenderPID == d.PID && d.SenderPID != 0
}

// toldToEnd is the last SIGTERM, SIGINT or SIGQUIT that the process took and survived; nil:
// there was none. SIGHUP may mean anything.
func (x *explanation) toldToEnd() *signal {
	if x.dead == nil {
		return nil
	}
	for i := len(x.dead.signals) - 1; i >= 0; i-- {
		s := &x.dead.signals[i]
		if n := s.Signal.Signal; (n == sigTERM || n == sigINT || n == sigQUIT) && (s.Handled || s.Ignored) && s.time <= x.at {
			return s
		}
	}
	if d := x.death; d != nil && d.Told != 0 && d.Told <= x.at {
		return &signal{Signal: ringstore.Signal{Signal: sigTERM, Ignored: true, Sender: d.Teller}, time: d.Told}
	}
	return nil
}

// claims finds what may have led to the death, the surest first.
func (x *explanation) claims(how *How, words []LastWords) []Claim {
	m := x.manner(how)
	var all []Claim
	if m == clean {
		return []Claim{}
	}
	heard := ""
	for _, w := range words {
		heard += w.Text + "\n"
	}
	all = append(all, x.ofDeath(how, m)...)
	if c := x.hang(m); c != nil {
		all = append(all, *c)
	}
	suspects := x.suspects()
	if m == alive {
		for _, p := range x.g.processes {
			suspects = append(suspects, suspect{process: p, end: x.at})
		}
	}
	for _, s := range suspects {
		if c := s.killed(); c != nil {
			all = append(all, *c)
		}
		all = append(all, x.ofFilters(s, m)...)
		all = append(all, x.ofFailures(s, m, heard)...)
	}
	all = focus(all)
	if m == gaveUp {
		if c := spoken(words, len(all) == 0); c != nil {
			all = append(all, *c)
		}
	}
	if m == gaveUp && x.signalNumber() == sigABRT {
		all = append(all, Claim{Kind: "killed", Subject: x.death.Comm, Confidence: High, Evidence: x.fatal(), time: x.at, last: true,
			Text: "it sent SIGABRT to itself, as abort() does"})
	}
	for i := range all {
		// What has no Seq is in no ring, so that nobody can look it up.
		all[i].Evidence = slices.DeleteFunc(all[i].Evidence, func(seq uint64) bool { return seq == 0 })
		slices.Sort(all[i].Evidence)
		if all[i].Evidence = slices.Compact(all[i].Evidence); len(all[i].Evidence) == 0 {
			// What no record is evidence of may be so.
			all[i].Evidence, all[i].Confidence = []uint64{}, Low
		}
	}
	rank := func(c *Claim) int {
		if c.last {
			return len(ranks)
		}
		return ranks[c.Confidence]
	}
	slices.SortStableFunc(all, func(a, b Claim) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(weights[a.Kind], weights[b.Kind]),
			cmp.Compare(b.time, a.time), cmp.Compare(a.Subject, b.Subject))
	})
	all = all[:min(len(all), maxClaims)]
	if all == nil {
		all = []Claim{}
	}
	return all
}

// focus leaves out what is said for want of better where there is better: beside a failure
// that the last words name, others are what a program tried besides.
func focus(claims []Claim) []Claim {
	named := slices.ContainsFunc(claims, func(c Claim) bool { return c.named && c.Confidence == High })
	sure := slices.ContainsFunc(claims, func(c Claim) bool { return c.Confidence == High })
	return slices.DeleteFunc(claims, func(c Claim) bool {
		return sure && c.Confidence == Low && c.Kind != "hang" || named && c.Confidence == Medium && c.brief != "" && c.Kind != "hang"
	})
}

// killed makes a claim of a child's death by a signal, which its parent passed on.
func (s *suspect) killed() *Claim {
	if s.waited == nil || s.waited.status&0x7f == 0 {
		return nil
	}
	name := decode.SignalName(s.waited.status & 0x7f)
	c := &Claim{Kind: "killed", Subject: oneLine(s.comm), Confidence: Medium, time: s.end, brief: fmt.Sprintf("%s ended process %d (%s)", name, s.pid, orUnknown(oneLine(s.comm)))}
	if s.passed {
		c.Confidence = High
	}
	c.Text = c.brief + ", which its parent waited for"
	c.Evidence = []uint64{s.process.end.seq, s.waited.seq}
	return c
}

// ofFilters makes claims of the threads that a seccomp filter ended while their process went
// on.
func (x *explanation) ofFilters(s suspect, m manner) []Claim {
	var claims []Claim
	for _, f := range s.filtered {
		c := Claim{Kind: "seccomp", Subject: cmp.Or(f.call, oneLine(f.comm)), Confidence: Medium, Evidence: slices.Clone(f.evidence), time: f.time}
		c.brief = fmt.Sprintf("a seccomp filter ended its thread %d (%s)", f.tid, orUnknown(oneLine(f.comm)))
		if f.call != "" {
			c.brief += " for calling " + f.call
		}
		c.Text = c.brief
		if m != alive {
			c.Text += fmt.Sprintf(", %s before the end", span(s.end-f.time))
		}
		c.Text += "; the process went on"
		claims = append(claims, c)
	}
	return claims
}

// runtimes are the programs that end containers on purpose, by the begin of their names.
var runtimes = []string{"containerd", "runc", "crun", "conmon", "dockerd", "kubelet", "podman", "systemd", "tini", "dumb-init", "docker-init", "youki", "crio"}

func isRuntime(s *Sender) bool { return s != nil && s.Comm != nil && IsRuntime(*s.Comm) }

// IsRuntime tells that a process of this name ends containers on purpose.
func IsRuntime(comm string) bool {
	return slices.ContainsFunc(runtimes, func(r string) bool { return strings.HasPrefix(comm, r) })
}

func (s *Sender) String() string {
	if s == nil {
		return "somebody unknown"
	}
	text := fmt.Sprintf("pid %d", s.PID)
	if s.Comm != nil && *s.Comm != "" {
		text = fmt.Sprintf("%s (pid %d)", oneLine(*s.Comm), s.PID)
	}
	if s.Pod != nil {
		text += " of " + oneLine(*s.Pod)
		if s.Container != nil && !strings.HasSuffix(*s.Pod, "/"+*s.Container) {
			text += ", container " + oneLine(*s.Container)
		}
	}
	return text
}

// fatal is the record of the signal that ended the process or, as for SIGKILL there is
// none, of its end.
func (x *explanation) fatal() []uint64 {
	if x.dead == nil {
		return nil
	}
	for _, s := range slices.Backward(x.dead.signals) {
		if s.Signal.Signal == x.death.Signal && s.Fatal {
			return []uint64{s.seq}
		}
	}
	if x.dead.end != nil {
		return []uint64{x.dead.end.seq}
	}
	return nil
}

// ofDeath makes the claims that the death itself is evidence of.
func (x *explanation) ofDeath(how *How, m manner) []Claim {
	d := x.death
	if d == nil {
		return nil
	}
	last := x.fatal()
	claim := func(kind, subject, confidence, text string, evidence ...uint64) Claim {
		return Claim{Kind: kind, Subject: subject, Confidence: confidence, Text: text, Evidence: append(slices.Clone(last), evidence...), time: x.at}
	}
	if confidence := x.ended(how); how.Kind == "exit" && confidence != "" {
		s := x.toldToEnd()
		by := x.sender(s.Signal.Sender, s.PID, s.Code)
		name := decode.SignalName(s.Signal.Signal)
		return []Claim{claim("killed", subjectOf(by), confidence, fmt.Sprintf("%s from %s told it to end, %s before it did", name, by, span(x.at-s.time)), s.seq)}
	}
	switch m {
	case starved:
		text := fmt.Sprintf("the OOM killer chose %s", orUnknown(oneLine(d.Comm)))
		if how.OOM.RSSBytes != nil {
			text += ", which held " + byteCount(*how.OOM.RSSBytes)
		}
		if how.OOM.LimitBytes != nil {
			text += fmt.Sprintf("; its memory cgroup was full at the limit of %s", byteCount(*how.OOM.LimitBytes))
		} else {
			text += "; no limit of its own was reached, or it is not known"
		}
		return []Claim{claim("no_memory", d.Comm, High, text)}
	case filtered:
		name := x.filteredCall()
		text := "a seccomp filter ended it"
		if name != "" {
			text += " for calling " + name + ", which was not made"
		}
		c := claim("seccomp", name, High, text)
		if x.dead != nil && x.dead.odd != 0 {
			c.Evidence = append(c.Evidence, x.dead.odd)
		}
		return []Claim{c}
	case faulted:
		if c := x.fault(how); c != nil {
			c.Evidence = last
			return []Claim{*c}
		}
	case killed:
		if d.Sender != nil && d.Sender.Kernel {
			return []Claim{claim("killed", "kernel", Medium, fmt.Sprintf("the kernel itself sent %s: the first process of its pid namespace ended, or a limit was reached; the history does not say which", *how.Signal))}
		}
		if x.self() {
			return []Claim{claim("killed", d.Comm, High, fmt.Sprintf("it sent %s to itself", *how.Signal))}
		}
		if how.Sender == nil {
			return []Claim{claim("killed", "", Low, fmt.Sprintf("%s ended it; who sent it is not known", *how.Signal))}
		}
		text := fmt.Sprintf("%s came from %s", *how.Signal, how.Sender)
		var evidence []uint64
		if s := x.toldToEnd(); s != nil && x.signalNumber() == sigKILL {
			first := x.sender(s.Signal.Sender, s.PID, s.Code)
			text = fmt.Sprintf("%s came from %s, and %s later %s from %s", decode.SignalName(s.Signal.Signal), first, span(x.at-s.time), *how.Signal, how.Sender)
			if s.seq != 0 {
				evidence = append(evidence, s.seq)
			} else {
				text = fmt.Sprintf("%s came from %s and was ignored, as the first process of a pid namespace does that has no handler; %s later %s came from %s",
					decode.SignalName(s.Signal.Signal), first, span(x.at-s.time), *how.Signal, how.Sender)
			}
			if isRuntime(how.Sender) {
				text += ": so a container runtime ends what does not end when told; "
				if x.meta.Deletion != nil {
					text += "its pod was being deleted"
				} else {
					text += "whether a probe had failed, or it was deleted, the history does not say"
				}
			}
		} else if isRuntime(how.Sender) {
			text += ", which runs containers: that ended it on purpose"
			if x.meta.Deletion != nil {
				text += ", since its pod was being deleted"
			}
		}
		return []Claim{claim("killed", subjectOf(how.Sender), High, text, evidence...)}
	}
	return nil
}

func subjectOf(s *Sender) string {
	if s == nil || s.Comm == nil {
		return ""
	}
	return *s.Comm
}

// filteredCall is the name of the call that a seccomp filter ended the process for.
func (x *explanation) filteredCall() string {
	const auditX86, auditI386, auditARM64, x32 = 0xc000003e, 0x40000003, 0xc00000b7, 0x40000000
	nr, abi := uint32(x.death.More), ringstore.ABINative
	switch uint32(x.death.More >> 32) {
	case auditX86:
		if nr&x32 != 0 {
			nr, abi = nr&^x32, ringstore.ABIX32
		}
	case auditI386:
		abi = ringstore.ABI32
	case auditARM64:
	default:
		return ""
	}
	if c := syscalls.Lookup(x.meta.Arch, abi, uint16(nr)); c != nil && nr <= 0xffff {
		return c.Name
	}
	return fmt.Sprintf("syscall_0x%x", nr)
}

// fault tells what an address that could not be used is likely to be.
func (x *explanation) fault(how *How) *Claim {
	d := x.death
	const siKernel, busADRERR = 0x80, 2
	if d.Signal != sigSEGV && d.Signal != sigBUS {
		c := &Claim{Kind: "killed", Subject: "kernel", Confidence: High, time: x.at}
		c.Text = fmt.Sprintf("the instruction at %s cannot be executed", *how.Address)
		switch *how.Code {
		case "FPE_INTDIV":
			c.Text = fmt.Sprintf("the instruction at %s divides an integer by zero", *how.Address)
		case "TRAP_BRKPT":
			c.Text = fmt.Sprintf("the instruction at %s is a breakpoint", *how.Address)
		}
		return c
	}
	c := &Claim{Kind: "bad_address", Subject: *how.Address, Confidence: High, time: x.at}
	switch distance := int64(d.Addr - d.SP); {
	case d.Code == siKernel:
		c.Confidence = Medium
		c.Text = "it used an address that no program can have; the CPU does not say which"
	case d.Signal == sigBUS && d.Code == busADRERR:
		c.Text = fmt.Sprintf("nothing is behind the address %s: a file is shorter than its mapping, or its storage is full", *how.Address)
		if m := x.mapping(d.Addr); m != nil {
			c.Subject = m.file
			c.Text = fmt.Sprintf("%s is mapped at the address %s, but is shorter than the mapping, or its storage is full", quoted(m.file), *how.Address)
		}
	case d.SP != 0 && distance > -(64<<10) && distance < 64<<10:
		c.Subject = "stack"
		if distance < -4096 || distance > 4096 {
			c.Confidence = Medium
		}
		c.Text = fmt.Sprintf("the stack overflowed: the address %s is not mapped, and the stack pointer is %#x", *how.Address, d.SP)
	case d.Addr < 4096:
		c.Text = fmt.Sprintf("the address %s is a null pointer, or a field of what one points to", *how.Address)
	case d.Code == 2:
		c.Text = fmt.Sprintf("the address %s is mapped, but may not be used in this way", *how.Address)
	default:
		c.Text = fmt.Sprintf("nothing is mapped at the address %s", *how.Address)
	}
	if d.IP != 0 {
		c.Text += fmt.Sprintf("; the instruction was at %#x", d.IP)
	}
	return c
}

func (x *explanation) mapping(addr uint64) *mapping {
	if x.dead == nil {
		return nil
	}
	for i := len(x.dead.maps) - 1; i >= 0; i-- {
		if m := &x.dead.maps[i]; addr >= m.start && addr-m.start < m.length {
			return m
		}
	}
	return nil
}

// hang looks for threads that had been stuck for long when the process was ended from
// outside; of a living process, when the history was copied.
func (x *explanation) hang(m manner) *Claim {
	const long, idle = int64(1e9), int64(10e9)
	if m != killed && m != alive || x.dead == nil && m == killed || x.death != nil && x.self() {
		return nil
	}
	list := []*process{x.dead}
	if m == alive {
		list = nil
		for _, p := range x.g.processes {
			if p.end == nil {
				list = append(list, p)
			}
		}
		slices.SortFunc(list, func(a, b *process) int { return cmp.Compare(a.pid, b.pid) })
	}
	for _, p := range list {
		stuck, resting := 0, false
		var locked *running
		var evidence []uint64
		blocked := map[uint32]bool{}
		for i := range p.running {
			r := &p.running[i]
			blocked[r.tid] = true
			if r.idle {
				resting = true
			}
			if x.at-r.start < long || r.idle {
				continue
			}
			stuck++
			if r.seq != 0 && len(evidence) < maxEvidence {
				evidence = append(evidence, r.seq)
			}
			if r.forever && (locked == nil || r.tid == p.pid || r.start < locked.start && locked.tid != p.pid) {
				locked = r
			}
		}
		running := 0
		var spinning uint32
		for tid, t := range p.threads {
			if !blocked[tid] {
				running++
				if t.since != 0 && x.at-t.since >= idle {
					spinning = max(spinning, tid)
				}
			}
		}
		asked := (*signal)(nil)
		if s := x.toldToEnd(); m == killed && s != nil && x.at-s.time >= long/2 {
			asked = s
		}
		switch {
		case locked != nil && (x.at-locked.start >= long) && (m == killed || x.at-locked.start >= idle):
			c := &Claim{Kind: "hang", Subject: locked.name, Confidence: Low, Evidence: evidence, time: locked.start}
			verb := "had been waiting"
			if m == alive {
				verb = "has been waiting"
			}
			c.brief = fmt.Sprintf("thread %d %s in %s for %s", locked.tid, verb, locked.name, span(x.at-locked.start))
			c.Text = c.brief + ", without a timeout"
			if stuck > 1 {
				c.Text += fmt.Sprintf("; of its threads, %d were stuck in calls", stuck)
			}
			switch {
			case m == killed && locked.tid == p.pid && running == 0 && (!resting && stuck > 1 || asked != nil):
				c.Confidence = High
			case m == killed && (locked.tid == p.pid || !resting) || asked != nil:
				c.Confidence = Medium
			}
			if asked != nil {
				c.Text += fmt.Sprintf("; %s before its end %s had told it to end", span(x.at-asked.time), decode.SignalName(asked.Signal.Signal))
				c.Evidence = append(c.Evidence, asked.seq)
			}
			return c
		case spinning != 0 && m == killed && stuck == 0 && !resting:
			t := p.threads[spinning]
			return &Claim{Kind: "hang", Subject: oneLine(t.comm), Confidence: Low, time: t.since,
				Text: fmt.Sprintf("thread %d made no call in the last %s, and was in none: it computed, or had no CPU", spinning, span(x.at-t.since))}
		}
	}
	return nil
}

// kindOf is what a failed call is evidence of.
func kindOf(f *failure) string {
	name := errnoName(f.errno)
	switch {
	case f.family == "dns":
		return "unreachable"
	case f.denied:
		return "seccomp"
	case f.family == "exec" && name != "ENOMEM" && name != "EMFILE" && name != "ENFILE":
		return "exec_failed"
	}
	switch name {
	case "ENOENT", "ENOTDIR":
		if f.path || f.name == "connect" {
			return "missing_file"
		}
	case "EACCES", "EPERM", "EROFS":
		return "denied"
	case "ECONNREFUSED":
		return "refused"
	case "ENETUNREACH", "EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN", "ENONET":
		return "unreachable"
	case "ETIMEDOUT", "EINPROGRESS":
		return "timeout"
	case "ENOSPC", "EDQUOT":
		return "no_space"
	case "EMFILE", "ENFILE":
		return "no_files"
	case "ENOMEM":
		return "no_memory"
	case "EPIPE":
		return "broken_pipe"
	case "EFAULT":
		return "bad_address"
	}
	return "repeated_failure"
}

// ofFailures makes claims of the failed calls of a process that nothing made good.
func (x *explanation) ofFailures(s suspect, m manner, heard string) []Claim {
	for fd, began := range s.pending {
		// Nobody answered while it lived.
		if s.files[fd] != "" && x.at-began >= 1e9 {
			key := subjectKey{"connect", s.files[fd], inProgress}
			if s.failures[key] == nil {
				s.failures[key] = &failure{subjectKey: key, name: "connect", count: 1, first: began, last: s.end, calls: s.calls, opens: true, fd: fd}
			}
		}
	}
	failures := make([]*failure, 0, len(s.failures))
	for _, f := range s.failures {
		if f.last <= s.end {
			failures = append(failures, f)
		}
	}
	slices.SortFunc(failures, byTime)
	latest := map[int]bool{} // errors of which the latest failure was seen
	claims := []Claim{}
	done := map[nameKey]bool{}
	first := true
	for _, f := range failures {
		group := []*failure{f}
		if f.family == "dns" || f.path && isMissing(f.errno) {
			name := nameOf(f.family, f.subject)
			if done[name] {
				continue
			}
			done[name] = true
			group = group[:0]
			for _, o := range failures {
				if nameOf(o.family, o.subject) == name && (f.family == "dns" || o.path && isMissing(o.errno)) {
					group = append(group, o)
				}
			}
			slices.Reverse(group)
		}
		named := mentions(heard, f.subject, f.family != "connect" && strings.HasPrefix(f.subject, "/"))
		if (f.path || isMissing(f.errno) && strings.HasPrefix(f.subject, "/")) && routinePath(f.subject) && !named && !f.denied {
			continue
		}
		said := !latest[f.errno] && (strings.Contains(strings.ToLower(heard), strings.ToLower(message(f.errno))) || strings.Contains(heard, errnoName(f.errno)))
		if f.family == "dns" {
			said = saysUnknownName(heard)
		} else {
			latest[f.errno] = true
		}
		confidence := x.confidence(f, s, m, named, said, first)
		first = false
		if confidence == "" {
			continue
		}
		c := x.claimOf(f, group, s)
		c.Confidence = confidence
		if c.named = named; named {
			c.Text += "; its last words name it"
		}
		claims = append(claims, c)
	}
	return claims
}

// confidence is how sure it is that a failure led to the end; "" if it is nothing to speak
// of. first tells that nothing failed after it.
func (x *explanation) confidence(f *failure, s suspect, m manner, named, said, first bool) string {
	distance := s.calls - f.calls
	if f.last < x.h.LaneCompleteSince[ringstore.LaneRecent] {
		// Failures are held longest. What came after this one, and may have made it good,
		// is not all there.
		distance = farCalls + 1
	}
	repeated := false
	if f.count >= 3 {
		// It still failed at the end.
		repeated = s.end-f.last <= 3*((f.last-f.first)/int64(f.count-1))+1e9
	}
	kind := kindOf(f)
	switch m {
	case gaveUp:
		switch {
		case named, said && f.opens, repeated && f.count >= 5 && kind != "repeated_failure":
			return High
		case first && distance <= nearCalls && s.end-f.last <= soon && f.opens && (s.waited == nil || s.passed):
			return High
		case said, repeated, distance <= farCalls && f.opens, distance <= nearCalls:
			return Medium
		}
	case faulted:
		switch {
		case named, said, distance <= nearCalls && f.opens:
			return Medium
		case repeated, distance <= nearCalls:
			return Low
		}
	case piped:
		if kind == "broken_pipe" {
			return High
		}
	case killed, alive:
		if repeated && f.count >= 5 {
			return Medium
		}
	case starved:
		if kind == "no_memory" && distance <= nearCalls {
			return Medium
		}
	case filtered:
		if kind == "seccomp" && distance <= nearCalls {
			return Medium
		}
	}
	return ""
}

// minName is how long a name must be for its mention to mean something.
const minName = 4

// mentions tells that a text names a path or address, whole or (of a path) by its last part.
func mentions(text, subject string, isPath bool) bool {
	if len(subject) < minName || text == "" {
		return false
	}
	if strings.Contains(text, subject) {
		return true
	}
	base := path.Base(subject)
	return isPath && len(base) >= minName && base != subject && containsWord(text, base)
}

// containsWord tells that a text has a word that is not a part of a longer one.
func containsWord(text, word string) bool {
	part := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '-'
	}
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(word)
		if (i == 0 || !part(text[i-1])) && (end == len(text) || !part(text[end])) {
			return true
		}
		from = i + 1
	}
}

// claimOf puts failures with one cause into words. f is the latest of group.
func (x *explanation) claimOf(f *failure, group []*failure, s suspect) Claim {
	c := Claim{Kind: kindOf(f), Subject: f.subject, time: f.last, first: f.first}
	for _, o := range group {
		c.count += o.count
		c.first = min(c.first, o.first)
		c.Evidence = append(c.Evidence, o.evidence...)
	}
	if len(c.Evidence) > 2*maxEvidence {
		c.Evidence = c.Evidence[len(c.Evidence)-2*maxEvidence:]
	}
	if c.Subject == "" && f.fd >= 0 {
		c.Subject = descriptor(f.fd)
	}
	switch {
	case f.family == "dns":
		var asked []string
		for _, o := range group {
			asked = append(asked, o.subject)
			if len(o.subject) < len(c.Subject) {
				c.Subject = o.subject // others are this one with a domain
			}
		}
		c.Text = fmt.Sprintf("the name server %s %s %s", f.by, answers[f.errno].text, listed(asked))
		c.brief = fmt.Sprintf("lookup of %s = %s", oneLine(c.Subject), answers[f.errno].name)
	case f.family == "poll":
		c.Text = fmt.Sprintf("the name server %s gave no answer", f.subject)
		c.brief = c.Text
	case len(group) > 1:
		var places []string
		for _, o := range group {
			places = append(places, o.subject)
		}
		base := path.Base(f.subject)
		c.Subject = base
		what := "file " + quoted(base)
		// A shell looks for a command before it executes it.
		if f.family == "exec" || inPath(places) {
			c.Kind, what = "exec_failed", "command "+quoted(base)
		}
		c.Text = fmt.Sprintf("the %s was looked for in %d places and is in none: %s", what, len(places), listed(places))
		c.brief = fmt.Sprintf("%s was found in none of %d places", what, len(places))
	case f.errno == inProgress:
		c.Text = fmt.Sprintf("connect to %s got no answer", f.subject)
		c.brief = c.Text
	case f.denied:
		c.Subject = f.name
		c.Text = fmt.Sprintf("a seccomp filter answered %s with %s", x.spoke(f), errnoName(f.errno))
		c.brief = fmt.Sprintf("%s = %s, by a seccomp filter", x.spoke(f), errnoName(f.errno))
	default:
		c.Text = fmt.Sprintf("%s failed: %s", x.spoke(f), message(f.errno))
		c.brief = fmt.Sprintf("%s = %s", x.spoke(f), errnoName(f.errno))
	}
	if c.count > 1 && len(group) == 1 {
		times := fmt.Sprintf(", %d times in %s", c.count, span(c.time-c.first))
		c.Text += times
		c.brief += times
	}
	if x.death != nil {
		c.Text += fmt.Sprintf(", %s before the end", span(x.at-c.time))
	}
	if s.waited != nil {
		c.Text = fmt.Sprintf("in process %d (%s), which ended with %d: %s", s.pid, orUnknown(oneLine(s.comm)), exitCode(s.waited.status), c.Text)
		c.Evidence = append(c.Evidence, s.waited.seq)
	}
	return c
}

// inPath tells that places are those of a PATH, as far as their names tell.
func inPath(places []string) bool {
	bins := 0
	for _, p := range places {
		if d := path.Base(path.Dir(p)); d == "bin" || d == "sbin" {
			bins++
		}
	}
	return bins >= 2 && 2*bins >= len(places)
}

// spoke is a failed call as a sentence needs it.
func (x *explanation) spoke(f *failure) string {
	switch {
	case f.path:
		return f.name + "(" + quoted(f.subject) + ")"
	case f.name == "connect" || f.name == "bind":
		return strings.TrimSpace(f.name + " " + oneLine(f.subject))
	case f.subject != "":
		return f.name + " to " + oneLine(f.subject)
	case f.fd >= 0:
		return f.name + " on " + descriptor(f.fd)
	}
	return f.name
}

func descriptor(fd int32) string {
	switch fd {
	case 0:
		return "standard input"
	case 1:
		return "standard output"
	case 2:
		return "standard error"
	}
	return fmt.Sprintf("descriptor %d", fd)
}

func listed(places []string) string {
	const most = 6
	more := ""
	if len(places) > most {
		more = fmt.Sprintf(" and %d more", len(places)-most)
		places = places[:most]
	}
	for i := range places {
		places[i] = oneLine(places[i])
	}
	return strings.Join(places, ", ") + more
}

// What programs say when they end for want of something.
var (
	exceptionLine = regexp.MustCompile(`^(?:Uncaught )?((?:[A-Za-z_][\w.]*)?(?:Error|Exception|Exit|Interrupt|Warning)\b[^:]*)(?::|$)`)
	thrownLine    = regexp.MustCompile(`^([A-Za-z_][\w.]*)(?:: .*)?$`)
	panicLine     = regexp.MustCompile(`^(panic|fatal error|thread '.*' panicked|terminate called|Exception in thread)\b`)
	troubleLine   = regexp.MustCompile(`(?i)\b(error|fatal|cannot|can't|could ?n[o']t|fail(ed|ure)?|denied|refused|not found|no such|unable|invalid|abort(ed|ing)?|assertion|panic|missing|out of memory)\b`)
)

// spoken makes a claim of the last words where they say what was wrong; where nothing else
// does, of the last line.
func spoken(words []LastWords, alone bool) *Claim {
	for _, w := range words {
		var lines []string
		// What draws a bar of its progress ends lines with \r.
		for line := range strings.Lines(strings.ReplaceAll(w.Text, "\r", "\n")) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		traceback := strings.Contains(w.Text, "Traceback (most recent call last)")
		c := &Claim{Kind: "last_words", Evidence: slices.Clone(w.Evidence[max(0, len(w.Evidence)-2*maxEvidence):])}
		say := func(subject, line, confidence string) *Claim {
			c.Subject, c.Confidence = subject, confidence
			c.Text = fmt.Sprintf("it said on %s: %s", descriptor(int32(w.FD)), oneLine(line))
			c.brief = oneLine(line)
			return c
		}
		for _, line := range lines {
			if m := panicLine.FindStringSubmatch(line); m != nil {
				return say(m[1], line, High)
			}
		}
		for _, line := range slices.Backward(lines) {
			if m := exceptionLine.FindStringSubmatch(line); m != nil {
				confidence := Medium
				if traceback || strings.Contains(w.Text, "\n    at ") {
					confidence = High
				}
				return say(m[1], line, confidence)
			}
		}
		if traceback && thrownLine.MatchString(lines[len(lines)-1]) {
			return say(thrownLine.FindStringSubmatch(lines[len(lines)-1])[1], lines[len(lines)-1], High)
		}
		for _, line := range slices.Backward(lines) {
			if w.FD == 2 && troubleLine.MatchString(line) {
				return say("standard error", line, Medium)
			}
		}
		if w.FD == 2 && alone && len(lines) > 0 {
			return say("standard error", lines[len(lines)-1], Low)
		}
	}
	return nil
}

// afterTold says that, and how long before its end, a process had been told to end; "" if
// it was not, or long before.
func (x *explanation) afterTold() string {
	s := x.toldToEnd()
	if s == nil || x.at-s.time > told {
		return ""
	}
	text := fmt.Sprintf(", %s after %s", span(x.at-s.time), decode.SignalName(s.Signal.Signal))
	if s.Ignored {
		text += ", which it ignored"
	} else if by := x.sender(s.Signal.Sender, s.PID, s.Code); by != nil && x.death == nil {
		text += " from " + by.String()
	}
	return text
}

// summary says it in a line.
func (x *explanation) summary(how *How, claims []Claim) string {
	d := x.death
	switch {
	case d == nil && x.clean:
		return "exit 0: a clean end" + x.afterTold()
	case d == nil && x.dead == nil && len(x.g.processes) == 0:
		return "no death recorded, and no calls"
	case d == nil:
		text := "no death recorded; " + orUnknown(oneLine(x.meta.State))
		if len(claims) > 0 && claims[0].Confidence != Low {
			text += ": " + cmp.Or(claims[0].brief, claims[0].Text)
		}
		return text
	}
	var b strings.Builder
	switch how.Kind {
	case "oom":
		if !d.First {
			fmt.Fprintf(&b, "%s (pid %d), not the container's first process, was ", orUnknown(oneLine(d.Comm)), d.PID)
		}
		b.WriteString("killed for lack of memory")
		if how.OOM.RSSBytes != nil {
			fmt.Fprintf(&b, ", holding %s", byteCount(*how.OOM.RSSBytes))
		}
		if how.OOM.LimitBytes != nil {
			fmt.Fprintf(&b, " of a limit of %s", byteCount(*how.OOM.LimitBytes))
		}
		return b.String()
	case "none":
		return fmt.Sprintf("exit %d: a clean end", *how.ExitCode)
	case "exit":
		fmt.Fprintf(&b, "exit %d", *how.ExitCode)
		if *how.ExitCode > 128 && *how.ExitCode < 128+65 && len(claims) == 0 {
			b.WriteString(", by the program itself: no signal ended it")
		}
	case "seccomp":
		b.WriteString("killed by seccomp")
		if name := x.filteredCall(); name != "" {
			fmt.Fprintf(&b, " for calling %s", name)
		}
		return b.String()
	default:
		b.WriteString(*how.Signal)
		if how.Code != nil && how.Address != nil {
			fmt.Fprintf(&b, " (%s) at %s", *how.Code, *how.Address)
		}
		switch {
		case x.self():
			b.WriteString(", raised by the process itself")
		case how.Sender != nil:
			fmt.Fprintf(&b, " from %s", how.Sender)
		case d.Sender != nil && d.Sender.Kernel:
			b.WriteString(" from the kernel")
		}
		if x.signalNumber() == sigKILL {
			b.WriteString(x.afterTold())
		}
		if n := x.signalNumber(); x.meta.Deletion != nil && isRuntime(how.Sender) && (n == sigKILL || n == sigTERM) {
			b.WriteString(", as its pod was being deleted")
		}
		if d.TID != d.PID && (x.self() || faults(x.signalNumber())) {
			fmt.Fprintf(&b, ", in thread %d", d.TID)
		}
	}
	for _, c := range claims {
		if c.Confidence == Low {
			break
		}
		switch {
		case how.Kind == "exit" && c.Kind == "killed" && c.brief == "":
			s := x.toldToEnd()
			fmt.Fprintf(&b, ", %s after %s from %s", span(x.at-s.time), decode.SignalName(s.Signal.Signal), x.sender(s.Signal.Sender, s.PID, s.Code))
		case c.Kind == "last_words":
			fmt.Fprintf(&b, ": %s", c.brief)
		case c.Kind == "hang":
			fmt.Fprintf(&b, "; %s", cmp.Or(c.brief, c.Text))
		case c.Kind == "bad_address" && c.brief == "":
			if c.Subject == "stack" {
				b.WriteString(": the stack overflowed")
			}
		case c.Kind == "killed" && c.brief == "":
			continue
		case c.brief != "" && (how.Kind == "exit" || c.Confidence == High):
			fmt.Fprintf(&b, ", %s after %s", span(x.at-c.time), c.brief)
		default:
			continue
		}
		break
	}
	return b.String()
}
