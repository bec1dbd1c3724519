package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// planted are the secrets that TestSecrets' program carries, by where.
var planted = map[string]string{
	"environment": "env-hunter2",
	"argument":    "argv-hunter2",
	"buffer":      "bearer-hunter2",
	"path":        "path-hunter2",
}

// TestSecrets: what looks like a secret leaves the rings only as asterisks: in no dump, no
// snapshot (its file decompressed), no verdict, no list and no log line is any of it.
// Without redaction all of it is there, so that this test can tell.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		redact string
		found  bool
	}{{"masked", "default", false}, {"not masked", "none", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, "--redact", test.redact, "--log-level", "debug")
			c := s.container("secretive")
			p := c.start("/usr/bin/env", "-i", "DB_PASSWORD="+planted["environment"],
				"API_TOKEN="+planted["buffer"], "PATH_TOKEN="+planted["path"], "/bin/sh", "-c",
				`read x; echo "Authorization: Bearer $API_TOKEN" >&2; : <"/nowhere?token=$PATH_TOKEN"; exit 3`,
				"--password="+planted["argument"])
			p.in.Close()
			snap := s.waitSnapshot(c.name)
			id := "/v1/snapshots/" + snap.ID
			seen := map[string][]byte{
				"the snapshots":   s.get("/v1/snapshots"),
				"the log":         []byte(s.log.String()),
				"the file":        decompressed(t, filepath.Join(s.state, snap.ID+".swoll")),
				"the export":      s.get(id + "/file"),
				"swoll-dump show": []byte(s.mustCLI("show", snap.ID, "--all")),
			}
			for _, path := range []string{id + "/dump?all=true", id + "/dump?all=true&format=json", id + "/explain", id + "/explain?format=json",
				"/v1/pods/host/secretive/dump?all=true", "/v1/pods/host/secretive/dump?all=true&format=json"} {
				seen[path] = s.get(path)
			}
			for where, text := range seen {
				for what, secret := range planted {
					if strings.Contains(string(text), secret) && !test.found {
						t.Errorf("the %s's secret is in %s:\n%q", what, where, around(string(text), secret))
					}
				}
			}
			if test.found {
				for what, secret := range planted {
					if !bytes.Contains(seen["the file"], []byte(secret)) {
						t.Errorf("the %s's secret is not in the file: this test would not see it", what)
					}
				}
			}
		})
	}
}

func around(text, what string) string {
	i := strings.Index(text, what)
	return text[max(0, i-300):min(len(text), i+300)]
}

// decompressed is all that a snapshot file holds: what is not compressed, then every frame
// of zstd, wherever it begins.
func decompressed(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	all := bytes.Clone(data)
	frames := 0
	for rest := data; ; {
		i := bytes.Index(rest, []byte{0x28, 0xb5, 0x2f, 0xfd})
		if i < 0 {
			break
		}
		rest = rest[i:]
		// What follows the frame is none: the error comes after what was decoded.
		if raw, _ := dec.DecodeAll(rest, nil); len(raw) > 0 {
			all = append(all, raw...)
			frames++
		}
		rest = rest[4:]
	}
	if frames == 0 {
		t.Fatalf("no frame of zstd in %s", path)
	}
	return all
}
