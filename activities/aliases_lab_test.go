//go:build lab

package activities

import (
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// between runs a test on nodes of two versions.
func between(t *testing.T, source, target string) *labRig {
	t.Helper()
	l, err := lab.Start(context.Background(), lab.Options{
		Dir: t.TempDir(), Out: os.Stderr, SourceVersion: source, TargetVersion: target,
		Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return rigOf(t, l)
}

// rigOf runs a plan of all indices on a lab.
func rigOf(t *testing.T, l *lab.Lab) *labRig {
	t.Helper()
	setEnvironment(t, l)
	input, err := migration.NewInput(l.Plan("left", "*"))
	require.NoError(t, err)
	plan, err := input.Plan()
	require.NoError(t, err)
	return &labRig{t: t, lab: l, run: migration.Run{Plan: plan, Token: "t0ken"}, activities: New(secrets.Fence{})}
}

// What real nodes do with aliases of closed indices, with copies, and with definitions.
func TestLabWhatLeftTheSource(t *testing.T) {
	for _, versions := range [][2]string{
		{"2.4.6", "5.5.3"}, {"5.5.2", "6.8.23"}, {"6.8.23", "7.10.2"}, {"7.10.2", "7.17.28"},
	} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			r := between(t, versions[0], versions[1])
			source, target := r.lab.Source.Direct(), r.lab.Target.Direct()
			t.Run("aliases", func(t *testing.T) { clearOnNodes(t, r, source, target) })
			t.Run("definitions", func(t *testing.T) { tryOnNodes(t, r, source, target, versions[0]) })
		})
	}
}

func clearOnNodes(t *testing.T, r *labRig, source, target *cluster.Client) {
	r.ask(source, http.MethodPut, "/catalog", `{"settings":{"number_of_shards":5,"number_of_replicas":0}}`)
	expected := migration.WriteCounters{}
	for name, aliases := range map[string]string{
		"catalog": `"C":{}`,
		"movies":  `"A+b%c&d":{},"films":{"routing":"r"}`,
	} {
		r.ask(target, http.MethodPut, "/"+name, `{"settings":{"number_of_shards":2,"number_of_replicas":0,`+
			`"index.blocks.write":true},"aliases":{`+aliases+`}}`)
		var settings map[string]struct {
			Settings struct{ Index struct{ UUID string } }
		}
		require.NoError(t, target.Do(t.Context(), http.MethodGet, "/"+name+"/_settings", nil, &settings))
		expected[name] = migration.Counter{UUID: settings[name].Settings.Index.UUID}
	}
	require.NotEmpty(t, expected["movies"].UUID)
	r.ask(target, http.MethodPut, "/foreign", `{"settings":{"number_of_replicas":0},"aliases":{"films":{}}}`)
	r.ask(target, http.MethodGet, "/_cluster/health?wait_for_status=green", nil)
	r.ask(target, http.MethodPost, "/movies/_close", nil)
	indices := labMust[migration.IndexList](r, r.activities.ResolveIndices, migration.ResolveRequest{Run: r.run})
	cleared := labMust[migration.ClearResult](r, r.activities.ClearTarget,
		migration.ClearRequest{Run: r.run, Indices: indices.Inline, Expected: expected})
	require.Equal(t, 1, cleared.Deleted)
	require.Len(t, cleared.Warnings, 2, "%v", cleared.Warnings)
	require.Contains(t, cleared.Warnings[1], "A+b%c&d of movies, films of movies")
	require.JSONEq(t, `{"movies":{"aliases":{}},"foreign":{"aliases":{"films":{}}}}`,
		r.ask(target, http.MethodGet, "/_alias?expand_wildcards=all", nil))
	r.ask(source, http.MethodDelete, "/catalog", nil)
}

func tryOnNodes(t *testing.T, r *labRig, source, target *cluster.Client, version string) {
	before := r.ask(target, http.MethodGet, "/_alias?expand_wildcards=all", nil)
	// What the target goes on reading, although it would refuse a new index: it stops nothing.
	const settings = `"settings":{"number_of_replicas":0,
		"analysis":{"analyzer":{"a":{"type":"custom","tokenizer":"standard"}}}}`
	const good = `"aliases":{"good":{"filter":{"term":{"name":"x"}}}}`
	field := `{"properties":{"name":{"type":"text","analyzer":"a"}}}`
	mappings := field
	broken := `{"settings":{"number_of_replicas":0}}`
	says := ""
	switch version {
	case "2.4.6":
		mappings = `{"one":{"_all":{"enabled":true},"properties":{"name":{"type":"string","analyzer":"a"}}},"two":{}}`
		broken = `{"settings":{"number_of_replicas":0},"aliases":{"Old+one":{"filter":{"missing":{"field":"name"}}}}}`
		says = "alias Old+one of index broken has a filter that can't be parsed there"
	case "5.5.2":
		mappings = `{"one":{"_all":{"enabled":true},"properties":{"name":{"type":"text","analyzer":"a"}}},` +
			`"two":` + field + `}`
		broken = `{"settings":{"number_of_replicas":0,"index.store.type":"default"}}`
		says = "setting index.store.type of index broken can't be used there"
	case "6.8.23":
		mappings = `{"doc":` + field + `}`
	}
	fine := `{` + settings + `,"mappings":` + mappings + `,` + good + `}`
	r.ask(source, http.MethodPut, "/fine", fine)
	r.ask(source, http.MethodPut, "/fine-too", fine)
	tried := labMust[migration.TryResult](r, r.activities.TryDefinitions, r.run)
	require.Equal(t, migration.TryResult{Tried: 1}, tried)
	r.ask(source, http.MethodPut, "/broken", broken)
	_, err := labTry[migration.TryResult](r, r.activities.TryDefinitions, r.run)
	if says == "" {
		require.NoError(t, err)
	} else {
		require.ErrorContains(t, err, says)
	}
	require.JSONEq(t, before, r.ask(target, http.MethodGet, "/_alias?expand_wildcards=all", nil))

	if version >= "6.8" {
		r.ask(source, http.MethodPut, "/broken/_settings", `{"index.default_pipeline":"enrich me"}`)
		_, err := labTry[any](r, r.activities.CheckDependencies, r.run)
		require.ErrorContains(t, err, "ingest pipeline enrich me does not exist")
		r.ask(target, http.MethodPut, "/_ingest/pipeline/enrich%20me", `{"processors":[]}`)
		labMust[any](r, r.activities.CheckDependencies, r.run)
	}
}
