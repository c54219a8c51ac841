package activities

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// leaving is a world after its first round, in which the plan's patterns take in what comes.
func leaving(t *testing.T) (*world, migration.WriteCounters) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	w.prepared()
	return w, w.roundOfAll("movies-r0000-a1")
}

// roundOfAll takes a snapshot of all that the plan means and restores it, as a round does.
func (w *world) roundOfAll(name string) migration.WriteCounters {
	w.t.Helper()
	indices := w.indices()
	names := migration.IndexNames(indices)
	taken := must[migration.Snapshot](w, w.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: name, Indices: names})
	w.s3.Copy(w.oss)
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: taken, Indices: indices})
	return must[migration.OpenResult](w, w.activities.OpenTarget,
		migration.IndicesRequest{Run: w.run, Indices: names}).Counters
}

// clearing asks for the target to be cleared before the next round's restore.
func (w *world) clearing(expected migration.WriteCounters) migration.ClearRequest {
	w.t.Helper()
	return migration.ClearRequest{Run: w.run, Indices: w.indices(), Expected: expected}
}

func (w *world) clear(expected migration.WriteCounters) migration.ClearResult {
	w.t.Helper()
	return must[migration.ClearResult](w, w.activities.ClearTarget, w.clearing(expected))
}

// Blue/green: the alias moves to the new index, and the old one is deleted.
func TestWhatLeftTheSourceLosesItsAliases(t *testing.T) {
	w, counters := leaving(t)
	w.from.Create("movies-2", 1, nil)
	w.from.AddAlias("movies-2", "films")
	w.from.Delete("movies")
	w.to.SetOpen("movies", false) // an interrupted restore may leave it closed
	cleared := w.clear(counters)
	require.Equal(t, migration.ClearResult{Warnings: []string{
		"these aliases were removed on the target, since their indices are no longer on the source: films of movies",
	}}, cleared)
	require.Empty(t, w.to.Aliases("movies"))
	require.True(t, w.to.Has("movies"))
	require.Empty(t, w.clear(counters), "a second attempt has nothing to do")
}

// Rollover, and then retention deletes the old write index between two rounds.
func TestAWriteIndexThatLeftTheSourceDoesNotHoldTheRestoreUp(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	w.from.DefineAlias("movies", "logs", map[string]any{"is_write_index": true})
	w.prepared()
	counters := w.roundOfAll("movies-r0000-a1")
	w.from.Create("movies-2", 1, nil)
	w.from.DefineAlias("movies-2", "logs", map[string]any{"is_write_index": true})
	w.from.Delete("movies")
	w.clear(counters)
	must[any](w, w.activities.CloseTarget,
		migration.CloseRequest{Run: w.run, Indices: []string{"catalog", "movies-2"}, Expected: counters})
	w.roundOfAll("movies-r0001-a1")
	require.Equal(t, []string{"logs"}, w.to.Aliases("movies-2"))
	require.Empty(t, w.to.Aliases("movies"))
}

func TestTheClearingIsDoneOnlyToWhatIsOurs(t *testing.T) {
	w, counters := leaving(t)
	w.from.Delete("movies", "catalog")
	w.from.Create("catalog", 7, nil)
	for _, name := range []string{"catalog", "movies"} { // somebody else's, of the same names
		w.to.Delete(name)
		w.to.Create(name, 2, map[string]string{"index.blocks.write": "true"})
		w.to.AddAlias(name, "films")
	}
	w.run.Plan.Restore.DeletedIndices = migration.DeletedRemoved
	before := w.text()
	request := w.clearing(counters)
	request.Begun = []string{"movies"} // an older claim: the counters are newer
	cleared := must[migration.ClearResult](w, w.activities.ClearTarget, request)
	require.Equal(t, migration.ClearResult{Deleted: 2}, cleared)
	require.Equal(t, before, w.text())
}

// A restore was begun and not seen to end: the index was absent, and has our block.
func TestWhatARestoreBeganIsOurs(t *testing.T) {
	w, counters := leaving(t)
	w.from.Delete("movies")
	w.to.SetOpen("movies", false)
	delete(counters, "movies")
	request := w.clearing(counters)
	request.Begun = []string{"movies"}
	must[migration.ClearResult](w, w.activities.ClearTarget, request)
	require.Empty(t, w.to.Aliases("movies"))
}

// It is closed there, or no pattern matches it any more.
func TestWhatTheSourceStillHasIsLeftAlone(t *testing.T) {
	w, counters := leaving(t)
	w.from.SetOpen("movies", false)
	w.run.Plan.Indices = []string{"cat*"}
	w.run.Plan.Restore.DeletedIndices = migration.DeletedRemoved
	before := w.text()
	require.Equal(t, migration.ClearResult{Back: 1}, w.clear(counters))
	require.Equal(t, before, w.text())
}

func TestAPlanThatLeavesAliasesBehindTakesNone(t *testing.T) {
	w, counters := leaving(t)
	w.run.Plan.Restore.ExcludeAliases = true
	w.from.Delete("movies")
	w.from.Create("films", 1, nil)
	w.clear(counters)
	require.Equal(t, []string{"films"}, w.to.Aliases("movies"))
}

func TestThePlanMayHaveDeletedIndicesDeleted(t *testing.T) {
	w, counters := leaving(t)
	w.run.Plan.Restore.DeletedIndices = migration.DeletedRemoved
	w.from.Delete("movies")
	request := w.clearing(counters)
	removeBlock(w, onTarget, "movies")
	require.NoError(t, w.to.Index("movies", "alien"))
	refused(w, migration.ErrorTargetWritten, w.activities.ClearTarget, request, "somebody wrote to movies")
	require.True(t, w.to.Has("movies"))

	request.AcceptWrites = true
	cleared := must[migration.ClearResult](w, w.activities.ClearTarget, request)
	require.Equal(t, 1, cleared.Deleted)
	require.Equal(t, migration.WriteCounters{"catalog": counters["catalog"]}, cleared.Counters)
	require.Contains(t, cleared.Warnings[0], "were deleted on the target (restore.deletedIndices: delete): movies")
	require.False(t, w.to.Has("movies"))
	require.True(t, w.to.Has("catalog"))
	again := must[migration.ClearResult](w, w.activities.ClearTarget, request)
	require.Equal(t, cleared.Counters, again.Counters, "a second attempt says the same")
}

// movies is reindexed as movies-2, and becomes an alias: the usual way to change a mapping.
func TestAnIndexThatBecameAnAliasGivesWay(t *testing.T) {
	w, counters := leaving(t)
	w.from.Delete("movies")
	w.from.Create("movies-2", 1, nil)
	w.from.AddAlias("movies-2", "movies")
	cleared := w.clear(counters)
	require.Equal(t, 1, cleared.Deleted)
	require.Contains(t, cleared.Warnings[0], "these names are aliases on the source now, and were indices")
	must[any](w, w.activities.CloseTarget,
		migration.CloseRequest{Run: w.run, Indices: []string{"catalog", "movies-2"}, Expected: counters})
	w.roundOfAll("movies-r0001-a1")
	require.Equal(t, []string{"movies"}, w.to.Aliases("movies-2"))
}

// And the other way round.
func TestAnAliasThatBecameAnIndexGivesWay(t *testing.T) {
	w, counters := leaving(t)
	w.from.RemoveAlias("movies", "films")
	w.from.Create("films", 1, nil)
	w.from.Create("catalog-2", 1, nil)
	w.to.Create("other", 1, nil)
	w.to.AddAlias("other", "catalog-2")
	names := []string{"catalog", "films", "movies"}
	closing := migration.CloseRequest{Run: w.run, Indices: names, Expected: counters}
	refused(w, migration.ErrorRefused, w.activities.CloseTarget, closing, "they are aliases there", "films")

	cleared := w.clear(counters)
	require.Equal(t, []string{"these aliases were removed on the target, since their names are indices on the source " +
		"now: films of movies"}, cleared.Warnings)
	require.Equal(t, []string{"catalog-2"}, w.to.Aliases("other"), "not ours")
	w.from.Delete("catalog-2")
	must[any](w, w.activities.CloseTarget, closing)
	w.roundOfAll("movies-r0001-a1")
	require.True(t, w.to.Has("films"))
}

func TestARemadeIndexReplacesOurCopy(t *testing.T) {
	for name, test := range map[string]struct {
		shards, deleted int
	}{
		"as many shards":    {2, 0},
		"other many shards": {5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, counters := leaving(t)
			w.from.Delete("movies")
			w.from.Create("movies", test.shards, nil)
			require.NoError(t, w.from.Index("movies", "dune"))
			require.Equal(t, test.deleted, w.clear(counters).Deleted)
			must[any](w, w.activities.CloseTarget, migration.CloseRequest{
				Run: w.run, Indices: both2,
				Expected: counters,
			})
			now := w.roundOfAll("movies-r0001-a1")
			require.EqualValues(t, 1, now["movies"].Docs)
			require.Equal(t, test.deleted == 0, now["movies"].UUID == counters["movies"].UUID)
		})
	}
}

// Somebody else removes an alias between the look and the request.
func TestAliasesThatVanishMeanwhile(t *testing.T) {
	w, counters := leaving(t)
	w.to.AddAlias("movies", "A+b%c&d")
	w.from.Delete("movies")
	w.to.During("POST /_aliases", func() { w.to.RemoveAlias("movies", "films") })
	cleared := w.clear(counters)
	require.Len(t, cleared.Warnings, 1)
	require.Contains(t, cleared.Warnings[0], ": A+b%c&d of movies")
	require.Empty(t, w.to.Aliases("movies"))
}

func TestPipelinesThatTheTargetLacks(t *testing.T) {
	w := newWorld(t)
	for name, settings := range map[string]map[string]string{
		"a-1": {"index.default_pipeline": "enrich"}, "a-2": {"index.default_pipeline": "enrich"},
		"b-1": {"index.final_pipeline": "stamp"}, "c-1": {"index.default_pipeline": "_none"},
	} {
		w.from.Create(name, 1, settings)
	}
	w.run.Plan.Indices = []string{"movies", "*"}
	says := []string{
		"ingest pipeline enrich does not exist on 127.0.0.1", "index.default_pipeline of index a-1, a-2 names it",
		"ingest pipeline stamp", "index.final_pipeline of index b-1", "create the pipeline on the target",
	}
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, says...)
	refused(w, migration.ErrorMissing, w.activities.CheckDependencies, w.run, says...)
	w.to.PutPipeline("enrich")
	refused(w, migration.ErrorMissing, w.activities.CheckDependencies, w.run, "ingest pipeline stamp")

	ignoring := w.run
	ignoring.Plan.Restore.IgnoreSettings = []string{"index.final_*"}
	must[any](w, w.activities.CheckDependencies, ignoring)
	w.to.PutPipeline("stamp")
	must[any](w, w.activities.CheckDependencies, w.run)
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
}

// A user that may restore need not be one that may read pipelines.
func TestPipelinesThatNobodyMayRead(t *testing.T) {
	w := newWorld(t)
	w.from.Create("a", 1, map[string]string{"index.default_pipeline": "enrich"})
	w.run.Plan.Indices = []string{"*"}
	w.to.Refuse("GET /_ingest/pipeline", 2, http.StatusForbidden, "security_exception", "no permissions")
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Contains(t, found.Warnings[0], "the ingest pipelines of the target can't be read")
	must[any](w, w.activities.CheckDependencies, w.run)
}

func TestPreflightRefusesAnAliasWithTwoWriteIndices(t *testing.T) {
	w := newWorld(t)
	w.from.DefineAlias("movies", "logs", map[string]any{"is_write_index": true})
	w.to.Create("other", 1, nil)
	w.to.DefineAlias("other", "logs", map[string]any{"is_write_index": true})
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"alias logs has the write index other on the target, and another one on the source")
	w.from.DefineAlias("movies", "logs", map[string]any{"is_write_index": false})
	require.Contains(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings[0],
		"alias logs points to other on the target")
}

func TestVerificationComparesAliasesOverAll(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	w.from.Create("plan-less", 1, nil)
	w.from.AddAlias("plan-less", "films")
	w.to.Create("old", 1, nil)
	w.to.AddAlias("old", "films")
	w.to.SetOpen("old", false)
	must[any](w, w.activities.BlockWrites, w.request())
	frozen := must[migration.Standstill](w, w.activities.AwaitStandstill, w.request())
	verified := must[migration.VerifyResult](w, w.activities.VerifyTarget, migration.VerifyRequest{
		Run: w.run, Indices: w.indices(), Frozen: frozen.Docs, Counters: opened.Counters,
	})
	require.Empty(t, verified.Indices[0].Differences)
	require.Equal(t, []string{
		"alias films also leads to indices on the target to which it does not lead on the source: old",
		"alias films also leads to indices on the source that are not part of the migration: plan-less",
	}, verified.Indices[1].Differences)

	w.from.Refuse("GET /_alias", 1, http.StatusForbidden, "security_exception", "no permissions")
	verified = must[migration.VerifyResult](w, w.activities.VerifyTarget, migration.VerifyRequest{
		Run: w.run, Indices: w.indices(), Frozen: frozen.Docs, Counters: opened.Counters,
	})
	require.Len(t, verified.Indices[1].Differences, 1)
}
