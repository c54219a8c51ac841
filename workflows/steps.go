package workflows

import (
	"errors"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// What a retry may mean instead of the same step once more. Each is handed only
// to the one phase that understands it.
var (
	errNewSnapshot = errors.New("the round begins again with a new snapshot")
	errBlockAgain  = errors.New("the freeze begins again with the indices and the block")
)

// attempt runs one step of a phase until it succeeds. What may pass is retried
// by Temporal within run; a failure that comes back from it needs a person: the
// migration parks until retry, which runs the step again, or abort. The error is
// that of the cancelled context.
func (m *run) attempt(step string, run func(ctx workflow.Context) error) error {
	return m.attemptOr(step, func(migration.ErrorType) error { return nil }, run)
}

// attemptOr is attempt, but after a retry instead returns ends it with that
// error, unless it is nil.
func (m *run) attemptOr(step string, instead func(migration.ErrorType) error, run func(ctx workflow.Context) error) error {
	ctx := m.context()
	for failures := 1; ; failures++ {
		if err := m.awaitResume(ctx); err != nil {
			return err
		}
		m.step = step
		m.show(ctx)
		err := run(ctx)
		m.step = ""
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if m.outdated(err) {
			return errBlockAgain
		}
		if err := m.park(ctx, step, err, failures); err != nil {
			return err
		}
		if err := instead(errorType(err)); err != nil {
			return err
		}
	}
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

// context is that of the work in hand: the window's while writes are blocked, so
// that the dead man's switch can end it, else the migration's.
func (m *run) context() workflow.Context {
	if m.windowContext != nil {
		return m.windowContext
	}
	return m.work
}

// awaitResume holds the next step back while the migration is paused.
func (m *run) awaitResume(ctx workflow.Context) error {
	if !m.Paused {
		return ctx.Err()
	}
	m.show(ctx)
	began := workflow.Now(ctx)
	err := workflow.Await(ctx, func() bool { return !m.Paused })
	m.waitedMillis += workflow.Now(ctx).Sub(began).Milliseconds()
	return err
}

// park waits for retry. A rehearsal only notes what it would have waited for.
func (m *run) park(ctx workflow.Context, step string, cause error, failures int) error {
	if m.Rehearsal != nil {
		return m.noted(*m.describe(ctx, step, cause, failures))
	}
	m.attention = m.describe(ctx, step, cause, failures)
	workflow.GetLogger(ctx).Warn("needs attention", "step", step, "type", m.attention.Type, "error", m.attention.Message)
	m.show(ctx)
	began := workflow.Now(ctx)
	err := workflow.Await(ctx, func() bool { return m.attention == nil })
	m.attention = nil
	m.waitedMillis += workflow.Now(ctx).Sub(began).Milliseconds()
	return err
}

// describe turns a failure into what a person needs to know.
func (m *run) describe(ctx workflow.Context, step string, cause error, failures int) *migration.Attention {
	attention := &migration.Attention{
		Step:        step,
		Type:        "Failed",
		Message:     cause.Error(),
		SinceMillis: workflow.Now(ctx).UnixMilli(),
		Failures:    failures,
	}
	var failure *temporal.ApplicationError
	if errors.As(cause, &failure) {
		attention.Type = failure.Type()
		attention.Message = failure.Message()
	}
	attention.Remedy = migration.ErrorType(attention.Type).Remedy()
	return attention
}

// call runs an activity and decodes its result.
func call[T any](ctx workflow.Context, options workflow.ActivityOptions, name string, request any) (T, error) {
	var result T
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), name, request).Get(ctx, &result)
	return result, err
}

// do runs an activity without a result.
func do(ctx workflow.Context, options workflow.ActivityOptions, name string, request any) error {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), name, request).Get(ctx, nil)
}

// paced makes options urgent while writes are blocked.
func (m *run) paced(options workflow.ActivityOptions) workflow.ActivityOptions {
	if m.window != nil {
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

// stopwatch measures what the tool takes: time in which a person was waited for
// doesn't count.
type stopwatch struct{ beganMillis, waitedMillis int64 }

func (m *run) startWatch() stopwatch {
	return stopwatch{beganMillis: workflow.Now(m.work).UnixMilli(), waitedMillis: m.waitedMillis}
}

func (m *run) elapsed(w stopwatch) int64 {
	return workflow.Now(m.work).UnixMilli() - w.beganMillis - (m.waitedMillis - w.waitedMillis)
}

// warn keeps a finding that stops nothing, once. When there are too many, the
// oldest give way.
func (m *run) warn(text string) {
	for _, known := range m.Warnings {
		if known == text {
			return
		}
	}
	if len(m.Warnings) == maxWarnings {
		m.Warnings = m.Warnings[1:]
		m.WarningsOmitted++
	}
	m.Warnings = append(m.Warnings, text)
}

// warnings are those that were kept, and what is seen from the state itself.
func (m *run) warnings() []string {
	all := slices.Clone(m.Warnings)
	if gone := m.leftBehind(); gone != "" && m.Rehearsal == nil {
		all = append(all, "no longer on the source, what was restored stays on the target: "+gone)
	}
	return all
}

// decide records a request. When there are too many, the oldest that were
// ignored give way first: what people decided must stay known.
func (m *run) decide(decision migration.Decision) {
	if len(m.Decisions) == maxDecisions {
		oldest := max(0, slices.IndexFunc(m.Decisions, func(d migration.Decision) bool { return d.Verdict == migration.Ignored }))
		m.Decisions = slices.Delete(slices.Clone(m.Decisions), oldest, oldest+1)
		m.DecisionsOmitted++
	}
	m.Decisions = append(m.Decisions, decision)
}

// ended keeps a round's numbers: the baseline's and those of the newest.
func (m *run) ended(round migration.Round) {
	if len(m.Rounds) == maxRounds {
		m.Rounds = slices.Delete(slices.Clone(m.Rounds), 1, 2)
		m.RoundsOmitted++
	}
	m.Rounds = append(m.Rounds, round)
}

func names(indices []migration.Index) []string {
	result := make([]string, len(indices))
	for i, index := range indices {
		result[i] = index.Name
	}
	return result
}

// set is for looking names up in lists of many indices.
func set(indices []migration.Index) map[string]bool {
	result := make(map[string]bool, len(indices))
	for _, index := range indices {
		result[index.Name] = true
	}
	return result
}
