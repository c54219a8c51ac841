package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// twice runs an activity two times, as Temporal may: both must give the same, and the second must
// change nothing.
func twice[T any](w *world, method, in any) T {
	w.t.Helper()
	first := must[T](w, method, in)
	before := w.text()
	require.Equal(w.t, first, must[T](w, method, in))
	require.Equal(w.t, before, w.text(), "the second run changed something")
	return first
}

// A whole migration, each step twice.
func TestEveryActivityMayRunTwice(t *testing.T) {
	w := newWorld(t)
	a := w.activities

	found := twice[migration.PreflightResult](w, a.Preflight, w.run)
	require.Equal(t, "5.5.2", found.SourceVersion)
	require.Equal(t, "5.5.3", found.TargetVersion)
	require.Empty(t, found.Warnings)
	require.Equal(t, []migration.Index{
		{Name: "catalog", UUID: "index-2", Shards: 3, Docs: 5, Bytes: 500, Writes: 5, Replicas: 2},
		{
			Name: "movies", UUID: "index-1", Shards: 2, Docs: 3, Bytes: 300, Writes: 3, Replicas: 1,
			RefreshInterval: "30s",
		},
	}, found.Indices.Inline)

	twice[any](w, a.EnsureTargetBucket, w.run)
	twice[any](w, a.RegisterRepositories, w.run)
	resolved := twice[migration.IndexList](w, a.ResolveIndices, migration.ResolveRequest{Run: w.run})
	require.Equal(t, found.Indices, resolved)
	indices := resolved.Inline

	// The baseline.
	baseline := twice[migration.Snapshot](w, a.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: "movies-r0000-a1", Indices: both2})
	require.Equal(t, migration.Snapshot{
		Name: "movies-r0000-a1", UUID: baseline.UUID, StartMillis: 1000,
		EndMillis: 2000, Shards: 5,
	}, baseline)
	twice[any](w, a.AbortSnapshot, migration.SnapshotRequest{Run: w.run, Snapshot: "movies-r0000-a1", Indices: both2})
	require.Equal(t, "SUCCESS", w.from.Snapshot(w.run.RepositoryName(), "movies-r0000-a1"),
		"a finished snapshot is not deleted")
	w.s3.Copy(w.oss)
	twice[any](w, a.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2})
	restored := twice[migration.RestoreResult](w, a.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: baseline, Indices: indices})
	require.Equal(t, migration.RestoreResult{BytesRestored: 800, Shards: 5}, restored)
	opened := twice[migration.OpenResult](w, a.OpenTarget, w.request())
	require.Equal(t, int64(3), opened.Counters["movies"].Docs)
	require.Equal(t, "true", w.to.Setting("movies", "index.blocks.write"), "nobody writes to the target")

	// The freeze and the final round.
	require.NoError(t, w.from.Index("catalog", "f", "a"))
	blocks := twice[migration.Blocks](w, a.ReadBlocks, w.request())
	require.Equal(t, migration.Blocks{"movies": {}, "catalog": {"index.blocks.write": "false"}}, blocks)
	twice[any](w, a.BlockWrites, w.request())
	require.Error(t, w.from.Index("catalog", "g"))
	frozen := twice[migration.Standstill](w, a.AwaitStandstill, w.still()).Docs
	require.Len(t, frozen["catalog"], 3)
	final := twice[migration.Snapshot](w, a.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: "movies-r0001-a1", Indices: both2})
	w.s3.Copy(w.oss)
	twice[any](w, a.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters})
	require.False(t, w.to.IsOpen("movies"))
	restored = twice[migration.RestoreResult](w, a.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: final, Indices: indices})
	require.Equal(t, migration.RestoreResult{BytesRestored: 200, BytesReused: 700, Shards: 5}, restored)
	opened = twice[migration.OpenResult](w, a.OpenTarget, w.request())
	verified := twice[migration.VerifyResult](w, a.VerifyTarget,
		migration.VerifyRequest{Run: w.run, Indices: indices, Frozen: frozen, Counters: opened.Counters})
	require.Len(t, verified.Indices, 2)
	for _, index := range verified.Indices {
		require.True(t, index.Equal)
		require.Empty(t, index.Differences)
		require.Len(t, index.Checksum, 32)
		require.Equal(t, index.SourceDocs, index.TargetDocs)
	}

	// The cutover.
	twice[any](w, a.OpenTargetForWrites, migration.HandoverRequest{
		Run: w.run, Indices: indices,
		Counters: opened.Counters,
	})
	require.NoError(t, w.to.Index("catalog", "g"))
	require.Error(t, w.from.Index("catalog", "g"), "the source stays blocked")
	require.Equal(t, "2", w.to.Setting("catalog", "index.number_of_replicas"))
	require.Equal(t, "30s", w.to.Setting("movies", "index.refresh_interval"))
	require.Empty(t, w.to.Setting("movies", "index.auto_expand_replicas"))
	twice[any](w, a.UnregisterRepositories, w.run)

	// What an abort would have done.
	twice[any](w, a.RemoveBlock, migration.LiftRequest{Run: w.run, Found: blocks})
	require.NoError(t, w.from.Index("catalog", "g"))
	require.Equal(t, "false", w.from.Setting("catalog", "index.blocks.write"), "exactly as it was found")
	require.Empty(t, w.from.Setting("movies", "index.blocks.write"))
}
