package containers

import "time"

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
