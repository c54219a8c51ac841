package repository

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Object is one object other than a data blob that must be copied.
type Object struct {
	Key   string
	Class Class
	// Optional objects are copied if the source has them: no restore reads them, or not every
	// version writes them. It is an error if the source lacks another object.
	Optional bool
}

// Group holds the objects of one stage, sorted by key.
type Group struct {
	Stage   Stage
	Objects []Object
}

// Shape is what the root doesn't tell about an index in a snapshot.
type Shape struct {
	Shards int // primaries, from the index's metadata (ParseIndexMetadata) or from _status
	// Generations are the shards' current shard indices. Before 7.6 a listing gives them
	// (ShardGenerations); nil means those of the root. Only writers and _status read shard indices;
	// a restore needs none.
	Generations []string
}

// MetadataOf lists what must be copied besides data blobs to publish this root, in groups, in the
// order of publishing. Data blobs (StageData) come before all groups. The groups have:
//
//   - of each of the snapshots named by uuid, its shard snapshots, shard indices and index metadata
//   - the root's own objects, with the snap- and meta- objects of every snapshot that it lists
//
// Name all snapshots that the target repository lacks. Each must be in state SUCCESS, or in
// StateUnknown if the caller knows that it succeeded. shapes is by index id.
func MetadataOf(root *Root, uuids []string, shapes map[string]Shape) ([]Group, error) {
	all := map[string]Object{}
	for _, uuid := range uuids {
		if err := snapshotObjects(all, root, uuid, shapes); err != nil {
			return nil, err
		}
	}
	if err := rootObjects(all, root); err != nil {
		return nil, err
	}
	groups := map[Stage][]Object{}
	for _, o := range all {
		groups[o.Class.Stage()] = append(groups[o.Class.Stage()], o)
	}
	var out []Group
	for stage := StageShards; stage <= StageLatest; stage++ {
		objects := groups[stage]
		if len(objects) == 0 {
			continue
		}
		slices.SortFunc(objects, func(a, b Object) int { return cmp.Compare(a.Key, b.Key) })
		out = append(out, Group{Stage: stage, Objects: objects})
	}
	return out, nil
}

func snapshotObjects(all map[string]Object, root *Root, uuid string, shapes map[string]Shape) error {
	s, ok := root.Snapshot(uuid)
	if !ok {
		return fmt.Errorf("root %s lists no snapshot with uuid %s", RootIndexKey(root.Generation), clip(uuid))
	}
	if s.State != StateSuccess && s.State != StateUnknown {
		return fmt.Errorf("the snapshot %s is %s, so its shards are never published", clip(s.Name), s.State)
	}
	if root.Generation < 0 && s.State == StateUnknown {
		return fmt.Errorf("the indices of the snapshot %s are not known: a root of 2.x has to be completed first",
			clip(s.Name))
	}
	for _, index := range root.IndicesOf(uuid) {
		shape, ok := shapes[index.ID]
		if !ok || shape.Shards < 1 || shape.Shards > maxShards {
			return fmt.Errorf("the number of shards of index %s in snapshot %s is not known", clip(index.Name),
				clip(s.Name))
		}
		key, err := IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
		if err != nil {
			return err
		}
		all[key] = Object{Key: key, Class: ClassIndexMetadata}
		if err := shardObjects(all, index, s, shape); err != nil {
			return err
		}
	}
	return nil
}

func shardObjects(all map[string]Object, index Index, s Snapshot, shape Shape) error {
	generations := shape.Generations
	if generations == nil {
		generations = index.ShardGenerations
	}
	for n := range shape.Shards {
		shard := ShardID{IndexID: index.ID, Number: n}
		key, err := ShardSnapshotKey(shard, s.UUID)
		if err != nil {
			return err
		}
		all[key] = Object{Key: key, Class: ClassShardSnapshot}
		if n >= len(generations) || generations[n] == "" {
			continue
		}
		if key, err = ShardIndexKey(shard, generations[n]); err != nil {
			return err
		}
		all[key] = Object{Key: key, Class: ClassShardIndex, Optional: true}
	}
	return nil
}

// rootObjects adds the objects of the root folder. The snap- and meta- objects of failed attempts
// are copied as well, so that listings work in the target as in the source. If the source lacks one
// of these, the target may lack it, too.
func rootObjects(all map[string]Object, root *Root) error {
	for _, s := range root.Snapshots {
		optional := s.State != StateSuccess
		key, err := SnapshotKey(s.UUID)
		if err != nil {
			return err
		}
		all[key] = Object{Key: key, Class: ClassSnapshot, Optional: optional}
		if key, err = SnapshotMetadataKey(s.UUID); err != nil {
			return err
		}
		all[key] = Object{Key: key, Class: ClassSnapshotMetadata, Optional: optional}
	}
	key := RootIndexKey(root.Generation)
	all[key] = Object{Key: key, Class: ClassRootIndex}
	if root.Generation >= 0 { // 2.x has neither of these
		all[IncompatibleKey] = Object{Key: IncompatibleKey, Class: ClassIncompatible, Optional: true}
		// The source deletes it and writes it again; EncodeLatest gives the same bytes.
		all[LatestKey] = Object{Key: LatestKey, Class: ClassLatest, Optional: true}
	}
	return nil
}

// ShardGenerations finds the current shard index of each shard of an index among listed keys: the
// one with the highest number (Elasticsearch: buildBlobStoreIndexShardSnapshots). It leaves out
// shard indices that are named by uuid: only the root tells which of these is current.
func ShardGenerations(indexID string, keys []string) []string {
	var highest []int64
	for _, key := range keys {
		k := Classify(key)
		if k.Class != ClassShardIndex || k.Shard.IndexID != indexID || k.Generation < 0 {
			continue
		}
		for len(highest) <= k.Shard.Number {
			highest = append(highest, -1)
		}
		highest[k.Shard.Number] = max(highest[k.Shard.Number], k.Generation)
	}
	var out []string
	for _, n := range highest {
		generation := ""
		if n >= 0 {
			generation = strconv.FormatInt(n, 10)
		}
		out = append(out, generation)
	}
	return out
}
