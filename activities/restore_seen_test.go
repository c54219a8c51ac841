package activities

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// In the frozen window the restore is asked for beside the look. What is restored is the snapshot that
// was copied, or nothing.
func TestARestoreInTheWindowDoesNotWaitForTheLook(t *testing.T) {
	newFrozen := func(t *testing.T) (*world, migration.RestoreRequest) {
		w := newWorld(t)
		w.prepared()
		request := w.restoreRequest(w.snapshot("s"))
		request.Frozen = true
		return w, request
	}
	t.Run("the restore comes first", func(t *testing.T) {
		w, request := newFrozen(t)
		asked := make(chan struct{})
		w.to.During("POST /_snapshot/*/s/_restore", func() { close(asked) })
		w.to.During("GET /_snapshot/*/s", func() { <-asked })
		must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
		require.True(t, w.to.Has("movies"))
	})
	t.Run("it is another one", func(t *testing.T) {
		w, request := newFrozen(t)
		right := request.Snapshot.UUID
		request.Snapshot.UUID = "another"
		asked := make(chan struct{})
		w.to.During("POST /_snapshot/*/s/_restore", func() { close(asked) })
		w.to.During("GET /_snapshot/*/s", func() { <-asked })
		refused(w, migration.ErrorRepository, w.activities.RestoreSnapshot, request, "another snapshot of that name")
		require.False(t, w.to.Has("movies"), "nobody may take it for the right one")
		request.Snapshot.UUID = right
		must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
		require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 2)
	})
	t.Run("it is not seen yet", func(t *testing.T) {
		w, request := newFrozen(t)
		refusedOnce := make(chan struct{})
		w.to.On("POST /_snapshot/*/s/_restore", 1, func(answer http.ResponseWriter, _ *http.Request) bool {
			defer close(refusedOnce)
			answer.WriteHeader(http.StatusInternalServerError)
			_, err := io.WriteString(answer, `{"error":{"type":"snapshot_restore_exception",
				"reason":"snapshot does not exist"},"status":500}`)
			return err == nil
		})
		w.to.During("GET /_snapshot/*/s", func() { <-refusedOnce })
		must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
		require.Len(t, w.to.Requests("POST /_snapshot/*/s/_restore"), 2)
	})
	t.Run("it is never seen", func(t *testing.T) {
		w, request := newFrozen(t)
		request.Snapshot.Name = "t"
		refused(w, migration.ErrorRepository, w.activities.RestoreSnapshot, request, "doesn't see it")
	})
}

// restoringOf is a restore of a snapshot whose look has ended.
func restoringOf(w *world, snapshot migration.Snapshot, looked *sighting) *restoring {
	looked.done = make(chan struct{})
	close(looked.done)
	return &restoring{
		Activities: w.activities, client: clientOf(w, onTarget), repository: w.run.RepositoryName(),
		in: w.restoreRequest(snapshot), pulse: &pulse{}, seen: looked,
	}
}

// What the look has found before the restore is asked for counts, and while a place is waited for.
func TestNothingIsRestoredOnceTheLookHasFailed(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	s := w.snapshot("s")
	for name, looked := range map[string]*sighting{
		"it is not seen":    {err: errors.New("not seen")},
		"it is another one": {err: errors.New("another one"), other: true},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, restoringOf(w, s, looked).beginSeen(t.Context(), []string{"movies"}), looked.err)
			require.Empty(t, w.to.Requests("POST /_snapshot/*/*/_restore"))
		})
	}
	another := &sighting{err: errors.New("another one"), other: true}
	require.ErrorIs(t, restoringOf(w, s, another).begin(t.Context(), []string{"movies"}), another.err)
	require.Empty(t, w.to.Requests("POST /_snapshot/*/*/_restore"))
}

// A worker died when it had restored what another attempt's look finds to be another one.
func TestWhatAnEarlierAttemptHasRestoredOfAnotherIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	s := w.snapshot("s")
	w.restored(s)
	another := &sighting{err: errors.New("another one"), other: true}
	require.ErrorIs(t, restoringOf(w, s, another).beginSeen(t.Context(), nil), another.err)
	require.False(t, w.to.Has("movies") || w.to.Has("catalog"))
}

// A late attempt must not delete what was handed over, or restored from another snapshot since.
func TestOnlyWhatWasRestoredOfThatNameIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	s := w.snapshot("s")
	w.restored(s)
	later := s
	later.Name = "t"
	require.NoError(t, restoringOf(w, later, &sighting{}).disown(t.Context()))
	require.True(t, w.to.Has("movies") && w.to.Has("catalog"))
	w.to.SetSetting("movies", writeBlock, "false")
	require.NoError(t, restoringOf(w, s, &sighting{}).disown(t.Context()))
	require.True(t, w.to.Has("movies"), "it takes writes")
	require.False(t, w.to.Has("catalog"))
}
