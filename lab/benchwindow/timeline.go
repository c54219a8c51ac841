package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/migration"
)

// Span is one activity of a frozen window, from the events of the workflow's history; milliseconds.
type Span struct {
	Activity string `json:"activity"`
	AtMS     int64  `json:"atMs"`     // when it was scheduled, from the window's beginning
	DecideMS int64  `json:"decideMs"` // before that, in which no activity was under way: workflow tasks
	QueuedMS int64  `json:"queuedMs"` // until a worker took it
	RanMS    int64  `json:"ranMs"`
	Attempts int32  `json:"attempts"`
	Failed   string `json:"failed,omitempty"` // why the attempt before the last one ended
	Own      *Own   `json:"elasticsearch,omitempty"`
}

// Own says how much of a snapshot's or restore's activity was not Elasticsearch at work, by its own
// account. It counts neither what it writes once all shards of a snapshot are done nor what it
// reads of a repository before the first shard is restored.
type Own struct {
	// BeforeMS is from the activity's start to Elasticsearch's; less than 0 if the source was asked before.
	BeforeMS int64 `json:"beforeMs"`
	AfterMS  int64 `json:"afterMs"` // from Elasticsearch's end to the activity's
}

// timelineOf reads what a migration did within a time.
func timelineOf(ctx context.Context, c client.Client, workflowID string, window byhand.Timed, own own) ([]Span, error) {
	type activity struct {
		name                        string
		scheduled, started, stopped time.Time
		attempts                    int32
		failed                      string
	}
	scheduled := map[int64]*activity{}
	events := c.GetWorkflowHistory(ctx, workflowID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, err
		}
		at := event.GetEventTime().AsTime()
		if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
			scheduled[event.GetEventId()] = &activity{name: a.GetActivityType().GetName(), scheduled: at}
		}
		if a := event.GetActivityTaskStartedEventAttributes(); a != nil && scheduled[a.GetScheduledEventId()] != nil {
			attempt := scheduled[a.GetScheduledEventId()]
			attempt.started, attempt.attempts, attempt.failed = at, a.GetAttempt(), a.GetLastFailure().GetMessage()
		}
		if a := event.GetActivityTaskCompletedEventAttributes(); a != nil && scheduled[a.GetScheduledEventId()] != nil {
			scheduled[a.GetScheduledEventId()].stopped = at
		}
	}
	// An event's time is finer than the window's own.
	from, to := window.Began.Add(-time.Millisecond), window.Ended
	var all []*activity
	for _, a := range scheduled {
		if !a.stopped.IsZero() && !a.scheduled.Before(from) && !a.scheduled.After(to) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *activity) int {
		return cmp.Or(a.scheduled.Compare(b.scheduled), a.stopped.Compare(b.stopped))
	})
	var spans []Span
	busy := from
	atWork := map[string]byhand.Timed{
		migration.ActivityTakeSnapshot:    own.snapshot,
		migration.ActivityRestoreSnapshot: own.restore,
	}
	for _, a := range all {
		span := Span{
			Activity: a.name, AtMS: a.scheduled.Sub(from).Milliseconds(),
			DecideMS: max(0, a.scheduled.Sub(busy).Milliseconds()),
			QueuedMS: a.started.Sub(a.scheduled).Milliseconds(), RanMS: a.stopped.Sub(a.started).Milliseconds(),
			Attempts: a.attempts, Failed: a.failed,
		}
		if own, known := atWork[a.name]; known && !own.Began.IsZero() {
			span.Own = &Own{
				BeforeMS: own.Began.Sub(a.started).Milliseconds(),
				AfterMS:  a.stopped.Sub(own.Ended).Milliseconds(),
			}
		}
		spans = append(spans, span)
		if a.stopped.After(busy) {
			busy = a.stopped
		}
	}
	return spans, nil
}
