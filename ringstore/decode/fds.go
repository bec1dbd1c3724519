package decode

import (
	"slices"
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/fds"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A namer says what the file descriptors of a history stood for. A nil one knows nothing.
type namer struct {
	names *fds.Names
	text  bool // in text, too
}

// file returns what a descriptor of a call stands for: one that it was given, or one
// that it returned.
func (n *namer) file(e *ringstore.Event, fd int, returned bool) *ringstore.File {
	switch {
	case n == nil:
		return nil
	case returned:
		return n.names.After(e, fd)
	}
	return n.names.At(e, fd)
}

// appendFile appends what a descriptor stands for, in the form of strace -yy, if it is
// known and wanted in text.
func (n *namer) appendFile(dst []byte, e *ringstore.Event, fd int, returned bool) []byte {
	if n == nil || !n.text {
		return dst
	}
	f := n.file(e, fd, returned)
	if f == nil || f.String() == "" {
		return dst
	}
	dst = append(dst, '<')
	switch f.Kind {
	case ringstore.FilePath:
		dst = appendBracketed(dst, f.Path)
	case ringstore.FileChar, ringstore.FileBlock:
		dst = appendBracketed(dst, f.Path)
		if f.Kind == ringstore.FileChar {
			dst = append(dst, "<char "...)
		} else {
			dst = append(dst, "<block "...)
		}
		dst = strconv.AppendUint(dst, uint64(f.Major), 10)
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(f.Minor), 10)
		dst = append(dst, '>')
	default:
		dst = append(dst, f.String()...)
	}
	dst = append(dst, '>')
	if f.Deleted {
		dst = append(dst, "(deleted)"...)
	}
	return dst
}

func (v *view) appendFile(dst []byte, fd int, returned bool) []byte {
	return v.namer.appendFile(dst, v.e, fd, returned)
}

// appendBracketed appends a path for angle brackets: quoted, without the quotes.
func appendBracketed(dst []byte, path string) []byte {
	quoted := appendQuoted(nil, []byte(path), false)
	for _, c := range quoted[1 : len(quoted)-1] {
		switch c {
		case '<':
			dst = append(dst, `\74`...)
		case '>':
			dst = append(dst, `\76`...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendNamed is appendArg, with what descriptors stand for. Where they stand inside of
// what an argument points to, the text without is gone through again.
func (v *view) appendNamed(dst []byte, a *syscalls.Arg) []byte {
	start := len(dst)
	dst = v.appendArg(dst, a)
	if v.namer == nil || !v.namer.text {
		return dst
	}
	switch a.Format {
	case syscalls.FormatFD, syscalls.FormatDirFD, syscalls.FormatFanFD:
		return v.appendFile(dst, int(int32(v.arg(a.Index))), false)
	case syscalls.FormatFDSet:
		return v.nameNumbers(dst, start, "[ ", " ]", false)
	case syscalls.FormatPair:
		if v.call.Flags&syscalls.Pair != 0 {
			return v.nameNumbers(dst, start, "[ ", ",]", true)
		}
	case syscalls.FormatArray:
		if a.Struct != nil && hasFD(a.Struct) {
			return v.nameNumbers(dst, start, "=", ",}", false)
		}
	}
	return dst
}

// hasFD tells whether a structure begins with a descriptor.
func hasFD(s *syscalls.Struct) bool {
	return len(s.Fields) > 0 && s.Fields[0].Format == syscalls.FormatFD && s.Fields[0].Name == "fd"
}

// nameNumbers names the decimal numbers of what was appended from start on that stand
// between one of the bytes before and one of those behind; of structures, only those of
// the field fd.
func (v *view) nameNumbers(dst []byte, start int, before, behind string, returned bool) []byte {
	plain := slices.Clone(dst[start:])
	dst = dst[:start]
	for i := 0; i < len(plain); {
		n := i
		for n < len(plain) && plain[n] >= '0' && plain[n] <= '9' {
			n++
		}
		if n == i {
			dst = append(dst, plain[i])
			i++
			continue
		}
		dst = append(dst, plain[i:n]...)
		of := i > 0 && slices.Contains([]byte(before), plain[i-1]) && n < len(plain) && slices.Contains([]byte(behind), plain[n])
		if before == "=" {
			of = of && i >= 4 && string(plain[i-4:i]) == "{fd="
		}
		if fd, err := strconv.Atoi(string(plain[i:n])); of && err == nil {
			dst = v.appendFile(dst, fd, returned)
		}
		i = n
	}
	return dst
}

// eachFD calls each for the descriptors of the call, some more than once: those that it was
// given, and those that it returned.
func (v *view) eachFD(each func(fd int, returned bool)) {
	if v.call == nil {
		return
	}
	for i := range v.args {
		a := &v.args[i]
		if a.Index >= len(v.e.Args) || a.Show != nil && !a.Show.Holds(v.e.Args) {
			continue
		}
		switch a.Format {
		case syscalls.FormatFD, syscalls.FormatDirFD, syscalls.FormatFanFD:
			each(int(int32(v.arg(a.Index))), false)
		case syscalls.FormatFDSet:
			if c := v.capture(a.Index, false, 0); c != nil && v.arg(a.Index) != 0 {
				for fd := 0; fd < len(c.Data)*8 && fd < int(int32(v.arg(int(a.Count)))); fd++ {
					if c.Data[fd/8]>>(fd%8)&1 != 0 {
						each(fd, false)
					}
				}
			}
		case syscalls.FormatPair:
			if c := v.target(a); c != nil && v.returned() && v.call.Flags&syscalls.Pair != 0 && len(c.Data) >= 8 {
				each(int(int32(number(c.Data, 4))), true)
				each(int(int32(number(c.Data[4:], 4))), true)
			}
		case syscalls.FormatArray:
			if c := v.capture(a.Index, false, 0); c != nil && a.Struct != nil && hasFD(a.Struct) {
				for b := c.Data; len(b) >= a.Struct.Size && a.Struct.Size >= 4; b = b[a.Struct.Size:] {
					each(int(int32(number(b, 4))), false)
				}
			}
		}
	}
	if v.ret.Format == syscalls.RetFD && v.returned() {
		each(int(int32(v.e.Ret)), true)
	}
}

// appendJSONFDs appends the member "fds": what the descriptors of the call stood for, as
// far as it is known; the working directory as AT_FDCWD, where the call was given that.
func (v *view) appendJSONFDs(dst []byte) []byte {
	type named struct {
		fd   int
		file *ringstore.File
	}
	var all []named
	v.eachFD(func(fd int, returned bool) {
		f := v.namer.file(v.e, fd, returned)
		if f == nil || f.String() == "" {
			return
		}
		at := slices.IndexFunc(all, func(n named) bool { return n.fd == fd })
		switch {
		case at < 0:
			all = append(all, named{fd, f})
		case returned: // what it is now
			all[at].file = f
		}
	})
	if len(all) == 0 {
		return dst
	}
	slices.SortFunc(all, func(a, b named) int { return a.fd - b.fd })
	dst = append(dst, `,"fds":{`...)
	for i, n := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		if n.fd == atFDCWD {
			dst = append(dst, `"AT_FDCWD":`...)
		} else {
			dst = append(dst, '"')
			dst = strconv.AppendInt(dst, int64(n.fd), 10)
			dst = append(dst, `":`...)
		}
		dst = appendJSONString(dst, n.file.String())
	}
	return append(dst, '}')
}
