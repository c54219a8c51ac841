package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// lines collects lines of Markdown.
type lines struct{ strings.Builder }

func (l *lines) add(format string, args ...any) { l.WriteString(fmt.Sprintf(format+"\n", args...)) }

// StatusPage prints a status as a page for the Temporal UI, in Markdown. It holds no relative
// times, because it is only written when something changes; clock times are in UTC, because a
// workflow doesn't know where its reader lives. thrownAway is what a rehearsal's indices are called
// on the target.
func StatusPage(s migration.Status, thrownAway string) string {
	var page lines
	page.todo(s)
	if s.Rehearsal != nil {
		page.add("**A rehearsal**: it blocks no writes, restores into throw-away indices (%s), and removes what it "+
			"made.\n",
			thrownAway)
	}
	page.now(s)
	page.attention(s.Attention)
	page.rehearsal(s.Rehearsal)
	page.window(s)
	page.next(s)
	page.rounds(s.Rounds)
	page.took(s)
	page.indices(s)
	for _, late := range migration.LateSentences(s.Late, s.LateOmitted) {
		page.add("\n- **After the cutover**: %s", late)
	}
	for _, said := range Hooks(s.Hooks, 0, time.UTC) {
		page.add("\n- Hook: %s", said)
	}
	for _, failed := range FailedSnapshots(s.Failed, s.FailedOmitted, time.UTC) {
		page.add("\n- Failed snapshot: %s", human.Line(failed))
	}
	for _, message := range Notified(s.Notified, time.UTC) {
		page.add("\n- Message: %s", human.Line(message))
	}
	for _, apart := range s.NotHot.Sentences() {
		page.add("\n- **Left on the source**: %s", human.Line(apart))
	}
	for _, warning := range s.Warnings {
		page.add("\n- Warning: %s", human.Line(warning))
	}
	for _, note := range s.Notes {
		by := migration.RequestInput{By: note.By, Reason: note.Reason}.Byline()
		page.add("\n- %s %s%s: %s, %s", clock(note.AtMillis), note.Request, human.Line(by), note.Verdict,
			human.Line(note.Commentary))
	}
	return human.Visible(page.String())
}

// todo is the first line: what the reader has to do.
func (l *lines) todo(s migration.Status) {
	command := ""
	if len(s.Next) > 0 {
		command = "`" + human.Line(s.Next[0]) + "`"
	}
	switch {
	case s.Attention != nil && !s.Attention.Retrying && command != "":
		l.add("**To do:** solve what is named below, then %s.\n", command)
	case s.Attention != nil:
		l.add("**To do:** solve what is named below. It is tried again automatically.\n")
	case s.Phase == migration.PhaseAwaitCutover && command != "" && s.FrozenUntilMillis > 0:
		l.add("**To do:** %s, until %s.\n", command, clock(s.FrozenUntilMillis))
	case command != "":
		l.add("**To do:** nothing now. When you are ready: %s.\n", command)
	default:
		l.add("**To do:** nothing.\n")
	}
}

func (l *lines) now(s migration.Status) {
	paused := ""
	if s.Paused {
		paused = " (paused)"
	}
	l.add("**Phase: %s**%s since %s", s.Phase, paused, clock(s.PhaseSinceMillis))
	if s.FrozenUntilMillis > 0 && s.FrozenSinceMillis > 0 {
		l.add("\n**Writes to the source are blocked** since %s. If nobody sends cutover, "+
			"snapferry removes the block at %s.",
			clock(s.FrozenSinceMillis), clock(s.FrozenUntilMillis))
	}
	if s.DownSinceMillis > 0 && (s.Phase.Frozen() || s.Phase == migration.PhaseCutover) {
		l.add("\n**The writers are stopped** by a hook since %s.", clock(s.DownSinceMillis))
	}
	if s.Step != "" {
		l.add("\nNow: %s", human.Line(s.Step))
	}
	if c := s.Copy; c != nil {
		l.add("\nCopied: %d of %d pages, %s of %s blobs, %s of %s", c.PagesDone, c.PagesTotal,
			human.Count(c.BlobsDone), human.Count(c.BlobsTotal), human.Size(c.BytesDone), human.Size(c.BytesTotal))
	}
	if s.Bandwidth != nil {
		l.add("\nAll copies together read at most %s.", s.Bandwidth)
	}
}

func (l *lines) attention(a *migration.Attention) {
	if a == nil {
		return
	}
	title := "Needs attention since"
	if a.Retrying {
		title = "Keeps failing; shown since"
	}
	l.add("\n### %s %s\n\n%s: **%s**\n\n> %s\n\nWhat to do: %s", title,
		clock(a.SinceMillis), a.Step, a.Type, strings.ReplaceAll(a.Message, "\n", "\n> "),
		human.Line(a.Remedy))
}

// shownAttention is how much of what would have needed attention fits on a page.
const shownAttention = 10

// rehearsal says what a rehearsal has found so far.
func (l *lines) rehearsal(r *migration.Rehearsal) {
	if r == nil {
		return
	}
	if r.Window != nil {
		l.add("\nFrozen window to expect: %s", parts(*r.Window))
	}
	if f := r.Footprint; f != nil {
		l.add("\nThe rehearsal took %s on the target's disks, %s in S3 and %s in OSS.",
			human.Size(f.TargetBytes), human.Size(f.S3Bytes), human.Size(f.OSSBytes))
	}
	if len(r.Attention) == 0 {
		return
	}
	l.add("\n### Would have needed attention\n")
	for _, attention := range r.Attention[max(0, len(r.Attention)-shownAttention):] {
		const most = 300
		text := human.Shorten(human.Line(attention.Message), most)
		l.add("- %s: **%s**: %s", attention.Step, attention.Type, text)
	}
	if more := max(0, len(r.Attention)-shownAttention) + r.AttentionOmitted; more > 0 {
		l.add("\nand %d more", more)
	}
}

// window is about the frozen window: what it would take, what it took.
func (l *lines) window(s migration.Status) {
	if p := s.Prediction; p != nil && s.Phase.BeforeFreeze() {
		l.add("\nA frozen window would take about %s. Predicted at %s.", parts(p.Window()), clock(p.AtMillis))
	}
	if s.Proven != nil && s.Phase.BeforeFreeze() {
		l.add("\n%s", ProvenBefore(*s.Proven, s.Prediction))
	}
	if s.Prove != "" {
		l.add("\nComparing before the freeze is held up: %s", human.Line(s.Prove))
	}
	if s.CloseEnough && s.Phase == migration.PhaseRounds {
		l.add("\n%s", s.Convergence())
	}
	if s.FrozenWindow != nil {
		l.add("\nFrozen window: %s", parts(*s.FrozenWindow))
	}
}

// next says what it waits for, and how it goes on.
func (l *lines) next(s migration.Status) {
	if s.WaitsFor != "" {
		l.add("\nWaits for %s", human.Line(s.WaitsFor))
	}
	if s.Phase == migration.PhaseRounds && s.NextRoundMillis > 0 && !s.Paused {
		l.add("\nNext round: %s", clock(s.NextRoundMillis))
	}
	if len(s.Next) > 0 {
		l.add("\n```\n%s\n```", strings.Join(s.Next, "\n"))
	}
}

func (l *lines) rounds(rounds []migration.Round) {
	if len(rounds) == 0 {
		return
	}
	// As narrow as the pane of the Temporal UI. A snapshot's name follows from the round's number.
	l.add("\n| round | indices | copied | snapshot | copy | restore | documents |")
	l.add("|---|---|---|---|---|---|---|")
	for _, r := range rounds {
		taken, _, _ := strings.Cut(TookPart(r), " (")
		l.add("| %d, %s | %s | %s | %s | %s | %s | %s |", r.Number, r.Kind, taken, human.Size(r.BytesCopied),
			human.Span(r.SnapshotMillis), human.Span(r.CopyMillis), human.Span(r.RestoreMillis), human.Count(r.Docs))
	}
}

// took says what takes part in the newest round, and why the others don't.
func (l *lines) took(s migration.Status) {
	texts := Taking(s)
	if len(texts) == 0 {
		return
	}
	l.add("\nTook part in the newest round:\n")
	for _, text := range texts {
		l.add("- %s", text)
	}
}

func (l *lines) indices(s migration.Status) {
	if len(s.Indices) == 0 {
		return
	}
	l.add("\n| index | shards | at source | on target | equal |\n|---|---|---|---|---|")
	for _, index := range s.Indices {
		docs, equal := "not yet", ""
		if index.TargetDocs >= 0 {
			docs = human.Count(index.TargetDocs)
		}
		switch {
		case index.Equal == nil:
		case *index.Equal:
			equal = "yes"
			if index.Evidence != "" {
				equal += ": " + index.Evidence
			}
		default:
			equal = "**no**"
		}
		l.add("| %s | %d | %s | %s | %s |", human.Line(index.Name), index.Shards, human.Count(index.SourceDocs), docs,
			equal)
	}
	if more := s.IndicesTotal - len(s.Indices); more > 0 {
		l.add("\nand %d more", more)
	}
}

// parts prints how long a frozen window takes, and what of it each part takes.
func parts(w migration.FrozenWindow) string {
	block := human.Span(w.BlockMillis)
	if w.HookMillis > 0 {
		block += ", hooks " + human.Span(w.HookMillis)
	}
	if w.Groups > 0 {
		return fmt.Sprintf("%s (block %s, snapshot, copy and restore %s in %d groups that overlap, verification %s)",
			human.Span(w.Millis), block, human.Span(w.GroupedMillis), w.Groups,
			human.Span(w.VerifyMillis))
	}
	return fmt.Sprintf("%s (block %s, snapshot %s, copy %s, restore %s, verification %s)",
		human.Span(w.Millis), block, human.Span(w.SnapshotMillis), human.Span(w.CopyMillis),
		human.Span(w.RestoreMillis), human.Span(w.VerifyMillis))
}

func clock(millis int64) string { return human.Clock(millis, time.UTC) }
