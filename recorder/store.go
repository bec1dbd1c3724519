package recorder

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

// suffix of snapshot files in the state directory.
const suffix = ".swoll"

// errNoStore says that snapshots are turned off.
var errNoStore = errors.New("no state directory was given, so nothing is saved")

// store is the snapshots of a node: files in one directory, whose heads it knows. Its
// methods are safe for concurrent use.
type store struct {
	dir      string
	maxBytes int64
	keep     int
	log      *slog.Logger
	lock     *os.File

	saving sync.Mutex // one at a time: the quota is counted before and after
	mu     sync.Mutex
	snaps  []api.Snapshot    // oldest first
	origin map[string]origin // by the snapshot's id
}

// origin is what a snapshot was made of: one use of a ring, and the death that it tells of,
// or, of one without a death, why it was made. Times are ns CLOCK_MONOTONIC; that those of
// another boot are the same does not happen.
type origin struct {
	cgroup       uint64
	armed, death int64
	reason       string
}

func originOf(m *ringstore.Meta) origin {
	o := origin{cgroup: m.CgroupID, armed: m.Armed}
	if m.Death != nil && m.Trigger != api.TriggerManual {
		o.death = m.Death.Time
	} else {
		o.reason = m.Reason
	}
	return o
}

// has tells whether there is a snapshot of this origin.
func (s *store) has(o origin) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.origin {
		if x == o {
			return true
		}
	}
	return false
}

// numberOf is the number of the life of which there is a snapshot with that use of a ring.
func (s *store) numberOf(o origin) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.snaps {
		if x := s.origin[s.snaps[i].ID]; x.cgroup == o.cgroup && x.armed == o.armed {
			return s.snaps[i].Instance, true
		}
	}
	return 0, false
}

// openStore reads the heads of all snapshots. A directory that cannot be written is an
// error only when something is to be saved.
func openStore(dir string, maxBytes int64, keep int, log *slog.Logger) (*store, error) {
	s := &store{dir: dir, maxBytes: maxBytes, keep: keep, log: log, origin: map[string]origin{}}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, unix.EROFS) {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		log.Error("there is no state directory, and it cannot be made: no snapshot will be saved", "dir", dir)
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("state directory %s is in use by another swolld (%w); stop it first, or give this one a --state-dir of its own", dir, err)
	}
	s.lock = f
	if err := unix.Access(dir, unix.W_OK); err != nil {
		log.Error("the state directory cannot be written: no snapshot will be saved until it can", "dir", dir, "err", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("reading the state directory: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if unfinished(e.Name()) {
			_ = os.Remove(path)
			continue
		}
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !idPattern.MatchString(id) {
			continue
		}
		snap, o, err := readHead(path)
		if err != nil {
			log.Warn("a snapshot cannot be read and is left alone", "file", path, "err", err)
			continue
		}
		snap.ID = id
		s.snaps = append(s.snaps, snap)
		s.origin[id] = o
	}
	slices.SortFunc(s.snaps, byCreated)
	return s, nil
}

func (s *store) close() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// unfinished tells by its name that a file is of a service that died while saving it.
func unfinished(name string) bool {
	return strings.HasPrefix(name, ".") && (strings.Contains(name, suffix) || strings.Contains(name, namesFile))
}

func byCreated(a, b api.Snapshot) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// readHead reads what the list shows of a snapshot file, and what it was made of.
func readHead(path string) (api.Snapshot, origin, error) {
	f, err := os.Open(path)
	if err != nil {
		return api.Snapshot{}, origin{}, err
	}
	defer f.Close()
	meta, err := ringstore.ReadSnapshotMeta(f)
	if err != nil {
		return api.Snapshot{}, origin{}, err
	}
	st, err := f.Stat()
	if err != nil {
		return api.Snapshot{}, origin{}, err
	}
	return describe(meta, st.Size()), originOf(&meta.Meta), nil
}

// describe makes what the API shows of a snapshot.
func describe(m *ringstore.SnapshotMeta, size int64) api.Snapshot {
	s := api.Snapshot{
		ID: m.ID, Namespace: m.Namespace, Pod: m.Pod, Container: m.Container, Instance: m.Instance,
		UID: m.PodUID, ContainerID: m.ContainerID, Image: m.Image, Labels: m.Labels, Node: m.Node,
		Trigger: m.Trigger, Deleted: m.Deleted, Reason: m.Reason, Created: m.Created, Bytes: size, Records: m.Records, Verdict: m.Verdict,
		IOUring: m.Uring, IOUringUnseen: m.UringUnseen,
	}
	if d := m.Death; d != nil {
		code := d.ExitCode()
		s.ExitCode = &code
		if sig := cmp.Or(d.Status&0x7f, d.Signal); sig != 0 && d.Kind != api.TriggerExit {
			name := unix.SignalName(unix.Signal(sig))
			if name == "" {
				name = fmt.Sprintf("SIG%d", sig)
			}
			s.Signal = &name
		}
	}
	return s
}

var (
	idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	notInID   = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// newID makes an id that is unique, sorts by time, and can stand in a file name.
func newID(m *ringstore.Meta) string {
	var b [3]byte
	_, _ = rand.Read(b[:])
	pod := strings.Trim(notInID.ReplaceAllString(m.Pod, "-"), "-.")
	return m.Created.UTC().Format("20060102T150405") + "-" + pod[:min(len(pod), 80)] + "-" + hex.EncodeToString(b[:])
}

// save writes a snapshot: beside its place, then renamed into it.
func (s *store) save(meta *ringstore.Meta, img *ringstore.Image) (api.Snapshot, error) {
	if s.dir == "" {
		return api.Snapshot{}, errNoStore
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	meta.ID = newID(meta)
	history, events := img.Stream(*meta)
	meta.Death, meta.Lost = history.Meta.Death, history.Meta.Lost
	meta.Late, meta.Gaps, meta.MoreGaps = history.Meta.Late, history.Meta.Gaps, history.Meta.MoreGaps
	v := verdict.Explain(history, events)
	if meta.Reason == "" {
		meta.Reason = v.Summary
	}
	v.Stack = nil // it stands beside the verdict
	text, err := json.Marshal(v)
	if err != nil {
		return api.Snapshot{}, fmt.Errorf("the verdict of a snapshot: %w", err)
	}
	return s.write(meta, text, img)
}

// write writes a snapshot, with the text of its verdict, to its place, in which an older
// form of it may be. Called with saving held.
func (s *store) write(meta *ringstore.Meta, text json.RawMessage, img *ringstore.Image) (api.Snapshot, error) {
	path := s.path(meta.ID)
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(s.dir), renameio.WithPermissions(0o600))
	if err != nil {
		return api.Snapshot{}, fmt.Errorf("saving snapshot %s: %w", meta.ID, err)
	}
	defer f.Cleanup()
	size, err := ringstore.WriteSnapshot(f, *meta, text, img)
	if err != nil {
		return api.Snapshot{}, fmt.Errorf("saving snapshot %s: %w", meta.ID, err)
	}
	if size > s.maxBytes {
		return api.Snapshot{}, fmt.Errorf("saving snapshot %s: its %d bytes are more than the quota of %d; raise --snapshot-max-bytes", meta.ID, size, s.maxBytes)
	}
	s.makeRoom(meta, size)
	if err := f.CloseAtomicallyReplace(); err != nil {
		return api.Snapshot{}, fmt.Errorf("saving snapshot %s: %w", meta.ID, err)
	}
	snap, o, err := readHead(path)
	if err != nil {
		return api.Snapshot{}, fmt.Errorf("reading back snapshot %s: %w", meta.ID, err)
	}
	s.mu.Lock()
	s.snaps = slices.DeleteFunc(s.snaps, func(x api.Snapshot) bool { return x.ID == meta.ID })
	s.snaps = append(s.snaps, snap)
	s.origin[snap.ID] = o
	slices.SortFunc(s.snaps, byCreated)
	s.mu.Unlock()
	return snap, nil
}

func (s *store) path(id string) string { return filepath.Join(s.dir, id+suffix) }

func owner(s *api.Snapshot) identity {
	return identity{namespace: s.Namespace, pod: s.Pod, uid: s.UID, container: s.Container}
}

// makeRoom removes snapshots until one of this size, of this container, fits the quotas.
func (s *store) makeRoom(meta *ringstore.Meta, size int64) {
	mine := identity{namespace: meta.Namespace, pod: meta.Pod, uid: meta.PodUID, container: meta.Container}
	for {
		s.mu.Lock()
		total, count := size, 1
		others := make([]api.Snapshot, 0, len(s.snaps)) // without the one that is written anew
		for _, snap := range s.snaps {
			if snap.ID != meta.ID {
				others = append(others, snap)
			}
		}
		for i := range others {
			total += others[i].Bytes
			if owner(&others[i]) == mine {
				count++
			}
		}
		var victim string
		switch {
		case count > s.keep:
			victim = victimOf(others, &mine, mine)
		case total > s.maxBytes:
			victim = victimOf(others, nil, mine)
		}
		s.mu.Unlock()
		if victim == "" {
			return
		}
		if err := s.remove(victim); err != nil {
			s.log.Error("removing a snapshot for the quota", "id", victim, "err", err)
			return
		}
		s.log.Info("removed a snapshot for the quota", "id", victim)
	}
}

// victimOf chooses what a quota takes: of one container, or of all. The first snapshot of
// a container tells how a crash loop began, and its newest where it is: they are the last to
// go, the first one last of all. The one that is being saved, of mine, is the newest of it.
func victimOf(snaps []api.Snapshot, of *identity, mine identity) string {
	// With what was ended on purpose nothing was wrong.
	for i := range snaps {
		if snaps[i].Deleted && (of == nil || owner(&snaps[i]) == *of) {
			return snaps[i].ID
		}
	}
	newest := map[identity]string{}
	for i := range snaps {
		newest[owner(&snaps[i])] = snaps[i].ID
	}
	delete(newest, mine)
	seen := map[identity]bool{}
	var spare [3]string // the oldest that is neither, that is the newest, that is the first
	for i := range snaps {
		o, rank := owner(&snaps[i]), 0
		switch {
		case of != nil && o != *of:
			continue
		case !seen[o]:
			rank = 2
		case newest[o] == snaps[i].ID:
			rank = 1
		}
		seen[o] = true
		spare[rank] = cmp.Or(spare[rank], snaps[i].ID)
	}
	return cmp.Or(spare[0], spare[1], spare[2])
}

// list returns all snapshots, oldest first.
func (s *store) list() []api.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.snaps)
}

func (s *store) get(id string) (api.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, snap := range s.snaps {
		if snap.ID == id {
			return snap, nil
		}
	}
	return api.Snapshot{}, api.Errorf(api.CodeNotFound, "no snapshot %s", id).WithHint("swoll-dump snapshots lists them")
}

// newestOf is the id of the newest snapshot of a death of a container: of one life of it,
// or of any if number is nil. Empty: there is none.
func (s *store) newestOf(id identity, number *int) string {
	id = id.lives()
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.snaps) - 1; n >= 0; n-- {
		x := &s.snaps[n]
		if x.Trigger != api.TriggerManual && owner(x) == id && (number == nil || x.Instance == *number) {
			return x.ID
		}
	}
	return ""
}

// unnamed lists the snapshots of a container that were saved when less of it was known.
func (s *store) unnamed(k *known) []api.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []api.Snapshot
	for _, x := range s.snaps {
		if x.ContainerID == k.containerID && (x.Namespace == unknown || k.named && x.Container == shortID(x.ContainerID) && x.Container != k.container) {
			list = append(list, x)
		}
	}
	return list
}

// rename writes a snapshot anew with what is known of its container now. Its id stays.
func (s *store) rename(id string, k *known) (api.Snapshot, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	read, err := s.load(id)
	if err != nil {
		return api.Snapshot{}, err // a damaged one is left as it is
	}
	meta := read.Meta.Meta
	k.fill(&meta)
	return s.write(&meta, read.Meta.Verdict, read.Image())
}

func (s *store) open(id string) (io.ReadSeekCloser, api.Snapshot, error) {
	snap, err := s.get(id)
	if err != nil {
		return nil, snap, err
	}
	f, err := os.Open(s.path(id))
	if errors.Is(err, os.ErrNotExist) {
		s.forget(id) // somebody else removed the file
		return nil, snap, api.Errorf(api.CodeNotFound, "snapshot %s was removed", id)
	}
	if err != nil {
		return nil, snap, fmt.Errorf("opening snapshot %s: %w", id, err)
	}
	return f, snap, nil
}

// ringBytes is how many bytes of pages a snapshot holds.
func (s *store) ringBytes(id string) (uint64, error) {
	f, _, err := s.open(id)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	meta, err := ringstore.ReadSnapshotMeta(f)
	if err != nil {
		return 0, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return meta.RingBytes, nil
}

// load reads a snapshot. Of a damaged one it returns what is whole, with a
// *ringstore.DamageError.
func (s *store) load(id string) (*ringstore.Snapshot, error) {
	f, snap, err := s.open(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ra, ok := f.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("snapshot %s cannot be read at random", id)
	}
	read, err := ringstore.ReadSnapshot(ra, snap.Bytes)
	if err != nil {
		return read, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return read, nil
}

// read is load, where a note tells of the damage.
func (s *store) read(id string) (*ringstore.Snapshot, error) {
	read, err := s.load(id)
	var damage *ringstore.DamageError
	if errors.As(err, &damage) && read != nil {
		read.Meta.Notes = append(read.Meta.Notes, damage.Error())
		return read, nil
	}
	return read, err
}

func (s *store) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snaps = slices.DeleteFunc(s.snaps, func(x api.Snapshot) bool { return x.ID == id })
	delete(s.origin, id)
}

func (s *store) remove(id string) error {
	if _, err := s.get(id); err != nil {
		return err
	}
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing snapshot %s: %w", id, err)
	}
	s.forget(id)
	return nil
}

// usage is how many snapshots are stored, and their bytes.
func (s *store) usage() (count int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.snaps {
		bytes += s.snaps[i].Bytes
	}
	return len(s.snaps), bytes
}
