package decode

import (
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// resultColumn is where the result of a call begins if there is room.
const resultColumn = 40

// AppendText appends the line that strace -f -ttt -T -o FILE writes for an event, with
// its newline; for an operation of io_uring one that begins with "# ". Nothing is
// appended for other events that strace has no line for. Of a run, the line of the first
// call comes first, then one that begins with `# `.
func AppendText(dst []byte, h *ringstore.Meta, e *ringstore.Event) []byte {
	return appendTextOf(dst, h, e, "", nil)
}

// appendTextOf is AppendText; resumed is the call that this one goes on with, if it is known.
func appendTextOf(dst []byte, h *ringstore.Meta, e *ringstore.Event, resumed string, names *namer) []byte {
	if !hasLine(e) {
		return dst
	}
	if e.Kind == ringstore.KindUring {
		return appendUring(dst, h, e)
	}
	start := len(dst)
	dst = appendLeader(dst, e.TID, e.Start+h.WallOffset)
	switch e.Kind {
	case ringstore.KindSignal:
		dst = append(dst, "--- "...)
		dst = appendSignal(dst, uint64(e.Signal.Signal))
		dst = append(dst, ' ')
		dst = appendSiginfo(dst, e.Signal)
		return append(dst, " ---\n"...)
	case ringstore.KindExit:
		return appendExit(dst, e.Exit.Status)
	case ringstore.KindExec:
		dst = append(dst, "+++ superseded by execve in pid "...)
		dst = strconv.AppendUint(dst, uint64(e.Exec.OldTID), 10)
		return append(dst, " +++\n"...)
	}
	v := viewOf(h.Arch, e)
	v.resumed, v.namer = resumed, names
	return appendRun(v.appendLine(dst, start), h, e)
}

// appendRun appends a line of its own that says how often a thread made a call again, until
// when the last one returned, and how long all took, the first included.
func appendRun(dst []byte, h *ringstore.Meta, e *ringstore.Event) []byte {
	if e.Run == nil {
		return dst
	}
	dst = append(dst, "# "...)
	dst = strconv.AppendUint(dst, uint64(e.TID), 10)
	dst = append(dst, " made this call "...)
	dst = strconv.AppendUint(dst, e.Run.Count-1, 10)
	dst = append(dst, " times more until "...)
	dst = appendSeconds(dst, e.Run.Last+h.WallOffset)
	dst = append(dst, "; all "...)
	dst = strconv.AppendUint(dst, e.Run.Count, 10)
	dst = append(dst, " took <"...)
	dst = appendSeconds(dst, e.Run.Total)
	return append(dst, ">\n"...)
}

// hasLine tells whether there is a line for an event.
func hasLine(e *ringstore.Event) bool {
	switch e.Kind {
	case ringstore.KindCall, ringstore.KindUring:
		return true
	case ringstore.KindSignal:
		return e.Signal != nil
	case ringstore.KindExit:
		return e.Exit != nil
	case ringstore.KindExec:
		// Otherwise the thread keeps its id.
		return e.Exec != nil && e.Exec.OldTID != 0 && e.Exec.OldTID != e.TID
	}
	return false
}

// appendLeader appends the thread and the time, in ns of Unix time.
func appendLeader(dst []byte, tid uint32, at int64) []byte {
	from := len(dst)
	dst = strconv.AppendUint(dst, uint64(tid), 10)
	for len(dst)-from < 5 {
		dst = append(dst, ' ')
	}
	dst = append(dst, ' ')
	dst = appendSeconds(dst, at)
	return append(dst, ' ')
}

// appendSeconds appends ns as SECONDS.MICROS.
func appendSeconds(dst []byte, ns int64) []byte {
	if ns < 0 {
		dst = append(dst, '-')
		ns = -ns
	}
	us := uint64(ns) / 1000
	dst = strconv.AppendUint(dst, us/1e6, 10)
	dst = append(dst, '.')
	return appendMicros(dst, int64(us%1e6))
}

// appendLine appends a call: name, arguments, result and duration. The line began at
// start.
func (v *view) appendLine(dst []byte, start int) []byte {
	dst = v.appendName(dst)
	dst = append(dst, '(')
	gone := v.ret.Format == syscalls.RetNone
	dst, complete := v.appendArgs(dst, v.e.Unfinished && !gone)
	if v.e.Unfinished && v.e.NoEnter {
		gone = true // as a thread goes that a filter ends: there is no result
	} else if v.e.Unfinished && (!gone || !complete) {
		return append(dst, " <unfinished ...>\n"...)
	}
	dst = appendClosed(dst, start)
	if gone && !v.failed() {
		return append(dst, "?\n"...)
	}
	return v.appendReturn(dst)
}

// appendClosed ends the arguments in a line that began at start, and begins the result.
func appendClosed(dst []byte, start int) []byte {
	dst = append(dst, ") "...)
	for len(dst)-start < resultColumn {
		dst = append(dst, ' ')
	}
	return append(dst, "= "...)
}

// appendReturn appends the result and the duration of a call that returned.
func (v *view) appendReturn(dst []byte) []byte {
	dst = v.appendResult(dst)
	if !v.e.NoEnter {
		dst = append(dst, " <"...)
		dst = appendSeconds(dst, max(v.e.Duration, 0))
		dst = append(dst, '>')
	}
	return append(dst, '\n')
}

func (v *view) appendName(dst []byte) []byte {
	if v.call != nil {
		return append(dst, v.call.Name...)
	}
	dst = append(dst, "syscall_"...)
	return appendHex(dst, uint64(v.e.Nr))
}

// appendArgs appends the arguments; of an unfinished call, those that strace knows at
// the entry. It tells whether these were all.
func (v *view) appendArgs(dst []byte, unfinished bool) ([]byte, bool) {
	if v.call == nil {
		for i := range v.e.Args {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendHex(dst, v.arg(i))
		}
		return dst, true
	}
	if v.resumed != "" {
		dst = append(dst, "<... resuming interrupted "...)
		dst = append(dst, v.resumed...)
		return append(dst, " ...>"...), true
	}
	first := true
	for i := range v.args {
		a := &v.args[i]
		if a.Index >= len(v.e.Args) || a.Show != nil && !a.Show.Holds(v.e.Args) {
			continue
		}
		if unfinished && a.Out == syscalls.FillsIn {
			return dst, false
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		if unfinished && a.Out == syscalls.Filled {
			return dst, false
		}
		if a.Named {
			dst = append(dst, a.Name...)
			dst = append(dst, '=')
		}
		dst = v.appendNamed(dst, a)
	}
	return dst, true
}

// appendResult appends what the call returned.
func (v *view) appendResult(dst []byte) []byte {
	ret := v.e.Ret
	if v.failed() {
		n := int(-ret)
		if name, message := syscalls.Restart(n); name != "" {
			dst = append(dst, "? "...)
			dst = append(dst, name...)
			return appendNote(dst, message)
		}
		dst = append(dst, "-1 "...)
		name, message := syscalls.Errno(n)
		if name == "" {
			dst = append(dst, "(errno "...)
			dst = strconv.AppendInt(dst, int64(n), 10)
			return append(dst, ')')
		}
		dst = append(dst, name...)
		return appendNote(dst, message)
	}
	switch v.ret.Format {
	case syscalls.RetFD:
		dst = strconv.AppendInt(dst, ret, 10)
		return v.appendFile(dst, int(int32(ret)), true)
	case syscalls.RetHex:
		if v.word == 4 {
			ret = int64(uint32(ret))
		}
		return appendHex(dst, uint64(ret))
	case syscalls.RetOctal:
		return appendOctalMode(dst, uint64(uint32(ret)))
	case syscalls.RetFlags:
		dst = appendHex(dst, uint64(ret))
		// A field whose value 0 has a name is always there.
		if ret != 0 || v.ret.Set.Rows[0].Mask != 0 {
			dst = append(dst, " ("...)
			if v.ret.Label != "" {
				dst = append(dst, v.ret.Label...)
				dst = append(dst, ' ')
			}
			dst = appendFlags(dst, v.ret.Set, uint64(ret))
			dst = append(dst, ')')
		}
		return dst
	case syscalls.RetName, syscalls.RetHexName:
		if v.ret.Format == syscalls.RetHexName {
			dst = appendHex(dst, uint64(ret))
		} else {
			dst = strconv.AppendInt(dst, ret, 10)
		}
		if name := v.ret.Set.Name(uint64(ret)); name != "" {
			dst = appendNote(dst, name)
		}
		return dst
	case syscalls.RetPoll:
		if ret == 0 {
			return append(dst, "0 (Timeout)"...)
		}
		dst = strconv.AppendInt(dst, ret, 10)
		return v.appendReady(dst)
	case syscalls.RetEntry:
		dst = strconv.AppendInt(dst, ret, 10)
		before, after := v.capture(0, false, 0), v.capture(0, true, 0)
		if before != nil && after != nil && len(before.Data) >= 4 && len(after.Data) >= 4 && number(before.Data, 4) != number(after.Data, 4) {
			dst = append(dst, " (entry_number="...)
			dst = strconv.AppendInt(dst, int64(int32(number(after.Data, 4))), 10)
			dst = append(dst, ')')
		}
		return dst
	case syscalls.RetTime:
		dst = strconv.AppendInt(dst, ret, 10)
		if ret == 0 {
			return dst
		}
		dst = append(dst, " ("...)
		dst = appendTime(dst, ret, 0, 0)
		return append(dst, ')')
	case syscalls.RetSelect:
		if ret == 0 {
			return append(dst, "0 (Timeout)"...)
		}
		dst = strconv.AppendInt(dst, ret, 10)
		return v.appendSelected(dst)
	case syscalls.RetIoprio:
		dst = strconv.AppendInt(dst, ret, 10)
		dst = append(dst, " ("...)
		dst = appendIoprio(dst, uint64(uint32(ret)))
		return append(dst, ')')
	}
	return strconv.AppendInt(dst, ret, 10)
}

func appendNote(dst []byte, s string) []byte {
	dst = append(dst, " ("...)
	dst = append(dst, s...)
	return append(dst, ')')
}

// appendReady appends the descriptors that poll found ready.
func (v *view) appendReady(dst []byte) []byte {
	const size, revents = 8, 6
	c := v.capture(0, true, 0)
	if c == nil {
		return dst
	}
	n := 0
	for b := c.Data; len(b) >= size; b = b[size:] {
		if number(b[revents:], 2) == 0 {
			continue
		}
		if n == 0 {
			dst = append(dst, " (["...)
		} else {
			dst = append(dst, ", "...)
		}
		if n++; n > maxString {
			dst = append(dst, "..."...)
			break
		}
		dst = append(dst, "{fd="...)
		dst = strconv.AppendInt(dst, int64(int32(number(b, 4))), 10)
		dst = append(dst, ", revents="...)
		dst = appendFlags(dst, pollFlags, number(b[revents:], 2))
		dst = append(dst, '}')
	}
	if n == 0 {
		return dst
	}
	dst = append(dst, ']')
	// What is left of the time.
	const timeout = 2
	if len(v.args) > timeout && v.args[timeout].Struct != nil && v.arg(timeout) != 0 {
		dst = append(dst, ", left "...)
		if c := v.capture(timeout, true, 0); c != nil && len(c.Data) >= v.args[timeout].Struct.Size {
			dst = appendStruct(dst, v.args[timeout].Struct, c.Data)
		} else {
			dst = appendPointer(dst, v.arg(timeout))
		}
	}
	return append(dst, ')')
}

// appendSelected appends the descriptors that select found ready, and what was left of
// its time.
func (v *view) appendSelected(dst []byte) []byte {
	left, first := v.e.Ret, true
	next := func() {
		if first {
			dst = append(dst, " ("...)
		} else {
			dst = append(dst, ", "...)
		}
		first = false
	}
	for i, name := range [...]string{"in [", "out [", "except ["} {
		c := v.capture(i+1, true, 0)
		if c == nil || v.arg(i+1) == 0 || left <= 0 {
			continue
		}
		began := false
		for fd := 0; fd < len(c.Data)*8 && fd < int(int32(v.arg(0))) && left > 0; fd++ {
			if c.Data[fd/8]>>(fd%8)&1 == 0 {
				continue
			}
			left--
			if began {
				dst = append(dst, ' ')
			} else {
				next()
				dst = append(dst, name...)
				began = true
			}
			dst = strconv.AppendInt(dst, int64(fd), 10)
		}
		if began {
			dst = append(dst, ']')
		}
	}
	const timeout = 4
	if v.arg(timeout) != 0 {
		next()
		dst = append(dst, "left "...)
		if c := v.capture(timeout, true, 0); c != nil && len(v.args) > timeout && v.args[timeout].Struct != nil && len(c.Data) >= v.args[timeout].Struct.Size {
			dst = appendStruct(dst, v.args[timeout].Struct, c.Data)
		} else {
			dst = appendPointer(dst, v.arg(timeout))
		}
	}
	if !first {
		dst = append(dst, ')')
	}
	return dst
}

var pollFlags = syscalls.Values("poll")

// appendSiginfo appends a siginfo_t as far as the record has it.
func appendSiginfo(dst []byte, s *ringstore.Signal) []byte {
	dst = append(dst, "{si_signo="...)
	dst = appendSignal(dst, uint64(s.Signal))
	dst = append(dst, ", si_code="...)
	if name := sicode(s.Signal, s.Code); name != "" {
		dst = append(dst, name...)
	} else {
		dst = appendHex(dst, uint64(uint32(s.Code)))
	}
	if s.Errno != 0 {
		dst = append(dst, ", si_errno="...)
		dst = appendErrno(dst, int64(s.Errno))
	}
	const fromUser = 0 // codes up to it
	switch {
	case s.Code == siTimer:
		dst = append(dst, ", si_timerid="...)
		dst = appendHex(dst, uint64(s.PID))
		dst = append(dst, ", si_overrun="...)
		dst = strconv.AppendInt(dst, int64(int32(s.UID)), 10)
		dst = appendSigval(dst, s)
	case s.Code == siSIGIO || s.Code > fromUser && s.Code <= 6 && s.Signal == sigIO:
		dst = append(dst, ", si_band="...)
		dst = strconv.AppendInt(dst, int64(s.Addr), 10)
		dst = append(dst, ", si_fd="...)
		dst = strconv.AppendInt(dst, int64(int32(s.More[0])), 10)
	case s.Code <= fromUser:
		dst = appendSender(dst, s)
		if s.Code != siUser && s.Code != siTkill && s.More[0] != 0 {
			dst = appendSigval(dst, s)
		}
	case s.Signal == sigCHLD:
		dst = appendSender(dst, s)
		dst = append(dst, ", si_status="...)
		if s.Code == cldExited {
			dst = strconv.AppendInt(dst, int64(int32(s.More[0])), 10)
		} else {
			dst = appendSignal(dst, s.More[0]&0xffffffff)
		}
		dst = append(dst, ", si_utime="...)
		dst = appendTicks(dst, s.More[1])
		dst = append(dst, ", si_stime="...)
		dst = appendTicks(dst, s.More[2])
	case s.Signal == sigILL, s.Signal == sigFPE, s.Signal == sigBUS, s.Signal == sigSEGV, s.Signal == sigTRAP:
		dst = append(dst, ", si_addr="...)
		dst = appendPointer(dst, s.Addr)
	case s.Signal == sigSYS:
		dst = append(dst, ", si_call_addr="...)
		dst = appendPointer(dst, s.Addr)
		dst = append(dst, ", si_syscall="...)
		dst = appendCallName(dst, uint32(s.More[0]), uint32(s.More[0]>>32))
		dst = append(dst, ", si_arch="...)
		dst = appendValue(dst, auditArchs, s.More[0]>>32)
	default:
		if s.PID != 0 || s.UID != 0 {
			dst = appendSender(dst, s)
		}
		if s.More[0] != 0 {
			dst = appendSigval(dst, s)
		}
	}
	return append(dst, '}')
}

// Codes of signals that carry something of their own.
const (
	siUser    = 0
	siTimer   = -2
	siSIGIO   = -5
	siTkill   = -6
	cldExited = 1
)

var auditArchs = syscalls.Values("auditarch")

// appendCallName appends the constant of a call's number.
func appendCallName(dst []byte, nr, audit uint32) []byte {
	arch, abi := "", ringstore.ABINative
	switch auditArchs.Name(uint64(audit)) {
	case "AUDIT_ARCH_X86_64":
		arch = "amd64"
		if nr&0x40000000 != 0 {
			abi, nr = ringstore.ABIX32, nr&^0x40000000
		}
	case "AUDIT_ARCH_I386":
		arch, abi = "amd64", ringstore.ABI32
	case "AUDIT_ARCH_AARCH64":
		arch = "arm64"
	}
	if nr <= 0xffff {
		if c := syscalls.Lookup(arch, abi, uint16(nr)); c != nil {
			dst = append(dst, "__NR_"...)
			return append(dst, c.Name...)
		}
	}
	dst = appendHex(dst, uint64(nr))
	return append(dst, " /* __NR_??? */"...)
}

// appendSigval appends the value that a signal carries, in both forms.
func appendSigval(dst []byte, s *ringstore.Signal) []byte {
	dst = append(dst, ", si_int="...)
	dst = strconv.AppendInt(dst, int64(int32(s.More[0])), 10)
	dst = append(dst, ", si_ptr="...)
	return appendPointer(dst, s.More[0])
}

// appendTicks appends a time in ticks of a 100th second, and in seconds unless it is 0.
func appendTicks(dst []byte, v uint64) []byte {
	dst = strconv.AppendUint(dst, v, 10)
	if v == 0 {
		return dst
	}
	dst = append(dst, " /* "...)
	dst = strconv.AppendUint(dst, v/100, 10)
	dst = append(dst, '.', '0'+byte(v%100/10), '0'+byte(v%10))
	return append(dst, " s */"...)
}

func appendSender(dst []byte, s *ringstore.Signal) []byte {
	dst = append(dst, ", si_pid="...)
	dst = strconv.AppendInt(dst, int64(int32(s.PID)), 10)
	dst = append(dst, ", si_uid="...)
	return strconv.AppendUint(dst, uint64(s.UID), 10)
}

func appendErrno(dst []byte, n int64) []byte {
	if name, _ := syscalls.Errno(int(n)); name != "" {
		return append(dst, name...)
	}
	return strconv.AppendInt(dst, n, 10)
}

// coreFlag is the bit of a wait status that says a core was dumped.
const coreFlag = 0x80

func appendExit(dst []byte, status uint32) []byte {
	signal := status & 0x7f
	if signal == 0 {
		dst = append(dst, "+++ exited with "...)
		dst = strconv.AppendUint(dst, uint64(status>>8&0xff), 10)
		return append(dst, " +++\n"...)
	}
	dst = append(dst, "+++ killed by "...)
	dst = appendSignal(dst, uint64(signal))
	if status&coreFlag != 0 {
		dst = append(dst, " (core dumped)"...)
	}
	return append(dst, " +++\n"...)
}
