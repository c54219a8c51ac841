package activities

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/migration"
)

// many is a world with so many indices that a request for each of them would stand out.
func many(t *testing.T, count int) (*world, []string) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	w.run.Plan.Verify.Checksum = migration.ChecksumNone
	w.activities.lists.longest = 1 << 30 // what is stored is another test's
	w.from.Delete(both2...)
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("index-%04d", i)
		w.from.Create(names[i], 1, map[string]string{
			"index.lifecycle.name": fmt.Sprintf("policy-%d", i%40), "index.refresh_interval": "5s",
		})
		require.NoError(t, w.from.Index(names[i], "a"))
	}
	return w, names
}

// Requests grow with batches, not with indices: nothing asks one index after another.
func TestRequestsGrowWithBatchesNotWithIndices(t *testing.T) {
	const indices = 1100 // a request with all their names is below the limit of payloads
	w, names := many(t, indices)
	batches := len(elastic.Batches(names))
	require.Less(t, batches, 12)
	probes := indices / int(elastic.ExpectOpen)

	a := w.activities
	seen := map[string]bool{}
	// bounded runs an activity. Its requests are so many for each batch, and some more.
	bounded := func(name string, times, more int, do func()) {
		before := w.sent()
		do()
		took := w.sent() - before
		t.Logf("%-24s %4d requests", name, took)
		require.LessOrEqual(t, took, times*batches+more, name)
		seen[name] = true
	}
	request := migration.IndicesRequest{Run: w.run, Indices: names}

	bounded("RegisterRepositories", 0, 12, func() { w.prepared() })
	bounded("Preflight", 12, 60, func() { must[migration.PreflightResult](w, a.Preflight, w.run) })
	var list []migration.Index
	bounded("ResolveIndices", 5, 5, func() {
		resolved := must[migration.IndexList](w, a.ResolveIndices, migration.ResolveRequest{Run: w.run})
		list = resolved.Inline
	})
	require.Len(t, list, indices)
	bounded("WatchWrites", 10, 5, func() {
		must[migration.Written](w, a.WatchWrites, migration.WatchWritesRequest{Run: w.run, For: 1})
	})
	bounded("TryDefinitions", 8, 10, func() { must[migration.TryResult](w, a.TryDefinitions, w.run) })
	bounded("CheckDependencies", 5, 10, func() { must[any](w, a.CheckDependencies, w.run) })
	var snapshot migration.Snapshot
	bounded("TakeSnapshot", 1, 20, func() {
		snapshot = must[migration.Snapshot](w, a.TakeSnapshot,
			migration.SnapshotRequest{Run: w.run, Snapshot: "s", Indices: names})
	})
	w.s3.Copy(w.oss)
	restore := migration.RestoreRequest{Run: w.run, Snapshot: snapshot, Indices: list}
	bounded("RestoreSnapshot", 16, 20, func() { must[migration.RestoreResult](w, a.RestoreSnapshot, restore) })
	var opened migration.OpenResult
	bounded("OpenTarget", 8, 5, func() { opened = must[migration.OpenResult](w, a.OpenTarget, request) })
	bounded("TryHandover", 8, 10, func() {
		must[migration.TryHandoverResult](w, a.TryHandover, migration.TryHandoverRequest{IndicesRequest: request})
	})
	bounded("ClearTarget", 8, 10, func() {
		must[migration.ClearResult](w, a.ClearTarget,
			migration.ClearRequest{Run: w.run, Indices: list, Expected: opened.Counters})
	})
	bounded("CloseTarget", 8, 10, func() {
		must[any](w, a.CloseTarget, migration.CloseRequest{Run: w.run, Indices: names, Expected: opened.Counters})
	})
	must[migration.RestoreResult](w, a.RestoreSnapshot, restore)
	opened = must[migration.OpenResult](w, a.OpenTarget, request)

	var found []migration.SourceIndex
	bounded("ReadSourceBlocks", 3, 3, func() {
		found = must[[]migration.SourceIndex](w, a.ReadSourceBlocks, request)
	})
	bounded("BlockSource", 6, 3, func() {
		blocked := must[migration.BlockResult](w, a.BlockSource, migration.BlockRequest{Run: w.run, Indices: found})
		require.Len(t, blocked.Blocked, indices)
		found = blocked.Blocked
	})
	find := migration.ChangedRequest{Run: w.run, Indices: list, Expected: opened.Counters}
	inPayloads := a.lists.longest
	a.lists.longest = migration.LongestInline // all indices with their marks are longer than a payload
	find.RestoredOf = must[migration.Changed](w, a.FindChanged, find).MarksOf
	bounded("FindChanged", 9, 5, func() {
		require.Zero(t, must[migration.Changed](w, a.FindChanged, find).Taking.Len())
	})
	bounded("PlanProofs", 16, 5, func() {
		must[migration.ProofPlan](w, a.PlanProofs, migration.PlanProofsRequest{Run: w.run, Indices: list, Batches: 1})
	})
	a.lists.longest = inPayloads
	var still migration.Standstill
	bounded("AwaitStandstill", 16, 5, func() {
		still = must[migration.Standstill](w, a.AwaitStandstill, migration.StandstillRequest{IndicesRequest: request})
	})
	require.Len(t, w.from.Requests("POST /_bulk"), 1, "one request probes them all")
	bounded("VerifyTarget", 16, 10+6*indices/metadataIndices, func() {
		result := must[migration.VerifyResult](w, a.VerifyTarget, migration.VerifyRequest{
			Run: w.run, Indices: list, Frozen: still.Docs, Counters: opened.Counters,
		})
		require.Zero(t, unequalIn(result))
	})
	bounded("CheckHandover", 5, 5, func() {
		must[any](w, a.CheckHandover, migration.CheckHandoverRequest{
			Run: w.run, Indices: names, Counters: opened.Counters,
		})
	})
	var prepared preparedHandover
	bounded("AskGuard", 3, 5, func() { // lists what the handover needs
		var err error
		request := migration.GuardRequest{Run: w.run, Counters: opened.Counters}
		prepared, err = a.prepareHandover(t.Context(), request, list)
		require.NoError(t, err)
	})
	bounded("HandOver", 8, 5+probes, func() {
		require.Empty(t, w.handsOver(migration.HandOverRequest{Run: w.run, Indices: prepared.indices}))
	})
	bounded("LookAgain", 4, 5, func() {
		must[[]migration.LateIndex](w, a.LookAgain, migration.LookAgainRequest{Run: w.run})
	})
	bounded("UnblockSource", 6, 5+probes, func() {
		result := must[migration.UnblockResult](w, a.UnblockSource,
			migration.UnblockRequest{Run: w.run, Indices: found})
		require.Empty(t, result.Refused)
	})
	bounded("CheckShardLimit", 0, 5, func() {
		must[any](w, a.CheckShardLimit, migration.ShardLimitRequest{Run: w.run, Adds: 1})
	})
	bounded("FindRemains", 30, 60, func() {
		must[migration.Remains](w, a.FindRemains, migration.FindRemainsRequest{
			RemainsRequest: migration.RemainsRequest{Plan: w.run.Plan}, Kinds: everyKind,
		})
	})

	// Those of runs that began earlier.
	bounded("ReadBlocks", 2, 2, func() { must[migration.Blocks](w, a.ReadBlocks, request) })
	bounded("BlockWrites", 6, 3, func() { must[any](w, a.BlockWrites, request) })
	bounded("LiftBlock", 6, 5+probes, func() {
		lift := migration.LiftRequest{Run: w.run, Found: migration.Blocks{}}
		for _, name := range names {
			lift.Found[name] = nil
		}
		must[any](w, a.RemoveBlock, lift)
	})
	bounded("OpenTargetForWrites", 12, 10+probes, func() {
		must[any](w, a.OpenTargetForWrites, migration.HandoverRequest{Run: w.run, Indices: list})
	})
	rehearsed := migration.RehearsedIndicesRequest{Run: w.run, Indices: list, Expected: opened.Counters}
	bounded("MeasureFootprint", 4, 5, func() { must[migration.Footprint](w, a.MeasureFootprint, rehearsed) })

	without := []string{ // no list of indices makes these ask the clusters more often
		migration.ActivityEnsureTargetBucket, migration.ActivityUnregisterRepositories, migration.ActivityAbortSnapshot,
		migration.ActivityCopySnapshot, migration.ActivityAwaitShards, migration.ActivityCopyShards,
		migration.ActivityCopyAhead, migration.ActivityPublishAhead,
		migration.ActivityCopyPage, migration.ActivityPublishSnapshot, migration.ActivityReadThrottles,
		migration.ActivitySetThrottles, migration.ActivityRestoreThrottles, migration.ActivityAwaitFreeSlot,
		migration.ActivityCallWebhook, migration.ActivitySendNotification, migration.ActivityAudit,
		migration.ActivityDeleteSnapshots,
		migration.ActivityDeleteCopies, migration.ActivityWatchGuard, migration.ActivityWatchMigration,
		migration.ActivityReadGuard, migration.ActivityCutGroups, migration.ActivityCallHook,
		migration.ActivityReadTranscript,
		migration.ActivityCheckPlan, // it is Preflight, TryDefinitions and AwaitFreeSlot in one
		migration.ActivityProve,     // reads documents, index by index and slowly
		// These delete, which needs a world of its own: TestARehearsalLeavesEverythingAsItWas and
		// TestRemains cover them.
		migration.ActivityDeleteRehearsedIndices, migration.ActivityRemoveRemains,
	}
	for _, name := range migration.ActivityNames() {
		require.True(t, seen[name] || slices.Contains(without, name),
			"activity %s: bound its requests here, or say that it asks about no indices", name)
	}
}

// sent counts the requests to both clusters. A star stands for one part of a path only.
func (w *world) sent() (count int) {
	for parts := 1; parts <= 6; parts++ {
		pattern := "* " + strings.Repeat("/*", parts)
		count += len(w.from.Requests(pattern)) + len(w.to.Requests(pattern))
	}
	return count
}

func unequalIn(result migration.VerifyResult) (count int) {
	for _, index := range result.Indices {
		if !index.Equal {
			count++
		}
	}
	return count
}

// A slow elected master is only slow. Each change waits longer for it than Elasticsearch's default
// of 30 seconds, or the nodes take longer to confirm it: every activity does its work at its first
// attempt.
func TestASlowMasterIsOnlySlow(t *testing.T) {
	for name, slow := range map[string]func(*elastictest.Cluster){
		"changes wait":          func(c *elastictest.Cluster) { c.Queue = 45 * time.Second },
		"nodes confirm late":    func(c *elastictest.Cluster) { c.Apply = 45 * time.Second },
		"both, a little faster": func(c *elastictest.Cluster) { c.Queue, c.Apply = 40*time.Second, 29*time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			slow(w.from)
			slow(w.to)
			a := w.activities
			w.prepared()
			must[migration.TryResult](w, a.TryDefinitions, w.run)
			throttles := w.foundThrottles()
			w.raise(throttles)
			w.putBack(throttles)
			opened := w.round("movies-r0000-a1")
			must[migration.TryHandoverResult](w, a.TryHandover, w.tryBoth())
			must[any](w, a.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters})
			opened = w.round("movies-r0001-a1")

			found := w.read(both2...)
			blocked := must[migration.BlockResult](w, a.BlockSource, migration.BlockRequest{Run: w.run, Indices: found})
			require.Empty(t, blocked.Refused)
			require.Len(t, blocked.Blocked, 2)
			must[migration.Standstill](w, a.AwaitStandstill, w.still())
			require.Empty(t, w.handsOver(w.toHandOver(opened)))
			require.NoError(t, w.to.Index("movies", "new"))
			unblocked := must[migration.UnblockResult](w, a.UnblockSource,
				migration.UnblockRequest{Run: w.run, Indices: blocked.Blocked})
			require.Empty(t, unblocked.Refused)
			require.Equal(t, both2, w.writes(both2...))
			must[any](w, a.UnregisterRepositories, w.run)
		})
	}
}

// An index that a node hasn't confirmed to be closed, or deleted, is so. A retry sees that.
func TestWhatNoNodeConfirmedIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("movies-r0000-a1")
	w.to.Apply = time.Hour
	closing := migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters}
	passes(w, retryUnavailable, w.activities.CloseTarget, closing)
	must[any](w, w.activities.CloseTarget, closing)
	for _, name := range both2 {
		require.False(t, w.to.IsOpen(name))
	}
}

// An attempt to remove the block that had time for a part of the indices isn't in vain: the next one
// begins with the others. Otherwise none would ever come to the last, where each change takes long.
func TestLaterAttemptsRemoveWhatIsLeft(t *testing.T) {
	w, names := many(t, 1000)
	blocked := must[migration.BlockResult](w, w.activities.BlockSource,
		migration.BlockRequest{Run: w.run, Indices: w.read(names...)}).Blocked
	client := clientOf(w, onSource)
	require.NoError(t, client.PutIndexSettings(t.Context(), names[:900], map[string]any{writeBlock: nil}))
	for attempt, puts := range map[int32]int{1: len(elastic.Batches(names)), 2: 1} {
		before := len(w.from.Requests("PUT /*/_settings"))
		refused, err := w.activities.unblock(t.Context(), client, blocked, attempt, &pulse{})
		require.NoError(t, err)
		require.Empty(t, refused)
		require.Equal(t, puts, len(w.from.Requests("PUT /*/_settings"))-before, "attempt %d", attempt)
		require.Equal(t, names, w.writes(names...))
		must[migration.BlockResult](w, w.activities.BlockSource,
			migration.BlockRequest{Run: w.run, Indices: w.read(names[900:]...)})
	}

	// A cluster that doesn't answer a question gets the request to remove them all.
	w.from.Refuse("GET /*/_settings", 8, http.StatusServiceUnavailable, "timeout", "busy")
	before := len(w.from.Requests("PUT /*/_settings"))
	_, _ = w.activities.unblock(t.Context(), client, blocked, 2, &pulse{})
	require.Equal(t, len(elastic.Batches(names)), len(w.from.Requests("PUT /*/_settings"))-before)
}
