package activities

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// handing is a world between two versions whose source has settings that the target doesn't know.
func handing(t *testing.T, target string, unknown ...string) *world {
	w := newWorld(t)
	w.to.Version = target
	w.to.UnknownSettings = unknown
	if target >= "8" {
		for _, name := range both2 {
			w.from.Change(name, "index.version.created", "7100299")
		}
	}
	for _, setting := range unknown {
		w.from.Change("movies", setting, "x")
	}
	w.prepared()
	return w
}

// listed is what the guard is told of a handover.
func (w *world) listed(opened migration.OpenResult, unknown ...string) preparedHandover {
	w.t.Helper()
	prepared, err := w.activities.prepareHandover(w.t.Context(), migration.GuardRequest{
		Run: w.run, Counters: opened.Counters, UnknownSettings: unknown,
	}, w.indices())
	require.NoError(w.t, err)
	return prepared
}

// toHandOver is what the guard asks for at the handover.
func (w *world) toHandOver(opened migration.OpenResult) migration.HandOverRequest {
	w.t.Helper()
	return migration.HandOverRequest{Run: w.run, Indices: w.listed(opened).indices}
}

func (w *world) handsOver(request migration.HandOverRequest) []migration.Refusal {
	w.t.Helper()
	return must[migration.HandOverResult](w, w.activities.HandOver, request).Refused
}

func (w *world) tryBoth() migration.TryHandoverRequest {
	return migration.TryHandoverRequest{IndicesRequest: w.request()}
}

var targets = []string{"5.5.3", "6.8.23", "7.10.2", "7.17.28", "8.17.2"}

// An index with a setting that the target doesn't know is handed over like any other, with and
// without a trial, and nothing archived is left where Elasticsearch can remove it.
func TestSettingThatTheTargetDoesNotKnow(t *testing.T) {
	for _, version := range targets {
		for _, tried := range []bool{false, true} {
			t.Run(version, func(t *testing.T) {
				w := handing(t, version, "index.ttl.disable_purge")
				opened := w.round("s")
				require.Equal(t, []migration.LeftOut{{
					Setting: "index.ttl.disable_purge", Why: unknownToTarget, Indices: 1, Names: []string{"movies"},
				}}, opened.Archived)
				request := w.toHandOver(opened)
				if tried {
					result := must[migration.TryHandoverResult](w, w.activities.TryHandover, w.tryBoth())
					require.Empty(t, result.Refused)
					require.Equal(t, opened.Archived, result.Archived)
					require.Equal(t, "true", w.to.Setting("movies", writeBlock), "our block stays")
					require.Equal(t, "30s", w.to.Setting("movies", refreshInterval))
					require.Empty(t, w.to.Setting("catalog", refreshInterval))
				}
				require.Empty(t, w.handsOver(request))
				require.Equal(t, version == "5.5.3", w.to.Setting("movies", "archived.index.ttl.disable_purge") != "")
				for index, replicas := range map[string]string{"movies": "1", "catalog": "2"} {
					require.Empty(t, w.to.Setting(index, writeBlock))
					require.Equal(t, replicas, w.to.Setting(index, numberOfReplicas))
					require.NoError(t, w.to.Index(index, "written after the handover"))
				}
			})
		}
	}
}

// What the target has shown not to know is left out of the next restore.
func TestUnknownSettingsAreLeftOutOfTheNextRestore(t *testing.T) {
	w := handing(t, "7.10.2", "index.own")
	opened := w.round("s")
	must[any](w, w.activities.CloseTarget, migration.CloseRequest{
		Run: w.run, Indices: both2, Expected: opened.Counters,
	})
	request := w.restoreRequest(w.snapshot("t"))
	request.IgnoreSettings = []string{opened.Archived[0].Setting}
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	require.Empty(t, must[migration.OpenResult](w, w.activities.OpenTarget, w.request()).Archived)
	prepared := w.listed(opened, request.IgnoreSettings...)
	require.Equal(t, []migration.LeftOut{{
		Setting: "index.own", Why: unknownToTarget, Indices: 1, Names: []string{"movies"},
	}}, prepared.leftOut)
}

// Vendor settings never reach the target.
func TestVendorSettingsAreLeftOut(t *testing.T) {
	const policy = "index.opendistro.index_state_management.policy_id"
	w := handing(t, "7.17.28", policy, "index.knn", "index.plugins.x")
	opened := w.round("s")
	require.Empty(t, opened.Archived)
	prepared := w.listed(opened)
	require.Len(t, prepared.leftOut, 3)
	require.Equal(t, policy, prepared.leftOut[1].Setting)
	require.Contains(t, prepared.leftOut[1].Sentence(), "policy_id is not on the target: it belongs to a plugin of "+
		"Amazon's service (movies)")
	w.to.Version = "5.5.3" // so that both go together
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.fresh())
	require.Contains(t, strings.Join(found.Warnings, "|"), policy)
}

// fresh is the run on an empty target.
func (w *world) fresh() migration.Run {
	require.NoError(w.t, clientOf(w, onTarget).DeleteIndices(w.t.Context(), both2))
	return w.run
}

// 6.0 to 6.7 are untried: one that takes archived.* for a setting is asked without it, and the
// trial names index, setting and what to do.
func TestTargetThatCannotRemoveArchivedSettings(t *testing.T) {
	w := handing(t, "6.2.4", "index.own")
	opened := w.round("s")
	w.to.On("PUT /*/_settings", 100, func(rw http.ResponseWriter, r *http.Request) bool {
		bodies := w.to.Bodies("PUT /*/_settings")
		if !strings.Contains(bodies[len(bodies)-1], `"archived.*"`) {
			return false
		}
		refusal400(rw, "unknown setting [index.archived.*] please check")
		return true
	})
	result := must[migration.TryHandoverResult](w, w.activities.TryHandover, w.tryBoth())
	require.Len(t, result.Refused, 1)
	require.Equal(t, "movies", result.Refused[0].Index)
	require.Equal(t, "index.own", result.Refused[0].Setting)
	require.Contains(t, result.Refused[0].Remedy, `restore.ignoreSettings: ["index.own"]`)

	refused := w.handsOver(w.toHandOver(opened))
	require.Len(t, refused, 1)
	require.Equal(t, "archived.index.own", refused[0].Setting)
	require.NotContains(t, refused[0].Remedy, "bort")
	require.NoError(t, w.to.Index("catalog", "one holds no other"))
	require.Equal(t, "2", w.to.Setting("catalog", numberOfReplicas))
}

func refusal400(rw http.ResponseWriter, reason string) {
	rw.WriteHeader(http.StatusBadRequest)
	_, _ = rw.Write([]byte(`{"error":{"type":"illegal_argument_exception","reason":"` + reason + `"},"status":400}`))
}

// Only 6.0 and later are asked to remove archived settings: 5.x refuses the complete request.
func TestArchivedSettingsAreNeverRemovedOn5(t *testing.T) {
	w := handing(t, "5.5.3", "index.own")
	opened := w.round("s")
	must[migration.TryHandoverResult](w, w.activities.TryHandover, w.tryBoth())
	require.Empty(t, w.handsOver(w.toHandOver(opened)))
	require.NotContains(t, strings.Join(w.to.Bodies("PUT /*"), ""), "archived")
}

// A trial that was interrupted leaves no refresh interval of its own behind.
func TestInterruptedTrial(t *testing.T) {
	w := handing(t, "7.10.2")
	w.round("s")
	for index, interval := range map[string]string{"movies": triedInterval, "catalog": otherInterval} {
		w.to.Change(index, refreshInterval, interval)
	}
	require.Empty(t, must[migration.TryHandoverResult](w, w.activities.TryHandover, w.tryBoth()).Refused)
	require.Equal(t, "30s", w.to.Setting("movies", refreshInterval))
	require.Empty(t, w.to.Setting("catalog", refreshInterval))
}

// The trial validates the complete index: a change of something that already is so would not.
func TestTheTrialReallyChangesSomething(t *testing.T) {
	w := handing(t, "7.10.2")
	w.from.Change("movies", refreshInterval, triedInterval)
	w.round("s")
	must[migration.TryHandoverResult](w, w.activities.TryHandover, w.tryBoth())
	require.Equal(t, triedInterval, w.to.Setting("movies", refreshInterval))
	require.Contains(t, strings.Join(w.to.Bodies("PUT /movies/_settings"), ""), otherInterval)
}

// On a window's doubt only indices with settings that the target doesn't know are tried.
func TestADoubtfulTrialLeavesTheOthersAlone(t *testing.T) {
	w := handing(t, "7.10.2", "index.own")
	w.round("s")
	request := w.tryBoth()
	request.Doubtful = true
	require.Empty(t, must[migration.TryHandoverResult](w, w.activities.TryHandover, request).Refused)
	require.Empty(t, w.to.Setting("movies", "archived.index.own"))
	require.Len(t, w.to.Requests("PUT /movies/_settings"), 2)
	require.Empty(t, w.to.Requests("PUT /*catalog*/_settings"))
}

// The number of replicas is lower until the handover, so what is validated against it comes back
// together with it.
func TestWaitForActiveShardsComesBackWithTheReplicas(t *testing.T) {
	for _, version := range targets {
		w := handing(t, version)
		w.from.Change("movies", waitForActive, "2")
		opened := w.round("s")
		require.Empty(t, w.to.Setting("movies", waitForActive))
		require.Empty(t, w.handsOver(w.toHandOver(opened)))
		require.Equal(t, "2", w.to.Setting("movies", waitForActive))
	}
}

// A lifecycle policy would let the target roll over or delete what is restored, so it comes back at
// the handover, if the target knows it.
func TestLifecyclePolicyIsHeldBack(t *testing.T) {
	for _, known := range []bool{false, true} {
		w := handing(t, "7.17.28")
		w.from.Change("movies", lifecyclePolicy, "hot-warm")
		w.from.Change("movies", "index.lifecycle.rollover_alias", "films")
		if known {
			w.to.Policies = []string{"hot-warm"}
		}
		opened := w.round("s")
		require.Empty(t, w.to.Setting("movies", lifecyclePolicy))
		request := w.toHandOver(opened)
		require.Empty(t, w.handsOver(request))
		if known {
			require.Equal(t, "hot-warm", w.to.Setting("movies", lifecyclePolicy))
			require.Equal(t, "films", w.to.Setting("movies", "index.lifecycle.rollover_alias"))
			continue
		}
		require.Empty(t, w.to.Setting("movies", lifecyclePolicy))
		left := w.listed(opened).leftOut
		require.Len(t, left, 2)
		require.Contains(t, left[0].Why, `no lifecycle policy "hot-warm"`)
	}
}

// The block goes first: replicas that the target has no room for hold nobody's writes.
func TestShardLimitHoldsNoWrites(t *testing.T) {
	w := handing(t, "7.10.2")
	opened := w.round("s")
	w.to.LimitShards(7) // 5 shards, and movies needs 2 more, catalog 6
	request := w.toHandOver(opened)
	refused := w.handsOver(request)
	require.Len(t, refused, 1)
	require.Equal(t, "catalog", refused[0].Index)
	require.Equal(t, numberOfReplicas, refused[0].Setting)
	require.Contains(t, refused[0].Remedy, "The index takes writes")
	require.NoError(t, w.to.Index("catalog", "z"))
	require.Equal(t, "1", w.to.Setting("movies", numberOfReplicas))

	w.to.LimitShards(13)
	require.Empty(t, w.handsOver(request))
	require.Equal(t, "2", w.to.Setting("catalog", numberOfReplicas))
}

func TestCheckShardLimit(t *testing.T) {
	for _, version := range targets {
		w := handing(t, version)
		w.round("s")
		w.to.LimitShards(7)
		request := migration.ShardLimitRequest{Run: w.run, Adds: 8}
		if version < "7" {
			must[any](w, w.activities.CheckShardLimit, request)
			continue
		}
		refused(w, migration.ErrorShardLimit, w.activities.CheckShardLimit, request, "adds 8 replicas",
			"has 5 shards of the 7", "cluster.max_shards_per_node to at least 13")
		request.Adds = 2
		must[any](w, w.activities.CheckShardLimit, request)
	}
}

// Preflight says which number to set, for the primaries and for the replicas after the cutover.
func TestPreflightChecksTheShardLimit(t *testing.T) {
	for version, limits := range map[string]map[int]string{
		"6.8.23": {4: "", 12: "", 13: ""},
		"7.10.2": {4: "to at least 13", 12: "to at least 13", 13: ""},
	} {
		for limit, says := range limits {
			w := newWorld(t)
			w.from.Version, w.to.Version = version, version
			for _, index := range both2 {
				w.from.Change(index, "index.version.created", "6082399")
			}
			w.to.LimitShards(limit)
			before := w.text()
			if says == "" {
				found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
				warned := strings.Contains(strings.Join(found.Warnings, "|"), "to at least 13")
				require.Equal(t, limit < 13, warned, "%s %d", version, limit)
			} else {
				refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, says, "13")
			}
			require.Equal(t, before, w.text(), "nothing was changed")
		}
	}
}

func TestPreflightNamesAStoreThatTheTargetLacks(t *testing.T) {
	w := newWorld(t)
	w.from.Change("movies", storeType, "default")
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	w.to.Version = "6.8.23"
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "movies", storeType, `"default"`,
		"restore.ignoreSettings")
	w.run.Plan.Restore.IgnoreSettings = []string{storeType}
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
}

// One index that is refused holds neither the others nor its own writes.
func TestARefusedIndexIsFoundAmongMany(t *testing.T) {
	w := newWorld(t)
	var request migration.HandOverRequest
	request.Run = w.run
	for i := range 33 {
		name := "logs-" + strings.Repeat("x", 100) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		w.to.Create(name, 1, map[string]string{writeBlock: "true"})
		request.Indices = append(request.Indices, migration.HandoverIndex{Name: name})
	}
	guilty := request.Indices[20].Name
	w.to.On("PUT /*"+guilty+"*/_settings", 1000, func(rw http.ResponseWriter, _ *http.Request) bool {
		refusal400(rw, "this index has a curse on index.own")
		return true
	})
	refused := w.handsOver(request)
	require.Len(t, refused, 1)
	require.Equal(t, guilty, refused[0].Index)
	require.Equal(t, "index.own", refused[0].Setting)
	for _, index := range request.Indices {
		require.Equal(t, index.Name == guilty, w.to.Setting(index.Name, writeBlock) == "true", index.Name)
	}
	require.Less(t, len(w.to.Requests("PUT /*/_settings")), 30)
}

// What has changed since it was verified is nobody's to hand over. All of that is told by index.
func TestIndicesThatCannotBeHandedOver(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*world)
		says   string
		remedy string
	}{
		"gone": {func(w *world) {
			require.NoError(w.t, clientOf(w, onTarget).DeleteIndices(w.t.Context(), []string{"movies"}))
		}, "does not exist", "leave the index out"},
		"another": {func(w *world) { w.replace("movies", false, true) }, "another index", "leave the index out"},
		"closed":  {func(w *world) { w.to.SetOpen("movies", false) }, "closed", "POST /movies/_open"},
		"read_only": {
			func(w *world) { w.to.Change("movies", "index.blocks.read_only", "true") }, "read-only",
			"Remove the block",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := handing(t, "7.10.2")
			request := w.toHandOver(w.round("s"))
			c.spoil(w)
			refused := w.handsOver(request)
			require.Len(t, refused, 1)
			require.Equal(t, "movies", refused[0].Index)
			require.Contains(t, refused[0].Message, c.says)
			require.Contains(t, refused[0].Remedy, c.remedy)
			require.NotContains(t, refused[0].Remedy, "bort")
			require.NoError(t, w.to.Index("catalog", "z"))
		})
	}
}

// A handover runs twice, and late, without harm: it asks nobody whether there were writes.
func TestAHandoverTwice(t *testing.T) {
	w := handing(t, "7.10.2")
	request := w.toHandOver(w.round("s"))
	require.Empty(t, w.handsOver(request))
	require.NoError(t, w.to.Index("movies", "dune"))
	before, changes := w.to.World(), len(w.to.Requests("PUT /*"))
	require.Empty(t, w.handsOver(request))
	require.Equal(t, before, w.to.World())
	require.Len(t, w.to.Requests("PUT /*"), changes)
}

// The last check asks for our block, too: without it, somebody may write between check and
// handover.
func TestCheckHandover(t *testing.T) {
	for name, spoil := range map[string]func(*world){
		"lacks the write block": func(w *world) { removeBlock(w, onTarget, "movies") },
		"documents instead of": func(w *world) {
			removeBlock(w, onTarget, "movies")
			require.NoError(w.t, w.to.Index("movies", "dune"))
			require.NoError(w.t, clientOf(w, onTarget).BlockWrites(w.t.Context(), []string{"movies"}))
		},
		"another index": func(w *world) { w.replace("movies", true, true) },
		"is closed":     func(w *world) { w.to.SetOpen("movies", false) },
	} {
		w := handing(t, "5.5.3")
		// A setting of the source must not make it look handed over.
		w.from.Change("movies", autoExpand, "false")
		opened := w.round("s")
		request := migration.CheckHandoverRequest{Run: w.run, Indices: both2, Counters: opened.Counters}
		must[any](w, w.activities.CheckHandover, request)
		spoil(w)
		refused(w, migration.ErrorTargetWritten, w.activities.CheckHandover, request, "movies", name)
		request.Counters = nil // a person accepts what was written, behind our block
		if name == "documents instead of" || name == "another index" {
			must[any](w, w.activities.CheckHandover, request)
			continue
		}
		refused(w, migration.ErrorTargetWritten, w.activities.CheckHandover, request, "movies")
	}
}

// A migration that began before there was a last check doesn't infer a handover from a setting of
// the source.
func TestAutoExpandOfTheSourceIsNoHandover(t *testing.T) {
	w := newWorld(t)
	w.from.Change("movies", autoExpand, "false")
	w.prepared()
	opened := w.round("s")
	removeBlock(w, onTarget, "movies")
	require.NoError(t, w.to.Index("movies", "dune"))
	request := migration.HandoverRequest{Run: w.run, Indices: w.indices(), Counters: opened.Counters}
	refused(w, migration.ErrorTargetWritten, w.activities.OpenTargetForWrites, request, "movies")
}

// A late attempt of an activity that nobody waits for any more neither closes nor deletes nor
// blocks what is handed over.
func TestLateAttemptsAfterTheHandover(t *testing.T) {
	for name, request := range map[string]func(*migration.CloseRequest){
		"as it was":            func(*migration.CloseRequest) {},
		"with writes accepted": func(in *migration.CloseRequest) { in.AcceptWrites = true },
		"of an unseen restore": func(in *migration.CloseRequest) { in.InDoubt, in.Expected = true, nil },
		"of the first restore": func(in *migration.CloseRequest) { in.Expected, in.Begun = nil, both2 },
		"begun, in doubt, both": func(in *migration.CloseRequest) {
			in.Begun, in.InDoubt, in.AcceptWrites = both2, true,
				true
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := handing(t, "5.5.3")
			w.from.Change("movies", autoExpand, "false")
			opened := w.round("s")
			require.Empty(t, w.handsOver(w.toHandOver(opened)))
			in := migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters}
			request(&in)
			before := w.to.World()
			refused(w, migration.ErrorTargetOpened, w.activities.CloseTarget, in, "handed over")
			refused(w, migration.ErrorTargetOpened, w.activities.OpenTarget, w.request(), "movies")
			require.Equal(t, before, w.to.World())
		})
	}
}

// The first restore of an index failed, and somebody else made one of its name since.
func TestAnIndexThatWasOnlyBegunMayBeSomebodyElses(t *testing.T) {
	for _, open := range []bool{true, false} {
		w := newWorld(t)
		w.prepared()
		w.to.Create("movies", 1, nil)
		require.NoError(t, w.to.Index("movies", "precious"))
		w.to.SetOpen("movies", open)
		refused(w, migration.ErrorRefused, w.activities.CloseTarget, migration.CloseRequest{
			Run: w.run, Indices: both2, Begun: both2, InDoubt: true, AcceptWrites: true,
		}, "movies", "did not restore it")
	}
}
