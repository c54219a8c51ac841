package sides

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
)

// Pair is a key and what stands under it on either side; nil where there is nothing.
type Pair struct {
	Key            string
	Source, Target *objectstore.Object
}

// Same tells by the listings that both sides have the very bytes: both ETags are the same MD5. Up
// to 6.x, Elasticsearch gives a name again after a delete, often with the same length, so name and
// length prove nothing.
func (p Pair) Same() bool {
	return p.Source != nil && p.Target != nil && p.Source.Size == p.Target.Size &&
		objectstore.SameMD5(p.Source.ETag, p.Target.ETag)
}

// BlobOf names what is to be copied of a listed object.
func BlobOf(o *objectstore.Object) transfer.Blob {
	return transfer.Blob{Key: o.Key, Size: o.Size, ETag: o.ETag}
}

// Pairs merges the listings of both sides below a prefix, in the order of the keys. An error comes
// last.
func Pairs(ctx context.Context, source, target Store, prefix string) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		nextSource, stopSource := iter.Pull2(source.Ordered(ctx, prefix))
		defer stopSource()
		nextTarget, stopTarget := iter.Pull2(target.Ordered(ctx, prefix))
		defer stopTarget()
		s, sourceErr, more := nextSource()
		t, targetErr, moreTarget := nextTarget()
		for more || moreTarget {
			if err := cmp.Or(sourceErr, targetErr); err != nil {
				yield(Pair{}, err)
				return
			}
			inSource, inTarget := s, t
			var pair Pair
			if more && (!moreTarget || inSource.Key <= inTarget.Key) {
				pair.Key, pair.Source = inSource.Key, &inSource
			}
			if moreTarget && (!more || inTarget.Key <= inSource.Key) {
				pair.Key, pair.Target = inTarget.Key, &inTarget
			}
			if pair.Source != nil {
				s, sourceErr, more = nextSource()
			}
			if pair.Target != nil {
				t, targetErr, moreTarget = nextTarget()
			}
			if !yield(pair, nil) {
				return
			}
		}
	}
}

// March goes through what both sides hold of an index, in the order of the keys, one shard after
// the other. The first error of a callback ends it.
type March struct {
	Source, Target Store
	// Enter comes before the first key of a shard, Leave after the last one: before the next shard,
	// or at the end.
	Enter, Leave func(ctx context.Context, shard repository.ShardID) error
	// See is given each pair and what its key names, which need not be a shard's.
	See func(ctx context.Context, pair Pair, key repository.Key) error
}

// Index goes through the folder of an index. The expected shards are entered and left at the end if
// no key of them stands on either side.
func (m March) Index(ctx context.Context, id string, expected []repository.ShardID) error {
	var here *repository.ShardID // the shard that was entered last
	entered := map[repository.ShardID]bool{}
	leave := func() error {
		if here == nil {
			return nil
		}
		shard := *here
		here = nil
		return m.Leave(ctx, shard)
	}
	enter := func(shard repository.ShardID) error {
		if err := leave(); err != nil {
			return err
		}
		here, entered[shard] = &shard, true
		return m.Enter(ctx, shard)
	}
	for pair, err := range Pairs(ctx, m.Source, m.Target, repository.IndicesPrefix+id+"/") {
		if err != nil {
			return err
		}
		key := repository.Classify(pair.Key)
		if ofShard(key.Class) && (here == nil || *here != key.Shard) {
			if err := enter(key.Shard); err != nil {
				return err
			}
		}
		if err := m.See(ctx, pair, key); err != nil {
			return err
		}
	}
	for _, shard := range slices.SortedFunc(slices.Values(expected), CompareShards) {
		if entered[shard] {
			continue
		}
		if err := enter(shard); err != nil {
			return err
		}
	}
	return leave()
}

func ofShard(class repository.Class) bool {
	return class == repository.ClassData || class == repository.ClassShardSnapshot ||
		class == repository.ClassShardIndex
}

// CompareShards orders shards by index and number.
func CompareShards(a, b repository.ShardID) int {
	return cmp.Or(cmp.Compare(a.IndexID, b.IndexID), cmp.Compare(a.Number, b.Number))
}
