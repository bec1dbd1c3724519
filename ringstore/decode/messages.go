package decode

import (
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A message is what the captures of a struct msghdr tell. What could not be read is nil.
type message struct {
	word                     int // bytes of a pointer
	head                     []byte
	name, iov, data, control *ringstore.Capture
	limit                    uint64 // bytes of the buffers that count
	before                   int32  // msg_namelen as the program gave it
	filled                   bool   // the kernel filled it in
	e                        *ringstore.Event
	namer                    *namer
}

// at reads the n-th pointer of the head.
func (m *message) at(n int) uint64 { return number(m.head[n*m.word:], m.word) }

func (m *message) nameLen() int32 { return int32(number(m.head[m.word:], 4)) }

// The pointers of struct msghdr by their place.
const (
	msgName = iota
	msgNameLen
	msgIov
	msgIovLen
	msgControl
	msgControlLen
	msgMsgFlags
	msgWords
)

// message returns the message that an argument points to; ok is false where only the
// pointer is known.
func (v *view) message(a *syscalls.Arg) (m message, ok bool) {
	exit := a.Out != syscalls.In
	head := v.capture(a.Index, exit, 0)
	if head == nil || len(head.Data) < msgWords*v.word || v.arg(a.Index) == 0 || exit && !v.returned() {
		return m, false
	}
	m = message{
		e: v.e, namer: v.namer, word: v.word, head: head.Data, limit: ^uint64(0), filled: exit,
		name: v.capture(a.Index, exit, 1), iov: v.capture(a.Index, exit, 2),
		data: v.capture(a.Index, exit, 3), control: v.capture(a.Index, exit, 4),
	}
	m.before = m.nameLen()
	if exit {
		m.limit = uint64(v.e.Ret)
		if c := v.capture(a.Index, false, 0); c != nil && len(c.Data) >= msgWords*v.word {
			m.before = int32(number(c.Data[v.word:], 4))
		}
	}
	return m, true
}

// appendMsghdr appends a message.
func (v *view) appendMsghdr(dst []byte, a *syscalls.Arg) []byte {
	m, ok := v.message(a)
	if !ok {
		before := v.capture(a.Index, false, 0)
		if a.Out == syscalls.In || !v.failed() || v.e.Unfinished || v.arg(a.Index) == 0 || before == nil || len(before.Data) < msgWords*v.word {
			return appendPointer(dst, v.arg(a.Index))
		}
		// Of a message that did not come, there is no more to tell.
		dst = append(dst, "{msg_namelen="...)
		dst = strconv.AppendInt(dst, int64(int32(number(before.Data[v.word:], 4))), 10)
		return append(dst, '}')
	}
	return m.append(dst)
}

func (m *message) append(dst []byte) []byte {
	dst = append(dst, "{msg_name="...)
	length := m.nameLen()
	most := length
	if m.filled {
		most = min(most, m.before)
	}
	if m.name != nil && m.at(msgName) != 0 && most >= 2 && len(m.name.Data) >= 2 {
		dst = appendSockaddr(dst, m.name.Data[:min(len(m.name.Data), int(most))])
	} else {
		dst = appendPointer(dst, m.at(msgName))
	}
	dst = append(dst, ", msg_namelen="...)
	if m.before != length {
		dst = strconv.AppendInt(dst, int64(m.before), 10)
		dst = append(dst, " => "...)
	}
	dst = strconv.AppendInt(dst, int64(length), 10)
	dst = append(dst, ", msg_iov="...)
	total := m.at(msgIovLen)
	if total == 0 && m.at(msgIov) != 0 {
		dst = append(dst, "[]"...)
	} else {
		dst = appendBuffers(dst, m.at(msgIov), m.word, m.iov, m.data, total, m.limit)
	}
	dst = append(dst, ", msg_iovlen="...)
	dst = strconv.AppendUint(dst, total, 10)
	if n := m.at(msgControlLen); n != 0 {
		dst = append(dst, ", msg_control="...)
		dst = m.appendControl(dst, n)
	}
	dst = append(dst, ", msg_controllen="...)
	dst = strconv.AppendUint(dst, m.at(msgControlLen), 10)
	dst = append(dst, ", msg_flags="...)
	dst = appendFlags(dst, msgFlags, number(m.head[msgMsgFlags*m.word:], 4))
	return append(dst, '}')
}

// Kinds of control messages, besides solSocket.
const (
	solIP          = 0
	scmRights      = 1
	scmCredentials = 2
	soTimestamp    = 29
	soTimestampNS  = 35
	ipTOS          = 1
	ipTTL          = 2
	ipPktinfo      = 8
)

// appendControl appends n bytes of control messages.
func (m *message) appendControl(dst []byte, n uint64) []byte {
	size := uint64(m.word + 8) // of a struct cmsghdr
	if m.control == nil || uint64(len(m.control.Data)) < size {
		return appendPointer(dst, m.at(msgControl))
	}
	b := m.control.Data
	whole := uint64(len(b)) == n
	dst = append(dst, '[')
	for first := true; uint64(len(b)) >= size; first = false {
		if !first {
			dst = append(dst, ", "...)
		}
		length := number(b, m.word)
		level, kind := uint32(number(b[m.word:], 4)), uint32(number(b[m.word+4:], 4))
		dst = append(dst, "{cmsg_len="...)
		dst = strconv.AppendUint(dst, length, 10)
		dst = append(dst, ", cmsg_level="...)
		if name := sockLevels.Name(uint64(level)); name != "" {
			dst = append(dst, name...)
		} else {
			dst = appendHex(dst, uint64(level))
			dst = append(dst, " /* SOL_??? */"...)
		}
		dst = append(dst, ", cmsg_type="...)
		have := min(length, uint64(len(b)))
		var data []byte
		if have > size {
			data = b[size:have]
		}
		dst = m.appendControlData(dst, level, kind, data)
		dst = append(dst, '}')
		if have < size {
			b = b[size:]
			break
		}
		next := (length + uint64(m.word) - 1) &^ uint64(m.word-1)
		if next >= uint64(len(b)) {
			b = nil
			break
		}
		b = b[next:]
	}
	if len(b) > 0 {
		dst = append(dst, ", ... /* "...)
		dst = appendHex(dst, m.at(msgControl)+n-uint64(len(b)))
		dst = append(dst, " */"...)
	} else if !whole {
		dst = append(dst, ", ..."...)
	}
	return append(dst, ']')
}

func (m *message) appendControlData(dst []byte, level, kind uint32, data []byte) []byte {
	const field = ", cmsg_data="
	switch level {
	case solSocket:
		dst = appendValue(dst, scmTypes, uint64(kind))
		switch {
		case kind == scmRights && len(data) >= 4:
			dst = append(dst, field+"["...)
			for i := 0; len(data) >= 4; i++ {
				if i > 0 {
					dst = append(dst, ", "...)
				}
				fd := int(int32(number(data, 4)))
				dst = strconv.AppendInt(dst, int64(fd), 10)
				// What it got is new.
				dst = m.namer.appendFile(dst, m.e, fd, m.filled)
				data = data[4:]
			}
			return append(dst, ']')
		case kind == scmCredentials && len(data) >= ucred.Size:
			return appendStruct(append(dst, field...), ucred, data)
		case kind == soTimestamp && len(data) >= timeval.Size:
			return appendStruct(append(dst, field...), timeval, data)
		case kind == soTimestampNS && len(data) >= timespec.Size:
			return appendStruct(append(dst, field...), timespec, data)
		}
	case solIP:
		dst = appendValue(dst, ipCmsgs, uint64(kind))
		switch {
		case kind == ipTTL && len(data) >= 4:
			dst = append(dst, field+"["...)
			dst = strconv.AppendUint(dst, number(data, 4), 10)
			return append(dst, ']')
		case kind == ipTOS && len(data) >= 1:
			dst = append(dst, field+"["...)
			dst = appendHex(dst, uint64(data[0]))
			return append(dst, ']')
		case kind == ipPktinfo && len(data) >= inPktinfo.Size:
			return appendStruct(append(dst, field...), inPktinfo, data)
		}
	default:
		dst = appendHex(dst, uint64(kind))
	}
	return dst
}

var (
	sockLevels = syscalls.Values("sol")
	scmTypes   = syscalls.Values("scm")
	ipCmsgs    = syscalls.Values("ipcontrol")
	ucred      = syscalls.StructLayout("ucred")
	timeval    = syscalls.StructLayout("timeval")
	timespec   = syscalls.StructLayout("timespec")
	inPktinfo  = syscalls.StructLayout("in_pktinfo")
)

// messages calls each for the messages of an array of struct mmsghdr, as many as are
// known, with the length that the kernel stored; it is below 0 where it stored none. It
// tells how many messages there are, and false where only the pointer is known. What the
// first two point to is recorded.
func (v *view) messages(a *syscalls.Arg, each func(i int, m *message, length int64)) (total uint64, ok bool) {
	// Those to be sent were read at the entry; of others, the lengths that they had.
	sent, before := v.capture(a.Index, false, 0), []byte(nil)
	heads, exit := sent, false
	if a.Count == syscalls.CountReturn {
		if sent != nil {
			before = sent.Data
		}
		sent, heads, exit = nil, v.capture(a.Index, true, 0), true
	}
	if heads == nil || v.arg(a.Index) == 0 || exit && !v.returned() {
		return 0, false
	}
	lengths := heads.Data
	if sent != nil {
		lengths = nil
		if c := v.capture(a.Index, true, 0); c != nil {
			lengths = c.Data
		}
	}
	done := uint64(0) // those that have a length
	if v.returned() {
		done = uint64(v.e.Ret)
	}
	const size = 64
	total = v.length(a)
	for i, b := 0, heads.Data; uint64(i) < total && len(b) >= size; i, b = i+1, b[size:] {
		m := message{e: v.e, namer: v.namer, word: 8, head: b, limit: ^uint64(0)}
		if exit {
			m.limit = number(b[msgWords*8:], 4)
		}
		if m.before = m.nameLen(); len(before) >= size {
			m.before, m.filled = int32(number(before[8:], 4)), true
			before = before[size:]
		}
		if i < 2 {
			m.name, m.iov, m.data = v.capture(a.Index, exit, 3*i+1), v.capture(a.Index, exit, 3*i+2), v.capture(a.Index, exit, 3*i+3)
		}
		length := int64(-1)
		if len(lengths) >= size {
			if uint64(i) < done {
				length = int64(number(lengths[msgWords*8:], 4))
			}
			lengths = lengths[size:]
		}
		each(i, &m, length)
	}
	return total, true
}

// appendMmsghdr appends several messages, and the length of each.
func (v *view) appendMmsghdr(dst []byte, a *syscalls.Arg) []byte {
	start, n := len(dst), 0
	dst = append(dst, '[')
	total, ok := v.messages(a, func(i int, m *message, length int64) {
		n = i + 1
		if i >= maxString {
			return
		}
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, "{msg_hdr="...)
		dst = m.append(dst)
		if length >= 0 {
			dst = append(dst, ", msg_len="...)
			dst = strconv.AppendInt(dst, length, 10)
		}
		dst = append(dst, '}')
	})
	if !ok {
		return appendPointer(dst[:start], v.arg(a.Index))
	}
	if uint64(min(n, maxString)) < total {
		if n > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, "..."...)
	}
	return append(dst, ']')
}

// iovec returns the captures of an array of struct iovec and of what it points to, and
// how many bytes of that count.
func (v *view) iovec(a *syscalls.Arg) (array, data *ringstore.Capture, limit uint64) {
	array = v.capture(a.Index, false, 0)
	limit = ^uint64(0)
	if a.Out == syscalls.In {
		data = v.capture(a.Index, false, 1)
	} else if v.returned() {
		data = v.capture(a.Index, true, 0)
		limit = uint64(v.e.Ret)
	}
	return array, data, limit
}

// appendIovec appends the buffers of readv and writev.
func (v *view) appendIovec(dst []byte, a *syscalls.Arg) []byte {
	array, data, limit := v.iovec(a)
	return appendBuffers(dst, v.arg(a.Index), v.word, array, data, v.arg(a.Index+1), limit)
}

// appendBuffers appends total buffers, whose addresses and lengths are in an array, as
// many as are known. Without data, or where its bytes were not recorded, a buffer is a
// pointer.
func appendBuffers(dst []byte, from uint64, word int, array, data *ringstore.Capture, total, limit uint64) []byte {
	if array == nil || from == 0 {
		return appendPointer(dst, from)
	}
	dst = append(dst, '[')
	n := 0
	buffers(word, array.Data, data, limit, func(i int, p piece) {
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
	if uint64(n) < total && n > 0 && n <= maxString {
		dst = append(dst, ", ..."...)
	}
	return append(dst, ']')
}
