package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// story is a migration from its first moment to its last.
func story(t *testing.T) []moment {
	begun := &migration.Status{
		Phase: migration.PhasePreflight, Step: "check clusters and buckets",
		StartedMillis: at(time.Minute), PhaseSinceMillis: at(time.Minute),
	}
	baseline := &migration.Status{
		Phase: migration.PhaseBaseline, Step: "copy the snapshot to OSS",
		PhaseSinceMillis: at(0),
	}
	rounds := inRounds(t)
	rounds.Notes, rounds.Warnings = nil, nil
	rounds.RoundsEnded, rounds.Rounds = 1, rounds.Rounds[:1]
	second := inRounds(t)
	paused := inRounds(t)
	paused.Paused, paused.WaitsFor = true, "resume"
	final := verified(t)
	copies := func(done int64, attempt int32) []*workflowpb.PendingActivityInfo {
		return []*workflowpb.PendingActivityInfo{copying(t, "7", done, attempt)}
	}
	return []moment{
		{taskAttempt: 1}, // no worker yet
		{status: begun},
		{status: begun},
		{status: baseline, activities: copies(0, 1)},
		{status: baseline, activities: copies(100*mib, 1)}, // not a tenth yet
		{status: baseline, activities: copies(2048*mib, 1)},
		{describeErr: serviceerror.NewUnavailable("restarting")},
		{status: baseline, activities: copies(2048*mib, 2)},
		{status: rounds},
		{status: second},
		{status: inNeed(t)},
		{status: inNeed(t)},
		{status: second},
		{status: paused},
		{status: final},
		{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED},
	}
}

func TestWatchInPlainLines(t *testing.T) {
	fake := newFake(t, story(t)...)
	fake.report = completedReport()
	out, errs := newConsole(t, fake).run(exitOK, "watch", "movies")
	require.Empty(t, errs)
	golden.Equal(t, "testdata/watch.txt", out)
}

func TestWatchSaysNothingWhenNothingChanges(t *testing.T) {
	moments := make([]moment, 50)
	for i := range moments {
		moments[i] = moment{status: inRounds(t)}
	}
	moments = append(moments, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake := newFake(t, moments...)
	fake.report = completedReport()
	out, _ := newConsole(t, fake).run(exitOK, "watch", "movies")
	require.Equal(t, 1, strings.Count(out, "phase rounds"))
	require.Less(t, strings.Count(out, "\n"), 12, out)
}

// A problem whose reason changes is not over.
func TestAProblemWithAnotherReason(t *testing.T) {
	n := narrator{app: &app{deps: newConsole(t, nil).deps}}
	problem := func(texts ...string) []string { return n.lines(view{Problems: texts}) }
	require.Equal(t, []string{"not moving: no answer: too late"}, problem("no answer: too late"))
	require.Equal(t, []string{"not moving: no answer: no poller"}, problem("no answer: no poller"))
	require.Empty(t, problem("no answer: no poller"))
	require.Equal(t, []string{"solved: no answer"}, problem())
}

func TestWatchAsJSONIsALineForEachChange(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)}, moment{status: inRounds(t)}, moment{status: verified(t)},
		moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake.report = completedReport()
	out, _ := newConsole(t, fake).run(exitOK, "watch", "movies", "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	var phases []migration.Phase
	for _, line := range lines {
		var status migration.Status
		require.NoError(t, json.Unmarshal([]byte(line), &status))
		phases = append(phases, status.Phase)
	}
	require.Equal(t, []migration.Phase{migration.PhaseRounds, migration.PhaseAwaitCutover, migration.PhaseCompleted},
		phases)
}

func TestHowAWatchEnds(t *testing.T) {
	t.Run("until a phase", func(t *testing.T) {
		fake := newFake(t, moment{status: inRounds(t)}, moment{status: verified(t)})
		out, _ := newConsole(t, fake).run(exitOK, "watch", "movies", "--until", "awaitCutover")
		require.Contains(t, out, "Next: starter cutover movies")
	})
	t.Run("attention, for a script", func(t *testing.T) {
		fake := newFake(t, moment{status: inRounds(t)}, moment{status: inNeed(t)})
		out, _ := newConsole(t, fake).run(exitAttention, "watch", "movies", "--exit-on-attention")
		require.Contains(t, out, "Next: starter retry movies\n  or: starter abort movies")
	})
	t.Run("aborted", func(t *testing.T) {
		fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_FAILED})
		fake.result = temporal.NewApplicationErrorWithOptions("aborted", string(migration.ErrorAborted),
			temporal.ApplicationErrorOptions{Details: []any{abortedReport()}})
		out, _ := newConsole(t, fake).run(exitAborted, "watch", "movies")
		require.Contains(t, out, "Because: aborted in phase rounds by ann: not tonight")
	})
	t.Run("an invalid plan", func(t *testing.T) {
		fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_FAILED})
		fake.result = temporal.NewApplicationErrorWithOptions("the plan is not valid: name is missing",
			string(migration.ErrorInvalidPlan), temporal.ApplicationErrorOptions{})
		out, _ := newConsole(t, fake).run(exitAborted, "watch", "movies")
		require.Contains(t, out, "Because: the plan is not valid: name is missing")
	})
	t.Run("it is not there", func(t *testing.T) {
		_, err := newConsole(t, newFake(t)).run(exitNotFound, "watch", "movies")
		require.Contains(t, err, "there is no migration movies")
	})
	t.Run("Temporal stays away", func(t *testing.T) {
		fake := newFake(t, moment{describeErr: serviceerror.NewUnavailable("down")})
		out, err := newConsole(t, fake).run(exitFailed, "watch", "movies")
		require.Equal(t, 1, strings.Count(out, "Temporal does not answer; trying again"))
		require.Contains(t, err, "can't reach Temporal")
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		fake := newFake(t, moment{status: inRounds(t)})
		c := newConsole(t, fake)
		ctx, cancel := context.WithCancel(context.Background())
		c.deps.sleep = func(ctx context.Context, _ time.Duration) error {
			cancel()
			return ctx.Err()
		}
		require.Equal(t, exitInterrupted, execute(ctx, c.deps, []string{"watch", "movies"}))
		require.Contains(t, c.err.String(), "interrupted; the migration goes on\nNext: starter watch movies")
	})
}

// On a terminal bars stand below the lines. What is drawn when is the library's business; that all
// of it is drawn, and that it ends, is ours.
func TestWatchOnATerminal(t *testing.T) {
	var out bytes.Buffer
	a := &app{deps: newConsole(t, nil).deps}
	a.out = &out
	refresh := make(chan any)
	draw := func() {
		// The library draws beside us: only when it takes the third is the first drawn.
		for range 3 {
			refresh <- now
		}
	}
	b := newBars(a, mpb.WithWidth(160), mpb.WithManualRefresh(refresh))
	at := func(m moment) view {
		fake := newFake(t, m)
		v, err := a.look(context.Background(), &connection{temporalClient: fake}, target{"movies", "migration/movies"},
			false)
		require.NoError(t, err)
		return v
	}
	baseline := &migration.Status{
		Phase: migration.PhaseBaseline, Step: "copy the snapshot to OSS",
		PhaseSinceMillis: now.Add(-3 * time.Minute).UnixMilli(),
	}
	b.show(at(moment{status: baseline, activities: []*workflowpb.PendingActivityInfo{copying(t, "7", 1024*mib, 2)}}))
	draw()
	b.show(at(moment{status: baseline, activities: []*workflowpb.PendingActivityInfo{copying(t, "7", 4096*mib, 2)}}))
	draw()
	b.show(at(moment{status: verified(t)}))
	draw()
	b.close()
	for _, want := range []string{
		"phase baseline", "baseline for 3m  |  copy the snapshot to OSS", "CopySnapshot", "25 %", "100 %", "of 4.0 GiB",
		"attempt 2", "OSS answers 503 SlowDown",
		"awaitCutover for 1m", "writes blocked for 2m",
	} {
		require.Contains(t, out.String(), want)
	}
}
