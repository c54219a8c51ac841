package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// While the second snapshot runs, two batches of its shards are copied; the copy of the snapshot is
// told of them.
func TestShardsAreCarriedWhileTheSnapshotRuns(t *testing.T) {
	w := newWorld(t)
	w.done = func(r migration.ShardsRequest) migration.DoneShards {
		if r.Snapshot != "movies-r0001-a1" {
			return migration.DoneShards{Ended: true}
		}
		switch len(r.Known) {
		case 0:
			return migration.DoneShards{
				UUID:   "uuid-" + r.Snapshot,
				Shards: []migration.SnapshotShard{{Index: "catalog"}, {Index: "catalog", Shard: 3}},
			}
		case 2:
			return migration.DoneShards{
				UUID:   "uuid-" + r.Snapshot,
				Shards: []migration.SnapshotShard{{Index: "movies"}},
			}
		}
		return migration.DoneShards{Ended: true}
	}
	w.secondSnapshotOutlasts(2)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Empty(t, w.copies[0].Carried)
	require.Len(t, w.copies[1].Carried, 3)
	require.Empty(t, w.copies[2].Carried)
	require.Equal(t, int64(3), report.Rounds[1].BlobsStreamed)
	require.Equal(t, int64(10+3), report.Rounds[1].BlobsCopied)
	require.Zero(t, report.Rounds[2].BlobsStreamed)
}

// What fails in it is left to the copy of the snapshot.
func TestARoundDoesWithoutStreaming(t *testing.T) {
	for _, name := range []string{migration.ActivityAwaitShards, migration.ActivityCopyShards} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			asked := make(chan struct{}, 10)
			w.done = func(r migration.ShardsRequest) migration.DoneShards {
				if len(r.Known) > 0 {
					return migration.DoneShards{Ended: true}
				}
				return migration.DoneShards{
					UUID:   "uuid-" + r.Snapshot,
					Shards: []migration.SnapshotShard{{Index: "catalog"}},
				}
			}
			w.fails(name, 1000, migration.ErrorUnauthorized)
			failing := w.on[name]
			w.on[name] = func(n int) error {
				asked <- struct{}{}
				return failing(n)
			}
			w.on[migration.ActivityTakeSnapshot] = func(int) error {
				<-asked
				return nil
			}
			w.usualRequests()
			w.run()
			for _, round := range w.completed().Rounds {
				require.Zero(t, round.BlobsStreamed)
			}
		})
	}
}

func TestAnAbortEndsTheStreamToo(t *testing.T) {
	w := newWorld(t)
	w.done = func(r migration.ShardsRequest) migration.DoneShards {
		return migration.DoneShards{
			UUID:   "uuid-" + r.Snapshot,
			Shards: []migration.SnapshotShard{{Index: "catalog", Shard: len(r.Known)}},
		}
	}
	running := make(chan struct{})
	w.after[migration.ActivityCopyShards] = func(n int) {
		if n == 3 {
			w.env.SignalWorkflow(string(migration.RequestAbort), nil)
			close(running)
		}
	}
	w.on[migration.ActivityTakeSnapshot] = func(int) error {
		<-running
		return nil
	}
	w.at(time.Minute, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Zero(t, w.called(migration.ActivityRestoreSnapshot))
}

// A snapshot that is lost while it runs is taken again under its name. What was copied of the first
// is none of the second.
func TestShardsOfALostSnapshotDoNotCount(t *testing.T) {
	w := newWorld(t)
	w.done = func(r migration.ShardsRequest) migration.DoneShards {
		switch {
		case r.Snapshot != "movies-r0001-a1":
		case len(r.Known) == 0:
			return migration.DoneShards{UUID: "lost", Shards: []migration.SnapshotShard{
				{Index: "catalog"},
				{Index: "movies"},
			}}
		case len(r.Known) == 2:
			return migration.DoneShards{
				UUID:   "uuid-" + r.Snapshot,
				Shards: []migration.SnapshotShard{{Index: "catalog", Shard: 1}},
			}
		}
		return migration.DoneShards{Ended: true}
	}
	w.secondSnapshotOutlasts(2)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, []migration.CarriedShard{{
		Range:  migration.ShardRange{IndexID: "id-catalog", Shard: 1, To: 1},
		Digest: 5,
	}}, w.copies[1].Carried)
	require.Equal(t, int64(1), report.Rounds[1].BlobsStreamed)
}

// What was copied while the snapshot ran and is found lost in OSS afterwards is not trusted once
// more: a person's retry copies it again.
func TestARetriedCopyTrustsNoStream(t *testing.T) {
	w := newWorld(t)
	w.done = func(r migration.ShardsRequest) migration.DoneShards {
		if r.Snapshot != "movies-r0001-a1" || len(r.Known) > 0 {
			return migration.DoneShards{Ended: true}
		}
		return migration.DoneShards{UUID: "uuid-" + r.Snapshot, Shards: []migration.SnapshotShard{{Index: "catalog"}}}
	}
	w.secondSnapshotOutlasts(1)
	w.on[migration.ActivityCopySnapshot] = func(n int) error {
		if n == 2 {
			return temporal.NewApplicationErrorWithOptions("the blob is gone", string(migration.ErrorRepository),
				temporal.ApplicationErrorOptions{NonRetryable: true})
		}
		return nil
	}
	w.at(16*time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.run()
	w.completed()
	require.Empty(t, w.copies[1].Carried)
	require.True(t, w.copies[1].Again)
}

// secondSnapshotOutlasts has the second snapshot run until so many batches of its shards are
// carried.
func (w *world) secondSnapshotOutlasts(batches int) {
	copied := make(chan struct{})
	w.after[migration.ActivityCopyShards] = func(n int) {
		if n == batches {
			close(copied)
		}
	}
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 2 {
			<-copied
		}
		return nil
	}
}
