package unwind

import (
	"sort"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// A symbol is the function that an address is in. An empty name: none is known.
type symbol struct {
	name  string
	start uint64

	local bool
	sized bool
}

const (
	symbolBytes = 24
	maxSymbols  = 4 << 20 // of a table
	chunk       = 2048    // symbols read at once
	maxDemangle = 12      // 2^12 bytes of a demangled name
)

// names finds the functions that addresses are in. Symbols count where they cover the
// address, or where the call frame information begins a function at the same place.
func (f *File) names(addresses []uint64) map[uint64]symbol {
	found := map[uint64]symbol{}
	if f.goLines.size > 0 {
		for _, a := range addresses {
			if s, ok := f.goName(a); ok {
				found[a] = s
			}
		}
	}
	for _, table := range f.symbols {
		var left []uint64
		for _, a := range addresses {
			if found[a].name == "" {
				left = append(left, a)
			}
		}
		if len(left) == 0 {
			break
		}
		f.search(table, left, found)
	}
	return found
}

// search goes through a table of symbols once.
func (f *File) search(t symbolTable, addresses []uint64, found map[uint64]symbol) {
	sort.Slice(addresses, func(i, j int) bool { return addresses[i] < addresses[j] })
	starts := map[uint64]uint64{} // of functions, by address, as the call frame information has it
	for _, a := range addresses {
		if offset, err := f.findEntry(a); err == nil {
			if _, start, size, _, err := f.entry(offset); err == nil && a >= start && a-start < size {
				starts[a] = start
			}
		}
	}
	type candidate struct {
		symbol
		name uint32
	}
	best := map[uint64]candidate{}
	b := make([]byte, chunk*symbolBytes)
	count := min(t.table.size/symbolBytes, maxSymbols)
	for first := uint64(0); first < count; first += chunk {
		b := b[:min(chunk, count-first)*symbolBytes]
		if f.read(b, t.table.offset+first*symbolBytes) != nil {
			break
		}
		for ; len(b) > 0; b = b[symbolBytes:] {
			kind, bind := b[4]&15, b[4]>>4
			value, size := le.Uint64(b[8:]), le.Uint64(b[16:])
			// Functions, also indirect ones and those that are just a label.
			if le.Uint16(b[6:]) == 0 || kind != 2 && kind != 10 && kind != 0 || value > addresses[len(addresses)-1] {
				continue
			}
			n := sort.Search(len(addresses), func(i int) bool { return addresses[i] >= value })
			for _, a := range addresses[n:] {
				if size > 0 && a-value >= size {
					break
				}
				s := candidate{symbol{start: value, local: bind == 0, sized: size > 0}, le.Uint32(b)}
				if !s.sized && (starts[a] != value || kind == 0 && bind == 0) {
					continue
				}
				old, ok := best[a]
				if !ok || s.start > old.start || s.start == old.start && (s.sized && !old.sized || s.sized == old.sized && old.local && !s.local) {
					best[a] = s
				}
			}
		}
	}
	for a, c := range best {
		if name, ok := f.stringAt(t.names, uint64(c.name), maxName); ok && name != "" {
			c.symbol.name = readable(name)
			found[a] = c.symbol
		}
	}
}

// readable is a symbol's name as its language has it, and as one line of text.
func readable(name string) (text string) {
	defer func() {
		if recover() != nil { // of a name that was made to break the demangler
			text = printable(name, maxName)
		}
	}()
	name, _, _ = strings.Cut(name, "@") // its version
	if len(name) <= maxName {
		name = demangle.Filter(name, demangle.NoParams, demangle.NoTemplateParams, demangle.MaxLength(maxDemangle))
	}
	return printable(name, maxName)
}

// printable keeps what somebody else named on one line, and short.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Go's table of functions, since Go 1.18: a head, names, and functions by address.
const (
	goMagic118 = 0xfffffff0
	goMagic120 = 0xfffffff1
	maxGoFuncs = 4 << 20
)

// goName finds a Go function in the table that each Go program has, stripped or not.
func (f *File) goName(address uint64) (symbol, bool) {
	var h [72]byte
	if f.read(h[:], f.goLines.offset) != nil || h[7] != 8 {
		return symbol{}, false
	}
	magic := le.Uint32(h[:])
	if magic != goMagic118 && magic != goMagic120 {
		return symbol{}, false
	}
	count, text := le.Uint64(h[8:]), le.Uint64(h[24:])
	names := region{offset: f.goLines.offset + le.Uint64(h[32:])}
	functions := le.Uint64(h[64:])
	if count == 0 || count > maxGoFuncs || functions > f.goLines.size || le.Uint64(h[32:]) > f.goLines.size {
		return symbol{}, false
	}
	names.size = f.goLines.size - le.Uint64(h[32:])
	if text == 0 { // since Go 1.26 it stands elsewhere
		if text = f.goText(); text == 0 {
			return symbol{}, false
		}
	}
	if address < text || address-text > 1<<32-1 {
		return symbol{}, false
	}
	offset := uint32(address - text)
	failed := false
	at := func(n uint64) (start, entry uint32) {
		var b [8]byte
		if functions+8*n+8 > f.goLines.size || f.read(b[:], f.goLines.offset+functions+8*n) != nil {
			failed = true
		}
		return le.Uint32(b[:]), le.Uint32(b[4:])
	}
	n := sort.Search(int(count), func(n int) bool {
		start, _ := at(uint64(n))
		return failed || start > offset
	})
	if n == 0 || failed {
		return symbol{}, false
	}
	start, entry := at(uint64(n - 1))
	var end [4]byte // behind the last one stands where it ends
	if failed || f.read(end[:], f.goLines.offset+functions+8*uint64(n)) != nil || offset >= le.Uint32(end[:]) {
		return symbol{}, false
	}
	var fn [8]byte
	if functions+uint64(entry)+8 > f.goLines.size || f.read(fn[:], f.goLines.offset+functions+uint64(entry)) != nil ||
		le.Uint32(fn[:]) != start {
		return symbol{}, false
	}
	name, ok := f.stringAt(names, uint64(le.Uint32(fn[4:])), maxName)
	if !ok || name == "" {
		return symbol{}, false
	}
	return symbol{name: printable(name, maxName), start: text + uint64(start), sized: true}, true
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
