package kube

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

// A deleted pod is remembered this long, of this many at most.
const (
	keepDeleted = 10 * time.Minute
	maxDeleted  = 1000
)

// annotationPrefix is of the annotations that are kept, and given as Container.Annotations.
const annotationPrefix = "swoll.dev/"

// trim takes from a pod or namespace all that is not used, before it is stored.
func trim(o any) (any, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels,
			Annotations: ours(o.Annotations, corev1.MirrorPodAnnotationKey, "kubernetes.io/config.hash"),
		}}
		if r := metav1.GetControllerOf(o); r != nil {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: r.Kind, Name: r.Name, Controller: r.Controller}}
		}
		p.Spec.NodeName = o.Spec.NodeName
		for _, c := range o.Spec.InitContainers {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: c.Name, Image: c.Image})
		}
		for _, c := range o.Spec.Containers {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
		}
		for _, c := range o.Spec.EphemeralContainers {
			e := corev1.EphemeralContainer{}
			e.Name, e.Image = c.Name, c.Image
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, e)
		}
		p.Status.InitContainerStatuses = trimStatuses(o.Status.InitContainerStatuses)
		p.Status.ContainerStatuses = trimStatuses(o.Status.ContainerStatuses)
		p.Status.EphemeralContainerStatuses = trimStatuses(o.Status.EphemeralContainerStatuses)
		return p, nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Annotations: ours(o.Annotations),
		}}, nil
	}
	return o, nil
}

func trimStatuses(in []corev1.ContainerStatus) (out []corev1.ContainerStatus) {
	ended := func(t *corev1.ContainerStateTerminated) *corev1.ContainerStateTerminated {
		if t == nil {
			return nil
		}
		n := *t
		n.Message = "" // up to 12 KiB of a log
		return &n
	}
	for _, s := range in {
		out = append(out, corev1.ContainerStatus{
			Name: s.Name, ContainerID: s.ContainerID, ImageID: s.ImageID, RestartCount: s.RestartCount,
			State:                corev1.ContainerState{Running: s.State.Running, Terminated: ended(s.State.Terminated)},
			LastTerminationState: corev1.ContainerState{Terminated: ended(s.LastTerminationState.Terminated)},
		})
	}
	return out
}

func ours(a map[string]string, also ...string) map[string]string {
	out := map[string]string{}
	for k, v := range a {
		if strings.HasPrefix(k, annotationPrefix) {
			out[k] = v
		}
	}
	for _, k := range also {
		if v, ok := a[k]; ok {
			out[k] = v
		}
	}
	return out
}

// A fact is what a pod's status says of one container.
type fact struct {
	containers.Container
	pod *pod
}

func (f fact) fill(c *containers.Container) {
	f.pod.fill(c)
	f.name(c)
	if !f.Started.IsZero() {
		c.Started = f.Started
	}
	if f.State != containers.StateUnknown {
		c.State = f.State
	}
	if f.State == containers.StateExited {
		code := *f.ExitCode
		c.ExitCode, c.Finished = &code, f.Finished
		if f.Reason != "" {
			c.Reason = f.Reason
		}
	}
}

func (f fact) name(c *containers.Container) {
	c.Kind, c.Name, c.RestartCount = f.Kind, f.Name, f.RestartCount
	if c.Runtime == "" {
		c.Runtime = f.Runtime
	}
	if f.Image != "" {
		c.Image = f.Image
	}
	if f.ImageID != "" {
		c.ImageID = f.ImageID
	}
}

// A pod is replaced, never changed, but for what the cache's lock guards.
type pod struct {
	namespace, name, node string
	apiUID, uid           string // in the API; of the cgroup
	labels, annotations   map[string]string
	owner                 containers.Owner
	own                   flags
	spec                  map[string]containers.Container // by name: Kind, Image
	facts                 map[string]fact                 // by container id
	gone                  time.Time                       // zero: not deleted
}

func (p *pod) fill(c *containers.Container) {
	c.Namespace, c.Pod, c.PodUID, c.Node = p.namespace, p.name, p.uid, p.node
	c.Labels, c.Annotations, c.Owner = p.labels, p.annotations, p.owner
}

// A podCache is what is known of pods, with those deleted lately.
type podCache struct {
	node string
	log  *slog.Logger
	tell func(uid string, c Consent)
	now  func() time.Time

	mu         sync.Mutex
	byUID      map[string]*pod // by both UIDs
	byID       map[string]*pod // by container
	deleted    []*pod          // oldest first
	namespaces map[string]flags
	told       map[string]Consent
	warned     map[string]bool
}

func newPodCache(node string, log *slog.Logger, tell func(string, Consent)) *podCache {
	return &podCache{node: node, log: log, tell: tell, now: time.Now, byUID: map[string]*pod{}, byID: map[string]*pod{},
		namespaces: map[string]flags{}, told: map[string]Consent{}, warned: map[string]bool{}}
}

// update learns a pod. It returns what is new of its containers, and its cgroup's UID.
func (c *podCache) update(o *corev1.Pod) ([]fact, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &pod{namespace: o.Namespace, name: o.Name, node: c.node, apiUID: string(o.UID), uid: string(o.UID), labels: o.Labels,
		annotations: ours(o.Annotations), spec: map[string]containers.Container{}, facts: map[string]fact{}}
	if r := metav1.GetControllerOf(o); r != nil {
		p.owner = containers.Owner{Kind: r.Kind, Name: r.Name}
	}
	if _, mirror := o.Annotations[corev1.MirrorPodAnnotationKey]; mirror && p.owner.Kind == "Node" {
		// Anybody may write the annotation: it must not take the UID of another pod.
		h := o.Annotations["kubernetes.io/config.hash"]
		if q := c.byUID[h]; h != "" && (q == nil || q.uid == h && (q.namespace == p.namespace && q.name == p.name)) {
			p.uid = h
		}
	}
	p.own = readFlags(o.Annotations, c.bad("pod "+o.Namespace+"/"+o.Name))

	for _, s := range o.Spec.InitContainers {
		p.spec[s.Name] = containers.Container{Kind: containers.KindInit, Image: s.Image}
	}
	for _, s := range o.Spec.Containers {
		p.spec[s.Name] = containers.Container{Kind: containers.KindContainer, Image: s.Image}
	}
	for _, s := range o.Spec.EphemeralContainers {
		p.spec[s.Name] = containers.Container{Kind: containers.KindEphemeral, Image: s.Image}
	}
	old := c.byUID[p.apiUID]
	var news []fact
	add := func(id string, f containers.Container) {
		rt, bare, ok := strings.Cut(id, "://")
		if !ok || bare == "" {
			return
		}
		f.ID, f.Runtime = bare, rt
		p.facts[bare] = fact{f, p}
		// Told again, one that the collection has let go would seem to start and end anew.
		if old != nil && old.facts[bare].State == containers.StateExited {
			return
		}
		news = append(news, p.facts[bare])
	}
	for _, list := range [][]corev1.ContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses} {
		for _, s := range list {
			f := p.spec[s.Name]
			f.Name, f.ImageID = s.Name, s.ImageID
			if t := s.LastTerminationState.Terminated; t != nil && t.ContainerID != s.ContainerID {
				l := exited(f, t)
				l.RestartCount = max(int(s.RestartCount)-1, 0)
				add(t.ContainerID, l)
			}
			f.RestartCount = int(s.RestartCount)
			if r := s.State.Running; r != nil {
				f.State, f.Started = containers.StateRunning, r.StartedAt.Time
			} else if t := s.State.Terminated; t != nil {
				f = exited(f, t)
			}
			add(s.ContainerID, f)
		}
	}
	if old != nil {
		for id, f := range old.facts { // a container that the status names no more
			if _, ok := p.facts[id]; !ok && len(p.facts) < 64 {
				p.facts[id] = fact{f.Container, p}
			}
		}
		p.gone = old.gone
	}
	c.byUID[p.apiUID], c.byUID[p.uid] = p, p
	for id := range p.facts {
		c.byID[id] = p
	}
	c.decide(p)
	return news, p.uid
}

func exited(f containers.Container, t *corev1.ContainerStateTerminated) containers.Container {
	code := int(t.ExitCode)
	f.State, f.ExitCode, f.Reason = containers.StateExited, &code, t.Reason
	f.Started, f.Finished = t.StartedAt.Time, t.FinishedAt.Time
	return f
}

// remove notes that a pod was deleted. Its consent stays.
func (c *podCache) remove(o *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.byUID[string(o.UID)]
	if p == nil || !p.gone.IsZero() {
		return
	}
	p.gone = c.now()
	c.deleted = append(c.deleted, p)
	for len(c.deleted) > 0 && (len(c.deleted) > maxDeleted || c.now().Sub(c.deleted[0].gone) > keepDeleted) {
		q := c.deleted[0]
		c.deleted[0], c.deleted = nil, c.deleted[1:]
		for _, uid := range []string{q.apiUID, q.uid} {
			if c.byUID[uid] == q {
				delete(c.byUID, uid)
				delete(c.told, uid)
			}
		}
		for id := range q.facts {
			if c.byID[id] == q {
				delete(c.byID, id)
			}
		}
	}
}

func (c *podCache) namespace(n *corev1.Namespace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces[n.Name] = readFlags(n.Annotations, c.bad("namespace "+n.Name))
	for uid, p := range c.byUID {
		if p.namespace == n.Name && uid == p.uid && p.gone.IsZero() {
			c.decide(p)
		}
	}
}

func (c *podCache) forgetNamespace(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.namespaces, name)
}

// decide tells of a pod's consent if it is news.
func (c *podCache) decide(p *pod) {
	ns, known := c.namespaces[p.namespace]
	was := c.told[p.uid]
	is := p.own.over(ns)
	if !known { // what the namespace refused is not given back by not knowing it
		is.NoRecord = is.NoRecord || was.NoRecord && p.own.noRecord == nil
		is.NoPayload = is.NoPayload || was.NoPayload && p.own.noPayload == nil
	}
	if is != was {
		c.told[p.uid] = is
		c.tell(p.uid, is)
	}
}

func (c *podCache) bad(what string) func(key, value string) {
	return func(key, value string) {
		if k := what + key + value; !c.warned[k] && len(c.warned) < 1000 {
			c.warned[k] = true
			c.log.Warn("annotation cannot be read, and is taken as a refusal. Try: true or false for record, full or none for payload", "of", what, "annotation", key, "value", value)
		}
	}
}

func (c *podCache) enrich(ct *containers.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.byID[ct.ID]
	if p == nil {
		p = c.byUID[ct.PodUID]
	}
	if p == nil {
		return
	}
	p.fill(ct)
	if f, ok := p.facts[ct.ID]; ok {
		f.name(ct)
	} else if s, ok := p.spec[ct.Name]; ok && ct.Kind != containers.KindSandbox {
		ct.Kind, ct.Image = s.Kind, s.Image
	}
}

// field is the part of a pod's specification that has the container.
func (c *podCache) field(uid, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.byUID[uid]; p != nil {
		switch p.spec[name].Kind {
		case containers.KindInit:
			return "spec.initContainers"
		case containers.KindEphemeral:
			return "spec.ephemeralContainers"
		}
	}
	return "spec.containers"
}
