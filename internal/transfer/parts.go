package transfer

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// upload is a blob on its way in parts.
type upload struct {
	*Mover
	blob Blob
	id   objectstore.Upload
	// aligned says that the parts are those in which the source's object was uploaded, so that their MD5s make its ETag.
	aligned bool
	// hash says that the parts are hashed here: if aligned, OSS's ETags do without.
	hash  bool
	parts []part
	// whole is the MD5 of the blob, fed part by part in their order, where the source's ETag may be one; wholeIs says that it
	// is. Both are written in turn.
	whole   hash.Hash
	wholeIs bool
}

type part struct {
	offset, size int64
	done         objectstore.Part
	sum          []byte        // the MD5 of what was read, if upload.hash and aligned
	hashed       chan struct{} // closed when the part has gone into upload.whole
}

// abortTimeout is for cleaning up after the activity was cancelled.
const abortTimeout = 20 * time.Second

// upload copies a blob in parts. Only what is proven gets completed, so that an object that was uploaded in parts is proven
// by standing there.
func (m *Mover) upload(ctx context.Context, blob Blob, hash bool) (etag string, err error) {
	u := &upload{Mover: m, blob: blob, hash: hash}
	if err := u.plan(ctx); err != nil {
		return "", err
	}
	metadata := blob.metadata(proof{})
	metadata[MetadataParts] = fmt.Sprint(len(u.parts))
	u.id, err = Do(ctx, m.options.Retry, func() (objectstore.Upload, error) { return m.sink.CreateUpload(ctx, blob.Key, metadata) })
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			u.undo(ctx)
		}
	}()
	if err := u.carry(ctx); err != nil {
		return "", err
	}
	if err := u.prove(); err != nil {
		return "", err
	}
	result, err := u.complete(ctx)
	if err != nil {
		return "", err
	}
	if crc := u.crc64(); u.hash && crc != result.CRC64 {
		// Nothing tells later that this one is wrong.
		_, gone := Do(ctx, m.options.Retry, func() (struct{}, error) { return struct{}{}, m.sink.Delete(ctx, blob.Key) })
		return "", errors.Join(unproven("OSS has put the parts together to CRC64 %d, which should be %d", result.CRC64, crc), gone)
	}
	return result.ETag, nil
}

// plan chooses the parts: the source's own if they are known, else as large as a buffer.
func (u *upload) plan(ctx context.Context) error {
	size := u.partSize()
	if strings.Contains(u.blob.ETag, "-") {
		parts, err := Do(ctx, u.options.Retry, func() (objectstore.Parts, error) { return u.source.Parts(ctx, u.blob.Key, u.blob.ETag) })
		if err != nil {
			return reading(u.blob.Key, err)
		}
		if fits(parts, u.blob.Size) {
			size, u.aligned = parts.PartSize, true
		}
	}
	u.hash = u.hash || !u.aligned
	if objectstore.LooksLikeMD5(u.blob.ETag) && size <= int64(u.options.Buffers.size) {
		u.whole = md5.New()
	}
	for offset := int64(0); offset < u.blob.Size; offset += size {
		u.parts = append(u.parts, part{offset: offset, size: min(size, u.blob.Size-offset), hashed: make(chan struct{})})
	}
	return nil
}

// partSize is that of a buffer, unless there would be too many parts; those that don't fit a buffer are piped.
func (u *upload) partSize() int64 {
	size := max(int64(u.options.Buffers.size), objectstore.MinPartSize)
	for (u.blob.Size+size-1)/size > objectstore.MaxParts {
		size *= 2
	}
	return size
}

func fits(p objectstore.Parts, size int64) bool {
	const largest = 5 << 30 // of OSS's parts
	return p.Count > 0 && p.Count <= objectstore.MaxParts && p.PartSize > 0 && p.PartSize <= largest &&
		(p.Count == 1 || p.PartSize >= objectstore.MinPartSize) && (size+p.PartSize-1)/p.PartSize == int64(p.Count)
}

// carry moves the parts, each as soon as there is a slot and a buffer. Both are taken here and in order: a part may have to
// wait until the one before is hashed, which therefore must have both already.
func (u *upload) carry(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range u.parts {
		if err := u.start(ctx, group, i); err != nil {
			group.Go(func() error { return err })
			break
		}
	}
	return group.Wait()
}

func (u *upload) start(ctx context.Context, group *errgroup.Group, i int) error {
	release, err := u.slot(ctx)
	if err != nil {
		return err
	}
	size := u.parts[i].size
	if size > int64(u.options.Buffers.size) {
		group.Go(func() error {
			defer release()
			return u.pipePart(ctx, i)
		})
		return nil
	}
	buffer, free, err := u.options.Buffers.get(ctx, size)
	if err != nil {
		release()
		return err
	}
	group.Go(func() error {
		defer release()
		defer free()
		return u.putPart(ctx, i, buffer)
	})
	return nil
}

func (u *upload) putPart(ctx context.Context, i int, buffer []byte) error {
	p := &u.parts[i]
	isMD5, err := u.fill(ctx, u.blob, p.offset, buffer)
	if err != nil {
		return err
	}
	if err := u.hashInTurn(ctx, i, isMD5, buffer); err != nil {
		return err
	}
	var crc uint64
	if u.hash {
		crc = crc64Of(buffer)
	}
	if u.hash && u.aligned {
		sum := md5.Sum(buffer)
		p.sum = sum[:]
	}
	done, err := Do(ctx, u.options.Retry, func() (objectstore.Part, error) {
		done, err := u.sink.UploadPart(ctx, u.id, i+1, bytes.NewReader(buffer), p.size)
		return u.accept(done, crc, err)
	})
	return u.take(p, done, err)
}

// hashInTurn lets the parts go through the MD5 of the whole one after the other.
func (u *upload) hashInTurn(ctx context.Context, i int, isMD5 bool, buffer []byte) error {
	if u.whole == nil {
		return nil
	}
	if i > 0 {
		select {
		case <-u.parts[i-1].hashed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if u.wholeIs = isMD5; isMD5 {
		_, _ = u.whole.Write(buffer)
	}
	close(u.parts[i].hashed)
	return nil
}

// pipePart moves a part that fits no buffer.
func (u *upload) pipePart(ctx context.Context, i int) error {
	p := &u.parts[i]
	done, err := Do(ctx, u.options.Retry, func() (objectstore.Part, error) {
		body, err := u.source.ReadRange(ctx, u.blob.Key, u.blob.ETag, p.offset, p.size)
		if err != nil {
			return objectstore.Part{}, reading(u.blob.Key, err)
		}
		defer body.Close()
		source := &watched{Reader: body}
		var reader io.Reader = source
		crc, sum := crc64.New(ecma), md5.New()
		switch {
		case u.hash && u.aligned:
			reader = io.TeeReader(source, io.MultiWriter(crc, sum))
		case u.hash:
			reader = io.TeeReader(source, crc)
		}
		done, err := u.sink.UploadPart(ctx, u.id, i+1, reader, p.size)
		p.sum = sum.Sum(nil)
		return u.accept(done, crc.Sum64(), source.blame(u.blob.Key, err))
	})
	return u.take(p, done, err)
}

// accept compares what the sink has stored of a part with what was read.
func (u *upload) accept(done objectstore.Part, crc uint64, err error) (objectstore.Part, error) {
	if err == nil && u.hash && done.CRC64 != crc {
		err = fmt.Errorf("%w: part %d has CRC64 %d there, read were bytes of %d", errDamaged, done.Number, done.CRC64, crc)
	}
	return done, err
}

// take takes a part that is in the sink.
func (u *upload) take(p *part, done objectstore.Part, err error) error {
	if _, blamed := errors.AsType[*Error](err); !blamed && objectstore.KindOf(err) == objectstore.NotFound {
		// A rule of the bucket, or a person, has ended the upload: the blob begins again.
		return unproven("the upload is gone: %v", err)
	}
	if err == nil {
		p.done = done
		u.progress(0, p.size)
	}
	return err
}

// prove compares what has arrived with the source's ETag.
func (u *upload) prove() error {
	if u.wholeIs {
		if sum := hex.EncodeToString(u.whole.Sum(nil)); !objectstore.SameMD5(sum, u.blob.ETag) {
			return unproven("read bytes of MD5 %s from S3, where the ETag is %s", sum, u.blob.ETag)
		}
	}
	if !u.aligned {
		return nil // each part's CRC64 was compared
	}
	sums := md5.New()
	for _, p := range u.parts {
		sum := p.sum
		if !u.hash {
			var err error
			if sum, err = hex.DecodeString(p.done.ETag); err != nil {
				return unproven("OSS gives part %d the ETag %s, which is no MD5", p.done.Number, p.done.ETag)
			}
		}
		_, _ = sums.Write(sum)
	}
	if etag := fmt.Sprintf("%x-%d", sums.Sum(nil), len(u.parts)); !strings.EqualFold(etag, u.blob.ETag) {
		return unproven("the parts make the ETag %s, S3 has %s", etag, u.blob.ETag)
	}
	return nil
}

// complete makes the object. OSS goes on with it when the connection breaks, so that a failure may be a success.
func (u *upload) complete(ctx context.Context) (objectstore.PutResult, error) {
	parts := make([]objectstore.Part, len(u.parts))
	for i, p := range u.parts {
		parts[i] = p.done
	}
	return Do(ctx, u.options.Retry, func() (objectstore.PutResult, error) {
		result, err := u.sink.Complete(ctx, u.id, parts)
		kind := objectstore.KindOf(err)
		if kind != objectstore.NotFound && kind != objectstore.Transient {
			return result, err
		}
		if info, e := u.sink.Head(ctx, u.blob.Key); e == nil && u.blob.is(info) && info.Metadata[MetadataParts] != "" {
			return objectstore.PutResult{ETag: info.ETag, CRC64: info.CRC64}, nil
		}
		if kind == objectstore.NotFound {
			return result, unproven("the upload is gone: %v", err)
		}
		return result, err
	})
}

// undo frees what a failed upload has left in the sink. If that fails too, the bucket's rule for stale uploads does.
func (u *upload) undo(ctx context.Context) {
	for _, p := range u.parts {
		u.progress(0, -p.done.Size)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = u.sink.Abort(ctx, u.id)
}

func (u *upload) crc64() uint64 {
	var crc uint64
	for _, p := range u.parts {
		crc = combine(crc, p.done.CRC64, p.size)
	}
	return crc
}
