package audit

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
)

// What real nodes wrote fits the checksums that they recorded. A byte that is wrong on both sides
// doesn't.
func TestDeepAuditOfWhatRealNodesWrote(t *testing.T) {
	files, err := filepath.Glob("../repository/testdata/[2-7].*.tar.gz")
	require.NoError(t, err)
	require.Greater(t, len(files), 8)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			w := newWorld(repositorytest.Layout55)
			var largest string
			objects := sidestest.Archive(t, file)
			for key, data := range objects {
				w.Source.Store(key, data)
				if class := repository.Classify(key).Class; class != repository.ClassUnknown &&
					class != repository.ClassTemporary {
					w.Sink.Store(key, data)
				}
				if sidestest.IsData(key) && len(data) > len(objects[largest]) {
					largest = key
				}
			}
			report := w.audit(t, "", true)
			require.True(t, report.Whole, "%+v", report)
			require.NotZero(t, report.SnapshotsChecked)
			data := classIn(t, report, "data")
			require.Equal(t, data.Needed, data.Proven)
			require.Equal(t, data.Needed.Bytes, report.BytesRead)

			w.Source.Store(largest, sidestest.Flip(objects[largest]))
			w.Sink.Store(largest, sidestest.Flip(objects[largest]))
			report = w.audit(t, "", true)
			require.False(t, report.Whole)
			require.Contains(t, whyIn(report.Different, largest), "damaged before it was copied")
		})
	}
}

// Where ETags can't be compared, the copy's record proves a blob. Without a record, only reading
// does.
func TestAuditWithoutComparableETags(t *testing.T) {
	for name, store := range map[string]func(w *world, key string, data []byte){
		"encrypted with KMS": func(w *world, key string, data []byte) { w.Source.StoreEncrypted(key, data) },
		"uploaded in parts": func(w *world, key string, data []byte) {
			w.Source.StoreParts(key, data,
				700_000)
		},
		"in parts of the object's size": func(w *world, key string, data []byte) {
			w.Source.StoreParts(key, data,
				5<<20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(repositorytest.Layout55)
			w.Repository = repositorytest.New(7)
			uuid := w.Snapshot("r0", repositorytest.CreateIndex("movies", 1),
				repositorytest.AddSegments("movies", 1, 4<<20))
			w.Names[uuid] = "r0"
			w.Sync()
			big := ""
			for key, size := range w.Blobs(uuid) {
				if size > smallObject {
					big = key
				}
			}
			data := w.Objects()[big]
			store(w, big, data)
			w.Copy(t, uuid)
			for _, deep := range []bool{false, true} {
				require.True(t, w.audit(t, "", deep).Whole)
			}
			w.Sink.Store(big, data) // somebody copied it with another tool
			report := w.audit(t, "", false)
			if name != "encrypted with KMS" || !report.Whole {
				require.False(t, report.Whole)
				require.Contains(t, whyIn(report.Different, big), "--deep reads it")
			}
			require.True(t, w.audit(t, "", true).Whole)
			w.Sink.Store(big, sidestest.Flip(data))
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
	damaged := sidestest.Flip(w.Objects()[key])
	w.Source.Store(key, damaged)
	w.Sink.Store(key, damaged)
	require.True(t, w.audit(t, "", false).Whole, "only a deep audit can know")
	report := w.audit(t, "", true)
	require.False(t, report.Whole)
	require.Contains(t, whyIn(report.Different, key), "damaged before it was copied")
}
