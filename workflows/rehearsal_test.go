package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// neverRehearsed block writes, rest on a block, or hand over.
var neverRehearsed = []string{
	migration.ActivityReadSourceBlocks, migration.ActivityBlockSource, migration.ActivityAwaitStandstill,
	migration.ActivityUnblockSource,
	migration.ActivityCheckHandover, migration.ActivityHandOver, migration.ActivityCallWebhook,
}

func (w *world) rehearses() bool { return strings.Contains(w.plan, `"rehearsal": true`) }

// newRehearsal is a world whose plan is rehearsed.
func newRehearsal(t *testing.T) *world {
	w := newWorld(t)
	w.with(`"rehearsal": true`)
	w.thrownAway = map[string]bool{}
	w.verified = migration.VerifyResult{Indices: []migration.IndexResult{
		{Name: "catalog", SourceDocs: 50, TargetDocs: 50, Equal: true},
		{Name: "movies", SourceDocs: 3, TargetDocs: 3, Equal: true},
	}}
	return w
}

func (w *world) registerRehearsal() {
	onlyRehearsed := func(run migration.Run) { assert.True(w.t, run.Plan.Rehearsal, "a migration measures or deletes") }
	register(w, migration.ActivityMeasureFootprint,
		func(r migration.RehearsedIndicesRequest) (migration.Footprint, error) {
			onlyRehearsed(r.Run)
			return migration.Footprint{
				TargetBytes: 1000, TargetBytesAfterCutover: 2000, S3Bytes: 300, OSSBytes: 300,
				S3Objects: 3, OSSObjects: 3,
			}, nil
		})
	register(w, migration.ActivityDeleteRehearsedIndices,
		func(r migration.RehearsedIndicesRequest) (migration.DeletedIndices, error) {
			onlyRehearsed(r.Run)
			names := map[string]bool{}
			for name := range r.Expected {
				names[name] = true
			}
			for _, name := range r.Begun {
				names[name] = true
			}
			var result migration.DeletedIndices
			for name := range w.thrownAway {
				assert.True(w.t, names[name], "index %s isn't known to be the rehearsal's", name)
				delete(w.thrownAway, name)
				result.Deleted++
			}
			return result, nil
		})
	register(w, migration.ActivityDeleteSnapshots, func(run migration.Run) (migration.DeletedSnapshots, error) {
		onlyRehearsed(run)
		assert.True(w.t, w.registered, "snapshots are deleted through the repository")
		result := migration.DeletedSnapshots{Deleted: len(w.inS3), LeftObjects: 3, LeftBytes: 700}
		w.inS3 = nil
		return result, nil
	})
	register(w, migration.ActivityDeleteCopies, func(run migration.Run) (migration.DeletedCopies, error) {
		onlyRehearsed(run)
		assert.Positive(w.t, w.n[migration.ActivityUnregisterRepositories], "the target may read what is deleted")
		w.inOSS = false
		return migration.DeletedCopies{Objects: 3}, nil
	})
}

// rehearsed asserts the end of a rehearsal: a report, and nothing that is left.
func (w *world) rehearsed() migration.Report {
	w.t.Helper()
	require.NoError(w.t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(w.t, w.env.GetWorkflowResult(&report))
	require.Equal(w.t, migration.ResultRehearsed, report.Result)
	require.NotNil(w.t, report.Rehearsal)
	require.Nil(w.t, report.FrozenWindow, "there was none")
	w.nothingLeft()
	return report
}

func (w *world) nothingLeft() {
	w.t.Helper()
	w.untouched()
	require.Empty(w.t, w.thrownAway)
	require.Empty(w.t, w.inS3)
	require.False(w.t, w.inOSS)
	require.False(w.t, w.registered)
}

func (w *world) attention(report migration.Report) string {
	var texts []string
	for _, a := range report.Rehearsal.Attention {
		require.NotEmpty(w.t, a.Step)
		require.NotEmpty(w.t, a.Remedy)
		require.Positive(w.t, a.SinceMillis)
		texts = append(texts, a.Type+": "+a.Message)
	}
	return strings.Join(texts, "\n")
}

func TestARehearsalGoesThroughByItself(t *testing.T) {
	w := newRehearsal(t)
	w.written = 5
	var standing []string
	w.after[migration.ActivityTakeSnapshot] = func(int) {
		w.change(func() { standing = append(standing, string(w.throttles.Snapshot)) })
	}
	began := w.env.Now()
	w.run()
	require.Less(t, w.env.Now().Sub(began), time.Minute, "it waits for nobody and for no interval")
	report := w.rehearsed()
	require.Equal(t, []string{migration.RoundBaseline, migration.RoundIncremental, migration.RoundRehearsed},
		kinds(report))
	require.Equal(t, []string{"", "4gb", "4gb"}, standing, "the window's throttles, as a migration has them")
	require.Equal(t, w.snapshots, w.restored)
	r := report.Rehearsal
	require.Empty(t, r.Attention)
	require.Empty(t, r.EndedIn)
	require.NotNil(t, r.Window)
	require.Positive(t, r.Window.BlockMillis)
	require.GreaterOrEqual(t, r.Window.Millis, r.Window.BlockMillis)
	require.Equal(t, int64(2000), r.Footprint.TargetBytesAfterCutover)
	require.NotNil(t, report.Prediction)
	require.Len(t, report.Indices, 2)
	require.True(t, report.Indices[0].Moved, "each look finds more writes")
	require.Equal(t, []string{"S3: 3 objects (700 B) below from-bucket/snapferry/movies/" + migration.TokenOf("") +
		"/. Elasticsearch leaves them in a repository without snapshots, and the worker's key can't delete them. " +
		"Delete that folder."}, report.Remains)
	order := w.calls[len(w.calls)-6:]
	require.Equal(t, []string{
		migration.ActivityRestoreThrottles, migration.ActivityDeleteRehearsedIndices, migration.ActivityDeleteSnapshots,
		migration.ActivityUnregisterRepositories, migration.ActivityDeleteRehearsedIndices,
		migration.ActivityDeleteCopies,
	}, order)
}

// The hot round and the pages of a large delta are rehearsed as well.
func TestARehearsalRunsTheHotRound(t *testing.T) {
	w := newRehearsal(t)
	w.withFreeze(`"hotRound": "always"`)
	w.pages = []migration.CopyPage{{Blobs: 2, Bytes: 100}, {Blobs: 1, Bytes: 50}}
	w.run()
	require.Equal(t, []string{
		migration.RoundBaseline, migration.RoundIncremental, migration.RoundHot,
		migration.RoundRehearsed,
	}, kinds(w.rehearsed()))
}

// What preflight finds on the target's names stops no rehearsal, and is told.
func TestARehearsalTellsWhatAMigrationWouldStumbleOver(t *testing.T) {
	w := newRehearsal(t)
	w.problems = []string{"index movies exists on the target already", "catalog is an alias on the target"}
	w.verified.Indices[0].Equal, w.verified.Indices[0].Differences = false, []string{"shard 0 has 3 documents on the " +
		"source and 2 on the target"}
	w.verified.Metadata = map[string][]string{"movies": {"setting index.codec is \"x\" on the source and not set on " +
		"the target"}}
	w.slot = migration.FreeSlot{Obstacles: []string{"cs-automated-1 runs on the source"}}
	w.run()
	report := w.rehearsed()
	require.NotNil(t, report.Rehearsal.Window)
	text := w.attention(report)
	for _, says := range []string{
		"PreflightFailed: index movies exists", "PreflightFailed: catalog is an alias",
		"Differs: movies: setting index.codec",
		"VerificationFailed: index catalog is not equal, although nothing was written to it on the source since the " +
			"snapshot: shard 0",
	} {
		require.Contains(t, text, says)
	}
	require.NotContains(t, text, "may be the cause")
	require.Contains(t, strings.Join(report.Warnings, "|"),
		"a migration would wait up to 1h until no other snapshot is in the way: cs-automated-1 runs on the source")
	require.NotContains(t, strings.Join(report.Warnings, "|"), "writes were blocked")
}

// Indices that took writes may differ.
func TestARehearsalDoesNotMindThatTheSourceMovesOn(t *testing.T) {
	w := newRehearsal(t)
	w.written = 1
	w.verified.Indices[1] = migration.IndexResult{
		Name: "movies", SourceDocs: 4, TargetDocs: 3,
		Differences: []string{"a search finds 4 and 3"},
	}
	w.verified.Metadata = map[string][]string{"movies": {"the mappings differ"}}
	w.run()
	report := w.rehearsed()
	require.Equal(t, "Differs: movies: the mappings differ (it was written on the source since the snapshot, which "+
		"may be the cause)", w.attention(report))
	require.False(t, report.Indices[1].Equal)
	require.True(t, report.Indices[1].Moved)
}

// Each activity fails for good at each of its calls: whatever it is, the rehearsal ends with a
// report that says so, and leaves nothing that it could remove.
func TestEachActivityOfARehearsalFails(t *testing.T) {
	dispensable := []string{
		migration.ActivityReadThrottles, migration.ActivitySetThrottles, migration.ActivityAwaitFreeSlot,
		migration.ActivityMeasureFootprint, migration.ActivityTryDefinitions, migration.ActivityTryHandover,
		migration.ActivityCheckShardLimit,
	}
	cleaning := []string{
		migration.ActivityRestoreThrottles, migration.ActivityDeleteRehearsedIndices, migration.ActivityDeleteSnapshots,
		migration.ActivityUnregisterRepositories, migration.ActivityDeleteCopies,
	}
	course := newRehearsal(t)
	course.run()
	course.rehearsed()
	for name, calls := range course.n {
		for call := 1; call <= calls; call++ {
			t.Run(fmt.Sprintf("%s, call %d", name, call), func(t *testing.T) {
				w := newRehearsal(t)
				w.failsFrom(name, call, migration.ErrorRefused)
				w.run()
				if name == migration.ActivityAwaitShards || name == migration.ActivityCopyShards {
					require.Empty(t, w.rehearsed().Rehearsal.Attention, "what isn't copied early is copied later")
					return
				}
				if slices.Contains(cleaning, name) {
					require.NoError(t, w.env.GetWorkflowError())
					var report migration.Report
					require.NoError(t, w.env.GetWorkflowResult(&report))
					require.NotNil(t, report.Rehearsal.Window)
					require.Contains(t, strings.Join(append(report.Remains, report.Warnings...), "\n"), name+" failed")
					for _, step := range cleaning {
						require.Positive(t, w.called(step), "%s is done anyway", step)
					}
					return
				}
				report := w.rehearsed()
				require.Contains(t, w.attention(report), fmt.Sprintf("%s: %s failed", migration.ErrorRefused, name))
				goesOn := slices.Contains(dispensable, name)
				if name == migration.ActivityResolveIndices {
					// The last look only judges what differs; all others but those that foresee
					// begin a round.
					goesOn = call == calls
				}
				if goesOn {
					require.Empty(t, report.Rehearsal.EndedIn)
					require.NotNil(t, report.Rehearsal.Window)
					require.Empty(t, report.Error)
				} else {
					require.NotEmpty(t, report.Rehearsal.EndedIn)
					require.Nil(t, report.Rehearsal.Window)
					require.Contains(t, report.Error, "could not get past phase "+string(report.Rehearsal.EndedIn))
				}
			})
		}
	}
}

// failsFrom makes an activity fail for good from its nth call on.
func (w *world) failsFrom(name string, first int, errorType migration.ErrorType) {
	w.fails(name, 1000, errorType)
	fail := w.on[name]
	w.on[name] = func(n int) error {
		if n < first {
			return nil
		}
		return fail(n)
	}
}

// What a person's retry would fix is tried once more, and no more than once.
func TestARehearsalTriesOnceMore(t *testing.T) {
	for _, tt := range []struct {
		activity string
		failure  migration.ErrorType
	}{
		{migration.ActivityCopySnapshot, migration.ErrorSnapshotUnusable},
		{migration.ActivityRestoreSnapshot, migration.ErrorRestoreFailed},
		{migration.ActivityCloseTarget, migration.ErrorTargetWritten},
	} {
		t.Run(string(tt.failure), func(t *testing.T) {
			w := newRehearsal(t)
			w.fails(tt.activity, 1, tt.failure)
			w.run()
			report := w.rehearsed()
			require.Contains(t, w.attention(report), string(tt.failure)+": "+tt.activity+" failed (1)")
			require.NotNil(t, report.Rehearsal.Window)

			w = newRehearsal(t)
			w.fails(tt.activity, 1000, tt.failure)
			w.run()
			require.Equal(t, migration.PhaseBaseline, w.rehearsed().Rehearsal.EndedIn)
			require.Equal(t, 2, w.n[tt.activity])
		})
	}
}

// A rehearsal takes a failed snapshot again as often as its migration would. What a migration would
// need no person for is nothing that would have needed attention.
func TestARehearsalTakesAFailedSnapshotAgain(t *testing.T) {
	w := newRehearsal(t)
	w.fails(migration.ActivityTakeSnapshot, len(pausesBefore), migration.ErrorSnapshotFailed)
	w.run()
	report := w.rehearsed()
	require.Empty(t, report.Rehearsal.Attention)
	require.Len(t, report.Failed, len(pausesBefore))
	require.NotNil(t, report.Rehearsal.Window)

	w = newRehearsal(t)
	w.fails(migration.ActivityTakeSnapshot, 1000, migration.ErrorSnapshotFailed)
	w.run()
	report = w.rehearsed()
	require.Equal(t, migration.PhaseBaseline, report.Rehearsal.EndedIn)
	require.Equal(t, len(pausesBefore)+1, w.n[migration.ActivityTakeSnapshot])
	require.Contains(t, w.attention(report), string(migration.ErrorSnapshotFailed))
}

// rehearsalPhases are places in every phase of a rehearsal.
var rehearsalPhases = []struct {
	phase    migration.Phase
	activity string
	call     int
}{
	{migration.PhasePreflight, migration.ActivityPreflight, 1},
	{migration.PhasePrepare, migration.ActivityEnsureTargetBucket, 1},
	{migration.PhasePrepare, migration.ActivityRegisterRepositories, 1},
	{migration.PhaseBaseline, migration.ActivityTakeSnapshot, 1},
	{migration.PhaseBaseline, migration.ActivityCopySnapshot, 1},
	{migration.PhaseBaseline, migration.ActivityRestoreSnapshot, 1},
	{migration.PhaseRounds, migration.ActivitySetThrottles, 1},
	{migration.PhaseRounds, migration.ActivityRestoreSnapshot, 2},
	{migration.PhaseReady, migration.ActivityAwaitFreeSlot, 1},
	{migration.PhaseRehearse, migration.ActivityTakeSnapshot, 3},
	{migration.PhaseRehearse, migration.ActivityRestoreSnapshot, 3},
	{migration.PhaseRehearse, migration.ActivityVerifyTarget, 1},
	{migration.PhaseRehearse, migration.ActivityMeasureFootprint, 1},
}

func TestAbortAndCancelOfARehearsalLeaveNothing(t *testing.T) {
	for _, place := range rehearsalPhases {
		t.Run(fmt.Sprintf("abort in %s (%s)", place.phase, place.activity), func(t *testing.T) {
			w := newRehearsal(t)
			w.during(place.activity, place.call, func() {
				require.Equal(t, place.phase, w.status().Phase)
				w.env.SignalWorkflow(string(migration.RequestAbort), migration.RequestInput{By: "ann"})
			})
			w.run()
			report := w.aborted()
			w.nothingLeft()
			require.NotNil(t, report.Rehearsal)
			require.Contains(t, report.Error, "by ann")
		})
		t.Run(fmt.Sprintf("cancel in %s (%s)", place.phase, place.activity), func(t *testing.T) {
			w := newRehearsal(t)
			w.during(place.activity, place.call, func() { w.env.CancelWorkflow() })
			w.run()
			require.Error(t, w.env.GetWorkflowError())
			w.nothingLeft()
		})
	}
}

// A cancellation while it removes what it has made begins that again; an abort says that there is
// nothing to abort.
func TestTheCleaningIsNotStopped(t *testing.T) {
	for _, activity := range []string{
		migration.ActivityRestoreThrottles, migration.ActivityDeleteRehearsedIndices, migration.ActivityDeleteSnapshots,
		migration.ActivityUnregisterRepositories, migration.ActivityDeleteCopies,
	} {
		t.Run(activity, func(t *testing.T) {
			w := newRehearsal(t)
			w.during(activity, 1, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
			w.run()
			report := w.rehearsed()
			require.Equal(t, migration.Ignored, report.Decisions[0].Verdict)

			w = newRehearsal(t)
			// a second time: the fake insists on it
			w.on[migration.ActivityDeleteSnapshots] = func(int) error {
				w.change(
					func() { w.registered = true })
				return nil
			}
			w.during(activity, 1, func() { w.env.CancelWorkflow() })
			w.run()
			require.Error(t, w.env.GetWorkflowError())
			w.nothingLeft()
		})
	}
}

// A restore that a killed worker had asked for comes late, when the indices are deleted already: it
// leaves none.
func TestALateRestoreLeavesNothing(t *testing.T) {
	w := newRehearsal(t)
	w.during(migration.ActivityDeleteSnapshots, 1, func() {
		w.change(func() { w.thrownAway["movies"] = true })
	})
	w.run()
	w.rehearsed()
}

func TestRequestsToARehearsalChangeNothing(t *testing.T) {
	for _, place := range rehearsalPhases {
		t.Run(string(place.phase)+" "+place.activity, func(t *testing.T) {
			w := newRehearsal(t)
			w.during(place.activity, place.call, func() {
				for _, request := range []migration.Request{
					migration.RequestFreeze, migration.RequestCutover,
					migration.RequestRound, migration.RequestRetry,
				} {
					w.env.SignalWorkflow(string(request), nil)
				}
			})
			w.run()
			report := w.rehearsed()
			require.Len(t, report.Decisions, 4)
			for _, d := range report.Decisions {
				require.Equal(t, migration.Ignored, d.Verdict)
			}
			require.Len(t, report.Rounds, 3)
		})
	}
}

func TestARehearsalMayBePaused(t *testing.T) {
	w := newRehearsal(t)
	w.during(migration.ActivityTakeSnapshot, 3, func() { w.env.SignalWorkflow(string(migration.RequestPause), nil) })
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.True(t, status.Paused)
		require.Equal(t, "resume", status.WaitsFor)
		require.Contains(t, status.Next[0], "starter resume")
		w.env.SignalWorkflow(string(migration.RequestResume), nil)
	}, time.Hour)
	w.run()
	require.Less(t, w.rehearsed().Rehearsal.Window.Millis, time.Minute.Milliseconds(),
		"the pause is no part of the window")
}

// The status and the page in the Temporal UI say what it is.
func TestTheStatusOfARehearsalSaysSo(t *testing.T) {
	w := newRehearsal(t)
	w.problems = []string{"index movies exists on the target already"}
	var seen migration.Status
	w.during(migration.ActivityDeleteSnapshots, 1, func() { seen = w.status() })
	w.run()
	w.rehearsed()
	require.True(t, seen.Plan.Rehearsal)
	require.Equal(t, migration.PhaseCleanUp, seen.Phase)
	require.Len(t, seen.Rehearsal.Attention, 1)
	require.NotNil(t, seen.Rehearsal.Window)

	page := report.StatusPage(seen, "snapferry-rehearsal-t0ken-*")
	for _, says := range []string{
		"Frozen window to expect", "Would have needed attention", "index movies exists",
		"1000 B on the target's disks",
	} {
		require.Contains(t, page, says)
	}
}

func TestVeryMuchAttentionIsCut(t *testing.T) {
	w := newRehearsal(t)
	for i := range maxAttention + 7 {
		w.problems = append(w.problems, fmt.Sprintf("problem %d %s", i, strings.Repeat("x", 3000)))
	}
	w.problems = append(w.problems, w.problems[0])
	w.run()
	r := w.rehearsed().Rehearsal
	require.Len(t, r.Attention, maxAttention)
	require.Equal(t, 7, r.AttentionOmitted)
	require.Equal(t, 2, r.Attention[0].Failures, "the same twice is one")
	require.Less(t, len(r.Attention[0].Message), longestAttention+10)
}

// A baseline in very many pages fills a history: the rehearsal goes on in the next run, and forgets
// nothing.
func TestARehearsalGoesOnAfterContinueAsNew(t *testing.T) {
	first := newRehearsal(t)
	first.env.SetContinueAsNewSuggested(true)
	first.problems = []string{"index movies exists on the target already"}
	first.env.ExecuteWorkflow(Migration, inputOf(t, first.plan), nil)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, first.env.GetWorkflowError(), &next)
	carried := carriedIn(t, next)
	require.True(t, carried.Rehearsal.Prepared)

	w := newRehearsal(t)
	w.registered, w.published, w.generation = true, carried.Published.UUID, carried.Published.Generation
	w.inS3, w.inOSS, w.thrownAway = first.inS3, true, first.thrownAway
	w.continuedWith(carried)
	report := w.rehearsed()
	require.Len(t, report.Rounds, 3)
	require.Contains(t, w.attention(report), "index movies exists")
}
