package ringstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// MaxRing is the most bytes that a ring can have; so the memory that reading a snapshot
// takes is bounded, whatever the file claims.
const MaxRing = 512 << 20

// maxSlots bounds the slots of a ring: one for each CPU.
const maxSlots = 4096

// ErrFree says that a ring belongs to no container, or to another one than when the
// operation began.
var ErrFree = errors.New("the ring was freed")

// A Ring is one container's ring, mapped into memory. Its methods only read, never wait
// for writers, and are safe for concurrent use.
type Ring struct {
	mem     memory
	shape   layout.Shape
	control int // offset of the control area
}

// NewRing returns the ring in mem, which is of the given shape. It keeps mem, which must
// stay mapped.
func NewRing(mem []byte, shape layout.Shape) (*Ring, error) {
	if err := checkShape(&shape); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	if len(mem) < int(shape.Bytes) {
		return nil, fmt.Errorf("ring: %d bytes are mapped, its shape says %d", len(mem), shape.Bytes)
	}
	words, err := newMemory(mem[:shape.Bytes])
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return &Ring{mem: words, shape: shape, control: int(shape.Pages) * layout.SizesPage}, nil
}

// checkShape returns why nothing of that shape can be read.
func checkShape(s *layout.Shape) error {
	if !readableLayout(s.Layout) {
		return fmt.Errorf("it has layout %d, this program knows layout %d. Try: the program of the version that wrote it",
			s.Layout, layout.SizesLayout)
	}
	need := uint64(s.Pages)*layout.SizesPage + layout.SizesSlotsAt + uint64(s.Slots)*layout.SizesSlot
	if s.Bytes > MaxRing || s.Bytes%8 != 0 || s.Pages == 0 || s.Slots == 0 || s.Slots > maxSlots || need > uint64(s.Bytes) {
		return fmt.Errorf("%d bytes for %d pages and %d slots do not make a ring of at most %d bytes",
			s.Bytes, s.Pages, s.Slots, MaxRing)
	}
	end := uint64(0)
	for i, lane := range s.Lane {
		if uint64(lane.First) < end || lane.Mask&(lane.Mask+1) != 0 || lane.Mask >= s.Slots {
			return fmt.Errorf("its %s lane begins at page %d, behind page %d, with mask %#x for %d slots",
				layout.LaneNames[i], lane.First, end, lane.Mask, s.Slots)
		}
		end = uint64(lane.First) + uint64(lane.Pages)
	}
	if end > uint64(s.Pages) {
		return fmt.Errorf("its lanes end at page %d of %d", end, s.Pages)
	}
	return nil
}

// oldestLayout is the oldest layout whose records, pages and control areas this version
// reads, in rings that an older service pinned and in files. What a layout adds takes the
// place of what was spare and zero before it, or is a kind, a flag, a bit that had no meaning:
// so the reader of the newest reads them all. A layout that must break this raises it.
const oldestLayout = 1

// readableLayout tells whether rings of a layout, pinned or in a file, can be read.
func readableLayout(n uint32) bool { return n >= oldestLayout && n <= layout.SizesLayout }

// controlLen returns the bytes of the control area with its slots.
func controlLen(s *layout.Shape) int {
	return layout.SizesSlotsAt + int(s.Slots)*layout.SizesSlot
}

// Control is what the kernel side and the service know of a ring besides its records.
type Control struct {
	Index    uint32 // of the ring
	Life     uint64 // counts the uses of all rings of the node; 0: the ring is free
	CgroupID uint64
	Name     string // base name of the cgroup
	Parent   string // and of its parent

	// Times; 0: has not happened.
	Armed, Frozen, BootDone, Gone, Exited int64
	Thawed                                int64 // when it was frozen last, and recorded again

	Dying     bool // a death was seen, its process is not gone yet
	NoPayload bool // the bytes of data buffers stay out
	UsesUring bool // a task of it used io_uring

	FirstPID               uint32 // the container's first process; 0: not known
	FirstBy                uint32 // how it is known, layout.FirstSeen and so on
	LimitData, LimitString uint32 // bytes of a capture

	Death *Death // nil: none

	Late     bool  // the service armed it when processes of the cgroup ran already
	Gaps     []Gap // the first ones, and the last one; nil: none
	MoreGaps int   // how many there were besides
}

// Control returns the present state of the ring.
func (r *Ring) Control() Control { return parseControl(r.copyControl(nil)) }

// copyControl returns the control area, in buf if it has room.
func (r *Ring) copyControl(buf []byte) []byte {
	n := controlLen(&r.shape)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	// Arming sets life last: where it is set, what is read after it is whole. The death's
	// mark of being whole stands before the rest, and words are copied in order.
	life := r.mem.load(r.control + layout.RingAtLife)
	r.mem.copyTo(buf, r.control)
	le.PutUint64(buf[layout.RingAtLife:], life)
	return buf
}

// life returns which use of the ring this is.
func (r *Ring) life() uint64 { return r.mem.load(r.control + layout.RingAtLife) }

func parseControl(b []byte) Control {
	var c layout.Ring
	// It cannot fail: b is longer than a control area.
	if _, err := binary.Decode(b, le, &c); err != nil {
		panic(err)
	}
	control := Control{
		Index: c.Index, Life: c.Life, CgroupID: c.Cgroup, Name: text(c.Name[:]), Parent: text(c.Parent[:]),
		Armed: int64(c.Armed), BootDone: int64(c.BootDone), Gone: int64(c.Gone), Exited: int64(c.Exited),
		Thawed:    int64(c.Thawed),
		Dying:     c.Flags&(layout.RingFlagDying|layout.RingFlagFrozen) == layout.RingFlagDying,
		NoPayload: c.Flags&layout.RingFlagNoPayload != 0,
		UsesUring: c.Flags&layout.RingFlagUsesUring != 0,
		FirstPID:  c.First, FirstBy: c.FirstBy, LimitData: c.LimitData, LimitString: c.LimitString,
	}
	control.Late = c.Late != 0
	for i := range min(int(c.Gaps), len(c.Gap)) {
		control.Gaps = append(control.Gaps, Gap{int64(c.Gap[i].From), int64(c.Gap[i].To)})
	}
	control.MoreGaps = int(c.Gaps) - len(control.Gaps)
	if c.Flags&layout.RingFlagFrozen != 0 {
		control.Frozen = int64(c.Frozen)
	}
	if d := &c.Death; d.Ready != 0 {
		control.Death = &Death{
			Time: int64(d.Time), PID: d.TGID, TID: d.TID, Comm: text(d.Comm[:]),
			First: d.Flags&layout.DeathFlagFirst != 0, Status: d.Status,
			Final:  d.Flags&layout.DeathFlagGroup != 0,
			Signal: d.Signal, Code: d.Code, Addr: d.Addr, SenderPID: d.PID, SenderUID: d.UID, More: d.More,
			Sender: senderOf(b[layout.RingAtDeath+layout.DeathAtSender:]), IP: d.IP, SP: d.SP,
			RSSPages: d.RSSPages, UsedPages: d.UsedPages,
			Told: int64(d.Told), Teller: senderOf(b[layout.RingAtDeath+layout.DeathAtTeller:]),
		}
		if d.Limit != 0 {
			control.Death.LimitPages = d.LimitPages
		}
		if int(d.Kind) < len(layout.DeathKindNames) {
			control.Death.Kind = layout.DeathKindNames[d.Kind]
		}
	}
	return control
}

// lostOf returns the records that were not written, by cause; nil if there are none.
func lostOf(control []byte) map[string]uint64 {
	var lost map[string]uint64
	for slot := control[layout.SizesSlotsAt:]; len(slot) >= layout.SizesSlot; slot = slot[layout.SizesSlot:] {
		for cause, name := range layout.LostNames {
			if n := le.Uint64(slot[layout.SlotAtLost+8*cause:]); n > 0 {
				if lost == nil {
					lost = make(map[string]uint64)
				}
				lost[name] += n
			}
		}
	}
	return lost
}

const (
	// How often a page is copied that is handed to another writer meanwhile.
	pageTries = 4
	// How often a ring is copied of which a lane was overwritten whole meanwhile.
	copyTries = 32
)

// Copy returns the ring's content as of now, or as of the time when it was frozen. now
// tells the time; running, if it is not nil, lists the running tasks, of which those of
// this ring are kept. The error is ErrFree (wrapped) where the ring has no container, or
// that of running.
func (r *Ring) Copy(now func() int64, running func() ([]Running, error)) (*Image, error) {
	for try := 1; ; try++ {
		img := new(Image)
		if err := r.copyInto(img, now, running); err != nil {
			return nil, err
		}
		if try == copyTries || !img.outrun() {
			return img, nil
		}
	}
}

// copyInto is one try of Copy. It uses what img has allocated.
func (r *Ring) copyInto(img *Image, now func() int64, running func() ([]Running, error)) error {
	img.shape = r.shape
	img.pages, img.running, img.files, img.unvouched = img.pages[:0], nil, nil, [Lanes]int64{}
	img.blocks.reset()
	// The order is the proof that nothing is missing: what was committed before the
	// instant is in the pages; what was not is running when the tasks are listed, or was
	// committed by then. The counters of the control area come before the pages, whose
	// content can only be younger.
	img.control = r.copyControl(img.control)
	life := le.Uint64(img.control[layout.RingAtLife:])
	if life == 0 {
		return fmt.Errorf("copy ring: %w", ErrFree)
	}
	img.setInstant(now())
	if running != nil {
		tasks, err := running()
		if err != nil {
			return fmt.Errorf("copy ring: list its running tasks: %w", err)
		}
		index := le.Uint32(img.control[layout.RingAtIndex:])
		for _, t := range tasks {
			if t.Ring == index && t.Life == life {
				img.running = append(img.running, t)
			}
		}
	}
	for lane, shape := range r.shape.Lane {
		for i := range shape.Pages {
			r.copyPage(img, Lane(lane), shape.First+i)
		}
	}
	if r.life() != life {
		return fmt.Errorf("copy ring: %w", ErrFree)
	}
	return nil
}

// copyPage adds one page to the image, if it can be vouched for.
func (r *Ring) copyPage(img *Image, lane Lane, index uint32) {
	at := int(index) * layout.SizesPage
	for range pageTries {
		state := r.mem.load(at + layout.PageAtState)
		if state == 0 {
			return // never used
		}
		// A page that was just taken has a head before it says so, and no records.
		n := min(max(stateUsed(state)&^7, layout.SizesPageHead), layout.SizesPage)
		page := img.blocks.take(n)
		r.mem.copyTo(page, at)
		if stateOpen(state) && !r.settle(page, at) {
			img.blocks.giveBack(n)
			continue
		}
		if again := r.mem.load(at + layout.PageAtState); stateSeq(again) == stateSeq(state) {
			le.PutUint64(page[layout.PageAtState:], state)
			img.pages = append(img.pages, imagePage{index: index, lane: lane, b: page})
			return
		}
		img.blocks.giveBack(n)
	}
	img.unvouched[lane] = img.instant
}

// How often a fold is read that is written meanwhile, which takes much longer than reading it.
const foldTries = 1000

// settle reads the folds in the copy of an open page again, until what it has of each
// belongs together. Where it fails, so does settle.
func (r *Ring) settle(page []byte, at int) bool {
	const counter = layout.FoldAtCount &^ 7 // the word that the count stands in
	for i := layout.SizesPageHead; i < len(page); {
		// The length and the kind are never written again, the rest may not be valid yet.
		size := int(le.Uint16(page[i:]))
		if size < layout.SizesRecordHead || size%8 != 0 || size > len(page)-i {
			return true // no record, nor what follows
		}
		if b := page[i : i+size]; recordKind(b) == kindFold && size == layout.SizeofFold {
			for try := 0; ; try++ {
				if le.Uint64(b[counter:]) == r.mem.load(at+i+counter) {
					break
				}
				if try == foldTries {
					return false
				}
				r.mem.copyTo(b[counter:], at+i+counter)
			}
		}
		i += size
	}
	return true
}

// A Stat sums a ring's content up without decoding it.
type Stat struct {
	Bytes       uint64            // of the pages in use
	Held        [Lanes]uint64     // calls and events that can be read; each call of a run counts
	Overwritten [Lanes]uint64     // calls and events that were written and are gone
	Lost        map[string]uint64 // records that were not written, by cause
	Damaged     int               // pages with something that is no record, the rest of which is left out
	// Oldest and Newest are the first and last start of a record, or the end of a run; 0 if
	// there is none.
	Oldest, Newest int64
	// CompleteSince is as in History.
	CompleteSince     int64
	LaneCompleteSince [Lanes]int64
}

// Records returns the calls and events held in all lanes.
func (s *Stat) Records() uint64 { return sum(s.Held) }

// TotalOverwritten returns the calls and events overwritten in all lanes.
func (s *Stat) TotalOverwritten() uint64 { return sum(s.Overwritten) }

func sum(counts [Lanes]uint64) (total uint64) {
	for _, n := range counts {
		total += n
	}
	return total
}

// Stat returns the figures of the ring's content as of now; those of a free ring are
// zero. It costs a copy of the ring and no allocation that lasts.
func (r *Ring) Stat(now func() int64) Stat {
	img := images.Get().(*Image)
	defer images.Put(img)
	if err := r.copyInto(img, now, nil); err != nil {
		return Stat{}
	}
	return img.Stat()
}
