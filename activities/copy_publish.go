package activities

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// copyData carries the blobs. Each is proven when it is counted.
func (j *copyJob) copyData(ctx context.Context, p *copyPlan) error {
	return j.blame(ctx, p, j.transfer(ctx, p))
}

func (j *copyJob) transfer(ctx context.Context, p *copyPlan) error {
	j.pulse.set(migration.Progress{Doing: "copying", BlobsTotal: int64(len(p.blobs)), BytesTotal: p.bytes})
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

// prove makes sure that OSS has every blob. The base was proven when it was
// published, and each blob of the delta when it was copied. What was carried while
// the snapshot ran is compared with a listing: another activity has proven it, some
// time ago. A baseline rests on nothing before it, so all of it is compared.
func (j *copyJob) prove(ctx context.Context, p *copyPlan) error {
	j.doing("proving")
	for _, b := range p.blobs {
		if _, ok := p.stored[b.Key]; !ok {
			return j.conflict("the blob %s was never copied", b.Key)
		}
	}
	baseline := j.to.Root == nil
	var listed []repository.ShardID
	if baseline {
		for _, t := range p.shards {
			listed = append(listed, t.shard)
		}
	} else {
		listed = slices.Collect(maps.Keys(p.carried))
	}
	inSink := map[string]objectstore.Object{}
	err := sides.InParallel(ctx, j.options.Concurrency, listed, func(ctx context.Context, shard repository.ShardID) error {
		prefix, err := repository.ShardPrefix(shard)
		if err != nil {
			return err
		}
		objects, err := j.oss.List(ctx, prefix)
		j.mu.Lock()
		defer j.mu.Unlock()
		maps.Copy(inSink, objects)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range p.blobs {
		if o, ok := inSink[b.Key]; baseline && (!ok || o.Size != b.Size || o.ETag != p.stored[b.Key]) {
			return j.conflict("the blob %s is gone or another since it was copied there", b.Key)
		}
	}
	for _, d := range p.carried {
		var sum migration.Digest
		for _, b := range d.blobs {
			o := inSink[b.Key]
			sum += digestOf(b.Key, o.Size, o.ETag)
		}
		if sum != d.digest {
			return j.conflict("one of %d blobs, the first of them %s, is gone or another since they were copied there", len(d.blobs), d.blobs[0].Key)
		}
	}
	if baseline {
		j.result.Proven = int64(len(p.blobs)) + p.carriedBlobs
	}
	return nil
}

// publish writes what the data blobs need to be found, and then the root, which is
// the first to name any of it: the stages before have no order among themselves
// that a reader could see, and writers may be waiting for each turn.
func (j *copyJob) publish(ctx context.Context, p *copyPlan) error {
	j.doing("publishing")
	stages, err := p.metadata(j.from.Root)
	if err != nil {
		return err
	}
	var before []repository.Object
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		if stage < repository.StageRoot {
			before = append(before, stages[stage]...)
		}
	}
	err = sides.InParallel(ctx, j.options.Concurrency, before, func(ctx context.Context, o repository.Object) error { return j.publishObject(ctx, p, o) })
	if err := j.blame(ctx, p, err); err != nil {
		return err
	}
	if err := j.publishRoot(ctx); err != nil {
		return err
	}
	err = sides.Together(ctx,
		func(ctx context.Context) error { return j.publishLatest(ctx, j.from.Generation) },
		func(ctx context.Context) error {
			key := repository.RootIndexKey(j.from.Generation)
			data, _, err := j.oss.Read(ctx, key)
			if err == nil && !bytes.Equal(data, j.from.Data) {
				err = j.conflict("%s there was replaced right after it was written", key)
			}
			return err
		})
	if err == nil {
		j.result.Generation = j.from.Generation
	}
	return err
}

// publishObject copies one metadata object. These are small: only those of the
// root folder, which grow with the rounds and were listed anyway, are left out
// if OSS has the same.
func (j *copyJob) publishObject(ctx context.Context, p *copyPlan, o repository.Object) error {
	if held, ok := p.held[o.Key]; ok {
		return j.mover.Write(ctx, o.Key, held.data, held.etag)
	}
	from, to := j.from.Objects[o.Key], j.to.Objects[o.Key]
	if from.Size == to.Size && objectstore.SameMD5(from.ETag, to.ETag) {
		return nil
	}
	data, info, err := j.s3.Read(ctx, o.Key)
	if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished && o.Optional {
		return nil
	}
	if err != nil {
		return err
	}
	return j.mover.Write(ctx, o.Key, data, info.ETag)
}

// publishRoot is the commit: before it nothing of the snapshot is seen. What was
// copied must still be what the source has, and nobody else may have published
// in between.
func (j *copyJob) publishRoot(ctx context.Context) error {
	err := sides.Together(ctx, j.from.Unchanged, func(ctx context.Context) error { return j.unlessPublished(ctx, j.from.Generation) })
	if err != nil {
		return err
	}
	return j.mover.Write(ctx, repository.RootIndexKey(j.from.Generation), j.from.Data, j.from.ETag)
}

// unlessPublished makes sure that nobody else has published to OSS since the round
// began, unless that was this very generation.
func (j *copyJob) unlessPublished(ctx context.Context, generation int64) error {
	_, highest, found, err := j.oss.Highest(ctx)
	if err != nil {
		return err
	}
	was := int64(-1)
	if j.to.Root != nil {
		was = j.to.Generation
	}
	if found && highest != was && highest != generation || !found && was >= 0 {
		return sides.ErrMoved // the next round finds out who it was
	}
	return nil
}

// publishLatest writes the pointer of readers that can't list, unless a newer
// root stands there by now: an attempt that lost its connection and comes back
// late must not lead them back to the old one. A newer one that comes right
// after this look writes its own pointer after this one's.
func (j *copyJob) publishLatest(ctx context.Context, generation int64) error {
	_, highest, _, err := j.oss.Highest(ctx)
	if err != nil || highest > generation {
		return err
	}
	return j.mover.Write(ctx, repository.LatestKey, repository.EncodeLatest(generation), "")
}

// verifyPublished is for a repetition after the publish: the answer of an
// earlier attempt got lost. What a restore needs must be there.
func (j *copyJob) verifyPublished(ctx context.Context) error {
	j.doing("verifying what is published")
	if j.to.Legacy() {
		if err := j.completeTarget(ctx); err != nil {
			return err
		}
	}
	var shards []repository.ShardID
	for _, index := range j.to.IndicesOf(j.request.Snapshot.UUID) {
		s, _ := j.to.Snapshot(j.request.Snapshot.UUID)
		key, err := repository.IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
		if err != nil {
			return err
		}
		data, err := j.published(ctx, key)
		if err != nil {
			return err
		}
		metadata, err := repository.ParseIndexMetadata(data)
		if err != nil {
			return j.conflict("%s there can't be understood: %v", key, err)
		}
		for n := range metadata.Shards {
			shards = append(shards, repository.ShardID{IndexID: index.ID, Number: n})
		}
	}
	if err := sides.InParallel(ctx, j.options.Concurrency, shards, j.verifyShard); err != nil {
		return err
	}
	if j.result.Generation = j.to.Generation; j.to.Legacy() {
		return nil // it has no index.latest
	}
	latest, _, err := j.oss.Read(ctx, repository.LatestKey)
	if err != nil && objectstore.KindOf(err) != objectstore.NotFound {
		return err
	}
	if !bytes.Equal(latest, repository.EncodeLatest(j.to.Generation)) { // the attempt died right before it
		if err := j.publishLatest(ctx, j.to.Generation); err != nil {
			return err
		}
	}
	return nil
}

// published reads an object that the published root needs.
func (j *copyJob) published(ctx context.Context, key string) ([]byte, error) {
	data, _, err := j.oss.Read(ctx, key)
	if objectstore.KindOf(err) == objectstore.NotFound {
		return nil, j.conflict("%s is gone, which %s there needs", key, repository.RootIndexKey(j.to.Generation))
	}
	return data, err
}

func (j *copyJob) verifyShard(ctx context.Context, shard repository.ShardID) error {
	key, err := repository.ShardSnapshotKey(shard, j.request.Snapshot.UUID)
	if err != nil {
		return err
	}
	data, err := j.published(ctx, key)
	if err != nil {
		return err
	}
	files, err := repository.ParseShardSnapshot(data)
	if err != nil {
		return j.conflict("%s there can't be understood: %v", key, err)
	}
	blobs, err := repository.ShardBlobs(shard, files)
	if err != nil {
		return err
	}
	prefix, err := repository.ShardPrefix(shard)
	if err != nil {
		return err
	}
	objects, err := j.oss.List(ctx, prefix)
	if err != nil {
		return err
	}
	var bytes int64
	for _, b := range blobs {
		if o, ok := objects[b.Key]; !ok || o.Size != b.Length {
			return j.conflict("the blob %s is gone or another, which %s there needs", b.Key, repository.RootIndexKey(j.to.Generation))
		}
		bytes += b.Length
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.result.BlobsSkipped += int64(len(blobs))
	j.result.BytesSkipped += bytes
	j.result.Proven += int64(len(blobs))
	return nil
}
