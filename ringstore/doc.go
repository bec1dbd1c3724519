// Package ringstore turns bytes into events. It reads the rings that the kernel side
// writes, mapped into memory, and snapshot files; it knows nothing of eBPF loading,
// HTTP or Kubernetes.
//
// The way of the data, one function per arrow:
//
//	mapped ring ──Ring.Copy──> Image ──Image.History──> History ([]Event)
//	                           │   ^
//	              WriteSnapshot│   │ReadSnapshot
//	                           v   │
//	                       snapshot file
//
// An [Image] is a copy of a ring as of one instant and never changes. Copying neither
// stops the writers nor consumes anything. What cannot be vouched for, because it was
// overwritten while it was copied, is left out and counts as overwritten: a torn record
// is never shown. Damage in a file or a page ends what is shown of it and is counted;
// it is an error of type [*DamageError] that comes together with what is whole.
//
// All times are ns of CLOCK_MONOTONIC on the recording node, if not said otherwise.
package ringstore
