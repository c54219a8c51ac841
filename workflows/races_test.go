package workflows

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Requests, timers and failures that meet in one moment, and what is to be kept of them.

// skip sends a signal that is delivered with the next workflow task instead of in one of its own.
func (w *world) skip(r migration.Request, in any) {
	w.env.SignalWorkflowSkippingWorkflowTask(string(r), in)
}

func TestSignalsInTheTaskThatContinuesAsNewAreNotLost(t *testing.T) {
	for _, r := range []migration.Request{
		migration.RequestFreeze, migration.RequestAbort, migration.RequestPause,
		migration.RequestRound,
	} {
		t.Run(string(r), func(t *testing.T) {
			w := newWorld(t)
			w.env.SetContinueAsNewSuggested(true)
			w.during(migration.ActivityOpenTarget, 1, func() { w.skip(r, nil) })
			w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
			var next *workflow.ContinueAsNewError
			if r == migration.RequestAbort {
				require.False(t, errors.As(w.env.GetWorkflowError(), &next),
					"abort lost: the migration continued as new")
				return
			}
			require.True(t, errors.As(w.env.GetWorkflowError(), &next))
			c := carriedIn(t, next)
			require.True(t, c.FreezeRequested || c.Paused || c.RoundRequested, "the signal is lost")
		})
	}
}

func TestAnAbortInTheTaskThatBeginsTheCutoverWins(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.during(migration.ActivityAwaitStandstill, 1, func() {
		w.env.SignalWorkflow(string(migration.RequestCutover),
			nil)
	})
	w.during(migration.ActivityVerifyTarget, 1, func() { w.skip(migration.RequestAbort, nil) })
	w.run()
	w.aborted()
}

func TestAnAbortWhileTheThawStopsTheSnapshotStopsItStill(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Minute, migration.RequestFreeze)
	w.on[migration.ActivityTakeSnapshot] = func(int) error {
		if w.isBlocked() {
			return errors.New("still running")
		}
		return nil
	}
	stopped := false
	aborted := false
	w.on[migration.ActivityAbortSnapshot] = func(n int) error {
		if !aborted {
			aborted = true
			w.env.SignalWorkflow(string(migration.RequestAbort), nil)
			return errors.New("connection reset")
		}
		stopped = true
		return nil
	}
	w.run()
	w.aborted()
	require.True(t, stopped, "the snapshot still runs on the source after the abort")
}

func TestCutoverIsRefusedWhileTheBlockIsLifted(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Minute, migration.RequestFreeze)
	w.fails(migration.ActivityUnblockSource, 1, migration.ErrorUnauthorized)
	var o outcome
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseThaw, w.status().Phase)
		w.env.UpdateWorkflow("cutover", "x", o.callbacks(), migration.RequestInput{})
	}, 2*time.Hour+10*time.Minute)
	w.at(2*time.Hour+20*time.Minute, migration.RequestRetry)
	w.env.RegisterDelayedCallback(func() { require.Equal(t, migration.PhaseRounds, w.status().Phase) },
		2*time.Hour+30*time.Minute)
	w.at(3*time.Hour, migration.RequestAbort)
	w.run()
	require.Error(t, o.rejected, "cutover is promised although the window is over: %s", o.answer.Message)
}

func TestTheSwitchBeforeTheBlockClaimsNoBlock(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Minute, migration.RequestFreeze)
	w.on[migration.ActivityReadSourceBlocks] = func(int) error { return errors.New("no answer") }
	w.at(3*time.Hour, migration.RequestAbort)
	w.run()
	r := w.aborted()
	require.NotContains(t, strings.Join(r.Warnings, ""), "00h")
	require.Zero(t, w.called(migration.ActivityBlockSource))
	require.NotContains(t, strings.Join(r.Warnings, ""), "writes were blocked for")
}

func TestAWaitBeforeTheBlockIsNoPartOfTheWindow(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.fails(migration.ActivityReadSourceBlocks, 1, migration.ErrorUnauthorized)
	w.at(50*time.Minute, migration.RequestRetry)
	w.at(60*time.Minute, migration.RequestCutover)
	w.run()
	fw := w.completed().FrozenWindow
	require.GreaterOrEqual(t, fw.Millis, int64(0))
}

func TestThePartsOfTheWindowDontExceedIt(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.fails(migration.ActivityVerifyTarget, 1, migration.ErrorUnauthorized)
	w.at(50*time.Minute, migration.RequestRetry)
	w.at(60*time.Minute, migration.RequestCutover)
	w.run()
	fw := w.completed().FrozenWindow
	require.LessOrEqual(t, fw.BlockMillis+fw.SnapshotMillis+fw.CopyMillis+fw.RestoreMillis+fw.VerifyMillis, fw.Millis)
}

func TestTheCutoverIsAmongTheDecisionsHoweverManyThereAre(t *testing.T) {
	w := newWorld(t)
	for i := range 110 {
		w.at(2*time.Minute+time.Duration(i)*time.Second, migration.RequestPause)
		w.at(2*time.Minute+time.Duration(i)*time.Second+500*time.Millisecond, migration.RequestResume)
	}
	w.usualRequests()
	w.run()
	r := w.completed()
	last := r.Decisions[len(r.Decisions)-1]
	require.Equal(t, migration.RequestCutover, last.Request, "of %d decisions", len(r.Decisions))
}

func TestLongReasonsAreCut(t *testing.T) {
	w := newWorld(t)
	w.env.SetContinueAsNewSuggested(true)
	w.during(migration.ActivityPreflight, 1, func() {
		for range 200 {
			w.env.SignalWorkflow("round", migration.RequestInput{Reason: strings.Repeat("x", 20000)})
		}
	})
	w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	var next *workflow.ContinueAsNewError
	require.True(t, errors.As(w.env.GetWorkflowError(), &next))
	n := 0
	for _, p := range next.Input.Payloads {
		n += len(p.Data)
	}
	require.Less(t, n, 2<<20)
}

func TestTheSourceIsLookedAtAgainBeforeTheCutover(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseAwaitCutover, w.status().Phase)
		w.change(func() { w.calls = nil })
		w.env.SignalWorkflow("cutover", nil)
	}, 100*time.Minute)
	w.run()
	require.NotEqual(t, migration.ActivityHandOver, w.calls[0],
		"80 minutes after the proof nobody looks at the source again")
}

func TestAnIndexThatIsCreatedInTheWindowIsCarried(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(25*time.Minute, migration.RequestCutover)
	w.during(migration.ActivityAwaitStandstill, 1, func() {
		w.change(func() {
			w.indices = append(w.indices, migration.Index{Name: "catalog-2024.01.02", Shards: 1, Docs: 99})
		})
	})
	w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	var report migration.Report
	err := w.env.GetWorkflowError()
	if err == nil {
		require.NoError(t, w.env.GetWorkflowResult(&report))
		require.Len(t, report.Indices, 3, "catalog-2024.01.02 matches catalog*, took writes and was left behind "+
			"without a word: %v", report.Warnings)
	}
}

func TestRemainsAfterAnAbortInTheFirstRestore(t *testing.T) {
	w := newWorld(t)
	w.during(migration.ActivityRestoreSnapshot, 1, func() { w.env.SignalWorkflow("abort", nil) })
	w.run()
	r := w.aborted()
	require.Contains(t, strings.Join(r.Remains, "|"), "target: the indices")
}

func TestAttentionInTheCutoverOffersNoAbort(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.fails(migration.ActivityHandOver, 1, migration.ErrorRefused)
	w.env.RegisterDelayedCallback(func() {
		s := w.status()
		w.env.SignalWorkflow("retry", nil)
		require.NotContains(t, s.Next, "starter abort movies", "abort is ignored in cutover; remedy: %s",
			s.Attention.Remedy)
	}, 40*time.Minute)
	w.run()
	w.completed()
}

func TestABareUpdate(t *testing.T) {
	w := newWorld(t)
	var o outcome
	w.env.RegisterDelayedCallback(func() { w.env.UpdateWorkflow("freeze", "1", o.callbacks()) }, 20*time.Minute)
	w.at(30*time.Minute, migration.RequestCutover)
	w.at(40*time.Minute, migration.RequestAbort)
	w.run()
	require.NoError(t, o.rejected)
	require.NoError(t, o.err)
	w.completed()
}

func TestEachThawIsReported(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Minute, migration.RequestFreeze)
	w.at(3*time.Hour, migration.RequestFreeze)
	w.at(6*time.Hour, migration.RequestAbort)
	w.run()
	r := w.aborted()
	require.Len(t, r.Warnings, 2)
}

func TestTheThawIsReportedHoweverManyWarningsThereAre(t *testing.T) {
	w := newWorld(t)
	for i := range 120 {
		w.indices = append(w.indices, migration.Index{Name: fmt.Sprintf("catalog-%03d", i), Shards: 1})
	}
	w.during(migration.ActivityOpenTarget, 1, func() { w.change(func() { w.indices = w.indices[:2] }) })
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(3*time.Hour, migration.RequestAbort)
	w.run()
	r := w.aborted()
	require.Contains(t, strings.Join(r.Warnings, "|"), "freeze.maxDuration", "%d warnings", len(r.Warnings))
}

func TestOnlyARoundTakesANewSnapshot(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.fails(migration.ActivityVerifyTarget, 1, migration.ErrorSnapshotUnusable)
	w.at(25*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
}

func TestAnIndexThatLeavesJustBeforeTheFreezeIsReported(t *testing.T) {
	w := newWorld(t)
	w.during(migration.ActivityOpenTarget, 2, func() { w.change(func() { w.indices = w.indices[:1] }) })
	w.usualRequests()
	w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	require.NoError(t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(t, w.env.GetWorkflowResult(&report))
	require.NotEmpty(t, report.Warnings, "movies is on the target, still blocked, and nobody says so; remains: %v",
		report.Remains)
}

func TestAnAbortAndACancelWhilePaused(t *testing.T) {
	w := newWorld(t)
	w.during(migration.ActivityCopySnapshot, 1, func() { w.env.SignalWorkflow("pause", nil) })
	w.at(5*time.Minute, migration.RequestAbort)
	w.env.RegisterDelayedCallback(func() { w.env.CancelWorkflow() }, 5*time.Minute)
	w.run()
	w.aborted()
}

func TestTwoCancelsWhileTheBlockIsLifted(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.fails(migration.ActivityUnblockSource, 1, migration.ErrorUnauthorized)
	w.env.RegisterDelayedCallback(func() { w.env.CancelWorkflow() }, 30*time.Minute)
	w.env.RegisterDelayedCallback(func() { w.env.CancelWorkflow() }, 31*time.Minute)
	w.at(32*time.Minute, migration.RequestRetry)
	w.run()
	var c *temporal.CanceledError
	require.True(t, errors.As(w.env.GetWorkflowError(), &c))
	w.untouched()
}

func TestTheStateStaysSmall(t *testing.T) {
	m := &run{shape: shapeDelta}
	plan := strings.Repeat("n", 63)
	taken := map[migration.Reason]int{}
	for _, reason := range migration.Reasons()[1:] { // no other stands beside the first
		taken[reason] = 10_000
	}
	for i := range 20_000 {
		at := int64(1_700_000_000_000 + i)
		m.endRound(migration.Round{
			Number: i, Kind: migration.RoundIncremental, Snapshot: migration.SnapshotName(plan, i, 1),
			UUID: strings.Repeat("u", 22), StartTimeMillis: at, EndTimeMillis: at, BlobsCopied: at, BytesCopied: at,
			BlobsStreamed: at, BytesStreamed: at, BlobsSkipped: at, BytesSkipped: at, Generation: at,
			SnapshotMillis: at, CopyMillis: at, RestoreMillis: at, BytesRestored: at, BytesReused: at, Docs: at,
			Indices: i, Writes: at,
			Lifted: true, Skipped: i, Taken: taken, Groups: migration.MaxGroups, GroupedMillis: at,
		}, m.mostRounds())
		m.warn(human.Clock(int64(i)*1000, time.UTC) + strings.Repeat("x", 36<<10))
		m.noteFailed(migration.FailedSnapshot{
			Round: i, Attempt: i, Snapshot: migration.GroupSnapshotName(plan, i, 10, i), AtMillis: at,
			Reason: strings.Repeat("z", 1<<10), Again: true,
		})
		m.note(migration.Notification{
			ID: migration.NotifyID(plan, "01234567", "windowExpiring-"+fmt.Sprint(at)), AtMillis: at,
			Event: migration.EventWindowExpiring,
		}.Sum(slices.Repeat([]migration.Delivery{{
			Receiver: strings.Repeat("r", 63), State: migration.DeliveryFailed, Error: strings.Repeat("e", 1<<10),
		}}, 1000)))
		m.decide(migration.Decision{
			Request: migration.RequestRound, By: strings.Repeat("b", 100), Reason: strings.Repeat("y", 504),
			AtMillis: at, Phase: migration.PhaseAwaitCutover, Verdict: migration.Remembered,
			Commentary: strings.Repeat("c", 200),
		})
		m.hookLog.add(migration.HookCall{
			Moment: migration.HookBeforeHandover, Name: plan, AtMillis: at, Millis: at, Outcome: migration.HookRefused,
			Message: strings.Repeat("m", migration.LongestHookMessage+4), Guard: true,
		})
	}
	m.hookLog = m.newest(carriedCalls)
	// Lists as long as they may be.
	name := func(i int) string { return fmt.Sprintf("%s-%04d", strings.Repeat("i", 95), i) }
	m.SeenWrites, m.Counters = map[string]int64{}, migration.WriteCounters{}
	for i := 0; size(t, m.SeenWrites) < migration.LongestInline; i++ {
		m.SeenWrites[name(i)] = math.MaxInt64
	}
	for i := 0; size(t, m.Counters) < migration.LongestInline; i++ {
		m.Counters[name(i)] = migration.Counter{UUID: strings.Repeat("u", 22), Docs: math.MaxInt64}
	}
	for i := 0; size(t, m.Indices) < migration.LongestInline; i++ {
		m.Indices.Inline = append(m.Indices.Inline, migration.Index{Name: name(i), UUID: strings.Repeat("u", 22)})
		m.Begun = append(m.Begun, name(i))
	}
	m.Restored = migration.IndexMarks{}
	for i := 0; size(t, m.Restored) < migration.LongestInline/2; i++ {
		m.Restored[name(i)] = migration.IndexMark{
			UUID: strings.Repeat("u", 22), Definition: strings.Repeat("d", 24),
			Shards: []string{strings.Repeat("s", 32)},
		}
	}
	t.Logf("%d bytes", size(t, m.Carried))
	require.Less(t, size(t, m.Carried), 256<<10)
	require.Equal(t, 0, m.Rounds[0].Number, "the baseline is kept")
	require.Equal(t, 19_999, m.Rounds[len(m.Rounds)-1].Number)
	require.Equal(t, 20_000, len(m.Rounds)+m.RoundsOmitted)
	require.LessOrEqual(t, len(m.Warnings[0]), 1<<10)
}

func size(t *testing.T, value any) int {
	t.Helper()
	payload, err := converter.GetDefaultDataConverter().ToPayload(value)
	require.NoError(t, err)
	return len(payload.Data)
}

// A state that an older worker has filled is cut to what is kept today, and the baseline stays.
func TestALongerStateIsCut(t *testing.T) {
	var log roundLog
	for i := range roundsBefore {
		log.endRound(migration.Round{Number: i}, roundsBefore)
	}
	log.endRound(migration.Round{Number: roundsBefore}, maxRounds)
	require.Len(t, log.Rounds, maxRounds)
	require.Equal(t, 0, log.Rounds[0].Number)
	require.Equal(t, roundsBefore, log.lastRound().Number)
	require.Equal(t, roundsBefore+1, len(log.Rounds)+log.RoundsOmitted)
}

func TestAnErrorInTheCutoverNeverLiftsTheBlock(t *testing.T) {
	for _, kind := range []migration.ErrorType{
		migration.ErrorSnapshotUnusable, migration.ErrorNoStandstill,
		migration.ErrorTargetWritten,
	} {
		w := newWorld(t)
		w.usualRequests()
		w.fails(migration.ActivityHandOver, 1, kind)
		w.at(40*time.Minute, migration.RequestRetry)
		w.run()
		w.completed()
		require.Zero(t, w.called(migration.ActivityUnblockSource))
	}
}

func TestARetryAfterNoStandstillBlocksAgain(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.on[migration.ActivityAwaitStandstill] = func(n int) error {
		if n > 1 {
			return nil
		}
		w.change(func() { w.blocked = false }) // somebody took the block away
		return temporal.NewApplicationErrorWithOptions("still written", string(migration.ErrorNoStandstill),
			temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	w.at(25*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.Equal(t, 2, w.called(migration.ActivityBlockSource))
	require.Equal(t, 1, w.called(migration.ActivityReadSourceBlocks), "ours is not taken for one that was found")
}

func TestAMisspeltSignalIsShown(t *testing.T) {
	w := newWorld(t)
	w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow("frezee", nil) }, 5*time.Minute)
	w.env.RegisterDelayedCallback(func() {
		require.Contains(t, strings.Join(w.status().Warnings, "|"), `does not know the signal "frezee"`)
	}, 6*time.Minute)
	w.usualRequests()
	w.run()
	w.completed()
}

func TestAnAbortBeforeAnythingWasDoneClaimsNoRemains(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityRegisterRepositories, 1, migration.ErrorUnauthorized)
	w.at(time.Minute, migration.RequestAbort)
	w.run()
	remains := w.aborted().Remains
	require.Len(t, remains, 1)
	require.Contains(t, remains[0], "may be registered")
}

// What is written to the target after the verification is never handed over as equal: everything is
// frozen, copied and verified again, and a person sends cutover once more.
func TestWritesToTheTargetBeforeTheHandoverHaveItVerifiedAgain(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.fails(migration.ActivityCheckHandover, 1, migration.ErrorTargetWritten)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseAwaitCutover, status.Phase)
		require.False(t, status.CutoverRequested)
		require.Nil(t, status.Attention)
		require.Contains(t, strings.Join(status.Warnings, "\n"), "the target is not as it was verified")
		w.env.SignalWorkflow(string(migration.RequestCutover), nil)
	}, 40*time.Minute)
	w.run()
	w.completed()
	require.Equal(t, 2, w.called(migration.ActivityVerifyTarget))
	require.Len(t, w.handovers, 1)
	require.Len(t, w.checks, 1)
	require.NotEmpty(t, w.checks[0].Counters)
}
