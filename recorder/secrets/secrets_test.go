package secrets

import (
	"bytes"
	"strings"
	"testing"
)

// What is between < and > is a secret; all else must stay. Each line is also cut after
// every byte: what is left of the secret must not be seen then either.
var lines = []string{
	"PASSWORD=<hunter2>",
	"DB_PASSWORD=<hunter2>\x00HOME=/root",
	"PGPASSWD=<x>",
	"--password=<hunter2>\x00--verbose",
	"--password\x00<hunter2>\x00--verbose",
	"mysqldump\x00--api-key\x00<k3y>",
	`{"user":"a","client_secret": "<s3cr3t>", "n":1}`,
	"spring.datasource.password: <tiger>\nspring.x: y",
	"user=a&token=<abc>&x=1",
	"GET / HTTP/1.1\r\nAuthorization: Basic <dXNlcjpwYXNz>\r\nHost: a\r\n",
	"Proxy-Authorization: <abcdef>\r\n",
	"curl\x00-H\x00authorization: Bearer <abc.def-ghi>",
	"Cookie: <session=abc; id=5>\r\nHost: a",
	"postgres://app:<hunter2>@db:5432/app",
	"redis://:<hunter2>@cache/0",
	"-----BEGIN RSA PRIVATE KEY-----<\nMIIEpAIBAAKCAQEA\nabc\n>-----END RSA PRIVATE KEY-----",
	"x <AKIAIOSFODNN7EXAMPLE> y",
	"jwt <eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc-d_e> end",
	"<ghp_abcdefghij0123456789> is one",
	"nothing to see: /etc/passwd, keyboard, tokenizer, 10:30, http://host:80/a@b",
	"/usr/share/secretsanta/readme",
	"-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA\n",
}

func TestMask(t *testing.T) {
	p := Default()
	for _, line := range lines {
		from, to := strings.Index(line, "<"), strings.Index(line, ">")
		want, plain := line, line
		if from >= 0 {
			want = line[:from] + strings.Repeat("*", to-from-1) + line[to+1:]
			plain = line[:from] + line[from+1:to] + line[to+1:]
		}
		got := []byte(plain)
		n := p.Mask(got)
		if string(got) != want || (n > 0) != (from >= 0) {
			t.Errorf("%q is masked as %q, %d secrets; want %q", plain, got, n, want)
		}
		if again := p.Mask(got); again != 0 || string(got) != want {
			t.Errorf("%q is masked again: %q", want, got)
		}
	}
}

// A secret whose beginning alone was recorded is masked as soon as it can be told: names
// are known at once, shapes after some bytes.
func TestMaskCut(t *testing.T) {
	p := Default()
	for _, line := range lines {
		from, to := strings.Index(line, "<"), strings.Index(line, ">")
		if from <= 0 || strings.Contains(line, "://") {
			continue // what is before the @ may be a port
		}
		plain := line[:from] + line[from+1:to]
		for cut := from + 12; cut <= len(plain); cut++ {
			got := []byte(plain[:cut])
			p.Mask(got)
			if rest := bytes.Trim(got[from:], "*"); len(rest) > 0 {
				t.Errorf("of %q cut at %d, %q is left", plain, cut, rest)
			}
		}
	}
}

func TestParse(t *testing.T) {
	p, err := Parse(strings.NewReader("# ours\n\n  employee-(\\d+)\nwhole\\d\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := []byte("employee-123 whole7 PASSWORD=x")
	if n := p.Mask(b); n != 3 || string(b) != "employee-*** ****** PASSWORD=*" {
		t.Errorf("%d, %q", n, b)
	}
	if p, err = Parse(strings.NewReader("!default\nabc")); err != nil {
		t.Fatal(err)
	}
	b = []byte("abc PASSWORD=x")
	if n := p.Mask(b); n != 1 || string(b) != "*** PASSWORD=x" {
		t.Errorf("%d, %q", n, b)
	}
	for _, bad := range []string{"ok\n(", "x*"} {
		if _, err := Parse(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if n := (*Patterns)(nil).Mask([]byte("PASSWORD=x")); n != 0 {
		t.Errorf("nil masks %d", n)
	}
}

func FuzzMask(f *testing.F) {
	for _, line := range lines {
		f.Add([]byte(line))
	}
	p := Default()
	f.Fuzz(func(t *testing.T, b []byte) {
		got := bytes.Clone(b)
		p.Mask(got)
		for i := range b {
			if got[i] != b[i] && got[i] != '*' {
				t.Fatalf("byte %d of %q became %q", i, b, got[i])
			}
		}
	})
}

func BenchmarkMask(b *testing.B) {
	p := Default()
	for what, data := range map[string]string{
		"none":   "/usr/lib/x86_64-linux-gnu/libkeyutils.so.1.9 and more of the same",
		"hint":   "/usr/lib/python3/token.py and many more words that are no secret",
		"secret": "export PATH=/bin:/usr/bin DATABASE_PASSWORD=hunter2 HOME=/root",
	} {
		b.Run(what, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				p.Mask([]byte(data))
			}
		})
	}
}
