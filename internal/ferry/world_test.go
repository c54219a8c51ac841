package ferry

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// world is a cluster, both buckets and a ferry between them. A test takes a snapshot with w.Take
// and copies it with w.Copy, which checks what OSS has then; w.Run only copies. See package
// sidestest.
type world struct {
	*sidestest.World
	// pages bound a page.
	pages Paging
}

// onePage takes every delta in one activity, smallPages none but the smallest.
var (
	onePage    = DefaultPaging
	smallPages = Paging{Blobs: 3, Bytes: 2000, Most: DefaultPaging.Most}
)

func newWorld(layout repositorytest.Layout) *world {
	return worldOf(sidestest.New(layout))
}

func worldOf(of *sidestest.World) *world {
	w := &world{of, onePage}
	of.Steps = func(t *testing.T) sidestest.Steps { return w.steps(t, w.Source) }
	return w
}

// mirrorWorld is a world whose cluster runs Elasticsearch 2.x.
type mirrorWorld struct {
	*sidestest.Legacy
	world *world
}

func newMirrorWorld() *mirrorWorld {
	legacy := sidestest.NewLegacy()
	return &mirrorWorld{legacy, worldOf(legacy.World)}
}

// ferry is a worker's, with pauses and pages that suit a test.
func (w *world) ferry(source objectstore.Source, concurrency int) *Ferry {
	return New(Options{Source: source, Sink: w.Sink, Paging: w.pages, Transfer: transfer.Options{
		Concurrency: concurrency, Buffers: transfer.DefaultBuffers(),
		Retry: transfer.Retry{Attempts: 10, First: time.Microsecond, Most: 10 * time.Microsecond},
	}})
}

func (w *world) steps(t *testing.T, source objectstore.Source) sidestest.Steps {
	return sidestest.Steps{
		Copy: func(r migration.CopyRequest) (migration.CopyResult, error) {
			result, err := w.ferry(source, r.Plan.Copy.Concurrency).Copy(t.Context(), r)
			return result.CopyResult, err
		},
		Page: func(r migration.PageRequest) (migration.PageResult, error) {
			return w.ferry(source, r.Plan.Copy.Concurrency).Page(t.Context(), r)
		},
		Publish: func(r migration.PublishRequest) (migration.CopyResult, error) {
			result, err := w.ferry(source, r.Plan.Copy.Concurrency).Publish(t.Context(), r)
			return result.CopyResult, err
		},
	}
}

// eachLayout runs a test on each layout of a repository, without pages and with.
func eachLayout(t *testing.T, test func(t *testing.T, w *world)) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) { test(t, newWorld(layout)) })
		t.Run(name+" in pages", func(t *testing.T) {
			w := newWorld(layout)
			w.pages = smallPages
			test(t, w)
		})
	}
}

func requireKind(t *testing.T, want Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, KindOf(err), "%v", err)
}
