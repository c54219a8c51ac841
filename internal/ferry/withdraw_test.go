package ferry

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
)

// What is published was deleted at the source, and its names are used again: whatever dies while
// they are overwritten in OSS, nothing that is listed there is without its bytes.
func TestCopyOverAPublishedSnapshotThatWasDeleted(t *testing.T) {
	for name, pages := range map[string]Paging{"at once": onePage, "in pages": smallPages} {
		t.Run(name, func(t *testing.T) {
			withdrawn := 0
			for _, reached := range []bool{false, true} {
				for n := 0; ; n++ {
					w := newWorld(repositorytest.Layout55)
					w.pages = pages
					w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
					w.Copy(t, w.Take("r1", repositorytest.AddSegments("movies", 2, 300)))
					w.Delete("r1")
					r2 := w.Take("r2", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 2, 300))
					died := w.CrashAt(n, reached)
					_, err := w.Run(t, w.Request(r2))
					w.Sink.SetHooks(memory.Hooks{})
					root := sidestest.RequireReadable(t, w.Sink.Objects())
					if !died() {
						require.NoError(t, err)
						require.Greater(t, n, 10)
						break
					}
					require.Error(t, err)
					if root.Generation == w.Generation()-1 {
						withdrawn++
						require.Len(t, root.Snapshots, 1)
					}
					w.Copy(t, r2)
				}
			}
			require.Greater(t, withdrawn, 20)
		})
	}
}

func TestMirrorOverAPublishedSnapshotThatWasDeleted(t *testing.T) {
	withdrawn := 0
	for _, reached := range []bool{false, true} {
		for n := 0; ; n++ {
			w := newMirrorWorld()
			w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
			w.Copy(t, w.Take("r1", repositorytest.AddSegments("movies", 2, 300)))
			w.Remove("r1")
			r2 := w.Take("r2", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 2, 300))
			died := w.CrashAt(n, reached)
			_, err := w.Run(t, w.Request(r2))
			w.Sink.SetHooks(memory.Hooks{})
			root := sidestest.RequireLegacyReadable(t, w.Sink.Objects())
			if !died() {
				require.NoError(t, err)
				require.Greater(t, n, 10)
				break
			}
			require.Error(t, err)
			if len(root.Snapshots) == 1 {
				withdrawn++
			}
			w.Copy(t, r2)
		}
	}
	require.Greater(t, withdrawn, 20)
}

// Names that are never used again overwrite nothing, so what is published stays until the next
// root.
func TestCopyWithdrawsNothingThatItDoesNotOverwrite(t *testing.T) {
	for name, prepare := range map[string]func() *world{
		"blobs named by uuids": func() *world { return newWorld(repositorytest.Layout710) },
		"another index":        func() *world { return newWorld(repositorytest.Layout55) },
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare()
			w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
			w.Delete("r0")
			r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 300))
			w.CrashAt(10, true)
			_, err := w.Run(t, w.Request(r1))
			w.Sink.SetHooks(memory.Hooks{})
			require.Error(t, err)
			require.EqualValues(t, 0, sidestest.RequireReadable(t, w.Sink.Objects()).Generation)
			w.Copy(t, r1)
		})
	}
}

func TestRootWithoutSnapshots(t *testing.T) {
	gone := []repository.Snapshot{{Name: "b", UUID: "ub"}, {Name: "c", UUID: "uc"}}
	for name, root := range map[string]struct{ before, after string }{
		"5.4.1 and later": {
			`{"snapshots":[{"name":"a","uuid":"ua","state":1},{"name":"b","uuid":"ub","state":1}],"indices":{"i":{"id":"x","snapshots":["ua","ub"]},"j":{"id":"y","snapshots":["ub"]}}}`,
			`{"snapshots":[{"name":"a","uuid":"ua","state":1}],"indices":{"i":{"id":"x","snapshots":["ua"]}}}`,
		},
		"before": {
			`{"snapshots":[{"name":"a","uuid":"ua"},{"name":"c","uuid":"uc"}],"indices":{"i":{"id":"x","snapshots":[{"name":"c","uuid":"uc"},{"name":"a","uuid":"ua"}]}}}`,
			`{"snapshots":[{"name":"a","uuid":"ua"}],"indices":{"i":{"id":"x","snapshots":[{"name":"a","uuid":"ua"}]}}}`,
		},
		"7.6 and later": {
			`{"min_version":"7.6.0","snapshots":[{"name":"a","uuid":"ua","state":1,"version":"6.8.0"},{"name":"b","uuid":"ub","state":1}],"indices":{"i":{"id":"x","snapshots":["ua","ub"],"shard_generations":["3",null]}}}`,
			`{"min_version":"7.6.0","snapshots":[{"name":"a","uuid":"ua","state":1,"version":"6.8.0"}],"indices":{"i":{"id":"x","snapshots":["ua"],"shard_generations":["3",null]}}}`,
		},
		"nothing left": {
			`{"snapshots":[{"name":"b","uuid":"ub"}],"indices":{"i":{"id":"x","snapshots":["ub"]}}}`,
			`{"snapshots":[],"indices":{}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := without([]byte(root.before), gone)
			require.NoError(t, err)
			require.JSONEq(t, root.after, string(got))
			_, err = repository.ParseRoot(3, got)
			require.NoError(t, err)
		})
	}
	got, err := without([]byte(`{"snapshots":["ua","ub"]}`), gone)
	require.NoError(t, err)
	require.JSONEq(t, `{"snapshots":["ua"]}`, string(got), "2.x")
	for _, rubbish := range []string{
		``, `{}`, `[]`, `{"snapshots":[],"indices":[]}`,
		`{"snapshots":[],"indices":{"i":[]}}`, `{"snapshots":[],"indices":{"i":{}}}`,
	} {
		_, err := without([]byte(rubbish), gone)
		require.Error(t, err, rubbish)
	}
}
