package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// page is a page of 512 MiB in 100 blobs that a worker has begun, with what it had done at its last
// heartbeat, a minute after it began.
func page(t *testing.T, id string, done int64) *workflowpb.PendingActivityInfo {
	details, err := converter.GetDefaultDataConverter().ToPayloads(migration.Progress{
		Doing: "copying", BlobsDone: done / (5 * mib), BlobsTotal: 100, BytesDone: done, BytesTotal: 512 * mib,
	})
	require.NoError(t, err)
	return &workflowpb.PendingActivityInfo{
		ActivityId: id, ActivityType: &commonpb.ActivityType{Name: migration.ActivityCopyPage}, Attempt: 1,
		State: enums.PENDING_ACTIVITY_STATE_STARTED, HeartbeatDetails: details, LastWorkerIdentity: "71@copy-1@",
		LastStartedTime: timestamppb.New(now.Add(-time.Minute)), LastHeartbeatTime: timestamppb.New(now),
	}
}

// queued is a page that no worker has begun.
func queued(id string) *workflowpb.PendingActivityInfo {
	return &workflowpb.PendingActivityInfo{
		ActivityId: id, ActivityType: &commonpb.ActivityType{Name: migration.ActivityCopyPage}, Attempt: 1,
		State: enums.PENDING_ACTIVITY_STATE_SCHEDULED,
	}
}

func failed(info *workflowpb.PendingActivityInfo, attempt int32, message string) *workflowpb.PendingActivityInfo {
	info.Attempt = attempt
	info.LastFailure = &failurepb.Failure{Message: message, FailureInfo: &failurepb.Failure_ApplicationFailureInfo{
		ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "Throttled"},
	}}
	return info
}

// inPages is a baseline of 100 GiB of which so many of 200 pages have ended.
func inPages(t *testing.T, ended int) *migration.Status {
	return &migration.Status{
		WorkflowID: "migration/movies", Plan: moviesPlan(t), Phase: migration.PhaseBaseline,
		Step:             "copy the snapshot to OSS",
		PhaseSinceMillis: at(20 * time.Minute), StartedMillis: at(21 * time.Minute),
		Copy: &migration.CopyProgress{
			PagesDone: ended, PagesTotal: 200, BlobsDone: 100 * int64(ended), BlobsTotal: 20_000,
			BytesDone: 512 * mib * int64(ended), BytesTotal: 200 * 512 * mib,
		},
	}
}

func rate(text string) *migration.ByteRate {
	r, err := migration.ParseByteRate(text)
	if err != nil {
		panic(err)
	}
	return &r
}

// sixteen are as many pages as the plan allows at once, with two workers' slots.
func sixteen(t *testing.T) []*workflowpb.PendingActivityInfo {
	pages := []*workflowpb.PendingActivityInfo{page(t, "101", 300*mib), page(t, "102", 180*mib)}
	for i := range 9 {
		pages = append(pages, queued(fmt.Sprint(103+i)))
	}
	for i := range 4 {
		waits := failed(page(t, fmt.Sprint(112+i), 0), int32(2+i),
			fmt.Sprintf("OSS answers\n503 SlowDown for blob %d", i))
		waits.State, waits.NextAttemptScheduleTime = enums.PENDING_ACTIVITY_STATE_SCHEDULED, timestamppb.New(
			now.Add(30*time.Second))
		pages = append(pages, waits)
	}
	return append(pages, failed(page(t, "9", 60*mib), 2, "the worker is being stopped"))
}

func TestStatusOfACopyInPages(t *testing.T) {
	throttled := inPages(t, 40)
	throttled.Bandwidth = rate("50MB/s")
	unlimited := inPages(t, 200) // only the publishing is left
	unlimited.Bandwidth, unlimited.Plan.Copy.Bandwidth = rate("none"), *rate("200MB/s")
	planned := inPages(t, 0)
	planned.Plan.Copy.Bandwidth = *rate("200MB/s")
	publish := copying(t, "301", 0, 1)
	publish.ActivityType.Name = migration.ActivityPublishSnapshot
	for name, test := range map[string]struct {
		moment moment
		code   int
	}{
		"pages": {moment{status: throttled, activities: sixteen(t)}, exitOK},
		"pages-begin": {moment{status: planned, activities: []*workflowpb.PendingActivityInfo{
			queued("101"),
			queued("102"),
		}}, exitOK},
		"pages-held":       {moment{status: inPages(t, 40)}, exitOK},
		"pages-published":  {moment{status: unlimited, activities: []*workflowpb.PendingActivityInfo{publish}}, exitOK},
		"pages-no-answers": {moment{taskAttempt: 2, activities: sixteen(t)}, exitAttention},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsole(t, newFake(t, test.moment))
			out, errs := c.run(test.code, "status", "movies")
			require.Empty(t, errs)
			golden.Equal(t, "testdata/status-"+name+".txt", out)

			out, _ = c.run(test.code, "status", "movies", "-o", "json")
			if test.moment.status == nil {
				return
			}
			var status migration.Status
			require.NoError(t, json.Unmarshal([]byte(out), &status))
			require.Equal(t, test.moment.status.Copy, status.Copy)
			require.Equal(t, test.moment.status.Bandwidth, status.Bandwidth)
		})
	}
}

// The two questions are answered one after the other: a page that ends between them must not count
// twice.
func TestAPageThatEndsMeanwhileCountsOnce(t *testing.T) {
	fake := newFake(t,
		moment{status: inPages(t, 40), activities: []*workflowpb.PendingActivityInfo{
			page(t, "101", 500*mib),
			page(t, "102", 100*mib),
		}},
		moment{status: inPages(t, 41), activities: []*workflowpb.PendingActivityInfo{page(t, "102", 110*mib)}})
	c := newConsole(t, fake)
	described := &endsBetween{fakeTemporal: fake}
	v, err := (&app{deps: c.deps}).look(context.Background(), &connection{temporalClient: described},
		target{"movies", "migration/movies"}, false)
	require.NoError(t, err)
	require.Equal(t, 41*512*mib+110*mib, v.copied.BytesDone)
	require.Equal(t, 41, v.copied.PagesDone)
}

// endsBetween is a server where a page ends right after the first description.
type endsBetween struct {
	*fakeTemporal
	described bool
}

func (e *endsBetween) DescribeWorkflowExecution(ctx context.Context, id,
	run string,
) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	response, err := e.fakeTemporal.DescribeWorkflowExecution(ctx, id, run)
	if !e.described {
		e.described = true
		e.advance()
	}
	return response, err
}

// clock makes time pass with each sleep of a command.
func (c *console) clock() {
	passed, sleep := time.Duration(0), c.deps.sleep
	c.deps.now = func() time.Time { return now.Add(passed) }
	c.deps.sleep = func(ctx context.Context, d time.Duration) error {
		passed += d
		return sleep(ctx, d)
	}
}

func TestWatchACopyInPages(t *testing.T) {
	var moments []moment
	look := func(ended int, done ...int64) {
		m := moment{status: inPages(t, ended)}
		for i, d := range done {
			m.activities = append(m.activities, page(t, fmt.Sprint(100+i), d))
		}
		moments = append(moments, m)
	}
	for second := range int64(12) { // 2 pages at 10 MiB/s each
		look(0, second*10*mib, second*10*mib)
	}
	for minute := range int64(7) { // a minute is sixty looks of which one shows
		for range 60 {
			look(2, 10*mib+minute*mib)
		}
	}
	look(20, 0, 0)
	limited := moment{status: inPages(t, 20), activities: sixteen(t)}
	limited.status.Bandwidth = rate("50MB/s")
	moments = append(moments, limited, limited)
	again := moment{status: limited.status, activities: sixteen(t)}
	again.activities[2] = failed(page(t, "104", 0), 2, "the worker is being stopped") // told already
	again.activities[3] = failed(page(t, "105", 0), 2, "connection reset")
	moments = append(moments, again, moment{
		status:     inPages(t, 199),
		activities: []*workflowpb.PendingActivityInfo{page(t, "300", 256*mib)},
	})
	moments = append(moments, moment{status: inRounds(t)}, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake := newFake(t, moments...)
	fake.report = completedReport()
	c := newConsole(t, fake)
	c.clock()
	out, errs := c.run(exitOK, "watch", "movies")
	require.Empty(t, errs)
	golden.Equal(t, "testdata/watch-pages.txt", out)
}

func TestARateIsThatOfTheLastSeconds(t *testing.T) {
	var m meter
	rateAfter := func(at time.Duration, done int64) int64 {
		c := &pagedCopy{rate: -1}
		c.add(migration.CopyProgress{BytesDone: done, BytesTotal: 1000 * mib, PagesTotal: 2})
		m.measure(now.Add(at), c)
		return c.rate
	}
	require.Equal(t, int64(-1), rateAfter(0, 100*mib), "what was done before says nothing")
	require.Equal(t, int64(-1), rateAfter(time.Second, 200*mib), "a heartbeat arrived")
	for s := time.Duration(2); s <= 10; s++ {
		rateAfter(s*time.Second, 200*mib)
	}
	require.Equal(t, 100*mib/11, rateAfter(11*time.Second, 200*mib))
	for s := time.Duration(12); s <= 30; s++ {
		rateAfter(s*time.Second, 200*mib)
	}
	require.Equal(t, int64(0), rateAfter(31*time.Second, 200*mib), "nothing moves")
	require.Equal(t, int64(0), rateAfter(32*time.Second, 150*mib), "a page has begun again")
	require.Equal(t, 50*mib/15, rateAfter(33*time.Second, 200*mib))
	m.measure(now.Add(34*time.Second), nil)
	require.Equal(t, int64(-1), rateAfter(35*time.Second, 200*mib), "another copy")
}

// A bar must not fall back to nothing while no worker answers.
func TestWhatIsCopiedIsRememberedWithoutAWorker(t *testing.T) {
	var m meter
	before := look(t,
		moment{status: inPages(t, 40), activities: []*workflowpb.PendingActivityInfo{
			page(t, "101", 300*mib),
			page(t, "102", 180*mib),
		}})
	m.measure(now, before.copied)
	silent := look(t, moment{taskAttempt: 2, activities: []*workflowpb.PendingActivityInfo{
		page(t, "101", 320*mib),
		page(t, "102", 180*mib),
	}})
	require.Zero(t, silent.copied.PagesTotal)
	m.measure(now.Add(time.Second), silent.copied)
	require.Equal(t, 40*512*mib+500*mib, silent.copied.BytesDone)
	require.Equal(t, before.copied.BlobsTotal, silent.copied.BlobsTotal)
	require.Equal(t, 40, silent.copied.PagesDone)
}

// While pages wait for a free slot, as most of many do, nobody needs to ask whether there are
// workers at all.
func TestPagesWaitForWorkers(t *testing.T) {
	require.False(t, look(t, moment{status: inPages(t, 1), activities: sixteen(t)}).Execution.waitsForWorker())
	require.True(t, look(t, moment{
		status:     inPages(t, 1),
		activities: []*workflowpb.PendingActivityInfo{queued("1"), queued("2")},
	}).Execution.waitsForWorker())
	require.True(t, look(t, moment{
		status: inPages(t, 1),
		activities: []*workflowpb.PendingActivityInfo{page(t, "1", 0), {
			ActivityId: "2", ActivityType: &commonpb.ActivityType{Name: migration.ActivityTakeSnapshot},
			State: enums.PENDING_ACTIVITY_STATE_SCHEDULED,
		}},
	}).Execution.waitsForWorker())
}

func look(t *testing.T, m moment) view {
	t.Helper()
	v, err := (&app{deps: newConsole(t, nil).deps}).look(context.Background(),
		&connection{temporalClient: newFake(t, m)}, target{"movies", "migration/movies"}, false)
	require.NoError(t, err)
	return v
}

func TestACopyInPagesIsOneBar(t *testing.T) {
	b := newBars(&app{deps: newConsole(t, nil).deps}, mpb.WithManualRefresh(make(chan any)))
	b.show(look(t, moment{status: inPages(t, 40), activities: sixteen(t)}))
	ids := func() (ids []string) {
		for id := range b.steps {
			ids = append(ids, id)
		}
		return ids
	}
	require.ElementsMatch(t, []string{"copy", "failing 0", "failing 1", "failing 2", "failing 3"}, ids())
	require.Equal(t, row{
		name: "copy", done: 40*512*mib + 540*mib, total: 200 * 512 * mib,
		text: "20 %  21 GiB of 100 GiB  9.4 MB/s  2h31m left  40 of 200 pages  4,108 of 20,000 blobs  3 " +
			"running  9 waiting for a free worker  4 waiting for the next attempt",
	}, b.steps["copy"].get())
	require.Equal(t, "page in activity 115: attempt 5 at 22:30:30, worker 71@copy-1@; last failure: Throttled: "+
		"OSS answers 503 SlowDown for blob 3", b.steps["failing 0"].get().text)
	require.Equal(t, "and 2 more", b.steps["failing 3"].get().text)

	b.show(look(t,
		moment{status: inPages(t, 200), activities: []*workflowpb.PendingActivityInfo{copying(t, "301", 0, 1)}}))
	require.Equal(t, []string{"activity 301"}, ids())
	b.close()
}

func TestBandwidthIsAnUpdate(t *testing.T) {
	for _, test := range []struct {
		args  []string
		limit string
	}{
		{[]string{"movies", "50MB/s"}, "50MB/s"},
		{[]string{"-w", "migration/movies", "none"}, "none"},
		{[]string{"-f", minimal, "1GiB/s"}, "1GiB/s"},
	} {
		fake := newFake(t, moment{status: inRounds(t)})
		fake.answer = migration.Answer{
			Message: "all copies together now read at most " + test.limit,
			Phase:   migration.PhaseRounds,
		}
		c := newConsole(t, fake)
		out, errs := c.run(exitOK, append([]string{"bandwidth", "--reason", "office hours"}, test.args...)...)
		require.Empty(t, errs)
		require.Equal(t, "bandwidth movies: all copies together now read at most "+test.limit+
			".\nPhase: rounds\n\nNext: starter watch movies\n", out)
		require.Len(t, fake.updates, 1)
		require.Equal(t, migration.Bandwidth, fake.updates[0].UpdateName)
		input := fake.updates[0].Args[0].(migration.BandwidthInput)
		require.Equal(t, test.limit, input.Limit.String())
		require.Equal(t, "ann", input.By)
		require.Equal(t, "office hours", input.Reason)

		payload, err := json.Marshal(input)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"limit": %q, "by": "ann", "reason": "office hours"}`, test.limit),
			string(payload), "as the migration reads it")

		out, _ = c.run(exitOK, append([]string{"bandwidth", "--signal", "--by", "ben"}, test.args...)...)
		require.Contains(t, out, "Sent the signal bandwidth to movies")
		require.Equal(t, []string{migration.Bandwidth}, fake.signals)
		require.Equal(t, "ben", fake.signalled[0].(migration.BandwidthInput).By)
	}
}

func TestABandwidthThatIsNone(t *testing.T) {
	for _, args := range [][]string{
		{"movies", "50"},
		{"movies", "50MB"},
		{"movies", "0MB/s"},
		{"movies", "-1MB/s"},
		{"movies"},
		{"50MB/s"},
		{},
		{"movies", "1MB/s", "2MB/s"},
		{"-w", "x", "movies", "1MB/s"},
	} {
		fake := newFake(t, moment{status: inRounds(t)})
		_, errs := newConsole(t, fake).run(exitUsage, append([]string{"bandwidth"}, args...)...)
		require.True(t, strings.HasPrefix(errs, "Error: "), errs)
		require.Empty(t, fake.updates)
	}
	_, errs := newConsole(t, newFake(t)).run(exitUsage, "bandwidth", "movies", "50MB")
	require.Contains(t, errs, `the last argument is the limit: "50MB" is not a rate`)
	_, errs = newConsole(t, newFake(t)).run(exitNotFound, "bandwidth", "movies", "50MB/s")
	require.Contains(t, errs, "there is no migration movies")
	ended := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	ended.updateErr = serviceerror.NewNotFound("workflow execution already completed")
	_, errs = newConsole(t, ended).run(exitRefused, "bandwidth", "movies", "50MB/s")
	require.Contains(t, errs, "bandwidth is not possible now: the migration has ended (completed)")
}
