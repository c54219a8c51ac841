package ferry

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// copyData copies the blobs.
func (r *round) copyData(ctx context.Context, p *plan) error {
	return r.blame(ctx, p, r.transfer(ctx, p))
}

// transfer copies the blobs of a plan. Each is proven when it is counted.
func (j *job) transfer(ctx context.Context, p *plan) error {
	j.show(migration.Progress{Doing: "copying", BlobsTotal: int64(len(p.blobs)), BytesTotal: p.bytes})
	p.stored = make(map[string]string, len(p.blobs))
	return j.mover.Copy(ctx, slices.Values(p.blobs), func(s transfer.Stored) {
		j.mu.Lock()
		defer j.mu.Unlock()
		p.stored[s.Key] = s.SinkETag
		switch {
		case !s.Skipped:
			j.copied[s.Key] = true
			j.result.BlobsCopied++
			j.result.BytesCopied += s.Size
		case !j.copied[s.Key]: // not by an earlier round of this run
			j.result.BlobsSkipped++
			j.result.BytesSkipped += s.Size
		}
	})
}

// publishMetadata writes what the data blobs need to be found. The root is the first to name any of
// it: the stages before have no order among themselves, and none with the data, that a reader could
// see.
func (r *round) publishMetadata(ctx context.Context, p *plan) error {
	stages, err := p.metadata(r.from.Root)
	if err != nil {
		return err
	}
	var before []repository.Object
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		if stage < repository.StageRoot {
			before = append(before, stages[stage]...)
		}
	}
	err = sides.InParallel(ctx, r.concurrency, before, func(ctx context.Context, o repository.Object) error {
		return r.publishObject(ctx, p, o)
	})
	return r.blame(ctx, p, err)
}

// publish writes the root, once all is there that it names.
func (r *round) publish(ctx context.Context) error {
	r.doing("publishing")
	if err := r.publishRoot(ctx); err != nil {
		return err
	}
	err := sides.Together(ctx,
		func(ctx context.Context) error { return r.publishLatest(ctx, r.from.Generation) },
		func(ctx context.Context) error {
			key := repository.RootIndexKey(r.from.Generation)
			data, _, err := r.oss.Read(ctx, key)
			if err == nil && !bytes.Equal(data, r.from.Data) {
				err = r.conflict("%s in OSS was replaced right after it was written", key)
			}
			return err
		})
	if err == nil {
		r.result.Generation = r.from.Generation
	}
	return err
}

// publishObject copies one metadata object. These are small: only those of the root folder, which
// grow with the rounds and were listed anyway, are left out if OSS has the same.
func (r *round) publishObject(ctx context.Context, p *plan, o repository.Object) error {
	if held, ok := p.held[o.Key]; ok {
		return r.mover.Write(ctx, o.Key, held.data, held.etag)
	}
	from, to := r.from.Objects[o.Key], r.to.Objects[o.Key]
	if from.Size == to.Size && (objectstore.SameMD5(from.ETag, to.ETag) || r.publishedBefore(o.Key, from, to)) {
		return nil
	}
	data, info, err := r.s3.Read(ctx, o.Key)
	if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished && o.Optional {
		return nil
	}
	if err != nil {
		return err
	}
	return r.mover.Write(ctx, o.Key, data, info.ETag)
}

// publishedBefore tells whether an earlier round has published an object of the root folder, where
// S3's ETags say nothing of the bytes (KMS): OSS lists the snapshot, and S3 has written its object
// no later than OSS has got it.
func (r *round) publishedBefore(key string, from, to objectstore.Object) bool {
	if r.from.Info.ETagIsMD5 || r.to.Root == nil || to.Key == "" ||
		to.LastModified.Truncate(time.Second).Before(from.LastModified.Truncate(time.Second)) {
		return false
	}
	_, listed := r.to.Snapshot(repository.Classify(key).UUID)
	return listed
}

// publishRoot is the commit: before it nothing of the snapshot is seen. What was copied must still
// be what the source has, and nobody else may have published in between.
func (r *round) publishRoot(ctx context.Context) error {
	fences := []func(context.Context) error{
		r.unmoved, func(ctx context.Context) error { return r.unlessPublished(ctx, r.from.Generation) },
	}
	if r.fence != nil {
		fences = append(fences, r.fence)
	}
	err := sides.Together(ctx, fences...)
	if err != nil {
		return err
	}
	return r.mover.Write(ctx, repository.RootIndexKey(r.from.Generation), r.from.Data, r.from.ETag)
}

// unlessPublished makes sure that nobody else has published to OSS since the round began, unless
// that was this very generation.
func (r *round) unlessPublished(ctx context.Context, generation int64) error {
	_, highest, found, err := r.oss.Highest(ctx)
	if err != nil {
		return err
	}
	was := int64(-1)
	if r.to.Root != nil {
		was = r.to.Generation
	}
	if found && highest != was && highest != generation || !found && was >= 0 {
		return sides.ErrMoved // the next round finds out who it was
	}
	return nil
}

// publishLatest writes the pointer of readers that can't list, unless a newer root stands there by
// now: an attempt that lost its connection and comes back late must not lead them back to the old
// one. A newer one that comes right after this look writes its own pointer after this one's.
func (r *round) publishLatest(ctx context.Context, generation int64) error {
	_, highest, _, err := r.oss.Highest(ctx)
	if err != nil || highest > generation {
		return err
	}
	return r.mover.Write(ctx, repository.LatestKey, repository.EncodeLatest(generation), "")
}
