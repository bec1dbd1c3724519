package decode

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// bare tells that a structure is no more than one nameless field, which is shown alone.
func bare(s *syscalls.Struct) bool { return len(s.Fields) == 1 && s.Fields[0].Name == "" }

// appendStruct appends a structure of which all bytes are there.
// The strings that it points to are in inner, as far as they are known.
func appendStruct(dst []byte, s *syscalls.Struct, b []byte, inner ...*ringstore.Capture) []byte {
	if bare(s) {
		return appendField(dst, &s.Fields[0], b)
	}
	dst = append(dst, '{')
	first := true
	for i := range s.Fields {
		f := &s.Fields[i]
		if f.Format == syscalls.FormatExit || !shown(s, f, b) {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		if f.Format == syscalls.FormatMore {
			dst = append(dst, "..."...)
			continue
		}
		if f.Name != "" && f.Format != syscalls.FormatIn6Addr {
			dst = append(dst, f.Name...)
			dst = append(dst, '=')
		}
		if c := innerString(f, inner); c != nil {
			cut := c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0
			if f.Format == syscalls.FormatPathPtr {
				dst = appendQuoted(dst, c.Data, cut)
			} else {
				dst = appendAbbreviated(dst, c.Data, cut)
			}
			continue
		}
		dst = appendField(dst, f, b)
	}
	return append(dst, '}')
}

// change returns the two parts of a structure, that of the program and, once the call
// returned, that of the kernel; the bytes are nil where they are not known.
func (v *view) change(a *syscalls.Arg) (before, after syscalls.Struct, b, c []byte) {
	fields := a.Struct.Fields
	at := slices.IndexFunc(fields, func(f syscalls.Field) bool { return f.Format == syscalls.FormatExit })
	if at < 0 || v.arg(a.Index) == 0 {
		return before, after, nil, nil
	}
	before, after = syscalls.Struct{Fields: fields[:at]}, syscalls.Struct{Fields: fields[at:]}
	if e := v.capture(a.Index, false, 0); e != nil && len(e.Data) >= a.Struct.Size {
		b = e.Data
	}
	if x := v.capture(a.Index, true, 0); x != nil && len(x.Data) >= a.Struct.Size && v.returned() {
		c = x.Data
	}
	return before, after, b, c
}

// innerString is the string that a field points to; nil if it is no such field, or if the
// string is not known.
func innerString(f *syscalls.Field, inner []*ringstore.Capture) *ringstore.Capture {
	if f.Inner == 0 || f.Inner > len(inner) {
		return nil
	}
	return inner[f.Inner-1]
}

// part returns what is known of a structure: of one whose size an argument tells, the
// fields that are there; of one that the kernel adds to, those of the program until the
// call returned. It also returns the strings that fields point to. The bytes are nil where
// only the pointer can be shown.
func (v *view) part(a *syscalls.Arg) (s syscalls.Struct, b []byte, inner []*ringstore.Capture) {
	before, after := v.capture(a.Index, false, 0), v.capture(a.Index, true, 0)
	if a.Out != syscalls.In && a.Format == syscalls.FormatSized {
		before = after
	}
	if v.arg(a.Index) == 0 || before == nil || a.Format == syscalls.FormatSized && (!v.filled(a) || a.Out == syscalls.In && int32(v.arg(int(a.Count))) < 0) {
		return s, nil, nil
	}
	fields := a.Struct.Fields
	b = before.Data
	if a.Format == syscalls.FormatGrown && after != nil && v.returned() && len(after.Data) >= a.Struct.Size {
		b = after.Data
	} else {
		for i := range fields {
			f := &fields[i]
			if f.Format == syscalls.FormatExit || f.Format != syscalls.FormatMore && f.Offset+f.Size*max(f.Count, 1) > len(b) {
				fields = fields[:i]
				break
			}
		}
	}
	if len(fields) == 0 {
		return s, nil, nil
	}
	for i := range fields {
		if f := &fields[i]; f.Inner > 0 {
			c := v.capture(a.Index, false, f.Inner)
			if number(b[f.Offset:], f.Size) == 0 {
				c = nil
			}
			inner = append(inner, c)
		}
	}
	return syscalls.Struct{Size: len(b), Fields: fields}, b, inner
}

// appendPoints appends structures that an array points to: the first, and that there are
// more.
func (v *view) appendPoints(dst []byte, a *syscalls.Arg) []byte {
	c := v.capture(a.Index, false, 0)
	n := v.length(a)
	switch {
	case n == 0 && v.arg(a.Index) != 0:
		return append(dst, "[]"...)
	case v.arg(a.Index) == 0 || c == nil || len(c.Data) < a.Struct.Size:
		return appendPointer(dst, v.arg(a.Index))
	}
	dst = append(dst, '[')
	dst = appendStruct(dst, a.Struct, c.Data)
	if n > 1 {
		dst = append(dst, ", ..."...)
	}
	return append(dst, ']')
}

// handleHead is the size of a struct file_handle without its bytes.
const handleHead = 8

// handle returns a struct file_handle: how many bytes there were room for, how many it
// has, its type and its bytes, nil if it was not filled.
func (v *view) handle(a *syscalls.Arg) (before, after uint32, kind int32, b []byte, ok bool) {
	head := v.capture(a.Index, false, 0)
	if v.arg(a.Index) == 0 || head == nil || len(head.Data) < handleHead {
		return 0, 0, 0, nil, false
	}
	before = uint32(number(head.Data, 4))
	after = before
	filled := a.Out != syscalls.In
	if filled {
		head = v.capture(a.Index, true, 0)
	}
	data := v.capture(a.Index, filled, 1)
	if head == nil || data == nil || len(head.Data) < handleHead || filled && !v.returned() {
		return before, after, 0, nil, true
	}
	after, kind = uint32(number(head.Data, 4)), int32(number(head.Data[4:], 4))
	return before, after, kind, data.Data[:min(len(data.Data), int(after))], true
}

// appendHandle appends what a program knows a file by.
func (v *view) appendHandle(dst []byte, a *syscalls.Arg) []byte {
	before, after, kind, b, ok := v.handle(a)
	if !ok {
		return appendPointer(dst, v.arg(a.Index))
	}
	dst = append(dst, "{handle_bytes="...)
	dst = strconv.AppendUint(dst, uint64(before), 10)
	if after != before {
		dst = append(dst, " => "...)
		dst = strconv.AppendUint(dst, uint64(after), 10)
	}
	if b != nil {
		dst = append(dst, ", handle_type="...)
		dst = strconv.AppendInt(dst, int64(kind), 10)
		dst = append(dst, ", f_handle="...)
		dst = appendHexQuoted(dst, b, len(b) < int(after))
	}
	return append(dst, '}')
}

// whole returns the bytes of a structure out of a capture, nil if they are not all there.
// Older captures begin where the structure does.
func whole(s *syscalls.Struct, c *ringstore.Capture) []byte {
	switch {
	case c == nil || len(c.Data) < s.Size:
		return nil
	case s.From > 0 && len(c.Data) == s.From+s.Size:
		return c.Data[s.From:]
	}
	return c.Data
}

// appendField appends the value of a field, or the values of an array.
func appendField(dst []byte, f *syscalls.Field, b []byte) []byte {
	b = b[f.Offset:]
	switch f.Format {
	case syscalls.FormatCString:
		s := b[:max(f.Count, 1)]
		text, _ := splitStrings(s)
		return appendAbbreviated(dst, text, len(text) == len(s))
	case syscalls.FormatHexBytes:
		return appendHexQuoted(dst, b[:max(f.Count, 1)], false)
	}
	if f.Count == 0 {
		return appendElement(dst, f, b)
	}
	dst = append(dst, '[')
	for i := range f.Count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if i == maxString {
			dst = append(dst, "..."...)
			break
		}
		dst = appendElement(dst, f, b[i*f.Size:])
	}
	return append(dst, ']')
}

// appendElement appends one value of a field's form, with which b begins.
func appendElement(dst []byte, f *syscalls.Field, b []byte) []byte {
	if f.Struct != nil {
		return appendStruct(dst, f.Struct, b)
	}
	switch f.Format {
	case syscalls.FormatSigset:
		return appendSigset(dst, number(b, f.Size))
	case syscalls.FormatInetAddr:
		dst = append(dst, "inet_addr(\""...)
		dst = netip.AddrFrom4([4]byte(b[:4])).AppendTo(dst)
		return append(dst, "\")"...)
	case syscalls.FormatIn6Addr:
		dst = append(dst, "inet_pton(AF_INET6, \""...)
		dst = netip.AddrFrom16([16]byte(b[:16])).AppendTo(dst)
		dst = append(dst, "\", &"...)
		dst = append(dst, f.Name...)
		return append(dst, ')')
	case syscalls.FormatSockaddr:
		return appendSockaddr(dst, b[:16])
	case syscalls.FormatErrStat:
		if n := int32(number(b, 4)); n < 0 {
			dst = append(dst, '-')
			return appendErrno(dst, -int64(n))
		}
		return strconv.AppendUint(dst, number(b, 4), 10)
	case syscalls.FormatTicks:
		return appendTicks(dst, number(b, f.Size))
	case syscalls.FormatTime:
		sec := fieldNumber(f, b)
		dst = strconv.AppendInt(dst, int64(sec), 10)
		return appendTimeComment(dst, int64(sec), 0, 0)
	case syscalls.FormatRlim:
		if f.Size == 4 && number(b, 4) == 0xffffffff {
			return append(dst, "RLIM_INFINITY"...)
		}
	}
	return appendNumber(dst, f.Format, f.Set, fieldNumber(f, b))
}

// fieldNumber is the number that a field holds, with its sign if its format has one.
func fieldNumber(f *syscalls.Field, b []byte) uint64 {
	v := number(b, f.Size)
	switch f.Format {
	case syscalls.FormatInt, syscalls.FormatLong, syscalls.FormatOff, syscalls.FormatTime:
		switch f.Size {
		case 1:
			return uint64(int8(v))
		case 2:
			return uint64(int16(v))
		case 4:
			return uint64(int32(v))
		}
	}
	return v
}

// appendTimeComment appends a time of a file in words, in UTC: strace takes the local
// time of its own environment. part is of units of which digits make a second.
func appendTimeComment(dst []byte, sec int64, part uint64, digits int) []byte {
	most := uint64(1)
	for range digits {
		most *= 10
	}
	if sec == 0 && part == 0 || part >= most && part > 0 {
		return dst
	}
	t := time.Unix(sec, 0).UTC()
	if t.Year() < 0 || t.Year() > 9999 {
		return dst
	}
	dst = append(dst, " /* "...)
	dst = appendTime(dst, sec, part, most)
	return append(dst, " */"...)
}

// appendTime appends a time in UTC; most of the units of part are a second.
func appendTime(dst []byte, sec int64, part, most uint64) []byte {
	dst = time.Unix(sec, 0).UTC().AppendFormat(dst, "2006-01-02T15:04:05")
	if part > 0 {
		dst = append(dst, '.')
		for unit := most / 10; unit > 0; unit /= 10 {
			dst = append(dst, '0'+byte(part/unit%10))
		}
	}
	return append(dst, "+0000"...)
}

// appendTimes appends the two times that a file is to have.
func (v *view) appendTimes(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	size := 2 * v.word
	if a.Format == syscalls.FormatTimes && v.e.ABI != ringstore.ABINative && v.word == 4 && v.call.Name == "utimensat_time64" {
		size = 16
	}
	if c == nil || len(c.Data) < 2*size {
		return appendPointer(dst, v.arg(a.Index))
	}
	const now, omit = 1<<30 - 1, 1<<30 - 2
	digits, field := 9, ", tv_nsec="
	if a.Format == syscalls.FormatUTimes {
		digits, field = 6, ", tv_usec="
	}
	dst = append(dst, '[')
	for i := range 2 {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		b := c.Data[i*size:]
		sec, part := int64(number(b, size/2)), number(b[size/2:], size/2)
		if size == 8 {
			sec = int64(int32(sec))
		}
		switch {
		case digits == 9 && part == now:
			dst = append(dst, "UTIME_NOW"...)
			continue
		case digits == 9 && part == omit:
			dst = append(dst, "UTIME_OMIT"...)
			continue
		}
		dst = append(dst, "{tv_sec="...)
		dst = strconv.AppendInt(dst, sec, 10)
		dst = append(dst, field...)
		dst = strconv.AppendUint(dst, part, 10)
		dst = append(dst, '}')
		dst = appendTimeComment(dst, sec, part, digits)
	}
	return append(dst, ']')
}

// appendBits appends the numbers of the bits that are set, those below limit.
func appendBits(dst, b []byte, limit int, separator string) []byte {
	n := 0
	for i := 0; i < len(b)*8 && i < limit; i++ {
		if b[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, separator...)
		}
		dst = strconv.AppendInt(dst, int64(i), 10)
	}
	return dst
}

// appendNodes appends a set of NUMA nodes, as words of the ABI's size.
func (v *view) appendNodes(dst []byte, a *syscalls.Arg) []byte {
	c := v.target(a)
	if c == nil || !v.filled(a) || len(c.Data) == 0 {
		return appendPointer(dst, v.arg(a.Index))
	}
	// The last bit of the number is not used: the kernel takes one less.
	words := c.Data
	if n := v.arg(int(a.Count)); n > 0 {
		words = words[:min(uint64(len(words)), (n+uint64(8*v.word)-2)/uint64(8*v.word)*uint64(v.word))]
	}
	dst = append(dst, '[')
	for b := words; len(b) >= v.word; b = b[v.word:] {
		if len(b) < len(words) {
			dst = append(dst, ", "...)
		}
		n, width := number(b, v.word), 2*v.word
		if n != 0 {
			dst = append(dst, "0x"...)
			width -= 2
		}
		for width--; width > 0 && n>>(4*width) == 0; width-- {
			dst = append(dst, '0')
		}
		dst = strconv.AppendUint(dst, n, 16)
	}
	return append(dst, ']')
}

// appendInOut appends what an argument points to before the call and, if the kernel
// changed it, after.
func (v *view) appendInOut(dst []byte, a *syscalls.Arg) []byte {
	before, after := v.capture(a.Index, false, 0), v.capture(a.Index, true, 0)
	if v.arg(a.Index) == 0 || before == nil || len(before.Data) < a.Struct.Size {
		return appendPointer(dst, v.arg(a.Index))
	}
	dst = appendTarget(dst, a.Struct, before.Data)
	if after != nil && len(after.Data) >= a.Struct.Size && v.returned() && string(after.Data) != string(before.Data) {
		dst = append(dst, " => "...)
		dst = appendTarget(dst, a.Struct, after.Data)
	}
	return dst
}

// appendTarget appends what a pointer points to: a number stands in brackets.
func appendTarget(dst []byte, s *syscalls.Struct, b []byte) []byte {
	if !bare(s) {
		return appendStruct(dst, s, b)
	}
	dst = append(dst, '[')
	dst = appendStruct(dst, s, b)
	return append(dst, ']')
}

// userDescSize is the size of a struct user_desc.
const userDescSize = 16

// appendUserDesc appends a segment that a 32-bit thread has for its own data.
func appendUserDesc(dst, b []byte) []byte {
	dst = append(dst, "{entry_number="...)
	dst = strconv.AppendInt(dst, int64(int32(number(b, 4))), 10)
	for i, name := range [...]string{", base_addr=0x", ", limit=0x"} {
		dst = append(dst, name...)
		n := number(b[4+4*i:], 4)
		const digits = 6 // at least
		for width := digits - 1; width > 0 && n>>(4*width) == 0; width-- {
			dst = append(dst, '0')
		}
		dst = strconv.AppendUint(dst, n, 16)
	}
	bits := number(b[12:], 4)
	for _, f := range [...]struct {
		name  string
		shift int
		mask  uint64
	}{{"seg_32bit", 0, 1}, {"contents", 1, 3}, {"read_exec_only", 3, 1}, {"limit_in_pages", 4, 1}, {"seg_not_present", 5, 1}, {"useable", 6, 1}} {
		dst = append(dst, ", "...)
		dst = append(dst, f.name...)
		dst = append(dst, '=')
		dst = strconv.AppendUint(dst, bits>>f.shift&f.mask, 10)
	}
	return append(dst, '}')
}

// caps are the names of capabilities, as strace shows them in sets.
var caps = syscalls.Values("capbits")

// appendCaps appends the three sets of capget and capset: six words, the low halves of
// all sets first.
func appendCaps(dst, b []byte) []byte {
	for i, name := range [...]string{"{effective=", ", permitted=", ", inheritable="} {
		dst = append(dst, name...)
		set := number(b[4*i:], 4) | number(b[12+4*i:], 4)<<32
		dst = appendFlags(dst, caps, set)
	}
	return append(dst, '}')
}

// siginfoOf reads a siginfo_t.
func siginfoOf(b []byte) *ringstore.Signal {
	return &ringstore.Signal{
		Signal: uint32(number(b, 4)), Errno: int32(number(b[4:], 4)), Code: int32(number(b[8:], 4)),
		PID: uint32(number(b[16:], 4)), UID: uint32(number(b[20:], 4)), Addr: number(b[16:], 8),
		More: [3]uint64{number(b[24:], 8), number(b[32:], 8), number(b[40:], 8)},
	}
}

// appendEntries appends a buffer of directory entries, and how many are in it.
func (v *view) appendEntries(dst []byte, a *syscalls.Arg) []byte {
	dst = appendPointer(dst, v.arg(a.Index))
	c := v.target(a)
	if !v.returned() {
		return dst
	}
	n, known := uint64(0), v.e.Ret == 0
	if c != nil && len(c.Data) >= 4 && c.Status&ringstore.CaptureCut == 0 {
		n, known = number(c.Data, 4), true
	}
	if !known || v.arg(a.Index) == 0 {
		return dst
	}
	dst = append(dst, " /* "...)
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, " entries */"...)
}

// appendEnvp appends the pointer to an environment, and how many variables it has.
func (v *view) appendEnvp(dst []byte, a *syscalls.Arg) []byte {
	dst = appendPointer(dst, v.arg(a.Index))
	c := v.capture(a.Index, false, 0)
	if v.arg(a.Index) == 0 || c == nil || len(c.Data) < 4 || c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0 {
		return dst
	}
	dst = append(dst, " /* "...)
	n := number(c.Data, 4)
	dst = strconv.AppendUint(dst, n, 10)
	if n == 1 {
		return append(dst, " var */"...)
	}
	return append(dst, " vars */"...)
}

// ifreqName is the room that a struct ifreq has for the name of an interface.
const ifreqName = 16

// appendIfreq appends an interface's name, which the program gave, and what the kernel
// filled in.
func (v *view) appendIfreq(dst []byte, a *syscalls.Arg) []byte {
	before := v.capture(a.Index, false, 0)
	if v.arg(a.Index) == 0 || before == nil || len(before.Data) < ifreqName {
		return appendPointer(dst, v.arg(a.Index))
	}
	name, _ := splitStrings(before.Data[:ifreqName])
	dst = append(dst, "{ifr_name="...)
	dst = appendQuoted(dst, name, false)
	after := v.capture(a.Index, true, 0)
	if a.Out == syscalls.In {
		after = before
	} else if !v.returned() {
		after = nil
	}
	if after != nil && len(after.Data) >= a.Struct.Size {
		for i := range a.Struct.Fields {
			f := &a.Struct.Fields[i]
			dst = append(dst, ", "...)
			dst = append(dst, f.Name...)
			dst = append(dst, '=')
			dst = appendField(dst, f, after.Data)
		}
	}
	return append(dst, '}')
}

// appendFutexOp appends what FUTEX_WAKE_OP does and compares.
func appendFutexOp(dst []byte, v uint64) []byte {
	if v>>28&8 != 0 {
		dst = append(dst, "FUTEX_OP_OPARG_SHIFT<<28|"...)
	}
	part := func(set *syscalls.Set, n uint64, shift, unknown string) {
		if name := set.Name(n); name != "" {
			dst = append(dst, name...)
			dst = append(dst, shift...)
			return
		}
		dst = appendHex(dst, n)
		dst = append(dst, shift...)
		dst = append(dst, unknown...)
	}
	part(futexOps, v>>28&7, "<<28", " /* FUTEX_OP_??? */")
	dst = append(dst, '|')
	dst = appendHex(dst, v>>12&0xfff)
	dst = append(dst, "<<12|"...)
	part(futexCmps, v>>24&15, "<<24", " /* FUTEX_OP_CMP_??? */")
	dst = append(dst, '|')
	return appendHex(dst, v&0xfff)
}

var (
	futexOps      = syscalls.Values("futexwakeop")
	futexCmps     = syscalls.Values("futexwakecmp")
	ioprioClasses = syscalls.Values("ioprioclass")
)

// appendIoprio appends a priority for input and output.
func appendIoprio(dst []byte, v uint64) []byte {
	dst = append(dst, "IOPRIO_PRIO_VALUE("...)
	dst = appendValue(dst, ioprioClasses, v>>13&0x7ffff)
	dst = append(dst, ", "...)
	dst = strconv.AppendUint(dst, v&0x1fff, 10)
	return append(dst, ')')
}
