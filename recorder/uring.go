package recorder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// The programs that see io_uring are loaded as far as the kernel has what they are on: it
// may have been built without io_uring, and tracepoints of it have changed.
const (
	uringOps      = "uring_ops"
	uringCaptures = "uring_captures"
	uringRunning  = "uring_running"
)

// uringPrograms says for each program what its tracepoint is called and how many arguments
// that must have; 0: however many.
var uringPrograms = []struct {
	name, tracepoint string
	args             int
}{
	{"io_uring_complete", "io_uring_complete", 3},
	{"io_uring_complete_args", "io_uring_complete", 7},
	{"io_uring_cqe_overflow", "io_uring_cqe_overflow", 5},
	{"io_uring_req_failed", "io_uring_req_failed", 3},
	{"io_uring_submit_req", "io_uring_submit_req", 1},
	{"io_uring_submit_sqe", "io_uring_submit_sqe", 2},
	{"io_uring_create", "io_uring_create", 0},
}

// uring is the part of the kernel side that sees io_uring.
type uring struct {
	links map[string]link.Link
	iter  *link.Iter // lists what is in flight; nil: nothing does
}

// sees tells whether operations are recorded.
func (u *uring) sees() bool {
	has := func(a, b string) bool { return u.links[a] != nil || u.links[b] != nil }
	return has("io_uring_complete", "io_uring_complete_args") && has("io_uring_submit_req", "io_uring_submit_sqe")
}

// loadCollection loads all programs; those for io_uring only as far as the kernel can.
func (k *kernel) loadCollection(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions) (*ebpf.Collection, error) {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	all := spec.Copy()
	for _, p := range uringPrograms {
		if n := tracepointArgs(types, p.tracepoint); n < 0 || p.args != 0 && p.args != n {
			delete(all.Programs, p.name)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(all, opts)
	if err == nil {
		return coll, nil
	}
	for _, p := range uringPrograms {
		delete(spec.Programs, p.name)
	}
	delete(spec.Programs, uringRunning)
	coll, without := ebpf.NewCollectionWithOptions(spec, opts)
	if without != nil {
		return nil, without // it is not because of io_uring
	}
	k.log.Warn("the kernel refuses the programs that see io_uring", "err", err)
	return coll, nil
}

// tracepointArgs returns how many arguments a tracepoint has; -1: the kernel has none of
// that name.
func tracepointArgs(types *btf.Spec, name string) int {
	var t *btf.Typedef
	if err := types.TypeByName("btf_trace_"+name, &t); err != nil {
		return -1
	}
	p, ok := t.Type.(*btf.Pointer)
	if !ok {
		return -1
	}
	f, ok := p.Target.(*btf.FuncProto)
	if !ok {
		return -1
	}
	return len(f.Params) - 1 // the first one is the tracepoint's own
}

// attach attaches what was loaded. What completes operations comes before what takes them
// in: so none is left behind.
func (u *uring) attach(coll *ebpf.Collection, ops *ebpf.Map) error {
	u.links = map[string]link.Link{}
	for _, p := range uringPrograms {
		prog := coll.Programs[p.name]
		if prog == nil {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attaching %s: %w", p.name, err)
		}
		u.links[p.name] = l
	}
	if prog := coll.Programs[uringRunning]; prog != nil && u.sees() {
		iter, err := link.AttachIter(link.IterOptions{Program: prog, Map: ops})
		if err != nil {
			return fmt.Errorf("attaching the iterator of io_uring's operations: %w", err)
		}
		u.iter = iter
	}
	return nil
}

func (u *uring) pin(dir string) error {
	for name, l := range u.links {
		if err := l.Pin(filepath.Join(dir, "link_"+name)); err != nil {
			return fmt.Errorf("pinning link %s: %w", name, err)
		}
	}
	if u.iter != nil {
		if err := u.iter.Pin(filepath.Join(dir, "link_"+uringRunning)); err != nil {
			return fmt.Errorf("pinning the iterator of io_uring's operations: %w", err)
		}
	}
	return nil
}

// adopt takes over what another service attached.
func (u *uring) adopt(dir string) error {
	open := func(name string) (link.Link, error) {
		l, err := link.LoadPinnedLink(filepath.Join(dir, "link_"+name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return l, err
	}
	u.links = map[string]link.Link{}
	for _, p := range uringPrograms {
		l, err := open(p.name)
		if err != nil {
			return err
		}
		if l != nil {
			u.links[p.name] = l
		}
	}
	l, err := open(uringRunning)
	if l == nil || err != nil {
		return err
	}
	iter, ok := l.(*link.Iter)
	if !ok {
		return errors.Join(errors.New("the iterator of its operations is none"), l.Close())
	}
	u.iter = iter
	return nil
}

func (u *uring) close() {
	for _, l := range u.links {
		_ = l.Close()
	}
	if u.iter != nil {
		_ = u.iter.Close()
	}
	*u = uring{}
}

// running lists the operations in flight of all rings.
func (u *uring) running() ([]ringstore.Running, error) {
	if u.iter == nil {
		return nil, nil
	}
	r, err := u.iter.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the iterator of io_uring's operations: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the iterator of io_uring's operations: %w", err)
	}
	return ringstore.ParseRunning(data)
}

// inFlight leaves the operations of processes that are among the tasks, and those of frozen
// rings. What a process leaves behind is cancelled, mostly just after its ring has frozen. An
// entry may stay where nobody was told of its end.
func (k *kernel) inFlight(operations, tasks []ringstore.Running) []ringstore.Running {
	living := make(map[uint32]bool, len(tasks))
	for i := range tasks {
		living[tasks[i].PID] = true
	}
	left := operations[:0]
	for _, o := range operations {
		frozen := o.Ring < k.shape.Rings && atomic.LoadUint32(&k.control(o.Ring).Flags)&layout.RingFlagFrozen != 0
		if living[o.PID] || frozen {
			left = append(left, o)
		}
	}
	return left
}

// forgetOperations forgets the operations in flight of a ring that nobody writes any more,
// with the paths that they were given. It does what it can: they are told apart from those of
// the ring's next life in any case.
func (k *kernel) forgetOperations(ring uint32) {
	const mostTries = 8
	for range mostTries {
		if err := k.deleteOperations(ring); err == nil {
			return
		} else if !errors.Is(err, ebpf.ErrIterationAborted) {
			k.log.Warn("operations of io_uring stay in a map", "ring", ring, "err", err)
			return
		}
		// Others came and went meanwhile, and the walk lost its way.
	}
}

func (k *kernel) deleteOperations(ring uint32) error {
	var key layout.UringKey
	var op layout.UringOp
	it := k.maps[uringOps].Iterate()
	for it.Next(&key, &op) {
		if op.Ring != ring {
			continue
		}
		for nth := range op.Captures {
			err := k.maps[uringCaptures].Delete(layout.UringCapture{Req: op.Req, Nth: uint64(nth)})
			if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
		}
		if err := k.maps[uringOps].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return it.Err()
}
