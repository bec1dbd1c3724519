package api

import (
	"context"
	"net"
	"slices"
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
