package kube

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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

// maxLives is how many containers are remembered of a pod beside those that its status
// names: those of a crash loop.
const maxLives = 64

// maxAnnotation is how long an annotation may be that is kept: there are some of 256 KiB.
const maxAnnotation = 1024

// trim takes from a pod or namespace all that is not used, before it is stored.
func trim(o any) (any, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels,
			Annotations: short(o.Annotations), DeletionTimestamp: o.DeletionTimestamp, DeletionGracePeriodSeconds: o.DeletionGracePeriodSeconds,
		}}
		if r := metav1.GetControllerOf(o); r != nil {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: r.Kind, Name: r.Name, Controller: r.Controller}}
		}
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
			Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Annotations: short(o.Annotations, AnnotationRecord, AnnotationPayload),
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

// short is what is kept of annotations: those with these keys, or all that are short.
func short(a map[string]string, only ...string) map[string]string {
	out := map[string]string{}
	for k, v := range a {
		if len(v) <= maxAnnotation && (len(only) == 0 || slices.Contains(only, k)) || strings.HasPrefix(k, annotationPrefix) {
			out[k] = v
		}
	}
	return out
}

// public is what is told of a pod's annotations: not what the kubelet writes for itself.
func public(a map[string]string) map[string]string {
	a = maps.Clone(a)
	maps.DeleteFunc(a, func(k, _ string) bool { return strings.HasPrefix(k, "kubernetes.io/config.") })
	return a
}

// A fact is what a pod's status says of one container.
type fact struct {
	containers.Container
	pod     *pod
	counted bool // the restart count is worked out from that of the next life
	again   bool // it was told before that it exited
}

// fill fills in all of a fact, but leaves alone a container that is another pod's: its
// cgroup knows better than a status, which more can write than the kubelet.
func (f fact) fill(c *containers.Container) {
	if !f.pod.has(c) {
		return
	}
	f.pod.fill(c)
	f.name(c)
	// The runtime's times are exact, these are in seconds.
	if c.Started.IsZero() {
		c.Started = f.Started
	}
	if f.State != containers.StateUnknown {
		c.State = f.State
	}
	if f.State == containers.StateExited && f.ExitCode != nil {
		code := *f.ExitCode
		c.ExitCode = &code
		c.Reason = cmp.Or(f.Reason, c.Reason)
		if c.Finished.IsZero() {
			c.Finished = f.Finished
		}
	}
}

// name fills in what does not change in a container's life.
func (f fact) name(c *containers.Container) {
	c.Kind, c.Name = cmp.Or(f.Kind, c.Kind), cmp.Or(f.Name, c.Name)
	if !f.counted || c.RestartCount == 0 {
		c.RestartCount = f.RestartCount
	}
	c.Runtime = cmp.Or(c.Runtime, f.Runtime)
	c.Image, c.ImageID = cmp.Or(f.Image, c.Image), cmp.Or(f.ImageID, c.ImageID)
}

// end fills in how a container ended, if nobody else knew.
func (f fact) end(c *containers.Container) {
	if c.State != containers.StateExited || c.ExitCode != nil || f.ExitCode == nil {
		return
	}
	code := *f.ExitCode
	c.ExitCode, c.Reason = &code, cmp.Or(c.Reason, f.Reason)
	if c.Finished.IsZero() {
		c.Finished = f.Finished
	}
}

// since is the fact with what was known before and does not change, or is lost.
func (f fact) since(old fact) fact {
	// The image in the pod's specification may be changed: it is then the next life's.
	f.Image, f.ImageID = cmp.Or(old.Image, f.Image), cmp.Or(old.ImageID, f.ImageID)
	if f.counted {
		f.RestartCount, f.counted = old.RestartCount, old.counted
	}
	if old.State == containers.StateExited && (f.State != containers.StateExited || f.ExitCode == nil) {
		f.State, f.ExitCode, f.Reason, f.Finished = old.State, old.ExitCode, old.Reason, old.Finished
	}
	if f.Started.IsZero() {
		f.Started = old.Started
	}
	f.again = true
	return f
}

// news tells whether a fact about a container of which old was told is to be told. What
// was told of one that ended is not told again: where the collection has let it go, it
// would seem to start and end anew.
func (f fact) news(old fact) bool {
	return old.State != containers.StateExited || old.ExitCode == nil && f.ExitCode != nil ||
		old.ExitCode != nil && f.ExitCode != nil && (*old.ExitCode != *f.ExitCode || old.Reason != f.Reason)
}

// A pod is replaced, never changed, but for what the cache's lock guards.
type pod struct {
	namespace, name, node string
	apiUID, uid           string // in the API; of the cgroup
	eventUID              string // by which `kubectl describe` looks for its events
	labels, annotations   map[string]string
	owner                 containers.Owner
	deletion              time.Time // when it was asked to go away
	own                   flags
	spec                  map[string]containers.Container // by name: Kind, Image
	facts                 map[string]fact                 // by container id
	gone                  time.Time                       // zero: not deleted; guarded
}

// has tells whether a container can be the pod's.
func (p *pod) has(c *containers.Container) bool { return c.PodUID == "" || c.PodUID == p.uid }

func (p *pod) same(q *pod) bool { return p.namespace == q.namespace && p.name == q.name }

func (p *pod) fill(c *containers.Container) {
	c.Namespace, c.Pod, c.PodUID, c.Node = p.namespace, p.name, p.uid, p.node
	c.Labels, c.Annotations, c.Owner, c.Deletion = p.labels, p.annotations, p.owner, p.deletion
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
	told       map[string]Consent // by the cgroup's UID
	warned     map[string]bool
	complaints []Announcement
}

func newPodCache(node string, log *slog.Logger, tell func(string, Consent)) *podCache {
	return &podCache{node: node, log: log, tell: tell, now: time.Now, byUID: map[string]*pod{}, byID: map[string]*pod{},
		namespaces: map[string]flags{}, told: map[string]Consent{}, warned: map[string]bool{}}
}

// update learns a pod. It returns what is new of its containers, and its cgroup's UID.
func (c *podCache) update(o *corev1.Pod) (news []fact, uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &pod{namespace: o.Namespace, name: o.Name, node: c.node, apiUID: string(o.UID), uid: string(o.UID), eventUID: string(o.UID),
		labels: o.Labels, annotations: public(o.Annotations), spec: map[string]containers.Container{}, facts: map[string]fact{}}
	if r := metav1.GetControllerOf(o); r != nil {
		p.owner = containers.Owner{Kind: r.Kind, Name: r.Name}
	}
	if o.DeletionTimestamp != nil {
		// That is when it is to be gone.
		p.deletion = o.DeletionTimestamp.Time
		if grace := o.DeletionGracePeriodSeconds; grace != nil {
			p.deletion = p.deletion.Add(-time.Duration(*grace) * time.Second)
		}
	}
	if static, mirror := o.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		// The kubelet and kubectl both take this for the pod's UID.
		p.eventUID = static
		// But anybody may make a pod with it: it must not take the UID of another pod.
		if q := c.byUID[static]; static != "" && p.owner.Kind == "Node" && (q == nil || !q.gone.IsZero() || q.uid == static && q.same(p)) {
			p.uid = static
		}
	}
	p.own = readFlags(o.Annotations, c.bad("pod "+o.Namespace+"/"+o.Name, p))

	// A static pod keeps its UID, and its containers, when its mirror is made anew.
	old := c.byUID[p.uid]
	if old != nil && !old.same(p) {
		old = nil
	}
	if old == nil {
		old = &pod{}
	}
	current := c.read(p, old, o)
	for id, f := range p.facts {
		was, known := old.facts[id]
		if !known || f.news(was) {
			news = append(news, f)
		}
	}
	// Containers that the status does not name any more.
	var lives []fact
	for id, f := range old.facts {
		if _, named := p.facts[id]; named {
			continue
		}
		f.pod = p
		if now, ok := current[f.Name]; ok && f.State != containers.StateExited && now.RestartCount > f.RestartCount {
			f.State, f.again = containers.StateExited, true // nobody says how
			news = append(news, f)
		}
		lives = append(lives, f)
	}
	slices.SortFunc(lives, func(a, b fact) int {
		return cmp.Or(-cmp.Compare(a.RestartCount, b.RestartCount), strings.Compare(a.ID, b.ID))
	})
	for i, f := range lives {
		if i < maxLives {
			p.facts[f.ID] = f
		} else if c.byID[f.ID] == old {
			delete(c.byID, f.ID)
		}
	}
	slices.SortFunc(news, func(a, b fact) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.RestartCount, b.RestartCount), strings.Compare(a.ID, b.ID))
	})
	c.byUID[p.apiUID], c.byUID[p.uid] = p, p
	for id := range p.facts {
		c.byID[id] = p
	}
	c.decide(p)
	return news, p.uid
}

// read reads what a pod's status says of its containers into the facts of p, given what
// was known before. It returns the newest container of each name.
func (c *podCache) read(p, old *pod, o *corev1.Pod) (current map[string]fact) {
	for _, s := range o.Spec.InitContainers {
		p.spec[s.Name] = containers.Container{Kind: containers.KindInit, Image: s.Image}
	}
	for _, s := range o.Spec.Containers {
		p.spec[s.Name] = containers.Container{Kind: containers.KindContainer, Image: s.Image}
	}
	for _, s := range o.Spec.EphemeralContainers {
		p.spec[s.Name] = containers.Container{Kind: containers.KindEphemeral, Image: s.Image}
	}
	add := func(id string, f fact) (fact, bool) {
		// One that could not be made, for want of its image, has no id.
		rt, bare, ok := strings.Cut(id, "://")
		if q := c.byID[bare]; !ok || bare == "" || q != nil && q.uid != p.uid {
			return fact{}, false
		}
		f.ID, f.Runtime, f.pod = bare, rt, p
		if was, known := old.facts[bare]; known {
			f = f.since(was)
		}
		p.facts[bare] = f
		return f, true
	}
	current = map[string]fact{}
	for _, s := range slices.Concat(o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses) {
		base := fact{Container: p.spec[s.Name]}
		base.Name = s.Name
		f := base
		f.ImageID, f.RestartCount = s.ImageID, int(s.RestartCount)
		last := s.LastTerminationState.Terminated
		switch {
		case s.State.Running != nil:
			f.State, f.Started = containers.StateRunning, s.State.Running.StartedAt.Time
		case s.State.Terminated != nil:
			f.ended(s.State.Terminated)
		case last != nil && last.ContainerID == s.ContainerID:
			// It waits to be started anew: this is still the one that ended.
			f.ended(last)
		}
		if f, ok := add(s.ContainerID, f); ok {
			current[s.Name] = f
		}
		if last != nil && last.ContainerID != s.ContainerID {
			f := base
			f.RestartCount, f.counted = max(int(s.RestartCount)-1, 0), true
			f.ended(last)
			add(last.ContainerID, f)
		}
	}
	return current
}

// ended notes how a container ended. Where the kubelet does not know it, it writes 137, and
// no container.
func (f *fact) ended(t *corev1.ContainerStateTerminated) {
	f.State, f.Started = containers.StateExited, t.StartedAt.Time
	if t.ContainerID != "" {
		code := int(t.ExitCode)
		f.ExitCode, f.Reason, f.Finished = &code, t.Reason, t.FinishedAt.Time
	}
}

// remove notes that a pod was deleted. Its consent stays. It returns the containers of
// which nothing says that they ended.
func (c *podCache) remove(apiUID string) (alive []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.byUID[apiUID]
	if p == nil || p.apiUID != apiUID || !p.gone.IsZero() {
		return nil
	}
	p.gone = c.now()
	if p.uid == p.apiUID { // a static pod lives on without its mirror
		for id, f := range p.facts {
			if f.State != containers.StateExited {
				alive = append(alive, id)
			}
		}
	}
	c.deleted = append(c.deleted, p)
	for len(c.deleted) > 0 && (len(c.deleted) > maxDeleted || c.now().Sub(c.deleted[0].gone) > keepDeleted) {
		q := c.deleted[0]
		c.deleted[0], c.deleted = nil, c.deleted[1:]
		c.forget(q)
	}
	return alive
}

func (c *podCache) forget(p *pod) {
	if c.byUID[p.uid] == p {
		delete(c.told, p.uid)
	}
	for _, uid := range []string{p.apiUID, p.uid} {
		if c.byUID[uid] == p {
			delete(c.byUID, uid)
		}
	}
	for id := range p.facts {
		if c.byID[id] == p {
			delete(c.byID, id)
		}
	}
}

// unlisted returns the UIDs, in the API, of the pods that are not deleted, but for those
// that listed knows.
func (c *podCache) unlisted(listed func(namespace, name, uid string) bool) (uids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for uid, p := range c.byUID {
		if uid == p.apiUID && p.gone.IsZero() && !listed(p.namespace, p.name, uid) {
			uids = append(uids, uid)
		}
	}
	return uids
}

func (c *podCache) namespace(n *corev1.Namespace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces[n.Name] = readFlags(n.Annotations, c.bad("namespace "+n.Name, nil))
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

func (c *podCache) keepNamespaces(listed func(name string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.namespaces, func(name string, _ flags) bool { return !listed(name) })
}

// decide tells of a pod's consent if it is news.
func (c *podCache) decide(p *pod) {
	ns, known := c.namespaces[p.namespace]
	was, told := c.told[p.uid]
	is := p.own.over(ns)
	if !known { // what the namespace refused is not given back by not knowing it
		is.NoRecord = is.NoRecord || was.NoRecord && p.own.noRecord == nil
		if p.own.payload == nil {
			is.NoPayload, is.Payload = was.NoPayload, was.Payload
		}
		// What the pod itself refuses holds at once. Else what was told in an earlier life
		// of this service holds until the namespace is known.
		if !told && is == (Consent{}) && (p.own.noRecord == nil || p.own.payload == nil) {
			return
		}
	}
	if !told || is != was {
		c.told[p.uid] = is
		c.tell(p.uid, is)
	}
}

// bad notes an annotation that cannot be read, of a pod, or of a namespace if p is nil.
func (c *podCache) bad(what string, p *pod) func(key, value string) {
	return func(key, value string) {
		k := what + key + value
		if c.warned[k] || len(c.warned) >= 1000 {
			return
		}
		c.warned[k] = true
		c.log.Warn("annotation cannot be read, and is taken as a refusal. "+howToConsent, "of", what, "annotation", key, "value", value)
		if p != nil {
			c.complaints = append(c.complaints, Announcement{Namespace: p.namespace, Pod: p.name, UID: p.uid, Reason: "SwollConsent",
				Message: fmt.Sprintf("annotation %s: %.64q cannot be read, and is taken as a refusal. %s", key, value, howToConsent)})
		}
	}
}

// takeComplaints returns what pods are to be told of their annotations.
func (c *podCache) takeComplaints() []Announcement {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.complaints
	c.complaints = nil
	return list
}

func (c *podCache) enrich(ct *containers.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.byID[ct.ID]
	if p == nil || !p.has(ct) {
		p = c.byUID[ct.PodUID]
	}
	if p == nil || !p.has(ct) {
		return
	}
	p.fill(ct)
	if f, ok := p.facts[ct.ID]; ok {
		f.name(ct)
		f.end(ct)
	} else if s, ok := p.spec[ct.Name]; ok && ct.Kind != containers.KindSandbox {
		ct.Kind, ct.Image = s.Kind, s.Image
	}
}

// reference is how to refer to a container of a pod, with the UID of its cgroup: the UID
// by which `kubectl describe` looks for events, and the part of the pod's specification
// that has the container.
func (c *podCache) reference(uid, name string) (eventUID, field string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	eventUID, field = uid, "spec.containers"
	if p := c.byUID[uid]; p != nil {
		eventUID = p.eventUID
		switch p.spec[name].Kind {
		case containers.KindInit:
			field = "spec.initContainers"
		case containers.KindEphemeral:
			field = "spec.ephemeralContainers"
		}
	}
	return eventUID, field
}
