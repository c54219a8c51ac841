package activities

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// paging bounds a page, and with it what is carried without pages.
type paging struct {
	blobs, bytes int64
	// most is how many pages a delta is cut into: a larger one has larger pages,
	// so that the history of a round stays small.
	most int64
	// held is how many metadata objects of a mirrored repository are remembered
	// until its data is copied; 0 means the default.
	held int
}

const (
	pageBlobs = 2_000
	pageBytes = 512 << 20
	mostPages = 200
	// A page costs its worker a look at its shards' lists of files, and the workflow
	// six events: smaller ones gain nothing.
	leastPageBlobs = 250
	// pagesForEach is how many pages many blobs are cut into for each that may be under
	// way at once: with one for each, workers would stand idle that find none left,
	// and all would wait for the slowest at the end. Large blobs stay together, for a
	// worker is fast only with many at once.
	pagesForEach = 4
)

// cut makes the pages of a delta, from the sizes of each shard's blobs, for so
// many under way at once. A large shard is spread over several, small ones share
// a page, which holds half as much again as the bound and half a blob at most, or one blob.
func (g paging) cut(sizes map[repository.ShardID][]int64, atOnce int) []migration.CopyPage {
	var count, bytes int64
	for _, of := range sizes {
		count += int64(len(of))
		for _, size := range of {
			bytes += size
		}
	}
	wanted := int64(max(atOnce, 1)) * pagesForEach
	g.blobs = min(g.blobs, max(count/wanted+1, leastPageBlobs))
	g.blobs, g.bytes = max(g.blobs, count/g.most+1), max(g.bytes, bytes/g.most+1)
	// All of the same size, and no small one at the end that all would wait for.
	full := g.bytes
	if n := (bytes + full/2) / full; n > 0 {
		g.bytes = min(full+full/4, bytes/n+1)
	}
	var pages []migration.CopyPage
	var page migration.CopyPage
	for _, shard := range slices.SortedFunc(maps.Keys(sizes), sides.CompareShards) {
		r := migration.ShardRange{IndexID: shard.IndexID, Shard: shard.Number}
		end := func() {
			if r.To > r.From {
				page.Shards = append(page.Shards, r)
			}
			r.From = r.To
		}
		for i, size := range sizes[shard] {
			if page.Blobs > 0 && (page.Blobs >= g.blobs || page.Bytes+size/2 > g.bytes) {
				end()
				pages = append(pages, page)
				page = migration.CopyPage{}
			}
			r.To = i + 1
			page.Blobs++
			page.Bytes += size
		}
		end()
	}
	if last := len(pages) - 1; last >= 0 && page.Blobs < g.blobs/4 && page.Bytes < g.bytes/4 {
		pages[last] = joined(pages[last], page)
	} else if page.Blobs > 0 {
		pages = append(pages, page)
	}
	return pages
}

// joined is a page with the one that follows it.
func joined(a, b migration.CopyPage) migration.CopyPage {
	a.Blobs, a.Bytes = a.Blobs+b.Blobs, a.Bytes+b.Bytes
	for _, r := range b.Shards {
		if end := &a.Shards[len(a.Shards)-1]; end.IndexID == r.IndexID && end.Shard == r.Shard && end.To == r.From {
			end.To = r.To
		} else {
			a.Shards = append(a.Shards, r)
		}
	}
	return a
}

// delta says what a plan's blobs follow from.
func (j *copyJob) delta(p *copyPlan) migration.CopyDelta {
	return migration.CopyDelta{RootGeneration: j.from.Generation, RootETag: j.from.ETag, Snapshots: p.snapshots, Base: j.base}
}

// CopyPage carries a page of a snapshot's delta to OSS and proves each of its
// blobs. Which blobs these are it finds itself, from the lists of files that
// both repositories hold. It publishes nothing. Its errors are those of
// CopySnapshot.
func (c *Copier) CopyPage(ctx context.Context, request migration.PageRequest) (migration.PageResult, error) {
	return perform(ctx, c.beating, "reading the snapshot", func(ctx context.Context, p *pulse) (migration.PageResult, error) {
		job, err := c.job(ctx, p, migration.CopyRequest{Run: request.Run, Snapshot: request.Snapshot, Again: request.Again})
		if err != nil {
			return migration.PageResult{}, err
		}
		defer job.close()
		result, err := job.page(ctx, request)
		if errors.Is(err, sides.ErrMoved) {
			return migration.PageResult{Moved: true}, nil
		}
		return result, err
	})
}

func (j *copyJob) page(ctx context.Context, request migration.PageRequest) (result migration.PageResult, err error) {
	j.base, j.wanted = request.Delta.Base, &request.Delta
	p := j.newPlan(request.Delta.Snapshots)
	p.most = paging{blobs: request.Page.Blobs, bytes: request.Page.Bytes}
	err = sides.InParallel(ctx, j.options.Concurrency, request.Page.Shards, func(ctx context.Context, r migration.ShardRange) error { return j.planRange(ctx, p, r) })
	if err != nil {
		return result, j.blame(ctx, p, err)
	}
	if int64(len(p.blobs)) != request.Page.Blobs {
		return result, fmt.Errorf("the page has %d blobs, planned were %d: %w", len(p.blobs), request.Page.Blobs, sides.ErrMoved)
	}
	if err := j.copyData(ctx, p); err != nil {
		return result, err
	}
	for _, b := range p.blobs {
		result.Digest += digestOf(b.Key, b.Size, p.stored[b.Key])
	}
	result.BlobsCopied, result.BytesCopied = j.result.BlobsCopied, j.result.BytesCopied
	result.BlobsSkipped, result.BytesSkipped = j.result.BlobsSkipped, j.result.BytesSkipped
	return result, nil
}

// planRange finds the blobs of a page in one shard.
func (j *copyJob) planRange(ctx context.Context, p *copyPlan, r migration.ShardRange) error {
	t := shardTask{shard: repository.ShardID{IndexID: r.IndexID, Number: r.Shard}, snapshots: p.snapshots}
	if len(p.snapshots) > 1 { // not each of them has each shard
		var err error
		if t.snapshots, err = j.snapshotsOf(ctx, t); err != nil {
			return err
		}
	}
	d, err := j.deltaOf(ctx, p, t)
	if err != nil {
		return err
	}
	if r.To > len(d.blobs) {
		return fmt.Errorf("the delta of shard %d of %s has %d blobs, planned were %d and more: %w", r.Shard, r.IndexID, len(d.blobs), r.To, sides.ErrMoved)
	}
	d.blobs = d.blobs[r.From:r.To]
	blobs, _, err := j.locate(ctx, t.shard, d.blobs)
	if err != nil {
		return err
	}
	p.add(t.shard, d, blobs)
	return nil
}

// snapshotsOf leaves those snapshots that have a list of files for the shard.
func (j *copyJob) snapshotsOf(ctx context.Context, t shardTask) ([]string, error) {
	prefix, err := repository.ShardPrefix(t.shard)
	if err != nil {
		return nil, err
	}
	objects, err := j.s3.List(ctx, prefix+"snap-")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(t.snapshots), func(uuid string) bool {
		key, err := repository.ShardSnapshotKey(t.shard, uuid)
		return err == nil && objects[key].Key == ""
	}), nil
}

// readSameRoot reads the root in S3 for a page, if it is still the one from which
// the page was planned.
func (j *copyJob) readSameRoot(ctx context.Context) error {
	from, err := j.readSource(ctx)
	if err != nil {
		return err
	}
	if from.Generation != j.wanted.RootGeneration || from.ETag != j.wanted.RootETag {
		return sides.ErrMoved
	}
	j.from = from
	return nil
}

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

// PublishSnapshot publishes a snapshot whose pages were all carried, after it has
// made sure, by a listing, that OSS holds each blob as its page has left it. The
// result counts only what it has proven; Moved is set if the pages have to be
// planned anew. Its errors are those of CopySnapshot.
func (c *Copier) PublishSnapshot(ctx context.Context, request migration.PublishRequest) (migration.CopyResult, error) {
	return perform(ctx, c.beating, "reading the snapshot", func(ctx context.Context, p *pulse) (migration.CopyResult, error) {
		job, err := c.job(ctx, p, request.CopyRequest)
		if err != nil {
			return migration.CopyResult{}, err
		}
		defer job.close()
		err = job.publishPages(ctx, request)
		if errors.Is(err, sides.ErrMoved) {
			return migration.CopyResult{Moved: true}, nil
		}
		return job.result, err
	})
}

func (j *copyJob) publishPages(ctx context.Context, request migration.PublishRequest) error {
	published, err := j.readRoots(ctx)
	if err != nil {
		return err
	}
	if published {
		if err := j.verifyPublished(ctx); err != nil {
			return err
		}
		// The pages and the plan have counted them.
		j.result.BlobsSkipped, j.result.BytesSkipped = 0, 0
		return nil
	}
	same := j.from.Generation == request.Delta.RootGeneration && j.from.ETag == request.Delta.RootETag
	if !same || !slices.Equal(slices.Sorted(slices.Values(j.missing())), slices.Sorted(slices.Values(request.Delta.Snapshots))) {
		return sides.ErrMoved
	}
	j.base = request.Delta.Base
	p := j.newPlan(request.Delta.Snapshots)
	if err := j.findShards(ctx, p); err != nil {
		return j.blame(ctx, p, err)
	}
	if err := j.provePages(ctx, p, request); err != nil {
		return j.blame(ctx, p, err)
	}
	p.fillGenerations()
	if err := j.publish(ctx, p); err != nil {
		return err
	}
	j.sweep(ctx)
	return nil
}

// sweep ends uploads in parts that killed attempts have left: nothing of this
// snapshot is under way any more. It is tidiness only, and what it may not do
// (oss:ListMultipartUploads) it leaves.
func (j *copyJob) sweep(ctx context.Context) {
	if ended, err := j.mover.Sweep(ctx, "indices/"); err != nil || ended > 0 {
		activity.GetLogger(ctx).Info("uploads of earlier attempts were ended", "uploads", ended, "error", err)
	}
}

// provePages compares what OSS lists with what the pages have left there. Where
// that differs, as after a page that was carried twice, each blob is asked for.
func (j *copyJob) provePages(ctx context.Context, p *copyPlan, request migration.PublishRequest) error {
	j.doing("proving")
	var sum migration.Digest
	var proven int64
	err := sides.InParallel(ctx, j.options.Concurrency, p.shards, func(ctx context.Context, t shardTask) error {
		d, err := j.deltaOf(ctx, p, t)
		if err != nil {
			return err
		}
		digest, err := j.listedDigest(ctx, t.shard, d)
		if err != nil {
			return err
		}
		j.mu.Lock()
		sum += digest
		proven += int64(len(d.blobs))
		j.mu.Unlock()
		return j.findGeneration(ctx, p, t)
	})
	if err != nil {
		return err
	}
	if proven != request.Blobs {
		return fmt.Errorf("the delta has %d blobs, the pages had %d: %w", proven, request.Blobs, sides.ErrMoved)
	}
	if sum != request.Digest {
		if err := sides.InParallel(ctx, j.options.Concurrency, p.shards, func(ctx context.Context, t shardTask) error { return j.proveEach(ctx, p, t) }); err != nil {
			return err
		}
	}
	j.result.Proven = proven
	return nil
}

// listedDigest sums up a shard's blobs as OSS lists them.
func (j *copyJob) listedDigest(ctx context.Context, shard repository.ShardID, d *shardDelta) (sum migration.Digest, err error) {
	if len(d.blobs) == 0 {
		return 0, nil
	}
	prefix, err := repository.ShardPrefix(shard)
	if err != nil {
		return 0, err
	}
	inSink, err := j.oss.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	for _, b := range d.blobs {
		o, ok := inSink[b.Key]
		if !ok || o.Size != b.Length {
			return 0, j.conflict("the blob %s is gone or another since it was copied there", b.Key)
		}
		sum += digestOf(b.Key, o.Size, o.ETag)
	}
	return sum, nil
}

// proveEach makes sure that each blob of a shard's delta is a proven copy of what
// S3 has.
func (j *copyJob) proveEach(ctx context.Context, p *copyPlan, t shardTask) error {
	d, err := j.deltaOf(ctx, p, t)
	if err != nil {
		return err
	}
	if len(d.blobs) == 0 {
		return nil
	}
	blobs, _, err := j.listBlobs(ctx, t.shard, d.blobs)
	if err != nil {
		return err
	}
	return sides.InParallel(ctx, j.options.Concurrency, blobs, func(ctx context.Context, b transfer.Blob) error {
		_, ok, err := j.mover.Present(ctx, b)
		if err == nil && !ok || objectstore.KindOf(err) == objectstore.NotFound {
			return j.conflict("the blob %s is gone or another since it was copied there", b.Key)
		}
		return err
	})
}
