package workflows

import (
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// course is what differs between a migration and a rehearsal of one.
type course interface {
	// perform carries out the present phase and says which comes next.
	perform(ctx workflow.Context) (migration.Phase, error)
	// failed takes a failure that no retry of Temporal's helps against. If it returns nil, the step
	// runs again.
	failed(ctx workflow.Context, attention migration.Attention) error
	// judge says what a request means now.
	judge(request migration.Request) (migration.Verdict, string)
	// waitsFor says for what it waits, and which requests would move it on.
	waitsFor() (string, []migration.Request)
	// slotWait bounds the wait for a free snapshot slot; slotTaken is the warning if it was in
	// vain.
	slotWait() time.Duration
	slotTaken(obstacles []string) string
	// warnings are those that were kept, and what is seen from the state itself.
	warnings() []string
	// addTo completes a status, complete a report.
	addTo(status *migration.Status)
	complete(report *migration.Report)
	// undo removes what an abort must not leave behind, once the source is writable again.
	undo()
}

// setCourse is called when the plan is known, and before: queries may come earlier.
func (m *run) setCourse() {
	if m.plan.Rehearsal && m.Rehearsal == nil {
		m.Rehearsal = &rehearsal{}
	}
	if m.course = (migrating{m}); m.Rehearsal != nil {
		m.course = &rehearsing{run: m}
	}
}

// migrating is the course of a migration: it blocks writes, waits for people and hands over.
type migrating struct{ *run }

// failed parks until retry or abort, unless the step begins again without a person.
func (m migrating) failed(ctx workflow.Context, attention migration.Attention) error {
	m.needs(ctx, attention)
	if attention.Retrying {
		return ctx.Err()
	}
	return m.awaitRetry(ctx)
}

// needs shows a failure.
func (m *run) needs(ctx workflow.Context, attention migration.Attention) {
	attention.Remedy = attention.RemedyIn(m.Phase)
	if before := m.attention; before != nil && before.Retrying && attention.Retrying {
		attention.SinceMillis = before.SinceMillis
	}
	told := m.attention != nil && m.attention.Retrying && attention.Retrying
	m.attention = &attention
	if !told {
		m.tellAttention(attention)
	}
	workflow.GetLogger(ctx).Warn("needs attention", "step", attention.Step, "type", attention.Type, "error",
		attention.Message)
	m.show(ctx)
}

// awaitRetry waits until a person has the failure that is shown tried again.
func (m *run) awaitRetry(ctx workflow.Context) error {
	err := m.awaitPerson(ctx, func() bool { return m.attention == nil })
	m.attention = nil
	return err
}

func (m migrating) judge(request migration.Request) (migration.Verdict, string) {
	return migration.Judge(request, m.Phase, m.Paused, m.attention != nil && !m.attention.Retrying)
}

func (m migrating) waitsFor() (string, []migration.Request) {
	switch {
	case m.attention != nil && m.attention.Retrying:
		var requests []migration.Request
		if m.Phase.CanAbort() {
			requests = []migration.Request{migration.RequestAbort}
		}
		return "the failure to pass: snapferry keeps trying to " + m.attention.Step, requests
	case m.attention != nil && !m.Phase.CanAbort():
		return "a person: " + m.attention.Step + " needs attention", []migration.Request{migration.RequestRetry}
	case m.attention != nil:
		return "a person: " + m.attention.Step + " needs attention", []migration.Request{
			migration.RequestRetry,
			migration.RequestAbort,
		}
	case m.Paused && m.Phase.BeforeFreeze():
		return "resume", []migration.Request{migration.RequestResume}
	case m.Phase == migration.PhaseAwaitCutover:
		return "cutover: the target is verified, writes to the source are blocked",
			[]migration.Request{migration.RequestCutover, migration.RequestAbort}
	case m.Phase == migration.PhaseRounds && m.step == "":
		return "the next round, or freeze", []migration.Request{migration.RequestFreeze, migration.RequestRound}
	case m.Phase == migration.PhaseRounds && !m.FreezeRequested:
		return "", []migration.Request{migration.RequestFreeze}
	}
	return "", nil
}

func (m migrating) slotWait() time.Duration { return m.plan.Freeze.SlotWait.Std() }

func (m migrating) slotTaken(obstacles []string) string {
	return "another snapshot may delay the final round: " + strings.Join(obstacles, "; ") +
		". snapferry waited as long as freeze.slotWait allows"
}

func (m migrating) warnings() []string {
	all := slices.Clone(m.Warnings)
	gone, notHot := m.leftBehind(m.Indices, m.NotHot)
	if gone != "" {
		how := ""
		if m.clearedFor(m.Indices) && m.plan.RestoresAliases() {
			how = ", without aliases"
		}
		all = append(all, "these indices are no longer on the source, and stay on the target as they were last "+
			"restored"+how+": "+gone)
	}
	if notHot != "" {
		all = append(all, "these indices were moved to UltraWarm or cold storage after a round had restored them, and "+
			"stay on the target as they were last restored: "+notHot)
	}
	return all
}

func (m migrating) addTo(status *migration.Status) {
	if m.Phase == migration.PhaseRounds {
		status.NextRoundMillis = m.NextRoundMillis
	}
}

func (m migrating) complete(report *migration.Report) {
	if report.Remains = m.remains(); m.Registered {
		report.Remains = append(report.Remains, howToCleanUp(m.plan.Name))
	}
}

func (m migrating) undo() {}
