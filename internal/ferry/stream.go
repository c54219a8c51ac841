package ferry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// stream is shards of a snapshot that still runs.
type stream struct {
	lists
	from, to sides.Side
}

// Stream copies shards of a snapshot that still runs, whose lists of files are final. It publishes
// nothing. What it can't find or read it leaves to the copy of the complete snapshot, and says why:
// a snapshot that runs may still fail. again says that OSS may have some of it already.
func (f *Ferry) Stream(ctx context.Context, request migration.CopyShardsRequest,
	again bool,
) (migration.CopyShardsResult, error) {
	snapshot := migration.Snapshot{Name: request.Snapshot, UUID: request.UUID}
	s := &stream{lists: lists{job: f.job(request.Run, snapshot, again)}}
	result, err := s.copy(ctx, request)
	if leftToTheCopy(err) {
		return migration.CopyShardsResult{Why: err.Error()}, nil
	}
	return result, err
}

// nothingYet tells whether an error says that S3 has no repository, or not even the bucket.
func nothingYet(err error) bool {
	switch objectstore.KindOf(err) {
	case objectstore.NotFound, objectstore.BucketMissing:
		return true
	}
	return KindOf(err) == Missing
}

// leftToTheCopy tells whether an error is about the snapshot or a repository, and not about the
// requests.
func leftToTheCopy(err error) bool {
	_, blob := errors.AsType[*transfer.Error](err)
	_, unread := errors.AsType[*unreadable](err)
	_, both := errors.AsType[*contradiction](err)
	kind := KindOf(err)
	return blob || unread || both || errors.Is(err, sides.ErrMoved) || kind != 0 && kind != Moving
}

func (s *stream) copy(ctx context.Context,
	request migration.CopyShardsRequest,
) (result migration.CopyShardsResult, err error) {
	if s.to, err = s.readTarget(ctx, -1); err != nil {
		return result, err
	}
	candidates, err := s.candidates(ctx, request.Shards)
	if err != nil {
		return result, err
	}
	if s.to.Root != nil {
		if s.from.Root == nil {
			return migration.CopyShardsResult{Why: "OSS has a root index-N and S3 has none"}, nil
		}
		// Their blobs' names may be in use again: see withdraw.
		if gone := deleted(s.from, s.to); len(gone) > 0 {
			why := fmt.Sprintf("OSS lists the snapshot %s, which is deleted in S3", gone[0].Name)
			return migration.CopyShardsResult{Why: why}, nil
		}
	}
	ids := map[string]bool{}
	for _, shard := range candidates {
		ids[shard.IndexID] = true
	}
	if s.bases, err = s.basesOf(ctx, s.from, s.to, ids, request.Base); err != nil {
		return result, err
	}
	// A large shard is better copied in pages.
	p := newPlan(Paging{Blobs: math.MaxInt64, Bytes: pageBytes}, []string{request.UUID})
	deltas := map[repository.ShardID]*shardDelta{}
	err = sides.InParallel(ctx, s.concurrency, candidates, func(ctx context.Context, shard repository.ShardID) error {
		d, err := s.deltaOf(ctx, p, shardTask{shard: shard, snapshots: p.snapshots})
		if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished {
			return nil // the shard is none of this index
		}
		if err != nil || len(d.blobs) == 0 {
			return err
		}
		blobs, _, err := s.locate(ctx, shard, d.blobs)
		if err != nil {
			return err
		}
		if !p.addIfInline(shard, d, blobs) {
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		deltas[shard] = d
		return nil
	})
	if err != nil {
		return result, err
	}
	if err := s.transfer(ctx, p); err != nil {
		return result, err
	}
	for _, shard := range slices.SortedFunc(maps.Keys(deltas), sides.CompareShards) {
		if c, ok := p.streamedShard(shard, request.UUID, deltas[shard]); ok {
			result.Carried = append(result.Carried, c)
		}
	}
	result.BlobsCopied, result.BytesCopied = s.result.BlobsCopied, s.result.BytesCopied
	return result, nil
}

// addIfInline adds a shard's delta unless that makes more than one activity should copy.
func (p *plan) addIfInline(shard repository.ShardID, d *shardDelta, blobs []transfer.Blob) bool {
	var bytes int64
	for _, b := range d.blobs {
		bytes += b.Length
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+bytes > p.most.Bytes {
		return false
	}
	p.addLocked(shard, d, blobs)
	return true
}

// streamedShard says of a shard that its delta stands in OSS; not if a blob of it doesn't.
func (p *plan) streamedShard(shard repository.ShardID, uuid string, d *shardDelta) (migration.CarriedShard, bool) {
	c := migration.CarriedShard{
		Range: migration.ShardRange{IndexID: shard.IndexID, Shard: shard.Number, To: len(d.blobs)}, UUID: uuid,
		Delta: d.digest(),
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

// candidates finds where the shards may stand. An index that is new in the running snapshot isn't
// in the root yet: it may be any folder that the root doesn't know.
func (s *stream) candidates(ctx context.Context, shards []migration.SnapshotShard) ([]repository.ShardID, error) {
	ids := map[string]string{}
	root, err := s.readSource(ctx, -1)
	if err == nil {
		s.from = root
		for _, s := range root.Snapshots {
			for _, index := range root.IndicesOf(s.UUID) {
				ids[index.Name] = index.ID
			}
		}
	} else if !nothingYet(err) { // else it is the first snapshot of the repository
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
			if strangers, _, err = s.s3.Indices(ctx); err != nil {
				return nil, err
			}
			known := slices.Collect(maps.Values(ids))
			strangers = slices.DeleteFunc(strangers, func(id string) bool { return slices.Contains(known, id) })
			listed = true
		}
		for _, id := range strangers {
			found = append(found, repository.ShardID{IndexID: id, Number: shard.Shard})
		}
	}
	slices.SortFunc(found, func(a, b repository.ShardID) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(found), nil
}

// streamed tells whether the request's word on a shard counts: it is of this very snapshot, and the
// delta is the one that was copied. A snapshot that was lost and taken again under its name may
// need as many blobs of the same names.
func (r *round) streamed(shard repository.ShardID, t shardTask, d *shardDelta) (migration.CarriedShard, bool) {
	if len(t.snapshots) != 1 || t.snapshots[0] != r.snapshot.UUID || len(d.blobs) == 0 {
		return migration.CarriedShard{}, false
	}
	for _, c := range r.request.Carried {
		if c.Range.IndexID == shard.IndexID && c.Range.Shard == shard.Number && c.UUID == r.snapshot.UUID &&
			c.Delta == d.digest() {
			return c, true
		}
	}
	return migration.CarriedShard{}, false
}
