package unwind

import (
	"errors"
	"sort"
)

// What of the call frame information is looked at, at most.
const (
	maxEntry     = 16 << 10 // bytes of one entry
	maxEntries   = 64 << 10 // of them, where there is no table to search
	maxRows      = 256      // that are kept, by address
	maxScan      = 32 << 20 // bytes of .eh_frame, where there is no table to search
	maxRemember  = 16
	registers    = 33 // numbers of them that count: as DWARF has them
	maxOperands  = 64 // on the stack of an expression
	maxOperation = 256
)

var (
	errNoCFI  = errors.New("no call frame information")
	errBadCFI = errors.New("its call frame information makes no sense")
)

// A rule tells where a register of the caller is.
type rule struct {
	kind   ruleKind
	reg    uint8
	offset int64
	expr   []byte
}

type ruleKind uint8

const (
	ruleDefault  ruleKind = iota // as the ABI has it
	ruleNone                     // it has none: nobody called
	ruleSame                     // unchanged
	ruleOffset                   // in memory, at CFA + offset
	ruleValue                    // CFA + offset itself
	ruleRegister                 // in another register
	ruleExpr                     // in memory, where an expression says
	ruleValueOf                  // what an expression says
)

// A row tells how to get from a frame to its caller's, at one address.
type row struct {
	cfa    rule // ruleRegister (reg and offset), or ruleValueOf
	regs   [registers]rule
	ret    uint8 // the number of the return address
	signal bool  // the frame is that of a signal's delivery
	start  uint64
}

// A cie is what entries have in common.
type cie struct {
	at           uint64 // offset in the file; 0: none was read
	code         uint64
	data         int64
	ret          uint8
	encoding     byte
	augmented    bool
	signal       bool
	instructions []byte
}

// row finds the call frame information of an address.
func (f *File) row(pc uint64) (*row, error) {
	if r, ok := f.rows[pc]; ok {
		return r.row, r.err
	}
	r, err := f.findRow(pc)
	if f.rows == nil {
		f.rows = map[uint64]foundRow{}
	}
	if len(f.rows) < maxRows {
		f.rows[pc] = foundRow{r, err}
	}
	return r, err
}

type foundRow struct {
	row *row
	err error
}

func (f *File) findRow(pc uint64) (*row, error) {
	offset, err := f.findEntry(pc)
	if err != nil {
		return nil, err
	}
	c, start, size, program, err := f.entry(offset)
	if err != nil {
		return nil, err
	}
	if pc < start || pc-start >= size {
		return nil, errNoCFI
	}
	return c.run(program, start, pc)
}

// findEntry finds the entry of an address: its offset in the file.
func (f *File) findEntry(pc uint64) (uint64, error) {
	if f.ehHeader.size >= 12 {
		offset, err := f.searchEntry(pc)
		if err == nil || err == errNoCFI {
			return offset, err
		}
	}
	if f.ehFrame.size > 0 {
		return f.scanEntries(pc)
	}
	return 0, errNoCFI
}

// searchEntry searches the table of .eh_frame_hdr: pairs of addresses and entries, in
// order, of which only this one form is ever written.
func (f *File) searchEntry(pc uint64) (uint64, error) {
	var h [12]byte
	if err := f.read(h[:], f.ehHeader.offset); err != nil {
		return 0, err
	}
	const table = 0x3b // signed 4 bytes, relative to the table
	if h[0] != 1 || h[1]&0x0f != 0x0b || h[2] != 3 || h[3] != table {
		return 0, errBadCFI
	}
	count := le.Uint32(h[8:])
	if uint64(count)*8 > f.ehHeader.size-12 {
		return 0, errBadCFI
	}
	var failed error
	pair := func(n int) (address, entry uint64) {
		var b [8]byte
		if err := f.read(b[:], f.ehHeader.offset+12+8*uint64(n)); err != nil {
			failed = err
		}
		return f.ehHeader.address + uint64(int64(int32(le.Uint32(b[:])))),
			f.ehHeader.address + uint64(int64(int32(le.Uint32(b[4:]))))
	}
	n := sort.Search(int(count), func(n int) bool {
		address, _ := pair(n)
		return failed != nil || address > pc
	})
	if failed != nil {
		return 0, failed
	}
	if n == 0 {
		return 0, errNoCFI
	}
	_, entry := pair(n - 1)
	offset, ok := f.offsetOf(entry)
	if failed != nil || !ok {
		return 0, errBadCFI
	}
	return offset, nil
}

// scanEntries finds the entry by an index that is made of them all, once.
func (f *File) scanEntries(pc uint64) (uint64, error) {
	if f.index == nil {
		f.index = f.listEntries()
	}
	n := sort.Search(len(f.index), func(n int) bool { return f.index[n].start > pc })
	if n == 0 || pc-f.index[n-1].start >= f.index[n-1].size {
		return 0, errNoCFI
	}
	return f.index[n-1].offset, nil
}

// An indexed is where the entry of a function is.
type indexed struct{ start, size, offset uint64 }

// listEntries lists the entries of .eh_frame by address, as far as they make sense.
func (f *File) listEntries() []indexed {
	list := []indexed{}
	end := f.ehFrame.offset + min(f.ehFrame.size, maxScan)
	var window []byte
	from := uint64(0)
	for at := f.ehFrame.offset; at+8 <= end && len(list) < maxEntries; {
		// Enough of it for its length, what it refers to, and two addresses.
		need := min(32, end-at)
		if at < from || at+need > from+uint64(len(window)) {
			window, from = make([]byte, min(64<<10, end-at)), at
			if f.read(window, at) != nil {
				break
			}
		}
		b := window[at-from:][:need]
		size := uint64(le.Uint32(b))
		if size == 0 {
			at += 4 // an end, maybe of one of several parts
			continue
		}
		if size < 4 || size > end-at-4 {
			break
		}
		if back := uint64(le.Uint32(b[4:])); back != 0 && back <= at+4 && size <= maxEntry {
			if cie := at + 4 - back; cie != f.cie.at && f.readCIE(cie) != nil {
				break
			}
			d := decoder{b: b[8:], address: f.addressOf(at + 8), known: true}
			x := indexed{offset: at}
			x.start = d.pointer(f.cie.encoding)
			x.size = d.pointer(f.cie.encoding & 0x0f)
			if !d.bad {
				list = append(list, x)
			}
		}
		at += 4 + size
	}
	sort.Slice(list, func(a, b int) bool { return list[a].start < list[b].start })
	return list
}

// entry reads the entry at an offset, with what it has in common with others.
func (f *File) entry(offset uint64) (c *cie, start, size uint64, program []byte, err error) {
	b, err := f.record(offset)
	if err != nil {
		return nil, 0, 0, nil, err
	}
	back := uint64(le.Uint32(b))
	if back == 0 || back > offset+4 {
		return nil, 0, 0, nil, errBadCFI
	}
	if at := offset + 4 - back; f.cie.at != at || at == 0 {
		if err := f.readCIE(at); err != nil {
			return nil, 0, 0, nil, err
		}
	}
	c = &f.cie
	d := decoder{b: b[4:], address: f.addressOf(offset + 8), known: true}
	start = d.pointer(c.encoding)
	size = d.pointer(c.encoding & 0x0f)
	if c.augmented {
		d.skip(d.uleb())
	}
	if d.bad {
		return nil, 0, 0, nil, errBadCFI
	}
	return c, start, size, d.b, nil
}

// addressOf is the address of an offset, executable or not; 0: it is not loaded.
func (f *File) addressOf(offset uint64) uint64 {
	for _, s := range f.segments {
		if offset >= s.offset && offset-s.offset < s.size {
			return s.address + (offset - s.offset)
		}
	}
	return 0
}

// record reads an entry's bytes, without its length.
func (f *File) record(offset uint64) ([]byte, error) {
	var h [4]byte
	if err := f.read(h[:], offset); err != nil {
		return nil, err
	}
	size := le.Uint32(h[:])
	if size < 8 || size > maxEntry {
		return nil, errBadCFI
	}
	b := make([]byte, size)
	return b, f.read(b, offset+4)
}

func (f *File) readCIE(at uint64) error {
	f.cie = cie{}
	b, err := f.record(at)
	if err != nil {
		return err
	}
	d := decoder{b: b}
	id, version := d.u32(), d.u8()
	augmentation := d.text()
	if id != 0 || version != 1 && version != 3 {
		return errBadCFI
	}
	c := cie{at: at}
	c.code, c.data = d.uleb(), d.sleb()
	ret := uint64(0)
	if version == 1 {
		ret = uint64(d.u8())
	} else {
		ret = d.uleb()
	}
	if ret >= registers {
		return errBadCFI
	}
	c.ret = uint8(ret)
	if augmentation != "" {
		if augmentation[0] != 'z' {
			return errBadCFI
		}
		c.augmented = true
		size := d.uleb()
		if size > uint64(len(d.b)) {
			return errBadCFI
		}
		a := decoder{b: d.b[:size]}
		d.skip(size)
		for _, letter := range augmentation[1:] {
			switch letter {
			case 'R':
				c.encoding = a.u8()
			case 'P':
				a.pointer(a.u8() &^ 0xf0) // only its length counts
			case 'L':
				a.u8()
			case 'S':
				c.signal = true
			case 'B', 'G': // authenticated, or tagged: nothing follows
			default:
				return errBadCFI
			}
		}
		if a.bad {
			return errBadCFI
		}
	}
	if d.bad {
		return errBadCFI
	}
	c.instructions = d.b
	f.cie = c
	return nil
}

// run executes the instructions up to an address.
func (c *cie) run(program []byte, start, pc uint64) (*row, error) {
	r := &row{ret: c.ret, signal: c.signal, start: start}
	if err := c.execute(r, nil, c.instructions, start, pc); err != nil {
		return nil, err
	}
	initial := *r
	if err := c.execute(r, &initial, program, start, pc); err != nil {
		return nil, err
	}
	if r.cfa.kind == ruleDefault {
		return nil, errBadCFI
	}
	return r, nil
}

// The instructions of call frame information.
const (
	cfaAdvance = 0x40
	cfaOffset  = 0x80
	cfaRestore = 0xc0

	cfaNop            = 0x00
	cfaSetLoc         = 0x01
	cfaAdvance1       = 0x02
	cfaAdvance2       = 0x03
	cfaAdvance4       = 0x04
	cfaOffsetExtended = 0x05
	cfaRestoreExt     = 0x06
	cfaUndefined      = 0x07
	cfaSameValue      = 0x08
	cfaRegister       = 0x09
	cfaRemember       = 0x0a
	cfaRestoreState   = 0x0b
	cfaDefCFA         = 0x0c
	cfaDefCFAReg      = 0x0d
	cfaDefCFAOffset   = 0x0e
	cfaDefCFAExpr     = 0x0f
	cfaExpression     = 0x10
	cfaOffsetSigned   = 0x11
	cfaDefCFASigned   = 0x12
	cfaDefOffSigned   = 0x13
	cfaValOffset      = 0x14
	cfaValOffSigned   = 0x15
	cfaValExpression  = 0x16
	cfaGNUWindowSave  = 0x2d // arm64: the return address is authenticated from here on
	cfaGNUArgsSize    = 0x2e
	cfaGNUNegOffset   = 0x2f
)

func (c *cie) execute(r *row, initial *row, program []byte, at, pc uint64) error {
	d := decoder{b: program}
	var remembered []row
	set := func(reg uint64, to rule) {
		if reg < registers {
			r.regs[reg] = to
		}
	}
	restore := func(reg uint64) {
		if reg < registers && initial != nil {
			r.regs[reg] = initial.regs[reg]
		}
	}
	for len(d.b) > 0 && !d.bad {
		op := d.u8()
		low := uint64(op & 0x3f)
		switch op & 0xc0 {
		case cfaAdvance:
			if at += low * c.code; at > pc {
				return nil
			}
			continue
		case cfaOffset:
			set(low, rule{kind: ruleOffset, offset: int64(d.uleb()) * c.data})
			continue
		case cfaRestore:
			restore(low)
			continue
		}
		switch op {
		case cfaNop:
		case cfaSetLoc:
			return errBadCFI // nobody writes it
		case cfaAdvance1, cfaAdvance2, cfaAdvance4:
			var n uint64
			switch op {
			case cfaAdvance1:
				n = uint64(d.u8())
			case cfaAdvance2:
				n = uint64(d.u16())
			default:
				n = uint64(d.u32())
			}
			if at += n * c.code; at > pc && !d.bad {
				return nil
			}
		case cfaOffsetExtended:
			reg := d.uleb()
			set(reg, rule{kind: ruleOffset, offset: int64(d.uleb()) * c.data})
		case cfaOffsetSigned:
			reg := d.uleb()
			set(reg, rule{kind: ruleOffset, offset: d.sleb() * c.data})
		case cfaGNUNegOffset:
			reg := d.uleb()
			set(reg, rule{kind: ruleOffset, offset: -int64(d.uleb()) * c.data})
		case cfaValOffset:
			reg := d.uleb()
			set(reg, rule{kind: ruleValue, offset: int64(d.uleb()) * c.data})
		case cfaValOffSigned:
			reg := d.uleb()
			set(reg, rule{kind: ruleValue, offset: d.sleb() * c.data})
		case cfaRestoreExt:
			restore(d.uleb())
		case cfaUndefined:
			set(d.uleb(), rule{kind: ruleNone})
		case cfaSameValue:
			set(d.uleb(), rule{kind: ruleSame})
		case cfaRegister:
			reg, from := d.uleb(), d.uleb()
			if from >= registers {
				return errBadCFI
			}
			set(reg, rule{kind: ruleRegister, reg: uint8(from)})
		case cfaRemember:
			if len(remembered) == maxRemember {
				return errBadCFI
			}
			remembered = append(remembered, *r)
		case cfaRestoreState:
			if len(remembered) == 0 {
				return errBadCFI
			}
			last := len(remembered) - 1
			*r, remembered = remembered[last], remembered[:last]
		case cfaDefCFA, cfaDefCFASigned:
			reg := d.uleb()
			offset := int64(0)
			if op == cfaDefCFA {
				offset = int64(d.uleb())
			} else {
				offset = d.sleb() * c.data
			}
			if reg >= registers {
				return errBadCFI
			}
			r.cfa = rule{kind: ruleRegister, reg: uint8(reg), offset: offset}
		case cfaDefCFAReg:
			reg := d.uleb()
			if reg >= registers || r.cfa.kind != ruleRegister {
				return errBadCFI
			}
			r.cfa.reg = uint8(reg)
		case cfaDefCFAOffset, cfaDefOffSigned:
			if r.cfa.kind != ruleRegister {
				return errBadCFI
			}
			if op == cfaDefCFAOffset {
				r.cfa.offset = int64(d.uleb())
			} else {
				r.cfa.offset = d.sleb() * c.data
			}
		case cfaDefCFAExpr:
			r.cfa = rule{kind: ruleValueOf, expr: d.take(d.uleb())}
		case cfaExpression:
			reg := d.uleb()
			set(reg, rule{kind: ruleExpr, expr: d.take(d.uleb())})
		case cfaValExpression:
			reg := d.uleb()
			set(reg, rule{kind: ruleValueOf, expr: d.take(d.uleb())})
		case cfaGNUWindowSave:
		case cfaGNUArgsSize:
			d.uleb()
		default:
			return errBadCFI
		}
	}
	if d.bad {
		return errBadCFI
	}
	return nil
}

// evaluate computes a DWARF expression, as far as call frame information has them. push is
// what is on its stack first.
func evaluate(expr []byte, push []uint64, reg func(uint64) (uint64, bool), load func(uint64) (uint64, bool)) (uint64, bool) {
	stack := append(make([]uint64, 0, maxOperands), push...)
	d := decoder{b: expr}
	pop := func() uint64 {
		if len(stack) == 0 {
			d.bad = true
			return 0
		}
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		return v
	}
	truth := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	for n := 0; len(d.b) > 0; n++ {
		if d.bad || n > maxOperation || len(stack) >= maxOperands {
			return 0, false
		}
		var v uint64
		ok := true
		switch op := d.u8(); {
		case op >= 0x30 && op <= 0x4f: // lit
			v = uint64(op - 0x30)
		case op >= 0x70 && op <= 0x8f: // breg
			v, ok = reg(uint64(op - 0x70))
			v += uint64(d.sleb())
		case op == 0x92: // bregx
			v, ok = reg(d.uleb())
			v += uint64(d.sleb())
		case op == 0x03: // addr
			v = d.u64()
		case op == 0x08:
			v = uint64(d.u8())
		case op == 0x09:
			v = uint64(int64(int8(d.u8())))
		case op == 0x0a:
			v = uint64(d.u16())
		case op == 0x0b:
			v = uint64(int64(int16(d.u16())))
		case op == 0x0c:
			v = uint64(d.u32())
		case op == 0x0d:
			v = uint64(int64(int32(d.u32())))
		case op == 0x0e, op == 0x0f:
			v = d.u64()
		case op == 0x10:
			v = d.uleb()
		case op == 0x11:
			v = uint64(d.sleb())
		case op == 0x06: // deref
			v, ok = load(pop())
		case op == 0x12: // dup
			v = pop()
			stack = append(stack, v)
		case op == 0x13: // drop
			pop()
			continue
		case op == 0x16: // swap
			a, b := pop(), pop()
			stack = append(stack, a)
			v = b
		case op == 0x23: // plus_uconst
			v = pop() + d.uleb()
		case op == 0x1f: // neg
			v = -pop()
		case op == 0x20: // not
			v = ^pop()
		case op == 0x96: // nop
			continue
		default:
			b, a := pop(), pop()
			switch op {
			case 0x1a:
				v = a & b
			case 0x21:
				v = a | b
			case 0x27:
				v = a ^ b
			case 0x1c:
				v = a - b
			case 0x1e:
				v = a * b
			case 0x22:
				v = a + b
			case 0x24:
				v = a << min(b, 64)
			case 0x25:
				v = a >> min(b, 64)
			case 0x26:
				v = uint64(int64(a) >> min(b, 63))
			case 0x29:
				v = truth(a == b)
			case 0x2a:
				v = truth(int64(a) >= int64(b))
			case 0x2b:
				v = truth(int64(a) > int64(b))
			case 0x2c:
				v = truth(int64(a) <= int64(b))
			case 0x2d:
				v = truth(int64(a) < int64(b))
			case 0x2e:
				v = truth(a != b)
			default:
				return 0, false
			}
		}
		if !ok {
			return 0, false
		}
		stack = append(stack, v)
	}
	v := pop()
	return v, !d.bad
}

// A decoder reads numbers from bytes; bad says that there were too few.
type decoder struct {
	b       []byte
	bad     bool
	address uint64 // of b, where known
	known   bool
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		d.b = nil
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	d.address += n
	return b
}

func (d *decoder) skip(n uint64) { d.take(n) }

func (d *decoder) u8() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if b := d.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (d *decoder) uleb() (v uint64) {
	for shift := 0; shift < 70; shift += 7 {
		b := d.u8()
		v |= uint64(b&0x7f) << min(shift, 64)
		if b&0x80 == 0 {
			return v
		}
	}
	d.bad = true
	return 0
}

func (d *decoder) sleb() (v int64) {
	for shift := 0; shift < 70; shift += 7 {
		b := d.u8()
		v |= int64(b&0x7f) << min(shift, 64)
		if b&0x80 == 0 {
			if b&0x40 != 0 && shift < 57 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	d.bad = true
	return 0
}

func (d *decoder) text() string {
	for i, c := range d.b[:min(len(d.b), 16)] {
		if c == 0 {
			return string(d.take(uint64(i + 1))[:i])
		}
	}
	d.bad = true
	return ""
}

// pointer reads an address in one of the encodings of .eh_frame.
func (d *decoder) pointer(encoding byte) (v uint64) {
	at := d.address
	switch encoding & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = d.u64()
	case 0x01:
		v = d.uleb()
	case 0x02:
		v = uint64(d.u16())
	case 0x03:
		v = uint64(d.u32())
	case 0x09:
		v = uint64(d.sleb())
	case 0x0a:
		v = uint64(int64(int16(d.u16())))
	case 0x0b:
		v = uint64(int64(int32(d.u32())))
	default:
		d.bad = true
	}
	switch encoding & 0xf0 {
	case 0x00:
	case 0x10: // relative to where it stands
		if !d.known {
			d.bad = true
		}
		v += at
	default:
		d.bad = true
	}
	return v
}
