package osstest

import (
	"bytes"
	"io"
	"strings"
	"time"
)

// Event is a request that has been answered.
type Event struct {
	Face      Face
	Op        string // the face's name of it; "Unknown" for what isn't served
	Writes    bool   // whether it's for changing something
	Bucket    string
	Key       string
	AccessKey string // "" if the signature wasn't valid, or not looked at
	Status    int    // 0 if the connection was broken before an answer
	Code      string // the error code, "" for success
	BytesIn   int64  // of the request's body
	BytesOut  int64  // of the answer's body
	Took      time.Duration
}

func (s *Server) finish(c *call) {
	e := Event{
		Face: c.d.face, Op: c.op.name, Writes: c.op.writes, Bucket: c.bucket, Key: c.key, AccessKey: c.access,
		Status: c.w.status, Code: c.code,
		BytesIn: c.body.n, BytesOut: c.w.bytes, Took: time.Since(c.began),
	}
	s.tally.add(e)
	s.mu.RLock()
	observe := s.observe
	s.mu.RUnlock()
	if observe != nil {
		observe(e)
	}
}

// Observe sets a function that is called after each request, by as many goroutines as there are
// connections; nil for none.
func (s *Server) Observe(f func(Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe = f
}

// BucketOptions for CreateBucket; "" means private and Standard.
type BucketOptions struct {
	ACL          string
	StorageClass string
	Versioning   string // Enabled or Suspended
	// Worm is the state of a retention policy (InProgress or Locked) of WormDays.
	Worm     string
	WormDays int
}

// CreateBucket makes a bucket without a request. One that is there keeps its objects and storage
// class.
func (s *Server) CreateBucket(name string, o BucketOptions) error {
	if !validBucketName(name) {
		return errBucketName.with("BucketName", name)
	}
	return s.store.create(bucketInfo{
		Name: name, ACL: o.ACL, StorageClass: o.StorageClass, Created: s.now().UTC(), Versioning: o.Versioning,
		Worm: o.Worm, WormDays: o.WormDays,
	})
}

// Object describes an object as it's stored.
type Object struct {
	Key          string
	Size         int64
	ETag         string // upper case, without quotes
	CRC64        uint64
	Type         string // Normal or Multipart
	StorageClass string
	Modified     time.Time
	ContentType  string
	Meta         map[string]string // without x-oss-meta-, lower case
}

// Objects are all objects of a bucket in the order of their keys; none if there's no such bucket.
func (s *Server) Objects(bucket string) []Object {
	b, err := s.store.bucket(bucket)
	if err != nil {
		return nil
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := make([]Object, 0, b.index.n)
	for o := range b.index.from("") {
		meta := map[string]string{}
		for name, value := range o.Header {
			if m, ok := strings.CutPrefix(name, "X-Oss-Meta-"); ok {
				meta[strings.ToLower(m)] = value
			}
		}
		all = append(all, Object{
			Key: o.Key, Size: o.Size, ETag: o.ETag, CRC64: o.CRC64, Type: o.Type, StorageClass: o.StorageClass,
			Modified: o.Modified, ContentType: o.Header["Content-Type"], Meta: meta,
		})
	}
	return all
}

// Upload is a multipart upload in progress.
type Upload struct {
	Key   string
	ID    string
	Parts int
}

// Uploads are a bucket's uploads in progress by key: what an interrupted client left behind.
func (s *Server) Uploads(bucket string) []Upload {
	b, err := s.store.bucket(bucket)
	if err != nil {
		return nil
	}
	var all []Upload
	for _, u := range b.sortedUploads() {
		b.mu.RLock()
		all = append(all, Upload{Key: u.Key, ID: u.ID, Parts: len(u.parts)})
		b.mu.RUnlock()
	}
	return all
}

// Read returns an object's bytes. Its errors read like OSS's: "404 NoSuchKey: ...".
func (s *Server) Read(bucket, key string) ([]byte, error) {
	b, err := s.store.bucket(bucket)
	if err != nil {
		return nil, err
	}
	o, err := b.open(key)
	if err != nil {
		return nil, err
	}
	defer o.release()
	r := &reader{o: o, n: o.Size}
	defer r.Close()
	return io.ReadAll(io.Reader(r))
}

// Put stores an object without a request, replacing one that is there.
func (s *Server) Put(bucket, key string, data []byte) error {
	b, err := s.store.bucket(bucket)
	if err != nil {
		return err
	}
	if !validKey(key) {
		return errObjectName.with("ObjectName", key)
	}
	body, err := s.store.stage(bytes.NewReader(data), maxPutSize)
	if err != nil {
		return err
	}
	defer body.discard()
	return b.publish(b.object(key, body, "", plainHeader, s.now().UTC().Truncate(time.Second)), body, false)
}

// Delete removes an object without a request; that there is none is success.
func (s *Server) Delete(bucket, key string) error {
	b, err := s.store.bucket(bucket)
	if err != nil {
		return err
	}
	return b.remove(key)
}

// Dir is the folder with everything.
func (s *Server) Dir() string { return s.store.dir }
