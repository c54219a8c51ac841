package sides

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
)

const emptyRoot = `{"snapshots":[],"indices":{}}`

// The highest root index-N counts; that of 2.x counts only where there is none. Damage is a flaw,
// no error.
func TestSideIsTheHighestRoot(t *testing.T) {
	for name, tt := range map[string]struct {
		objects    map[string]string
		found      bool
		key        string
		generation int64
		readable   bool
		legacy     bool
	}{
		"nothing": {generation: -1, key: "index"},
		"other objects": {
			objects: map[string]string{"index.latest": "x", "snap-a.dat": "x"}, generation: -1,
			key: "index",
		},
		"one": {
			objects: map[string]string{"index-0": emptyRoot}, found: true, key: "index-0",
			readable: true,
		},
		"the highest": {
			objects: map[string]string{"index-9": "{", "index-10": emptyRoot}, found: true,
			key: "index-10", generation: 10, readable: true,
		},
		"damaged": {
			objects: map[string]string{"index-9": emptyRoot, "index-10": "{"}, found: true,
			key: "index-10", generation: 10,
		},
		"2.x": {
			objects: map[string]string{"index": `{"snapshots":["a"]}`}, found: true,
			key: "index", generation: -1, readable: true, legacy: true,
		},
		"2.x, damaged": {objects: map[string]string{"index": "{"}, found: true, key: "index", generation: -1},
		"2.x, taken over by 5.x": {
			objects: map[string]string{"index": `{"snapshots":["a"]}`, "index-0": emptyRoot},
			found:   true, key: "index-0", readable: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, sink := memory.NewSource(), memory.NewSink()
			for key, text := range tt.objects {
				source.Store(key, []byte(text))
				sink.Store(key, []byte(text))
			}
			from, to := open(source, sink)
			for _, store := range []Store{from, to} {
				side, err := store.ReadSide(t.Context())
				require.NoError(t, err)
				require.Equal(t, tt.found, side.Found)
				require.Equal(t, tt.generation, side.Generation)
				require.Equal(t, tt.key, side.Key())
				require.Equal(t, tt.readable, side.Root != nil)
				require.Equal(t, tt.found && !tt.readable, side.Flaw != nil)
				require.Equal(t, tt.legacy, side.Legacy())
				require.Len(t, side.Objects, len(tt.objects))
				if tt.found {
					require.Equal(t, tt.objects[tt.key], string(side.Data))
					require.Equal(t, side.Object(tt.key).ETag, side.ETag)
				}
				require.NoError(t, side.Unchanged(t.Context()))
			}
		})
	}
}

func TestSideNoticesThatItMoved(t *testing.T) {
	for name, move := range map[string]func(*memory.Store){
		"a higher root":      func(s *memory.Store) { s.Store("index-2", []byte(emptyRoot)) },
		"other bytes":        func(s *memory.Store) { s.Store("index-1", []byte(emptyRoot+" ")) },
		"no root":            func(s *memory.Store) { s.Remove("index-1") },
		"only a root of 2.x": func(s *memory.Store) { s.Remove("index-1"); s.Store("index", []byte(emptyRoot)) },
	} {
		t.Run(name, func(t *testing.T) {
			source, sink := memory.NewSource(), memory.NewSink()
			source.Store("index-1", []byte(emptyRoot))
			from, _ := open(source, sink)
			side, err := from.ReadSide(t.Context())
			require.NoError(t, err)
			require.NoError(t, side.Unchanged(t.Context()))
			move(source)
			require.ErrorIs(t, side.Unchanged(t.Context()), ErrMoved)
		})
	}
	t.Run("a first root", func(t *testing.T) {
		source, sink := memory.NewSource(), memory.NewSink()
		_, to := open(source, sink)
		side, err := to.ReadSide(t.Context())
		require.NoError(t, err)
		sink.Store("index-0", []byte(emptyRoot))
		require.ErrorIs(t, side.Unchanged(t.Context()), ErrMoved)
	})
	t.Run("while it is read", func(t *testing.T) {
		source, sink := memory.NewSource(), memory.NewSink()
		source.Store("index-1", []byte(emptyRoot))
		source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Key == "index-1" {
				source.Remove("index-1")
			}
			return nil
		}})
		from, _ := open(source, sink)
		_, err := from.ReadSide(t.Context())
		require.ErrorIs(t, err, ErrMoved)
		require.True(t, Gone(err))
	})
}

func TestSideWithAnotherRoot(t *testing.T) {
	root, err := repository.ParseRoot(7, []byte(emptyRoot))
	require.NoError(t, err)
	side := Side{Generation: 3, Flaw: errors.New("x")}.WithRoot(root, []byte(emptyRoot))
	require.Equal(t, "index-7", side.Key())
	require.NoError(t, side.Flaw)
	require.Equal(t, emptyRoot, string(side.Data))
}

// The error that ended a walk and its work is the one that came first, not a cancellation that
// followed.
func TestWalkAndWorkGivesTheFirstError(t *testing.T) {
	failure := &objectstore.Error{Kind: objectstore.Forbidden}
	err := WalkAndWork(t.Context(), 2, func(ctx context.Context, submit Submit) error {
		submit(func(context.Context) error { return failure })
		<-ctx.Done()
		return ctx.Err()
	})
	require.ErrorIs(t, err, failure)
	err = WalkAndWork(t.Context(), 2, func(_ context.Context, submit Submit) error {
		submit(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		return failure
	})
	require.ErrorIs(t, err, failure)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, WalkAndWork(ctx, 2, func(context.Context, Submit) error { return nil }), context.Canceled)
	require.NoError(t, WalkAndWork(t.Context(), 1, func(_ context.Context, submit Submit) error {
		submit(func(context.Context) error { return nil })
		return nil
	}))
}

// A root that is expected is read while the folder is listed. What the listing says counts: another
// root, or other bytes under the same name, are read after it.
func TestSideWithAnExpectedRoot(t *testing.T) {
	const older, newer = `{"snapshots":[{"name":"a","uuid":"a"}],"indices":{}}`, emptyRoot
	for name, tt := range map[string]struct {
		expected int64
		replaced bool // between the early read and the listing
		reads    []string
	}{
		"as expected":  {expected: 7, reads: []string{"index-7"}},
		"an older one": {expected: 6, reads: []string{"index-6", "index-7"}},
		"a later one":  {expected: 8, reads: []string{"index-8", "index-7"}},
		"replaced":     {expected: 7, replaced: true, reads: []string{"index-7", "index-7"}},
		"none":         {expected: -1, reads: []string{"index-7"}},
	} {
		t.Run(name, func(t *testing.T) {
			source, sink := memory.NewSource(), memory.NewSink()
			from, _ := open(source, sink)
			source.Store("index-6", []byte(older))
			source.Store("index-7", []byte(newer))
			if tt.replaced {
				source.Store("index-7", []byte(older))
			}
			early := make(chan struct{})
			if tt.expected < 0 {
				close(early)
			}
			var reads []string // one after the other, since the listing waits for the early one
			source.SetHooks(memory.Hooks{
				Before: func(c memory.Call) error {
					if c.Op == "ListFolder" {
						<-early
						return nil
					}
					reads = append(reads, c.Key)
					if c.Key == "index-8" { // there is none, so it has no answer that After sees
						close(early)
					}
					return nil
				},
				After: func(c memory.Call) error {
					if c.Op != "ListFolder" && len(reads) == 1 && tt.expected >= 0 {
						if tt.replaced {
							source.Store("index-7", []byte(newer))
						}
						close(early)
					}
					return nil
				},
			})
			side, err := from.ReadSideExpecting(t.Context(), tt.expected)
			require.NoError(t, err)
			require.EqualValues(t, 7, side.Generation)
			require.Equal(t, newer, string(side.Data))
			require.NoError(t, side.Flaw)
			require.NoError(t, side.Unchanged(t.Context()))
			require.Equal(t, tt.reads, reads)
		})
	}
}
