package recorder

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/unwind"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

const (
	// unwindTime is how long a snapshot waits for the files of a stack to be read.
	unwindTime = 2 * time.Second
	// maxUnwinding is how many stacks may be in the works: one whose files never answer, as
	// those of a hung file system, stays so.
	maxUnwinding = 3
)

// stackBytes is the slot of a ring for a stack.
func (k *kernel) stackBytes(ring uint32) []byte {
	return k.stacks[int(ring)*layout.SizeofStack:][:layout.SizeofStack:layout.SizeofStack]
}

// stack is the same, shared with the kernel.
func (k *kernel) stack(ring uint32) *layout.Stack {
	return (*layout.Stack)(unsafe.Pointer(&k.stackBytes(ring)[0]))
}

// limitStacks tells the kernel side how much stack memory to take, also one that was adopted.
func (k *kernel) limitStacks(cfg Config) {
	atomic.StoreUint32(&k.nodeState().StackLimit, uint32(max(cfg.StackLimit, 0)))
}

// wipeStack removes the stack of a death from its slot, bytes and all.
func (k *kernel) wipeStack(ring uint32) {
	atomic.StoreUint64(&k.stack(ring).Time, 0)
	clear(k.stackBytes(ring))
}

// A deadStack is the stack of one death.
type deadStack struct {
	death uint64 // its time
	stack *ringstore.Stack
}

// unwindDeath unwinds the stack of a death that was just seen, as long as the files that it
// refers to can be reached. It does so once. False: the kernel side is not done with it; look
// again in a moment.
func (r *Recorder) unwindDeath(i *instance) bool {
	c := r.k.control(i.ring)
	if s := i.stack.Load(); s != nil && s.death == c.Death.Time {
		return true
	}
	if c.Death.Kind == layout.DeathKindExit || c.Death.Signal == 0 {
		return true // nobody was interrupted
	}
	// In this order: who has ended has taken it before.
	ended := atomic.LoadUint64(&c.Death.Done) != 0 || monotonic()-int64(c.Death.Time) >= int64(deathWait)
	death := &deadStack{death: c.Death.Time, stack: &ringstore.Stack{PID: c.Death.TGID, TID: c.Death.TID, Frames: []ringstore.StackFrame{}}}
	taken := r.k.stack(i.ring)
	if atomic.LoadUint64(&taken.Time) != c.Death.Time {
		if !ended {
			return false // the death is told of before its stack is taken
		}
		death.stack.End = "none was taken: the signal was not seen to be delivered"
		if atomic.LoadUint32(&c.Flags)&layout.RingFlagNoPayload != 0 {
			death.stack.End = "none is there: payloads are off, or it was wiped when consent to them was withdrawn"
		}
		i.stack.Store(death)
		return true
	}
	work := *taken
	if r.unwinding.Add(1) > maxUnwinding {
		r.unwinding.Add(-1)
		r.fillStack(death.stack, &work, nil)
		death.stack.Notes = append(death.stack.Notes, "no files were read: those of earlier deaths still do not answer")
		i.stack.Store(death)
		return true
	}
	done := make(chan *ringstore.Stack, 1)
	deadline := time.Now().Add(unwindTime)
	files := r.filesFor(i)
	s := *death.stack
	go func() {
		defer r.unwinding.Add(-1)
		files.open(&work, deadline)
		defer files.close()
		r.fillStack(&s, &work, files)
		done <- &s
	}()
	select {
	case death.stack = <-done:
	case <-time.After(time.Until(deadline) + unwindTime/4):
		r.fillStack(death.stack, &work, nil)
		death.stack.Notes = append(death.stack.Notes, fmt.Sprintf("the files could not be read within %v", unwindTime))
	}
	i.stack.Store(death)
	return true
}

// fillStack tells what the kernel side took; files may be nil.
func (r *Recorder) fillStack(s *ringstore.Stack, taken *layout.Stack, files *mappedFiles) {
	t := unwind.ThreadOf(goarch, taken)
	mappings := taken.Mapping[:min(int(taken.Mappings), len(taken.Mapping))]
	for n := range mappings {
		m := &mappings[n]
		out := ringstore.StackMapping{
			Start: ringstore.Address(m.Start), End: ringstore.Address(m.End), Offset: ringstore.Address(m.Offset),
			File: r.mask(mappingName(m)), BuildID: buildIDOf(m),
		}
		switch {
		case m.Inode == 0 && m.Flags&layout.MappingFlagVdso == 0:
			out.Unread = "no file is mapped there"
		case files == nil:
			out.Unread = "it was not tried"
		default:
			t.Mappings[n].File, out.Unread = files.file(n)
			if f := t.Mappings[n].File; f != nil && out.BuildID == "" {
				out.BuildID = f.BuildID()
			}
		}
		s.Mappings = append(s.Mappings, out)
	}
	s.Registers = map[string]ringstore.Address{}
	for n, name := range registerNames[goarch] {
		if taken.Known>>n&1 == 1 {
			s.Registers[name] = ringstore.Address(taken.Regs[n])
		}
	}
	if taken.Flags&layout.StackFlagNoPayload != 0 {
		s.Notes = append(s.Notes, "payloads are off: no stack memory was taken, and no registers but addresses")
	}
	if taken.Flags&layout.StackFlagFull != 0 {
		s.Notes = append(s.Notes, "the stack refers to more mappings than were taken")
	}
	if taken.Flags&layout.StackFlagCompat != 0 {
		s.Notes = append(s.Notes, "a 32-bit program: its stack is not unwound")
	}
	frames, end := unwind.Unwind(t)
	s.End = end
	for _, f := range frames {
		out := ringstore.StackFrame{Address: ringstore.Address(f.Address), Function: r.mask(f.Function), How: f.How, Confidence: f.Confidence}
		if f.Function != "" && f.Start != 0 {
			out.FunctionOffset = f.Address - f.Start
		}
		if f.Mapping >= 0 {
			m := s.Mappings[f.Mapping]
			out.File, out.BuildID = m.File, m.BuildID
			out.Offset = ringstore.Address(f.Address-uint64(m.Start)) + m.Offset
		}
		s.Frames = append(s.Frames, out)
	}
}

// mask takes secrets out of a name that somebody else gave.
func (r *Recorder) mask(name string) string {
	b := []byte(name)
	if r.cfg.Secrets.Mask(b) > 0 {
		return string(b)
	}
	return name
}

// registerNames are those of layout.Stack.Regs.
var registerNames = map[string][]string{
	"amd64": {"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags"},
	"arm64": {"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18",
		"x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc", "pstate"},
}

// buildIDOf is the build id that was mapped with a file; empty: none was found.
func buildIDOf(m *layout.Mapping) string {
	return hex.EncodeToString(m.Id[:min(int(m.IdLen), len(m.Id))])
}

// pathOf is the path of a mapped file below the root that its process had.
func pathOf(m *layout.Mapping) string {
	names := bytes.Split(bytes.TrimSuffix(m.Path[:min(int(m.PathLen), len(m.Path))], []byte{0}), []byte{0})
	slices.Reverse(names)
	return string(bytes.Join(names, []byte{'/'}))
}

// mappingName is what people call a mapping.
func mappingName(m *layout.Mapping) string {
	path := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == '\ufffd' {
			return '?'
		}
		return c
	}, pathOf(m))
	switch {
	case m.Flags&layout.MappingFlagVdso != 0:
		return "[vdso]"
	case m.Inode == 0:
		return "[anonymous]"
	case m.Flags&layout.MappingFlagCut != 0:
		return "…/" + path
	}
	return "/" + path
}

// stackOf is the stack of the death that a ring holds; nil: there is none.
func (i *instance) stackOf(d *layout.Death) *ringstore.Stack {
	if s := i.stack.Load(); s != nil && d.Ready != 0 && s.death == d.Time {
		return s.stack
	}
	return nil
}

// rootOf is a directory below which the files of a container may be.
type rootOf struct {
	path string
	what string
}

// filesFor lists where the files that a stack refers to may be reached.
func (r *Recorder) filesFor(i *instance) *mappedFiles {
	c := r.k.control(i.ring)
	proc := func(pid string) rootOf {
		return rootOf{filepath.Join("/proc", pid, "root"), "process " + pid + " of the container"}
	}
	f := &mappedFiles{death: int64(c.Death.Time) + r.wallOffset()}
	// It may still be writing its core.
	f.roots = append(f.roots, proc(strconv.Itoa(int(c.Death.TGID))))
	if i.dir != "" {
		data, err := os.ReadFile(filepath.Join(i.dir, "cgroup.procs"))
		if err == nil {
			pids := strings.Fields(string(data))
			for _, pid := range pids[:min(len(pids), 4)] {
				f.roots = append(f.roots, proc(pid))
			}
		}
	}
	if id := i.who().containerID; id != "" {
		// Where runtimes mount a container's root, until they have taken note of its end.
		for _, pattern := range runtimeRoots {
			found, _ := filepath.Glob(fmt.Sprintf(pattern, escapeGlob(id)))
			for _, path := range found[:min(len(found), 2)] {
				f.roots = append(f.roots, rootOf{path, "the container's root"})
			}
		}
	}
	if i.who().namespace == api.HostNamespace || i.who().containerID == "" {
		f.roots = append(f.roots, rootOf{"/", "the node's root"})
	}
	return f
}

// runtimeRoots are where container runtimes mount the root of a container, by its ID.
var runtimeRoots = []string{
	"/run/containerd/io.containerd.runtime.v2.task/*/%s/rootfs",
	"/run/k3s/containerd/io.containerd.runtime.v2.task/*/%s/rootfs",
	"/run/containers/storage/overlay-containers/%s/userdata/rootfs",
}

var errSlow = errors.New("it takes too long")
