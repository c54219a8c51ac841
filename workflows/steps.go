package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// What a retry may mean instead of the same step once more. Each is handed only to the one phase
// that understands it.
var (
	errNewSnapshot = errors.New("the round begins again with a new snapshot")
	errBlockAgain  = errors.New("the freeze begins again with the indices and the block")
)

// attempt runs one step of a phase until it succeeds. What may pass is retried by Temporal within
// run. If it keeps failing, that is shown, and the step begins again automatically. Any other
// failure that comes back from run needs a person: the migration parks until retry, which runs the
// step again, or abort. The error is that of the cancelled context.
func (m *run) attempt(step string, run func(ctx workflow.Context) error) error {
	return m.attemptOr(step, func(migration.ErrorType) error { return nil }, run)
}

// attemptOr is attempt, but after a retry instead returns ends it with that error, unless it is
// nil.
func (m *run) attemptOr(step string, instead func(migration.ErrorType) error,
	run func(ctx workflow.Context) error,
) error {
	return m.attemptUnless(step, func(error) error { return nil }, instead, run)
}

// attemptUnless is attemptOr, but a failure of which without makes an error needs nobody: it ends
// with that error.
func (m *run) attemptUnless(step string, without func(error) error, instead func(migration.ErrorType) error,
	run func(ctx workflow.Context) error,
) error {
	ctx := m.context()
	defer m.stopShowing()
	for failures := 1; ; failures++ {
		if err := m.awaitResume(ctx); err != nil {
			return err
		}
		m.step = step
		m.show(ctx)
		err := run(m.bounded(ctx))
		m.step = ""
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errCutoverBegun) {
			return err
		}
		ending := without(err)
		if m.outdated(err) {
			return errBlockAgain
		}
		if ending != nil {
			return ending
		}
		if err := m.course.failed(ctx, describe(ctx, step, err, failures)); err != nil {
			return err
		}
		if err := instead(errorType(err)); err != nil {
			return err
		}
	}
}

// bounded has the activities of a step end when they keep failing. A run that began before there
// were bounds retries them for ever.
func (m *run) bounded(ctx workflow.Context) workflow.Context {
	if !m.shape.guarded() {
		return ctx
	}
	within := usualBound
	if m.frozen() {
		within = frozenBound
	}
	if m.attention != nil {
		within = within.shown()
	}
	return bounded(ctx, within)
}

// stopShowing forgets what kept failing, once it does no more.
func (m *run) stopShowing() { m.attention = nil }

// keepsFailing tells whether Temporal has given up retrying what may pass.
func keepsFailing(cause error) bool {
	var timeout *temporal.TimeoutError
	var panicked *temporal.PanicError
	var failure *temporal.ApplicationError
	switch {
	case errors.As(cause, &timeout), errors.As(cause, &panicked):
		return true
	case errors.As(cause, &failure):
		return !failure.NonRetryable()
	}
	return false
}

// attemptOptional is attempt for a step without which there is less to know or more to wait for,
// and no data at stake: a rehearsal remembers that it failed, and goes on.
func (m *run) attemptOptional(step string, run func(ctx workflow.Context) error) error {
	err := m.attempt(step, run)
	if errors.Is(err, errRehearsalEnds) {
		return nil
	}
	return err
}

// newSnapshot has a round begin again when its snapshot is of no use.
func newSnapshot(t migration.ErrorType) error {
	if t.TakesNewSnapshot() {
		return errNewSnapshot
	}
	return nil
}

// blockAgain has the freeze begin again when writes still got through.
func blockAgain(t migration.ErrorType) error {
	if t == migration.ErrorNoStandstill {
		return errBlockAgain
	}
	return nil
}

// context is that of the work in hand: the window's while the dead man's switch may end it, else
// the migration's.
func (m *run) context() workflow.Context {
	if m.window.armed() {
		return m.window.ctx
	}
	return m.work
}

// awaitResume holds the next step back while the migration is paused.
func (m *run) awaitResume(ctx workflow.Context) error {
	if !m.Paused {
		return ctx.Err()
	}
	m.show(ctx)
	return m.awaitPerson(ctx, func() bool { return !m.Paused })
}

// awaitPerson waits until a person has done something, and keeps the time that it takes apart from
// the time that the migration takes.
func (m *run) awaitPerson(ctx workflow.Context, done func() bool) error {
	began := workflow.Now(ctx)
	err := workflow.Await(ctx, done)
	m.waitedMillis += workflow.Now(ctx).Sub(began).Milliseconds()
	return err
}

// describe turns a failure into what a person needs to know.
func describe(ctx workflow.Context, step string, cause error, failures int) migration.Attention {
	attention := migration.Attention{
		Step:        step,
		Type:        string(migration.AttentionFailed),
		Message:     cause.Error(),
		SinceMillis: workflow.Now(ctx).UnixMilli(),
		Failures:    failures,
		Retrying:    keepsFailing(cause),
	}
	var timeout *temporal.TimeoutError
	var failure *temporal.ApplicationError
	if errors.As(cause, &failure) {
		attention.Type = failure.Type()
		attention.Message = failure.Message()
	}
	if errors.As(cause, &timeout) {
		last := attention.Message
		attention.Type = string(migration.AttentionTimedOut)
		attention.Message = fmt.Sprintf("%s: it did not end in time (%s), again and again", step, timeout.TimeoutType())
		if failure != nil {
			attention.Message += "; the last failure: " + last
		}
	}
	return attention
}

// call runs an activity and decodes its result.
func call[T any](ctx workflow.Context, options workflow.ActivityOptions, name string, request any) (T, error) {
	var result T
	err := workflow.ExecuteActivity(withOptions(ctx, options), name, request).Get(ctx, &result)
	return result, err
}

// do runs an activity without a result.
func do(ctx workflow.Context, options workflow.ActivityOptions, name string, request any) error {
	return workflow.ExecuteActivity(withOptions(ctx, options), name, request).Get(ctx, nil)
}

// paced makes options urgent while the source is frozen.
func (m *run) paced(options workflow.ActivityOptions) workflow.ActivityOptions {
	if m.frozen() {
		return urgent(options)
	}
	return options
}

// forActivities is what every activity is told of the migration.
func (m *run) forActivities() migration.Run {
	plan := m.plan
	plan.Copy.Bandwidth = m.bandwidth() // an activity begins with the limit that is in force
	return migration.Run{Plan: plan, Token: m.Token}
}

// stopwatch measures what the tool takes: time in which a person was waited for doesn't count.
type stopwatch struct{ beganMillis, waitedMillis int64 }

func (m *run) startWatch() stopwatch {
	return stopwatch{beganMillis: workflow.Now(m.work).UnixMilli(), waitedMillis: m.waitedMillis}
}

func (m *run) elapsed(w stopwatch) int64 {
	return workflow.Now(m.work).UnixMilli() - w.beganMillis - (m.waitedMillis - w.waitedMillis)
}

// shardCount and indexCount name a number of shards or indices in a summary.

func shardCount(n int) string { return human.Things(n, "shard", "shards") }

func indexCount(n int) string { return human.Things(n, "index", "indices") }

// mostRounds is how many rounds the state keeps.
func (m *run) mostRounds() int {
	switch {
	case m.shape.delta():
		return maxRounds
	case m.shape.guarded():
		return roundsGuarded
	}
	return roundsBefore
}
