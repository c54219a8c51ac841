package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// What a migration and its guard tell the plan's receivers, and when. A plan without receivers adds
// no command.
//
// Each event has a key that a reset, a second guard or a second look doesn't change: what was told is
// not told again. What is new to people has another key.

// notifyLog is what became of the newest messages.
type notifyLog struct {
	Notified []migration.Notified `json:"notified,omitempty"`
}

// maxNotified is how many messages are kept; the state and a status have little room.
const maxNotified = 4

// note keeps what is known of a message. When there are too many, the oldest that everybody has give
// way first.
func (l *notifyLog) note(told migration.Notified) {
	l.Notified = slices.Clone(l.Notified)
	if at := slices.IndexFunc(l.Notified, hasID(told.ID)); at >= 0 {
		l.Notified[at] = told
		return
	}
	if len(l.Notified) >= maxNotified {
		everybody := func(n migration.Notified) bool { return n.Delivered == n.Receivers }
		oldest := max(0, slices.IndexFunc(l.Notified, everybody))
		l.Notified = slices.Delete(l.Notified, oldest, oldest+1)
	}
	l.Notified = append(l.Notified, told)
}

// forget drops a message that somebody else has told before, unless its outcome is known.
func (l *notifyLog) forget(id string) {
	l.Notified = slices.DeleteFunc(slices.Clone(l.Notified), func(n migration.Notified) bool {
		return n.ID == id && n.Delivered+n.Failing+n.Failed == 0
	})
}

func hasID(id string) func(migration.Notified) bool {
	return func(n migration.Notified) bool { return n.ID == id }
}

// listenForNotified takes what the workflows say that tell the receivers.
func (m *run) listenForNotified(ctx workflow.Context) {
	channel := workflow.GetSignalChannelWithOptions(ctx, migration.SignalNotified, workflow.SignalChannelOptions{
		Description: "What became of a message to the plan's receivers. Only snapferry itself sends this.",
	})
	workflow.GoNamed(ctx, migration.SignalNotified, func(ctx workflow.Context) {
		for {
			var told migration.Notified
			channel.Receive(ctx, &told)
			if strings.HasPrefix(told.ID, migration.NotifyID(m.plan.Name, m.Token, "")) {
				m.note(told)
				m.show(ctx)
			}
		}
	})
}

// telling is something to tell.
type telling struct {
	event migration.Event
	// key tells the event from others of its kind.
	key         string
	title, text string
	// until is when the write block will be removed; 0 if that is no matter.
	until    int64
	commands []string
	// last is when it is too late to tell.
	last          int64
	step, failure string
}

// tell tells the receivers that want it.
func (m *run) tell(t telling) {
	receivers := m.plan.Notify.For(t.event)
	if len(receivers) == 0 {
		return
	}
	input := t.input(workflow.Now(m.root), m.plan.Name, m.Token)
	input.Receivers = receivers
	n := &input.Notification
	n.WorkflowID, n.Phase, n.Rehearsal = m.workflowID, m.Phase, m.Rehearsal != nil
	if len(n.Commands) == 0 {
		n.Commands = []string{"starter status " + m.starterName()}
	}
	m.note(n.Sum(make([]migration.Delivery, len(receivers))))
	m.teller.tell(m.root, input, func() { m.forget(n.ID) })
}

// longestTold bounds what is told in sentences, in bytes: chats take some 2,000.
const longestTold = 1400

func (t telling) input(now time.Time, plan, token string) migration.NotifyInput {
	key := string(t.event)
	if t.key != "" {
		key += "-" + t.key
	}
	return migration.NotifyInput{
		Notification: migration.Notification{
			ID: migration.NotifyID(plan, token, key), Event: t.event, Plan: plan, Token: token,
			AtMillis: now.UnixMilli(), UntilMillis: t.until, Title: t.title,
			Text: human.Shorten(strings.TrimSpace(t.text), longestTold), Commands: t.commands,
			Step: t.step, Failure: t.failure,
		},
		LastMillis: t.last,
	}
}

// blockedUntil is when the write block will be removed; 0 unless writes are blocked.
func (m *run) blockedUntil() int64 {
	if !m.window.blocked() || !m.Phase.Frozen() {
		return 0
	}
	return m.window.untilMillis
}

// blockedSentence says how long the source takes no writes; empty if it does.
func (m *run) blockedSentence() string {
	until := m.blockedUntil()
	if until == 0 {
		return ""
	}
	return fmt.Sprintf("Writes to the source are blocked since %s. If nobody sends cutover, snapferry removes the "+
		"block at %s.", human.Clock(m.window.sinceMillis, time.UTC), human.Clock(until, time.UTC))
}

// tellAttention tells of a failure for which a person is needed. One that keeps failing is told once.
func (m *run) tellAttention(a migration.Attention) {
	title := "needs attention: " + a.Step
	if a.Retrying {
		title = "keeps failing: " + a.Step
	}
	_, requests := m.course.waitsFor()
	m.tell(telling{
		event: migration.EventAttention, key: m.attentionKey(a), title: title,
		text: a.Type + ": " + human.Shorten(a.Message, longestAttention) + "\n\nWhat to do: " + a.Remedy + "\n\n" +
			m.blockedSentence(),
		until: m.blockedUntil(), commands: m.commands(requests), step: a.Step, failure: a.Type,
	})
}

// attentionKey is the same for the same failure at the same place, as a run that was reset meets it
// again. After a person's request it is another one: that person may have gone.
func (m *run) attentionKey(a migration.Attention) string {
	window := int64(0)
	if m.window != nil {
		window = m.window.sinceMillis
	}
	requests := len(m.Decisions) + m.DecisionsOmitted
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d/%d/%d/%d/%v/%s/%s", m.Phase, m.RoundNumber, m.Attempt, window,
		requests, a.Failures, a.Retrying, a.Step, a.Type))
	return hex.EncodeToString(sum[:6])
}

// tellFrozen tells, once for each window, that writes are blocked.
func (m *run) tellFrozen() {
	w := m.window
	if w.told {
		return
	}
	w.told = true
	m.tell(telling{
		event: migration.EventFrozen, key: windowKey(w.untilMillis), title: "writes to the source are blocked",
		text: m.blockedSentence() + " snapferry copies what was written last, and verifies the target. Then it waits " +
			"for cutover. To make the source writable again, send abort.",
		until: m.blockedUntil(), commands: m.commands([]migration.Request{migration.RequestAbort}),
	})
}

func windowKey(untilMillis int64) string { return fmt.Sprint(untilMillis) }

// tellVerified tells that a person can hand over.
func (m *run) tellVerified() {
	w := m.window
	title, lead := "the target is verified and waits for cutover", "The target equals the frozen source. "
	if w.cutoverRequested {
		title, lead = "the target is verified", lead+"The cutover was asked for already, and comes now. "
	}
	m.tell(telling{
		event: migration.EventVerified, key: fmt.Sprintf("%s-%d", windowKey(w.untilMillis), w.passes), title: title,
		text: lead + m.blockedSentence(), until: m.blockedUntil(),
		commands: m.commands([]migration.Request{migration.RequestCutover, migration.RequestAbort}),
	})
}

// watchExpiry tells that the window ends soon, if nothing has ended it by then.
func (m *run) watchExpiry() {
	if len(m.plan.Notify.For(migration.EventWindowExpiring)) == 0 {
		return
	}
	w := m.window
	before := m.plan.Notify.BeforeExpiry.Std()
	workflow.GoNamed(w.ctx, "tell before the window ends", func(ctx workflow.Context) {
		options := workflow.TimerOptions{Summary: "notify.beforeExpiry: tell that the write block ends soon"}
		wait := m.plan.Freeze.MaxDuration.Std() - before
		if workflow.NewTimerWithOptions(ctx, wait, options).Get(ctx, nil) != nil || m.blockedUntil() == 0 {
			return
		}
		requests := []migration.Request{migration.RequestAbort}
		text := "The migration is in phase " + string(m.Phase) + ". "
		if m.Phase == migration.PhaseAwaitCutover {
			requests = []migration.Request{migration.RequestCutover, migration.RequestAbort}
			text = "The target is verified and waits for cutover. "
		}
		m.tell(telling{
			event: migration.EventWindowExpiring, key: windowKey(w.untilMillis),
			title: "the write block ends in " + human.Span(before.Milliseconds()) + ", without a cutover",
			text:  text + m.blockedSentence(), until: m.blockedUntil(), last: w.untilMillis,
			commands: m.commands(requests),
		})
	})
}

// tellThawed tells that the block is removed. If the guard has removed it, it has told so.
func (m *run) tellThawed() {
	w := m.window
	if !w.blocked() {
		return
	}
	cause := w.lost
	if cause == "" {
		cause = deadlinePassed
	}
	m.tell(thawed(w.untilMillis, cause, w.remains, w.remainsOmitted,
		m.commands([]migration.Request{migration.RequestFreeze})))
}

// thawed is what the guard and the migration tell alike.
func thawed(untilMillis int64, cause string, remains []migration.Refusal, omitted int, commands []string) telling {
	text := "snapferry removed the write block from the source: " + cause + "."
	if len(remains) > 0 {
		text += " The block may still be on " + refusals(remains, omitted) + "."
	}
	return telling{
		event: migration.EventThawed, key: windowKey(untilMillis),
		title: "the write block is removed, without a cutover", text: text, commands: commands,
	}
}

// tellRoundFailed tells of a snapshot that failed and is taken again, once for each round.
func (m *run) tellRoundFailed(failed migration.FailedSnapshot) {
	if m.TakenAgain > 1 {
		return
	}
	m.tell(telling{
		event: migration.EventRoundFailed, key: fmt.Sprintf("r%d-a%d", failed.Round, failed.Attempt),
		title: fmt.Sprintf("a snapshot of round %d failed, and snapferry takes another one", failed.Round),
		text:  failed.Snapshot + ": " + failed.Reason + "\n\n" + m.blockedSentence(), until: m.blockedUntil(),
	})
}

// tellEnd tells how the migration has ended.
func (m *run) tellEnd(report migration.Report) {
	t := telling{
		event: migration.EventCompleted, title: "completed",
		commands: []string{"starter report " + m.starterName()},
	}
	var text []string
	switch {
	case report.Result == migration.ResultAborted:
		t.event, t.title = migration.EventAborted, "aborted"
		t.key = fmt.Sprint(len(m.Decisions) + m.DecisionsOmitted)
		text = append(text, human.Shorten(report.Error, longestAttention)+".")
		if m.window.mayBlock() && len(m.window.remains) == 0 {
			text = append(text, "The source takes writes again.")
		} else if m.window.mayBlock() {
			text = append(text, "Our write block may still be on "+
				refusals(m.window.remains, m.window.remainsOmitted)+".")
		}
	case report.Error != "": // a rehearsal that could not go on
		text = append(text, human.Shorten(report.Error, longestAttention)+".")
	default:
		text = append(text, "It took "+human.Span(report.EndedMillis-report.StartedMillis)+".")
	}
	if window := report.FrozenWindow; window != nil {
		text = append(text, "The frozen window took "+human.Span(window.Millis)+".")
	}
	if r := report.Rehearsal; r != nil && r.Window != nil {
		text = append(text, "A frozen window would take about "+human.Span(r.Window.Millis)+".")
	}
	if r := report.Rehearsal; r != nil && len(r.Attention) > 0 {
		text = append(text, human.Things(len(r.Attention)+r.AttentionOmitted, "step", "steps")+
			" would have needed attention.")
	}
	if n := len(report.Late) + report.LateOmitted; n > 0 {
		text = append(text, human.Things(n, "index", "indices")+" took writes on the source after the cutover: those "+
			"writes are missing on the target.")
	}
	if n := len(report.NotHandedOver); n > 0 {
		text = append(text, human.Things(n, "index was", "indices were")+" left out of the handover.")
	}
	t.text = strings.Join(text, " ")
	m.tell(t)
}

// What a guard tells.

// notify tells the plan's receivers.
func (g *guard) notify(ctx workflow.Context, t telling) {
	receivers := g.plan.Plan.Notify.For(t.event)
	if len(receivers) == 0 {
		return
	}
	if len(t.commands) == 0 {
		t.commands = g.commands("status")
	}
	input := t.input(workflow.Now(ctx), g.Plan, g.Token)
	input.Receivers = receivers
	input.Notification.WorkflowID = g.WorkflowID
	g.teller.tell(ctx, input, func() {})
}

// commands is what a person can type about the migration that the guard serves.
func (g *guard) commands(command string) []string {
	return []string{"starter " + command + " " + starterName(g.WorkflowID, g.Plan)}
}

// notifyThawed tells that the guard has removed the block by itself.
func (g *guard) notifyThawed(ctx workflow.Context) {
	if !g.Asked { // nothing was blocked yet
		return
	}
	commands := g.commands("freeze")
	if g.Ended != "" {
		commands = append(g.commands("status"), "starter recover -f PLAN")
	}
	g.notify(ctx, thawed(g.UntilMillis, g.Cause, g.Remains, g.RemainsOmitted, commands))
}

// notifyHandedOver tells that the target takes writes.
func (g *guard) notifyHandedOver(ctx workflow.Context) {
	text := "The target takes writes. Point the applications at it. The source stays blocked."
	if len(g.handover) > 0 {
		text = fmt.Sprintf("The target takes writes, but for %s: %s. The source stays blocked.",
			indexCount(len(g.handover)), refusals(g.Refused, g.RefusedOmitted))
	}
	g.notify(ctx, telling{event: migration.EventHandedOver, title: "the target takes writes", text: text})
}

// notifyTrouble tells what the guard can't do, if there is no migration any more that would tell.
func (g *guard) notifyTrouble(ctx workflow.Context, step string, what error) {
	if g.Ended == "" {
		return
	}
	failure := describe(ctx, step, what, 1)
	key := "guard-" + windowKey(g.UntilMillis) + "-" + failure.Type
	if key == g.troubled {
		return
	}
	g.troubled = key
	g.notify(ctx, telling{
		event: migration.EventAttention, key: key,
		title: "needs attention: " + step,
		text: fmt.Sprintf("%s: %s\n\nThe migration is no longer running (%s), and its guard keeps trying. What to do: "+
			"fix what the message names.", failure.Type, human.Shorten(failure.Message, longestAttention), g.Ended),
		commands: append(g.commands("status"), "starter recover -f PLAN"), step: step, failure: failure.Type,
	})
}

// notifyLate tells of writes to the source that came after the migration had told of its end.
func (g *guard) notifyLate(ctx workflow.Context, message string) {
	g.notify(ctx, telling{
		event: migration.EventAttention, key: fmt.Sprintf("late-%d", len(g.Late)+g.LateOmitted),
		title: "indices took writes on the source after the cutover",
		text: message + ".\n\n- " + strings.Join(migration.LateSentences(g.Late[:min(len(g.Late), 3)],
			len(g.Late)-min(len(g.Late), 3)+g.LateOmitted), "\n- "),
		step: "look at the source after the cutover", failure: "LateWrites",
	})
}
