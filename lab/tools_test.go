package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testTool is made of one file and counts its builds.
type testTool struct {
	box    *toolbox
	tool   tool
	source string
	builds atomic.Int32
	fail   error
	out    *bytes.Buffer
}

func newTestTool(t *testing.T) *testTool {
	root := t.TempDir()
	f := &testTool{source: filepath.Join(root, "source"), out: &bytes.Buffer{}}
	require.NoError(t, os.WriteFile(f.source, []byte("one"), 0o644))
	f.box = &toolbox{root: root, out: &syncWriter{w: f.out}}
	f.tool = tool{
		name: "thing", expect: "no time", path: f.box.lab("bin", "thing"), ingredients: []string{f.source},
		build: func(_ context.Context, log io.Writer) error {
			f.builds.Add(1)
			_, _ = io.WriteString(log, "compiling\nline 7 is wrong\n")
			if f.fail != nil {
				return f.fail
			}
			return os.WriteFile(f.box.lab("bin", "thing"), nil, 0o755)
		},
	}
	return f
}

func TestAToolIsBuiltWhenItIsMissingOrItsIngredientsChanged(t *testing.T) {
	f := newTestTool(t)
	ensure := func(builds int) {
		t.Helper()
		require.NoError(t, f.box.ensure(t.Context(), f.tool))
		require.EqualValues(t, builds, f.builds.Load())
	}
	ensure(1)
	ensure(1)
	require.NoError(t, os.WriteFile(f.source, []byte("two"), 0o644))
	ensure(2)
	ensure(2)
	require.NoError(t, os.Remove(f.tool.path))
	ensure(3)
	f.tool.also = "another version"
	ensure(4)
	assert.Regexp(t, `(?m)^building thing \(first time: no time\)\n(building thing .* s\n)*built thing in \d+ s$`,
		f.out.String())
}

func TestABuildThatFailsShowsItsLogAndIsTriedAgain(t *testing.T) {
	f := newTestTool(t)
	f.fail = errors.New("exit status 1")
	err := f.box.ensure(t.Context(), f.tool)
	require.ErrorContains(t, err, "building thing failed: exit status 1")
	assert.ErrorContains(t, err, "line 7 is wrong")
	f.fail = nil
	require.NoError(t, f.box.ensure(t.Context(), f.tool))
	assert.EqualValues(t, 2, f.builds.Load())
}

func TestABuildThatBreaksOffAfterAChangeLeavesNothingThatLooksFresh(t *testing.T) {
	f := newTestTool(t)
	require.NoError(t, f.box.ensure(t.Context(), f.tool))
	require.NoError(t, os.WriteFile(f.source, []byte("two"), 0o644))
	f.fail = errors.New("killed")
	require.Error(t, f.box.ensure(t.Context(), f.tool))
	require.NoError(t, os.WriteFile(f.source, []byte("one"), 0o644)) // as it was
	fresh, err := f.box.fresh(f.tool)
	require.NoError(t, err)
	assert.False(t, fresh)
}

func TestTwoDoNotBuildAtOnce(t *testing.T) {
	f := newTestTool(t)
	unlock, err := f.box.lock(t.Context())
	require.NoError(t, err)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { assert.NoError(t, f.box.ensure(t.Context(), f.tool)) })
	}
	require.Eventually(t, func() bool {
		w := f.box.out.(*syncWriter)
		w.mu.Lock()
		defer w.mu.Unlock()
		return bytes.Count(f.out.Bytes(), []byte("another process is building")) == 2
	}, longEnough, pollEvery)
	assert.Zero(t, f.builds.Load())
	unlock()
	both.Wait()
	assert.EqualValues(t, 1, f.builds.Load())
}

func TestWaitingForAnotherBuildEndsWithTheContext(t *testing.T) {
	f := newTestTool(t)
	unlock, err := f.box.lock(t.Context())
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	assert.ErrorContains(t, f.box.ensure(ctx, f.tool), "enough")
}

func TestAMissingIngredientIsNamed(t *testing.T) {
	f := newTestTool(t)
	require.NoError(t, os.Remove(f.source))
	assert.ErrorContains(t, f.box.ensure(t.Context(), f.tool), "thing can't be built")
}

func TestTheRootIsTheRepository(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(root, "tools", "go.mod"))
	t.Chdir(t.TempDir())
	_, err = Root()
	assert.ErrorContains(t, err, "run it from a clone")
}
