package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// known is a workflow of a server with many.
type known struct {
	id, kind string
	state    enums.WorkflowExecutionStatus // running if unspecified
	closed   time.Duration                 // ago
	outline  *migration.Outline            // in its memo
	status   *migration.Status             // answers the query; nil if nobody does
	attempt  int32                         // of the workflow task
	result   any                           // of a report's, an audit's or a check's type
	failure  error
}

func (k known) running() bool {
	return k.state == enums.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED
}

// manyTemporal is a server with many workflows.
type manyTemporal struct {
	*fakeTemporal
	known []known
	page  int // how many it returns at once

	mu           sync.Mutex
	queried      []string
	atOnce, most atomic.Int32
	silent       bool     // no query is ever answered
	queries      []string // of the visibility store
}

func newMany(t *testing.T, all ...known) *manyTemporal {
	return &manyTemporal{fakeTemporal: newFake(t), known: all, page: 2}
}

func (f *manyTemporal) ListWorkflow(_ context.Context,
	request *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	f.queries = append(f.queries, request.GetQuery())
	require.Equal(f.t, client.DefaultNamespace, request.GetNamespace())
	require.Contains(f.t, request.GetQuery(), "TaskQueue = 'snapferry'")
	running := strings.Contains(request.GetQuery(), "ExecutionStatus = 'Running'")
	var found []*workflowpb.WorkflowExecutionInfo
	for i, k := range f.known {
		if k.running() != running {
			continue
		}
		info := &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: k.id, RunId: fmt.Sprintf("run-%d", i)},
			Type:      &commonpb.WorkflowType{Name: k.kind}, Status: k.state,
			StartTime: timestamppb.New(now.Add(-time.Duration(100-i) * time.Hour)), TaskQueue: migration.TaskQueue,
		}
		if running {
			info.Status = enums.WORKFLOW_EXECUTION_STATUS_RUNNING
		} else {
			info.CloseTime = timestamppb.New(now.Add(-k.closed))
		}
		if k.outline != nil {
			payload, err := converter.GetDefaultDataConverter().ToPayload(k.outline)
			require.NoError(f.t, err)
			info.Memo = &commonpb.Memo{Fields: map[string]*commonpb.Payload{migration.MemoOutline: payload}}
		}
		found = append(found, info)
	}
	begin := 0
	if token := request.GetNextPageToken(); len(token) > 0 {
		_, err := fmt.Sscan(string(token), &begin)
		require.NoError(f.t, err)
	}
	end := min(begin+f.page, len(found))
	response := &workflowservice.ListWorkflowExecutionsResponse{Executions: found[begin:end]}
	if end < len(found) {
		response.NextPageToken = []byte(fmt.Sprint(end))
	}
	return response, nil
}

func (f *manyTemporal) one(id string) known {
	for _, k := range f.known {
		if k.id == id {
			return k
		}
	}
	f.t.Errorf("nobody knows %s", id)
	return known{}
}

func (f *manyTemporal) DescribeWorkflowExecution(_ context.Context, id,
	_ string,
) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return &workflowservice.DescribeWorkflowExecutionResponse{
		ExecutionConfig: &workflowpb.WorkflowExecutionConfig{
			TaskQueue: &taskqueuepb.TaskQueue{Name: migration.TaskQueue},
		},
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING},
		PendingWorkflowTask:   &workflowpb.PendingWorkflowTaskInfo{Attempt: f.one(id).attempt},
	}, nil
}

func (f *manyTemporal) QueryWorkflow(ctx context.Context, id, _, _ string, _ ...any) (converter.EncodedValue, error) {
	now := f.atOnce.Add(1)
	defer f.atOnce.Add(-1)
	for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
	}
	f.mu.Lock()
	f.queried = append(f.queried, id)
	f.mu.Unlock()
	if f.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	status := f.one(id).status
	if status == nil {
		return nil, serviceerror.NewFailedPrecondition("no poller seen for task queue recently, worker may be down")
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(status)
	if err != nil {
		return nil, err
	}
	return client.NewValue(payloads), nil
}

func (f *manyTemporal) GetWorkflow(_ context.Context, id, run string) client.WorkflowRun {
	if run == "" {
		f.t.Error("without a run id, the result of a later run is waited for")
	}
	return manyRun{known: f.one(id)}
}

type manyRun struct {
	client.WorkflowRun
	known
}

func (r manyRun) Get(_ context.Context, into any) error {
	if r.failure != nil || r.result == nil {
		return r.failure
	}
	payload, err := converter.GetDefaultDataConverter().ToPayload(r.result)
	if err != nil {
		return err
	}
	return converter.GetDefaultDataConverter().FromPayload(payload, into)
}

func newListConsole(t *testing.T, fake *manyTemporal) *console {
	c := newConsole(t, fake.fakeTemporal)
	c.deps.dial = func(_ context.Context, options client.Options) (temporalClient, error) {
		c.options = options
		return fake, nil
	}
	return c
}

// running are migrations in different phases, of which one began before there were outlines.
func running(t *testing.T) []known {
	old := inRounds(t)
	return []known{
		{id: "migration/old", kind: migration.WorkflowType, status: old},
		{id: "migration/catalog", kind: migration.WorkflowType, outline: &migration.Outline{
			Phase: migration.PhaseBaseline, Attention: "SnapshotFailed", Next: migration.RequestRetry,
		}},
		{id: "migration/movies", kind: migration.WorkflowType, outline: &migration.Outline{
			Phase: migration.PhaseAwaitCutover, FrozenSinceMillis: at(12 * time.Minute),
			FrozenUntilMillis: at(-108 * time.Minute), WindowMillis: 42_000, Next: migration.RequestCutover,
		}},
		{
			id: "migration/a-name-that-is-as-long-as-names-are-in-a-large-company", kind: migration.WorkflowType,
			outline: &migration.Outline{
				Phase: migration.PhaseRounds, WindowMillis: 42_000, Paused: true, Next: migration.RequestResume,
			},
		},
		{id: "rehearsal/movies", kind: migration.WorkflowType, outline: &migration.Outline{
			Phase: migration.PhaseRehearse, Findings: 2,
		}},
		{id: "audit/movies", kind: migration.AuditWorkflowType},
		{id: "check/series", kind: migration.CheckWorkflowType},
		{id: "migration/stuck", kind: migration.WorkflowType, attempt: 12, outline: &migration.Outline{
			Phase: migration.PhaseRounds,
		}},
	}
}

func TestList(t *testing.T) {
	fake := newMany(t, running(t)...)
	out, errs := newListConsole(t, fake).run(exitOK, "list")
	golden.Equal(t, "testdata/list.txt", out)
	require.Empty(t, errs)
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
	}
	require.Equal(t, []string{"migration/old"}, fake.queried, "what has an outline is not asked")
	require.Len(t, fake.queries, 4, "pages of two, and nothing that has ended")

	out, _ = newListConsole(t, fake).run(exitOK, "list", "-o", "json")
	var list struct {
		Workflows []map[string]any `json:"workflows"`
		More      bool             `json:"more"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Workflows, 8)
	require.Equal(t, "migration/movies", list.Workflows[0]["workflowId"], "writes are blocked: it comes first")
	require.Equal(t, "awaitCutover", list.Workflows[0]["phase"])
	require.EqualValues(t, at(12*time.Minute), list.Workflows[0]["frozenSinceMillis"])
	require.Equal(t, "starter cutover movies", list.Workflows[0]["command"])
}

// After a Tab the shell gets the names of what runs, without any worker.
func TestNamesAreCompleted(t *testing.T) {
	fake := newMany(t, running(t)...)
	fake.pollers = nil
	names := func(arguments ...string) []string {
		all := append([]string{cobra.ShellCompNoDescRequestCmd}, arguments...)
		out, _ := newListConsole(t, fake).run(exitOK, all...)
		lines := strings.Fields(out)
		return lines[:len(lines)-1] // then comes what the shell may do else
	}
	require.Equal(t, []string{"catalog"}, names("status", "ca"))
	require.Equal(t, []string{"movies"}, names("freeze", "mo"))
	require.Equal(t, []string{"rehearsal/movies"}, names("report", "rehearsal/"))
	require.Empty(t, names("status", "movies", ""))
	require.Empty(t, fake.queried)
}

// Without a worker nothing is asked that only a worker can answer.
func TestListWithoutAWorker(t *testing.T) {
	fake := newMany(t, running(t)...)
	fake.pollers = nil
	out, _ := newListConsole(t, fake).run(exitOK, "list")
	golden.Equal(t, "testdata/list-no-worker.txt", out)
	require.Empty(t, fake.queried)
}

// Workers that poll and never answer hold nothing up for longer than the limit, and few are asked at
// the same time.
func TestAListIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []known
		const many = 6 * looksAtOnce // six times lookTimeout is longer
		for i := range many {
			all = append(all, known{id: fmt.Sprintf("migration/m%02d", i), kind: migration.WorkflowType})
		}
		fake := newMany(t, all...)
		fake.silent = true
		c := newListConsole(t, fake)
		began := time.Now()
		require.Equal(t, exitOK, execute(t.Context(), c.deps, []string{"list"}), c.err.String())
		require.Equal(t, listTimeout, time.Since(began))
		require.EqualValues(t, looksAtOnce, fake.most.Load())
		require.Equal(t, many, strings.Count(c.out.String(), "no answer"), c.out.String())
	})
}

func TestListWhatHasEnded(t *testing.T) {
	completed, late, aborted := completedReport(), lateReport(), abortedReport()
	all := append(running(t)[2:3],
		known{
			id: "migration/movies", kind: migration.WorkflowType, closed: 50 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		},
		known{
			id: "migration/done", kind: migration.WorkflowType, closed: time.Hour, result: completed,
			state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED,
		},
		known{
			id: "migration/late", kind: migration.WorkflowType, closed: 2 * time.Hour, result: late,
			state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED,
		},
		known{
			id: "migration/undone", kind: migration.WorkflowType, closed: 3 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_FAILED,
			failure: temporal.NewApplicationErrorWithOptions("aborted", string(migration.ErrorAborted),
				temporal.ApplicationErrorOptions{Details: []any{aborted}}),
		},
		known{
			id: "migration/killed", kind: migration.WorkflowType, closed: 4 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, failure: &temporal.TerminatedError{},
		},
		known{
			id: "audit/done", kind: migration.AuditWorkflowType, closed: 5 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, result: migration.AuditReport{Whole: true},
		},
		known{
			id: "audit/late", kind: migration.AuditWorkflowType, closed: 6 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, result: migration.AuditReport{},
		},
		known{
			id: "check/done", kind: migration.CheckWorkflowType, closed: 7 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, result: migration.CheckReport{Ready: true},
		},
		known{
			id: "check/late", kind: migration.CheckWorkflowType, closed: 8 * time.Hour,
			state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, result: migration.CheckReport{},
		})
	// The run of movies that was terminated is older than the one that runs.
	all[0], all[1] = all[1], all[0]
	fake := newMany(t, all...)
	out, _ := newListConsole(t, fake).run(exitOK, "list", "--closed", "--since", "72h")
	golden.Equal(t, "testdata/list-closed.txt", out)
	require.Equal(t, 1, strings.Count(out, "  movies "), "of each workflow the newest run")
	require.Contains(t, fake.queries[len(fake.queries)-1], "CloseTime > '2026-02-27T22:30:00Z'")

	_, errs := newListConsole(t, fake).run(exitUsage, "list", "--since", "0s")
	require.Contains(t, errs, "--since must be more than 0")
}

func TestListNothing(t *testing.T) {
	out, _ := newListConsole(t, newMany(t)).run(exitOK, "list")
	require.Equal(t, "Nothing runs. starter list --closed shows what has ended.\n", out)
}

func TestSpansInAList(t *testing.T) {
	for span, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		time.Hour: "1h00m", 9*time.Hour + 59*time.Minute: "9h59m", 10 * time.Hour: "10h", 47 * time.Hour: "47h",
		72 * time.Hour: "3d",
	} {
		require.Equal(t, want, coarse(span.Milliseconds()))
	}
}
