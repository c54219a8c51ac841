package migration_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestARehearsalSharesNothingWithItsMigration(t *testing.T) {
	plan := migration.Plan{Name: "movies"}
	plan.Source.Repository.BasePath, plan.Target.Repository.BasePath = "a", "b"
	real := migration.Run{Plan: plan, Token: "0f3c9a71"}
	plan.Rehearsal = true
	rehearsed := migration.Run{Plan: plan, Token: "77777777"}
	require.Equal(t, "migration/movies", real.Plan.WorkflowID())
	require.Equal(t, "rehearsal/movies", rehearsed.Plan.WorkflowID())
	require.Equal(t, "snapferry-movies-0f3c9a71", real.RepositoryName())
	require.Equal(t, "snapferry-rehearsal-movies-77777777", rehearsed.RepositoryName())
	require.NotEqual(t, real.SourceBasePath(), rehearsed.SourceBasePath())
	require.NotEqual(t, real.TargetBasePath(), rehearsed.TargetBasePath())
}

func TestThrowAwayNames(t *testing.T) {
	run := migration.Run{Plan: migration.Plan{Name: "movies"}, Token: "0f3c9a71"}
	require.Equal(t, "logs", run.TargetIndex("logs"))
	require.Equal(t, "snapferry-rehearsal-0f3c9a71-logs", run.SourceIndex("snapferry-rehearsal-0f3c9a71-logs"))
	pattern, replacement := run.RestoreRename()
	require.Empty(t, pattern+replacement)

	run.Plan.Rehearsal = true
	pattern, replacement = run.RestoreRename()
	for _, name := range []string{
		"logs", ".kibana", "logs-2026.01.01", "a$b", "snapferry-rehearsal-0f3c9a71-logs",
		"größe", strings.Repeat("n", 200),
	} {
		renamed := run.TargetIndex(name)
		require.Equal(t, name, run.SourceIndex(renamed))
		require.Equal(t, strings.ToLower(renamed), renamed)
		require.NotContains(t, "_-+.", renamed[:1])
		// Elasticsearch renames with Java's replaceAll, of which this is the same in Go's words.
		require.Equal(t, renamed, regexp.MustCompile(pattern).ReplaceAllString(name,
			strings.ReplaceAll(replacement, "$1", "${1}")))
	}
}

func TestARehearsalRestoresNoAliases(t *testing.T) {
	require.True(t, migration.Plan{}.RestoresAliases())
	require.False(t, migration.Plan{Restore: migration.Restore{ExcludeAliases: true}}.RestoresAliases())
	require.False(t, migration.Plan{Rehearsal: true}.RestoresAliases())
}

var everyPhase = []migration.Phase{
	migration.PhasePreflight, migration.PhasePrepare, migration.PhaseBaseline, migration.PhaseRounds,
	migration.PhaseReady,
	migration.PhaseRehearse, migration.PhaseCleanUp, migration.PhaseAborting, migration.PhaseCompleted,
	migration.PhaseAborted,
}

func TestRequestsToARehearsal(t *testing.T) {
	for _, phase := range everyPhase {
		busy := phase != migration.PhaseCleanUp && phase != migration.PhaseAborting && !phase.Ended()
		require.False(t, phase.Frozen())
		for _, request := range migration.Requests() {
			verdict, why := migration.JudgeRehearsal(request, phase, false)
			require.NotEmpty(t, why)
			require.NotEqual(t, migration.Remembered, verdict, "nothing comes later in a rehearsal")
			taken := busy && (request == migration.RequestAbort || request == migration.RequestPause)
			require.Equal(t, taken, verdict == migration.Taken, "%s in %s: %s", request, phase, why)
			if busy && (request == migration.RequestFreeze || request == migration.RequestCutover ||
				request == migration.RequestRound) {
				require.Contains(t, why, "this is a rehearsal")
			}
		}
		verdict, _ := migration.JudgeRehearsal(migration.RequestResume, phase, true)
		require.Equal(t, busy, verdict == migration.Taken)
		verdict, _ = migration.JudgeRehearsal(migration.RequestPause, phase, true)
		require.Equal(t, migration.Ignored, verdict)
	}
	verdict, _ := migration.JudgeRehearsal("nonsense", migration.PhaseRounds, false)
	require.Equal(t, migration.Ignored, verdict)
}
