package ferry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

// aheadOf asks for a snapshot to be copied ahead. The root lists it at the look after wait.
func (w *world) aheadOf(t *testing.T, request migration.CopyRequest, wait func() error) (migration.Ahead, error) {
	t.Helper()
	request.Snapshot.UUID = ""
	return w.ferry(w.Source, 64).Ahead(t.Context(), request, func(context.Context) error { return wait() })
}

func (w *world) publishAhead(t *testing.T, request migration.CopyRequest,
	ready migration.Ahead,
) (migration.CopyResult, error) {
	t.Helper()
	return w.ferry(w.Source, 64).PublishAhead(t.Context(), migration.PublishAheadRequest{
		Run: request.Run, Snapshot: request.Snapshot, Ready: ready,
	})
}

func never() error { return errors.New("it need not wait") }

// eachWhole runs a test on each layout, with a base that is published.
func eachWhole(t *testing.T, test func(t *testing.T, w *world)) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(layout)
			w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 3),
				repositorytest.AddSegments("movies", 3, 500)))
			test(t, w)
		})
	}
}

// A snapshot is copied as soon as the root lists it, and seen by nobody before it is published.
func TestASnapshotIsCopiedAheadOfItsEnd(t *testing.T) {
	eachWhole(t, func(t *testing.T, w *world) {
		base := w.Base
		before := w.Objects()
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300), repositorytest.CreateIndex("new", 2),
			repositorytest.AddSegments("new", 2, 300))
		request := w.Request(r1)
		w.running(t, before)
		looks := 0
		writes := sidestest.CountData(w.Sink)
		ready, err := w.aheadOf(t, request, func() error {
			if looks++; looks == 3 {
				w.Sync()
			}
			return nil
		})
		require.NoError(t, err)
		require.Empty(t, ready.Why)
		require.Equal(t, 3, looks)
		require.Equal(t, r1, ready.UUID)
		require.EqualValues(t, writes(), ready.BlobsCopied)
		root := sidestest.RequireReadable(t, w.Sink.Objects())
		_, published := root.Snapshot(r1)
		require.False(t, published)
		_, published = root.Snapshot(base)
		require.True(t, published)

		copied := writes()
		result, err := w.publishAhead(t, request, ready)
		require.NoError(t, err)
		require.False(t, result.Moved)
		require.Equal(t, w.Generation(), result.Generation)
		require.Equal(t, ready.BlobsCopied, result.BlobsCopied)
		require.Equal(t, copied, writes(), "a publish copies nothing")
		w.RequirePublished(t, r1)
		// An attempt whose answer got lost does no harm.
		again, err := w.publishAhead(t, request, ready)
		require.NoError(t, err)
		require.Equal(t, result, again)
		w.RequirePublished(t, r1)
		w.Base, w.BaseGeneration = r1, result.Generation
		w.Copy(t, w.Take("r2", repositorytest.AddSegments("movies", 1, 300)))
	})
}

// The first snapshot of a repository has no base, and S3 has no root before its end.
func TestABaselineIsCopiedAhead(t *testing.T) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(layout)
			r0 := w.Snapshot("r0", repositorytest.CreateIndex("movies", 2),
				repositorytest.AddSegments("movies", 2, 300))
			w.Names[r0] = "r0"
			ready, err := w.aheadOf(t, w.Request(r0), func() error { w.Sync(); return nil })
			require.NoError(t, err)
			result, err := w.publishAhead(t, w.Request(r0), ready)
			require.NoError(t, err)
			require.False(t, result.Moved)
			w.RequirePublished(t, r0)
		})
	}
}

// What was copied while the shards were written is copied no second time.
func TestAheadTakesWhatWasStreamed(t *testing.T) {
	eachWhole(t, func(t *testing.T, w *world) {
		before := w.Objects()
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
		w.running(t, before)
		streamed, err := w.stream(t, r1, shardsOf("movies", 2)...)
		require.NoError(t, err)
		require.NotEmpty(t, streamed.Carried)
		w.Sync()
		request := w.Request(r1)
		request.Carried = streamed.Carried
		writes := sidestest.CountData(w.Sink)
		ready, err := w.aheadOf(t, request, never)
		require.NoError(t, err)
		require.EqualValues(t, writes(), ready.BlobsCopied)
		require.Len(t, ready.Shards, 3, "each shard that was copied is proven again at the publish")
		result, err := w.publishAhead(t, request, ready)
		require.NoError(t, err)
		require.False(t, result.Moved)
		w.RequirePublished(t, r1)
	})
}

// Whatever has changed between the copy and the publish leaves it to the copy of the snapshot, which
// finds out what that was.
func TestNothingIsPublishedThatIsNoLongerAsItWasCopied(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, w *world, key string){
		"a blob is lost":     func(_ *testing.T, w *world, key string) { w.Sink.Remove(key) },
		"a blob is replaced": func(_ *testing.T, w *world, key string) { w.Sink.Store(key, []byte("other")) },
		"S3 has another root": func(_ *testing.T, w *world, _ string) {
			w.Take("r2", repositorytest.AddSegments("movies", 1, 300))
		},
		"OSS has another root": func(t *testing.T, w *world, _ string) {
			r2 := w.Take("r2", repositorytest.AddSegments("movies", 1, 300))
			w.Copy(t, r2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachWhole(t, func(t *testing.T, w *world) {
				old := w.Sink.Objects()
				request := w.Request(w.Take("r1", repositorytest.AddSegments("movies", 2, 300)))
				ready, err := w.aheadOf(t, request, never)
				require.NoError(t, err)
				var key string
				for k := range w.Sink.Objects() {
					if _, there := old[k]; !there && sidestest.IsData(k) {
						key = k
					}
				}
				require.NotEmpty(t, key)
				harm(t, w, key)
				result, err := w.publishAhead(t, request, ready)
				require.NoError(t, err)
				require.True(t, result.Moved)
				request.Again = true
				_, err = w.Run(t, request)
				require.NoError(t, err)
				w.RequirePublished(t, request.Snapshot.UUID)
			})
		})
	}
}

// What can't be copied ahead is left to the copy of the snapshot, with a reason.
func TestWhatIsNotCopiedAhead(t *testing.T) {
	for name, tt := range map[string]struct {
		take func(t *testing.T, w *world) string
		why  string
	}{
		"a snapshot that failed": {
			take: func(_ *testing.T, w *world) string {
				return w.Take("r1", repositorytest.Outcome(repository.StateFailed))
			}, why: "FAILED",
		},
		"a large delta": {
			take: func(_ *testing.T, w *world) string {
				w.pages = smallPages
				return w.Take("r1", repositorytest.AddSegments("movies", 3, 500))
			}, why: "pages",
		},
		"one that is published": {
			take: func(t *testing.T, w *world) string {
				request := w.Request(w.Take("r1", repositorytest.AddSegments("movies", 1, 300)))
				_, err := w.Run(t, request)
				require.NoError(t, err)
				return request.Snapshot.UUID
			}, why: "published already",
		},
		"after a delete": {
			take: func(_ *testing.T, w *world) string {
				w.Take("other", repositorytest.AddSegments("movies", 1, 300))
				w.Delete("r0")
				return w.Take("r1", repositorytest.AddSegments("movies", 1, 300))
			}, why: "deleted in S3",
		},
		"one that never ends": {
			take: func(_ *testing.T, w *world) string {
				w.Names["none"] = "r1"
				return "none"
			}, why: ErrNotYet.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachWhole(t, func(t *testing.T, w *world) {
				request := w.Request(tt.take(t, w))
				ready, err := w.aheadOf(t, request, func() error { return ErrNotYet })
				require.NoError(t, err)
				require.Empty(t, ready.UUID)
				require.Contains(t, ready.Why, tt.why)
			})
		})
	}
}

// What remains of a copy once the cluster says that the snapshot has ended.
func TestTripsOfAPublishAhead(t *testing.T) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(layout)
				w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 3),
					repositorytest.AddSegments("movies", 3, 500)))
				request := w.Request(w.Take("r1", repositorytest.AddSegments("movies", 2, 300)))
				ready, err := w.aheadOf(t, request, never)
				require.NoError(t, err)
				trips := w.countTrips()
				result, err := w.publishAhead(t, request, ready)
				require.NoError(t, err)
				require.False(t, result.Moved)
				trips.require(t, "publish", 4)
			})
		})
	}
}

// An attempt may die at each request, before or after it has arrived: no reader is misled, and the
// next one publishes.
func TestAPublishAheadMayDieAnywhere(t *testing.T) {
	for _, reached := range []bool{false, true} {
		eachWhole(t, func(t *testing.T, w *world) {
			request := w.Request(w.Take("r1", repositorytest.AddSegments("movies", 2, 300)))
			ready, err := w.aheadOf(t, request, never)
			require.NoError(t, err)
			for n := 0; ; n++ {
				died := w.CrashAt(n, reached)
				_, err := w.publishAhead(t, request, ready)
				w.Source.SetHooks(memory.Hooks{})
				w.Sink.SetHooks(memory.Hooks{})
				sidestest.RequireReadable(t, w.Sink.Objects())
				if !died() {
					require.NoError(t, err)
					require.Equal(t, 2, n, "the root and index.latest are written")
					break
				}
				require.Error(t, err)
			}
			w.RequirePublished(t, request.Snapshot.UUID)
		})
	}
}

// The root of 2.x has the same name always, so a new one is not seen by its generation. Writers must
// not wait until the looking ends.
func TestALegacyRepositoryIsNotWaitedFor(t *testing.T) {
	w := newMirrorWorld()
	w.Copy(t, w.Take("movies-r0000-a1", repositorytest.CreateIndex("movies", 2),
		repositorytest.AddSegments("movies", 1, 300)))
	request := w.Request(w.Take("movies-r0001-a1", repositorytest.AddSegments("movies", 1, 300)))
	ready, err := w.world.aheadOf(t, request, never)
	require.NoError(t, err)
	require.Empty(t, ready.UUID)
	require.Contains(t, ready.Why, "2.x")
}

// So may a copy ahead. Whatever it has left, no reader is misled, and the copy of the snapshot
// publishes.
func TestACopyAheadMayDieAnywhere(t *testing.T) {
	for _, reached := range []bool{false, true} {
		for name, layout := range sidestest.Layouts {
			t.Run(name, func(t *testing.T) {
				for n, done := 0, false; !done; n++ {
					w := newWorld(layout)
					w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2),
						repositorytest.AddSegments("movies", 2, 300)))
					request := w.Request(w.Take("r1", repositorytest.AddSegments("movies", 2, 300),
						repositorytest.CreateIndex("new", 1), repositorytest.AddSegments("new", 1, 300)))
					died := w.CrashAt(n, reached)
					ready, err := w.aheadOf(t, request, never)
					w.Source.SetHooks(memory.Hooks{})
					w.Sink.SetHooks(memory.Hooks{})
					root := sidestest.RequireReadable(t, w.Sink.Objects())
					_, published := root.Snapshot(request.Snapshot.UUID)
					require.False(t, published)
					if done = !died(); done {
						require.NoError(t, err)
						require.NotEmpty(t, ready.UUID)
						require.Greater(t, n, 5, "data and metadata are written")
					} else {
						require.True(t, err != nil || ready.UUID == "")
					}
					request.Again = true
					_, err = w.Run(t, request)
					require.NoError(t, err)
					w.RequirePublished(t, request.Snapshot.UUID)
				}
			})
		}
	}
}

// What an earlier attempt has left there is proven as well, and so is a snapshot whose copy was never
// published; also where S3's ETags say nothing of the bytes.
func TestACopyAheadTakesAlongWhatWasNeverPublished(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		eachWhole(t, func(t *testing.T, w *world) {
			r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
			first, err := w.aheadOf(t, w.Request(r1), never)
			require.NoError(t, err)
			request := w.Request(w.Take("r2", repositorytest.AddSegments("movies", 1, 300)))
			if encrypted {
				for key, data := range w.Objects() {
					w.Source.StoreEncrypted(key, data)
				}
			}
			request.Again = true
			writes := sidestest.CountData(w.Sink)
			ready, err := w.aheadOf(t, request, never)
			require.NoError(t, err)
			require.NotEmpty(t, ready.UUID, ready.Why)
			require.EqualValues(t, writes(), ready.BlobsCopied)
			stale := w.Request(r1)
			late, err := w.publishAhead(t, stale, first)
			require.NoError(t, err)
			require.True(t, late.Moved, "an attempt that comes back late publishes no root that S3 has passed")
			result, err := w.publishAhead(t, request, ready)
			require.NoError(t, err)
			require.False(t, result.Moved)
			w.RequirePublished(t, r1)
			w.RequirePublished(t, request.Snapshot.UUID)
		})
	}
}

// early publishes a snapshot as soon as the root lists it.
func (w *world) early(t *testing.T, uuid string) migration.Ahead {
	t.Helper()
	request := w.Request(uuid)
	request.Publish = true
	ready, err := w.aheadOf(t, request, never)
	require.NoError(t, err)
	return ready
}

func TestASnapshotIsPublishedWhenTheRootListsIt(t *testing.T) {
	eachWhole(t, func(t *testing.T, w *world) {
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
		writes := sidestest.CountData(w.Sink)
		ready := w.early(t, r1)
		require.Empty(t, ready.Why)
		require.Equal(t, r1, ready.UUID)
		require.Empty(t, ready.Root, "nobody needs it any more")
		require.EqualValues(t, writes(), ready.BlobsCopied)
		w.RequirePublished(t, r1)
		info, err := repository.ParseSnapshotInfo(w.Sink.Objects()["snap-"+r1+".dat"])
		require.NoError(t, err)
		require.NotZero(t, info.StartTime)
		require.Equal(t, &migration.EarlyCopy{
			Snapshot: migration.Snapshot{
				Name: "r1", UUID: r1, StartMillis: info.StartTime, EndMillis: info.EndTime,
			},
			Generation: w.Generation(),
		}, ready.Early)
		// Nobody has heard of it: the next one, and the copy, find out.
		require.Equal(t, "it is published already", w.early(t, r1).Why)
		w.Copy(t, r1)
		w.Copy(t, w.Take("r2", repositorytest.AddSegments("movies", 1, 300)))
	})
}

// The fences of an early publish are those of any other.
func TestNothingIsPublishedEarlyThatIsNoLongerWhatTheRootLists(t *testing.T) {
	eachWhole(t, func(t *testing.T, w *world) {
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
		last, _ := repository.SnapshotKey(r1)
		w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "Put" && c.Key == last {
				w.Take("r2", repositorytest.AddSegments("movies", 1, 300))
			}
			return nil
		}})
		ready := w.early(t, r1)
		require.NotEmpty(t, ready.Why)
		require.Empty(t, ready.UUID)
		w.Sink.SetHooks(memory.Hooks{})
		_, published := sidestest.RequireReadable(t, w.Sink.Objects()).Snapshot(r1)
		require.False(t, published)
		w.Copy(t, r1)
	})
}

// The dead man's switch ends a window when the snapshot is published and the cluster has not ended it:
// it is stopped, and S3 has it no more. Whatever dies while the next one is copied, nothing is listed
// without its bytes.
func TestCopyOverAnEarlyPublishedSnapshotThatWasStopped(t *testing.T) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				w := newWorld(layout)
				w.Copy(t, w.Take("movies-r0000-a1", repositorytest.CreateIndex("movies", 2),
					repositorytest.AddSegments("movies", 2, 300)))
				stopped := w.Take("movies-r0001-a1", repositorytest.AddSegments("movies", 2, 300))
				require.NotNil(t, w.early(t, stopped).Early)
				w.Delete("movies-r0001-a1")
				next := w.Take("movies-r0001-a2", repositorytest.Merge("movies"),
					repositorytest.AddSegments("movies", 2, 300))
				died := w.CrashAt(n, true)
				_, err := w.Run(t, w.Request(next))
				w.Sink.SetHooks(memory.Hooks{})
				sidestest.RequireReadable(t, w.Sink.Objects())
				if !died() {
					require.NoError(t, err)
					require.Greater(t, n, 5)
					break
				}
				require.Error(t, err)
				w.Copy(t, next)
			}
		})
	}
}
