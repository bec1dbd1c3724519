package verdict

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// Bounds of what is kept while a history goes by, whatever it holds.
const (
	maxProcesses = 1024 // the oldest that ended are forgotten first
	maxFailures  = 256  // of a process, by what they are about
	keptFailures = 32   // when it has ended
	maxFiles     = 1024 // descriptors of a process whose path is known
	maxSignals   = 16
	maxMaps      = 64
	maxChildren  = 8 // that were waited for and had failed
	maxWords     = 4096
	maxWrites    = 100
	maxLast      = 14 // lines of the last calls
	maxEvidence  = 5
	maxFiltered  = 8 // threads
)

// A role is what a call means for the verdict, beside that it may fail.
type role uint8

const (
	roleNone role = iota
	roleOpen
	roleClose
	roleDup
	roleConnect
	roleOption
	roleWrite
	roleExit
	roleExec
	roleWait
	roleChdir
	roleMap
	roleRead
	rolePoll
)

var roles = map[string]role{
	"open": roleOpen, "openat": roleOpen, "openat2": roleOpen, "creat": roleOpen,
	"close": roleClose, "dup": roleDup, "dup2": roleDup, "dup3": roleDup,
	"connect": roleConnect, "getsockopt": roleOption,
	"write": roleWrite, "writev": roleWrite, "pwrite64": roleWrite, "pwritev": roleWrite, "sendto": roleWrite, "sendmsg": roleWrite,
	"read": roleRead, "recvfrom": roleRead, "recvmsg": roleRead, "poll": rolePoll, "ppoll": rolePoll,
	"exit_group": roleExit, "execve": roleExec, "execveat": roleExec,
	"wait4": roleWait, "waitpid": roleWait, "chdir": roleChdir, "mmap": roleMap, "mmap2": roleMap,
}

// A gatherer takes in a history event by event, and keeps of it what a verdict needs.
type gatherer struct {
	meta      *ringstore.Meta
	roles     [3][]role // by ABI and number
	processes map[uint32]*process
	ended     []uint32 // processes that ended, the oldest first
	last      *process // asked for last
}

// A process is what is known of one while it lives, and after it failed.
type process struct {
	pid, parent uint32
	comm        string
	calls       int // made so far
	begun       int64
	failures    map[subjectKey]*failure
	names       map[nameKey][]*failure // the same, by what would make them good
	files       map[int32]string       // descriptor -> path or address
	pending     map[int32]int64        // descriptor -> when its connect began
	cwd         string
	words       [3]words // of descriptors 1 and 2
	signals     []signal
	children    []child
	threads     map[uint32]*thread
	running     []running
	exit        *exit // exit_group
	program     string
	lines       []eventKey // its last ones, a ring
	end         *end       // nil: it lives
	odd         uint64     // its last call that was not entered
	unmade      map[uint32]unmade
	filtered    []filteredThread // that a seccomp filter ended
	maps        []mapping        // of files
}

// unmade is the call for which a filter ended a thread.
type unmade struct {
	name string
	seq  uint64
}

// A filteredThread is one that a seccomp filter ended, while its process went on.
type filteredThread struct {
	tid      uint32
	comm     string
	call     string // "": not known
	time     int64
	evidence []uint64
}

// A mapping is a file in a process's memory.
type mapping struct {
	start, length uint64
	file          string
}

// A thread is where one of a process was seen last.
type thread struct {
	comm  string
	since int64 // when its last call ended
	calls int
	// interrupted is the call that a signal took it out of, if it made none since then: it
	// is still in it, as far as the program is concerned.
	interrupted *running
}

type eventKey struct {
	seq   uint64
	tid   uint32
	start int64
}

type exit struct {
	tid  uint32
	comm string
	code int
	time int64
	seq  uint64
}

type end struct {
	status uint32
	time   int64
	seq    uint64
	oom    bool
	first  bool
}

type child struct {
	pid    uint32
	status uint32
	time   int64
	calls  int // of the parent, when it learned of it
	seq    uint64
}

type signal struct {
	ringstore.Signal
	tid  uint32
	time int64
	seq  uint64
}

type running struct {
	tid     uint32
	name    string
	start   int64
	seq     uint64
	forever bool // it waits for a lock, without a timeout
	idle    bool // it waits for something to do
	nr      uint16
	args    [2]uint64
}

// A subjectKey is what failures have in common that are counted as one.
type subjectKey struct {
	family  string // file, exec, or the call's name
	subject string
	errno   int
}

// A nameKey is a subject without its directory: what is found under the same name
// elsewhere was only looked for in the wrong place first.
type nameKey struct {
	family, name string
}

func nameOf(family, subject string) nameKey {
	switch family {
	case "file", "exec":
		subject = path.Base(subject)
	case "dns":
		subject, _, _ = strings.Cut(subject, ".") // it is tried with several domains
	}
	return nameKey{family, subject}
}

// A failure is a call that failed, as often as it did so with the same subject.
type failure struct {
	subjectKey
	name        string // of the call that failed last
	tid         uint32
	count       int
	first, last int64 // when it failed
	calls       int   // of the process, when it failed last
	evidence    []uint64
	opens       bool // it was to be opened, executed, or made; not only asked for
	path        bool
	denied      bool   // by a filter: the call was not entered
	by          string // the name server that said so
	fd          int32
}

// words are what was written to a descriptor last.
type words struct {
	texts []word
	size  int
}

type word struct {
	text string
	cut  bool
	time int64
	seq  uint64
}

func newGatherer(meta *ringstore.Meta) *gatherer {
	g := &gatherer{meta: meta, processes: map[uint32]*process{}}
	for abi := range g.roles {
		table := syscalls.Table(meta.Arch, ringstore.ABI(abi))
		g.roles[abi] = make([]role, len(table))
		for nr, c := range table {
			if c != nil {
				g.roles[abi][nr] = roles[c.Name]
			}
		}
	}
	return g
}

func (g *gatherer) role(e *ringstore.Event) role {
	if int(e.ABI) < len(g.roles) && int(e.Nr) < len(g.roles[e.ABI]) {
		return g.roles[e.ABI][e.Nr]
	}
	return roleNone
}

func (g *gatherer) process(pid uint32) *process {
	if g.last != nil && g.last.pid == pid {
		return g.last
	}
	p := g.processes[pid]
	if p == nil {
		p = &process{pid: pid, failures: map[subjectKey]*failure{}, names: map[nameKey][]*failure{}, files: map[int32]string{}, threads: map[uint32]*thread{}}
		if len(g.processes) >= maxProcesses {
			g.forget()
		}
		g.processes[pid] = p
	}
	g.last = p
	return p
}

// forget makes room: of the processes that ended, the oldest goes; if none did, any but
// the one that died.
func (g *gatherer) forget() {
	keep := uint32(0)
	if g.meta.Death != nil {
		keep = g.meta.Death.PID
	}
	for len(g.ended) > 0 {
		pid := g.ended[0]
		g.ended = g.ended[1:]
		if pid != keep && g.processes[pid] != nil {
			delete(g.processes, pid)
			return
		}
	}
	oldest := uint32(0)
	for pid, p := range g.processes {
		if pid != keep && (oldest == 0 || p.begun < g.processes[oldest].begun) {
			oldest = pid
		}
	}
	delete(g.processes, oldest)
}

func (p *process) thread(tid uint32) *thread {
	t := p.threads[tid]
	if t == nil {
		t = &thread{}
		p.threads[tid] = t
	}
	return t
}

// add takes in one event.
func (g *gatherer) add(e *ringstore.Event) {
	p := g.process(e.PID)
	if p.begun == 0 {
		p.begun = e.Start
	}
	key := eventKey{e.Seq, e.TID, e.Start}
	switch e.Kind {
	case ringstore.KindCall:
		g.call(p, e)
		p.line(key)
	case ringstore.KindUring:
		g.operation(p, e)
		p.line(key)
	case ringstore.KindFork:
		if e.Fork == nil || e.Fork.ChildPID == e.PID {
			return
		}
		delete(g.processes, e.Fork.ChildPID) // an older one's number
		if g.last != nil && g.last.pid == e.Fork.ChildPID {
			g.last = nil
		}
		c := g.process(e.Fork.ChildPID)
		c.parent, c.begun, c.comm, c.cwd, c.program = e.PID, e.Start, p.comm, p.cwd, p.program
		if len(p.files) <= 64 {
			for fd, name := range p.files {
				c.files[fd] = name
			}
		}
	case ringstore.KindExec:
		p.comm = e.Comm
		if e.Exec != nil {
			p.program = string(e.Exec.Filename.Data)
			if old := e.Exec.OldTID; old != e.TID {
				delete(p.threads, old)
				p.line(key)
			}
		}
		// What failed before was another program's.
		clear(p.failures)
		clear(p.names)
		p.maps = nil

	case ringstore.KindCred:
		if e.TID == e.PID && e.Comm != "" {
			p.comm = e.Comm
		}
	case ringstore.KindSignal:
		if e.Signal == nil {
			return
		}
		p.line(key)
		p.signals = append(p.signals, signal{*e.Signal, e.TID, e.Start, e.Seq})
		if len(p.signals) > maxSignals {
			p.signals = p.signals[1:]
		}
	case ringstore.KindExit:
		if e.Exit == nil {
			return
		}
		p.line(key)
		if d := g.meta.Death; d == nil || e.Start < d.Time {
			delete(p.threads, e.TID)
		}
		if p.comm == "" {
			p.comm = e.Comm
		}
		if !e.Exit.Group {
			if last := p.unmade[e.TID]; e.Exit.Status&0x7f == sigSYS && len(p.filtered) < maxFiltered && (g.meta.Death == nil || e.Start < g.meta.Death.Time) {
				p.filtered = append(p.filtered, filteredThread{e.TID, e.Comm, last.name, e.Start, []uint64{last.seq, e.Seq}})
			}
			delete(p.unmade, e.TID)
			return
		}
		p.end = &end{e.Exit.Status, e.Start, e.Seq, e.Exit.OOM, e.Exit.First}
		if d := g.meta.Death; e.Exit.Status == 0 && (d == nil || d.PID != e.PID) && !e.Exit.First {
			// It ended well: nothing of it is evidence.
			delete(g.processes, e.PID)
			g.last = nil
			return
		}
		p.keepFailures(keptFailures)
		g.ended = append(g.ended, e.PID)
	}
}

func (p *process) line(key eventKey) {
	if len(p.lines) == maxLast {
		copy(p.lines, p.lines[1:])
		p.lines = p.lines[:maxLast-1]
	}
	p.lines = append(p.lines, key)
}

// ended is when a call returned, or was seen last.
func ended(e *ringstore.Event) int64 {
	return e.End()
}

func (g *gatherer) call(p *process, e *ringstore.Event) {
	calls := int(min(e.Calls(), math.MaxInt32))
	p.calls += calls
	if e.NoEnter && e.Seq != 0 {
		p.odd = e.Seq
	}
	if e.NoEnter && (e.Unfinished || e.Nr != 0 && e.Ret == int64(e.Nr)) {
		// It was never made: a filter answered with SIGSYS, or ended the thread.
		if p.unmade == nil {
			p.unmade = map[uint32]unmade{}
		}
		if len(p.unmade) < maxFiltered || e.Unfinished {
			p.unmade[e.TID] = unmade{decode.CallName(g.meta.Arch, e), e.Seq}
		}
		return
	}
	t := p.thread(e.TID)
	known := t.calls > 0
	t.calls += calls
	if e.Known {
		t.comm = e.Comm
		if p.comm == "" {
			p.comm = e.Comm
		}
	}
	t.since = max(t.since, ended(e))
	role := g.role(e)
	before := t.interrupted
	if before != nil && decode.CallName(g.meta.Arch, e) != "rt_sigreturn" {
		t.interrupted = nil
	}
	if e.Unfinished {
		if role == roleExit || isExit(g.meta.Arch, e) {
			if role == roleExit && p.exit == nil {
				p.exit = &exit{tid: e.TID, comm: e.Comm, time: e.Start, seq: e.Seq}
				if len(e.Args) > 0 {
					p.exit.code = int(e.Args[0] & 0xff)
				}
			}
			return
		}
		p.running = append(p.running, g.runningOf(e, before))
		if role == roleWrite {
			g.hear(p, e)
		}
		return
	}
	if e.Ret < 0 && e.Ret >= -4095 {
		if restarted(int(-e.Ret)) {
			r := g.runningOf(e, before)
			t.interrupted = &r
		}
		g.failed(p, e, role, known)
		return
	}
	g.worked(p, e, role)
}

// registered is the number from which on descriptors are those of files that are registered
// with io_uring: no process has as many of its own.
const registered = 1 << 30

// canceled is the error number of an operation of io_uring that something else ended: that
// is what counts.
const canceled = 125

// operation takes in an operation of io_uring, like the call that does the same. Its thread
// did not wait in it.
func (g *gatherer) operation(p *process, e *ringstore.Event) {
	c, ok := decode.AsCall(g.meta.Arch, e, registered)
	if !ok || c.Unfinished || c.Ret == -canceled {
		return
	}
	p.calls++
	if c.Ret < 0 && c.Ret >= -4095 {
		g.failed(p, &c, g.role(&c), true)
		return
	}
	g.worked(p, &c, g.role(&c))
}

func isExit(arch string, e *ringstore.Event) bool {
	c := syscalls.Lookup(arch, e.ABI, e.Nr)
	return c != nil && c.Ret.Format == syscalls.RetNone
}

// captured is what an argument of a call pointed to at its entry, or (at its return) was
// filled with.
func captured(e *ringstore.Event, arg int, exit bool) *ringstore.Capture {
	for i := range e.Captures {
		c := &e.Captures[i]
		if c.Arg == arg && c.Status&ringstore.CaptureExit != 0 == exit &&
			c.Status&ringstore.CaptureNone == 0 && (c.Status&ringstore.CaptureFault == 0 || len(c.Data) > 0) {
			return c
		}
	}
	return nil
}

func arg(e *ringstore.Event, i int) uint64 {
	if i < len(e.Args) {
		return e.Args[i]
	}
	return 0
}

// worked takes in a call that returned well: what it makes known, and which failures it
// makes good.
func (g *gatherer) worked(p *process, e *ringstore.Event, role role) {
	switch role {
	case roleClose:
		fd := int32(arg(e, 0))
		if _, ok := p.pending[fd]; ok {
			p.giveUp(fd, e)
		}
		delete(p.files, fd)
		return
	case roleDup:
		if name, ok := p.files[int32(arg(e, 0))]; ok {
			p.name(int32(e.Ret), name)
		} else {
			delete(p.files, int32(e.Ret))
		}
		return
	case roleWrite:
		g.hear(p, e)
		delete(p.pending, int32(arg(e, 0)))
		if c := captured(e, 4, false); c != nil {
			// A datagram of a socket that is not connected.
			if to := socketName(c.Data); isNameServer(to) {
				p.name(int32(arg(e, 0)), to)
			}
		}
		if f := p.files[int32(arg(e, 0))]; f != "" && len(p.failures) > 0 {
			p.recover(decode.CallName(g.meta.Arch, e), f)
		}
		return
	case roleConnect:
		if name := g.address(e); name != "" {
			p.name(int32(arg(e, 0)), name)
			p.recover("connect", name)
		}
		return
	case roleOption:
		g.option(p, e)
		return
	case roleRead:
		fd := int32(arg(e, 0))
		delete(p.pending, fd)
		if server := p.files[fd]; isNameServer(server) {
			p.answer(e, server)
		}
		return
	case rolePoll:
		p.waited(e)
		return
	case roleMap:
		if file := p.files[int32(arg(e, 4))]; file != "" && int32(arg(e, 4)) >= 0 {
			p.maps = append(p.maps, mapping{uint64(e.Ret), arg(e, 1), file})
			if len(p.maps) > maxMaps {
				p.maps = p.maps[1:]
			}
		}
		return
	case roleWait:
		if e.Ret > 0 {
			if c := captured(e, 1, true); c != nil && len(c.Data) >= 4 {
				if status := uint32(c.Data[0]) | uint32(c.Data[1])<<8; status != 0 && status&0xff != 0x7f && status != 0xffff {
					p.children = append(p.children, child{uint32(e.Ret), status, ended(e), p.calls, e.Seq})
					if len(p.children) > maxChildren {
						p.children = p.children[1:]
					}
				}
			}
		}
		return
	}
	if len(p.pending) > 0 && answered(g.meta.Arch, e) {
		delete(p.pending, int32(arg(e, 0)))
	}
	if len(e.Captures) == 0 || len(p.failures) == 0 && role == roleNone {
		return
	}
	subject, isPath := g.subject(p, e)
	if subject == "" {
		return
	}
	switch role {
	case roleOpen:
		p.name(int32(e.Ret), subject)
	case roleChdir:
		p.cwd = subject
	}
	if len(p.failures) == 0 {
		return
	}
	name := decode.CallName(g.meta.Arch, e)
	if isPath {
		p.recover(family(role, name, true), subject)
	} else if name == "bind" {
		p.recover(name, subject) // the port was free at last
	}
}

func (p *process) name(fd int32, name string) {
	if len(p.files) < maxFiles || p.files[fd] != "" {
		p.files[fd] = name
	}
}

// recover takes back the failures that a success makes good: those with the same subject
// and, of files that were looked for, with the same name elsewhere.
func (p *process) recover(family, subject string) {
	key := nameOf(family, subject)
	list := p.names[key]
	if len(list) == 0 {
		return
	}
	list = slices.DeleteFunc(list, func(f *failure) bool {
		good := f.subject == subject || isMissing(f.errno) || family == "dns"
		if good {
			delete(p.failures, f.subjectKey)
		}
		return good
	})
	if p.names[key] = list; len(list) == 0 {
		delete(p.names, key)
	}
}

// inProgress is the error number of a connect that goes on; of a failure: that nobody
// waited for its end.
const inProgress = 115

// giveUp notes that a connection was closed before it was there.
func (p *process) giveUp(fd int32, e *ringstore.Event) {
	f := p.fail(subjectKey{"connect", p.files[fd], inProgress}, "connect", e)
	f.first, f.opens = min(f.first, p.pending[fd]), true
	delete(p.pending, fd)
}

// answered tells that a call on a descriptor proves that it is connected.
func answered(arch string, e *ringstore.Event) bool {
	switch decode.CallName(arch, e) {
	case "readv", "getpeername", "sendmmsg", "sendfile":
		return true
	}
	return false
}

func isMissing(errno int) bool {
	const enoent, enotdir = 2, 20
	return errno == enoent || errno == enotdir
}

// option takes in the answer to the question how a connection went.
func (g *gatherer) option(p *process, e *ringstore.Event) {
	const solSocket, soError = 1, 4
	if arg(e, 1) != solSocket || arg(e, 2) != soError {
		return
	}
	fd := int32(arg(e, 0))
	name := p.files[fd]
	c := captured(e, 3, true)
	if name == "" || c == nil || len(c.Data) < 4 {
		return
	}
	delete(p.pending, fd)
	errno := int(c.Data[0]) | int(c.Data[1])<<8
	if errno == 0 {
		p.recover("connect", name)
		return
	}
	p.fail(subjectKey{"connect", name, errno}, "connect", e).opens = true
}

// failed takes in a call that failed.
func (g *gatherer) failed(p *process, e *ringstore.Event, role role, known bool) {
	errno := int(-e.Ret)
	row := syscalls.Lookup(g.meta.Arch, e.ABI, e.Nr)
	name := decode.CallName(g.meta.Arch, e)
	errnoName, _ := syscalls.Errno(errno)
	if role == roleConnect && (errnoName == "EINPROGRESS" || errnoName == "EAGAIN") {
		if address := g.address(e); address != "" {
			p.name(int32(arg(e, 0)), address)
			if errnoName == "EINPROGRESS" {
				if p.pending == nil {
					p.pending = map[int32]int64{}
				}
				if len(p.pending) < maxFiles {
					p.pending[int32(arg(e, 0))] = e.Start
				}
				return
			}
		}
	}
	// These errors mean nothing for most calls, but something for these.
	grave := role == roleConnect && errnoName != "EINTR" && errnoName != "EALREADY" || strings.HasPrefix(name, "clone") || name == "fork" || name == "vfork"
	denied := e.NoEnter && known && !restarted(errno) && errnoName != "ENOSYS"
	if restarted(errno) || syscalls.Routine(errno) && !grave && !denied {
		return
	}
	if routineCall(name, errnoName) && !denied {
		return
	}
	subject, isPath := g.subject(p, e)
	f := p.fail(subjectKey{family(role, name, isPath), subject, errno}, name, e)
	f.path, f.denied = isPath, denied
	f.fd = -1
	if row != nil && len(row.Args) > 0 && row.Args[0].Format == syscalls.FormatFD {
		f.fd = int32(arg(e, 0))
	}
	f.opens = f.opens || opens(row, role, name)
}

func restarted(errno int) bool {
	name, _ := syscalls.Restart(errno)
	return name != ""
}

// opens tells that a call was made to have its object, and not only to ask for it.
func opens(row *syscalls.Call, role role, name string) bool {
	if row == nil {
		return false
	}
	switch row.Group {
	case "Status", "Attributes":
		return strings.HasPrefix(name, "ch") || strings.HasPrefix(name, "fch") || strings.HasPrefix(name, "set")
	}
	return name != "readlink" && name != "readlinkat"
}

// family is what calls have in common of which one makes good what another failed to do.
func family(role role, name string, isPath bool) string {
	switch {
	case role == roleExec:
		return "exec"
	case isPath:
		return "file"
	}
	return name
}

func (p *process) fail(key subjectKey, name string, e *ringstore.Event) *failure {
	f := p.failures[key]
	if f == nil {
		if len(p.failures) >= maxFailures {
			p.keepFailures(maxFailures / 2)
		}
		f = &failure{subjectKey: key, first: ended(e), fd: -1}
		if e.Run != nil {
			f.first = e.Start + e.Duration
		}
		p.failures[key] = f
		name := nameOf(key.family, key.subject)
		p.names[name] = append(p.names[name], f)
	}
	f.name, f.tid, f.last, f.calls = name, e.TID, ended(e), p.calls
	f.count += int(min(e.Calls(), math.MaxInt32))
	if e.Seq != 0 {
		if len(f.evidence) == maxEvidence {
			// The first stays, and the latest.
			copy(f.evidence[1:], f.evidence[2:])
			f.evidence = f.evidence[:maxEvidence-1]
		}
		f.evidence = append(f.evidence, e.Seq)
	}
	return f
}

// keepFailures forgets all failures but the n that were seen last.
func (p *process) keepFailures(n int) {
	if len(p.failures) <= n {
		return
	}
	list := slices.SortedFunc(maps.Values(p.failures), byTime)
	clear(p.failures)
	clear(p.names)
	for _, f := range list[:n] {
		p.failures[f.subjectKey] = f
		name := nameOf(f.family, f.subject)
		p.names[name] = append(p.names[name], f)
	}
}

// subject returns what a call is about: a path, a socket's address, or what its
// descriptor is known to be; and whether it is a path that the call was given.
func (g *gatherer) subject(p *process, e *ringstore.Event) (string, bool) {
	row := syscalls.Lookup(g.meta.Arch, e.ABI, e.Nr)
	if row == nil {
		return "", false
	}
	args, _ := row.Shape(e.Args)
	dir := ""
	for i := range args {
		a := &args[i]
		switch a.Format {
		case syscalls.FormatDirFD:
			if fd := int32(arg(e, a.Index)); fd >= 0 {
				dir = p.files[fd]
			} else {
				dir = p.cwd
			}
		case syscalls.FormatPath:
			c := captured(e, a.Index, false)
			if c == nil {
				return "", false
			}
			name := strings.ToValidUTF8(string(c.Data), "\ufffd")
			if c.Status&ringstore.CaptureCut != 0 {
				name += "..."
			}
			if dir == "" {
				dir = p.cwd
			}
			switch {
			case name == "":
				return dir, false
			case name[0] != '/' && dir != "":
				name = path.Join(dir, name)
			}
			return name, true
		case syscalls.FormatSockaddr:
			if c := captured(e, a.Index, false); c != nil && a.Out == syscalls.In {
				if name := socketName(c.Data); name != "" {
					return name, false
				}
			}
		}
	}
	if len(args) > 0 && args[0].Format == syscalls.FormatFD {
		return p.files[int32(arg(e, 0))], false
	}
	return "", false
}

// address is what a connect goes to.
func (g *gatherer) address(e *ringstore.Event) string {
	if c := captured(e, 1, false); c != nil {
		return socketName(c.Data)
	}
	return ""
}

// socketName is a socket address as people write it; "" where it has no such form.
func socketName(b []byte) string {
	const unix, inet, inet6 = 1, 2, 10
	if len(b) < 2 {
		return ""
	}
	switch family := int(b[0]) | int(b[1])<<8; {
	case family == unix && len(b) > 2:
		name := b[2:]
		if name[0] == 0 {
			return "@" + strings.ToValidUTF8(string(bytes.TrimRight(name[1:], "\x00")), "\ufffd")
		}
		name, _, _ = bytes.Cut(name, []byte{0})
		return strings.ToValidUTF8(string(name), "\ufffd")
	case family == inet && len(b) >= 8:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])).String()
	case family == inet6 && len(b) >= 24:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), uint16(b[2])<<8|uint16(b[3])).String()
	}
	return ""
}

// hear takes in what is written to standard output and error.
func (g *gatherer) hear(p *process, e *ringstore.Event) {
	fd := int32(arg(e, 0))
	if fd != 1 && fd != 2 {
		return
	}
	row := syscalls.Lookup(g.meta.Arch, e.ABI, e.Nr)
	if row == nil {
		return
	}
	var c, vector *ringstore.Capture
	total := uint64(0)
	switch a := &row.Args[1]; a.Format {
	case syscalls.FormatData:
		c, total = captured(e, 1, false), arg(e, 2)
	case syscalls.FormatIovec:
		if vector = captured(e, 1, false); vector != nil {
			for b := vector.Data; len(b) >= 16; b = b[16:] {
				for i := range 8 {
					total += uint64(b[8+i]) << (8 * i)
				}
			}
		}
		for i := range e.Captures {
			if x := &e.Captures[i]; x.Arg == 1 && i > 0 && x.Status&(ringstore.CaptureNone|ringstore.CaptureExit) == 0 {
				c = x
			}
		}
	}
	if c == nil || len(c.Data) == 0 {
		return
	}
	w := &p.words[fd]
	heard := word{strings.ToValidUTF8(gathered(vector, c), "\ufffd"), uint64(len(c.Data)) < total, e.Start, 0}
	for i := min(e.Calls(), maxWrites); i > 0; i-- {
		if i == 1 {
			heard.seq = e.Seq // of a run, too, there is one record
		}
		w.texts = append(w.texts, heard)
		w.size += len(c.Data)
	}
	for len(w.texts) > maxWrites || w.size > maxWords && len(w.texts) > 1 {
		w.size -= len(w.texts[0].text)
		w.texts = w.texts[1:]
	}
}

// gathered is what a capture has of one buffer or, with the array of them, of several: where
// the rest of one is missing before the next, "..." stands.
func gathered(vector, c *ringstore.Capture) string {
	if vector == nil || c.Each == 0 {
		return string(c.Data)
	}
	var text []byte
	data := c.Data
	for b := vector.Data; len(b) >= 16 && len(data) > 0; b = b[16:] {
		length := binary.LittleEndian.Uint64(b[8:])
		n := min(length, uint64(c.Each), uint64(len(data)))
		text, data = append(text, data[:n]...), data[n:]
		if n < length && len(data) > 0 {
			text = append(text, "..."...)
		}
	}
	return string(text)
}

// idleCalls wait for something to do: a thread that is in one is not stuck.
var idleCalls = []string{
	"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "_newselect", "pselect6", "accept", "accept4",
	"pause", "rt_sigsuspend", "rt_sigtimedwait", "nanosleep", "clock_nanosleep", "io_uring_enter", "io_getevents",
}

// lockCalls wait for what another thread or process holds.
var lockCalls = []string{"flock", "semop", "semtimedop", "futex_wait"}

// runningOf describes a call that runs; before is the one that a signal interrupted, which
// may be the same.
func (g *gatherer) runningOf(e *ringstore.Event, before *running) running {
	r := running{tid: e.TID, name: decode.CallName(g.meta.Arch, e), start: e.Start, seq: e.Seq, nr: e.Nr, args: [2]uint64{arg(e, 0), arg(e, 1)}}
	if before != nil && before.nr == r.nr && before.args == r.args {
		r.start = before.start
	}
	switch {
	case r.name == "futex" || r.name == "futex_time64":
		const wait, waitBitset, lock, lock2 = 0, 9, 6, 13
		op := arg(e, 1) & 0x7f
		r.forever = (op == wait || op == waitBitset || op == lock || op == lock2) && arg(e, 3) == 0
	case slices.Contains(idleCalls, r.name):
		r.idle = true
	case slices.Contains(lockCalls, r.name):
		r.forever = true
	case r.name == "fcntl":
		const setlkw, ofdSetlkw = 7, 38
		r.forever = arg(e, 1) == setlkw || arg(e, 1) == ofdSetlkw
	}
	return r
}

// byTime sorts failures, the latest first.
func byTime(a, b *failure) int {
	return cmp.Or(cmp.Compare(b.last, a.last), cmp.Compare(b.calls, a.calls), cmp.Compare(a.subject, b.subject), cmp.Compare(a.name, b.name))
}
