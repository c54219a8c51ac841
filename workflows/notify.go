package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Notify tells the receivers of one event, each by itself. Nobody waits for it: it is the abandoned
// child of a migration or of its guard, and goes on when that has ended. Its id is the event's, so
// the server refuses to tell the same twice.
//
// A receiver that fails is tried again for a day. Whoever asked hears after a minute which receivers
// fail, and at the end what became of each. A person can cancel it like any workflow.
func Notify(ctx workflow.Context, input migration.NotifyInput) (migration.NotifyResult, error) {
	n := newNotifier(ctx, input)
	err := workflow.SetQueryHandler(ctx, migration.QueryStatus, func() (migration.NotifyResult, error) {
		return migration.NotifyResult{Deliveries: n.deliveries}, nil
	})
	if err != nil {
		return migration.NotifyResult{}, err
	}
	n.show(ctx)
	for i := range input.Receivers {
		workflow.GoNamed(ctx, "tell "+input.Receivers[i].Name, func(ctx workflow.Context) { n.deliver(ctx, i) })
	}
	// All may be cancelled, but what became of them is still told.
	telling, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	_ = workflow.Await(telling, func() bool { return n.tried == len(n.deliveries) })
	for reports := 0; ; reports++ {
		n.show(ctx)
		told := n.sum()
		n.report(telling, told)
		if told.Ended() {
			return migration.NotifyResult{Deliveries: n.deliveries}, ctx.Err()
		}
		_ = workflow.Await(telling, func() bool {
			now := n.sum()
			return now.Ended() || reports < mostReports && now.Delivered+now.Failed > told.Delivered+told.Failed
		})
	}
}

// mostReports bounds what a migration hears of one message before all receivers are done.
const mostReports = 8

// How long a message is tried to be sent to a receiver: for so long before whoever asked hears of
// it, and for so long at most.
const (
	firstTries = time.Minute
	allTries   = 24 * time.Hour
)

// notifier is one message under way.
type notifier struct {
	input      migration.NotifyInput
	deliveries []migration.Delivery
	// tried counts the receivers whose first tries have ended.
	tried int
	// last is when it is given up.
	last time.Time
}

func newNotifier(ctx workflow.Context, input migration.NotifyInput) *notifier {
	n := &notifier{input: input, last: workflow.Now(ctx).Add(allTries)}
	if last := time.UnixMilli(input.LastMillis); input.LastMillis > 0 && last.Before(n.last) {
		n.last = last
	}
	for _, receiver := range input.Receivers {
		n.deliveries = append(n.deliveries, migration.Delivery{Receiver: receiver.Name, Kind: receiver.Kind})
	}
	return n
}

// deliver sends the message to one receiver, for as long as it may.
func (n *notifier) deliver(ctx workflow.Context, i int) {
	test := n.input.Notification.Event == migration.EventTest
	options := sendNow(n.input.Receivers[i].Name)
	if test { // a person waits for the answer
		options.RetryPolicy.MaximumAttempts = 1
	}
	err := n.send(ctx, i, options)
	passes := err != nil && keepsFailing(err) && !test && ctx.Err() == nil
	left := n.last.Sub(workflow.Now(ctx))
	if passes && left > 0 {
		n.set(ctx, i, migration.DeliveryFailing, err)
	}
	n.tried++
	if passes && left > 0 {
		err = n.send(ctx, i, sendLater(n.input.Receivers[i].Name, left))
	}
	state := migration.Delivered
	if err != nil {
		state = migration.DeliveryFailed
	}
	n.set(ctx, i, state, err)
}

func (n *notifier) send(ctx workflow.Context, i int, options workflow.ActivityOptions) error {
	return do(ctx, options, migration.ActivitySendNotification,
		migration.SendRequest{Notification: n.input.Notification, Receiver: n.input.Receivers[i]})
}

func (n *notifier) set(ctx workflow.Context, i int, state migration.DeliveryState, err error) {
	d := &n.deliveries[i]
	d.State, d.AtMillis, d.Error, d.Remedy = state, workflow.Now(ctx).UnixMilli(), "", ""
	if err != nil {
		failure := describe(ctx, "tell "+d.Receiver, err, 1)
		if temporal.IsCanceledError(err) {
			failure.Message = "cancelled"
		}
		d.Error = human.Shorten(failure.Message, longestReason)
		d.Remedy = migration.ErrorType(failure.Type).RemedyAfterwards()
		workflow.GetLogger(ctx).Warn("a receiver was not told", "receiver", d.Receiver, "state", state, "error",
			d.Error)
	}
}

func (n *notifier) sum() migration.Notified { return n.input.Notification.Sum(n.deliveries) }

// report tells the migration what became of the message. The migration may have ended.
func (n *notifier) report(ctx workflow.Context, told migration.Notified) {
	if n.input.Notification.Event == migration.EventTest {
		return
	}
	_ = workflow.SignalExternalWorkflow(ctx, n.input.Notification.WorkflowID, "", migration.SignalNotified, told).
		Get(ctx, nil)
}

func (n *notifier) show(ctx workflow.Context) {
	var page strings.Builder
	page.WriteString("**" + human.Line(n.input.Notification.Title) + "**\n")
	for _, d := range n.deliveries {
		state := string(d.State)
		if state == "" {
			state = "under way"
		}
		page.WriteString(fmt.Sprintf("\n- %s (%s): %s", d.Receiver, d.Kind, state))
		if d.Error != "" {
			page.WriteString(": " + human.Line(d.Error))
		}
	}
	workflow.SetCurrentDetails(ctx, human.Visible(page.String()))
}

// teller starts the workflows that tell receivers. Nothing waits for those, but whoever started one
// must not end before the server has it.
type teller struct{ starting int }

// tell tells receivers of an event. known is called if the event was told before,
// or can't be told.
func (t *teller) tell(ctx workflow.Context, input migration.NotifyInput, known func()) {
	n := input.Notification
	ctx, _ = workflow.NewDisconnectedContext(ctx) // to cancel it would cancel the child
	child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, tellOf(n)), migration.NotifyWorkflowType,
		input)
	t.starting++
	workflow.GoNamed(ctx, "start to tell of "+string(n.Event), func(ctx workflow.Context) {
		err := child.GetChildWorkflowExecution().Get(ctx, nil)
		t.starting--
		if err != nil {
			workflow.GetLogger(ctx).Info("not told", "event", n.Event, "id", n.ID, "error", err)
			known()
		}
	})
}

// started waits until the server has all that was to be told.
func (t *teller) started(ctx workflow.Context) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	_ = workflow.Await(ctx, func() bool { return t.starting == 0 })
}
