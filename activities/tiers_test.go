package activities

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// newAmazon is a world whose source is a domain of 7.10 with six indices, of which one is in UltraWarm
// storage and one in cold storage.
func newAmazon(t *testing.T) *world {
	w := newWorld(t)
	w.from.Version, w.to.Version = "7.10.2", "7.10.2"
	w.from.Delete(both2...)
	for _, name := range []string{"logs-1", "logs-2", "logs-3", "logs-4", "shop", "users"} {
		w.from.Create(name, 1, map[string]string{"index.version.created": "7100299"})
		require.NoError(t, w.from.Index(name, "a", "b"))
	}
	w.from.ToWarm("logs-2")
	w.from.ToCold("logs-1")
	w.run.Plan.Indices = []string{"logs-*", "shop"}
	w.run.Plan.Source.Warm = migration.WarmRefused
	return w
}

func (w *world) frozenRequest() migration.ResolveRequest {
	request := w.resolveRequest()
	request.Frozen = true
	return request
}

const (
	makeWarmHot = "POST /_ultrawarm/migration/logs-2/_hot"
	makeColdHot = `POST /_cold/migration/_warm {"indices": "logs-1"}) and from there to hot storage ` +
		"(POST /_ultrawarm/migration/logs-1/_hot)"
)

func TestPreflightRefusesIndicesThatAreNotHot(t *testing.T) {
	w := newAmazon(t)
	before := w.text()
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"index logs-2 is in UltraWarm storage (index.routing.allocation.require.box_type: warm), and a snapshot takes "+
			"no warm index together with another one: move it to hot storage ("+makeWarmHot+"), leave it out of the "+
			`plan (indices: "-logs-2"), or set source.warm: leaveOut`,
		"index logs-1 is in cold storage", makeColdHot, `(indices: "-logs-1")`)
	require.Equal(t, before, w.text())

	w.run.Plan.Source.Warm = "" // of a plan that was resolved before there was the field
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, makeWarmHot, makeColdHot)

	w.run.Plan.Indices = []string{"logs-*", "-logs-1", "-logs-2", "shop"}
	require.Nil(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Indices.NotHot)
	w.run.Plan.Indices = []string{"logs-1", "shop"} // without the storage: there is no index logs-1
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, makeColdHot)
	w.run.Plan.Indices = []string{"logs-1*"}
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, makeColdHot)
}

func TestAPlanMayLeaveOutIndicesThatAreNotHot(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Source.Warm = migration.WarmLeftOut
	want := &migration.NotHot{Warm: []string{"logs-2"}, Cold: []string{"logs-1"}, LeftOut: true}
	for _, indices := range [][]string{{"logs-*", "shop"}, {"logs-1", "logs-2", "logs-3", "logs-4", "shop"}} {
		w.run.Plan.Indices = indices
		found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
		require.Equal(t, []string{"logs-3", "logs-4", "shop"}, found.Indices.Names())
		require.Equal(t, want, found.Indices.NotHot)
		require.Empty(t, found.Warnings)
		for _, request := range []migration.ResolveRequest{w.resolveRequest(), w.frozenRequest()} {
			list := must[migration.IndexList](w, w.activities.ResolveIndices, request)
			require.Equal(t, []string{"logs-3", "logs-4", "shop"}, list.Names())
			require.Equal(t, want, list.NotHot)
		}
		must[any](w, w.activities.CheckDependencies, w.run)
	}
	w.prepared()
	must[migration.Snapshot](w, w.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: w.run, Snapshot: "s", Indices: w.resolve().Names()})

	w.run.Plan.Indices = []string{"logs-1*", "logs-2"}
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"every index that the plan stands for is in UltraWarm or cold storage, and source.warm leaves these out: "+
			"logs-2, logs-1")
	refused(w, migration.ErrorNotHot, w.activities.ResolveIndices, w.resolveRequest(), makeWarmHot, makeColdHot)
}

// A policy moves an index between two rounds: the others go on, and the freeze is refused as long as it
// is not hot.
func TestAnIndexThatIsMovedBetweenRoundsIsLeftOutOfThem(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Indices = []string{"logs-3", "log*-4", "shop"}
	require.Nil(t, w.resolve().NotHot)
	w.from.ToWarm("logs-3")
	w.from.ToCold("logs-4")
	list := w.resolve()
	require.Equal(t, []string{"shop"}, list.Names())
	require.Equal(t, &migration.NotHot{Warm: []string{"logs-3"}, Cold: []string{"logs-4"}}, list.NotHot)
	says := []string{
		"index logs-3 is in UltraWarm storage", "POST /_ultrawarm/migration/logs-3/_hot",
		"index logs-4 is in cold storage",
	}
	refused(w, migration.ErrorNotHot, w.activities.ResolveIndices, w.frozenRequest(), says...)
	refused(w, migration.ErrorNotHot, w.activities.CheckDependencies, w.run, says...)
	refused(w, migration.ErrorNotHot, w.activities.ResolveIndices, w.run, says...) // of an older worker

	w.from.ToHot("logs-3")
	w.run.Plan.Indices = []string{"logs-3", "shop"}
	for _, request := range []migration.ResolveRequest{w.resolveRequest(), w.frozenRequest()} {
		list = must[migration.IndexList](w, w.activities.ResolveIndices, request)
		require.Equal(t, []string{"logs-3", "shop"}, list.Names())
		require.Nil(t, list.NotHot)
	}
	must[any](w, w.activities.CheckDependencies, w.run)
}

// The setting that marks a warm index of Amazon's means a kind of node elsewhere, and nothing before 6.8.
func TestASourceThatIsNotAmazonsHasNoTiers(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Indices = []string{"logs-*", "-logs-1"}
	w.run.Plan.Source.Warm = migration.WarmIncluded
	require.Equal(t, []string{"logs-2", "logs-3", "logs-4"}, w.resolve().Names())
	require.Equal(t, 3, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Indices.Len())
	must[any](w, w.activities.CheckDependencies, w.run)
	require.Empty(t, w.from.Requests("GET /_cold/*/*"))

	w = newAmazon(t)
	w.from.Version = "6.7.0"
	w.run.Plan.Indices = []string{"logs-*"}
	require.Equal(t, []string{"logs-2", "logs-3", "logs-4"}, w.resolve().Names())
	require.Empty(t, w.from.Requests("GET /_cold/*/*"))
}

// Cold storage is rare, so that it can't be listed stops nothing.
func TestColdStorageThatCannotBeListedIsAWarning(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Indices = []string{"shop"}
	w.from.Refuse("GET /_cold/indices/_search", 3, http.StatusForbidden, "security_exception", "no permissions")
	const says = "the source's cold storage can't be listed, so make sure that no index of the plan is in it"
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Len(t, found.Warnings, 1)
	require.Contains(t, found.Warnings[0], says)
	list := w.resolve()
	require.Equal(t, found.Warnings, list.Warnings)
	must[any](w, w.activities.CheckDependencies, w.run)
	w.from.Refuse("GET /_cold/indices/_search", 1, http.StatusServiceUnavailable, "", "")
	passes(w, retryUnavailable, w.activities.ResolveIndices, w.resolveRequest())
}

// Cold storage takes an index from the cluster, which is not to be taken for a deletion.
func TestAnIndexInColdStorageWasNotDeleted(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Indices = []string{"logs-3", "logs-4*", "shop"}
	w.run.Plan.Restore.DeletedIndices = migration.DeletedRemoved
	w.from.AddAlias("logs-3", "logs")
	w.prepared()
	counters := w.roundOfAll("movies-r0000-a1")
	w.from.ToCold("logs-3", "logs-4")
	before := w.to.World()
	request := migration.ClearRequest{Run: w.run, Indices: w.resolve().Inline, Expected: counters}
	require.Equal(t, migration.ClearResult{Back: 2}, must[migration.ClearResult](w, w.activities.ClearTarget, request))
	require.Equal(t, before, w.to.World())

	w.from.Refuse("GET /_cold/indices/_search", 1, http.StatusServiceUnavailable, "", "")
	passes(w, retryUnavailable, w.activities.ClearTarget, request)
	require.Equal(t, before, w.to.World())
}

// After the cutover the guard looks for indices that take writes. A warm one takes none, although no
// setting says so.
func TestAWarmIndexIsNotLate(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Indices = []string{"logs-2", "shop"}
	w.from.SetSetting("logs-2", "index.blocks.read_only_allow_delete", "")
	late := must[[]migration.LateIndex](w, w.activities.LookAgain, migration.LookAgainRequest{Run: w.run})
	require.Len(t, late, 1)
	require.Equal(t, "shop", late[0].Name)
}

// The target is not asked to try what stays behind.
func TestDefinitionsOfWarmIndicesAreNotTried(t *testing.T) {
	w := newAmazon(t)
	w.run.Plan.Source.Warm = migration.WarmLeftOut
	w.run.Plan.Indices = []string{"logs-2", "shop"}
	w.from.Define("logs-2", `{"store":{"type":"smb_mmap_fs"}}`, "")
	w.to.Unknown = []string{"smb_mmap_fs"}
	require.Equal(t, 1, must[migration.TryResult](w, w.activities.TryDefinitions, w.run).Tried)
}

// A domain may keep thousands of old indices.
func TestVeryManyIndicesThatAreNotHotFitIntoResults(t *testing.T) {
	w := newAmazon(t)
	for i := range 2000 {
		name := fmt.Sprintf("old-%04d", i)
		w.from.Create(name, 1, nil)
		w.from.ToWarm(name)
	}
	w.run.Plan.Indices = []string{"old-*", "shop"}
	failure := refusal(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"the same holds for 1995 more indices: old-0005, ")
	require.Less(t, len(failure.Message()), 8<<10)
	list := w.resolve() // the test's converter refuses what is too large
	require.Equal(t, []string{"shop"}, list.Names())
	require.Equal(t, 2000, len(list.NotHot.Warm)+list.NotHot.MoreWarm)
	require.True(t, slices.IsSorted(list.NotHot.Warm))
}
