package activities

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/snapferry/snapferry/migration"
)

// guarded has a guard of the plan NAME block the index movies as guards do. The guard has ended as
// the status says, and its history has the uuid.
func (w *world) guarded(name, runID, uuid string, status enums.WorkflowExecutionStatus) *recordedRun {
	w.t.Helper()
	run := w.run
	run.Plan.Name, run.Token = name, "dead"+runID
	e := w.temporal.ran(migration.GuardID(name), runID, status)
	e.began(migration.GuardInput{Run: run, WorkflowID: migration.WorkflowID(name), Cluster: w.clusterUUID()})
	movies := migration.SourceIndex{Name: "movies", UUID: uuid}
	e.did(migration.ActivityBlockSource, migration.BlockRequest{Run: run, Indices: []migration.SourceIndex{movies}},
		migration.BlockResult{Blocked: []migration.SourceIndex{movies}})
	w.from.SetSetting("movies", writeBlock, "true")
	return e
}

func (w *world) clusterUUID() string {
	w.t.Helper()
	info, err := clientOf(w, onSource).Info(w.t.Context())
	require.NoError(w.t, err)
	return clusterOf(info, w.run.Plan)
}

func (w *world) uuidOf(name string) string {
	w.t.Helper()
	indices, err := ownBlocksOf(w.t.Context(), clientOf(w, onSource), []string{name})
	require.NoError(w.t, err)
	return indices[0].UUID
}

const warnsOfBlocks = "have index.blocks.write on the source and take no writes: movies"

// A guard that was terminated with its migration has left our block. The next migration, of
// whatever plan, must not take it for the index's own.
func TestPreflightRefusesABlockThatAGuardHasLeft(t *testing.T) {
	for _, status := range []enums.WorkflowExecutionStatus{
		wfTerminated, wfFailed, enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, enums.WORKFLOW_EXECUTION_STATUS_CANCELED,
	} {
		for plan, says := range map[string][]string{
			"movies": {
				"index movies", "guard/movies", "Abort this migration", "starter recover -f movies.yaml",
			},
			"films": {"index movies", "guard/films", "starter recover -f films.yaml"},
		} {
			t.Run(status.String()+" "+plan, func(t *testing.T) {
				w := newWorld(t)
				w.guarded(plan, "1", w.uuidOf("movies"), status)
				w.temporal.ran(migration.WorkflowID("movies"), "run-2", wfRunning) // the one that asks
				before := w.text()
				refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, says...)
				require.Equal(t, before, w.text())
				// A rehearsal blocks nothing, but its migration would be refused.
				rehearsal := w.run
				rehearsal.Plan.Rehearsal = true
				result := must[migration.PreflightResult](w, w.activities.Preflight, rehearsal)
				require.Len(t, result.Problems, 1)
				require.Contains(t, result.Problems[0], says[len(says)-1])
				require.NotContains(t, result.Problems[0], "Abort")
				require.NotContains(t, strings.Join(result.Warnings, "\n"), warnsOfBlocks)

				w.from.SetSetting("movies", writeBlock, "")
				require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
			})
		}
	}
}

// Without evidence the block is the index's own, and preflight says so.
func TestPreflightOnlyWarnsWithoutEvidence(t *testing.T) {
	blocked := func(w *world, plan string) *recordedRun {
		return w.guarded(plan, "1", w.uuidOf("movies"), wfTerminated)
	}
	unblock := func(e *recordedRun) {
		e.did(migration.ActivityUnblockSource,
			migration.UnblockRequest{Indices: []migration.SourceIndex{{Name: "movies"}}}, migration.UnblockResult{})
	}
	recovered := func(w *world, plan string, indices ...string) *recordedRun {
		e := w.temporal.ran(migration.RecoverWorkflowID(plan), "recover-1", wfCompleted)
		e.did(migration.ActivityRemoveRemains, migration.RemoveRemainsRequest{
			RemainsRequest: migration.RemainsRequest{Indices: indices}, Kind: migration.RemainsBlocks,
		}, migration.Removed{Kind: migration.RemainsBlocks, Count: 1})
		return e
	}
	for name, prepare := range map[string]func(w *world, plan string){
		"no guard is known": func(w *world, _ string) { w.from.SetSetting("movies", writeBlock, "true") },
		"the history has expired": func(w *world, plan string) {
			blocked(w, plan).events = nil
		},
		"an index that was created again": func(w *world, plan string) {
			w.guarded(plan, "1", "another-uuid", wfTerminated)
		},
		"the guard has removed it": func(w *world, plan string) { unblock(blocked(w, plan)) },
		"a later guard has removed it": func(w *world, plan string) {
			blocked(w, plan)
			unblock(w.temporal.ran(migration.GuardID(plan), "2", wfCompleted))
		},
		"a later guard runs": func(w *world, plan string) {
			blocked(w, plan)
			w.temporal.ran(migration.GuardID(plan), "2", wfRunning)
		},
		"recover has removed it":     func(w *world, plan string) { blocked(w, plan); recovered(w, plan) },
		"recover removed it by name": func(w *world, plan string) { blocked(w, plan); recovered(w, plan, "mov*") },
		"it was handed over": func(w *world, plan string) {
			e := blocked(w, plan)
			run := w.run
			run.Token = "dead1"
			e.asked(migration.ActivityHandOver, run)
		},
		"nobody was left to hand over": func(w *world, plan string) {
			w.guarded(plan, "1", w.uuidOf("movies"), wfCompleted).completed(
				migration.GuardStatus{Token: "dead1", Phase: migration.GuardHandedOver})
		},
		"the index had the block before": func(w *world, plan string) {
			run := w.run
			run.Token = "dead1"
			own := migration.SourceIndex{
				Name: "movies", UUID: w.uuidOf("movies"), Blocks: map[string]string{writeBlock: "true"},
			}
			e := w.temporal.ran(migration.GuardID(plan), "1", wfTerminated)
			e.began(migration.GuardInput{Run: run, Cluster: w.clusterUUID()})
			e.did(migration.ActivityBlockSource, migration.BlockRequest{
				Run: run, Indices: []migration.SourceIndex{own},
			}, migration.BlockResult{Blocked: []migration.SourceIndex{own}})
			w.from.SetSetting("movies", writeBlock, "true")
		},
		"recover removed another": func(w *world, plan string) { // the evidence stands, see below
			blocked(w, plan)
			recovered(w, plan, "catalog")
		},
	} {
		for _, plan := range []string{"movies", "films"} {
			t.Run(name+" "+plan, func(t *testing.T) {
				w := newWorld(t)
				prepare(w, plan)
				if name == "recover removed another" {
					refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "guard/"+plan)
					return
				}
				warnings := must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0], warnsOfBlocks)
			})
		}
	}
}

// A guard may have left thousands of blocks: preflight names some, and counts the others.
func TestPreflightNamesSomeOfManyLeftBlocks(t *testing.T) {
	w, names := many(t, 300)
	indices, err := ownBlocksOf(t.Context(), clientOf(w, onSource), names)
	require.NoError(t, err)
	run := w.run
	run.Token = "dead"
	e := w.temporal.ran(migration.GuardID("films"), "1", wfTerminated)
	e.began(migration.GuardInput{Run: run, Cluster: w.clusterUUID()})
	e.did(migration.ActivityBlockSource, migration.BlockRequest{Run: run, Indices: indices},
		migration.BlockResult{Blocked: indices})
	for _, name := range names {
		w.from.SetSetting(name, writeBlock, "true")
	}
	failure := refusal(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "index index-0000", "more indices",
		"starter recover -f films.yaml")
	require.Less(t, len(failure.Message()), 16<<10)
	require.LessOrEqual(t, w.temporal.lists, 4)
	require.LessOrEqual(t, w.temporal.histories, 4)
}

// A guard that has ended by itself may have failed to remove its block.
func TestPreflightRefusesABlockThatCouldNotBeRemoved(t *testing.T) {
	w := newWorld(t)
	e := w.guarded("movies", "1", w.uuidOf("movies"), wfCompleted)
	e.did(migration.ActivityUnblockSource,
		migration.UnblockRequest{Indices: []migration.SourceIndex{{Name: "movies"}}},
		migration.UnblockResult{Refused: []migration.Refusal{{Index: "movies"}}})
	e.completed(migration.GuardStatus{Token: "dead1", Phase: migration.GuardRemoved})
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "guard/movies")
}

// A guard of another cluster says nothing of this one, and is not asked further.
func TestAGuardOfAnotherClusterIsNotAsked(t *testing.T) {
	w := newWorld(t)
	e := w.guarded("films", "1", w.uuidOf("movies"), wfTerminated)
	e.began(migration.GuardInput{Run: w.run, Cluster: "another"})
	warnings := must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], warnsOfBlocks)
	require.Equal(t, 1, w.temporal.histories, "only its first event")
}

// Where Temporal does not list, the own plan's guard is known anyway, and of the others preflight
// says what it does not know.
func TestPreflightWithoutVisibility(t *testing.T) {
	w := newWorld(t)
	w.guarded("films", "1", w.uuidOf("movies"), wfTerminated)
	w.temporal.unlisted = errors.New("no visibility")
	warnings := must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], "no visibility")
	require.Contains(t, warnings[1], warnsOfBlocks)
	w.guarded("movies", "2", w.uuidOf("movies"), wfTerminated)
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "guard/movies")
}

// However many guards have ended early, the questions are bounded. Without a block there is none.
func TestPreflightAsksOfFewGuards(t *testing.T) {
	w := newWorld(t)
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Zero(t, w.temporal.lists+w.temporal.histories)
	for i := range 200 {
		w.guarded(fmt.Sprintf("plan-%03d", i), fmt.Sprint(i), "another", wfTerminated)
	}
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.LessOrEqual(t, w.temporal.lists, 3+2*mostOthers)
	require.LessOrEqual(t, w.temporal.histories, longestPast+2*mostOthers)
}

// A run that began before the guard of another plan was terminated meets the block at its freeze.
// It is ours: whoever ends the window removes it.
func TestABlockThatAGuardHasLeftIsNotAnnouncedAsOwn(t *testing.T) {
	for name, known := range map[string]bool{"a guard left it": true, "nobody knows": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g, f := newGuards(w)
			f.guards[w.guardID()] = &fakeGuard{
				status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
				knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching},
			}
			w.temporal.ran(w.guardID(), "own", wfRunning)
			w.from.SetSetting("movies", writeBlock, "true")
			if known {
				w.guarded("films", "1", w.uuidOf("movies"), wfTerminated)
			}
			request := w.guardRequest(migration.AskAnnounce)
			request.Indices = []migration.Index{
				{Name: "movies", UUID: w.uuidOf("movies")}, {Name: "catalog", UUID: w.uuidOf("catalog")},
			}
			answer := must[migration.GuardAnswer](w, g.AskGuard, request)
			call := f.options[0].Args[0].(migration.GuardCall)
			require.Len(t, call.Indices, 2)
			require.Equal(t, "movies", call.Indices[0].Name)
			require.Equal(t, map[string]string{writeBlock: "false"}, call.Indices[1].Blocks)
			if !known {
				require.Equal(t, map[string]string{writeBlock: "true"}, call.Indices[0].Blocks)
				require.Empty(t, answer.Warnings)
				return
			}
			require.Empty(t, call.Indices[0].Blocks)
			require.Len(t, answer.Warnings, 1)
			require.Contains(t, answer.Warnings[0], "guard/films")
			require.Contains(t, answer.Warnings[0], "movies")
		})
	}
}
