package ringstore

import "github.com/swoll-recorder/swoll/ringstore/layout"

// Redact lets mask overwrite, in place, what must not be seen of the bytes that arguments
// point to, of calls that returned and of those that run, and of the files that were
// executed. mask returns how many pieces it overwrote; so does Redact. Only who made the
// image may call it, before anybody else sees it.
func (img *Image) Redact(mask func(data []byte) int) int {
	n := 0
	for i := range img.pages {
		b := img.pages[i].b
		at := min(layout.SizesPageHead, len(b))
		for at < len(b) {
			size := recordLen(b[at:])
			if size == 0 {
				// Damaged: what it is cannot be told, and it is written to files as it is.
				n += mask(b[at:])
				break
			}
			n += redactRecord(b[at:at+size], mask)
			at += size
		}
	}
	for i := range img.running {
		r := &img.running[i]
		for _, c := range r.Captures {
			n += redactCapture(c, mask)
		}
		if r.Operation != nil {
			n += redactRecord(r.Operation, mask)
		}
	}
	for _, l := range img.files {
		for b := l.raw; len(b) > 0; b = b[recordLen(b):] {
			n += redactRecord(b[:recordLen(b)], mask)
		}
	}
	return n
}

func redactRecord(b []byte, mask func([]byte) int) int {
	captures := 0
	switch recordKind(b) {
	case KindCall, KindUring:
		flags, shape := b[layout.RecordAtFlags], b[layout.RecordAtShape]
		captures = int(shape >> 4)
		b = b[argsAt(flags)+argsLen(shape, b[layout.RecordAtWide]):]
	case KindExec:
		captures = 1
		b = b[layout.SizeofExec:]
	case KindFiles:
		return maskFiles(b[layout.SizeofFiles+filesHead:filesEnd(b)], mask)
	}
	n := 0
	for range captures {
		var c Capture
		if c, b = nextCapture(b); len(c.Data) > 0 {
			n += redactCapture(c, mask)
		}
	}
	return n
}

func redactCapture(c Capture, mask func([]byte) int) int {
	if c.Arg == CaptureFile {
		return maskFiles(c.Data, mask)
	}
	return mask(c.Data)
}
