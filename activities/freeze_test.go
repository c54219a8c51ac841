package activities

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

func TestStandstillWaitsForTheLastWrites(t *testing.T) {
	w := newWorld(t)
	request := w.request()
	writes := 0
	w.onSleep = func() { // bulk requests under way go on after the block
		if writes++; writes == 3 {
			must[any](w, w.activities.BlockWrites, request)
			return
		}
		if writes < 3 {
			require.NoError(t, w.from.Index("movies", "last"))
		}
	}
	docs := must[migration.Standstill](w, w.activities.AwaitStandstill,
		migration.StandstillRequest{IndicesRequest: request}).Docs
	require.Equal(t, int64(4), docs["movies"][0]+docs["movies"][1])
	require.Equal(t, 2+1+standstillSamples, len(w.from.Requests("GET /*/_stats/docs,indexing,translog")),
		"equal samples in a row")
	require.Equal(t, 3, len(docs["catalog"]), "a count for each shard")
}

func TestWritesThatNeverStop(t *testing.T) {
	w := newWorld(t)
	w.onSleep = func() { require.NoError(t, w.from.Index("movies", "again")) }
	refused(w, migration.ErrorNoStandstill, w.activities.AwaitStandstill, w.still(), "after 2m", "[movies]",
		"still takes writes")
}

// A write that leaves every count as it was changes the mark: the cutover asks for it.
func TestAMarkChangesWithEveryWrite(t *testing.T) {
	w := newWorld(t)
	must[any](w, w.activities.BlockWrites, w.request())
	before := must[migration.Standstill](w, w.activities.AwaitStandstill, w.still())
	require.Equal(t, before, must[migration.Standstill](w, w.activities.AwaitStandstill, w.still()))
	removeBlock(w, onSource, "movies")
	require.NoError(t, w.from.Index("movies", "alien"))
	must[any](w, w.activities.BlockWrites, w.request())
	after := must[migration.Standstill](w, w.activities.AwaitStandstill, w.still())
	require.Equal(t, before.Docs, after.Docs)
	require.NotEqual(t, before.Marks["movies"], after.Marks["movies"])
	require.Equal(t, before.Marks["catalog"], after.Marks["catalog"])
}

func TestASequenceNumberIsTheMarkWhereThereIsOne(t *testing.T) {
	at := func(node string, operations, sequence int64) elastic.ShardCounters {
		return elastic.ShardCounters{Node: node, IndexTotal: operations, SeqNo: &elastic.SeqNo{Max: sequence}}
	}
	require.Equal(t, writeMark(at("a", 5, 9)), writeMark(at("b", 0, 9)), "it moves with the shard")
	require.NotEqual(t, writeMark(at("a", 5, 9)), writeMark(at("a", 5, 10)))
}

// What stands in front of the cluster says 404 when it has lost it for a moment.
func TestA404ThatIsNotElasticsearchsLiftsAndStopsNothing(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	var up atomic.Bool
	lost := func(answer http.ResponseWriter, _ *http.Request) bool {
		if up.Load() {
			return false
		}
		http.Error(answer, "default backend - 404", http.StatusNotFound)
		return true
	}
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	must[any](w, w.activities.BlockWrites, w.request())
	request := migration.LiftRequest{Run: w.run, Found: found}
	w.from.On("PUT /*/_settings", 1000, lost)
	_, err := do[any](w, w.activities.RemoveBlock, request)
	requireRetryable(t, err)
	up.Store(true)
	must[any](w, w.activities.RemoveBlock, request)
	require.NoError(t, w.from.Index("movies", "x"))

	up.Store(false)
	w.from.Looks = 1000
	require.NoError(t, clientOf(w, onSource).CreateSnapshot(t.Context(), w.run.RepositoryName(), "s",
		[]string{"movies"}))
	w.from.On("GET /_snapshot/*/s", 1000, lost)
	_, err = do[any](w, w.activities.AbortSnapshot, w.snapshotRequest("s"))
	requireRetryable(t, err)
}

// Nobody writes at the moment, but somebody could.
func TestBlockThatDoesNotHold(t *testing.T) {
	w := newWorld(t)
	must[any](w, w.activities.BlockWrites, w.request())
	removeBlock(w, onSource, "catalog")
	refused(w, migration.ErrorNoStandstill, w.activities.AwaitStandstill, w.still(), "catalog")
}

func TestLiftLeavesTheBlocksThatWereThere(t *testing.T) {
	w := newWorld(t)
	w.from.Create("archive", 1, map[string]string{"index.blocks.write": "true"})
	w.from.Create("sealed", 1, nil)
	request := migration.IndicesRequest{Run: w.run, Indices: []string{"archive", "catalog", "movies", "sealed"}}
	found := must[migration.Blocks](w, w.activities.ReadBlocks, request)
	require.Equal(t, migration.Blocks{
		"archive": {"index.blocks.write": "true"}, "catalog": {"index.blocks.write": "false"}, "movies": {},
		"sealed": {},
	}, found)
	must[any](w, w.activities.BlockWrites, request)
	must[any](w, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found})
	require.Equal(t, found, must[migration.Blocks](w, w.activities.ReadBlocks, request))
	require.Error(t, w.from.Index("archive", "x"))
	require.NoError(t, w.from.Index("movies", "x"))
}

func TestLiftGoesOnWithoutAnIndexThatVanished(t *testing.T) {
	w := newWorld(t)
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	must[any](w, w.activities.BlockWrites, w.request())
	require.NoError(t, clientOf(w, onSource).DeleteIndices(t.Context(), []string{"catalog"}))
	must[any](w, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found})
	require.NoError(t, w.from.Index("movies", "x"))
}

// One index that can't be made writable keeps no other blocked.
func TestLiftFreesWhatItCan(t *testing.T) {
	w := newWorld(t)
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	must[any](w, w.activities.BlockWrites, w.request())
	require.NoError(t, clientOf(w, onSource).PutIndexSettings(t.Context(), []string{"movies"},
		map[string]any{"index.blocks.read_only": true}))
	found["another"] = map[string]string{}
	w.from.Create("another", 1, map[string]string{"index.blocks.write": "true"})
	refused(w, migration.ErrorRefused, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found},
		"movies", "read-only")
	require.NoError(t, w.from.Index("catalog", "x"))
	require.NoError(t, w.from.Index("another", "x"))
}

func TestLiftSaysThatTheClusterRefusesWrites(t *testing.T) {
	w := newWorld(t)
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	w.from.BlockCluster("cluster low on disk")
	refused(w, migration.ErrorRefused, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found},
		"movies", "a block of the cluster", "low on disk")
}

func TestLiftNeverGivesUpOnWhatItDoesNotUnderstand(t *testing.T) {
	w := newWorld(t)
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	must[any](w, w.activities.BlockWrites, w.request())
	w.from.Refuse("PUT /*/_settings", 1000, http.StatusInternalServerError, "null_pointer_exception", "")
	passes(w, retryStillBlocked, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found})
}

// The index that the first call stumbles over has a block of its own.
func TestLiftGoesOnAfterAnIndexWithABlockOfItsOwn(t *testing.T) {
	w := newWorld(t)
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	require.Equal(t, "false", found["catalog"]["index.blocks.write"])
	must[any](w, w.activities.BlockWrites, w.request())
	require.NoError(t, clientOf(w, onSource).PutIndexSettings(t.Context(), []string{"catalog"},
		map[string]any{"index.blocks.read_only": true}))
	refused(w, migration.ErrorRefused, w.activities.RemoveBlock, migration.LiftRequest{Run: w.run, Found: found},
		"catalog", "read-only")
	require.NoError(t, w.from.Index("movies", "x"))
}

// A cluster that is too busy to be looked at must not stay blocked for that.
func TestLiftLooksOnlyAfterwards(t *testing.T) {
	for _, look := range []string{
		"GET /", "GET /_cluster/state/metadata/*", "GET /*/_stats/*", "GET /*/_settings",
		"GET /*/_mapping",
	} {
		t.Run(look, func(t *testing.T) {
			w := newWorld(t)
			found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
			must[any](w, w.activities.BlockWrites, w.request())
			w.activities.cluster = newClusters(testKeys).get // another worker, which knows nothing yet
			w.from.Refuse(look, 1000, http.StatusTooManyRequests, "es_rejected_execution_exception",
				"rejected execution of management task")
			if _, err := do[any](w, w.activities.RemoveBlock,
				migration.LiftRequest{Run: w.run, Found: found}); err != nil {
				require.False(t, permanent(err))
			}
			require.NoError(t, w.from.Index("movies", "x"))
			require.NoError(t, w.from.Index("catalog", "x"))
		})
	}
}

func TestBlockLeavesOutAnIndexThatVanished(t *testing.T) {
	w := newWorld(t)
	request := w.request()
	request.Indices = []string{"catalog", "gone", "movies"}
	must[any](w, w.activities.BlockWrites, request)
	require.Error(t, w.from.Index("movies", "x"))
	require.Error(t, w.from.Index("catalog", "x"))
	request.Indices = []string{"gone"}
	must[any](w, w.activities.BlockWrites, request)
}
