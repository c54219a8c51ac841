package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/migration"
)

// runLimit ends a run that hangs.
const runLimit = lab.Patience

// bench runs the cases.
type bench struct {
	dir      string // everything temporary; removed at the end
	out      io.Writer
	rclone   string // path; "" to run without
	profile  string // folder for the workers' profiles; "" for none
	temporal lab.Temporal
	client   client.Client
	now      func() time.Time
	report   *Report
	serial   int // makes names of runs
}

// outcome is what the processes of one run took.
type outcome struct {
	wall     time.Duration
	cpu      time.Duration
	peak     int64
	inFlight int64
	givenUp  []string // why attempts ended before the last one
	problem  string
}

func (o *outcome) add(u usage) {
	o.cpu += u.cpu
	o.peak = max(o.peak, u.peak)
}

// trial is a case before it is run.
type trial struct {
	set, scenario string
	latencyMS     int
	faultRate     float64
	runs          int
	// files is how many new files each shard has in a snapshot that begins on the last one; -1 for
	// a copy into an empty folder.
	files int
	// keep leaves the last run's folder, for trials that begin there.
	keep bool
	halt bool // SIGKILL at half way
}

func (b *bench) say(format string, arguments ...any) { fmt.Fprintf(b.out, format+"\n", arguments...) }

// folders are where the tools' repositories stand in the sink.
type folders map[string]string

func (b *bench) tools() []string {
	if b.rclone == "" {
		return []string{toolOurs}
	}
	return []string{toolOurs, toolRclone}
}

// try runs a trial with both tools in turn, each time the other one first, and adds the case to the
// report.
func (b *bench) try(ctx context.Context, st *stage, t trial, at folders) error {
	tools, runs := b.tools(), map[string][]run{}
	if t.scenario == busy {
		tools = []string{toolOurs}
	}
	var work Work
	c := conditions{latency: time.Duration(t.latencyMS) * time.Millisecond, faultRate: t.faultRate}
	for n := range t.runs {
		if t.files >= 0 {
			if err := st.advance(ctx, t.files); err != nil {
				return err
			}
		}
		work = st.data.work(t.files >= 0)
		order := slices.Clone(tools)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, tool := range order {
			if t.files < 0 {
				b.serial++
				at[tool] = tool + "-" + strconv.Itoa(b.serial)
			}
			one, err := b.runOne(ctx, st, t, c, tool, at[tool], work)
			if err != nil {
				return fmt.Errorf("%s %s with %s: %w", t.set, t.scenario, tool, err)
			}
			runs[tool] = append(runs[tool], one)
			if t.files < 0 && (n < t.runs-1 || !t.keep) {
				if err := st.forget(ctx, sinkBase(at[tool])); err != nil {
					return err
				}
			}
		}
	}
	result := Case{Set: t.set, Scenario: t.scenario, LatencyMS: t.latencyMS, TLS: st.tls, Work: work}
	for _, tool := range tools {
		result.Tools = append(result.Tools, summarize(tool, work, runs[tool]))
	}
	b.report.Cases = append(b.report.Cases, result)
	return nil
}

// runOne runs one tool once, and then compares what it left with the source.
func (b *bench) runOne(ctx context.Context, st *stage, t trial, c conditions, tool, name string,
	work Work,
) (run, error) {
	settle()
	if err := st.reset(ctx, c); err != nil {
		return run{}, err
	}
	var halfway int64
	if t.halt {
		halfway = work.Bytes / 2
	}
	limited, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	var o outcome
	var err error
	if tool == toolOurs {
		o, err = b.runOurs(limited, st, name, t, halfway)
	} else {
		o, err = b.runRclone(limited, st, sinkBase(name), halfway)
	}
	if limited.Err() != nil && ctx.Err() == nil {
		o.wall, o.problem, err = runLimit, fmt.Sprintf("it had not ended after %s", runLimit), nil
	}
	if err != nil {
		return run{}, err
	}
	one, err := st.observed(ctx)
	if err != nil {
		return run{}, err
	}
	one.wall, one.cpu, one.peakRSS = o.wall.Seconds(), o.cpu.Seconds(), o.peak
	one.inFlight, one.givenUp, one.problem = o.inFlight, o.givenUp, o.problem
	if err := st.reset(ctx, conditions{}); err != nil {
		return one, err
	}
	if err := st.verify(ctx, sinkBase(name)); err != nil {
		if ctx.Err() != nil {
			return one, context.Cause(ctx)
		}
		one.problem = strings.TrimPrefix(one.problem+"; "+err.Error(), "; ")
	}
	one.verified = one.problem == ""
	b.say("%-10s %-10s %-9s latency %2d ms  wall %7.2f s  CPU %6.2f s  peak %4d MiB  requests %6d  %s", t.set,
		t.scenario, tool, t.latencyMS, one.wall, one.cpu,
		one.peakRSS>>20, one.requests.total(), cmp.Or(one.problem, "verified"))
	return one, nil
}

// observed is what the servers saw of a run.
func (st *stage) observed(ctx context.Context) (run, error) {
	source, err := st.sourceAdmin.Report(ctx)
	if err != nil {
		return run{}, err
	}
	sink, err := st.sinkAdmin.Report(ctx)
	if err != nil {
		return run{}, err
	}
	t, err := st.tally(ctx)
	if err != nil {
		return run{}, err
	}
	one := run{
		requests: Requests{Source: map[string]int64{}, Sink: map[string]int64{}}, twice: t.Twice,
		injected: map[string]int64{},
	}
	for _, side := range []struct {
		name   string
		report osstest.Report
		into   map[string]int64
	}{{"source", source, one.requests.Source}, {"sink", sink, one.requests.Sink}} {
		for _, u := range side.report.Usage {
			side.into[u.Op] += u.Requests
			if strings.HasPrefix(u.Op, "List") {
				one.listed += u.BytesOut
			}
		}
		for kind, n := range side.report.Faults {
			one.injected[side.name+" "+kind] += n
		}
	}
	return one, nil
}

// plan is a migration's, as far as its copy looks at it.
func (st *stage) plan(name string) (migration.Plan, error) {
	text, err := json.Marshal(map[string]any{
		"name": "bench", "indices": []string{"*"},
		"source": map[string]any{"endpoint": "http://127.0.0.1:1", "repository": map[string]any{
			"bucket": sourceBucket, "region": region, "roleArn": lab.RoleARN, "basePath": "repo",
			"reader": map[string]any{"endpoint": st.at.SourceS3, "pathStyle": true},
		}},
		"target": map[string]any{
			"endpoint": "http://127.0.0.1:1", "auth": map[string]any{"type": migration.AuthNone},
			"repository": map[string]any{
				"bucket": sinkBucket, "region": region, "endpoint": st.at.SinkOSS, "basePath": name,
				"accessKeyId": "env:SNAPFERRY_SECRET_KEY_ID", "secretAccessKey": "env:SNAPFERRY_SECRET_KEY",
				"writer": map[string]any{
					"endpoint": st.at.SinkOSS, "accessKeyId": "env:SNAPFERRY_SECRET_KEY_ID",
					"accessKeySecret": "env:SNAPFERRY_SECRET_KEY",
				},
			},
		},
	})
	if err != nil {
		return migration.Plan{}, err
	}
	return migration.Decode(text)
}

// startWorker starts a worker whose access key is the one given, and waits until it polls.
func (b *bench) startWorker(ctx context.Context, st *stage, key string, copiesOnly bool) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b.serial++
	ready := filepath.Join(st.dir, "worker-"+strconv.Itoa(b.serial)+".ready")
	arguments := []string{
		"worker", "--address", b.temporal.Address, "--namespace", b.temporal.Namespace, "--ready",
		ready,
	}
	if copiesOnly {
		arguments = append(arguments, "--copies-only")
	}
	if b.profile != "" {
		arguments = append(arguments, "--profile", b.profile)
	}
	env := environment(asChild, "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_REGION="+region,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"SNAPFERRY_SECRET_KEY_ID="+key, "SNAPFERRY_SECRET_KEY="+secretKey)
	if st.caFile != "" {
		env = append(env, "AWS_CA_BUNDLE="+st.caFile)
	}
	p, err := start(filepath.Join(st.dir, "worker.log"), env, self, arguments...)
	if err != nil {
		return nil, err
	}
	if _, err := p.awaitFile(ctx, ready); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// begin starts the copy of the last snapshot.
func (b *bench) begin(ctx context.Context, st *stage, name string, fromBase bool) (client.WorkflowRun, error) {
	plan, err := st.plan(name)
	if err != nil {
		return nil, err
	}
	request := migration.CopyRequest{
		Run: migration.Run{Plan: plan, Token: runToken}, Snapshot: st.data.snapshot,
		BaseGeneration: -1,
	}
	if fromBase {
		request.BaseUUID, request.BaseGeneration = st.data.base.UUID, st.data.repo.Generation()-1
	}
	b.serial++
	return b.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "bench-" + strconv.Itoa(b.serial), TaskQueue: migration.TaskQueue, WorkflowExecutionTimeout: runLimit,
	}, copyWorkflowType, request)
}

// runOurs copies with a worker. It ends when the workflow knows that the snapshot is published.
func (b *bench) runOurs(ctx context.Context, st *stage, name string, t trial, halfway int64) (o outcome, err error) {
	worker, err := b.startWorker(ctx, st, accessKey, false)
	if err != nil {
		return o, err
	}
	defer func() { worker.stop() }() // the last one
	if t.scenario == busy {
		free, err := b.burn(st)
		if err != nil {
			return o, err
		}
		defer free()
	}
	idle := worker.look().cpu
	began := b.now()
	copying, err := b.begin(ctx, st, name, t.files >= 0)
	if err != nil {
		return o, err
	}
	if halfway > 0 {
		if err := b.awaitStored(ctx, st, halfway, worker.done); err != nil {
			return o, err
		}
		worker.kill()
		o.add(worker.total())
		if o.inFlight, err = b.inFlight(ctx, st); err != nil {
			return o, err
		}
		if worker, err = b.startWorker(ctx, st, accessKey, false); err != nil {
			return o, err
		}
	}
	var result migration.CopyResult
	err = copying.Get(ctx, &result)
	o.wall = b.now().Sub(began)
	o.add(worker.look())
	o.cpu -= idle
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	if err != nil {
		o.problem = fmt.Sprintf("the copy failed: %v", err)
	}
	o.givenUp, err = b.givenUp(ctx, copying)
	return o, err
}

// burnersEach is how many processes share each processor with a copy that is to be disturbed.
const burnersEach = 10

// burn has other processes take what they get of the processors, until free.
func (b *bench) burn(st *stage) (free func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var burners []*process
	free = func() {
		for _, p := range burners {
			p.kill()
		}
	}
	for range burnersEach * runtime.NumCPU() {
		p, err := launch(filepath.Join(st.dir, "burn.log"), environment(asChild, "GOMAXPROCS=1"), self, "burn")
		if err != nil {
			free()
			return nil, err
		}
		burners = append(burners, p)
	}
	return free, nil
}

// givenUp says of each activity that needed another attempt why the one before ended.
func (b *bench) givenUp(ctx context.Context, copying client.WorkflowRun) (why []string, err error) {
	events := b.client.GetWorkflowHistory(ctx, copying.GetID(), copying.GetRunID(), false,
		enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, err
		}
		if a := event.GetActivityTaskStartedEventAttributes(); a.GetAttempt() > 1 {
			why = append(why, fmt.Sprintf("attempt %d after: %s", a.GetAttempt(), a.GetLastFailure().GetMessage()))
		}
	}
	return why, nil
}

// awaitStored waits until the sink has taken so many bytes.
func (b *bench) awaitStored(ctx context.Context, st *stage, bytes int64, ended <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		t, err := st.tally(ctx)
		if err != nil {
			return err
		}
		if t.Stored >= bytes {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return errors.New("the process ended before half of the bytes were copied")
		case <-tick.C:
		}
	}
}

// inFlight is what the source has served of data blobs and the sink hasn't stored, once the servers
// have seen that their client is gone.
func (b *bench) inFlight(ctx context.Context, st *stage) (int64, error) {
	const pause = 30 * time.Millisecond
	for last := int64(-1); ; {
		t, err := st.tally(ctx)
		if err != nil {
			return 0, err
		}
		now := t.Served - t.Stored
		if now == last {
			return now, nil
		}
		last = now
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// fanout copies the set with one worker and then with several, each with a key of its own that both
// servers limit.
func (b *bench) fanout(ctx context.Context, st *stage, workers int, bytesPerSecond int64) error {
	f := Fanout{Workers: workers, BytesPerSecondKey: bytesPerSecond, Bytes: st.data.work(false).Bytes, Verified: true}
	for _, with := range []struct {
		workers int
		seconds *float64
	}{{1, &f.OneSeconds}, {workers, &f.AllSeconds}} {
		b.serial++
		name := "fanout-" + strconv.Itoa(b.serial)
		wall, err := b.copyWith(ctx, st, name, with.workers, bytesPerSecond)
		if err != nil {
			return fmt.Errorf("%d workers with limited keys: %w", with.workers, err)
		}
		*with.seconds = benchmain.Round3(wall.Seconds())
		if err := st.reset(ctx, conditions{}); err != nil {
			return err
		}
		if err := st.verify(ctx, sinkBase(name)); err != nil {
			f.Verified, f.Problem = false, err.Error()
		}
		b.say("fan-out    %d workers, a key of %s/s each: %.1f s", with.workers, size(bytesPerSecond), *with.seconds)
		if err := st.forget(ctx, sinkBase(name)); err != nil {
			return err
		}
	}
	b.report.Fanout = &f
	return nil
}

func (b *bench) copyWith(ctx context.Context, st *stage, name string, count int,
	bytesPerSecond int64,
) (time.Duration, error) {
	settle()
	if err := st.reset(ctx, conditions{bandwidth: bytesPerSecond}); err != nil {
		return 0, err
	}
	for n := range count {
		worker, err := b.startWorker(ctx, st, keyName(n), n > 0)
		if err != nil {
			return 0, err
		}
		defer worker.stop()
	}
	began := b.now()
	copying, err := b.begin(ctx, st, name, false)
	if err != nil {
		return 0, err
	}
	var result migration.CopyResult
	err = copying.Get(ctx, &result)
	return b.now().Sub(began), err
}
