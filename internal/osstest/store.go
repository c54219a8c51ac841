package osstest

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// store keeps everything below one folder:
//
//	tmp/                          what is being written
//	buckets/BUCKET/bucket.json    ACL, storage class
//	buckets/BUCKET/journal        the changes of its index, one a line
//	buckets/BUCKET/data/XX/ID     bytes, each file written once under a random name
//
// A line in the journal publishes an object: before it, the bytes are orphans that the next start
// sweeps away. A key never becomes a file name. The index is in memory: no listing, HEAD or start
// reads more than the journals.
type store struct {
	dir     string
	mu      sync.RWMutex
	buckets map[string]*bucket
}

// bucket is one bucket with its index in memory. mu guards all that follows it.
type bucket struct {
	bucketInfo
	store *store
	dir   string

	mu      sync.RWMutex
	removed bool
	journal journal
	index   index
	uploads map[string]*upload
}

type bucketInfo struct {
	Name         string
	ACL          string
	StorageClass string
	Created      time.Time
	// Versioning is empty, Enabled or Suspended. It is only told.
	Versioning string `json:",omitempty"`
	// Worm is the state of a retention policy, InProgress or Locked, for so many days; empty if
	// there is none. While there is one, nothing is replaced or deleted.
	Worm     string `json:",omitempty"`
	WormDays int    `json:",omitempty"`
}

// object is what is known of one. It never changes once published; an overwrite publishes another
// one.
type object struct {
	Key          string
	Size         int64
	ETag         string // upper case, without quotes
	CRC64        uint64
	Type         string // Normal or Multipart
	StorageClass string
	Modified     time.Time
	Header       map[string]string // Content-Type and the like, x-oss-meta-*; canonical names
	UploadID     string            `json:",omitempty"` // the upload that made it
	Files        []segment

	dir  string       // of the bucket
	refs atomic.Int32 // the index's and each reader's; the last to leave removes the files
}

// segment is a file with a piece of an object.
type segment struct {
	ID   string
	Size int64
}

func (s segment) path(bucketDir string) string {
	return filepath.Join(bucketDir, "data", s.ID[:2], s.ID)
}

func (o *object) release() {
	if o.refs.Add(-1) == 0 {
		for _, f := range o.Files {
			_ = os.Remove(f.path(o.dir)) // if it stays, the next start sweeps it
		}
	}
}

func openStore(dir string) (*store, error) {
	s := &store{dir: dir, buckets: map[string]*bucket{}}
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		return nil, err
	}
	for _, d := range []string{"tmp", "buckets"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "buckets"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b := s.newBucket(bucketInfo{Name: e.Name()})
		if err := b.load(); err != nil {
			return nil, fmt.Errorf("bucket %s: %w", e.Name(), err)
		}
		s.buckets[b.Name] = b
	}
	return s, nil
}

func (s *store) newBucket(info bucketInfo) *bucket {
	return &bucket{
		bucketInfo: info, store: s, dir: filepath.Join(s.dir, "buckets", info.Name),
		uploads: map[string]*upload{},
	}
}

// load reads a bucket's folder and sweeps files that nothing names.
func (b *bucket) load() error {
	if err := readJSON(filepath.Join(b.dir, "bucket.json"), &b.bucketInfo); err != nil {
		if errors.Is(err, fs.ErrNotExist) { // its creation or removal was cut short
			return os.RemoveAll(b.dir)
		}
		return err
	}
	if _, err := os.Stat(filepath.Join(b.dir, "keys")); err == nil {
		return errors.New("it was written by an older version, with a file for each object: remove the folder")
	}
	if err := b.replay(); err != nil {
		return err
	}
	unnamed := map[string]bool{}
	for id := range files(filepath.Join(b.dir, "data")) {
		unnamed[filepath.Base(id)] = true
	}
	for o := range b.index.from("") {
		for _, f := range o.Files {
			if !unnamed[f.ID] {
				return fmt.Errorf("object %q has lost the file %s", o.Key, f.ID)
			}
			delete(unnamed, f.ID)
		}
	}
	for _, u := range b.uploads {
		for _, p := range u.parts {
			if !unnamed[p.File.ID] {
				return fmt.Errorf("upload %s of %q has lost the file %s", u.ID, u.Key, p.File.ID)
			}
			delete(unnamed, p.File.ID)
		}
	}
	for id := range unnamed {
		if err := os.Remove(segment{ID: id}.path(b.dir)); err != nil {
			return err
		}
	}
	return nil
}

// close ends the journals.
func (s *store) close() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.buckets {
		b.mu.Lock()
		err = errors.Join(err, b.journal.file.Close())
		b.mu.Unlock()
	}
	return err
}

// files yields the files one or two levels below dir.
func files(dir string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && !yield(path) {
				return fs.SkipAll
			}
			return nil
		})
	}
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// stageJSON writes v to a temporary file, to be put into place by move.
func (s *store) stageJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, "tmp", randomHex(12))
	return path, os.WriteFile(path, data, 0o644)
}

// move renames, making the folder when it's the first file in it.
func move(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
			err = os.Rename(from, to)
		}
	}
	return err
}

// staged is a body that has been received and hashed, once, but belongs to nothing yet.
type staged struct {
	path string // "" once placed
	size int64
	md5  [md5.Size]byte
	crc  uint64
}

func (s *staged) etag() string { return strings.ToUpper(hex.EncodeToString(s.md5[:])) }

func (s *staged) discard() {
	if s.path != "" {
		_ = os.Remove(s.path)
	}
}

// place makes the body a segment of the bucket.
func (s *staged) place(bucketDir string) error {
	f := segment{ID: filepath.Base(s.path), Size: s.size}
	if err := move(s.path, f.path(bucketDir)); err != nil {
		return err
	}
	s.path = ""
	return nil
}

var (
	crcTable = crc64.MakeTable(crc64.ECMA)
	buffers  = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}
)

// stage receives a body of at most limit bytes, which goes into the hashes as well.
func (s *store) stage(body io.Reader, limit int64, also ...hash.Hash) (*staged, error) {
	st := &staged{path: filepath.Join(s.dir, "tmp", randomHex(12))}
	if err := st.receive(body, limit, also); err != nil {
		st.discard()
		return nil, err
	}
	return st, nil
}

func (s *staged) receive(body io.Reader, limit int64, also []hash.Hash) error {
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	sum, crc := md5.New(), crc64.New(crcTable)
	writers := []io.Writer{f, sum, crc}
	for _, h := range also {
		writers = append(writers, h)
	}
	s.size, err = io.CopyBuffer(io.MultiWriter(writers...), io.LimitReader(body, limit+1), *buffer)
	if err = cmp.Or(err, f.Close()); err != nil {
		return err
	}
	if s.size > limit {
		return errTooLarge
	}
	sum.Sum(s.md5[:0])
	s.crc = crc.Sum64()
	return nil
}

func (s *store) bucket(name string) (*bucket, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	return nil, errNoSuchBucket.with("BucketName", name)
}

// publish makes o the object under its key. Its bytes are body, or o.Files if those are in place
// already (a completed upload).
func (b *bucket) publish(o *object, body *staged, forbidOverwrite bool) error {
	o.dir = b.dir
	o.refs.Store(1)
	if body != nil {
		o.Files = []segment{{ID: filepath.Base(body.path), Size: body.size}}
	}
	line, err := record{Put: o}.line()
	if err != nil {
		return err
	}
	b.mu.Lock()
	old, err := b.replace(o, body, line, forbidOverwrite)
	b.mu.Unlock()
	if old != nil {
		old.release()
	}
	return err
}

func (b *bucket) replace(o *object, body *staged, line []byte, forbidOverwrite bool) (old *object, err error) {
	if b.removed {
		return nil, errNoSuchBucket.with("BucketName", b.Name)
	}
	if forbidOverwrite && b.index.get(o.Key) != nil {
		return nil, errExists
	}
	if b.Worm != "" && b.index.get(o.Key) != nil {
		return nil, errImmutable
	}
	if body != nil {
		if err := body.place(b.dir); err != nil {
			return nil, err
		}
	}
	if err := b.journal.write(line); err != nil {
		return nil, err
	}
	return b.index.set(o), nil
}

// open returns the object under key. The caller must release it.
func (b *bucket) open(key string) (*object, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	o := b.index.get(key)
	if o == nil {
		return nil, errNoSuchKey.with("Key", key)
	}
	o.refs.Add(1)
	return o, nil
}

// remove deletes the object under key; that there is none is success, as in OSS.
func (b *bucket) remove(key string) error {
	b.mu.Lock()
	o := b.index.get(key)
	if o == nil {
		b.mu.Unlock()
		return nil
	}
	if b.Worm != "" {
		b.mu.Unlock()
		return errImmutable
	}
	line, err := record{Delete: key}.line()
	if err == nil {
		err = b.journal.write(line)
	}
	if err == nil {
		b.index.remove(key)
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	o.release()
	return nil
}
