// Package secrets finds what looks like a secret in recorded bytes, and masks it. It errs
// on the side of masking: a word too many is lost from a history, a password is not lost
// to whoever reads it.
//
// What it knows of are shapes: the value of a variable, an option or a field that is called
// like a secret, the credentials of a header or a URL, private keys, and tokens that carry
// a prefix by which they are known. A secret that looks like nothing is not found; where
// that matters, payloads are to be turned off.
package secrets

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// A Pattern is a regular expression (RE2, of bytes) whose first group, or all of it if it
// has none, is a secret.
type pattern struct {
	re *regexp.Regexp
	// Where none of these bytes, or none of these words in any case of letters, is there,
	// the expression matches nowhere. Empty: it is always tried.
	bytes string
	hints [][]byte
}

// Patterns masks what any of its patterns finds. It is safe for concurrent use. A nil
// *Patterns masks nothing.
type Patterns struct{ list []pattern }

// name matches what secrets are called, as a part of a longer name.
const name = `(?:passw(?:or)?d|passphrase|passcode|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|credentials?|auth[_-]?key)`

// Hints of name.
const nameHints = "passw,passphrase,passcode,secret,token,credential," +
	"apikey,api_key,api-key,accesskey,access_key,access-key,privatekey,private_key,private-key,signingkey,signing_key,signing-key," +
	"encryptionkey,encryption_key,encryption-key,authkey,auth_key,auth-key"

// The built-in patterns, and their hints: most of what is recorded has neither, and a look
// at a regular expression takes microseconds. Bytes that are cut off may hold the first part of
// a secret: so what ends one is never asked for.
var builtIn = []struct{ expr, bytes, hints string }{
	// PASSWORD=x, --api-key=x, "secret": "x", db.password: x
	{`(?i)` + name + `[a-z0-9_.-]*["']?[ \t]*[=:][ \t]*["']?([^\s"'&,;\x00]+)`, "=:", nameHints},
	// the argument after an option: --password\0x
	{`(?i)(?:^|\x00)--?[a-z0-9_.-]*` + name + `[a-z0-9_.-]*\x00([^\x00]+)`, "\x00", nameHints},
	{`(?i)authorization["']?[ \t]*[:=][ \t]*["']?(?:[a-z]+[ \t]+)?([^\s"'\x00]+)`, ":=", "authorization"},
	{`(?i)\bbearer[ \t]+([a-z0-9._~+/=-]{6,})`, "", "bearer"},
	{`(?i)\b(?:set-)?cookie:[ \t]*([^\r\n\x00]+)`, ":=", "cookie"},
	{`-----BEGIN [A-Z ]*PRIVATE KEY-----([^-\x00]+)`, "", "private key"},
	{`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@\x00]*:([^\s/@\x00]+)@`, "@", "://"},
	{`\b((?:AKIA|ASIA)[A-Z0-9]{6,})`, "", "akia,asia"},
	{`\b(eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*)`, "", "eyj"},
	{`\b((?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|pypi-|npm_|dop_v1_|hvs\.)[A-Za-z0-9_.-]{10,})`,
		"_-.", "ghp_,gho_,ghu_,ghs_,ghr_,github_pat_,glpat-,xox,sk-,pypi-,npm_,dop_v1_,hvs."},
}

// Default returns the built-in patterns.
func Default() *Patterns {
	p := &Patterns{}
	for _, b := range builtIn {
		p.list = append(p.list, pattern{regexp.MustCompile(b.expr), b.bytes, split(b.hints)})
	}
	return p
}

func split(hints string) (list [][]byte) {
	for _, h := range strings.Split(hints, ",") {
		list = append(list, []byte(h))
	}
	return list
}

// Parse reads patterns, one a line, that are masked in addition to the built-in ones.
// Empty lines, and lines that begin with "#", are skipped; the line "!default" leaves the
// built-in ones out. The error names the line.
func Parse(r io.Reader) (*Patterns, error) {
	p := Default()
	var own []pattern
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "!default":
			p.list = nil
		default:
			re, err := regexp.Compile(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if re.MatchString("") {
				return nil, fmt.Errorf("line %d: %q matches where there is nothing, too", n, line)
			}
			own = append(own, pattern{re: re})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	p.list = append(p.list, own...)
	return p, nil
}

// Mask overwrites every secret in b with asterisks, and returns how many there were. The
// length of a secret stays visible.
func (p *Patterns) Mask(b []byte) int {
	if p == nil || len(b) == 0 {
		return 0
	}
	var small [512]byte
	lower := appendLower(small[:0], b)
	n := 0
	for i := range p.list {
		if !p.list[i].mayMatch(lower) {
			continue
		}
		for _, m := range p.list[i].re.FindAllSubmatchIndex(b, -1) {
			from, to := m[0], m[1]
			if len(m) > 2 && m[2] >= 0 {
				from, to = m[2], m[3]
			}
			masked := false
			for j := from; j < to; j++ {
				masked = masked || b[j] != '*'
				b[j] = '*'
			}
			if masked {
				n++
			}
		}
	}
	return n
}

func (p *pattern) mayMatch(lower []byte) bool {
	if p.bytes != "" && !bytes.ContainsAny(lower, p.bytes) {
		return false
	}
	for _, h := range p.hints {
		if bytes.Contains(lower, h) {
			return true
		}
	}
	return len(p.hints) == 0
}

// appendLower appends b with its ASCII letters in lower case.
func appendLower(to, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to
}
