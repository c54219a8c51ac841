package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// CopyShards carries shards of a snapshot that still runs, whose lists of files
// are final. It publishes nothing, and what it can't find or read it leaves to
// the copy of the whole snapshot: a snapshot that runs may still fail.
func (c *Copier) CopyShards(ctx context.Context, request migration.CopyShardsRequest) (migration.CopyShardsResult, error) {
	return perform(ctx, c.beating, "reading the shards that are done", func(ctx context.Context, p *pulse) (migration.CopyShardsResult, error) {
		job, err := c.job(ctx, p, migration.CopyRequest{Run: request.Run, Snapshot: migration.Snapshot{Name: request.Snapshot, UUID: request.UUID}})
		if err != nil {
			return migration.CopyShardsResult{}, err
		}
		defer job.close()
		result, err := job.stream(ctx, request)
		if _, lost := errors.AsType[*transfer.Error](err); lost || errors.Is(err, sides.ErrMoved) || permanent(classify(err)) {
			return migration.CopyShardsResult{Why: err.Error()}, nil
		}
		return result, err
	})
}

func (j *copyJob) stream(ctx context.Context, request migration.CopyShardsRequest) (result migration.CopyShardsResult, err error) {
	j.base = request.Base
	if j.to, err = j.readTarget(ctx); err != nil {
		return result, err
	}
	candidates, err := j.candidates(ctx, request.Shards)
	if err != nil {
		return result, err
	}
	if j.to.Root != nil {
		if j.from.Root == nil {
			return migration.CopyShardsResult{Why: "OSS has a root index-N and S3 has none"}, nil
		}
		// Their blobs' names may be in use again: see withdraw.
		if gone := j.deleted(); len(gone) > 0 {
			return migration.CopyShardsResult{Why: fmt.Sprintf("OSS lists the snapshot %s, which is deleted in S3", gone[0].Name)}, nil
		}
	}
	p := j.newPlan([]string{request.UUID})
	p.most = paging{blobs: math.MaxInt64, bytes: pageBytes} // a large shard is better carried in pages
	deltas := map[repository.ShardID]*shardDelta{}
	err = sides.InParallel(ctx, j.options.Concurrency, candidates, func(ctx context.Context, shard repository.ShardID) error {
		d, err := j.deltaOf(ctx, p, shardTask{shard: shard, snapshots: p.snapshots})
		if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished {
			return nil // the shard is none of this index
		}
		if err != nil || len(d.blobs) == 0 {
			return err
		}
		blobs, _, err := j.locate(ctx, shard, d.blobs)
		if err != nil {
			return err
		}
		if !p.addIfInline(shard, d, blobs) {
			return nil
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		deltas[shard] = d
		return nil
	})
	if err != nil {
		return result, err
	}
	if err := j.transfer(ctx, p); err != nil {
		return result, err
	}
	for _, shard := range slices.SortedFunc(maps.Keys(deltas), sides.CompareShards) {
		if c, ok := p.carriedShard(shard, request.UUID, deltas[shard]); ok {
			result.Carried = append(result.Carried, c)
		}
	}
	result.BlobsCopied, result.BytesCopied = j.result.BlobsCopied, j.result.BytesCopied
	return result, nil
}

// addIfInline adds a shard's delta unless that makes more than one activity should
// carry.
func (p *copyPlan) addIfInline(shard repository.ShardID, d *shardDelta, blobs []transfer.Blob) bool {
	var bytes int64
	for _, b := range d.blobs {
		bytes += b.Length
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+bytes > p.most.bytes {
		return false
	}
	p.addLocked(shard, d, blobs)
	return true
}

// carriedShard says of a shard that its delta stands in OSS; not if a blob of it
// doesn't.
func (p *copyPlan) carriedShard(shard repository.ShardID, uuid string, d *shardDelta) (migration.CarriedShard, bool) {
	c := migration.CarriedShard{
		Range: migration.ShardRange{IndexID: shard.IndexID, Shard: shard.Number, To: len(d.blobs)}, UUID: uuid, Delta: d.digest(),
	}
	for _, b := range d.blobs {
		etag, ok := p.stored[b.Key]
		if !ok {
			return c, false
		}
		c.Digest += digestOf(b.Key, b.Length, etag)
	}
	return c, true
}

// candidates finds where the shards may stand. An index that is new in the
// running snapshot isn't in the root yet: it may be any folder that the root
// doesn't know.
func (j *copyJob) candidates(ctx context.Context, shards []migration.SnapshotShard) ([]repository.ShardID, error) {
	ids := map[string]string{}
	root, err := j.readSource(ctx)
	if err == nil {
		j.from = root
		for _, s := range root.Snapshots {
			for _, index := range root.IndicesOf(s.UUID) {
				ids[index.Name] = index.ID
			}
		}
	} else if typeOf(classify(err)) != migration.ErrorMissing { // the first snapshot of the repository
		return nil, err
	}
	var strangers []string
	listed := false
	var found []repository.ShardID
	for _, shard := range shards {
		if id, ok := ids[shard.Index]; ok {
			found = append(found, repository.ShardID{IndexID: id, Number: shard.Shard})
			continue
		}
		if !listed {
			if strangers, err = j.foldersBeside(ctx, slices.Collect(maps.Values(ids))); err != nil {
				return nil, err
			}
			listed = true
		}
		for _, id := range strangers {
			found = append(found, repository.ShardID{IndexID: id, Number: shard.Shard})
		}
	}
	slices.SortFunc(found, func(a, b repository.ShardID) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(found), nil
}

// foldersBeside lists the indices' folders without those that are known.
func (j *copyJob) foldersBeside(ctx context.Context, known []string) ([]string, error) {
	ids, _, err := j.s3.Indices(ctx)
	return slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(known, id) }), err
}

// carried tells whether the request's word on a shard counts: it is of this very
// snapshot, and the delta is the one that was carried. A snapshot that was lost and
// taken anew under its name may need as many blobs of the same names.
func (j *copyJob) carried(shard repository.ShardID, t shardTask, d *shardDelta) (migration.CarriedShard, bool) {
	if len(t.snapshots) != 1 || t.snapshots[0] != j.request.Snapshot.UUID || j.base != j.request.BaseUUID || len(d.blobs) == 0 {
		return migration.CarriedShard{}, false
	}
	for _, c := range j.request.Carried {
		if c.Range.IndexID == shard.IndexID && c.Range.Shard == shard.Number && c.UUID == j.request.Snapshot.UUID && c.Delta == d.digest() {
			return c, true
		}
	}
	return migration.CarriedShard{}, false
}
