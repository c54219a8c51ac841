package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// narrator turns one look after another into lines about what has changed.
type narrator struct {
	*app
	// progress adds lines about the progress of activities, where there are no bars.
	progress bool

	begun       bool
	phase       migration.Phase
	paused      bool
	step        string
	waits       string
	roundsEnded int
	attention   string
	said        map[string]bool
	notes       map[string]bool
	activities  map[string]string
	failures    map[string]bool
	limit       string
	copied      struct {
		key string
		at  time.Time
	}
}

// lines says what is new in v.
func (n *narrator) lines(v view) []string {
	if n.said == nil {
		n.said, n.notes, n.failures = map[string]bool{}, map[string]bool{}, map[string]bool{}
		n.activities = map[string]string{}
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if v.Status != nil {
		n.status(*v.Status, v.Execution.running(), add)
	}
	problems, clauses := map[string]bool{}, map[string]bool{}
	for _, problem := range v.Problems {
		problems[problem], clauses[firstClause(problem)] = true, true
		if !n.said[problem] {
			add("not moving: %s", problem)
		}
	}
	for problem := range n.said {
		if clause := firstClause(problem); !clauses[clause] { // else the problem is still there, for another reason
			add("solved: %s", clause)
		}
	}
	n.said = problems
	n.pages(v.copied, add)
	n.steps(v.others, add)
	return lines
}

func (n *narrator) status(s migration.Status, running bool, add func(string, ...any)) {
	first := !n.begun
	n.begun = true
	if first {
		// What happened before the watch is not new, but the warnings are.
		n.roundsEnded = s.RoundsEnded
		for _, note := range s.Notes {
			n.notes[noteKey(note)] = true
		}
	}
	for n.roundsEnded < s.RoundsEnded {
		// The status holds the last rounds only.
		if i := len(s.Rounds) - (s.RoundsEnded - n.roundsEnded); i >= 0 {
			add("%s", describeRound(s.Rounds[i]))
		}
		if n.roundsEnded++; n.roundsEnded == s.RoundsEnded && s.Prediction != nil && s.Phase.BeforeFreeze() {
			add("a frozen window now would take about %s", describePrediction(*s.Prediction))
		}
	}
	for _, note := range s.Notes {
		if key := noteKey(note); !n.notes[key] {
			n.notes[key] = true
			add("%s", describeDecision(note))
		}
	}
	if s.Rehearsal != nil {
		for _, attention := range s.Rehearsal.Attention {
			if text := describeAttention(attention); !n.notes[text] {
				n.notes[text] = true
				add("would have needed attention: %s", text)
			}
		}
	}
	if s.Phase != n.phase && s.Phase == migration.PhaseFreeze && s.Proven != nil && !first {
		add("%s", report.ProvenBefore(*s.Proven, s.Prediction))
	}
	if s.Phase != n.phase {
		n.phase, n.step, n.waits = s.Phase, "", ""
		add("phase %s", s.Phase)
	}
	if s.Paused != n.paused {
		n.paused = s.Paused
		if s.Paused {
			add("paused")
		} else {
			add("resumed")
		}
	}
	if limit := bandwidth(s); running && limit != n.limit {
		n.limit = limit
		add("%s", cmp.Or(limit, unlimited))
	}
	for i, text := range report.FailedSnapshots(s.Failed, 0, n.zone) {
		if key := "failed " + s.Failed[i].Snapshot; !n.notes[key] {
			n.notes[key] = true
			add("a snapshot failed: %s", text)
		}
	}
	for _, message := range s.Notified {
		if key := fmt.Sprint("told ", message); message.Failing+message.Failed > 0 && !n.notes[key] {
			n.notes[key] = true
			add("message about %s: %s", message.Event, report.NotifiedOf(message))
		}
	}
	for _, warning := range s.Warnings {
		if key := "warning " + warning; !n.notes[key] {
			n.notes[key] = true
			add("warning: %s", warning)
		}
	}
	if !running {
		return
	}
	if s.Step != n.step && s.Step != "" {
		add("%s", s.Step)
	}
	n.step = s.Step
	attention := ""
	if s.Attention != nil {
		title := "NEEDS ATTENTION"
		if s.Attention.Retrying {
			title = "KEEPS FAILING"
		}
		attention = fmt.Sprintf("%s: %s: %s: %s\n    what to do: %s", title, s.Attention.Step, s.Attention.Type,
			strings.ReplaceAll(s.Attention.Message, "\n", "\n    "), s.Attention.Remedy)
	}
	if attention != n.attention && attention != "" {
		add("%s", attention)
	}
	n.attention = attention
	if s.WaitsFor != n.waits && s.WaitsFor != "" && s.Attention == nil {
		text := "waits for " + s.WaitsFor
		if s.NextRoundMillis > 0 && !s.Paused {
			text += "; next round at " + n.ago(s.NextRoundMillis)
		}
		if s.FrozenUntilMillis > 0 {
			text += "; without a cutover, snapferry removes the write block at " + n.ago(s.FrozenUntilMillis)
		}
		add("%s", text)
	}
	n.waits = s.WaitsFor
}

// copyReminder is how often a line about a copy appears if less than another tenth is done.
const copyReminder = 5 * time.Minute

// pages follows a copy in pages.
func (n *narrator) pages(c *pagedCopy, add func(string, ...any)) {
	if c == nil {
		n.copied.key = ""
		return
	}
	tenths := int64(0)
	if done, total := c.measure(); total > 0 {
		tenths = 10 * done / total
	}
	// That pages begin and end is not worth a line. That somebody paused some is.
	key := fmt.Sprint(c.BytesTotal, tenths, c.paused > 0)
	if now := n.now(); n.progress && (key != n.copied.key || now.Sub(n.copied.at) >= copyReminder) {
		n.copied.key, n.copied.at = key, now
		add("%s", c.line())
	}
	// Each failure gets one line, however many pages it happens to.
	var fresh []activity
	for _, page := range c.failing {
		if failure := "page " + page.LastFailure; page.LastFailure != "" && !n.failures[failure] {
			n.failures[failure] = true
			fresh = append(fresh, page)
		}
	}
	for _, line := range n.failingPages(fresh) {
		add("%s", line)
	}
}

// steps follows the activities. Their progress changes with every look, so a line comes with each
// tenth only.
func (n *narrator) steps(activities []activity, add func(string, ...any)) {
	seen := map[string]string{}
	for _, step := range activities {
		key := fmt.Sprint(step.State, step.Attempt, step.LastFailure)
		if n.progress && step.Progress != nil {
			tenths := int64(0)
			if done, total := measure(step.Progress); total > 0 {
				tenths = 10 * done / total
			}
			key += fmt.Sprint(step.Progress.Doing, step.Progress.Waiting, tenths)
		}
		seen[step.ID] = key
		// A failure gets one line, not one for each attempt or bit of progress.
		failure := step.ID + step.LastFailure
		fresh := step.LastFailure != "" && !n.failures[failure]
		n.failures[failure] = true
		worthy := fresh || step.State == statePaused || n.progress && (step.Progress != nil || step.LastFailure != "")
		if n.activities[step.ID] == key || !worthy {
			continue
		}
		if !fresh {
			step.LastFailure = ""
		}
		add("%s", n.describeActivity(step))
	}
	n.activities = seen
}

func noteKey(d migration.Decision) string {
	return fmt.Sprint("note ", d.AtMillis, d.Request, d.By, d.Verdict)
}

func firstClause(text string) string {
	clause, _, _ := strings.Cut(text, ":")
	return clause
}
