package recorder

import (
	"time"

	"golang.org/x/time/rate"
)

// limits bounds how many deaths of a container become snapshots: a storm of restarts must
// not keep the disk and a CPU busy. The first ones of an hour are saved at once, the rest
// evenly. Only the recorder's loop uses it.
type limits struct {
	perHour int
	of      map[identity]*rate.Limiter
}

// exhausted tells whether allow would refuse one.
func (l *limits) exhausted(id identity, now time.Time) bool {
	lim := l.of[id.lives()]
	return lim != nil && lim.TokensAt(now) < 1
}

// allow tells whether one more may be saved now, and counts it.
func (l *limits) allow(id identity, now time.Time) bool {
	id = id.lives()
	lim := l.of[id]
	if lim == nil {
		if l.of == nil {
			l.of = map[identity]*rate.Limiter{}
		}
		// Who has not died for an hour is as good as new.
		for other, o := range l.of {
			if o.TokensAt(now) >= float64(l.perHour) {
				delete(l.of, other)
			}
		}
		lim = rate.NewLimiter(rate.Every(time.Hour/time.Duration(l.perHour)), l.perHour)
		l.of[id] = lim
	}
	return lim.AllowN(now, 1)
}
