//go:build !linux

package api

import (
	"errors"
	"net"
)

// peerOf is for clients elsewhere: the service runs on Linux.
func peerOf(net.Conn) (*Peer, error) {
	return nil, errors.New("the service runs on Linux only")
}
