package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// askedWorld is what becomes of final snapshots that the look at the blocked source asks for.
type askedWorld struct {
	// becomes says it of the nth; none is asked for if it is nil.
	becomes func(n int) migration.AskedAhead
	// offered are the names under which it may ask.
	offered []string
}

func (w *world) askedAhead(in migration.GuardRequest) migration.AskedAhead {
	if w.becomes == nil || in.Look == nil || in.Look.Snapshot == "" {
		return migration.NotAsked
	}
	w.offered = append(w.offered, in.Look.Snapshot)
	return w.becomes(len(w.offered))
}

// newAskedWorld has the look ask for final snapshots, which become one thing after the other.
func newAskedWorld(t *testing.T, become ...migration.AskedAhead) *world {
	w := newWorld(t)
	w.joined = true
	w.becomes = func(n int) migration.AskedAhead { return become[min(n, len(become))-1] }
	return w
}

// finals are the requests for snapshots of the final round.
func (w *world) finals() (requests []migration.SnapshotRequest) {
	for _, r := range w.taken {
		if turn, ok := migration.TurnOf("movies", r.Snapshot); ok && turn.Round == 2 {
			requests = append(requests, r)
		}
	}
	return requests
}

// What the look has asked for is waited for, copied and restored.
func TestTheFinalSnapshotIsAskedForByTheLook(t *testing.T) {
	w := newAskedWorld(t, migration.AskedFor)
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, []string{finalSnapshot}, w.offered)
	finals := w.finals()
	require.Len(t, finals, 1)
	require.Equal(t, finalSnapshot, finals[0].Snapshot)
	require.True(t, finals[0].Asked)
	require.False(t, finals[0].New)
	require.Empty(t, w.stopped)
	require.Equal(t, finalSnapshot, w.restored[len(w.restored)-1])
	for _, r := range w.taken[:len(w.taken)-1] {
		require.False(t, r.Asked, "only the final one")
	}
}

// Of a snapshot that is void, the name is spent. It is stopped before the repositories are unregistered.
// The answer of an older worker means the same.
func TestAFinalSnapshotThatWasAskedForInVain(t *testing.T) {
	for _, became := range []migration.AskedAhead{migration.AskedInVain, ""} {
		w := newAskedWorld(t, became)
		w.usualRequests()
		w.on[migration.ActivityUnregisterRepositories] = func(int) error {
			assert.Equal(t, []string{finalSnapshot}, w.stopped)
			return nil
		}
		w.run()
		w.completed()
		finals := w.finals()
		require.Len(t, finals, 1)
		require.Equal(t, "movies-r0002-a2", finals[0].Snapshot)
		require.False(t, finals[0].Asked)
		require.True(t, finals[0].New)
		require.False(t, finals[0].AtOnce)
		require.Equal(t, 1, w.called(migration.ActivityUnregisterRepositories))
	}
}

// If the source has refused the request, the round asks under the same name.
func TestAFinalSnapshotThatWasNotAskedFor(t *testing.T) {
	w := newAskedWorld(t, migration.NotAsked)
	w.usualRequests()
	w.run()
	w.completed()
	finals := w.finals()
	require.Len(t, finals, 1)
	require.Equal(t, finalSnapshot, finals[0].Snapshot)
	require.False(t, finals[0].Asked)
	require.True(t, finals[0].New)
	require.True(t, finals[0].AtOnce)
	require.Empty(t, w.stopped)
}

// A window that ends while the look asks, or while the snapshot runs, leaves one that is older than the
// next round's marks. No round may take it for its own.
func TestASnapshotOfAWindowThatEndsIsNotUsedLater(t *testing.T) {
	removed := migration.GuardAnswer{RunID: thisRun, Phase: migration.GuardRemoved, Cause: "because"}
	for name, test := range map[string]struct {
		ends   func(*world)
		within int // requests for the snapshot in the window
	}{
		// The workflow hears of both in one task, so that no request for the snapshot begins.
		"while the look asks": {ends: func(w *world) {
			w.after[migration.ActivityBlockSource] = func(n int) {
				if n == 1 {
					w.guardSays(removed)
				}
			}
		}},
		"while it runs": {within: 1, ends: func(w *world) {
			w.during(migration.ActivityTakeSnapshot, 3, func() { w.guardSays(removed) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAskedWorld(t, migration.AskedFor, migration.NotAsked)
			test.ends(w)
			w.at(20*time.Minute, migration.RequestFreeze)
			w.at(50*time.Minute, migration.RequestRound)
			w.at(80*time.Minute, migration.RequestAbort)
			w.run()
			w.aborted()
			require.Equal(t, finalSnapshot, w.offered[0])
			require.Equal(t, finalSnapshot, w.stopped[0])
			finals := w.finals()
			require.Greater(t, len(finals), test.within)
			for _, r := range finals[:test.within] {
				require.Equal(t, finalSnapshot, r.Snapshot)
				require.True(t, r.Asked)
			}
			for _, r := range finals[test.within:] {
				require.NotEqual(t, finalSnapshot, r.Snapshot)
				require.False(t, r.Asked)
			}
		})
	}
}

// After hooks the source is looked at once more. What is asked for before would lack what they let
// through.
func TestNothingIsAskedForBeforeAHookAfterTheBlock(t *testing.T) {
	w := newAskedWorld(t, migration.AskedFor)
	w.plan = hooked(w.plan, hookKinds[0], migration.HookAfterBlock)
	registerHooks(w.env, w.fakes)
	w.usualRequests()
	w.run()
	w.completed()
	require.Empty(t, w.offered)
	finals := w.finals()
	require.Len(t, finals, 1)
	require.False(t, finals[0].Asked)
	require.Equal(t, finalSnapshot, finals[0].Snapshot)
}

// An index that was created while the block was set begins the look again. The snapshot lacks it.
func TestAnIndexThatEscapedTheBlockMakesTheSnapshotVoid(t *testing.T) {
	w := newAskedWorld(t, migration.AskedFor)
	w.after[migration.ActivityBlockSource] = func(n int) {
		if n == 1 {
			w.change(func() { w.indices = append(w.indices, migration.Index{Name: "late", UUID: "u-late", Shards: 1}) })
		}
	}
	w.usualRequests()
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	require.Equal(t, []string{finalSnapshot}, w.offered, "only the first snapshot of the round")
	require.Equal(t, []string{finalSnapshot}, w.stopped)
	finals := w.finals()
	require.Len(t, finals, 1)
	require.Equal(t, "movies-r0002-a2", finals[0].Snapshot)
	require.False(t, finals[0].Asked)
}

// A guard that gives no answer may have asked.
func TestNoAnswerMeansThatTheSnapshotMayBeThere(t *testing.T) {
	w := newAskedWorld(t, migration.AskedFor)
	w.fails(migration.ActivityBlockSource, 1, migration.ErrorRefused)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(30*time.Minute, migration.RequestRetry)
	w.at(50*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	finals := w.finals()
	require.Len(t, finals, 1)
	require.Equal(t, "movies-r0002-a2", finals[0].Snapshot)
	require.Equal(t, []string{finalSnapshot}, w.stopped)
}

// An abort stops what the look has asked for, also while nobody waits for it yet.
func TestAnAbortStopsTheSnapshotThatTheLookHasAskedFor(t *testing.T) {
	w := newAskedWorld(t, migration.AskedFor)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.during(migration.ActivityTakeSnapshot, 3, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.run()
	w.aborted()
	require.Equal(t, []string{finalSnapshot}, w.stopped)
}

// Where the final round may be cut into groups, each of these has its own snapshot.
func TestGroupsAreNotAskedForByTheLook(t *testing.T) {
	for groups, offered := range map[int][]string{1: {finalSnapshot}, 2: nil} {
		w := newAskedWorld(t, migration.AskedFor)
		inGroups(w, groups)
		w.run()
		w.completed()
		require.Equal(t, offered, w.offered)
	}
}

// Runs of an older shape ask for it themselves.
func TestOlderRunsAskForTheFinalSnapshotThemselves(t *testing.T) {
	w := newAskedWorld(t, migration.AskedFor)
	w.env.OnGetVersion("shape", workflow.Version(shapeFirst),
		workflow.Version(newestShape)).Return(workflow.Version(shapeEarly))
	w.usualRequests()
	w.run()
	w.completed()
	require.Empty(t, w.offered)
	require.Len(t, w.finals(), 1)
}
