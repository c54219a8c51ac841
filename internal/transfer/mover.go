// Package transfer copies blobs from a Source to a Sink and proves each copy.
//
// A small blob is read into memory and put from there. A larger one is either piped, one GET into
// one PUT, or uploaded in several parts at the same time. Large parts are piped as well; those that
// fit into a slab are not if their bytes are hashed here. Every GET names the ETag under which the
// blob was listed, so no copy is ever made of two versions. All memory for blobs comes from
// [Buffers], which have a hard limit; nothing else grows with the blobs.
//
// A blob counts as copied only if it was proven on both legs: from S3 to here, and from here to
// OSS.
//
//   - First by ETags alone, which costs nothing here. S3's ETag is the MD5 of what it stores; for
//     an upload in parts it is the MD5 of the parts' MD5s. OSS's ETag is the MD5 of what it has
//     received. If the two agree, nothing was damaged on the way.
//   - If that is impossible or has failed once, both legs are hashed here: MD5 against S3's ETag if
//     that is an MD5, CRC64 against what OSS reports. It is impossible if a side encrypts with KMS,
//     or if the sizes of the parts are unknown.
//
// An object that is stored but not proven never counts as a copy later: see [Mover.Present]. A blob
// that is copied in its source's own parts continues where an earlier attempt was interrupted: see
// resume.go.
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
	// ETag under which it was listed. If it is empty, the blob is whatever object of that size is
	// under the key: reading it gives the ETag, which saves a listing.
	ETag string
	// Look says that the sink already has an object of this key and size, which may be a copy: so
	// check it first.
	Look bool
}

// Options of a Mover. The zero value of each field means its default.
type Options struct {
	// Concurrency is how many requests run at the same time. Default 32.
	Concurrency int
	// Buffers are the memory; all Movers of a process should share it. Default: buffers of its own,
	// of DefaultMemory.
	Buffers *Buffers
	// Limits bound what is read from the source; all of them apply. They may be changed at any
	// time.
	Limits []*Limit
	// PutLimit is the size in bytes up to which a blob whose ETag is its MD5 is piped, one GET into
	// one PUT. A larger one is copied in several parts at the same time, and hashed here. Default
	// 128 MiB: Elasticsearch puts up to 100 MB in one request (repository-s3: buffer_size).
	PutLimit int64
	// Stall is how long a connection may make no progress before it is closed. Default 30 s. A
	// service that has the complete request may take eight times as long for its answer.
	Stall time.Duration
	Retry Retry
	// Progress gets what was done since its last call; bytes are negative when a blob begins again.
	// It is called from many goroutines.
	Progress func(blobs, bytes int64)
	// Stats count what happens; Movers may share them. Default: stats of its own.
	Stats *Stats
}

// Mover copies between one Source and one Sink.
type Mover struct {
	source   objectstore.Source
	sink     objectstore.Sink
	options  Options
	slots    chan struct{}
	progress func(blobs, bytes int64)
	// sinkHidesMD5 is set once the sink has stored the right bytes under an ETag that is no MD5.
	// From then on nothing is proven by ETags alone.
	sinkHidesMD5 atomic.Bool
	// sourceHidesMD5 says that the last ETag that looked like an MD5 was none. In a bucket that is
	// encrypted with KMS all are so.
	sourceHidesMD5 atomic.Bool
	// mayNotList is set once the sink has refused to list uploads.
	mayNotList atomic.Bool
}

const (
	defaultConcurrency = 32
	defaultPutLimit    = 128 << 20
	defaultStall       = 30 * time.Second
	// largestWhole, in bytes, is the largest blob or part that is always read completely before it is
	// put. Then a failed PUT reads nothing again. For larger ones that would hold too much of the
	// memory.
	largestWhole = 1 << 20
	// attemptsToProve is how often a blob is copied at most because its checksums differ.
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

// Stored is a blob as the sink has it.
type Stored struct {
	Blob
	SinkETag string
	// Skipped says that the sink had a proven copy already.
	Skipped bool
}

// Copy copies each blob and calls stored, from many goroutines, once the sink has the blob and it
// is proven. It returns when all are done, or when one has failed for good; then the others are
// cancelled. The error is an *Error if the blob itself is the cause.
func (m *Mover) Copy(ctx context.Context, blobs iter.Seq[Blob], stored func(Stored)) error {
	group, working := errgroup.WithContext(ctx)
	// The goroutines stay. A new one for each blob would have to grow its stack each time, which is
	// expensive for small blobs.
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

// work copies a blob, and then those of the queue.
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

// CopyOne copies a blob and proves it, unless the sink has a proven copy and Blob.Look is set.
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
		first := last == nil || errors.Is(last, errNoMD5) // a blob that is piped has done nothing before that
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
		return Stored{}, &objectstore.Error{
			Kind: objectstore.Transient, Op: "CompleteMultipartUpload", Key: blob.Key,
			Message: last.Error(),
		}
	}
	m.options.Stats.Corruptions.Add(int64(suspicions))
	return Stored{}, &Error{Kind: Corrupt, Key: blob.Key, Err: last}
}

// attempt copies a blob in the way that fits it. hash says that ETags are not enough for the proof.
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
	// A blob that was uploaded in parts is proven by these, unless it is smaller than OSS permits
	// for a part.
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

// slot waits until one more request may run. The function that it returns ends that.
func (m *Mover) slot(ctx context.Context) (func(), error) {
	select {
	case m.slots <- struct{}{}:
		return func() { <-m.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
