package ringstore

import "github.com/swoll-recorder/swoll/ringstore/layout"

// A CaptureOf says which capture of which call something is about.
type CaptureOf struct {
	Nr     uint16 // number of the call in its ABI
	ABI    ABI
	Arg    int           // the argument that pointed to the bytes
	Status CaptureStatus // tells whether it was read at the entry or at the exit
	Len    int           // how many bytes it has
	Nth    int           // which of those that this argument has at the entry, or at the exit, from 0
}

// Scrub overwrites with zeros, in the ring's own memory, the bytes of all captures for
// which data is true, and marks these as not read (CaptureNone). Whatever else can be
// read of a record stays as it is. What belongs to no record is overwritten in any case:
// the unused rest of pages, padding, and what follows something that is no record. So of
// no such capture a byte is left. It returns the number of captures that it overwrote.
//
// Nobody may write the ring meanwhile: it is frozen, and all programs that saw it before
// that have ended. Nobody may read it, either: words of a record change while it is
// looked at.
func (r *Ring) Scrub(data func(CaptureOf) bool) int {
	n := 0
	b := r.mem.bytes()
	for page := range int(r.shape.Pages) {
		n += scrubPage(b[page*layout.SizesPage:][:layout.SizesPage], data)
	}
	return n
}

func scrubPage(page []byte, data func(CaptureOf) bool) int {
	n := 0
	used := min(max(stateUsed(le.Uint64(page[layout.PageAtState:])), layout.SizesPageHead), layout.SizesPage)
	at := layout.SizesPageHead
	for at < used {
		size := recordLen(page[at:used])
		if size == 0 {
			break // readers stop here, too
		}
		n += scrubRecord(page[at:at+size], data)
		at += size
	}
	clear(page[at:])
	return n
}

func scrubRecord(b []byte, data func(CaptureOf) bool) int {
	captures, what := 0, CaptureOf{}
	call := recordKind(b) == KindCall
	switch recordKind(b) {
	case KindCall, KindUring:
		flags, shape := b[layout.RecordAtFlags], b[layout.RecordAtShape]
		captures = int(shape >> 4)
		what.Nr, what.ABI = le.Uint16(b[layout.RecordAtNr:]), ABI(flags&layout.FlagABI)
		b = b[argsAt(flags)+argsLen(shape, b[layout.RecordAtWide]):]
	case KindExec:
		captures = 1
		b = b[layout.SizeofExec:]
	case kindFold:
		return 0 // nothing but numbers
	case KindFork:
		b = b[layout.SizeofFork:]
	case KindExit:
		b = b[layout.SizeofExit:]
	case KindSignal:
		b = b[layout.SizeofSignal:]
	case KindFiles:
		b = b[filesEnd(b):]
	default:
		b = b[layout.SizeofEvent:]
	}
	n := 0
	var seen [2][max(captureArgs, layout.SizesUringArgs)]int
	for range captures {
		c, rest := nextCapture(b)
		at := 0
		if c.Status&CaptureExit != 0 {
			at = 1
		}
		what.Arg, what.Status, what.Len, what.Nth = c.Arg, c.Status, len(c.Data), seen[at][c.Arg]
		seen[at][c.Arg]++
		if call && data(what) {
			clear(c.Data)
			b[layout.CaptureAtStatus] |= layout.CaptureStatusNone
			n++
		}
		clear(b[layout.SizeofCapture+len(c.Data) : len(b)-len(rest)])
		b = rest
	}
	clear(b)
	return n
}
