// Package memory is a bucket in memory, for tests: a Source and a Sink. It keeps the contract of
// the ports (package objectstoretest runs on it) and counts its calls. [Hooks] make any call fail,
// lose its answer, or damage its bytes.
package memory

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash/crc64"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// Call is a call on the store. Op is the method's name.
type Call struct {
	Op             string
	Key            string
	Offset, Length int64
}

// Hooks make the store fail. Any may be nil. They run without a lock, so they may call the store,
// and at the same time.
type Hooks struct {
	// Before may fail a call; the call then does nothing.
	Before func(Call) error
	// After may fail a call that was executed, as if its answer were lost.
	After func(Call) error
	// Read may shorten or damage what Get and ReadRange give.
	Read func(Call, []byte) []byte
	// Write may change what Put and UploadPart store, as a damaged connection would.
	Write func(Call, []byte) []byte
}

type object struct {
	info objectstore.Info
	data []byte
	// partSizes is set for an object that was uploaded in parts.
	partSizes []int64
	// encrypted says that its ETag has nothing to do with MD5s.
	encrypted bool
}

type upload struct {
	key       string
	metadata  map[string]string
	parts     map[int]object
	initiated time.Time
}

// Store is a bucket.
type Store struct {
	base objectstore.Base
	// upperCase writes ETags as OSS does.
	upperCase bool

	mu      sync.Mutex
	hooks   Hooks
	objects map[string]object
	uploads map[string]*upload
	counts  map[string]int
	serial  int
}

var (
	_ objectstore.Source = (*Store)(nil)
	_ objectstore.Sink   = (*Store)(nil)
)

// NewSource makes an empty store that writes ETags as S3 does.
func NewSource() *Store { return newStore("source", false) }

// NewSink makes an empty store that writes ETags as OSS does.
func NewSink() *Store { return newStore("sink", true) }

func newStore(name string, upperCase bool) *Store {
	base, err := objectstore.NewBase(name, "")
	if err != nil {
		panic(err)
	}
	return &Store{
		base: base, upperCase: upperCase, objects: map[string]object{}, uploads: map[string]*upload{},
		counts: map[string]int{},
	}
}

// SetHooks replaces the hooks.
func (s *Store) SetHooks(h Hooks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = h
}

// Store puts an object without a call, replacing one that is there.
func (s *Store) Store(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(key, data, s.etag(data), nil, nil)
}

// StoreParts puts an object as if it had been uploaded in parts of that size.
func (s *Store) StoreParts(key string, data []byte, partSize int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums, sizes := []byte{}, []int64{}
	for part := range slices.Chunk(data, int(partSize)) {
		sum := md5.Sum(part)
		sums, sizes = append(sums, sum[:]...), append(sizes, int64(len(part)))
	}
	s.store(key, data, fmt.Sprintf("%s-%d", s.etag(sums), len(sizes)), nil, sizes)
}

// StoreEncryptedParts is StoreParts for what S3 encrypts with KMS: its ETag isn't made of MD5s.
func (s *Store) StoreEncryptedParts(key string, data []byte, partSize int64) {
	s.StoreParts(key, data, partSize)
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key]
	o.info.ETag = fmt.Sprintf("%s-%d", s.etag(append([]byte("encrypted"), data...)), len(o.partSizes))
	o.encrypted = true
	s.objects[key] = o
}

// StoreEncrypted puts an object as S3 shows one that it encrypts with KMS: its ETag looks like an
// MD5 and is none.
func (s *Store) StoreEncrypted(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(key, data, s.etag(append([]byte("encrypted"), data...)), nil, nil)
	o := s.objects[key]
	o.info.ETagIsMD5, o.encrypted = false, true
	s.objects[key] = o
}

// Replace makes the store hold exactly these objects; those whose bytes are the same stay
// untouched.
func (s *Store) Replace(objects map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.objects {
		if _, ok := objects[key]; !ok {
			delete(s.objects, key)
		}
	}
	for key, data := range objects {
		if o, ok := s.objects[key]; !ok || !bytes.Equal(o.data, data) {
			s.store(key, data, s.etag(data), nil, nil)
		}
	}
}

// Clone is another store with the same objects, without hooks, counts and uploads.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{
		base: s.base, upperCase: s.upperCase, objects: maps.Clone(s.objects), uploads: map[string]*upload{},
		counts: map[string]int{},
	}
}

// Remove removes an object without a call.
func (s *Store) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Objects are the bytes of all objects. The map is the caller's.
func (s *Store) Objects() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string][]byte, len(s.objects))
	for key, o := range s.objects {
		out[key] = o.data
	}
	return out
}

// Count is how often a method was called since ResetCounts.
func (s *Store) Count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[op]
}

// Counts are all of them, by method.
func (s *Store) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// ResetCounts sets all counts to 0.
func (s *Store) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
}

// OpenUploads are the uploads that were neither completed nor aborted.
func (s *Store) OpenUploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

var ecma = crc64.MakeTable(crc64.ECMA)

func (s *Store) etag(data []byte) string {
	sum := md5.Sum(data)
	tag := hex.EncodeToString(sum[:])
	if s.upperCase {
		tag = strings.ToUpper(tag)
	}
	return tag
}

func (s *Store) store(key string, data []byte, etag string, metadata map[string]string,
	partSizes []int64,
) objectstore.Info {
	info := objectstore.Info{
		Object: objectstore.Object{
			Key: key, Size: int64(len(data)), ETag: etag,
			LastModified: time.Now().UTC().Truncate(time.Second),
		},
		ETagIsMD5: partSizes == nil, Metadata: maps.Clone(metadata), CRC64: crc64.Checksum(data, ecma),
	}
	s.objects[key] = object{info: info, data: bytes.Clone(data), partSizes: partSizes}
	return info
}

// begin counts a call and lets the hook fail it.
func (s *Store) begin(ctx context.Context, c Call) (Hooks, error) {
	s.mu.Lock()
	s.counts[c.Op]++
	hooks := s.hooks
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return hooks, (&objectstore.Error{
			Kind: objectstore.Transient, Op: c.Op, Bucket: s.base.Bucket(), Key: c.Key,
			Message: err.Error(),
		}).Because(err)
	}
	if c.Op != "List" && c.Op != "ListFolder" && c.Op != "ListUploads" {
		if _, err := s.base.Key(c.Key); err != nil {
			return hooks, err
		}
	}
	if hooks.Before != nil {
		return hooks, hooks.Before(c)
	}
	return hooks, nil
}

func (h Hooks) end(c Call) error {
	if h.After != nil {
		return h.After(c)
	}
	return nil
}

// Failure is an error of the store, for hooks.
func Failure(kind objectstore.Kind, c Call) *objectstore.Error {
	return &objectstore.Error{Kind: kind, Op: c.Op, Bucket: "memory", Key: c.Key, Code: "Injected"}
}

func (s *Store) find(c Call) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[c.Key]
	if !ok {
		return o, &objectstore.Error{
			Kind: objectstore.NotFound, Op: c.Op, Bucket: s.base.Bucket(), Key: c.Key,
			Status: 404, Code: "NoSuchKey",
		}
	}
	return o, nil
}

// List implements objectstore.Reader. It shows the objects of the moment at which it begins.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		all, err := s.list(ctx, Call{Op: "List", Key: prefix})
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
		if err != nil {
			yield(objectstore.Object{}, err)
		}
	}
}

func (s *Store) list(ctx context.Context, c Call) ([]objectstore.Object, error) {
	if _, err := s.base.Prefix(c.Key); err != nil {
		return nil, err
	}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	var all []objectstore.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, c.Key) {
			all = append(all, s.objects[key].info.Object)
		}
	}
	s.mu.Unlock()
	return all, hooks.end(c)
}

// ListFolder implements objectstore.Reader.
func (s *Store) ListFolder(ctx context.Context, prefix string) (objectstore.Folder, error) {
	all, err := s.list(ctx, Call{Op: "ListFolder", Key: prefix})
	var f objectstore.Folder
	for _, o := range all {
		name, _, below := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
		if !below {
			f.Objects = append(f.Objects, o)
		} else if folder := prefix + name + "/"; len(f.Folders) == 0 || f.Folders[len(f.Folders)-1] != folder {
			f.Folders = append(f.Folders, folder)
		}
	}
	return f, err
}

// Head implements objectstore.Reader.
func (s *Store) Head(ctx context.Context, key string) (objectstore.Info, error) {
	c := Call{Op: "Head", Key: key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.Info{}, err
	}
	o, err := s.find(c)
	if err != nil {
		return objectstore.Info{}, err
	}
	return o.info, hooks.end(c)
}

// Get implements objectstore.Reader.
func (s *Store) Get(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
	c := Call{Op: "Get", Key: key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return nil, objectstore.Info{}, err
	}
	o, err := s.find(c)
	if err != nil {
		return nil, objectstore.Info{}, err
	}
	if o.info.Size > limit {
		return nil, o.info, &objectstore.Error{
			Kind: objectstore.Invalid, Op: c.Op, Bucket: s.base.Bucket(), Key: key,
			Message: "it is larger than expected",
		}
	}
	data := bytes.Clone(o.data)
	if hooks.Read != nil {
		data = hooks.Read(c, data)
	}
	if int64(len(data)) < o.info.Size {
		return nil, o.info, &objectstore.Error{
			Kind: objectstore.Transient, Op: c.Op, Bucket: s.base.Bucket(), Key: key,
			Message: io.ErrUnexpectedEOF.Error(),
		}
	}
	return data, o.info, hooks.end(c)
}

// ReadRange implements objectstore.Source.
func (s *Store) ReadRange(ctx context.Context, key, etag string, offset, length int64) (objectstore.Body, error) {
	c := Call{Op: "ReadRange", Key: key, Offset: offset, Length: length}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.Body{}, err
	}
	o, err := s.match(c, etag)
	if err != nil {
		return objectstore.Body{}, err
	}
	size := int64(len(o.data))
	data := bytes.Clone(o.data[min(offset, size):min(offset+length, size)])
	if hooks.Read != nil {
		data = hooks.Read(c, data)
	}
	return objectstore.Body{
		ReadCloser: io.NopCloser(bytes.NewReader(data)), ETag: o.info.ETag,
		ETagIsMD5: o.info.ETagIsMD5,
	}, hooks.end(c)
}

func (s *Store) match(c Call, etag string) (object, error) {
	o, err := s.find(c)
	if err == nil && etag != "" && etag != o.info.ETag {
		err = &objectstore.Error{
			Kind: objectstore.Changed, Op: c.Op, Bucket: s.base.Bucket(), Key: c.Key, Status: 412,
			Code: "PreconditionFailed",
		}
	}
	return o, err
}

// Parts implements objectstore.Source.
func (s *Store) Parts(ctx context.Context, key, etag string) (objectstore.Parts, error) {
	c := Call{Op: "Parts", Key: key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.Parts{}, err
	}
	o, err := s.match(c, etag)
	if err != nil || o.partSizes == nil {
		return objectstore.Parts{}, err
	}
	return objectstore.Parts{Count: len(o.partSizes), PartSize: o.partSizes[0], OfMD5s: !o.encrypted}, hooks.end(c)
}
