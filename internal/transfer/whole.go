package transfer

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// put copies a blob through a buffer.
func (m *Mover) put(ctx context.Context, blob Blob, hash bool) (string, error) {
	release, err := m.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	buffer, free, err := m.options.Buffers.get(ctx, blob.Size)
	if err != nil {
		return "", err
	}
	defer free()
	isMD5, err := m.fill(ctx, blob, 0, buffer)
	if err != nil {
		return "", err
	}
	p := proof{hash: hash || !isMD5}
	if p.hash {
		if sum := md5Hex(buffer); isMD5 && !objectstore.SameMD5(sum, blob.ETag) {
			return "", unproven("read bytes of MD5 %s from S3, where the ETag is %s", sum, blob.ETag)
		}
		p.crc = crc64Of(buffer)
	}
	result, err := Do(ctx, m.options.Retry, func() (objectstore.PutResult, error) {
		return m.sink.Put(ctx, blob.Key, bytes.NewReader(buffer), blob.Size, blob.metadata(p))
	})
	if err != nil {
		return "", err
	}
	if err := p.check(blob, result); err != nil {
		return "", err
	}
	if p.hash && isMD5 && !objectstore.SameMD5(result.ETag, blob.ETag) {
		m.sinkHidesMD5.Store(true)
	}
	m.progress(0, blob.Size)
	return result.ETag, nil
}

// proof is what a whole object in the sink is compared with: the source's ETag, or the CRC64 of the bytes that were read.
type proof struct {
	hash bool
	crc  uint64
}

func (p proof) check(blob Blob, result objectstore.PutResult) error {
	switch {
	case p.hash && result.CRC64 != p.crc:
		return unproven("OSS has stored bytes of CRC64 %d, read were those of %d", result.CRC64, p.crc)
	case !p.hash && !objectstore.SameMD5(result.ETag, blob.ETag):
		return unproven("OSS has stored bytes of ETag %s, S3 has those of %s", result.ETag, blob.ETag)
	}
	return nil
}

// fill reads a range of a blob into a buffer of its length. What has arrived when a read breaks off is kept. isMD5 says
// whether the blob's ETag is the MD5 of all of it.
func (m *Mover) fill(ctx context.Context, blob Blob, offset int64, buffer []byte) (isMD5 bool, err error) {
	have := 0
	isMD5, err = Do(ctx, m.options.Retry, func() (bool, error) {
		body, err := m.source.ReadRange(ctx, blob.Key, blob.ETag, offset+int64(have), int64(len(buffer)-have))
		if err != nil {
			return false, err
		}
		defer body.Close()
		n, err := io.ReadFull(body, buffer[have:])
		have += n
		return body.ETagIsMD5, short(blob.Key, err)
	})
	return isMD5, reading(blob.Key, err)
}

// short makes an end that comes too early an error that may pass.
func short(key string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &objectstore.Error{Kind: objectstore.Transient, Op: "GetObject", Key: key, Message: "the body ended early"}
	}
	return err
}

// pipe copies a blob with one GET into one PUT; its ETag looks like an MD5.
func (m *Mover) pipe(ctx context.Context, blob Blob) (string, error) {
	release, err := m.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	result, err := Do(ctx, m.options.Retry, func() (objectstore.PutResult, error) {
		body, err := m.source.ReadRange(ctx, blob.Key, blob.ETag, 0, blob.Size)
		if err != nil {
			return objectstore.PutResult{}, reading(blob.Key, err)
		}
		defer body.Close()
		if !body.ETagIsMD5 {
			return objectstore.PutResult{}, unproven("the ETag in S3 is no MD5")
		}
		source := &watched{Reader: body}
		result, err := m.sink.Put(ctx, blob.Key, source, blob.Size, blob.metadata(proof{}))
		return result, source.blame(blob.Key, err)
	})
	if err != nil {
		return "", err
	}
	if err := (proof{}).check(blob, result); err != nil {
		return "", err
	}
	m.progress(0, blob.Size)
	return result.ETag, nil
}

// watched remembers how the source's body ended, since the sink only sees that its own call failed.
type watched struct {
	io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// blame gives the source's error, if there was one, for the sink's.
func (w *watched) blame(key string, err error) error {
	if err != nil && w.err != nil {
		return fmt.Errorf("while blob %s was piped: %w", key, w.err)
	}
	return err
}

func md5Hex(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}
