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
