package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// Each decision of the guard alone, in a workflow that does nothing else.

// within runs do in a workflow, with a guard in whose window all indices are blocked for an hour.
func (g *guarded) within(do func(ctx workflow.Context, guard *guard)) {
	g.t.Helper()
	g.env.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		guard := newGuard(ctx, g.input)
		guard.Phase, guard.RunID, guard.Window, guard.Blocked = migration.GuardWatching, g.runID, g.number, true
		guard.UntilMillis = workflow.Now(ctx).Add(time.Hour).UnixMilli()
		do(ctx, guard)
		return nil
	}, workflow.RegisterOptions{Name: "within"})
	g.env.ExecuteWorkflow("within")
	require.True(g.t, g.env.IsWorkflowCompleted())
	require.NoError(g.t, g.env.GetWorkflowError())
}

// own is a call of the run that the guard serves.
func (g *guarded) own() migration.GuardCall {
	return migration.GuardCall{Token: "token", RunID: g.runID, Window: g.number, UntilMillis: g.until}
}

// An ask to begin may come at the deadline, before the timer has fired. Then the block is removed.
func TestNothingBeginsAtTheDeadline(t *testing.T) {
	for _, left := range []time.Duration{-time.Millisecond, 0, time.Millisecond} {
		g := newGuarded(t)
		g.within(func(ctx workflow.Context, guard *guard) {
			guard.UntilMillis = workflow.Now(ctx).Add(left).UnixMilli()
			answer, err := guard.begin(ctx, g.own())
			require.NoError(t, err)
			require.Equal(t, left > 0, answer.Served, "%s are left", left)
			require.Equal(t, left > 0, guard.Phase == migration.GuardHandingOver)
		})
	}
}

// Who has something to say in a window: the run that opened it, as long as nothing is decided.
func TestWhomTheGuardServes(t *testing.T) {
	for name, test := range map[string]func(*guard, *migration.GuardCall){
		"the run that opened it": func(*guard, *migration.GuardCall) {},
		"another migration":      func(_ *guard, c *migration.GuardCall) { c.Token = "other" },
		"another run":            func(_ *guard, c *migration.GuardCall) { c.RunID = "run-2" },
		"an earlier window":      func(_ *guard, c *migration.GuardCall) { c.Window-- },
		"a run that has ended":   func(g *guard, _ *migration.GuardCall) { g.Ended = "Terminated" },
		"after the decision":     func(g *guard, _ *migration.GuardCall) { g.Phase = migration.GuardRemoving },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.within(func(ctx workflow.Context, guard *guard) {
				call := g.own()
				call.Indices = g.indices
				test(guard, &call)
				want := name == "the run that opened it"
				require.Equal(t, want, guard.serves(call))
				for _, ask := range []func(workflow.Context, migration.GuardCall) (migration.GuardAnswer, error){
					guard.announce, guard.block, guard.list, guard.begin,
				} {
					answer, err := ask(ctx, call)
					require.NoError(t, err)
					require.Equal(t, want, answer.Served)
				}
				require.Equal(t, want, guard.Phase == migration.GuardHandingOver)
				require.Equal(t, want, guard.Asked)
				require.Equal(t, want, len(g.calls) > 0, "nothing is done for the others")
			})
		})
	}
}

// Nothing begins while an index takes writes.
func TestNothingBeginsWithoutTheBlock(t *testing.T) {
	g := newGuarded(t)
	g.within(func(ctx workflow.Context, guard *guard) {
		guard.Blocked = false
		answer, err := guard.begin(ctx, g.own())
		require.NoError(t, err)
		require.False(t, answer.Served)
		require.Equal(t, migration.GuardWatching, guard.Phase)
	})
}

// What is decided stays decided, whoever comes second.
func TestTheSecondDecisionChangesNothing(t *testing.T) {
	for _, first := range []migration.GuardPhase{migration.GuardRemoving, migration.GuardHandingOver} {
		g := newGuarded(t)
		g.within(func(_ workflow.Context, guard *guard) {
			guard.decide(first, "first")
			guard.decide(migration.GuardRemoving, "second")
			guard.decide(migration.GuardHandingOver, "third")
			require.Equal(t, first, guard.Phase)
			require.Equal(t, "first", guard.Cause)
		})
	}
}

// A run learns from each answer whether somebody tells of the end without it.
func TestAnAnswerSaysWhoTells(t *testing.T) {
	for want, status := range map[bool][]migration.GuardStatus{
		false: {{}}, true: {{Ended: "Terminated"}, {Released: true}},
	} {
		for _, s := range status {
			require.Equal(t, want, (&guard{GuardStatus: s}).answer(true).Told)
		}
	}
}

// A window opens for the guard's own migration when none is open and the cutover has not begun. It
// knows nothing of an earlier one.
func TestWhenAWindowOpens(t *testing.T) {
	for name, test := range map[string]struct {
		phase  migration.GuardPhase
		token  string
		events int
		opens  bool
	}{
		"the first one":        {phase: migration.GuardIdle, opens: true},
		"a later one":          {phase: migration.GuardRemoved, opens: true},
		"of another migration": {phase: migration.GuardIdle, token: "other"},
		"while one is open":    {phase: migration.GuardWatching},
		"while it removes":     {phase: migration.GuardRemoving},
		"after the cutover":    {phase: migration.GuardHandedOver},
		"at the longest":       {phase: migration.GuardRemoved, events: maxGuardHistory, opens: true},
		"after a long history": {phase: migration.GuardRemoved, events: maxGuardHistory + 1},
		"while it hands over":  {phase: migration.GuardHandingOver},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.env.SetCurrentHistoryLength(test.events)
			g.runID = "run-2" // which the guard is to watch
			g.within(func(ctx workflow.Context, guard *guard) {
				guard.RunID = thisRun
				guard.Phase, guard.Cause, guard.Ended, guard.Asked = test.phase, "because", "Terminated", true
				guard.Announced, guard.Listed = 2, 2
				guard.window.add(g.indices...)
				guard.asked["movies"] = true
				guard.handover = g.handover
				before := guard.GuardStatus
				call := g.own()
				call.Window, call.UntilMillis = 7, 12345
				if test.token != "" {
					call.Token = test.token
				}
				answer, err := guard.open(ctx, call)
				require.NoError(t, err)
				require.Equal(t, test.opens, answer.Served)
				if !test.opens {
					require.Equal(t, before, guard.GuardStatus)
					require.Len(t, guard.handover, 2)
					return
				}
				require.Equal(t, migration.GuardStatus{
					Plan: before.Plan, Token: before.Token, WorkflowID: before.WorkflowID, Cluster: before.Cluster,
					Phase: migration.GuardWatching, RunID: "run-2", Window: 7, UntilMillis: 12345,
				}, guard.GuardStatus)
				require.Empty(t, guard.window.names)
				require.Empty(t, guard.asked)
				require.Empty(t, guard.handover)
			})
		})
	}
}

// What a guard holds keeps other plans from freezing it: in a window and after the cutover, and a
// bounded list.
func TestWhatTheGuardHolds(t *testing.T) {
	g := newGuarded(t)
	g.within(func(_ workflow.Context, guard *guard) {
		var names []string
		for i := range 2 * migration.GuardNamed {
			names = append(names, "index-"+string(rune('a'+i%26))+string(rune('a'+i/26)))
			guard.window.add(migration.SourceIndex{Name: names[i], UUID: "u"})
		}
		for phase, holds := range map[migration.GuardPhase]bool{
			migration.GuardWatching: true, migration.GuardRemoving: true, migration.GuardHandingOver: true,
			migration.GuardIdle: false, migration.GuardRemoved: false,
		} {
			guard.Phase = phase
			held, err := guard.holds(append([]string{"another"}, names...))
			require.NoError(t, err)
			if holds {
				require.Equal(t, names[:migration.GuardNamed], held, "%s", phase)
			} else {
				require.Empty(t, held, "%s", phase)
			}
		}
	})
}

// An index that was made again is another one, whatever its name.
func TestWhatTheGuardDoesNotKnow(t *testing.T) {
	g := newGuarded(t)
	g.within(func(_ workflow.Context, guard *guard) {
		guard.window.add(g.indices...)
		again := migration.SourceIndex{Name: "movies", UUID: "u9"}
		unknown, err := guard.unknown([]migration.SourceIndex{g.indices[0], again, {Name: "new", UUID: "u3"}})
		require.NoError(t, err)
		require.Equal(t, []migration.SourceIndex{again, {Name: "new", UUID: "u3"}}, unknown)
	})
}

// Which blocks of an index are its own, and come back at the removal.
func TestWhichBlocksAreAnIndexsOwn(t *testing.T) {
	blocks := func(write string, more ...string) map[string]string {
		all := map[string]string{}
		if write != "" {
			all[sourceWriteBlock] = write
		}
		for _, name := range more {
			all[name] = "true"
		}
		return all
	}
	for name, test := range map[string]struct {
		first map[string]string // nil if the index was not met
		asked bool
		left  map[string]string
		found map[string]string
		want  map[string]string
	}{
		"never met":                {found: blocks("true"), want: blocks("true")},
		"announced, not asked for": {first: blocks(""), found: blocks("true"), want: blocks("true")},
		"asked for":                {first: blocks(""), asked: true, found: blocks("true"), want: blocks("")},
		"asked for, and has others": {
			first: blocks(""), asked: true, found: blocks("true", "x"),
			want: blocks("", "x"),
		},
		"had one before": {
			first: blocks("true"), asked: true, found: blocks("true"),
			want: blocks("true"),
		},
		"said false before": {
			first: blocks("false"), asked: true, found: blocks("true"),
			want: blocks("false"),
		},
		"of a window before":          {left: blocks(""), found: blocks("true"), want: blocks("")},
		"of a window before, had one": {left: blocks("true"), found: blocks("true"), want: blocks("true")},
		"had none of ours, and has one": {
			first: blocks("", "x"), asked: true, found: blocks("", "x"),
			want: blocks("", "x"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.within(func(_ workflow.Context, guard *guard) {
				if test.first != nil {
					guard.window.add(migration.SourceIndex{Name: "movies", Blocks: test.first})
				}
				if test.left != nil {
					guard.left.add(migration.SourceIndex{Name: "movies", Blocks: test.left})
				}
				guard.asked["movies"] = test.asked
				require.Equal(t, test.want, guard.notOurs(migration.SourceIndex{Name: "movies", Blocks: test.found}))
			})
		})
	}
}

// The list to hand over is sent in parts, and may be sent again.
func TestTheListOfTheHandover(t *testing.T) {
	g := newGuarded(t)
	g.within(func(ctx workflow.Context, guard *guard) {
		list := func(first bool, indices ...migration.HandoverIndex) []migration.HandoverIndex {
			call := g.own()
			call.First, call.Handover = first, indices
			answer, err := guard.list(ctx, call)
			require.NoError(t, err)
			require.True(t, answer.Served)
			require.Equal(t, len(guard.handover), guard.Listed)
			return guard.handover
		}
		a, b := migration.HandoverIndex{Name: "a"}, migration.HandoverIndex{Name: "b"}
		again := migration.HandoverIndex{Name: "a", UUID: "u"}
		require.Equal(t, []migration.HandoverIndex{a}, list(true, a))
		require.Equal(t, []migration.HandoverIndex{a, b}, list(false, b))
		require.Equal(t, []migration.HandoverIndex{again, b}, list(false, again), "it is replaced in its place")
		require.Equal(t, []migration.HandoverIndex{b}, list(true, b), "it begins again")
	})
}

// Who may ask for the removal: the run whose window it is, and any other run of the migration, which
// follows on that one.
func TestWhoMayAskForTheRemoval(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*migration.GuardCall)
		may    bool
	}{
		"the run whose window it is": {func(*migration.GuardCall) {}, true},
		"its earlier window":         {func(c *migration.GuardCall) { c.Window-- }, false},
		"another run":                {func(c *migration.GuardCall) { c.RunID = "run-2" }, true},
		"another run's window":       {func(c *migration.GuardCall) { c.RunID, c.Window = "run-2", 9 }, true},
		"another migration": {
			func(c *migration.GuardCall) { c.Token, c.RunID = "other", "run-2" }, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.within(func(ctx workflow.Context, guard *guard) {
				call := g.own()
				test.change(&call)
				workflow.Go(ctx, func(ctx workflow.Context) { _, _ = guard.askedToRemove(ctx, call) })
				require.NoError(t, workflow.Sleep(ctx, time.Second))
				require.Equal(t, test.may, guard.Phase == migration.GuardRemoving)
			})
		})
	}
}

// A decision ends what still sets the block: the removal doesn't wait for it.
func TestADecisionStopsTheBlocking(t *testing.T) {
	g := newGuarded(t)
	g.env.RegisterActivityWithOptions(func(context.Context, migration.BlockRequest) (migration.BlockResult, error) {
		return migration.BlockResult{}, activity.ErrResultPending // for ever
	}, activity.RegisterOptions{Name: migration.ActivityBlockSource, DisableAlreadyRegisteredCheck: true})
	g.window()
	g.at(20*time.Second, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.GuardRemoved, g.last(migration.AskRemove).Phase)
		require.False(t, g.last(migration.AskBlock).Served)
		require.NoError(t, g.failures[migration.AskBlock][0], "nothing is the matter")
	}, 30*time.Second)
	g.run()
	g.free()
}
