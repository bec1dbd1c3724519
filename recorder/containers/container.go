package containers

import (
	"maps"
	"time"
)

// A Kind tells what a container is for.
type Kind string

const (
	KindUnknown   Kind = ""
	KindContainer Kind = "container" // one of the pod's own
	KindInit      Kind = "init"      // an init container, or a sidecar declared as one
	KindEphemeral Kind = "ephemeral" // added to a running pod, by `kubectl debug`
	KindSandbox   Kind = "sandbox"   // holds a pod's namespaces, the "pause" container
)

// A State is where a container is in its life.
type State string

const (
	StateUnknown State = ""
	StateCreated State = "created"
	StateRunning State = "running"
	StateExited  State = "exited" // it ended, or its cgroup or its pod is gone
)

// A Container is what is known of one container. What is not known is zero: nothing here
// is guessed.
type Container struct {
	ID      string // the runtime's, without its scheme; the key of a Collection
	Runtime string // "containerd", "cri-o", "docker", "podman"
	Sandbox string // ID of the pod's sandbox; a sandbox's own ID

	Kind         Kind
	Name         string // in its pod
	Namespace    string
	Pod          string
	PodUID       string
	Labels       map[string]string // the pod's
	Annotations  map[string]string // the pod's
	Owner        Owner             // of the pod
	Deletion     time.Time         // when the pod was asked to go away; zero: nobody said so
	Image        string            // as the pod names it
	ImageID      string            // what it resolved to
	RestartCount int               // of the container in its pod
	Node         string

	State    State
	PID      uint32 // of its first process, in the host's pid namespace
	Created  time.Time
	Started  time.Time
	Finished time.Time
	ExitCode *int   // nil: it did not exit, or nobody said
	Reason   string // the runtime's word for how it ended: "Completed", "Error", "OOMKilled"

	Cgroup   string // path below the root of its hierarchy
	CgroupID uint64 // in the recorder's hierarchy
	MountNS  uint64 // inode numbers, as in /proc/PID/ns; see namespaces(7)
	NetNS    uint64
	PIDNS    uint64
}

// An Owner is the object that a pod belongs to, such as a ReplicaSet.
type Owner struct {
	Kind string
	Name string
}

// clone is a copy that shares nothing with c.
func (c *Container) clone() Container {
	n := *c
	n.Labels = maps.Clone(c.Labels)
	n.Annotations = maps.Clone(c.Annotations)
	if c.ExitCode != nil {
		code := *c.ExitCode
		n.ExitCode = &code
	}
	return n
}

// equal tells whether a and b say the same. A map that is empty says the same as none, and
// a time the same as the same instant elsewhere.
func equal(a, b *Container) bool {
	return a.ID == b.ID && a.Runtime == b.Runtime && a.Sandbox == b.Sandbox &&
		a.Kind == b.Kind && a.Name == b.Name && a.Namespace == b.Namespace && a.Pod == b.Pod && a.PodUID == b.PodUID &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) && a.Owner == b.Owner && a.Deletion.Equal(b.Deletion) &&
		a.Image == b.Image && a.ImageID == b.ImageID && a.RestartCount == b.RestartCount && a.Node == b.Node &&
		a.State == b.State && a.PID == b.PID &&
		a.Created.Equal(b.Created) && a.Started.Equal(b.Started) && a.Finished.Equal(b.Finished) &&
		(a.ExitCode == nil) == (b.ExitCode == nil) && (a.ExitCode == nil || *a.ExitCode == *b.ExitCode) &&
		a.Reason == b.Reason &&
		a.Cgroup == b.Cgroup && a.CgroupID == b.CgroupID && a.MountNS == b.MountNS && a.NetNS == b.NetNS && a.PIDNS == b.PIDNS
}
