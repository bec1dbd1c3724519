package decode

import (
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// strace has no form for what is done through io_uring. So its lines begin with "# ", like
// the header's, and go on like those of the call that does the same:
//
//	# 812 1795144324.115012 io_uring openat(AT_FDCWD, "/etc/x", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000012> /* user_data=0x7 */
//
// In the comment are, beside user_data, the flags of the submission and the completion, if
// there are any. A descriptor with IOSQE_FIXED_FILE is an index of the registered files.

// A uringField is where the argument of a call stands in a submission.
type uringField uint8

const (
	fieldZero uringField = iota
	fieldFD
	fieldAddr
	fieldLen
	fieldOff
	fieldOpFlags
	fieldAddr3
	fieldIOPrio
	fieldFileIndex
	fieldAddrLen // of an address to send to
	fieldBuffer  // registered, or a group of them
)

func (f uringField) of(o *ringstore.Operation) uint64 {
	switch f {
	case fieldFD:
		return uint64(int64(o.FD))
	case fieldAddr:
		return o.Addr
	case fieldLen:
		return uint64(o.Len)
	case fieldOff:
		return o.Off
	case fieldOpFlags:
		return uint64(o.OpFlags)
	case fieldAddr3:
		return o.Addr3
	case fieldIOPrio:
		return uint64(o.IOPrio)
	case fieldFileIndex:
		return uint64(o.FileIndex)
	case fieldAddrLen:
		return uint64(o.FileIndex & 0xffff)
	case fieldBuffer:
		return uint64(o.BufIndex)
	}
	return 0
}

// capture returns the field as captures number it.
func (f uringField) capture() int {
	switch f {
	case fieldAddr:
		return layout.UringArgAddr
	case fieldOff:
		return layout.UringArgOff
	case fieldAddr3:
		return layout.UringArgAddr3
	}
	return -1
}

// A uringOp is one opcode.
type uringOp struct {
	name string
	// call is the call that does the same; fields are its arguments, by their numbers there.
	call   string
	fields []uringField
	// Where there is no such call, row is what it is shown by.
	row *syscalls.Call
}

// own describes an operation that is no call.
func own(name string, args ...any) uringOp {
	op := uringOp{name: name, row: &syscalls.Call{Name: name, Class: "FileSystem", Group: "io_uring"}}
	for i := 0; i < len(args); i += 3 {
		op.fields = append(op.fields, args[i+1].(uringField))
		arg := syscalls.Arg{Name: args[i].(string), Index: i / 3, Format: args[i+2].(syscalls.Format), Named: args[i] != "fd"}
		if arg.Format == syscalls.FormatFlags {
			arg.Set, arg.Named = pollFlags, false // the only flags that are here
		}
		op.row.Args = append(op.row.Args, arg)
	}
	op.row.NArgs = len(op.fields)
	return op
}

const (
	asInt  = syscalls.FormatInt
	asUint = syscalls.FormatUint
	asLong = syscalls.FormatOff
	asHex  = syscalls.FormatHex
	asPtr  = syscalls.FormatPtr
	asFD   = syscalls.FormatFD
)

// uringOps are the operations by opcode, as of Linux 6.18.
var uringOps = func() []uringOp {
	type f = []uringField
	read, write := f{fieldFD, fieldAddr, fieldLen, fieldOff}, f{fieldFD, fieldAddr, fieldLen, fieldOff}
	vector := f{fieldFD, fieldAddr, fieldLen, fieldOff, fieldZero, fieldOpFlags}
	message := f{fieldFD, fieldAddr, fieldOpFlags}
	send := f{fieldFD, fieldAddr, fieldLen, fieldOpFlags, fieldOff, fieldAddrLen}
	link := f{fieldFD, fieldAddr, fieldLen, fieldOff, fieldOpFlags}
	poll := own("poll_add", "fd", fieldFD, asFD, "events", fieldOpFlags, syscalls.FormatFlags)
	poll.row.Ret = syscalls.Ret{Format: syscalls.RetFlags, Set: pollFlags}
	return []uringOp{
		own("nop"),
		{name: "readv", call: "preadv2", fields: vector},
		{name: "writev", call: "pwritev2", fields: vector},
		{name: "fsync", call: "fsync", fields: f{fieldFD}},
		{name: "read_fixed", call: "pread64", fields: read},
		{name: "write_fixed", call: "pwrite64", fields: write},
		poll,
		own("poll_remove", "user_data", fieldAddr, asHex),
		{name: "sync_file_range", call: "sync_file_range", fields: f{fieldFD, fieldOff, fieldLen, fieldOpFlags}},
		{name: "sendmsg", call: "sendmsg", fields: message},
		{name: "recvmsg", call: "recvmsg", fields: message},
		own("timeout", "ts", fieldAddr, asPtr, "count", fieldOff, asUint, "flags", fieldOpFlags, asHex),
		own("timeout_remove", "user_data", fieldAddr, asHex, "flags", fieldOpFlags, asHex),
		{name: "accept", call: "accept4", fields: f{fieldFD, fieldAddr, fieldOff, fieldOpFlags}},
		own("async_cancel", "fd", fieldFD, asFD, "user_data", fieldAddr, asHex, "flags", fieldOpFlags, asHex),
		own("link_timeout", "ts", fieldAddr, asPtr, "flags", fieldOpFlags, asHex),
		{name: "connect", call: "connect", fields: f{fieldFD, fieldAddr, fieldOff}},
		{name: "fallocate", call: "fallocate", fields: f{fieldFD, fieldLen, fieldOff, fieldAddr}},
		{name: "openat", call: "openat", fields: f{fieldFD, fieldAddr, fieldOpFlags, fieldLen}},
		{name: "close", call: "close", fields: f{fieldFD}},
		own("files_update", "fds", fieldAddr, asPtr, "count", fieldLen, asUint, "offset", fieldOff, asLong),
		{name: "statx", call: "statx", fields: f{fieldFD, fieldAddr, fieldOpFlags, fieldLen, fieldOff}},
		{name: "read", call: "pread64", fields: read},
		{name: "write", call: "pwrite64", fields: write},
		{name: "fadvise", call: "fadvise64", fields: f{fieldFD, fieldOff, fieldLen, fieldOpFlags}},
		{name: "madvise", call: "madvise", fields: f{fieldAddr, fieldLen, fieldOpFlags}},
		{name: "send", call: "sendto", fields: send},
		{name: "recv", call: "recvfrom", fields: f{fieldFD, fieldAddr, fieldLen, fieldOpFlags, fieldZero, fieldZero}},
		{name: "openat2", call: "openat2", fields: f{fieldFD, fieldAddr, fieldOff, fieldLen}},
		{name: "epoll_ctl", call: "epoll_ctl", fields: f{fieldFD, fieldLen, fieldOff, fieldAddr}},
		own("splice", "fd_in", fieldFileIndex, asInt, "off_in", fieldAddr, asLong, "fd_out", fieldFD, asInt,
			"off_out", fieldOff, asLong, "len", fieldLen, asUint, "flags", fieldOpFlags, asHex),
		own("provide_buffers", "addr", fieldAddr, asPtr, "len", fieldLen, asUint, "nbufs", fieldFD, asInt,
			"bid", fieldOff, asUint, "group", fieldBuffer, asUint),
		own("remove_buffers", "nbufs", fieldFD, asInt, "group", fieldBuffer, asUint),
		{name: "tee", call: "tee", fields: f{fieldFileIndex, fieldFD, fieldLen, fieldOpFlags}},
		{name: "shutdown", call: "shutdown", fields: f{fieldFD, fieldLen}},
		{name: "renameat", call: "renameat2", fields: link},
		{name: "unlinkat", call: "unlinkat", fields: f{fieldFD, fieldAddr, fieldOpFlags}},
		{name: "mkdirat", call: "mkdirat", fields: f{fieldFD, fieldAddr, fieldLen}},
		{name: "symlinkat", call: "symlinkat", fields: f{fieldAddr, fieldFD, fieldOff}},
		{name: "linkat", call: "linkat", fields: link},
		own("msg_ring", "fd", fieldFD, asFD, "command", fieldAddr, asUint, "len", fieldLen, asUint, "data", fieldOff, asHex,
			"flags", fieldOpFlags, asHex),
		{name: "fsetxattr", call: "fsetxattr", fields: f{fieldFD, fieldAddr, fieldOff, fieldLen, fieldOpFlags}},
		{name: "setxattr", call: "setxattr", fields: f{fieldAddr3, fieldAddr, fieldOff, fieldLen, fieldOpFlags}},
		{name: "fgetxattr", call: "fgetxattr", fields: f{fieldFD, fieldAddr, fieldOff, fieldLen}},
		{name: "getxattr", call: "getxattr", fields: f{fieldAddr3, fieldAddr, fieldOff, fieldLen}},
		{name: "socket", call: "socket", fields: f{fieldFD, fieldOff, fieldLen}},
		own("uring_cmd", "fd", fieldFD, asFD, "command", fieldOff, asHex, "addr", fieldAddr, asPtr, "len", fieldLen, asUint,
			"flags", fieldOpFlags, asHex),
		{name: "send_zc", call: "sendto", fields: send},
		{name: "sendmsg_zc", call: "sendmsg", fields: message},
		{name: "read_multishot", call: "pread64", fields: read},
		{name: "waitid", call: "waitid", fields: f{fieldLen, fieldFD, fieldOff, fieldFileIndex, fieldZero}},
		own("futex_wait", "uaddr", fieldAddr, asPtr, "val", fieldOff, asUint, "mask", fieldAddr3, asHex, "flags", fieldFD, asHex),
		own("futex_wake", "uaddr", fieldAddr, asPtr, "val", fieldOff, asUint, "mask", fieldAddr3, asHex, "flags", fieldFD, asHex),
		own("futex_waitv", "waiters", fieldAddr, asPtr, "nr", fieldLen, asUint),
		own("fixed_fd_install", "fd", fieldFD, asFD, "flags", fieldOpFlags, asHex),
		{name: "ftruncate", call: "ftruncate", fields: f{fieldFD, fieldOff}},
		{name: "bind", call: "bind", fields: f{fieldFD, fieldAddr, fieldOff}},
		{name: "listen", call: "listen", fields: f{fieldFD, fieldLen}},
		own("recv_zc", "fd", fieldFD, asFD, "len", fieldLen, asUint, "queue", fieldFileIndex, asUint, "flags", fieldOpFlags, asHex),
		own("epoll_wait", "fd", fieldFD, asFD, "events", fieldAddr, asPtr, "maxevents", fieldLen, asUint),
		{name: "readv_fixed", call: "preadv2", fields: vector},
		{name: "writev_fixed", call: "pwritev2", fields: vector},
		{name: "pipe", call: "pipe2", fields: f{fieldAddr, fieldOpFlags}},
	}
}()

// unknownOp shows an opcode that is not known, by all that a submission has.
var unknownOp = own("", "fd", fieldFD, asInt, "addr", fieldAddr, asHex, "len", fieldLen, asUint, "off", fieldOff, asHex,
	"flags", fieldOpFlags, asHex)

func uringOpOf(opcode uint16) *uringOp {
	if int(opcode) < len(uringOps) {
		return &uringOps[opcode]
	}
	return &unknownOp
}

// uringName is what the text and --syscall call an operation: its opcode in small letters.
func uringName(opcode uint16) string {
	switch op := uringOpOf(opcode); {
	case opcode == ringstore.NoOpcode:
		return "completion"
	case op == &unknownOp:
		return "op_0x" + strconv.FormatUint(uint64(opcode), 16)
	default:
		return op.name
	}
}

// The flags that all operations have in common.
var (
	sqeFlags = &syscalls.Set{Flags: true, Rows: []syscalls.SetRow{
		{Name: "IOSQE_FIXED_FILE", Value: 1}, {Name: "IOSQE_IO_DRAIN", Value: 2}, {Name: "IOSQE_IO_LINK", Value: 4},
		{Name: "IOSQE_IO_HARDLINK", Value: 8}, {Name: "IOSQE_ASYNC", Value: 16}, {Name: "IOSQE_BUFFER_SELECT", Value: 32},
		{Name: "IOSQE_CQE_SKIP_SUCCESS", Value: skipSuccess},
	}}
	// The upper half is the number of a buffer.
	cqeFlags = &syscalls.Set{Flags: true, Rows: []syscalls.SetRow{
		{Name: "IORING_CQE_F_BUFFER", Value: 1}, {Name: "IORING_CQE_F_MORE", Value: 2}, {Name: "IORING_CQE_F_SOCK_NONEMPTY", Value: 4},
		{Name: "IORING_CQE_F_NOTIF", Value: 8}, {Name: "IORING_CQE_F_BUF_MORE", Value: 16},
	}}
)

const (
	fixedFile   = 1 << 0 // IOSQE_FIXED_FILE
	skipSuccess = 1 << 6 // IOSQE_CQE_SKIP_SUCCESS
)

// told tells that an operation asked to be told of failures only, and this is not of one.
func told(e *ringstore.Event, o *ringstore.Operation) bool {
	return e.Unfinished && e.Seq != 0 && o.Flags&skipSuccess != 0
}

// asCall returns an operation in the form of a call, with the row to show it by.
func asCall(arch string, e *ringstore.Event, o *ringstore.Operation) (ringstore.Event, *syscalls.Call) {
	op := uringOpOf(e.Nr)
	row := op.row
	if op.call != "" {
		if row = syscalls.ByName(arch, op.call); row == nil {
			op = &unknownOp
			row = op.row
		}
	}
	c := *e
	c.Kind, c.ABI, c.Captures = ringstore.KindCall, ringstore.ABINative, nil
	c.Args = make([]uint64, len(op.fields))
	for i, field := range op.fields {
		c.Args[i] = field.of(o)
		for _, capture := range e.Captures {
			if capture.Arg == field.capture() {
				capture.Arg = i
				c.Captures = append(c.Captures, capture)
			}
		}
	}
	return c, row
}

// AsCall returns the call that does the same as an operation of io_uring, as if it had
// been made; false where there is none, or nothing is known but the operation's end. With
// a registered file in place of a descriptor, or where one is made, that has a number from
// fixed on.
func AsCall(arch string, e *ringstore.Event, fixed uint64) (ringstore.Event, bool) {
	op := uringOpOf(e.Nr)
	o := e.Operation()
	if e.Kind != ringstore.KindUring || op.call == "" || e.NoEnter || told(e, &o) {
		return ringstore.Event{}, false
	}
	nr := -1
	for i, c := range syscalls.Table(arch, ringstore.ABINative) {
		if c != nil && c.Name == op.call {
			nr = i
			break
		}
	}
	if nr < 0 {
		return ringstore.Event{}, false
	}
	c, _ := asCall(arch, e, &o)
	c.Nr = uint16(nr)
	const allocate = ^uint32(0) // IORING_FILE_INDEX_ALLOC
	switch op.name {
	case "openat", "openat2", "accept", "socket":
		switch {
		case o.FileIndex == 0 || c.Ret < 0:
		case o.FileIndex == allocate:
			c.Ret += int64(fixed)
		default:
			c.Ret = int64(fixed) + int64(o.FileIndex) - 1
		}
	case "close":
		if o.FileIndex != 0 {
			c.Args[0] = fixed + uint64(o.FileIndex) - 1
		}
	default:
		if o.Flags&fixedFile != 0 && op.fields[0] == fieldFD {
			c.Args[0] = fixed + uint64(uint32(o.FD))
		}
	}
	return c, true
}

// uringView is how an operation is seen as a call.
func uringView(arch string, e *ringstore.Event, call *ringstore.Event, row *syscalls.Call) view {
	v := view{e: call, call: row, ret: &decimal, word: 8}
	v.args, v.ret = row.Shape(call.Args)
	v.read = row.RulesFor(call.Args)
	return v
}

// appendUring appends the line of an operation.
func appendUring(dst []byte, h *ringstore.Meta, e *ringstore.Event) []byte {
	start := len(dst)
	o := e.Operation()
	dst = append(dst, "# "...)
	dst = appendLeader(dst, e.TID, e.Start+h.WallOffset)
	dst = append(dst, "io_uring "...)
	dst = append(dst, uringName(e.Nr)...)
	dst = append(dst, '(')
	call, row := asCall(h.Arch, e, &o)
	v := uringView(h.Arch, e, &call, row)
	switch {
	case e.NoEnter && e.Nr != ringstore.NoOpcode:
		dst = append(dst, '?')
	case !e.NoEnter:
		dst, _ = v.appendArgs(dst, false)
	}
	if e.Unfinished && !told(e, &o) {
		dst = append(dst, " <unfinished ...>"...)
	} else {
		dst = append(dst, ") "...)
		for len(dst)-start < resultColumn {
			dst = append(dst, ' ')
		}
		dst = append(dst, "= "...)
		if e.Unfinished {
			dst = append(dst, '?')
		} else {
			dst = v.appendResult(dst)
		}
		if !e.NoEnter && !e.Unfinished {
			dst = append(dst, " <"...)
			dst = appendSeconds(dst, max(e.Duration, 0))
			dst = append(dst, '>')
		}
	}
	dst = append(dst, " /* user_data=0x"...)
	dst = strconv.AppendUint(dst, o.UserData, 16)
	if o.Flags != 0 {
		dst = append(dst, ", "...)
		dst = appendFlags(dst, sqeFlags, uint64(o.Flags))
	}
	if flags := o.CompletionFlags; flags != 0 {
		dst = append(dst, ", "...)
		dst = appendFlags(dst, cqeFlags, uint64(flags&0xffff))
		if flags>>16 != 0 {
			dst = append(dst, ", buffer="...)
			dst = strconv.AppendUint(dst, uint64(flags>>16), 10)
		}
	}
	return append(dst, " */\n"...)
}

// appendUringJSON appends the members that an operation has beside those of all events.
func appendUringJSON(dst []byte, h *ringstore.Meta, e *ringstore.Event) []byte {
	o := e.Operation()
	call, row := asCall(h.Arch, e, &o)
	v := uringView(h.Arch, e, &call, row)
	dst = v.appendOutcome(dst)
	dst = appendTimeOf(dst, h, e)
	dst = append(dst, `,"opcode":{"nr":`...)
	if e.Nr == ringstore.NoOpcode {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendUint(dst, uint64(e.Nr), 10)
	}
	dst = append(dst, `,"name":`...)
	dst = appendJSONString(dst, uringName(e.Nr))
	dst = append(dst, `},"user_data":"`...)
	dst = appendHexJSON(dst, o.UserData)
	dst = append(dst, `","fd":`...)
	if e.NoEnter {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, int64(o.FD), 10)
	}
	dst = append(dst, `,"flags":`...)
	dst = appendNames(dst, sqeFlags, uint64(o.Flags))
	dst = append(dst, `,"completionFlags":`...)
	dst = appendNames(dst, cqeFlags, uint64(o.CompletionFlags&0xffff))
	dst = append(dst, `,"args":{`...)
	if !e.NoEnter {
		dst = v.appendJSONArgs(dst)
	}
	return append(dst, '}')
}
