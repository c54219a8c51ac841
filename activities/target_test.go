package activities

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// replace puts somebody else's index, with a document, in the place of ours.
func (w *world) replace(name string, blocked, open bool) {
	w.t.Helper()
	require.NoError(w.t, clientOf(w, onTarget).DeleteIndices(w.t.Context(), []string{name}))
	w.to.Create(name, 2, nil)
	require.NoError(w.t, w.to.Index(name, "precious"))
	if blocked {
		require.NoError(w.t, clientOf(w, onTarget).BlockWrites(w.t.Context(), []string{name}))
	}
	w.to.SetOpen(name, open)
}

// Somebody else's index is nobody's to overwrite, whatever its state, whoever accepts writes, and
// however little is known of the last restore.
func TestSomebodyElsesIndexIsNeverClosed(t *testing.T) {
	for state, put := range map[string]func(*world){
		"open":               func(w *world) { w.replace("movies", false, true) },
		"open and blocked":   func(w *world) { w.replace("movies", true, true) },
		"closed":             func(w *world) { w.replace("movies", false, false) },
		"closed and blocked": func(w *world) { w.replace("movies", true, false) },
	} {
		for name, change := range map[string]func(*migration.CloseRequest){
			"at the first restore":       func(in *migration.CloseRequest) { in.Expected = nil },
			"after a restore":            func(*migration.CloseRequest) {},
			"with the writes accepted":   func(in *migration.CloseRequest) { in.AcceptWrites = true },
			"with the restore in doubt":  func(in *migration.CloseRequest) { in.InDoubt = true },
			"in doubt and with a person": func(in *migration.CloseRequest) { in.InDoubt, in.AcceptWrites = true, true },
		} {
			t.Run(state+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.prepared()
				request := migration.CloseRequest{Run: w.run, Indices: both2, Expected: w.round("s").Counters}
				put(w)
				change(&request)
				before := w.text()
				refused(w, migration.ErrorRefused, w.activities.CloseTarget, request, "movies", "did not restore it")
				require.Equal(t, before, w.text())
			})
		}
	}
}

// A closed index tells nothing of its shards: its UUID, or the memory that it was absent before,
// has to do.
func TestClosedIndexThatIsOurs(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	request := migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters}
	must[any](w, w.activities.CloseTarget, request)
	must[any](w, w.activities.CloseTarget, request)
	refused(w, migration.ErrorRefused, w.activities.CloseTarget,
		migration.CloseRequest{Run: w.run, Indices: both2, InDoubt: true})
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2, Begun: both2,
		InDoubt: true,
	})
}

// That the end of a restore was not seen is no leave to throw writes away.
func TestWritesCountWhileARestoreIsInDoubt(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := migration.CloseRequest{Run: w.run, Indices: both2, Expected: w.round("s").Counters, InDoubt: true}
	require.NoError(t, w.from.Index("movies", "dune"))
	w.restored(w.snapshot("t"))
	removeBlock(w, onTarget, "movies")
	require.NoError(t, w.to.Index("movies", "written"))
	refused(w, migration.ErrorTargetWritten, w.activities.CloseTarget, request,
		"movies (it lacks the write block; 1 operations")
	require.True(t, w.to.IsOpen("catalog"), "all or nothing")
	request.AcceptWrites = true
	must[any](w, w.activities.CloseTarget, request)
	require.False(t, w.to.IsOpen("movies"))
}

// A restore whose end was not seen, and then a restart of the target.
func TestRestoreInDoubtAndARestartOfTheTarget(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := migration.CloseRequest{Run: w.run, Indices: both2, Expected: w.round("s").Counters}
	require.NoError(t, w.from.Index("movies", "dune"))
	w.restored(w.snapshot("t"))
	w.to.RestartNode()
	refused(w, migration.ErrorTargetWritten, w.activities.CloseTarget, request, "movies (0 operations and 4 documents")
	request.InDoubt = true
	must[any](w, w.activities.CloseTarget, request)
	require.False(t, w.to.IsOpen("movies"))
}

// A restore that was given up still runs: its shards have no counters yet.
func TestCloseTargetWhileARestoreRunsOn(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Looks = 6
	w.stopDuring("GET /_cluster/state/routing_table/*")
	passes(w, retryWorkerStopping, w.activities.RestoreSnapshot, request)
	w.stop = make(chan struct{})
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2, Begun: both2,
		InDoubt: true,
	})
	require.False(t, w.to.IsOpen("movies"))
	require.Empty(t, w.to.Requests("DELETE /*"))
}

// An index failed in a restore and was restored again, so that it has another UUID than expected,
// and the workflow never heard of that.
func TestIndexThatWasRestoredAgainUnseen(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	require.NoError(t, clientOf(w, onTarget).DeleteIndices(t.Context(), []string{"movies"}))
	request := w.restoreRequest(w.snapshot("t"))
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)

	// Two attempts, of which the first's end is not seen.
	again := migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters, InDoubt: true}
	must[any](w, w.activities.CloseTarget, again)
	must[any](w, w.activities.CloseTarget, again)
	require.False(t, w.to.IsOpen("catalog"))
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	now := must[migration.OpenResult](w, w.activities.OpenTarget, w.request()).Counters
	require.NotEqual(t, opened.Counters["movies"].UUID, now["movies"].UUID)
	require.Equal(t, opened.Counters["catalog"].UUID, now["catalog"].UUID)
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2, Expected: now})
	require.True(t, w.to.Has("movies"))
}

// Shards that start between the look at the routing table and the one at the recoveries are still
// seen in one of them.
func TestShardsThatStartBetweenTwoLooks(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	w.to.Looks = 1
	w.to.Lose("POST /_snapshot/*/s/_restore", 1)
	first := true
	w.to.On("GET /*/_recovery", 100, func(rw http.ResponseWriter, _ *http.Request) bool {
		if !first {
			return false
		}
		first = false
		_, _ = clientOf(w, onTarget).Recovery(t.Context(), both2) // the shards start right after the answer was made
		_, _ = rw.Write([]byte("{}"))
		return true
	})
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 1)
}
