// Package golden compares what a test made with a file that people have reviewed. Such a file is
// the readable record of a page or a table: a change of the page shows as a change of the file.
//
// To write the files again, run `make golden`, or run one package's tests with -update. Then read
// the difference before you commit it: with -update every test of this kind passes.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// Equal fails the test if got is not what the file at path holds. The path is relative to the
// folder of the test, such as testdata/status.txt. With -update it writes the file first, and the
// folder if there is none.
func Equal[T ~string | ~[]byte](t testing.TB, path string, got T) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "there is no such golden file: run this test with -update, and review what it writes")
	require.Equal(t, string(want), string(got), "%s differs; if the new text is right, run this test with -update",
		path)
}
