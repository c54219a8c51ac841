package ferry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// digest stands for what the snapshot needs of a shard beyond the base.
func (d *shardDelta) digest() (sum migration.Digest) {
	for _, b := range d.blobs {
		sum += digestOf(b.Key, b.Length, b.Checksum)
	}
	return sum
}

// digestOf stands for a blob as it is in OSS.
func digestOf(key string, size int64, etag string) migration.Digest {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", key, size, etag))
	return migration.Digest(binary.BigEndian.Uint64(sum[:8]))
}

// provePages compares what OSS lists with what the pages have left there. Where that differs, as
// after a page that was copied twice, each blob is asked for.
func (r *round) provePages(ctx context.Context, p *plan, request migration.PublishRequest) error {
	r.doing("proving")
	var sum migration.Digest
	var proven int64
	proveShard := func(ctx context.Context, t shardTask) error {
		d, err := r.deltaOf(ctx, p, t)
		if err != nil {
			return err
		}
		digest, err := r.listedDigest(ctx, t.shard, d)
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		sum += digest
		proven += int64(len(d.blobs))
		return nil
	}
	err := sides.InParallel(ctx, r.concurrency, p.shards, func(ctx context.Context, t shardTask) error {
		return sides.Together(ctx,
			func(ctx context.Context) error { return proveShard(ctx, t) },
			func(ctx context.Context) error { return r.findGeneration(ctx, p, t) })
	})
	if err != nil {
		return err
	}
	if proven != request.Blobs {
		return fmt.Errorf("the delta has %d blobs, the pages had %d: %w", proven, request.Blobs, sides.ErrMoved)
	}
	if sum != request.Digest {
		err := sides.InParallel(ctx, r.concurrency, p.shards, func(ctx context.Context, t shardTask) error {
			return r.proveEach(ctx, p, t)
		})
		if err != nil {
			return err
		}
	}
	r.result.Proven = proven
	return nil
}

// listedDigest sums up a shard's blobs as OSS lists them.
func (r *round) listedDigest(ctx context.Context, shard repository.ShardID,
	d *shardDelta,
) (sum migration.Digest, err error) {
	if len(d.blobs) == 0 {
		return 0, nil
	}
	prefix, err := repository.ShardPrefix(shard)
	if err != nil {
		return 0, err
	}
	inSink, err := r.oss.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	for _, b := range d.blobs {
		o, ok := inSink[b.Key]
		if !ok || o.Size != b.Length {
			return 0, r.conflict("the blob %s was removed or replaced after it was copied", b.Key)
		}
		sum += digestOf(b.Key, o.Size, o.ETag)
	}
	return sum, nil
}

// proveEach makes sure that each blob of a shard's delta is a proven copy of what S3 has.
func (r *round) proveEach(ctx context.Context, p *plan, t shardTask) error {
	d, err := r.deltaOf(ctx, p, t)
	if err != nil {
		return err
	}
	if len(d.blobs) == 0 {
		return nil
	}
	blobs, _, err := r.listBlobs(ctx, t.shard, d.blobs)
	if err != nil {
		return err
	}
	return sides.InParallel(ctx, r.concurrency, blobs, func(ctx context.Context, b transfer.Blob) error {
		_, ok, err := r.mover.Present(ctx, b)
		if err == nil && !ok || objectstore.KindOf(err) == objectstore.NotFound {
			return r.conflict("the blob %s was removed or replaced after it was copied", b.Key)
		}
		return err
	})
}

// prove makes sure that OSS has every blob. The base was proven when it was published, and each
// blob of the delta when it was copied. What was copied while the snapshot ran is compared with a
// listing: another activity has proven it, some time ago. A baseline rests on nothing before it, so
// all of it is compared.
//
// all has everything compared that was copied. What OSS lists below the shards that were looked at is
// returned.
func (r *round) prove(ctx context.Context, p *plan, all bool) (inSink map[string]objectstore.Object, err error) {
	r.doing("proving")
	for _, b := range p.blobs {
		if _, ok := p.stored[b.Key]; !ok {
			return nil, r.conflict("the blob %s was never copied", b.Key)
		}
	}
	baseline := r.to.Root == nil
	listed := slices.Collect(maps.Keys(p.streamed))
	if all = all || baseline; all {
		listed = p.touched()
	}
	if inSink, err = r.listInSink(ctx, listed); err != nil {
		return nil, err
	}
	for _, b := range p.blobs {
		if o, ok := inSink[b.Key]; all && (!ok || o.Size != b.Size || o.ETag != p.stored[b.Key]) {
			return nil, r.conflict("the blob %s was removed or replaced after it was copied", b.Key)
		}
	}
	for _, d := range p.streamed {
		var sum migration.Digest
		for _, b := range d.blobs {
			o := inSink[b.Key]
			sum += digestOf(b.Key, o.Size, o.ETag)
		}
		if sum != d.digest {
			return nil, r.conflict("one of %d blobs, the first of which is %s, was removed or replaced after it was "+
				"copied", len(d.blobs), d.blobs[0].Key)
		}
	}
	if baseline {
		r.result.Proven = int64(len(p.blobs)) + p.streamedBlobs
	}
	return inSink, nil
}

// listInSink gives all that OSS lists below shards, by key.
func (j *job) listInSink(ctx context.Context, shards []repository.ShardID) (map[string]objectstore.Object, error) {
	inSink := map[string]objectstore.Object{}
	err := sides.InParallel(ctx, j.concurrency, shards, func(ctx context.Context, shard repository.ShardID) error {
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
	return inSink, err
}

// verifyPublished is for a repetition after the publish: the answer of an earlier attempt got lost.
// What a restore needs must be there.
func (r *round) verifyPublished(ctx context.Context) error {
	r.doing("verifying what is published")
	if r.to.Legacy() {
		if err := r.completeTarget(ctx); err != nil {
			return err
		}
	}
	var shards []repository.ShardID
	for _, index := range r.to.IndicesOf(r.snapshot.UUID) {
		s, _ := r.to.Snapshot(r.snapshot.UUID)
		key, err := repository.IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
		if err != nil {
			return err
		}
		data, err := r.published(ctx, r.to, key)
		if err != nil {
			return err
		}
		metadata, err := repository.ParseIndexMetadata(data)
		if err != nil {
			return r.conflict("%s in OSS can't be understood: %v", key, err)
		}
		for n := range metadata.Shards {
			shards = append(shards, repository.ShardID{IndexID: index.ID, Number: n})
		}
	}
	if err := sides.InParallel(ctx, r.concurrency, shards, r.verifyShard); err != nil {
		return err
	}
	if r.result.Generation = r.to.Generation; r.to.Legacy() {
		return nil // it has no index.latest
	}
	latest, _, err := r.oss.Read(ctx, repository.LatestKey)
	if err != nil && objectstore.KindOf(err) != objectstore.NotFound {
		return err
	}
	if !bytes.Equal(latest, repository.EncodeLatest(r.to.Generation)) { // the attempt died right before it
		if err := r.publishLatest(ctx, r.to.Generation); err != nil {
			return err
		}
	}
	return nil
}

// published reads an object that the published root needs.
func (j *job) published(ctx context.Context, to sides.Side, key string) ([]byte, error) {
	data, _, err := j.oss.Read(ctx, key)
	if objectstore.KindOf(err) == objectstore.NotFound {
		return nil, j.conflict("%s is gone from OSS, and %s there needs it", key, to.Key())
	}
	return data, err
}

func (r *round) verifyShard(ctx context.Context, shard repository.ShardID) error {
	key, err := repository.ShardSnapshotKey(shard, r.snapshot.UUID)
	if err != nil {
		return err
	}
	data, err := r.published(ctx, r.to, key)
	if err != nil {
		return err
	}
	files, err := repository.ParseShardSnapshot(data)
	if err != nil {
		return r.conflict("%s in OSS can't be understood: %v", key, err)
	}
	blobs, err := repository.ShardBlobs(shard, files)
	if err != nil {
		return err
	}
	prefix, err := repository.ShardPrefix(shard)
	if err != nil {
		return err
	}
	objects, err := r.oss.List(ctx, prefix)
	if err != nil {
		return err
	}
	var bytes int64
	for _, b := range blobs {
		if o, ok := objects[b.Key]; !ok || o.Size != b.Length {
			return r.conflict("the blob %s is gone from OSS or was replaced, and %s there needs it", b.Key, r.to.Key())
		}
		bytes += b.Length
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.BlobsSkipped += int64(len(blobs))
	r.result.BytesSkipped += bytes
	r.result.Proven += int64(len(blobs))
	return nil
}
