package ringstore

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// CaptureFile in place of a capture's argument says that its data is a File: what a
// descriptor stands for that the call opened, or gave another name.
const CaptureFile = layout.SizesCaptureFile

// CWD is the FD of the File that is a process's working directory: SWOLL_FILE_CWD.
const CWD = -100

// FileKind is the kind of what a descriptor stands for.
type FileKind uint8

// The kinds of files.
const (
	FileUnknown FileKind = layout.FileKindUnknown // it is open, and nothing else is known
	FilePath    FileKind = layout.FileKindPath
	FileChar    FileKind = layout.FileKindChar
	FileBlock   FileKind = layout.FileKindBlock
	FilePipe    FileKind = layout.FileKindPipe
	FileSocket  FileKind = layout.FileKindSocket
	FileAnon    FileKind = layout.FileKindAnon
	FilePIDFD   FileKind = layout.FileKindPidfd
)

// A File is what a descriptor stands for, as the kernel side saw it at some time.
type File struct {
	FD   int
	Kind FileKind
	// Path is the path of FilePath, FileChar and FileBlock below the root that the process
	// has. Cut says that it does not begin there: directories above it are missing. Of
	// FileAnon it is the name of the kind, of a socket that of its protocol.
	Path         string
	Cut, Deleted bool
	Major, Minor uint32 // of a device
	PID          uint32 // of FilePIDFD: the process, in the host's pid namespace
	Inode        uint64 // of pipes and sockets
	Socket       Socket // of sockets
}

// Socket is where a socket is bound and connected to.
type Socket struct {
	Family, Protocol uint16
	Peer             uint64         // of AF_UNIX the peer's inode, of AF_NETLINK the port's id; 0: not known, or none
	Local, Remote    netip.AddrPort // of AF_INET and AF_INET6; not valid: of other families
	Name             string         // of AF_UNIX; an abstract one begins with a NUL
}

// Address families of sockets that have names.
const (
	afUnix    = 1
	afInet    = 2
	afInet6   = 10
	afNetlink = 16
)

// ParseFile reads a File from the data of a capture. False: it is none.
func ParseFile(b []byte) (File, bool) {
	f, n := parseFile(b)
	return f, n == len(b) && n > 0
}

// parseFile reads the file that b begins with and returns its bytes without padding, or 0.
func parseFile(b []byte) (File, int) {
	if len(b) < layout.SizeofFile {
		return File{}, 0
	}
	n := layout.SizeofFile + int(le.Uint16(b[layout.FileAtLen:]))
	if n > len(b) || n > layout.SizeofFile+layout.SizesFileName {
		return File{}, 0
	}
	f := File{FD: int(int32(le.Uint32(b[layout.FileAtFd:]))), Kind: FileKind(b[layout.FileAtKind])}
	flags := b[layout.FileAtFlags]
	if f.FD < 0 && f.FD != CWD || f.Kind > FilePIDFD || flags&^(layout.FileFlagCut|layout.FileFlagDeleted) != 0 {
		return File{}, 0
	}
	f.Cut, f.Deleted = flags&layout.FileFlagCut != 0, flags&layout.FileFlagDeleted != 0
	b = b[layout.SizeofFile:n]
	switch f.Kind {
	case FileChar, FileBlock:
		const minorBits = 20
		if len(b) < 4 {
			return File{}, 0
		}
		dev := le.Uint32(b)
		f.Major, f.Minor = dev>>minorBits, dev&(1<<minorBits-1)
		f.Path = pathOf(b[4:], f.Cut)
	case FilePath:
		f.Path = pathOf(b, f.Cut)
	case FilePipe:
		if len(b) != 8 {
			return File{}, 0
		}
		f.Inode = le.Uint64(b)
	case FilePIDFD:
		if len(b) != 4 {
			return File{}, 0
		}
		f.PID = le.Uint32(b)
	case FileAnon:
		f.Path = text(b)
	case FileSocket:
		if len(b) < layout.SizeofSocket {
			return File{}, 0
		}
		s := &f.Socket
		f.Inode, s.Peer = uint64(le.Uint32(b)), uint64(le.Uint32(b[layout.SocketAtPeer:]))
		s.Family, s.Protocol = le.Uint16(b[layout.SocketAtFamily:]), le.Uint16(b[layout.SocketAtProtocol:])
		f.Path = protocolOf(s.Family, le.Uint16(b[layout.SocketAtType:]), s.Protocol)
		localPort, remotePort := le.Uint16(b[layout.SocketAtLocalPort:]), le.Uint16(b[layout.SocketAtPeerPort:])
		switch rest := b[layout.SizeofSocket:]; {
		case s.Family == afInet && len(rest) == 8:
			s.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest)), localPort)
			s.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[4:])), remotePort)
		case s.Family == afInet6 && len(rest) == 32:
			s.Local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest)), localPort)
			s.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[16:])), remotePort)
		case s.Family == afUnix:
			s.Name = string(rest)
			if s.Name != "" && s.Name[0] != 0 {
				s.Name = text([]byte(s.Name))
			}
		}
	}
	return f, n
}

// protocolOf returns what the kernel calls the protocol of a socket, of those that have a
// name here; else an empty string.
func protocolOf(family, kind, protocol uint16) string {
	const stream, datagram, raw = 1, 2, 3
	name := ""
	switch family {
	case afUnix:
		if kind == stream {
			return "UNIX-STREAM"
		}
		return "UNIX"
	case afNetlink:
		return "NETLINK"
	case afInet, afInet6:
		switch {
		case kind == raw:
			name = "RAW"
		case kind == stream && protocol == 6:
			name = "TCP"
		case kind == datagram && protocol == 17:
			name = "UDP"
		case kind == datagram && protocol == 136:
			name = "UDPLITE"
		case kind == datagram && (protocol == 1 || protocol == 58):
			name = "PING"
		case protocol == 132:
			name = "SCTP"
		}
	}
	if name != "" && family == afInet6 {
		name += "v6"
	}
	return name
}

// pathOf joins names, each with its NUL, the last one first.
func pathOf(b []byte, cut bool) string {
	var path []byte
	if cut {
		path = append(path, "..."...)
	}
	for len(b) > 0 {
		b = bytes.TrimSuffix(b, []byte{0})
		i := bytes.LastIndexByte(b, 0) + 1
		path = append(append(path, '/'), b[i:]...)
		b = b[:i]
	}
	if len(path) == 0 {
		return "/"
	}
	return string(path)
}

// String returns what strace -yy shows in angle brackets: the path, or kind and inode, or
// kind and addresses. It is empty where nothing is known.
func (f *File) String() string {
	switch f.Kind {
	case FilePath:
		return f.Path
	case FileChar:
		return fmt.Sprintf("%s<char %d:%d>", f.Path, f.Major, f.Minor)
	case FileBlock:
		return fmt.Sprintf("%s<block %d:%d>", f.Path, f.Major, f.Minor)
	case FilePipe:
		return "pipe:[" + strconv.FormatUint(f.Inode, 10) + "]"
	case FileAnon:
		return "anon_inode:" + f.Path
	case FilePIDFD:
		return "pid:" + strconv.FormatUint(uint64(f.PID), 10)
	case FileSocket:
		return f.socket()
	}
	return ""
}

// inetProtocols are the protocols of which strace looks up addresses.
var inetProtocols = []string{"TCP", "UDP", "UDPLITE", "RAW", "TCPv6", "UDPv6", "UDPLITEv6", "RAWv6"}

// netlinkProtocols are the names of netlink protocols, by number.
var netlinkProtocols = [...]string{
	0: "ROUTE", 1: "UNUSED", 2: "USERSOCK", 3: "FIREWALL", 4: "SOCK_DIAG", 5: "NFLOG", 6: "XFRM", 7: "SELINUX", 8: "ISCSI",
	9: "AUDIT", 10: "FIB_LOOKUP", 11: "CONNECTOR", 12: "NETFILTER", 13: "IP6_FW", 14: "DNRTMSG", 15: "KOBJECT_UEVENT",
	16: "GENERIC", 18: "SCSITRANSPORT", 19: "ECRYPTFS", 20: "RDMA", 21: "CRYPTO", 22: "SMC",
}

func (f *File) socket() string {
	s := &f.Socket
	switch {
	case slices.Contains(inetProtocols, f.Path) && s.Remote.IsValid() && (s.Remote.Port() != 0 || !s.Remote.Addr().IsUnspecified()):
		return f.Path + ":[" + endpoint(s.Local) + "->" + endpoint(s.Remote) + "]"
	case slices.Contains(inetProtocols, f.Path) && s.Local.IsValid() && s.Local.Port() != 0:
		return f.Path + ":[" + endpoint(s.Local) + "]"
	case s.Family == afUnix:
		b := append([]byte(f.Path+":["), strconv.FormatUint(f.Inode, 10)...)
		if s.Peer != 0 {
			b = strconv.AppendUint(append(b, "->"...), s.Peer, 10)
		}
		if s.Name != "" {
			b = append(b, ',')
			name := s.Name
			if name[0] == 0 {
				b = append(b, '@')
				name = name[1:]
			}
			b = strconv.AppendQuoteToASCII(b, name)
		}
		return string(append(b, ']'))
	case s.Family == afNetlink && int(s.Protocol) < len(netlinkProtocols) && netlinkProtocols[s.Protocol] != "":
		return fmt.Sprintf("%s:[%s:%d]", f.Path, netlinkProtocols[s.Protocol], s.Peer)
	case s.Family == afNetlink:
		return fmt.Sprintf("%s:[%d]", f.Path, s.Protocol)
	case !slices.Contains(namedProtocols, f.Path):
		return fmt.Sprintf("socket:[%d]", f.Inode)
	}
	return fmt.Sprintf("%s:[%d]", f.Path, f.Inode)
}

// namedProtocols are those that strace knows by name, besides those above.
var namedProtocols = append([]string{"DCCP", "SCTP", "L2TP/IP", "PING", "DCCPv6", "SCTPv6", "L2TP/IPv6", "PINGv6", "UNIX", "UNIX-STREAM", "NETLINK"}, inetProtocols...)

// endpoint writes an address as strace does, IPv6 in brackets.
func endpoint(a netip.AddrPort) string {
	addr := a.Addr().String()
	if a.Addr().Is4In6() {
		addr = "::ffff:" + a.Addr().Unmap().String()
	}
	if a.Addr().Is6() {
		addr = "[" + addr + "]"
	}
	return addr + ":" + strconv.Itoa(int(a.Port()))
}

// Files is what a process has open: of all descriptors from From to below To those of
// List, and no other.
type Files struct {
	Ring     uint32 // index of the ring that records the process, and
	Life     uint64 // which use of that ring; both are 0 of an event's
	TID, PID uint32 // in the host's pid namespace; threads with a table of their own have one
	// Start and End are between which times it was read, ns CLOCK_MONOTONIC.
	Start, End int64
	From, To   uint32
	Why        FilesWhy
	List       []File // among them the working directory, in the list that is from 0
}

// FilesWhy is why a list was made.
type FilesWhy uint32

// Why a list was made.
const (
	FilesListed FilesWhy = layout.FilesWhyListed
	FilesExec   FilesWhy = layout.FilesWhyExec  // what a program begins with
	FilesDeath  FilesWhy = layout.FilesWhyDeath // what a process ended with
)

// filesHead is how many bytes stand before the first file of a list.
const filesHead = 4

// filesEnd returns where the list ends that b, a record of this kind, holds; -1: it is not
// valid.
func filesEnd(b []byte) int {
	size := le.Uint32(b[layout.FilesAtBytes:])
	end := layout.SizeofFiles + int(size)
	if size < filesHead || size > layout.SizesFileList || end > len(b) ||
		le.Uint32(b[layout.FilesAtFrom:]) > le.Uint32(b[layout.FilesAtTo:]) || le.Uint32(b[layout.FilesAtWhy:]) > uint32(FilesDeath) {
		return -1
	}
	n := uint32(0)
	for at := layout.SizeofFiles + filesHead; at < end; n++ {
		_, size := parseFile(b[at:end])
		if size == 0 {
			return -1
		}
		at += (size + 3) &^ 3
	}
	if n != le.Uint32(b[layout.FilesAtCount:]) {
		return -1
	}
	return end
}

// decodeFiles decodes a valid record of what a process has open.
func decodeFiles(b []byte) *Files {
	f := &Files{
		Ring: le.Uint32(b[layout.FilesAtRing:]), Life: le.Uint64(b[layout.FilesAtLife:]),
		TID: recordTID(b), PID: recordPID(b), Start: recordStart(b), End: recordStart(b),
		From: le.Uint32(b[layout.FilesAtFrom:]), To: le.Uint32(b[layout.FilesAtTo:]), Why: FilesWhy(le.Uint32(b[layout.FilesAtWhy:])),
	}
	end := layout.SizeofFiles + int(le.Uint32(b[layout.FilesAtBytes:]))
	for at := layout.SizeofFiles + filesHead; at < end; {
		file, n := parseFile(b[at:end])
		f.List = append(f.List, file)
		at += (n + 3) &^ 3
	}
	return f
}

// maskFiles lets mask overwrite what names files in a valid record of what a process has
// open, or in the data of a capture.
func maskFiles(b []byte, mask func([]byte) int) int {
	n := 0
	for len(b) >= layout.SizeofFile {
		_, size := parseFile(b)
		if size == 0 {
			break
		}
		n += maskFile(b[:size], mask)
		b = b[min(len(b), (size+3)&^3):]
	}
	return n
}

// maskFile masks a path as a whole, in the order in which it is read.
func maskFile(b []byte, mask func([]byte) int) int {
	names := b[layout.SizeofFile:]
	switch FileKind(b[layout.FileAtKind]) {
	case FilePath:
	case FileChar, FileBlock:
		names = names[4:]
	case FileSocket:
		return mask(names[layout.SizeofSocket:])
	default:
		return 0
	}
	path := []byte(pathOf(names, false))
	n := mask(path)
	if n == 0 {
		return 0
	}
	// Names keep their lengths: the last one of the path is the first.
	for at, end := 0, len(path); at < len(names); {
		i := bytes.IndexByte(names[at:], 0)
		if i < 0 {
			i = len(names) - at
		}
		copy(names[at:at+i], path[end-i:end])
		end -= i + 1
		at += i + 1
	}
	return n
}

// A FileList is a copy of what the processes of a ring had open, as the kernel side
// printed it. The lists of one copy belong together: they end when the last one was made.
type FileList struct {
	End int64  // ns CLOCK_MONOTONIC
	raw []byte // records of layout.KindFiles
}

// NewFileLists returns what the iterator of open files printed for the ring of each life,
// read up to end. It copies b. Where b is not valid it returns an error and what is before
// that.
func NewFileLists(b []byte, end int64) (map[uint64]*FileList, error) {
	lists := make(map[uint64]*FileList)
	for total := len(b); len(b) > 0; {
		n := fileRecord(b)
		if n == 0 {
			return lists, fmt.Errorf("list of open files: what stands at byte %d of %d is not valid", total-len(b), total)
		}
		life := le.Uint64(b[layout.FilesAtLife:])
		if lists[life] == nil {
			lists[life] = &FileList{End: end}
		}
		lists[life].raw = append(lists[life].raw, b[:n]...)
		b = b[n:]
	}
	return lists, nil
}

// fileRecord returns the length of the valid record of open files that b begins with, or 0.
func fileRecord(b []byte) int {
	if n := recordLen(b); n > 0 && recordKind(b) == KindFiles {
		return n
	}
	return 0
}

// files decodes the list.
func (l *FileList) files() []Files {
	var all []Files
	for b := l.raw; len(b) > 0; {
		n := fileRecord(b)
		f := decodeFiles(b)
		f.End = max(f.Start, l.End)
		all = append(all, *f)
		b = b[n:]
	}
	return all
}

// Size returns the bytes of memory that the list takes.
func (l *FileList) Size() int { return len(l.raw) }

// maxFileLists bounds the lists of a file, and maxFileListBytes those of one of them.
const (
	maxFileLists     = 8
	maxFileListBytes = maxRaw - 8
)

// AddFiles adds a list of what the processes had open, for Files of the history. It takes
// its bytes, and may be called before anybody else sees the image. A list that is too long
// for a snapshot is left out: what it would tell is unknown then.
func (img *Image) AddFiles(l *FileList) {
	if l != nil && len(l.raw) <= maxFileListBytes && len(img.files) < maxFileLists {
		img.files = append(img.files, &FileList{End: l.End, raw: slices.Clone(l.raw)})
	}
}

// filesFrame is the raw bytes of a list in a snapshot.
func (l *FileList) append(b []byte) []byte {
	return append(le.AppendUint64(b, uint64(l.End)), l.raw...)
}

// parseFileList reads what append wrote; nil: it is not valid.
func parseFileList(b []byte) *FileList {
	if len(b) < 8 {
		return nil
	}
	l := &FileList{End: int64(le.Uint64(b)), raw: b[8:]}
	if l.End < 0 || l.End > math.MaxInt64/2 {
		return nil
	}
	for rest := l.raw; len(rest) > 0; {
		n := fileRecord(rest)
		if n == 0 {
			return nil
		}
		rest = rest[n:]
	}
	return l
}
