package activities

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// A run that was reset asks for a snapshot under a name that the run before it has used already.
// That snapshot is older than the marks of this run: with it, what was written between would never
// be carried.
func TestTheSnapshotOfARunThatWasResetIsNotAdopted(t *testing.T) {
	w := newChangedWorld(t)
	require.NoError(t, w.from.Index("movies", "before"))
	request := migration.SnapshotRequest{
		Run: w.run, Snapshot: "movies-r0001-a1", Indices: []string{"movies"}, New: true,
	}
	first := must[migration.Snapshot](w.world, w.activities.TakeSnapshot, request)
	require.False(t, first.Earlier)

	require.NoError(t, w.from.Index("movies", "alien")) // then the run is reset to before its marks
	found := w.find(w.request)
	require.Equal(t, []string{"movies"}, found.Taking.Names())
	require.True(t, must[migration.Snapshot](w.world, w.activities.TakeSnapshot, request).Earlier)

	request.New = false // the same run asks once more, after its step has failed
	require.Equal(t, first, must[migration.Snapshot](w.world, w.activities.TakeSnapshot, request))
}

// To look whether the snapshot is there makes the source read its repository, while writers wait. The
// answer to the request says the same.
func TestASnapshotIsAskedForAtOnce(t *testing.T) {
	for atOnce, before := range map[bool]int{true: 0, false: 1} {
		w := newWorld(t)
		w.prepared()
		request := w.snapshotRequest("s")
		request.New, request.AtOnce = true, atOnce
		looks := -1
		w.from.During("PUT /_snapshot/*/s", func() { looks = len(w.from.Requests("GET /_snapshot/*/s")) })
		require.False(t, must[migration.Snapshot](w, w.activities.TakeSnapshot, request).Earlier)
		require.Equal(t, before, looks)
	}
}

// What was refused was never asked for: a snapshot that turns up under the name while the request
// waits for the slot is from before a reset.
func TestASnapshotThatHeldTheSlotIsNotAdopted(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		w := newChangedWorld(t)
		request := migration.SnapshotRequest{
			Run: w.run, Snapshot: "movies-r0001-a1", Indices: []string{"movies"}, New: true, AtOnce: atOnce,
		}
		before := request
		before.New = false
		w.from.Refuse("PUT /_snapshot/*/movies-r0001-a1", 1, http.StatusServiceUnavailable,
			"concurrent_snapshot_execution_exception", "a snapshot is already running")
		w.onSleep = func() { // the other run's ends
			w.onSleep = nil
			require.NoError(t, clientOf(w.world, onSource).CreateSnapshot(t.Context(), w.run.RepositoryName(),
				request.Snapshot, request.Indices))
		}
		require.True(t, must[migration.Snapshot](w.world, w.activities.TakeSnapshot, request).Earlier)
		require.False(t, must[migration.Snapshot](w.world, w.activities.TakeSnapshot, before).Earlier)
	}
}

// Once the answer is lost, what is there under the name is what was asked for, if nothing was there
// before. Without a look nobody knows, and the round takes another name.
func TestANewSnapshotWhoseAnswerIsLost(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		w := newWorld(t)
		w.prepared()
		w.from.Lose("PUT /_snapshot/*/s", 1)
		request := w.snapshotRequest("s")
		request.New, request.AtOnce = true, atOnce
		require.Equal(t, atOnce, must[migration.Snapshot](w, w.activities.TakeSnapshot, request).Earlier)
		require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 1)
	}
}

// So the snapshot of a run before a reset is not taken for this one's, although the answer is lost.
func TestTheSnapshotOfARunThatWasResetIsNotAdoptedWithoutAnAnswer(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		w := newWorld(t)
		w.prepared()
		w.snapshot("s")
		request := w.snapshotRequest("s")
		request.New, request.AtOnce = true, atOnce
		w.from.Lose("PUT /_snapshot/*/s", 1)
		require.True(t, must[migration.Snapshot](w, w.activities.TakeSnapshot, request).Earlier)
	}
}

// An index that is closed after a round has found its indices holds no round up: the snapshot
// refuses it, and the next attempt leaves it out.
func TestAnIndexThatIsClosedHasNoMarks(t *testing.T) {
	w := newChangedWorld(t)
	request := w.request
	request.Run, request.Indices = w.run, w.indices()
	w.from.SetOpen("movies", false)
	found := must[migration.Changed](w.world, w.activities.FindChanged, request)
	require.Contains(t, found.Taking.Names(), "movies")
	for _, because := range found.Because {
		require.Equal(t, migration.ReasonUnknown, because.Reason)
	}
}

// A rollover moves an alias's write index to another index. If the snapshot holds only that one, the
// target refuses it, and no repetition of the same restore helps (seen with 7.10.2).
func TestARestoreOfOneOfTwoWriteIndicesNeedsAnotherSnapshot(t *testing.T) {
	w := newChangedWorld(t)
	taken := must[migration.Snapshot](w.world, w.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: "movies-r0001-a1", Indices: []string{"movies"}})
	w.s3.Copy(w.oss)
	w.to.Refuse("POST /_snapshot/*/*/_restore", 1, http.StatusInternalServerError, "illegal_state_exception",
		"alias [logs] has more than one write index [movies,catalog]")
	refused(w.world, migration.ErrorSnapshotFailed, w.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: taken, Indices: w.indices()[1:]}, "write index")
}

// Without a registration nothing was asked for either: what is there once the repository is
// registered again is from before a reset.
func TestASnapshotFoundAfterARegistrationIsNotAdopted(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		w := newChangedWorld(t)
		request := migration.SnapshotRequest{
			Run: w.run, Snapshot: "movies-r0001-a1", Indices: []string{"movies"}, New: true, AtOnce: atOnce,
		}
		require.False(t, must[migration.Snapshot](w.world, w.activities.TakeSnapshot, request).Earlier)
		require.NoError(t, clientOf(w.world, onSource).DeleteRepository(t.Context(), w.run.RepositoryName()))
		require.True(t, must[migration.Snapshot](w.world, w.activities.TakeSnapshot, request).Earlier)
	}
}
