package api

import (
	"context"
	"io"
	"time"
)

// Selector names a container, or all containers of a pod. An empty Container means all
// of them; a nil Instance the newest.
type Selector struct {
	Namespace, Pod, Container string
	Instance                  *int
}

// DumpQuery says what of a history is wanted, and how. Its zero value is all that is
// complete, as text.
type DumpQuery struct {
	Format   string        // "text" (or ""), "json", "perfetto"
	Since    time.Duration // only calls that ended in this time before the history's instant; 0: all
	Last     int           // only the last N; 0: all
	Syscalls []string      // only these; empty: all, and events that are no calls
	Errors   bool          // only failed calls
	PID      uint32        // only this process (or thread); 0: all
	All      bool          // also what is older than the complete part
	Split    bool          // in text, calls in two lines where other lines come between
	NoHeader bool          // no lines of text that are not strace's before the first call
	FDs      bool          // in text, what file descriptors stand for; JSON always has it
}

// Backend is what the server serves. Its errors are of type *Error where the caller is
// to learn more than that it failed. All methods are safe for concurrent use.
type Backend interface {
	Pods(ctx context.Context) ([]Pod, error)
	// Dump writes the merged histories of the selected containers. It fails before the
	// first byte is written, or not for reasons of its own.
	Dump(ctx context.Context, sel Selector, q DumpQuery, w io.Writer) error
	// DumpNode is Dump for all containers of the node, one after the other; the format
	// perfetto puts them on one time line.
	DumpNode(ctx context.Context, q DumpQuery, w io.Writer) error
	// DumpCgroup is Dump for the container whose cgroup path ends in path.
	DumpCgroup(ctx context.Context, path string, q DumpQuery, w io.Writer) error
	// Freeze and Thaw return how many rings changed. A nil selector is the whole node.
	Freeze(ctx context.Context, sel *Selector) (int, error)
	Thaw(ctx context.Context, sel *Selector) (int, error)
	// Snapshot freezes, saves and thaws; one snapshot per container.
	Snapshot(ctx context.Context, sel Selector, reason string) ([]Snapshot, error)
	Snapshots(ctx context.Context) ([]Snapshot, error)
	SnapshotByID(ctx context.Context, id string) (Snapshot, error)
	SnapshotDump(ctx context.Context, id string, q DumpQuery, w io.Writer) error
	// Explain writes the verdict of a snapshot, as text or JSON.
	Explain(ctx context.Context, id, format string, w io.Writer) error
	// ExplainPod is Explain for the present history of a container.
	ExplainPod(ctx context.Context, sel Selector, format string, w io.Writer) error
	// SnapshotFile opens the file of a snapshot; the caller closes it.
	SnapshotFile(ctx context.Context, id string) (io.ReadSeekCloser, Snapshot, error)
	DeleteSnapshot(ctx context.Context, id string) error
	// Record begins to record a cgroup, given by its path in the file system, as a pod of
	// the namespace "host" with that name (the path's base if empty).
	Record(ctx context.Context, cgroup, name string) (Pod, error)
	// Forget ends the recording of a name given to Record and frees its ring.
	Forget(ctx context.Context, name string) error
	Version() Version
	// Ready tells why the service does not record, or nil.
	Ready() error
}
