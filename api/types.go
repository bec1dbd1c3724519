package api

import (
	"encoding/json"
	"time"
)

// HostNamespace is the namespace of recorded cgroups that belong to no pod.
const HostNamespace = "host"

// DefaultSocket is where swolld listens and the client connects if not told otherwise.
const DefaultSocket = "/run/swoll/swoll.sock"

// A List is how the API answers with several of a kind.
type List[T any] struct {
	Items []T `json:"items"`
}

// MarshalJSON writes an empty list as [], never as null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	items := l.Items
	if items == nil {
		items = []T{}
	}
	return json.Marshal(struct {
		Items []T `json:"items"`
	}{items})
}

// A Map is a JSON object with one type of values.
type Map[V any] map[string]V

// MarshalJSON writes a nil map as {}, never as null.
func (m Map[V]) MarshalJSON() ([]byte, error) {
	if m == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]V(m))
}

// A Pod is a pod, or a cgroup of the host (namespace HostNamespace), with what of it
// is recorded.
type Pod struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	UID        string      `json:"uid"` // empty where it is not known
	Labels     Map[string] `json:"labels"`
	Containers []Container `json:"containers"`
}

// The states of a Container.
const (
	StateRecording = "recording"
	StateFrozen    = "frozen" // by hand, or by a death whose snapshot is being saved
	StateExited    = "exited"
)

// A Container is one life of a container: it has a ring of its own.
type Container struct {
	Name     string `json:"name"` // empty where it is not known
	ID       string `json:"id"`
	Image    string `json:"image"`    // empty where it is not known
	Instance int    `json:"instance"` // counts the container's lives, from 0: its restart count
	Cgroup   string `json:"cgroup"`   // path below the root of the hierarchy
	State    string `json:"state"`
	Ring     Ring   `json:"ring"`
}

// A Ring says how much history there is.
type Ring struct {
	Bytes       int64       `json:"bytes"`       // its memory
	Records     uint64      `json:"records"`     // calls and events that it holds
	Overwritten uint64      `json:"overwritten"` // those that it held, and that newer ones replaced
	Lost        Map[uint64] `json:"lost"`        // that were never written, by cause
	// Start of the oldest and the newest record, and of the time from which no record is
	// missing. Left out where there is none.
	Oldest        time.Time `json:"oldest,omitzero"`
	Newest        time.Time `json:"newest,omitzero"`
	CompleteSince time.Time `json:"completeSince,omitzero"`
	// Late says that processes of the container ran already when recording began. Gaps are
	// how often it was frozen, and recorded on later.
	Late bool `json:"late,omitempty"`
	Gaps int  `json:"gaps,omitempty"`
	// IOUring says that the container used io_uring; IOUringUnseen, that the kernel does
	// not let the recorder see what is done through it, by whomever.
	IOUring       bool `json:"ioUring"`
	IOUringUnseen bool `json:"ioUringUnseen,omitempty"`
}

// Why a Snapshot was taken.
const (
	TriggerSignal = "signal"
	TriggerOOM    = "oom"
	TriggerExit   = "exit"
	TriggerManual = "manual"
)

// A Snapshot is the metadata of a saved history.
type Snapshot struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Instance  int    `json:"instance"` // as in Container
	Trigger   string `json:"trigger"`
	Reason    string `json:"reason"` // given by whoever asked for it, or how the container died
	// ExitCode is as a container runtime reports it, 128+n after signal n; null if nothing
	// died. Signal is the name of the signal that killed, or null.
	ExitCode *int    `json:"exitCode"`
	Signal   *string `json:"signal"`
	// Deleted says that the container runtime ended it by a signal, while its pod was being
	// deleted: nothing is wrong with that.
	Deleted bool      `json:"deleted,omitempty"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"` // size of the file
	Records uint64    `json:"records"`
	// UID is the pod's, as are Labels. Where something is not known, it is empty.
	UID         string      `json:"uid"`
	ContainerID string      `json:"containerID"`
	Image       string      `json:"image"` // as the pod names it
	Labels      Map[string] `json:"labels"`
	Node        string      `json:"node"`
	// As in Ring.
	IOUring       bool `json:"ioUring,omitempty"`
	IOUringUnseen bool `json:"ioUringUnseen,omitempty"`
	// Verdict is what explain writes as JSON; left out where nothing was found out.
	Verdict json.RawMessage `json:"verdict,omitempty"`
}

// SnapshotsCreated answers a request for snapshots of a pod. It reads as the metadata of
// the first one; Items has all, one per container.
type SnapshotsCreated struct {
	Snapshot
	Items []Snapshot `json:"items"`
}

// SnapshotRequest is the body of a request for a snapshot. It may be left out.
type SnapshotRequest struct {
	Reason string `json:"reason,omitempty"`
}

// RecordingRequest is the body of a request to record a cgroup.
type RecordingRequest struct {
	Cgroup string `json:"cgroup"`         // absolute path in the service's file system
	Name   string `json:"name,omitempty"` // of the pod to list it as; the path's base if empty
}

// Changed says how many rings a freeze or thaw changed.
type Changed struct {
	Changed int `json:"changed"`
}
