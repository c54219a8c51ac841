package ferry

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

func TestCopyRounds(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		r0 := w.Take("movies-r0000-a1", repositorytest.CreateIndex("movies", 3), repositorytest.CreateIndex("logs", 1),
			repositorytest.AddSegments("movies", 3, 2000))
		result := w.Copy(t, r0)
		blobs := w.Blobs(r0)
		require.Equal(t, int64(len(blobs)), result.BlobsCopied)
		require.Equal(t, int64(len(blobs)), result.Proven, "a baseline is compared with a full listing")
		require.Zero(t, result.BlobsSkipped)

		// Only what is new travels.
		r1 := w.Take("movies-r0001-a1", repositorytest.AddSegments("movies", 1, 500))
		writes := sidestest.CountData(w.Sink)
		result = w.Copy(t, r1)
		var added, bytes int64
		for key, length := range w.Blobs(r1) {
			if _, old := blobs[key]; !old {
				added++
				bytes += length
			}
		}
		require.Equal(t, added, result.BlobsCopied)
		require.Equal(t, bytes, result.BytesCopied)
		require.Equal(t, int(added), writes())
		require.Equal(t, int64(len(w.Blobs(r1)))-added, result.BlobsSkipped)
		if w.pages == onePage {
			require.Zero(t, result.Proven)
		} else {
			require.Equal(t, added, result.Proven)
		}

		// Without a change only metadata does.
		w.Sink.SetHooks(memory.Hooks{})
		r2 := w.Take("movies-r0002-a1", repositorytest.Merge("logs"), repositorytest.CreateIndex("new", 2))
		w.Copy(t, r2)
		r3 := w.Take("movies-r0003-a1", repositorytest.DeleteIndex("logs"), repositorytest.CreateIndex("movies", 2))
		w.Copy(t, r3)
	})
}

func TestCopyTwice(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 500))
		request := w.Request(r1)
		w.Copy(t, r1)
		before := w.Sink.Objects()
		w.Sink.ResetCounts()
		result, err := w.Run(t, request)
		require.NoError(t, err)
		require.Zero(t, w.Sink.Count("Put"))
		require.Equal(t, before, w.Sink.Objects())
		require.Equal(t, w.Generation(), result.Generation)
		require.Zero(t, result.BlobsCopied)
		require.Equal(t, int64(len(w.Blobs(r1))), result.Proven)

		// The attempt before may have died between index-N and index.latest.
		w.Sink.Store(repository.LatestKey, repository.EncodeLatest(0))
		_, err = w.Run(t, request)
		require.NoError(t, err)
		w.RequirePublished(t, r1)

		// It says so if what was published has been taken apart since.
		for key := range w.Blobs(r1) {
			w.Sink.Remove(key)
			break
		}
		_, err = w.Run(t, request)
		requireKind(t, Conflict, err)
	})
}

// The answer of a publish got lost, and another snapshot was taken before it is repeated.
func TestCopyPublishedBeforeTheSourceMovedOn(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
		request := w.Request(r0)
		w.Copy(t, r0)
		w.Take("foreign", repositorytest.AddSegments("movies", 1, 100))
		result, err := w.Run(t, request)
		require.NoError(t, err)
		require.Equal(t, w.BaseGeneration, result.Generation)
	})
}

// Elasticsearch up to 6.x names blobs by a counter that goes back after a delete: same name, same
// length, other bytes.
func TestCopyReusedNames(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
	a1 := w.Take("r1-a1", repositorytest.AddSegments("movies", 2, 300))
	old := w.Objects()
	// The attempt's blobs reach OSS, its publish doesn't.
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Put" && repository.Classify(c.Key).Class == repository.ClassRootIndex {
			return sidestest.ErrCrash
		}
		return nil
	}})
	_, err := w.Run(t, w.Request(a1))
	require.Error(t, err)
	w.Sink.SetHooks(memory.Hooks{})
	require.Subset(t, sidestest.Keys(w.Sink.Objects()), sidestest.Keys(w.Blobs(a1)))
	w.Delete("r1-a1")
	a2 := w.Take("r1-a2", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 2, 300))
	reused := 0
	for key, data := range w.Objects() {
		if before, ok := old[key]; ok && sidestest.IsData(key) && len(before) == len(data) &&
			!bytes.Equal(before, data) {
			reused++
			require.Equal(t, before, w.Sink.Objects()[key])
		}
	}
	require.NotZero(t, reused, "this test needs names that come back with the same length")
	w.Copy(t, a2)
}

// The base itself was deleted in S3, and its names are used again.
func TestCopyAfterTheBaseWasDeleted(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 2, 300)))
		r0 := w.Base
		shared := sidestest.Keys(w.Blobs(w.Take("kept", repositorytest.AddSegments("movies", 1, 300))))
		for key, data := range w.Sink.Objects() {
			if slices.Contains(shared, key) && w.Blobs(r0)[key] != 0 {
				// So does an attempt that died: it used the name again for a snapshot that is
				// deleted by now.
				w.Sink.Store(key, make([]byte, len(data)))
				break
			}
		}
		w.Delete("r0")
		w.Copy(t, w.Take("r1", repositorytest.AddSegments("movies", 3, 300)))
	})
}

// A snapshot that succeeded and was never copied is listed by the next root: it must be complete as
// well. Those that failed are listed only.
func TestCopyIncludesEarlierAttempts(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Take("before", repositorytest.CreateIndex("other", 1))
		w.Take("partial", repositorytest.Outcome(repository.StatePartial), repositorytest.CreateIndex("movies", 2))
		w.Copy(t, w.Take("r0", repositorytest.DeleteIndex("other")))
		w.Take("r1-a1", repositorytest.AddSegments("movies", 2, 300))
		w.Take("failed", repositorytest.Outcome(repository.StateFailed))
		w.Copy(t, w.Take("r1-a2", repositorytest.Merge("movies"), repositorytest.CreateIndex("movies", 3)))
	})
}

// The baseline was published, but the workflow never heard of it and took another snapshot.
func TestCopyOntoAnUnknownPublish(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		r0 := w.Take("r0-a1", repositorytest.CreateIndex("movies", 2))
		w.Copy(t, r0)
		w.Base, w.BaseGeneration = "", -1
		result := w.Copy(t, w.Take("r0-a2", repositorytest.AddSegments("movies", 1, 300)))
		require.GreaterOrEqual(t, result.BlobsSkipped, int64(len(w.Blobs(r0)))-2, "all but the commits of two shards")
	})
}

// The final round's copy published, then the dead man's switch cancelled it: the workflow knows
// only the round before.
func TestCopyOntoAPublishThatTheWorkflowNeverHeardOf(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
		base, generation := w.Base, w.BaseGeneration
		final := w.Take("final-a1", repositorytest.AddSegments("movies", 3, 300))
		w.Copy(t, final)
		w.Base, w.BaseGeneration = base, generation
		r2 := w.Take("r2", repositorytest.AddSegments("movies", 1, 300))
		var added int64
		for key := range w.Blobs(r2) {
			if _, old := w.Blobs(final)[key]; !old {
				added++
			}
		}
		writes := sidestest.CountData(w.Sink)
		w.Sink.ResetCounts()
		result := w.Copy(t, r2)
		require.Zero(t, w.Sink.Count("Head"), "the delta begins at the newest snapshot, so no blob needs a look")
		require.Equal(t, added, result.BlobsCopied, "the delta begins at the newest snapshot that OSS has")
		require.Equal(t, int(added), writes())
		require.Equal(t, int64(len(w.Blobs(r2)))-added, result.BlobsSkipped)
	})
}

// Without the base's list of files the shard is looked through blob by blob.
func TestCopyWithoutTheBasesList(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 300))
		w.Copy(t, r0)
		key, err := repository.ShardSnapshotKey(repository.ShardID{IndexID: w.IndexID("movies")}, r0)
		require.NoError(t, err)
		lost := w.Sink.Objects()[key]
		w.Sink.Remove(key)
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 300))
		result, err := w.Run(t, w.Request(r1))
		require.NoError(t, err)
		require.Less(t, result.BlobsCopied, int64(len(w.Blobs(r1))), "those that are there are recognised")
		w.Sink.Store(key, lost)
		w.RequirePublished(t, r1)
	})
}

// Roots before 5.3 don't say how a snapshot ended.
func TestCopyRootWithoutStates(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	w.Take("partial", repositorytest.CreateIndex("movies", 2), repositorytest.Outcome(repository.StatePartial))
	r0 := w.Take("r0", repositorytest.AddSegments("movies", 1, 300))
	key := repository.RootIndexKey(w.Generation())
	root := regexp.MustCompile(`"state":\d,`).ReplaceAll(w.Objects()[key], nil)
	require.NotContains(t, string(root), "state")
	w.Source.Store(key, root)
	_, err := w.Run(t, w.Request(r0))
	require.NoError(t, err)
	published := w.Sink.Objects()
	require.Equal(t, root, published[key])
	for blob := range w.Blobs(r0) {
		require.Contains(t, published, blob)
	}
}

// The source takes a snapshot, or deletes one, while the copy runs.
func TestCopyFence(t *testing.T) {
	for name, meddle := range map[string]func(*world){
		"another snapshot": func(w *world) { w.Take("beside", repositorytest.AddSegments("movies", 1, 200)) },
		"a delete": func(w *world) {
			w.Delete("old")
			w.Sync()
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLayout(t, func(t *testing.T, w *world) {
				w.Take("old", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 1, 300))
				r0 := w.Take("r0", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 1, 200))
				var calls atomic.Int64
				w.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
					if sidestest.IsData(c.Key) && calls.Add(1) == 5 {
						meddle(w)
					}
					return nil
				}})
				result, err := w.Run(t, w.Request(r0))
				require.NoError(t, err)
				w.RequirePublished(t, r0)
				require.Equal(t, w.Generation(), result.Generation)
			})
		})
	}
	t.Run("for ever", func(t *testing.T) {
		w := newWorld(repositorytest.Layout55)
		r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
		var mu sync.Mutex
		n := 0
		w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if repository.Classify(c.Key).Class == repository.ClassIndexMetadata && c.Op == "Put" {
				mu.Lock()
				defer mu.Unlock()
				n++
				w.Take(fmt.Sprintf("beside-%d", n))
			}
			return nil
		}})
		_, err := w.Run(t, w.Request(r0))
		requireKind(t, Moving, err)
		require.Nil(t, sidestest.RequireReadable(t, w.Sink.Objects()), "nothing was published")
	})
}

func TestCopyConflicts(t *testing.T) {
	for name, meddle := range map[string]func(w *world){
		"a higher index-N": func(w *world) {
			w.Sink.Store("index-99",
				w.Objects()[repository.RootIndexKey(w.Generation())])
		},
		"another index-N": func(w *world) {
			w.Sink.Store(repository.RootIndexKey(w.Generation()), []byte(`{"snapshots":[],"indices":{}}`))
		},
		"no index-N": func(w *world) {
			w.Sink.Remove(
				repository.RootIndexKey(w.BaseGeneration))
		},
		"an index-N before the last round's": func(w *world) { w.BaseGeneration++ },
		"a later index-N with a snapshot that S3 doesn't have": func(w *world) {
			root := w.Objects()[repository.RootIndexKey(w.Generation())]
			w.Sink.Store(repository.RootIndexKey(w.Generation()),
				bytes.ReplaceAll(root, []byte(`"r1"`), []byte(`"theirs"`)))
			w.Take("r2")
		},
		"an index-N without base": func(w *world) {
			w.Sink.Store(repository.RootIndexKey(w.BaseGeneration), []byte(`{"snapshots":[],"indices":{}}`))
		},
		"rubbish": func(w *world) { w.Sink.Store(repository.RootIndexKey(w.BaseGeneration), []byte("{")) },
		"a foreign repository": func(w *world) {
			other := repositorytest.New(7)
			other.Snapshot("theirs", repositorytest.CreateIndex("x", 1))
			w.Sink.Replace(other.Objects())
			w.Base, w.BaseGeneration = "", -1
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLayout(t, func(t *testing.T, w *world) {
				w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
				r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 200))
				meddle(w)
				before := w.Sink.Objects()
				_, err := w.Run(t, w.Request(r1))
				requireKind(t, Conflict, err)
				require.Equal(t, before, w.Sink.Objects(), "nothing may be written")
			})
		})
	}
}

// Another root appears in OSS between the check and the commit.
func TestCopyConflictAtTheLastMoment(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Key == repository.IncompatibleKey && c.Op == "Put" {
			w.Sink.Store("index-7", []byte(`{"snapshots":[],"indices":{}}`))
		}
		return nil
	}})
	_, err := w.Run(t, w.Request(r0))
	requireKind(t, Conflict, err)
	require.NotContains(t, w.Sink.Objects(), "index-0")
}

func TestCopyUnusableSnapshots(t *testing.T) {
	for name, meddle := range map[string]func(w *world, r1 string) migration.CopyRequest{
		"a vanished blob": func(w *world, r1 string) migration.CopyRequest {
			for key := range w.Blobs(r1) {
				if _, copied := w.Sink.Objects()[key]; !copied {
					w.Source.Remove(key)
					break
				}
			}
			return w.Request(r1)
		},
		"a shortened blob": func(w *world, r1 string) migration.CopyRequest {
			for key := range w.Blobs(r1) {
				if _, copied := w.Sink.Objects()[key]; !copied {
					w.Source.Store(key, []byte("x"))
					break
				}
			}
			return w.Request(r1)
		},
		"a vanished list of files": func(w *world, r1 string) migration.CopyRequest {
			key, _ := repository.ShardSnapshotKey(repository.ShardID{IndexID: w.IndexID("movies")}, r1)
			w.Source.Remove(key)
			return w.Request(r1)
		},
		"a damaged list of files": func(w *world, r1 string) migration.CopyRequest {
			key, _ := repository.ShardSnapshotKey(repository.ShardID{IndexID: w.IndexID("movies")}, r1)
			w.Source.Store(key, []byte("rubbish"))
			return w.Request(r1)
		},
		"a vanished root object": func(w *world, r1 string) migration.CopyRequest {
			key, _ := repository.SnapshotMetadataKey(r1)
			w.Source.Remove(key)
			return w.Request(r1)
		},
		"deleted": func(w *world, r1 string) migration.CopyRequest {
			w.Delete("r1")
			w.Sync()
			return w.Request(r1)
		},
		"another of its name": func(w *world, r1 string) migration.CopyRequest {
			w.Delete("r1")
			w.Take("r1")
			return w.Request(r1)
		},
		"partial": func(w *world, _ string) migration.CopyRequest {
			return w.Request(w.Take("r2", repositorytest.Outcome(repository.StatePartial)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLayout(t, func(t *testing.T, w *world) {
				w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
				r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
				_, err := w.Run(t, meddle(w, r1))
				requireKind(t, Unusable, err)
				require.Equal(t, w.BaseGeneration, sidestest.RequireReadable(t, w.Sink.Objects()).Generation)
			})
		})
	}
}

// What is damaged belongs to another snapshot of the repository: a new one of ours would fail just
// so, and the person must learn which to delete.
func TestCopyNamesTheOtherSnapshotThatIsDamaged(t *testing.T) {
	for name, harm := range map[string]func(w *world, other, ours string){
		"a blob": func(w *world, other, ours string) {
			for key := range w.Blobs(other) {
				if _, copied := w.Sink.Objects()[key]; !copied && w.Blobs(ours)[key] == 0 {
					w.Source.Remove(key)
					return
				}
			}
			panic("this test needs a blob that only one snapshot has")
		},
		"a list of files": func(w *world, other, _ string) {
			key, _ := repository.ShardSnapshotKey(repository.ShardID{IndexID: w.IndexID("movies")}, other)
			w.Source.Store(key, []byte("rubbish"))
		},
		"a root object": func(w *world, other, _ string) {
			key, _ := repository.SnapshotMetadataKey(other)
			w.Source.Remove(key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachLayout(t, func(t *testing.T, w *world) {
				w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
				other := w.Take("by-hand", repositorytest.AddSegments("movies", 3, 300))
				ours := w.Take("r1", repositorytest.Merge("movies"))
				harm(w, other, ours)
				_, err := w.Run(t, w.Request(ours))
				requireKind(t, Unusable, err)
				require.ErrorContains(t, err, "by-hand ["+other+"]")
				require.ErrorContains(t, err, "DELETE _snapshot/"+w.Request(ours).RepositoryName()+"/by-hand")

				// That fixes it.
				w.Delete("by-hand")
				w.Sync()
				w.Copy(t, ours)
			})
		})
	}
}

// A blob that is replaced while it is copied is planned again.
func TestCopyChangedBlob(t *testing.T) {
	w := newWorld(repositorytest.Layout710)
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 300))
	var once atomic.Bool
	w.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if sidestest.IsData(c.Key) && once.CompareAndSwap(false, true) {
			data := w.Objects()[c.Key]
			w.Source.StoreEncrypted(c.Key, data) // written again by the master: same bytes, another ETag
		}
		return nil
	}})
	w.Copy(t, r0)
}
