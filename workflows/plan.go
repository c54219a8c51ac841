package workflows

import (
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// errNotContinued refuses a start with a state that no run has left.
var errNotContinued = errors.New("the workflow takes one input, the plan. Its second argument is the state that " +
	"a run hands to the next one of the same migration: start it again without a second argument")

// resolved is what a run remembers of its plan: the plan with all defaults, or why it is refused.
type resolved struct {
	Plan    migration.Plan `json:"plan,omitzero"`
	Problem string         `json:"problem,omitempty"`
}

// longestProblem bounds what is remembered of an invalid plan; a plan can have a problem in each of
// its thousand names.
const longestProblem = 16 << 10

// readPlan decides once, at the start of a migration, what its plan says. A migration runs for
// weeks. If newer workers resolved the plan again at each replay, a default or a rule that has
// changed since would change a migration that is under way, even inside the frozen window.
func (m *run) readPlan(ctx workflow.Context, input migration.Input, carried *Carried) error {
	if !m.shape.guarded() {
		plan, err := input.PlanBefore()
		m.plan = plan
		return err
	}
	if carried != nil && workflow.GetInfo(ctx).ContinuedExecutionRunID == "" {
		return errNotContinued
	}
	if carried != nil && carried.PlanResolved {
		plan, err := input.Resolved()
		m.plan = plan
		return err
	}
	var found resolved
	err := workflow.SideEffect(ctx, func(workflow.Context) any {
		read := input.Plan
		if carried != nil { // the run before remembered nothing
			read = input.Running
		}
		plan, err := read()
		if err != nil {
			return resolved{Problem: human.Shorten(err.Error(), longestProblem)}
		}
		return resolved{Plan: plan}
	}).Get(&found)
	if err != nil {
		return err
	}
	m.plan = found.Plan
	if found.Problem != "" {
		return errors.New(found.Problem)
	}
	return nil
}
