package activities

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// tryAudit runs the activity once, and makes sure that it writes nothing.
func (w *copyWorld) tryAudit(t *testing.T, snapshot string, deep bool) (migration.AuditReport, error) {
	t.Helper()
	request := migration.AuditRequest{Plan: w.request("").Plan, Token: "tok", Snapshot: snapshot, Deep: deep}
	c := w.copier()
	w.sink.ResetCounts()
	report, err := runActivity[migration.AuditReport](w.environment(c), c.AuditRepositories, request)
	for _, op := range []string{"Put", "CreateUpload", "UploadPart", "Complete", "Abort", "Delete"} {
		require.Zero(t, w.sink.Count(op), "an audit writes nothing")
	}
	return report, err
}

func (w *copyWorld) audit(t *testing.T, snapshot string, deep bool) migration.AuditReport {
	t.Helper()
	report, err := w.tryAudit(t, snapshot, deep)
	require.NoError(t, err)
	return report
}

// What the copy leaves is complete for the audit, which shares no decision with it. How the audit
// judges is tested in internal/audit.
func TestAuditOfWhatTheCopyLeaves(t *testing.T) {
	type rounds struct {
		*copyWorld
		take  func(name string, changes ...repositorytest.Change) string
		copy  func(*testing.T, string) migration.CopyResult
		blobs func(uuid string) map[string]int64
	}
	worlds := map[string]rounds{}
	for name, layout := range layouts {
		w := newCopyWorld(layout)
		worlds[name] = rounds{w, w.snapshot, w.carry, w.Blobs}
	}
	old := newMirrorWorld()
	worlds["2.x"] = rounds{old.copyWorld, old.snapshot, old.carry, old.blobs}
	for name, w := range worlds {
		t.Run(name, func(t *testing.T) {
			uuids := []string{
				w.take("r0", repositorytest.CreateIndex("movies", 3), repositorytest.CreateIndex("books", 1),
					repositorytest.AddSegments("movies", 3, 900)),
				w.take("r1", repositorytest.AddSegments("movies", 1, 900)),
				w.take("r2", repositorytest.Merge("movies")),
			}
			all := map[string]int64{}
			for _, uuid := range uuids {
				w.copy(t, uuid)
				maps.Copy(all, w.blobs(uuid))
			}
			for _, deep := range []bool{false, true} {
				report := w.audit(t, "", deep)
				require.True(t, report.Whole, "%+v", report)
				require.True(t, report.RootsEqual)
				require.Equal(t, 3, report.SnapshotsChecked)
				require.Zero(t, report.SnapshotsBroken)
				require.Zero(t, report.Missing.Blobs+report.Different.Blobs+report.Surplus.Harmful())
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
			require.Zero(t, report.Surplus.Blobs)
			require.EqualValues(t, len(w.blobs(uuids[1])), classIn(t, report, "data").Proven.Blobs)
		})
	}
}

// Snapshots that failed are listed and needn't be complete.
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

// If there is nothing to compare, the error's type tells why.
func TestAuditFailures(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	_, err := w.tryAudit(t, "", false)
	requireType(t, migration.ErrorMissing, err)
	w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	_, err = w.tryAudit(t, "r9", false)
	requireType(t, migration.ErrorMissing, err)
	old := newMirrorWorld()
	old.source.Store("index", []byte("{"))
	_, err = old.tryAudit(t, "", false)
	requireType(t, migration.ErrorRepository, err)
	old.source.Replace(map[string][]byte{"index": []byte(`{"snapshots":["r1"]}`), "snapshot-r1": []byte("x")})
	_, err = old.tryAudit(t, "", false)
	requireType(t, migration.ErrorRefused, err)
}

func classIn(t *testing.T, report migration.AuditReport, class string) migration.AuditClass {
	i := slices.IndexFunc(report.Classes, func(c migration.AuditClass) bool { return c.Class == class })
	require.GreaterOrEqual(t, i, 0, class)
	return report.Classes[i]
}
