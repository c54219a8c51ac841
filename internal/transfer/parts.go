package transfer

import (
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

// upload is a blob that is copied in parts.
type upload struct {
	*Mover
	blob Blob
	id   objectstore.Upload
	// aligned says that the parts are those in which the source's object was uploaded, so that
	// their MD5s give its ETag.
	aligned bool
	// hash says that the parts are hashed here. If they are aligned, OSS's ETags may suffice.
	hash bool
	// adopted says that parts of an earlier attempt were adopted: only the proof tells of which
	// version they are.
	adopted bool
	parts   []part
	// sum is the MD5 of the complete blob, if the source's ETag may be one: the parts go into it in
	// their order. etagIsMD5 says that the ETag really is one. The parts write both, one after the
	// other.
	sum       hash.Hash
	etagIsMD5 bool
}

type part struct {
	offset, size int64
	done         objectstore.Part
	sum          []byte        // the MD5 of what was read, if upload.hash and aligned
	hashed       chan struct{} // closed when the part has gone into upload.sum
}

// abortTimeout is for cleaning up after the activity was cancelled.
const abortTimeout = 20 * time.Second

// upload copies a blob in parts. It completes the object only after the proof, so an object that
// was uploaded in parts is proven by its existence. first says that this is the first try: then
// uploads that are of no use are aborted.
func (m *Mover) upload(ctx context.Context, blob Blob, hash, first bool) (etag string, err error) {
	u := &upload{Mover: m, blob: blob, hash: hash}
	if err := u.plan(ctx); err != nil {
		return "", err
	}
	if !u.aligned && blob.Size <= int64(m.options.Buffers.block) {
		return m.put(ctx, blob, true) // by fewer requests
	}
	if err := u.begin(ctx, first); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			u.undo(ctx, err)
		}
	}()
	if err := u.copyParts(ctx); err != nil {
		return u.elsewhere(ctx, err)
	}
	if err := u.prove(); err != nil {
		return "", err
	}
	result, err := u.complete(ctx)
	if err != nil {
		return "", err
	}
	if crc := u.crc64(); u.hash && crc != result.CRC64 {
		// Later nothing would show that this object is wrong.
		return "", errors.Join(damaged("the object that OSS made of the parts has CRC64 %d instead of %d", result.CRC64,
			crc), u.remove(ctx))
	}
	if u.adopted {
		return result.ETag, u.confirm(ctx)
	}
	return result.ETag, nil
}

// plan chooses the parts: the source's own if they are known, else parts of the size of a block.
func (u *upload) plan(ctx context.Context) error {
	size := u.partSize()
	if strings.Contains(u.blob.ETag, "-") {
		parts, err := ask(ctx, u.Mover, "HeadObject", u.blob.Key, func(ctx context.Context) (objectstore.Parts, error) {
			return u.source.Parts(ctx, u.blob.Key, u.blob.ETag)
		})
		if err != nil {
			return reading(u.blob.Key, err)
		}
		if parts.OfMD5s && fits(parts, u.blob.Size) {
			size, u.aligned = parts.PartSize, true
		}
	}
	u.hash = u.hash || !u.aligned
	if objectstore.LooksLikeMD5(u.blob.ETag) && size <= int64(u.options.Buffers.block) {
		u.sum = md5.New()
	}
	for offset := int64(0); offset < u.blob.Size; offset += size {
		u.parts = append(u.parts, part{
			offset: offset, size: min(size, u.blob.Size-offset),
			hashed: make(chan struct{}),
		})
	}
	return nil
}

// partSize is that of a block, or more if there would be too many parts. Parts that don't fit into
// a block are piped.
func (u *upload) partSize() int64 {
	size := max(int64(u.options.Buffers.block), objectstore.MinPartSize)
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

// copyParts copies the missing parts, each as soon as there is a slot and a slab. It takes both in
// the order of the parts: a part may wait until the part before is hashed, which therefore must
// have both already.
func (u *upload) copyParts(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range u.parts {
		if u.parts[i].done.Number != 0 {
			continue
		}
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
	size, move := u.parts[i].size, u.putPart
	if u.pipes(size) {
		size, move = min(copySlab, int64(u.options.Buffers.block)), u.pipePart
	}
	slab, free, err := u.options.Buffers.get(ctx, size)
	if err != nil {
		release()
		return err
	}
	group.Go(func() error {
		defer release()
		defer free()
		return move(ctx, i, slab)
	})
	return nil
}

// pipes tells whether a part is copied by one GET into one PUT: if it fits into no slab, and if nothing
// is hashed here. All parts of a few large blobs run at the same time. If each was read before it is
// put, the line from S3 and the one to OSS would have to wait for each other.
func (u *upload) pipes(size int64) bool {
	return size > int64(u.options.Buffers.block) || size > largestWhole && !u.hash
}

// putPart copies a part that fits into a slab.
func (u *upload) putPart(ctx context.Context, i int, slab []byte) error {
	p := &u.parts[i]
	isMD5, err := u.fill(ctx, u.blob, p.offset, slab)
	if err != nil {
		return err
	}
	if err := u.hashInTurn(ctx, i, isMD5, slab); err != nil {
		return err
	}
	var crc uint64
	if u.hash {
		crc = crc64Of(slab)
	}
	if u.hash && u.aligned {
		sum := md5.Sum(slab)
		p.sum = sum[:]
	}
	done, err := try(ctx, u.tries(), func() (objectstore.Part, error) {
		done, err := u.send(ctx, i, &outgoing{rest: slab})
		return u.accept(done, crc, err)
	})
	return u.take(p, done, err)
}

// hashInTurn adds the parts to the MD5 of the complete blob, one after the other.
func (u *upload) hashInTurn(ctx context.Context, i int, isMD5 bool, slab []byte) error {
	if u.sum == nil {
		return nil
	}
	if i > 0 {
		select {
		case <-u.parts[i-1].hashed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if u.etagIsMD5 = isMD5; isMD5 {
		_, _ = u.sum.Write(slab)
	}
	close(u.parts[i].hashed)
	return nil
}

// pipePart copies a part through a small slab.
func (u *upload) pipePart(ctx context.Context, i int, slab []byte) error {
	p := &u.parts[i]
	done, err := try(ctx, u.tries(), func() (objectstore.Part, error) {
		r := u.reader(ctx, u.blob, p.offset, p.size)
		defer r.close()
		if err := r.open(); err != nil {
			return objectstore.Part{}, &final{err}
		}
		crc, sum := crc64.New(ecma), md5.New()
		body := &outgoing{from: r, slab: slab}
		switch {
		case u.hash && u.aligned:
			body.tee = io.MultiWriter(crc, sum)
		case u.hash:
			body.tee = crc
		}
		done, err := u.send(ctx, i, body)
		p.sum = sum.Sum(nil)
		return u.accept(done, crc.Sum64(), err)
	})
	return u.take(p, done, err)
}

// send uploads a part, once.
func (u *upload) send(ctx context.Context, i int, body *outgoing) (objectstore.Part, error) {
	ctx, w := u.watched(ctx, "UploadPart", u.blob.Key, u.options.Stall)
	defer w.close()
	body.watch, body.stall, body.answer = w, u.options.Stall, u.answerTime()
	done, err := u.sink.UploadPart(ctx, u.id, i+1, body, u.parts[i].size)
	return done, body.blame(w.explain(err))
}

// accept compares what the sink has stored of a part with what was read.
func (u *upload) accept(done objectstore.Part, crc uint64, err error) (objectstore.Part, error) {
	if err == nil && u.hash && done.CRC64 != crc {
		u.options.Stats.Corruptions.Add(1)
		err = damaged("part %d has CRC64 %d in OSS, but the bytes that were read have CRC64 %d", done.Number,
			done.CRC64, crc)
	}
	return done, err
}

// take records a part that the sink has.
func (u *upload) take(p *part, done objectstore.Part, err error) error {
	if _, blamed := errors.AsType[*Error](err); !blamed && objectstore.KindOf(err) == objectstore.NotFound {
		// Another attempt has completed or aborted the upload, or a rule of the bucket or a person
		// has aborted it.
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if err == nil {
		p.done = done
		u.progress(0, p.size)
	}
	return err
}

// prove compares the parts with the source's ETag.
func (u *upload) prove() error {
	if u.etagIsMD5 {
		if sum := hex.EncodeToString(u.sum.Sum(nil)); !objectstore.SameMD5(sum, u.blob.ETag) {
			return damaged("the bytes read from S3 have MD5 %s, but the ETag is %s", sum, u.blob.ETag)
		}
	}
	if !u.aligned {
		return nil // each part's CRC64 was compared
	}
	sums := md5.New()
	for _, p := range u.parts {
		sum, hidden := p.sum, false
		if !u.hash {
			var err error
			if sum, err = hex.DecodeString(p.done.ETag); err != nil {
				return unproven("OSS gives part %d the ETag %s, which is no MD5", p.done.Number, p.done.ETag)
			}
		} else {
			hidden = !objectstore.SameMD5(hex.EncodeToString(sum), p.done.ETag)
		}
		if hidden { // its CRC64 was right
			u.sinkHidesMD5.Store(true)
		}
		_, _ = sums.Write(sum)
	}
	etag := fmt.Sprintf("%x-%d", sums.Sum(nil), len(u.parts))
	switch {
	case strings.EqualFold(etag, u.blob.ETag):
		return nil
	case u.adopted:
		return fmt.Errorf("%w: the parts give the ETag %s, and S3 has %s", errStale, etag, u.blob.ETag)
	case u.hash:
		return damaged("the bytes that were read give the ETag %s, and S3 has %s", etag, u.blob.ETag)
	}
	return unproven("the parts give the ETag %s, and S3 has %s", etag, u.blob.ETag)
}

// complete makes the object. OSS goes on if the connection breaks, so the object may exist after a
// failure.
func (u *upload) complete(ctx context.Context) (objectstore.PutResult, error) {
	parts := make([]objectstore.Part, len(u.parts))
	for i, p := range u.parts {
		parts[i] = p.done
	}
	return ask(ctx, u.Mover, "CompleteMultipartUpload", u.blob.Key,
		func(ctx context.Context) (objectstore.PutResult, error) {
			result, err := u.sink.Complete(ctx, u.id, parts)
			switch kind := objectstore.KindOf(err); kind {
			case objectstore.NotFound, objectstore.Transient:
				if result, ok := u.stands(ctx); ok {
					return result, nil
				}
				if kind == objectstore.NotFound {
					return result, fmt.Errorf("%w: %w", errGone, err)
				}
			case objectstore.Invalid:
				if u.adopted { // an attempt for another version has replaced a part since
					return result, fmt.Errorf("%w: %w", errStale, err)
				}
			}
			return result, err
		})
}

// stands reports whether the sink has the object, proven: somebody else has completed an upload of
// this version.
func (u *upload) stands(ctx context.Context) (objectstore.PutResult, bool) {
	info, err := u.sink.Head(ctx, u.blob.Key)
	if err != nil || !u.blob.is(info) || info.Metadata[MetadataParts] == "" {
		return objectstore.PutResult{}, false
	}
	return objectstore.PutResult{ETag: info.ETag, CRC64: info.CRC64}, true
}

// elsewhere checks, if the upload is gone, whether another attempt has completed it.
func (u *upload) elsewhere(ctx context.Context, err error) (string, error) {
	if !errors.Is(err, errGone) {
		return "", err
	}
	result, e := ask(ctx, u.Mover, "HeadObject", u.blob.Key, func(ctx context.Context) (objectstore.PutResult, error) {
		result, ok := u.stands(ctx)
		if !ok {
			return result, err
		}
		return result, nil
	})
	if e != nil {
		return "", e
	}
	u.progress(0, u.blob.Size-u.moved())
	return result.ETag, nil
}

// moved is how many bytes of the parts were reported as done.
func (u *upload) moved() (bytes int64) {
	for _, p := range u.parts {
		bytes += p.done.Size
	}
	return bytes
}

// undo takes back the progress of a failed upload. The upload stays if the next attempt can adopt
// it: if the worker stops, or if the network failed. An upload that is of no use, because it failed
// its proof or its source is gone, is aborted. If that fails, too, Sweep or the bucket's rule for
// old uploads does it.
func (u *upload) undo(ctx context.Context, reason error) {
	u.progress(0, -u.moved())
	_, blamed := errors.AsType[*Error](reason)
	wrong := blamed || errors.Is(reason, errUnproven) || errors.Is(reason, errStale)
	if !wrong && u.aligned && !u.hash || errors.Is(reason, errGone) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = u.sink.Abort(ctx, u.id)
}

// remove deletes an object that is wrong.
func (u *upload) remove(ctx context.Context) error {
	return command(ctx, u.Mover, "DeleteObject", u.blob.Key,
		func(ctx context.Context) error { return u.sink.Delete(ctx, u.blob.Key) })
}

func (u *upload) crc64() uint64 {
	var crc uint64
	for _, p := range u.parts {
		crc = combine(crc, p.done.CRC64, p.size)
	}
	return crc
}
