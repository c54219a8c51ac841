package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// outcome collects what an update's caller hears.
type outcome struct {
	accepted bool
	rejected error
	answer   migration.Answer
	err      error
}

func (o *outcome) callbacks() *testsuite.TestUpdateCallback {
	return &testsuite.TestUpdateCallback{
		OnAccept: func() { o.accepted = true },
		OnReject: func(err error) { o.rejected = err },
		OnComplete: func(value any, err error) {
			o.err = err
			if answer, ok := value.(migration.Answer); ok {
				o.answer = answer
			}
		},
	}
}

func TestUpdatesAnswerTheirCaller(t *testing.T) {
	w := newWorld(t)
	var early, freeze, twice, cutover outcome
	ask := func(after time.Duration, o *outcome, request migration.Request) {
		w.env.RegisterDelayedCallback(func() {
			w.env.UpdateWorkflow(string(request), string(request)+after.String(), o.callbacks(),
				migration.RequestInput{By: "ann", Reason: "tonight"})
		}, after)
	}
	ask(time.Minute, &early, migration.RequestCutover)
	ask(20*time.Minute, &freeze, migration.RequestFreeze)
	ask(25*time.Minute, &twice, migration.RequestFreeze)
	ask(30*time.Minute, &cutover, migration.RequestCutover)
	w.run()
	report := w.completed()

	require.ErrorContains(t, early.rejected, "cutover is not possible now: cutover needs a verified target: send "+
		"freeze first")
	require.True(t, freeze.accepted)
	require.NoError(t, freeze.err)
	require.Contains(t, freeze.answer.Message, "ends the round in progress, if any, and prepares the block")
	require.ErrorContains(t, twice.rejected, "already blocks writes")
	require.True(t, cutover.accepted)
	require.Len(t, report.Decisions, 2, "what a validator rejects leaves no trace")
	require.Equal(t, "tonight", report.Decisions[0].Reason)
}

func TestSignalsTakeAnyPayload(t *testing.T) {
	for name, payload := range map[string]any{
		"none": nil, "the documented object": migration.RequestInput{By: "ann"}, "a word": "go", "a number": 1,
		"another object": map[string]any{"who": "ann"}, "a wrong type": map[string]any{"by": 7},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(string(migration.RequestFreeze), payload) },
				20*time.Minute)
			w.at(30*time.Minute, migration.RequestCutover)
			w.run()
			w.completed()
		})
	}
}

func TestStatusSaysWhatMovesItOn(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseRounds, status.Phase)
		require.Equal(t, "the next round, or freeze", status.WaitsFor)
		require.Contains(t, status.Next, "starter freeze movies")
		require.Contains(t, status.Next, "temporal workflow signal --workflow-id migration/movies --name freeze")
		require.Len(t, status.Rounds, 1)
		require.Equal(t, 2, status.IndicesTotal)
		require.EqualValues(t, 7, status.Indices[0].TargetDocs)
		require.Equal(t, migration.DefaultConcurrency, status.Plan.Copy.Concurrency,
			"the plan is shown with its defaults")
	}, 5*time.Minute)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseAwaitCutover, status.Phase)
		require.Contains(t, status.Next, "starter cutover movies")
		require.NotZero(t, status.FrozenUntilMillis)
		require.True(t, *status.Indices[0].Equal)
	}, 25*time.Minute)
	w.run()
	w.completed()
	require.Equal(t, migration.PhaseCompleted, w.status().Phase)
}

func carriedIn(t *testing.T, next *workflow.ContinueAsNewError) Carried {
	var input migration.Input
	var carried Carried
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input, &carried))
	_, err := input.Plan()
	require.NoError(t, err)
	return carried
}
