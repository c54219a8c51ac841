package memory

import (
	"cmp"
	"context"
	"crypto/md5"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
)

func (s *Store) fail(kind objectstore.Kind, c Call, status int, code string) error {
	return &objectstore.Error{Kind: kind, Op: c.Op, Bucket: s.base.Bucket(), Key: c.Key, Status: status, Code: code}
}

// receive reads a body of exactly size bytes.
func (s *Store) receive(c Call, hooks Hooks, body io.Reader) ([]byte, error) {
	data := make([]byte, c.Length)
	if _, err := io.ReadFull(body, data); err != nil {
		e := &objectstore.Error{
			Kind: objectstore.Transient, Op: c.Op, Bucket: s.base.Bucket(), Key: c.Key,
			Message: "the body is short: " + err.Error(),
		}
		return nil, e
	}
	if hooks.Write != nil {
		data = hooks.Write(c, data)
	}
	return data, nil
}

// Put implements objectstore.Sink.
func (s *Store) Put(ctx context.Context, key string, body io.Reader, size int64,
	metadata map[string]string,
) (objectstore.PutResult, error) {
	c := Call{Op: "Put", Key: key, Length: size}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	data, err := s.receive(c, hooks, body)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	s.mu.Lock()
	info := s.store(key, data, s.etag(data), metadata, nil)
	s.mu.Unlock()
	return objectstore.PutResult{ETag: info.ETag, CRC64: info.CRC64}, hooks.end(c)
}

// CreateUpload implements objectstore.Sink.
func (s *Store) CreateUpload(ctx context.Context, key string, metadata map[string]string) (objectstore.Upload, error) {
	c := Call{Op: "CreateUpload", Key: key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.Upload{}, err
	}
	s.mu.Lock()
	s.serial++
	id := strconv.Itoa(s.serial)
	s.uploads[id] = &upload{
		key: key, metadata: maps.Clone(metadata), parts: map[int]object{},
		initiated: time.Now().UTC().Truncate(time.Second),
	}
	s.mu.Unlock()
	return objectstore.Upload{Key: key, ID: id}, hooks.end(c)
}

// UploadPart implements objectstore.Sink.
func (s *Store) UploadPart(ctx context.Context, u objectstore.Upload, number int, body io.Reader,
	size int64,
) (objectstore.Part, error) {
	c := Call{Op: "UploadPart", Key: u.Key, Offset: int64(number), Length: size}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.Part{}, err
	}
	if number < 1 || number > objectstore.MaxParts {
		return objectstore.Part{}, s.fail(objectstore.Invalid, c, 400, "InvalidArgument")
	}
	data, err := s.receive(c, hooks, body)
	if err != nil {
		return objectstore.Part{}, err
	}
	s.mu.Lock()
	open, ok := s.uploads[u.ID]
	etag, crc := s.etag(data), crc64.Checksum(data, ecma)
	if ok && open.key == u.Key {
		open.parts[number] = object{data: data, info: objectstore.Info{
			Object: objectstore.Object{ETag: etag},
			CRC64:  crc,
		}}
	}
	s.mu.Unlock()
	if !ok {
		return objectstore.Part{}, s.fail(objectstore.NotFound, c, 404, "NoSuchUpload")
	}
	return objectstore.Part{Number: number, Size: int64(len(data)), ETag: etag, CRC64: crc}, hooks.end(c)
}

// ListUploads implements objectstore.Sink.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]objectstore.Upload, error) {
	if _, err := s.base.Prefix(prefix); err != nil {
		return nil, err
	}
	c := Call{Op: "ListUploads", Key: prefix}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	var uploads []objectstore.Upload
	for id, u := range s.uploads {
		if strings.HasPrefix(u.key, prefix) {
			uploads = append(uploads, objectstore.Upload{Key: u.key, ID: id, Initiated: u.initiated})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(uploads, func(a, b objectstore.Upload) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.ID, b.ID))
	})
	return uploads, hooks.end(c)
}

// ListParts implements objectstore.Sink.
func (s *Store) ListParts(ctx context.Context, u objectstore.Upload) ([]objectstore.Part, error) {
	c := Call{Op: "ListParts", Key: u.Key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	open, ok := s.uploads[u.ID]
	if !ok {
		return nil, s.fail(objectstore.NotFound, c, 404, "NoSuchUpload")
	}
	var parts []objectstore.Part
	for _, n := range slices.Sorted(maps.Keys(open.parts)) {
		parts = append(parts, objectstore.Part{
			Number: n, Size: int64(len(open.parts[n].data)),
			ETag: open.parts[n].info.ETag,
		})
	}
	return parts, hooks.end(c)
}

// Complete implements objectstore.Sink.
func (s *Store) Complete(ctx context.Context, u objectstore.Upload,
	parts []objectstore.Part,
) (objectstore.PutResult, error) {
	c := Call{Op: "Complete", Key: u.Key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	info, err := s.assemble(c, u, parts)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	return objectstore.PutResult{ETag: info.ETag, CRC64: info.CRC64}, hooks.end(c)
}

func (s *Store) assemble(c Call, u objectstore.Upload, parts []objectstore.Part) (objectstore.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open, ok := s.uploads[u.ID]
	if !ok {
		return objectstore.Info{}, s.fail(objectstore.NotFound, c, 404, "NoSuchUpload")
	}
	var data, sums []byte
	var sizes []int64
	last := 0
	for i, p := range parts {
		have, ok := open.parts[p.Number]
		switch {
		case !ok || have.info.ETag != p.ETag:
			return objectstore.Info{}, s.fail(objectstore.Invalid, c, 400, "InvalidPart")
		case p.Number <= last:
			return objectstore.Info{}, s.fail(objectstore.Invalid, c, 400, "InvalidPartOrder")
		case i < len(parts)-1 && len(have.data) < objectstore.MinPartSize:
			return objectstore.Info{}, s.fail(objectstore.Invalid, c, 400, "EntityTooSmall")
		}
		last = p.Number
		data = append(data, have.data...)
		sum := md5.Sum(have.data)
		sums, sizes = append(sums, sum[:]...), append(sizes, int64(len(have.data)))
	}
	if len(parts) == 0 {
		return objectstore.Info{}, s.fail(objectstore.Invalid, c, 400, "MalformedXML")
	}
	delete(s.uploads, u.ID)
	return s.store(u.Key, data, fmt.Sprintf("%s-%d", s.etag(sums), len(parts)), open.metadata, sizes), nil
}

// Abort implements objectstore.Sink.
func (s *Store) Abort(ctx context.Context, u objectstore.Upload) error {
	c := Call{Op: "Abort", Key: u.Key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.uploads, u.ID)
	s.mu.Unlock()
	return hooks.end(c)
}

// Delete implements objectstore.Sink.
func (s *Store) Delete(ctx context.Context, key string) error {
	c := Call{Op: "Delete", Key: key}
	hooks, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.objects, key)
	s.mu.Unlock()
	return hooks.end(c)
}
