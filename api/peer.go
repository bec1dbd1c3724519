package api

import (
	"context"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Permission is what a peer may do, or what a request needs. Each includes the lesser
// ones.
type Permission uint8

// The permissions.
const (
	PermitNone  Permission = iota
	PermitRead             // lists, dumps, verdicts, snapshot files
	PermitWrite            // also freeze, thaw, snapshot, record, forget, delete
)

// A Peer is the process at the other end of a connection, as the kernel saw it when it
// connected.
type Peer struct {
	PID      int32
	UID, GID uint32
	Groups   []uint32 // supplementary
}

func (p *Peer) in(group uint32) bool {
	return p.GID == group || slices.Contains(p.Groups, group)
}

type peerKey struct{}

// connContext adds the peer of a connection to the context of its requests. Without
// credentials there is none, and the gate lets nobody through.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if peer, err := peerOf(c); err == nil {
		ctx = context.WithValue(ctx, peerKey{}, peer)
	}
	return ctx
}

func peerFrom(ctx context.Context) *Peer {
	p, _ := ctx.Value(peerKey{}).(*Peer)
	return p
}

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
