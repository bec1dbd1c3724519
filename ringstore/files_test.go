package ringstore

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// fileBytes is a struct swoll_file with what follows.
func fileBytes(fd int, kind FileKind, flags uint8, data []byte) []byte {
	b := le.AppendUint32(nil, uint32(fd))
	b = append(b, uint8(kind), flags)
	return append(le.AppendUint16(b, uint16(len(data))), data...)
}

// upwards is a path as it is recorded: the last name first.
func upwards(path string) []byte {
	var b []byte
	for path != "" {
		i := strings.LastIndexByte(path, '/')
		b = append(append(b, path[i+1:]...), 0)
		path = path[:i]
	}
	return b
}

func socketBytes(family, kind, protocol uint16, peer uint32, addresses []byte, ports [2]uint16) []byte {
	b := make([]byte, layout.SizeofSocket)
	le.PutUint32(b, 77)
	le.PutUint32(b[layout.SocketAtPeer:], peer)
	le.PutUint16(b[layout.SocketAtFamily:], family)
	le.PutUint16(b[layout.SocketAtType:], kind)
	le.PutUint16(b[layout.SocketAtProtocol:], protocol)
	le.PutUint16(b[layout.SocketAtLocalPort:], ports[0])
	le.PutUint16(b[layout.SocketAtPeerPort:], ports[1])
	return append(b, addresses...)
}

// Each kind of file is called as strace -yy calls it; what is no file is refused.
func TestFileNames(t *testing.T) {
	six := append(make([]byte, 15), 1)
	for _, test := range []struct {
		data []byte
		want string
	}{
		{fileBytes(3, FilePath, 0, upwards("/etc/passwd")), "/etc/passwd"},
		{fileBytes(CWD, FilePath, 0, nil), "/"},
		{fileBytes(3, FilePath, layout.FileFlagCut, upwards("/b/c")), ".../b/c"},
		{fileBytes(3, FileChar, 0, append([]byte{3, 0, 0x10, 0}, upwards("/dev/null")...)), "/dev/null<char 1:3>"},
		{fileBytes(3, FileBlock, 0, append([]byte{1, 0, 0x80, 0}, upwards("/dev/sda1")...)), "/dev/sda1<block 8:1>"},
		{fileBytes(3, FilePipe, 0, le.AppendUint64(nil, 789)), "pipe:[789]"},
		{fileBytes(3, FileAnon, 0, []byte("[eventfd]\x00")), "anon_inode:[eventfd]"},
		{fileBytes(3, FilePIDFD, 0, []byte{44, 1, 0, 0}), "pid:300"},
		{fileBytes(3, FileUnknown, 0, nil), ""},
		{fileBytes(3, FileSocket, 0, socketBytes(afInet, 1, 6, 0, []byte{127, 0, 0, 1, 10, 0, 0, 2}, [2]uint16{34, 80})), "TCP:[127.0.0.1:34->10.0.0.2:80]"},
		{fileBytes(3, FileSocket, 0, socketBytes(afInet, 1, 6, 0, make([]byte, 8), [2]uint16{80, 0})), "TCP:[0.0.0.0:80]"},
		{fileBytes(3, FileSocket, 0, socketBytes(afInet, 1, 6, 0, make([]byte, 8), [2]uint16{})), "TCP:[77]"},
		{fileBytes(3, FileSocket, 0, socketBytes(afInet6, 1, 6, 0, append(six, six...), [2]uint16{34, 80})), "TCPv6:[[::1]:34->[::1]:80]"},
		{fileBytes(3, FileSocket, 0, socketBytes(afUnix, 1, 0, 456, nil, [2]uint16{})), "UNIX-STREAM:[77->456]"},
		{fileBytes(3, FileSocket, 0, socketBytes(afUnix, 2, 0, 0, []byte("/run/x\x00"), [2]uint16{})), `UNIX:[77,"/run/x"]`},
		{fileBytes(3, FileSocket, 0, socketBytes(afUnix, 2, 0, 5, []byte("\x00ab"), [2]uint16{})), `UNIX:[77->5,@"ab"]`},
		{fileBytes(3, FileSocket, 0, socketBytes(afNetlink, 3, 0, 12, nil, [2]uint16{})), "NETLINK:[ROUTE:12]"},
		{fileBytes(3, FileSocket, 0, socketBytes(17, 3, 0, 0, nil, [2]uint16{})), "socket:[77]"},
	} {
		f, ok := ParseFile(test.data)
		if !ok || f.String() != test.want {
			t.Errorf("%q is %q (%t), want %q", test.data, f.String(), ok, test.want)
		}
		for n := range test.data {
			if _, ok := ParseFile(test.data[:n]); ok {
				t.Errorf("%d bytes of %q are a file", n, test.data)
			}
		}
	}
	for _, data := range [][]byte{
		fileBytes(-1, FilePath, 0, nil), fileBytes(3, 8, 0, nil), fileBytes(3, FilePath, 4, nil),
		fileBytes(3, FilePipe, 0, []byte{1}), fileBytes(3, FilePIDFD, 0, nil), fileBytes(3, FileChar, 0, nil),
		fileBytes(3, FileSocket, 0, nil), fileBytes(3, FilePath, 0, make([]byte, layout.SizesFileName+1)),
	} {
		if f, ok := ParseFile(data); ok {
			t.Errorf("%q is the file %v", data, f)
		}
	}
}

// filesRecord is a record of what a process has open.
func filesRecord(start int64, life uint64, why FilesWhy, files ...[]byte) []byte {
	b := make([]byte, layout.SizeofFiles+filesHead)
	b[layout.RecordAtKind] = layout.KindFiles
	le.PutUint64(b[layout.RecordAtStart:], uint64(start))
	le.PutUint32(b[layout.RecordAtTID:], 7)
	le.PutUint32(b[layout.RecordAtTGID:], 7)
	le.PutUint64(b[layout.FilesAtLife:], life)
	le.PutUint32(b[layout.FilesAtTo:], 64)
	le.PutUint32(b[layout.FilesAtCount:], uint32(len(files)))
	le.PutUint32(b[layout.FilesAtWhy:], uint32(why))
	for _, f := range files {
		b = append(b, f...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	le.PutUint32(b[layout.FilesAtBytes:], uint32(len(b)-layout.SizeofFiles))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	le.PutUint16(b[layout.RecordAtLen:], uint16(len(b)))
	return b
}

// Lists go into snapshots and come back, masked where they hold secrets: also one that the
// order of the names in a record tears apart.
func TestFileLists(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	path := fileBytes(3, FilePath, 0, upwards("/srv/s3cr3t/x/y"))
	unix := fileBytes(4, FileSocket, 0, socketBytes(afUnix, 2, 0, 0, []byte("/run/s3cr3t/x"), [2]uint16{}))
	k.write(0, LaneLife, k.now(), filesRecord(k.now(), 0, FilesExec, path))
	call := Event{Kind: KindCall, Start: k.now(), TID: 7, PID: 7, Nr: 257, Captures: []Capture{{Arg: CaptureFile, Status: CaptureExit, Data: bytes.Clone(path)}}}
	k.write(0, LaneRecent, k.now(), appendRecord(nil, &call))
	lists, err := NewFileLists(append(filesRecord(50, 1, FilesListed, path, unix), filesRecord(50, 2, FilesListed, unix)...), 60)
	if err != nil || len(lists) != 2 {
		t.Fatalf("%d lists, %v", len(lists), err)
	}
	img, err := ring.Copy(k.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	img.AddFiles(lists[1])
	img.AddFiles(nil)
	mask := func(b []byte) int {
		i := bytes.Index(b, []byte("s3cr3t/x"))
		if i < 0 {
			return 0
		}
		copy(b[i:], "********")
		return 1
	}
	if n := img.Redact(mask); n != 4 {
		t.Errorf("%d pieces are masked, want 4", n)
	}
	var file bytes.Buffer
	if _, err := WriteSnapshot(&file, Meta{}, nil, img); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSnapshot(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	h := s.History()
	want := []Files{{Life: 1, TID: 7, PID: 7, Start: 50, End: 60, To: 64, List: []File{
		{FD: 3, Kind: FilePath, Path: "/srv/******/*/y"},
		{FD: 4, Kind: FileSocket, Path: "UNIX", Inode: 77, Socket: Socket{Family: afUnix, Name: "/run/********"}},
	}}}
	if diff := cmp.Diff(want, h.Listed, cmpopts.EquateComparable(Socket{})); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if got := img.History(Meta{}); !reflect.DeepEqual(got.Listed, h.Listed) {
		t.Errorf("the image and its file differ")
	}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Files != nil && (e.Files.Why != FilesExec || e.Files.List[0].Path != "/srv/******/*/y") {
			t.Errorf("event %+v", e.Files)
		}
		for _, c := range e.Captures {
			if f, ok := ParseFile(c.Data); !ok || f.Path != "/srv/******/*/y" {
				t.Errorf("capture %+v (%t)", f, ok)
			}
		}
	}
	if len(h.Events) != 2 {
		t.Errorf("%d events", len(h.Events))
	}
}

// Whatever a list holds: no panic, and what is accepted can be decoded, masked and written.
func FuzzFiles(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 5))
	list := &FileList{End: 70, raw: filesRecord(50, 1, FilesListed,
		fileBytes(3, FilePath, 0, upwards("/a/b")), fileBytes(4, FilePipe, 0, le.AppendUint64(nil, 5)))}
	f.Add(list.append(nil))
	for range 8 {
		b := list.append(nil)
		b[r.IntN(len(b))] ^= uint8(1 << r.IntN(8))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := parseFileList(b)
		if l == nil {
			return
		}
		for _, files := range l.files() {
			for i := range files.List {
				_ = files.List[i].String()
			}
		}
		img := &Image{files: []*FileList{{End: l.End, raw: bytes.Clone(l.raw)}}}
		img.Redact(func(b []byte) int { clear(b); return 1 })
		if again := parseFileList(l.append(nil)); again == nil || !bytes.Equal(again.raw, l.raw) {
			t.Fatalf("another list when it is written")
		}
	})
}
