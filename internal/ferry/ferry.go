package ferry

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// Rounds is how often a copy begins again within one attempt because the source's repository moved
// on. Only a snapshot or a delete beside ours moves it, so more than one restart is rare.
const Rounds = 5

// Options of a Ferry. Source and Sink are required.
type Options struct {
	Source objectstore.Source // the repository in S3
	Sink   objectstore.Sink   // the repository in OSS
	// Transfer is how blobs travel. Its Concurrency, at least 1, also bounds the requests for
	// metadata. Its Progress is not used.
	Transfer transfer.Options
	// Paging bounds what is copied without pages. Default: [DefaultPaging].
	Paging Paging
	// Progress is given changes of what people see of the work, from many goroutines. Default:
	// nobody sees them.
	Progress func(change func(*migration.Progress))
}

// Ferry copies snapshots of one repository. It holds nothing between two calls.
type Ferry struct {
	s3, oss     sides.Store
	mover       *transfer.Mover
	concurrency int
	paging      Paging
	progress    func(change func(*migration.Progress))
}

// New makes a Ferry.
func New(o Options) *Ferry {
	f := &Ferry{concurrency: max(o.Transfer.Concurrency, 1), paging: o.Paging, progress: o.Progress}
	if f.paging == (Paging{}) {
		f.paging = DefaultPaging
	}
	if f.progress == nil {
		f.progress = func(func(*migration.Progress)) {}
	}
	o.Transfer.Concurrency = f.concurrency
	o.Transfer.Progress = func(blobs, bytes int64) {
		f.progress(func(p *migration.Progress) {
			p.BlobsDone += blobs
			p.BytesDone += bytes
		})
	}
	f.mover = transfer.New(o.Source, o.Sink, o.Transfer)
	f.s3, f.oss = sides.Open(o.Source, o.Sink, f.mover, o.Transfer.Retry)
	return f
}

// show replaces what people see of the work.
func (f *Ferry) show(progress migration.Progress) {
	f.progress(func(p *migration.Progress) { *p = progress })
}

func (f *Ferry) doing(what string) { f.show(migration.Progress{Doing: what}) }

// Result is what became of a copy.
type Result struct {
	migration.CopyResult
	Swept Swept
}

// Swept tells of uploads in parts that killed attempts had left, and that were ended.
type Swept struct {
	Uploads int
	// Err is why they could not be ended. It fails nothing: to end them is tidiness only.
	Err error
}

// job is a snapshot that is to be copied, and what was done of that so far.
type job struct {
	*Ferry
	run      migration.Run
	snapshot migration.Snapshot
	// again says that OSS may have blobs of the delta already.
	again bool

	mu     sync.Mutex
	result migration.CopyResult
	swept  Swept
	copied map[string]bool // data blobs that this job has copied, in any round
	// mirrored are those of them, in a mirrored repository, that the snapshots to publish need.
	mirrored migration.Tally
}

func (f *Ferry) job(run migration.Run, snapshot migration.Snapshot, again bool) *job {
	return &job{Ferry: f, run: run, snapshot: snapshot, again: again, copied: map[string]bool{}}
}

// Copy copies a snapshot to OSS and publishes it, if its delta fits a page; else it returns the
// pages. It may die and be repeated at any point, and copies nothing again that is proven.
//
// It fails with [Unusable] if the snapshot isn't complete in S3, with [Conflict] or [Damaged] if
// somebody else wrote to either repository, with [Missing] if there is no repository in S3, with
// [Refused] if that is of Elasticsearch 1.x, and with [Moving] if each round met another root
// there.
func (f *Ferry) Copy(ctx context.Context, request migration.CopyRequest) (Result, error) {
	j := f.job(request.Run, request.Snapshot, request.Again)
	var last error
	for range Rounds {
		err := newRound(j, request).copy(ctx)
		if !errors.Is(err, sides.ErrMoved) {
			return Result{j.result, j.swept}, err
		}
		last, j.again = err, true
	}
	return Result{}, failed(Moving, "copy the snapshot %s: %v, in each of %d rounds", request.Snapshot.Name, last,
		Rounds)
}

// round is one try to copy and publish a snapshot from what both repositories are when it begins.
type round struct {
	lists
	request migration.CopyRequest
	// from is the repository in S3, to the one in OSS. The root of to is nil as long as nothing was
	// published.
	from, to sides.Side
	// fence is what has to hold as well right before the root is written; nil for nothing.
	fence func(context.Context) error
	// kept is the root from which pages were planned, if that was kept, and keptOf says which.
	kept   []byte
	keptOf migration.CopyDelta
	// success are the snapshots that must be complete before the root is published.
	success []repository.Snapshot
}

func newRound(j *job, request migration.CopyRequest) *round {
	return &round{lists: lists{job: j}, request: request}
}

func (r *round) copy(ctx context.Context) error {
	r.doing("reading the snapshot")
	r.result = migration.CopyResult{BlobsCopied: r.result.BlobsCopied, BytesCopied: r.result.BytesCopied}
	published, err := r.readRoots(ctx)
	switch {
	case err != nil:
		return err
	case published:
		return r.verifyPublished(ctx)
	case r.from.Legacy():
		err = r.mirror(ctx)
	default:
		err = r.copyDelta(ctx)
	}
	if err == nil && r.again && r.result.Pages == nil {
		r.sweep(ctx)
	}
	return err
}

// copyDelta copies and publishes what the snapshot needs beyond the base, or cuts it into pages.
func (r *round) copyDelta(ctx context.Context) error {
	p, err := r.planDeltas(ctx)
	if err != nil {
		return err
	}
	if err := r.withdraw(ctx, p); err != nil {
		return err
	}
	if !p.inline() {
		delta, pages := r.delta(p), r.paging.cut(p.sizes, r.run.Plan.Copy.Pages)
		r.bases.mark(pages, delta.Base)
		r.result.Pages = &migration.CopyPages{
			Delta: delta, Pages: pages,
			CarriedBlobs: p.streamedBlobs, CarriedDigest: p.streamedDigest, Root: r.keep(),
		}
		return nil
	}
	if _, err := r.copyBeneathRoot(ctx, p, false); err != nil {
		return err
	}
	return r.publish(ctx)
}

// planDeltas finds the bases, and what the missing snapshots need beyond them.
func (r *round) planDeltas(ctx context.Context) (*plan, error) {
	if err := r.chooseBases(ctx); err != nil {
		return nil, err
	}
	p, err := r.makePlan(ctx)
	if err == nil {
		r.result.BlobsSkipped, r.result.BytesSkipped = p.skipped, p.skippedSize
	}
	return p, err
}

// copyBeneathRoot copies and proves all that the root names, data and metadata side by side: no reader
// sees any of it before the root, and writers may be waiting for each turn. See prove for all, and for
// what it returns.
func (r *round) copyBeneathRoot(ctx context.Context, p *plan, all bool) (map[string]objectstore.Object, error) {
	err := sides.Together(ctx,
		func(ctx context.Context) error { return r.copyData(ctx, p) },
		func(ctx context.Context) error { return r.publishMetadata(ctx, p) })
	if err != nil {
		return nil, err
	}
	return r.prove(ctx, p, all)
}

// readRoots finds out what both repositories are now, and whether the snapshot is published
// already.
func (r *round) readRoots(ctx context.Context) (published bool, err error) {
	if err := r.readBoth(ctx); err != nil {
		return false, err
	}
	return r.meet(ctx)
}

// meet makes sure that the roots which were read fit each other and the snapshot, and tells whether
// this is published already.
func (r *round) meet(ctx context.Context) (published bool, err error) {
	if r.to.Legacy() && !r.from.Legacy() {
		r.to.Root = nil // Elasticsearch 5 and later reads index-N if there is one
	}
	if err := r.ownRoot(ctx); err != nil {
		return false, err
	}
	if err := r.usable(ctx); err != nil {
		return false, err
	}
	return r.compareRoots()
}

// readBoth reads both repositories at the same time. The source's has to be at least as new as the
// one that the target's was published from, or what somebody publishes in between would look like a
// stranger's: where that isn't plain, the source is read again.
func (r *round) readBoth(ctx context.Context) error {
	var toErr, fromErr error
	base := r.baseGeneration() // a round adds one root, if nothing else happens
	err := sides.Together(ctx,
		func(ctx context.Context) error { r.to, toErr = r.readTarget(ctx, base); return nil },
		func(ctx context.Context) error { r.from, fromErr = r.readSource(ctx, base+1); return nil })
	if err = cmp.Or(err, toErr); err != nil {
		return err
	}
	if fromErr == nil && (r.to.Root == nil || !r.from.Legacy() && r.to.Generation <= r.from.Generation &&
		len(deleted(r.from, r.to)) == 0) {
		return nil
	}
	r.from, err = r.readSource(ctx, -1)
	return err
}

// baseGeneration is the root that the workflow knows in OSS; -1 if there is none.
func (r *round) baseGeneration() int64 {
	if r.request.BaseUUID == "" {
		return -1
	}
	return r.request.BaseGeneration
}
