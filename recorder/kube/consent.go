package kube

import (
	"context"
	"strconv"
	"sync"
)

// The annotations that give or refuse consent, on a pod or on its namespace; a pod's own
// wins, in both directions.
const (
	annotationPrefix = "swoll.dev/"

	AnnotationRecord  = "swoll.dev/record"  // what strconv.ParseBool reads; false: not recorded
	AnnotationPayload = "swoll.dev/payload" // "none": no bytes of buffers; "full": as if absent
)

// Consent is what a pod refuses. A value that cannot be read refuses: whoever wrote it wanted
// something else than the default, and what was recorded cannot be taken back.
type Consent struct{ NoRecord, NoPayload bool }

// ConsentOf is what a pod's own annotations refuse, for those who cannot ask the API server
// about its namespace.
func ConsentOf(annotations map[string]string) Consent {
	return readFlags(annotations, func(string, string) {}).over(flags{})
}

// A flags is what one object's annotations say; nil: nothing.
type flags struct{ noRecord, noPayload *bool }

func readFlags(a map[string]string, bad func(key, value string)) (f flags) {
	if v, ok := a[AnnotationRecord]; ok {
		on, err := strconv.ParseBool(v)
		if err != nil {
			bad(AnnotationRecord, v)
		}
		off := !on // false where it cannot be read
		f.noRecord = &off
	}
	if v, ok := a[AnnotationPayload]; ok {
		if v != "none" && v != "full" {
			bad(AnnotationPayload, v)
		}
		off := v != "full"
		f.noPayload = &off
	}
	return f
}

func (f flags) over(under flags) Consent {
	pick := func(a, b *bool) bool {
		if a == nil {
			a = b
		}
		return a != nil && *a
	}
	return Consent{pick(f.noRecord, under.noRecord), pick(f.noPayload, under.noPayload)}
}

// A consentQueue tells of consent in the order in which it was first changed.
type consentQueue struct {
	tell    func(string, Consent)
	wake    chan struct{}
	mu      sync.Mutex
	order   []string
	pending map[string]Consent
}

func newConsentQueue(tell func(string, Consent)) *consentQueue {
	return &consentQueue{tell: tell, wake: make(chan struct{}, 1), pending: map[string]Consent{}}
}

func (q *consentQueue) put(uid string, c Consent) {
	if q.tell == nil {
		return
	}
	q.mu.Lock()
	if _, waits := q.pending[uid]; !waits {
		q.order = append(q.order, uid)
	}
	q.pending[uid] = c
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *consentQueue) run(ctx context.Context) {
	for {
		q.mu.Lock()
		if len(q.order) == 0 {
			q.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-q.wake:
			}
			continue
		}
		uid := q.order[0]
		c := q.pending[uid]
		q.order = q.order[1:]
		delete(q.pending, uid)
		q.mu.Unlock()
		q.tell(uid, c)
	}
}
