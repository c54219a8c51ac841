package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// tryAudit runs the activity once, and makes sure that it writes nothing.
func (w *copyWorld) tryAudit(t *testing.T, snapshot string, deep bool) (migration.AuditReport, error) {
	t.Helper()
	c := &Copier{
		source: func(context.Context, migration.Run) (objectstore.Source, error) { return w.source, nil },
		sink:   func(context.Context, migration.Run) (objectstore.Sink, error) { return w.sink, nil },
		moving: transfer.Options{Buffers: transfer.DefaultBuffers(),
			Retry: transfer.Retry{Attempts: 10, First: time.Microsecond, Most: 10 * time.Microsecond}},
		heart: heart{heartbeat: activity.RecordHeartbeat, beat: time.Hour},
	}
	request := migration.AuditRequest{Plan: w.request("").Plan, Token: "tok", Snapshot: snapshot, Deep: deep}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(c.AuditRepositories)
	w.sink.ResetCounts()
	value, err := env.ExecuteActivity(c.AuditRepositories, request)
	for _, op := range []string{"Put", "CreateUpload", "UploadPart", "Complete", "Abort", "Delete"} {
		require.Zero(t, w.sink.Count(op), "an audit writes nothing")
	}
	var report migration.AuditReport
	if err == nil {
		require.NoError(t, value.Get(&report))
	}
	return report, err
}

func (w *copyWorld) audit(t *testing.T, snapshot string, deep bool) migration.AuditReport {
	t.Helper()
	report, err := w.tryAudit(t, snapshot, deep)
	require.NoError(t, err)
	return report
}

// audited is a world with three rounds carried over.
func audited(t *testing.T, layout repositorytest.Layout) (w *copyWorld, uuids []string) {
	w = newCopyWorld(layout)
	uuids = []string{
		w.snapshot("r0", repositorytest.CreateIndex("movies", 3), repositorytest.CreateIndex("books", 1), repositorytest.AddSegments("movies", 3, 900)),
		w.snapshot("r1", repositorytest.AddSegments("movies", 1, 900)),
		w.snapshot("r2", repositorytest.Merge("movies")),
	}
	for _, uuid := range uuids {
		w.carry(t, uuid)
	}
	return w, uuids
}

func TestAuditOfAWholeRepository(t *testing.T) {
	for name, layout := range layouts {
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

func classIn(t *testing.T, report migration.AuditReport, class string) migration.AuditClass {
	i := slices.IndexFunc(report.Classes, func(c migration.AuditClass) bool { return c.Class == class })
	require.GreaterOrEqual(t, i, 0, class)
	return report.Classes[i]
}

// first is the first key of a class that a snapshot's copy has put into OSS.
func (w *copyWorld) first(t *testing.T, class repository.Class, least int) string {
	var keys []string
	for key, data := range w.sink.Objects() {
		if repository.Classify(key).Class == class && len(data) >= least {
			keys = append(keys, key)
		}
	}
	require.NotEmpty(t, keys)
	return slices.Min(keys)
}

func flip(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

// Each kind of damage to each kind of object that a restore needs is found, and
// named.
func TestAuditFindsDamage(t *testing.T) {
	classes := []repository.Class{repository.ClassData, repository.ClassShardSnapshot, repository.ClassIndexMetadata,
		repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassRootIndex}
	damages := map[string]func(w *copyWorld, key string, data []byte){
		"missing":                  func(w *copyWorld, key string, _ []byte) { w.sink.Remove(key) },
		"truncated":                func(w *copyWorld, key string, data []byte) { w.sink.Store(key, data[:len(data)-1]) },
		"empty":                    func(w *copyWorld, key string, _ []byte) { w.sink.Store(key, nil) },
		"other bytes of that size": func(w *copyWorld, key string, data []byte) { w.sink.Store(key, flip(data)) },
	}
	for layoutName, layout := range layouts {
		for _, class := range classes {
			for damage, do := range damages {
				for _, deep := range []bool{false, true} {
					t.Run(layoutName+" "+class.String()+" "+damage+" deep "+strconv.FormatBool(deep), func(t *testing.T) {
						w, _ := audited(t, layout)
						key := w.first(t, class, 1)
						if class == repository.ClassRootIndex {
							key = repository.RootIndexKey(w.Generation())
						}
						do(w, key, w.sink.Objects()[key])
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

// What no restore meets is told and doesn't count.
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
				data = w.sink.Objects()[repository.RootIndexKey(w.Generation())]
			}
			w.sink.Remove(key)
			was := w.audit(t, "", false).Surplus.Blobs
			w.sink.Store(key, data)
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

func whyIn(findings migration.AuditFindings, key string) string {
	for _, f := range findings.Examples {
		if f.Key == key {
			return f.Reason
		}
	}
	return ""
}

// Temporary objects are nobody's business.
func TestAuditSkipsTemporaryObjects(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout55)
	w.source.Store("tests-abc/master.dat", []byte("x"))
	w.sink.Store("tests-abc/master.dat", []byte("y"))
	w.source.Store("pending-index-7", []byte("x"))
	report := w.audit(t, "", false)
	require.True(t, report.Whole)
	require.Empty(t, whyIn(report.Surplus, "tests-abc/master.dat"))
}

func TestAuditOfAStaleRoot(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	uuid := w.snapshot("r3", repositorytest.AddSegments("movies", 1, 900))
	report := w.audit(t, "", false)
	require.False(t, report.Whole)
	require.Contains(t, report.Problems[0], "is older than")
	require.Equal(t, report.SourceGeneration-1, report.TargetGeneration)
	require.Equal(t, []string{"r3"}, report.Broken, "what was published is whole")
	require.NotZero(t, report.Missing.Blobs)
	require.True(t, w.audit(t, "r2", true).Whole)

	report = w.audit(t, uuid, false)
	require.False(t, report.Whole)
	require.Contains(t, report.Problems[0], "doesn't list the snapshot r3")

	w.carry(t, uuid)
	require.True(t, w.audit(t, "", true).Whole)
}

func TestAuditBeforeAnythingIsPublished(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	_, err := w.tryAudit(t, "", false)
	requireType(t, migration.ErrorMissing, err)
	w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	report := w.audit(t, "", true)
	require.False(t, report.Whole)
	require.EqualValues(t, -1, report.TargetGeneration)
	require.Contains(t, report.Problems[0], "nothing was published")
	require.EqualValues(t, classIn(t, report, "data").Needed.Blobs, classIn(t, report, "data").Bad)
	_, err = w.tryAudit(t, "r9", false)
	requireType(t, migration.ErrorMissing, err)
}

// Snapshots that failed are listed and needn't be whole.
func TestAuditOfFailedAttempts(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	w.snapshot("r0-a1", repositorytest.CreateIndex("movies", 2), repositorytest.Outcome(repository.StatePartial))
	w.carry(t, w.snapshot("r0-a2"))
	report := w.audit(t, "", false)
	require.True(t, report.Whole, "%+v", report)
	require.Equal(t, 1, report.SnapshotsChecked)
	report = w.audit(t, "r0-a1", false)
	require.False(t, report.Whole)
	require.Contains(t, report.Problems[0], "is PARTIAL")
}

// Where ETags can't be compared, what the copy recorded counts; without that,
// only reading does.
func TestAuditWithoutComparableETags(t *testing.T) {
	for name, store := range map[string]func(w *copyWorld, key string, data []byte){
		"encrypted with KMS":           func(w *copyWorld, key string, data []byte) { w.source.StoreEncrypted(key, data) },
		"uploaded in parts":            func(w *copyWorld, key string, data []byte) { w.source.StoreParts(key, data, 700_000) },
		"in parts of the whole's size": func(w *copyWorld, key string, data []byte) { w.source.StoreParts(key, data, 5<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout55)
			w.Repository = repositorytest.New(7)
			uuid := w.Snapshot("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 1, 4<<20))
			w.names[uuid] = "r0"
			w.sync()
			big := ""
			for key, size := range w.Blobs(uuid) {
				if size > auditSmall {
					big = key
				}
			}
			data := w.Objects()[big]
			store(w, big, data)
			w.carry(t, uuid)
			for _, deep := range []bool{false, true} {
				require.True(t, w.audit(t, "", deep).Whole)
			}
			w.sink.Store(big, data) // somebody copied it with another tool
			report := w.audit(t, "", false)
			if name != "encrypted with KMS" || !report.Whole {
				require.False(t, report.Whole)
				require.Contains(t, whyIn(report.Different, big), "--deep reads it")
			}
			require.True(t, w.audit(t, "", true).Whole)
			w.sink.Store(big, flip(data))
			require.False(t, w.audit(t, "", false).Whole)
			report = w.audit(t, "", true)
			require.False(t, report.Whole)
			require.Contains(t, whyIn(report.Different, big), "other bytes")
		})
	}
}

// A blob that was damaged in S3 itself fits S3's ETag, but not the snapshot.
func TestDeepAuditChecksLucenesChecksum(t *testing.T) {
	w, uuids := audited(t, repositorytest.Layout710)
	var key string
	for k := range w.Blobs(uuids[2]) {
		key = max(key, k)
	}
	damaged := flip(w.Objects()[key])
	w.source.Store(key, damaged)
	w.sink.Store(key, damaged)
	require.True(t, w.audit(t, "", false).Whole, "only a deep audit can know")
	report := w.audit(t, "", true)
	require.False(t, report.Whole)
	require.Contains(t, whyIn(report.Different, key), "damaged before it was copied")
}

// A snapshot that is deleted at the source can still be audited by its checksums.
func TestAuditOfASnapshotThatTheSourceHasLost(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	w.Delete("r0")
	w.sync()
	report := w.audit(t, "r0", false)
	require.False(t, report.Whole)
	require.Contains(t, report.Different.Examples[0].Reason, "S3 has lost it")
	require.Zero(t, report.Missing.Blobs)
	data := classIn(t, w.audit(t, "r0", true), "data")
	require.Equal(t, data.Needed, data.Proven)
}

// Whatever fails while it reads is tried again, and a listing goes on where it
// broke off.
func TestAuditGetsOverFaults(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	for _, store := range []*memory.Store{w.source, w.sink} {
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

// A repository that changes meanwhile is audited again; one that never stands
// still is not called whole.
func TestAuditOfAMovingRepository(t *testing.T) {
	w, _ := audited(t, repositorytest.Layout710)
	var mu sync.Mutex
	moves, most := 0, 1
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Op == "List" && moves < most {
			moves++
			root, err := repository.ParseRoot(w.Generation(), w.source.Objects()[repository.RootIndexKey(w.Generation())])
			require.NoError(t, err)
			require.NotNil(t, root)
			key := repository.RootIndexKey(root.Generation)
			data := append(bytes.Clone(w.source.Objects()[key]), ' ')
			w.source.Store(key, data)
			w.sink.Store(key, data)
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

func TestLuceneSum(t *testing.T) {
	body := bytes.Repeat([]byte("lucene"), 100)
	real := append(bytes.Clone(body), 0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0)
	crc := crc32.ChecksumIEEE(real)
	real = append(real, 0, 0, 0, 0, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
	recorded := strconv.FormatUint(uint64(crc), 36)
	sum := func(data []byte, length int, step int) string {
		s := &luceneSum{length: int64(length)}
		for chunk := range slices.Chunk(data, step) {
			_, err := s.Write(chunk)
			require.NoError(t, err)
		}
		return s.compare(repository.File{PhysicalName: "_0.cfs", Checksum: recorded})
	}
	for _, step := range []int{1, 3, 7, 16, 1000} {
		require.Empty(t, sum(real, len(real), step), step)
		for at := range real {
			damaged := bytes.Clone(real)
			damaged[at] ^= 0x10
			require.NotEmpty(t, sum(damaged, len(real), step), "byte %d", at)
		}
	}
	require.NotEmpty(t, sum(real[:len(real)-1], len(real), 5))
	require.NotEmpty(t, sum(nil, 0, 5))
	whole := body[:5]
	recorded = strconv.FormatUint(uint64(crc32.ChecksumIEEE(whole)), 36)
	require.Empty(t, sum(whole, 5, 2))
}

// The report of a repository in ruins stays small.
func TestAuditReportIsBounded(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 4), repositorytest.AddSegments("movies", 40, 900)))
	for key := range w.sink.Objects() {
		if isData(key) {
			w.sink.Remove(key)
			w.sink.Store(strings.Replace(key, "__", "__zz", 1), []byte("x"))
		}
	}
	report := w.audit(t, "", true)
	require.Greater(t, report.Missing.Blobs, int64(400))
	require.Len(t, report.Missing.Examples, migration.AuditExamples)
	require.Equal(t, report.Missing.Blobs, report.Surplus.Blobs)
	require.Len(t, report.Surplus.Examples, migration.AuditExamples)
	require.True(t, slices.IsSortedFunc(report.Missing.Examples, func(a, b migration.AuditFinding) int { return strings.Compare(a.Key, b.Key) }))
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
			require.NoError(t, json.Unmarshal(w.sink.Objects()[key], &root))
			harm(root)
			data, err := json.Marshal(root)
			require.NoError(t, err)
			w.sink.Store(key, data)
			report := w.audit(t, "r2", false)
			require.False(t, report.Whole)
			require.Contains(t, report.Problems[0], "r2")
		})
	}
}
