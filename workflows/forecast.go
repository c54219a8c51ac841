package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// forecast is what is known of the frozen window before it begins.
type forecast struct {
	// Window is the last frozen window that came to its verification.
	Window      *migration.FrozenWindow `json:"window,omitempty"`
	Prediction  *migration.Prediction   `json:"prediction,omitempty"`
	CloseEnough bool                    `json:"closeEnough,omitempty"`
	// AutoSpent is set once a window ended without a cutover: from then on only a person freezes.
	AutoSpent bool `json:"autoSpent,omitempty"`
}

// atAim tells whether the predicted window is as short as rounds.until wants it.
func (f *forecast) atAim(until migration.Until) bool {
	return f.Prediction.Millis <= until.Window.Std().Milliseconds()
}

// converged tells whether rounds.until is reached after so many rounds: the predicted window is
// short enough, or the last round has made it no shorter by a tenth. before is the prediction that
// the last round has replaced.
func (f *forecast) converged(until migration.Until, rounds int, before *migration.Prediction) bool {
	if until.Window == 0 || rounds < 2 { // the baseline alone tells little
		return false
	}
	if rounds < 3 {
		before = nil // the baseline knows of no writes: what it predicts is no measure of progress
	}
	return f.atAim(until) || before != nil && f.Prediction.Millis > before.Millis*9/10
}

// autoFreezes tells whether freeze.auto begins a freeze. Nobody is asked, so the window must be as
// short as the plan wants it, and not only as short as it gets. If nobody came to the last window,
// the next one waits for a person.
func (f *forecast) autoFreezes(plan migration.Plan) bool {
	return f.CloseEnough && plan.Freeze.Auto && f.atAim(plan.Rounds.Until) && !f.AutoSpent
}

// wantsHotRound tells whether a round right before the block pays.
func (f *forecast) wantsHotRound(freeze migration.Freeze) bool {
	switch freeze.HotRound {
	case migration.HotRoundAlways:
		return true
	case migration.HotRoundNever:
		return false
	}
	return f.Prediction.CarryMillis() > freeze.HotRoundAbove.Std().Milliseconds()
}

// foresee counts what was written on the source since the last round, and predicts the window that
// would begin now.
func (m *run) foresee() error {
	return m.attemptOptional("count what was written since the last round", func(ctx workflow.Context) error {
		found, err := m.resolve(ctx)
		if err != nil {
			return err
		}
		m.predict(m.since(found), m.weights(found))
		return nil
	})
}

// measured is what a prediction rests on. weights tell how the writes are spread over indices.
func (m *run) measured(weights []int64) migration.Measured {
	measured := migration.Measured{
		Rounds: m.Rounds, Window: m.Window,
		Docs: m.Indices.Docs(), Checksums: m.plan.Verify.Checksum != migration.ChecksumNone,
	}
	if m.shape.guarded() { // what a run decides by it is in its history
		measured.Shards = m.Indices.Shards()
	}
	if m.shape.delta() {
		measured.Pipeline, measured.Weights = m.plan.Freeze.Pipeline, weights
	}
	if m.proves() {
		measured.Proven, measured.ReadRate, measured.Delta = m.Proven, m.ReadRate, true
	}
	return measured
}

// predict keeps what a window would take in which so many operations are copied.
func (m *run) predict(writes int64, weights []int64) {
	prediction := m.measured(weights).Predict(writes)
	prediction.AtMillis = workflow.Now(m.root).UnixMilli()
	m.Prediction = &prediction
}
