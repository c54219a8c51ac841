package activities

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// auditedMirror is a world of 2.x with three rounds carried over.
func auditedMirror(t *testing.T) *mirrorWorld {
	w := newMirrorWorld()
	w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 3), repositorytest.CreateIndex("books", 1), repositorytest.AddSegments("movies", 3, 900)))
	w.carry(t, w.snapshot("r1", repositorytest.AddSegments("movies", 1, 900)))
	w.carry(t, w.snapshot("r2", repositorytest.Merge("movies")))
	return w
}

func TestAuditOfAMirror(t *testing.T) {
	w := auditedMirror(t)
	for _, deep := range []bool{false, true} {
		report := w.audit(t, "", deep)
		require.True(t, report.Whole, "%+v", report)
		require.True(t, report.RootsEqual)
		require.Equal(t, "index", report.SourceRoot)
		require.Equal(t, "index", report.TargetRoot)
		require.Equal(t, 3, report.SnapshotsChecked)
		require.Zero(t, report.Missing.Blobs+report.Different.Blobs+report.Surplus.Harmful())
		all := map[string]int64{}
		for _, name := range []string{"r0", "r1", "r2"} {
			for key, size := range w.blobs(name) {
				all[key] = size
			}
		}
		data := classIn(t, report, "data")
		require.EqualValues(t, len(all), data.Needed.Blobs)
		require.Equal(t, data.Needed, data.Proven)
		if deep {
			require.Equal(t, data.Needed.Bytes, report.BytesRead)
		}
	}
	report := w.audit(t, "r1", false)
	require.True(t, report.Whole, "%+v", report)
	require.Equal(t, 1, report.SnapshotsChecked)
	require.EqualValues(t, len(w.blobs("r1")), classIn(t, report, "data").Proven.Blobs)

	// What was deleted at the source since then is surplus in OSS, and harmless.
	w.delete("r0")
	w.carry(t, w.snapshot("r3"))
	report = w.audit(t, "", false)
	require.True(t, report.Whole, "%+v", report)
	require.Positive(t, report.Surplus.Harmless)
	require.Equal(t, report.Surplus.Blobs, report.Surplus.Harmless)
}

// Each kind of damage to each kind of object that a restore needs is found, and named.
func TestAuditOfAMirrorFindsDamage(t *testing.T) {
	for _, class := range []repository.Class{repository.ClassData, repository.ClassShardSnapshot, repository.ClassIndexMetadata,
		repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassRootIndex} {
		for damage, do := range map[string]func(w *mirrorWorld, key string, data []byte){
			"missing":                  func(w *mirrorWorld, key string, _ []byte) { w.sink.Remove(key) },
			"truncated":                func(w *mirrorWorld, key string, data []byte) { w.sink.Store(key, data[:len(data)-1]) },
			"other bytes of that size": func(w *mirrorWorld, key string, data []byte) { w.sink.Store(key, flip(data)) },
		} {
			for _, deep := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v %s deep=%v", class, damage, deep), func(t *testing.T) {
					w := auditedMirror(t)
					key := w.first(t, class, 2)
					do(w, key, w.sink.Objects()[key])
					report := w.audit(t, "", deep)
					require.False(t, report.Whole)
					findings := report.Different
					if damage == "missing" {
						findings = report.Missing
					}
					require.NotEmpty(t, whyIn(findings, key), "%+v", report)
					require.EqualValues(t, 1, findings.Blobs-findings.Harmless)
				})
			}
		}
	}
}

func TestAuditOfAMirrorProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(w *mirrorWorld)
		says string
	}{
		"nothing published": {func(w *mirrorWorld) { w.sink.Remove("index") }, "nothing was published"},
		"an index-N, which a cluster prefers": {func(w *mirrorWorld) {
			w.sink.Store("index-0", w.Objects()[repository.RootIndexKey(w.Generation())])
		}, "index-0 stands in OSS, higher than index in S3"},
		"an older root":  {func(w *mirrorWorld) { w.snapshot("r3") }, "index in OSS is another than in S3"},
		"a damaged root": {func(w *mirrorWorld) { w.sink.Store("index", []byte("{")) }, "index in OSS can't be understood"},
		"a snapshot's object is damaged on both sides": {func(w *mirrorWorld) {
			w.source.Store("snap-r1.dat", []byte("x"))
			w.sink.Store("snap-r1.dat", []byte("x"))
		}, "nobody can tell what the snapshot r1 needs"},
		"a snapshot's object is gone on both sides": {func(w *mirrorWorld) {
			w.source.Remove("snap-r1.dat")
			w.sink.Remove("snap-r1.dat")
		}, "nobody can tell what the snapshot r1 needs"},
	} {
		t.Run(name, func(t *testing.T) {
			w := auditedMirror(t)
			tt.harm(w)
			report := w.audit(t, "", false)
			require.False(t, report.Whole)
			require.Len(t, report.Problems, 1)
			require.Contains(t, report.Problems[0], tt.says)
		})
	}
	w := newMirrorWorld()
	_, err := w.tryAudit(t, "", false)
	requireType(t, migration.ErrorMissing, err)
	w.source.Store("index", []byte("{"))
	_, err = w.tryAudit(t, "", false)
	requireType(t, migration.ErrorRepository, err)
	w.source.Replace(map[string][]byte{"index": []byte(`{"snapshots":["r1"]}`), "snapshot-r1": []byte("x")})
	_, err = w.tryAudit(t, "", false)
	requireType(t, migration.ErrorRefused, err)
}
