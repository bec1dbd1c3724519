package decode

import (
	"net/netip"
	"slices"
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
	case syscalls.FormatData, syscalls.FormatLinkBuf, syscalls.FormatHexData, syscalls.FormatPathBuf, syscalls.FormatTextData:
		return v.appendBuffer(dst, a)
	case syscalls.FormatFlags:
		return appendFlags(dst, a.Set, flagBits(a, value))
	case syscalls.FormatValue:
		if a.Wide && value>>32 != 0 {
			return appendUnknown(dst, a.Set, value)
		}
	case syscalls.FormatDev:
		return appendNumber(dst, a.Format, nil, value&0xffffffff)
	case syscalls.FormatXint:
		return appendHex(dst, value&0xffffffff)
	case syscalls.FormatNamed:
		dst = strconv.AppendInt(dst, int64(int32(value)), 10)
		name := a.Set.Name(value)
		if name == "" {
			name = a.Set.Unknown
		}
		dst = append(dst, " /* "...)
		dst = append(dst, name...)
		return append(dst, " */"...)
	case syscalls.FormatKeyID:
		if name := a.Set.Name(value); name != "" {
			return append(dst, name...)
		}
		return strconv.AppendInt(dst, int64(int32(value)), 10)
	case syscalls.FormatFanFD:
		if int32(value) == -1 {
			return append(dst, "FAN_NOFD"...)
		}
		return appendNumber(dst, syscalls.FormatDirFD, nil, value)
	case syscalls.FormatUserDesc:
		c := v.capture(a.Index, false, 0)
		if c == nil || value == 0 || len(c.Data) < userDescSize {
			return appendPointer(dst, value)
		}
		return appendUserDesc(dst, c.Data)
	case syscalls.FormatNodes:
		return v.appendNodes(dst, a)
	case syscalls.FormatMsgbuf:
		c := v.target(a)
		if c == nil || len(c.Data) < 8 || !v.filled(a) {
			return appendPointer(dst, value)
		}
		dst = append(dst, "{mtype="...)
		dst = strconv.AppendInt(dst, int64(number(c.Data, 8)), 10)
		dst = append(dst, ", mtext="...)
		dst = appendAbbreviated(dst, c.Data[8:], uint64(len(c.Data)-8) < v.length(a))
		return append(dst, '}')
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
		b := whole(a.Struct, c)
		if b == nil || !v.filled(a) {
			return appendPointer(dst, value)
		}
		dst = appendTarget(dst, a.Struct, b)
		if a.Format == syscalls.FormatClone3 && v.returned() && number(c.Data, 8)&cloneParentSettid != 0 {
			dst = append(dst, " => {"...)
			if p := v.capture(a.Index, true, 0); p != nil && len(p.Data) >= 4 && number(c.Data, 8)&clonePidfd != 0 {
				dst = append(dst, "pidfd=["...)
				dst = strconv.AppendInt(dst, int64(int32(number(p.Data, 4))), 10)
				dst = append(dst, "], "...)
			}
			dst = append(dst, "parent_tid=["...)
			dst = strconv.AppendInt(dst, v.e.Ret, 10)
			dst = append(dst, "]}"...)
		}
		return dst
	case syscalls.FormatSized, syscalls.FormatGrown:
		s, b, inner := v.part(a)
		if b == nil {
			return appendPointer(dst, value)
		}
		return appendStruct(dst, &s, b, inner...)
	case syscalls.FormatChange:
		before, after, b, c := v.change(a)
		if b == nil {
			return appendPointer(dst, value)
		}
		dst = appendStruct(dst, &before, b)
		if c != nil {
			dst = append(dst, " => "...)
			dst = appendStruct(dst, &after, c)
		}
		return dst
	case syscalls.FormatPoints:
		return v.appendPoints(dst, a)
	case syscalls.FormatHandle:
		return v.appendHandle(dst, a)
	case syscalls.FormatQcmd:
		dst = append(dst, "QCMD("...)
		dst = appendValue(dst, quotaCommands, value&0xffffffff>>8)
		dst = append(dst, ", "...)
		dst = appendValue(dst, quotaTypes, value&0xff)
		return append(dst, ')')
	case syscalls.FormatArray:
		return v.appendArray(dst, a)
	case syscalls.FormatRetTID:
		if !v.returned() || value == 0 {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, v.e.Ret, 10)
		return append(dst, ']')
	case syscalls.FormatWstatus, syscalls.FormatPair, syscalls.FormatIntp, syscalls.FormatErrnop, syscalls.FormatSignalp:
		return v.appendNumbers(dst, a)
	case syscalls.FormatSigset:
		c := v.target(a)
		if c == nil || len(c.Data) < 8 || !v.filled(a) {
			return appendPointer(dst, value)
		}
		return appendSigset(dst, number(c.Data, 8))
	case syscalls.FormatInOut:
		return v.appendInOut(dst, a)
	case syscalls.FormatTimes, syscalls.FormatUTimes:
		return v.appendTimes(dst, a)
	case syscalls.FormatCPUs:
		c := v.target(a)
		if c == nil || a.Out != syscalls.In && !v.returned() {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		dst = appendBits(dst, c.Data, len(c.Data)*8, " ")
		return append(dst, ']')
	case syscalls.FormatFDSet:
		c := v.capture(a.Index, false, 0)
		if c == nil || value == 0 || len(c.Data) == 0 {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		dst = appendBits(dst, c.Data, int(int32(v.arg(int(a.Count)))), " ")
		return append(dst, ']')
	case syscalls.FormatEntries:
		return v.appendEntries(dst, a)
	case syscalls.FormatEnvp:
		return v.appendEnvp(dst, a)
	case syscalls.FormatSiginfo:
		c := v.target(a)
		if c == nil || len(c.Data) < siginfoSize || a.Out != syscalls.In && !v.returned() {
			return appendPointer(dst, value)
		}
		if number(c.Data, 4) == 0 {
			return append(dst, "{}"...)
		}
		return appendSiginfo(dst, siginfoOf(c.Data))
	case syscalls.FormatMmsghdr:
		return v.appendMmsghdr(dst, a)
	case syscalls.FormatSigmaskArg:
		pair := v.capture(a.Index, false, 0)
		if pair == nil || value == 0 || len(pair.Data) < 16 {
			return appendPointer(dst, value)
		}
		dst = append(dst, "{sigmask="...)
		if c := v.capture(a.Index, false, 1); c != nil && len(c.Data) >= 8 && number(pair.Data[8:], 8) == 8 {
			dst = appendSigset(dst, number(c.Data, 8))
		} else {
			dst = appendPointer(dst, number(pair.Data, 8))
		}
		dst = append(dst, ", sigsetsize="...)
		dst = strconv.AppendUint(dst, number(pair.Data[8:], 8), 10)
		return append(dst, '}')
	case syscalls.FormatCaps:
		c := v.target(a)
		if c == nil || len(c.Data) < 24 || a.Out != syscalls.In && !v.returned() {
			return appendPointer(dst, value)
		}
		return appendCaps(dst, c.Data)
	case syscalls.FormatIfreq:
		return v.appendIfreq(dst, a)
	case syscalls.FormatFutexOp:
		return appendFutexOp(dst, value&0xffffffff)
	case syscalls.FormatIoprio:
		return appendIoprio(dst, value&0xffffffff)
	case syscalls.FormatPtrVal:
		c := v.target(a)
		if c == nil || len(c.Data) < v.word || a.Out != syscalls.In && !v.returned() {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		dst = appendPointer(dst, number(c.Data, v.word))
		return append(dst, ']')
	case syscalls.FormatOption:
		return v.appendOption(dst, a)
	case syscalls.FormatComm:
		c := v.target(a)
		if c == nil || a.Out != syscalls.In && !v.returned() {
			return appendPointer(dst, value)
		}
		name, _ := splitStrings(c.Data)
		if len(name) >= commSize-1 && a.Out == syscalls.In || len(name) == commSize {
			return appendQuoted(dst, name[:commSize-1], true)
		}
		return appendQuoted(dst, name, false)
	case syscalls.FormatVec:
		return appendBuffers(dst, value, v.word, v.capture(a.Index, false, 0), nil, v.length(a), 0)
	case syscalls.FormatResidency:
		c := v.target(a)
		if c == nil || !v.returned() {
			return appendPointer(dst, value)
		}
		dst = append(dst, '[')
		for i, b := range c.Data {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			if i == maxString {
				dst = append(dst, "..."...)
				break
			}
			dst = strconv.AppendUint(dst, uint64(b&1), 10)
		}
		return append(dst, ']')
	case syscalls.FormatLoHi:
		return strconv.AppendInt(dst, int64(value&0xffffffff|v.arg(a.Index+1)<<32), 10)
	case syscalls.FormatPgoff:
		return appendHex(dst, value<<12)
	}
	return appendNumber(dst, a.Format, a.Set, value)
}

var quotaCommands, quotaTypes = syscalls.Values("quotacmd"), syscalls.Values("quotatype")

// commSize is what the kernel has for the name of a thread, with its NUL.
const commSize = 16

// siginfoSize is how much of a siginfo_t is read.
const siginfoSize = 48

// Flags of clone: store the new thread's id, and a descriptor for it.
const (
	cloneParentSettid = 0x100000
	clonePidfd        = 0x1000
)

// flagBits are the bits of an argument that hold flags: a program that passes an int
// leaves the upper half undefined, or fills it with the sign.
func flagBits(a *syscalls.Arg, v uint64) uint64 {
	if a.Wide {
		return v
	}
	return v & 0xffffffff
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
	case syscalls.FormatKernelVersion:
		dst = append(dst, "KERNEL_VERSION("...)
		dst = strconv.AppendUint(dst, v>>16&0xff, 10)
		dst = append(dst, ", "...)
		dst = strconv.AppendUint(dst, v>>8&0xff, 10)
		dst = append(dst, ", "...)
		dst = strconv.AppendUint(dst, v&0xff, 10)
		return append(dst, ')')
	case syscalls.FormatErrno:
		return appendErrno(dst, int64(uint32(v)))
	case syscalls.FormatHandler:
		if name := handlers.Name(v); name != "" && (v < 2 || v+1 == 0 || v == 0xffffffff) {
			return append(dst, name...)
		}
		return appendPointer(dst, v)
	case syscalls.FormatIfindex:
		return strconv.AppendUint(dst, uint64(uint32(v)), 10)
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
	switch kind := v & typeMask >> 12; {
	case kind == 0:
	case kind < uint64(len(kinds)) && kinds[kind] != "":
		dst = append(dst, kinds[kind]...)
		dst = append(dst, '|')
		v &^= typeMask
	default:
		return appendOctalMode(dst, v)
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
	// The room that there was: a call may return more.
	if size := a.Index + 1; a.Count == syscalls.CountReturn && size < len(v.e.Args) && a.Format != syscalls.FormatPathBuf {
		if length = min(length, v.arg(size)); v.arg(size) == 0 && a.Format == syscalls.FormatLinkBuf {
			return appendPointer(dst, v.arg(a.Index))
		}
		data = data[:min(uint64(len(data)), length)]
	}
	if uint64(len(data)) > length {
		data = data[:length]
	}
	more := uint64(len(data)) < length
	switch a.Format {
	case syscalls.FormatTextData:
		if n := len(data); !more && n > 0 && data[n-1] == 0 {
			data = data[:n-1]
		}
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
		if groups == 0 {
			dst = append(dst[:len(dst)-1], '0')
		}
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

// Options of SOL_SOCKET are ints, but for these: times, and the name of a device.
const solSocket = 1

var soBytes = []uint32{20, 21, 25, 66, 67}

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
	case length < 4 && uint32(v.arg(1)) == solSocket && !slices.Contains(soBytes, uint32(v.arg(2))):
		return appendPointer(dst, v.arg(a.Index)) // too short for any of them
	}
	return appendAbbreviated(dst, c.Data, int64(len(c.Data)) < int64(length))
}

// appendOption appends the value that getsockopt returned: an int, or bytes.
func (v *view) appendOption(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	before, after, ok := v.socklen(int(a.Count))
	if c == nil || !ok || !v.returned() || before <= 0 || after <= 0 {
		return appendPointer(dst, v.arg(a.Index))
	}
	switch {
	case after == 4 && len(c.Data) >= 4:
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, int64(int32(number(c.Data, 4))), 10)
		return append(dst, ']')
	case after < 4 && uint32(v.arg(1)) == solSocket:
		return appendHexQuoted(dst, c.Data, len(c.Data) < int(after))
	}
	return appendAbbreviated(dst, c.Data, len(c.Data) < int(after))
}

// optionLength is the length of the value that getsockopt returned; ok tells that the
// call is one that tells it.
func (v *view) optionLength() (n int32, ok bool) {
	if last := len(v.args) - 1; last > 0 && v.args[last].Format == syscalls.FormatSocklen {
		_, n, ok = v.socklen(v.args[last].Index)
	}
	return n, ok
}

// appendNumbers appends a number or two that an argument points to.
func (v *view) appendNumbers(dst []byte, a *syscalls.Arg) []byte {
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
	case syscalls.FormatSignalp:
		dst = appendSignal(dst, n)
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
		dst = appendItem(dst, a.Struct, b)
		b = b[a.Struct.Size:]
	}
	return append(dst, ']')
}

// appendItem appends an element of an array. What a pollfd asks for is of no account
// when it is not in use, and what it found is a part of the result.
func appendItem(dst []byte, s *syscalls.Struct, b []byte) []byte {
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
		maxStrings = 33  // elements that the kernel side reads
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
