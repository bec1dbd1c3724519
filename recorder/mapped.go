package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/recorder/unwind"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// mappedFiles are the files that a stack refers to. They belong to the container: each is
// opened without following links, only if it is a regular file, and counts only if it is the
// very one that was mapped.
type mappedFiles struct {
	roots []rootOf
	death int64 // Unix time, ns
	files []mappedFile
}

type mappedFile struct {
	*os.File
	elf    *unwind.File
	unread string // why it is not read
}

// file is the n-th mapping's; nil: it could not be read, and why.
func (f *mappedFiles) file(n int) (*unwind.File, string) {
	if n >= len(f.files) {
		return nil, "it was not tried"
	}
	return f.files[n].elf, f.files[n].unread
}

func (f *mappedFiles) close() {
	for i := range f.files {
		if f.files[i].File != nil {
			f.files[i].Close()
		}
	}
}

// open opens all of them. It may take as long as their file systems like; what is read
// later fails after the deadline.
func (f *mappedFiles) open(taken *layout.Stack, deadline time.Time) {
	var dirs []int
	for _, root := range f.roots {
		fd, err := unix.Open(root.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			fd = -1
		}
		dirs = append(dirs, fd)
	}
	defer func() {
		for _, fd := range dirs {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}()
	mappings := taken.Mapping[:min(int(taken.Mappings), len(taken.Mapping))]
	for n := range mappings {
		m := &mappings[n]
		var out mappedFile
		switch {
		case m.Flags&layout.MappingFlagVdso != 0:
			out.elf, out.unread = vdso()
		case m.Inode == 0:
			out.unread = "no file is mapped there"
		default:
			out = f.find(m, dirs, deadline)
		}
		f.files = append(f.files, out)
	}
}

// find opens the file of a mapping below the first root that has it.
func (f *mappedFiles) find(m *layout.Mapping, dirs []int, deadline time.Time) mappedFile {
	if m.Flags&(layout.MappingFlagCut|layout.MappingFlagUnlinked) != 0 {
		if m.Flags&layout.MappingFlagUnlinked != 0 {
			return mappedFile{unread: "it had been removed"}
		}
		return mappedFile{unread: "its path is too long"}
	}
	path := pathOf(m)
	var why []string
	say := func(root int, err error) {
		if text := f.roots[root].what + ": " + err.Error(); len(why) < 4 {
			why = append(why, text)
		}
	}
	for n, dir := range dirs {
		if dir < 0 {
			continue
		}
		file, err := openRegular(dir, path)
		if err != nil {
			say(n, err)
			continue
		}
		e, err := f.check(file, m, deadline)
		if err == nil {
			return mappedFile{File: file, elf: e}
		}
		file.Close()
		say(n, err)
	}
	if why == nil {
		return mappedFile{unread: "no process of the container is left to reach its files by, or this service may not"}
	}
	return mappedFile{unread: strings.Join(why, "; ")}
}

// openRegular opens a regular file below a directory. Paths of mappings have no links in
// them: where there is one, it is another file.
func openRegular(dir int, path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(dir, path, &how)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("it is no regular file")
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// check tells whether a file is the one that was mapped, by its device, inode, size, build
// id and the time of its last change, and reads its head.
func (f *mappedFiles) check(file *os.File, m *layout.Mapping, deadline time.Time) (*unwind.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	other := errors.New("another file is there now")
	device := unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)
	mine := st.Ino == m.Inode || st.Ino == m.UserInode
	if !mine || st.Size < 0 || uint64(st.Size) != m.Size {
		return nil, other
	}
	e, err := unwind.Open(&timedReader{file, deadline}, st.Size)
	if err != nil {
		return nil, err
	}
	id := buildIDOf(m)
	if id != "" {
		if e.BuildID() != id {
			return nil, other
		}
		return e, nil
	}
	// Some file systems tell processes another device than the kernel has, which only a
	// build id makes up for.
	if !(device == m.Device && st.Ino == m.Inode) && !(device == m.UserDevice && st.Ino == m.UserInode) {
		return nil, errors.New("it has no build id, and may be another file")
	}
	if st.Ctim.Nano() > f.death {
		return nil, errors.New("it was changed since, and has no build id")
	}
	return e, nil
}

// A timedReader reads until a deadline.
type timedReader struct {
	io.ReaderAt
	deadline time.Time
}

func (r *timedReader) ReadAt(b []byte, at int64) (int, error) {
	if time.Now().After(r.deadline) {
		return 0, errSlow
	}
	return r.ReaderAt.ReadAt(b, at)
}

// vdso is the code that the kernel maps into each process: the same for all.
func vdso() (*unwind.File, string) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err.Error()
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		var start, end uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil || end-start > 1<<20 {
			break
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil, err.Error()
		}
		defer mem.Close()
		b := make([]byte, end-start)
		if _, err := mem.ReadAt(b, int64(start)); err != nil {
			return nil, err.Error()
		}
		f, err := unwind.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, err.Error()
		}
		return f, ""
	}
	return nil, "this service has none"
}
