package activities

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func (w *world) read(names ...string) []migration.SourceIndex {
	w.t.Helper()
	return must[[]migration.SourceIndex](w, w.activities.ReadSourceBlocks,
		migration.IndicesRequest{Run: w.run, Indices: names})
}

func (w *world) block(indices []migration.SourceIndex) migration.BlockResult {
	w.t.Helper()
	request := migration.BlockRequest{Run: w.run, Indices: indices}
	first := must[migration.BlockResult](w, w.activities.BlockSource, request)
	require.Equal(w.t, first, must[migration.BlockResult](w, w.activities.BlockSource, request), "may run twice")
	return first
}

func (w *world) unblock(indices []migration.SourceIndex) []migration.Refusal {
	w.t.Helper()
	request := migration.UnblockRequest{Run: w.run, Indices: indices}
	first := must[migration.UnblockResult](w, w.activities.UnblockSource, request)
	require.Equal(w.t, first, must[migration.UnblockResult](w, w.activities.UnblockSource, request), "may run twice")
	return first.Refused
}

// writes tells which of the indices take writes.
func (w *world) writes(names ...string) (open []string) {
	for _, name := range names {
		if w.from.Index(name, "x") == nil {
			open = append(open, name)
		}
	}
	return open
}

// An index that is deleted and created again between the look at its blocks and ours has our block
// and none of its own.
func TestABlockOfOursIsNeverOneThatWasThere(t *testing.T) {
	w := newWorld(t)
	w.from.Create("old", 1, map[string]string{"index.blocks.write": "true"})
	read := w.read("catalog", "gone", "movies", "old")
	require.Len(t, read, 3)
	for _, name := range []string{"movies", "old"} {
		w.from.Delete(name)
		w.from.Create(name, 1, nil)
	}
	blocked := w.block(read)
	require.Empty(t, blocked.Refused)
	require.Empty(t, w.writes("catalog", "movies", "old"))
	require.Equal(t, map[string]string{"index.blocks.write": "false"}, blocked.Blocked[0].Blocks)
	require.NotEqual(t, read[1].UUID, blocked.Blocked[1].UUID)
	for _, index := range blocked.Blocked[1:] {
		require.Empty(t, index.Blocks, index.Name)
	}
	require.Empty(t, w.unblock(blocked.Blocked))
	require.Equal(t, []string{"catalog", "movies", "old"}, w.writes("catalog", "movies", "old"))
	require.Equal(t, "false", w.from.Setting("catalog", writeBlock))

	// Nor does what was read of the old one put it back.
	w.block(read)
	require.Empty(t, w.unblock(read))
	require.Equal(t, []string{"catalog", "movies", "old"}, w.writes("catalog", "movies", "old"))
}

// The same between the look that BlockSource takes and its block.
func TestAnIndexThatIsMadeAnewWhileItIsBlocked(t *testing.T) {
	w := newWorld(t)
	read := w.read(both2...)
	w.from.During("PUT /*/_settings", func() {
		w.from.Delete("movies")
		w.from.Create("movies", 1, map[string]string{"index.blocks.read": "true"})
	})
	blocked := w.block(read)
	require.Equal(t, map[string]string{"index.blocks.read": "true"}, blocked.Blocked[1].Blocks)
	require.NotEqual(t, read[1].UUID, blocked.Blocked[1].UUID)
	require.Empty(t, w.writes(both2...))

	for _, name := range both2 { // it lost its block, and then it is deleted
		w.from.SetSetting(name, writeBlock, "")
	}
	w.from.During("PUT /*/_settings", func() { w.from.Delete("movies") })
	blocked = must[migration.BlockResult](w, w.activities.BlockSource,
		migration.BlockRequest{Run: w.run, Indices: read})
	require.Equal(t, []string{"movies"}, blocked.Gone)
	require.Equal(t, []string{"catalog"}, []string{blocked.Blocked[0].Name})
}

// Elasticsearch refuses every change of such an index, and with it the request that names it.
func TestAnIndexThatRefusesWritesNeedsNoBlock(t *testing.T) {
	for _, own := range []string{"index.blocks.read_only", "index.blocks.read_only_allow_delete", writeBlock} {
		t.Run(own, func(t *testing.T) {
			w := newWorld(t)
			names := manyIndices(w, 81)
			last := names[len(names)-1]
			w.from.SetSetting(last, own, "true")
			read := w.read(names...)
			blocked := w.block(read)
			require.Empty(t, blocked.Refused)
			require.Equal(t, read, blocked.Blocked)
			require.Empty(t, w.writes(names...))
			must[migration.Standstill](w, w.activities.AwaitStandstill,
				migration.IndicesRequest{Run: w.run, Indices: names})

			// Its own block is gone: the standstill is none, and the next block is ours.
			w.from.SetSetting(last, own, "")
			refused(w, migration.ErrorNoStandstill, w.activities.AwaitStandstill,
				migration.IndicesRequest{Run: w.run, Indices: names}, last)
			blocked = must[migration.BlockResult](w, w.activities.BlockSource,
				migration.BlockRequest{Run: w.run, Indices: read})
			require.Empty(t, w.writes(names...))
			require.Empty(t, blocked.Blocked[len(names)-1].Blocks)
			require.Empty(t, w.unblock(blocked.Blocked))
			require.Equal(t, names, w.writes(names...))
		})
	}
}

func manyIndices(w *world, count int) (names []string) {
	for i := range count {
		names = append(names, fmt.Sprintf("%s-%03d", strings.Repeat("long", 20), i))
		w.from.Create(names[i], 1, nil)
	}
	return names
}

// For runs that began before there was a guard, too.
func TestOneReadOnlyIndexKeepsNoOtherFromBeingBlockedOrUnblocked(t *testing.T) {
	w := newWorld(t)
	request := migration.IndicesRequest{Run: w.run, Indices: manyIndices(w, 81)}
	last := request.Indices[80]
	w.from.SetSetting(last, "index.blocks.read_only", "true")
	found := must[migration.Blocks](w, w.activities.ReadBlocks, request)
	must[any](w, w.activities.BlockWrites, request)
	require.Empty(t, w.writes(request.Indices...))
	must[any](w, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found})
	require.Equal(t, request.Indices[:80], w.writes(request.Indices...))
}

// One that gets its block later is named; 5.5.2 doesn't say which of many it was.
func TestTheIndexThatRefusesStandsAlone(t *testing.T) {
	w := newWorld(t)
	names := manyIndices(w, 81)
	read := w.read(names...)
	bad := names[70]
	w.from.On("PUT /*/_settings", 1000, func(answer http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, bad) {
			return false
		}
		answer.WriteHeader(http.StatusBadRequest)
		_, _ = answer.Write([]byte(`{"error":{"type":"illegal_argument_exception",` +
			`"reason":"unknown setting [archived.index.ttl.disable_purge] please check"},"status":400}`))
		return true
	})
	blocked := w.block(read)
	require.Len(t, blocked.Refused, 1)
	require.Equal(t, bad, blocked.Refused[0].Index)
	require.Equal(t, "archived.index.ttl.disable_purge", blocked.Refused[0].Setting)
	require.Contains(t, blocked.Refused[0].Message, bad)
	require.Len(t, blocked.Blocked, 80)
	require.Equal(t, []string{bad}, w.writes(names...))
	refused(w, migration.ErrorRefused, w.activities.BlockWrites,
		migration.IndicesRequest{Run: w.run, Indices: names}, bad)
	require.Empty(t, w.unblock(read), "it has no block of ours, and takes writes")
	require.Equal(t, names, w.writes(names...))
	require.Less(t, len(w.from.Requests("PUT /*/_settings")), 150)
}

func TestUnblockNamesABlockThatCameLater(t *testing.T) {
	w := newWorld(t)
	read := w.read(both2...)
	w.block(read)
	w.from.SetSetting("movies", "index.blocks.read_only_allow_delete", "true")
	refusals := w.unblock(read)
	require.Len(t, refusals, 1)
	require.Equal(t, "movies", refusals[0].Index)
	require.Equal(t, "index.blocks.read_only_allow_delete", refusals[0].Setting)
	require.Contains(t, refusals[0].Remedy, `{"index.blocks.read_only_allow_delete": false}`)
	require.Equal(t, []string{"catalog"}, w.writes(both2...))
	w.from.SetSetting("movies", "index.blocks.read_only_allow_delete", "")
	require.Empty(t, w.unblock(read))
	require.Equal(t, both2, w.writes(both2...))
}

// PUT /movies/_block/write of 7.9 and later goes on after its client is gone: it sets its block
// after ours was removed.
func TestUnblockOutlivesTheBlockAPI(t *testing.T) {
	w := newWorld(t)
	read := w.read(both2...)
	end := w.from.BlockAPI("movies")
	sleeps := 0
	w.onSleep = func() {
		require.Equal(t, []string{"catalog"}, w.writes(both2...), "the others take writes at once")
		if sleeps++; sleeps == 20 {
			end()
		}
	}
	require.Empty(t, w.unblock(read))
	require.Equal(t, both2, w.writes(both2...))

	// If it never ends, an attempt ends with an error that is retried, and the last one names it.
	w.from.BlockAPI("movies")
	w.onSleep = nil
	passes(w, retryStillBlocked, w.activities.UnblockSource, migration.UnblockRequest{Run: w.run, Indices: read})
	refusals, err := w.activities.unblock(t.Context(), clientOf(w, onSource), read, unblockAttempts, &pulse{})
	require.NoError(t, err)
	require.Len(t, refusals, 1)
	require.Contains(t, refusals[0].Message, "movies")
	require.Contains(t, refusals[0].Message, "_block/write")
}

// A second look, later, removes what a request of a dead worker has set after the first.
func TestASecondUnblockCatchesALateBlock(t *testing.T) {
	w := newWorld(t)
	read := w.read(both2...)
	w.block(read)
	require.Empty(t, w.unblock(read))
	w.from.SetSetting("movies", writeBlock, "true")
	require.Empty(t, w.unblock(read))
	require.Equal(t, both2, w.writes(both2...))
}

// The removal ends although an index takes no writes for another reason than a block: it waits for
// copies, or has no primary.
func TestUnblockEndsWhateverAnIndexAnswers(t *testing.T) {
	w := newWorld(t)
	read := must[[]migration.SourceIndex](w, w.activities.ReadSourceBlocks, w.request())
	blocked := must[migration.BlockResult](w, w.activities.BlockSource,
		migration.BlockRequest{Run: w.run, Indices: read}).Blocked
	w.from.SetSetting("catalog", waitForActive, "2")
	unblock := migration.UnblockRequest{Run: w.run, Indices: blocked}
	require.Empty(t, must[migration.UnblockResult](w, w.activities.UnblockSource, unblock).Refused)
	require.NoError(t, w.from.Index("catalog", "later"))

	w.from.NoPrimary = map[string]bool{"catalog": true}
	passes(w, retryStillBlocked, w.activities.UnblockSource, unblock)
	refused, err := w.activities.unblock(t.Context(), clientOf(w, onSource), blocked, unblockAttempts, &pulse{})
	require.NoError(t, err)
	require.Len(t, refused, 1)
	require.Equal(t, "catalog", refused[0].Index)
	require.Contains(t, refused[0].Message, "primary shard is not active")
	require.NoError(t, w.from.Index("movies", "later"))
}
