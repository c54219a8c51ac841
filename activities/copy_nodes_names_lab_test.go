//go:build lab

package activities

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// reused counts the data blobs of S3 whose names stood for other bytes of the same size, and makes
// sure that there are some.
func (w *nodesWorld) reused(before map[string][]byte) (same []string) {
	w.t.Helper()
	names := 0
	for key, data := range w.inS3() {
		old, ok := before[key]
		if !sidestest.IsData(key) || !ok || bytes.Equal(old, data) {
			continue
		}
		if names++; len(old) == len(data) {
			same = append(same, key)
		}
	}
	w.t.Logf("%d names stand for other bytes now, %d of them for as many", names, len(same))
	require.NotEmpty(w.t, same, "this test needs names that come back with other bytes of the same size")
	return same
}

func reuseUnpublished(w *nodesWorld) {
	w.first()
	w.write(2, 30, 300)
	w.snapshot("s2")
	old := w.inS3()
	w.stopAt(0, writesRoot) // the blobs reach OSS, the publish doesn't
	_, err := w.copy("s2")
	requireRetryable(w.t, err)
	w.another()
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
	w.delete("s2")
	w.write(3, 30, 300)
	w.snapshot("s3")
	copied := w.inOSS()
	for _, key := range w.reused(old) {
		require.Equal(w.t, old[key], copied[key], "OSS has what the name stood for")
	}
	w.copyAndRestore("s3")
	require.Len(w.t, w.seen(), 2)
}

// What is published is taken apart at the source and its names are used again: while these are
// being overwritten in OSS, nothing there may list it any more.
func reusePublished(w *nodesWorld) {
	w.first()
	w.write(2, 30, 300)
	w.snapshot("s2")
	w.copyAndRestore("s2")
	old := w.inS3()
	w.delete("s2")
	w.write(3, 30, 300)
	w.snapshot("s3")
	same := w.reused(old)
	w.stopAt(len(same), writesData)
	_, err := w.copy("s3")
	requireRetryable(w.t, err)
	w.another()
	w.t.Logf("after a death in mid-copy the target sees %v", w.requireRestorable())
	w.copyAndRestore("s3")
	require.Len(w.t, w.seen(), 2)
}

func abortAfterShards(w *nodesWorld) {
	w.shards = 4
	w.first()
	w.write(2, 200, 6000)
	// One shard can't end: what the node writes of it is held.
	const held = 3
	_, release := w.front.holdBlobs(w.t, func(path string) bool {
		return strings.Contains(path, "/"+w.run.SourceBasePath()+"/") &&
			strings.Contains(path, fmt.Sprintf("/%d/__", held))
	})
	w.ask(w.source, http.MethodPut, w.repository()+"/s2",
		map[string]any{"indices": w.index(), "include_global_state": false}, nil)
	uuid := w.awaitStatus("s2", func(s snapshotStatus) bool {
		done := 0
		for _, shard := range s.Indices[w.index()].Shards {
			if shard.Stage == "DONE" {
				done++
			}
		}
		return done == w.shards-1
	}).UUID

	// The shards that are done have their lists of files, so they can be copied already.
	for n := range w.shards {
		if n != held {
			w.copyShard(uuid, n)
		}
	}
	old := w.inS3()
	deleted := make(chan error, 1)
	go func() { deleted <- w.source.Do(w.ctx, http.MethodDelete, w.repository()+"/s2", nil, nil) }()
	w.awaitStatus("s2", func(s snapshotStatus) bool { return s.State == "ABORTED" })
	release()
	require.NoError(w.t, <-deleted)
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
	w.write(3, 200, 6000)
	w.snapshot("s3")
	copied := w.inOSS()
	stale := 0
	for _, key := range w.reused(old) {
		if bytes.Equal(copied[key], old[key]) {
			stale++
		}
	}
	require.NotZero(w.t, stale, "this test needs names in OSS that stand for what was aborted")
	w.copyAndRestore("s3")
	require.Len(w.t, w.seen(), 2)
}

type snapshotStatus struct {
	UUID, State string
	Indices     map[string]struct {
		Shards map[int]struct{ Stage string }
	}
}

// awaitStatus waits until a running snapshot stands as it should.
func (w *nodesWorld) awaitStatus(snapshot string, want func(snapshotStatus) bool) (found snapshotStatus) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		var status struct{ Snapshots []snapshotStatus }
		if w.source.Do(w.ctx, http.MethodGet, w.repository()+"/"+snapshot+"/_status", nil, &status) != nil ||
			len(status.Snapshots) != 1 {
			return false
		}
		found = status.Snapshots[0]
		return want(found)
	}, lab.Patience, 20*time.Millisecond)
	return found
}

// copyShard copies what a snapshot that still runs has written of a shard.
func (w *nodesWorld) copyShard(uuid string, n int) {
	w.t.Helper()
	objects := w.inS3()
	generation, ok := repository.LatestGeneration(sidestest.Keys(objects))
	require.True(w.t, ok)
	root, err := repository.ParseRoot(generation, objects[repository.RootIndexKey(generation)])
	require.NoError(w.t, err)
	require.Len(w.t, root.Indices, 1)
	shard := repository.ShardID{IndexID: root.Indices[0].ID, Number: n}
	files := func(uuid string) *repository.ShardSnapshot {
		key, err := repository.ShardSnapshotKey(shard, uuid)
		require.NoError(w.t, err)
		list, err := repository.ParseShardSnapshot(objects[key])
		require.NoError(w.t, err)
		return list
	}
	delta, err := repository.ShardDelta(shard, files(uuid), shard, files(w.base))
	require.NoError(w.t, err)
	page := migration.CopyPage{
		Shards: []migration.ShardRange{{IndexID: shard.IndexID, Shard: n, To: len(delta.Blobs)}},
		Blobs:  int64(len(delta.Blobs)), Bytes: delta.Bytes,
	}
	var result migration.PageResult
	require.NoError(w.t, w.act(migration.ActivityCopyPage,
		migration.PageRequest{
			Run: w.run, Snapshot: migration.Snapshot{Name: "s2", UUID: uuid},
			Delta: migration.CopyDelta{RootGeneration: generation, Snapshots: []string{uuid}, Base: w.base},
			Page:  page,
		},
		&result))
	require.Equal(w.t, page.Blobs, result.BlobsCopied)
}
