package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// The hooks that a guard calls: those after a thaw, always, so that they are called whatever has
// become of the migration; and those after the handover if the migration is gone.

// thawHooks has the hooks after the thaw called beside what else there is to do: to look at the
// source again must not wait for them.
func (g *guard) thawHooks(ctx workflow.Context) {
	if !g.shape.hooks() || len(g.plan.Plan.Hooks.AfterThaw) == 0 {
		return
	}
	g.HooksDue = true
	workflow.GoNamed(ctx, "call the hooks after the thaw", func(ctx workflow.Context) {
		g.callHooks(ctx, migration.HookAfterThaw)
		g.HooksDue = false
		g.show(ctx)
	})
}

// callHooks calls the hooks of a moment that were not called in this window. What they answer stops
// nothing: there is nobody to ask.
func (g *guard) callHooks(ctx workflow.Context, moment migration.HookMoment) {
	if !g.shape.hooks() {
		return
	}
	about := hookContext{
		run: g.plan, workflowID: g.WorkflowID, untilMillis: g.UntilMillis, total: len(g.window.names),
		indices: g.window.names, reason: g.Cause,
	}
	for i, hook := range g.plan.Plan.Hooks.At(moment) {
		if slices.ContainsFunc(g.Hooks, func(made migration.HookCall) bool {
			return made.Moment == moment && made.Name == hook.Name
		}) {
			continue // an earlier guard has
		}
		made, err := callHook(ctx, migration.CallHookRequest{
			Field: migration.HookField(moment, i), Hook: hook, Input: about.input(moment, hook, 1),
		})
		if err != nil {
			return // can't be: nothing cancels this context
		}
		made.Guard = true
		g.Hooks = append(slices.Clone(g.Hooks), made)
		g.show(ctx)
	}
}

// askedForHooks waits until the hooks after the thaw have answered.
func (g *guard) askedForHooks(ctx workflow.Context, _ migration.GuardCall) (migration.GuardAnswer, error) {
	err := workflow.Await(ctx, func() bool { return !g.HooksDue })
	return g.answer(false), err
}
