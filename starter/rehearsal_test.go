package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// aRehearsal is a server with a rehearsal at these moments of its life.
func aRehearsal(t *testing.T, moments ...moment) *fakeTemporal {
	fake := newFake(t, moments...)
	fake.id = "rehearsal/movies"
	return fake
}

func rehearsing(t *testing.T) *migration.Status {
	status := inRounds(t)
	status.WorkflowID, status.Plan.Rehearsal, status.Phase = "rehearsal/movies", true, migration.PhaseRehearse
	status.Step, status.WaitsFor, status.Next, status.NextRoundMillis = "compare the target with the source", "", nil, 0
	status.Rehearsal = foundSomething()
	return status
}

func foundSomething() *migration.Rehearsal {
	return &migration.Rehearsal{
		Window: &migration.FrozenWindow{
			Millis: 9450, BlockMillis: 600, SnapshotMillis: 2100, CopyMillis: 850,
			RestoreMillis: 3200, VerifyMillis: 2700,
		},
		Footprint: &migration.Footprint{
			TargetBytes: 5 << 30, TargetBytesAfterCutover: 10 << 30, S3Bytes: 6 << 30,
			OSSBytes: 6 << 30,
		},
		Attention: []migration.Attention{{
			Step:        "check clusters, buckets, versions and indices",
			Type:        "PreflightFailed",
			Message:     "index movies exists on the target already",
			Remedy:      migration.ErrorPreflight.RemedyIn(migration.PhaseRounds),
			SinceMillis: at(time.Hour), Failures: 1,
		}},
	}
}

func rehearsedReport() migration.Report {
	report := completedReport()
	report.Result, report.WorkflowID, report.FrozenWindow = migration.ResultRehearsed, "rehearsal/movies", nil
	report.Indices[0].Equal, report.Indices[0].Moved = false, true
	report.Rehearsal = foundSomething()
	return report
}

func TestStartRehearses(t *testing.T) {
	fake := aRehearsal(t, moment{status: rehearsing(t)})
	c := newConsole(t, fake)
	out, _ := c.run(exitOK, "start", "-f", minimal, "--rehearse")
	golden.Equal(t, "testdata/start-rehearse.txt", out)
	require.Equal(t, "rehearsal/movies", fake.started.ID)
	require.True(t, strings.HasPrefix(fake.started.StaticSummary, "rehearsal of "))
	require.Contains(t, fake.started.StaticDetails, "It blocks no write")
	require.NotContains(t, fake.started.StaticDetails, "cutover")
	wire, err := json.Marshal(fake.input)
	require.NoError(t, err)
	var input migration.Input
	require.NoError(t, json.Unmarshal(wire, &input))
	plan, err := input.Plan()
	require.NoError(t, err)
	require.True(t, plan.Rehearsal)
	plan.Rehearsal = false
	require.Equal(t, moviesPlan(t), plan, "nothing else of the plan is changed")

	out, _ = c.run(exitOK, "start", "-f", minimal, "--rehearse", "--print-cli")
	require.Contains(t, out, "--workflow-id rehearsal/movies")
	require.Contains(t, out, `"rehearsal": true`)
	require.Contains(t, out, "starter watch rehearsal/movies")
}

func TestStatusOfARehearsal(t *testing.T) {
	fake := aRehearsal(t, moment{status: rehearsing(t)})
	out, _ := newConsole(t, fake).run(exitOK, "status", "rehearsal/movies")
	golden.Equal(t, "testdata/status-rehearsal.txt", out)
	for _, arguments := range [][]string{{"-w", "rehearsal/movies"}, {"-w", "rehearsal/movies", "-o", "json"}} {
		newConsole(t, fake).run(exitOK, append([]string{"status"}, arguments...)...)
	}
	_, errs := newConsole(t, fake).run(exitNotFound, "status", "movies")
	require.Contains(t, errs, "there is no migration movies")
}

func TestWatchOfARehearsal(t *testing.T) {
	before := rehearsing(t)
	before.Rehearsal = &migration.Rehearsal{}
	fake := aRehearsal(t, moment{status: before}, moment{status: rehearsing(t)},
		moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake.report = rehearsedReport()
	out, _ := newConsole(t, fake).run(exitAttention, "watch", "rehearsal/movies")
	golden.Equal(t, "testdata/watch-rehearsal.txt", out)
	require.Equal(t, 1, strings.Count(out, "would have needed attention: "), "once")
}

func TestReportOfARehearsal(t *testing.T) {
	fake := aRehearsal(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake.report = rehearsedReport()
	out, _ := newConsole(t, fake).run(exitAttention, "report", "rehearsal/movies")
	require.Contains(t, out, "Rehearsal movies\nRehearsed to the end: one thing would have needed attention.")
	out, _ = newConsole(t, fake).run(exitAttention, "status", "rehearsal/movies")
	golden.Equal(t, "testdata/status-rehearsed.txt", out)

	fake.report.Rehearsal.Attention = nil
	newConsole(t, fake).run(exitOK, "report", "rehearsal/movies")
	fake.report.Rehearsal.EndedIn = migration.PhaseBaseline
	newConsole(t, fake).run(exitAttention, "report", "rehearsal/movies")
}

// Both would change the same throttles.
func TestARehearsalAndItsMigrationDontRunAtOnce(t *testing.T) {
	_, errs := newConsole(t, newFake(t, moment{status: inRounds(t)})).run(exitFailed, "start", "-f", minimal,
		"--rehearse")
	require.Contains(t, errs, "the migration of this plan is running (workflow migration/movies)")
	require.Contains(t, errs, "Next: starter status movies")
	_, errs = newConsole(t, aRehearsal(t, moment{status: rehearsing(t)})).run(exitFailed, "start", "-f", minimal)
	require.Contains(t, errs, "the rehearsal of this plan is running (workflow rehearsal/movies)")

	over := aRehearsal(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	newConsole(t, over).run(exitOK, "start", "-f", minimal)
	require.Equal(t, "migration/movies", over.started.ID)
}
