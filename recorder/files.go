package recorder

import (
	"sync/atomic"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
)

// What processes have open is listed from time to time, so that a dump knows what their
// descriptors stood for when the calls that opened them were overwritten, and the processes
// have closed them, or are dead, since.
const (
	// filesEvery is how often at least, filesTick how often at most: where a recent lane
	// has taken half of its pages since.
	filesEvery = 10 * time.Second
	filesTick  = time.Second
	// keptLists are kept of each container, keptBytes of memory at most for each of them.
	keptLists = 3
	keptBytes = 256 << 10
)

// listFiles lists what processes have open if it is time to. Only the recorder's loop
// calls it.
func (r *Recorder) listFiles(all []*instance, now time.Time) {
	since := now.Sub(r.listed)
	if since < filesTick {
		return
	}
	due := false
	for _, i := range all {
		pages := r.handedOut(i) - i.listedAt.Load()
		if pages > 0 && since >= filesEvery || pages > uint64(r.recentPages())/2 {
			due = true
			break
		}
	}
	if !due {
		return
	}
	r.listed = now
	lists := r.openFiles()
	for _, i := range all {
		i.listedAt.Store(r.handedOut(i))
		i.keepFiles(lists[i.life])
	}
}

// handedOut is how many pages the recent lane of an instance has handed out so far.
func (r *Recorder) handedOut(i *instance) uint64 {
	return atomic.LoadUint64(&r.k.control(i.ring).Lane[ringstore.LaneRecent].Next)
}

func (r *Recorder) recentPages() uint32 { return r.k.shape.Lane[ringstore.LaneRecent].Pages }

// openFiles lists what processes have open, by the life of their rings. Without the list a
// history is the same, and only less is known of what its descriptors stood for.
func (r *Recorder) openFiles() map[uint64]*ringstore.FileList {
	lists, err := r.k.openFiles()
	if err != nil {
		r.log.Warn("what file descriptors stand for is known only in part", "err", err)
	}
	return lists
}

// keepFiles adds a list to those that are kept of the instance; nil is none.
func (i *instance) keepFiles(l *ringstore.FileList) {
	if l == nil || l.Size() > keptBytes {
		return
	}
	i.filesMu.Lock()
	defer i.filesMu.Unlock()
	if i.files = append(i.files, l); len(i.files) > keptLists {
		// A new array: who has the old one goes on with it.
		i.files = append([]*ringstore.FileList(nil), i.files[1:]...)
	}
}

// addFiles adds to a copy of the ring what its processes had open: the lists that are kept,
// and one that was just made, which may be nil.
func (i *instance) addFiles(img *ringstore.Image, l *ringstore.FileList) {
	i.filesMu.Lock()
	kept := i.files
	i.filesMu.Unlock()
	for _, k := range kept {
		img.AddFiles(k)
	}
	img.AddFiles(l)
}
