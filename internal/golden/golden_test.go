package golden

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// outcome is a test that may fail without failing this one.
type outcome struct {
	testing.TB
	failed bool
}

func (o *outcome) Helper()               {}
func (o *outcome) Errorf(string, ...any) { o.failed = true }
func (o *outcome) FailNow()              { o.failed = true; runtime.Goexit() }

// passes tells whether a comparison passes, with or without -update.
func passes(t *testing.T, path, got string, updating bool) bool {
	t.Helper()
	before := *update
	*update = updating
	defer func() { *update = before }()
	result, ended := &outcome{TB: t}, make(chan struct{})
	go func() { // FailNow ends the goroutine that it is called in
		defer close(ended)
		Equal(result, path, got)
	}()
	<-ended
	return !result.failed
}

func TestAFileIsComparedAndWrittenOnRequestOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "testdata", "page.txt")
	require.False(t, passes(t, path, "one", false), "there is no file yet")
	require.NoFileExists(t, path)
	require.True(t, passes(t, path, "one", true))
	require.True(t, passes(t, path, "one", false))
	require.False(t, passes(t, path, "two", false))
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "one", string(written), "a comparison writes nothing")
	require.True(t, passes(t, path, "two", true))
	require.True(t, passes(t, path, "two", false))
}
