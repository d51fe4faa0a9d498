// Package bbolt keeps states in a file, for one gateway or one `function serve`: they outlive a restart.
package bbolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"switchbridge/state"
	"switchbridge/state/access"
)

// The buckets: what is stored, by key; and what expires, by time and key. A value is its version, when it expires (0: never), and the data.
var (
	bucketStates = []byte("states")
	bucketExpiry = []byte("expiry")
	bucketMeta   = []byte("meta")

	metaTime = []byte("time") // of the last change
)

const head = 16 // bytes of a value before its data

// maxExpired bounds how many states that have expired one swap removes.
const maxExpired = 64

// Store is a [state.Store]. One goroutine writes, many swaps in one transaction, since each of these waits for the disk.
//
// Its time never goes back, in a process by the monotonic clock, and over a restart by what the file says: a clock that is set back leaves
// no state longer than it was to live, seen from where the file's time stopped. Versions are the sequence of a bucket, which is in the file.
type Store struct {
	path    string
	db      *bbolt.DB
	entries int
	bytes   int64
	start   time.Time // with a monotonic reading
	base    int64     // the file's time at start, in microseconds

	writes chan *write
	stop   chan struct{}
	done   chan struct{}
	close  sync.Once

	forget    chan struct{} // wakes the writer
	forgets   atomic.Uint64 // how often all states were to be forgotten
	forgotten atomic.Uint64 // how often they were; nothing is read while it is less

	file   os.FileInfo // of the file that is open
	broken atomic.Bool // the file is no database any more

	held int   // states, by the writer; those that have expired and are not removed yet, too
	size int64 // bytes of keys and data
}

// write is a swap or a deletion that waits for the writer.
type write struct {
	key     string
	old     uint64
	data    []byte
	expires int64
	remove  bool

	version uint64
	err     error
	done    chan struct{}
}

// Open opens bbolt:/path/to/file, and makes the file where it is not there. It belongs to one process at a time.
func Open(_ context.Context, o access.Options) (state.Store, error) {
	path := o.URL.Path
	if o.URL.Opaque != "" {
		path = o.URL.Opaque
	}
	if path == "" || o.URL.Host != "" {
		return nil, fmt.Errorf("%s: want bbolt:/path/to/file", o.URL)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s: another process has it open", path)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &Store{path: path, db: db, start: time.Now(), writes: make(chan *write, 256), stop: make(chan struct{}), done: make(chan struct{}), forget: make(chan struct{}, 1)}
	s.entries, s.bytes = o.Limited()
	s.base = s.start.UnixMicro()
	if err := db.Update(s.load); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	if s.file, err = os.Stat(path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	go s.run()
	return s, nil
}

// load makes the buckets and counts what is there.
func (s *Store) load(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketStates, bucketExpiry, bucketMeta} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if last := tx.Bucket(bucketMeta).Get(metaTime); len(last) == 8 {
		s.base = max(s.base, int64(binary.BigEndian.Uint64(last)))
	}
	return tx.Bucket(bucketStates).ForEach(func(k, v []byte) error {
		if len(v) < head {
			return fmt.Errorf("key %s: %w", k, state.ErrCorrupt)
		}
		s.held++
		s.size += int64(len(k) + len(v) - head)
		return nil
	})
}

// now is the file's time in microseconds.
func (s *Store) now() int64 { return s.base + time.Since(s.start).Microseconds() }

// value takes a stored value apart. ok is false where there is none, or it has expired.
func (s *Store) value(v []byte, now int64) (version uint64, expires int64, data []byte, ok bool) {
	if len(v) < head {
		return 0, 0, nil, false
	}
	version, expires = binary.BigEndian.Uint64(v), int64(binary.BigEndian.Uint64(v[8:]))
	return version, expires, v[head:], expires == 0 || expires > now
}

// Get implements [state.Store].
func (s *Store) Get(ctx context.Context, keys []string, values []state.Value) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.forgets.Load() != s.forgotten.Load() {
		s.wake()
		return errForgets
	}
	return s.intact(func() error { return s.db.View(func(tx *bbolt.Tx) error { return s.read(tx, keys, values) }) })
}

// intact does what reads or writes the file, which is mapped into memory: where somebody has cut it short or written over it, bbolt panics or meets a page that is
// not there. From then on nothing is read nor written, since bbolt may hold its locks still, and a restart says what is wrong with the file.
func (s *Store) intact(f func() error) (err error) {
	if s.broken.Load() {
		return errBroken
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine
	defer func() {
		if v := recover(); v != nil {
			s.broken.Store(true)
			err = fmt.Errorf("%w: %v", errBroken, v)
		}
	}()
	if !s.there() {
		return fmt.Errorf("%s: the file was moved away, or another one is in its place", s.path)
	}
	return f()
}

// there reports whether the path is the file that is open: states in one that was removed would be gone with this process.
func (s *Store) there() bool {
	now, err := os.Stat(s.path)
	return err == nil && os.SameFile(now, s.file)
}

// read reads keys.
func (s *Store) read(tx *bbolt.Tx, keys []string, values []state.Value) error {
	now, b := s.now(), tx.Bucket(bucketStates)
	if b == nil {
		return state.ErrCorrupt
	}
	for i, key := range keys {
		values[i] = state.Value{Last: b.Sequence()}
		if version, _, data, ok := s.value(b.Get([]byte(key)), now); ok {
			values[i] = state.Value{Version: version, Data: append([]byte{}, data...)}
		}
	}
	return nil
}

// CompareAndSwap implements [state.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	w := &write{key: key, old: old, data: append([]byte{}, data...)}
	if ttl > 0 {
		w.expires = s.now() + max(ttl.Microseconds(), 1)
	}
	return s.write(ctx, w)
}

// Delete implements [state.Store].
func (s *Store) Delete(ctx context.Context, key string, old uint64) error {
	if old == 0 {
		return state.ErrConflict
	}
	_, err := s.write(ctx, &write{key: key, old: old, remove: true})
	return err
}

func (s *Store) write(ctx context.Context, w *write) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	w.done = make(chan struct{})
	select {
	case s.writes <- w:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.stop:
		return 0, errClosed
	}
	select {
	case <-w.done:
		return w.version, w.err
	case <-ctx.Done(): // it may be made all the same
		return 0, ctx.Err()
	case <-s.done:
		return 0, errClosed
	}
}

var errBroken = fmt.Errorf("%w: the file was cut short or written over: put a good one in its place and restart", state.ErrCorrupt)

var errForgets = errors.New("all states are being forgotten")

// Forget implements [state.Forgetful]. It does not wait for the disk; nothing is read before that is done.
func (s *Store) Forget() {
	s.forgets.Add(1)
	s.wake()
}

func (s *Store) wake() {
	select {
	case s.forget <- struct{}{}:
	default:
	}
}

var errClosed = errors.New("the store is closed")

// run writes until the store is closed: what has gathered while the disk was waited for is one transaction.
func (s *Store) run() {
	defer close(s.done)
	for {
		var batch []*write
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		case <-s.forget:
		case <-s.stop:
			return
		}
		for more := true; more && len(batch) < cap(s.writes); {
			select {
			case w := <-s.writes:
				batch = append(batch, w)
			default:
				more = false
			}
		}
		held, size, forgets := s.held, s.size, s.forgets.Load()
		err := s.intact(func() error {
			return s.db.Update(func(tx *bbolt.Tx) error {
				if forgets != s.forgotten.Load() {
					if err := s.empty(tx); err != nil {
						return err
					}
				}
				return s.apply(tx, batch)
			})
		})
		if err == nil {
			s.forgotten.Store(forgets)
		} else {
			s.held, s.size = held, size
		}
		for _, w := range batch {
			if err != nil {
				w.err = err
			}
			close(w.done)
		}
	}
}

// empty removes all states. Versions go on where they were.
func (s *Store) empty(tx *bbolt.Tx) error {
	last := tx.Bucket(bucketStates).Sequence()
	for _, name := range [][]byte{bucketStates, bucketExpiry} {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	s.held, s.size = 0, 0
	return tx.Bucket(bucketStates).SetSequence(last + 1)
}

// apply makes a batch's changes. An error of it is of the disk; those of single writes are theirs.
func (s *Store) apply(tx *bbolt.Tx, batch []*write) error {
	now := s.now()
	if err := tx.Bucket(bucketMeta).Put(metaTime, binary.BigEndian.AppendUint64(nil, uint64(now))); err != nil {
		return err
	}
	if err := s.expire(tx, now); err != nil {
		return err
	}
	states := tx.Bucket(bucketStates)
	for _, w := range batch {
		key := []byte(w.key)
		stored := states.Get(key)
		version, _, data, ok := s.value(stored, now)
		if !ok {
			version = 0
		}
		if version != w.old {
			w.err = state.ErrConflict
			continue
		}
		if w.remove {
			if err := s.remove(tx, key, stored); err != nil {
				return err
			}
			if _, err := states.NextSequence(); err != nil { // above what Decider says of a state that it has removed
				return err
			}
			continue
		}
		grows := int64(len(w.data) - len(data))
		if stored == nil {
			grows += int64(len(key))
		}
		if stored == nil && s.held >= s.entries || grows > 0 && s.size+grows > s.bytes {
			w.err = state.ErrFull
			continue
		}
		if stored != nil {
			if err := s.remove(tx, key, stored); err != nil {
				return err
			}
		}
		next, err := states.NextSequence()
		if err != nil {
			return err
		}
		if err := s.put(tx, key, next, w); err != nil {
			return err
		}
		w.version = next
	}
	return nil
}

func (s *Store) put(tx *bbolt.Tx, key []byte, version uint64, w *write) error {
	v := make([]byte, 0, head+len(w.data))
	v = binary.BigEndian.AppendUint64(v, version)
	v = binary.BigEndian.AppendUint64(v, uint64(w.expires))
	s.held++
	s.size += int64(len(key) + len(w.data))
	if w.expires != 0 {
		if err := tx.Bucket(bucketExpiry).Put(expiryKey(w.expires, key), nil); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketStates).Put(key, append(v, w.data...))
}

func (s *Store) remove(tx *bbolt.Tx, key, stored []byte) error {
	_, expires, data, _ := s.value(stored, 0)
	s.held--
	s.size -= int64(len(key) + len(data))
	if expires != 0 {
		if err := tx.Bucket(bucketExpiry).Delete(expiryKey(expires, key)); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketStates).Delete(key)
}

// expire removes states whose time is over, the oldest first.
func (s *Store) expire(tx *bbolt.Tx, now int64) error {
	for range maxExpired {
		k, _ := tx.Bucket(bucketExpiry).Cursor().First()
		if len(k) < 8 || int64(binary.BigEndian.Uint64(k)) > now {
			return nil
		}
		key := append([]byte{}, k[8:]...)
		if err := s.remove(tx, key, append([]byte{}, tx.Bucket(bucketStates).Get(key)...)); err != nil {
			return err
		}
	}
	return nil
}

func expiryKey(expires int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(expires)), key...)
}

// Promise implements [state.Store].
func (*Store) Promise() state.Promise { return state.Promise{Linearizable: true, Durable: true} }

func (s *Store) String() string { return "bbolt:" + s.path }

// Close implements [state.Store].
func (s *Store) Close() (err error) {
	s.close.Do(func() {
		close(s.stop)
		<-s.done
		if !s.broken.Load() { // else who panicked may have its locks, and waits for nobody
			err = s.db.Close()
		}
	})
	return err
}
