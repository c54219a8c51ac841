package transfer

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// put copies a blob by reading it into a slab and putting it from there.
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
	known := blob.ETag != ""
	blob, isMD5, err := m.read(ctx, blob, 0, buffer)
	if !known && (err != nil || !isMD5) {
		// A body that ends early may be the complete object. And without an MD5, nothing shows that
		// the complete object was read.
		var unlike error
		if blob, unlike = m.identify(ctx, blob); err == nil {
			err = unlike
		} else if lost, ok := errors.AsType[*Error](unlike); ok {
			err = lost
		}
	}
	if err != nil {
		return "", err
	}
	p := proof{hash: hash || !isMD5}
	if p.hash {
		if sum := md5Hex(buffer); isMD5 && !objectstore.SameMD5(sum, blob.ETag) {
			return "", damaged("the bytes read from S3 have MD5 %s, but the ETag is %s", sum, blob.ETag)
		}
		p.crc = crc64Of(buffer)
	}
	metadata := blob.metadata(p)
	result, err := try(ctx, m.tries(), func() (objectstore.PutResult, error) {
		return m.send(ctx, blob, &outgoing{rest: buffer}, metadata)
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

// pipe copies a blob by one GET into one PUT. Its ETag looks like an MD5.
func (m *Mover) pipe(ctx context.Context, blob Blob) (string, error) {
	release, err := m.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	slab, free, err := m.copySlab(ctx)
	if err != nil {
		return "", err
	}
	defer free()
	metadata := blob.metadata(proof{})
	result, err := try(ctx, m.tries(), func() (objectstore.PutResult, error) {
		r := m.reader(ctx, blob, 0, blob.Size)
		defer r.close()
		if err := r.open(); err != nil {
			return objectstore.PutResult{}, &final{err}
		}
		if !r.isMD5 {
			return objectstore.PutResult{}, errNoMD5
		}
		return m.send(ctx, blob, &outgoing{from: r, slab: slab}, metadata)
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

func (m *Mover) copySlab(ctx context.Context) ([]byte, func(), error) {
	return m.options.Buffers.get(ctx, min(copySlab, int64(m.options.Buffers.block)))
}

// send puts an object, once.
func (m *Mover) send(ctx context.Context, blob Blob, body *outgoing,
	metadata map[string]string,
) (objectstore.PutResult, error) {
	ctx, w := m.watched(ctx, "PutObject", blob.Key, m.options.Stall)
	defer w.close()
	body.watch, body.stall, body.answer = w, m.options.Stall, m.answerTime()
	result, err := m.sink.Put(ctx, blob.Key, body, blob.Size, metadata)
	return result, body.blame(w.explain(err))
}

// proof is what an object that was put in one request is compared with: the source's ETag, or the
// CRC64 of the bytes that were read.
type proof struct {
	hash bool
	crc  uint64
}

func (p proof) check(blob Blob, result objectstore.PutResult) error {
	switch {
	case p.hash && result.CRC64 != p.crc:
		return damaged("OSS has stored bytes of CRC64 %d, but those that were read have CRC64 %d", result.CRC64, p.crc)
	case !p.hash && !objectstore.SameMD5(result.ETag, blob.ETag):
		return unproven("OSS has stored bytes of ETag %s, but S3 has the ETag %s", result.ETag, blob.ETag)
	}
	return nil
}

func md5Hex(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}
