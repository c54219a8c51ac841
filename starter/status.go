package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func (a *app) statusCommand() *cobra.Command {
	var flags targetFlags
	command := &cobra.Command{
		Use:   "status",
		Short: "Show the state of a migration and the command that moves it on",
		Long: `Shows the phase, the rounds, the indices, what the migration waits for, and the command
that moves it on. The exit code is 5 if it needs attention, and 6 if it was aborted or
has failed.`,
		Example: "  starter status movies\n  starter status movies -o json",
		RunE: func(c *cobra.Command, args []string) error {
			t, err := a.target(flags, args)
			if err != nil {
				return err
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			v, err := a.look(c.Context(), connection, t, true)
			if err != nil {
				return connection.explain(err, t)
			}
			if a.json() {
				if err := a.printJSON(v); err != nil {
					return err
				}
			} else {
				a.tell("%s", a.statusPage(v, t))
				a.next(v.next(t)...)
			}
			return silently(v.code())
		},
	}
	flags.add(command)
	return command
}

// statusPage is the status for people.
func (a *app) statusPage(v view, t target) string {
	var page strings.Builder
	section := func(title, text string) {
		if text != "" {
			fmt.Fprintf(&page, "\n%s\n%s", title, text)
		}
	}
	fmt.Fprintf(&page, "%s (workflow %s)\n", t.title(), t.id)
	page.WriteString(a.headline(v))
	if v.Status != nil {
		title := "Needs attention"
		if v.Attention != nil && v.Attention.Retrying {
			title = "Keeps failing"
		}
		section(title, a.attention(v.Attention))
	}
	section("Not moving", bullets(v.Problems))
	section("Guard", bullets(a.guardLines(v)))
	section("Running", a.underWay(v))
	if v.Status == nil {
		return page.String()
	}
	section("Would have needed attention", wouldNeed(v.Rehearsal))
	section("Rounds", a.rounds(*v.Status))
	section("Took part in the newest round", bullets(report.Taking(*v.Status)))
	section("Indices", indices(*v.Status))
	section("On the source after the cutover", bullets(migration.LateSentences(v.Late, v.LateOmitted)))
	section("Hooks", bullets(report.Hooks(v.Hooks, 0, a.zone)))
	section("Snapshots that failed", bullets(report.FailedSnapshots(v.Failed, v.FailedOmitted, a.zone)))
	section("Messages", bullets(report.Notified(v.Notified, a.zone)))
	section("Left on the source", bullets(v.NotHot.Sentences()))
	section("Warnings", bullets(v.Warnings))
	section("Requests", a.notes(v.Notes))
	return page.String()
}

// guardLines say where the guard stands, and what it could not do.
func (a *app) guardLines(v view) []string {
	s := v.Guard
	if s == nil {
		return nil
	}
	lines := []string{s.Sentence()}
	if v.GuardOfEarlier {
		lines[0] = "It serves an earlier run of this plan. " + lines[0]
	}
	if s.HooksDue {
		lines = append(lines, "it is calling the hooks after the thaw")
	}
	lines = append(lines, report.Hooks(s.Hooks, 0, a.zone)...)
	for _, refusal := range s.Remains {
		lines = append(lines, "our write block may still be on "+refusal.Index+": "+refusal.Message+" "+refusal.Remedy)
	}
	for _, refusal := range s.Refused {
		lines = append(lines, "not handed over: "+refusal.Index+": "+refusal.Message+" "+refusal.Remedy)
	}
	if more := s.RemainsOmitted + s.RefusedOmitted; more > 0 {
		lines = append(lines, human.Count(int64(more))+" more")
	}
	return lines
}

func (a *app) headline(v view) string {
	return table(func(row func(...string)) {
		e := v.Execution
		if !e.running() {
			row("Ended:", fmt.Sprintf("%s, %s", v.end(), a.ago(e.ClosedMillis)))
			if v.Failure != "" {
				row("Because:", v.Failure)
			}
		}
		s := v.Status
		if s == nil {
			row("Started:", a.ago(e.StartedMillis))
			return
		}
		if e.running() {
			phase := string(s.Phase)
			if s.Paused {
				phase += " (paused)"
			}
			row("Phase:", phase+", since "+a.ago(s.PhaseSinceMillis))
		}
		row("Started:", a.ago(s.StartedMillis))
		if s.Version != "" {
			row("Worker:", "version "+s.Version)
		}
		if s.Step != "" {
			row("Now:", s.Step)
		}
		if limit := bandwidth(*s); limit != "" {
			row("Bandwidth:", limit)
		}
		if s.WaitsFor != "" {
			row("Waits for:", s.WaitsFor)
		}
		if s.NextRoundMillis > 0 && !s.Paused {
			row("Next round:", a.ago(s.NextRoundMillis))
		}
		if s.FreezeRequested {
			row("Requested:", "freeze, as soon as the phase allows it")
		}
		if s.CutoverRequested && s.Phase.Frozen() {
			row("Requested:", "cutover, as soon as the target is verified")
		}
		if s.FrozenUntilMillis > 0 && s.FrozenSinceMillis > 0 {
			row("Writes:", fmt.Sprintf("blocked since %s; without a cutover, snapferry removes the block at %s",
				a.ago(s.FrozenSinceMillis), a.ago(s.FrozenUntilMillis)))
		}
		if s.DownSinceMillis > 0 && (s.Phase.Frozen() || s.Phase == migration.PhaseCutover) {
			row("Writers:", "stopped by a hook, since "+a.ago(s.DownSinceMillis))
		}
		if s.Prediction != nil && s.Phase.BeforeFreeze() {
			row("Window to expect:", describePrediction(*s.Prediction)+", as of "+a.ago(s.Prediction.AtMillis))
			if text := s.Convergence(); text != "" && s.Phase == migration.PhaseRounds {
				row("", text)
			}
		}
		if s.Proven != nil && s.Phase.BeforeFreeze() {
			row("Proven already:", report.ProvenBefore(*s.Proven, s.Prediction))
		}
		if s.Prove != "" {
			row("", "comparing before the freeze is held up: "+human.Line(s.Prove))
		}
		rehearsed(s.Rehearsal, row)
		if s.FrozenWindow != nil {
			row("Frozen window:", describeWindow(*s.FrozenWindow))
		}
	})
}

func (a *app) attention(attention *migration.Attention) string {
	if attention == nil {
		return ""
	}
	return table(func(row func(...string)) {
		row("Step:", attention.Step)
		row("Since:", a.ago(attention.SinceMillis))
		if attention.Failures > 1 {
			row("Failures:", fmt.Sprint(attention.Failures))
		}
		lines := strings.Split(strings.TrimSpace(attention.Message), "\n")
		row(attention.Type+":", lines[0])
		for _, line := range lines[1:] {
			row("", line)
		}
		row("What to do:", attention.Remedy)
	})
}

func (a *app) underWay(v view) string {
	var lines []string
	if c := v.copied; c != nil {
		lines = append(lines, strings.Join(append([]string{c.line()}, a.failingPages(c.failing)...), "\n"))
	}
	for _, step := range v.others {
		lines = append(lines, a.describeActivity(step))
	}
	return bullets(lines)
}

// shownRounds is how many of the newest rounds a status lists.
const shownRounds = 10

func (a *app) rounds(s migration.Status) string {
	if len(s.Rounds) == 0 {
		return ""
	}
	return table(func(row func(...string)) {
		row("ROUND", "BEGAN", "COPIED", "SNAPSHOT", "COPY", "RESTORE", "TOOK PART")
		shown := s.Rounds
		if len(shown) > shownRounds {
			shown = shown[len(shown)-shownRounds:]
		}
		if earlier := s.RoundsEnded - len(shown); earlier > 0 {
			row("...", fmt.Sprintf("%d earlier", earlier))
		}
		for _, r := range shown {
			row(fmt.Sprintf("%d %s", r.Number, r.Kind), a.clock(r.StartTimeMillis), human.Size(r.BytesCopied),
				human.Span(r.SnapshotMillis), human.Span(r.CopyMillis), human.Span(r.RestoreMillis),
				report.TookPart(r))
		}
	})
}

func indices(s migration.Status) string {
	if len(s.Indices) == 0 {
		return ""
	}
	return table(func(row func(...string)) {
		row("INDEX", "SHARDS", "SIZE", "AT SOURCE", "ON TARGET", "EQUAL")
		for _, index := range s.Indices {
			row(index.Name, unless0(int64(index.Shards), human.Count), unless0(index.SourceBytes, human.Size),
				human.Count(index.SourceDocs), restored(index.TargetDocs), evident(index))
		}
		if more := s.IndicesTotal - len(s.Indices); more > 0 {
			row("...", fmt.Sprintf("%d more", more))
		}
	})
}

func unless0(n int64, print func(int64) string) string {
	if n == 0 {
		return "-"
	}
	return print(n)
}

func restored(docs int64) string {
	if docs < 0 {
		return "not restored yet"
	}
	return human.Count(docs)
}

// evident says whether an index is equal, and by which evidence.
func evident(index migration.IndexStatus) string {
	if index.Evidence != "" {
		return equal(index.Equal) + ": " + index.Evidence
	}
	return equal(index.Equal)
}

func equal(verdict *bool) string {
	switch {
	case verdict == nil:
		return ""
	case *verdict:
		return "yes"
	}
	return "NO"
}

func (a *app) notes(notes []migration.Decision) string {
	var lines []string
	for _, note := range notes {
		lines = append(lines, a.clock(note.AtMillis)+" "+describeDecision(note))
	}
	return bullets(lines)
}

func bullets(lines []string) string {
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&text, "  - %s\n", strings.ReplaceAll(line, "\n", "\n    "))
	}
	return text.String()
}
