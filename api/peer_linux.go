package api

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who connected. Supplementary groups are read where the kernel
// tells them (Linux 4.13, older than any that can run the recorder); elsewhere only the
// peer's primary group counts.
func peerOf(c net.Conn) (*Peer, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%s connection has no peer credentials", c.RemoteAddr().Network())
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *Peer
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); sockErr != nil {
			return
		}
		peer = &Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid, Groups: peerGroups(fd)}
	})
	if err != nil {
		return nil, err
	}
	return peer, sockErr
}

func peerGroups(fd uintptr) []uint32 {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4]
		case errno == unix.ERANGE && int(size/4) > len(groups): // size is what it takes
			groups = make([]uint32, size/4)
		default:
			return nil
		}
	}
}
