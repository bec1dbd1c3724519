package decode

import (
	"encoding/binary"
	"slices"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A view is a call as its row of the table sees it. It is made on the stack.
type view struct {
	e    *ringstore.Event
	call *syscalls.Call // nil: the number is unknown
	args []syscalls.Arg
	ret  *syscalls.Ret
	read []syscalls.Rule
	word int // bytes of a pointer
	// resumed is the call that this one goes on with; empty: it is not known, or none.
	resumed string
	namer   *namer
}

var decimal syscalls.Ret

func viewOf(arch string, e *ringstore.Event) view {
	v := view{e: e, call: syscalls.Lookup(arch, e.ABI, e.Nr), ret: &decimal, word: 8}
	if e.ABI != ringstore.ABINative {
		v.word = 4
	}
	if v.call != nil {
		v.args, v.ret = v.call.Shape(e.Args)
		v.read = v.call.RulesFor(e.Args)
	}
	return v
}

// failed tells that the call returned an error, or was interrupted.
func (v *view) failed() bool { return v.e.Ret < 0 && v.e.Ret >= -4095 }

// returned tells that the call returned, and well.
func (v *view) returned() bool { return !v.e.Unfinished && !v.failed() }

// arg returns the argument of an index, cut to the width of the ABI; 0 if the record
// has none.
func (v *view) arg(i int) uint64 {
	if i < 0 || i >= len(v.e.Args) {
		return 0
	}
	if v.word == 4 {
		return uint64(uint32(v.e.Args[i]))
	}
	return v.e.Args[i]
}

// long returns the argument as a signed number of the ABI's size.
func (v *view) long(i int) int64 {
	if v.word == 4 {
		return int64(int32(v.arg(i)))
	}
	return int64(v.arg(i))
}

// capture returns the nth capture of an argument, from 0, of those taken at the entry or
// at the exit; nil if there is none, or if it could not be read at all.
func (v *view) capture(arg int, exit bool, nth int) *ringstore.Capture {
	for i := range v.e.Captures {
		c := &v.e.Captures[i]
		if c.Arg != arg || c.Status&ringstore.CaptureExit != 0 != exit {
			continue
		}
		if nth--; nth >= 0 {
			continue
		}
		if c.Status&ringstore.CaptureNone != 0 || c.Status&ringstore.CaptureFault != 0 && len(c.Data) == 0 {
			return nil
		}
		return c
	}
	return nil
}

// target returns the capture of what an argument points to, for the direction that the
// argument has, or nil where only the pointer can be shown.
func (v *view) target(a *syscalls.Arg) *ringstore.Capture {
	if v.arg(a.Index) == 0 {
		return nil
	}
	if a.Out != syscalls.In {
		if c := v.capture(a.Index, true, 0); c != nil || !v.entered(a) {
			return c
		}
	}
	return v.capture(a.Index, false, 0)
}

// entered tells that strace shows at the return what was read at the entry: the kernel
// does not fill it.
func (v *view) entered(a *syscalls.Arg) bool {
	for i := range v.read {
		if r := &v.read[i]; int(r.Arg) == a.Index && r.Flags&syscalls.AtExit != 0 {
			return false
		}
	}
	return true
}

// filled tells that what was read of an argument's target can be shown: the kernel has
// filled it, or need not.
func (v *view) filled(a *syscalls.Arg) bool {
	return a.Out == syscalls.In || v.returned() || !v.e.Unfinished && v.entered(a)
}

// length returns how many bytes or elements an argument points to.
func (v *view) length(a *syscalls.Arg) uint64 {
	switch a.Count {
	case syscalls.CountReturn:
		if v.e.Ret > 0 {
			return uint64(v.e.Ret)
		}
		return 0
	case syscalls.CountOne:
		return 1
	}
	return v.arg(int(a.Count))
}

// number reads a little-endian number of 1, 2, 4 or 8 bytes; what is missing is 0.
func number(b []byte, size int) uint64 {
	switch {
	case size > len(b):
		return 0
	case size == 1:
		return uint64(b[0])
	case size == 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case size == 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case size == 8:
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// shown evaluates a field's condition.
func shown(s *syscalls.Struct, f *syscalls.Field, b []byte) bool {
	if f.Show == nil {
		return true
	}
	other := &s.Fields[f.Show.Arg]
	n := number(b[other.Offset:], other.Size) & f.Show.Mask
	if len(f.Show.Values) == 0 {
		return n != 0
	}
	return slices.Contains(f.Show.Values, n)
}

// splitStrings cuts the next string off a capture of strings, each ended by a NUL.
func splitStrings(b []byte) (s, rest []byte) {
	for i, c := range b {
		if c == 0 {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// A piece is one buffer of an iovec.
type piece struct {
	base, length uint64
	data         []byte // what is known of it
	whole        bool   // data is all that counts
}

// buffers calls each for those of an array of struct iovec (two pointers of word
// bytes each), whose contents follow each other in c, as far as they were gathered. At
// most limit bytes of the buffers count.
func buffers(word int, array []byte, c *ringstore.Capture, limit uint64, each func(i int, p piece)) {
	var data []byte
	most := ^uint64(0) // bytes gathered of one
	if c != nil {
		data = c.Data
		if c.Each > 0 {
			most = uint64(c.Each)
		}
	}
	for i := 0; len(array) >= 2*word; i++ {
		p := piece{base: number(array, word), length: number(array[word:], word)}
		want := min(p.length, limit)
		limit -= want
		n := min(want, most, uint64(len(data)))
		p.data, p.whole = data[:n], n == want
		data = data[n:]
		if !p.whole && n < most {
			data = nil // nothing behind it was read
		}
		each(i, p)
		array = array[2*word:]
	}
}
