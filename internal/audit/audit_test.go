package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

func TestAuditOfAWholeRepository(t *testing.T) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) {
			w, uuids := audited(t, layout)
			for _, deep := range []bool{false, true} {
				report := w.audit(t, "", deep)
				require.True(t, report.Whole, "%+v", report)
				require.True(t, report.RootsEqual)
				require.Equal(t, w.Generation(), report.TargetGeneration)
				require.Equal(t, w.Generation(), report.SourceGeneration)
				require.Equal(t, 3, report.SnapshotsChecked)
				require.Zero(t, report.SnapshotsBroken)
				require.Zero(t, report.Missing.Blobs+report.Different.Blobs+report.Surplus.Harmful())
				data := classIn(t, report, "data")
				all := map[string]int64{}
				for _, uuid := range uuids {
					for key, size := range w.Blobs(uuid) {
						all[key] = size
					}
				}
				require.EqualValues(t, len(all), data.Needed.Blobs)
				require.Equal(t, data.Needed, data.Proven)
				require.Equal(t, deep, report.BytesRead > 0)
				if deep {
					require.Equal(t, data.Needed.Bytes, report.BytesRead)
				}
			}
			for _, which := range []string{"r1", uuids[1]} {
				report := w.audit(t, which, false)
				require.True(t, report.Whole, "%+v", report)
				require.Equal(t, 1, report.SnapshotsChecked)
				require.Zero(t, report.Surplus.Blobs)
				require.EqualValues(t, len(w.Blobs(uuids[1])), classIn(t, report, "data").Proven.Blobs)
			}
		})
	}
}

// Each kind of damage to each kind of object that a restore needs is found, and named.
func TestAuditFindsDamage(t *testing.T) {
	classes := []repository.Class{
		repository.ClassData, repository.ClassShardSnapshot, repository.ClassIndexMetadata,
		repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassRootIndex,
	}
	damages := map[string]func(w *world, key string, data []byte){
		"missing":                  func(w *world, key string, _ []byte) { w.Sink.Remove(key) },
		"truncated":                func(w *world, key string, data []byte) { w.Sink.Store(key, data[:len(data)-1]) },
		"empty":                    func(w *world, key string, _ []byte) { w.Sink.Store(key, nil) },
		"other bytes of that size": func(w *world, key string, data []byte) { w.Sink.Store(key, sidestest.Flip(data)) },
	}
	for layoutName, layout := range sidestest.Layouts {
		for _, class := range classes {
			for damage, do := range damages {
				for _, deep := range []bool{false, true} {
					t.Run(layoutName+" "+class.String()+" "+damage+" deep "+strconv.FormatBool(deep),
						func(t *testing.T) {
							w, _ := audited(t, layout)
							key := w.first(t, class, 1)
							if class == repository.ClassRootIndex {
								key = repository.RootIndexKey(w.Generation())
							}
							do(w, key, w.Sink.Objects()[key])
							report := w.audit(t, "", deep)
							require.False(t, report.Whole)
							findings, other := report.Different, report.Missing
							if damage == "missing" {
								findings, other = other, findings
							}
							require.EqualValues(t, 1, findings.Harmful(), "%+v", report)
							require.Equal(t, key, findings.Examples[0].Key)
							require.Zero(t, other.Harmful(), "%+v", other)
							if class == repository.ClassRootIndex {
								require.NotEmpty(t, report.Problems)
							} else {
								require.NotZero(t, report.SnapshotsBroken)
								require.NotEmpty(t, report.Broken)
							}
						})
				}
			}
		}
	}
}

// What no restore reads is reported and does no harm.
func TestAuditTellsHarmlessFromHarmful(t *testing.T) {
	for name, test := range map[string]struct {
		key, says string
		harmful   bool
	}{
		"an orphan":         {"indices/%/0/__zzz", "no listed snapshot needs it", false},
		"a foreign object":  {"notes.txt", "find out who", false},
		"a foreign folder":  {"backup/notes.txt", "find out who", false},
		"a foreign index":   {"indices/stranger/0/__0", "no listed snapshot needs it", false},
		"below indices":     {"indices/readme", "find out who", false},
		"an older root":     {"index-0", "an older root", false},
		"a higher root":     {"index-99", "a cluster reads the highest root", true},
		"an old shard list": {"indices/%/0/index-99", "only writers", false},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := audited(t, repositorytest.Layout55)
			before := w.audit(t, "", false)
			key := strings.ReplaceAll(test.key, "%", w.IndexID("movies"))
			data := []byte("x")
			if test.harmful {
				data = w.Sink.Objects()[repository.RootIndexKey(w.Generation())]
			}
			w.Sink.Remove(key)
			was := w.audit(t, "", false).Surplus.Blobs
			w.Sink.Store(key, data)
			report := w.audit(t, "", false)
			require.Equal(t, !test.harmful, report.Whole, "%+v", report)
			require.Equal(t, before.Missing, report.Missing)
			if key == "index-0" { // it stands there from the first round
				require.Contains(t, whyIn(report.Surplus, key), test.says)
				return
			}
			require.Equal(t, was+1, report.Surplus.Blobs)
			require.Contains(t, whyIn(report.Surplus, key), test.says)
			require.True(t, w.audit(t, "r2", false).Whole == !test.harmful || test.harmful)
		})
	}
}

// Temporary objects are left out.
func TestAuditSkipsTemporaryObjects(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout55)
	w.Source.Store("tests-abc/master.dat", []byte("x"))
	w.Sink.Store("tests-abc/master.dat", []byte("y"))
	w.Source.Store("pending-index-7", []byte("x"))
	report := w.audit(t, "", false)
	require.True(t, report.Whole)
	require.Empty(t, whyIn(report.Surplus, "tests-abc/master.dat"))
}

func TestAuditOfAStaleRoot(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	uuid := w.Take("r3", repositorytest.AddSegments("movies", 1, 900))
	report := w.audit(t, "", false)
	require.False(t, report.Whole)
	require.Contains(t, report.Problems[0], "is older than")
	require.Equal(t, report.SourceGeneration-1, report.TargetGeneration)
	require.Equal(t, []string{"r3"}, report.Broken, "what was published is complete")
	require.NotZero(t, report.Missing.Blobs)
	require.True(t, w.audit(t, "r2", true).Whole)

	report = w.audit(t, uuid, false)
	require.False(t, report.Whole)
	require.Contains(t, report.Problems[0], "doesn't list the snapshot r3")

	w.Copy(t, uuid)
	require.True(t, w.audit(t, "", true).Whole)
}

func TestAuditBeforeAnythingIsPublished(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	_, err := w.tryAudit(t, "", false)
	requireKind(t, Missing, err)
	w.Take("r0", repositorytest.CreateIndex("movies", 1))
	report := w.audit(t, "", true)
	require.False(t, report.Whole)
	require.EqualValues(t, -1, report.TargetGeneration)
	require.Contains(t, report.Problems[0], "nothing was published")
	require.EqualValues(t, classIn(t, report, "data").Needed.Blobs, classIn(t, report, "data").Bad)
	_, err = w.tryAudit(t, "r9", false)
	requireKind(t, Missing, err)
}

// A snapshot that is deleted at the source can still be audited by its checksums.
func TestAuditOfASnapshotThatTheSourceHasLost(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	w.Delete("r0")
	w.Sync()
	report := w.audit(t, "r0", false)
	require.False(t, report.Whole)
	require.Contains(t, report.Different.Examples[0].Reason, "S3 no longer has it")
	require.Zero(t, report.Missing.Blobs)
	data := classIn(t, w.audit(t, "r0", true), "data")
	require.Equal(t, data.Needed, data.Proven)
}

// Reads that fail are tried again, and a listing goes on where it broke off.
func TestAuditGetsOverFaults(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	for _, store := range []*memory.Store{w.Source, w.Sink} {
		calls := make(chan struct{}, 1_000_000)
		store.SetHooks(memory.Hooks{
			Before: func(c memory.Call) error {
				if calls <- struct{}{}; len(calls)%3 == 0 {
					return memory.Failure(objectstore.Throttled, c)
				}
				return nil
			},
			After: func(c memory.Call) error { // a listing that breaks off after some keys
				if calls <- struct{}{}; c.Op == "List" && len(calls)%2 == 0 {
					return memory.Failure(objectstore.Transient, c)
				}
				return nil
			},
			Read: func(c memory.Call, data []byte) []byte {
				if calls <- struct{}{}; c.Op == "ReadRange" && len(calls)%4 == 0 {
					return data[:len(data)/2]
				}
				return data
			},
		})
	}
	report := w.audit(t, "", true)
	require.True(t, report.Whole, "%+v", report)
	require.Equal(t, classIn(t, report, "data").Needed.Bytes, report.BytesRead)
}

// A repository that changes during its audit is audited again. One that changes during each try is
// not called complete.
func TestAuditOfAMovingRepository(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	var mu sync.Mutex
	moves, most := 0, 1
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Op == "List" && moves < most {
			moves++
			root, err := repository.ParseRoot(w.Generation(),
				w.Source.Objects()[repository.RootIndexKey(w.Generation())])
			require.NoError(t, err)
			require.NotNil(t, root)
			key := repository.RootIndexKey(root.Generation)
			data := append(bytes.Clone(w.Source.Objects()[key]), ' ')
			w.Source.Store(key, data)
			w.Sink.Store(key, data)
		}
		return nil
	}})
	require.True(t, w.audit(t, "", false).Whole)
	require.Equal(t, 1, moves)
	most = 1000
	report := w.audit(t, "", false)
	require.False(t, report.Whole)
	require.Contains(t, report.Problems[len(report.Problems)-1], "changed while it was audited")
}

// The report of a repository in ruins stays small.
func TestAuditReportIsBounded(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 4), repositorytest.AddSegments("movies", 40, 900)))
	for key := range w.Sink.Objects() {
		if sidestest.IsData(key) {
			w.Sink.Remove(key)
			w.Sink.Store(strings.Replace(key, "__", "__zz", 1), []byte("x"))
		}
	}
	report := w.audit(t, "", true)
	require.Greater(t, report.Missing.Blobs, int64(400))
	require.Len(t, report.Missing.Examples, migration.AuditExamples)
	require.Equal(t, report.Missing.Blobs, report.Surplus.Blobs)
	require.Len(t, report.Surplus.Examples, migration.AuditExamples)
	require.True(t, slices.IsSortedFunc(report.Missing.Examples,
		func(a, b migration.AuditFinding) int { return strings.Compare(a.Key, b.Key) }))
}

// A root in OSS that lists the snapshot and gives it other indices restores something else.
func TestAuditOfOneSnapshotComparesItsIndices(t *testing.T) {
	for name, harm := range map[string]func(root map[string]any){
		"an index is gone": func(root map[string]any) { delete(root["indices"].(map[string]any), "books") },
		"another id": func(root map[string]any) {
			root["indices"].(map[string]any)["books"].(map[string]any)["id"] = "AAAAAAAAAAAAAAAAAAAAAA"
		},
		"listed as failed": func(root map[string]any) {
			for _, s := range root["snapshots"].([]any) {
				s.(map[string]any)["state"] = repository.StateFailed
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := audited(t, repositorytest.Layout55)
			require.True(t, w.audit(t, "r2", false).Whole)
			key := repository.RootIndexKey(w.Generation())
			var root map[string]any
			require.NoError(t, json.Unmarshal(w.Sink.Objects()[key], &root))
			harm(root)
			data, err := json.Marshal(root)
			require.NoError(t, err)
			w.Sink.Store(key, data)
			report := w.audit(t, "r2", false)
			require.False(t, report.Whole)
			require.Contains(t, report.Problems[0], "r2")
		})
	}
}

// Progress ends with all needed objects and all shards that snapshots need.
func TestAuditShowsItsProgress(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	var mu sync.Mutex
	var progress migration.Progress
	show := func(change func(*migration.Progress)) {
		mu.Lock()
		defer mu.Unlock()
		change(&progress)
	}
	report, err := Run(t.Context(), Options{Source: w.Source, Sink: w.Sink, Progress: show}, migration.AuditRequest{})
	require.NoError(t, err)
	var needed migration.Tally
	for _, class := range report.Classes {
		needed.Blobs += class.Needed.Blobs
		needed.Bytes += class.Needed.Bytes
	}
	require.Equal(t, migration.Progress{
		Doing: "comparing", ShardsDone: 4, ShardsTotal: 4, BlobsDone: needed.Blobs,
		BytesDone: needed.Bytes,
	}, progress)
}
