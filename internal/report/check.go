package report

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// CheckVerdict is what a check comes to, in one sentence.
func CheckVerdict(r migration.CheckReport) string {
	problems, warnings := 0, 0
	for _, area := range r.Areas {
		problems += len(area.Problems)
		warnings += len(area.Warnings)
	}
	switch {
	case problems > 0:
		return "Not ready: " + human.Things(problems, "problem", "problems") + "."
	case warnings > 0:
		return "Ready, with " + human.Things(warnings, "warning", "warnings") + "."
	}
	return "Ready."
}

// CheckVersions are those of both clusters.
func CheckVersions(r migration.CheckReport) string {
	return cmp.Or(r.SourceVersion, "unknown") + " to " + cmp.Or(r.TargetVersion, "unknown")
}

// CheckScope says what the plan moves.
func CheckScope(r migration.CheckReport) string {
	return fmt.Sprintf("%s with %s, %s documents, %s", human.Things(r.Indices, "index", "indices"),
		human.Things(r.Shards, "shard", "shards"), human.Count(r.Docs), human.Size(r.Bytes))
}

// CheckProbe says what the probe has shown.
func CheckProbe(r migration.CheckReport) string {
	if r.Probed == nil {
		return "none: " + r.NoProbe
	}
	p := r.Probed
	return fmt.Sprintf("index %s, %s copied: snapshot %s, copy %s, restore %s", p.Index, human.Size(p.Bytes),
		human.Span(p.SnapshotMillis), human.Span(p.CopyMillis), human.Span(p.RestoreMillis))
}

// CheckForecast says how long the baseline takes.
func CheckForecast(r migration.CheckReport) string {
	switch f := r.Forecast; {
	case f != nil:
		return fmt.Sprintf("at most about %s at the pace of the probe (snapshot %s, copy %s, restore %s)",
			human.Span(f.BaselineMillis), human.Span(f.SnapshotMillis), human.Span(f.CopyMillis),
			human.Span(f.RestoreMillis))
	case r.Probed != nil:
		return fmt.Sprintf("not known: the probe copied less than %s, which says nothing of the pace",
			human.Size(migration.LeastProbe))
	}
	return "not known without a probe"
}

// CheckPage is a check for the Temporal UI, in Markdown.
func CheckPage(r migration.CheckReport) string {
	var page lines
	page.add("**%s**", CheckVerdict(r))
	for _, area := range r.Areas {
		for _, problem := range area.Problems {
			page.add("\n- **%s**: %s", area.Name, problem)
		}
	}
	for _, area := range r.Areas {
		for _, warning := range area.Warnings {
			page.add("\n- %s (warning): %s", area.Name, warning)
		}
	}
	page.add("\nMoves: %s.", CheckScope(r))
	page.add("\nProbe: %s.", CheckProbe(r))
	page.add("\nBaseline: %s.", CheckForecast(r))
	return human.Visible(page.String())
}

// checkView is a check as its page shows it.
type checkView struct {
	Title, Outcome, Tone string
	Facts                []fact
	Areas                []migration.CheckArea
}

// CheckHTML is a check as one page that loads nothing.
func CheckHTML(r migration.CheckReport) ([]byte, error) {
	tone := "good"
	switch {
	case !r.Ready:
		tone = "bad"
	case slices.ContainsFunc(r.Areas, func(a migration.CheckArea) bool { return len(a.Warnings) > 0 }):
		tone = "warn"
	}
	view := checkView{
		Title: "Check of the plan " + r.Plan, Outcome: CheckVerdict(r), Tone: tone, Areas: r.Areas,
		Facts: []fact{
			{Label: "Versions", Value: CheckVersions(r)},
			{Label: "Moves", Value: CheckScope(r)},
			{Label: "Probe", Value: CheckProbe(r)},
			{Label: "Baseline", Value: CheckForecast(r)},
		},
	}
	var out bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&out, "check.html", view); err != nil {
		return nil, err
	}
	return []byte(human.Visible(out.String())), nil
}
