package unwind

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
)

var le = binary.LittleEndian

// Limits on what is read of a file that somebody else may have made.
const (
	maxSegments = 128
	maxSections = 512
	maxReads    = 100_000
	maxRead     = 256 << 20 // bytes, in all
	maxName     = 1024      // bytes of a symbol
	maxShown    = 256       // bytes of a function's name
)

// ELF machines.
const (
	machineAMD64 = 62
	machineARM64 = 183
)

// Program headers and sections that count.
const (
	segmentLoad    = 1
	segmentNote    = 4
	segmentEHFrame = 0x6474e550

	sectionSymbols    = 2
	sectionDynSymbols = 11
	sectionNoBits     = 8

	executable = 1 // of a segment
)

var errTooMuch = errors.New("it takes too much reading")

// A File is an ELF file of which little is ever in memory: what is asked for is read then.
// It is made for files that may be hostile. Its methods return errors, or false, for what
// makes no sense, and in all read no more than some constants allow. It is not safe for
// concurrent use.
type File struct {
	r        io.ReaderAt
	size     int64
	machine  uint16
	segments []segment
	ehHeader region // PT_GNU_EH_FRAME; zero: there is none
	ehFrame  region
	symbols  []symbolTable // the fuller one first
	goLines  region        // .gopclntab
	goModule region        // .go.module
	text     region        // .text
	notes    []region

	reads int
	bytes int64

	cie   cie                 // the one that was read last
	rows  map[uint64]foundRow // by address
	index []indexed           // of .eh_frame, where it is not there already
}

// A segment is a PT_LOAD: file bytes and where they go.
type segment struct {
	offset, address, size uint64
	flags                 uint32
}

// A region is bytes of the file, and their address.
type region struct{ offset, address, size uint64 }

type symbolTable struct {
	table, names region
}

// Open reads the headers of an ELF file of size bytes. r must stay valid while the File
// is used.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	var h [64]byte
	if err := f.read(h[:], 0); err != nil {
		return nil, fmt.Errorf("its head: %w", err)
	}
	if !bytes.Equal(h[:6], []byte("\x7fELF\x02\x01")) {
		return nil, errors.New("it is no 64-bit little-endian ELF file")
	}
	f.machine = le.Uint16(h[18:])
	if err := f.readSegments(le.Uint64(h[32:]), le.Uint16(h[54:]), le.Uint16(h[56:])); err != nil {
		return nil, err
	}
	// Without sections there are no names, but unwinding works.
	_ = f.readSections(le.Uint64(h[40:]), le.Uint16(h[58:]), le.Uint16(h[60:]), le.Uint16(h[62:]))
	return f, nil
}

// read fills b from an offset.
func (f *File) read(b []byte, offset uint64) error {
	if offset > math.MaxInt64 || int64(offset) > f.size || int64(len(b)) > f.size-int64(offset) {
		return io.ErrUnexpectedEOF
	}
	f.reads++
	f.bytes += int64(len(b))
	if f.reads > maxReads || f.bytes > maxRead {
		return errTooMuch
	}
	n, err := f.r.ReadAt(b, int64(offset))
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (f *File) readSegments(at uint64, entry, count uint16) error {
	if entry != 56 || count == 0 || count > maxSegments {
		return errors.New("its program headers make no sense")
	}
	b := make([]byte, int(entry)*int(count))
	if err := f.read(b, at); err != nil {
		return fmt.Errorf("its program headers: %w", err)
	}
	for ; len(b) > 0; b = b[56:] {
		p := region{offset: le.Uint64(b[8:]), address: le.Uint64(b[16:]), size: le.Uint64(b[32:])}
		if p.offset+p.size < p.offset || p.address+p.size < p.address {
			continue
		}
		switch le.Uint32(b) {
		case segmentLoad:
			f.segments = append(f.segments, segment{p.offset, p.address, p.size, le.Uint32(b[4:])})
		case segmentEHFrame:
			f.ehHeader = p
		case segmentNote:
			f.notes = append(f.notes, p)
		}
	}
	return nil
}

func (f *File) readSections(at uint64, entry, count, names uint16) error {
	if entry != 64 || count == 0 || count > maxSections || names >= count {
		return errors.New("its section headers make no sense")
	}
	b := make([]byte, 64*int(count))
	if err := f.read(b, at); err != nil {
		return err
	}
	section := func(n uint32) (r region, ok bool) {
		if n >= uint32(count) {
			return region{}, false
		}
		h := b[64*n:]
		r = region{offset: le.Uint64(h[24:]), address: le.Uint64(h[16:]), size: le.Uint64(h[32:])}
		// Compressed ones are not read.
		ok = le.Uint32(h[4:]) != sectionNoBits && le.Uint64(h[8:])&0x800 == 0 && r.offset+r.size >= r.offset
		return r, ok
	}
	strings, ok := section(uint32(names))
	if !ok {
		return errors.New("its sections have no names")
	}
	var dynamic []symbolTable
	for n := range uint32(count) {
		h := b[64*n:]
		r, ok := section(n)
		if !ok {
			continue
		}
		switch kind := le.Uint32(h[4:]); kind {
		case sectionSymbols, sectionDynSymbols:
			if names, ok := section(le.Uint32(h[40:])); ok && le.Uint64(h[56:]) == 24 {
				if kind == sectionSymbols {
					f.symbols = append(f.symbols, symbolTable{r, names})
				} else {
					dynamic = append(dynamic, symbolTable{r, names})
				}
			}
			continue
		}
		name, _ := f.stringAt(strings, uint64(le.Uint32(h[:])), 32)
		switch name {
		case ".eh_frame":
			f.ehFrame = r
		case ".text":
			f.text = r
		case ".gopclntab", ".data.rel.ro.gopclntab":
			f.goLines = r
		case ".go.module":
			f.goModule = r
		}
	}
	f.symbols = append(f.symbols, dynamic...)
	f.symbols = f.symbols[:min(len(f.symbols), 4)]
	return nil
}

// stringAt reads a NUL-terminated string of a table, cut at most bytes.
func (f *File) stringAt(table region, at uint64, most int) (string, bool) {
	if at >= table.size {
		return "", false
	}
	var b []byte
	for len(b) < most {
		n := min(64, uint64(most-len(b)), table.size-at)
		if n == 0 {
			break
		}
		var chunk [64]byte
		if f.read(chunk[:n], table.offset+at) != nil {
			return "", false
		}
		if end := bytes.IndexByte(chunk[:n], 0); end >= 0 {
			return string(append(b, chunk[:end]...)), true
		}
		b = append(b, chunk[:n]...)
		at += n
	}
	return string(b), true
}

// address is where the byte at an offset of the file is, as the file counts addresses.
func (f *File) address(offset uint64) (uint64, bool) {
	for _, s := range f.segments {
		if s.flags&executable != 0 && offset >= s.offset && offset-s.offset < s.size {
			return s.address + (offset - s.offset), true
		}
	}
	return 0, false
}

// code reads the bytes at an address, which must be executable and in the file.
func (f *File) code(b []byte, address uint64) bool {
	for _, s := range f.segments {
		if s.flags&executable != 0 && address >= s.address && address-s.address < s.size && uint64(len(b)) <= s.size-(address-s.address) {
			return f.read(b, s.offset+(address-s.address)) == nil
		}
	}
	return false
}

// offsetOf is where the file has what goes to an address, executable or not.
func (f *File) offsetOf(address uint64) (uint64, bool) {
	for _, s := range f.segments {
		if address >= s.address && address-s.address < s.size {
			return s.offset + (address - s.address), true
		}
	}
	return 0, false
}

// BuildID returns the id that the linker gave the file, in hexadecimal; empty: it has none.
func (f *File) BuildID() string {
	for _, note := range f.notes[:min(len(f.notes), 8)] {
		b := make([]byte, min(note.size, 4096))
		if f.read(b, note.offset) != nil {
			continue
		}
		for len(b) >= 12 {
			name, size := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
			padded := 12 + (name+3)&^3
			if name > 64 || size > 1024 || uint64(len(b)) < padded+size {
				break
			}
			if le.Uint32(b[8:]) == 3 && string(b[12:12+name]) == "GNU\x00" && size > 0 && size <= 64 {
				return hex.EncodeToString(b[padded : padded+size])
			}
			b = b[min(uint64(len(b)), padded+(size+3)&^3):]
		}
	}
	return ""
}
