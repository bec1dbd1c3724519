package ringstore

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"unsafe"
)

// memory is a mapped ring, which others write while it is read. It is the only place
// that needs unsafe: words that writers race for are loaded atomically.
type memory []uint64

// newMemory returns b as words; it keeps no copy.
func newMemory(b []byte) (memory, error) {
	if len(b) == 0 || len(b)%8 != 0 || uintptr(unsafe.Pointer(&b[0]))%8 != 0 {
		return nil, errors.New("its memory is not made of aligned 8-byte words")
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8), nil
}

// load returns the word at byte offset at. Loads are not reordered with later ones.
func (m memory) load(at int) uint64 { return atomic.LoadUint64(&m[at/8]) }

// copyTo fills dst from byte offset at, a word at a time in ascending order, so that a
// word is never torn and a later load sees what was stored later. len(dst) and at are
// multiples of 8.
func (m memory) copyTo(dst []byte, at int) {
	src := m[at/8:][:len(dst)/8]
	for i := range src {
		binary.LittleEndian.PutUint64(dst[8*i:], atomic.LoadUint64(&src[i]))
	}
}

// bytes returns the memory as bytes, for who has it to himself.
func (m memory) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&m[0])), 8*len(m))
}
