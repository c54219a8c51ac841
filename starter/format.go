package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func table(fill func(row func(...string))) string {
	var out bytes.Buffer
	human.Table(&out, fill)
	return out.String()
}

// clock prints an instant in local time. It adds the date if that is more than half a day away.
func (a *app) clock(millis int64) string {
	t := time.UnixMilli(millis).In(a.zone)
	if away := a.now().Sub(t).Abs(); away < 12*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// ago prints an instant and its distance from now.
func (a *app) ago(millis int64) string {
	distance := a.now().UnixMilli() - millis
	if distance < 0 {
		return fmt.Sprintf("%s (in %s)", a.clock(millis), seconds(-distance))
	}
	return fmt.Sprintf("%s (%s ago)", a.clock(millis), seconds(distance))
}

// seconds is a span without fractions of a second, for a person who reads it once.
func seconds(millis int64) string { return human.Span((millis + 500) / 1000 * 1000) }

// progressText says how much of an activity is done.
func progressText(p *migration.Progress) string {
	if p == nil {
		return ""
	}
	var parts []string
	add := func(done, total int64, print func(int64) string, unit string) {
		switch {
		case total > 0:
			parts = append(parts, fmt.Sprintf("%s of %s%s", print(done), print(total), unit))
		case done > 0:
			parts = append(parts, print(done)+unit)
		}
	}
	add(p.BlobsDone, p.BlobsTotal, human.Count, " blobs")
	add(p.BytesDone, p.BytesTotal, human.Size, "")
	add(int64(p.ShardsDone), int64(p.ShardsTotal), human.Count, " shards")
	add(p.DocsDone, p.DocsTotal, human.Count, " documents")
	text := p.Doing
	if len(parts) > 0 {
		text = strings.TrimPrefix(text+": "+strings.Join(parts, ", "), ": ")
	}
	if p.Waiting != "" {
		text = strings.TrimPrefix(text+"; waits for "+p.Waiting, "; ")
	}
	return text
}

// measure is the most useful of an activity's counters. total is 0 if none is known.
func measure(p *migration.Progress) (done, total int64) {
	switch {
	case p == nil:
		return 0, 0
	case p.BytesTotal > 0:
		return p.BytesDone, p.BytesTotal
	case p.BlobsTotal > 0:
		return p.BlobsDone, p.BlobsTotal
	case p.ShardsTotal > 0:
		return int64(p.ShardsDone), int64(p.ShardsTotal)
	case p.DocsTotal > 0:
		return p.DocsDone, p.DocsTotal
	}
	return 0, 0
}

// describeActivity is one line about a step that runs or waits.
func (a *app) describeActivity(step activity) string {
	var parts []string
	if text := progressText(step.Progress); text != "" {
		parts = append(parts, text)
	}
	switch {
	case step.State == statePaused:
		parts = append(parts, "paused by an operator of Temporal (temporal activity unpause)")
	case step.State == stateCancelRequested:
		parts = append(parts, "being stopped")
	case step.State == stateScheduled && step.Attempt > 1 && step.NextAttemptMillis > 0:
		parts = append(parts, fmt.Sprintf("attempt %d at %s", step.Attempt, a.clock(step.NextAttemptMillis)))
	case step.State == stateScheduled:
		parts = append(parts, "waits for a worker")
	case step.Attempt > 1:
		parts = append(parts, fmt.Sprintf("attempt %d", step.Attempt))
	}
	if step.LastFailure != "" {
		parts = append(parts, "last failure: "+step.LastFailure)
	}
	if len(parts) == 0 {
		return step.Type
	}
	return step.Type + ": " + strings.Join(parts, "; ")
}

func describeRound(r migration.Round) string {
	if r.Snapshot == "" {
		return fmt.Sprintf("round %d (%s) has ended: nothing has changed since the last one, so there was no "+
			"snapshot; %s documents%s", r.Number, r.Kind, human.Count(r.Docs), tookPart(r))
	}
	return fmt.Sprintf("round %d (%s) has ended: %s: %s in %s blobs copied, %s blobs were there already; "+
		"snapshot %s, copy %s, restore %s; %s documents%s",
		r.Number, r.Kind, r.Snapshot, human.Size(r.BytesCopied), human.Count(r.BlobsCopied),
		human.Count(r.BlobsSkipped),
		human.Span(r.SnapshotMillis), human.Span(r.CopyMillis), human.Span(r.RestoreMillis), human.Count(r.Docs),
		tookPart(r))
}

// tookPart says how many indices took part in a round, as the end of a sentence.
func tookPart(r migration.Round) string {
	if text := report.TookPart(r); text != "" {
		return "; took part: " + text
	}
	return ""
}

func describeWindow(w migration.FrozenWindow) string {
	block := human.Span(w.BlockMillis)
	if w.HookMillis > 0 {
		block += ", hooks " + human.Span(w.HookMillis)
	}
	if w.Groups > 0 {
		return fmt.Sprintf("%s (block and standstill %s, snapshot, copy and restore %s in %d groups that overlap, "+
			"verification %s)",
			human.Span(w.Millis), block, human.Span(w.GroupedMillis), w.Groups,
			human.Span(w.VerifyMillis))
	}
	return fmt.Sprintf("%s (block and standstill %s, snapshot %s, copy %s, restore %s, verification %s)",
		human.Span(w.Millis),
		block, human.Span(w.SnapshotMillis), human.Span(w.CopyMillis), human.Span(w.RestoreMillis),
		human.Span(w.VerifyMillis))
}

func describePrediction(p migration.Prediction) string {
	return describeWindow(p.Window())
}

func describeDecision(d migration.Decision) string {
	text := string(d.Request)
	if d.By != "" {
		text += " by " + d.By
	}
	if d.Reason != "" {
		text += " (" + d.Reason + ")"
	}
	text += ": " + string(d.Verdict)
	if d.Commentary != "" {
		text += ", " + d.Commentary
	}
	return text
}
