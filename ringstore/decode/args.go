package decode

import (
	"net/netip"
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// appendArg appends one argument as strace shows it.
func (v *view) appendArg(dst []byte, a *syscalls.Arg) []byte {
	value := v.arg(a.Index)
	switch a.Format {
	case syscalls.FormatLong:
		return strconv.AppendInt(dst, v.long(a.Index), 10)
	case syscalls.FormatOff:
		return strconv.AppendInt(dst, v.long(a.Index), 10)
	case syscalls.FormatPath, syscalls.FormatStr:
		c := v.target(a)
		if c == nil {
			return appendPointer(dst, value)
		}
		cut := c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0
		if a.Format == syscalls.FormatPath {
			return appendQuoted(dst, c.Data, cut)
		}
		return appendAbbreviated(dst, c.Data, cut)
	case syscalls.FormatData, syscalls.FormatLinkBuf, syscalls.FormatHexData, syscalls.FormatPathBuf:
		return v.appendBuffer(dst, a)
	case syscalls.FormatFlags:
		return appendFlags(dst, a.Set, flagBits(value))
	case syscalls.FormatEthProto:
		dst = append(dst, "htons("...)
		dst = appendValue(dst, a.Set, value>>8&0xff|value<<8&0xff00)
		return append(dst, ')')
	case syscalls.FormatIoctl:
		return appendIoctl(dst, a.Set, uint32(value))
	case syscalls.FormatSockaddr:
		if b := v.sockaddr(a); b != nil {
			return appendSockaddr(dst, b)
		}
		return appendPointer(dst, value)
	case syscalls.FormatSocklen:
		before, after, ok := v.socklen(a.Index)
		if !ok {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, int64(before), 10)
		if after != before {
			dst = append(dst, " => "...)
			dst = strconv.AppendInt(dst, int64(after), 10)
		}
		return append(dst, ']')
	case syscalls.FormatSockopt:
		return v.appendSockopt(dst, a)
	case syscalls.FormatIovec:
		return v.appendIovec(dst, a)
	case syscalls.FormatMsghdr:
		return v.appendMsghdr(dst, a)
	case syscalls.FormatArgv:
		return v.appendArgv(dst, a)
	case syscalls.FormatStruct, syscalls.FormatClone3:
		c := v.target(a)
		if c == nil || len(c.Data) < a.Struct.Size || a.Out != syscalls.In && !v.returned() {
			return appendPointer(dst, value)
		}
		dst = appendStruct(dst, a.Struct, c.Data)
		if a.Format == syscalls.FormatClone3 && v.returned() && number(c.Data, 8)&cloneParentSettid != 0 {
			dst = append(dst, " => {parent_tid=["...)
			dst = strconv.AppendInt(dst, v.e.Ret, 10)
			dst = append(dst, "]}"...)
		}
		return dst
	case syscalls.FormatArray:
		return v.appendArray(dst, a)
	case syscalls.FormatRetTID:
		if !v.returned() || value == 0 {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, v.e.Ret, 10)
		return append(dst, ']')
	case syscalls.FormatWstatus, syscalls.FormatPair, syscalls.FormatIntp, syscalls.FormatErrnop:
		return v.appendTarget(dst, a)
	case syscalls.FormatSigset:
		c := v.target(a)
		if c == nil || len(c.Data) < 8 {
			return appendPointer(dst, value)
		}
		return appendSigset(dst, number(c.Data, 8))
	case syscalls.FormatLoHi:
		return strconv.AppendInt(dst, int64(value&0xffffffff|v.arg(a.Index+1)<<32), 10)
	case syscalls.FormatPgoff:
		return appendHex(dst, value<<12)
	}
	return appendNumber(dst, a.Format, a.Set, value)
}

// cloneParentSettid asks clone to store the new thread's id.
const cloneParentSettid = 0x100000

// flagBits are the bits of a register that hold flags: a program that passes an int
// leaves the upper half undefined, or fills it with the sign.
func flagBits(v uint64) uint64 {
	if v>>32 == 0xffffffff {
		return v & 0xffffffff
	}
	return v
}

// appendNumber appends what needs nothing but the number.
func appendNumber(dst []byte, format syscalls.Format, set *syscalls.Set, v uint64) []byte {
	switch format {
	case syscalls.FormatInt, syscalls.FormatFD, syscalls.FormatPID:
		return strconv.AppendInt(dst, int64(int32(v)), 10)
	case syscalls.FormatUint:
		return strconv.AppendUint(dst, uint64(uint32(v)), 10)
	case syscalls.FormatLong, syscalls.FormatOff:
		return strconv.AppendInt(dst, int64(v), 10)
	case syscalls.FormatUlong, syscalls.FormatSize:
		return strconv.AppendUint(dst, v, 10)
	case syscalls.FormatHex:
		return appendHex(dst, v)
	case syscalls.FormatDirFD:
		if int32(v) == atFDCWD {
			return append(dst, "AT_FDCWD"...)
		}
		return strconv.AppendInt(dst, int64(int32(v)), 10)
	case syscalls.FormatMode:
		return appendOctalMode(dst, v&0xffff)
	case syscalls.FormatFileMode:
		return appendFileMode(dst, v&0xffff)
	case syscalls.FormatDev:
		major, minor := device(v)
		dst = append(dst, "makedev("...)
		dst = appendHex(dst, major)
		dst = append(dst, ", "...)
		dst = appendHex(dst, minor)
		return append(dst, ')')
	case syscalls.FormatID:
		if uint32(v) == ^uint32(0) {
			return append(dst, "-1"...)
		}
		return strconv.AppendUint(dst, uint64(uint32(v)), 10)
	case syscalls.FormatSignal:
		return appendSignal(dst, v)
	case syscalls.FormatFlags:
		return appendFlags(dst, set, v)
	case syscalls.FormatValue:
		return appendValue(dst, set, v)
	case syscalls.FormatRlim:
		switch {
		case v == ^uint64(0):
			return append(dst, "RLIM64_INFINITY"...)
		case v > 1024 && v%1024 == 0:
			dst = strconv.AppendUint(dst, v/1024, 10)
			return append(dst, "*1024"...)
		}
		return strconv.AppendUint(dst, v, 10)
	}
	return appendPointer(dst, v)
}

// atFDCWD stands for the working directory.
const atFDCWD = -100

// device splits a device number.
func device(v uint64) (major, minor uint64) {
	return v>>8&0xfff | v>>32&^0xfff, v&0xff | v>>12&0xffffff00
}

func appendFileMode(dst []byte, v uint64) []byte {
	const typeMask = 0o170000
	kinds := [...]string{1: "S_IFIFO", 2: "S_IFCHR", 4: "S_IFDIR", 6: "S_IFBLK", 8: "S_IFREG", 10: "S_IFLNK", 12: "S_IFSOCK"}
	if kind := v & typeMask >> 12; kind < uint64(len(kinds)) && kinds[kind] != "" {
		dst = append(dst, kinds[kind]...)
		dst = append(dst, '|')
		v &^= typeMask
	}
	for _, bit := range [...]struct {
		mask uint64
		name string
	}{{0o4000, "S_ISUID|"}, {0o2000, "S_ISGID|"}, {0o1000, "S_ISVTX|"}} {
		if v&bit.mask != 0 {
			dst = append(dst, bit.name...)
			v &^= bit.mask
		}
	}
	return appendOctalMode(dst, v)
}

// appendBuffer appends bytes whose number another argument or the result tells.
func (v *view) appendBuffer(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	if c == nil || a.Out != syscalls.In && !v.returned() {
		return appendPointer(dst, v.arg(a.Index))
	}
	data, length := c.Data, v.length(a)
	if uint64(len(data)) > length {
		data = data[:length]
	}
	more := uint64(len(data)) < length
	switch a.Format {
	case syscalls.FormatHexData:
		return appendHexQuoted(dst, data, more)
	case syscalls.FormatPathBuf:
		s, _ := splitStrings(data)
		return appendQuoted(dst, s, more && len(s) == len(data))
	}
	return appendAbbreviated(dst, data, more)
}

// socklen returns the length that an argument points to, before the call and after it.
func (v *view) socklen(arg int) (before, after int32, ok bool) {
	entry, exit := v.capture(arg, false, 0), v.capture(arg, true, 0)
	if v.arg(arg) == 0 {
		return 0, 0, false
	}
	known := false
	if entry != nil && len(entry.Data) >= 4 {
		before, known = int32(number(entry.Data, 4)), true
		after = before
	}
	if exit != nil && len(exit.Data) >= 4 && v.returned() {
		after = int32(number(exit.Data, 4))
		if !known {
			before = after
		}
		known = true
	}
	return before, after, known
}

// sockaddr returns the bytes of a socket address, or nil where only the pointer can be
// shown.
func (v *view) sockaddr(a *syscalls.Arg) []byte {
	c := v.target(a)
	if c == nil || len(c.Data) < 2 || a.Out != syscalls.In && !v.returned() {
		return nil
	}
	b := c.Data
	if a.Out != syscalls.In {
		// The kernel tells the whole length, and stores no more than it was given.
		if before, after, ok := v.socklen(int(a.Count)); ok {
			n := max(min(before, after), 0)
			if n < 2 {
				return nil
			}
			b = b[:min(len(b), int(n))]
		}
	}
	return b
}

// Address families that are shown in detail.
const (
	afUnix    = 1
	afInet    = 2
	afInet6   = 10
	afNetlink = 16
)

// appendSockaddr appends a socket address of at least two bytes.
func appendSockaddr(dst, b []byte) []byte {
	family := number(b, 2)
	dst = append(dst, "{sa_family="...)
	dst = appendValue(dst, families, family)
	rest := b[2:]
	if len(rest) == 0 {
		return append(dst, '}')
	}
	dst = append(dst, ", "...)
	switch {
	case family == afUnix:
		dst = append(dst, "sun_path="...)
		if rest[0] == 0 { // abstract: all bytes count
			dst = append(dst, '@')
			dst = appendQuoted(dst, rest[1:], false)
		} else {
			path, _ := splitStrings(rest)
			dst = appendQuoted(dst, path, false)
		}
	case family == afInet && len(b) >= 16:
		dst = append(dst, "sin_port=htons("...)
		dst = strconv.AppendUint(dst, uint64(b[2])<<8|uint64(b[3]), 10)
		dst = append(dst, "), sin_addr=inet_addr(\""...)
		dst = netip.AddrFrom4([4]byte(b[4:8])).AppendTo(dst)
		dst = append(dst, "\")"...)
	case family == afInet6 && len(b) >= 24:
		dst = append(dst, "sin6_port=htons("...)
		dst = strconv.AppendUint(dst, uint64(b[2])<<8|uint64(b[3]), 10)
		dst = append(dst, "), sin6_flowinfo=htonl("...)
		dst = strconv.AppendUint(dst, uint64(b[4])<<24|uint64(b[5])<<16|uint64(b[6])<<8|uint64(b[7]), 10)
		dst = append(dst, "), inet_pton(AF_INET6, \""...)
		dst = netip.AddrFrom16([16]byte(b[8:24])).AppendTo(dst)
		dst = append(dst, "\", &sin6_addr)"...)
		if len(b) >= 28 {
			dst = append(dst, ", sin6_scope_id="...)
			dst = strconv.AppendUint(dst, number(b[24:], 4), 10)
		}
	case family == afNetlink && len(b) >= 12:
		dst = append(dst, "nl_pid="...)
		dst = strconv.AppendUint(dst, number(b[4:], 4), 10)
		dst = append(dst, ", nl_groups=0x"...)
		groups := number(b[8:], 4)
		const digits = 6 // at least
		for width := digits - 1; width > 0 && groups>>(4*width) == 0; width-- {
			dst = append(dst, '0')
		}
		dst = strconv.AppendUint(dst, groups, 16)
	default:
		dst = append(dst, "sa_data="...)
		dst = appendQuoted(dst, rest, false)
	}
	return append(dst, '}')
}

// Socket options that are shown in a way of their own.
const (
	solSocket      = 1
	soBindToDevice = 25
)

// appendSockopt appends the value of setsockopt: an int, or bytes.
func (v *view) appendSockopt(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	length := int32(v.arg(int(a.Count)))
	if c == nil || length < 0 {
		return appendPointer(dst, v.arg(a.Index))
	}
	switch {
	case length == 4 && len(c.Data) >= 4:
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, int64(int32(number(c.Data, 4))), 10)
		return append(dst, ']')
	case length < 4 && uint32(v.arg(1)) == solSocket && uint32(v.arg(2)) != soBindToDevice:
		return appendPointer(dst, v.arg(a.Index)) // too short for any of them
	}
	return appendAbbreviated(dst, c.Data, int64(len(c.Data)) < int64(length))
}

// optionLength is the length of the value that getsockopt returned; ok tells that the
// call is one that tells it.
func (v *view) optionLength() (n int32, ok bool) {
	if last := len(v.args) - 1; last > 0 && v.args[last].Format == syscalls.FormatSocklen {
		_, n, ok = v.socklen(v.args[last].Index)
	}
	return n, ok
}

// appendTarget appends a number or two that an argument points to.
func (v *view) appendTarget(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	value := v.arg(a.Index)
	if c == nil || !v.returned() {
		return appendPointer(dst, value)
	}
	size := 4
	if a.Format == syscalls.FormatPair {
		size = 8
	}
	if len(c.Data) < size || a.Format == syscalls.FormatWstatus && v.e.Ret == 0 {
		return appendPointer(dst, value)
	}
	if n, ok := v.optionLength(); ok && n != 4 {
		// Of an option's value, four bytes are recorded; with another length they are
		// no int.
		if n > 0 && n < 4 {
			return appendQuoted(dst, c.Data[:n], false)
		}
		return appendPointer(dst, value)
	}
	n := number(c.Data, size)
	if a.Format == syscalls.FormatWstatus {
		dst = append(dst, '[')
		dst = appendWaitStatus(dst, uint32(n))
		return append(dst, ']')
	}
	dst = append(dst, '[')
	switch a.Format {
	case syscalls.FormatPair:
		dst = strconv.AppendInt(dst, int64(int32(n)), 10)
		dst = append(dst, ", "...)
		dst = strconv.AppendInt(dst, int64(int32(n>>32)), 10)
	case syscalls.FormatIntp:
		dst = strconv.AppendInt(dst, int64(int32(n)), 10)
	case syscalls.FormatErrnop:
		dst = appendErrno(dst, int64(int32(n)))
	}
	return append(dst, ']')
}

func appendWaitStatus(dst []byte, status uint32) []byte {
	signal := status & 0x7f
	switch {
	case status&0xff == 0x7f:
		dst = append(dst, "{WIFSTOPPED(s) && WSTOPSIG(s) == "...)
		stop := status >> 8 & 0xff
		dst = appendSignal(dst, uint64(stop&0x7f))
		if stop&0x80 != 0 {
			dst = append(dst, " | 0x80"...)
		}
		status &^= 0xffff
	case status == 0xffff:
		return append(dst, "{WIFCONTINUED(s)}"...)
	case signal != 0:
		dst = append(dst, "{WIFSIGNALED(s) && WTERMSIG(s) == "...)
		dst = appendSignal(dst, uint64(signal))
		if status&coreFlag != 0 {
			dst = append(dst, " && WCOREDUMP(s)"...)
		}
		status &^= 0x7f | coreFlag
	default:
		dst = append(dst, "{WIFEXITED(s) && WEXITSTATUS(s) == "...)
		dst = strconv.AppendUint(dst, uint64(status>>8&0xff), 10)
		status &^= 0xff00
	}
	dst = append(dst, '}')
	if status != 0 {
		dst = append(dst, " | "...)
		dst = appendHex(dst, uint64(status))
	}
	return dst
}

// appendStruct appends a structure of which all bytes are there.
func appendStruct(dst []byte, s *syscalls.Struct, b []byte) []byte {
	dst = append(dst, '{')
	first := true
	for i := range s.Fields {
		f := &s.Fields[i]
		if !shown(s, f, b) {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = append(dst, f.Name...)
		dst = append(dst, '=')
		if f.Struct != nil {
			dst = appendStruct(dst, f.Struct, b[f.Offset:])
			continue
		}
		dst = appendNumber(dst, f.Format, f.Set, number(b[f.Offset:], f.Size))
	}
	return append(dst, '}')
}

// appendArray appends an array of structures.
func (v *view) appendArray(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	if c == nil || a.Out != syscalls.In && !v.returned() {
		return appendPointer(dst, v.arg(a.Index))
	}
	total := v.length(a)
	dst = append(dst, '[')
	b := c.Data
	for i := uint64(0); i < total; i++ {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if len(b) < a.Struct.Size || i == maxString {
			dst = append(dst, "..."...)
			break
		}
		dst = appendElement(dst, a.Struct, b)
		b = b[a.Struct.Size:]
	}
	return append(dst, ']')
}

// appendElement appends an element of an array. What a pollfd asks for is of no account
// when it is not in use, and what it found is a part of the result.
func appendElement(dst []byte, s *syscalls.Struct, b []byte) []byte {
	if s != pollfd {
		return appendStruct(dst, s, b)
	}
	fd := int32(number(b, 4))
	dst = append(dst, "{fd="...)
	dst = strconv.AppendInt(dst, int64(fd), 10)
	if fd >= 0 {
		dst = append(dst, ", events="...)
		dst = appendFlags(dst, pollFlags, number(b[4:], 2))
	}
	return append(dst, '}')
}

var pollfd = syscalls.StructLayout("pollfd")

// appendSigset appends the signals in a set, or those missing from one that is nearly
// full.
func appendSigset(dst []byte, set uint64) []byte {
	const full = 64 * 2 / 3
	n := 0
	for s := set; s != 0; s &= s - 1 {
		n++
	}
	if n >= full {
		dst = append(dst, '~')
		set = ^set
	}
	dst = append(dst, '[')
	first := true
	for i := range 64 {
		if set>>i&1 == 0 {
			continue
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		name := signals.Name(uint64(i + 1))
		dst = append(dst, name[len("SIG"):]...)
	}
	return append(dst, ']')
}

// appendArgv appends an array of strings.
func (v *view) appendArgv(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	if c == nil {
		return appendPointer(dst, v.arg(a.Index))
	}
	dst = append(dst, '[')
	n := 0
	more := stringsEndEarly(c)
	for b := c.Data; len(b) > 0; n++ {
		var s []byte
		s, b = splitStrings(b)
		if n == maxString {
			more = true
			break
		}
		if n > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendAbbreviated(dst, s, false)
	}
	if more {
		if n > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, "..."...)
	}
	return append(dst, ']')
}

// The kernel side reads at most so many bytes of one string of an array, with its NUL.
const maxPiece = layout.SizesPiece

// stringsEndEarly tells whether an array of strings had more elements than the capture
// has. A capture that is cut may also lack nothing but the end of a long string.
func stringsEndEarly(c *ringstore.Capture) bool {
	const (
		maxStrings = 24  // elements that the kernel side reads
		likely     = 256 // bytes behind which it reads no further, unless it was told otherwise
	)
	if c.Status&ringstore.CaptureFault != 0 {
		return true
	}
	if c.Status&ringstore.CaptureCut == 0 {
		return false
	}
	n, long := 0, false
	for b := c.Data; len(b) > 0; n++ {
		var s []byte
		s, b = splitStrings(b)
		long = long || len(s) >= maxPiece-1
	}
	return !long || n >= maxStrings || len(c.Data) >= likely
}

// appendIovec appends the buffers of readv and writev.
func (v *view) appendIovec(dst []byte, a *syscalls.Arg) []byte {
	array := v.capture(a.Index, false, 0)
	if array == nil || v.arg(a.Index) == 0 {
		return appendPointer(dst, v.arg(a.Index))
	}
	out := a.Out != syscalls.In
	limit := ^uint64(0)
	var data *ringstore.Capture
	if !out {
		data = v.capture(a.Index, false, 1)
	} else if v.returned() {
		data = v.capture(a.Index, true, 0)
		limit = uint64(v.e.Ret)
	}
	total := v.arg(a.Index + 1)
	dst = append(dst, '[')
	dst, n := appendPieces(dst, array.Data, data, limit)
	if uint64(n) < total && n > 0 && n <= maxString {
		dst = append(dst, ", ..."...)
	}
	return append(dst, ']')
}

// appendPieces appends the buffers of an iovec array, as many as are known, and tells
// how many. Without data, or where its bytes were not recorded, a buffer is a pointer.
func appendPieces(dst, array []byte, data *ringstore.Capture, limit uint64) ([]byte, int) {
	var bytes []byte
	if data != nil {
		bytes = data.Data
	}
	n := 0
	pieces(array, bytes, data != nil && data.Status&ringstore.CaptureCut != 0, limit, func(i int, p piece) {
		n++
		if i > maxString {
			return
		}
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if i == maxString {
			dst = append(dst, "..."...)
			return
		}
		dst = append(dst, "{iov_base="...)
		if data == nil || p.base == 0 || len(p.data) == 0 && !p.whole {
			dst = appendPointer(dst, p.base)
		} else {
			dst = appendAbbreviated(dst, p.data, !p.whole)
		}
		dst = append(dst, ", iov_len="...)
		dst = strconv.AppendUint(dst, p.length, 10)
		dst = append(dst, '}')
	})
	return dst, n
}

// The layout of struct user_msghdr.
const (
	msgName       = 0
	msgNameLen    = 8
	msgIovLen     = 24
	msgControl    = 32
	msgControlLen = 40
	msgMsgFlags   = 48
	msghdrSize    = 56
)

// appendMsghdr appends a message. The record has the header and the bytes gathered, but
// not the lengths of the single buffers.
func (v *view) appendMsghdr(dst []byte, a *syscalls.Arg) []byte {
	exit := a.Out != syscalls.In
	head, data := v.capture(a.Index, exit, 0), v.capture(a.Index, exit, 1)
	if head == nil || len(head.Data) < msghdrSize || v.arg(a.Index) == 0 || exit && !v.returned() {
		return appendPointer(dst, v.arg(a.Index))
	}
	b := head.Data
	dst = append(dst, "{msg_name="...)
	dst = appendPointer(dst, number(b[msgName:], 8))
	dst = append(dst, ", msg_namelen="...)
	dst = strconv.AppendInt(dst, int64(int32(number(b[msgNameLen:], 4))), 10)
	iovs := number(b[msgIovLen:], 8)
	dst = append(dst, ", msg_iov=["...)
	if data != nil && iovs > 0 {
		more := data.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0
		dst = append(dst, "{iov_base="...)
		dst = appendAbbreviated(dst, data.Data, more)
		if !exit && iovs == 1 && !more {
			dst = append(dst, ", iov_len="...)
			dst = strconv.AppendInt(dst, int64(len(data.Data)), 10)
		} else {
			dst = append(dst, ", ..."...)
		}
		dst = append(dst, '}')
		if iovs > 1 {
			dst = append(dst, ", ..."...)
		}
	} else if iovs > 0 {
		dst = append(dst, "..."...)
	}
	dst = append(dst, "], msg_iovlen="...)
	dst = strconv.AppendUint(dst, iovs, 10)
	if control := number(b[msgControl:], 8); control != 0 && number(b[msgControlLen:], 8) != 0 {
		dst = append(dst, ", msg_control="...)
		dst = appendPointer(dst, control)
	}
	dst = append(dst, ", msg_controllen="...)
	dst = strconv.AppendUint(dst, number(b[msgControlLen:], 8), 10)
	dst = append(dst, ", msg_flags="...)
	dst = appendFlags(dst, msgFlags, number(b[msgMsgFlags:], 4))
	return append(dst, '}')
}

// appendIoctl appends the request of an ioctl: its name, or its parts.
func appendIoctl(dst []byte, s *syscalls.Set, code uint32) []byte {
	if name := s.Name(uint64(code)); name != "" {
		return append(dst, name...)
	}
	directions := [4]string{"_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE"}
	dst = append(dst, "_IOC("...)
	dst = append(dst, directions[code>>30]...)
	for _, part := range [...]uint32{code >> 8 & 0xff, code & 0xff, code >> 16 & 0x3fff} {
		dst = append(dst, ", "...)
		dst = appendHex(dst, uint64(part))
	}
	return append(dst, ')')
}
