package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// fakeTemporal is a server with guards, one a plan.
type fakeTemporal struct {
	Temporal
	mu      sync.Mutex // of guards: an activity asks several things at the same time
	guards  map[string]*fakeGuard
	started []migration.GuardInput
	options []client.UpdateWorkflowOptions
	// answer is that of the updates, failure what they end with instead.
	answer  migration.GuardAnswer
	failure error
	// ends are how a run of a workflow ends that somebody waits for.
	ends error
}

type fakeGuard struct {
	status enums.WorkflowExecutionStatus
	knows  migration.GuardStatus
	names  []string
}

func (f *fakeTemporal) guard(id string) *fakeGuard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.guards[id]
}

func (f *fakeTemporal) DescribeWorkflowExecution(_ context.Context, id, _ string) (
	*workflowservice.DescribeWorkflowExecutionResponse, error,
) {
	g := f.guard(id)
	if g == nil {
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
			Execution: &common.WorkflowExecution{WorkflowId: id, RunId: "guard-run"}, Status: g.status,
		},
	}, nil
}

func (f *fakeTemporal) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (
	*workflowservice.ListWorkflowExecutionsResponse, error,
) {
	f.mu.Lock()
	defer f.mu.Unlock()
	listed := &workflowservice.ListWorkflowExecutionsResponse{}
	for id := range f.guards {
		listed.Executions = append(listed.Executions, &workflowpb.WorkflowExecutionInfo{
			Execution: &common.WorkflowExecution{WorkflowId: id},
		})
	}
	return listed, nil
}

// value is an answer to a query.
type value struct{ of any }

func (v value) HasValue() bool { return true }

func (v value) Get(to any) error {
	text, err := json.Marshal(v.of)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

func (f *fakeTemporal) QueryWorkflow(_ context.Context, id, _, query string, args ...any) (
	converter.EncodedValue, error,
) {
	g := f.guard(id)
	switch query {
	case migration.QueryStatus:
		return value{g.knows}, nil
	case migration.QueryGuardUnknown:
		return value{args[0]}, nil
	case migration.QueryGuardPage:
		page := migration.GuardPage{}
		for _, name := range g.names {
			page.Indices = append(page.Indices, migration.SourceIndex{Name: name})
		}
		return value{page}, nil
	case migration.QueryGuardHolds:
		var held []string
		for _, name := range g.names {
			for _, asked := range args[0].([]string) {
				if name == asked {
					held = append(held, name)
				}
			}
		}
		return value{held}, nil
	}
	return nil, fmt.Errorf("nobody answers %s", query)
}

func (f *fakeTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, _ any, args ...any) (
	client.WorkflowRun, error,
) {
	f.mu.Lock()
	defer f.mu.Unlock()
	input := args[0].(migration.GuardInput)
	f.started = append(f.started, input)
	status := migration.GuardStatus{Token: input.Token, Cluster: input.Cluster}
	if input.Before != nil && input.Before.Token == input.Token {
		status = *input.Before
	}
	f.guards[options.ID] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, knows: status}
	return nil, nil
}

type handle struct {
	client.WorkflowUpdateHandle
	f *fakeTemporal
}

func (h handle) Get(_ context.Context, to any) error {
	if h.f.failure != nil {
		return h.f.failure
	}
	return value{h.f.answer}.Get(to)
}

func (f *fakeTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (
	client.WorkflowUpdateHandle, error,
) {
	f.options = append(f.options, o)
	return handle{f: f}, nil
}

type fakeRun struct {
	client.WorkflowRun
	f  *fakeTemporal
	id string
}

func (r fakeRun) Get(_ context.Context, to any) error { return value{r.f.guard(r.id).knows}.Get(to) }

func (r fakeRun) GetWithOptions(context.Context, any, client.WorkflowRunGetOptions) error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	delete(r.f.guards, r.id)
	return r.f.ends
}

func (f *fakeTemporal) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	return fakeRun{f: f, id: id}
}

// testRun is the run that the SDK's test environment says to be.
const testRun = "default-test-run-id"

func newGuards(w *world) (*Guards, *fakeTemporal) {
	f := &fakeTemporal{guards: map[string]*fakeGuard{}, answer: migration.GuardAnswer{
		Served: true,
		Phase:  migration.GuardWatching,
	}}
	return NewGuards(w.activities, f), f
}

func (w *world) guardRequest(ask migration.GuardAsk) migration.GuardRequest {
	return migration.GuardRequest{
		Run: w.run, Ask: ask, WorkflowID: migration.WorkflowID(w.run.Plan.Name), OriginalRun: testRun, Window: 1,
		Sequence: 7,
	}
}

func (w *world) guardID() string { return migration.GuardID(w.run.Plan.Name) }

func TestARunLearnsThatItWasReset(t *testing.T) {
	for name, test := range map[string]struct {
		original, known string
		reset           bool
	}{
		"the first run":                  {testRun, "", false},
		"the first run knows itself":     {testRun, testRun, false},
		"a reset run":                    {"another", "", true},
		"a reset run that knew another":  {"another", "another", true},
		"a reset run that has learned":   {"another", testRun, false},
		"a run that was reset once more": {"another", "third", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g, f := newGuards(w)
			f.guards[w.guardID()] = &fakeGuard{
				status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
				knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardRemoved},
			}
			request := w.guardRequest(migration.AskOpen)
			request.OriginalRun, request.KnownRun = test.original, test.known
			answer := must[migration.GuardAnswer](w, g.AskGuard, request)
			require.Equal(t, testRun, answer.RunID)
			require.Equal(t, test.reset, answer.Reset)
			require.Equal(t, test.reset, len(f.options) == 0, "a reset run asks nothing but the removal")
			request.Ask = migration.AskRemove
			must[migration.GuardAnswer](w, g.AskGuard, request)
			require.NotEmpty(t, f.options)
		})
	}
}

// What a run of this migration has decided before is told by a guard that has ended, too.
func TestAGuardThatHasHandedOverIsAskedNoMore(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	f.guards[w.guardID()] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, knows: migration.GuardStatus{
		Token: w.run.Token, Phase: migration.GuardHandedOver, Released: true,
		GuardOutcome: migration.GuardOutcome{Late: []migration.LateIndex{{Name: "x"}}},
	}}
	for _, ask := range append(migration.GuardUpdates(), migration.AskMeet) {
		answer := must[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(ask))
		require.Equal(t, migration.GuardHandedOver, answer.Phase, "%s", ask)
		require.True(t, answer.Told)
		require.Len(t, answer.Late, 1)
	}
	require.Empty(t, f.started)
	require.Empty(t, f.options)
	// Another migration of the plan begins.
	f.guards[w.guardID()].knows.Token = "another"
	must[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskOpen))
	require.Len(t, f.started, 1)
	require.Nil(t, f.started[0].Before, "what is handed over is no business of the new one")
	require.NotEmpty(t, f.started[0].Cluster)
}

func TestAGuardThatWasTerminatedIsStartedAgain(t *testing.T) {
	for _, ask := range migration.GuardUpdates() {
		w := newWorld(t)
		g, f := newGuards(w)
		knows := migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching, Cluster: "c"}
		f.guards[w.guardID()] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, knows: knows}
		must[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(ask))
		require.Len(t, f.started, 1, "%s", ask)
		require.Equal(t, &knows, f.started[0].Before)
		require.Equal(t, "guard-run", f.started[0].From)
		require.Len(t, f.options, 1)
	}
}

// One that was terminated while it was still learning the names knows from whom it learned them.
func TestAGuardThatWasTerminatedTwice(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	f.guards[w.guardID()] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, knows: migration.GuardStatus{
		Token: w.run.Token, Phase: migration.GuardWatching, TakesOver: "first-run",
	}}
	must[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskRemove))
	require.Equal(t, "first-run", f.started[0].From)
}

func TestAGuardOfAnotherMigration(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	f.guards[w.guardID()] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, knows: migration.GuardStatus{
		Token: "another", Phase: migration.GuardWatching, WorkflowID: "migration/other",
	}}
	_, err := do[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskOpen))
	require.ErrorContains(t, err, "another migration of the plan")
	require.True(t, permanent(err))
	f.guards[w.guardID()].knows.Phase = migration.GuardRemoved
	_, err = do[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskOpen))
	require.False(t, permanent(err), "it ends in some minutes")
}

// Lists go in batches, each with an id of its own, and a second attempt has the same ids.
func TestAsksHaveOneEffect(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	request := w.guardRequest(migration.AskAnnounce)
	for i := range 1200 {
		request.Indices = append(request.Indices, migration.Index{
			Name: fmt.Sprintf("%s-%04d", strings.Repeat("n", 95), i), UUID: strings.Repeat("u", 22),
		})
		w.from.Create(request.Indices[i].Name, 1, nil)
	}
	f.guards[w.guardID()] = &fakeGuard{
		status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching},
	}
	ids := func() (ids []string) {
		f.options = nil
		must[migration.GuardAnswer](w, g.AskGuard, request)
		names := 0
		for _, o := range f.options {
			ids = append(ids, o.UpdateID)
			call := o.Args[0].(migration.GuardCall)
			names += len(call.Indices)
			text, err := json.Marshal(call)
			require.NoError(t, err)
			require.Less(t, len(text), 128<<10)
		}
		require.Equal(t, 1200, names)
		return ids
	}
	first := ids()
	require.Greater(t, len(first), 1)
	require.Equal(t, testRun+"/7/0", first[0])
	require.Equal(t, first, ids())
	request.Ask, request.Indices = migration.AskList, request.Indices[:800]
	f.options = nil
	must[migration.GuardAnswer](w, g.AskGuard, request)
	require.True(t, f.options[0].Args[0].(migration.GuardCall).First)
	require.False(t, f.options[1].Args[0].(migration.GuardCall).First)
}

func TestWhatAGuardAnswersWithIsClassifiedAlready(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	f.guards[w.guardID()] = &fakeGuard{
		status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching},
	}
	f.failure = fail(migration.ErrorUnauthorized, "403")
	_, err := do[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskRemove))
	require.Equal(t, migration.ErrorUnauthorized, typeOf(err))
	require.True(t, permanent(err))
	for _, failure := range []error{
		temporal.NewApplicationErrorWithOptions("ended", updateOfEndedWorkflow,
			temporal.ApplicationErrorOptions{NonRetryable: true}),
		serviceerror.NewNotFound("workflow execution already completed"), serviceerror.NewUnavailable("down"),
	} {
		f.failure = failure
		_, err = do[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskRemove))
		require.Error(t, err)
		require.False(t, permanent(err), "the next attempt looks for the guard again")
	}
}

// What will be blocked is announced with the blocks that it has: the guard would read them into its
// history. An index that is gone is not announced.
func TestAnAnnouncementHasTheBlocks(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	f.guards[w.guardID()] = &fakeGuard{
		status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching},
	}
	request := w.guardRequest(migration.AskAnnounce)
	request.Indices = []migration.Index{{Name: "movies", UUID: "an older one"}, {Name: "catalog"}, {Name: "gone"}}
	w.from.SetSetting("movies", "index.blocks.read_only_allow_delete", "true")
	must[migration.GuardAnswer](w, g.AskGuard, request)
	require.Len(t, f.options, 1)
	call := f.options[0].Args[0].(migration.GuardCall)
	require.True(t, call.Read)
	require.Len(t, call.Indices, 2)
	require.Equal(t, "movies", call.Indices[0].Name)
	require.Equal(t, map[string]string{"index.blocks.read_only_allow_delete": "true"}, call.Indices[0].Blocks)
	require.Len(t, call.Indices[0].UUID, len(call.Indices[1].UUID))
	require.NotEqual(t, "an older one", call.Indices[0].UUID)
	require.Equal(t, testRun, call.RunID)
}

// Blocks make an announcement larger than its names, and it still fits a payload.
func TestAnAnnouncementOfBlockedIndicesFitsAPayload(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	f.guards[w.guardID()] = &fakeGuard{
		status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching},
	}
	request := w.guardRequest(migration.AskAnnounce)
	for i := range 2000 {
		name := fmt.Sprintf("%04d", i)
		request.Indices = append(request.Indices, migration.Index{Name: name, UUID: strings.Repeat("u", 22)})
		w.from.Create(name, 1, nil)
		for _, block := range append(writeBlocks, "index.blocks.read", "index.blocks.metadata") {
			w.from.SetSetting(name, block, "false")
		}
	}
	must[migration.GuardAnswer](w, g.AskGuard, request)
	for _, o := range f.options {
		text, err := json.Marshal(o.Args[0])
		require.NoError(t, err)
		require.Less(t, len(text), 256<<10)
	}
	require.Greater(t, len(f.options), 1)
}

// Two plans that share an index of the same cluster: before anything is blocked, the second is
// refused.
func TestASharedIndexIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		cluster string
		phase   migration.GuardPhase
		names   []string
		refused bool
	}{
		"it is frozen":       {"c", migration.GuardWatching, []string{"catalog", "movies"}, true},
		"it is handed over":  {"c", migration.GuardHandingOver, []string{"movies"}, true},
		"other indices":      {"c", migration.GuardWatching, []string{"books"}, false},
		"another cluster":    {"d", migration.GuardWatching, []string{"movies"}, false},
		"its block is away":  {"c", migration.GuardRemoved, []string{"movies"}, false},
		"its guard is alone": {"c", migration.GuardIdle, []string{"movies"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g, f := newGuards(w)
			f.guards[w.guardID()] = &fakeGuard{
				status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, names: []string{"movies", "films"},
				knows: migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching, Cluster: "c"},
			}
			f.guards["guard/other"] = &fakeGuard{
				status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING, names: test.names,
				knows: migration.GuardStatus{Token: "o", Phase: test.phase, Cluster: test.cluster},
			}
			for _, ask := range []migration.GuardAsk{migration.AskBlock, migration.AskBegin} {
				f.options = nil
				_, err := do[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(ask))
				if !test.refused {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, "the plan other freezes, too: movies")
				require.True(t, permanent(err))
				require.Empty(t, f.options, "nothing was asked of the guard")
			}
		})
	}
}

// Whatever ends a run is its end.
func TestTheEndOfAMigrationIsNoticed(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	const id = "migration/x"
	for _, status := range []enums.WorkflowExecutionStatus{
		enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, enums.WORKFLOW_EXECUTION_STATUS_FAILED,
		enums.WORKFLOW_EXECUTION_STATUS_COMPLETED,
	} {
		f.guards[id] = &fakeGuard{status: status}
		end := must[migration.MigrationEnd](w, g.WatchMigration, migration.WatchRequest{WorkflowID: id, RunID: "r"})
		require.Equal(t, status.String(), end.Status)
	}
	f.guards[id] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING}
	f.ends = temporal.NewApplicationError("it failed", "Aborted")
	end := must[migration.MigrationEnd](w, g.WatchMigration, migration.WatchRequest{WorkflowID: id, RunID: "r"})
	require.Equal(t, "Deleted", end.Status)
	f.guards[id] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING}
	f.ends = serviceerror.NewUnavailable("down")
	_, err := do[migration.MigrationEnd](w, g.WatchMigration, migration.WatchRequest{WorkflowID: id, RunID: "r"})
	require.Error(t, err, "a server that is away is no end")
	require.False(t, permanent(err))
}

// What takes writes on the source after the cutover is found, whether it is new or has lost its
// block.
func TestLookAgain(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"movies", "catalog*"}
	w.from.SetSetting("movies", writeBlock, "true")
	w.from.SetSetting("catalog", writeBlock, "true")
	look := func(names ...string) []migration.LateIndex {
		return must[[]migration.LateIndex](w, w.activities.LookAgain,
			migration.LookAgainRequest{Run: w.run, Indices: names})
	}
	require.Empty(t, look())
	w.from.Create("catalog-2", 1, nil)
	require.NoError(t, w.from.Index("catalog-2", "a", "b"))
	w.from.SetSetting("catalog", writeBlock, "false")
	found := look()
	require.Len(t, found, 2)
	require.Equal(t, "catalog", found[0].Name)
	require.Equal(t, "catalog-2", found[1].Name)
	require.NotEmpty(t, found[1].UUID)
	require.EqualValues(t, 2, look("catalog-2")[0].Docs)
}
