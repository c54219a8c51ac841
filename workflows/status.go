package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
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
	workflow.SetCurrentDetails(ctx, m.markdown())
}

// markdown is the status as a page. It holds no relative times: it is only
// written when something changes.
func (m *run) markdown() string {
	status := m.status()
	var page strings.Builder
	line := func(format string, args ...any) { page.WriteString(fmt.Sprintf(format+"\n", args...)) }

	if status.Rehearsal != nil {
		line("**A rehearsal**: it blocks no write, works on throw-away indices (%s) and removes what it has made\n", m.forActivities().TargetIndex("*"))
	}
	line("**Phase: %s**%s since %s", status.Phase, paused(status.Paused), human.Clock(status.PhaseSinceMillis, time.UTC))
	if status.Step != "" {
		line("\nNow: %s", status.Step)
	}
	if c := status.Copy; c != nil {
		line("\nCarried: %d of %d pages, %d of %d blobs, %s of %s", c.PagesDone, c.PagesTotal, c.BlobsDone, c.BlobsTotal, human.Size(c.BytesDone), human.Size(c.BytesTotal))
	}
	if status.Bandwidth != nil {
		line("\nCopies read at most %s together", status.Bandwidth)
	}
	if attention := status.Attention; attention != nil {
		line("\n### Needs attention since %s\n\n%s: **%s**\n\n> %s\n\nWhat to do: %s", human.Clock(attention.SinceMillis, time.UTC), attention.Step, attention.Type,
			strings.ReplaceAll(attention.Message, "\n", "\n> "), attention.Remedy)
	}
	m.rehearsalPage(status.Rehearsal, line)
	if status.FrozenUntilMillis > 0 && status.FrozenSinceMillis > 0 {
		line("\nWrites to the source are blocked since %s. Without a cutover they are given free at %s.", human.Clock(status.FrozenSinceMillis, time.UTC), human.Clock(status.FrozenUntilMillis, time.UTC))
	}
	if p := status.Prediction; p != nil && status.Phase.BeforeFreeze() {
		line("\nA frozen window would take about %s (block %s, snapshot %s, copy %s, restore %s, verification %s), as of %s",
			human.Span(p.Millis), human.Span(p.BlockMillis), human.Span(p.SnapshotMillis), human.Span(p.CopyMillis), human.Span(p.RestoreMillis), human.Span(p.VerifyMillis), human.Clock(p.AtMillis, time.UTC))
	}
	if status.CloseEnough && status.Phase == migration.PhaseRounds {
		line("\n%s", status.Convergence())
	}
	if w := status.FrozenWindow; w != nil {
		line("\nFrozen window: %s (block %s, snapshot %s, copy %s, restore %s, verification %s)",
			human.Span(w.Millis), human.Span(w.BlockMillis), human.Span(w.SnapshotMillis), human.Span(w.CopyMillis), human.Span(w.RestoreMillis), human.Span(w.VerifyMillis))
	}
	if status.WaitsFor != "" {
		line("\nWaits for %s", status.WaitsFor)
	}
	if status.Phase == migration.PhaseRounds && status.NextRoundMillis > 0 && !status.Paused {
		line("\nNext round: %s", human.Clock(status.NextRoundMillis, time.UTC))
	}
	if len(status.Next) > 0 {
		line("\n```\n%s\n```", strings.Join(status.Next, "\n"))
	}
	if len(status.Rounds) > 0 {
		line("\n| round | kind | snapshot | copied | skipped | snapshot | copy | restore | documents |\n|---|---|---|---|---|---|---|---|---|")
		for _, r := range status.Rounds {
			line("| %d | %s | %s | %d blobs, %s | %d blobs | %s | %s | %s | %d |", r.Number, r.Kind, r.Snapshot,
				r.BlobsCopied, human.Size(r.BytesCopied), r.BlobsSkipped, human.Span(r.SnapshotMillis), human.Span(r.CopyMillis), human.Span(r.RestoreMillis), r.Docs)
		}
	}
	if len(status.Indices) > 0 {
		line("\n| index | shards | documents at the source | on the target | equal |\n|---|---|---|---|---|")
		for _, index := range status.Indices {
			line("| %s | %d | %d | %s | %s |", index.Name, index.Shards, index.SourceDocs, known(index.TargetDocs), verdict(index.Equal))
		}
		if more := status.IndicesTotal - len(status.Indices); more > 0 {
			line("\nand %d more", more)
		}
	}
	for _, warning := range status.Warnings {
		line("\n- Warning: %s", warning)
	}
	for _, note := range status.Notes {
		line("\n- %s %s%s: %s, %s", human.Clock(note.AtMillis, time.UTC), note.Request, by(migration.RequestInput{By: note.By, Reason: note.Reason}), note.Verdict, note.Commentary)
	}
	return page.String()
}

func paused(yes bool) string {
	if yes {
		return " (paused)"
	}
	return ""
}

func known(docs int64) string {
	if docs < 0 {
		return "not yet"
	}
	return fmt.Sprint(docs)
}

func verdict(equal *bool) string {
	switch {
	case equal == nil:
		return ""
	case *equal:
		return "yes"
	}
	return "**no**"
}

func last[T any](list []T, n int) []T {
	if len(list) > n {
		return list[len(list)-n:]
	}
	return list
}
