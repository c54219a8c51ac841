package activities

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func (w *world) restoreRequest(snapshot migration.Snapshot) migration.RestoreRequest {
	return migration.RestoreRequest{Run: w.run, Snapshot: snapshot, Indices: w.indices()}
}

// stopDuring stops the worker when the target is asked something, and lets the answer never come.
func (w *world) stopDuring(pattern string) {
	w.to.On(pattern, 1, func(_ http.ResponseWriter, r *http.Request) bool {
		close(w.stop)
		<-r.Context().Done()
		return true
	})
}

func TestRestoreReplacesTheSourcesBlocksByOurs(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	must[any](w, w.activities.BlockWrites, w.request())
	w.run.Plan.Restore.IgnoreSettings = []string{
		"index.opendistro.*", "index.number_of_shards", "index.blocks.*", "index.ttl.*",
	}
	request := w.restoreRequest(w.snapshot("s"))
	request.IgnoreSettings = []string{"index.own"} // the target has shown that it doesn't know it
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.to.Bodies("POST /_snapshot/*/s/_restore")[0]), &body))
	require.Equal(t, map[string]any{
		"indices": "catalog,movies", "ignore_unavailable": false, "include_global_state": false,
		"include_aliases": true, "partial": false,
		"index_settings": map[string]any{
			"index.blocks.write": true, "index.number_of_replicas": 0.0,
			"index.auto_expand_replicas": false,
		},
		"ignore_index_settings": []any{
			"index.blocks.*", "index.routing.allocation.*", "index.opendistro.*", "index.opendistro_*",
			"index.plugins.*", "index.knn*", "index.ultrawarm*", "index.lifecycle.*",
			"index.write.wait_for_active_shards", "index.ttl.*", "index.own",
		},
	}, body)
	require.Equal(t, "0", w.to.Setting("movies", "index.number_of_replicas"))
}

func TestRestoreNeedsTheVerySnapshotThatWasCopied(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	snapshot := w.snapshot("s")
	other := snapshot
	other.UUID = "another"
	refused(w, migration.ErrorRepository, w.activities.RestoreSnapshot, w.restoreRequest(other),
		"another snapshot of that name")
	invisible := snapshot
	invisible.Name = "t"
	refused(w, migration.ErrorRepository, w.activities.RestoreSnapshot, w.restoreRequest(invisible), "doesn't see it")
	require.Empty(t, w.to.Requests("POST /_snapshot/*/*/_restore"))

	// A listing may be behind for a moment.
	w.to.Refuse("GET /_snapshot/*/s", 3, http.StatusNotFound, "snapshot_missing_exception", "[s] is missing")
	w.restored(snapshot)
}

// A worker was killed while the target restored: the next attempt only waits.
func TestRestoreThatRunsAlreadyIsAdopted(t *testing.T) {
	for name, disturb := range map[string]func(*world){
		"the answer is lost": func(w *world) { w.to.Lose("POST /_snapshot/*/s/_restore", 1) },
		"the worker stops":   func(w *world) { w.stopDuring("GET /*/_recovery") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.prepared()
			request := w.restoreRequest(w.snapshot("s"))
			disturb(w)
			_, err := do[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
			if err != nil {
				w.stop = make(chan struct{})
				require.Equal(t, 5, must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request).Shards)
			}
			require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 1)
		})
	}
}

func TestRestoreWaitsForAnother(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Refuse("POST /_snapshot/*/s/_restore", 3, http.StatusServiceUnavailable,
		"concurrent_snapshot_execution_exception", "Restore process is already running in this cluster")
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 4)
}

// On 5.x a failed shard holds the slot until its index is deleted.
func TestShardThatFailsIsAnErrorAndItsIndexIsRestoredAgain(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.FailShard("movies", "disk gone", 5)
	w.to.FailShard("movies", "FileAlreadyExistsException[_22g.si]", 5)
	refused(w, migration.ErrorRestoreFailed, w.activities.RestoreSnapshot, request, "[movies][0]",
		"FileAlreadyExistsException", "twice", "deleted on the target, so that retry restores them again: movies")
	require.False(t, w.to.Has("movies"))
	require.True(t, w.to.Has("catalog"))

	must[any](w, w.activities.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2})
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	opened := must[migration.OpenResult](w, w.activities.OpenTarget, w.request())
	require.Equal(t, int64(3), opened.Counters["movies"].Docs)
}

// One corrupted recovery parks no frozen window.
func TestRestoreThatFailsOnceIsRepeatedByItself(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	w.to.FailShard("movies", "checksum failed", 5)
	w.restored(w.snapshot("t"))
	require.Len(t, w.to.Requests("POST /_snapshot/*/t/_restore"), 2)
	require.Equal(t, []string{"DELETE /movies"}, w.to.Requests("DELETE /*"))
	now := must[migration.OpenResult](w, w.activities.OpenTarget, w.request()).Counters
	require.NotEqual(t, opened.Counters["movies"].UUID, now["movies"].UUID)
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2, Expected: now})
}

// On 5.x a lost shard of an earlier attempt holds the slot that this one waits for.
func TestRestoreIsNotKeptFromBeginningByItsOwnLostShard(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.FailShard("movies", "disk gone", 5)
	w.stopDuring("GET /_cluster/state/routing_table/*")
	passes(w, retryWorkerStopping, w.activities.RestoreSnapshot, request)
	w.stop = make(chan struct{})
	require.NoError(t, clientOf(w, onTarget).DeleteIndices(t.Context(), []string{"catalog"}))
	sleeps := 0
	w.onSleep = func() {
		if sleeps++; sleeps == 1000 {
			close(w.stop)
		}
	}
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
}

// A late attempt of an earlier round, when the target has moved on.
func TestRestoreNeverTakesTheTargetBack(t *testing.T) {
	for _, later := range []string{"movies-r0001-a2", "movies-r0002-a1"} {
		t.Run(later, func(t *testing.T) {
			w := newWorld(t)
			w.prepared()
			request := w.restoreRequest(w.snapshot("movies-r0001-a1"))
			must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
			require.NoError(t, w.from.Index("movies", "dune"))
			w.round(later)
			before := w.text()
			refused(w, migration.ErrorRefused, w.activities.RestoreSnapshot, request, later,
				"never restores an older one over it")
			require.Equal(t, before, w.text())
		})
	}
}

// A workflow that was reset to an earlier round counts from there, so the name of what the target
// has says that it is later. When the source took it tells.
func TestAResetRunRestoresOverWhatWasTakenBefore(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.round("movies-r0003-a1")
	require.NoError(t, w.from.Index("movies", "dune"))
	request := w.restoreRequest(w.snapshot("movies-r0002-a2"))
	// The history has it that the indices were closed, but then the old run's restore opened them.
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.Contains(t, w.text(), "dune")
}

// And when it is handed over: whatever its indices were restored from, they take writes now.
func TestRestoreClosesNoIndexThatTakesWrites(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	old := w.restoreRequest(w.snapshot("s"))
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, old)
	last := w.restoreRequest(w.snapshot("t"))
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, last)
	must[any](w, w.activities.OpenTargetForWrites, migration.HandoverRequest{Run: w.run, Indices: w.indices()})
	require.NoError(t, w.to.Index("movies", "written after the cutover"))
	before := w.text()
	refused(w, migration.ErrorTargetOpened, w.activities.RestoreSnapshot, old, "open for writes")
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, last) // nothing to do
	w.to.RestartNode()
	refused(w, migration.ErrorTargetOpened, w.activities.RestoreSnapshot, last, "open for writes")
	require.Contains(t, before, "written after the cutover")
	require.True(t, w.to.IsOpen("movies"))
}

// The target tells at once that the primaries are there: many looks would slow down the restore.
func TestTheEndOfARestoreIsWaitedForByTheTarget(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Looks = 2
	var waits []string
	w.to.On("GET /_cluster/health/*", 1, func(_ http.ResponseWriter, r *http.Request) bool {
		waits = append(waits, r.URL.Query().Get("wait_for_active_shards"))
		return false
	})
	began, looked := w.clock, len(w.to.Requests("GET /_cluster/state/routing_table/*"))
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.Equal(t, began, w.clock)
	require.Len(t, w.to.Requests("GET /_cluster/state/routing_table/*"), looked+2)
	primaries := 0
	for _, index := range request.Indices {
		primaries += index.Shards
	}
	require.Equal(t, []string{strconv.Itoa(primaries)}, waits)
}

// A front end may drop what the target is to wait for, and replicas count as active shards, too.
func TestAnAnswerThatSaysNothingNewIsFollowedByAPause(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Looks = 6
	answers := 0
	w.to.On("GET /_cluster/health/*", 100, func(answer http.ResponseWriter, _ *http.Request) bool {
		answers++
		_, _ = answer.Write([]byte(`{"status":"green","timed_out":false}`))
		return true
	})
	began := w.clock
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.GreaterOrEqual(t, w.clock.Sub(began), time.Duration(answers/2)*restorePace.next)
	require.GreaterOrEqual(t, answers, 4)
}

// An index that was created again between list and snapshot may have other shards. It would never have
// as many as are waited for.
func TestRestoreFindsOtherShardsThanWereListed(t *testing.T) {
	for _, off := range []int{-1, 1} {
		w := newWorld(t)
		w.prepared()
		request := w.restoreRequest(w.snapshot("s"))
		request.Indices[0].Shards += off
		refused(w, migration.ErrorSnapshotFailed, w.activities.RestoreSnapshot, request,
			request.Indices[0].Name, "created again")
	}
}

// From 6.2 on a shard with corrupt data is not tried again; between two attempts any shard may look
// like that for a moment.
func TestShardThatNoNodeTakesAgain(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.FailShard("movies", "CorruptIndexException[checksum failed]", 1)
	w.to.FailShard("movies", "CorruptIndexException[checksum failed]", 1)
	refused(w, migration.ErrorRestoreFailed, w.activities.RestoreSnapshot, request, "after 1 attempts",
		"checksum failed")
	require.Greater(t, len(w.to.Requests("GET /_cluster/state/routing_table/*")), patientLooks, "it was given time")
}

// From 6.2 on the restore of a shard that no node takes has failed: disks that are too full, say.
// Nothing is gained by waiting.
func TestShardThatNoNodeTakesAtAll(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	full := map[string]string{
		"disk_threshold":      "the node is above the low watermark cluster setting",
		"restore_in_progress": "shard has failed to be restored from the snapshot",
	}
	w.to.RefuseShard("movies", full)
	w.to.RefuseShard("movies", full)
	began := w.clock
	refused(w, migration.ErrorRestoreFailed, w.activities.RestoreSnapshot, request, "[movies][0] primary is on no node",
		"the node is above the low watermark cluster setting", "twice")
	require.Less(t, w.clock.Sub(began), time.Minute)
	require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 2)
}

// Before 6.2 it is restored as soon as a node takes it, so it is waited for, and the reason is shown.
func TestShardThatNoNodeTakesYet(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.RefuseShard("movies", map[string]string{"disk_threshold": "the node is above the low watermark"})
	began := w.clock
	refused(w, migration.ErrorRestoreFailed, w.activities.RestoreSnapshot, request, "no progress for 10m0s",
		"the node is above the low watermark")
	require.GreaterOrEqual(t, w.clock.Sub(began), standstillOfRestore)
	require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 1)
}

func TestRestoreThatIsRefusedSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Refuse("POST /_snapshot/*/s/_restore", 9, http.StatusInternalServerError, "snapshot_restore_exception",
		"cannot restore index [movies] with [5] shard from snapshot with [2] shards")
	refused(w, migration.ErrorRefused, w.activities.RestoreSnapshot, request, "with [5] shard")
}

// Between the close and the restore, somebody created the index.
func TestRestoreOverwritesNothingOfOthers(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Create("movies", 2, nil)
	refused(w, migration.ErrorTargetOpened, w.activities.RestoreSnapshot, request, "movies")
	require.True(t, w.to.IsOpen("movies"))
}

// A round closes what the last one left open.
func TestRestoreClosesWhatAnEarlierRoundLeftOpen(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.round("s")
	require.NoError(t, w.from.Index("movies", "dune"))
	require.Equal(t, int64(100), w.restored(w.snapshot("t")).BytesRestored)
}

func TestRestoreThatMakesNoHeadwayAsksForHelp(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Looks = 1_000_000
	w.onSleep = func() { w.to.LosePrimary("movies") }
	refused(w, migration.ErrorRestoreFailed, w.activities.RestoreSnapshot, request, "no progress for 10m",
		"[movies][0] primary is on no node")
	require.True(t, w.to.Has("movies"), "nothing is deleted for that")
}

func TestIndexThatVanishesWhileItIsRestored(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.During("GET /_cluster/state/routing_table/*", func() {
		require.NoError(t, clientOf(w, onTarget).DeleteIndices(t.Context(), []string{"movies"}))
	})
	passes(w, retryInternal, w.activities.RestoreSnapshot, request)
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
}

func TestTargetThatSomebodyWroteTo(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	removeBlock(w, onTarget, "movies")
	require.NoError(t, w.to.Index("movies", "alien"))

	request := migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters}
	refused(w, migration.ErrorTargetWritten, w.activities.CloseTarget, request,
		"movies (it lacks the write block; 1 operations and 3 documents")
	require.True(t, w.to.IsOpen("movies"))
	require.True(t, w.to.IsOpen("catalog"), "all or nothing")

	// A look at the target sets no block: the index might be handed over.
	refused(w, migration.ErrorTargetOpened, w.activities.OpenTarget, w.request(), "open for writes: movies")
	require.Empty(t, w.to.Setting("movies", "index.blocks.write"))
	require.NoError(t, clientOf(w, onTarget).BlockWrites(t.Context(), []string{"movies"}))
	request.Expected = must[migration.OpenResult](w, w.activities.OpenTarget, w.request()).Counters
	refused(w, migration.ErrorTargetWritten, w.activities.CloseTarget, request, "movies")

	request.AcceptWrites = true
	must[any](w, w.activities.CloseTarget, request)
	require.False(t, w.to.IsOpen("movies"))
}

func TestCloseTargetLeavesOthersIndicesAlone(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"open":   func(w *world) {},
		"closed": func(w *world) { w.to.SetOpen("movies", false) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.to.Create("movies", 1, nil)
			prepare(w)
			before := w.text()
			request := migration.CloseRequest{Run: w.run, Indices: both2, AcceptWrites: true}
			refused(w, migration.ErrorRefused, w.activities.CloseTarget, request, "movies", "did not restore it")
			require.Equal(t, before, w.text())
		})
	}
	w := newWorld(t)
	w.to.Create("other", 1, nil)
	w.to.AddAlias("other", "movies")
	refused(w, migration.ErrorRefused, w.activities.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2},
		"alias", "movies")
}

// The restore of a round succeeded, but the workflow never heard of it: the counters that it knows
// are those of the round before.
func TestCloseTargetKnowsALaterRestoreOfOurs(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	require.NoError(t, w.from.Index("movies", "dune"))
	w.restored(w.snapshot("t"))
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2,
		Expected: opened.Counters,
	})
}

func TestCloseTargetAfterARestartOfTheTarget(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	w.to.RestartNode()
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2,
		Expected: opened.Counters,
	})
}

// An automatic snapshot of the vendor's holds the index.
func TestCloseTargetWaitsForASnapshotOfTheTarget(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	w.to.Refuse("POST /*/_close", 2, http.StatusBadRequest, "illegal_argument_exception",
		"Cannot close indices that are being snapshotted: [[movies/x]]. Try again after snapshot finishes or cancel "+
			"the currently running snapshot.")
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2,
		Expected: opened.Counters,
	})
	require.Len(t, w.to.Requests("POST /*/_close"), 3)
}

// A restore was abandoned, and a shard of it failed when nobody looked: on 5.x it would hold its
// index and the slot for ever.
func TestCloseTargetEndsAnAbandonedRestoreThatIsStuck(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.FailShard("movies", "disk gone", 5)
	w.stopDuring("GET /_cluster/state/routing_table/*")
	passes(w, retryWorkerStopping, w.activities.RestoreSnapshot, request)
	w.stop = make(chan struct{})

	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2, Begun: both2,
		InDoubt: true,
	})
	require.False(t, w.to.Has("movies"))
	require.True(t, w.to.Has("catalog"))
	require.Len(t, w.to.Requests("DELETE /*"), 1)
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
}

// OSS quotes the id of a key that it refuses, and the cluster quotes OSS, to a worker that has
// never registered the repository too.
func TestTheRepositorysKeyIsHiddenOnEveryWorker(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.activities.cluster = newClusters(testKeys).get // another process
	why := "OSSException[The OSS Access Key Id is disabled. [ResponseError]: <Error><OSSAccessKeyId>" + clusterKeyID +
		"</OSSAccessKeyId></Error>]"
	w.to.FailShard("movies", why, 5)
	w.to.FailShard("movies", why, 5)
	refused(w, migration.ErrorRestoreFailed, w.activities.RestoreSnapshot, request)
}

// A restore that is asked to open and count gives what OpenTarget would.
func TestRestoreOpensAndCounts(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	request.Open = &migration.OpenAfterRestore{}
	restored := must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.NotNil(t, restored.Opened)
	require.Equal(t, must[migration.OpenResult](w, w.activities.OpenTarget,
		migration.OpenRequest{IndicesRequest: w.request()}), *restored.Opened)
}

// What fails after the restore is left to OpenTarget, which says why: the restore has succeeded.
func TestRestoreThatCannotCountHasRestored(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	request.Open = &migration.OpenAfterRestore{}
	w.to.On("POST /*/_refresh", 1, func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusForbidden)
		return true
	})
	restored := must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.Nil(t, restored.Opened)
	require.Equal(t, 5, restored.Shards)
}

// The target reads its repository to say whether it sees the snapshot. What is to be restored is found
// at the same time, since writers may be waiting.
func TestARestoreLooksAtBothAtOnce(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	taken := w.snapshot("s")
	looked := make(chan struct{})
	w.to.On("GET /_snapshot/*/s", 1, func(http.ResponseWriter, *http.Request) bool {
		select { // the other look must not wait for this answer
		case <-looked:
		case <-t.Context().Done():
		}
		return false
	})
	w.to.On("GET /*/_settings", 1, func(http.ResponseWriter, *http.Request) bool {
		close(looked)
		return false
	})
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, w.restoreRequest(taken))
}
