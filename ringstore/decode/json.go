package decode

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// AppendJSON appends an event as one JSON object with a newline. What is not known is
// null: the ids and name of a task that the history does not tell, the end of a call
// that runs, the start of one of which only the end was seen, an argument that the
// kernel has not filled. A pointer whose target is not shown is a string "0x...", the
// null pointer null.
func AppendJSON(dst []byte, h *ringstore.Meta, e *ringstore.Event) []byte {
	return appendJSON(dst, h, appendContainer(nil, h), e, nil)
}

// appendContainer appends the object that names the container.
func appendContainer(dst []byte, h *ringstore.Meta) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendJSONString(dst, h.ContainerID)
	dst = append(dst, `,"pod":`...)
	dst = appendJSONString(dst, h.Pod)
	dst = append(dst, `,"name":`...)
	dst = appendJSONString(dst, h.Container)
	dst = append(dst, `,"namespace":`...)
	dst = appendJSONString(dst, h.Namespace)
	dst = append(dst, `,"labels":{`...)
	keys := make([]string, 0, len(h.Labels))
	for k := range h.Labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, k)
		dst = append(dst, ':')
		dst = appendJSONString(dst, h.Labels[k])
	}
	dst = append(dst, '}')
	if h.Uring {
		dst = append(dst, `,"ioUring":true`...)
	}
	return append(dst, '}')
}

// appendJSON is AppendJSON with the container's object made before.
func appendJSON(dst []byte, h *ringstore.Meta, container []byte, e *ringstore.Event, names *namer) []byte {
	if e.Kind == ringstore.KindCall {
		v := viewOf(h.Arch, e)
		v.namer = names
		dst = append(dst, `{"syscall":{"nr":`...)
		dst = strconv.AppendUint(dst, uint64(e.Nr), 10)
		dst = append(dst, `,"name":"`...)
		dst = v.appendName(dst)
		dst = append(dst, `","class":`...)
		if v.call != nil {
			dst = appendJSONString(dst, v.call.Class)
			dst = append(dst, `,"group":`...)
			dst = appendJSONString(dst, v.call.Group)
		} else {
			dst = append(dst, `"Unknown","group":"Unknown"`...)
		}
		dst = append(dst, `,"abi":`...)
		dst = appendJSONString(dst, syscalls.ABIName(h.Arch, e.ABI))
		dst = append(dst, '}')
		dst = appendWho(dst, container, e)
		dst = v.appendOutcome(dst)
		dst = appendTimeOf(dst, h, e)
		dst = append(dst, `,"args":{`...)
		dst = v.appendJSONArgs(dst)
		dst = append(dst, '}')
		dst = v.appendJSONFDs(dst)
	} else {
		dst = append(dst, `{"event":"`...)
		dst = append(dst, eventName(e)...)
		dst = append(dst, '"')
		dst = appendWho(dst, container, e)
		if e.Kind == ringstore.KindUring {
			dst = appendUringJSON(dst, h, e)
		} else {
			dst = append(dst, `,"start":`...)
			dst = strconv.AppendInt(dst, e.Start, 10)
			dst = appendTimeOf(dst, h, e)
			dst = appendPayload(dst, e)
		}
	}
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, `,"lane":"`...)
	dst = append(dst, laneNames[e.Lane%ringstore.Lanes]...)
	dst = append(dst, `","cut":`...)
	dst = strconv.AppendBool(dst, isCut(e))
	if isLate(e) {
		dst = append(dst, `,"late":true`...)
	}
	if e.Run != nil {
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendUint(dst, e.Run.Count, 10)
		dst = append(dst, `,"last":`...)
		dst = strconv.AppendInt(dst, e.Run.Last, 10)
		dst = append(dst, `,"total":`...)
		dst = strconv.AppendInt(dst, e.Run.Total, 10)
	}
	return append(dst, "}\n"...)
}

// isLate tells that something was read when the call returned, though it belongs to the
// entry: its page was not in memory before. Another thread may have changed it meanwhile.
func isLate(e *ringstore.Event) bool {
	for i := range e.Captures {
		if e.Captures[i].Status&ringstore.CaptureLate != 0 {
			return true
		}
	}
	return false
}

var laneNames = [ringstore.Lanes]string{"boot", "life", "error", "recent"}

// isCut tells that a capture of the event is not whole.
func isCut(e *ringstore.Event) bool {
	for i := range e.Captures {
		if e.Captures[i].Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0 {
			return true
		}
	}
	return e.Exec != nil && e.Exec.Filename.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0
}

func appendWho(dst, container []byte, e *ringstore.Event) []byte {
	dst = append(dst, `,"pid":`...)
	dst = strconv.AppendUint(dst, uint64(e.PID), 10)
	dst = append(dst, `,"tid":`...)
	dst = strconv.AppendUint(dst, uint64(e.TID), 10)
	if e.Known {
		dst = append(dst, `,"uid":`...)
		dst = strconv.AppendUint(dst, uint64(e.UID), 10)
		dst = append(dst, `,"gid":`...)
		dst = strconv.AppendUint(dst, uint64(e.GID), 10)
		dst = append(dst, `,"comm":`...)
		dst = appendJSONString(dst, e.Comm)
	} else {
		dst = append(dst, `,"uid":null,"gid":null,"comm":null`...)
	}
	dst = append(dst, `,"container":`...)
	return append(dst, container...)
}

func appendTimeOf(dst []byte, h *ringstore.Meta, e *ringstore.Event) []byte {
	dst = append(dst, `,"time":"`...)
	dst = appendWall(dst, e.Start+h.WallOffset)
	return append(dst, '"')
}

// appendWall appends Unix nanoseconds as RFC 3339 with microseconds. Years that it
// cannot hold, which only garbage gives, are brought within.
func appendWall(dst []byte, ns int64) []byte {
	return time.Unix(0, ns).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
}

// appendOutcome appends what became of a call.
func (v *view) appendOutcome(dst []byte) []byte {
	e := v.e
	dst = append(dst, `,"error":`...)
	unmade := notMade(e)
	switch {
	case e.Unfinished, unmade:
		dst = append(dst, "null"...)
	case !v.failed():
		dst = append(dst, `"OK"`...)
	default:
		dst = v.appendError(dst)
	}
	dst = append(dst, `,"return":`...)
	if e.Unfinished || unmade {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, e.Ret, 10)
	}
	dst = append(dst, `,"start":`...)
	if e.NoEnter {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, e.Start, 10)
	}
	dst = append(dst, `,"finish":`...)
	switch {
	case e.Unfinished:
		return append(dst, "null"...)
	case e.NoEnter:
		return strconv.AppendInt(dst, e.Start, 10)
	}
	return strconv.AppendInt(dst, e.Start+e.Duration, 10)
}

// appendError appends the name of the error that the call returned, as a JSON string.
func (v *view) appendError(dst []byte) []byte {
	n := int(-v.e.Ret)
	name, _ := syscalls.Restart(n)
	if name == "" {
		name, _ = syscalls.Errno(n)
	}
	if name == "" {
		name = strconv.Itoa(n)
	}
	return appendJSONString(dst, name)
}

// notMade tells that what looks like a result is a call's own number: so a seccomp filter
// leaves it that answers with SIGSYS. A call that just returned that number while recording
// began is taken for one, too; the text has the number in any case, as strace has it.
func notMade(e *ringstore.Event) bool {
	return e.NoEnter && !e.Unfinished && e.Nr != 0 && e.Ret == int64(e.Nr)
}

// eventName is the value of "event".
func eventName(e *ringstore.Event) string {
	switch e.Kind {
	case ringstore.KindFork:
		return "fork"
	case ringstore.KindExec:
		return "exec"
	case ringstore.KindExit:
		if e.Exit != nil && e.Exit.OOM && e.Exit.Group {
			return "oom" // the end of a process that the OOM killer chose
		}
		return "exit"
	case ringstore.KindSignal:
		return "signal"
	case ringstore.KindCred:
		return "cred"
	case ringstore.KindUring:
		return "io_uring"
	}
	return "unknown"
}

// appendPayload appends what is special to an event that is no call.
func appendPayload(dst []byte, e *ringstore.Event) []byte {
	switch {
	case e.Fork != nil:
		dst = append(dst, `,"child":{"pid":`...)
		dst = strconv.AppendUint(dst, uint64(e.Fork.ChildPID), 10)
		dst = append(dst, `,"tid":`...)
		dst = strconv.AppendUint(dst, uint64(e.Fork.ChildTID), 10)
		dst = append(dst, `,"thread":`...)
		dst = strconv.AppendBool(dst, e.Fork.ChildPID == e.PID)
		dst = append(dst, '}')
	case e.Exec != nil:
		dst = append(dst, `,"filename":`...)
		c := &e.Exec.Filename
		if c.Status&(ringstore.CaptureFault|ringstore.CaptureNone) != 0 && len(c.Data) == 0 {
			dst = append(dst, "null"...)
		} else {
			dst = appendText(dst, c.Data, c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0)
		}
		dst = append(dst, `,"oldTid":`...)
		dst = strconv.AppendUint(dst, uint64(e.Exec.OldTID), 10)
	case e.Exit != nil:
		x := e.Exit
		dst = append(dst, `,"exitCode":`...)
		if signal := x.Status & 0x7f; signal != 0 {
			dst = append(dst, `null,"signal":"`...)
			dst = appendSignal(dst, uint64(signal))
			dst = append(dst, `","core":`...)
			dst = strconv.AppendBool(dst, x.Status&coreFlag != 0)
		} else {
			dst = strconv.AppendUint(dst, uint64(x.Status>>8&0xff), 10)
			dst = append(dst, `,"signal":null,"core":false`...)
		}
		dst = append(dst, `,"lastThread":`...)
		dst = strconv.AppendBool(dst, x.Group)
		dst = append(dst, `,"first":`...)
		dst = strconv.AppendBool(dst, x.First)
		dst = append(dst, `,"oom":`...)
		dst = strconv.AppendBool(dst, x.OOM)
	case e.Signal != nil:
		s := e.Signal
		dst = append(dst, `,"signal":"`...)
		dst = appendSignal(dst, uint64(s.Signal))
		dst = append(dst, `","code":`...)
		dst = appendSicodeJSON(dst, s.Signal, s.Code)
		dst = append(dst, `,"errno":`...)
		dst = strconv.AppendInt(dst, int64(s.Errno), 10)
		dst = append(dst, `,"address":"`...)
		dst = appendHexJSON(dst, s.Addr)
		dst = append(dst, `","sender":{"pid":`...)
		dst = strconv.AppendUint(dst, uint64(s.PID), 10)
		dst = append(dst, `,"uid":`...)
		dst = strconv.AppendUint(dst, uint64(s.UID), 10)
		switch {
		case s.Sender != nil && s.Sender.Kernel:
			dst = append(dst, `,"kernel":true`...)
		case s.Sender != nil:
			dst = append(dst, `,"hostPid":`...)
			dst = strconv.AppendUint(dst, uint64(s.Sender.PID), 10)
			dst = append(dst, `,"comm":`...)
			dst = appendJSONString(dst, s.Sender.Comm)
		}
		dst = append(dst, `},"handled":`...)
		dst = strconv.AppendBool(dst, s.Handled)
		dst = append(dst, `,"ignored":`...)
		dst = strconv.AppendBool(dst, s.Ignored)
		dst = append(dst, `,"fatal":`...)
		dst = strconv.AppendBool(dst, s.Fatal)
	}
	return dst
}

// appendSicodeJSON appends the name of an si_code, or its number.
func appendSicodeJSON(dst []byte, signal uint32, code int32) []byte {
	if name := sicode(signal, code); name != "" {
		return appendJSONString(dst, name)
	}
	return strconv.AppendInt(dst, int64(code), 10)
}

// appendHexJSON appends v in hexadecimal, with the prefix even if it is 0.
func appendHexJSON(dst []byte, v uint64) []byte {
	dst = append(dst, "0x"...)
	return strconv.AppendUint(dst, v, 16)
}

// appendText appends bytes as a string where they are whole and UTF-8; otherwise as an
// object that holds what can be read and the bytes themselves.
func appendText(dst, b []byte, cut bool) []byte {
	if !cut && utf8.Valid(b) {
		return appendJSONString(dst, string(b))
	}
	dst = append(dst, `{"text":`...)
	dst = appendJSONString(dst, string(b))
	dst = append(dst, `,"base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	dst = append(dst, `","cut":`...)
	dst = strconv.AppendBool(dst, cut)
	return append(dst, '}')
}

// appendJSONArgs appends the members of "args".
func (v *view) appendJSONArgs(dst []byte) []byte {
	first := true
	member := func(name string) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSONString(dst, name)
		dst = append(dst, ':')
	}
	if v.call == nil {
		names := [...]string{"arg1", "arg2", "arg3", "arg4", "arg5", "arg6"}
		for i := range min(len(v.e.Args), len(names)) {
			member(names[i])
			dst = append(dst, '"')
			dst = appendHexJSON(dst, v.arg(i))
			dst = append(dst, '"')
		}
		return dst
	}
	for i := range v.args {
		a := &v.args[i]
		if a.Index >= len(v.e.Args) || a.Show != nil && !a.Show.Holds(v.e.Args) {
			continue
		}
		member(a.Name)
		if v.e.Unfinished && a.Out != syscalls.In {
			dst = append(dst, "null"...)
			continue
		}
		dst = v.appendJSONArg(dst, a)
	}
	return dst
}

func appendPointerJSON(dst []byte, v uint64) []byte {
	if v == 0 {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = appendHexJSON(dst, v)
	return append(dst, '"')
}

// appendJSONArg appends the value of one argument.
func (v *view) appendJSONArg(dst []byte, a *syscalls.Arg) []byte {
	value := v.arg(a.Index)
	c := v.target(a)
	if !v.filled(a) {
		c = nil
	}
	switch a.Format {
	case syscalls.FormatLong, syscalls.FormatOff:
		return strconv.AppendInt(dst, v.long(a.Index), 10)
	case syscalls.FormatPath, syscalls.FormatStr:
		if c == nil {
			return appendPointerJSON(dst, value)
		}
		return appendText(dst, c.Data, c.Status&(ringstore.CaptureCut|ringstore.CaptureFault) != 0)
	case syscalls.FormatData, syscalls.FormatHexData, syscalls.FormatLinkBuf, syscalls.FormatPathBuf, syscalls.FormatSockopt, syscalls.FormatTextData:
		if c == nil {
			return appendPointerJSON(dst, value)
		}
		length := v.length(a)
		b := c.Data[:min(uint64(len(c.Data)), length)]
		more := uint64(len(b)) < length
		switch {
		case a.Format == syscalls.FormatSockopt && length == 4 && !more:
			return strconv.AppendInt(dst, int64(int32(number(b, 4))), 10)
		case a.Format == syscalls.FormatPathBuf:
			b, _ = splitStrings(b)
		}
		return appendText(dst, b, more)
	case syscalls.FormatFlags:
		return appendNames(dst, a.Set, flagBits(a, value))
	case syscalls.FormatEthProto:
		return appendValueJSON(dst, a.Set, value>>8&0xff|value<<8&0xff00)
	case syscalls.FormatIoctl:
		dst = append(dst, '"')
		if name := a.Set.Name(value); name != "" {
			dst = append(dst, name...)
		} else {
			dst = appendHexJSON(dst, value&0xffffffff)
		}
		return append(dst, '"')
	case syscalls.FormatSockaddr:
		if b := v.sockaddr(a); b != nil {
			return appendSockaddrJSON(dst, b)
		}
		return appendPointerJSON(dst, value)
	case syscalls.FormatSocklen:
		if _, after, ok := v.socklen(a.Index); ok {
			return strconv.AppendInt(dst, int64(after), 10)
		}
		return appendPointerJSON(dst, value)
	case syscalls.FormatIovec:
		array, data, limit := v.iovec(a)
		return appendBuffersJSON(dst, value, v.word, array, data, limit)
	case syscalls.FormatMsghdr:
		m, ok := v.message(a)
		if !ok {
			return appendPointerJSON(dst, value)
		}
		return append(m.appendJSON(append(dst, '{')), '}')
	case syscalls.FormatMmsghdr:
		return v.appendMmsghdrJSON(dst, a)
	case syscalls.FormatArgv:
		if c == nil {
			return appendPointerJSON(dst, value)
		}
		dst = append(dst, '[')
		for b, n := c.Data, 0; len(b) > 0; n++ {
			var s []byte
			s, b = splitStrings(b)
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, s, len(s) >= maxPiece-1 && c.Status&ringstore.CaptureCut != 0)
		}
		return append(dst, ']')
	case syscalls.FormatStruct, syscalls.FormatClone3:
		b := whole(a.Struct, c)
		if b == nil {
			return appendPointerJSON(dst, value)
		}
		return appendStructJSON(dst, a.Struct, b)
	case syscalls.FormatArray:
		if c == nil {
			return appendPointerJSON(dst, value)
		}
		dst = append(dst, '[')
		for b, n := c.Data, 0; len(b) >= a.Struct.Size; n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendStructJSON(dst, a.Struct, b)
			b = b[a.Struct.Size:]
		}
		return append(dst, ']')
	case syscalls.FormatRetTID:
		if !v.returned() || value == 0 {
			return appendPointerJSON(dst, value)
		}
		return strconv.AppendInt(dst, v.e.Ret, 10)
	case syscalls.FormatWstatus, syscalls.FormatPair, syscalls.FormatIntp, syscalls.FormatErrnop, syscalls.FormatSignalp:
		return v.appendTargetJSON(dst, a, c)
	case syscalls.FormatSigset:
		if c == nil || len(c.Data) < 8 {
			return appendPointerJSON(dst, value)
		}
		return appendSigsetJSON(dst, number(c.Data, 8))
	case syscalls.FormatInOut, syscalls.FormatTimes, syscalls.FormatUTimes, syscalls.FormatCPUs, syscalls.FormatFDSet,
		syscalls.FormatEntries, syscalls.FormatEnvp, syscalls.FormatSiginfo, syscalls.FormatSigmaskArg, syscalls.FormatCaps,
		syscalls.FormatIfreq, syscalls.FormatPtrVal, syscalls.FormatOption, syscalls.FormatComm, syscalls.FormatVec,
		syscalls.FormatResidency, syscalls.FormatNodes, syscalls.FormatMsgbuf, syscalls.FormatUserDesc:
		return v.appendTargetOfJSON(dst, a, c)
	case syscalls.FormatSized, syscalls.FormatGrown:
		s, b, inner := v.part(a)
		if b == nil {
			return appendPointerJSON(dst, value)
		}
		return appendStructJSON(dst, &s, b, inner...)
	case syscalls.FormatChange:
		before, after, b, c := v.change(a)
		if b == nil {
			return appendPointerJSON(dst, value)
		}
		dst = append(dst, `{"before":`...)
		dst = appendStructJSON(dst, &before, b)
		dst = append(dst, `,"after":`...)
		if c == nil {
			return append(dst, "null}"...)
		}
		return append(appendStructJSON(dst, &after, c), '}')
	case syscalls.FormatPoints:
		c := v.capture(a.Index, false, 0)
		if value == 0 || v.length(a) == 0 || c == nil || len(c.Data) < a.Struct.Size {
			return appendPointerJSON(dst, value)
		}
		// What is not read is null.
		dst = appendStructJSON(append(dst, '['), a.Struct, c.Data)
		if v.length(a) > 1 {
			dst = append(dst, ",null"...)
		}
		return append(dst, ']')
	case syscalls.FormatHandle:
		_, after, kind, b, ok := v.handle(a)
		if !ok || b == nil {
			return appendPointerJSON(dst, value)
		}
		dst = append(dst, `{"handle_type":`...)
		dst = strconv.AppendInt(dst, int64(kind), 10)
		dst = append(dst, `,"f_handle":`...)
		dst = appendText(dst, b, len(b) < int(after))
		return append(dst, '}')
	case syscalls.FormatFutexOp, syscalls.FormatIoprio, syscalls.FormatQcmd:
		dst = append(dst, '"')
		dst = v.appendArg(dst, a)
		return append(dst, '"')
	case syscalls.FormatXint:
		dst = append(dst, '"')
		dst = appendHexJSON(dst, value&0xffffffff)
		return append(dst, '"')
	case syscalls.FormatNamed, syscalls.FormatKeyID:
		if name := a.Set.Name(value); name != "" {
			return appendJSONString(dst, name)
		}
		return strconv.AppendInt(dst, int64(int32(value)), 10)
	case syscalls.FormatFanFD:
		if int32(value) == -1 {
			return append(dst, `"FAN_NOFD"`...)
		}
		return appendNumberJSON(dst, syscalls.FormatDirFD, nil, value)
	case syscalls.FormatLoHi:
		return strconv.AppendInt(dst, int64(value&0xffffffff|v.arg(a.Index+1)<<32), 10)
	case syscalls.FormatPgoff:
		return strconv.AppendUint(dst, value<<12, 10)
	}
	return appendNumberJSON(dst, a.Format, a.Set, value)
}

// appendNames appends the list of names in v, what has none as "0x...".
func appendNames(dst []byte, s *syscalls.Set, v uint64) []byte {
	dst = append(dst, '[')
	first := true
	next := func() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
	}
	rest, _ := eachName(s, v, func(row *syscalls.SetRow, part uint64) {
		if row.Kind == syscalls.RowNothing {
			return
		}
		next()
		dst = appendPart(dst, row, part)
		dst = append(dst, '"')
	})
	if rest != 0 {
		next()
		dst = appendHexJSON(dst, rest)
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

func appendValueJSON(dst []byte, s *syscalls.Set, v uint64) []byte {
	if name := s.Name(v); name != "" {
		return appendJSONString(dst, name)
	}
	return strconv.AppendUint(dst, v&0xffffffff, 10)
}

// appendNumberJSON appends what needs nothing but the number: a JSON number, or a
// string where it has a name or is no quantity.
func appendNumberJSON(dst []byte, format syscalls.Format, set *syscalls.Set, v uint64) []byte {
	switch format {
	case syscalls.FormatInt, syscalls.FormatFD, syscalls.FormatPID, syscalls.FormatUint,
		syscalls.FormatLong, syscalls.FormatOff, syscalls.FormatUlong, syscalls.FormatSize, syscalls.FormatID, syscalls.FormatIfindex:
		return appendNumber(dst, format, set, v)
	case syscalls.FormatDirFD:
		if int32(v) != atFDCWD {
			return strconv.AppendInt(dst, int64(int32(v)), 10)
		}
	case syscalls.FormatRlim:
		if v != ^uint64(0) {
			return strconv.AppendUint(dst, v, 10)
		}
	case syscalls.FormatFlags:
		return appendNames(dst, set, v)
	case syscalls.FormatValue:
		return appendValueJSON(dst, set, v)
	case syscalls.FormatHex:
		dst = append(dst, '"')
		dst = appendHexJSON(dst, v)
		return append(dst, '"')
	case syscalls.FormatPtr:
		return appendPointerJSON(dst, v)
	case syscalls.FormatMode, syscalls.FormatFileMode, syscalls.FormatDev, syscalls.FormatSignal, syscalls.FormatHandler, syscalls.FormatErrno, syscalls.FormatKernelVersion:
	default:
		return appendPointerJSON(dst, v)
	}
	dst = append(dst, '"')
	dst = appendNumber(dst, format, set, v)
	return append(dst, '"')
}

// appendSockaddrJSON appends {"family", and "addr" and "port", or "path"}; the bytes of
// other families as they are.
func appendSockaddrJSON(dst, b []byte) []byte {
	family := number(b, 2)
	dst = append(dst, `{"family":`...)
	dst = appendValueJSON(dst, families, family)
	port := func() {
		dst = append(dst, `","port":`...)
		dst = strconv.AppendUint(dst, uint64(b[2])<<8|uint64(b[3]), 10)
	}
	switch {
	case family == afUnix:
		dst = append(dst, `,"path":`...)
		path := b[2:]
		if len(path) > 0 && path[0] == 0 {
			path = append([]byte{'@'}, path[1:]...)
		} else {
			path, _ = splitStrings(path)
		}
		dst = appendText(dst, path, false)
	case family == afInet && len(b) >= 8:
		dst = append(dst, `,"addr":"`...)
		dst = netip.AddrFrom4([4]byte(b[4:8])).AppendTo(dst)
		port()
	case family == afInet6 && len(b) >= 24:
		dst = append(dst, `,"addr":"`...)
		dst = netip.AddrFrom16([16]byte(b[8:24])).AppendTo(dst)
		port()
	case len(b) > 2:
		dst = append(dst, `,"data":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, b[2:])
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendTargetJSON appends a number or two that an argument points to.
func (v *view) appendTargetJSON(dst []byte, a *syscalls.Arg, c *ringstore.Capture) []byte {
	size := 4
	if a.Format == syscalls.FormatPair {
		size = 8
	}
	if c == nil || len(c.Data) < size || a.Format == syscalls.FormatWstatus && v.e.Ret == 0 {
		return appendPointerJSON(dst, v.arg(a.Index))
	}
	if length, ok := v.optionLength(); ok && length != 4 {
		return appendPointerJSON(dst, v.arg(a.Index))
	}
	n := number(c.Data, size)
	switch a.Format {
	case syscalls.FormatPair:
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, int64(int32(n)), 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, int64(int32(n>>32)), 10)
		return append(dst, ']')
	case syscalls.FormatErrnop:
		if name, _ := syscalls.Errno(int(int32(n))); name != "" {
			return appendJSONString(dst, name)
		}
	case syscalls.FormatWstatus:
		return appendWaitStatusJSON(dst, uint32(n))
	case syscalls.FormatSignalp:
		dst = append(dst, '"')
		dst = appendSignal(dst, n)
		return append(dst, '"')
	}
	return strconv.AppendInt(dst, int64(int32(n)), 10)
}

// appendWaitStatusJSON appends what became of a child: one member that says it.
func appendWaitStatusJSON(dst []byte, status uint32) []byte {
	signal := func(member string, n uint32) {
		dst = append(dst, member...)
		dst = appendSignal(dst, uint64(n))
		dst = append(dst, '"')
	}
	switch n := status & 0x7f; {
	case status&0xff == 0x7f:
		signal(`{"stopped":"`, status>>8&0x7f)
	case status == 0xffff:
		dst = append(dst, `{"continued":true`...)
	case n != 0:
		signal(`{"signal":"`, n)
		dst = append(dst, `,"core":`...)
		dst = strconv.AppendBool(dst, status&coreFlag != 0)
	default:
		dst = append(dst, `{"exited":`...)
		dst = strconv.AppendUint(dst, uint64(status>>8&0xff), 10)
	}
	return append(dst, '}')
}
