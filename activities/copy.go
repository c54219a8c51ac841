package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// retrySourceMoves is the type of the error when the source's repository
// changed during each try to copy it.
const retrySourceMoves = "SourceMoves"

const (
	// copyRounds is how often a copy begins again within one attempt because the
	// source's repository moved on. Only a snapshot or a delete beside ours moves
	// it, so more than one restart is rare.
	copyRounds = 5
)

// Copier is the step that carries a snapshot from S3 to OSS. It is apart from
// Activities, because copy workers may stand elsewhere and reach no cluster.
type Copier struct {
	source func(context.Context, migration.Run) (objectstore.Source, error)
	sink   func(context.Context, migration.Run) (objectstore.Sink, error)
	// moving holds what all copies of the process share, and how they retry.
	moving transfer.Options
	pages  paging
	// ask tells how many bytes per second an activity may read, by its migration.
	ask func(context.Context) (int64, error)
	// beating is what perform needs.
	beating *Activities
}

// NewCopier makes the copy activities for a worker.
func NewCopier() *Copier {
	stores := newStores()
	return &Copier{
		source: stores.source, sink: stores.sink,
		moving:  transfer.Options{Buffers: transfer.DefaultBuffers(), Limits: []*transfer.Limit{{}}, Stats: &transfer.Stats{}},
		ask:     askForBandwidth,
		pages:   paging{blobs: pageBlobs, bytes: pageBytes, most: mostPages},
		beating: &Activities{heartbeat: activity.RecordHeartbeat, beat: time.Second},
	}
}

// Register makes each method known under its name.
func (c *Copier) Register(registry worker.ActivityRegistry) {
	registry.RegisterActivityWithOptions(c.CopySnapshot, activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	registry.RegisterActivityWithOptions(c.CopyShards, activity.RegisterOptions{Name: migration.ActivityCopyShards})
	registry.RegisterActivityWithOptions(c.CopyPage, activity.RegisterOptions{Name: migration.ActivityCopyPage})
	registry.RegisterActivityWithOptions(c.PublishSnapshot, activity.RegisterOptions{Name: migration.ActivityPublishSnapshot})
	registry.RegisterActivityWithOptions(c.AuditRepositories, activity.RegisterOptions{Name: migration.ActivityAudit})
}

// CopySnapshot carries a snapshot to OSS and publishes it, if its delta fits a
// page; else it returns the pages. Until the root index-N is written there,
// which is the last step but one, a reader of OSS sees the repository as it was;
// from then on the whole of the new one. It may die and be repeated at any
// point, and writes nothing twice that is proven.
//
// It fails with ErrorSnapshotUnusable if the snapshot isn't whole in S3, and
// with ErrorRepository if somebody else wrote to either repository. Nothing is
// deleted.
func (c *Copier) CopySnapshot(ctx context.Context, request migration.CopyRequest) (migration.CopyResult, error) {
	return perform(ctx, c.beating, "reading the snapshot", func(ctx context.Context, p *pulse) (migration.CopyResult, error) {
		job, err := c.job(ctx, p, request)
		if err != nil {
			return migration.CopyResult{}, err
		}
		defer job.close()
		return job.run(ctx)
	})
}

// job connects to both buckets.
func (c *Copier) job(ctx context.Context, p *pulse, request migration.CopyRequest) (*copyJob, error) {
	source, err := c.source(ctx, request.Run)
	if err != nil {
		return nil, err
	}
	sink, err := c.sink(ctx, request.Run)
	if err != nil {
		return nil, err
	}
	share, unfollow := c.followBandwidth(ctx, request.Plan.Copy)
	options := c.moving
	options.Limits = append(slices.Clone(options.Limits), share)
	options.Concurrency = max(request.Plan.Copy.Concurrency, 1)
	options.Progress = func(blobs, bytes int64) {
		p.update(func(progress *migration.Progress) {
			progress.BlobsDone += blobs
			progress.BytesDone += bytes
		})
	}
	mover := transfer.New(source, sink, options)
	s3, oss := sides.Open(source, sink, mover, options.Retry)
	return &copyJob{
		request: request, s3: s3, oss: oss, mover: mover, options: options, pages: c.pages,
		again: request.Again || activity.GetInfo(ctx).Attempt > 1, pulse: p, copied: map[string]bool{}, close: unfollow,
	}, nil
}

// copyJob is one run of CopySnapshot, CopyPage or PublishSnapshot.
type copyJob struct {
	request migration.CopyRequest
	s3, oss sides.Store
	mover   *transfer.Mover
	options transfer.Options
	pages   paging
	// again says that OSS may have blobs of the delta already.
	again bool
	pulse *pulse
	close func()

	mu     sync.Mutex
	result migration.CopyResult
	copied map[string]bool // data blobs that this run has copied, in any round
	// mirrored are those of them, in a mirrored repository, that the snapshots to publish need.
	mirrored migration.Tally

	// What a round has found.
	from sides.Side
	to   sides.Side
	// success are the snapshots that must be whole before the root is published.
	success []repository.Snapshot
	base    string // uuid of the snapshot in OSS that the delta is taken from, empty if there is none
	// wanted is what a page belongs to.
	wanted *migration.CopyDelta
}

func (j *copyJob) run(ctx context.Context) (migration.CopyResult, error) {
	var last error
	for range copyRounds {
		err := j.round(ctx)
		if !errors.Is(err, sides.ErrMoved) {
			return j.result, err
		}
		last, j.again = err, true
	}
	return migration.CopyResult{}, passing(retrySourceMoves, fmt.Sprintf("copy the snapshot %s: %v, %d times", j.request.Snapshot.Name, last, copyRounds), 0)
}

// round copies and publishes the snapshot as the source's root shows it now.
func (j *copyJob) round(ctx context.Context) error {
	j.doing("reading the snapshot")
	j.result = migration.CopyResult{BlobsCopied: j.result.BlobsCopied, BytesCopied: j.result.BytesCopied}
	published, err := j.readRoots(ctx)
	if err != nil {
		return err
	}
	if published {
		return j.verifyPublished(ctx)
	}
	if j.from.Legacy() {
		if err := j.mirror(ctx); err != nil {
			return err
		}
		if j.again {
			j.sweep(ctx)
		}
		return nil
	}
	if err := j.chooseBase(ctx); err != nil {
		return err
	}
	plan, err := j.plan(ctx)
	if err != nil {
		return err
	}
	j.result.BlobsSkipped, j.result.BytesSkipped = plan.skipped, plan.skippedSize
	if err := j.withdraw(ctx, plan); err != nil {
		return err
	}
	if !plan.inline() {
		j.result.Pages = &migration.CopyPages{
			Delta: j.delta(plan), Pages: j.pages.cut(plan.sizes, j.request.Plan.Copy.Pages), CarriedBlobs: plan.carriedBlobs, CarriedDigest: plan.carriedDigest,
		}
		return nil
	}
	if err := j.copyData(ctx, plan); err != nil {
		return err
	}
	if err := j.prove(ctx, plan); err != nil {
		return err
	}
	if err := j.publish(ctx, plan); err != nil {
		return err
	}
	if j.again {
		j.sweep(ctx)
	}
	return nil
}

// readRoots finds out what both repositories are now, and whether the snapshot
// is published already.
func (j *copyJob) readRoots(ctx context.Context) (published bool, err error) {
	// The target first: whatever stands there was published from a source that is at least as new when it is read.
	if j.to, err = j.readTarget(ctx); err != nil {
		return false, err
	}
	if j.from, err = j.readSource(ctx); err != nil {
		return false, err
	}
	if j.to.Legacy() && !j.from.Legacy() {
		j.to.Root = nil // Elasticsearch 5 and later reads index-N if there is one
	}
	if err := j.usable(ctx); err != nil {
		return false, err
	}
	return j.compareRoots()
}

func (j *copyJob) doing(what string) { j.pulse.set(migration.Progress{Doing: what}) }

// blame finds out what the loss or change of an object in S3 means: if the root
// has moved on, the copy begins again from the new one; else somebody has taken
// a snapshot apart.
func (j *copyJob) blame(ctx context.Context, p *copyPlan, err error) error {
	lost, ok := errors.AsType[*transfer.Error](err)
	if !ok || lost.Kind == transfer.Corrupt {
		return err
	}
	if j.from.Root == nil { // a page, which needed no root until now
		if err := j.readSameRoot(ctx); err != nil {
			return err
		}
	} else if moved := j.from.Unchanged(ctx); moved != nil {
		return moved
	}
	if lost.Kind == transfer.Changed {
		return fmt.Errorf("%w: %w", sides.ErrMoved, err)
	}
	return j.damaged(p, lost.Key, "%v, while the repository still lists it", err)
}

// unusable says that the snapshot can't be copied as it stands in S3. Since
// every successful snapshot of the repository goes along, the one to blame may
// be another.
func (j *copyJob) unusable(format string, args ...any) error {
	return fail(migration.ErrorSnapshotUnusable, "copy the snapshot %s: %s", j.request.Snapshot.Name, fmt.Sprintf(format, args...))
}

// damaged is unusable for an object that is lost or damaged. If it belongs to
// another snapshot of the repository, a new one of ours would fail like this one:
// then the error names the other and what to do about it.
func (j *copyJob) damaged(p *copyPlan, key, format string, args ...any) error {
	owners := j.ownersOf(p, key)
	if len(owners) == 0 || slices.ContainsFunc(owners, func(s repository.Snapshot) bool { return s.UUID == j.request.Snapshot.UUID }) {
		return j.unusable(format, args...)
	}
	names := make([]string, len(owners))
	for i, s := range owners {
		names[i] = fmt.Sprintf("%s [%s]", s.Name, s.UUID)
	}
	return j.unusable("%s. It belongs to another snapshot of the repository, which has to go along: %s. Delete that one at the source (DELETE _snapshot/%s/%s), then retry",
		fmt.Sprintf(format, args...), strings.Join(names, ", "), j.request.RepositoryName(), owners[0].Name)
}

// ownersOf finds the snapshots that need an object, as far as that is known.
func (j *copyJob) ownersOf(p *copyPlan, key string) []repository.Snapshot {
	if j.from.Root == nil {
		return nil
	}
	k := repository.Classify(key)
	needs := func(repository.Snapshot) bool { return false }
	switch k.Class {
	case repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassShardSnapshot:
		needs = func(s repository.Snapshot) bool { return s.UUID == k.UUID }
	case repository.ClassIndexMetadata:
		needs = func(s repository.Snapshot) bool {
			return slices.ContainsFunc(j.from.IndicesOf(s.UUID), func(i repository.Index) bool {
				return i.ID == k.Shard.IndexID && s.IndexMetadataID(i.ID) == k.UUID
			})
		}
	case repository.ClassData:
		needs = func(s repository.Snapshot) bool { return p.lists(s.UUID, k) }
	}
	var owners []repository.Snapshot
	for _, s := range j.from.Snapshots {
		if needs(s) {
			owners = append(owners, s)
		}
	}
	return owners
}

// parse wraps a parser's error: the bytes were proven, so reading them again
// would not help.
func (j *copyJob) parse(key string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*repository.FormatError](err); ok {
		return j.damaged(nil, key, "%s in S3 can't be understood: %v", key, err)
	}
	return err
}
