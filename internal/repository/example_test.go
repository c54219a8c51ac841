package repository_test

import (
	"fmt"
	"path"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
)

// Two snapshots of an index, the second one after a new segment. Only the files of that segment,
// and the new list of segments, must be copied.
func ExampleShardDelta() {
	cluster := repositorytest.New(1)
	monday := cluster.Snapshot("monday", repositorytest.CreateIndex("films", 1))
	tuesday := cluster.Snapshot("tuesday", repositorytest.AddSegments("films", 1, 300))

	shard := repository.ShardID{IndexID: cluster.IndexID("films"), Number: 0}
	read := func(uuid string) *repository.ShardSnapshot {
		key, err := repository.ShardSnapshotKey(shard, uuid)
		if err != nil {
			panic(err)
		}
		snapshot, err := repository.ParseShardSnapshot(cluster.Objects()[key])
		if err != nil {
			panic(err)
		}
		return snapshot
	}

	delta, err := repository.ShardDelta(shard, read(tuesday), shard, read(monday))
	if err != nil {
		panic(err)
	}
	for _, blob := range delta.Blobs {
		fmt.Printf("%s holds %s\n", path.Base(blob.Key), blob.File)
	}
	fmt.Printf("%d blobs to copy, %d are there\n", len(delta.Blobs), delta.SkippedBlobs)
	// Output:
	// __4 holds _1.cfs
	// __5 holds _1.cfe
	// __6 holds _1.si
	// __7 holds segments_2
	// 4 blobs to copy, 3 are there
}
