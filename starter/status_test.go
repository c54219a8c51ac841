package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

func TestStatus(t *testing.T) {
	withCopy := inRounds(t)
	withCopy.Step, withCopy.WaitsFor = "copy the snapshot to OSS", ""
	withCopy.Next, withCopy.NextRoundMillis = []string{"starter freeze movies"}, 0
	for name, test := range map[string]struct {
		moment moment
		code   int
		setup  func(*fakeTemporal)
	}{
		"rounds": {moment{status: inRounds(t)}, exitOK, nil},
		"copying": {moment{status: withCopy, activities: []*workflowpb.PendingActivityInfo{copying(t, "7", 1229*mib,
			3)}}, exitOK, nil},
		"attention":   {moment{status: inNeed(t)}, exitAttention, nil},
		"verified":    {moment{status: verified(t)}, exitOK, nil},
		"no-worker":   {moment{taskAttempt: 1}, exitAttention, func(f *fakeTemporal) { f.pollers = nil }},
		"stuck":       {moment{taskAttempt: 12}, exitAttention, nil},
		"wrong-queue": {moment{queue: "snap-ferry"}, exitAttention, nil},
		"completed": {
			moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED},
			exitOK,
			func(f *fakeTemporal) { f.report = completedReport() },
		},
		"late": {
			moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED},
			exitLate,
			func(f *fakeTemporal) { f.report = lateReport() },
		},
		"aborted": {moment{state: enums.WORKFLOW_EXECUTION_STATUS_FAILED}, exitAborted, func(f *fakeTemporal) {
			f.result = temporal.NewApplicationErrorWithOptions("aborted", string(migration.ErrorAborted),
				temporal.ApplicationErrorOptions{Details: []any{abortedReport()}})
		}},
		"terminated": {
			moment{state: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED},
			exitAborted,
			func(f *fakeTemporal) { f.result = &temporal.TerminatedError{} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := newFake(t, test.moment)
			if test.setup != nil {
				test.setup(fake)
			}
			c := newConsole(t, fake)
			out, errs := c.run(test.code, "status", "movies")
			require.Empty(t, errs)
			golden.Equal(t, "testdata/status-"+name+".txt", out)
			require.Contains(t, out, "\nNext: ", "every output ends with what makes sense now")

			out, _ = c.run(test.code, "status", "movies", "-o", "json")
			require.True(t, json.Valid([]byte(out)), "nothing but JSON")
		})
	}
}

// Whoever waits for the end learns that writes are missing on the target: by a code of its own, and
// by name. The code of an aborted migration comes before it.
func TestTheExitCodeTellsOfLateIndices(t *testing.T) {
	require.Equal(t, 8, exitLate, "scripts rely on it")
	c := func() *console {
		fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
		fake.report = lateReport()
		return newConsole(t, fake)
	}
	for _, command := range []string{"status", "watch", "report"} {
		out, errs := c().run(exitLate, command, "movies")
		require.Empty(t, errs)
		require.Contains(t, out, "\nNext: starter report", command)
		if command != "watch" {
			text := strings.Join(strings.Fields(out), " ")
			require.Contains(t, text, "On the source after the cutover", command)
			require.Contains(t, text, "index logs-2 appeared after the cutover had begun: its 12 documents are "+
				"missing on the target. It is blocked now", command)
			require.Contains(t, text, "2 more", command)
		}
		out, _ = c().run(exitLate, command, "movies", "-o", "json")
		require.Contains(t, out, `"logs-2"`, command)
	}
	aborted := abortedReport()
	aborted.Late = lateReport().Late
	fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_FAILED})
	fake.result = temporal.NewApplicationErrorWithOptions("aborted", string(migration.ErrorAborted),
		temporal.ApplicationErrorOptions{Details: []any{aborted}})
	out, _ := newConsole(t, fake).run(exitAborted, "status", "movies")
	require.Contains(t, out, "logs-2")
}

// Whoever reads a status or a report learns which indices stay on the source.
func TestIndicesThatStayOnTheSourceAreNamed(t *testing.T) {
	apart := &migration.NotHot{Warm: []string{"logs-1"}, LeftOut: true}
	const says = "in UltraWarm storage, so no round takes them: logs-1."
	running := inRounds(t)
	running.NotHot = apart
	ended := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	report := completedReport()
	report.NotHot = apart
	ended.report = report
	for name, out := range map[string]func() string{
		"running": func() string {
			out, _ := newConsole(t, newFake(t, moment{status: running})).run(exitOK, "status", "movies")
			return out
		},
		"ended":  func() string { out, _ := newConsole(t, ended).run(exitOK, "status", "movies"); return out },
		"report": func() string { out, _ := newConsole(t, ended).run(exitOK, "report", "movies"); return out },
	} {
		text := strings.Join(strings.Fields(out()), " ")
		require.Contains(t, text, "Left on the source", name)
		require.Contains(t, text, says, name)
	}
}

// Programs read the status itself, with what Temporal knows beside it.
func TestStatusAsJSON(t *testing.T) {
	fake := newFake(t,
		moment{status: verified(t), activities: []*workflowpb.PendingActivityInfo{copying(t, "7", mib, 2)}})
	out, _ := newConsole(t, fake).run(exitOK, "status", "movies", "-o", "json")
	var status migration.Status
	require.NoError(t, json.Unmarshal([]byte(out), &status))
	require.Equal(t, *verified(t), status)
	var beside struct{ Execution execution }
	require.NoError(t, json.Unmarshal([]byte(out), &beside))
	require.Equal(t, "running", beside.Execution.State)
	require.Equal(t, mib, beside.Execution.Activities[0].Progress.BytesDone)
	require.Equal(t, "Throttled: OSS answers 503 SlowDown", beside.Execution.Activities[0].LastFailure)
}

func TestAMigrationHasThreeNames(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	c := newConsole(t, fake)
	byName, _ := c.run(exitOK, "status", "movies")
	byID, _ := c.run(exitOK, "status", "-w", "migration/movies")
	byPlan, _ := c.run(exitOK, "status", "-f", minimal)
	byLongName, _ := c.run(exitOK, "status", "migration/movies")
	require.Equal(t, byName, byID)
	require.Equal(t, byName, byPlan)
	require.Equal(t, byName, byLongName)
}

// Somebody started it from the UI with an id of their own: the commands that are shown must reach
// it.
func TestCommandsReachAnotherWorkflowID(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.id = "my first migration"
	out, _ := newConsole(t, fake).run(exitOK, "status", "-w", "my first migration")
	require.Contains(t, out, "Next: starter freeze -w 'my first migration'\n  or: starter round -w 'my first "+
		"migration'\n")
}

func TestAGuardOfAnEarlierMigrationIsNotTakenForThisOnes(t *testing.T) {
	ours, earlier := migration.TokenOf("run-1"), migration.TokenOf("run-0")
	removed := migration.GuardStatus{
		WorkflowID: "migration/movies", Token: ours, Phase: migration.GuardRemoved,
		Cause: "the migration is no longer running (Terminated)", Ended: "Terminated",
	}
	fake := newFake(t, moment{status: inRounds(t)})
	fake.guard = &removed
	out, _ := newConsole(t, fake).run(exitOK, "status", "movies")
	require.Contains(t, out, "It has removed the write block from the source: the migration is no longer running "+
		"(Terminated).\n")

	removed.Token = earlier
	out, _ = newConsole(t, fake).run(exitOK, "status", "movies")
	require.NotContains(t, out, "write block", "that was an earlier migration's")

	holding := removed
	holding.Phase, holding.Cause = migration.GuardWatching, ""
	fake.guard = &holding
	out, _ = newConsole(t, fake).run(exitOK, "status", "movies")
	require.Contains(t, out, "It serves an earlier run of this plan. A frozen window is open.")
}
