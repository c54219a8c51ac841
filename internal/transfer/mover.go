// Package transfer moves blobs from a Source to a Sink and proves each of them.
//
// A blob that fits a buffer is read whole and put whole. A larger one is either piped, one GET into one PUT, or uploaded in
// parts at the same time. Every GET names the ETag under which the blob was listed, so no blob is ever made of two
// versions. Buffers come from a fixed set; nothing else grows with the blobs.
//
// What counts as copied was proven on both legs of its way. At first by ETags alone, which costs nothing here: S3's ETag is
// the MD5 of what it stores (for an upload in parts the MD5 of the parts' MD5s), OSS's is the MD5 of what it has received;
// if one follows from the other, nothing was damaged in between. Where that can't be, because a side encrypts with KMS or
// the parts' sizes aren't known, or where it failed once, both legs are hashed here: MD5 against S3's ETag if that is one,
// CRC64 against what OSS says. An object that is stored but not yet proven is never taken for a copy later: see Present.
package transfer

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// Blob is what is to be copied: an object as the source's listing shows it.
type Blob struct {
	Key  string
	Size int64
	ETag string
	// Look says that something of its size stands in the sink already, which may be a copy of it.
	Look bool
}

// Options of a Mover. The zero value of each field but Buffers means its default.
type Options struct {
	// Concurrency is how many requests run at once. Default 32.
	Concurrency int
	// Buffers are shared by all Movers of a process.
	Buffers *Buffers
	// PutLimit is the size up to which a blob that doesn't fit a buffer is piped; beyond, parts of it travel at the same
	// time. Default 32 MiB: a failure costs reading it again, and the last blob of a round travels alone.
	PutLimit int64
	Retry    Retry
	// Progress is told what was done since it was last called; bytes may be negative, when a blob begins again. It is called
	// from many goroutines.
	Progress func(blobs, bytes int64)
}

// Mover copies between one Source and one Sink.
type Mover struct {
	source   objectstore.Source
	sink     objectstore.Sink
	options  Options
	slots    chan struct{}
	progress func(blobs, bytes int64)
	// sinkHidesMD5 is set once the sink has stored something right under an ETag that is no MD5: from then on the attempt to
	// prove by ETags is left out.
	sinkHidesMD5 atomic.Bool
}

const (
	defaultConcurrency = 32
	defaultPutLimit    = 32 << 20
	// attemptsToProve bounds how often a blob is copied anew because its checksums don't fit.
	attemptsToProve = 4
)

// New makes a Mover.
func New(source objectstore.Source, sink objectstore.Sink, o Options) *Mover {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.PutLimit <= 0 {
		o.PutLimit = defaultPutLimit
	}
	if o.Buffers == nil {
		o.Buffers = NewBuffers(0, 0)
	}
	m := &Mover{source: source, sink: sink, options: o, slots: make(chan struct{}, o.Concurrency), progress: o.Progress}
	if m.progress == nil {
		m.progress = func(int64, int64) {}
	}
	return m
}

// Stored is a blob as it stands in the sink.
type Stored struct {
	Blob
	SinkETag string
	// Skipped says that it stood there already.
	Skipped bool
}

// Copy copies each blob and calls stored, from many goroutines, once it stands in the sink and is proven. It returns when
// all are done or one has failed for good; then the others are given up. The error is an *Error if the blob is to blame.
func (m *Mover) Copy(ctx context.Context, blobs iter.Seq[Blob], stored func(Stored)) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(m.options.Concurrency)
	for blob := range blobs {
		if working.Err() != nil {
			break
		}
		group.Go(func() error {
			s, err := m.CopyOne(working, blob)
			if err == nil {
				stored(s)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// CopyOne copies a blob and proves it, unless that has been done.
func (m *Mover) CopyOne(ctx context.Context, blob Blob) (Stored, error) {
	if blob.Look {
		if stored, ok, err := m.Present(ctx, blob); ok || err != nil {
			if ok {
				m.progress(1, blob.Size)
			}
			return stored, err
		}
	}
	hash := m.sinkHidesMD5.Load()
	var last error
	for range attemptsToProve {
		etag, err := m.attempt(ctx, blob, hash)
		if err == nil {
			m.progress(1, 0)
			return Stored{Blob: blob, SinkETag: etag}, nil
		}
		if !errors.Is(err, errUnproven) {
			return Stored{}, err
		}
		last, hash = err, true
	}
	return Stored{}, &Error{Kind: Corrupt, Key: blob.Key, Err: last}
}

// attempt copies a blob by the way that suits it. hash says that ETags are not enough.
func (m *Mover) attempt(ctx context.Context, blob Blob, hash bool) (string, error) {
	switch {
	case blob.Size <= int64(m.options.Buffers.size):
		return m.put(ctx, blob, hash)
	case !hash && objectstore.LooksLikeMD5(blob.ETag) && blob.Size <= m.options.PutLimit:
		return m.pipe(ctx, blob)
	default:
		return m.upload(ctx, blob, hash)
	}
}

// slot waits for leave to send requests; the function that it returns gives it back.
func (m *Mover) slot(ctx context.Context) (func(), error) {
	select {
	case m.slots <- struct{}{}:
		return func() { <-m.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
