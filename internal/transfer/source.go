package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// progressWorth is how many bytes must arrive before failed tries are forgotten.
const progressWorth = 1 << 20

// reader reads a range of a blob of the source, within the bandwidth limits. If a body breaks off
// or stalls, it continues from there, so its errors are final.
type reader struct {
	*Mover
	ctx     context.Context // also ends with the reader
	blob    Blob
	at, end int64
	tries   tries
	since   int64 // bytes since the last failure

	body  objectstore.Body
	watch *watch // of the open body
	isMD5 bool   // the blob's ETag is the MD5 of all of it; known once a body was opened
}

func (m *Mover) reader(ctx context.Context, blob Blob, offset, length int64) *reader {
	return &reader{Mover: m, ctx: ctx, blob: blob, at: offset, end: offset + length, tries: m.tries()}
}

// open opens the rest of the range, unless it is open.
func (r *reader) open() error {
	for r.watch == nil {
		ctx, w := r.watched(r.ctx, "GetObject", r.blob.Key, r.options.Stall)
		body, err := r.source.ReadRange(ctx, r.blob.Key, r.blob.ETag, r.at, r.end-r.at)
		w.pause()
		if err == nil {
			r.body, r.watch, r.isMD5 = body, w, body.ETagIsMD5
			if r.blob.ETag == "" { // from here on it is this version
				r.blob.ETag = body.ETag
			}
			if objectstore.LooksLikeMD5(r.blob.ETag) && r.sourceHidesMD5.Load() == r.isMD5 {
				r.sourceHidesMD5.Store(!r.isMD5)
			}
			break
		}
		w.close()
		if err := r.failed(w.explain(err)); err != nil {
			return err
		}
	}
	return nil
}

// failed waits before the next try, or gives the final error.
func (r *reader) failed(err error) error {
	if r.since >= progressWorth {
		r.tries.forget()
	}
	r.since = 0
	return reading(r.blob.Key, r.tries.again(r.ctx, err))
}

func (r *reader) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := r.open(); err != nil {
			return 0, err
		}
		r.watch.resume(r.options.Stall)
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.at, int64(r.portion()))])
		r.watch.pause()
		r.at += int64(n)
		r.since += int64(n)
		r.options.Stats.BytesRead.Add(int64(n))
		if err != nil && r.at < r.end {
			err = r.watch.explain(err)
			r.close()
			if err := r.failed(short(r.blob.Key, err)); err != nil {
				return n, err
			}
		}
		if n > 0 {
			return n, r.pay(n)
		}
	}
}

func (r *reader) portion() int {
	portion := largestSlab
	for _, l := range r.options.Limits {
		portion = min(portion, l.portion())
	}
	return portion
}

func (r *reader) pay(n int) error {
	for _, l := range r.options.Limits {
		if err := l.pay(r.ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// close returns the connection, so that others can use it.
func (r *reader) close() {
	if r.watch == nil {
		return
	}
	r.watch.resume(r.options.Stall) // for what is left of the body
	_ = r.body.Close()
	r.watch.close()
	r.watch = nil
}

// short makes a Transient error of an early end.
func short(key string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &objectstore.Error{
			Kind: objectstore.Transient, Op: "GetObject", Key: key,
			Message: "the body ended early",
		}
	}
	return err
}

// fill reads a range of a blob into a buffer of its length. isMD5 says whether the blob's ETag is
// the MD5 of all of it.
func (m *Mover) fill(ctx context.Context, blob Blob, offset int64, buffer []byte) (isMD5 bool, err error) {
	_, isMD5, err = m.read(ctx, blob, offset, buffer)
	return isMD5, err
}

// read is fill, and also gives the blob with its ETag, if that was unknown.
func (m *Mover) read(ctx context.Context, blob Blob, offset int64, buffer []byte) (read Blob, isMD5 bool, err error) {
	r := m.reader(ctx, blob, offset, int64(len(buffer)))
	defer r.close()
	if err := r.open(); err != nil {
		return blob, false, err
	}
	if _, err := io.ReadFull(r, buffer); err != nil {
		return blob, false, err
	}
	return r.blob, r.isMD5, nil
}

// identify asks for the ETag of a blob of which only key and size are known. An object of another
// size is Vanished: the wanted blob is not there.
func (m *Mover) identify(ctx context.Context, blob Blob) (Blob, error) {
	info, err := ask(ctx, m, "HeadObject", blob.Key,
		func(ctx context.Context) (objectstore.Info, error) { return m.source.Head(ctx, blob.Key) })
	if err != nil {
		return blob, reading(blob.Key, err)
	}
	if info.Size != blob.Size {
		return blob, &Error{
			Kind: Vanished, Key: blob.Key,
			Err: fmt.Errorf("it has %d bytes in S3 instead of %d", info.Size, blob.Size),
		}
	}
	if blob.ETag != "" && blob.ETag != info.ETag {
		return blob, &Error{
			Kind: Changed, Key: blob.Key,
			Err: fmt.Errorf("its ETag is %s, and was %s", info.ETag, blob.ETag),
		}
	}
	blob.ETag = info.ETag
	return blob, nil
}

// outgoing is the body of a request to the sink: the bytes in a slab, or those of a reader that
// pass through a slab. It reports progress to the watch.
type outgoing struct {
	watch         *watch
	stall, answer time.Duration

	rest []byte // the bytes in the slab that are still to be sent

	from *reader // nil if rest is all
	slab []byte
	tee  io.Writer // also gets the reader's bytes; may be nil
	err  error     // the reader's, which is final
}

// Next implements objectstore.Lender.
func (o *outgoing) Next(most int) ([]byte, error) {
	o.watch.pause()
	if len(o.rest) == 0 && o.from != nil && o.err == nil {
		var n int
		n, o.err = o.from.Read(o.slab)
		o.rest = o.slab[:n]
		if o.tee != nil {
			_, _ = o.tee.Write(o.rest) // hashes don't fail
		}
	}
	next := o.rest[:min(len(o.rest), most)]
	o.rest = o.rest[len(next):]
	if len(o.rest) > 0 || o.from != nil && o.from.at < o.from.end {
		o.watch.resume(o.stall)
	} else {
		o.watch.resume(o.answer)
	}
	switch {
	case len(next) > 0:
		return next, nil
	case o.err != nil:
		return nil, o.err
	}
	return nil, io.EOF
}

func (o *outgoing) Read(p []byte) (int, error) {
	next, err := o.Next(len(p))
	return copy(p, next), err
}

// blame replaces the sink's error by the source's, if that was the cause.
func (o *outgoing) blame(err error) error {
	if err != nil && o.err != nil && !errors.Is(o.err, io.EOF) {
		return &final{o.err}
	}
	return err
}

// final is an error after which a request isn't sent again, whatever its kind is: that has been
// tried.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }
