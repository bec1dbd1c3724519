package decode

import (
	"encoding/base64"
	"net/netip"
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// appendStructJSON appends a structure as an object, or as what its one nameless field
// is. What the text leaves out by "..." is not there.
func appendStructJSON(dst []byte, s *syscalls.Struct, b []byte, inner ...*ringstore.Capture) []byte {
	if bare(s) {
		return appendFieldJSON(dst, &s.Fields[0], b)
	}
	dst = append(dst, '{')
	first := true
	for i := range s.Fields {
		f := &s.Fields[i]
		if f.Format == syscalls.FormatMore || f.Format == syscalls.FormatExit || !shown(s, f, b) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSONString(dst, f.Name)
		dst = append(dst, ':')
		if c := innerString(f, inner); c != nil {
			dst = appendText(dst, c.Data, c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0)
			continue
		}
		dst = appendFieldJSON(dst, f, b)
	}
	return append(dst, '}')
}

func appendFieldJSON(dst []byte, f *syscalls.Field, b []byte) []byte {
	b = b[f.Offset:]
	switch f.Format {
	case syscalls.FormatCString:
		s, _ := splitStrings(b[:max(f.Count, 1)])
		return appendText(dst, s, len(s) == max(f.Count, 1))
	case syscalls.FormatHexBytes:
		return appendText(dst, b[:max(f.Count, 1)], false)
	}
	if f.Count == 0 {
		return appendElementJSON(dst, f, b)
	}
	dst = append(dst, '[')
	for i := range f.Count {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendElementJSON(dst, f, b[i*f.Size:])
	}
	return append(dst, ']')
}

func appendElementJSON(dst []byte, f *syscalls.Field, b []byte) []byte {
	if f.Struct != nil {
		return appendStructJSON(dst, f.Struct, b)
	}
	switch f.Format {
	case syscalls.FormatSigset:
		return appendSigsetJSON(dst, number(b, f.Size))
	case syscalls.FormatInetAddr, syscalls.FormatIn6Addr:
		addr := netip.AddrFrom4([4]byte(b[:4]))
		if f.Format == syscalls.FormatIn6Addr {
			addr = netip.AddrFrom16([16]byte(b[:16]))
		}
		dst = append(dst, '"')
		dst = addr.AppendTo(dst)
		return append(dst, '"')
	case syscalls.FormatSockaddr:
		return appendSockaddrJSON(dst, b[:16])
	case syscalls.FormatTime:
		return strconv.AppendInt(dst, int64(fieldNumber(f, b)), 10)
	case syscalls.FormatTicks:
		return strconv.AppendUint(dst, number(b, f.Size), 10)
	case syscalls.FormatErrStat:
		if name, _ := syscalls.Errno(-int(int32(number(b, 4)))); name != "" {
			return appendJSONString(dst, name)
		}
		return strconv.AppendInt(dst, int64(int32(number(b, 4))), 10)
	}
	return appendNumberJSON(dst, f.Format, f.Set, fieldNumber(f, b))
}

// appendSigsetJSON appends the names of the signals in a set.
func appendSigsetJSON(dst []byte, set uint64) []byte {
	dst = append(dst, '[')
	n := 0
	for i := range 64 {
		if set>>i&1 == 0 {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, signals.Name(uint64(i+1)))
	}
	return append(dst, ']')
}

// appendTargetOfJSON appends what an argument points to, for the formats that are no
// plain structure: null or the pointer where it is not known.
func (v *view) appendTargetOfJSON(dst []byte, a *syscalls.Arg, c *ringstore.Capture) []byte {
	value := v.arg(a.Index)
	switch a.Format {
	case syscalls.FormatFDSet, syscalls.FormatSigmaskArg, syscalls.FormatEnvp, syscalls.FormatUserDesc, syscalls.FormatVec, syscalls.FormatIfreq:
		c = v.capture(a.Index, false, 0)
	case syscalls.FormatInOut:
		// As it is after the call, if that is known.
		if before := v.capture(a.Index, false, 0); c == nil {
			c = before
		}
	}
	need := 1
	switch a.Format {
	case syscalls.FormatInOut:
		need = a.Struct.Size
	case syscalls.FormatTimes, syscalls.FormatUTimes:
		need = 4 * v.word
	case syscalls.FormatEntries, syscalls.FormatEnvp:
		need = 4
	case syscalls.FormatSiginfo:
		need = siginfoSize
	case syscalls.FormatSigmaskArg, syscalls.FormatUserDesc, syscalls.FormatIfreq:
		need = userDescSize
	case syscalls.FormatCaps:
		need = 24
	case syscalls.FormatPtrVal:
		need = v.word
	case syscalls.FormatMsgbuf:
		need = 8
	case syscalls.FormatOption, syscalls.FormatComm, syscalls.FormatCPUs, syscalls.FormatResidency:
		need = 0
	}
	if c == nil || value == 0 || len(c.Data) < need {
		return appendPointerJSON(dst, value)
	}
	b := c.Data
	switch a.Format {
	case syscalls.FormatInOut:
		return appendStructJSON(dst, a.Struct, b)
	case syscalls.FormatTimes, syscalls.FormatUTimes:
		dst = append(dst, '[')
		for i := range 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"tv_sec":`...)
			dst = strconv.AppendInt(dst, int64(number(b[2*i*v.word:], v.word)), 10)
			if a.Format == syscalls.FormatTimes {
				dst = append(dst, `,"tv_nsec":`...)
			} else {
				dst = append(dst, `,"tv_usec":`...)
			}
			dst = strconv.AppendUint(dst, number(b[(2*i+1)*v.word:], v.word), 10)
			dst = append(dst, '}')
		}
		return append(dst, ']')
	case syscalls.FormatCPUs:
		dst = append(dst, '[')
		dst = appendBits(dst, b, len(b)*8, ",")
		return append(dst, ']')
	case syscalls.FormatFDSet:
		dst = append(dst, '[')
		dst = appendBits(dst, b, int(int32(v.arg(int(a.Count)))), ",")
		return append(dst, ']')
	case syscalls.FormatEntries, syscalls.FormatEnvp:
		dst = append(dst, `{"address":`...)
		dst = appendPointerJSON(dst, value)
		dst = append(dst, `,"count":`...)
		if c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0 {
			dst = append(dst, "null"...) // at least as many as were counted
		} else {
			dst = strconv.AppendUint(dst, number(b, 4), 10)
		}
		return append(dst, '}')
	case syscalls.FormatSiginfo:
		return appendSiginfoJSON(dst, siginfoOf(b))
	case syscalls.FormatSigmaskArg:
		if set := v.capture(a.Index, false, 1); set != nil && len(set.Data) >= 8 {
			return appendSigsetJSON(dst, number(set.Data, 8))
		}
		return appendPointerJSON(dst, number(b, 8))
	case syscalls.FormatCaps:
		for i, name := range [...]string{`{"effective":`, `,"permitted":`, `,"inheritable":`} {
			dst = append(dst, name...)
			dst = appendNames(dst, caps, number(b[4*i:], 4)|number(b[12+4*i:], 4)<<32)
		}
		return append(dst, '}')
	case syscalls.FormatIfreq:
		name, _ := splitStrings(b[:ifreqName])
		dst = append(dst, `{"ifr_name":`...)
		dst = appendText(dst, name, false)
		after := c
		if a.Out != syscalls.In {
			if after = v.capture(a.Index, true, 0); !v.returned() {
				after = nil
			}
		}
		if after != nil && len(after.Data) >= a.Struct.Size {
			for i := range a.Struct.Fields {
				f := &a.Struct.Fields[i]
				dst = append(dst, ',')
				dst = appendJSONString(dst, f.Name)
				dst = append(dst, ':')
				dst = appendFieldJSON(dst, f, after.Data)
			}
		}
		return append(dst, '}')
	case syscalls.FormatPtrVal:
		return appendPointerJSON(dst, number(b, v.word))
	case syscalls.FormatOption:
		_, after, ok := v.socklen(int(a.Count))
		if !ok || after <= 0 {
			return appendPointerJSON(dst, value)
		}
		if after == 4 && len(b) >= 4 {
			return strconv.AppendInt(dst, int64(int32(number(b, 4))), 10)
		}
		return appendText(dst, b, len(b) < int(after))
	case syscalls.FormatComm:
		name, _ := splitStrings(b)
		return appendText(dst, name, len(name) == commSize)
	case syscalls.FormatVec:
		return appendBuffersJSON(dst, value, v.word, c, nil, 0)
	case syscalls.FormatResidency:
		dst = append(dst, '[')
		for i, x := range b {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(x&1), 10)
		}
		return append(dst, ']')
	case syscalls.FormatNodes:
		dst = append(dst, '[')
		dst = appendBits(dst, b, len(b)*8, ",")
		return append(dst, ']')
	case syscalls.FormatMsgbuf:
		dst = append(dst, `{"mtype":`...)
		dst = strconv.AppendInt(dst, int64(number(b, 8)), 10)
		dst = append(dst, `,"mtext":`...)
		dst = appendText(dst, b[8:], uint64(len(b)-8) < v.length(a))
		return append(dst, '}')
	case syscalls.FormatUserDesc:
		return appendJSONString(dst, string(appendUserDesc(nil, b)))
	}
	return appendPointerJSON(dst, value)
}

// appendSiginfoJSON appends what a signal carries.
func appendSiginfoJSON(dst []byte, s *ringstore.Signal) []byte {
	dst = append(dst, `{"signal":"`...)
	dst = appendSignal(dst, uint64(s.Signal))
	dst = append(dst, `","code":`...)
	dst = appendSicodeJSON(dst, s.Signal, s.Code)
	dst = append(dst, `,"errno":`...)
	dst = strconv.AppendInt(dst, int64(s.Errno), 10)
	dst = append(dst, `,"pid":`...)
	dst = strconv.AppendInt(dst, int64(int32(s.PID)), 10)
	dst = append(dst, `,"uid":`...)
	dst = strconv.AppendUint(dst, uint64(s.UID), 10)
	dst = append(dst, `,"value":`...)
	dst = strconv.AppendInt(dst, int64(int32(s.More[0])), 10)
	return append(dst, '}')
}

// appendBuffersJSON appends a list of buffers, each as text, or as a pointer.
func appendBuffersJSON(dst []byte, from uint64, word int, array, data *ringstore.Capture, limit uint64) []byte {
	if array == nil || from == 0 {
		return appendPointerJSON(dst, from)
	}
	dst = append(dst, '[')
	buffers(word, array.Data, data, limit, func(i int, p piece) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if data == nil || len(p.data) == 0 && !p.whole {
			dst = appendPointerJSON(dst, p.base)
			return
		}
		dst = appendText(dst, p.data, !p.whole)
	})
	return append(dst, ']')
}

// appendJSON appends the members of a message.
func (m *message) appendJSON(dst []byte) []byte {
	dst = append(dst, `"name":`...)
	most := m.nameLen()
	if m.filled {
		most = min(most, m.before)
	}
	if m.name != nil && m.at(msgName) != 0 && most >= 2 && len(m.name.Data) >= 2 {
		dst = appendSockaddrJSON(dst, m.name.Data[:min(len(m.name.Data), int(most))])
	} else {
		dst = appendPointerJSON(dst, m.at(msgName))
	}
	dst = append(dst, `,"iov":`...)
	dst = appendBuffersJSON(dst, m.at(msgIov), m.word, m.iov, m.data, m.limit)
	if m.control != nil && len(m.control.Data) > 0 {
		dst = append(dst, `,"control":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, m.control.Data)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"flags":`...)
	return appendNames(dst, msgFlags, number(m.head[msgMsgFlags*m.word:], 4))
}

// appendMmsghdrJSON appends a list of messages, with the length of each.
func (v *view) appendMmsghdrJSON(dst []byte, a *syscalls.Arg) []byte {
	start := len(dst)
	dst = append(dst, '[')
	_, ok := v.messages(a, func(i int, m *message, length int64) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.appendJSON(append(dst, '{'))
		if length >= 0 {
			dst = append(dst, `,"length":`...)
			dst = strconv.AppendInt(dst, length, 10)
		}
		dst = append(dst, '}')
	})
	if !ok {
		return appendPointerJSON(dst[:start], v.arg(a.Index))
	}
	return append(dst, ']')
}
