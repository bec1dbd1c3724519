package ringstore

import (
	"fmt"
	"strconv"
)

// A Stack is the user stack of the thread that died, as it was unwound when its snapshot
// was saved. Its memory is not kept.
type Stack struct {
	PID uint32 `json:"pid"`
	TID uint32 `json:"tid"`
	// Frames are the functions that the thread was in, the innermost first.
	Frames []StackFrame `json:"frames"`
	// End is why there are no more frames; empty: it was unwound to its beginning.
	End string `json:"end,omitempty"`
	// Registers are by their names. Those that are not known are missing: with payloads off,
	// all that are no addresses.
	Registers map[string]Address `json:"registers,omitempty"`
	// Mappings are the executable ones that the stack refers to.
	Mappings []StackMapping `json:"mappings,omitempty"`
	// Notes are what a reader must know: what could not be taken, or reached, and why.
	Notes []string `json:"notes,omitempty"`
}

// A StackFrame is one function on a stack.
type StackFrame struct {
	Address Address `json:"address"`
	// Function is its name, as its language has it; empty: not known. FunctionOffset is how
	// far into it the address is.
	Function       string `json:"function,omitempty"`
	FunctionOffset uint64 `json:"functionOffset,omitempty"`
	// File is the path of the mapped file, as the process saw it, or like [vdso]; Offset is
	// the address's place in the file, and BuildID the file's, where they are known.
	File    string  `json:"file,omitempty"`
	Offset  Address `json:"offset,omitempty"`
	BuildID string  `json:"buildID,omitempty"`
	// How tells how the frame was found: registers, cfi, signal, frame-pointer,
	// return-register or scan.
	How        string `json:"how"`
	Confidence string `json:"confidence"` // low, medium or high
}

// A StackMapping is a part of a file that was mapped to be executed.
type StackMapping struct {
	Start   Address `json:"start"`
	End     Address `json:"end"`
	Offset  Address `json:"offset"` // of the file, at Start
	File    string  `json:"file,omitempty"`
	BuildID string  `json:"buildID,omitempty"`
	// Unread is why the file was not read, for which its frames have no names; empty: it was.
	Unread string `json:"unread,omitempty"`
}

// An Address is a number that people read in hexadecimal. In JSON it is a string like
// 0x7f62, since not all readers keep 64 bits of a number.
type Address uint64

func (a Address) String() string { return "0x" + strconv.FormatUint(uint64(a), 16) }

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 0, 64)
	if err != nil {
		return fmt.Errorf("address %q: %w", b, err)
	}
	*a = Address(n)
	return nil
}
