package decode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A Verdict is what a history tells of a death. Its JSON is a part of the API.
type Verdict struct {
	How       How         `json:"how"`
	Thread    *Thread     `json:"thread"` // which died, or whose end it was; nil if none did
	Time      string      `json:"time"`   // RFC 3339: of the death; without one, of the history
	Summary   string      `json:"summary"`
	Claims    []Claim     `json:"claims"` // what may have led to it, the latest first
	LastWords []LastWords `json:"lastWords"`
	// Running are the calls that had not returned: at the death, or at the history's
	// instant.
	Running []Running `json:"running"`
	// Complete says that nothing of the container's life is missing.
	Complete      bool   `json:"complete"`
	CompleteSince string `json:"completeSince"`
}

// How is the way in which a process died.
type How struct {
	Kind     string  `json:"kind"`     // exit, signal, oom, seccomp, or none: it lives, or ended well
	ExitCode *int    `json:"exitCode"` // as a container runtime reports it: 128+signal
	Signal   *string `json:"signal"`
	Code     *string `json:"code"`    // si_code
	Address  *string `json:"address"` // the address that a fault was about
	Core     bool    `json:"core"`
	OOM      *OOM    `json:"oom"`
	Sender   *Sender `json:"sender"` // of a signal that a process sent
}

// OOM is what is known of a kill for lack of memory.
type OOM struct {
	RSSBytes   *uint64 `json:"rssBytes"`   // anonymous memory of the victim; null: not known
	LimitBytes *uint64 `json:"limitBytes"` // nil: not known
	Victim     string  `json:"victim"`     // its name
}

// Sender is who sent a signal. What is not known is nil.
type Sender struct {
	PID       uint32  `json:"pid"` // as the receiver sees it
	Comm      *string `json:"comm"`
	Pod       *string `json:"pod"`
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
	Evidence   []uint64 `json:"evidence"`   // Seqs of events
}

// LastWords is what a process wrote last to its standard error.
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

// How much a verdict shows.
const (
	maxClaims    = 5
	maxWords     = 4096 // bytes
	maxWrites    = 40
	maxLastCalls = 20
)

// Explain gathers the facts about the death that a history holds; of a history without
// one, what runs.
func Explain(h *ringstore.History) *Verdict {
	x := explanation{h: h, at: h.Now}
	v := &Verdict{Claims: []Claim{}, LastWords: []LastWords{}, Running: []Running{}}
	if d := h.Meta.Death; d != nil {
		x.death, x.at = d, d.Time
		v.Thread = &Thread{PID: d.PID, TID: d.TID, Comm: d.Comm}
	}
	v.Time = wallString(&h.Meta, x.at)
	v.How = x.how()
	v.CompleteSince = wallString(&h.Meta, max(h.CompleteSince, h.Meta.Armed))
	v.Complete = h.CompleteSince <= h.Meta.Armed
	for cause, n := range h.Meta.Lost {
		// What came after the death is no loss.
		v.Complete = v.Complete && (n == 0 || cause == "frozen")
	}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind != ringstore.KindCall {
			continue
		}
		if view := viewOf(h.Meta.Arch, e); e.Unfinished && view.ret.Format != syscalls.RetNone {
			v.Running = append(v.Running, Running{
				TID:     e.TID,
				Call:    callName(h.Meta.Arch, e),
				Seconds: float64((max(x.at-e.Start, 0)+500)/1000*1000) / 1e9,
			})
		}
		if x.death == nil || e.PID == x.death.PID {
			x.own = append(x.own, e)
		}
	}
	var blamed *ringstore.Event
	if x.death != nil {
		v.Claims, blamed = x.claims()
		v.LastWords = x.lastWords()
	}
	v.Summary = x.summary(&v.How, blamed)
	return v
}

// An explanation is a history looked at for its death.
type explanation struct {
	h     *ringstore.History
	death *ringstore.Death
	at    int64              // of the death, or of the history
	own   []*ringstore.Event // the calls of the process that died
}

func (x *explanation) how() How {
	d := x.death
	if d == nil {
		return How{Kind: "none"}
	}
	code := d.ExitCode()
	how := How{Kind: d.Kind, ExitCode: &code, Core: d.Status&coreFlag != 0 && d.Status&0x7f != 0}
	signal := d.Signal
	if signal == 0 {
		signal = d.Status & 0x7f
	}
	if d.Kind == "exit" && signal == 0 {
		if code == 0 {
			how.Kind = "none"
		}
		return how
	}
	name := string(appendSignal(nil, uint64(signal)))
	how.Signal = &name
	if d.Kind == "oom" {
		const page = 4096
		how.OOM = &OOM{Victim: d.Comm}
		if d.RSSPages != 0 {
			rss := uint64(d.RSSPages) * page
			how.OOM.RSSBytes = &rss
		}
		return how
	}
	if d.Signal == 0 {
		return how // only the status tells of it
	}
	si := sicode(signal, d.Code)
	if si == "" {
		si = strconv.Itoa(int(d.Code))
	}
	how.Code = &si
	switch signal {
	case sigSYS:
		if d.Code > 0 {
			how.Kind = "seccomp"
		}
		fallthrough
	case sigILL, sigFPE, sigBUS, sigSEGV, sigTRAP:
		if d.Code > 0 {
			address := string(appendHexJSON(nil, d.Addr))
			how.Address = &address
		}
	}
	if d.Code <= 0 && d.SenderPID != 0 {
		how.Sender = &Sender{PID: d.SenderPID}
	}
	return how
}

// failures returns the last n calls of the process that failed and whose failure is
// not routine, the latest first; of those that want accepts.
func (x *explanation) failures(n int, want func(e *ringstore.Event) bool) []*ringstore.Event {
	var out []*ringstore.Event
	for _, e := range slices.Backward(x.own) {
		if len(out) == n {
			break
		}
		if failed(e) && !syscalls.Routine(int(-e.Ret)) && want(e) {
			out = append(out, e)
		}
	}
	return out
}

// claims makes claims of the last failed calls whose kind their error tells for
// certain, and returns the latest of those calls.
func (x *explanation) claims() ([]Claim, *ringstore.Event) {
	claims := []Claim{}
	var latest *ringstore.Event
	x.failures(-1, func(e *ringstore.Event) bool {
		v := viewOf(x.h.Meta.Arch, e)
		subject, path := v.subject()
		kind := claimKind(int(-e.Ret), path)
		if kind == "" {
			return false
		}
		if latest == nil {
			latest = e
		}
		for i := range claims {
			if c := &claims[i]; c.Kind == kind && c.Subject == subject {
				c.Evidence = append(c.Evidence, e.Seq)
				return true
			}
		}
		if len(claims) < maxClaims {
			_, message := syscalls.Errno(int(-e.Ret))
			claims = append(claims, Claim{
				Kind:       kind,
				Text:       v.brief(subject) + " failed: " + message,
				Subject:    subject,
				Confidence: "low",
				Evidence:   []uint64{e.Seq},
			})
		}
		return true
	})
	for i := range claims {
		// The latest of repeated failures are enough.
		claims[i].Evidence = claims[i].Evidence[:min(len(claims[i].Evidence), maxClaims)]
	}
	return claims, latest
}

// claimKind tells what an error is evidence of, where the error alone tells it.
func claimKind(errno int, path bool) string {
	switch name, _ := syscalls.Errno(errno); name {
	case "ENOENT":
		if path {
			return "missing_file"
		}
	case "EACCES", "EPERM":
		return "denied"
	case "ECONNREFUSED":
		return "refused"
	case "ENOSPC":
		return "no_space"
	case "ENOMEM":
		return "no_memory"
	case "EMFILE", "ENFILE":
		return "no_files"
	}
	return ""
}

// subject returns the path or socket address that a call is about, and whether it is a
// path; or "".
func (v *view) subject() (string, bool) {
	for i := range v.args {
		a := &v.args[i]
		switch a.Format {
		case syscalls.FormatPath:
			if c := v.target(a); c != nil {
				return strings.ToValidUTF8(string(c.Data), "\ufffd"), true
			}
		case syscalls.FormatSockaddr:
			if b := v.sockaddr(a); b != nil {
				return socketName(b), false
			}
		}
	}
	return "", false
}

// socketName is a socket address as people write it.
func socketName(b []byte) string {
	var a struct {
		Family any
		Addr   string
		Port   int
		Path   any
	}
	if json.Unmarshal(appendSockaddrJSON(nil, b), &a) != nil {
		return ""
	}
	if path, ok := a.Path.(string); ok {
		return path
	}
	if strings.Contains(a.Addr, ":") {
		return fmt.Sprintf("[%s]:%d", a.Addr, a.Port)
	}
	if a.Addr != "" {
		return fmt.Sprintf("%s:%d", a.Addr, a.Port)
	}
	return fmt.Sprint(a.Family)
}

// brief is a call as a sentence needs it.
func (v *view) brief(subject string) string {
	dst := v.appendName(nil)
	dst = append(dst, '(')
	if subject != "" {
		dst = appendQuoted(dst, []byte(subject), false)
	}
	return string(append(dst, ')'))
}

// lastWords gathers what the process wrote last to its standard error.
func (x *explanation) lastWords() []LastWords {
	const stderr = 2
	var texts []string
	var evidence []uint64
	size := 0
	for _, e := range slices.Backward(x.own) {
		v := viewOf(x.h.Meta.Arch, e)
		text, ok := v.written(stderr)
		if !ok {
			continue
		}
		if size += len(text); size > maxWords && len(texts) > 0 || len(texts) == maxWrites {
			break
		}
		texts = append(texts, text)
		evidence = append(evidence, e.Seq)
	}
	if len(texts) == 0 {
		return []LastWords{}
	}
	slices.Reverse(texts)
	slices.Reverse(evidence)
	return []LastWords{{FD: stderr, Text: strings.Join(texts, ""), Evidence: evidence}}
}

// written returns what a call wrote to a descriptor.
func (v *view) written(fd int32) (string, bool) {
	if len(v.args) < 2 || v.args[0].Format != syscalls.FormatFD || int32(v.arg(v.args[0].Index)) != fd || !v.e.Unfinished && v.failed() {
		return "", false
	}
	a := &v.args[1]
	if a.Out != syscalls.In {
		return "", false
	}
	var c *ringstore.Capture
	total := uint64(0)
	switch a.Format {
	case syscalls.FormatData:
		c, total = v.capture(a.Index, false, 0), v.length(a)
	case syscalls.FormatIovec:
		c = v.capture(a.Index, false, 1)
		if array := v.capture(a.Index, false, 0); array != nil {
			pieces(array.Data, nil, false, ^uint64(0), func(_ int, p piece) { total += p.length })
		}
	}
	if c == nil || len(c.Data) == 0 {
		return "", false
	}
	text := strings.ToValidUTF8(string(c.Data), "\ufffd")
	if uint64(len(c.Data)) < total {
		text += "..."
	}
	return text, true
}

// raised tells that the last call of the thread that died sent the signal.
func (x *explanation) raised() bool {
	for _, e := range slices.Backward(x.own) {
		if e.TID != x.death.TID {
			continue
		}
		v := viewOf(x.h.Meta.Arch, e)
		for i := range v.args {
			a := &v.args[i]
			if a.Format == syscalls.FormatSignal && v.call.Class == "Signals" && v.call.Group == "Sending" {
				return uint32(v.arg(a.Index)) == x.death.Signal
			}
		}
		return false
	}
	return false
}

// summary says it in a line.
func (x *explanation) summary(how *How, blamed *ringstore.Event) string {
	d := x.death
	if d == nil {
		if n := len(x.h.Events); n > 0 {
			return "no death recorded; " + orUnknown(clean(x.h.Meta.State))
		}
		return "no death recorded, and no calls"
	}
	var b strings.Builder
	switch how.Kind {
	case "oom":
		b.WriteString("killed for lack of memory")
		if how.OOM.RSSBytes != nil {
			fmt.Fprintf(&b, ", holding %s", byteCount(*how.OOM.RSSBytes))
		}
	case "exit", "none":
		fmt.Fprintf(&b, "exit %d", *how.ExitCode)
	case "seccomp":
		b.WriteString("killed by seccomp")
	default:
		b.WriteString(*how.Signal)
		if how.Code != nil && how.Sender == nil {
			fmt.Fprintf(&b, " (%s)", *how.Code)
		}
		if how.Address != nil {
			fmt.Fprintf(&b, " at %s", *how.Address)
		}
		if x.raised() {
			b.WriteString(", raised by the process itself")
		} else if how.Sender != nil {
			fmt.Fprintf(&b, " from pid %d", how.Sender.PID)
		}
	}
	if how.Kind == "exit" && blamed != nil {
		v := viewOf(x.h.Meta.Arch, blamed)
		subject, _ := v.subject()
		name, _ := syscalls.Errno(int(-blamed.Ret))
		fmt.Fprintf(&b, ", %s after %s = %s", span(x.at-ended(x.h, blamed)), v.brief(subject), name)
	}
	return b.String()
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

// WriteVerdict writes a verdict as JSON, or as a page with the calls that belong to it,
// which come from h, the history that was explained.
func WriteVerdict(w io.Writer, format string, v *Verdict, h *ringstore.History) error {
	if err := CheckFormat(format); err != nil {
		return err
	}
	if format == JSON {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encoding the verdict: %w", err)
		}
		_, err = w.Write(append(data, '\n'))
		return err
	}
	var b bytes.Buffer
	b.Write(appendHeader(nil, h))
	fmt.Fprintf(&b, "\n%s\n", v.Summary)
	if t := v.Thread; t != nil {
		fmt.Fprintf(&b, "%s, process %d, thread %d, at %s\n", clean(orUnknown(t.Comm)), t.PID, t.TID, v.Time)
	}
	x := explanation{h: h, death: h.Meta.Death}
	var calls []*ringstore.Event // the last ones that have a line, the latest first
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind == ringstore.KindCall && (x.death == nil || e.PID == x.death.PID) {
			x.own = append(x.own, e)
		}
	}
	for i := len(h.Events) - 1; i >= 0 && len(calls) < maxLastCalls; i-- {
		e := &h.Events[i]
		if (x.death == nil || e.PID == x.death.PID) && hasLine(e) {
			calls = append(calls, e)
		}
	}
	slices.Reverse(calls)
	section := func(title string, events []*ringstore.Event) {
		if len(events) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s:\n", title)
		for _, e := range events {
			b.Write(AppendText(nil, &h.Meta, e))
		}
	}
	failures := x.failures(maxClaims, func(*ringstore.Event) bool { return true })
	slices.Reverse(failures)
	section("last failed calls", failures)
	for _, words := range v.LastWords {
		fmt.Fprintf(&b, "\nlast words (fd %d):\n", words.FD)
		for line := range strings.Lines(words.Text) {
			fmt.Fprintf(&b, "  %s\n", clean(strings.TrimSuffix(line, "\n")))
		}
	}
	if len(v.Running) > 0 {
		b.WriteString("\nrunning calls:\n")
		for i, r := range v.Running {
			if i == maxLastCalls {
				fmt.Fprintf(&b, "  and %d more\n", len(v.Running)-i)
				break
			}
			fmt.Fprintf(&b, "  %-5d %s for %s\n", r.TID, r.Call, span(int64(r.Seconds*1e9)))
		}
	}
	section("last calls", calls)
	_, err := w.Write(b.Bytes())
	return err
}
