package workflows

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// A raw start may pass a second argument; what it says is nobody's state.
func TestAStartWithASecondArgumentIsRefused(t *testing.T) {
	w := newWorld(t)
	w.env.ExecuteWorkflow(Migration, inputOf(t, w.plan), &Carried{})
	var failure *temporal.ApplicationError
	require.ErrorAs(t, w.env.GetWorkflowError(), &failure)
	require.Equal(t, string(migration.ErrorInvalidPlan), failure.Type())
	require.Contains(t, failure.Message(), "start it again without a second argument")
	require.Empty(t, w.calls)
}

// planOf runs the workflow up to its first activity, and gives the plan that it goes by.
func planOf(t *testing.T, w *world, run func()) migration.Plan {
	t.Helper()
	var plan migration.Plan
	w.during(migration.ActivityPreflight, 1, func() {
		plan = w.status().Plan
		w.env.SignalWorkflow(string(migration.RequestAbort), nil)
	})
	w.during(migration.ActivityResolveIndices, 1, func() {
		plan = w.status().Plan
		w.env.SignalWorkflow(string(migration.RequestAbort), nil)
	})
	run()
	require.NotEmpty(t, plan.Name)
	return plan
}

func TestTheNextRunGoesByThePlanOfTheRunBefore(t *testing.T) {
	// As if the run before had other defaults and rules: no interval at all, and a name that is no
	// plan's any more. A field that nobody knows any more is no reason to stop either.
	changed := strings.NewReplacer(`"rounds": {"interval": "15m"},`, "", `"name": "movies",`, `"name": "Movies_Old",
		"retired": {"field": 7},`).Replace(planJSON)
	t.Run("which resolved it", func(t *testing.T) {
		w := newWorld(t)
		w.plan = changed
		plan := planOf(t, w, func() {
			w.continuedWith(Carried{Phase: migration.PhaseRounds, Token: "t0ken", PlanResolved: true})
		})
		require.Equal(t, "Movies_Old", plan.Name)
		require.Zero(t, plan.Rounds.Interval, "today's default has changed a migration that is under way")
		require.Empty(t, plan.Verify.Checksum)
	})
	t.Run("which began before plans were remembered", func(t *testing.T) {
		w := newWorld(t)
		w.plan = changed
		plan := planOf(t, w, func() { w.continuedWith(Carried{Phase: migration.PhaseRounds, Token: "t0ken"}) })
		require.Equal(t, "Movies_Old", plan.Name, "a rule of today has stopped a migration that is under way")
		require.Equal(t, migration.DefaultRoundInterval, plan.Rounds.Interval)
	})
}

func TestContinueAsNewHandsTheResolvedPlanOn(t *testing.T) {
	w := newWorld(t)
	w.plan = strings.Replace(planJSON, `"rounds": {"interval": "15m"},`, "", 1)
	w.env.SetContinueAsNewSuggested(true)
	w.env.ExecuteWorkflow(Migration, inputOf(t, w.plan), nil)
	var next *workflow.ContinueAsNewError
	require.True(t, errors.As(w.env.GetWorkflowError(), &next), "%v", w.env.GetWorkflowError())
	var input migration.Input
	var carried Carried
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input, &carried))
	require.True(t, carried.PlanResolved)
	plan, err := input.Resolved()
	require.NoError(t, err)
	require.Equal(t, migration.DefaultRoundInterval, plan.Rounds.Interval)
}

// testdata/resolved.json is the history of a migration that was begun by a worker with another
// default: rounds.interval was 7 minutes. The plan doesn't name it.
func TestARunKeepsThePlanThatItsFirstWorkerResolved(t *testing.T) {
	var seen migration.Plan
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(
		func(ctx workflow.Context, input migration.Input, carried *Carried) (migration.Report, error) {
			m := newRun(ctx, carried)
			m.shape = shapeOf(ctx)
			if err := m.listen(ctx); err != nil {
				return migration.Report{}, err
			}
			if err := m.readPlan(ctx, input, carried); err != nil {
				return migration.Report{}, err
			}
			seen = m.plan
			m.setCourse()
			return m.run(ctx)
		}, workflow.RegisterOptions{Name: migration.WorkflowType})
	require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, "testdata/resolved.json"))
	require.Equal(t, migration.Duration(7*time.Minute), seen.Rounds.Interval)
	require.NotEqual(t, migration.DefaultRoundInterval, seen.Rounds.Interval)
}
