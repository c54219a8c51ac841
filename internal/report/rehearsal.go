package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// attention is something that would have needed a person's attention.
type attention struct{ Step, Type, Message, Remedy, Times string }

// rehearsed turns the view of a report into that of a rehearsal's.
func (v *view) rehearsed(r migration.Report, zone *time.Location) {
	found := r.Rehearsal
	v.Title = "Rehearsal " + r.Plan
	v.Window, v.WindowTitle = newWindow(found.Window, zone), "Frozen window to expect"
	v.WindowNote = "Nothing was blocked. This was measured while writes went on, " +
		"on what was written since the round before. Only the time for block and standstill is an estimate."
	if v.Window != nil {
		v.Facts = append(v.Facts, fact{"Window to expect", v.Window.Took})
	}
	if p := found.AfterInterval; p != nil {
		v.Facts = append(v.Facts, fact{"After a full interval", human.Span(p.Millis) +
			", predicted for a window that begins one rounds.interval after the last round, at the write rate that " +
			"was seen. A hot round makes it shorter."})
	}
	if f := found.Footprint; f != nil {
		v.Facts = append(v.Facts,
			fact{"On the target's disks", fmt.Sprintf("%s; after a cutover, with the source's replicas, %s",
				human.Size(f.TargetBytes), human.Size(f.TargetBytesAfterCutover))},
			fact{"In S3", fmt.Sprintf("%s in %s objects", human.Size(f.S3Bytes), human.Count(f.S3Objects))},
			fact{"In OSS", fmt.Sprintf("%s in %s objects", human.Size(f.OSSBytes), human.Count(f.OSSObjects))})
	}
	for _, a := range found.Attention {
		item := attention{Step: a.Step, Type: a.Type, Message: strings.TrimSpace(a.Message), Remedy: a.Remedy}
		if a.Failures > 1 {
			item.Times = fmt.Sprintf(" (%d times)", a.Failures)
		}
		v.Attention = append(v.Attention, item)
	}
	v.AttentionOmitted = found.AttentionOmitted
}

// rehearsalOutcome says in a sentence how a rehearsal ended.
func rehearsalOutcome(r migration.Report) (sentence, tone string) {
	found := r.Rehearsal
	times := fmt.Sprintf("%d things", len(found.Attention)+found.AttentionOmitted)
	if times == "1 things" {
		times = "one thing"
	}
	switch {
	case r.Result == migration.ResultAborted:
		return "Aborted: the rehearsal was stopped before its end.", "bad"
	case found.EndedIn != "":
		const text = "The rehearsal could not get past phase %s. Fix what is listed, then rehearse again."
		return fmt.Sprintf(text, found.EndedIn), "bad"
	case len(found.Attention) > 0:
		return fmt.Sprintf("Rehearsed to the end: %s would have needed attention.", times), "warn"
	case len(r.Warnings) > 0:
		return "Rehearsed to the end: nothing would have needed attention. Read the warnings.", "warn"
	}
	return "Rehearsed to the end: nothing would have needed attention.", "good"
}

// Short is what a piece of attention comes to on one line.
func (a attention) Short() string {
	return fmt.Sprintf("%s: %s: %s%s", a.Step, a.Type, a.Message, a.Times)
}
