package kube

import (
	"context"
	"math"
	"strconv"
	"sync"
)

// The annotations that give or refuse consent, on a pod or on its namespace; a pod's own
// wins, in both directions.
const (
	annotationPrefix = "swoll.dev/"

	AnnotationRecord  = "swoll.dev/record"  // what strconv.ParseBool reads; false: not recorded
	AnnotationPayload = "swoll.dev/payload" // "none": no bytes of buffers; a number: that many of each; "full": as if absent
)

// Consent is what a pod refuses. A value that cannot be read refuses: whoever wrote it wanted
// something else than the default, and what was recorded cannot be taken back.
type Consent struct {
	NoRecord, NoPayload bool
	Payload             uint16 // the most bytes of a buffer; 0: it sets no limit
}

// ConsentOf is what a pod's own annotations refuse, for those who cannot ask the API server
// about its namespace. bad is told of each annotation that cannot be read.
func ConsentOf(annotations map[string]string, bad func(key, value string)) Consent {
	return readFlags(annotations, bad).over(flags{})
}

// howToConsent says which values the annotations can have.
const howToConsent = "Try: true or false for record; full, none or a number of bytes for payload"

// A flags is what one object's annotations say; nil: nothing.
type flags struct {
	noRecord *bool
	payload  *payload
}

type payload struct {
	none bool
	most uint16 // 0: all
}

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
		f.payload = readPayload(v)
		if f.payload == nil {
			bad(AnnotationPayload, v)
			f.payload = &payload{none: true}
		}
	}
	return f
}

// readPayload reads the annotation; nil: it cannot.
func readPayload(v string) *payload {
	switch v {
	case "none":
		return &payload{none: true}
	case "full":
		return &payload{}
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return nil
	}
	return &payload{none: n == 0, most: uint16(min(n, math.MaxUint16))}
}

func (f flags) over(under flags) (c Consent) {
	if f.noRecord == nil {
		f.noRecord = under.noRecord
	}
	if f.payload == nil {
		f.payload = under.payload
	}
	c.NoRecord = f.noRecord != nil && *f.noRecord
	if p := f.payload; p != nil {
		c.NoPayload, c.Payload = p.none, p.most
	}
	return c
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
