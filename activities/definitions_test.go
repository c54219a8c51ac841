package activities

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

const tryName = "snapferry-try-movies-t0ken"

func TestDefinitionsAreTriedOnceAndLeaveNothing(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	for i := range 20 {
		w.from.Create(fmt.Sprintf("logs-%02d", i), 1, nil)
		w.from.Define(fmt.Sprintf("logs-%02d", i), `{"analysis":{"filter":{"f":{"type":"stop"}}}}`, "")
	}
	before := w.text()
	require.Equal(t, migration.TryResult{Tried: 2}, must[migration.TryResult](w, w.activities.TryDefinitions, w.run))
	require.Equal(t, before, w.text())
	require.Len(t, w.to.Requests("PUT /*"), 3, "one that is empty, and one for each definition")
	require.Equal(t, []string{"PUT /" + tryName}, w.to.Requests("PUT /*")[:1])
}

func TestWhatTheTargetLacksIsNamedByIndexAndSetting(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	w.to.Unknown = []string{"icu_folding", "default", "murmur3", "fquery"}
	for name, defined := range map[string][2]string{
		"a-1": {`{"analysis":{"filter":{"fold":{"type":"icu_folding"}}}}`},
		"a-2": {`{"analysis":{"filter":{"fold":{"type":"icu_folding"}}}}`},
		"b":   {`{"store":{"type":"default"}}`}, "c": {"", `{"doc":{"properties":{"hash":{"type":"murmur3"}}}}`},
		"d": {},
	} {
		w.from.Create(name, 1, nil)
		w.from.Define(name, defined[0], defined[1])
	}
	for _, name := range []string{"c", "d"} {
		w.from.DefineAlias(name, "Old+"+name, map[string]any{"filter": map[string]any{"fquery": map[string]any{}}})
	}
	before := w.text()
	refused(w, migration.ErrorPreflight, w.activities.TryDefinitions, w.run,
		"setting index.analysis.filter.fold.type of indices a-1, a-2 can't be used there",
		"setting index.store.type of index b can't be used there",
		"field hash of index c has the type murmur3",
		"alias Old+c of index c has a filter that can't be parsed there",
		"alias Old+d of index d has a filter that can't be parsed there")
	require.Equal(t, before, w.text())

	w.run.Plan.Restore = migration.Restore{IgnoreSettings: []string{"index.store.*"}, ExcludeAliases: true}
	w.to.Unknown = []string{"default", "fquery"}
	must[migration.TryResult](w, w.activities.TryDefinitions, w.run)
}

// Elasticsearch refuses new indices what it goes on reading in old ones.
func TestWhatMayBeRefusedToNewIndicesOnlyIsAWarning(t *testing.T) {
	w := newWorld(t)
	w.from.Define("movies", `{"analysis":{"filter":{"f":{"type":"nGram"}}}}`, "")
	refuse := func(pattern, reason string, skip int) {
		w.to.On(pattern, 99, func(rw http.ResponseWriter, r *http.Request) bool {
			if skip--; skip >= 0 {
				return false
			}
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(rw, `{"error":{"type":"illegal_argument_exception","reason":%q},"status":400}`, reason)
			return true
		})
	}
	refuse("PUT /"+tryName, "The [nGram] token filter name was deprecated in 6.4 and cannot be used in new indices", 2)
	tried := must[migration.TryResult](w, w.activities.TryDefinitions, w.run)
	require.Len(t, tried.Warnings, 1)
	require.Contains(t, tried.Warnings[0], "the settings of index movies")
	require.Contains(t, tried.Warnings[0], "rehearse")

	w = newWorld(t)
	refuse("PUT /"+tryName, "this action would add [1] total shards, but this cluster currently has [5]/[5]", 0)
	tried = must[migration.TryResult](w, w.activities.TryDefinitions, w.run)
	require.Zero(t, tried.Tried)
	require.Contains(t, tried.Warnings[0], "doesn't let snapferry create the throw-away index "+tryName)
}

func TestAThrowAwayIndexOfAnAttemptThatDiedIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.to.Create(tryName, 1, nil)
	must[migration.TryResult](w, w.activities.TryDefinitions, w.run)
	require.False(t, w.to.Has(tryName))
	w.to.Lose("PUT /"+tryName, 1)
	passes(w, retryUnavailable, w.activities.TryDefinitions, w.run)
	require.False(t, w.to.Has(tryName))
}

func TestTheDefinitionsThatAreTriedAreBounded(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	for i := range mostTried + 5 {
		name := fmt.Sprintf("logs-%03d", i)
		w.from.Create(name, 1, nil)
		w.from.Define(name, fmt.Sprintf(`{"codec":"c%d"}`, i), "")
	}
	tried := must[migration.TryResult](w, w.activities.TryDefinitions, w.run)
	require.Equal(t, mostTried, tried.Tried)
	require.Contains(t, tried.Warnings[0], "6 more definitions of indices were not tried")
}

// What real nodes answered, and the setting that each is about.
func TestSettingsOfRefusals(t *testing.T) {
	d := definition{
		sameMajor: true,
		settings:  []byte(`{"analysis":{"filter":{"syn":{"type":"synonym","synonyms_path":"analysis/nope.txt"}}}}`),
	}
	for _, row := range [][2]string{
		{
			"Unknown filter type [icu_folding] for [f1]",
			"index.analysis.filter.f1.type",
		},
		{
			"Unknown TokenFilter type [icu_folding] for [f1]",
			"index.analysis.filter.f1.type",
		},
		{
			"Unknown analyzer type [smartcn] for [an]",
			"index.analysis.analyzer.an.type",
		},
		{
			"Custom Analyzer [an] failed to find tokenizer under name [icu_tokenizer]",
			"index.analysis.analyzer.an.tokenizer",
		},
		{
			"Custom Analyzer [an] failed to find char_filter under name [nocf]",
			"index.analysis.analyzer.an.char_filter",
		},
		{
			"IOException while reading synonyms_path_path: /home/config/analysis/nope.txt",
			"index.analysis.filter.syn.synonyms_path",
		},
		{
			"IOException while reading synonyms_path: /home/config/analysis/nope.txt, caused by " +
				"no_such_file_exception: /home/config/analysis/nope.txt",
			"index.analysis.filter.syn.synonyms_path",
		},
		{
			"Unknown store type [default]",
			"index.store.type",
		},
		{
			"unknown value for [index.codec] must be one of [default, best_compression] but was: x",
			"",
		},
		{
			"Unknown Similarity type [nosim] for [s]",
			"index.similarity.s.type",
		},
		{
			"The [nGram] token filter name was deprecated in 6.4",
			"",
		},
	} {
		refusal, want := row[0], row[1]
		setting, certain := d.setting(refusal)
		require.Equal(t, want, setting, refusal)
		require.Equal(t, want != "", certain, refusal)
	}
	require.True(t, strings.HasPrefix(tryAlias(3), "snapferry-try-"))

	d.settings = []byte(`{"analysis":{"normalizer":{"n":{"filter":["icu_folding"]}}}}`)
	setting, certain := d.setting("Custom Analyzer [n] failed to find filter under name [icu_folding]")
	require.Equal(t, "index.analysis.normalizer.n.filter", setting)
	require.True(t, certain)
}

// A mapping names an analyzer that only a plugin has, such as ik_max_word. What real nodes answered: the
// field's name, or from 7.x on none.
func TestAnAnalyzerThatTheTargetLacksIsNamedByIndexAndField(t *testing.T) {
	for version, answer := range map[string]string{
		"5.6.16":  "analyzer [ik_smart] not found for field [sub]",
		"6.8.23":  "Failed to parse mapping [doc]: analyzer [ik_smart] not found for field [sub]",
		"7.17.28": "Failed to parse mapping [_doc]: analyzer [ik_smart] has not been configured in mappings",
		"8.17.2":  "Failed to parse mapping: analyzer [ik_smart] has not been configured in mappings",
	} {
		w := newWorld(t)
		w.to.Version = version
		w.from.Define("movies", "", `{"doc":{"properties":{"plain":{"type":"keyword"},
			"title":{"type":"text","fields":{"sub":{"type":"text","search_analyzer":"ik_smart"}}}}}}`)
		w.to.On("PUT /"+tryName, 99, func(rw http.ResponseWriter, r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if err != nil || !bytes.Contains(body, []byte("ik_smart")) {
				return false
			}
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(rw, `{"error":{"type":"mapper_parsing_exception","reason":%q},"status":400}`, answer)
			return true
		})
		field := "field sub of index movies"
		if strings.Contains(answer, "configured") {
			field = "field title.sub of index movies"
		}
		refused(w, migration.ErrorPreflight, w.activities.TryDefinitions, w.run,
			field+" names the analyzer ik_smart, which the target does not know: install the plugin")
	}
}
