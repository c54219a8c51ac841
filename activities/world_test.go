package activities

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab/payloads"
	"github.com/snapferry/snapferry/migration"
)

// The secrets of the plan under test. None may appear in any error.
const (
	sourcePassword = "planted-source-password"
	targetPassword = "planted-target-password"
	clusterKeyID   = "planted-cluster-key-id"
	clusterSecret  = "planted-cluster-secret"
	writerKeyID    = "planted-writer-key-id"
	writerSecret   = "planted-writer-secret"
	webhookSecret  = "planted-webhook-secret"
)

// world is two clusters and their buckets, with the activities that work on them. Time passes only
// in sleeps.
type world struct {
	t          *testing.T
	from, to   *elastictest.Cluster
	s3, oss    *elastictest.Store
	run        migration.Run
	activities *Activities
	buckets    *fakeBuckets
	// inS3 and inOSS are what stands below the run's folders as objects.
	inS3, inOSS *memory.Store
	// kept holds the lists that are too long for payloads.
	kept *memory.Store
	// temporal is the server that knows the plan's earlier runs.
	temporal *fakeServer

	mu         sync.Mutex
	clock      time.Time
	heartbeats []migration.Progress
	beaten     *sync.Cond // a heartbeat came
	log        bytes.Buffer
	stop       chan struct{}
	before     *migration.Progress // the last heartbeat of the attempt before
	onSleep    func()
}

// testKeys let plans read what the tests set.
var testKeys = keys{secrets.Fence{EnvPrefix: "TEST_"}}

func newWorld(t *testing.T) *world {
	t.Setenv("TEST_SOURCE_PASSWORD", sourcePassword)
	t.Setenv("TEST_TARGET_PASSWORD", targetPassword)
	t.Setenv("TEST_CLUSTER_KEY_ID", clusterKeyID)
	t.Setenv("TEST_CLUSTER_SECRET", clusterSecret)
	t.Setenv("TEST_WRITER_KEY_ID", writerKeyID)
	t.Setenv("TEST_WRITER_SECRET", writerSecret)
	t.Setenv("TEST_WEBHOOK", webhookSecret)

	w := &world{
		t: t, s3: elastictest.NewStore(), oss: elastictest.NewStore(), clock: time.Unix(1_700_000_000, 0),
		buckets: &fakeBuckets{
			from: sourceBucket{exists: true, region: "ap-southeast-1"},
			to:   targetBucket{exists: true, acl: "private", storageClass: "Standard"},
		},
		inS3: memory.NewSource(), inOSS: memory.NewSink(), kept: memory.NewSink(), temporal: &fakeServer{},
		stop: make(chan struct{}),
	}
	w.beaten = sync.NewCond(&w.mu)
	t.Cleanup(func() { require.NotContains(t, w.log.String(), "planted-", "a secret was logged") })
	w.from, w.to = elastictest.New(w.s3), elastictest.New(w.oss)
	t.Cleanup(w.from.Close)
	t.Cleanup(w.to.Close)
	w.from.User, w.from.Password = "writer", sourcePassword
	w.to.User, w.to.Password = "elastic", targetPassword
	w.to.Version = "5.5.3"
	w.from.Looks, w.to.Looks = 2, 2

	plan, err := migration.Decode([]byte(strings.NewReplacer("FROM", w.from.URL, "TO", w.to.URL).Replace(planText)))
	require.NoError(t, err)
	w.run = migration.Run{Plan: plan, Token: "t0ken"}

	w.from.Create("movies", 2, map[string]string{"index.refresh_interval": "30s"})
	w.from.AddAlias("movies", "films")
	w.from.Create("catalog", 3, map[string]string{"index.number_of_replicas": "2", "index.blocks.write": "false"})
	require.NoError(t, w.from.Index("movies", "alien", "brazil", "casablanca"))
	require.NoError(t, w.from.Index("catalog", "a", "b", "c", "d", "e"))

	w.activities = &Activities{
		keys: testKeys, cluster: newClusters(testKeys).get, buckets: w.buckets,
		http:   &http.Client{Timeout: slowest},
		source: func(context.Context, migration.Run) (objectstore.Source, error) { return w.inS3, nil },
		sink:   func(context.Context, migration.Run) (objectstore.Sink, error) { return w.inOSS, nil },
		lists: lists{
			open:    func(context.Context, migration.Run) (objectstore.Sink, error) { return w.kept, nil },
			longest: migration.LongestInline,
		},
		inS3:   func(context.Context, migration.Plan) (bucket, error) { return w.inS3, nil },
		inOSS:  func(context.Context, migration.Plan) (objectstore.Sink, error) { return w.inOSS, nil },
		server: func(context.Context) server { return w.temporal },
		heart: heart{
			beat: time.Millisecond,
			heartbeat: func(ctx context.Context, details ...any) {
				activity.RecordHeartbeat(ctx, details...)
				w.mu.Lock()
				defer w.mu.Unlock()
				w.heartbeats = append(w.heartbeats, details[0].(migration.Progress))
				w.beaten.Broadcast()
			},
		},
		now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock },
		sleep: func(ctx context.Context, d time.Duration) error {
			w.mu.Lock()
			w.clock = w.clock.Add(d)
			onSleep := w.onSleep
			w.mu.Unlock()
			if onSleep != nil {
				onSleep()
			}
			return ctx.Err()
		},
	}
	return w
}

const planText = `
name: movies
source:
  endpoint: FROM
  auth: {type: basic, user: writer, password: "env:TEST_SOURCE_PASSWORD"}
  repository: {bucket: from-bucket, region: ap-southeast-1, roleArn: "arn:aws:iam::123456789012:role/Snap", serverSideEncryption: true, settings: {max_snapshot_bytes_per_sec: 80mb}}
target:
  endpoint: TO
  auth: {user: elastic, password: "env:TEST_TARGET_PASSWORD"}
  repository:
    bucket: to-bucket
    region: ap-southeast-1
    endpoint: http://oss-ap-southeast-1-internal.aliyuncs.com
    accessKeyId: env:TEST_CLUSTER_KEY_ID
    secretAccessKey: env:TEST_CLUSTER_SECRET
    writer: {endpoint: "https://oss-ap-southeast-1.aliyuncs.com", accessKeyId: "env:TEST_WRITER_KEY_ID", accessKeySecret: "env:TEST_WRITER_SECRET"}
indices: [movies, "cat*"]
cutover: {webhook: {url: "http://127.0.0.1:1/hook", authorization: "env:TEST_WEBHOOK"}}
`

type fakeBuckets struct {
	from    sourceBucket
	to      targetBucket
	err     error
	created int
}

func (b *fakeBuckets) source(context.Context, migration.Run) (sourceBucket, error) {
	return b.from, b.err
}

func (b *fakeBuckets) target(context.Context, migration.Run) (targetBucket, error) {
	return b.to, b.err
}

func (b *fakeBuckets) createTarget(context.Context, migration.Run) error {
	b.created++
	b.to = targetBucket{exists: true, acl: "private", storageClass: "Standard"}
	return nil
}

// result decodes what an activity gave.
func result[T any](t *testing.T, value converter.EncodedValue, err error) (T, error) {
	var out T
	if err == nil && value != nil && value.HasValue() {
		require.NoError(t, value.Get(&out))
	}
	return out, err
}

// slowest is how long an activity or a workflow may take on a slow and busy computer. The SDK's test
// environments end one after 3 s.
const slowest = 10 * time.Minute

// newEnvironment is Temporal's test environment, in which no payload may be too large.
func newEnvironment(logger sdklog.Logger) *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(logger)
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(slowest)
	env.SetDataConverter(payloads.Converter(func(string) {})) // the activity fails by it
	return env
}

// do runs an activity as a worker would.
func do[T any](w *world, method, in any) (T, error) {
	w.t.Helper()
	env := newEnvironment(sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(&w.log, nil))))
	env.SetWorkerStopChannel(w.stop)
	if w.before != nil {
		env.SetHeartbeatDetails(*w.before)
	}
	env.RegisterActivityWithOptions(method, activity.RegisterOptions{Name: "under test"})
	value, err := env.ExecuteActivity("under test", in)
	return result[T](w.t, value, err)
}

// must runs an activity that has to succeed.
func must[T any](w *world, method, in any) T {
	w.t.Helper()
	out, err := do[T](w, method, in)
	require.NoError(w.t, err)
	return out
}

// refused runs an activity that has to fail for good, with an error of the type that says all of
// it.
func refused(w *world, want migration.ErrorType, method, in any, says ...string) {
	w.t.Helper()
	_ = refusal(w, want, method, in, says...)
}

// refusal is refused, and gives the error.
func refusal(w *world, want migration.ErrorType, method, in any, says ...string) *temporal.ApplicationError {
	w.t.Helper()
	_, err := do[any](w, method, in)
	var failure *temporal.ApplicationError
	require.ErrorAs(w.t, err, &failure)
	require.Equal(w.t, string(want), failure.Type(), "%v", err)
	require.True(w.t, failure.NonRetryable(), "%v", err)
	for _, text := range says {
		require.Contains(w.t, failure.Message(), text)
	}
	w.secret(err)
	return failure
}

// passes runs an activity that has to fail with an error that a retry may fix.
func passes(w *world, want string, method, in any) {
	w.t.Helper()
	_, err := do[any](w, method, in)
	var failure *temporal.ApplicationError
	require.ErrorAs(w.t, err, &failure)
	require.Equal(w.t, want, failure.Type(), "%v", err)
	require.False(w.t, failure.NonRetryable(), "%v", err)
	w.secret(err)
}

// secret makes sure that an error holds none of the secrets.
func (w *world) secret(err error) {
	w.t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		require.NotContains(w.t, err.Error(), "planted-")
	}
}

// awaitHeartbeat blocks until a heartbeat says so.
func (w *world) awaitHeartbeat(says func(migration.Progress) bool) migration.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for _, progress := range w.heartbeats {
			if says(progress) {
				return progress
			}
		}
		w.beaten.Wait()
	}
}

// clusters as text, to compare.
func (w *world) text() string { return w.from.World() + "---\n" + w.to.World() }

// The steps of a round, for tests that need what comes before them.

var both2 = []string{"catalog", "movies"}

func (w *world) prepared() {
	w.t.Helper()
	must[any](w, w.activities.RegisterRepositories, w.run)
}

func (w *world) snapshot(name string) migration.Snapshot {
	w.t.Helper()
	taken := must[migration.Snapshot](w, w.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: name, Indices: both2})
	w.s3.Copy(w.oss)
	return taken
}

func (w *world) indices() []migration.Index {
	w.t.Helper()
	return must[migration.IndexList](w, w.activities.ResolveIndices, migration.ResolveRequest{Run: w.run}).Inline
}

func (w *world) request() migration.IndicesRequest {
	return migration.IndicesRequest{Run: w.run, Indices: both2}
}

func (w *world) still() migration.StandstillRequest {
	return migration.StandstillRequest{IndicesRequest: w.request()}
}

func (w *world) restored(snapshot migration.Snapshot) migration.RestoreResult {
	w.t.Helper()
	return must[migration.RestoreResult](w, w.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: snapshot, Indices: w.indices()})
}

// round brings the target up to a snapshot.
func (w *world) round(name string) migration.OpenResult {
	w.t.Helper()
	w.restored(w.snapshot(name))
	return must[migration.OpenResult](w, w.activities.OpenTarget, w.request())
}

func clientOf(w *world, at side) *elastic.Client {
	client, err := w.activities.cluster(context.Background(), at, w.run)
	require.NoError(w.t, err)
	return client
}

// removeBlock takes the write block from an index, as somebody else might.
func removeBlock(w *world, at side, index string) {
	require.NoError(w.t, clientOf(w, at).PutIndexSettings(w.t.Context(), []string{index},
		map[string]any{writeBlock: nil}))
}
