package containers

import (
	"cmp"
	"strings"
)

// A Selector selects containers; empty fields select all.
type Selector struct {
	Namespace string
	Pod       string
	PodUID    string
	Container string
	Labels    map[string]string // all must match
	Exited    bool              // select exited ones, too
}

// Matches tells whether the selector selects a container.
func (s Selector) Matches(c *Container) bool {
	if c.State == StateExited && !s.Exited {
		return false
	}
	for _, f := range [...]struct{ want, have string }{
		{s.Namespace, c.Namespace},
		{s.Pod, c.Pod},
		{s.PodUID, c.PodUID},
		{s.Container, c.Name},
	} {
		if f.want != "" && f.want != f.have {
			return false
		}
	}
	for k, v := range s.Labels {
		if have, ok := c.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// compare orders containers by namespace, pod, name and time of creation. The id makes the
// order of equals the same each time.
func compare(a, b *Container) int {
	return cmp.Or(
		strings.Compare(a.Namespace, b.Namespace),
		strings.Compare(a.Pod, b.Pod),
		strings.Compare(a.Name, b.Name),
		a.Created.Compare(b.Created),
		strings.Compare(a.ID, b.ID),
	)
}
