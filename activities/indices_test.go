package activities

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestAnAbsentIndexCostsNoRequestForEachOther(t *testing.T) {
	w := newWorld(t)
	names := []string{"zz-absent", "zz-alias", "logs-alias"}
	w.to.Create("other", 1, nil)
	w.to.AddAlias("other", "zz-alias")
	for i := range 200 {
		name := fmt.Sprintf("logs-%03d", i)
		w.to.Create(name, 1, nil)
		names = append(names, name)
	}
	w.to.AddAlias("logs-000", "logs-alias")
	w.to.SetOpen("logs-001", false)
	found, aliases, err := existing(t.Context(), clientOf(w, onTarget), names)
	require.NoError(t, err)
	require.Len(t, found, 200)
	require.ElementsMatch(t, []string{"zz-alias", "logs-alias"}, aliases)
	require.True(t, found["logs-000"].Open)
	require.False(t, found["logs-001"].Open)
	requests := len(w.to.Requests("GET /*/*")) + len(w.to.Requests("GET /*/*/*/*")) + len(w.to.Requests("GET /*/*/*"))
	require.LessOrEqual(t, requests, 3)
	require.Empty(t, w.to.Requests("GET /*/_stats*"))
}

func (w *world) resolve() migration.IndexList {
	w.t.Helper()
	return must[migration.IndexList](w, w.activities.ResolveIndices, w.resolveRequest())
}

func (w *world) resolveRequest() migration.ResolveRequest {
	return migration.ResolveRequest{Run: w.run, LeaveOut: true}
}

// A pattern brings in what it matches by name: hidden indices too, and never one that only its alias
// matches.
func TestAPatternMatchesNames(t *testing.T) {
	w := newWorld(t)
	w.from.Version, w.to.Version = "7.10.2", "7.10.2"
	for _, name := range []string{"logs-1", "logs-2", "logs-debug-1", "logs-debug-2", "app-users", ".logs-3"} {
		w.from.Create(name, 1, map[string]string{"index.version.created": "7100299"})
	}
	w.from.SetSetting("logs-2", "index.hidden", "true")
	w.from.SetSetting(".logs-3", "index.hidden", "true")
	w.from.AddAlias("app-users", "logs-users")
	w.run.Plan.Indices = []string{"logs-*", "*-2", "-logs-debug-*", ".logs-3"}
	require.Equal(t, []string{".logs-3", "logs-1", "logs-2"}, w.resolve().Names())
	w.run.Plan.Indices = []string{"*", "-logs-debug-*", "-m*", "-cat*"}
	require.Equal(t, []string{"app-users", "logs-1", "logs-2"}, w.resolve().Names())
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Len(t, found.Warnings, 1)
	require.Contains(t, found.Warnings[0], "these hidden indices stay behind: .logs-3.")

	w.run.Plan.Indices = []string{"logs-users*"}
	refused(w, migration.ErrorMissing, w.activities.ResolveIndices, w.resolveRequest(), "no index matches logs-users*")
	w.run.Plan.Indices = []string{"logs-*", "-*"}
	refused(w, migration.ErrorMissing, w.activities.ResolveIndices, w.resolveRequest(), "excludes every index")
}

func TestAClosedIndexDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t)
	w.from.Create("catalog-old", 1, nil)
	w.from.SetOpen("catalog-old", false)
	list := w.resolve()
	require.Equal(t, both2, list.Names())
	require.Equal(t, []string{
		"the source has closed indices, which are left out as long as they are closed: catalog-old",
	}, list.Warnings)
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Equal(t, list.Warnings, found.Warnings)
	refused(w, migration.ErrorMissing, w.activities.ResolveIndices, w.run, "catalog-old") // of an older worker

	w.from.SetOpen("catalog-old", true)
	require.Equal(t, []string{"catalog", "catalog-old", "movies"}, w.resolve().Names())

	w.run.Plan.Indices = append(w.run.Plan.Indices, "catalog-old")
	w.from.SetOpen("catalog-old", false)
	refused(w, migration.ErrorMissing, w.activities.ResolveIndices, w.resolveRequest(),
		"index catalog-old is closed: open it, or leave it out")
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "index catalog-old is closed")
}

// 2.x had names that no request can hold.
func TestANameThatNoRequestCanHoldIsOneProblem(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"-dash", "+plus", "app:events"} {
		w.from.Create(name, 1, map[string]string{"index.version.created": "2040699"})
	}
	w.run.Plan.Indices = []string{"*"}
	failure := refusal(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "+plus, -dash", "begins with - or +",
		"reindex it under another name", `"-+plus"`)
	require.Equal(t, 1, strings.Count(failure.Message(), "\n- "), failure.Message())
	w.run.Plan.Indices = []string{"app:events", "*", "-+plus", "--dash"}
	require.Equal(t, []string{"app:events", "catalog", "movies"}, w.resolve().Names())
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
}

// Elasticsearch 5.5.2 refuses the complete request and doesn't say for which index.
func TestAnIndexWhoseMetadataIsBlockedIsNamed(t *testing.T) {
	w := newWorld(t)
	names := manyIndices(w, 40)
	w.from.SetSetting(names[17], "index.blocks.metadata", "true")
	w.run.Plan.Indices = []string{"*"}
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "index "+names[17]+" has index.blocks.metadata",
		"PUT /"+names[17]+"/_settings")
	w.run.Plan.Indices = []string{"*", "-" + names[17]}
	require.Len(t, w.resolve().Names(), 41)
	w.from.Refuse("GET /_cluster/state/metadata/*", 1, http.StatusTooManyRequests, "es_rejected_execution_exception",
		"")
	passes(w, retryUnavailable, w.activities.ResolveIndices, w.resolveRequest())
}

// Requests don't grow with the number of names in the plan.
func TestManyNamesTakeFewRequests(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = nil
	for i := range 600 {
		name := fmt.Sprintf("tenant-%03d", i)
		w.from.Create(name, 1, nil)
		w.from.AddAlias("movies", "alias-of-"+name)
		w.run.Plan.Indices = append(w.run.Plan.Indices, name)
	}
	before := requests(w)
	require.Equal(t, 600, w.resolve().Len())
	require.Less(t, requests(w)-before, 20)
	w.run.Plan.Indices = []string{"*"}
	before = requests(w)
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Less(t, requests(w)-before, 60)
}

func requests(w *world) (all int) {
	for depth := range 6 {
		pattern := "*" + strings.Repeat("/*", depth)
		all += len(w.from.Requests(pattern)) + len(w.to.Requests(pattern))
	}
	return all
}
