package audit

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
)

func TestAuditOfALegacyRepository(t *testing.T) {
	w := auditedLegacy(t)
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
			for key, size := range w.LegacyBlobs(name) {
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
	require.EqualValues(t, len(w.LegacyBlobs("r1")), classIn(t, report, "data").Proven.Blobs)

	// What was deleted at the source since then is surplus in OSS, and harmless.
	w.Remove("r0")
	w.Copy(t, w.Take("r3"))
	report = w.audit(t, "", false)
	require.True(t, report.Whole, "%+v", report)
	require.Positive(t, report.Surplus.Harmless)
	require.Equal(t, report.Surplus.Blobs, report.Surplus.Harmless)
}

// Each kind of damage to each kind of object that a restore needs is found, and named.
func TestAuditOfALegacyRepositoryFindsDamage(t *testing.T) {
	for _, class := range []repository.Class{
		repository.ClassData, repository.ClassShardSnapshot,
		repository.ClassIndexMetadata,
		repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassRootIndex,
	} {
		for damage, do := range map[string]func(w *legacyWorld, key string, data []byte){
			"missing": func(w *legacyWorld, key string, _ []byte) { w.Sink.Remove(key) },
			"truncated": func(w *legacyWorld, key string, data []byte) {
				w.Sink.Store(key,
					data[:len(data)-1])
			},
			"other bytes of that size": func(w *legacyWorld, key string, data []byte) {
				w.Sink.Store(key,
					sidestest.Flip(data))
			},
		} {
			for _, deep := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v %s deep=%v", class, damage, deep), func(t *testing.T) {
					w := auditedLegacy(t)
					key := w.world.first(t, class, 2)
					do(w, key, w.Sink.Objects()[key])
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

func TestAuditOfALegacyRepositoryProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(w *legacyWorld)
		says string
	}{
		"nothing published": {func(w *legacyWorld) { w.Sink.Remove("index") }, "nothing was published"},
		"an index-N, which a cluster prefers": {func(w *legacyWorld) {
			w.Sink.Store("index-0", w.Objects()[repository.RootIndexKey(w.Generation())])
		}, "the root in OSS is index-0, higher than index in S3"},
		"an older root": {func(w *legacyWorld) { w.Take("r3") }, "index in OSS differs from index in S3"},
		"a damaged root": {
			func(w *legacyWorld) { w.Sink.Store("index", []byte("{")) },
			"index in OSS can't be understood",
		},
		"a snapshot's object is damaged on both sides": {func(w *legacyWorld) {
			w.Source.Store("snap-r1.dat", []byte("x"))
			w.Sink.Store("snap-r1.dat", []byte("x"))
		}, "what the snapshot r1 needs is unknown"},
		"a snapshot's object is gone on both sides": {func(w *legacyWorld) {
			w.Source.Remove("snap-r1.dat")
			w.Sink.Remove("snap-r1.dat")
		}, "what the snapshot r1 needs is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			w := auditedLegacy(t)
			tt.harm(w)
			report := w.audit(t, "", false)
			require.False(t, report.Whole)
			require.Len(t, report.Problems, 1)
			require.Contains(t, report.Problems[0], tt.says)
		})
	}
	w := newLegacyWorld()
	_, err := w.world.tryAudit(t, "", false)
	requireKind(t, Missing, err)
	w.Source.Store("index", []byte("{"))
	_, err = w.world.tryAudit(t, "", false)
	requireKind(t, Damaged, err)
	w.Source.Replace(map[string][]byte{"index": []byte(`{"snapshots":["r1"]}`), "snapshot-r1": []byte("x")})
	_, err = w.world.tryAudit(t, "", false)
	requireKind(t, Refused, err)
}
