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

// CheckThrottle names the limit that costs most of the time.
func CheckThrottle(r migration.CheckReport) string {
	l, known := migration.SlowestLimit(r.Limits)
	if !known {
		return "none that is known"
	}
	where := "for all copies together"
	if l.Nodes > 0 {
		where = "on each of " + human.Things(l.Nodes, "node", "nodes")
	}
	set := ""
	if l.Default {
		set = ", Elasticsearch's default,"
	}
	return fmt.Sprintf("the slowest is %s of the %s: %s%s %s. With it, the baseline's %s takes at least %s",
		l.Setting, l.Step, l.Value, set, where, l.Step, human.Span(l.Millis(r.Bytes)))
}

// CheckWritten says what was written on the source while it was watched.
func CheckWritten(r migration.CheckReport) string {
	w := r.Written
	if w == nil {
		return "not known: " + r.NotWatched
	}
	if w.Nothing() {
		return "nothing within " + human.Span(w.Millis)
	}
	text := fmt.Sprintf("%s operations a second within %s, in %s with %s and %s", human.Amount(w.PerSecond()),
		human.Span(w.Millis), human.Things(w.Indices, "index", "indices"), human.Things(w.Shards, "shard", "shards"),
		human.Size(w.Bytes))
	if w.Deleted > 0 {
		text += fmt.Sprintf(" (%s of %s delete)", human.Count(w.Deleted), human.Count(w.Indexed+w.Deleted))
	}
	return text
}

// CheckRound says what an incremental round copies and takes.
func CheckRound(r migration.CheckReport) string {
	f := r.Round
	switch {
	case f == nil && r.Written != nil:
		return "not known: nothing was written while the source was watched"
	case f == nil:
		return "not known: what is written on the source is not known"
	}
	copies := "copies " + fromTo(human.Size(f.Least.Bytes), human.Size(f.Most.Bytes))
	every := "if one begins " + human.Span(f.IntervalMillis) + " after the last one ended"
	if f.NoTime != "" {
		return fmt.Sprintf("%s, %s; the time is not known: %s", copies, every, f.NoTime)
	}
	m := f.Most
	return fmt.Sprintf("%s, %s; it %s (at most: snapshot %s, copy %s, restore %s)",
		fromTo(human.Span(f.Least.Millis), human.Span(m.Millis)), every, copies, human.Span(m.SnapshotMillis),
		human.Span(m.CopyMillis), human.Span(m.RestoreMillis))
}

// fromTo is a span of two texts, or one of them if both are equal.
func fromTo(least, most string) string {
	if least == most {
		return "about " + least
	}
	return least + " to " + most
}

// CheckCosts sums up what the migration costs.
func CheckCosts(c migration.Costs) string {
	text := fmt.Sprintf("about %s %s for the baseline, %s each day, %s in %s", human.Amount(c.Baseline), c.Currency,
		human.Amount(c.Daily), human.Amount(c.Total), human.Things(c.Days, "day", "days"))
	if c.NoRounds != "" {
		text += ". No rounds are in it: " + c.NoRounds
	}
	return text
}

// CostRow is one line of a table of costs.
type CostRow struct{ Item, Baseline, BaselineOf, Daily, DailyOf string }

// CostRows are all lines of it, the sums last.
func CostRows(c migration.Costs) []CostRow {
	var rows []CostRow
	of := func(quantity float64, unit string) string {
		if quantity == 0 {
			return ""
		}
		return human.Amount(quantity) + " " + unit
	}
	for _, i := range c.Items {
		rows = append(rows, CostRow{
			i.Item, human.Amount(i.Baseline), of(i.BaselineQuantity, i.Unit), human.Amount(i.Daily),
			of(i.DailyQuantity, i.Unit),
		})
	}
	return append(rows, CostRow{Item: "Sum", Baseline: human.Amount(c.Baseline), Daily: human.Amount(c.Daily)})
}

// CostsNote says what the table counts.
func CostsNote(c migration.Costs) string {
	return "In " + c.Currency + ", at the prices that were given. A GB is 1,073,741,824 bytes, a month 30 days. The " +
		"table counts rather too much than too little; docs/check.md says how."
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
	page.add("\nThrottles: %s.", CheckThrottle(r))
	page.add("\nBaseline: %s.", CheckForecast(r))
	page.add("\nWritten: %s.", CheckWritten(r))
	page.add("\nRound: %s.", CheckRound(r))
	return human.Visible(page.String())
}

// checkView is a check as its page shows it.
type checkView struct {
	Title, Outcome, Tone string
	Facts                []fact
	Areas                []migration.CheckArea
	// Costs are empty without prices.
	Costs     []CostRow
	CostsNote string
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
			{Label: "Throttles", Value: CheckThrottle(r)},
			{Label: "Baseline", Value: CheckForecast(r)},
			{Label: "Written", Value: CheckWritten(r)},
			{Label: "Round", Value: CheckRound(r)},
		},
	}
	if r.Costs != nil {
		view.Facts = append(view.Facts, fact{Label: "Costs", Value: CheckCosts(*r.Costs)})
		view.Costs, view.CostsNote = CostRows(*r.Costs), CostsNote(*r.Costs)
	}
	var out bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&out, "check.html", view); err != nil {
		return nil, err
	}
	return []byte(human.Visible(out.String())), nil
}
