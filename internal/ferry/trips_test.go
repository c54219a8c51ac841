package ferry

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

// Writers wait for the final round's copy, and between two clouds each request may take 0.2 s to be
// answered. So what counts is how many follow one another: each takes a second here, and nothing else
// takes any time.
func TestTripsOfACopy(t *testing.T) {
	for _, tt := range []struct {
		name                string
		layout              string
		pages               Paging
		copy, page, publish int
	}{
		{"5.5", "5.5", onePage, 9, 0, 0},
		{"7.10", "7.10", onePage, 9, 0, 0},
		{"5.5 in pages", "5.5", smallPages, 3, 3, 10},
		{"7.10 in pages", "7.10", smallPages, 3, 3, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(sidestest.Layouts[tt.layout])
				w.Copy(t, w.Take("movies-r0000-a1", repositorytest.CreateIndex("movies", 3),
					repositorytest.AddSegments("movies", 3, 2000)))
				request := w.Request(w.Take("movies-r0001-a1", repositorytest.AddSegments("movies", 1, 300)))
				request.Plan.Copy.Concurrency = 64
				w.pages = tt.pages
				trips := w.countTrips()
				steps := w.steps(t, w.Source)

				copied, err := steps.Copy(request)
				require.NoError(t, err)
				trips.require(t, "copy", tt.copy)
				if tt.page == 0 {
					require.Nil(t, copied.Pages)
					return
				}
				publish := migration.PublishRequest{CopyRequest: request, Delta: copied.Pages.Delta}
				for _, page := range copied.Pages.Pages {
					done, err := steps.Page(migration.PageRequest{
						Run: request.Run, Snapshot: request.Snapshot, Delta: copied.Pages.Delta, Page: page,
					})
					require.NoError(t, err)
					trips.require(t, "page", tt.page)
					publish.Blobs += page.Blobs
					publish.Digest += done.Digest
				}
				published, err := steps.Publish(publish)
				require.NoError(t, err)
				require.False(t, published.Moved)
				trips.require(t, "publish", tt.publish)
			})
		})
	}
}

// trips are the requests since the last look, by when they began.
type trips struct {
	mu    sync.Mutex
	since time.Time
	seen  []string
}

// countTrips has each request to a bucket take a second of the test's clock.
func (w *world) countTrips() *trips {
	trips := &trips{since: time.Now()}
	on := func(bucket string) memory.Hooks {
		return memory.Hooks{Before: func(c memory.Call) error {
			trips.add(fmt.Sprintf("%s %s %s", bucket, c.Op, c.Key))
			time.Sleep(time.Second)
			return nil
		}}
	}
	w.Source.SetHooks(on("S3"))
	w.Sink.SetHooks(on("OSS"))
	return trips
}

func (s *trips) add(request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprintf("%2.0f %s", time.Since(s.since).Seconds(), request))
}

func (s *trips) require(t *testing.T, step string, want int) {
	t.Helper()
	slices.Sort(s.seen)
	require.Equal(t, want, int(time.Since(s.since)/time.Second), "trips of %s:\n%s", step, strings.Join(s.seen, "\n"))
	s.since, s.seen = time.Now(), nil
}

// Somebody publishes while both roots are read: what OSS has is newer than what was read of S3, and
// that is no stranger's.
func TestCopyReadsBothRootsWhileAnotherPublishes(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 300))
		request := w.Request(r1)
		listing, read := make(chan struct{}), make(chan struct{})
		var waited, published atomic.Bool
		w.Source.SetHooks(memory.Hooks{After: func(c memory.Call) error {
			if c.Op == "Get" && c.Key == repository.RootIndexKey(1) && published.CompareAndSwap(false, true) {
				<-listing     // the copy's own: those of the copies below wait for nothing
				w.Copy(t, r1) // an attempt that this one has taken over from
				w.Copy(t, w.Take("r2", repositorytest.AddSegments("movies", 1, 300)))
				close(read)
			}
			return nil
		}})
		w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "ListFolder" && waited.CompareAndSwap(false, true) {
				close(listing)
				<-read
			}
			return nil
		}})
		result, err := w.Run(t, request)
		require.NoError(t, err)
		require.True(t, published.Load())
		require.EqualValues(t, 2, result.Generation)
	})
}
