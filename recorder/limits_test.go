package recorder

import (
	"testing"
	"time"
)

// However often containers die, each has no more snapshots in any hour than twice its
// share (the burst, then an even rate), the first ones at once; one does not take from
// another; and what is remembered is bounded by who died in the last hour.
func TestLimits(t *testing.T) {
	l := limits{perHour: 10}
	at := time.Unix(1_000_000, 0)
	noisy, quiet := identity{namespace: "ns", pod: "noisy", containerID: "1"}, identity{namespace: "ns", pod: "quiet"}
	saved := 0
	for s := range 3600 {
		noisy.containerID = string(rune(s)) // another life, the same container
		if l.allow(noisy, at.Add(time.Duration(s)*time.Second)) {
			saved++
		} else if s < 10 {
			t.Fatalf("death %d is not saved", s)
		}
	}
	if saved < 10 || saved > 20 {
		t.Errorf("%d of a noisy container's deaths in an hour are saved, want 10 to 20", saved)
	}
	at = at.Add(time.Hour)
	if !l.allow(quiet, at) {
		t.Error("a container pays for another's deaths")
	}
	for n := range 1000 {
		l.allow(identity{pod: "pod", uid: string(rune(n))}, at.Add(time.Duration(n)*time.Hour))
	}
	if len(l.of) > 2 {
		t.Errorf("%d containers are remembered, of which one died in the last hour", len(l.of))
	}
}
