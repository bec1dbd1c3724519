package unwind

import (
	"sort"
)

// Go's table of functions, since Go 1.20, which each Go program has, stripped or not: a
// head, names, tables of values by address, and functions by address.
//
//	0        4     6        7        8       16      24     32     40  48     56      64
//	+--------+-----+--------+--------+-------+-------+------+------+---+------+-------+------+
//	| magic  |  0  |quantum |pointer |  nfunc| nfiles| text | names| … |      | values| funcs|
//	+--------+-----+--------+--------+-------+-------+------+------+---+------+-------+------+
const (
	goMagic    = 0xfffffff1
	maxGoFuncs = 4 << 20
	maxGoTable = 64 << 10 // bytes of one function's frame sizes

	goTopFrame = 1 // nothing calls the function
	goSPWrite  = 2 // it goes to another stack
)

// A goFunc is what the table knows of a function.
type goFunc struct {
	name    string
	start   uint64
	sizes   region // where its frame sizes begin, and all that follows
	flags   byte
	quantum uint64
}

// goFunction finds the function that an address is in.
func (f *File) goFunction(address uint64) (fn goFunc, ok bool) {
	var h [72]byte
	table := f.goLines
	if table.size == 0 || f.read(h[:], table.offset) != nil || le.Uint32(h[:]) != goMagic || h[7] != 8 {
		return fn, false
	}
	fn.quantum = uint64(h[6])
	count, text := le.Uint64(h[8:]), le.Uint64(h[24:])
	part := func(at uint64) (region, bool) {
		if at > table.size {
			return region{}, false
		}
		return region{offset: table.offset + at, size: table.size - at}, true
	}
	names, ok1 := part(le.Uint64(h[32:]))
	values, ok2 := part(le.Uint64(h[56:]))
	functions, ok3 := part(le.Uint64(h[64:]))
	if count == 0 || count > maxGoFuncs || !ok1 || !ok2 || !ok3 || count*8+4 > functions.size {
		return fn, false
	}
	if text == 0 { // since Go 1.26 it stands elsewhere
		if text = f.goText(); text == 0 {
			return fn, false
		}
	}
	if address < text || address-text > 1<<32-1 {
		return fn, false
	}
	offset := uint32(address - text)
	failed := false
	at := func(n int) (start, entry uint32) {
		var b [8]byte
		// Behind the last one stands just where it ends.
		if f.read(b[:min(8, count*8+4-uint64(n)*8)], functions.offset+8*uint64(n)) != nil {
			failed = true
		}
		return le.Uint32(b[:]), le.Uint32(b[4:])
	}
	n := sort.Search(int(count)+1, func(n int) bool {
		start, _ := at(n)
		return failed || start > offset
	})
	if n == 0 || n > int(count) || failed {
		return fn, false
	}
	start, entry := at(n - 1)
	var b [44]byte
	if uint64(entry) > functions.size || f.read(b[:], functions.offset+uint64(entry)) != nil || le.Uint32(b[:]) != start {
		return fn, false
	}
	name, ok := f.stringAt(names, uint64(le.Uint32(b[4:])), maxName)
	if !ok || name == "" {
		return fn, false
	}
	sizes := uint64(le.Uint32(b[16:]))
	if sizes > values.size {
		return fn, false
	}
	fn.name, fn.start, fn.flags = printable(name, maxShown), text+uint64(start), b[41]
	fn.sizes = region{offset: values.offset + sizes, size: values.size - sizes}
	return fn, true
}

// goFrameSize is how far the stack pointer is from where it was when the function was
// entered.
func (f *File) goFrameSize(fn goFunc, address uint64) (size int64, ok bool) {
	b := make([]byte, min(fn.sizes.size, 512))
	at := uint64(0)
	var d decoder
	size = -1
	for pc := fn.start; ; {
		if len(d.b) < 20 && at < min(fn.sizes.size, maxGoTable) {
			// What is left, and what follows it.
			at -= uint64(len(d.b))
			b = b[:min(uint64(cap(b)), fn.sizes.size-at)]
			if f.read(b, fn.sizes.offset+at) != nil {
				return 0, false
			}
			at += uint64(len(b))
			d = decoder{b: b}
		}
		delta := d.uleb()
		if d.bad || delta == 0 && pc != fn.start {
			return 0, false // it ends before
		}
		if delta&1 != 0 {
			size += int64(int32(^uint32(delta >> 1)))
		} else {
			size += int64(int32(uint32(delta >> 1)))
		}
		pc += d.uleb() * fn.quantum
		if d.bad {
			return 0, false
		}
		if address < pc {
			return size, true
		}
	}
}

// goName is the name of the Go function that an address is in.
func (f *File) goName(address uint64) (symbol, bool) {
	fn, ok := f.goFunction(address)
	return symbol{name: fn.name, start: fn.start, sized: true}, ok
}

// goText is where Go's own code begins, of a program that was made by Go 1.26 or newer; 0:
// not known. It stands in what the runtime knows of its module, behind the table's address,
// six slices, another address, and the least and the highest of its addresses. In programs
// that can be loaded anywhere it is filled in later.
func (f *File) goText() uint64 {
	const at = 8 + 6*24 + 8 + 8 + 8
	var b [at + 8]byte
	if f.goModule.size < uint64(len(b)) || f.read(b[:], f.goModule.offset) != nil {
		return 0
	}
	if le.Uint64(b[:]) == f.goLines.address {
		return le.Uint64(b[at:])
	}
	return 0
}
