package ferry

import (
	"context"
	"errors"
	"fmt"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// ErrNotYet is what a wait returns that has had enough of waiting for a snapshot's end.
var ErrNotYet = errors.New("the root in S3 doesn't list the snapshot yet")

// errLegacy is what a wait for a root of 2.x would end with: such a root has no generation, so that
// nobody sees by its name that it is another one.
var errLegacy = errors.New("the repository is one of Elasticsearch 2.x")

// Ahead copies what a snapshot needs as soon as the root in S3 lists the snapshot. Elasticsearch goes
// on for a while then: it writes index.latest, removes old roots, and tells the cluster. wait is called
// between two looks. Nothing rests on this: what it can't do is left to [Ferry.Copy], and the result
// says why. It publishes if the request says so; else it leaves the root to [Ferry.PublishAhead].
//
// The request is that for the copy of the snapshot, of which only the name is known yet.
func (f *Ferry) Ahead(ctx context.Context, request migration.CopyRequest,
	wait func(context.Context) error,
) (migration.Ahead, error) {
	r := newRound(f.job(request.Run, request.Snapshot, request.Again), request)
	ready, err := r.ahead(ctx, wait)
	if leftToTheCopy(err) || errors.Is(err, ErrNotYet) || errors.Is(err, errLegacy) {
		return migration.Ahead{Why: err.Error()}, nil
	}
	return ready, err
}

func (r *round) ahead(ctx context.Context, wait func(context.Context) error) (ready migration.Ahead, err error) {
	r.doing("waiting for the end of the snapshot")
	base := r.baseGeneration()
	// The target before the source, as in readBoth.
	if r.to, err = r.readTarget(ctx, base); err != nil {
		return ready, err
	}
	if err := r.awaitRoot(ctx, base, wait); err != nil {
		return ready, err
	}
	published, err := r.meet(ctx)
	switch {
	case err != nil:
		return ready, err
	case published:
		return migration.Ahead{Why: "it is published already"}, nil
	case r.to.Root != nil && len(deleted(r.from, r.to)) > 0:
		return migration.Ahead{Why: "OSS lists a snapshot that is deleted in S3"}, nil // see withdraw
	}
	p, err := r.planDeltas(ctx)
	if err != nil {
		return ready, err
	}
	if !p.inline() {
		return migration.Ahead{Why: "the delta is better copied in pages"}, nil
	}
	if r.request.Publish {
		return r.publishEarly(ctx, p)
	}
	inSink, err := r.copyBeneathRoot(ctx, p, true)
	if err != nil {
		return ready, err
	}
	ready = r.copiedAhead()
	ready.Root, ready.RootGeneration, ready.RootETag = r.from.Data, r.from.Generation, r.from.ETag
	ready.Published, ready.Digest = r.to.Generation, digestOfAll(inSink)
	for _, shard := range p.touched() {
		ready.Shards = append(ready.Shards, migration.ShardRange{IndexID: shard.IndexID, Shard: shard.Number})
	}
	return ready, nil
}

// publishEarly copies all that the root names, and publishes it. It reads besides when the snapshot
// began and ended, which the cluster doesn't tell yet.
func (r *round) publishEarly(ctx context.Context, p *plan) (migration.Ahead, error) {
	var info *repository.SnapshotInfo
	err := sides.Together(ctx,
		func(ctx context.Context) error { _, err := r.copyBeneathRoot(ctx, p, true); return err },
		func(ctx context.Context) (err error) { info, err = r.snapshotInfo(ctx, r.snapshot.UUID); return err })
	if err == nil {
		err = r.publish(ctx)
	}
	if err != nil {
		return migration.Ahead{}, err
	}
	ready, snapshot := r.copiedAhead(), r.snapshot
	snapshot.StartMillis, snapshot.EndMillis = info.StartTime, info.EndTime
	ready.Early = &migration.EarlyCopy{Snapshot: snapshot, Generation: r.result.Generation}
	return ready, nil
}

// copiedAhead says what was copied, and of which snapshot.
func (r *round) copiedAhead() migration.Ahead {
	return migration.Ahead{
		UUID: r.snapshot.UUID, BlobsCopied: r.result.BlobsCopied, BytesCopied: r.result.BytesCopied,
		BlobsSkipped: r.result.BlobsSkipped, BytesSkipped: r.result.BytesSkipped,
	}
}

// awaitRoot waits until the root in S3 lists the snapshot, and reads that root.
func (r *round) awaitRoot(ctx context.Context, base int64, wait func(context.Context) error) error {
	for seen := base; ; {
		objects, generation, found, err := r.s3.Highest(ctx)
		if err != nil && !nothingYet(err) {
			return err
		}
		if _, legacy := objects[repository.LegacyRootKey]; legacy && !found {
			return errLegacy
		}
		if err == nil && found && generation != seen {
			if r.from, err = r.readSource(ctx, generation); err != nil {
				return err
			}
			seen = r.from.Generation
			for _, s := range r.from.Snapshots {
				if s.Name == r.snapshot.Name {
					r.snapshot.UUID = s.UUID
					return nil
				}
			}
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// PublishAhead publishes what [Ferry.Ahead] has copied. The root in S3 has to be the very one, OSS must
// have got no other since, and what stands below the shards has to be what was proven: else Moved is
// set, and Copy finds out why.
func (f *Ferry) PublishAhead(ctx context.Context, request migration.PublishAheadRequest) (migration.CopyResult, error) {
	ready := request.Ready
	root, err := repository.ParseRoot(ready.RootGeneration, ready.Root)
	if err != nil {
		return migration.CopyResult{}, fmt.Errorf("the root that was kept: %w", err)
	}
	r := newRound(f.job(request.Run, request.Snapshot, true), migration.CopyRequest{Run: request.Run})
	r.from = f.s3.Known(root, ready.Root, ready.RootETag)
	if ready.Published >= 0 {
		r.to.Root, r.to.Generation = &repository.Root{}, ready.Published
	}
	shards := make([]repository.ShardID, len(ready.Shards))
	for i, shard := range ready.Shards {
		shards[i] = repository.ShardID{IndexID: shard.IndexID, Number: shard.Shard}
	}
	r.fence = func(ctx context.Context) error {
		inSink, err := r.listInSink(ctx, shards)
		if err == nil && digestOfAll(inSink) != ready.Digest {
			err = sides.ErrMoved
		}
		return err
	}
	listed, ok := root.Snapshot(request.Snapshot.UUID)
	if !ok || listed.Name != request.Snapshot.Name {
		return migration.CopyResult{Moved: true}, nil
	}
	err = r.publish(ctx)
	if errors.Is(err, sides.ErrMoved) {
		return migration.CopyResult{Moved: true}, nil
	}
	return migration.CopyResult{
		Generation: r.result.Generation, BlobsCopied: ready.BlobsCopied, BytesCopied: ready.BytesCopied,
		BlobsSkipped: ready.BlobsSkipped, BytesSkipped: ready.BytesSkipped,
	}, err
}

// digestOfAll stands for objects of OSS.
func digestOfAll(objects map[string]objectstore.Object) (sum migration.Digest) {
	for _, o := range objects {
		sum += digestOf(o.Key, o.Size, o.ETag)
	}
	return sum
}
