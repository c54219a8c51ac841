package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// status is the answer to the query.
func (m *run) status() migration.Status {
	status := migration.Status{
		WorkflowID:       m.workflowID,
		Plan:             m.plan,
		Phase:            m.Phase,
		PhaseSinceMillis: m.PhaseSinceMillis,
		StartedMillis:    m.StartedMillis,
		Step:             m.step,
		Paused:           m.Paused,
		Round:            m.RoundNumber,
		RoundsEnded:      len(m.Rounds) + m.RoundsOmitted,
		Rounds:           last(m.Rounds, migration.StatusRounds),
		IndicesTotal:     len(m.Indices),
		FreezeRequested:  m.FreezeRequested,
		Attention:        m.attention,
		Bandwidth:        m.Bandwidth,
		Prediction:       m.Prediction,
		CloseEnough:      m.CloseEnough,
		AutoSpent:        m.AutoSpent,
		Warnings:         last(append(m.warnings(), m.unknownSignals()...), migration.StatusNotes),
		Notes:            last(m.Decisions, migration.StatusNotes),
	}
	if m.ferry.progress != nil {
		progress := *m.ferry.progress
		status.Copy = &progress
	}
	if m.Rehearsal != nil {
		found := m.Rehearsal.Rehearsal
		found.Attention = slices.Clone(found.Attention)
		status.Rehearsal = &found
	} else if m.Phase == migration.PhaseRounds {
		status.NextRoundMillis = m.NextRoundMillis
	}
	for i, index := range m.Indices {
		if i == migration.StatusIndices {
			break
		}
		status.Indices = append(status.Indices, m.indexStatus(index))
	}
	if w := m.window; w != nil {
		status.CutoverRequested = w.cutoverRequested
		status.FrozenSinceMillis = w.sinceMillis
		if m.Phase.Frozen() {
			status.FrozenUntilMillis = w.untilMillis
		}
		if w.proven {
			measured := w.measured
			status.FrozenWindow = &measured
		}
	}
	status.WaitsFor, status.Next = m.waitsFor()
	return status
}

// unknownSignals tells of signals whose names mean nothing: Temporal accepts
// them, and whoever misspelt freeze would wait for ever.
func (m *run) unknownSignals() []string {
	var warnings []string
	for _, name := range workflow.GetUnhandledSignalNames(m.root) {
		warnings = append(warnings, fmt.Sprintf("a signal %q came, which means nothing here; known are freeze, cutover, abort, pause, resume, retry, round, bandwidth", name))
	}
	return warnings
}

func (m *run) indexStatus(index migration.Index) migration.IndexStatus {
	status := migration.IndexStatus{
		Name: index.Name, Shards: index.Shards, SourceDocs: index.Docs, SourceBytes: index.Bytes, TargetDocs: -1,
	}
	if counter, restored := m.Counters[index.Name]; restored {
		status.TargetDocs = counter.Docs
	}
	if m.window == nil {
		return status
	}
	for _, verdict := range m.window.verified {
		if verdict.Name == index.Name {
			equal := verdict.Equal
			status.Equal = &equal
			status.SourceDocs, status.TargetDocs = verdict.SourceDocs, verdict.TargetDocs
		}
	}
	return status
}

// waitsFor says what a person can do, with the exact commands: ours, and
// Temporal's own for whoever has only that at hand.
func (m *run) waitsFor() (string, []string) {
	switch {
	case m.Rehearsal != nil && m.Paused:
		return "resume", m.commands(migration.RequestResume)
	case m.Rehearsal != nil:
		return "", nil
	case m.attention != nil && !m.Phase.CanAbort():
		return "a person: " + m.attention.Step + " needs attention", m.commands(migration.RequestRetry)
	case m.attention != nil:
		return "a person: " + m.attention.Step + " needs attention", m.commands(migration.RequestRetry, migration.RequestAbort)
	case m.Paused && m.Phase.BeforeFreeze():
		return "resume", m.commands(migration.RequestResume)
	case m.Phase == migration.PhaseAwaitCutover:
		return "cutover: the target is verified, writes to the source are blocked", m.commands(migration.RequestCutover, migration.RequestAbort)
	case m.Phase == migration.PhaseRounds && m.step == "":
		return "the next round, or freeze", m.commands(migration.RequestFreeze, migration.RequestRound)
	case m.Phase == migration.PhaseRounds && !m.FreezeRequested:
		return "", m.commands(migration.RequestFreeze)
	}
	return "", nil
}

func (m *run) commands(requests ...migration.Request) []string {
	var commands []string
	name := m.plan.Name
	if m.workflowID != migration.WorkflowID(name) { // started elsewhere under another id
		name = "--workflow-id " + m.workflowID
	}
	for _, request := range requests {
		commands = append(commands,
			fmt.Sprintf("starter %s %s", request, name),
			fmt.Sprintf("temporal workflow signal --workflow-id %s --name %s", m.workflowID, request))
	}
	return commands
}

// show puts the status where the Temporal UI shows it: the current details.
func (m *run) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, report.StatusPage(m.status(), m.forActivities().TargetIndex("*")))
}

func last[T any](list []T, n int) []T {
	if len(list) > n {
		return list[len(list)-n:]
	}
	return list
}
