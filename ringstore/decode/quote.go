package decode

import (
	"strconv"
	"unicode/utf8"
)

// maxString is how many bytes of a string or buffer the text shows, and how many
// elements of an array, as strace does by default.
const maxString = 32

// appendEscaped appends s as strace escapes it: octal as short as the next byte allows.
func appendEscaped(dst, s []byte) []byte {
	for i, c := range s {
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\v':
			dst = append(dst, `\v`...)
		default:
			if c >= ' ' && c < 0x7f {
				dst = append(dst, c)
				continue
			}
			dst = append(dst, '\\')
			// A digit that follows must not be read as a part of the number.
			long := i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '7'
			if long || c >= 0o100 {
				dst = append(dst, '0'+c>>6)
			}
			if long || c >= 0o10 {
				dst = append(dst, '0'+c>>3&7)
			}
			dst = append(dst, '0'+c&7)
		}
	}
	return dst
}

// appendQuoted appends s in quotes, followed by `...` if there was more.
func appendQuoted(dst, s []byte, more bool) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	dst = append(dst, '"')
	if more {
		dst = append(dst, "..."...)
	}
	return dst
}

// appendAbbreviated is appendQuoted for at most maxString bytes.
func appendAbbreviated(dst, s []byte, more bool) []byte {
	if len(s) > maxString {
		s, more = s[:maxString], true
	}
	return appendQuoted(dst, s, more)
}

const hexDigits = "0123456789abcdef"

// appendHexQuoted appends at most maxString bytes of s as strace shows what is no text.
func appendHexQuoted(dst, s []byte, more bool) []byte {
	if len(s) > maxString {
		s, more = s[:maxString], true
	}
	dst = append(dst, '"')
	for _, c := range s {
		dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
	}
	dst = append(dst, '"')
	if more {
		dst = append(dst, "..."...)
	}
	return dst
}

// appendHex appends v as %#x: 0 has no prefix.
func appendHex(dst []byte, v uint64) []byte {
	if v == 0 {
		return append(dst, '0')
	}
	dst = append(dst, "0x"...)
	return strconv.AppendUint(dst, v, 16)
}

// appendPointer is appendHex with NULL.
func appendPointer(dst []byte, v uint64) []byte {
	if v == 0 {
		return append(dst, "NULL"...)
	}
	return appendHex(dst, v)
}

// appendOctalMode appends v in at least three octal digits, more behind a 0.
func appendOctalMode(dst []byte, v uint64) []byte {
	if v < 0o100 {
		dst = append(dst, '0', '0'+byte(v>>3), '0'+byte(v&7))
		return dst
	}
	dst = append(dst, '0')
	return strconv.AppendUint(dst, v, 8)
}

// appendMicros appends the six digits of v microseconds, less than a second.
func appendMicros(dst []byte, v int64) []byte {
	for unit := int64(100_000); unit > 0; unit /= 10 {
		dst = append(dst, '0'+byte(v/unit%10))
	}
	return dst
}

// appendJSONString appends s, which must be valid UTF-8, as a JSON string.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, `\n`...)
			case c == '\t':
				dst = append(dst, `\t`...)
			case c == '\r':
				dst = append(dst, `\r`...)
			case c < ' ' || c == 0x7f:
				dst = append(dst, `\u00`...)
				dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, "\ufffd"...)
		case r == '\u2028' || r == '\u2029': // line ends to JavaScript
			dst = append(dst, `\u202`...)
			dst = append(dst, hexDigits[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}
