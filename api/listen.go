package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits in a sockaddr_un, without the NUL.
const maxSocketPath = 107

// A Listener is a listening Unix domain socket.
type Listener struct {
	*net.UnixListener
	// Group is the id of the group that owns the socket: its members get as far as the
	// gate of a Server.
	Group uint32

	path  string
	inode os.FileInfo // of path, if it is this listener's to remove
	once  sync.Once
}

// Path is where clients connect.
func (l *Listener) Path() string { return l.path }

// Listen listens on a Unix domain socket at path, which gets mode 0660 and the group, a
// name or an id; an empty group leaves it to the process's own. The directory of path is
// made if it is missing.
//
// A socket that nobody serves any more is replaced; one that is served, or a file that is
// no socket, is an error. The socket is bound in a private directory beside path and
// renamed to it when its mode is set, so that nobody can connect before.
func Listen(path, group string) (*Listener, error) {
	l, err := listen(path, group)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("listen on %s: %w. Try: as root, or another --socket", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

func listen(path, group string) (*Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path has %d bytes, a socket's can have %d. Try: a shorter --socket", len(path), maxSocketPath)
	}
	gid := os.Getgid()
	if group != "" {
		if gid, err = lookupGroup(group); err != nil {
			return nil, err
		}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// One at a time between here and the rename: two services that start together must
	// not both find the same stale socket.
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := checkStale(path); err != nil {
		return nil, err
	}

	private, err := os.MkdirTemp(dir, ".socket-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	fd, err := os.Open(private)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	// Through the descriptor, the path is short whatever the directory's.
	bound := fmt.Sprintf("/proc/self/fd/%d/s", fd.Fd())
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ul.SetUnlinkOnClose(false) // bound is not its path for long
	ready := func() (os.FileInfo, error) {
		if err := os.Chmod(bound, 0o660); err != nil {
			return nil, err
		}
		if err := os.Chown(bound, -1, gid); err != nil {
			return nil, err
		}
		inode, err := os.Lstat(bound)
		if err != nil {
			return nil, err
		}
		return inode, os.Rename(filepath.Join(private, "s"), path)
	}
	inode, err := ready()
	if err != nil {
		ul.Close()
		return nil, err
	}
	return &Listener{UnixListener: ul, Group: uint32(gid), path: path, inode: inode}, nil
}

// Close stops listening, and removes the socket's file unless somebody replaced it.
func (l *Listener) Close() error {
	l.once.Do(func() {
		if l.inode == nil {
			return // the service manager's
		}
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.inode) {
			os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// ListenActivated takes over the socket that the service manager opened for the process
// (LISTEN_FDS). It returns nil where there is none. The socket's mode and group are the
// manager's.
func ListenActivated() (*Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take over the sockets of the service manager: %w", err)
	}
	if len(listeners) == 0 {
		return nil, nil
	}
	ul, ok := listeners[0].(*net.UnixListener)
	if len(listeners) > 1 || !ok {
		return nil, errors.New("the service manager must hand over one socket, ListenStream=/PATH")
	}
	ul.SetUnlinkOnClose(false)
	var st unix.Stat_t
	if err := unix.Stat(ul.Addr().String(), &st); err != nil {
		return nil, fmt.Errorf("the service manager's socket %s: %w", ul.Addr(), err)
	}
	return &Listener{UnixListener: ul, Group: st.Gid, path: ul.Addr().String()}, nil
}

// checkStale returns nil if nothing is at path, or a socket that refuses connections.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something is there that is no socket. Try: remove it, or another --socket")
	}
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	if err == nil {
		c.Close()
		return errors.New("another service answers there. Try: stop it, or another --socket")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("is another service there? %w", err)
	}
	return nil
}

func lookupGroup(name string) (int, error) {
	if gid, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("%w. Try: groupadd --system %s, or a group's number", err, name)
	}
	return strconv.Atoi(g.Gid)
}
