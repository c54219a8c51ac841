package ferry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
)

// see gives each object of S3 that Elasticsearch writes below an index to act. need tells whether
// the snapshots to publish need it.
func see(act func(mirrorPair), need func(k repository.Key, o *objectstore.Object) (bool, error)) func(context.Context,
	sides.Pair, repository.Key) error {
	return func(ctx context.Context, pair sides.Pair, k repository.Key) error {
		if pair.Source == nil {
			return nil // deleted at the source, which OSS doesn't follow
		}
		switch k.Class {
		case repository.ClassData, repository.ClassShardSnapshot, repository.ClassShardIndex,
			repository.ClassIndexMetadata:
		default:
			return nil // unfinished writes, verification, and what Elasticsearch doesn't write
		}
		needed, err := need(k, pair.Source)
		if err != nil {
			return err
		}
		act(mirrorPair{Pair: pair, class: k.Class, needed: needed})
		return context.Cause(ctx)
	}
}

// walkListed goes through what is there. Of data blobs it doesn't tell whether they are needed.
func (m *mirror) walkListed(ctx context.Context, id string, act func(mirrorPair)) error {
	need := func(k repository.Key, o *objectstore.Object) (bool, error) {
		return m.metadata[o.Key] || k.Class == repository.ClassShardSnapshot &&
			slices.Contains(m.shards[k.Shard].snapshots, k.UUID), nil
	}
	pass := func(context.Context, repository.ShardID) error { return nil }
	return sides.March{Source: m.s3, Target: m.oss, Enter: pass, Leave: pass, See: see(act, need)}.Index(ctx, id, nil)
}

// walkNeeded goes through what is there, and makes sure that the listing of S3 has all that is
// needed.
func (m *mirror) walkNeeded(ctx context.Context, id string, act func(mirrorPair)) error {
	f := neededFolder{mirror: m, metadata: map[string]bool{}}
	var shards []repository.ShardID
	for shard := range m.shards {
		if shard.IndexID == id {
			shards = append(shards, shard)
		}
	}
	for key := range m.metadata {
		if repository.Classify(key).Shard.IndexID == id {
			f.metadata[key] = true
		}
	}
	march := sides.March{Source: m.s3, Target: m.oss, Enter: f.enter, Leave: f.leave, See: see(act, f.need)}
	if err := march.Index(ctx, id, shards); err != nil {
		return err
	}
	return allListed(f.metadata)
}

// neededFolder is what must still come in the folder of an index.
type neededFolder struct {
	*mirror
	metadata map[string]bool
	// shard are the keys of the present shard, with the length that the snapshots say or -1.
	shard map[string]int64
}

// enter reads what the snapshots to publish need of a shard.
func (f *neededFolder) enter(ctx context.Context, shard repository.ShardID) error {
	f.shard = map[string]int64{}
	t, needed := f.shards[shard]
	if !needed {
		return nil
	}
	d, err := f.deltaOf(ctx, f.plan, t)
	if err != nil {
		return err
	}
	for _, b := range d.blobs {
		f.shard[b.Key] = b.Length
	}
	for _, uuid := range t.snapshots {
		key, err := repository.ShardSnapshotKey(shard, uuid)
		if err != nil {
			return err
		}
		f.shard[key] = -1
	}
	return nil
}

func (f *neededFolder) leave(context.Context, repository.ShardID) error { return allListed(f.shard) }

func (f *neededFolder) need(k repository.Key, o *objectstore.Object) (bool, error) {
	if k.Class == repository.ClassIndexMetadata {
		needed := f.metadata[o.Key]
		delete(f.metadata, o.Key)
		return needed, nil
	}
	length, needed := f.shard[o.Key]
	if needed && length >= 0 && length != o.Size {
		return false, vanished(o.Key, "it has %d bytes in S3, the snapshot says %d", o.Size, length)
	}
	delete(f.shard, o.Key)
	return needed, nil
}

// allListed makes sure that no key is left of those that had to come.
func allListed[V any](left map[string]V) error {
	if len(left) == 0 {
		return nil
	}
	return vanished(slices.Min(slices.Collect(maps.Keys(left))), "it is not in the listing of S3")
}

func vanished(key, format string, args ...any) error {
	return &transfer.Error{Kind: transfer.Vanished, Key: key, Err: fmt.Errorf(format, args...)}
}
