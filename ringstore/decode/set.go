package decode

import (
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// eachName calls name for every part of v that the set names, in the set's order, and
// returns what is left of v and how many parts there were. A part is a name, or a
// number to be written before or instead of it, as the row's kind says.
func eachName(s *syscalls.Set, v uint64, name func(row *syscalls.SetRow, part uint64)) (rest uint64, n int) {
	rest = v
	var fields uint64 // those already dealt with
	for i := range s.Rows {
		row := &s.Rows[i]
		switch {
		case row.Kind == syscalls.RowShift:
			// Mask is that of the number, Value its place.
			mask := row.Mask << row.Value
			rest &^= mask
			if part := v & mask >> row.Value; part != 0 {
				name(row, part)
				n++
			}
		case row.Kind == syscalls.RowNothing:
			if rest == 0 {
				name(row, 0)
			}
		case row.Kind == syscalls.RowOctal:
			rest &^= row.Mask
			name(row, v&row.Mask)
			n++
		case row.Mask != 0:
			if fields&row.Mask == 0 && v&row.Mask == row.Value {
				fields |= row.Mask
				rest &^= row.Mask
				name(row, 0)
				n++
			}
		case row.Value == 0:
			if v == 0 && n == 0 {
				name(row, 0)
				n++
			}
		case rest&row.Value == row.Value:
			rest &^= row.Value
			name(row, 0)
			n++
		}
	}
	return rest, n
}

func appendPart(dst []byte, row *syscalls.SetRow, part uint64) []byte {
	switch row.Kind {
	case syscalls.RowShift:
		dst = strconv.AppendUint(dst, part, 10)
		if row.Name == "" {
			return dst
		}
		dst = append(dst, "<<"...)
		return append(dst, row.Name...)
	case syscalls.RowOctal:
		return appendOctalMode(dst, part)
	}
	return append(dst, row.Name...)
}

// appendFlags appends the names in v, or-ed.
func appendFlags(dst []byte, s *syscalls.Set, v uint64) []byte {
	first := true
	rest, n := eachName(s, v, func(row *syscalls.SetRow, part uint64) {
		if !first {
			dst = append(dst, '|')
		}
		first = false
		dst = appendPart(dst, row, part)
	})
	switch {
	case n == 0:
		return appendUnknown(dst, s, v)
	case rest != 0:
		dst = append(dst, '|')
		return appendHex(dst, rest)
	}
	return dst
}

// appendUnknown appends a number that has no name.
func appendUnknown(dst []byte, s *syscalls.Set, v uint64) []byte {
	if v == 0 && s.Flags && s.Unknown == "" {
		return dst
	}
	dst = appendHex(dst, v)
	if s.Unknown != "" && (v != 0 || !s.Flags) {
		dst = append(dst, " /* "...)
		dst = append(dst, s.Unknown...)
		dst = append(dst, " */"...)
	}
	return dst
}

// appendValue appends the name of v.
func appendValue(dst []byte, s *syscalls.Set, v uint64) []byte {
	if name := s.Name(v); name != "" {
		return append(dst, name...)
	}
	return appendUnknown(dst, s, v&0xffffffff)
}

// appendSignal appends the name of a signal, or its number.
func appendSignal(dst []byte, v uint64) []byte {
	if name := signals.Name(v); name != "" {
		return append(dst, name...)
	}
	return strconv.AppendInt(dst, int64(int32(v)), 10)
}

// The sets of what is no argument of a call.
var (
	signals  = syscalls.Values("signal")
	sicodes  = syscalls.Values("sicode")
	families = syscalls.Values("af")
	msgFlags = syscalls.Values("msg")
	handlers = syscalls.Values("handler")
	// sigcodes are the si_codes that only one signal has, by signal.
	sigcodes = map[uint32]*syscalls.Set{
		sigILL:  syscalls.Values("sigill"),
		sigTRAP: syscalls.Values("sigtrap"),
		sigBUS:  syscalls.Values("sigbus"),
		sigFPE:  syscalls.Values("sigfpe"),
		sigSEGV: syscalls.Values("sigsegv"),
		sigCHLD: syscalls.Values("sigchld"),
		sigIO:   syscalls.Values("sigpoll"),
		sigSYS:  syscalls.Values("sigsys"),
	}
)

// Signals that are shown in a way of their own.
const (
	sigILL  = 4
	sigTRAP = 5
	sigABRT = 6
	sigBUS  = 7
	sigFPE  = 8
	sigKILL = 9
	sigSEGV = 11
	sigCHLD = 17
	sigIO   = 29
	sigSYS  = 31
)

// sicode returns the name of an si_code, or "".
func sicode(signal uint32, code int32) string {
	if name := sicodes.Name(uint64(uint32(code))); name != "" {
		return name
	}
	if s := sigcodes[signal]; s != nil {
		return s.Name(uint64(uint32(code)))
	}
	return ""
}

// SignalName returns the name of a signal, or its number.
func SignalName(n uint32) string { return string(appendSignal(nil, uint64(n))) }

// SignalCode returns the name of the si_code of a signal, or its number.
func SignalCode(signal uint32, code int32) string {
	if name := sicode(signal, code); name != "" {
		return name
	}
	return strconv.Itoa(int(code))
}
