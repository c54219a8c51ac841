package ferry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// Paging bounds a page, and with it what is copied without pages.
type Paging struct {
	Blobs, Bytes int64
	// Most is how many pages a delta is cut into: a larger one has larger pages, so that the
	// history of a round stays small.
	Most int64
	// held is how many metadata objects of a mirrored repository are remembered until its data is
	// copied; 0 means the default.
	held int
}

const (
	// pageBytes is also what is copied of a running snapshot at once.
	pageBytes = 512 << 20
	// A page costs its worker a look at its shards' lists of files, and the workflow six events:
	// smaller ones gain nothing.
	leastPageBlobs = 250
	// pagesForEach is how many pages many blobs are cut into for each that may be under way at
	// once: with one for each, workers would stand idle that find none left, and all would wait for
	// the slowest at the end. Large blobs stay together, for a worker is fast only with many at
	// once.
	pagesForEach = 4
)

// DefaultPaging is that of a worker.
var DefaultPaging = Paging{Blobs: 2_000, Bytes: pageBytes, Most: 200}

// cut makes the pages of a delta, from the sizes of each shard's blobs, for so many under way at
// once. A large shard is spread over several pages. A page holds one large blob, or small ones up
// to 1.5 times the bound.
func (g Paging) cut(sizes map[repository.ShardID][]int64, atOnce int) []migration.CopyPage {
	var count, bytes int64
	for _, of := range sizes {
		count += int64(len(of))
		for _, size := range of {
			bytes += size
		}
	}
	wanted := int64(max(atOnce, 1)) * pagesForEach
	g.Blobs = min(g.Blobs, max(count/wanted+1, leastPageBlobs))
	g.Blobs, g.Bytes = max(g.Blobs, count/g.Most+1), max(g.Bytes, bytes/g.Most+1)
	// All of the same size, and no small one at the end that all would wait for.
	full := g.Bytes
	if n := (bytes + full/2) / full; n > 0 {
		g.Bytes = min(full+full/4, bytes/n+1)
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
			if page.Blobs > 0 && (page.Blobs >= g.Blobs || page.Bytes+size/2 > g.Bytes) {
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
	if last := len(pages) - 1; last >= 0 && page.Blobs < g.Blobs/4 && page.Bytes < g.Bytes/4 {
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
func (r *round) delta(p *plan) migration.CopyDelta {
	return migration.CopyDelta{
		RootGeneration: r.from.Generation, RootETag: r.from.ETag, Snapshots: p.snapshots,
		Base: r.bases.usual(), Bases: r.bases.digest(),
	}
}

// page is a part of a delta that one activity copies. Which blobs these are it finds itself. It
// reads no root unless something is lost.
type page struct {
	lists
	request migration.PageRequest
}

// Page copies a page of a snapshot's delta to OSS and proves each of its blobs. Which blobs these
// are it finds itself, from the lists of files that both repositories hold. It publishes nothing.
// Its errors are those of [Ferry.Copy].
func (f *Ferry) Page(ctx context.Context, request migration.PageRequest) (migration.PageResult, error) {
	job := f.job(request.Run, request.Snapshot, request.Again)
	g := &page{lists{job, basesIn(request.Page.Shards, request.Delta.Base)}, request}
	result, err := g.copy(ctx)
	if errors.Is(err, sides.ErrMoved) {
		return migration.PageResult{Moved: true}, nil
	}
	return result, err
}

func (g *page) copy(ctx context.Context) (result migration.PageResult, err error) {
	request := g.request
	p := newPlan(Paging{Blobs: request.Page.Blobs, Bytes: request.Page.Bytes}, request.Delta.Snapshots)
	err = sides.InParallel(ctx, g.concurrency, request.Page.Shards,
		func(ctx context.Context, r migration.ShardRange) error {
			return g.planRange(ctx, p, r)
		})
	if err != nil {
		return result, g.blame(ctx, p, err)
	}
	if int64(len(p.blobs)) != request.Page.Blobs {
		return result, fmt.Errorf("the page has %d blobs, planned were %d: %w",
			len(p.blobs), request.Page.Blobs, sides.ErrMoved)
	}
	if err := g.transfer(ctx, p); err != nil {
		return result, g.blame(ctx, p, err)
	}
	for _, b := range p.blobs {
		result.Digest += digestOf(b.Key, b.Size, p.stored[b.Key])
	}
	result.BlobsCopied, result.BytesCopied = g.result.BlobsCopied, g.result.BytesCopied
	result.BlobsSkipped, result.BytesSkipped = g.result.BlobsSkipped, g.result.BytesSkipped
	return result, nil
}

// planRange finds the blobs of a page in one shard.
func (g *page) planRange(ctx context.Context, p *plan, r migration.ShardRange) error {
	t := shardTask{shard: repository.ShardID{IndexID: r.IndexID, Number: r.Shard}, snapshots: p.snapshots}
	if len(p.snapshots) > 1 { // not each of them has each shard
		var err error
		if t.snapshots, err = g.snapshotsOf(ctx, t); err != nil {
			return err
		}
	}
	d, err := g.deltaOf(ctx, p, t)
	if err != nil {
		return err
	}
	if r.To > len(d.blobs) {
		return fmt.Errorf("the delta of shard %d of %s has %d blobs, planned were %d and more: %w",
			r.Shard, r.IndexID, len(d.blobs), r.To, sides.ErrMoved)
	}
	d.blobs = d.blobs[r.From:r.To]
	blobs, _, err := g.locate(ctx, t.shard, d.blobs)
	if err != nil {
		return err
	}
	p.add(t.shard, d, blobs)
	return nil
}

// snapshotsOf leaves those snapshots that have a list of files for the shard.
func (g *page) snapshotsOf(ctx context.Context, t shardTask) ([]string, error) {
	prefix, err := repository.ShardPrefix(t.shard)
	if err != nil {
		return nil, err
	}
	objects, err := g.s3.List(ctx, prefix+"snap-")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(t.snapshots), func(uuid string) bool {
		key, err := repository.ShardSnapshotKey(t.shard, uuid)
		return err == nil && objects[key].Key == ""
	}), nil
}

// readSameRoot reads the root in S3 for a page, if it is still the one from which the page was
// planned.
func (g *page) readSameRoot(ctx context.Context) (sides.Side, error) {
	from, err := g.readSource(ctx, g.request.Delta.RootGeneration)
	if err == nil && !sameRoot(from, g.request.Delta) {
		err = sides.ErrMoved
	}
	return from, err
}

// sameRoot tells whether a delta was planned from this very root in S3.
func sameRoot(from sides.Side, delta migration.CopyDelta) bool {
	return from.Generation == delta.RootGeneration && from.ETag == delta.RootETag
}

// Publish publishes a snapshot whose pages were all copied, after it has made sure, by a listing,
// that OSS holds each blob as its page has left it. The result counts only what it has proven;
// Moved is set if the pages have to be planned again. Its errors are those of [Ferry.Copy].
func (f *Ferry) Publish(ctx context.Context, request migration.PublishRequest) (Result, error) {
	r := newRound(f.job(request.Run, request.Snapshot, request.Again), request.CopyRequest)
	r.kept, r.keptOf = request.Root, request.Delta
	err := r.publishPages(ctx, request)
	if errors.Is(err, sides.ErrMoved) {
		return Result{CopyResult: migration.CopyResult{Moved: true}}, nil
	}
	return Result{r.result, r.swept}, err
}

func (r *round) publishPages(ctx context.Context, request migration.PublishRequest) error {
	published, err := r.readRoots(ctx)
	if err != nil {
		return err
	}
	if published {
		if err := r.verifyPublished(ctx); err != nil {
			return err
		}
		// The pages and the plan have counted them.
		r.result.BlobsSkipped, r.result.BytesSkipped = 0, 0
		return nil
	}
	if !sameRoot(r.from, request.Delta) || !slices.Equal(slices.Sorted(slices.Values(r.missing())),
		slices.Sorted(slices.Values(request.Delta.Snapshots))) {
		return sides.ErrMoved
	}
	if err := r.agreedBases(ctx, request.Delta); err != nil {
		return err
	}
	p := newPlan(r.paging, request.Delta.Snapshots)
	if err := r.findShards(ctx, p); err != nil {
		return r.blame(ctx, p, err)
	}
	if err := r.provePages(ctx, p, request); err != nil {
		return r.blame(ctx, p, err)
	}
	p.fillGenerations()
	return sides.Together(ctx,
		func(ctx context.Context) error { r.sweep(ctx); return nil },
		func(ctx context.Context) error {
			if err := r.publishMetadata(ctx, p); err != nil {
				return err
			}
			return r.publish(ctx)
		})
}

// sweep ends uploads in parts that killed attempts have left: nothing of this snapshot is under way
// any more. A later group of ours may be, so then it ends none. It is tidiness only, and what it
// may not do (oss:ListMultipartUploads) it leaves.
func (r *round) sweep(ctx context.Context) {
	if len(r.request.Later) == 0 {
		r.swept.Uploads, r.swept.Err = r.mover.Sweep(ctx, repository.IndicesPrefix)
	}
}
