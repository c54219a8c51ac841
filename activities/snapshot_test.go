package activities

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func (w *world) snapshotRequest(name string) migration.SnapshotRequest {
	return migration.SnapshotRequest{Run: w.run, Snapshot: name, Indices: both2}
}

func TestSnapshotIsAskedForWithExactlyTheIndices(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	require.Equal(t,
		[]string{`{"indices":"catalog,movies","ignore_unavailable":false,"include_global_state":false,"partial":false}`}, w.from.Bodies("PUT /_snapshot/*/s"))
}

// The vendor's own snapshot holds the only slot for a while.
func TestSnapshotWaitsForItsTurnAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.HoldSlot(3)
	var seen migration.Progress
	w.onSleep = func() {
		seen = w.awaitHeartbeat(func(p migration.Progress) bool { return p.Waiting != "" })
	}
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	require.Contains(t, seen.Waiting, "cs-automated")
	require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 4)
}

func TestSnapshotWhoseAnswerIsLostIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Lose("PUT /_snapshot/*/s", 1)
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 1)
}

// The answer is lost, and the repository's listing is behind: the second request meets the first
// one's snapshot.
func TestSnapshotThatExistsAlreadyIsOurs(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Lose("PUT /_snapshot/*/s", 1)
	w.from.Refuse("GET /_snapshot/*/s", 2, http.StatusNotFound, "snapshot_missing_exception", "[s] is missing")
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 2)
}

// A gateway gave up, and the request never arrived.
func TestSnapshotThatNeverBeganIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Refuse("PUT /_snapshot/*/s", 1, http.StatusGatewayTimeout, "", "")
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 2)
}

func TestOnlyAWholeSnapshotIsOne(t *testing.T) {
	for _, state := range []string{"PARTIAL", "FAILED"} {
		w := newWorld(t)
		w.prepared()
		w.from.EndNextAs(state, "disk gone")
		refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, w.snapshotRequest("s"), state,
			"[catalog][0]: disk gone")
		// A second attempt at the same name meets the same snapshot.
		refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, w.snapshotRequest("s"), state)
		require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 1)
	}
}

// 7.x and later refuse at once what earlier versions end as FAILED.
func TestSnapshotWithoutAPrimaryNeedsAnotherOne(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Refuse("PUT /_snapshot/*/s", 1, http.StatusInternalServerError, "snapshot_exception",
		"[r:s/u] Indices don't have primary shards [movies]")
	refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, w.snapshotRequest("s"),
		"don't have primary shards [movies]")
}

// After one that failed, a snapshot is asked for as soon as all primaries are there.
func TestSnapshotWaitsForPrimaries(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.LosePrimary("movies")
	request := w.snapshotRequest("s")
	request.PrimariesMillis = time.Hour.Milliseconds()
	sleeps := 0
	w.onSleep = func() {
		if sleeps++; sleeps == 3 {
			require.Empty(t, w.from.Requests("PUT /_snapshot/*/s"))
			w.from.FindPrimary("movies")
		}
	}
	began := w.clock
	must[migration.Snapshot](w, w.activities.TakeSnapshot, request)
	require.Less(t, w.clock.Sub(began), time.Minute)
	require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 1)
}

// A primary that doesn't come back keeps nobody waiting: the snapshot says what is missing.
func TestSnapshotWaitsForPrimariesNoLongerThanItIsTold(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.LosePrimary("movies")
	w.from.EndNextAs("FAILED", "primary shard is not allocated")
	request := w.snapshotRequest("s")
	request.PrimariesMillis = time.Minute.Milliseconds()
	began := w.clock
	refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, request, "primary shard is not allocated")
	require.GreaterOrEqual(t, w.clock.Sub(began), time.Minute)
	require.Less(t, w.clock.Sub(began), 2*time.Minute)
}

func TestSnapshotThatLeavesAnIndexOutIsNone(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.During("GET /_snapshot/*/_status", func() { w.from.Forget("movies") })
	refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, w.snapshotRequest("s"), "missing: movies")
}

func TestSnapshotOfAnIndexThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.snapshotRequest("s")
	request.Indices = []string{"movies", "gone"}
	refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, request, "gone")
	require.True(t, migration.ErrorSnapshotFailed.TakesNewSnapshot(), "which resolves the indices again")
}

func TestIndexThatVanishesWhileTheSlotIsAwaited(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.HoldSlot(3)
	w.onSleep = func() { _ = clientOf(w, onSource).DeleteIndices(t.Context(), []string{"catalog"}) }
	refused(w, migration.ErrorSnapshotFailed, w.activities.TakeSnapshot, w.snapshotRequest("s"), "catalog")
}

func TestSnapshotWithoutARepositoryThatCanBeRegistered(t *testing.T) {
	w := newWorld(t)
	w.from.Refuse("PUT /_snapshot/*", 100, http.StatusForbidden, "", "iam:PassRole")
	refused(w, migration.ErrorUnauthorized, w.activities.TakeSnapshot, w.snapshotRequest("s"), "register repository")
}

// Amazon may not allow _status; the snapshot goes on without it.
func TestSnapshotWithoutProgress(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	asked := []string{"GET /_snapshot/*/_status", "GET /_snapshot/*/s/_status"}
	for _, request := range asked {
		w.from.Refuse(request, 100, http.StatusForbidden, "", "not allowed")
	}
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	for _, request := range asked {
		require.Len(t, w.from.Requests(request), 1, "it doesn't ask again")
	}
}

func TestSnapshotPassesOnWhatPasses(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Refuse("GET /_snapshot/*/s", 1, http.StatusServiceUnavailable, "", "")
	passes(w, retryUnavailable, w.activities.TakeSnapshot, w.snapshotRequest("s"))
}

func TestAbortSnapshot(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	must[any](w, w.activities.AbortSnapshot, w.snapshotRequest("never begun"))

	// A worker took it half way and was cancelled.
	w.from.Looks = 1_000_000
	_, err := do[any](w, func(ctx context.Context, in migration.SnapshotRequest) (migration.Snapshot, error) {
		ctx, cancel := context.WithCancel(ctx)
		w.from.During("GET /_snapshot/*/_status", cancel)
		return w.activities.TakeSnapshot(ctx, in)
	}, w.snapshotRequest("s"))
	require.Error(t, err)
	require.Equal(t, "IN_PROGRESS", w.from.Snapshot(w.run.RepositoryName(), "s"))

	w.from.Lose("DELETE /_snapshot/*/s", 1)
	must[any](w, w.activities.AbortSnapshot, w.snapshotRequest("s"))
	require.Empty(t, w.from.Snapshot(w.run.RepositoryName(), "s"))
}
