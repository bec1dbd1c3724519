package recorder

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/bpf"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// The names under which maps and links are pinned are those of the C source. The
// global variables are one map.
const (
	nodeMap     = ".bss"
	nodePin     = "node"
	runningProg = "running"
	filesProg   = "open_files"
)

var mapNames = []string{"rings", "stacks", "tasks", "cgroups", "watches", "consents", "pool", "alerts", "scratches", "listings", "files_rooms", "senders",
	uringOps, uringCaptures, "uring_works", "uring_listings", nodeMap}

// The order in which programs are attached. Those on one tracepoint run in this order:
// stack_at_death looks at what signal_deliver found. Arming comes last: no ring is handed out
// before everything that fills and retires it is in place.
var attachOrder = []string{
	"sys_exit", "sys_enter", "sched_process_exit", "signal_deliver", "stack_at_death", "signal_generate",
	"sched_process_exec", "sched_process_fork", "cgroup_rmdir", "cgroup_mkdir",
}

// kernel is the kernel side as the service sees it: its maps, its memory, its links.
type kernel struct {
	log     *slog.Logger
	pinDir  string // empty: not pinned
	adopted bool
	shape   layout.Shape
	maps    map[string]*ebpf.Map
	links   map[string]link.Link // by program
	iter    *link.Iter
	uring   uring
	files   *link.Iter
	rings   []byte // all rings, mapped
	stacks  []byte // a struct swoll_stack for each, mapped
	node    []byte // struct swoll_node, mapped
	lock    *os.File
	listing sync.Mutex // held while the task iterator runs

	// dataOff says that rings were adopted with data buffers in them that none may have now.
	dataOff bool

	// predecessors are older recorders that are pinned beside this one, until what they
	// hold is saved. The oldest comes first.
	predecessors []*kernel
}

// pinName is the file name of a map below the pin directory.
func pinName(m string) string {
	if m == nodeMap {
		return nodePin
	}
	return m
}

// openKernel adopts what is pinned, or loads the kernel side afresh.
func openKernel(cfg Config, h hierarchy) (*kernel, error) {
	k := &kernel{log: cfg.Logger, pinDir: cfg.PinDir, maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	if err := k.open(cfg, h); err != nil {
		if k.lock != nil {
			_ = os.Remove(k.pinDir) // fails where something is pinned
		}
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *kernel) open(cfg Config, h hierarchy) error {
	if err := k.adoptOrLoad(cfg, h); err != nil {
		return err
	}
	if !k.uring.sees() {
		k.log.Warn("what is done through io_uring is not recorded: this kernel has not the tracepoints for it that this version knows")
	}
	return nil
}

func (k *kernel) adoptOrLoad(cfg Config, h hierarchy) error {
	if k.pinDir == "" {
		return k.load(cfg, h)
	}
	if err := k.lockPins(); err != nil {
		return err
	}
	found, err := k.settlePins()
	if err != nil {
		return err
	}
	switch {
	case !found.any:
		return k.load(cfg, h)
	case found.layout != layout.SizesLayout:
		return k.succeed(cfg, h)
	}
	if err := k.adopt(); err != nil {
		return err
	}
	if k.shape.Hierarchy != h.id {
		return fmt.Errorf("what is pinned in %s records cgroup hierarchy %d, and the watched cgroups are in %d; try: swolld --uninstall", k.pinDir, k.shape.Hierarchy, h.id)
	}
	want, err := shapeOf(cfg.Memory, cfg.RingSize, possibleCPUs())
	if err == nil && (want.Bytes != k.shape.Bytes || want.Rings != k.shape.Rings) {
		k.log.Warn("keeping the pinned rings; memory and ring size change with swolld --uninstall",
			"rings", k.shape.Rings, "ringBytes", k.shape.Bytes)
	}
	k.adopted = true
	k.setFold(!cfg.NoFold)
	k.limitStacks(cfg)
	return k.renew(cfg, found.disturbed)
}

// load makes the kernel side afresh: loads, fills and attaches everything, and pins it.
func (k *kernel) load(cfg Config, h hierarchy) error {
	if err := k.build(cfg, h); err != nil {
		return err
	}
	if k.pinDir == "" {
		return nil
	}
	if err := k.pin(); err != nil {
		return err
	}
	if err := os.Rename(k.sub(pinsNew), k.sub(pinsCurrent)); err != nil {
		return fmt.Errorf("putting the pins in place: %w", err)
	}
	return nil
}

// build loads, fills and attaches everything. What the predecessors were told of consent
// holds from the start.
func (k *kernel) build(cfg Config, h hierarchy) error {
	shape, err := shapeOf(cfg.Memory, cfg.RingSize, possibleCPUs())
	if err != nil {
		return err
	}
	shape.Hierarchy, shape.Subsystem = h.id, h.subsystem
	k.shape = shape
	const first = 1
	spec, hash, err := k.specFor(cfg, first)
	if err != nil {
		return err
	}
	coll, err := k.loadCollection(spec, ebpf.CollectionOptions{})
	if err != nil {
		return explainLoad(err)
	}
	defer coll.Close()
	for _, name := range mapNames {
		if k.maps[name] = coll.DetachMap(name); k.maps[name] == nil {
			return fmt.Errorf("the built-in BPF object has no map %s", name)
		}
	}
	if err := k.mapMemory(); err != nil {
		return err
	}
	copy(k.node[layout.NodeAtShape:], unsafe.Slice((*byte)(unsafe.Pointer(&shape)), layout.SizeofShape))
	node := k.nodeState()
	node.Turns, node.Programs = first, hash
	atomic.StoreUint64(&node.Generation, first<<layout.SizesTurn)
	k.setFold(!cfg.NoFold)
	k.limitStacks(cfg)
	for i := range shape.Rings {
		if err := k.maps["pool"].Update(nil, i, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("filling the pool of rings: %w", err)
		}
	}
	for _, old := range k.predecessors {
		if err := k.inheritConsents(old); err != nil {
			return err
		}
	}
	return k.attach(coll)
}

// specFor is the built-in object, made for this kernel side, and the hash of what it does:
// of the object and of the tables that were put in. turn is the number of the set of programs.
func (k *kernel) specFor(cfg Config, turn uint64) (*ebpf.CollectionSpec, uint64, error) {
	if _, err := btf.LoadKernelSpec(); err != nil {
		return nil, 0, fmt.Errorf("this kernel does not describe its types (BTF): %w; it needs CONFIG_DEBUG_INFO_BTF=y, and /sys/kernel/btf/vmlinux readable", err)
	}
	spec, err := bpf.LoadSwoll()
	if err != nil {
		return nil, 0, fmt.Errorf("reading the built-in BPF object: %w", err)
	}
	spec.Maps["rings"].ValueSize = k.shape.Bytes
	spec.Maps["rings"].MaxEntries = k.shape.Rings
	spec.Maps["stacks"].MaxEntries = k.shape.Rings
	spec.Maps["pool"].MaxEntries = k.shape.Rings
	spec.Maps["cgroups"].MaxEntries = max(16384, 4*k.shape.Rings)
	limits, err := cfg.captureLimits()
	if err != nil {
		return nil, 0, err
	}
	calls, variants := callTable(runtime.GOARCH, limits)
	for name, value := range map[string]any{
		"shape":        k.shape,
		"limit_data":   uint32(limits.data),
		"limit_string": uint32(limits.text),
		"limits":       limits.table(),
		"calls":        calls,
		"variants":     variants,
		"routine":      routineTable(),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, 0, fmt.Errorf("setting %s of the BPF object: %w", name, err)
		}
	}
	hash := hashOf(spec)
	if err := spec.Variables["turn"].Set(turn); err != nil {
		return nil, 0, fmt.Errorf("setting turn of the BPF object: %w", err)
	}
	return spec, hash, nil
}

// hashOf is a hash, never 0, of all that decides what the programs of a spec do.
func hashOf(spec *ebpf.CollectionSpec) uint64 {
	sum := sha256.New()
	sum.Write(bpf.Object())
	for _, name := range slices.Sorted(maps.Keys(spec.Variables)) {
		fmt.Fprintf(sum, "%s %x\n", name, spec.Variables[name].Value)
	}
	return max(1, binary.LittleEndian.Uint64(sum.Sum(nil)))
}

// attach attaches all programs of a collection.
func (k *kernel) attach(coll *ebpf.Collection) error {
	if err := k.uring.attach(coll, k.maps[uringOps]); err != nil {
		return err
	}
	for _, name := range attachOrder {
		l, err := link.AttachTracing(link.TracingOptions{Program: coll.Programs[name]})
		if err != nil {
			return fmt.Errorf("attaching %s: %w", name, err)
		}
		k.links[name] = l
	}
	var err error
	if k.files, err = link.AttachIter(link.IterOptions{Program: coll.Programs[filesProg]}); err != nil {
		return fmt.Errorf("attaching the iterator of open files: %w", err)
	}
	if k.iter, err = link.AttachIter(link.IterOptions{Program: coll.Programs[runningProg]}); err != nil {
		return fmt.Errorf("attaching the task iterator: %w", err)
	}
	return nil
}

// mapMemory maps the rings, the node state and, where there are any, the stacks.
func (k *kernel) mapMemory() (err error) {
	const rw = unix.PROT_READ | unix.PROT_WRITE
	size := int(k.shape.Bytes) * int(k.shape.Rings)
	if k.rings, err = unix.Mmap(k.maps["rings"].FD(), 0, size, rw, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping %d bytes of ring memory: %w", size, err)
	}
	if k.node, err = unix.Mmap(k.maps[nodeMap].FD(), 0, int(k.maps[nodeMap].ValueSize()), rw, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping the node state: %w", err)
	}
	stacks := k.maps["stacks"]
	if stacks == nil {
		return nil // an older recorder's
	}
	if k.stacks, err = unix.Mmap(stacks.FD(), 0, int(stacks.ValueSize())*int(k.shape.Rings), rw, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping the stacks of the dying: %w", err)
	}
	return nil
}

// ring is the memory of one ring.
func (k *kernel) ring(i uint32) []byte {
	n := int(k.shape.Bytes)
	return k.rings[int(i)*n : (int(i)+1)*n : (int(i)+1)*n]
}

// control is the control area of a ring, shared with the kernel: what changes under the
// reader is to be read with sync/atomic.
func (k *kernel) control(i uint32) *layout.Ring {
	return (*layout.Ring)(unsafe.Pointer(&k.ring(i)[int(k.shape.Pages)*layout.SizesPage]))
}

// slot is one CPU's part of a ring's control area.
func (k *kernel) slot(ring, n uint32) *layout.Slot {
	at := int(k.shape.Pages)*layout.SizesPage + layout.SizesSlotsAt + int(n)*layout.SizesSlot
	return (*layout.Slot)(unsafe.Pointer(&k.ring(ring)[at]))
}

func (k *kernel) nodeState() *layout.Node {
	return (*layout.Node)(unsafe.Pointer(&k.node[0]))
}

// running reads the task iterator: all tasks of recorded cgroups, with the calls that
// they are in.
func (k *kernel) running() ([]ringstore.Running, error) {
	k.listing.Lock()
	defer k.listing.Unlock()
	// Operations first: one that is completed by a task that the list has not, nor the
	// operations, has its record.
	operations, err := k.uring.running()
	if err != nil {
		return nil, err
	}
	data, err := readIter(k.iter)
	if err != nil {
		return nil, fmt.Errorf("the task iterator: %w", err)
	}
	tasks, err := ringstore.ParseRunning(data)
	if err != nil || len(operations) == 0 {
		return tasks, err
	}
	return append(tasks, k.inFlight(operations, tasks)...), nil
}

// openFiles reads the iterator of open files: what all processes of recorded cgroups have
// open, by the life of their rings.
func (k *kernel) openFiles() (map[uint64]*ringstore.FileList, error) {
	k.listing.Lock()
	defer k.listing.Unlock()
	data, err := readIter(k.files)
	if err != nil {
		return nil, fmt.Errorf("the iterator of open files: %w", err)
	}
	return ringstore.NewFileLists(data, monotonic())
}

// readIter reads an iterator to its end.
func readIter(iter *link.Iter) ([]byte, error) {
	r, err := iter.Open()
	if err != nil {
		return nil, fmt.Errorf("opening it: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	return data, nil
}

// watch lets every cgroup that is made below the one with this id be a container.
func (k *kernel) watch(id uint64, w layout.Watch) error {
	if err := k.maps["watches"].Update(id, w, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("watching cgroup %d: %w", id, err)
	}
	return nil
}

// enter lets a cgroup be recorded into a ring. False: it was recorded already.
func (k *kernel) enter(id uint64, arm layout.Arm) (bool, error) {
	err := k.maps["cgroups"].Update(id, arm, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("entering cgroup %d: %w", id, err)
	}
	atomic.AddUint32(&k.nodeState().Filter[id%layout.SizesFilter], 1)
	return true, nil
}

// leave ends the recording of all cgroups of a ring, and waits until no program that
// saw them is running.
func (k *kernel) leave(ring uint32, life uint64) error {
	// A program that saw a cgroup enters one that is just being made below it: so look
	// again once all of these have ended.
	for first := true; ; first = false {
		ids, err := k.recordedInto(ring, life)
		if err != nil {
			return err
		}
		if len(ids) == 0 && !first {
			return nil
		}
		for _, id := range ids {
			err := k.maps["cgroups"].Delete(id)
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue // the kernel side was faster, and has counted it out
			}
			if err != nil {
				return fmt.Errorf("removing cgroup %d: %w", id, err)
			}
			atomic.AddUint32(&k.nodeState().Filter[id%layout.SizesFilter], ^uint32(0))
		}
		k.invalidate()
		if err := waitForPrograms(); err != nil {
			return err
		}
	}
}

// recordedInto lists the cgroups that are recorded into a ring.
func (k *kernel) recordedInto(ring uint32, life uint64) (ids []uint64, err error) {
	var id uint64
	var arm layout.Arm
	it := k.maps["cgroups"].Iterate()
	for it.Next(&id, &arm) {
		if arm.Ring == ring && arm.Life == life {
			ids = append(ids, id)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("listing recorded cgroups: %w", err)
	}
	return ids, nil
}

// setFold says whether runs of the same call are folded from now on. Where that changes,
// threads forget what they called last: it may not be what they called last any more.
func (k *kernel) setFold(on bool) {
	var fold uint32
	if on {
		fold = 1
	}
	if atomic.SwapUint32(&k.nodeState().Fold, fold) != fold {
		k.invalidate()
	}
}

// invalidate makes every task look its cgroup up again.
func (k *kernel) invalidate() { atomic.AddUint64(&k.nodeState().Generation, 1) }

// free zeroes a ring that nobody writes any more, and returns it to the pool.
func (k *kernel) free(ring uint32) error {
	if k.control(ring).Flags&layout.RingFlagUsesUring != 0 {
		k.forgetOperations(ring)
	}
	clear(k.ring(ring))
	clear(k.stackBytes(ring))
	if err := k.maps["pool"].Update(nil, ring, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("returning ring %d to the pool: %w", ring, err)
	}
	return nil
}

// take takes a ring from the pool. False: there is none.
func (k *kernel) take() (uint32, bool, error) {
	var ring uint32
	err := k.maps["pool"].LookupAndDelete(nil, &ring)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("taking a ring from the pool: %w", err)
	}
	return ring, true, nil
}

func (k *kernel) closeMaps() {
	for _, m := range k.maps {
		_ = m.Close()
	}
	clear(k.maps)
}

// close lets go of everything; what is pinned goes on.
func (k *kernel) close() {
	for _, l := range k.links {
		_ = l.Close()
	}
	for _, iter := range []*link.Iter{k.iter, k.files} {
		if iter != nil {
			_ = iter.Close()
		}
	}
	k.uring.close()
	if k.rings != nil {
		_ = unix.Munmap(k.rings)
	}
	if k.stacks != nil {
		_ = unix.Munmap(k.stacks)
	}
	if k.node != nil {
		_ = unix.Munmap(k.node)
	}
	k.rings, k.stacks, k.node, k.links, k.iter, k.files = nil, nil, nil, nil, nil, nil
	k.closeMaps()
	for _, old := range k.predecessors {
		old.close()
	}
	k.predecessors = nil
	if k.lock != nil {
		_ = k.lock.Close()
	}
}

// lockPins makes the pin directory, on a bpffs, and keeps other services out of it.
func (k *kernel) lockPins() error {
	f, err := openPinDir(k.pinDir)
	if err != nil {
		return err
	}
	k.lock = f
	return nil
}

func openPinDir(dir string) (*os.File, error) {
	if err := ensureBPFFS(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the pin directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the pin directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("pin directory %s is in use by another swolld (%w); stop it first, or give this one a --pin-dir of its own", dir, err)
	}
	return f, nil
}

// ensureBPFFS mounts a bpffs at its usual place if the directory is to be there and
// nothing is.
func ensureBPFFS(dir string) error {
	const usual = "/sys/fs/bpf"
	var st unix.Statfs_t
	at := filepath.Clean(dir)
	for {
		err := unix.Statfs(at, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || at == "/" {
			return fmt.Errorf("pin directory %s: %w", dir, err)
		}
		at = filepath.Dir(at)
	}
	if st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if at == usual || strings.HasPrefix(filepath.Clean(dir), usual+"/") {
		if err := unix.Mount("bpf", usual, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return fmt.Errorf("mounting a bpffs at %s: %w; try --pin-dir '' to record only as long as the service runs", usual, err)
		}
		return nil
	}
	return fmt.Errorf("pin directory %s is not on a bpffs; try: mount -t bpf bpf %s, or --pin-dir '' to record only as long as the service runs", dir, at)
}

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const membarrierGlobal = 1

// waitForPrograms returns when every BPF program that was running has ended: membarrier
// waits for a grace period of RCU, and programs run inside of one.
func waitForPrograms() error {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	if errno != 0 {
		return fmt.Errorf("waiting for running programs (membarrier): %w", errno)
	}
	return nil
}

// explainLoad makes one line of the verifier's many.
func explainLoad(err error) error {
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) {
		line := strings.SplitN(err.Error(), "\n", 2)[0]
		return fmt.Errorf("the kernel refuses the recorder's programs: %s; it needs Linux 6.1 or newer, with BTF, task storage and iterators", line)
	}
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("the kernel has no memory for the rings: %w; lower --memory", err)
	}
	return fmt.Errorf("loading the recorder's programs: %w", err)
}

func possibleCPUs() int {
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return runtime.NumCPU()
	}
	return n
}
