package cri

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

// Labels and annotations by which the kubelet tells a runtime what a container is; see
// pkg/kubelet/types/labels.go in Kubernetes.
const (
	labelNamespace         = "io.kubernetes.pod.namespace"
	labelPod               = "io.kubernetes.pod.name"
	labelUID               = "io.kubernetes.pod.uid"
	labelContainer         = "io.kubernetes.container.name"
	annotationRestartCount = "io.kubernetes.container.restartCount"
)

// A session is what Run knows. Only its goroutine uses it.
type session struct {
	*Client
	api              runtimeapi.RuntimeServiceClient
	coll             *containers.Collection
	runtime, version string // empty: not asked since it was reached
	known            map[string]*known
}

// A known is a container or a sandbox that the runtime has.
type known struct {
	id      string
	sandbox bool
	state   containers.State // when its status was asked
	asked   bool             // its status was answered in this state
	fails   int              // how often it was not
	askAt   time.Time        // and when it is asked again
	pod     bool             // its sandbox was found: the pod's labels are told
	image   string           // what the collection was told
}

// enter notes another state, of which the status is to be asked.
func (k *known) enter(st containers.State) {
	k.state, k.asked, k.fails, k.askAt = st, false, 0, time.Time{}
}

// due tells whether the status is to be asked. One that hangs is asked less and less often.
func (k *known) due() bool { return !k.asked && !time.Now().Before(k.askAt) }

// call gives a call its time.
func (s *session) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

// sync asks for all containers and sandboxes, and for the status of those that are new or
// in another state. It fails where there is no list; what is in the collection stays.
func (s *session) sync(ctx context.Context) error {
	if s.runtime == "" {
		c, cancel := s.call(ctx)
		v, err := s.api.Version(c, &runtimeapi.VersionRequest{})
		cancel()
		if err != nil {
			return err
		}
		s.runtime, s.version = v.GetRuntimeName(), v.GetRuntimeVersion()
	}
	// Containers first: their sandboxes are older, and so in the second list.
	c, cancel := s.call(ctx)
	cs, err := s.api.ListContainers(c, &runtimeapi.ListContainersRequest{})
	cancel()
	if err != nil {
		return err
	}
	c, cancel = s.call(ctx)
	ps, err := s.api.ListPodSandbox(c, &runtimeapi.ListPodSandboxRequest{})
	cancel()
	if err != nil {
		return err
	}

	sandboxes := make(map[string]*runtimeapi.PodSandbox, len(ps.GetItems()))
	listed := make(map[string]bool, len(ps.GetItems())+len(cs.GetContainers()))
	var ask []*known
	for _, p := range ps.GetItems() {
		if p.GetId() == "" {
			continue
		}
		sandboxes[p.Id], listed[p.Id] = p, true
		k, isNew := s.find(p.Id, true)
		if st := sandboxState(p.GetState()); isNew || st != k.state {
			k.enter(st)
			s.update(k, func(c *containers.Container) { s.fillSandbox(c, p) })
		}
		if k.due() {
			ask = append(ask, k)
		}
	}
	for _, x := range cs.GetContainers() {
		if x.GetId() == "" {
			continue
		}
		listed[x.Id] = true
		k, isNew := s.find(x.Id, false)
		p := sandboxes[x.GetPodSandboxId()]
		if st := containerState(x.GetState()); isNew || st != k.state || p != nil && !k.pod {
			if isNew || st != k.state {
				k.enter(st)
			}
			k.pod = k.pod || p != nil
			s.update(k, func(c *containers.Container) { s.fillContainer(c, k, x, p) })
		}
		if k.due() {
			ask = append(ask, k)
		}
	}
	for id := range s.known {
		if !listed[id] {
			s.gone(id)
		}
	}

	// One that hangs must not keep the others from being asked.
	slices.SortStableFunc(ask, func(a, b *known) int { return cmp.Compare(a.fails, b.fails) })
	for _, k := range ask {
		if s.ask(ctx, k) == errRound {
			break
		}
	}
	return nil
}

func (s *session) find(id string, sandbox bool) (k *known, isNew bool) {
	if k = s.known[id]; k == nil {
		k, isNew = &known{id: id, sandbox: sandbox}, true
		s.known[id] = k
	}
	return k, isNew
}

func (s *session) gone(id string) {
	delete(s.known, id)
	s.coll.Exit(id, nil)
}

// update tells the collection. Names, labels and annotations it has already are left
// alone: the runtime knows them as they were when the container was made.
func (s *session) update(k *known, fill func(*containers.Container)) {
	s.coll.Update(k.id, func(c *containers.Container) {
		setIfEmpty(&c.Runtime, s.runtime)
		fill(c)
		if k.state != containers.StateUnknown {
			c.State = k.state
		}
	})
}

// ask asks for the status of a container or sandbox.
func (s *session) ask(ctx context.Context, k *known) error {
	c, cancel := s.call(ctx)
	defer cancel()
	var (
		fill func(*containers.Container)
		info map[string]string
		err  error
		st   = k.state
	)
	if k.sandbox {
		var r *runtimeapi.PodSandboxStatusResponse
		if r, err = s.api.PodSandboxStatus(c, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: k.id, Verbose: true}); err == nil {
			st, info = sandboxState(r.GetStatus().GetState()), r.GetInfo()
			fill = func(*containers.Container) {}
		}
	} else {
		var r *runtimeapi.ContainerStatusResponse
		if r, err = s.api.ContainerStatus(c, &runtimeapi.ContainerStatusRequest{ContainerId: k.id, Verbose: true}); err == nil {
			st, info = containerState(r.GetStatus().GetState()), r.GetInfo()
			fill = func(c *containers.Container) { s.fillStatus(c, k, r.GetStatus()) }
		}
	}
	if err != nil {
		k.fails++
		k.askAt = time.Now().Add(min(s.cfg.Poll<<min(k.fails, 10), maxWait))
		s.log.Debug("asking for the status of a container", "container", k.id, "err", err)
		switch status.Code(err) {
		case codes.DeadlineExceeded, codes.Unavailable, codes.Canceled:
			return errRound
		}
		return err
	}
	k.asked, k.state = true, st
	i, err := parseInfo(info)
	if err != nil {
		// Its names are known all the same.
		s.log.Warn("the container runtime tells a container's process in a form that is not known", "container", k.id, "err", err)
	}
	p := s.process(k.id, i)
	s.update(k, func(c *containers.Container) {
		fill(c)
		p.fill(c)
	})
	return nil
}

// event takes in an event, which tells of a whole pod. A short-lived container may be gone
// before it can be listed.
func (s *session) event(ctx context.Context, ev *runtimeapi.ContainerEventResponse) {
	p := ev.GetPodSandboxStatus()
	if p.GetId() != "" && ev.GetContainerEventType() != runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
		k, _ := s.find(p.Id, true)
		if st := sandboxState(p.GetState()); st != k.state || !k.asked {
			k.enter(st)
			s.update(k, func(c *containers.Container) { s.fillSandbox(c, sandboxOf(p)) })
		}
	}
	for _, x := range ev.GetContainersStatuses() {
		if x.GetId() == "" || x.Id == ev.GetContainerId() && ev.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
			continue
		}
		k, _ := s.find(x.Id, false)
		if st := containerState(x.GetState()); st != k.state || !k.asked {
			// An event may be older than what was listed.
			if k.state != containers.StateExited {
				k.enter(st)
			}
			k.pod = k.pod || p != nil
			s.update(k, func(c *containers.Container) {
				if p != nil {
					fillPod(c, sandboxOf(p))
				}
				s.fillStatus(c, k, x)
			})
		}
	}
	id := ev.GetContainerId()
	switch k := s.known[id]; {
	case ev.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT:
		s.gone(id)
	case k != nil && k.due():
		_ = s.ask(ctx, k) // the next listing asks again
	}
}

// sandboxOf is what a list would say.
func sandboxOf(p *runtimeapi.PodSandboxStatus) *runtimeapi.PodSandbox {
	return &runtimeapi.PodSandbox{Id: p.GetId(), Metadata: p.GetMetadata(), State: p.GetState(), CreatedAt: p.GetCreatedAt(), Labels: p.GetLabels(), Annotations: p.GetAnnotations()}
}

func (s *session) fillSandbox(c *containers.Container, p *runtimeapi.PodSandbox) {
	c.Kind, c.Sandbox = containers.KindSandbox, p.Id
	fillPod(c, p)
	setTime(&c.Created, p.GetCreatedAt())
}

// fillPod fills in what a sandbox tells of its pod.
func fillPod(c *containers.Container, p *runtimeapi.PodSandbox) {
	m := p.GetMetadata()
	setIfEmpty(&c.Namespace, m.GetNamespace())
	setIfEmpty(&c.Pod, m.GetName())
	setIfEmpty(&c.PodUID, m.GetUid())
	setIfEmpty(&c.Sandbox, p.GetId())
	if c.Labels == nil {
		c.Labels = without(p.GetLabels(), "io.kubernetes.")
	}
	if c.Annotations == nil {
		c.Annotations = without(p.GetAnnotations(), "io.kubernetes.", "kubernetes.io/config.")
	}
}

func (s *session) fillContainer(c *containers.Container, k *known, x *runtimeapi.Container, p *runtimeapi.PodSandbox) {
	fillNames(c, x.GetMetadata(), x.GetLabels(), x.GetAnnotations())
	setIfEmpty(&c.Sandbox, x.GetPodSandboxId())
	if p != nil {
		fillPod(c, p)
	}
	fillImage(c, k, x.GetImage(), x.GetImageRef())
	setTime(&c.Created, x.GetCreatedAt())
}

func (s *session) fillStatus(c *containers.Container, k *known, x *runtimeapi.ContainerStatus) {
	fillNames(c, x.GetMetadata(), x.GetLabels(), x.GetAnnotations())
	fillImage(c, k, x.GetImage(), x.GetImageRef())
	setTime(&c.Created, x.GetCreatedAt())
	setTime(&c.Started, x.GetStartedAt())
	setTime(&c.Finished, x.GetFinishedAt())
	if x.GetState() == runtimeapi.ContainerState_CONTAINER_EXITED {
		code := int(x.GetExitCode())
		c.ExitCode = &code
		if r := x.GetReason(); r != "" {
			c.Reason = r
		}
	}
}

// fillNames fills in what a container itself tells. Whether it is an init or an ephemeral
// one the runtime does not know: its kind stays unknown.
func fillNames(c *containers.Container, m *runtimeapi.ContainerMetadata, labels, annotations map[string]string) {
	setIfEmpty(&c.Name, cmp.Or(labels[labelContainer], m.GetName()))
	setIfEmpty(&c.Namespace, labels[labelNamespace])
	setIfEmpty(&c.Pod, labels[labelPod])
	setIfEmpty(&c.PodUID, labels[labelUID])
	if c.RestartCount == 0 {
		c.RestartCount = restartCount(annotations[annotationRestartCount], m.GetAttempt())
	}
}

// fillImage fills in the image. The kubelet may give the runtime the id that it resolved the
// name to; newer ones give the name that the pod uses beside it.
func fillImage(c *containers.Container, k *known, spec *runtimeapi.ImageSpec, ref string) {
	image := cmp.Or(spec.GetUserSpecifiedImage(), spec.GetImage())
	if strings.HasPrefix(image, "sha256:") {
		image = ""
	}
	if image != "" && (c.Image == "" || c.Image == k.image) {
		c.Image, k.image = image, image
	}
	if ref != "" {
		c.ImageID = ref
	}
}

func containerState(s runtimeapi.ContainerState) containers.State {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return containers.StateCreated
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return containers.StateRunning
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return containers.StateExited
	}
	return containers.StateUnknown
}

func sandboxState(s runtimeapi.PodSandboxState) containers.State {
	if s == runtimeapi.PodSandboxState_SANDBOX_READY {
		return containers.StateRunning
	}
	return containers.StateExited
}

func setIfEmpty(field *string, s string) {
	if *field == "" {
		*field = s
	}
}

// setTime sets a time that is given in ns since 1970; 0 is none.
func setTime(field *time.Time, ns int64) {
	if ns > 0 {
		*field = time.Unix(0, ns).UTC()
	}
}

// without is m without the keys that begin so.
func without(m map[string]string, prefixes ...string) map[string]string {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(k, _ string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(k, p) })
	})
	return m
}
