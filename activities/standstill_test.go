package activities

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/migration"
)

// timedWorld is a world whose source is blocked and asked in a bubble with its own clock, without a
// network. Requests take no time, unless a test says so.
type timedWorld struct {
	*world
	present []migration.Index
	still   standstill
	began   time.Time

	mu    sync.Mutex
	asked []*timedRequest
	// answers changes the answer to a request; nil changes none.
	answers func(request, body string) string
}

// timedRequest is one request, with when it began and ended.
type timedRequest struct {
	request      string
	began, ended time.Duration
	over         bool
}

const samples = "GET /*/_stats/docs,indexing,translog"

// inTime runs a test in a bubble.
func inTime(t *testing.T, do func(*timedWorld)) {
	w := &timedWorld{world: newWorld(t)}
	w.prepared()
	w.present = w.indices()
	for _, name := range both2 {
		w.from.SetSetting(name, writeBlock, "true")
	}
	synctest.Test(t, func(t *testing.T) {
		client, err := elastic.New(elastic.Config{
			Endpoint: "http://source", Auth: elastic.Basic{User: "writer", Password: sourcePassword}, Transport: w,
		})
		require.NoError(t, err)
		a := *w.activities
		a.now, a.sleep = time.Now, pause.For
		w.still = standstill{Activities: &a, in: w.request(), client: client, pulse: &pulse{}}
		w.still.in.Plan.Freeze.StandstillTimeout = migration.Duration(2 * time.Minute)
		w.t, w.began = t, time.Now()
		do(w)
		require.Empty(t, w.underWay(), "when the standstill has returned")
	})
}

// RoundTrip implements [http.RoundTripper].
func (w *timedWorld) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	one := &timedRequest{request: r.Method + " " + r.URL.Path, began: time.Since(w.began)}
	w.mu.Lock()
	w.asked = append(w.asked, one)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		one.ended, one.over = time.Since(w.began), true
	}()
	recorder := httptest.NewRecorder()
	w.from.ServeHTTP(recorder, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := recorder.Result()
	if w.answers != nil {
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return nil, err
		}
		answer.Body = io.NopCloser(strings.NewReader(w.answers(one.request, string(body))))
	}
	return answer, nil
}

// takes says how long the next request that matches takes, if nobody cancels it. Then it is answered.
func (w *timedWorld) takes(pattern string, d time.Duration) {
	w.from.On(pattern, 1, func(_ http.ResponseWriter, r *http.Request) bool {
		_ = pause.For(r.Context(), d)
		return false
	})
}

// writes has a document written at a time, although the source is blocked: that write was under way.
func (w *timedWorld) writes(at time.Duration) {
	time.AfterFunc(at, func() { w.from.Route("movies", 0, "late", "") })
}

func (w *timedWorld) matching(pattern string) (found []*timedRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.asked {
		if ok, _ := path.Match(pattern, one.request); ok {
			found = append(found, one)
		}
	}
	return found
}

// beganAt are the times at which requests that match began, in milliseconds.
func (w *timedWorld) beganAt(pattern string) (at []int) {
	for _, one := range w.matching(pattern) {
		at = append(at, int(one.began.Milliseconds()))
	}
	return at
}

// endedAt is beganAt for their ends.
func (w *timedWorld) endedAt(pattern string) (at []int) {
	for _, one := range w.matching(pattern) {
		at = append(at, int(one.ended.Milliseconds()))
	}
	return at
}

func (w *timedWorld) underWay() (requests []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.asked {
		if !one.over {
			requests = append(requests, one.request)
		}
	}
	return requests
}

// stands waits for the standstill and returns how many documents it counted.
func (w *timedWorld) stands() (docs int64) {
	w.t.Helper()
	shards, err := w.still.await(context.Background())
	require.NoError(w.t, err)
	for _, shard := range shards {
		docs += shard.Docs
	}
	return docs
}

func (w *timedWorld) now() int { return int(time.Since(w.began).Milliseconds()) }

// What is read takes no time of its own as long as it takes less than the samples.
func TestASourceIsReadBesideTheSamples(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.takes("POST /*/_refresh", 110*time.Millisecond)
		w.takes("POST /_bulk", 140*time.Millisecond)
		require.EqualValues(w.t, 8, w.stands())
		require.Equal(w.t, []int{0, 50, 100, 150}, w.beganAt(samples))
		require.Equal(w.t, []int{0}, w.beganAt("POST /*/_refresh"))
		require.Equal(w.t, []int{0}, w.beganAt("POST /_bulk"))
		require.Empty(w.t, w.beganAt("GET /*/_stats/docs"), "the last sample has the counts")
		require.Equal(w.t, 150, w.now())
	})
}

// The last sample shows that nothing was written while the source was read: so it comes after that.
// Until then no more samples are taken than are needed.
func TestNothingCountsBeforeASampleAfterIt(t *testing.T) {
	for _, slow := range []string{"POST /*/_refresh", "POST /_bulk"} {
		t.Run(path.Base(slow), func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.takes(slow, 4*time.Second)
				w.stands()
				require.Equal(w.t, []int{0, 50, 100, 4000}, w.beganAt(samples))
				require.Equal(w.t, 4000, w.now())
			})
		})
	}
}

// A count is that of the last refresh.
func TestDocumentsAreCountedAfterTheRefresh(t *testing.T) {
	counts := regexp.MustCompile(`"docs":\{"count":\d+`)
	inTime(t, func(w *timedWorld) {
		w.answers = func(request, body string) string {
			refreshed := w.matching("POST /*/_refresh")
			if fits, _ := path.Match(samples, request); fits && (len(refreshed) == 0 || !refreshed[0].over) {
				return counts.ReplaceAllString(body, `"docs":{"count":0`)
			}
			return body
		}
		w.takes("POST /*/_refresh", time.Second)
		require.EqualValues(w.t, 8, w.stands())
	})
}

// A write spoils what was read around it, whenever it comes. What is read after it counts.
func TestAWriteDiscardsWhatWasRead(t *testing.T) {
	for name, test := range map[string]struct {
		write, refresh  time.Duration
		samples, reads  []int
		firstReadEndsAt int
	}{
		"after the refresh has ended": {
			120 * time.Millisecond, 10 * time.Millisecond, []int{0, 50, 100, 150, 200, 250, 300}, []int{0, 200}, 10,
		},
		"during the first pauses": {
			70 * time.Millisecond, time.Hour, []int{0, 50, 100, 150, 200, 250}, []int{0, 150}, 100,
		},
		"while the last sample waits": {
			3 * time.Second, 4 * time.Second, []int{0, 50, 100, 4000, 4050, 4100, 4150}, []int{0, 4050}, 4000,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.writes(test.write)
				w.takes("POST /*/_refresh", test.refresh)
				require.EqualValues(w.t, 9, w.stands())
				require.Equal(w.t, test.samples, w.beganAt(samples))
				for _, pattern := range []string{"POST /*/_refresh", "POST /_bulk"} {
					require.Equal(w.t, test.reads, w.beganAt(pattern), pattern)
				}
				require.Equal(w.t, test.firstReadEndsAt, w.endedAt("POST /*/_refresh")[0])
			})
		})
	}
}

// A source that still takes writes is not refreshed and probed with each sample.
func TestASourceThatMovesIsNotReadAgainAndAgain(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		for at := range 100 {
			w.writes(time.Duration(at)*10*time.Millisecond + time.Millisecond)
		}
		w.stands()
		require.Equal(w.t, []int{0, 1050}, w.beganAt("POST /*/_refresh"))
		require.Equal(w.t, 1150, w.now())
	})
}

// A write that is under way when the first sample is taken may end while something is read.
func TestNothingIsReadWhileAWriteIsUnderWay(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.answers = func(request, body string) string {
			if fits, _ := path.Match(samples, request); fits && w.now() < 100 {
				return strings.Replace(body, `"index_current":0`, `"index_current":1`, 1)
			}
			return body
		}
		w.stands()
		require.Equal(w.t, []int{0, 50, 100, 150, 200}, w.beganAt(samples))
		require.Equal(w.t, []int{100}, w.beganAt("POST /*/_refresh"))
	})
}

// An index that takes writes is named once nothing moves. So is any other failure.
func TestAFailureCountsOnceTheSourceStandsStill(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.from.SetSetting("catalog", writeBlock, "")
		w.takes("POST /*/_refresh", time.Hour)
		_, err := w.still.await(context.Background())
		require.Equal(w.t, migration.ErrorNoStandstill, typeOf(err))
		require.ErrorContains(w.t, err, "catalog")
		require.Equal(w.t, []int{0, 50, 100, 150}, w.beganAt(samples))
		require.Equal(w.t, 150, w.now(), "the refresh doesn't matter then")
	})
	inTime(t, func(w *timedWorld) {
		w.from.Refuse("POST /*/_refresh", 1, http.StatusServiceUnavailable, "unavailable", "busy")
		_, err := w.still.await(context.Background())
		requireRetryable(w.t, classify(err))
		require.Equal(w.t, []int{0, 50, 100, 150}, w.beganAt(samples))
	})
}

// What failed beside a write says nothing.
func TestAFailureOfWhatIsDiscardedDoesNotCount(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.from.SetSetting("movies", writeBlock, "")
		w.from.Refuse("POST /*/_refresh", 1, http.StatusServiceUnavailable, "unavailable", "busy")
		time.AfterFunc(130*time.Millisecond, func() {
			w.from.Route("movies", 0, "late", "")
			w.from.SetSetting("movies", writeBlock, "true")
		})
		require.EqualValues(w.t, 9, w.stands())
		require.Equal(w.t, []int{0, 200}, w.beganAt("POST /*/_refresh"))
	})
}

// Whatever ends the wait leaves no request behind; inTime looks at that.
func TestNothingIsLeftOfAWaitThatEnds(t *testing.T) {
	for name, at := range map[string]time.Duration{
		"between two samples": 70 * time.Millisecond, "before the last sample": time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.takes("POST /*/_refresh", time.Hour)
				ctx, cancel := context.WithTimeout(context.Background(), at)
				defer cancel()
				_, err := w.still.await(ctx)
				require.Error(w.t, err)
				require.EqualValues(w.t, at.Milliseconds(), w.now())
			})
		})
	}
	t.Run("a sample that fails", func(t *testing.T) {
		inTime(t, func(w *timedWorld) {
			w.takes("POST /*/_refresh", time.Hour)
			time.AfterFunc(70*time.Millisecond, func() {
				w.from.Refuse(samples, 1, http.StatusServiceUnavailable, "unavailable", "busy")
			})
			_, err := w.still.await(context.Background())
			requireRetryable(w.t, classify(err))
			require.Equal(w.t, 100, w.now())
		})
	})
}
