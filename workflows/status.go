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
		IndicesTotal:     m.Indices.Len(),
		FreezeRequested:  m.FreezeRequested,
		Attention:        m.attention,
		Bandwidth:        m.Bandwidth,
		Prediction:       m.Prediction,
		Proven:           m.Proven,
		CloseEnough:      m.CloseEnough,
		AutoSpent:        m.AutoSpent,
		Warnings:         last(append(m.course.warnings(), m.unknownSignals()...), migration.StatusNotes),
		Notes:            last(m.Decisions, migration.StatusNotes),
		NotHot:           m.NotHot,
		Late:             m.guard.late,
		LateOmitted:      m.guard.lateOmitted,
		Failed:           last(m.Failed, migration.StatusNotes),
	}
	status.Hooks = last(m.Hooks, migration.StatusNotes)
	status.Notified = m.Notified
	status.FailedOmitted = m.FailedOmitted + len(m.Failed) - len(status.Failed)
	if m.prover != nil {
		status.Prove = m.prover.problem
	}
	status.Because, status.Skipped = m.changed.Because, m.changed.Skipped
	if m.copying.progress != nil {
		progress := *m.copying.progress
		status.Copy = &progress
	}
	for _, index := range m.shownIndices() {
		status.Indices = append(status.Indices, m.indexStatus(index))
	}
	if w := m.window; m.frozen() {
		status.CutoverRequested = w.cutoverRequested
		status.FrozenSinceMillis = w.sinceMillis
		if m.Phase.Frozen() {
			status.FrozenUntilMillis = w.untilMillis
		}
		status.FrozenWindow = w.result()
		status.DownSinceMillis = w.measured.DownSinceMillis
	}
	m.course.addTo(&status)
	var requests []migration.Request
	status.WaitsFor, requests = m.course.waitsFor()
	status.Next = m.commands(requests)
	return status
}

// unknownSignals warns of signals whose names mean nothing: Temporal accepts them, and whoever
// misspelt freeze would wait for ever.
func (m *run) unknownSignals() []string {
	var warnings []string
	for _, name := range workflow.GetUnhandledSignalNames(m.root) {
		warnings = append(warnings, fmt.Sprintf("snapferry does not know the signal %q. "+
			"It knows freeze, cutover, abort, pause, resume, retry, round and bandwidth.", name))
	}
	return warnings
}

// shownIndices are those that a status names. A person looks for what is not equal, and then for
// what the target lacks, so these come first.
func (m *run) shownIndices() []migration.Index {
	var unequal, absent, others []migration.Index
	known := m.Indices.Inline
	if m.Indices.Stored() {
		known = m.Indices.First(migration.StatusIndices)
	}
	taken := map[string]bool{}
	for _, index := range known {
		verdict, verified := m.window.verdict(index.Name)
		_, restored := m.of(index.Name)
		taken[index.Name] = true
		switch {
		case verified && !verdict.Equal:
			unequal = append(unequal, index)
		case !restored:
			absent = append(absent, index)
		default:
			others = append(others, index)
		}
	}
	if m.window != nil {
		for _, verdict := range m.window.verified { // of a list that lies in OSS
			if !verdict.Equal && !taken[verdict.Name] {
				unequal = append(unequal, migration.Index{Name: verdict.Name})
			}
		}
	}
	all := slices.Concat(unequal, absent, others)
	return all[:min(len(all), migration.StatusIndices)]
}

func (m *run) indexStatus(index migration.Index) migration.IndexStatus {
	status := migration.IndexStatus{
		Name: index.Name, Shards: index.Shards, SourceDocs: index.Docs, SourceBytes: index.Bytes, TargetDocs: -1,
	}
	if counter, restored := m.of(index.Name); restored {
		status.TargetDocs = counter.Docs
	}
	status.Equal = m.window.equal(index.Name)
	if verdict, verified := m.window.verdict(index.Name); verified {
		status.SourceDocs, status.TargetDocs = verdict.SourceDocs, verdict.TargetDocs
		if verdict.Equal && verdict.Evidence != nil {
			status.Evidence = verdict.Evidence.Text()
		}
	}
	return status
}

// commands are what a person can type to send one of these requests: ours, and Temporal's own for
// whoever has only that at hand.
func (m *run) commands(requests []migration.Request) []string {
	var commands []string
	name := m.starterName()
	for _, request := range requests {
		commands = append(commands,
			fmt.Sprintf("starter %s %s", request, name),
			fmt.Sprintf("temporal workflow signal --workflow-id %s --name %s", m.workflowID, request))
		if request == migration.RequestRetry && m.attention.OfHook() {
			commands = append(commands,
				fmt.Sprintf("starter %s %s --skip-hook", request, name),
				fmt.Sprintf("temporal workflow signal --workflow-id %s --name %s --input '{\"skipHook\": true}'",
					m.workflowID, request))
		}
	}
	return commands
}

// starterName is how the starter is told which migration is meant.
func (m *run) starterName() string { return starterName(m.workflowID, m.plan.Name) }

func starterName(workflowID, plan string) string {
	if workflowID != migration.WorkflowID(plan) { // started elsewhere under another id
		return "--workflow-id " + workflowID
	}
	return plan
}

// show puts the status where the Temporal UI shows it, in the current details, and in short where
// workflows are listed.
func (m *run) show(ctx workflow.Context) {
	status := m.status()
	workflow.SetCurrentDetails(ctx, report.StatusPage(status, m.forActivities().TargetIndex("*")))
	m.outline(ctx, status)
}

func last[T any](list []T, n int) []T {
	if len(list) > n {
		return list[len(list)-n:]
	}
	return list
}
