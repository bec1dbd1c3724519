package recorder

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// What is pinned, below the pin directory. Each is a directory of maps and links.
const (
	// pinsCurrent is whole, whenever it is there: what is complete is renamed to it.
	pinsCurrent = "recorder"
	// pinsNew is being made, or was replaced and is being put away.
	pinsNew = "new"
	// pinsOld, with the number of its layout, is an older recorder whose rings are not all
	// saved yet. It records on.
	pinsOld = "old-"
	// pinsReplaced, with a number, are maps and links of the current one, of which a service
	// that died had or had not replaced the links.
	pinsReplaced = "replaced-"
	// pinsGone is being removed.
	pinsGone = "gone"
)

func (k *kernel) sub(dir string) string { return filepath.Join(k.pinDir, dir) }

// The pins that settlePins found.
type pins struct {
	any       bool   // a recorder is pinned
	layout    uint32 // its layout
	disturbed bool   // a service died while it replaced the programs
}

// settlePins puts the pin directory in order: what a service that died left by half is
// removed, or named what it is. It opens the predecessors.
func (k *kernel) settlePins() (found pins, err error) {
	if err := removePins(k.sub(pinsGone)); err != nil {
		return found, err
	}
	if _, err := os.Stat(k.sub(pinsCurrent)); err == nil {
		if found.layout, err = pinnedLayout(k.sub(pinsCurrent)); err != nil {
			return found, k.cannotTake(pinsCurrent, err)
		}
		found.any = true
	}
	if found.layout > layout.SizesLayout {
		return found, fmt.Errorf("what is pinned in %s has layout %d, and this swolld knows %d; it is left as it is, and records on. Try: the newer swolld that pinned it, or swolld --uninstall, which gives up the history in it",
			k.pinDir, found.layout, layout.SizesLayout)
	}
	if _, err := os.Stat(k.sub(pinsNew)); err == nil {
		made, err := pinnedLayout(k.sub(pinsNew))
		switch {
		case err == nil && found.any && made < found.layout:
			// It had just changed places with the current one.
			err = os.Rename(k.sub(pinsNew), k.sub(fmt.Sprint(pinsOld, made)))
		case found.any && found.layout == layout.SizesLayout:
			// Whether it is its links that record, or the current one's, cannot be seen from
			// here: so both are replaced.
			n := 0
			for ; ; n++ {
				if _, err := os.Stat(k.sub(fmt.Sprint(pinsReplaced, n))); err != nil {
					break
				}
			}
			err = os.Rename(k.sub(pinsNew), k.sub(fmt.Sprint(pinsReplaced, n)))
		default:
			// It holds nothing yet: rings are armed when it is the current one.
			err = k.putAway(pinsNew)
		}
		if err != nil {
			return found, fmt.Errorf("putting aside what another service left in %s: %w", k.sub(pinsNew), err)
		}
	}
	found.disturbed = len(k.subs(pinsReplaced)) > 0
	for _, name := range k.subs(pinsOld) {
		if err := k.openPredecessor(name); err != nil {
			return found, err
		}
	}
	slices.SortFunc(k.predecessors, func(a, b *kernel) int { return cmp.Compare(a.shape.Layout, b.shape.Layout) })
	return found, nil
}

// subs lists the directories of pins whose names begin so.
func (k *kernel) subs(prefix string) []string { return pinsIn(k.pinDir, prefix) }

func pinsIn(pinDir, prefix string) (names []string) {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(pinDir), prefix+"*"))
	for _, dir := range found {
		names = append(names, filepath.Base(dir))
	}
	return names
}

// openPredecessor opens an older recorder, of which only what its rings hold is wanted.
func (k *kernel) openPredecessor(name string) error {
	old := &kernel{log: k.log, pinDir: k.sub(name), maps: map[string]*ebpf.Map{}}
	err := old.openPinned(k.sub(name), []string{"rings", "consents", nodeMap})
	if err == nil {
		_, err = ringstore.NewRing(old.ring(0), old.shape) // is its layout known?
	}
	if err != nil {
		old.close()
		return k.cannotTake(name, err)
	}
	k.predecessors = append(k.predecessors, old)
	return nil
}

// cannotTake is the error for pins that this version can do nothing with.
func (k *kernel) cannotTake(name string, err error) error {
	return fmt.Errorf("what is pinned in %s cannot be taken over: %w; it is left as it is. Try: the version of swolld that pinned it, or swolld --uninstall, which gives up the history in it", k.sub(name), err)
}

// pinnedLayout is the layout of the recorder that is pinned in a directory.
func pinnedLayout(dir string) (uint32, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, nodePin), nil)
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", nodePin, err)
	}
	defer m.Close()
	shape, err := pinnedShape(m)
	return shape.Layout, err
}

// pinnedShape reads the shape of the rings, which begins the node state in every layout,
// and begins with the layout.
func pinnedShape(node *ebpf.Map) (layout.Shape, error) {
	var shape layout.Shape
	size := int(node.ValueSize())
	if size < layout.SizeofShape {
		return shape, fmt.Errorf("map %s has %d bytes", nodePin, size)
	}
	m, err := unix.Mmap(node.FD(), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return shape, fmt.Errorf("mapping the node state: %w", err)
	}
	defer unix.Munmap(m)
	return *(*layout.Shape)(unsafe.Pointer(&m[0])), nil
}

// openPinned opens the named maps and the task iterator that are pinned in a directory, and
// maps the memory.
func (k *kernel) openPinned(dir string, names []string) error {
	for _, name := range names {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, pinName(name)), nil)
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		k.maps[name] = m
	}
	var err error
	if k.shape, err = pinnedShape(k.maps[nodeMap]); err != nil {
		return err
	}
	if k.shape.Bytes != k.maps["rings"].ValueSize() || k.shape.Rings != k.maps["rings"].MaxEntries() {
		return errors.New("its shape contradicts itself")
	}
	if stacks := k.maps["stacks"]; stacks != nil && (stacks.MaxEntries() != k.shape.Rings || stacks.ValueSize() != layout.SizeofStack) {
		return errors.New("its stacks are not those of its shape")
	}
	if err := k.mapMemory(); err != nil {
		return err
	}
	k.iter, err = pinnedIter(dir, runningProg)
	return err
}

// pinnedIter opens an iterator that is pinned in a directory.
func pinnedIter(dir, name string) (*link.Iter, error) {
	l, err := link.LoadPinnedLink(filepath.Join(dir, "link_"+name), nil)
	if err != nil {
		return nil, fmt.Errorf("iterator %s: %w", name, err)
	}
	iter, ok := l.(*link.Iter)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the iterator %s is none", name), l.Close())
	}
	return iter, nil
}

// adopt takes over what another service of the same layout pinned.
func (k *kernel) adopt() error {
	if err := k.openPinned(k.sub(pinsCurrent), mapNames); err != nil {
		return k.cannotTake(pinsCurrent, err)
	}
	var err error
	if k.files, err = pinnedIter(k.sub(pinsCurrent), filesProg); err != nil {
		return k.cannotTake(pinsCurrent, err)
	}
	if err := k.uring.adopt(k.sub(pinsCurrent)); err != nil {
		return k.cannotTake(pinsCurrent, fmt.Errorf("what sees io_uring: %w", err))
	}
	return nil
}

// pin pins everything into pinsNew, where nothing is, or nothing.
func (k *kernel) pin() (err error) {
	dir := k.sub(pinsNew)
	defer func() {
		if err != nil {
			err = errors.Join(err, k.putAway(pinsNew))
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	for name, m := range k.maps {
		// The map itself may be pinned, and would only be moved.
		again, err := m.Clone()
		if err == nil {
			err = again.Pin(filepath.Join(dir, pinName(name)))
		}
		if err != nil {
			return fmt.Errorf("pinning map %s: %w", name, err)
		}
		_ = again.Close()
	}
	for name, l := range k.links {
		if err := l.Pin(filepath.Join(dir, "link_"+name)); err != nil {
			return fmt.Errorf("pinning link %s: %w", name, err)
		}
	}
	if err := k.files.Pin(filepath.Join(dir, "link_"+filesProg)); err != nil {
		return fmt.Errorf("pinning the iterator of open files: %w", err)
	}
	if err := k.iter.Pin(filepath.Join(dir, "link_"+runningProg)); err != nil {
		return fmt.Errorf("pinning the task iterator: %w", err)
	}
	return k.uring.pin(dir)
}

// exchange lets pinsNew be the current one, and the current one pinsNew, at once.
func (k *kernel) exchange() error {
	if err := unix.Renameat2(unix.AT_FDCWD, k.sub(pinsNew), unix.AT_FDCWD, k.sub(pinsCurrent), unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("putting the pins in place: %w", err)
	}
	return nil
}

// putAway removes a directory of pins, if it is there. From the first moment on it is not
// seen as whole any more.
func (k *kernel) putAway(name string) error { return putAway(k.pinDir, name) }

func putAway(pinDir, name string) error {
	gone := filepath.Join(pinDir, pinsGone)
	if err := removePins(gone); err != nil {
		return err
	}
	err := os.Rename(filepath.Join(pinDir, name), gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the pins in %s: %w", name, err)
	}
	return removePins(gone)
}

// removePins removes a directory of pins, and with the last reference what they hold.
func removePins(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	// Arming goes first, so that nothing new begins while the rest goes.
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("removing a pin: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

// Uninstall removes all that a Recorder with this pin directory left in the kernel, of
// whatever version it was. It fails while such a Recorder runs. Snapshots stay.
func Uninstall(pinDir string, log *slog.Logger) error {
	if pinDir == "" {
		return errors.New("nothing is pinned without a pin directory")
	}
	if err := checkCapabilities(); err != nil {
		return err
	}
	if _, err := os.Stat(pinDir); errors.Is(err, os.ErrNotExist) {
		log.Info("nothing is pinned", "dir", pinDir)
		return nil
	}
	f, err := openPinDir(pinDir)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, name := range slices.Concat([]string{pinsCurrent, pinsNew, pinsGone}, pinsIn(pinDir, pinsReplaced), pinsIn(pinDir, pinsOld)) {
		if err := putAway(pinDir, name); err != nil {
			return err
		}
	}
	if err := os.Remove(pinDir); err != nil {
		return fmt.Errorf("removing the pin directory: %w", err)
	}
	log.Info("removed what was pinned", "dir", pinDir)
	return nil
}
