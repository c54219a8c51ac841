package osstest

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// store keeps everything below one folder:
//
//	tmp/                                 what is being written
//	buckets/BUCKET/bucket.json           ACL, storage class
//	buckets/BUCKET/data/XX/ID            bytes, each file written once under a random name
//	buckets/BUCKET/keys/XX/SHA256.json   sidecar of an object; it names the files with its bytes
//	buckets/BUCKET/uploads/ID/           upload.json, and a sidecar per part
//
// The rename of a sidecar publishes its object: before it, the bytes are orphans that the next start sweeps away. A key never
// becomes a file name, only its hash does, so it can't escape and may be long.
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
	keys    []string // sorted
	objects map[string]*object
	uploads map[string]*upload
}

type bucketInfo struct {
	Name         string
	ACL          string
	StorageClass string
	Created      time.Time
}

// object is a sidecar. It never changes once published; an overwrite publishes another one.
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

func keyFile(key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join("keys", name[:2], name+".json")
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
		objects: map[string]*object{}, uploads: map[string]*upload{},
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
	unnamed := map[string]bool{}
	for id := range files(filepath.Join(b.dir, "data")) {
		unnamed[filepath.Base(id)] = true
	}
	finished := map[string]bool{}
	for path := range files(filepath.Join(b.dir, "keys")) {
		o := &object{dir: b.dir}
		o.refs.Store(1)
		if err := readJSON(path, o); err != nil {
			return err
		}
		for _, f := range o.Files {
			if !unnamed[f.ID] {
				return fmt.Errorf("object %q has lost the file %s", o.Key, f.ID)
			}
			delete(unnamed, f.ID)
		}
		finished[o.UploadID] = true
		b.objects[o.Key] = o
	}
	b.keys = slices.Sorted(maps.Keys(b.objects))
	if err := b.loadUploads(finished, unnamed); err != nil {
		return err
	}
	for id := range unnamed {
		if err := os.Remove(segment{ID: id}.path(b.dir)); err != nil {
			return err
		}
	}
	return nil
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
func (s *staged) place(bucketDir string) (segment, error) {
	f := segment{ID: filepath.Base(s.path), Size: s.size}
	if err := move(s.path, f.path(bucketDir)); err != nil {
		return f, err
	}
	s.path = ""
	return f, nil
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

// publish makes o the object under its key. Its bytes are body, or o.Files if those are in place already (a completed upload).
func (b *bucket) publish(o *object, body *staged, forbidOverwrite bool) error {
	o.dir = b.dir
	o.refs.Store(1)
	if body != nil {
		o.Files = []segment{{ID: filepath.Base(body.path), Size: body.size}}
	}
	sidecar, err := b.store.stageJSON(o)
	defer os.Remove(sidecar) // fails when all went well, since it's in place then
	if err != nil {
		return err
	}
	b.mu.Lock()
	old, err := b.replace(o, body, sidecar, forbidOverwrite)
	b.mu.Unlock()
	if old != nil {
		old.release()
	}
	return err
}

func (b *bucket) replace(o *object, body *staged, sidecar string, forbidOverwrite bool) (old *object, err error) {
	if b.removed {
		return nil, errNoSuchBucket.with("BucketName", b.Name)
	}
	old = b.objects[o.Key]
	if old != nil && forbidOverwrite {
		return nil, errExists
	}
	if body != nil {
		if _, err := body.place(b.dir); err != nil {
			return nil, err
		}
	}
	if err := move(sidecar, filepath.Join(b.dir, keyFile(o.Key))); err != nil {
		return nil, err
	}
	if old == nil {
		at, _ := slices.BinarySearch(b.keys, o.Key)
		b.keys = slices.Insert(b.keys, at, o.Key)
	}
	b.objects[o.Key] = o
	return old, nil
}

// open returns the object under key. The caller must release it.
func (b *bucket) open(key string) (*object, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	o := b.objects[key]
	if o == nil {
		return nil, errNoSuchKey.with("Key", key)
	}
	o.refs.Add(1)
	return o, nil
}

// remove deletes the object under key; that there is none is success, as in OSS.
func (b *bucket) remove(key string) error {
	b.mu.Lock()
	o := b.objects[key]
	if o == nil {
		b.mu.Unlock()
		return nil
	}
	err := os.Remove(filepath.Join(b.dir, keyFile(key)))
	if err == nil {
		delete(b.objects, key)
		at, _ := slices.BinarySearch(b.keys, key)
		b.keys = slices.Delete(b.keys, at, at+1)
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	o.release()
	return nil
}
