package activities

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/lab/payloads"
	"github.com/snapferry/snapferry/migration"
)

// Through Temporal a snapshot is copied in one activity or in pages, and shards of it while it
// runs; lists that are too long for a payload are kept in OSS.
func TestCopyActivities(t *testing.T) {
	small := ferry.Paging{Blobs: 3, Bytes: 2000, Most: 200}
	for name, test := range map[string]struct {
		pages   ferry.Paging
		longest int
	}{
		"in one":                   {longest: migration.LongestInline},
		"in pages":                 {pages: small, longest: migration.LongestInline},
		"in pages of stored lists": {pages: small},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout55)
			w.pages, w.longest = test.pages, test.longest
			w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2),
				repositorytest.AddSegments("movies", 2, 500)))
			r1 := w.snapshot("r1", repositorytest.AddSegments("movies", 2, 500))
			request := w.request(r1)
			env := w.environment(w.copier())
			streamed, err := runActivity[migration.CopyShardsResult](env, w.copier().CopyShards,
				migration.CopyShardsRequest{
					Run: request.Run, Snapshot: "r1", UUID: r1, Base: w.Base,
					Shards: []migration.SnapshotShard{{Index: "movies"}},
				})
			require.NoError(t, err)
			require.Empty(t, streamed.Why)
			if test.longest > 0 {
				require.Len(t, streamed.Carried, 1)
				request.Carried = streamed.Carried
			} else {
				require.Equal(t, 1, streamed.CarriedOf.Entries)
				require.Empty(t, streamed.Carried)
				request.CarriedOf = append(request.CarriedOf, streamed.CarriedOf)
			}
			result, err := w.run(t, request)
			require.NoError(t, err)
			w.RequirePublished(t, r1)
			require.Equal(t, int64(len(w.Blobs(r1))), streamed.BlobsCopied+result.BlobsCopied+result.BlobsSkipped)
		})
	}
}

// The root from which pages were planned is handed to their publish, in the payload or in OSS: the
// next group's snapshot is taken while they are copied, and Elasticsearch keeps no older root.
func TestPagesOfAGroupKeepTheirRoot(t *testing.T) {
	for name, longest := range map[string]int{"in the payload": migration.LongestInline, "in OSS": 0} {
		t.Run(name, func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout710)
			w.pages, w.longest = ferry.Paging{Blobs: 3, Bytes: 2000, Most: 200}, longest
			w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 1)))
			r1 := w.snapshot("r1", repositorytest.AddSegments("movies", 2, 500), repositorytest.Only("movies"))
			generation := w.Generation()
			request := w.request(r1)
			request.Later = []string{"r1-later"}
			steps := w.steps(t)
			w.Steps = func(*testing.T) sidestest.Steps {
				counted := steps
				counted.Page = func(r migration.PageRequest) (migration.PageResult, error) {
					if w.Generation() == generation {
						w.snapshot("r1-later", repositorytest.AddSegments("logs", 1, 500), repositorytest.Only("logs"))
					}
					return steps.Page(r)
				}
				counted.Publish = func(r migration.PublishRequest) (migration.CopyResult, error) {
					require.Equal(t, longest > 0, len(r.Root) > 0)
					require.Equal(t, longest == 0, !r.RootOf.IsZero())
					return steps.Publish(r)
				}
				return counted
			}
			result, err := w.run(t, request)
			require.NoError(t, err)
			require.Equal(t, generation, result.Generation)
			require.Equal(t, generation, sidestest.RequireReadable(t, w.sink.Objects()).Generation)
		})
	}
}

// What fails for good leaves the shards of a running snapshot to the copy; what passes is retried.
func TestCopyShardsLeavesWhatFailsForGood(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	c := w.copier()
	request := migration.CopyShardsRequest{
		Run: w.request(r0).Run, Snapshot: "r0", UUID: r0,
		Shards: []migration.SnapshotShard{{Index: "movies"}},
	}
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Forbidden, c) }})
	result, err := runActivity[migration.CopyShardsResult](w.environment(c), c.CopyShards, request)
	require.NoError(t, err)
	require.NotEmpty(t, result.Why)
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Transient, c) }})
	_, err = runActivity[migration.CopyShardsResult](w.environment(c), c.CopyShards, request)
	requireRetryable(t, err)
}

// A snapshot is copied as soon as the root lists it, and published later, also with lists that are too
// long for a payload.
func TestASnapshotIsCopiedAheadAndPublished(t *testing.T) {
	for name, longest := range map[string]int{"in payloads": migration.LongestInline, "stored": 0} {
		t.Run(name, func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout55)
			w.longest = longest
			w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2)))
			r1 := w.Snapshot("r1", repositorytest.AddSegments("movies", 2, 300))
			w.names[r1] = "r1"
			request := w.request(r1)
			c := w.copier()
			looks := 0
			c.pause = func(context.Context, time.Duration) error {
				if looks++; looks == 2 {
					w.Sync()
				}
				return nil
			}
			ahead := request
			ahead.Snapshot.UUID = ""
			ready, err := runActivity[migration.Ahead](w.environment(c), c.CopyAhead, ahead)
			require.NoError(t, err)
			require.Equal(t, r1, ready.UUID)
			require.Equal(t, longest == 0, !ready.RootOf.IsZero())
			require.Equal(t, longest == 0, !ready.ShardsOf.IsZero())
			result, err := runActivity[migration.CopyResult](w.environment(c), c.PublishAhead,
				migration.PublishAheadRequest{Run: request.Run, Snapshot: request.Snapshot, Ready: ready})
			require.NoError(t, err)
			require.False(t, result.Moved)
			require.Equal(t, ready.BlobsCopied, result.BlobsCopied)
			w.RequirePublished(t, r1)
		})
	}
}

// A snapshot whose end doesn't come soon, and what fails for good, are left to the copy; what passes
// is an error.
func TestCopyAheadLeavesWhatFailsForGood(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 1)))
	c := w.copier()
	looks := 0
	c.pause = func(context.Context, time.Duration) error { looks++; return nil }
	request := w.request("")
	request.Snapshot.Name = "r1"
	ready, err := runActivity[migration.Ahead](w.environment(c), c.CopyAhead, request)
	require.NoError(t, err)
	require.Contains(t, ready.Why, "doesn't list")
	require.Equal(t, mostAheadLooks, looks)
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Forbidden, c) }})
	ready, err = runActivity[migration.Ahead](w.environment(c), c.CopyAhead, request)
	require.NoError(t, err)
	require.NotEmpty(t, ready.Why)
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Transient, c) }})
	_, err = runActivity[migration.Ahead](w.environment(c), c.CopyAhead, request)
	requireRetryable(t, err)
}

// What doesn't pass soon is left to Temporal's retries, and forbidden is not.
func TestCopyFailures(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	for kind, permanent := range map[objectstore.Kind]migration.ErrorType{
		objectstore.Throttled: "", objectstore.Transient: "", objectstore.Forbidden: migration.ErrorUnauthorized,
		objectstore.BucketMissing: migration.ErrorMissing,
	} {
		w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(kind, c) }})
		_, err := w.run(t, w.request(r0))
		if permanent == "" {
			requireRetryable(t, err)
		} else {
			requireType(t, permanent, err)
		}
	}
	_, err := newCopyWorld(repositorytest.Layout55).run(t, w.request(r0))
	requireType(t, migration.ErrorMissing, err)
}

// A snapshot that isn't complete, and a repository in OSS that somebody else has written, have
// types of their own.
func TestCopyFailuresOfRepositories(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	request := w.request(r0)
	request.Snapshot.UUID = "another"
	_, err := w.run(t, request)
	requireType(t, migration.ErrorSnapshotUnusable, err)
	w.sink.Store("index-99", w.Objects()[repository.RootIndexKey(w.Generation())])
	_, err = w.run(t, w.request(r0))
	requireType(t, migration.ErrorRepository, err)
}

// A second attempt looks what the first one has left in OSS, without being told.
func TestCopySecondAttemptLooks(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 2, 500))
	var mu sync.Mutex
	puts := map[string]int{}
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Op != "Put" {
			return nil
		}
		puts[c.Key]++
		if repository.Classify(c.Key).Class == repository.ClassIndexMetadata && puts[c.Key] == 1 {
			return &objectstore.Error{Op: "PutObject", Key: c.Key, Message: "who knows"} // ends the attempt
		}
		return nil
	}})
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(slowest)
	env.SetDataConverter(payloads.Converter(func(problem string) { t.Error(problem) }))
	w.copier().Register(env)
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute,
			RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 2},
		})
		return workflow.ExecuteActivity(ctx, migration.ActivityCopySnapshot, w.request(r0)).Get(ctx, nil)
	})
	require.NoError(t, env.GetWorkflowError())
	w.RequirePublished(t, r0)
	require.Equal(t, 2, puts["indices/"+w.IndexID("movies")+"/meta-"+r0+".dat"])
	for key := range w.Blobs(r0) {
		require.Equal(t, 1, puts[key], key)
	}
}

func TestCopyEndsWhenTheWorkerStops(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	stop := make(chan struct{})
	var once sync.Once
	c := &Copier{
		heart:  NewCopier(secrets.Fence{}).heart,
		source: func(context.Context, migration.Run) (objectstore.Source, error) { return w.source, nil },
		sink:   func(context.Context, migration.Run) (objectstore.Sink, error) { return w.sink, nil },
	}
	w.sink.SetHooks(memory.Hooks{Before: func(call memory.Call) error {
		if call.Op == "Put" {
			once.Do(func() { close(stop) })
			return memory.Failure(objectstore.Transient, call) // and so on for half a minute
		}
		return nil
	}})
	env := w.environment(c)
	env.SetWorkerStopChannel(stop)
	request := w.request(r0)
	request.Plan.Copy.Concurrency = 1
	_, err := env.ExecuteActivity(c.CopySnapshot, request)
	requireRetryable(t, err)
	require.ErrorContains(t, err, errWorkerStopping.Error())
}
