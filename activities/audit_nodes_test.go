package activities

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
)

// What real nodes wrote fits the checksums that they recorded, and a byte that
// is wrong on both sides doesn't.
func TestDeepAuditOfWhatRealNodesWrote(t *testing.T) {
	files, err := filepath.Glob("../internal/repository/testdata/[2-7].*.tar.gz")
	require.NoError(t, err)
	require.Greater(t, len(files), 8)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout55)
			var largest string
			objects := nodeWritten(t, file)
			for key, data := range objects {
				w.source.Store(key, data)
				if class := repository.Classify(key).Class; class != repository.ClassUnknown && class != repository.ClassTemporary {
					w.sink.Store(key, data)
				}
				if isData(key) && len(data) > len(objects[largest]) {
					largest = key
				}
			}
			report := w.audit(t, "", true)
			require.True(t, report.Whole, "%+v", report)
			require.NotZero(t, report.SnapshotsChecked)
			data := classIn(t, report, "data")
			require.Equal(t, data.Needed, data.Proven)
			require.Equal(t, data.Needed.Bytes, report.BytesRead)

			w.source.Store(largest, flip(objects[largest]))
			w.sink.Store(largest, flip(objects[largest]))
			report = w.audit(t, "", true)
			require.False(t, report.Whole)
			require.Contains(t, whyIn(report.Different, largest), "damaged before it was copied")
		})
	}
}

func nodeWritten(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	objects := map[string][]byte{}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			objects[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(archive)
			require.NoError(t, err)
		}
	}
}
