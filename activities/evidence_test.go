package activities

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

// A worker gets another fence while a migration has the source blocked. The block is removed
// anyway, if this workflow was there before, and by no other step.
func TestWhoCouldSetTheBlockMayRemoveIt(t *testing.T) {
	w := newWorld(t)
	request := w.request()
	found := must[migration.Blocks](w, w.activities.ReadBlocks, request)
	must[any](w, w.activities.BlockWrites, request)

	// The worker is another one now.
	k := keys{secrets.Fence{EnvPrefix: "OTHER_", Endpoints: []string{"example.com"}}}
	c := newClusters(k)
	doing, sent := migration.ActivityLiftBlock, false
	var failure error
	c.activity = func(context.Context) string { return doing }
	c.sent = func(_ context.Context, source migration.Source) (bool, error) {
		require.Equal(t, w.run.Plan.Source, source)
		return sent, failure
	}
	w.activities.keys, w.activities.cluster = k, c.get
	remove := migration.LiftRequest{Run: w.run, Found: found}

	refused(w, migration.ErrorSecret, w.activities.RemoveBlock, remove, "source.endpoint")
	failure = passing(retryUnavailable, "the server is down", 0)
	passes(w, retryUnavailable, w.activities.RemoveBlock, remove)
	failure, sent = nil, true
	for _, other := range []string{migration.ActivityBlockWrites, migration.ActivityTakeSnapshot, ""} {
		doing = other
		refused(w, migration.ErrorSecret, w.activities.BlockWrites, request, "source.endpoint")
	}
	for _, doing = range []string{migration.ActivityLiftBlock, migration.ActivityUnblockSource} {
		must[any](w, w.activities.RemoveBlock, remove)
	}
	require.NoError(t, w.from.Index("movies", "after"), "the source takes writes again")
	// The target's password is no part of that.
	_, err := c.get(t.Context(), onTarget, w.run)
	requireType(t, migration.ErrorSecret, err)
}

func TestWhatAHistoryShows(t *testing.T) {
	source := migration.Source{
		Endpoint: "https://es.example.com",
		Auth:     migration.Auth{Type: "basic", User: "u", Password: "env:OLD"},
	}
	scheduled := func(id int64, queue, name string, in any) *historypb.HistoryEvent {
		payloads, err := converter.GetDefaultDataConverter().ToPayloads(in)
		require.NoError(t, err)
		return &historypb.HistoryEvent{
			EventId: id, Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{
				ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{
					ActivityType: &commonpb.ActivityType{Name: name}, Input: payloads,
					TaskQueue: &taskqueuepb.TaskQueue{Name: queue},
				},
			},
		}
	}
	completed := func(id int64) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskCompletedEventAttributes{
			ActivityTaskCompletedEventAttributes: &historypb.ActivityTaskCompletedEventAttributes{ScheduledEventId: id},
		}}
	}
	failed := func(id int64) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskFailedEventAttributes{
			ActivityTaskFailedEventAttributes: &historypb.ActivityTaskFailedEventAttributes{ScheduledEventId: id},
		}}
	}
	run := migration.Run{Plan: migration.Plan{Source: source}}
	elsewhere := run
	elsewhere.Plan.Source.Endpoint = "https://evil.example.com"
	another := run
	another.Plan.Source.Auth.Password = "env:ANOTHER"
	blocks := migration.IndicesRequest{Run: run, Indices: []string{"movies"}}
	const queue = migration.TaskQueue
	for name, tt := range map[string]struct {
		events []*historypb.HistoryEvent
		want   bool
	}{
		"nothing":     {nil, false},
		"resolved":    {[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", run), completed(5)}, true},
		"blocked":     {[]*historypb.HistoryEvent{scheduled(5, queue, "BlockWrites", blocks), completed(5)}, true},
		"guard":       {[]*historypb.HistoryEvent{scheduled(5, queue, "ReadSourceBlocks", blocks), completed(5)}, true},
		"its block":   {[]*historypb.HistoryEvent{scheduled(5, queue, "BlockSource", blocks), completed(5)}, true},
		"failed":      {[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", run), failed(5)}, false},
		"not yet":     {[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", run)}, false},
		"other event": {[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", run), completed(6)}, false},
		"elsewhere": {
			[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", elsewhere), completed(5)},
			false,
		},
		"another":   {[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", another), completed(5)}, false},
		"own queue": {[]*historypb.HistoryEvent{scheduled(5, "evil", "ResolveIndices", run), completed(5)}, false},
		"needs no password": {
			[]*historypb.HistoryEvent{scheduled(5, queue, "LiftBlock", migration.LiftRequest{Run: run}), completed(5)},
			false,
		},
		"no plan": {[]*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", "x"), completed(5)}, false},
	} {
		at := execution{"migration/a", "r"}
		got, err := sentIn(histories{at: tt.events}.read, at, queue, source)
		require.NoError(t, err)
		require.Equal(t, tt.want, got, name)
	}

	// What goes on from another execution.
	began := func(input any, before string) []*historypb.HistoryEvent {
		payloads, err := converter.GetDefaultDataConverter().ToPayloads(input)
		require.NoError(t, err)
		return []*historypb.HistoryEvent{{Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
				Input: payloads, ContinuedExecutionRunId: before,
			},
		}}}
	}
	shown := []*historypb.HistoryEvent{scheduled(5, queue, "ResolveIndices", run), completed(5)}
	first := execution{"guard/a", "r3"}
	ofMigration := migration.GuardInput{Run: run, WorkflowID: "migration/a"}
	ofRun := migration.GuardInput{Run: run, WorkflowID: "migration/a", RunID: "r7"}
	afterGuard := migration.GuardInput{Run: run, WorkflowID: "migration/a", From: "r2"}
	for name, all := range map[string]histories{
		"its migration":           {first: began(ofMigration, ""), {"migration/a", ""}: shown},
		"the run that started it": {first: began(ofRun, ""), {"migration/a", "r7"}: shown, {"migration/a", ""}: nil},
		"a guard before":          {first: began(afterGuard, ""), {"guard/a", "r2"}: shown},
		"the guard's run before":  {first: began(ofMigration, "r1"), {"guard/a", "r1"}: shown},
	} {
		got, err := sentIn(all.read, first, queue, source)
		require.NoError(t, err)
		require.True(t, got, name)
		other := source
		other.Endpoint = "https://evil.example.com"
		got, err = sentIn(all.read, first, queue, other)
		require.NoError(t, err)
		require.False(t, got, name)
	}
	_, err := sentIn(histories{}.read, execution{}, queue, source)
	require.ErrorContains(t, err, "the server is down")
	require.False(t, permanent(err), "it is tried again")
}

// histories are those of a server that doesn't answer for any other.
type histories map[execution][]*historypb.HistoryEvent

func (h histories) read(at execution) client.HistoryEventIterator {
	events, ok := h[at]
	switch {
	case ok:
		return &iterator{events: events}
	case at.id == "":
		return &iterator{err: errors.New("the server is down")}
	}
	return &iterator{err: serviceerror.NewNotFound("no such workflow")}
}

type iterator struct {
	events []*historypb.HistoryEvent
	err    error
}

func (i *iterator) HasNext() bool { return i.err != nil || len(i.events) > 0 }

func (i *iterator) Next() (*historypb.HistoryEvent, error) {
	if i.err != nil {
		return nil, i.err
	}
	next := i.events[0]
	i.events = i.events[1:]
	return next, nil
}

// What each of them names can only succeed with the source's password.
func TestTheEvidenceNeedsThePassword(t *testing.T) {
	w := newWorld(t)
	k := keys{secrets.Fence{EnvPrefix: "OTHER_"}}
	c := newClusters(k)
	c.sent = func(context.Context, migration.Source) (bool, error) { return false, errors.New("not asked") }
	w.activities.keys, w.activities.cluster = k, c.get
	for _, tt := range []struct{ method, in any }{
		{w.activities.ResolveIndices, w.run},
		{w.activities.TakeSnapshot, migration.SnapshotRequest{Run: w.run}},
		{w.activities.ReadBlocks, migration.IndicesRequest{Run: w.run}},
		{w.activities.BlockWrites, migration.IndicesRequest{Run: w.run}},
		{w.activities.AwaitStandstill, migration.IndicesRequest{Run: w.run}},
		{w.activities.ReadSourceBlocks, migration.IndicesRequest{Run: w.run}},
		{w.activities.BlockSource, migration.BlockRequest{Run: w.run}},
	} {
		refused(w, migration.ErrorSecret, tt.method, tt.in, "source.auth.password")
	}
}
