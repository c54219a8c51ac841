package workflows

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// withHooks gives a guard's plan a hook of a kind at each moment.
func (g *guarded) withHooks(kind string) *theirs {
	plan, err := inputOf(g.t, hooked(planJSON, kind, everyMoment...)).Plan()
	require.NoError(g.t, err)
	plan.Cutover = g.input.Plan.Cutover
	g.input.Plan = plan
	ours := registerHooks(g.env, g.fakes)
	ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for name, index := range g.source {
			if index.ours != g.begun {
				g.t.Errorf("%s: a hook is called too early", name)
			}
		}
		return migration.HookAnswer{Message: "2 writers"}, nil
	}
	return ours
}

// Whatever ends a window without a handover, the guard has the writers started again, once, after
// the block is removed.
func TestTheGuardCallsTheHooksAfterAThaw(t *testing.T) {
	for name, test := range map[string]struct {
		ends   func(*guarded)
		reason string
	}{
		"asked": {
			func(g *guarded) { g.at(5*time.Minute, migration.AskRemove, migration.AskHooks) },
			"the migration asked for it",
		},
		"the deadline": {func(*guarded) {}, deadlinePassed},
		"a dead run": {
			func(g *guarded) { g.ends(5*time.Minute, "Terminated") },
			"the migration is no longer running (Terminated)",
		},
		"a run that was": {
			func(g *guarded) { g.ends(5*time.Minute, "TimedOut") }, "the migration is no longer running (TimedOut)",
		},
	} {
		for _, kind := range hookKinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				g := newGuarded(t)
				ours := g.withHooks(kind)
				g.window()
				test.ends(g)
				result := g.run()
				g.free()
				require.Equal(t, []migration.HookMoment{migration.HookAfterThaw}, ours.moments())
				in := ours.inputs[0]
				require.Equal(t, test.reason, in.Reason)
				require.Equal(t, []string{"catalog", "movies"}, in.Indices)
				require.Empty(t, in.Until)
				require.Equal(t, fmt.Sprintf("token-%d-afterThaw-afterthaw-1", g.until), in.IdempotencyKey)
				require.False(t, result.HooksDue)
				require.Len(t, result.Hooks, 1)
				require.True(t, result.Hooks[0].Guard)
				require.Equal(t, "2 writers", result.Hooks[0].Message)
				if name == "asked" {
					require.Equal(t, result.Hooks, g.last(migration.AskHooks).Hooks, "whoever asks hears them")
				}
			})
		}
	}
}

// The hook that stops the writers may have been called before anything was blocked.
func TestTheGuardCallsThemAlsoIfNothingWasBlocked(t *testing.T) {
	g := newGuarded(t)
	ours := g.withHooks("activity")
	g.at(time.Second, migration.AskOpen)
	g.ends(2*time.Minute, "Terminated")
	g.run()
	require.Equal(t, []migration.HookMoment{migration.HookAfterThaw}, ours.moments())
	require.Zero(t, g.n[migration.ActivityUnblockSource])
}

// No window begins while they are called: one hook would start the writers that another stops.
func TestNoWindowBeginsWhileHooksAreCalled(t *testing.T) {
	g := newGuarded(t)
	ours := g.withHooks("activity")
	ours.say = func(_ context.Context, n int, _ migration.HookInput) (migration.HookAnswer, error) {
		if n <= 2 {
			return migration.HookAnswer{}, temporal.NewApplicationErrorWithOptions("not yet", "Later",
				temporal.ApplicationErrorOptions{NextRetryDelay: time.Minute})
		}
		return migration.HookAnswer{}, nil
	}
	g.window()
	g.at(5*time.Minute, migration.AskRemove, migration.AskHooks)
	g.env.RegisterDelayedCallback(func() { g.number++; g.send(migration.AskOpen) }, 6*time.Minute)
	g.env.RegisterDelayedCallback(func() {
		require.False(t, g.last(migration.AskOpen).Served, "the hooks are still being called")
		g.send(migration.AskOpen)
	}, 8*time.Minute)
	g.env.RegisterDelayedCallback(func() { require.True(t, g.last(migration.AskOpen).Served) },
		8*time.Minute+time.Second)
	g.ends(9*time.Minute, "Terminated")
	result := g.run()
	require.Len(t, g.last(migration.AskHooks).Hooks, 1, "whoever asks waits for them")
	require.Len(t, ours.inputs, 4, "three attempts of the first window, one of the second")
	require.Len(t, result.Hooks, 1)
}

// A hook that fails stops nothing, and hides nothing: the block is removed, the looks go on, the
// result names it.
func TestAHookOfTheGuardThatFails(t *testing.T) {
	g := newGuarded(t)
	ours := g.withHooks("workflow")
	ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) {
		return migration.HookAnswer{}, fmt.Errorf("no writer answers")
	}
	g.window()
	result := g.run()
	g.free()
	require.Len(t, ours.inputs, 3)
	require.Equal(t, migration.HookFailed, result.Hooks[0].Outcome)
	require.Contains(t, result.Hooks[0].Message, "no writer answers")
	require.Equal(t, 3, g.n[migration.ActivityUnblockSource], "it looks again two times")
	require.Equal(t, []string{migration.GuardEventRemoved}, g.events())
}

// The migration is gone once the cutover has begun: nobody else switches the service over.
func TestTheGuardCallsTheHooksAfterTheHandoverAlone(t *testing.T) {
	g := newGuarded(t)
	ours := g.withHooks("http")
	g.window()
	g.at(5*time.Minute, migration.AskBegin)
	g.ends(6*time.Minute, "Terminated")
	result := g.run()
	g.gone()
	require.Equal(t, []migration.HookMoment{migration.HookAfterHandover}, ours.moments())
	require.Equal(t, migration.HookAfterHandover, result.Hooks[0].Moment)
	require.Equal(t, []string{migration.GuardEventHandedOver}, g.events())
}

// A migration that tells of the end has called them itself.
func TestTheGuardCallsNoHookAfterAHandoverThatIsTold(t *testing.T) {
	g := newGuarded(t)
	ours := g.withHooks("activity")
	g.window()
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(6*time.Minute, "Completed")
	g.run()
	g.gone()
	require.Empty(t, ours.inputs)
}

// A guard that takes over from one that was terminated while it called the hooks calls those that
// are missing.
func TestAGuardThatTakesOverCallsTheHooks(t *testing.T) {
	for called, want := range map[bool]int{false: 1, true: 0} {
		g := newGuarded(t)
		ours := g.withHooks("activity")
		before := &migration.GuardStatus{
			Plan: "movies", Token: "token", Phase: migration.GuardRemoved, Cause: deadlinePassed, HooksDue: true,
			UntilMillis: g.until,
		}
		if called {
			before.Hooks = []migration.HookCall{{Moment: migration.HookAfterThaw, Name: "afterthaw"}}
		}
		g.input.Before, g.input.From = before, "guard-1"
		result := g.run()
		require.Len(t, ours.inputs, want)
		require.Len(t, result.Hooks, 1)
		require.False(t, result.HooksDue)
	}
}

// A guard that began before there were hooks calls none, whatever the plan says: its history has to
// replay.
func TestAGuardOfAnEarlierShapeCallsNoHook(t *testing.T) {
	g := newGuarded(t)
	ours := g.withHooks("activity")
	g.firstShape()
	g.window()
	g.at(5*time.Minute, migration.AskRemove, migration.AskHooks)
	g.run()
	g.free()
	require.Empty(t, ours.inputs)
	require.Empty(t, g.last(migration.AskHooks).Hooks)
}
