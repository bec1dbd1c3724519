package recorder

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/swoll-recorder/swoll/api"
)

const (
	// largeHistory is how many bytes of pages make a history one that has to wait for its
	// turn to be read: of smaller ones, as many as the API lets through fit into memory.
	largeHistory = 16 << 20
	// turnWait is how long it waits.
	turnWait = 5 * time.Second
)

// turns let one large history be read at a time. A history takes about its pages while it
// is read, and a fifth more; then the memory is given back to the system at once: what one
// left behind must not count beside the next.
type turns struct{ busy chan struct{} }

func newTurns() turns { return turns{busy: make(chan struct{}, 1)} }

// giveBack gives memory back to the system that a history of that many bytes took.
func (t turns) giveBack(bytes uint64) {
	if bytes >= largeHistory {
		debug.FreeOSMemory()
	}
}

// take waits for the turn of a history of that many bytes. The caller calls done when it
// is done with all that it read.
func (t turns) take(ctx context.Context, bytes uint64) (done func(), err error) {
	if bytes < largeHistory {
		return func() {}, nil
	}
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	select {
	case t.busy <- struct{}{}:
		return func() {
			t.giveBack(bytes)
			<-t.busy
		}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, api.Errorf(api.CodeUnavailable, "another large history is being read").WithHint("again in a moment")
	}
}
