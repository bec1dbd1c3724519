// Package api is the node service's interface: the types on the wire, what they mean,
// and the HTTP server on a Unix domain socket.
//
// The server computes nothing. It checks who asks, reads the request, calls its Backend
// and writes what that returned. Every request passes one gate, Server.ServeHTTP, before
// any handler sees it: unknown paths, foreign browsers and peers without permission end
// there.
//
// Failures are *Error, on the server's side as on the client's, and travel as
// application/problem+json. Any other error that a Backend returns is answered as
// CodeInternal, with its text.
package api
