package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// copyWorld is a cluster, both buckets and a worker between them. A test takes a snapshot with
// w.snapshot and copies it with w.carry, through the activities; w.run copies without checking what
// OSS has then. See package sidestest.
type copyWorld struct {
	*sidestest.World
	source, sink *memory.Store
	names        map[string]string // of snapshots, by uuid
	// pages bound a page.
	pages ferry.Paging
	// kept holds the lists that are longer than longest.
	kept    *memory.Store
	longest int
}

func newCopyWorld(layout repositorytest.Layout) *copyWorld {
	return copyWorldOf(sidestest.New(layout))
}

func copyWorldOf(of *sidestest.World) *copyWorld {
	w := &copyWorld{
		World: of, source: of.Source, sink: of.Sink, names: of.Names,
		kept: memory.NewSink(), longest: migration.LongestInline,
	}
	of.Steps = w.steps
	return w
}

var layouts = sidestest.Layouts

func (w *copyWorld) snapshot(name string, changes ...repositorytest.Change) string {
	return w.Take(name, changes...)
}

func (w *copyWorld) request(uuid string) migration.CopyRequest { return w.Request(uuid) }

func (w *copyWorld) run(t *testing.T, request migration.CopyRequest) (migration.CopyResult, error) {
	t.Helper()
	return w.Run(t, request)
}

func (w *copyWorld) carry(t *testing.T, uuid string) migration.CopyResult {
	t.Helper()
	return w.Copy(t, uuid)
}

// copier is a worker's, with pauses and pages that suit a test.
func (w *copyWorld) copier() *Copier {
	return &Copier{
		heart:  heart{heartbeat: activity.RecordHeartbeat, beat: time.Hour},
		source: func(context.Context, migration.Run) (objectstore.Source, error) { return w.source, nil },
		sink:   func(context.Context, migration.Run) (objectstore.Sink, error) { return w.sink, nil },
		pause:  func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		moving: transfer.Options{
			Buffers: transfer.DefaultBuffers(),
			Retry:   transfer.Retry{Attempts: 10, First: time.Microsecond, Most: 10 * time.Microsecond},
		},
		pages: w.pages,
		lists: lists{
			open:    func(context.Context, migration.Run) (objectstore.Sink, error) { return w.kept, nil },
			longest: w.longest,
		},
	}
}

func (w *copyWorld) environment(c *Copier) *testsuite.TestActivityEnvironment {
	env := newEnvironment(quiet{})
	c.Register(env)
	return env
}

func (w *copyWorld) steps(*testing.T) sidestest.Steps {
	c := w.copier()
	env := w.environment(c)
	return sidestest.Steps{
		Copy: func(r migration.CopyRequest) (migration.CopyResult, error) {
			return runActivity[migration.CopyResult](env, c.CopySnapshot, r)
		},
		Page: func(r migration.PageRequest) (migration.PageResult, error) {
			return runActivity[migration.PageResult](env, c.CopyPage, r)
		},
		Publish: func(r migration.PublishRequest) (migration.CopyResult, error) {
			return runActivity[migration.CopyResult](env, c.PublishSnapshot, r)
		},
	}
}

// mirrorWorld is a copyWorld whose cluster runs Elasticsearch 2.x.
type mirrorWorld struct {
	*copyWorld
	legacy *sidestest.Legacy
}

func newMirrorWorld() *mirrorWorld {
	legacy := sidestest.NewLegacy()
	return &mirrorWorld{copyWorldOf(legacy.World), legacy}
}

func (w *mirrorWorld) snapshot(name string, changes ...repositorytest.Change) string {
	return w.legacy.Take(name, changes...)
}

func (w *mirrorWorld) blobs(name string) map[string]int64 { return w.legacy.LegacyBlobs(name) }

func (w *mirrorWorld) carry(t *testing.T, name string) migration.CopyResult {
	t.Helper()
	return w.legacy.Copy(t, name)
}

func runActivity[O, I any](env *testsuite.TestActivityEnvironment, run func(context.Context, I) (O, error),
	request I,
) (result O, err error) {
	value, err := env.ExecuteActivity(run, request)
	if err != nil {
		return result, err
	}
	return result, value.Get(&result)
}

// quiet keeps the failures that tests ask for out of their output. It shows what the test environment
// says before it ends the process: that an activity called a server, which only a worker has.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}

func (quiet) Error(message string, _ ...any) {
	if strings.HasPrefix(message, "Unexpected call") {
		fmt.Fprintln(os.Stderr, message)
	}
}

func requireType(t *testing.T, want migration.ErrorType, err error) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, string(want), failure.Type(), "%v", err)
	require.True(t, failure.NonRetryable())
}

func requireRetryable(t *testing.T, err error) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.False(t, failure.NonRetryable(), "%v", err)
}
