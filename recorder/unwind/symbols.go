package unwind

import (
	"slices"
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
	maxSymbols  = 4 << 20  // of a table
	maxCovered  = 32 << 20 // symbols and addresses that are compared
	chunk       = 2048     // symbols read at once
	maxDemangle = 12       // 2^12 bytes of a demangled name
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
		for i, a := range addresses {
			if found[a].name == "" && !slices.Contains(addresses[:i], a) {
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
	best := make([]candidate, len(addresses))
	compared := 0
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
			for i, a := range addresses[n:] {
				if size > 0 && a-value >= size {
					break
				}
				if compared++; compared > maxCovered {
					return // nobody has such symbols in good faith
				}
				s := candidate{symbol{start: value, local: bind == 0, sized: size > 0}, le.Uint32(b)}
				if !s.sized && (starts[a] != value || kind == 0 && bind == 0) {
					continue
				}
				old := best[n+i]
				if old.name == 0 || s.start > old.start || s.start == old.start && (s.sized && !old.sized || s.sized == old.sized && old.local && !s.local) {
					best[n+i] = s
				}
			}
		}
	}
	for i, c := range best {
		if c.name == 0 {
			continue
		}
		if name, ok := f.stringAt(t.names, uint64(c.name), maxName); ok && name != "" {
			c.symbol.name = readable(name)
			found[addresses[i]] = c.symbol
		}
	}
}

// readable is a symbol's name as its language has it, and as one line of text.
func readable(name string) (text string) {
	defer func() {
		if recover() != nil { // of a name that was made to break the demangler
			text = printable(name, maxShown)
		}
	}()
	name, _, _ = strings.Cut(name, "@") // its version
	if len(name) <= maxName {
		name = demangle.Filter(name, demangle.NoParams, demangle.NoTemplateParams, demangle.MaxLength(maxDemangle))
	}
	return printable(name, maxShown)
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
