package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// What a migration does with the hooks of its plan. Hooks of the window run under the dead man's
// switch: none of them keeps the source blocked.

// hooksAt are the hooks of a moment. A rehearsal has none, and neither has a run whose shape is
// older than hooks.
func (m *run) hooksAt(moment migration.HookMoment) []migration.Hook {
	if !m.shape.delta() || m.Rehearsal != nil {
		return nil
	}
	return m.plan.Hooks.At(moment)
}

// hooksInWindow calls the hooks before or after the block, once in a window. One that refuses or
// fails ends the window: nobody may be there, and the source must take writes again.
func (m *run) hooksInWindow(moment migration.HookMoment) error {
	w, hooks := m.window, m.hooksAt(moment)
	if len(hooks) == 0 || w.called[moment] {
		return nil
	}
	w.called[moment] = true
	watch := m.startWatch()
	for i, hook := range hooks {
		m.step = hookStep(hook)
		m.show(w.ctx)
		made, err := m.callHook(w.ctx, moment, i, hook)
		m.step = ""
		if err != nil {
			return err
		}
		if made.Outcome != migration.HookDone {
			w.lost = made.Sentence()
			w.stop()
			return w.ctx.Err()
		}
	}
	if moment == migration.HookAfterBlock {
		w.hookMillis = m.elapsed(watch)
		w.measured.HookMillis += w.hookMillis
		w.look = nil // the source is looked at after the hooks
		m.spendAsked()
	}
	return nil
}

func hookStep(hook migration.Hook) string { return "call the hook " + hook.Name }

// hooksOrPerson calls the hooks before or after the handover. One that refuses or fails parks until
// a person has it called again, or goes on without it.
func (m *run) hooksOrPerson(moment migration.HookMoment) error {
	for i, hook := range m.hooksAt(moment) {
		err := m.attempt(hookStep(hook), func(ctx workflow.Context) error {
			if m.skipsHook {
				m.skipsHook = false
				m.hookLog.add(migration.HookCall{
					Moment: moment, Name: hook.Name, AtMillis: workflow.Now(ctx).UnixMilli(),
					Outcome: migration.HookSkipped,
				})
				m.warn("the hook " + hook.Name + " (" + string(moment) + ") was skipped by a person")
				return nil
			}
			made, err := m.callHook(ctx, moment, i, hook)
			if err != nil || made.Outcome == migration.HookDone {
				return err
			}
			return hookError(made)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hookError is the failure of a step because a hook refuses it, or fails.
func hookError(made migration.HookCall) error {
	kind := migration.ErrorHookRefused
	if made.Outcome == migration.HookFailed {
		kind = migration.ErrorHookFailed
	}
	return temporal.NewApplicationErrorWithOptions(made.Sentence(), string(kind),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

// callHook calls a hook and keeps what it said.
func (m *run) callHook(ctx workflow.Context, moment migration.HookMoment, number int, hook migration.Hook) (
	migration.HookCall, error,
) {
	about := hookContext{run: m.forActivities(), workflowID: m.workflowID, total: m.Indices.Len()}
	for _, index := range m.Indices.First(migration.HookIndices) {
		about.indices = append(about.indices, index.Name)
	}
	attempt := 1
	if w := m.window; w != nil {
		about.untilMillis = w.untilMillis
		attempt = w.attemptAt(moment, hook)
		if moment == migration.HookBeforeBlock && w.measured.DownSinceMillis == 0 {
			w.measured.DownSinceMillis = workflow.Now(ctx).UnixMilli()
		}
	}
	made, err := callHook(ctx, migration.CallHookRequest{
		Field: migration.HookField(moment, number), Hook: hook, Input: about.input(moment, hook, attempt),
	})
	m.hookLog.add(made)
	if m.window != nil {
		if m.window.hook = nil; made.Outcome != migration.HookDone {
			m.window.hook = &made
		}
	}
	return made, err
}

// hearHooks waits until the guard has called the hooks after the thaw, and keeps what they said.
// Until then no other window may begin: one hook starts the writers that another has to stop.
func (m *run) hearHooks() {
	w, hooks := m.window, m.hooksAt(migration.HookAfterThaw)
	if len(hooks) == 0 || w == nil || !w.opened || w.heard {
		return
	}
	options := bestEffort("hear the hooks after the thaw")
	for _, hook := range hooks {
		options.ScheduleToCloseTimeout += hook.Span()
	}
	options.StartToCloseTimeout = options.ScheduleToCloseTimeout
	m.step = "wait for the hooks after the thaw"
	m.show(m.work)
	answer, err := call[migration.GuardAnswer](m.work, waiting(options), migration.ActivityAskGuard,
		m.guardRequest(migration.AskHooks))
	m.step = ""
	if err != nil && m.stopping() {
		return // the abort hears them
	}
	w.heard = true
	if err != nil {
		m.warn("what the hooks after the thaw said is not known: " + describe(m.work, "", err, 1).Message)
		return
	}
	m.hookLog.add(answer.Hooks...)
	for _, made := range answer.Hooks {
		if made.Outcome != migration.HookDone {
			m.warn(made.Sentence() + ". Start the writers yourself")
		}
	}
}

// measureDown measures for how long nobody could write, if hooks have to do with it.
func (m *run) measureDown() {
	w := m.window
	if !w.blocked() || w.measured.DownSinceMillis == 0 && len(m.hooksAt(migration.HookAfterHandover)) == 0 {
		return
	}
	began := w.sinceMillis
	if w.measured.DownSinceMillis > 0 {
		began = w.measured.DownSinceMillis
	}
	w.measured.DownMillis = workflow.Now(m.work).UnixMilli() - began
}

// cantSkip says why a request can't skip a hook; empty if it can, or doesn't want to.
func (m *run) cantSkip(request migration.Request, skips bool) string {
	if !skips || request == migration.RequestRetry && m.attention.OfHook() {
		return ""
	}
	return "a hook can be skipped only by a retry while it needs attention"
}

// attemptAt counts the calls of a hook in the window.
func (w *window) attemptAt(moment migration.HookMoment, hook migration.Hook) int {
	name := string(moment) + "/" + hook.Name
	w.attempts[name]++
	return w.attempts[name]
}

// endedByHook says how a hook has ended the window; empty if none has.
func (w *window) endedByHook(limit migration.Duration) string {
	switch {
	case w.hook == nil:
	case w.lost != "" && w.lost == w.hook.Sentence() && !w.blocked():
		return "the freeze ended before writes were blocked: " + w.lost
	case w.overdue && w.hook.Outcome == migration.HookLeft && !w.blocked():
		return "freeze.maxDuration (" + limit.String() + ") passed before writes were blocked: " + w.hook.Sentence()
	case w.overdue && w.hook.Outcome == migration.HookLeft:
		return "freeze.maxDuration (" + limit.String() + ") passed without a cutover, and snapferry removes the " +
			"block: " + w.hook.Sentence()
	}
	return ""
}

// noCutover says why a requested cutover did not happen.
func (w *window) noCutover() string {
	if w.hook != nil && w.hook.Moment == migration.HookBeforeHandover {
		return w.hook.Sentence()
	}
	return "the target was not verified in time"
}
