// Package unwind tells the frames of a thread's user stack from what the kernel side took
// of it when it died: registers, some stack memory, the chain of its frame pointers, and
// the mappings that these point to.
//
// It trusts nobody: registers, memory and files are those of a program that crashed, or
// that was made to harm. Work and memory are bounded by constants and by the caller's
// reader, and no frame is invented: an address counts as a caller's only where it is in an
// executable mapping, and what was guessed is marked so.
package unwind

import (
	"slices"
	"strings"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// MaxFrames is the most that one stack is told to have.
const MaxFrames = 128

// How a frame was found.
const (
	ByRegisters    = "registers"       // it is where the thread was
	ByCFI          = "cfi"             // by the call frame information (.eh_frame) of what it called
	ByGo           = "go"              // by Go's own table of frame sizes
	BySignal       = "signal"          // a signal's delivery had interrupted it
	ByFramePointer = "frame-pointer"   // the frame pointer of what it called pointed to its address
	ByLink         = "return-register" // the link register, or the top of the stack, had its address
	ByScan         = "scan"            // the first address behind a call that the stack has further up
)

// How sure a frame is.
const (
	High   = "high"
	Medium = "medium"
	Low    = "low"
)

var sureness = [...]string{Low, Medium, High}

// A Thread is what is known of one. Its numbers of registers are those of DWARF.
type Thread struct {
	Arch     string // GOARCH
	Regs     [layout.SizesStackRegs]uint64
	Known    uint64 // bit n: Regs[n] is known
	Memory   []Memory
	Chain    []Link // from the innermost frame on
	Mappings []Mapping
}

// Memory is a piece of the stack.
type Memory struct {
	At    uint64 // a multiple of 8
	Bytes []byte
}

// A Link is one step along the frame pointers.
type Link struct {
	At     uint64 // where the frame pointer pointed
	Return uint64 // the address behind it
}

// A Mapping is a piece of the address space that is executable.
type Mapping struct {
	Start, End uint64
	Offset     uint64 // of the file
	File       *File  // nil: it cannot be read, or there is none
}

// ThreadOf is the thread whose stack the kernel side took, without the files of its
// mappings. It keeps references to s.
func ThreadOf(arch string, s *layout.Stack) *Thread {
	t := &Thread{Arch: arch, Regs: s.Regs, Known: s.Known}
	for n := range min(int(s.Mappings), len(s.Mapping)) {
		m := &s.Mapping[n]
		t.Mappings = append(t.Mappings, Mapping{Start: m.Start, End: m.End, Offset: m.Offset})
	}
	if s.Flags&layout.StackFlagCompat != 0 {
		return t // what it has is of 32 bits
	}
	const piece = layout.SizesStackPiece
	for n := range layout.SizesStackMemory / piece {
		if s.Pieces>>n&1 == 1 {
			t.Memory = append(t.Memory, Memory{At: s.Base + uint64(n*piece), Bytes: s.Memory[n*piece : (n+1)*piece]})
		}
	}
	for _, f := range s.Frame[:min(int(s.Frames), len(s.Frame))] {
		t.Chain = append(t.Chain, Link{At: f.At, Return: f.Address})
	}
	return t
}

// A Frame is one function's, the innermost first.
type Frame struct {
	Address    uint64
	Mapping    int    // index; -1: the address is in none
	Function   string // empty: no name is known
	Start      uint64 // of the function, as an address of the thread
	How        string
	Confidence string
}

// back is how far before a frame's address the instruction is that it is about: a call is
// before the address to which it returns, and may be a function's last instruction.
func (f *Frame) back() uint64 {
	if f.How == ByRegisters || f.How == BySignal {
		return 0
	}
	return 1
}

// trampoline is what the frame is called to which a signal's handler returns.
const trampoline = "<signal handler called>"

// How a stack ends.
const (
	EndComplete = ""
	endMemory   = "the stack that was taken ends here"
	endUnknown  = "nothing tells the caller"
	endMany     = "there are more frames"
	endLoop     = "the stack turns back on itself"
)

// Unwind returns a thread's frames, and why there are no more: empty if it was unwound to
// its beginning.
func Unwind(t *Thread) (frames []Frame, end string) {
	u := unwinder{Thread: t}
	switch t.Arch {
	case "amd64":
		u.machine, u.ip, u.sp, u.fp = machineAMD64, 16, 7, 6
		u.saved = 1<<3 | 1<<6 | 1<<12 | 1<<13 | 1<<14 | 1<<15
	case "arm64":
		u.machine, u.ip, u.sp, u.fp, u.link = machineARM64, 32, 31, 29, 30
		u.saved = 0x7ff<<19 | 1<<29
	default:
		return nil, "stacks of " + t.Arch + " cannot be unwound"
	}
	end = u.run()
	u.name()
	return u.frames, end
}

type unwinder struct {
	*Thread
	machine          uint16
	ip, sp, fp, link int // register numbers; link 0: there is none
	saved            uint64
	frames           []Frame
	sure             int // index into sureness; it never rises
	scans            int
	climbed          int // links of the chain that are behind
}

// state are the registers of one frame.
type state struct {
	regs  [layout.SizesStackRegs]uint64
	known uint64
}

func (s *state) get(n int) (uint64, bool) {
	if n >= len(s.regs) {
		return 0, false
	}
	return s.regs[n], s.known>>n&1 == 1
}

func (s *state) set(n int, v uint64) {
	s.regs[n] = v
	s.known |= 1 << n
}

func (u *unwinder) run() string {
	s := state{u.Regs, u.Known}
	pc, ok := s.get(u.ip)
	if !ok {
		return "the registers are not known"
	}
	u.sure = 2
	how := ByRegisters
	for {
		u.frames = append(u.frames, Frame{Address: pc, Mapping: u.mapping(pc), How: how, Confidence: sureness[u.sure]})
		if len(u.frames) == MaxFrames {
			return endMany
		}
		next, nextHow, end := u.step(&s, pc, u.frames[len(u.frames)-1].back())
		if nextHow == "" {
			return end
		}
		sp, _ := s.get(u.sp)
		up, _ := next.get(u.sp)
		// The stack only grows, and each frame has some, but where it is left for another:
		// by a signal's delivery, or along the chain of frame pointers.
		if nextHow != BySignal && nextHow != ByFramePointer && (up < sp || up == sp && len(u.frames) > 1) {
			return endLoop
		}
		s = next
		pc, _ = s.get(u.ip)
		how = nextHow
	}
}

// step finds the caller of a frame; how is empty if there is none.
func (u *unwinder) step(s *state, pc, back uint64) (next state, how, end string) {
	m := u.mapping(pc)
	if m < 0 {
		// It jumped to nowhere. What called is on top of the stack, or in its register.
		if next, ok := u.byLink(s); ok && len(u.frames) == 1 {
			u.lower(1)
			return next, ByLink, ""
		}
		return u.otherwise(s, endUnknown)
	}
	if next, ok := u.bySignal(s, pc, m); ok {
		u.frames[len(u.frames)-1].Function = trampoline
		return next, BySignal, ""
	}
	for _, by := range []func(*state, uint64, int) (state, string, string){u.byCFI, u.byGo} {
		var next state
		next, how, why := by(s, pc-back, m)
		if how != "" || why == EndComplete {
			return next, how, why
		}
		if why == endMemory {
			end = why
		}
	}
	if end == "" {
		end = endUnknown
	}
	return u.otherwise(s, end)
}

// lower notes that the frames from here on are no surer than that.
func (u *unwinder) lower(to int) { u.sure = min(u.sure, to) }

// byCFI goes to the caller by call frame information. end is EndComplete where that says
// that there is none.
func (u *unwinder) byCFI(s *state, pc uint64, m int) (next state, how, end string) {
	f := u.Mappings[m].File
	if f == nil {
		return next, "", endUnknown
	}
	address, ok := u.inFile(m, pc)
	if !ok {
		return next, "", endUnknown
	}
	r, err := f.row(address)
	if err != nil {
		return next, "", endUnknown
	}
	reg := func(n uint64) (uint64, bool) {
		if n >= registers {
			return 0, false
		}
		return s.get(int(n))
	}
	var cfa uint64
	switch r.cfa.kind {
	case ruleRegister:
		cfa, ok = s.get(int(r.cfa.reg))
		cfa += uint64(r.cfa.offset)
	default:
		cfa, ok = evaluate(r.cfa.expr, nil, reg, u.load)
	}
	if !ok {
		return next, "", endUnknown
	}
	if r.regs[r.ret].kind == ruleNone {
		return next, "", EndComplete
	}
	for n, rule := range r.regs {
		var v uint64
		ok := true
		switch rule.kind {
		case ruleDefault, ruleSame:
			v, ok = s.get(n)
			if n == u.sp {
				v, ok = cfa, true
			} else if rule.kind == ruleDefault && u.saved>>n&1 == 0 && n != int(r.ret) {
				ok = false
			}
			if n == int(r.ret) && n == u.ip && rule.kind == ruleDefault {
				ok = false // it is no register that could stay the same
			}
		case ruleOffset:
			v, ok = u.load(cfa + uint64(rule.offset))
		case ruleValue:
			v = cfa + uint64(rule.offset)
		case ruleRegister:
			v, ok = s.get(int(rule.reg))
		case ruleExpr:
			if v, ok = evaluate(rule.expr, []uint64{cfa}, reg, u.load); ok {
				v, ok = u.load(v)
			}
		case ruleValueOf:
			v, ok = evaluate(rule.expr, []uint64{cfa}, reg, u.load)
		default:
			ok = false
		}
		if ok {
			next.set(n, v)
		} else if n == int(r.ret) && (rule.kind == ruleOffset || rule.kind == ruleExpr) {
			return next, "", endMemory
		}
	}
	ret, ok := next.get(int(r.ret))
	if !ok {
		return next, "", endUnknown
	}
	how = ByCFI
	if r.signal {
		how = BySignal
		u.frames[len(u.frames)-1].Function = trampoline
	}
	ret = u.plain(ret)
	next.set(u.ip, ret)
	if ret == 0 {
		return next, "", EndComplete
	}
	if u.mapping(ret) < 0 {
		if r.signal {
			return next, how, "" // where it was interrupted, on its way to nowhere
		}
		return next, "", endUnknown
	}
	if !r.signal && u.behindCall(ret) == no && !u.returnsFromSignal(ret) {
		u.lower(1)
	}
	return next, how, ""
}

// byGo goes to the caller by the table that each Go program has.
func (u *unwinder) byGo(s *state, pc uint64, m int) (next state, how, end string) {
	address, ok := u.inFile(m, pc)
	if !ok || u.Mappings[m].File.goLines.size == 0 {
		return next, "", endUnknown
	}
	f, ok := u.Mappings[m].File.goFunction(address)
	if !ok || f.flags&goSPWrite != 0 {
		return next, "", endUnknown // it may have gone to another stack
	}
	if f.flags&goTopFrame != 0 && !strings.HasPrefix(f.name, "runtime.sigtramp") {
		return next, "", EndComplete
	}
	sp, ok := s.get(u.sp)
	size, known := u.Mappings[m].File.goFrameSize(f, address)
	if !ok || !known || size < 0 || size&7 != 0 {
		return next, "", endUnknown
	}
	// A Go function keeps no registers for its caller but the frame pointer.
	var ret, fp uint64
	var fpKnown bool
	if u.machine == machineAMD64 {
		ret, ok = u.load(sp + uint64(size))
		next.set(u.sp, sp+uint64(size)+8)
		fp, fpKnown = s.get(u.fp)
		if fpKnown && size >= 8 && fp == sp+uint64(size)-8 {
			fp, fpKnown = u.load(fp)
		}
	} else {
		next.set(u.sp, sp+uint64(size))
		if size == 0 {
			ret, ok = s.get(u.link)
			fp, fpKnown = s.get(u.fp)
		} else {
			ret, ok = u.load(sp)
			fp, fpKnown = u.load(sp - 8)
		}
	}
	if !ok {
		return next, "", endMemory
	}
	if fpKnown {
		next.set(u.fp, fp)
	}
	ret = u.plain(ret)
	if u.mapping(ret) < 0 {
		return next, "", endUnknown
	}
	next.set(u.ip, ret)
	return next, ByGo, ""
}

// otherwise goes to the caller without call frame information.
func (u *unwinder) otherwise(s *state, end string) (next state, how, why string) {
	if u.link != 0 && len(u.frames) == 1 {
		// A function that calls nobody leaves it where the call put it.
		if ret, ok := s.get(u.link); ok && u.mapping(u.plain(ret)) >= 0 && u.behindCall(u.plain(ret)) == yes &&
			!u.same(ret, u.frames[0].Address) {
			if next, ok := u.byLink(s); ok {
				u.lower(1)
				return next, ByLink, ""
			}
		}
	}
	if u.link == 0 && u.frames[len(u.frames)-1].back() == 0 && u.entered(s) {
		// A function that calls nobody may have saved no frame pointer.
		if next, ok := u.byLink(s); ok {
			u.lower(1)
			return next, ByLink, ""
		}
	}
	if next, how, why := u.byFramePointer(s); how != "" || why == EndComplete {
		return next, how, why
	}
	if next, ok := u.byScan(s); ok {
		u.lower(0)
		return next, ByScan, ""
	}
	return next, "", end
}

// maxFunction is how long a function is, at most, that is told by its first instruction.
const maxFunction = 4096

// entered tells whether the top of the stack has the address behind a call, to a place that
// is not far before where the thread is.
func (u *unwinder) entered(s *state) bool {
	sp, _ := s.get(u.sp)
	pc, _ := s.get(u.ip)
	ret, ok := u.load(sp)
	m := u.mapping(ret)
	if !ok || m < 0 {
		return false
	}
	at, ok := u.inFile(m, ret)
	var code [5]byte
	if !ok || !u.Mappings[m].File.code(code[:], at-5) || code[0] != 0xe8 {
		return false
	}
	target := ret + uint64(int64(int32(le.Uint32(code[1:]))))
	return target <= pc && pc-target < maxFunction
}

// byLink takes the return address from where a call puts it.
func (u *unwinder) byLink(s *state) (next state, ok bool) {
	next = *s
	var ret uint64
	if u.link != 0 {
		ret, ok = s.get(u.link)
		next.known &^= 1 << u.link
	} else {
		sp, known := s.get(u.sp)
		if ret, ok = u.load(sp); !known {
			return next, false
		}
		next.set(u.sp, sp+8)
	}
	ret = u.plain(ret)
	if !ok || u.mapping(ret) < 0 || u.behindCall(ret) == no {
		return next, false
	}
	next.known &= u.saved | 1<<u.sp
	next.set(u.ip, ret)
	return next, true
}

// byFramePointer takes the pair that the frame pointer points to.
func (u *unwinder) byFramePointer(s *state) (next state, how, end string) {
	at, ok := s.get(u.fp)
	if !ok || at&7 != 0 {
		return next, "", endUnknown
	}
	if at == 0 && u.sure == 1 && u.frames[len(u.frames)-1].How == ByFramePointer {
		return next, "", EndComplete // the chain's own end
	}
	ret, ok := u.load(at + 8)
	ret = u.plain(ret)
	if !ok || u.mapping(ret) < 0 || u.behindCall(ret) == no {
		return next, "", endUnknown
	}
	link := slices.IndexFunc(u.Chain, func(l Link) bool { return l.At == at })
	if sp, ok := s.get(u.sp); ok && at < sp && link < u.climbed {
		return next, "", endUnknown // only the chain as it was walked goes to other stacks
	}
	u.climbed = max(u.climbed, link+1)
	next.known = s.known & (u.saved &^ (1 << u.fp))
	next.regs = s.regs
	if fp, ok := u.load(at); ok {
		next.set(u.fp, fp)
	}
	next.set(u.sp, at+16)
	next.set(u.ip, ret)
	u.lower(1)
	return next, ByFramePointer, ""
}

// How far, and how often, the stack is searched for what may be a return address.
const (
	maxScanWords = 512
	maxScans     = 4
)

// byScan looks for the next address on the stack that stands behind a call.
func (u *unwinder) byScan(s *state) (next state, ok bool) {
	sp, ok := s.get(u.sp)
	if !ok || u.scans == maxScans {
		return next, false
	}
	u.scans++
	sp = (sp + 7) &^ 7
	for n := uint64(0); n < maxScanWords; n++ {
		v, ok := u.load(sp + 8*n)
		if !ok {
			return next, false
		}
		if v = u.plain(v); u.mapping(v) >= 0 && u.behindCall(v) == yes {
			next.set(u.sp, sp+8*n+8)
			next.set(u.ip, v)
			if fp, ok := s.get(u.fp); ok && fp > sp+8*n {
				next.set(u.fp, fp)
			}
			return next, true
		}
	}
	return next, false
}

// Where the kernel puts registers when it delivers a signal.
const (
	amd64Context = 40            // from the stack pointer of the trampoline: r8 to r15, di, ...
	arm64Context = 128 + 176 + 8 // x0 to x30, sp, pc
)

// returnsFromSignal tells whether a handler that returns to an address has a signal's
// delivery end.
func (u *unwinder) returnsFromSignal(address uint64) bool {
	m := u.mapping(address)
	if m < 0 || u.Mappings[m].File == nil {
		return false
	}
	at, ok := u.inFile(m, address)
	if !ok {
		return false
	}
	if u.isTrampoline(m, at) {
		return true
	}
	r, err := u.Mappings[m].File.row(at - 1)
	return err == nil && r.signal
}

// isTrampoline tells whether the code at an address of a mapping's file is what the C
// library, or the kernel, has signal handlers return to.
func (u *unwinder) isTrampoline(m int, at uint64) bool {
	want := "\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05" // mov $15, %rax; syscall
	if u.machine == machineARM64 {
		want = "\x68\x11\x80\xd2\x01\x00\x00\xd4" // mov x8, #139; svc #0
	}
	var code [9]byte
	return u.Mappings[m].File.code(code[:len(want)], at) && string(code[:len(want)]) == want
}

// bySignal returns to what a signal had interrupted.
func (u *unwinder) bySignal(s *state, pc uint64, m int) (next state, ok bool) {
	f := u.Mappings[m].File
	address, ok := u.inFile(m, pc)
	if f == nil || !ok {
		return next, false
	}
	sp, ok := s.get(u.sp)
	if !ok {
		return next, false
	}
	load := func(n int, at uint64) {
		if v, ok := u.load(at); ok {
			next.set(n, v)
		}
	}
	if !u.isTrampoline(m, address) {
		return next, false
	}
	switch u.machine {
	case machineAMD64:
		for n, reg := range []int{8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16} {
			load(reg, sp+amd64Context+8*uint64(n))
		}
	default:
		for n := range 31 {
			load(n, sp+arm64Context+8*uint64(n))
		}
		load(u.sp, sp+arm64Context+8*31)
		load(u.ip, sp+arm64Context+8*32)
	}
	_, known := next.get(u.ip)
	_, stack := next.get(u.sp)
	return next, known && stack
}

// load reads a word of the stack.
func (u *unwinder) load(at uint64) (uint64, bool) {
	for _, m := range u.Memory {
		if at >= m.At && at-m.At < uint64(len(m.Bytes)) {
			if rest := m.Bytes[at-m.At:]; len(rest) >= 8 {
				return le.Uint64(rest), true
			}
			return 0, false // aligned words do not cross pieces
		}
	}
	for n, link := range u.Chain {
		if at == link.At+8 {
			return link.Return, true
		}
		if at == link.At && n+1 < len(u.Chain) {
			return u.Chain[n+1].At, true
		}
	}
	return 0, false
}

// mapping is the index of the mapping that has an address; -1: none has.
func (u *unwinder) mapping(address uint64) int {
	for n, m := range u.Mappings {
		if address >= m.Start && address < m.End {
			return n
		}
	}
	return -1
}

// same tells whether two addresses are in the same function, as far as that is known.
func (u *unwinder) same(a, b uint64) bool {
	start := func(pc uint64) uint64 {
		m := u.mapping(pc)
		if m < 0 || u.Mappings[m].File == nil {
			return 0
		}
		address, ok := u.inFile(m, pc)
		if !ok {
			return 0
		}
		r, err := u.Mappings[m].File.row(address)
		if err != nil {
			return 0
		}
		return r.start + (pc - address)
	}
	x := start(a)
	return x != 0 && x == start(b)
}

// inFile is an address as the file of its mapping counts.
func (u *unwinder) inFile(m int, pc uint64) (uint64, bool) {
	if u.Mappings[m].File == nil {
		return 0, false
	}
	return u.Mappings[m].File.address(pc - u.Mappings[m].Start + u.Mappings[m].Offset)
}

// plain is an address without what authenticates it.
func (u *unwinder) plain(address uint64) uint64 {
	if u.machine == machineARM64 && address>>63 == 0 {
		return address & (1<<48 - 1)
	}
	return address
}

type answer int

const (
	unknown answer = iota
	yes
	no
)

// behindCall tells whether the instruction before an address is a call.
func (u *unwinder) behindCall(address uint64) answer {
	m := u.mapping(address)
	if m < 0 || u.Mappings[m].File == nil {
		return unknown
	}
	at, ok := u.inFile(m, address)
	if !ok {
		return unknown
	}
	var code [8]byte
	if u.machine == machineARM64 {
		if at&3 != 0 || !u.Mappings[m].File.code(code[:4], at-4) {
			return no
		}
		op := le.Uint32(code[:])
		// bl, blr, and the latter with authentication
		if op>>26 == 0x25 || op&0xfffffc1f == 0xd63f0000 || op&0xfefff800 == 0xd63f0800 {
			return yes
		}
		return no
	}
	n := uint64(len(code))
	for ; n >= 2; n-- {
		if u.Mappings[m].File.code(code[uint64(len(code))-n:], at-n) {
			break
		}
	}
	if n < 2 {
		return no
	}
	b := code[:]
	if n >= 5 && b[3] == 0xe8 {
		return yes
	}
	// ff /2, with the operand's two to seven bytes; prefixes come before
	for size := 2; size <= min(int(n), 7); size++ {
		at := len(b) - size
		if b[at] == 0xff && b[at+1]>>3&7 == 2 && operandSize(b[at+1:]) == size-1 {
			return yes
		}
	}
	return no
}

// operandSize is how many bytes the operand of an instruction takes, its ModRM byte
// included; 0: it is cut.
func operandSize(b []byte) int {
	mod, rm := b[0]>>6, b[0]&7
	size := 1
	base := rm
	if mod != 3 && rm == 4 {
		if len(b) < 2 {
			return 0
		}
		size++
		base = b[1] & 7
	}
	switch {
	case mod == 1:
		size++
	case mod == 2, mod == 0 && base == 5:
		size += 4
	}
	return size
}

// name finds the functions of all frames, one file after the other.
func (u *unwinder) name() {
	type wanted struct {
		addresses []uint64
		frames    []int
	}
	files := map[*File]*wanted{}
	var order []*File
	for n, frame := range u.frames {
		m := frame.Mapping
		if m < 0 || u.Mappings[m].File == nil || frame.Function != "" {
			continue
		}
		address, ok := u.inFile(m, frame.Address-frame.back())
		if !ok {
			continue
		}
		f := u.Mappings[m].File
		w := files[f]
		if w == nil {
			w = &wanted{}
			files[f] = w
			order = append(order, f)
		}
		w.addresses = append(w.addresses, address)
		w.frames = append(w.frames, n)
	}
	for _, f := range order {
		w := files[f]
		names := f.names(append([]uint64(nil), w.addresses...))
		for i, n := range w.frames {
			frame := &u.frames[n]
			s, ok := names[w.addresses[i]]
			if !ok || s.name == "" {
				continue
			}
			bias := frame.Address - frame.back() - w.addresses[i]
			frame.Function, frame.Start = s.name, s.start+bias
		}
	}
}
