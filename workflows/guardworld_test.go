package workflows

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// fakeGuard stands in for the guard of a world's migration. It answers as Guard does, and checks
// what must hold: nothing is blocked that was not announced, and nothing is removed once the
// cutover has begun. What it does to the clusters has the hooks of the activities that do it in
// truth.
type fakeGuard struct {
	phase     migration.GuardPhase
	runID     string
	window    int
	until     int64
	cause     string
	announced map[string]string
	list      []migration.HandoverIndex
	checked   map[string]bool
	refused   []migration.Refusal // by the next block
	remains   []migration.Refusal
	unready   []migration.Refusal // by the next handover
	late      []migration.LateIndex
	told      bool
	released  bool
	leftOut   []string
	hooks     []migration.HookCall // that the guard called after the thaw
	// reset has the run be another one than before, as after a reset, from the ask on that it
	// counts to.
	reset bool
	asks  []migration.GuardAsk
}

const thisRun = "run-1"

// firstShape has the world's run be one that began before there was a guard.
func (w *world) firstShape() {
	w.env.OnGetVersion("shape", workflow.Version(shapeFirst),
		workflow.Version(newestShape)).Return(workflow.DefaultVersion)
}

func (w *world) registerGuard() {
	w.guard.announced, w.guard.checked = map[string]string{}, map[string]bool{}
	w.env.RegisterActivityWithOptions(func(_ context.Context, in migration.GuardRequest) (migration.GuardAnswer,
		error,
	) {
		assert.False(w.t, w.rehearses(), "a rehearsal has no guard")
		return w.ask(in)
	}, activity.RegisterOptions{Name: migration.ActivityAskGuard})
	w.env.RegisterActivityWithOptions(func(ctx context.Context, in migration.GuardRequest) (migration.GuardAnswer,
		error,
	) {
		if w.watchFails != nil {
			return migration.GuardAnswer{}, w.watchFails
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watching = activity.GetInfo(ctx).TaskToken
		w.watched.Broadcast()
		return migration.GuardAnswer{}, activity.ErrResultPending
	}, activity.RegisterOptions{Name: migration.ActivityWatchGuard})
	register(w, migration.ActivityCheckHandover, func(r migration.CheckHandoverRequest) (any, error) {
		for _, name := range r.Indices {
			w.guard.checked[name] = true
		}
		w.checks = append(w.checks, r)
		return nil, nil
	})
}

// ask answers as the guard does.
func (w *world) ask(in migration.GuardRequest) (migration.GuardAnswer, error) {
	g := &w.guard
	w.mu.Lock()
	defer w.mu.Unlock()
	g.asks = append(g.asks, in.Ask)
	me := thisRun
	if g.reset {
		me = "run-2"
	}
	answer := migration.GuardAnswer{RunID: me, Reset: in.KnownRun != "" && in.KnownRun != me || in.KnownRun == "" &&
		g.reset}
	fill := func() migration.GuardAnswer {
		answer.Phase, answer.Cause, answer.Remains, answer.Late, answer.Told = g.phase, g.cause, g.remains, g.late,
			g.told
		return answer
	}
	serves := g.phase == migration.GuardWatching && g.runID == me && g.window == in.Window
	w.unlocked(func() { w.count(migration.ActivityAskGuard) })
	if answer.Reset && in.Ask != migration.AskRemove && in.Ask != migration.AskHandOver || in.Ask == migration.AskMeet {
		return fill(), nil
	}
	if hook := w.onAsk[in.Ask]; hook != nil {
		var err error
		w.unlocked(func() { err = hook() })
		if err != nil {
			return answer, err
		}
	}
	switch in.Ask {
	case migration.AskOpen:
		if g.phase.Begun() || g.phase == migration.GuardWatching && !serves {
			return fill(), nil
		}
		g.phase, g.runID, g.window, g.until, g.cause = migration.GuardWatching, me, in.Window, in.UntilMillis, ""
		clear(g.announced)
		answer.Served = true
		return fill(), nil
	case migration.AskRemove:
		return w.removedByGuard(fill)
	case migration.AskHandOver:
		g.leftOut = append(g.leftOut, in.LeaveOut...)
		return w.handedOverByGuard(fill)
	case migration.AskRelease:
		g.released = true
		return fill(), nil
	case migration.AskHooks:
		assert.False(w.t, w.blocked, "the writers are started although the source refuses writes")
		answer.Hooks = g.hooks
		return fill(), nil
	}
	if !serves {
		return fill(), nil
	}
	answer.Served = true
	switch in.Ask {
	case migration.AskAnnounce:
		fresh := []string{}
		for _, index := range in.Indices {
			if uuid, known := g.announced[index.Name]; !known || uuid != index.UUID {
				fresh = append(fresh, index.Name)
				g.announced[index.Name] = index.UUID
			}
		}
		if len(fresh) == 0 {
			return fill(), nil
		}
		err := w.unlockedStep(migration.ActivityReadSourceBlocks, func() {
			for _, name := range fresh {
				assert.False(w.t, w.blockedNames[name], "blocks are read before ours is set")
			}
		})
		if err != nil {
			clear(g.announced)
		}
		return fill(), err
	case migration.AskBlock:
		err := w.unlockedStep(migration.ActivityBlockSource, func() {
			answer.Refused, g.refused = g.refused, nil
			if len(answer.Refused) > 0 {
				return
			}
			w.blocked, w.blockedNames = true, map[string]bool{}
			for name := range g.announced {
				w.blockedNames[name] = true
			}
		})
		if len(answer.Refused) == 0 && err == nil {
			answer.Look = w.looksFrozen(in)
			answer.Snapshot = w.askedAhead(in)
		}
		return fill(), err
	case migration.AskList:
		g.list = nil
		for _, index := range in.Indices {
			g.list = append(g.list, migration.HandoverIndex{Name: index.Name, UUID: in.Counters[index.Name].UUID})
		}
		for _, setting := range in.UnknownSettings {
			answer.LeftOut = append(answer.LeftOut, migration.LeftOut{Setting: setting, Indices: 1})
		}
		return fill(), nil
	case migration.AskBegin:
		assert.True(w.t, w.blocked, "the cutover begins although the source takes writes")
		for _, index := range g.list {
			assert.True(w.t, g.checked[index.Name], "%s was not checked", index.Name)
		}
		if w.env.Now().UnixMilli() >= g.until {
			answer.Served = false
			return fill(), nil
		}
		g.phase = migration.GuardHandingOver
		return fill(), nil
	}
	w.t.Errorf("nobody answers %s", in.Ask)
	return answer, nil
}

func (w *world) removedByGuard(fill func() migration.GuardAnswer) (migration.GuardAnswer, error) {
	g := &w.guard
	if g.phase.Begun() || g.phase == migration.GuardRemoved {
		return fill(), nil
	}
	g.phase = migration.GuardRemoving
	err := w.unlockedStep(migration.ActivityUnblockSource, func() {
		assert.False(w.t, w.targetWritable, "the source is writable again although the target takes writes")
		w.blocked, w.blockedNames = false, nil
		g.phase = migration.GuardRemoved
	})
	return fill(), err
}

func (w *world) handedOverByGuard(fill func() migration.GuardAnswer) (migration.GuardAnswer, error) {
	g := &w.guard
	assert.True(w.t, g.phase.Begun(), "nothing is handed over before the cutover has begun")
	if g.phase == migration.GuardHandedOver {
		return fill(), nil
	}
	var refused []migration.Refusal
	err := w.unlockedStep(migration.ActivityHandOver, func() {
		assert.True(w.t, w.blocked, "the target is opened although the source takes writes")
		w.handovers = append(w.handovers, g.list)
		w.targetWritable = true
		if refused, g.unready = g.unready, nil; len(refused) == 0 {
			g.phase = migration.GuardHandedOver
		}
	})
	answer := fill()
	answer.Refused = refused
	return answer, err
}

// unlockedStep is what the guard does with an activity, with that one's hooks.
func (w *world) unlockedStep(name string, do func()) (err error) {
	w.unlocked(func() { err = w.step(name, func() error { do(); return nil }) })
	return err
}

// guardSays ends the activity that watches the guard, in the workflow's own loop.
func (w *world) guardSays(answer migration.GuardAnswer) {
	w.mu.Lock()
	for w.watching == nil { // the workflow has asked for it, and it runs beside its successors
		w.watched.Wait()
	}
	token := w.watching
	w.mu.Unlock()
	assert.NoError(w.t, w.env.CompleteActivity(token, answer, nil))
}

// A run that began without a guard goes on without one.
func TestARunOfTheFirstShapeNeedsNoGuard(t *testing.T) {
	w := newWorld(t)
	w.firstShape()
	w.usualRequests()
	w.run()
	w.completed()
	assert.Zero(t, w.called(migration.ActivityAskGuard))
	assert.Equal(t, 1, w.called(migration.ActivityBlockWrites))
	assert.Equal(t, 1, w.called(migration.ActivityOpenTargetForWrites))
}

func TestAnAbortOfARunOfTheFirstShape(t *testing.T) {
	w := newWorld(t)
	w.firstShape()
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestAbort)
	w.run()
	w.aborted()
	assert.Equal(t, 1, w.called(migration.ActivityLiftBlock))
}

// refusal is a failure that no retry of Temporal's helps against.
func refusal(t migration.ErrorType, message string) error {
	return temporal.NewApplicationErrorWithOptions(message, string(t),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

func jsonOf(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return text
}
