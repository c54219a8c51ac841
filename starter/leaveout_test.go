package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// Only a retry can leave indices out.
func TestRetryLeavesIndicesOut(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.answer = migration.Answer{Message: "it is done", Phase: migration.PhaseCutover}
	c := newConsole(t, fake)
	c.run(exitOK, "retry", "movies", "--leave-out", "films,shows", "--leave-out", "books")
	require.Equal(t, []string{"films", "shows", "books"},
		fake.updates[0].Args[0].(migration.RequestInput).LeaveOut)
	_, errs := c.run(exitUsage, "freeze", "movies", "--leave-out", "films")
	require.Contains(t, errs, "unknown flag: --leave-out")
}

// Only a retry can skip a hook.
func TestRetrySkipsAHook(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.answer = migration.Answer{Message: "it goes on without the hook", Phase: migration.PhaseAwaitCutover}
	c := newConsole(t, fake)
	c.run(exitOK, "retry", "movies", "--skip-hook", "--reason", "the job is mine")
	require.True(t, fake.updates[0].Args[0].(migration.RequestInput).SkipHook)
	_, errs := c.run(exitUsage, "freeze", "movies", "--skip-hook")
	require.Contains(t, errs, "unknown flag: --skip-hook")
}

func TestTheStatusShowsTheHooks(t *testing.T) {
	status := inRounds(t)
	status.Phase, status.DownSinceMillis = migration.PhaseVerify, status.PhaseSinceMillis
	status.Hooks = []migration.HookCall{{
		Moment: migration.HookBeforeBlock, Name: "stop-writers", AtMillis: status.PhaseSinceMillis, Millis: 2000,
		Outcome: migration.HookDone, Message: "3 writers stopped",
	}}
	c := newConsole(t, newFake(t, moment{status: status}))
	out, _ := c.run(exitOK, "status", "movies")
	require.Contains(t, out, "the hook stop-writers (beforeBlock) let it go on: 3 writers stopped (took 2s)")
	require.Contains(t, out, "stopped by a hook, since")
}
