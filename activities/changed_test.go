package activities

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/migration"
)

// changedWorld is a world after its baseline.
type changedWorld struct {
	*world
	request migration.ChangedRequest
}

func newChangedWorld(t *testing.T) *changedWorld {
	w := &changedWorld{world: newWorld(t)}
	w.run.Plan.Indices = []string{"*"}
	w.prepared()
	first := w.find(migration.ChangedRequest{All: true})
	require.Equal(t, []migration.TakenBecause{{
		Reason: migration.ReasonFull, Indices: 2, First: []string{"catalog", "movies"},
	}}, first.Because)
	w.request = migration.ChangedRequest{
		Restored: first.Marks, Expected: w.roundOfAll("movies-r0000-a1"),
	}
	require.Empty(t, w.find(w.request).Taking.Len(), "nothing has changed")
	return w
}

// find asks with the plan's indices as they are now.
func (w *changedWorld) find(request migration.ChangedRequest) migration.Changed {
	w.t.Helper()
	request.Run, request.Indices = w.run, w.indices()
	return must[migration.Changed](w.world, w.activities.FindChanged, request)
}

// Each index that changed takes part, and says why; the other doesn't.
func TestWhatChangedTakesPart(t *testing.T) {
	for what, test := range map[string]struct {
		reason migration.Reason
		change func(*changedWorld)
	}{
		"a write": {migration.ReasonWritten, func(w *changedWorld) { _ = w.from.Index("movies", "alien") }},
		"operations that are not committed": {
			migration.ReasonWritten, func(w *changedWorld) { w.from.Uncommitted("movies", true) },
		},
		"a mapping": {migration.ReasonDefinition, func(w *changedWorld) { w.from.SetMapping("movies", `{"a":{}}`) }},
		"an alias":  {migration.ReasonDefinition, func(w *changedWorld) { w.from.AddAlias("movies", "pictures") }},
		"an alias that went": {
			migration.ReasonDefinition, func(w *changedWorld) { w.from.RemoveAlias("movies", "films") },
		},
		"a setting": {
			migration.ReasonDefinition, func(w *changedWorld) { w.setting(w.from, "index.refresh_interval", "1m") },
		},
		"created again": {migration.ReasonCreatedAgain, func(w *changedWorld) {
			w.from.Delete("movies")
			w.from.Create("movies", 2, nil)
		}},
		"deleted on the target": {migration.ReasonTarget, func(w *changedWorld) { w.to.Delete("movies") }},
		"closed on the target": {
			migration.ReasonTarget, func(w *changedWorld) { w.to.SetOpen("movies", false) },
		},
		"writable on the target": {
			migration.ReasonTarget, func(w *changedWorld) { removeBlock(w.world, onTarget, "movies") },
		},
		"written on the target": {migration.ReasonTarget, func(w *changedWorld) {
			removeBlock(w.world, onTarget, "movies")
			require.NoError(t, w.to.Index("movies", "theirs"))
			w.setting(w.to, writeBlock, true)
		}},
		"a mapping of the target": {
			migration.ReasonTarget, func(w *changedWorld) { w.to.SetMapping("movies", `{"a":{}}`) },
		},
		"an alias on the target": {
			migration.ReasonTarget, func(w *changedWorld) { w.to.AddAlias("movies", "pictures") },
		},
		"an alias that went on the target": {
			migration.ReasonTarget, func(w *changedWorld) { w.to.RemoveAlias("movies", "films") },
		},
		"a setting of the target": {
			migration.ReasonTarget, func(w *changedWorld) { w.setting(w.to, "index.refresh_interval", "1m") },
		},
		"another one on the target": {migration.ReasonTarget, func(w *changedWorld) {
			w.to.Delete("movies")
			w.to.Create("movies", 2, map[string]string{writeBlock: "true"})
		}},
		"a restore without an end": {
			migration.ReasonUnknown, func(w *changedWorld) { w.request.Doubted = []string{"movies"} },
		},
		"no marks of it": {
			migration.ReasonUnknown, func(w *changedWorld) { delete(w.request.Restored, "movies") },
		},
		"a mark that was not known": {migration.ReasonUnknown, func(w *changedWorld) {
			mark := w.request.Restored["movies"]
			mark.Shards = []string{mark.Shards[0], ""}
			w.request.Restored["movies"] = mark
		}},
		"no definition of it": {migration.ReasonUnknown, func(w *changedWorld) {
			mark := w.request.Restored["movies"]
			mark.Definition = ""
			w.request.Restored["movies"] = mark
		}},
		"no counters of it": {migration.ReasonTarget, func(w *changedWorld) { delete(w.request.Expected, "movies") }},
	} {
		t.Run(what, func(t *testing.T) {
			w := newChangedWorld(t)
			test.change(w)
			found := w.find(w.request)
			require.Equal(t, []migration.TakenBecause{{Reason: test.reason, Indices: 1, First: []string{"movies"}}},
				found.Because)
			require.Equal(t, []string{"movies"}, found.Taking.Names())
			require.Equal(t, 1, found.Skipped)
			require.Len(t, found.Marks, 2)
			require.Equal(t, w.request.Restored["catalog"], found.Marks["catalog"])
		})
	}
}

func (w *changedWorld) setting(at *elastictest.Cluster, name string, value any) {
	side := onSource
	if at == w.to {
		side = onTarget
	}
	require.NoError(w.t, clientOf(w.world, side).PutIndexSettings(w.t.Context(), []string{"movies"},
		map[string]any{name: value}))
}

// Counters of an older worker lack the definition: then it isn't compared.
func TestCountersWithoutADefinition(t *testing.T) {
	w := newChangedWorld(t)
	counter := w.request.Expected["movies"]
	require.NotEmpty(t, counter.Definition)
	counter.Definition = ""
	w.request.Expected["movies"] = counter
	w.to.AddAlias("movies", "pictures")
	require.Zero(t, w.find(w.request).Taking.Len())
}

func TestANewIndexTakesPart(t *testing.T) {
	w := newChangedWorld(t)
	w.from.Create("actors", 1, nil)
	found := w.find(w.request)
	require.Equal(t, []migration.TakenBecause{{
		Reason: migration.ReasonNew, Indices: 1, First: []string{"actors"},
	}}, found.Because)
	require.Equal(t, 2, found.Skipped)
}

// What snapferry itself does to the source changes no marks.
func TestOurBlockIsNoChange(t *testing.T) {
	w := newChangedWorld(t)
	w.setting(w.from, writeBlock, true)
	require.Zero(t, w.find(w.request).Taking.Len())
}

// From 6.0 on a shard that was allocated again may have lost operations, although its sequence
// numbers are the same.
func TestAShardThatWasAllocatedAgainTakesPart(t *testing.T) {
	w := &changedWorld{world: newWorld(t)}
	w.from.Version = "6.8.23"
	w.prepared()
	first := w.find(migration.ChangedRequest{All: true})
	w.request = migration.ChangedRequest{Restored: first.Marks, Expected: w.roundOfAll("movies-r0000-a1")}
	require.Zero(t, w.find(w.request).Taking.Len())
	w.from.Reallocate("catalog")
	require.Equal(t, []migration.TakenBecause{{
		Reason: migration.ReasonMoved, Indices: 1, First: []string{"catalog"},
	}}, w.find(w.request).Because)
	require.NoError(t, w.from.Index("movies", "alien"))
	require.Equal(t, migration.ReasonWritten, w.find(w.request).Because[0].Reason)
}

// What the next restore leaves out has to be restored once more, although it hasn't changed.
func TestAnIndexThatKeepsASettingThatIsLeftOutNowTakesPart(t *testing.T) {
	w := newWorld(t)
	w.from.Create("odd", 1, map[string]string{"index.vendor.thing": "1"})
	w.to.UnknownSettings = []string{"index.vendor.*"}
	w.run.Plan.Indices = []string{"*"}
	w.prepared()
	c := &changedWorld{world: w}
	first := c.find(migration.ChangedRequest{All: true})
	c.request = migration.ChangedRequest{Restored: first.Marks, Expected: w.roundOfAll("movies-r0000-a1")}
	require.Zero(t, c.find(c.request).Taking.Len())
	c.request.IgnoreSettings = []string{"index.vendor.thing"}
	require.Equal(t, []migration.TakenBecause{{
		Reason: migration.ReasonTarget, Indices: 1, First: []string{"odd"},
	}}, c.find(c.request).Because)
}

// An index that is deleted between two requests holds nothing up.
func TestAnIndexThatVanishesHasNoMarks(t *testing.T) {
	w := newChangedWorld(t)
	request := w.request
	request.Run, request.Indices = w.run, w.indices()
	w.from.During("GET /*/_stats/translog", func() { w.from.Delete("movies") })
	found := must[migration.Changed](w.world, w.activities.FindChanged, request)
	require.Equal(t, 2, found.Taking.Len(), "no shard of the batch is known")
	found = must[migration.Changed](w.world, w.activities.FindChanged, request)
	require.Equal(t, []string{"movies"}, found.Taking.Names())
	require.Equal(t, migration.ReasonUnknown, found.Because[0].Reason)
}

// A cluster that can't answer is no index that changed.
func TestMarksThatCanNotBeReadAreRetried(t *testing.T) {
	w := newChangedWorld(t)
	request := w.request
	request.Run, request.Indices = w.run, w.indices()
	w.from.Refuse("GET /*/_stats/translog", 1, http.StatusServiceUnavailable, "unavailable", "busy")
	passes(w.world, retryUnavailable, w.activities.FindChanged, request)
	require.Zero(t, w.find(w.request).Taking.Len())
}

// The standstill of the frozen window finds what takes part as well.
func TestTheStandstillFindsWhatChanged(t *testing.T) {
	w := newChangedWorld(t)
	require.NoError(t, w.from.Index("movies", "alien"))
	request := w.request
	request.Run, request.Indices = w.run, w.indices()
	must[any](w.world, w.activities.BlockWrites, w.world.request())
	still := w.still()
	still.Store, still.Find = true, &request
	frozen := must[migration.Standstill](w.world, w.activities.AwaitStandstill, still)
	require.Equal(t, []string{"movies"}, frozen.Found.Taking.Names())
	require.Equal(t, 1, frozen.Found.Skipped)

	still.Find = nil
	require.Nil(t, must[migration.Standstill](w.world, w.activities.AwaitStandstill, still).Found)
}

// A write that was under way when the block was set may land beside the reading of the marks. Those
// that count are read after it.
func TestTheStandstillFindsAWriteThatLandsBesideIt(t *testing.T) {
	for _, beside := range []string{"GET /*/_stats/translog", "POST /_bulk", "POST /*/_refresh"} {
		t.Run(beside, func(t *testing.T) {
			w := newChangedWorld(t)
			request := w.request
			request.Run, request.Indices = w.run, w.indices()
			must[any](w.world, w.activities.BlockWrites, w.world.request())
			still := w.still()
			still.Find = &request
			w.from.After(beside, func() { w.from.Route("movies", 0, "late", "") })
			frozen := must[migration.Standstill](w.world, w.activities.AwaitStandstill, still)
			require.Equal(t, int64(4), frozen.Docs["movies"][0]+frozen.Docs["movies"][1])
			require.Equal(t, []string{"movies"}, frozen.Found.Taking.Names())
			require.Equal(t, w.find(w.request).Marks, frozen.Found.Marks)

			still.Before = &frozen
			after := must[migration.Standstill](w.world, w.activities.AwaitStandstill, still)
			require.Empty(t, after.Changed)
			require.Equal(t, frozen.Marks, after.Marks)
		})
	}
}

// Thousands of indices: lists are stored, and the number of requests doesn't grow with them.
func TestManyIndicesOfWhichFewChanged(t *testing.T) {
	const many = 2000
	w := newWorld(t)
	for i := range many {
		name := fmt.Sprintf("log-%04d-", i)
		w.from.Create(name+strings.Repeat("n", 100-len(name)), 1, nil)
	}
	w.run.Plan.Indices = []string{"log-*"}
	w.prepared()
	c := &changedWorld{world: w}
	list := must[migration.IndexList](w, w.activities.ResolveIndices, migration.ResolveRequest{Run: w.run})
	require.True(t, list.Stored())
	measured := len(w.from.Requests("GET /*/_stats/*"))
	require.Positive(t, measured)
	compared := must[migration.IndexList](w, w.activities.ResolveIndices,
		migration.ResolveRequest{Run: w.run, Unmeasured: true})
	require.True(t, compared.SameIndices(list))
	require.Zero(t, compared.Of(), "nothing is stored")
	require.Len(t, w.from.Requests("GET /*/_stats/*"), measured)
	first := must[migration.Changed](w, w.activities.FindChanged,
		migration.ChangedRequest{Run: w.run, IndicesOf: list.Of(), All: true})
	require.Equal(t, list.Of(), first.Taking.Of(), "the same list is not stored twice")
	require.Equal(t, many, first.MarksOf.Entries)
	require.Nil(t, first.Marks)

	taken := must[migration.Snapshot](w, w.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: "movies-r0000-a1", IndicesOf: list.Of()})
	w.s3.Copy(w.oss)
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: taken, IndicesOf: list.Of()})
	opened := must[migration.OpenResult](w, w.activities.OpenTarget, migration.OpenRequest{
		IndicesRequest: migration.IndicesRequest{Run: w.run, IndicesOf: list.Of()},
	})
	for i := range 20 {
		name := fmt.Sprintf("log-%04d-", 100*i)
		require.NoError(t, w.from.Index(name+strings.Repeat("n", 100-len(name)), "a"))
	}
	c.request = migration.ChangedRequest{
		Run: w.run, IndicesOf: list.Of(), RestoredOf: first.MarksOf, ExpectedOf: opened.CountersOf,
		DoubtedOf: nil,
	}
	before := len(w.from.Requests("GET /*")) + len(w.from.Requests("GET /*/*")) + len(w.from.Requests("GET /*/*/*"))
	found := must[migration.Changed](w, w.activities.FindChanged, c.request)
	require.Equal(t, []string{"log-0000-" + strings.Repeat("n", 91)}, found.Taking.Names()[:1])
	require.Equal(t, 20, found.Taking.Len())
	require.Equal(t, many-20, found.Skipped)
	require.Len(t, found.Because[0].First, migration.NamedReasons)
	after := len(w.from.Requests("GET /*")) + len(w.from.Requests("GET /*/*")) + len(w.from.Requests("GET /*/*/*"))
	require.LessOrEqual(t, after-before, 2*many/20, "requests to the source")
	require.Zero(t, found.OnTargetOf, "it was not asked")
	c.request.OnTarget = true
	looked := must[migration.Changed](w, w.activities.FindChanged, c.request)
	require.Nil(t, looked.OnTarget)
	require.Equal(t, many-20, looked.OnTargetOf.Entries)

	c.request.DoubtedOf = []migration.Stored[[]migration.Index]{list.Of()}
	require.Equal(t, many, must[migration.Changed](w, w.activities.FindChanged, c.request).Taking.Len())
}

// A rehearsal restores under throw-away names.
func TestARehearsalFindsWhatChanged(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices, w.run.Plan.Rehearsal = []string{"*"}, true
	w.prepared()
	c := &changedWorld{world: w}
	first := c.find(migration.ChangedRequest{All: true})
	c.request = migration.ChangedRequest{Restored: first.Marks, Expected: w.roundOfAll("movies-r0000-a1")}
	require.Zero(t, c.find(c.request).Taking.Len())
	w.to.Delete(w.run.TargetIndex("movies"))
	require.Equal(t, []migration.TakenBecause{{
		Reason: migration.ReasonTarget, Indices: 1, First: []string{"movies"},
	}}, c.find(c.request).Because)
}

// Of stored counters the workflow sees sums, of all indices and not only of those that were opened.
func TestSomeOfManyIndicesAreOpened(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	w.prepared()
	known := w.roundOfAll("movies-r0000-a1")
	known["gone"] = migration.Counter{UUID: "u", Docs: 100}
	some := migration.OpenRequest{
		IndicesRequest: migration.IndicesRequest{Run: w.run, Indices: []string{"movies"}},
		Known:          known, All: []string{"catalog", "movies"},
	}
	opened := must[migration.OpenResult](w, w.activities.OpenTarget, some)
	require.Equal(t, int64(8), opened.Opened.Docs)
	require.Len(t, opened.Opened.First, 2)
	require.Equal(t, []string{"gone"}, opened.Opened.Left, "catalog has only taken no part")
	require.Len(t, opened.Counters, 3)
}
