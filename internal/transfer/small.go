package transfer

import (
	"context"
	"errors"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// Read reads a small object of the source, of limit bytes at most, and proves it if its ETag is an
// MD5.
func (m *Mover) Read(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
	var last error
	for range attemptsToProve {
		data, info, err := get(ctx, m, m.source, key, limit)
		if err != nil {
			return nil, info, reading(key, err)
		}
		sum := md5Hex(data)
		if !info.ETagIsMD5 || objectstore.SameMD5(sum, info.ETag) {
			return data, info, nil
		}
		m.options.Stats.Corruptions.Add(1)
		last = damaged("the bytes read from S3 have MD5 %s, but the ETag is %s", sum, info.ETag)
	}
	return nil, objectstore.Info{}, &Error{Kind: Corrupt, Key: key, Err: last}
}

// ReadBack reads a small object of the sink, of limit bytes at most, and proves it by its CRC64.
func (m *Mover) ReadBack(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
	var last error
	for range attemptsToProve {
		data, info, err := get(ctx, m, m.sink, key, limit)
		if err != nil {
			return nil, info, err
		}
		crc := crc64Of(data)
		if crc == info.CRC64 {
			return data, info, nil
		}
		m.options.Stats.Corruptions.Add(1)
		last = damaged("the bytes read from OSS have CRC64 %d, those that it stores %d", crc, info.CRC64)
	}
	return nil, objectstore.Info{}, &Error{Kind: Corrupt, Key: key, Err: last}
}

func get(ctx context.Context, m *Mover, from objectstore.Reader, key string,
	limit int64,
) ([]byte, objectstore.Info, error) {
	release, err := m.slot(ctx)
	if err != nil {
		return nil, objectstore.Info{}, err
	}
	defer release()
	type answer struct {
		data []byte
		info objectstore.Info
	}
	a, err := try(ctx, m.tries(), func() (answer, error) {
		data, info, err := from.Get(ctx, key, limit)
		return answer{data, info}, err
	})
	return a.data, a.info, err
}

// Write puts a small object into the sink and proves it. etag is the source's; it is empty for an
// object that was made here.
func (m *Mover) Write(ctx context.Context, key string, data []byte, etag string) error {
	release, err := m.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	blob, p := Blob{Key: key, Size: int64(len(data)), ETag: etag}, proof{hash: true, crc: crc64Of(data)}
	for range attemptsToProve {
		var result objectstore.PutResult
		result, err = try(ctx, m.tries(), func() (objectstore.PutResult, error) {
			return m.send(ctx, blob, &outgoing{rest: data}, blob.metadata(p))
		})
		if err == nil {
			err = p.check(blob, result)
		}
		if !errors.Is(err, errUnproven) {
			return err
		}
		m.options.Stats.Corruptions.Add(1)
	}
	return &Error{Kind: Corrupt, Key: key, Err: err}
}
