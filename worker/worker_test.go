package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/migration"
)

// recorder is a worker that only remembers what was registered.
type recorder struct {
	worker.Registry
	workflows, activities []string
}

func (r *recorder) RegisterWorkflowWithOptions(_ any, options workflow.RegisterOptions) {
	r.workflows = append(r.workflows, options.Name)
}

func (r *recorder) RegisterActivityWithOptions(_ any, options activity.RegisterOptions) {
	r.activities = append(r.activities, options.Name)
}

// Every activity that the workflow can call is served, on the queue that the workflow calls it on.
func TestEveryActivityIsServed(t *testing.T) {
	var everything, copies, guards recorder
	register(&everything, migration.TaskQueue, secrets.Fence{}, activities.NewCopier(secrets.Fence{}), nil)
	register(&copies, migration.CopyTaskQueue, secrets.Fence{}, activities.NewCopier(secrets.Fence{}), nil)
	register(&guards, migration.GuardTaskQueue, secrets.Fence{}, activities.NewCopier(secrets.Fence{}), nil)
	require.Equal(t, []string{
		migration.WorkflowType, migration.GuardWorkflowType, migration.AuditWorkflowType, migration.RecoverWorkflowType,
		migration.TranscriptWorkflowType, migration.CheckWorkflowType, migration.CleanupWorkflowType,
		migration.NotifyWorkflowType,
	}, everything.workflows)
	require.Empty(t, copies.workflows)
	require.Equal(t, []string{
		migration.ActivityCopySnapshot, migration.ActivityCopyShards, migration.ActivityCopyAhead,
		migration.ActivityPublishAhead, migration.ActivityCopyPage,
		migration.ActivityPublishSnapshot, migration.ActivityAudit,
	}, copies.activities)
	require.Empty(t, guards.workflows)
	require.ElementsMatch(t, migration.ActivityNames(),
		slices.Concat(everything.activities, copies.activities, guards.activities))
	// Who serves the workflows serves what waits for them, too: in places of its own.
	require.Equal(t, []string{migration.TaskQueue, migration.GuardTaskQueue}, served([]string{migration.TaskQueue}))
	require.Equal(t, []string{migration.CopyTaskQueue}, served([]string{migration.CopyTaskQueue}))
	require.Greater(t, options(config{maxActivities: 2}, migration.GuardTaskQueue, nil).
		MaxConcurrentActivityExecutionSize, 1000)
}

type variables map[string]string

func (v variables) LookupEnv(name string) (string, bool) { value, ok := v[name]; return value, ok }
func (v variables) Environ() []string                    { return nil }

// configured is what a command line and an environment come to.
func configured(t *testing.T, environment variables, args ...string) (config, error) {
	if environment == nil {
		environment = variables{}
	}
	environment["TEMPORAL_CONFIG_FILE"] = t.TempDir() + "/temporal.toml" // absent: nobody's own settings
	var got config
	command := newCommand(environment, func(_ context.Context, c config) error {
		got = c
		return nil
	})
	command.SetArgs(args)
	return got, errors.Join(command.ExecuteContext(t.Context()))
}

func TestConfiguration(t *testing.T) {
	read := func(environment variables, args ...string) config {
		t.Helper()
		var got config
		environment["TEMPORAL_CONFIG_FILE"] = t.TempDir() + "/temporal.toml"
		command := newCommand(environment, func(_ context.Context, c config) error {
			got = c
			return nil
		})
		command.SetArgs(args)
		require.NoError(t, command.ExecuteContext(t.Context()))
		return got
	}
	c := read(variables{})
	require.Equal(t, []string{migration.TaskQueue, migration.CopyTaskQueue}, c.queues)
	require.Equal(t, 50, c.maxActivities)
	require.Equal(t, 4, c.maxCopies)
	require.Equal(t, int64(128<<20), c.memoryBytes())
	require.Equal(t, 30*time.Second, c.stopTimeout)
	require.Empty(t, c.metricsAddr)
	require.False(t, c.versioned())
	require.Equal(t, "localhost:7233", c.client.HostPort)
	require.Equal(t, "default", c.client.Namespace)

	environment := variables{
		"SNAPFERRY_QUEUES": "snapferry-copy", "SNAPFERRY_MAX_COPIES": "8", "SNAPFERRY_STOP_TIMEOUT": "2m",
		"SNAPFERRY_METRICS_ADDR": ":9090",
		"SNAPFERRY_LOG_FORMAT":   "console", "TEMPORAL_ADDRESS": "temporal:7233", "TEMPORAL_NAMESPACE": "search",
		"TEMPORAL_DEPLOYMENT_NAME": "snapferry", "TEMPORAL_WORKER_BUILD_ID": "1.2.3",
	}
	c = read(environment)
	require.Equal(t, []string{migration.CopyTaskQueue}, c.queues)
	require.Equal(t, 8, c.maxCopies)
	require.Equal(t, 2*time.Minute, c.stopTimeout)
	require.Equal(t, ":9090", c.metricsAddr)
	require.Equal(t, "temporal:7233", c.client.HostPort)
	require.Equal(t, "search", c.client.Namespace)
	require.True(t, c.versioned())

	c = read(environment, "--max-copies", "3", "--address", "other:7233", "--queues", "snapferry,snapferry,")
	require.Equal(t, 3, c.maxCopies, "a flag comes before its variable")
	require.Equal(t, "other:7233", c.client.HostPort)
	require.Equal(t, []string{migration.TaskQueue}, c.queues)
}

// Neither a variable that happens to have the name nor a missing server keeps it from being
// printed.
func TestVersion(t *testing.T) {
	run := func(context.Context, config) error { return errors.New("started") }
	var out bytes.Buffer
	command := newCommand(variables{"SNAPFERRY_VERSION": "true"}, run)
	command.SetOut(&out)
	command.SetArgs([]string{"--version"})
	require.NoError(t, command.ExecuteContext(t.Context()))
	require.Equal(t, "worker "+version.Get().String()+"\n", out.String())

	command = newCommand(variables{"SNAPFERRY_VERSION": "many", "TEMPORAL_CONFIG_FILE": t.TempDir() + "/temporal.toml"},
		run)
	command.SetArgs([]string{})
	require.ErrorContains(t, command.ExecuteContext(t.Context()), "started", "a version is no setting")
}

func TestAWrongConfigurationIsExplained(t *testing.T) {
	for want, test := range map[string]struct {
		environment variables
		args        []string
	}{
		"there is no task queue snapfery: use snapferry, snapferry-copy or both": {
			nil,
			[]string{"--queues", "snapfery"},
		},
		"--queues is empty":                               {nil, []string{"--queues", ","}},
		"--max-activities is 1":                           {nil, []string{"--max-activities", "1"}},
		"--copy-memory much is not a size":                {nil, []string{"--copy-memory", "much"}},
		"--bandwidth: \"fast\" is not a rate":             {nil, []string{"--bandwidth", "fast"}},
		"--bandwidth: can't read the limit":               {nil, []string{"--bandwidth", "file:/nowhere/limit"}},
		"--metrics-interval is 10ms":                      {nil, []string{"--metrics-interval", "10ms"}},
		"--max-copies is 0":                               {nil, []string{"--max-copies", "0"}},
		"--stop-timeout is 0s":                            {nil, []string{"--stop-timeout", "0s"}},
		"--log-format xml":                                {nil, []string{"--log-format", "xml"}},
		"--log-level loud":                                {nil, []string{"--log-level", "loud"}},
		"unknown flag: --nope":                            {nil, []string{"--nope"}},
		"worker takes no arguments":                       {nil, []string{"start"}},
		"the environment variable SNAPFERRY_MAX_COPIES":   {variables{"SNAPFERRY_MAX_COPIES": "many"}, nil},
		"TEMPORAL_WORKER_BUILD_ID turn worker versioning": {variables{"TEMPORAL_DEPLOYMENT_NAME": "d"}, nil},
		"check --profile":                                 {nil, []string{"--profile", "nowhere"}},
	} {
		_, err := configured(t, test.environment, test.args...)
		require.ErrorContains(t, err, want)
		require.Equal(t, 2, codeOf(err), want)
	}
}

// Each queue has slots of its own, so that a copy never delays an unblock.
func TestOptions(t *testing.T) {
	c := config{maxActivities: 50, maxCopies: 2, stopTimeout: 30 * time.Second}
	all, copies := options(c, migration.TaskQueue, nil), options(c, migration.CopyTaskQueue, nil)
	require.Equal(t, 50, all.MaxConcurrentActivityExecutionSize)
	require.Equal(t, 2, copies.MaxConcurrentActivityExecutionSize)
	require.True(t, copies.DisableWorkflowWorker)
	require.False(t, all.DisableWorkflowWorker)
	guards := options(c, migration.GuardTaskQueue, nil)
	for _, o := range []worker.Options{all, copies, guards} {
		require.Equal(t, 30*time.Second, o.WorkerStopTimeout)
		// A second for the answer to one heartbeat, two for that to the next, and half a second to end the work.
		require.LessOrEqual(t, o.MaxHeartbeatThrottleInterval, migration.HeartbeatTimeout-3500*time.Millisecond)
		require.Equal(t, o.MaxHeartbeatThrottleInterval, o.DefaultHeartbeatThrottleInterval)
		require.False(t, o.DeploymentOptions.UseVersioning)
	}
	c.deployment, c.buildID = "snapferry", "1.2.3"
	versioned := options(c, migration.TaskQueue, nil).DeploymentOptions
	require.True(t, versioned.UseVersioning)
	require.Equal(t, "1.2.3", versioned.Version.BuildID)
	require.NotZero(t, versioned.DefaultVersioningBehavior)
}

// Nothing listens there: the worker says so, waits longer each time, and ends when it is asked to.
func TestItWaitsForTemporal(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	var log bytes.Buffer
	logger, temporalLogger := newLogger(config{logLevel: "info", logFormat: formatJSON}, &log)
	ctx, cancel := context.WithCancel(t.Context())
	var waits []time.Duration
	_, err = connect(ctx, client.Options{HostPort: address, Namespace: "default", Logger: temporalLogger}, logger,
		func(ctx context.Context, d time.Duration) error {
			if waits = append(waits, d); len(waits) == 6 {
				cancel()
			}
			return ctx.Err()
		})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []time.Duration{
		1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
		15 * time.Second, 15 * time.Second,
	}, waits)
	require.Contains(t, log.String(), "waiting for Temporal; set TEMPORAL_ADDRESS or --address")
	require.Contains(t, log.String(), address)
}

func TestWhatWaitingDoesNotFix(t *testing.T) {
	options := client.Options{HostPort: "temporal:7233", Namespace: "search"}
	err := hopeless(serviceerror.NewNamespaceNotFound("search"), options)
	require.ErrorContains(t, err, "Temporal at temporal:7233 has no namespace search: set TEMPORAL_NAMESPACE")
	require.Equal(t, 2, codeOf(err))
	require.ErrorContains(t, hopeless(serviceerror.NewPermissionDenied("no", ""), options), "refuses access")
	require.NoError(t, hopeless(serviceerror.NewUnavailable("down"), options))
}

func TestMetricsAndHealth(t *testing.T) {
	o, err := newObservation(zap.NewNop())
	require.NoError(t, err)
	get := func(path string) (int, string) {
		answer := httptest.NewRecorder()
		o.handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		return answer.Code, answer.Body.String()
	}
	code, body := get("/healthz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "starting\n", body)
	o.set("")
	code, body = get("/healthz")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ok\n", body)

	o.metrics.WithTags(map[string]string{"queue": "q"}).Counter("temporal_request").Inc(3)
	o.metrics.Timer("temporal_request_latency").Record(200 * time.Millisecond)
	_, body = get("/metrics")
	require.Contains(t, body, `temporal_request_total{queue="q"} 3`)
	require.Contains(t, body, `temporal_request_latency_seconds_bucket{le="0.25"} 1`)
	require.Contains(t, body, "go_goroutines")

	var none *observation
	none.set("without metrics nothing is served")
}

func TestAnAddressThatIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	o, err := newObservation(zap.NewNop())
	require.NoError(t, err)
	err = o.listen(t.Context(), listener.Addr().String(), zap.NewNop())
	require.ErrorContains(t, err, "can't listen on --metrics-addr")
	require.Equal(t, 2, codeOf(err))
}

// Temporal's lines and ours come out of the same sink, with caller and level.
func TestLogging(t *testing.T) {
	var out bytes.Buffer
	logger, temporalLogger := newLogger(config{logLevel: "info", logFormat: formatJSON}, &out)
	temporalLogger.Debug("too quiet")
	temporalLogger.Warn("from the SDK", "attempt", 3)
	logger.Info("from us", zap.Duration("took", time.Second))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	var first, second map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &second))
	require.Equal(t, "warn", first["level"])
	require.EqualValues(t, 3, first["attempt"])
	require.Contains(t, first["caller"], "worker_test.go", "the caller is who logged, not an adapter")
	require.Equal(t, "1s", second["took"])

	out.Reset()
	logger, _ = newLogger(config{logLevel: "debug", logFormat: formatConsole}, &out)
	logger.Debug("seen")
	require.Contains(t, out.String(), "DEBUG")
}
