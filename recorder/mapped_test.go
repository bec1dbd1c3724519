package recorder

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// mappingOf is the mapping of a file, below a root, as the kernel side tells of it.
func mappingOf(t *testing.T, root, path string) layout.Mapping {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, path), &st); err != nil {
		t.Fatal(err)
	}
	device := unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)
	m := layout.Mapping{
		Start: 0x1000, End: 0x2000, Inode: st.Ino, UserInode: st.Ino, Device: device, UserDevice: device, Size: uint64(st.Size),
	}
	names := strings.Split(path, "/")
	for n := len(names) - 1; n >= 0; n-- {
		m.PathLen += uint32(copy(m.Path[m.PathLen:], names[n]+"\x00"))
	}
	return m
}

// TestMappedFiles: only the very file that was mapped is read, whatever is in its place.
func TestMappedFiles(t *testing.T) {
	program, err := os.ReadFile("unwind/testdata/tables.elf")
	if err != nil {
		t.Fatal(err)
	}
	const path = "app/bin/server"
	setup := func(t *testing.T) (root, file string, m layout.Mapping) {
		root = t.TempDir()
		file = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, program, 0o644); err != nil {
			t.Fatal(err)
		}
		return root, file, mappingOf(t, root, path)
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := func(m *layout.Mapping, text string) {
		b, _ := hex.DecodeString(text)
		m.IdLen = uint32(copy(m.Id[:], b))
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, root, file string, m *layout.Mapping)
		unread string // empty: it is read
	}{
		"the same": {func(*testing.T, string, string, *layout.Mapping) {}, ""},
		"on another device, by its build id": {func(t *testing.T, _, file string, m *layout.Mapping) {
			m.Device, m.UserDevice = 1, 1
			f := &mappedFiles{}
			x := mappedFile{}
			dir, err := unix.Open(filepath.Dir(file), unix.O_PATH|unix.O_DIRECTORY, 0)
			must(t, err)
			defer unix.Close(dir)
			x.File, err = openRegular(dir, filepath.Base(file))
			must(t, err)
			defer x.Close()
			was := *m
			was.Device = mappingOf(t, filepath.Dir(file), filepath.Base(file)).Device
			f.death = time.Now().Add(time.Hour).UnixNano()
			e, err := f.check(x.File, &was, time.Now().Add(time.Minute))
			must(t, err)
			id(m, e.BuildID())
		}, ""},
		"on another device": {func(_ *testing.T, _, _ string, m *layout.Mapping) { m.Device, m.UserDevice = 1, 1 }, "may be another file"},
		"of another inode": {func(t *testing.T, _, file string, _ *layout.Mapping) {
			must(t, os.Rename(file, file+".old"))
			must(t, os.WriteFile(file, program, 0o644))
		}, "another file"},
		"of another size": {func(t *testing.T, _, file string, _ *layout.Mapping) {
			must(t, os.WriteFile(file, append(bytes.Clone(program), 0), 0o644))
		}, "another file"},
		"of another build id": {func(_ *testing.T, _, _ string, m *layout.Mapping) { id(m, "0102") }, "another file"},
		"a link": {func(t *testing.T, _, file string, _ *layout.Mapping) {
			must(t, os.Rename(file, file+".old"))
			must(t, os.Symlink(file+".old", file))
		}, "no regular file"},
		"below a link": {func(t *testing.T, root, _ string, _ *layout.Mapping) {
			must(t, os.Rename(filepath.Join(root, "app"), filepath.Join(root, "old")))
			must(t, os.Symlink("old", filepath.Join(root, "app")))
		}, "symbolic link"},
		// To open it would wait for a writer.
		"a pipe": {func(t *testing.T, _, file string, _ *layout.Mapping) {
			must(t, os.Remove(file))
			must(t, unix.Mkfifo(file, 0o644))
		}, "no regular file"},
		"gone":       {func(t *testing.T, _, file string, _ *layout.Mapping) { must(t, os.Remove(file)) }, "no such file"},
		"unlinked":   {func(_ *testing.T, _, _ string, m *layout.Mapping) { m.Flags = layout.MappingFlagUnlinked }, "removed"},
		"of no name": {func(_ *testing.T, _, _ string, m *layout.Mapping) { m.Flags = layout.MappingFlagCut }, "too long"},
		"no program": {func(t *testing.T, root, file string, m *layout.Mapping) {
			must(t, os.WriteFile(file, bytes.Repeat([]byte("x"), len(program)), 0o644))
		}, "ELF"},
	} {
		t.Run(name, func(t *testing.T) {
			root, file, m := setup(t)
			test.change(t, root, file, &m)
			var taken layout.Stack
			taken.Mappings, taken.Mapping[0] = 1, m
			f := &mappedFiles{death: time.Now().Add(time.Hour).UnixNano(), roots: []rootOf{{"/proc/0/root", "nobody"}, {root, "the root"}}}
			f.open(&taken, time.Now().Add(time.Minute))
			defer f.close()
			e, unread := f.file(0)
			if (e != nil) != (test.unread == "") || !strings.Contains(unread, test.unread) || e == nil && unread == "" {
				t.Errorf("read: %v; why not: %q, want %q", e != nil, unread, test.unread)
			}
		})
	}
	t.Run("changed since", func(t *testing.T) {
		root, _, m := setup(t)
		var taken layout.Stack
		taken.Mappings, taken.Mapping[0] = 1, m
		f := &mappedFiles{death: time.Now().Add(-time.Hour).UnixNano(), roots: []rootOf{{root, "the root"}}}
		f.open(&taken, time.Now().Add(time.Minute))
		defer f.close()
		if e, unread := f.file(0); e != nil || !strings.Contains(unread, "changed since") {
			t.Errorf("read: %v; why not: %q", e != nil, unread)
		}
	})
	t.Run("the vdso", func(t *testing.T) {
		if e, why := vdso(); e == nil {
			t.Error(why)
		}
	})
}
