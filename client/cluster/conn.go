package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Greeting is what the proxy in the pod writes when it has connected to the service, before
// anything else: so a connection that cannot be made is told from one that breaks.
const Greeting = "swoll proxy 1\n"

// maxStderr is how much is kept of what the proxy writes to its standard error, bytes.
const maxStderr = 4 << 10

// A conn is a connection over the standard input and output of a program that runs
// elsewhere.
type conn struct {
	net.Conn // our end of a pipe
	stop     context.CancelFunc
	done     chan struct{} // closed when the program has ended
	err      error         // why; valid once done is closed
	stderr   limitedBuffer
}

// newConn runs stream, which copies between a program and what it is given until the
// program ends, and returns a connection over it. ctx bounds how long it takes to be
// connected; the connection outlives it.
func newConn(ctx context.Context, stream func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error) (net.Conn, error) {
	near, far := net.Pipe()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &conn{Conn: near, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = stream(running, far, far, &c.stderr)
		far.Close()
	}()
	interrupt := context.AfterFunc(ctx, func() { c.Close() })
	greeting := make([]byte, len(Greeting))
	_, err := io.ReadFull(c, greeting)
	if !interrupt() {
		return nil, ctx.Err() // closed it
	}
	if err == nil && string(greeting) != Greeting {
		err = fmt.Errorf("what answers there is no proxy of this version of swoll: it says %q", greeting)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Read says why the connection ended where that is not in order.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = c.cause(err)
	}
	return n, err
}

// Write is like Read.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = c.cause(err)
	}
	return n, err
}

// cause is why the other end closed; err if it has no reason.
func (c *conn) cause(err error) error {
	<-c.done // it closes its end last, at once
	if c.err == nil {
		return err
	}
	if said := strings.TrimSpace(c.stderr.String()); said != "" {
		return fmt.Errorf("%w: %s", c.err, said)
	}
	return c.err
}

// Close ends the program, too.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.stop()
	return err
}

// A limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p[:min(len(p), maxStderr-l.b.Len())])
	return len(p), nil
}

func (l *limitedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
