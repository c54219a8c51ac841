package workflows

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

const receiversJSON = `"notify": {"receivers": [
  {"name": "oncall", "kind": "slack", "url": "env:SLACK"},
  {"name": "hook", "kind": "webhook", "url": "env:HOOK", "events": ["attention", "completed", "aborted"]}]}`

// told is what the receivers of a test are told.
type told struct {
	inputs []migration.NotifyInput
	sent   []migration.SendRequest
}

// register has the environment tell receivers. fails says what the nth try of a receiver comes to.
func (n *told) register(env *testsuite.TestWorkflowEnvironment, f *fakes, fails func(receiver string, n int) error) {
	tries := map[string]int{}
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context, input migration.NotifyInput) (migration.NotifyResult,
		error,
	) {
		n.inputs = append(n.inputs, input)
		return Notify(ctx, input)
	}, workflow.RegisterOptions{Name: migration.NotifyWorkflowType})
	serve(env, f, migration.ActivitySendNotification, func(r migration.SendRequest) (any, error) {
		tries[r.Receiver.Name]++
		if fails != nil {
			if err := fails(r.Receiver.Name, tries[r.Receiver.Name]); err != nil {
				return nil, err
			}
		}
		n.sent = append(n.sent, r)
		return nil, nil
	})
}

// events are what was told, in order.
func (n *told) events() (events []string) {
	for _, input := range n.inputs {
		events = append(events, string(input.Notification.Event))
	}
	return events
}

// of is the only message of an event.
func (n *told) of(t *testing.T, event migration.Event) migration.NotifyInput {
	t.Helper()
	var found []migration.NotifyInput
	for _, input := range n.inputs {
		if input.Notification.Event == event {
			found = append(found, input)
		}
	}
	require.Len(t, found, 1, "%s; told were %v", event, n.events())
	return found[0]
}

// tell gives the plan receivers.
func (w *world) tell(fails func(receiver string, n int) error) *told {
	n := &told{}
	w.with(receiversJSON)
	n.register(w.env, w.fakes, fails)
	return n
}

// notified is a world whose plan has receivers.
func notified(t *testing.T) (*world, *told) {
	w := newWorld(t)
	return w, w.tell(nil)
}

func refusedForGood(t migration.ErrorType, text string) error {
	return temporal.NewApplicationErrorWithOptions(text, string(t),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

// The usual course tells each receiver what it wants, each once.
func TestTheReceiversAreToldOfTheUsualCourse(t *testing.T) {
	w, n := notified(t)
	w.usualRequests()
	w.run()
	report := w.completed()
	// The guard tells of the handover; this one is a fake.
	require.Equal(t, []string{"frozen", "verified", "completed"}, n.events())

	frozen := n.of(t, migration.EventFrozen)
	require.Len(t, frozen.Receivers, 1, "the webhook doesn't want it")
	require.Equal(t, "oncall", frozen.Receivers[0].Name)
	m := frozen.Notification
	require.Equal(t, "movies", m.Plan)
	require.Equal(t, migration.WorkflowID("movies"), m.WorkflowID)
	require.Equal(t, migration.PhaseFreeze, m.Phase)
	require.Equal(t, 2*time.Hour, time.Duration(m.UntilMillis-m.AtMillis)*time.Millisecond)
	require.Contains(t, m.Text, "snapferry removes the block at")
	require.Equal(t, []string{
		"starter abort movies", "temporal workflow signal --workflow-id migration/movies --name abort",
	}, m.Commands)

	verified := n.of(t, migration.EventVerified).Notification
	require.Equal(t, "starter cutover movies", verified.Commands[0])
	require.Equal(t, m.UntilMillis, verified.UntilMillis)

	completed := n.of(t, migration.EventCompleted)
	require.Len(t, completed.Receivers, 2)
	require.Equal(t, []string{"starter report movies"}, completed.Notification.Commands)
	require.Zero(t, completed.Notification.UntilMillis)
	require.Regexp(t, "The frozen window took", completed.Notification.Text)

	// The report names what became of each; the last one is under way.
	require.Equal(t, []migration.Event{migration.EventFrozen, migration.EventVerified, migration.EventCompleted},
		[]migration.Event{report.Notified[0].Event, report.Notified[1].Event, report.Notified[2].Event})
	require.Equal(t, 1, report.Notified[1].Delivered)
	require.Equal(t, 2, report.Notified[2].Receivers)
}

// Without receivers nothing is told, and no command is given.
func TestAPlanWithoutReceiversTellsNobody(t *testing.T) {
	w, n := newWorld(t), &told{}
	n.register(w.env, w.fakes, nil)
	w.usualRequests()
	w.run()
	require.Empty(t, w.completed().Notified)
	require.Empty(t, n.inputs)
}

// A parked migration is told at once, and again when a person's retry has failed as well.
func TestAParkedMigrationIsToldAtOnce(t *testing.T) {
	w, n := notified(t)
	w.fails(migration.ActivityCloseTarget, 2, migration.ErrorTargetOpened)
	w.at(time.Hour, migration.RequestRetry)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, []string{"attention"}, n.events())
		m := n.of(t, migration.EventAttention).Notification
		status := w.status()
		require.Less(t, time.Duration(m.AtMillis-status.Attention.SinceMillis)*time.Millisecond, time.Second)
		require.Equal(t, "close the target's indices", m.Step)
		require.Equal(t, string(migration.ErrorTargetOpened), m.Failure)
		require.Contains(t, m.Text, "CloseTarget failed (1)")
		require.Contains(t, m.Text, "What to do: Stop whatever writes to the index.")
		require.Equal(t, status.Next, m.Commands)
		require.Equal(t, "starter retry movies", m.Commands[0])
		require.Zero(t, m.UntilMillis)
		require.Len(t, status.Notified, 1)
		require.Equal(t, 2, status.Notified[0].Delivered)
		require.True(t, status.Notified[0].Ended())
	}, 50*time.Minute)
	w.at(2*time.Hour, migration.RequestRetry)
	w.at(3*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Equal(t, []string{"attention", "attention", "aborted"}, n.events())
	aborted := n.of(t, migration.EventAborted).Notification
	require.Contains(t, aborted.Text, "aborted in phase rounds")
}

// What keeps failing is told once, however long it lasts.
func TestWhatKeepsFailingIsToldOnce(t *testing.T) {
	w, n := notified(t)
	w.on[migration.ActivityRegisterRepositories] = func(int) error { return errors.New("no answer") }
	w.at(30*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Equal(t, []string{"attention", "aborted"}, n.events())
	require.Regexp(t, "^keeps failing: ", n.of(t, migration.EventAttention).Notification.Title)
}

// Within the window a person has until the block is removed.
func TestAParkedWindowIsToldUntilWhen(t *testing.T) {
	w, n := notified(t)
	w.fails(migration.ActivityVerifyTarget, 1, migration.ErrorVerification)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestRetry)
	w.at(50*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	m := n.of(t, migration.EventAttention).Notification
	require.Equal(t, n.of(t, migration.EventFrozen).Notification.UntilMillis, m.UntilMillis)
	require.Contains(t, m.Text, "snapferry removes the block at")
	require.Contains(t, m.Commands, "starter abort movies")
}

// A window that nobody ends is told before its end, and when its block is removed.
func TestAWindowThatExpiresIsTold(t *testing.T) {
	w, n := notified(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(4*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Equal(t, []string{"frozen", "verified", "windowExpiring", "thawed", "aborted"}, n.events())
	expiring := n.of(t, migration.EventWindowExpiring)
	m := expiring.Notification
	require.Equal(t, 30*time.Minute, time.Duration(m.UntilMillis-m.AtMillis)*time.Millisecond, "a quarter of 2h")
	require.Equal(t, m.UntilMillis, expiring.LastMillis, "then it is too late to tell")
	require.Equal(t, "starter cutover movies", m.Commands[0])
	thawed := n.of(t, migration.EventThawed).Notification
	require.Contains(t, thawed.Text, deadlinePassed)
	require.Equal(t, "starter freeze movies", thawed.Commands[0])
	require.Equal(t, migration.NotifyID("movies", thawed.Token, "thawed-"+fmt.Sprint(m.UntilMillis)), thawed.ID)
}

// A cutover before it makes the warning needless.
func TestAWindowThatEndsInTimeIsNotToldToExpire(t *testing.T) {
	w, n := notified(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(100*time.Minute, migration.RequestCutover) // long before 110
	w.run()
	w.completed()
	require.NotContains(t, n.events(), "windowExpiring")
}

// A snapshot that is taken again without a person is told, once for each round.
func TestAFailedRoundIsTold(t *testing.T) {
	w, n := notified(t)
	w.fails(migration.ActivityTakeSnapshot, 2, migration.ErrorSnapshotFailed)
	w.usualRequests()
	w.run()
	w.completed()
	m := n.of(t, migration.EventRoundFailed).Notification
	require.Contains(t, m.Title, "round 0")
	require.Contains(t, m.Text, "TakeSnapshot failed (1)")
	require.Equal(t, []string{"starter status movies"}, m.Commands)
}

// A rehearsal tells its end and nothing else: it waits for nobody.
func TestARehearsalTellsItsEnd(t *testing.T) {
	w := newRehearsal(t)
	n := w.tell(nil)
	w.fails(migration.ActivityMeasureFootprint, 1, migration.ErrorRefused)
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	require.Equal(t, []string{"completed"}, n.events())
	m := n.of(t, migration.EventCompleted).Notification
	require.True(t, m.Rehearsal)
	require.Regexp(t, "A frozen window would take about .* 1 step would have needed attention", m.Text)
}

// The server refuses to tell the same twice; then the status doesn't name it as under way.
func TestWhatWasToldBeforeIsNotToldAgain(t *testing.T) {
	w, n := notified(t)
	w.env.OnWorkflow(migration.NotifyWorkflowType, mock.Anything, mock.Anything).
		Return(migration.NotifyResult{}, testsuite.ErrMockStartChildWorkflowFailed)
	w.usualRequests()
	w.run()
	require.Empty(t, w.completed().Notified)
	require.Empty(t, n.sent)
}

// A receiver that is away is tried again: the migration hears of it after a minute, and when it has
// the message.
func TestAReceiverThatIsAway(t *testing.T) {
	w, away := newWorld(t), true
	w.tell(func(receiver string, _ int) error {
		if away && receiver == "oncall" {
			return errors.New("it can't be reached: connection refused")
		}
		return nil
	})
	w.fails(migration.ActivityCloseTarget, 1, migration.ErrorTargetOpened)
	parked := 16 * time.Minute // after the first round has begun
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.NotNil(t, status.Attention)
		require.Len(t, status.Notified, 1)
		heard := status.Notified[0]
		require.Equal(t, 1, heard.Delivered)
		require.Equal(t, 1, heard.Failing)
		require.Equal(t, "oncall", heard.Troubles[0].Receiver)
		require.Contains(t, heard.Troubles[0].Error, "connection refused")
		w.change(func() { away = false })
	}, parked+5*time.Minute)
	w.env.RegisterDelayedCallback(func() {
		heard := w.status().Notified[0]
		require.Equal(t, 2, heard.Delivered, "%+v", heard)
		require.Empty(t, heard.Troubles)
	}, parked+15*time.Minute)
	w.at(time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
}

// newNotify runs the workflow by itself.
func newNotify(t *testing.T, fails func(receiver string, n int) error) (*testsuite.TestWorkflowEnvironment, *told,
	migration.NotifyInput, *[]migration.Notified,
) {
	env, n, f := newEnvironment(t), &told{}, newFakes()
	n.register(env, f, fails)
	var heard []migration.Notified
	movies := migration.WorkflowID("movies")
	env.OnSignalExternalWorkflow(mock.Anything, movies, "", migration.SignalNotified, mock.Anything).
		Return(func(_, _, _, _ string, arg any) error {
			heard = append(heard, arg.(migration.Notified))
			return nil
		})
	input := migration.NotifyInput{
		Notification: migration.Notification{
			ID: migration.NotifyID("movies", "t", "frozen-1"), Event: migration.EventFrozen, Plan: "movies",
			WorkflowID: migration.WorkflowID("movies"), Title: "frozen", AtMillis: 1,
		},
		Receivers: []migration.Receiver{
			{Name: "oncall", Kind: migration.KindSlack, URL: "env:A"},
			{Name: "hook", Kind: migration.KindWebhook, URL: "env:B"},
			{Name: "mail", Kind: migration.KindEmail},
		},
	}
	return env, n, input, &heard
}

// What a receiver refuses for good is not sent to it again, and nobody else waits for it.
func TestAReceiverThatRefuses(t *testing.T) {
	env, n, input, heard := newNotify(t, func(receiver string, n int) error {
		assert.Less(t, n, 2, receiver)
		if receiver == "hook" {
			return refusedForGood(migration.ErrorReceiver, "it answered 404 Not Found")
		}
		return nil
	})
	env.ExecuteWorkflow(Notify, input)
	require.NoError(t, env.GetWorkflowError())
	var result migration.NotifyResult
	require.NoError(t, env.GetWorkflowResult(&result))
	states := []migration.DeliveryState{}
	for _, d := range result.Deliveries {
		states = append(states, d.State)
	}
	require.Equal(t, []migration.DeliveryState{
		migration.Delivered, migration.DeliveryFailed, migration.Delivered,
	}, states)
	require.Equal(t, "it answered 404 Not Found", result.Deliveries[1].Error)
	require.Contains(t, result.Deliveries[1].Remedy, "starter notify test")
	require.Len(t, n.sent, 2)
	require.Len(t, *heard, 1, "one signal when all are done")
	require.Equal(t, 1, (*heard)[0].Failed)
	require.True(t, (*heard)[0].Ended())
}

// At last a message is given up.
func TestAReceiverThatStaysAway(t *testing.T) {
	env, _, input, heard := newNotify(t, func(receiver string, _ int) error {
		if receiver != "mail" {
			return errors.New("no answer")
		}
		return nil
	})
	began := env.Now()
	env.ExecuteWorkflow(Notify, input)
	require.NoError(t, env.GetWorkflowError())
	took := env.Now().Sub(began) // the environment bounds the tries as well
	require.Greater(t, took, 10*time.Minute)
	require.LessOrEqual(t, took, allTries)
	require.Equal(t, 2, (*heard)[0].Failing)
	last := (*heard)[len(*heard)-1]
	require.Equal(t, 2, last.Failed)
	require.Equal(t, 1, last.Delivered)
	require.Less(t, len(*heard), mostReports)
}

// What is worth nothing any more is not told any more.
func TestAMessageThatIsTooLate(t *testing.T) {
	env, n, input, _ := newNotify(t, func(string, int) error { return errors.New("no answer") })
	input.LastMillis = env.Now().Add(10 * time.Minute).UnixMilli()
	began := env.Now()
	env.ExecuteWorkflow(Notify, input)
	require.NoError(t, env.GetWorkflowError())
	require.LessOrEqual(t, env.Now().Sub(began), 10*time.Minute)
	require.Empty(t, n.sent)
}

// A person who tries the receivers waits: each is tried once.
func TestATestTriesOnce(t *testing.T) {
	tries := map[string]int{}
	env, _, input, heard := newNotify(t, func(receiver string, n int) error {
		tries[receiver] = n
		return errors.New("no answer")
	})
	input.Notification.Event = migration.EventTest
	began := env.Now()
	env.ExecuteWorkflow(Notify, input)
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, map[string]int{"oncall": 1, "hook": 1, "mail": 1}, tries)
	require.Less(t, env.Now().Sub(began), time.Minute)
	require.Empty(t, *heard, "no migration hears of it")
}

// A cancelled message ends at once, and says so.
func TestACancelledMessage(t *testing.T) {
	env, _, input, heard := newNotify(t, func(string, int) error { return errors.New("no answer") })
	env.RegisterDelayedCallback(env.CancelWorkflow, 10*time.Minute)
	env.ExecuteWorkflow(Notify, input)
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	last := (*heard)[len(*heard)-1]
	require.Equal(t, 3, last.Failed)
	require.Equal(t, "cancelled", last.Troubles[0].Error)
}

// The newest messages are kept, and of the older ones those that somebody doesn't have.
func TestTheNewestMessagesAreKept(t *testing.T) {
	var l notifyLog
	for i := range 3 * maxNotified {
		l.note(migration.Notified{ID: fmt.Sprint(i), Receivers: 1, Delivered: 1})
	}
	require.Len(t, l.Notified, maxNotified)
	l.note(migration.Notified{ID: "failed", Receivers: 1, Failed: 1})
	for i := range maxNotified {
		l.note(migration.Notified{ID: "later" + fmt.Sprint(i), Receivers: 1, Delivered: 1})
	}
	require.Len(t, l.Notified, maxNotified)
	require.True(t, slices.ContainsFunc(l.Notified, hasID("failed")))
	l.note(migration.Notified{ID: "failed", Receivers: 1, Delivered: 1})
	require.Len(t, l.Notified, maxNotified, "one of the same id replaces it")
	l.note(migration.Notified{ID: "begun", Receivers: 1})
	l.forget("begun")
	l.forget("later3")
	require.False(t, slices.ContainsFunc(l.Notified, hasID("begun")))
	require.True(t, slices.ContainsFunc(l.Notified, hasID("later3")), "its outcome is known")
}

// What the guard does is told by the guard.

func notifiedGuard(t *testing.T) (*guarded, *told) {
	g, n := newGuarded(t), &told{}
	n.register(g.env, g.fakes, nil)
	g.input.Plan.Notify.Receivers = []migration.Receiver{{Name: "oncall", Kind: migration.KindSlack, URL: "env:A"}}
	g.env.OnSignalExternalWorkflow(mock.Anything, mock.Anything, "", migration.SignalNotified, mock.Anything).
		Return(nil)
	return g, n
}

func TestTheGuardTellsOfTheDeadline(t *testing.T) {
	g, n := notifiedGuard(t)
	g.window()
	g.run()
	g.free()
	require.Equal(t, []string{"thawed"}, n.events())
	m := n.of(t, migration.EventThawed).Notification
	require.Contains(t, m.Text, deadlinePassed)
	require.Equal(t, "starter freeze "+m.Plan, m.Commands[0])
	// The migration would tell under the same id, and the server takes one.
	require.Equal(t, migration.NotifyID(m.Plan, m.Token, "thawed-"+fmt.Sprint(g.until)), m.ID)
}

func TestTheGuardTellsWhenTheMigrationIsGone(t *testing.T) {
	g, n := notifiedGuard(t)
	g.window()
	g.ends(5*time.Minute, "Terminated")
	g.run()
	g.free()
	m := n.of(t, migration.EventThawed).Notification
	require.Contains(t, m.Text, "no longer running (Terminated)")
	require.Contains(t, m.Commands, "starter recover -f PLAN")
}

func TestTheGuardTellsNothingOfARemovalThatItWasAskedFor(t *testing.T) {
	g, n := notifiedGuard(t)
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.run()
	g.free()
	require.Empty(t, n.inputs, "the migration tells of its abort")
}

func TestTheGuardTellsOfTheHandover(t *testing.T) {
	g, n := notifiedGuard(t)
	g.window()
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(6*time.Minute, "Completed")
	g.run()
	g.gone()
	require.Equal(t, []string{"handedOver"}, n.events())
	require.Contains(t, n.of(t, migration.EventHandedOver).Notification.Text, "Point the applications at it")
}

// A guard that is alone and can't go on says so.
func TestAGuardThatIsAloneTellsWhatFails(t *testing.T) {
	g, n := notifiedGuard(t)
	g.window()
	g.on[migration.ActivityUnblockSource] = func(n int) error {
		if n < 3 {
			return refusedForGood(migration.ErrorUnauthorized, "the source answered 403")
		}
		return nil
	}
	g.ends(5*time.Minute, "Terminated")
	g.run()
	g.free()
	require.Equal(t, []string{"attention", "thawed"}, slices.Compact(n.events()))
	m := n.inputs[0].Notification
	require.Contains(t, m.Text, "the source answered 403")
	require.Contains(t, m.Text, "no longer running (Terminated)")
}
