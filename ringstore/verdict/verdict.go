// Package verdict tells from a history how a container died and why: which facts the kernel
// side saw, and what the calls before them are evidence of.
//
// It says nothing that the history does not: each claim points to the records behind it by
// their sequence numbers, and carries how sure it is. ARCHITECTURE.md ("The verdict") says
// which evidence counts. A history is gone through twice, event by event, and what is kept
// of it is bounded, whatever it holds. Functions may be called at once from several
// goroutines.
package verdict

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A Verdict is what a history tells of a death. Its JSON is a part of the API.
type Verdict struct {
	How       How         `json:"how"`
	Thread    *Thread     `json:"thread"` // which died, or whose end it was; nil if none did
	Time      string      `json:"time"`   // RFC 3339: of the death; without one, of the history
	Summary   string      `json:"summary"`
	Claims    []Claim     `json:"claims"` // what may have led to it, the surest first
	LastWords []LastWords `json:"lastWords"`
	// Running are the calls that had not returned: at the death, or at the history's
	// instant. The longest ones come first.
	Running []Running `json:"running"`
	// Complete says that nothing of the container's life is missing.
	Complete      bool   `json:"complete"`
	CompleteSince string `json:"completeSince"`
	// Stack is the user stack of the thread that died by a signal; nil: there is none.
	Stack *ringstore.Stack `json:"stack,omitempty"`

	lines []string // the last calls, and those that are evidence, as text
}

// How is the way in which a process died.
type How struct {
	Kind     string  `json:"kind"`     // exit, signal, oom, seccomp, or none: it lives, or ended well
	ExitCode *int    `json:"exitCode"` // as a container runtime reports it: 128+signal
	Signal   *string `json:"signal"`
	Code     *string `json:"code"`    // si_code
	Address  *string `json:"address"` // the address that a fault was about
	Core     bool    `json:"core"`    // a core was dumped
	OOM      *OOM    `json:"oom"`
	Sender   *Sender `json:"sender"` // of a signal that a process sent
}

// OOM is what is known of a kill for lack of memory.
type OOM struct {
	RSSBytes   *uint64 `json:"rssBytes"`   // what the victim held; the kernel's own estimate. nil: not known
	LimitBytes *uint64 `json:"limitBytes"` // of the memory cgroup that was full; nil: none was, or not known
	Victim     string  `json:"victim"`     // its name
}

// Sender is who sent a signal. What is not known is nil.
type Sender struct {
	PID       uint32  `json:"pid"` // of the host, where Comm is known; else as the receiver saw it
	Comm      *string `json:"comm"`
	Pod       *string `json:"pod"` // NAMESPACE/NAME
	Container *string `json:"container"`
}

// Thread names a thread, with ids of the host.
type Thread struct {
	PID  uint32 `json:"pid"`
	TID  uint32 `json:"tid"`
	Comm string `json:"comm"`
}

// A Claim is something that may have led to the death.
type Claim struct {
	Kind       string   `json:"kind"`
	Text       string   `json:"text"`
	Subject    string   `json:"subject"`    // the path, address or name that it is about
	Confidence string   `json:"confidence"` // low, medium or high
	Evidence   []uint64 `json:"evidence"`   // Seqs of events, in their order

	brief string // for the summary: what happened, without how often
	time  int64  // of its last record
	count int
	first int64
	named bool // its subject stands in the last words
	last  bool // it comes last, however sure: it says no more than how
}

// How sure a claim is.
const (
	High   = "high"
	Medium = "medium"
	Low    = "low"
)

// LastWords is what a process wrote last to its standard output or error.
type LastWords struct {
	FD       int      `json:"fd"`
	Text     string   `json:"text"` // `...` where a write was not recorded whole
	Evidence []uint64 `json:"evidence"`
}

// Running is a call that had not returned.
type Running struct {
	TID     uint32  `json:"tid"`
	Call    string  `json:"call"`
	Seconds float64 `json:"seconds"` // since its entry
}

const maxClaims = 5

// Explain tells how the container of a history died and why; of a history without a death,
// what runs. events yields the history's events in their order, each time that it is asked;
// those in h are not looked at.
func Explain(h *ringstore.History, events iter.Seq[*ringstore.Event]) *Verdict {
	x := explanation{h: h, meta: &h.Meta, at: h.Now, death: h.Meta.Death}
	g := newGatherer(&h.Meta)
	for e := range events {
		g.add(e)
	}
	x.g = g
	v := &Verdict{Claims: []Claim{}, LastWords: []LastWords{}, Running: []Running{}}
	x.find()
	if x.death != nil {
		x.at = x.death.Time
	}
	v.Thread, v.How = x.thread(), x.how()
	v.Time = wall(&h.Meta, x.at)
	v.CompleteSince = wall(&h.Meta, max(h.CompleteSince, h.Meta.Armed))
	v.Complete = h.CompleteSince <= h.Meta.Armed && !h.Meta.Late && len(h.Meta.Gaps) == 0
	for cause, n := range h.Meta.Lost {
		// What came after the death is no loss.
		v.Complete = v.Complete && (n == 0 || cause == "frozen")
	}
	v.Running = x.running()
	v.LastWords = x.lastWords()
	v.Claims = x.claims(&v.How, v.LastWords)
	v.Summary = x.summary(&v.How, v.Claims)
	x.quote(v, events)
	v.Stack = h.Meta.Stack
	return v
}

// ExplainHistory is Explain for a history that holds its events.
func ExplainHistory(h *ringstore.History) *Verdict { return Explain(h, h.All()) }

// An explanation is a history looked at for its death.
type explanation struct {
	h     *ringstore.History
	meta  *ringstore.Meta
	g     *gatherer
	at    int64 // of the death, or of the history
	death *ringstore.Death
	dead  *process // nil: none died, or nothing is known of it
	clean bool     // the first process ended with 0
}

// find finds the process that the verdict is about.
func (x *explanation) find() {
	if x.death != nil {
		if x.dead = x.g.processes[x.death.PID]; x.dead == nil || x.death.Kind == "exit" {
			return
		}
		// The signal that ended it took its threads out of their calls.
		for _, tid := range slices.Sorted(maps.Keys(x.dead.threads)) {
			if t := x.dead.threads[tid]; t.interrupted != nil && t.interrupted.start <= x.death.Time {
				x.dead.running = append(x.dead.running, *t.interrupted)
			}
		}
		return
	}
	// A clean end freezes nothing: the history just tells of it.
	for _, p := range x.g.processes {
		if p.end != nil && p.end.first && (x.dead == nil || p.end.time > x.dead.end.time) {
			x.dead = p
		}
	}
	if x.dead == nil {
		return
	}
	for _, p := range x.g.processes {
		if p.end == nil {
			x.dead = nil // others live
			return
		}
	}
	x.clean, x.at = true, x.dead.end.time
}

func wall(m *ringstore.Meta, ns int64) string {
	return time.Unix(0, ns+m.WallOffset).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (x *explanation) thread() *Thread {
	switch d := x.death; {
	case d == nil && x.dead == nil:
		return nil
	case d == nil:
		return &Thread{PID: x.dead.pid, TID: x.dead.pid, Comm: x.dead.comm}
	case d.Kind == "exit" && x.dead != nil && x.dead.exit != nil:
		// The last thread to go is not the one that ended the others.
		t := &Thread{PID: d.PID, TID: x.dead.exit.tid, Comm: x.dead.exit.comm}
		if t.Comm == "" {
			t.Comm = d.Comm
		}
		return t
	default:
		return &Thread{PID: d.PID, TID: d.TID, Comm: d.Comm}
	}
}

// Signals that a verdict treats in a way of their own.
const (
	sigINT  = 2
	sigQUIT = 3
	sigILL  = 4
	sigTRAP = 5
	sigABRT = 6
	sigBUS  = 7
	sigFPE  = 8
	sigKILL = 9
	sigSEGV = 11
	sigPIPE = 13
	sigTERM = 15
	sigSYS  = 31
)

// coreFlag is the bit of a wait status that says that a core was dumped.
const coreFlag = 0x80

func (x *explanation) signalNumber() uint32 {
	if d := x.death; d != nil && d.Kind != "exit" {
		return cmp.Or(d.Signal, d.Status&0x7f)
	}
	if x.death != nil {
		return x.death.Status & 0x7f
	}
	return 0
}

func (x *explanation) how() How {
	d := x.death
	if d == nil {
		if x.clean {
			code := int(x.dead.end.status >> 8 & 0xff)
			return How{Kind: "none", ExitCode: &code}
		}
		return How{Kind: "none"}
	}
	code := d.ExitCode()
	how := How{Kind: "signal", ExitCode: &code, Core: d.Status&coreFlag != 0 && d.Status&0x7f != 0}
	number := x.signalNumber()
	switch {
	case d.Kind == "oom":
		how.Kind = "oom"
		number = cmp.Or(number, sigKILL)
	case number == 0 && code == 0:
		how.Kind = "none"
		return how
	case number == 0:
		how.Kind = "exit"
		return how
	}
	name := decode.SignalName(number)
	how.Signal = &name
	if d.Kind == "oom" {
		how.OOM = x.oom()
		return how
	}
	if d.Signal == 0 {
		return how // only the status tells of it
	}
	if number != sigKILL || d.Sender != nil {
		si := decode.SignalCode(number, d.Code)
		how.Code = &si
	}
	if number == sigSYS && d.Code > 0 {
		how.Kind = "seccomp"
	}
	if faults(number) && d.Code > 0 {
		address := fmt.Sprintf("0x%x", d.Addr)
		how.Address = &address
	}
	how.Sender = x.sender(d.Sender, d.SenderPID, d.Code)
	return how
}

// faults tells that a signal of the kernel has an address.
func faults(number uint32) bool {
	switch number {
	case sigILL, sigTRAP, sigBUS, sigFPE, sigSEGV, sigSYS:
		return true
	}
	return false
}

// sender names who sent a signal; nil: no process did, or it is not known.
func (x *explanation) sender(s *ringstore.Sender, pid uint32, code int32) *Sender {
	switch {
	case s != nil && s.Kernel:
		return nil
	case s == nil && code <= 0 && pid != 0:
		return &Sender{PID: pid}
	case s == nil:
		return nil
	}
	out := &Sender{PID: s.PID, Comm: &s.Comm}
	for _, peer := range x.meta.Peers {
		if peer.Cgroup == s.Cgroup {
			pod := peer.Namespace + "/" + peer.Pod
			out.Pod, out.Container = &pod, &peer.Container
		}
	}
	if out.Pod == nil && s.Cgroup != 0 && s.Cgroup == x.meta.CgroupID {
		pod := x.meta.Namespace + "/" + x.meta.Pod
		out.Pod, out.Container = &pod, &x.meta.Container
	}
	return out
}

func (x *explanation) oom() *OOM {
	d := x.death
	page := uint64(cmp.Or(x.meta.PageSize, 4096))
	oom := &OOM{Victim: d.Comm}
	if d.RSSPages != 0 {
		rss := d.RSSPages * page
		oom.RSSBytes = &rss
	}
	// A limit that was not reached is not why.
	if d.LimitPages != 0 && d.UsedPages >= d.LimitPages-d.LimitPages/10 {
		limit := d.LimitPages * page
		oom.LimitBytes = &limit
	}
	return oom
}

// running lists the calls that had not returned, the longest first.
func (x *explanation) running() []Running {
	out := []Running{}
	for _, p := range x.g.processes {
		for _, r := range p.running {
			out = append(out, Running{TID: r.tid, Call: r.name, Seconds: float64((max(x.at-r.start, 0)+500)/1000*1000) / 1e9})
		}
	}
	slices.SortFunc(out, func(a, b Running) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.TID, b.TID), cmp.Compare(a.Call, b.Call))
	})
	return out
}

// suspects are the process that died and, of those that it waited for, the ones whose
// failure it passed on.
func (x *explanation) suspects() []suspect {
	if x.dead == nil || x.clean {
		return nil
	}
	list := []suspect{{process: x.dead, end: x.at}}
	code := -1
	if x.death != nil && x.signalNumber() == 0 {
		code = x.death.ExitCode()
	}
	for len(list) < 4 && code > 0 {
		last := list[len(list)-1]
		found := false
		for _, c := range slices.Backward(last.process.children) {
			p := x.g.processes[c.pid]
			if p == nil || p.end == nil || p == last.process {
				continue
			}
			passed := exitCode(c.status) == code
			if !passed && last.process.calls-c.calls > nearCalls {
				continue
			}
			list = append(list, suspect{process: p, end: p.end.time, waited: &c, passed: passed, parent: last.process})
			code, found = exitCode(c.status), true
			break
		}
		if !found {
			break
		}
	}
	return list
}

// A suspect is a process whose failures count.
type suspect struct {
	*process
	end    int64
	waited *child // nil: it is the process that died
	passed bool   // its parent ended with the same code
	parent *process
}

// exitCode is what a shell makes of a wait status.
func exitCode(status uint32) int {
	if s := status & 0x7f; s != 0 {
		return 128 + int(s)
	}
	return int(status >> 8 & 0xff)
}

// lastWords are what the suspects wrote last.
func (x *explanation) lastWords() []LastWords {
	out := []LastWords{}
	list := x.suspects()
	if x.clean {
		list = []suspect{{process: x.dead}}
	}
	for _, fd := range []int{2, 1} {
		var all []word
		for _, s := range list {
			all = append(all, s.words[fd].texts...)
		}
		slices.SortStableFunc(all, func(a, b word) int { return cmp.Compare(a.time, b.time) })
		size := 0
		for i := len(all) - 1; i >= 0; i-- {
			if size += len(all[i].text); size > maxWords {
				all = all[i+1:]
				break
			}
		}
		if len(all) > maxWrites {
			all = all[len(all)-maxWrites:]
		}
		if len(all) == 0 {
			continue
		}
		words := LastWords{FD: fd, Evidence: []uint64{}}
		var b strings.Builder
		for i, w := range all {
			b.WriteString(w.text)
			if w.cut {
				b.WriteString("...")
				if i < len(all)-1 {
					b.WriteByte('\n')
				}
			}
			if w.seq != 0 {
				words.Evidence = append(words.Evidence, w.seq)
			}
		}
		words.Text = b.String()
		out = append(out, words)
	}
	return out
}

// quote renders the last calls, and those that are evidence, which it looks up in a second
// walk through the history.
func (x *explanation) quote(v *Verdict, events iter.Seq[*ringstore.Event]) {
	want := map[eventKey]bool{}
	cited := map[uint64]bool{}
	for _, c := range v.Claims {
		for _, seq := range c.Evidence {
			cited[seq] = true
		}
	}
	list := []*process{x.dead}
	for _, s := range x.suspects() {
		if s.waited != nil {
			list = append(list, s.process)
		}
	}
	if x.dead == nil {
		list = nil
		for _, p := range x.g.processes {
			list = append(list, p)
		}
	}
	var all []eventKey
	for _, p := range list {
		if p != nil {
			all = append(all, p.lines...)
		}
	}
	slices.SortFunc(all, func(a, b eventKey) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.seq, b.seq), cmp.Compare(a.tid, b.tid))
	})
	for _, key := range all[max(0, len(all)-maxLast):] {
		want[key] = true
	}
	if len(want) == 0 && len(cited) == 0 {
		return
	}
	var line []byte
	gap := false
	for e := range events {
		last := want[eventKey{e.Seq, e.TID, e.Start}]
		if !last && !(e.Seq != 0 && cited[e.Seq]) {
			gap = gap || e.Kind == ringstore.KindCall || e.Kind == ringstore.KindUring
			continue
		}
		if line = decode.AppendText(line[:0], x.meta, e); len(line) > 0 {
			if gap && len(v.lines) > 0 {
				v.lines = append(v.lines, "...\n")
			}
			gap = false
			v.lines = append(v.lines, string(line))
		}
	}
}

// message is what the C library says of an error number.
func message(errno int) string {
	if _, m := syscalls.Errno(errno); m != "" {
		return m
	}
	return fmt.Sprintf("error %d", errno)
}

func errnoName(errno int) string {
	if name, _ := syscalls.Errno(errno); name != "" {
		return name
	}
	return fmt.Sprintf("error %d", errno)
}
