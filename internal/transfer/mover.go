// Package transfer moves blobs from a Source to a Sink and proves each of them.
//
// A small blob is read whole and put whole. A larger one is either piped, one GET into one PUT, or uploaded in parts at the
// same time. Every GET names the ETag under which the blob was listed, so no blob is ever made of two versions. All that
// holds bytes of blobs comes out of Buffers, which have a hard limit; nothing else grows with the blobs.
//
// What counts as copied was proven on both legs of its way. At first by ETags alone, which costs nothing here: S3's ETag is
// the MD5 of what it stores (for an upload in parts the MD5 of the parts' MD5s), OSS's is the MD5 of what it has received;
// if one follows from the other, nothing was damaged in between. Where that can't be, because a side encrypts with KMS or
// the parts' sizes aren't known, or where it failed once, both legs are hashed here: MD5 against S3's ETag if that is one,
// CRC64 against what OSS says. An object that is stored but not yet proven is never taken for a copy later: see Present.
//
// A blob that travels in its source's own parts goes on where an earlier attempt was killed: see resume.go.
package transfer

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// Blob is what is to be copied: an object as the source's listing shows it.
type Blob struct {
	Key  string
	Size int64
	// ETag under which it was listed. If it is empty, the blob is whatever stands under the key in that size: it is found out by reading it, which
	// saves a listing.
	ETag string
	// Look says that something of its size stands in the sink already, which may be a copy of it.
	Look bool
}

// Options of a Mover. The zero value of each field means its default.
type Options struct {
	// Concurrency is how many requests run at once. Default 32.
	Concurrency int
	// Buffers are shared by all Movers of a process. Default: own ones, of DefaultMemory.
	Buffers *Buffers
	// Limits on what is read from the source; all of them hold. They may be changed at any time.
	Limits []*Limit
	// PutLimit is the size in bytes up to which a blob whose ETag is its MD5 is piped, one GET into one PUT; beyond, parts of it travel at
	// the same time, and are hashed here. Default 128 MiB: Elasticsearch puts up to 100 MB at once (repository-s3: buffer_size).
	PutLimit int64
	// Stall is after how long a connection on which nothing moves is given up. Default 30 s. A service that has a request
	// whole may think eight times as long about its answer.
	Stall time.Duration
	Retry Retry
	// Progress is told what was done since it was last called; bytes may be negative, when a blob begins again. It is called
	// from many goroutines.
	Progress func(blobs, bytes int64)
	// Stats are counted into; Movers may share them. Default: own ones.
	Stats *Stats
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
	// sourceHidesMD5 says that the last ETag that looked like an MD5 was none: a bucket that is encrypted with KMS has only such.
	sourceHidesMD5 atomic.Bool
	// mayNotList is set once the sink has refused to list uploads.
	mayNotList atomic.Bool
}

const (
	defaultConcurrency = 32
	defaultPutLimit    = 128 << 20
	defaultStall       = 30 * time.Second
	// largestWhole is what is read whole before it is put: then a failed PUT reads nothing again. Larger ones would hold more of the
	// memory than that is worth.
	largestWhole = 1 << 20
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
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	if o.Buffers == nil {
		o.Buffers = DefaultBuffers()
	}
	if o.Stats == nil {
		o.Stats = &Stats{}
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
	// The goroutines stay: a new one for each blob would grow its stack anew each time, which is dear for small blobs.
	queue, workers := make(chan Blob), 0
	for blob := range blobs {
		select {
		case queue <- blob:
			continue
		default:
		}
		if workers < m.options.Concurrency {
			workers++
			group.Go(func() error { return m.work(working, blob, queue, stored) })
			continue
		}
		select {
		case queue <- blob:
			continue
		case <-working.Done():
		}
		break
	}
	close(queue)
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// work copies a blob and then those of the queue.
func (m *Mover) work(ctx context.Context, blob Blob, queue <-chan Blob, stored func(Stored)) error {
	for more := true; more; blob, more = <-queue {
		s, err := m.CopyOne(ctx, blob)
		if err != nil {
			return err
		}
		stored(s)
	}
	return nil
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
	hash, suspicions := m.sinkHidesMD5.Load(), 0
	var last error
	for range attemptsToProve {
		first := last == nil || errors.Is(last, errNoMD5) // a blob that is piped gets no further before that
		etag, err := m.attempt(ctx, blob, hash, first)
		switch {
		case err == nil:
			if !m.sinkHidesMD5.Load() { // else that was the reason
				m.options.Stats.Corruptions.Add(int64(suspicions))
			}
			m.progress(1, 0)
			return Stored{Blob: blob, SinkETag: etag}, nil
		case errors.Is(err, errDamaged):
			m.options.Stats.Corruptions.Add(1)
			hash = true
		case errors.Is(err, errUnproven):
			suspicions++
			hash = true
		case errors.Is(err, errNoMD5), errors.Is(err, errStale):
			hash = true
		case !errors.Is(err, errGone):
			return Stored{}, err
		}
		last = err
	}
	if !errors.Is(last, errUnproven) {
		return Stored{}, &objectstore.Error{Kind: objectstore.Transient, Op: "CompleteMultipartUpload", Key: blob.Key, Message: last.Error()}
	}
	m.options.Stats.Corruptions.Add(int64(suspicions))
	return Stored{}, &Error{Kind: Corrupt, Key: blob.Key, Err: last}
}

// attempt copies a blob by the way that suits it. hash says that ETags are not enough.
func (m *Mover) attempt(ctx context.Context, blob Blob, hash, first bool) (string, error) {
	if blob.ETag == "" {
		if blob.Size <= min(largestWhole, int64(m.options.Buffers.block)) {
			return m.put(ctx, blob, hash)
		}
		var err error
		if blob, err = m.identify(ctx, blob); err != nil {
			return "", err
		}
	}
	// What was uploaded in parts is proven by those, unless it is so small that OSS would take none of them.
	inParts := strings.Contains(blob.ETag, "-") && blob.Size > objectstore.MinPartSize
	switch {
	case !inParts && blob.Size <= min(largestWhole, int64(m.options.Buffers.block)):
		return m.put(ctx, blob, hash)
	case !hash && !m.sourceHidesMD5.Load() && objectstore.LooksLikeMD5(blob.ETag) && blob.Size <= m.options.PutLimit:
		return m.pipe(ctx, blob)
	case !inParts && blob.Size <= int64(m.options.Buffers.block):
		return m.put(ctx, blob, hash)
	default:
		return m.upload(ctx, blob, hash, first)
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
