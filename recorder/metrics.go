package recorder

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// metrics is the recorder's health as Prometheus sees it. What the kernel side counts is
// read when it is asked for.
type metrics struct {
	r         *Recorder
	snapshots *prometheus.CounterVec
	failures  prometheus.Counter
	limited   prometheus.Counter

	rings, unarmed, armed, alertsLost, helpers, lost *prometheus.Desc
	stored, storedBytes, memory                      *prometheus.Desc
}

func newMetrics(r *Recorder) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("swoll_"+name, help, labels, nil)
	}
	m := &metrics{
		r: r,
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swoll_snapshots_saved_total", Help: "Snapshots that this service saved, by trigger.",
		}, []string{"trigger"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "swoll_snapshot_failures_total", Help: "Attempts to save a snapshot that failed.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "swoll_snapshots_limited_total", Help: "Deaths of which no snapshot was saved, since the container had died too often in the last hour.",
		}),
		rings:       desc("rings", "Rings of the node, by state.", "state"),
		memory:      desc("ring_memory_bytes", "Ring memory of the node, all told."),
		armed:       desc("rings_armed_total", "Rings that the kernel side gave to new containers."),
		unarmed:     desc("containers_unrecorded_total", "Containers that found no free ring and are not recorded."),
		alertsLost:  desc("alerts_lost_total", "Alerts of the kernel side that the service was too slow for; it looks at all rings every second, so they only cost time."),
		helpers:     desc("helper_failures_total", "Calls of the kernel side into the kernel that failed, by place.", "place"),
		lost:        desc("records_lost", "Records that were not written into the rings in use, by cause.", "cause"),
		stored:      desc("snapshots", "Snapshots in the state directory."),
		storedBytes: desc("snapshots_bytes", "Bytes of the snapshots in the state directory."),
	}
	for _, t := range []string{api.TriggerSignal, api.TriggerOOM, api.TriggerExit, api.TriggerManual} {
		m.snapshots.WithLabelValues(t)
	}
	return m
}

func (m *metrics) saved(trigger string) { m.snapshots.WithLabelValues(trigger).Inc() }
func (m *metrics) saveFailed()          { m.failures.Inc() }
func (m *metrics) saveLimited()         { m.limited.Inc() }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.snapshots.Describe(ch)
	m.failures.Describe(ch)
	m.limited.Describe(ch)
	for _, d := range []*prometheus.Desc{m.rings, m.memory, m.armed, m.unarmed, m.alertsLost, m.helpers, m.lost, m.stored, m.storedBytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.snapshots.Collect(ch)
	m.failures.Collect(ch)
	m.limited.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	count, bytes := m.r.store.usage()
	gauge(m.stored, float64(count))
	gauge(m.storedBytes, float64(bytes))

	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	if m.r.k.rings == nil {
		return // closed
	}
	k := m.r.k
	states := map[string]int{"free": 0, api.StateRecording: 0, api.StateFrozen: 0, api.StateExited: 0}
	var lost [layout.LostCauses]uint64
	for ring := range k.shape.Rings {
		c := k.control(ring)
		i := m.r.instances[ring]
		switch {
		case i != nil:
			states[i.state(c)]++
		case atomic.LoadUint64(&c.Life) == 0:
			states["free"]++
			continue
		default:
			states[api.StateRecording]++
		}
		for slot := range k.shape.Slots {
			for cause, n := range k.slot(ring, slot).Lost {
				lost[cause] += n
			}
		}
	}
	for s, n := range states {
		gauge(m.rings, float64(n), s)
	}
	gauge(m.memory, float64(len(k.rings)))
	for cause, name := range layout.LostNames {
		gauge(m.lost, float64(lost[cause]), name)
	}
	n := k.nodeState()
	counter(m.armed, atomic.LoadUint64(&n.Armed))
	counter(m.unarmed, atomic.LoadUint64(&n.Unarmed))
	counter(m.alertsLost, atomic.LoadUint64(&n.AlertsLost))
	for place, name := range layout.PlaceNames {
		counter(m.helpers, atomic.LoadUint64(&n.Failed[place]), name)
	}
}
