package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
)

// What is published was deleted at the source, and its names are used again:
// whatever dies while they are overwritten in OSS, nothing that is listed there
// is without its bytes.
func TestCopyOverAPublishedSnapshotThatWasDeleted(t *testing.T) {
	for name, pages := range map[string]paging{"at once": onePage, "in pages": smallPages} {
		t.Run(name, func(t *testing.T) {
			withdrawn := 0
			for _, carriedOut := range []bool{false, true} {
				for n := 0; ; n++ {
					w := newCopyWorld(repositorytest.Layout55)
					w.pages = pages
					w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2)))
					w.carry(t, w.snapshot("r1", repositorytest.AddSegments("movies", 2, 300)))
					w.Delete("r1")
					r2 := w.snapshot("r2", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 2, 300))
					died := w.crashAt(n, carriedOut)
					_, err := w.run(t, w.request(r2))
					w.sink.SetHooks(memory.Hooks{})
					root := requireReadable(t, w.sink.Objects())
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
					w.carry(t, r2)
				}
			}
			require.Greater(t, withdrawn, 20)
		})
	}
}

func TestMirrorOverAPublishedSnapshotThatWasDeleted(t *testing.T) {
	withdrawn := 0
	for _, carriedOut := range []bool{false, true} {
		for n := 0; ; n++ {
			w := newMirrorWorld()
			w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2)))
			w.carry(t, w.snapshot("r1", repositorytest.AddSegments("movies", 2, 300)))
			w.delete("r1")
			r2 := w.snapshot("r2", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 2, 300))
			died := w.crashAt(n, carriedOut)
			_, err := w.run(t, w.request(r2))
			w.sink.SetHooks(memory.Hooks{})
			root := requireLegacyReadable(t, w.sink.Objects())
			if !died() {
				require.NoError(t, err)
				require.Greater(t, n, 10)
				break
			}
			require.Error(t, err)
			if len(root.Snapshots) == 1 {
				withdrawn++
			}
			w.carry(t, r2)
		}
	}
	require.Greater(t, withdrawn, 20)
}

// Names that are never used again overwrite nothing, so what is published stays
// until the next root.
func TestCopyWithdrawsNothingThatItDoesNotOverwrite(t *testing.T) {
	for name, prepare := range map[string]func() *copyWorld{
		"blobs named by uuids": func() *copyWorld { return newCopyWorld(repositorytest.Layout710) },
		"another index":        func() *copyWorld { return newCopyWorld(repositorytest.Layout55) },
	} {
		t.Run(name, func(t *testing.T) {
			w := prepare()
			w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2)))
			w.Delete("r0")
			r1 := w.snapshot("r1", repositorytest.AddSegments("movies", 1, 300))
			w.crashAt(10, true)
			_, err := w.run(t, w.request(r1))
			w.sink.SetHooks(memory.Hooks{})
			require.Error(t, err)
			require.EqualValues(t, 0, requireReadable(t, w.sink.Objects()).Generation)
			w.carry(t, r1)
		})
	}
}

func TestRootWithoutSnapshots(t *testing.T) {
	gone := []repository.Snapshot{{Name: "b", UUID: "ub"}, {Name: "c", UUID: "uc"}}
	for name, root := range map[string]struct{ before, after string }{
		"5.4.1 and later": {
			`{"snapshots":[{"name":"a","uuid":"ua","state":1},{"name":"b","uuid":"ub","state":1}],"indices":{"i":{"id":"x","snapshots":["ua","ub"]},"j":{"id":"y","snapshots":["ub"]}}}`,
			`{"snapshots":[{"name":"a","uuid":"ua","state":1}],"indices":{"i":{"id":"x","snapshots":["ua"]}}}`},
		"before": {
			`{"snapshots":[{"name":"a","uuid":"ua"},{"name":"c","uuid":"uc"}],"indices":{"i":{"id":"x","snapshots":[{"name":"c","uuid":"uc"},{"name":"a","uuid":"ua"}]}}}`,
			`{"snapshots":[{"name":"a","uuid":"ua"}],"indices":{"i":{"id":"x","snapshots":[{"name":"a","uuid":"ua"}]}}}`},
		"7.6 and later": {
			`{"min_version":"7.6.0","snapshots":[{"name":"a","uuid":"ua","state":1,"version":"6.8.0"},{"name":"b","uuid":"ub","state":1}],"indices":{"i":{"id":"x","snapshots":["ua","ub"],"shard_generations":["3",null]}}}`,
			`{"min_version":"7.6.0","snapshots":[{"name":"a","uuid":"ua","state":1,"version":"6.8.0"}],"indices":{"i":{"id":"x","snapshots":["ua"],"shard_generations":["3",null]}}}`},
		"nothing left": {`{"snapshots":[{"name":"b","uuid":"ub"}],"indices":{"i":{"id":"x","snapshots":["ub"]}}}`, `{"snapshots":[],"indices":{}}`},
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
	for _, rubbish := range []string{``, `{}`, `[]`, `{"snapshots":[],"indices":[]}`, `{"snapshots":[],"indices":{"i":[]}}`, `{"snapshots":[],"indices":{"i":{}}}`} {
		_, err := without([]byte(rubbish), gone)
		require.Error(t, err, rubbish)
	}
}
