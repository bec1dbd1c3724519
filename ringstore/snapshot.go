package ringstore

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// The snapshot format. All integers are little-endian, all checksums CRC-32C.
//
//	file     head | metadata | frame ... | trailer
//
//	head      0        8      12      16      20      24      28      32
//	          +--------+-------+-------+-------+-------+-------+-------+
//	          | magic  |version|layout |  len  |  sum  |   0   |  sum  |
//	          +--------+-------+-------+-------+-------+-------+-------+
//	           "\x89SWOLL\r\n"           of the metadata        of 0..28
//
//	metadata  JSON, not compressed: SnapshotMeta. At most 1 MiB.
//
//	frame     0       4       8       12      16      20
//	          +-------+-------+-------+-------+-------+---------------+
//	          | kind  |  raw  |stored |  sum  |  sum  | zstd frame ...|
//	          +-------+-------+-------+-------+-------+---------------+
//	                    bytes,  bytes   of the  of 0..16
//	                    at most of the  raw
//	                    1 MiB   frame   bytes
//
//	trailer   0       4       8               16      20
//	          +-------+-------+---------------+-------+
//	          | "end!"|   0   | bytes of file |  sum  |
//	          +-------+-------+---------------+-------+
//	                                           of all bytes before it
//
// Version is that of the file format; layout is SWOLL_LAYOUT, that of the records. A
// reader refuses what it does not know of both, and skips kinds of frames that it does
// not know. Each frame can be decompressed by itself. Their raw bytes, by kind:
//
//	1 ring, the first frame:
//
//	          0        8       16            48      56               152
//	          +--------+-------+-------------+-------+----------------+---------+
//	          |instant | owed  | unvouched*4 | pages |struct          | control |
//	          |        |       |             |       |swoll_shape     | area    |
//	          +--------+-------+-------------+-------+----------------+---------+
//
//	  instant    the time as of which the content is, ns CLOCK_MONOTONIC
//	  owed       until when the exits of a death were still written
//	  unvouched  for each lane: what was written until then may be missing; 0: nothing
//	  pages      number of pages in the file
//	  control    struct swoll_ring, and the slots at SWOLL_SLOTS_AT
//
//	2 running: a piece of the list of tasks that were alive, struct swoll_running each.
//
//	4 files:  0       8
//	          +-------+----------------------+
//	          |  end  | struct swoll_files, with the files that it lists ...
//	          +-------+----------------------+
//
//	  end        until when the list was read, ns CLOCK_MONOTONIC
//
//	3 pages:  0       4       8
//	          +-------+-------+----------------------+
//	          | index | bytes | the used part of the | ... the next page
//	          +-------+-------+ page, head first     |
//
// The ring comes first, then the tasks and the lists, then the pages, the youngest record first. So
// where a file ends early, or is damaged, it still holds all that is younger than what is
// missing: its history is complete from a later time, as if more had been overwritten.

const (
	snapshotMagic   = "\x89SWOLL\r\n"
	snapshotVersion = 1
	trailerMagic    = "end!"

	headLen    = 32
	frameHead  = 20
	trailerLen = 20

	maxMeta   = 1 << 20
	maxRaw    = 1 << 20
	maxStored = maxRaw + 64<<10 // what does not compress grows
	frameGoal = 256 << 10       // raw bytes of a frame as written

	maxRunningFrames = 64 // with the tasks of them all, some 100,000

	frameRing    = 1
	frameRunning = 2
	framePages   = 3
	frameFiles   = 4

	ringFrameHead = 56
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// SnapshotMeta is what a snapshot's head says of it: whose it is, and the figures that a
// list shows. Fields are added, never changed.
type SnapshotMeta struct {
	Meta
	// Now is the instant of the history; see History for it and CompleteSince.
	Now           int64  `json:"now"`
	Records       uint64 `json:"records"`
	Overwritten   uint64 `json:"overwritten"`
	RingBytes     uint64 `json:"ringBytes"` // of the ring's pages in use, uncompressed
	Oldest        int64  `json:"oldest"`    // start of the first and last record
	Newest        int64  `json:"newest"`
	CompleteSince int64  `json:"completeSince"`
	// Verdict is what explained the history when it was saved.
	Verdict json.RawMessage `json:"verdict,omitempty"`
}

// A Snapshot is the content of a snapshot file.
type Snapshot struct {
	Meta SnapshotMeta
	img  *Image // nil: nothing of the ring could be read
}

// History decodes the snapshot.
func (s *Snapshot) History() *History {
	if s.img == nil {
		h := &History{Meta: s.Meta.Meta, Now: s.Meta.Now, CompleteSince: s.Meta.Now + 1}
		for lane := range h.LaneCompleteSince {
			h.LaneCompleteSince[lane] = h.CompleteSince
		}
		return h
	}
	return s.img.History(s.Meta.Meta)
}

// Stream is History with the events apart; see Image.Stream.
func (s *Snapshot) Stream() (*History, iter.Seq[*Event]) {
	if s.img == nil {
		h := s.History()
		return h, h.All()
	}
	return s.img.Stream(s.Meta.Meta)
}

// Image returns the copy of the ring, or nil if nothing of it could be read.
func (s *Snapshot) Image() *Image { return s.img }

// Errors of files that are no readable snapshots at all.
var (
	ErrNotSnapshot = errors.New("this is not a snapshot of swoll. Try: a file that \"swoll-dump export\" wrote")
	ErrNewer       = errors.New("this snapshot was written by another version of swoll. Try: swoll-dump of that version")
)

// A DamageError tells where a snapshot is damaged.
type DamageError struct {
	Offset int64  // byte of the file where the damaged part begins
	What   string // what is wrong with which part
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the snapshot is damaged at byte %d: %s. Try: another copy of the file", e.Offset, e.What)
}

// WriteSnapshot writes the image with its metadata, whose verdict may be nil, and returns
// the bytes written. The figures of the metadata are those of the image.
func WriteSnapshot(w io.Writer, meta Meta, verdict json.RawMessage, img *Image) (int64, error) {
	n, err := writeSnapshot(w, meta, verdict, img, frameGoal)
	if err != nil {
		return n, fmt.Errorf("write snapshot: %w", err)
	}
	return n, nil
}

// writeSnapshot is WriteSnapshot with frames of about goal raw bytes.
func writeSnapshot(w io.Writer, meta Meta, verdict json.RawMessage, img *Image, goal int) (int64, error) {
	stat := img.Stat()
	h := img.header(meta, &stat)
	tasks, left := runningFrames(img.running, goal)
	if left > 0 {
		h.Meta.Notes = append(slices.Clip(h.Meta.Notes), fmt.Sprintf("%d running tasks are left out", left))
	}
	text, err := json.Marshal(SnapshotMeta{
		Meta: h.Meta, Now: h.Now, Records: stat.Records(), Overwritten: stat.TotalOverwritten(), RingBytes: stat.Bytes,
		Oldest: stat.Oldest, Newest: stat.Newest, CompleteSince: stat.CompleteSince, Verdict: verdict,
	})
	if err != nil {
		return 0, fmt.Errorf("metadata: %w", err)
	}
	if len(text) > maxMeta {
		return 0, fmt.Errorf("its metadata are %d bytes, at most %d can be stored", len(text), maxMeta)
	}
	f, err := newFrameWriter(w)
	if err != nil {
		return 0, err
	}
	f.head(img.shape.Layout, text)
	f.ring(img)
	for _, raw := range tasks {
		f.frame(frameRunning, raw)
	}
	for _, l := range img.files {
		f.frame(frameFiles, l.append(nil))
	}
	f.pages(img, goal)

	f.trailer()
	return f.n, f.err
}

// frameWriter writes and sums up; after an error it does nothing.
type frameWriter struct {
	w      io.Writer
	enc    *zstd.Encoder
	n      int64
	sum    uint32
	err    error
	stored []byte
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(frameGoal), zstd.WithEncoderCRC(false))
	return &frameWriter{w: w, enc: enc}, err
}

// head writes the head and the metadata.
func (f *frameWriter) head(records uint32, meta []byte) {
	b := append(make([]byte, 0, headLen), snapshotMagic...)
	b = le.AppendUint32(b, snapshotVersion)
	b = le.AppendUint32(b, records)
	b = le.AppendUint32(b, uint32(len(meta)))
	b = le.AppendUint32(b, checksum(meta))
	b = le.AppendUint32(b, 0)
	f.write(le.AppendUint32(b, checksum(b)))
	f.write(meta)
}

func (f *frameWriter) trailer() {
	b := le.AppendUint32([]byte(trailerMagic), 0)
	b = le.AppendUint64(b, uint64(f.n)+trailerLen)
	f.write(b)
	f.write(le.AppendUint32(nil, f.sum))
}

func (f *frameWriter) write(b []byte) {
	if f.err != nil {
		return
	}
	n, err := f.w.Write(b)
	f.n += int64(n)
	f.sum = crc32.Update(f.sum, castagnoli, b)
	f.err = err
}

func (f *frameWriter) frame(kind uint32, raw []byte) {
	if f.err != nil {
		return
	}
	f.stored = f.enc.EncodeAll(raw, append(f.stored[:0], make([]byte, frameHead)...))
	h := f.stored[:frameHead]
	le.PutUint32(h[0:], kind)
	le.PutUint32(h[4:], uint32(len(raw)))
	le.PutUint32(h[8:], uint32(len(f.stored)-frameHead))
	le.PutUint32(h[12:], checksum(raw))
	le.PutUint32(h[16:], checksum(h[:16]))
	f.write(f.stored)
}

func (f *frameWriter) ring(img *Image) {
	raw := le.AppendUint64(nil, uint64(img.instant))
	raw = le.AppendUint64(raw, uint64(img.owed))
	for _, t := range img.unvouched {
		raw = le.AppendUint64(raw, uint64(t))
	}
	raw = le.AppendUint64(raw, uint64(len(img.pages)))
	raw, err := binary.Append(raw, le, &img.shape)
	if err != nil {
		f.err = err
		return
	}
	f.frame(frameRing, append(raw, img.control...))
}

// runningFrames returns the tasks as the raw bytes of frames, and how many do not fit into
// a file.
func runningFrames(tasks []Running, goal int) (frames [][]byte, left int) {
	var raw []byte
	for i := range tasks {
		if raw = tasks[i].append(raw); len(raw) >= goal || i == len(tasks)-1 {
			frames = append(frames, raw)
			raw = nil
			if len(frames) == maxRunningFrames {
				return frames, len(tasks) - i - 1
			}
		}
	}
	return frames, 0
}

func (f *frameWriter) pages(img *Image, goal int) {
	pages := slices.Clone(img.pages)
	slices.SortStableFunc(pages, func(a, b imagePage) int {
		return -cmp.Compare(headOf(a.b).last, headOf(b.b).last)
	})
	raw := make([]byte, 0, goal)
	for _, page := range pages {
		if len(raw) > 0 && len(raw)+8+len(page.b) > goal {
			f.frame(framePages, raw)
			raw = raw[:0]
		}
		raw = le.AppendUint32(raw, page.index)
		raw = le.AppendUint32(raw, uint32(len(page.b)))
		raw = append(raw, page.b...)
	}
	if len(raw) > 0 {
		f.frame(framePages, raw)
	}
}

// ReadSnapshot reads a snapshot of size bytes. Where it is damaged behind its metadata,
// it returns what is whole before the damage together with a *DamageError. Other errors
// are ErrNotSnapshot, ErrNewer (wrapped) and those of r. The memory that it takes is
// bounded by the ring that was saved, and that by MaxRing.
func ReadSnapshot(r io.ReaderAt, size int64) (*Snapshot, error) {
	f := &frameReader{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)}
	meta, err := f.meta()
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	s := &Snapshot{Meta: *meta}
	s.img, err = f.image()
	if err == nil && f.n != size {
		err = &DamageError{f.n, "its end is followed by other bytes"}
	}
	if err != nil {
		return s, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

// ReadSnapshotMeta reads only the head of a snapshot. Its errors are those of
// ReadSnapshot.
func ReadSnapshotMeta(r io.Reader) (*SnapshotMeta, error) {
	meta, err := (&frameReader{r: r}).meta()
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return meta, nil
}

// frameReader reads and sums up.
type frameReader struct {
	r   io.Reader
	n   int64
	sum uint32
	buf []byte
}

// read returns the next n bytes, valid until it is called again; what names them.
func (f *frameReader) read(n int, what string) ([]byte, error) {
	if cap(f.buf) < n {
		f.buf = make([]byte, n)
	}
	b := f.buf[:n]
	if got, err := io.ReadFull(f.r, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, f.damage("the file ends %d bytes before the end of %s", n-got, what)
	} else if err != nil {
		return nil, err
	}
	f.n += int64(n)
	f.sum = crc32.Update(f.sum, castagnoli, b)
	return b, nil
}

// damage returns the error for the part that ends, or would end, where reading is.
func (f *frameReader) damage(format string, args ...any) error {
	return &DamageError{f.n, fmt.Sprintf(format, args...)}
}

func (f *frameReader) meta() (*SnapshotMeta, error) {
	head, err := f.read(headLen, "its head")
	if err != nil {
		if damage := (*DamageError)(nil); errors.As(err, &damage) {
			return nil, ErrNotSnapshot
		}
		return nil, err
	}
	if string(head[:8]) != snapshotMagic {
		return nil, ErrNotSnapshot
	}
	if checksum(head[:28]) != le.Uint32(head[28:]) {
		return nil, &DamageError{0, "the checksum of its head does not match"}
	}
	if version, records := le.Uint32(head[8:]), le.Uint32(head[12:]); version != snapshotVersion || !readableLayout(records) {
		return nil, fmt.Errorf("it has format %d and layout %d, this program reads format %d and layout %d: %w",
			version, records, snapshotVersion, layout.SizesLayout, ErrNewer)
	}
	size, sum := le.Uint32(head[16:]), le.Uint32(head[20:])
	if size > maxMeta {
		return nil, &DamageError{16, fmt.Sprintf("its metadata are said to be %d bytes, at most %d can be", size, maxMeta)}
	}
	text, err := f.read(int(size), "its metadata")
	if err != nil {
		return nil, err
	}
	if checksum(text) != sum {
		return nil, &DamageError{headLen, "the checksum of its metadata does not match"}
	}
	meta := new(SnapshotMeta)
	if err := json.Unmarshal(text, meta); err != nil {
		return nil, &DamageError{headLen, fmt.Sprintf("its metadata cannot be read: %v", err)}
	}
	return meta, nil
}

// image reads all that follows the metadata. With an error it returns what came before
// the damage, or nil if the ring frame did not.
func (f *frameReader) image() (*Image, error) {
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	img := &imageReader{}
	for {
		at := f.n
		kind, raw, err := f.frame(dec)
		if err == nil {
			if kind == 0 {
				return img.done()
			}
			if what := img.add(kind, raw); what != "" {
				err = &DamageError{at, what}
			}
		}
		if err != nil {
			return img.cut(), err
		}
	}
}

// newDecoder returns a decoder that writes no more than it is given room for.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecodeAllCapLimit(true))
}

// frame returns the next frame's kind and raw bytes, which the caller keeps; kind 0 is a
// valid trailer.
func (f *frameReader) frame(dec *zstd.Decoder) (uint32, []byte, error) {
	at, sum := f.n, f.sum
	head, err := f.read(frameHead, "a frame")
	if err != nil {
		return 0, nil, err
	}
	if string(head[:4]) == trailerMagic {
		sum = crc32.Update(sum, castagnoli, head[:16])
		if le.Uint32(head[4:]) != 0 || le.Uint64(head[8:]) != uint64(f.n) || le.Uint32(head[16:]) != sum {
			return 0, nil, &DamageError{at, "the checksum of the file does not match"}
		}
		return 0, nil, nil
	}
	kind, rawLen, stored := le.Uint32(head), le.Uint32(head[4:]), le.Uint32(head[8:])
	rawSum := le.Uint32(head[12:])
	switch {
	case checksum(head[:16]) != le.Uint32(head[16:]):
		return 0, nil, &DamageError{at, "the checksum of a frame's head does not match"}
	case kind == 0 || rawLen > maxRaw || stored > maxStored:
		return 0, nil, &DamageError{at, fmt.Sprintf("a frame of kind %d is said to hold %d bytes in %d, at most %d in %d can be",
			kind, rawLen, stored, maxRaw, maxStored)}
	}
	b, err := f.read(int(stored), "a frame")
	if err != nil {
		return 0, nil, err
	}
	raw, err := dec.DecodeAll(b, make([]byte, 0, rawLen))
	if err != nil {
		return 0, nil, &DamageError{at, fmt.Sprintf("a frame cannot be decompressed: %v", err)}
	}
	if uint32(len(raw)) != rawLen || checksum(raw) != rawSum {
		return 0, nil, &DamageError{at, "the checksum of a frame does not match"}
	}
	return kind, raw, nil
}

// imageReader puts an image together from frames.
type imageReader struct {
	img      *Image
	pages    uint64 // that there are to be
	have     map[uint32]bool
	running  int   // bytes of the list of tasks
	youngest int64 // bound of what the pages not yet read hold
}

// add takes a frame and keeps its bytes. It returns what is wrong with it, and takes
// nothing of it then.
func (ir *imageReader) add(kind uint32, raw []byte) string {
	if (kind == frameRing) != (ir.img == nil) {
		return "its frames are not in order"
	}
	switch kind {
	case frameRing:
		return ir.addRing(raw)
	case frameRunning:
		if ir.running++; ir.running > maxRunningFrames {
			return fmt.Sprintf("it lists running tasks in more than %d frames", maxRunningFrames)
		}
		tasks, err := ParseRunning(raw)
		if err != nil {
			return err.Error()
		}
		ir.img.running = append(ir.img.running, tasks...)
	case frameFiles:
		l := parseFileList(raw)
		if l == nil || len(ir.img.files) >= maxFileLists {
			return "a list of open files is not valid"
		}
		ir.img.files = append(ir.img.files, l)
	case framePages:
		return ir.addPages(raw)
	}
	return ""
}

func (ir *imageReader) addRing(raw []byte) string {
	const control = ringFrameHead + layout.SizeofShape
	if len(raw) < control {
		return "the ring's frame is too short"
	}
	img := &Image{instant: int64(le.Uint64(raw)), owed: int64(le.Uint64(raw[8:])), control: raw[control:]}
	for lane := range img.unvouched {
		img.unvouched[lane] = int64(le.Uint64(raw[16+8*lane:]))
		if t := img.unvouched[lane]; t < 0 || t > math.MaxInt64/2 {
			return "the ring's frame holds an impossible time"
		}
	}
	if img.instant <= 0 || img.instant > math.MaxInt64/2 {
		return "the ring's frame holds an impossible time"
	}
	if _, err := binary.Decode(raw[ringFrameHead:], le, &img.shape); err != nil {
		return err.Error()
	}
	if err := checkShape(&img.shape); err != nil {
		return err.Error()
	}
	if len(img.control) != controlLen(&img.shape) {
		return "the ring's frame does not hold the control area that its shape asks for"
	}
	ir.img, ir.pages = img, le.Uint64(raw[48:])
	ir.have, ir.youngest = make(map[uint32]bool), img.instant
	return ""
}

func (ir *imageReader) addPages(raw []byte) string {
	var pages []imagePage
	for len(raw) > 0 {
		if len(raw) < 8 {
			return "a page is too short"
		}
		index, size := le.Uint32(raw), le.Uint32(raw[4:])
		raw = raw[8:]
		if size < layout.SizesPageHead || size > layout.SizesPage || size%8 != 0 || int(size) > len(raw) {
			return fmt.Sprintf("page %d is said to have %d bytes", index, size)
		}
		lane, ok := laneOf(&ir.img.shape, index)
		if !ok || ir.have[index] {
			return fmt.Sprintf("page %d is there twice, or in no lane", index)
		}
		ir.have[index] = true
		pages = append(pages, imagePage{index: index, lane: lane, b: raw[:size:size]})
		raw = raw[size:]
	}
	if len(pages) > 0 {
		ir.youngest = headOf(pages[len(pages)-1].b).last
	}
	ir.img.pages = append(ir.img.pages, pages...)
	return ""
}

// laneOf returns the lane that a page is in.
func laneOf(shape *layout.Shape, index uint32) (Lane, bool) {
	for i, lane := range shape.Lane {
		if index >= lane.First && index-lane.First < lane.Pages {
			return Lane(i), true
		}
	}
	return 0, false
}

// done returns the image after the trailer.
func (ir *imageReader) done() (*Image, error) {
	if ir.img == nil || uint64(len(ir.img.pages)) != ir.pages {
		return ir.cut(), &DamageError{0, "it ends well, but does not hold what it says"}
	}
	return ir.img, nil
}

// cut returns the image after damage: of what is missing, everything may be as young as
// the oldest page that is there.
func (ir *imageReader) cut() *Image {
	if ir.img == nil || uint64(len(ir.img.pages)) == ir.pages {
		return ir.img
	}
	for lane := range ir.img.unvouched {
		ir.img.unvouched[lane] = max(ir.img.unvouched[lane], min(ir.youngest, ir.img.instant))
	}
	return ir.img
}
