package recorder

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// Where a service finds rings of its own layout, but programs of another build, or made for
// other flags, it attaches its own ones over the same maps, and gives them the turn: see
// "Replacing programs" in ARCHITECTURE.md.

// maxTurn is the last turn before they begin anew: it has 16 bits.
const maxTurn = 1<<(64-layout.SizesTurn) - 1

// renew replaces the pinned programs if they are not this version's own, or if another
// service died while it replaced them. What cannot be replaced records on.
func (k *kernel) renew(cfg Config, disturbed bool) error {
	held := map[string]link.Link{}
	for _, name := range attachOrder {
		l, err := link.LoadPinnedLink(filepath.Join(k.sub(pinsCurrent), "link_"+name), nil)
		if err != nil {
			k.log.Warn("a pinned link cannot be opened; the programs are attached anew", "link", name, "err", err)
			disturbed = true
			continue
		}
		held[name] = l
	}
	node := k.nodeState()
	turn := node.Turns%maxTurn + 1
	spec, hash, err := k.specFor(cfg, uint64(turn))
	if err != nil {
		return err
	}
	if hash == node.Programs && !disturbed {
		k.links = held // as long as the service runs, its programs do, whatever becomes of the pins
		return nil
	}
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	began := time.Now()
	coll, err := k.loadCollection(spec, ebpf.CollectionOptions{MapReplacements: k.maps})
	if err != nil {
		k.log.Error("the pinned programs, of another version or made for other flags, cannot be replaced and record on", "err", explainLoad(err))
		k.links, held = held, nil
		return nil
	}
	defer coll.Close()
	loaded := time.Since(began)
	node.Turns = turn
	iter, files, uring := k.iter, k.files, k.uring
	if err := k.attach(coll); err != nil {
		return err
	}
	_ = iter.Close()
	_ = files.Close()
	defer uring.close()
	if err := k.pin(); err != nil {
		return err
	}
	// Whoever sees the turn sees this, too.
	atomic.StoreUint32(&node.Handover, 1)
	generation := (atomic.LoadUint64(&node.Generation) + 1) & (1<<layout.SizesTurn - 1)
	atomic.StoreUint64(&node.Generation, uint64(turn)<<layout.SizesTurn|generation)
	node.Programs = hash
	if err := waitForEvents(); err != nil {
		return err
	}
	atomic.StoreUint32(&node.Handover, 0)
	if err := k.exchange(); err != nil {
		return err
	}
	for _, name := range append(k.subs(pinsReplaced), pinsNew) {
		if err := k.putAway(name); err != nil {
			return err
		}
	}
	for ring := range k.shape.Rings {
		if c := k.control(ring); atomic.LoadUint64(&c.Life) != 0 {
			k.dataOff = k.dataOff || cfg.DataLimit <= 0 && c.LimitData > 0
			c.LimitData, c.LimitString = uint32(max(cfg.DataLimit, 0)), uint32(cfg.StringLimit)
		}
	}
	k.log.Info("replaced the pinned programs by those of this version and these flags; the rings stay", "turn", turn, "loading", loaded.Round(time.Millisecond), "handover", (time.Since(began) - loaded).Round(time.Millisecond))
	return nil
}

// eventsWait is how long waitForEvents waits.
const eventsWait = 10 * time.Second

// waitForEvents returns when every event has ended that was being handled: an event of
// which one program was run, and another one is yet to be. Between the two, some kernels
// (6.13 and newer, for system calls) wait for no grace period of RCU but one of RCU tasks
// trace, which they do wait for before they let go of a program that was attached there. So
// one is attached, and let go.
func waitForEvents() error {
	if err := waitForPrograms(); err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "swoll_wait", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sys_enter",
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("waiting for events: %w", err)
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return fmt.Errorf("waiting for events: %w", err)
	}
	id, _ := info.ID()
	l, err := link.AttachTracing(link.TracingOptions{Program: prog})
	if err != nil {
		return fmt.Errorf("waiting for events: %w", err)
	}
	if err := errors.Join(l.Close(), prog.Close()); err != nil {
		return fmt.Errorf("waiting for events: %w", err)
	}
	for deadline := time.Now().Add(eventsWait); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err == nil {
			_ = p.Close()
		}
	}
	return nil // an event that takes so long is most likely none
}
