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
	// Predicted is what was foreseen right before the window was rehearsed,
	// Verified what came of the comparison.
	Predicted *migration.Prediction   `json:"predicted,omitempty"`
	Verified  []migration.IndexResult `json:"verified,omitempty"`
	// Remains is what could not be removed.
	Remains []string `json:"remains,omitempty"`
}

// rehearse carries out the present phase of a rehearsal: the steps of a migration,
// on throw-away names and without the block. Where a migration would wait for a
// person and the rehearsal can't go on without one, it removes what it has made.
func (m *run) rehearse() (migration.Phase, error) {
	next, err := m.rehearsePhase()
	if errors.Is(err, errRehearsalEnds) && !m.stopping() {
		m.Rehearsal.EndedIn = m.Phase
		return migration.PhaseCleanUp, nil
	}
	return next, err
}

func (m *run) rehearsePhase() (migration.Phase, error) {
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
		m.clean()
		return migration.PhaseCompleted, m.work.Err()
	}
	return "", fmt.Errorf("a rehearsal has no phase %q", m.Phase)
}

// measuringRound is the one that a migration measures the window by.
func (m *run) measuringRound() error {
	if err := m.throttle(liftedWindow); err != nil {
		return err
	}
	return m.round(migration.RoundIncremental)
}

// rehearseWindow does what a migration does while writes are blocked, and
// measures it.
func (m *run) rehearseWindow() error {
	r, predicted := m.Rehearsal, *m.Prediction
	r.Predicted = &predicted
	whole := m.startWatch()
	if err := m.round(migration.RoundRehearsed); err != nil {
		return err
	}
	last := m.Rounds[len(m.Rounds)-1]
	verification := m.startWatch()
	err := m.compare()
	window := migration.FrozenWindow{
		StartedMillis: whole.beganMillis, Millis: predicted.BlockMillis + m.elapsed(whole), BlockMillis: predicted.BlockMillis,
		SnapshotMillis: last.SnapshotMillis, CopyMillis: last.CopyMillis, RestoreMillis: last.RestoreMillis, VerifyMillis: m.elapsed(verification),
	}
	if err == nil {
		r.Window = &window
		r.AfterInterval = m.afterInterval(window)
		err = m.judgeComparison()
	}
	if failed := m.measureFootprint(); err == nil {
		err = failed
	}
	return err
}

const compared = "compare the target with the source"

// compare runs the verification. The source goes on taking writes, so what it
// finds unequal is judged afterwards.
func (m *run) compare() error {
	return m.attempt(compared, func(ctx workflow.Context) error {
		found, err := call[migration.VerifyResult](ctx, pollUntilDone("verify "+indexCount(len(m.Indices))), migration.ActivityVerifyTarget,
			migration.VerifyRequest{Run: m.forActivities(), Indices: m.Indices, Counters: m.Counters})
		if err != nil {
			return err
		}
		m.Rehearsal.Verified, m.metadata = found.Indices, found.Metadata
		return nil
	})
}

// judgeComparison looks which indices took writes since their snapshot: those may
// differ, and the others may not. Settings and mappings should be the same in
// either case.
func (m *run) judgeComparison() error {
	writes := map[string]int64{}
	err := m.attemptDispensable("see which indices took writes meanwhile", func(ctx workflow.Context) error {
		found, err := call[[]migration.Index](ctx, quickCall("indices "+patterns(m.plan)), migration.ActivityResolveIndices, m.forActivities())
		for _, index := range found {
			writes[index.Name] = index.Writes
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := range m.Rehearsal.Verified {
		index := &m.Rehearsal.Verified[i]
		now, there := writes[index.Name]
		seen, known := m.SeenWrites[index.Name]
		index.Moved = !there || !known || now != seen
		if !index.Equal && !index.Moved {
			m.note(migration.Attention{Step: compared, Type: string(migration.ErrorVerification),
				Message: fmt.Sprintf("index %s is not equal, although the source took no write to it since the snapshot: %s", index.Name, strings.Join(index.Differences, "; "))})
		}
		if found := m.metadata[index.Name]; len(found) > 0 {
			text := index.Name + ": " + strings.Join(found, "; ")
			if index.Moved {
				text += " (the source took writes meanwhile, which may be why)"
			}
			m.note(migration.Attention{Step: compared, Type: "Differs", Message: text,
				Remedy: "it would stop nothing; before the cutover, decide whether the target needs it, and leave out what it must not have with restore.ignoreSettings"})
		}
	}
	return nil
}

// afterInterval predicts the window that begins a whole interval after the last
// round, at the rate at which the source was written.
func (m *run) afterInterval(measured migration.FrozenWindow) *migration.Prediction {
	first, last := m.Rounds[0], m.Rounds[len(m.Rounds)-1]
	span := last.StartTimeMillis - first.StartTimeMillis
	if span <= 0 {
		return nil
	}
	var writes int64
	for _, round := range m.Rounds[1:] {
		writes += round.Writes
	}
	writes = int64(float64(writes) / float64(span) * float64(m.plan.Rounds.Interval.Std().Milliseconds()))
	prediction := migration.Measured{Rounds: m.Rounds, Window: &measured}.Predict(writes)
	prediction.AtMillis = workflow.Now(m.root).UnixMilli()
	return &prediction
}

func (m *run) measureFootprint() error {
	return m.attemptDispensable("measure the room that it takes", func(ctx workflow.Context) error {
		footprint, err := call[migration.Footprint](ctx, pollUntilDone("room of "+indexCount(len(m.Indices))), migration.ActivityMeasureFootprint, m.rehearsedIndices())
		if err == nil {
			m.Rehearsal.Footprint = &footprint
		}
		return err
	})
}

func (m *run) rehearsedIndices() migration.RehearsedIndicesRequest {
	return migration.RehearsedIndicesRequest{Run: m.forActivities(), Indices: m.Indices, Expected: m.Counters, Begun: m.Begun}
}

// attemptDispensable is attempt for a step without which there is less to know or
// more to wait for, and no data at stake: a rehearsal notes that it failed, and
// goes on.
func (m *run) attemptDispensable(step string, run func(ctx workflow.Context) error) error {
	err := m.attempt(step, run)
	if errors.Is(err, errRehearsalEnds) {
		return nil
	}
	return err
}

// noted remembers a failure for which a migration would have waited for a person.
// What that person's retry mends by itself is tried once more; anything else ends
// the step.
func (m *run) noted(attention migration.Attention) error {
	failure := migration.ErrorType(attention.Type)
	m.note(attention)
	onceMore := attention.Failures == 1 && (failure == migration.ErrorTargetWritten || failure == migration.ErrorRestoreFailed) ||
		failure.TakesNewSnapshot() && m.Attempt == 1
	if onceMore {
		return nil
	}
	return errRehearsalEnds
}

// note remembers what would have needed attention, once.
func (m *run) note(attention migration.Attention) {
	r := m.Rehearsal
	if attention.SinceMillis == 0 {
		attention.SinceMillis = workflow.Now(m.root).UnixMilli()
	}
	if attention.Failures == 0 {
		attention.Failures = 1
	}
	if attention.Remedy == "" {
		attention.Remedy = migration.ErrorType(attention.Type).Remedy()
	}
	attention.Message = shortened(attention.Message)
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

// The most that is carried and reported of what would have needed attention.
const (
	maxAttention     = 100
	longestAttention = 2000
)

func shortened(message string) string {
	if len(message) > longestAttention {
		return strings.ToValidUTF8(message[:longestAttention], "") + " ..."
	}
	return message
}

// noteProblems remembers what preflight found that a rehearsal can do without.
func (m *run) noteProblems(problems []string) {
	for _, problem := range problems {
		m.note(migration.Attention{Step: "check clusters, buckets, versions and indices", Type: string(migration.ErrorPreflight), Message: problem})
	}
}

// clean removes everything that the rehearsal has made. What can't be removed
// keeps nothing else from being, and is named in the report. Any of it may be
// done already: a cancellation on the way begins it anew.
func (m *run) clean() {
	r, run := m.Rehearsal, m.forActivities()
	r.Remains = nil
	if !r.Prepared {
		return
	}
	m.stopSnapshot()
	m.putBackThrottles()
	source, target := m.plan.Source.Repository.Bucket+"/"+run.SourceBasePath()+"/", m.plan.Target.Repository.Bucket+"/"+run.TargetBasePath()+"/"
	restored := len(m.Counters)+len(m.Begun) > 0
	indices := "target: the indices " + run.TargetIndex("*") + ", blocked for writes; delete them"
	if restored {
		deleted := remove[migration.DeletedIndices](m, "delete the throw-away indices", migration.ActivityDeleteRehearsedIndices, m.rehearsedIndices(), indices)
		for _, name := range deleted.Left {
			m.left("target: index " + name + ", which the rehearsal didn't restore; look at it")
		}
	}
	began := len(m.Rounds) > 0 || m.Attempt > 0
	if began {
		deleted := remove[migration.DeletedSnapshots](m, "delete the snapshots", migration.ActivityDeleteSnapshots, run,
			"S3: the snapshots below "+source+"; delete that folder")
		const why = "what Elasticsearch leaves of a repository without snapshots, and the worker's key can't delete"
		switch {
		case deleted.LeftObjects > 0:
			m.left(fmt.Sprintf("S3: %d objects (%s) below %s: %s; delete that folder", deleted.LeftObjects, human.Size(deleted.LeftBytes), source, why))
		case deleted.Unseen != "":
			m.left(fmt.Sprintf("S3: perhaps some small objects below %s (they can't be listed: %s): %s", source, deleted.Unseen, why))
		}
	}
	name := run.RepositoryName()
	remove[any](m, "unregister the repositories", migration.ActivityUnregisterRepositories, run,
		fmt.Sprintf("either cluster: the registered repository %s, on the target with its OSS key; DELETE _snapshot/%s", name, name))
	if restored {
		// A restore that a killed worker had asked for may have come after the first
		// time. Without the repository none can come any more.
		remove[migration.DeletedIndices](m, "make sure that the throw-away indices are gone", migration.ActivityDeleteRehearsedIndices, m.rehearsedIndices(), indices)
	}
	if began {
		remove[migration.DeletedCopies](m, "delete the objects in OSS", migration.ActivityDeleteCopies, run,
			"OSS: the copies below "+target+"; delete that folder")
	}
}

// remove is one step of the cleaning.
func remove[T any](m *run, step, activity string, request any, otherwise string) T {
	m.step = step
	m.show(m.work)
	result, err := call[T](m.work, cleaning(step), activity, request)
	m.step = ""
	if err != nil && !m.stopping() {
		m.left(otherwise + " (" + shortened(m.describe(m.work, step, err, 1).Message) + ")")
	}
	return result
}

// left names something that remains, once.
func (m *run) left(text string) {
	if !slices.Contains(m.Rehearsal.Remains, text) {
		m.Rehearsal.Remains = append(m.Rehearsal.Remains, text)
	}
}

// cleaning is for removing what a rehearsal has made: nobody waits for it, a large
// snapshot takes its time to be deleted, and a cluster that is away may come back.
func cleaning(summary string) workflow.ActivityOptions {
	options := pollUntilDone(summary)
	options.ScheduleToCloseTimeout = 2 * time.Hour
	return options
}

// rehearsed completes the report of a rehearsal.
func (m *run) rehearsed(report migration.Report) migration.Report {
	r := m.Rehearsal
	found := r.Rehearsal
	report.Rehearsal, report.Prediction, report.Indices = &found, r.Predicted, r.Verified
	report.Remains = r.Remains
	if r.EndedIn != "" {
		report.Error = "the rehearsal could not get past phase " + string(r.EndedIn)
		if n := len(r.Attention); n > 0 {
			report.Error += ": " + r.Attention[n-1].Message
		}
	}
	return report
}
