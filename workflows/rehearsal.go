package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// errRehearsalEnds ends the step at which a migration would wait for a person.
var errRehearsalEnds = errors.New("the rehearsal can't get past this")

// rehearsal is what a rehearsal remembers beside a migration's state.
type rehearsal struct {
	migration.Rehearsal
	// Prepared is set before anything is made that has to be removed.
	Prepared bool `json:"prepared,omitempty"`
	// Predicted is what was foreseen right before the window was rehearsed, Verified what came of
	// the comparison.
	Predicted *migration.Prediction   `json:"predicted,omitempty"`
	Verified  []migration.IndexResult `json:"verified,omitempty"`
	Unlisted  *migration.Unlisted     `json:"unlisted,omitempty"`
	// Remains is what could not be removed.
	Remains []string `json:"remains,omitempty"`
}

// The most that is kept and reported of what would have needed attention.
const (
	maxAttention     = 50
	longestAttention = 1000
)

// note remembers what would have needed attention, once.
func (r *rehearsal) note(now time.Time, attention migration.Attention) {
	if attention.SinceMillis == 0 {
		attention.SinceMillis = now.UnixMilli()
	}
	if attention.Failures == 0 {
		attention.Failures = 1
	}
	if attention.Remedy == "" {
		attention.Remedy = migration.ErrorType(attention.Type).RehearsalRemedy()
	}
	attention.Message = human.Shorten(attention.Message, longestAttention)
	attention.Retrying = false // a rehearsal doesn't wait for what has lasted for long
	known := slices.IndexFunc(r.Attention, func(a migration.Attention) bool {
		return a.Step == attention.Step && a.Type == attention.Type && a.Message == attention.Message
	})
	switch {
	case known >= 0:
		r.Attention[known].Failures++
	case len(r.Attention) == maxAttention:
		r.AttentionOmitted++
	default:
		r.Attention = append(r.Attention, attention)
	}
}

// addRemains names something that could not be removed, once.
func (r *rehearsal) addRemains(text string) {
	if !slices.Contains(r.Remains, text) {
		r.Remains = append(r.Remains, text)
	}
}

// rehearsing is the course of a rehearsal: the steps of a migration, on throw-away names and
// without the block. It waits for nobody. Where a migration would need a person and the rehearsal
// can't go on without one, it removes what it has made and ends.
type rehearsing struct {
	*run
	// metadata is what differs in settings and mappings, by index.
	metadata map[string][]string
}

func (m *rehearsing) perform(workflow.Context) (migration.Phase, error) {
	next, err := m.performPhase()
	if errors.Is(err, errRehearsalEnds) && !m.stopping() {
		m.Rehearsal.EndedIn = m.Phase
		return migration.PhaseCleanUp, nil
	}
	return next, err
}

func (m *rehearsing) performPhase() (migration.Phase, error) {
	switch m.Phase {
	case migration.PhasePreflight:
		return m.preflight()
	case migration.PhasePrepare:
		m.Rehearsal.Prepared = true
		return m.prepare()
	case migration.PhaseBaseline:
		return m.baseline()
	case migration.PhaseRounds:
		return migration.PhaseReady, m.measuringRound()
	case migration.PhaseReady:
		_, err := m.makeReady()
		return migration.PhaseRehearse, err
	case migration.PhaseRehearse:
		return migration.PhaseCleanUp, m.rehearseWindow()
	case migration.PhaseCleanUp:
		m.undo()
		return migration.PhaseCompleted, m.work.Err()
	}
	return "", fmt.Errorf("a rehearsal has no phase %q", m.Phase)
}

// failed remembers a failure for which a migration would have waited for a person. What that
// person's retry would fix without more is tried once more; anything else ends the step.
func (m *rehearsing) failed(ctx workflow.Context, attention migration.Attention) error {
	m.Rehearsal.note(workflow.Now(ctx), attention)
	failure := migration.ErrorType(attention.Type)
	retryHelps := failure == migration.ErrorTargetWritten || failure == migration.ErrorRestoreFailed
	if retryHelps && attention.Failures == 1 || failure.TakesNewSnapshot() && m.Attempt == 1 {
		return nil
	}
	return errRehearsalEnds
}

func (m *rehearsing) judge(request migration.Request) (migration.Verdict, string) {
	return migration.JudgeRehearsal(request, m.Phase, m.Paused)
}

func (m *rehearsing) waitsFor() (string, []migration.Request) {
	if m.Paused {
		return "resume", []migration.Request{migration.RequestResume}
	}
	return "", nil
}

// slotWait is none, because nothing will be blocked: the activity tells what a migration would wait
// for.
func (m *rehearsing) slotWait() time.Duration { return 0 }

func (m *rehearsing) slotTaken(obstacles []string) string {
	return fmt.Sprintf("before it blocks writes, a migration would wait up to %s until no other snapshot is in the "+
		"way: %s",
		m.plan.Freeze.SlotWait, strings.Join(obstacles, "; "))
}

func (m *rehearsing) warnings() []string { return slices.Clone(m.Warnings) }

func (m *rehearsing) addTo(status *migration.Status) {
	found := m.Rehearsal.Rehearsal
	found.Attention = slices.Clone(found.Attention)
	status.Rehearsal = &found
}

func (m *rehearsing) complete(report *migration.Report) {
	r := m.Rehearsal
	if report.Result == migration.ResultCompleted {
		report.Result = migration.ResultRehearsed
	}
	found := r.Rehearsal
	report.Rehearsal, report.Prediction = &found, r.Predicted
	report.Indices, report.IndicesOmitted = r.Verified, r.Unlisted
	report.Remains = r.Remains
	if r.EndedIn != "" {
		report.Error = "the rehearsal could not get past phase " + string(r.EndedIn)
		if n := len(r.Attention); n > 0 {
			report.Error += ": " + r.Attention[n-1].Message
		}
	}
}

// measuringRound is the one that a migration measures the window by.
func (m *rehearsing) measuringRound() error {
	if err := m.throttle(raisedWindow); err != nil {
		return err
	}
	return m.round(migration.RoundIncremental)
}

// rehearseWindow takes the steps of a migration while writes are blocked, as a round takes them, and
// measures them.
func (m *rehearsing) rehearseWindow() error {
	r, predicted := m.Rehearsal, *m.Prediction
	r.Predicted = &predicted
	all := m.startWatch()
	if err := m.round(migration.RoundRehearsed); err != nil {
		return err
	}
	last := m.lastRound()
	verification := m.startWatch()
	err := m.compare()
	window := migration.FrozenWindow{
		StartedMillis: all.beganMillis, Millis: predicted.BlockMillis + m.elapsed(all),
		BlockMillis:    predicted.BlockMillis,
		SnapshotMillis: last.SnapshotMillis, CopyMillis: last.CopyMillis, RestoreMillis: last.RestoreMillis,
		VerifyMillis: m.elapsed(verification),
	}
	if err == nil {
		r.Window = &window
		r.AfterInterval = m.afterInterval(window)
		err = m.explainDifferences()
	}
	if failed := m.measureFootprint(); err == nil {
		err = failed
	}
	return err
}

const compared = "compare the target with the source"

// compare runs the verification. The source goes on taking writes, so what it finds unequal is
// explained afterwards.
func (m *rehearsing) compare() error {
	return m.attempt(compared, func(ctx workflow.Context) error {
		options := pollUntilDone("verify " + indexCount(m.Indices.Len()))
		found, err := call[migration.VerifyResult](ctx, options, migration.ActivityVerifyTarget,
			m.verifyRequest(m.Indices, migration.Standstill{}))
		if err != nil {
			return err
		}
		m.Rehearsal.Verified, m.Rehearsal.Unlisted, m.metadata = found.Indices, found.Unlisted, found.Metadata
		return nil
	})
}

// explainDifferences finds out which indices took writes since their snapshot: those may differ,
// and the others may not. Settings and mappings should be the same in either case.
func (m *rehearsing) explainDifferences() error {
	var names []string
	for _, index := range m.Rehearsal.Verified {
		names = append(names, index.Name)
	}
	moved := func(string) bool { return true }
	err := m.attemptOptional("find the indices that were written since their snapshot",
		func(ctx workflow.Context) error {
			found, err := m.resolve(ctx, names...)
			moved = m.moved(found)
			return err
		})
	if err != nil {
		return err
	}
	now := workflow.Now(m.root)
	if unlisted := m.Rehearsal.Unlisted; unlisted != nil && unlisted.Unequal > 0 {
		m.Rehearsal.note(now, migration.Attention{
			Step: compared, Type: string(migration.ErrorVerification),
			Message: fmt.Sprintf("%d more indices are not equal. They are too many to look at each: find out which of "+
				"them were written on the source since the snapshot", unlisted.Unequal),
		})
	}
	for i := range m.Rehearsal.Verified {
		index := &m.Rehearsal.Verified[i]
		index.Moved = moved(index.Name)
		if !index.Equal && !index.Moved {
			m.Rehearsal.note(now, migration.Attention{
				Step: compared, Type: string(migration.ErrorVerification),
				Message: fmt.Sprintf("index %s is not equal, although nothing was written to it on the source since "+
					"the snapshot: %s",
					index.Name, strings.Join(index.Differences, "; ")),
			})
		}
		if found := m.metadata[index.Name]; len(found) > 0 {
			text := index.Name + ": " + strings.Join(found, "; ")
			if index.Moved {
				text += " (it was written on the source since the snapshot, which may be the cause)"
			}
			m.Rehearsal.note(now, migration.Attention{
				Step: compared, Type: "Differs", Message: text,
				Remedy: "This stops no migration. Before the cutover, decide whether the target needs it. " +
					"To leave out settings that the target must not have, use restore.ignoreSettings.",
			})
		}
	}
	return nil
}

// afterInterval predicts the window that begins a complete interval after the last round, at the
// rate at which the source was written.
func (m *rehearsing) afterInterval(measured migration.FrozenWindow) *migration.Prediction {
	writes, known := m.usualWrites(m.plan.Rounds.Interval.Std().Milliseconds())
	if !known {
		return nil
	}
	prediction := migration.Measured{Rounds: m.Rounds, Window: &measured}.Predict(writes)
	prediction.AtMillis = workflow.Now(m.root).UnixMilli()
	return &prediction
}

func (m *rehearsing) measureFootprint() error {
	return m.attemptOptional("measure the space that it takes", func(ctx workflow.Context) error {
		options := pollUntilDone("space of " + indexCount(m.Indices.Len()))
		footprint, err := call[migration.Footprint](ctx, options, migration.ActivityMeasureFootprint,
			m.rehearsedIndices())
		if err == nil {
			m.Rehearsal.Footprint = &footprint
		}
		return err
	})
}

func (m *rehearsing) rehearsedIndices() migration.RehearsedIndicesRequest {
	return migration.RehearsedIndicesRequest{
		Run: m.forActivities(), Indices: m.Indices.Inline, IndicesOf: m.Indices.Of(),
		Expected: m.Counters, ExpectedOf: m.CountersOf, Begun: m.Begun, BegunOf: m.BegunOf,
	}
}
