package activities

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// follow asks for the shards that are done of the snapshot s.
func (w *world) follow(known ...migration.SnapshotShard) migration.DoneShards {
	w.t.Helper()
	return must[migration.DoneShards](w, w.activities.AwaitShards,
		migration.ShardsRequest{Run: w.run, Snapshot: "s", Known: known})
}

func TestShardsAreToldAsTheyAreDone(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Looks = 1000
	done := map[migration.SnapshotShard]bool{}
	w.from.Done = func(index string, shard int) bool {
		return done[migration.SnapshotShard{
			Index: index,
			Shard: shard,
		}]
	}
	w.onSleep = func() { // the snapshot begins and a shard is done while it is looked at
		w.onSleep = func() { done[migration.SnapshotShard{Index: "movies"}] = true }
		client, err := w.activities.cluster(t.Context(), onSource, w.run)
		require.NoError(t, err)
		require.NoError(t, client.CreateSnapshot(t.Context(), w.run.RepositoryName(), "s", both2))
	}
	first := w.follow()
	require.Equal(t, []migration.SnapshotShard{{Index: "movies"}}, first.Shards)
	require.NotEmpty(t, first.UUID)
	require.False(t, first.Ended)

	w.onSleep = func() { done[migration.SnapshotShard{Index: "catalog", Shard: 1}] = true }
	second := w.follow(first.Shards...)
	require.Equal(t, []migration.SnapshotShard{{Index: "catalog", Shard: 1}}, second.Shards)
	require.Equal(t, first.UUID, second.UUID)
}

func TestFollowingEnds(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.snapshot("s")
	require.True(t, w.follow().Ended, "the snapshot is over")

	w = newWorld(t)
	w.prepared()
	w.from.Looks = 1000
	w.from.Done = func(string, int) bool { return true }
	client, err := w.activities.cluster(t.Context(), onSource, w.run)
	require.NoError(t, err)
	require.NoError(t, client.CreateSnapshot(t.Context(), w.run.RepositoryName(), "s", both2))
	over := w.follow()
	require.True(t, over.Ended, "it runs, but each shard is done")
	require.True(t, over.All)
	require.NotEmpty(t, over.UUID, "what was copied of it before is known by that")

	w = newWorld(t)
	w.prepared()
	w.from.Refuse("GET /_snapshot/*/s/_status", 1, http.StatusUnauthorized, "",
		`{"Message":"Your request: '/_snapshot' is not allowed."}`)
	untold := w.follow()
	require.True(t, untold.Ended, "the cluster doesn't tell")
	require.False(t, untold.All)
}

// Nobody waits for a round. For the final one writes stand still, so its shards are looked at sooner.
func TestAFrozenSnapshotIsFollowedSooner(t *testing.T) {
	one := []migration.SnapshotShard{{Index: "movies"}}
	for _, tt := range []struct {
		name  string
		in    migration.ShardsRequest
		after time.Duration
	}{
		{"a round", migration.ShardsRequest{}, 4 * time.Second},
		{"a round's next shards", migration.ShardsRequest{Known: one}, 4 * time.Second},
		{"the window", migration.ShardsRequest{Frozen: true}, 100 * time.Millisecond},
		{"the window's next shards", migration.ShardsRequest{Frozen: true, Known: one}, 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.prepared()
			w.snapshot("s") // it is over at the first look
			began := w.activities.now()
			tt.in.Run, tt.in.Snapshot = w.run, "s"
			require.True(t, must[migration.DoneShards](w, w.activities.AwaitShards, tt.in).Ended)
			require.Equal(t, tt.after, w.activities.now().Sub(began))
		})
	}
}

// In the window a batch waits for more shards.
func TestShardsOfTheWindowAreGathered(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Looks = 1000
	began := w.activities.now()
	first := migration.SnapshotShard{Index: "movies"}
	later := migration.SnapshotShard{Index: "catalog", Shard: 1}
	w.from.Done = func(index string, shard int) bool {
		switch (migration.SnapshotShard{Index: index, Shard: shard}) {
		case first:
			return true
		case later:
			return w.activities.now().Sub(began) > gatherFor
		}
		return false
	}
	require.NoError(t, clientOf(w, onSource).CreateSnapshot(t.Context(), w.run.RepositoryName(), "s", both2))
	in := migration.ShardsRequest{Run: w.run, Snapshot: "s", Frozen: true}
	require.Equal(t, []migration.SnapshotShard{later, first}, must[migration.DoneShards](w, w.activities.AwaitShards,
		in).Shards)
}

// As long as a snapshot waits for the slot, each look has the cluster read its repository.
func TestASnapshotThatDoesNotRunYetIsLookedForSlowly(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	const until = 10
	looks, waited := 0, w.activities.now()
	w.onSleep = func() {
		if looks++; looks == until {
			require.GreaterOrEqual(t, w.activities.now().Sub(waited), (until-2)*250*time.Millisecond)
			w.snapshot("s")
		}
	}
	require.True(t, must[migration.DoneShards](w, w.activities.AwaitShards,
		migration.ShardsRequest{Run: w.run, Snapshot: "s", Frozen: true}).Ended)
	require.GreaterOrEqual(t, looks, until)
}

// Before 5.0 a snapshot has no uuid, and its repository no root whose name tells that it is a new one:
// to wait for that would only hold writers up.
func TestNothingIsCopiedAheadOfASnapshotWithoutAUUID(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Looks = 1000
	w.from.Done = func(string, int) bool { return true }
	require.NoError(t, clientOf(w, onSource).CreateSnapshot(t.Context(), w.run.RepositoryName(), "s", both2))
	w.s3.SetUUID("s", "")
	over := w.follow()
	require.True(t, over.Ended)
	require.Empty(t, over.UUID)
	require.False(t, over.All)
}
