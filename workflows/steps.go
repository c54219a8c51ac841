package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// errNewSnapshot ends an attempt at a round: its snapshot is of no use, and a
// person has asked for another.
var errNewSnapshot = errors.New("the round begins again with a new snapshot")

// attempt runs one step of a phase until it succeeds. What may pass is retried
// by Temporal within run; a failure that comes back from it needs a person: the
// migration parks until retry, which runs the step again, or abort. The error
// is errNewSnapshot or that of the cancelled context.
func (m *run) attempt(step string, run func(ctx workflow.Context) error) error {
	ctx := m.context()
	for failures := 1; ; failures++ {
		if err := m.awaitResume(ctx); err != nil {
			return err
		}
		m.step = step
		m.show(ctx)
		err := run(ctx)
		m.step = ""
		if err == nil {
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := m.park(ctx, step, err, failures); err != nil {
			return err
		}
		if errorType(err).TakesNewSnapshot() {
			return errNewSnapshot
		}
	}
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
	return workflow.Await(ctx, func() bool { return !m.Paused })
}

// park waits for retry. The time does not count towards the frozen window.
func (m *run) park(ctx workflow.Context, step string, cause error, failures int) error {
	m.attention = m.describe(ctx, step, cause, failures)
	workflow.GetLogger(ctx).Warn("needs attention", "step", step, "type", m.attention.Type, "error", m.attention.Message)
	m.show(ctx)
	began := workflow.Now(ctx)
	err := workflow.Await(ctx, func() bool { return m.attention == nil })
	m.attention = nil
	if m.window != nil {
		m.window.waitedMillis += workflow.Now(ctx).Sub(began).Milliseconds()
	}
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
	return migration.Run{Plan: m.plan, Token: m.Token}
}

// since is the time from an instant in epoch milliseconds until now.
func since(ctx workflow.Context, millis int64) int64 {
	return workflow.Now(ctx).UnixMilli() - millis
}

// warn keeps a finding that stops nothing, once.
func (m *run) warn(text string) {
	for _, known := range m.Warnings {
		if known == text {
			return
		}
	}
	if len(m.Warnings) < maxWarnings {
		m.Warnings = append(m.Warnings, text)
	}
}

func names(indices []migration.Index) []string {
	result := make([]string, len(indices))
	for i, index := range indices {
		result[i] = index.Name
	}
	return result
}
