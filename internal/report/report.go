// Package report makes pages for people. Of the report that a migration ends with it makes text for
// a terminal, Markdown for a ticket, and one HTML page for the record, which loads nothing and so
// can be mailed, printed and kept. Of a status and of an audit's report it makes the pages that the
// Temporal UI shows.
//
// All of it is pure: values and a time zone in, text out. So workflow code may call it, and golden
// files below testdata show what a person sees. Numbers are formatted by package human.
package report

import (
	"fmt"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// view is a report in words, for all three forms.
type view struct {
	Title   string
	Outcome string
	// Tone is good, warn or bad.
	Tone   string
	Facts  []fact
	Window *window
	// WindowTitle and WindowNote say what the window is.
	WindowTitle, WindowNote string
	// Attention is what would have needed it in a rehearsal.
	Attention        []attention
	AttentionOmitted int
	Rounds           []round
	// RoundsOmitted counts those after the baseline that the report doesn't hold, RoundsLeftOut
	// those in the middle that a short form doesn't list.
	RoundsOmitted, RoundsLeftOut int
	Indices                      []index
	// IndicesOmitted is what is to be said of indices that the report doesn't hold.
	IndicesOmitted string
	Decisions      []decision
	Warnings       []string
	Remains        []string
	// Late is what took writes on the source after the cutover.
	Late []string
	// Failed are snapshots that failed, and why.
	Failed []string
	// Notified is what became of the last messages.
	Notified []string
	// NotHot is what no round took.
	NotHot []string
	// Hooks is what the plan's hooks said.
	Hooks []string
	// Chart and Sent are the rounds over time and the transcript, which only the HTML page has.
	Chart *chart
	Sent  *sentView
}

type fact struct{ Label, Value string }

// window is the frozen window and its parts.
type window struct {
	Started, Took string
	Parts         []part
}

type part struct {
	Class, Name, Took string
	// Percent of the window.
	Percent float64
}

type round struct {
	Number                int
	Kind, Snapshot        string
	Started               string
	Copied, Skipped, Rate string
	Snap, Copy, Restore   string
	Docs                  string
	// Part says how many indices took part, and why.
	Part string
	// Percentage is the bytes copied against the round that copied most.
	Percentage float64
}

type index struct {
	Name, Source, Target, Verdict, Checksum string
	// Unproven says that no evidence is known: reports of earlier versions hold none.
	Unproven    bool
	Equal       bool
	Differences []string
}

type decision struct {
	At, Request, By, Reason, Phase, Verdict, Commentary string
}

func newView(r migration.Report, zone *time.Location) view {
	v := view{
		Title: "Migration " + r.Plan, Warnings: r.Warnings, Remains: r.Remains,
		Late:     migration.LateSentences(r.Late, r.LateOmitted),
		Failed:   FailedSnapshots(r.Failed, r.FailedOmitted, zone),
		Hooks:    Hooks(r.Hooks, r.HooksOmitted, zone),
		Notified: Notified(r.Notified, zone),
		Window:   newWindow(r.FrozenWindow, zone), WindowTitle: "Frozen window",
	}
	if r.FrozenWindow != nil {
		v.WindowNote = "Writes to the source were blocked from " + v.Window.Started +
			". The wait for people does not count."
	}
	v.Outcome, v.Tone = outcome(r)
	var blobs, bytes, skipped int64
	for _, round := range r.Rounds {
		blobs, bytes, skipped = blobs+round.BlobsCopied, bytes+round.BytesCopied, skipped+round.BytesSkipped
	}
	v.Facts = []fact{
		{"Workflow", r.WorkflowID},
		{"Started", human.Clock(r.StartedMillis, zone)},
		{"Ended", human.Clock(r.EndedMillis, zone)},
		{"Took", human.Span(r.EndedMillis - r.StartedMillis)},
		{"Rounds", human.Count(int64(len(r.Rounds) + r.RoundsOmitted))},
	}
	if len(r.Rounds) > 0 {
		copied := fmt.Sprintf("%s in %s blobs; %s were already there", human.Size(bytes), human.Count(blobs),
			human.Size(skipped))
		if r.RoundsOmitted > 0 {
			// The sums can't count what the report leaves out.
			copied = fmt.Sprintf("more than %s in %s blobs (the report leaves out %d rounds)",
				human.Size(bytes), human.Count(blobs), r.RoundsOmitted)
		}
		v.Facts = append(v.Facts, fact{"Copied", copied})
	}
	if n := len(r.Rounds); n > 0 && r.Rounds[n-1].Skipped > 0 {
		last := r.Rounds[n-1]
		v.Facts = append(v.Facts, fact{"Took part in the last round", TookPart(last) + ". " + Skipped(last)})
	}
	if v.Window != nil {
		v.Facts = append(v.Facts, fact{"Frozen window", v.Window.Took})
		if r.Prediction != nil && r.Rehearsal == nil {
			v.Facts = append(v.Facts, fact{"Predicted before it", human.Span(r.Prediction.Millis)})
		}
		if blocked := r.FrozenWindow.BlockedMillis; blocked > 0 {
			v.Facts = append(v.Facts, fact{"Writes blocked", human.Span(blocked) +
				", from the block until the target took writes, including the wait for people"})
		}
		if down := Down(r.FrozenWindow); down != "" {
			v.Facts = append(v.Facts, fact{"Downtime", down})
		}
	}
	if e := r.Evidence; e != nil && e.Shards() > 0 {
		v.Facts = append(v.Facts, fact{"Verified by", verifiedBy(*e, zone)})
	}
	if n := len(r.Rounds); n > 0 && r.Rounds[n-1].Files != nil {
		v.Facts = append(v.Facts, fact{"Files of the last restore", restoredFiles(*r.Rounds[n-1].Files)})
	}
	if r.Rehearsal != nil {
		v.rehearsed(r, zone)
	}
	if r.Error != "" {
		v.Facts = append(v.Facts, fact{"Reason", r.Error})
	}
	v.Rounds, v.RoundsOmitted = newRounds(r.Rounds, zone), r.RoundsOmitted
	for _, i := range r.Indices {
		verdict := "equal"
		switch {
		case !i.Equal && i.Moved:
			verdict = "written since its snapshot"
		case !i.Equal:
			verdict = "NOT EQUAL"
		}
		if i.Evidence != nil && i.Equal && i.Evidence.Shards() > 0 {
			verdict += ": " + i.Evidence.Text()
		}
		v.Indices = append(v.Indices, index{
			Unproven: i.Evidence == nil,
			Name:     i.Name, Source: human.Count(i.SourceDocs), Target: human.Count(i.TargetDocs), Verdict: verdict,
			Checksum: i.Checksum, Equal: i.Equal || i.Moved, Differences: i.Differences,
		})
	}
	v.IndicesOmitted = Omitted(r.IndicesOmitted)
	v.Warnings = append(notOnTarget(r), v.Warnings...)
	v.NotHot = r.NotHot.Sentences()
	for _, d := range r.Decisions {
		v.Decisions = append(v.Decisions, decision{
			At: human.Clock(d.AtMillis, zone), Request: string(d.Request), By: d.By, Reason: d.Reason,
			Phase: string(d.Phase), Verdict: string(d.Verdict), Commentary: d.Commentary,
		})
	}
	return v
}

// notOnTarget says what the target lacks: indices that were left out of the handover, and settings.
func notOnTarget(r migration.Report) []string {
	var lacks []string
	for _, refusal := range r.NotHandedOver {
		lacks = append(lacks, fmt.Sprintf("index %s was left out of the handover: %s", refusal.Index, refusal.Message))
	}
	for _, setting := range r.SettingsLeftOut {
		lacks = append(lacks, setting.Sentence())
	}
	return lacks
}

// outcome says in a sentence how it ended.
func outcome(r migration.Report) (sentence, tone string) {
	unequal, all := 0, len(r.Indices)+r.IndicesOmitted.Indices()
	for _, index := range r.Indices {
		if !index.Equal {
			unequal++
		}
	}
	if r.IndicesOmitted != nil {
		unequal += r.IndicesOmitted.Unequal
	}
	switch {
	case r.Rehearsal != nil:
		return rehearsalOutcome(r)
	case r.Result == migration.ResultAborted:
		return "Aborted: the target was not handed over.", "bad"
	case r.Result != migration.ResultCompleted:
		return "Ended: " + r.Result + ".", "bad"
	case unequal > 0:
		return fmt.Sprintf("Completed, but %d of %d indices are not equal.", unequal, all), "bad"
	case len(r.Late) > 0:
		return fmt.Sprintf("Completed, but %d indices took writes on the source after the cutover.",
			len(r.Late)+r.LateOmitted), "bad"
	case len(r.NotHandedOver) > 0:
		return fmt.Sprintf("Completed, but %d of %d indices were left out of the handover.", len(r.NotHandedOver),
			all), "bad"
	case r.NotHot != nil:
		return "Completed: " + allEqual(all) + ". Others stay on the source, in UltraWarm or cold storage.", "warn"
	case len(r.Warnings)+len(r.SettingsLeftOut) > 0:
		return "Completed: " + allEqual(all) + ". Read the warnings.", "warn"
	}
	return "Completed: " + allEqual(all) + ".", "good"
}

// Omitted says what a report's list of indices leaves out; nothing if it leaves none out.
func Omitted(u *migration.Unlisted) string {
	if u.Indices() == 0 {
		return ""
	}
	text := fmt.Sprintf("and %s more indices", human.Count(int64(u.Indices())))
	if u.Unequal == 0 {
		text += fmt.Sprintf(", all equal, with %s documents", human.Count(u.SourceDocs))
	} else {
		text += fmt.Sprintf(", of which %s are not equal", human.Count(int64(u.Unequal)))
	}
	if u.Differing > 0 {
		text += fmt.Sprintf("; settings, mappings or aliases of %s differ", human.Count(int64(u.Differing)))
	}
	return text
}

func allEqual(indices int) string {
	if indices == 1 {
		return "the index is equal"
	}
	return fmt.Sprintf("all %d indices are equal", indices)
}

func newWindow(w *migration.FrozenWindow, zone *time.Location) *window {
	if w == nil {
		return nil
	}
	result := &window{Started: human.Clock(w.StartedMillis, zone), Took: human.Span(w.Millis)}
	for _, p := range windowSteps(*w) {
		result.Parts = append(result.Parts, part{
			Class: p.Class, Name: p.Name, Took: human.Span(p.millis), Percent: percent(p.millis, w.Millis),
		})
	}
	return result
}

func newRounds(rounds []migration.Round, zone *time.Location) []round {
	var most int64
	for _, r := range rounds {
		most = max(most, r.BytesCopied)
	}
	var result []round
	for _, r := range rounds {
		result = append(result, round{
			Number: r.Number, Kind: r.Kind, Snapshot: r.Snapshot, Started: human.Clock(r.StartTimeMillis, zone),
			Copied:  fmt.Sprintf("%s in %s blobs", human.Size(r.BytesCopied), human.Count(r.BlobsCopied)),
			Skipped: fmt.Sprintf("%s in %s blobs", human.Size(r.BytesSkipped), human.Count(r.BlobsSkipped)),
			Rate:    human.Rate(r.BytesCopied, r.CopyMillis),
			Snap:    human.Span(r.SnapshotMillis), Copy: human.Span(r.CopyMillis), Restore: human.Span(r.RestoreMillis),
			Docs: human.Count(r.Docs), Part: TookPart(r), Percentage: percent(r.BytesCopied, most),
		})
	}
	return result
}

func percent(part, total int64) float64 {
	if total <= 0 {
		return 0
	}
	return float64(int(1000*float64(part)/float64(total))) / 10
}
