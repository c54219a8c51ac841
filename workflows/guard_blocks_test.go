package workflows

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// What a guard knows of the blocks of the source's indices, and how it removes its own.

// An index that is deleted and created again in the window, and then blocked, has our block and
// none of its own: nothing puts that back.
func TestOurBlockIsNeverTakenForOneThatWasThere(t *testing.T) {
	for name, own := range map[string]map[string]string{"no block": nil, "a block": {sourceWriteBlock: "true"}} {
		for asked, asks := range map[string][]migration.GuardAsk{
			"announced":     {migration.AskAnnounce, migration.AskBlock, migration.AskRemove},
			"not announced": {migration.AskBlock, migration.AskRemove}, // what blocks it meets another index
		} {
			t.Run(name+", "+asked, func(t *testing.T) {
				g := newGuarded(t)
				g.source["catalog"].own = own
				g.window()
				g.env.RegisterDelayedCallback(func() {
					g.mu.Lock()
					// blocked by name, between look and block
					g.source["catalog"] = &sourceIndex{uuid: "u9", ours: true}
					g.mu.Unlock()
					g.indices = g.names("catalog", "movies")
				}, 4*time.Minute)
				g.at(5*time.Minute, asks...)
				g.run()
				g.free() // the new index never had a block of its own
			})
		}
	}
}

// An index that is created again with a block of its own gets that one back, and not that of the
// index before it.
func TestAnIndexThatIsCreatedAgainHasItsOwnBlocks(t *testing.T) {
	const readOnly = "index.blocks.read_only_allow_delete"
	g := newGuarded(t)
	g.source["catalog"].own = map[string]string{sourceWriteBlock: "true"}
	g.window()
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		g.source["catalog"] = &sourceIndex{uuid: "u9", own: map[string]string{readOnly: "true"}}
		g.mu.Unlock()
	}, 4*time.Minute)
	g.at(5*time.Minute, migration.AskBlock, migration.AskRemove)
	g.run()
	g.free()
	require.Equal(t, migration.SourceIndex{Name: "catalog", UUID: "u9", Blocks: map[string]string{readOnly: "true"}},
		g.unblocked["catalog"])
}

// The activity that asks has read the blocks: the guard needs no request of its own for that,
// unless it began without that, or a worker asks that doesn't read them.
func TestWhoReadsTheBlocks(t *testing.T) {
	for name, test := range map[string]struct {
		unread, first bool
		reads         int
	}{
		"the activity that asks":     {},
		"the guard, unless it does":  {unread: true, reads: 1},
		"a guard of the first shape": {first: true, reads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.source["catalog"].own = map[string]string{sourceWriteBlock: "true"}
			g.unread = test.unread
			if test.first {
				g.firstShape()
			}
			g.window()
			g.at(5*time.Minute, migration.AskRemove)
			g.run()
			require.Equal(t, test.reads, g.n[migration.ActivityReadSourceBlocks])
			own := g.last(migration.AskAnnounce).Own
			require.Len(t, own, 1)
			require.Equal(t, "catalog", own[0].Name)
			require.True(t, g.source["catalog"].ours, "its own block is given back")
			require.False(t, g.source["movies"].ours)
		})
	}
}

// Writes to the last of many indices don't wait until all others were looked at. What one batch
// answers keeps no other from its removal.
func TestTheBlockIsRemovedFromSeveralBatchesAtOnce(t *testing.T) {
	const indices = 4_000
	many := func(g *guarded) {
		g.source = map[string]*sourceIndex{}
		for i := range indices {
			name := fmt.Sprintf("index-%094d", i)
			g.source[name] = &sourceIndex{uuid: "u"}
		}
		g.indices = g.names(slices.Sorted(maps.Keys(g.source))...)
		g.handover = nil
		g.window()
		g.at(5*time.Minute, migration.AskRemove)
	}
	t.Run("at once", func(t *testing.T) {
		g := newGuarded(t)
		many(g)
		together := make(chan struct{})
		var now, most int
		g.on[migration.ActivityUnblockSource] = func(n int) error {
			g.mu.Lock()
			now++
			if most = max(most, now); n == unblocksAtOnce {
				close(together)
			}
			g.mu.Unlock()
			select {
			case <-together:
			case <-time.After(slowest / 60):
				t.Error("the others wait for this one")
			}
			return nil
		}
		g.after[migration.ActivityUnblockSource] = func(int) {
			g.mu.Lock()
			defer g.mu.Unlock()
			now--
		}
		g.run()
		g.free()
		require.Equal(t, unblocksAtOnce, most)
	})
	t.Run("one fails", func(t *testing.T) {
		g := newGuarded(t)
		many(g)
		g.on[migration.ActivityUnblockSource] = func(n int) error {
			if n == 1 {
				return refusal(migration.ErrorUnauthorized, "403")
			}
			return nil
		}
		g.run()
		g.free()
		require.Equal(t, (2+len(laterLooks))*len(migration.Batches(g.indices, migration.LongestBatch)),
			g.n[migration.ActivityUnblockSource],
			"what one batch fails with keeps no other one blocked")
	})
	t.Run("one after the other, in a guard of the first shape", func(t *testing.T) {
		g := newGuarded(t)
		g.firstShape()
		many(g)
		var now, most int
		g.on[migration.ActivityUnblockSource] = func(int) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			now++
			most = max(most, now)
			return nil
		}
		g.after[migration.ActivityUnblockSource] = func(int) {
			g.mu.Lock()
			defer g.mu.Unlock()
			now--
		}
		g.run()
		g.free()
		require.Equal(t, 1, most)
	})
}
