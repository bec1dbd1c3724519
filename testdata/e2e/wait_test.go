package e2e

import (
	"fmt"
	"testing"
	"time"
)

// patience is how long something that must happen may take before a test gives up. It is
// generous: it only bounds how long a failure takes.
const patience = time.Minute

// within calls f until it returns nil, or for so long.
func within(limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// eventually is within, for tests.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	if err := within(patience, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
