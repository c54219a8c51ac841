package activities

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/migration"
)

// scrolled has each page of an index hold so few documents that it is read by scrolls.
func scrolled(w *world, index string) {
	for _, at := range []side{onSource, onTarget} {
		require.NoError(w.t, clientOf(w, at).PutIndexSettings(w.t.Context(), []string{index},
			map[string]any{"index.max_result_window": 1}))
	}
}

// noContextLeft has a cluster refuse each scroll from now on, and nothing else.
func noContextLeft(cluster *elastictest.Cluster) {
	cluster.On("POST /*/_search", 1000, func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("scroll") == "" {
			return false
		}
		rw.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(rw, `{"error":{"type":"exception","reason":%q},"status":500}`, noContext)
		return true
	})
}

const noContext = "Trying to create too many scroll contexts. Must be less than or equal to: [500]. " +
	"This limit can be set by changing the [search.max_open_scroll_context] setting."

// A cluster whose scroll contexts others hold: fewer are asked for, each difference is still seen,
// and without any a person is told what to do, in a rehearsal too.
func TestVerificationOnAClusterWithFewScrollContexts(t *testing.T) {
	w := newWorld(t)
	w.to.MaxScrolls = 1
	request := w.frozen()
	for _, index := range both2 {
		scrolled(w, index)
	}
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget, request)
	for _, index := range result.Indices {
		require.True(t, index.Equal, "%+v", index)
	}
	require.Zero(t, w.from.OpenScrolls())
	require.Zero(t, w.to.OpenScrolls())

	w.to.Smuggle("movies", "alien", 7)
	refused(w, migration.ErrorVerification, w.activities.VerifyTarget, request, "index movies is not equal")
	require.Zero(t, w.to.OpenScrolls())

	noContextLeft(w.to)
	refused(w, migration.ErrorRefused, w.activities.VerifyTarget, request, "checksum ",
		"raise the cluster setting search.max_open_scroll_context", "[500]")

	r := newRehearsal(t)
	r.prepared()
	opened := r.round("s")
	scrolled(r, "movies")
	noContextLeft(r.from)
	refused(r, migration.ErrorRefused, r.activities.VerifyTarget,
		migration.VerifyRequest{Run: r.run, Indices: r.indices(), Counters: opened.Counters},
		"raise the cluster setting search.max_open_scroll_context")
}

// What is not there for a moment costs one index, not the work on all.
func TestVerificationBeginsAgainWithAnIndexThatWasNotThere(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	w.to.Refuse("POST /movies/_search", indexTries-1, http.StatusServiceUnavailable, "unavailable", "a node restarts")
	began := w.activities.now()
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget, request)
	require.True(t, result.Indices[1].Equal)
	require.Equal(t, (indexTries-1)*indexPause, w.activities.now().Sub(began))
	require.Len(t, w.to.Requests("POST /catalog/_search"), 1)
	w.to.Refuse("POST /movies/_search", indexTries, http.StatusServiceUnavailable, "unavailable", "a node restarts")
	passes(w, retryUnavailable, w.activities.VerifyTarget, request)
}

func TestAnIndexThatCannotBeReadIsNotCompared(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	for _, request := range []string{"POST /catalog,movies/_search", "POST /movies/_search", "POST /movies/_count"} {
		w.from.Refuse(request, 1, http.StatusForbidden, "cluster_block_exception",
			"blocked by: [FORBIDDEN/7/index read (api)];")
	}
	refused(w, migration.ErrorRefused, w.activities.VerifyTarget, request, "compare index movies: it can't be read",
		"Remove the block index.blocks.read")
}

// Two searches that find nothing say nothing: a search may leave documents out.
func TestSearchesThatFindNothingProveNothing(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	nothing := func(rw http.ResponseWriter, _ *http.Request) bool {
		_, _ = rw.Write([]byte(`{"count":0,"_shards":{"total":2,"successful":2,"failed":0}}`))
		return true
	}
	for _, cluster := range []*elastictest.Cluster{w.from, w.to} {
		cluster.On("POST /catalog,movies/_search", 1, nothing)
		cluster.On("POST /movies/_count", 1, nothing)
	}
	refused(w, migration.ErrorVerification, w.activities.VerifyTarget, request, "index movies is not equal",
		"a search finds none of its 3 documents")
}

// With stored lists everything is seen that is seen with others.
func TestVerificationWithStoredLists(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"nothing":               func(*world) {},
		"a document is missing": func(w *world) { w.to.Smuggle("movies", "alien", 0) },
		"one is stale":          func(w *world) { w.to.Smuggle("movies", "alien", 7) },
		"one is too many":       func(w *world) { w.to.Smuggle("movies", "extra", 1) },
		"it was written": func(w *world) {
			removeBlock(w, onTarget, "movies")
			require.NoError(w.t, w.to.Index("movies", "alien"))
			require.NoError(w.t, clientOf(w, onTarget).BlockWrites(w.t.Context(), []string{"movies"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.activities
			a.lists.longest = 0
			w.prepared()
			found := must[migration.IndexList](w, a.ResolveIndices, migration.ResolveRequest{Run: w.run})
			require.True(t, found.Stored())
			must[any](w, a.BlockWrites, w.request())
			of := migration.IndicesRequest{Run: w.run, IndicesOf: found.Of()}
			still := twice[migration.Standstill](w, a.AwaitStandstill,
				migration.StandstillRequest{IndicesRequest: of, Store: true})
			require.Empty(t, still.Docs)
			require.Empty(t, still.Marks)
			taken := w.snapshot("s")
			must[any](w, a.RestoreSnapshot,
				migration.RestoreRequest{Run: w.run, Snapshot: taken, IndicesOf: found.Of()})
			opened := must[migration.OpenResult](w, a.OpenTarget, migration.OpenRequest{IndicesRequest: of})
			request := migration.VerifyRequest{
				Run: w.run, IndicesOf: found.Of(), FrozenOf: still.DocsOf,
				Counters: opened.Counters, CountersOf: opened.CountersOf, Most: 48 << 10,
			}
			spoil(w)
			if name == "nothing" {
				result := must[migration.VerifyResult](w, a.VerifyTarget, request)
				require.Len(t, result.Indices, 2)
				require.Nil(t, result.Unlisted)
				return
			}
			failure := refusal(w, migration.ErrorVerification, a.VerifyTarget, request, "index movies is not equal")
			require.NotContains(t, failure.Message(), "catalog is not equal")
		})
	}
}

// A later standstill names what has changed, however the lists are kept.
func TestAStandstillNamesWhatHasChanged(t *testing.T) {
	for _, longest := range []int{0, migration.LongestInline} {
		w := newWorld(t)
		a := w.activities
		a.lists.longest = longest
		must[any](w, a.BlockWrites, w.request())
		request := migration.StandstillRequest{IndicesRequest: w.request(), Store: true}
		before := must[migration.Standstill](w, a.AwaitStandstill, request)
		request.Before = &before
		same := must[migration.Standstill](w, a.AwaitStandstill, request)
		require.Empty(t, same.Changed)
		require.Empty(t, same.ChangedIndex(before, both2))

		removeBlock(w, onSource, "movies")
		require.NoError(t, w.from.Index("movies", "alien")) // an update leaves the counts as they are
		require.NoError(t, clientOf(w, onSource).BlockWrites(t.Context(), []string{"movies"}))
		now := must[migration.Standstill](w, a.AwaitStandstill, request)
		require.Equal(t, "movies", now.ChangedIndex(before, both2))
		require.Equal(t, longest == 0, now.Marks == nil)
	}
}

// Thousands of large mappings are compared a few at a time, and one that differs is found.
func TestMetadataIsComparedInBoundedMemory(t *testing.T) {
	const indices, bytes = 120, 256 << 10
	w := newWorld(t)
	var names []string
	mapping := func(i int, more string) string {
		return fmt.Sprintf(`{"doc":{"properties":{"f%d":{"type":"text","meta":%q}%s}}}`, i, strings.Repeat("x", bytes),
			more)
	}
	for i := range indices {
		name := fmt.Sprintf("i%03d", i)
		names = append(names, name)
		w.from.Create(name, 1, nil)
		w.to.Create(name, 1, map[string]string{"index.blocks.write": "true"})
		more := ""
		if i == 77 {
			more = `,"other":{"type":"long"}`
		}
		w.from.SetMapping(name, mapping(i, ""))
		w.to.SetMapping(name, mapping(i, more))
	}
	d := defining{run: w.run, from: clientOf(w, onSource), to: clientOf(w, onTarget)}
	var compared, differ []string
	require.NoError(t, d.compare(t.Context(), names, func(s shape, found []string) error {
		compared = append(compared, s.name)
		if len(found) > 0 {
			differ = append(differ, s.name+": "+strings.Join(found, "; "))
		}
		require.Equal(t, "1", s.source["index.number_of_shards"])
		return nil
	}))
	require.Equal(t, names, compared)
	require.Equal(t, []string{"i077: the mappings differ"}, differ)
	// No answer above the limit is read, so the largest request that counted is the largest below
	// it.
	largest := 0
	for _, request := range w.from.Requests("GET /*/_mapping") {
		if n := 1 + strings.Count(request, ","); n*bytes <= metadataBytes {
			largest = max(largest, n)
		}
	}
	require.Positive(t, largest)
	require.LessOrEqual(t, largest*bytes, metadataBytes)

	// One that is larger than that is compared alone.
	large := mapping(0, fmt.Sprintf(`,"large":{"meta":%q}`, strings.Repeat("y", metadataBytes)))
	w.from.SetMapping("i000", large)
	w.to.SetMapping("i000", large)
	compared = nil
	require.NoError(t, d.compare(t.Context(), names[:2], func(s shape, found []string) error {
		compared = append(compared, s.name)
		require.Empty(t, found)
		return nil
	}))
	require.Equal(t, names[:2], compared)
	require.Contains(t, w.from.Requests("GET /*/_mapping"), "GET /i000/_mapping")
}

// 5.5.2 and 6.8.23 show the same index in these two ways.
func TestVersionsThatShowTheSameMetadataOtherwise(t *testing.T) {
	five := elastic.Metadata{
		Settings: map[string]string{
			"index.analysis.analyzer.a.type": "custom", "index.analysis.analyzer.a.filter.0": "lowercase",
			"index.analysis.analyzer.a.filter.1": "st", "index.analysis.analyzer.b.filter.0": "lowercase",
			"index.analysis.filter.st.stopwords.0": "und", "index.analysis.filter.st.stopwords.1": "oder",
		},
		Mapping: elastic.Mapping{
			Types: []string{"doc"},
			Raw:   json.RawMessage(`{"doc":{"properties":{"t":{"type":"text"}}}}`),
		},
	}
	six := elastic.Metadata{
		Settings: map[string]string{
			"index.analysis.analyzer.a.type": "custom", "index.analysis.analyzer.a.filter": "lowercase,st",
			"index.analysis.analyzer.b.filter":   "lowercase",
			"index.analysis.filter.st.stopwords": "und,oder",
		},
		Mapping: elastic.Mapping{
			Types: []string{"doc"},
			Raw:   json.RawMessage(`{"doc":{"_all":{"enabled":true},"properties":{"t":{"type":"text"}}}}`),
		},
	}
	d := defining{}
	require.Empty(t, d.differences(five, six))

	for name, change := range map[string]func(m *elastic.Metadata){
		"setting index.analysis.analyzer.a.filter": func(m *elastic.Metadata) {
			m.Settings["index.analysis.analyzer.a.filter"] = "st,lowercase"
		},
		"setting index.analysis.filter.st.stopwords": func(m *elastic.Metadata) {
			m.Settings["index.analysis.filter.st.stopwords"] = "und"
		},
		"the mappings differ": func(m *elastic.Metadata) {
			m.Mapping.Raw = json.RawMessage(`{"doc":{"_all":{"enabled":false},"properties":{"t":{"type":"text"}}}}`)
		},
	} {
		other := six
		other.Settings = map[string]string{}
		for setting, value := range six.Settings {
			other.Settings[setting] = value
		}
		change(&other)
		found := d.differences(five, other)
		require.Len(t, found, 1, name)
		require.Contains(t, found[0], name)
	}
	for _, settings := range []map[string]string{
		{"a.0": "x", "a.2": "y"}, {"a": "x", "a.0": "y"}, {"a.00": "x"}, {"a.1": "x"}, {"b": "x"},
	} {
		require.Equal(t, settings, withWholeLists(settings), "no list")
	}
}

// Lists are cut, so what may keep an index from working comes first.
func TestTheDifferencesThatMatterComeFirst(t *testing.T) {
	source, target := map[string]string{"index.ttl.disable_purge": "true", "index.zzz": "1"}, map[string]string{
		"archived.index.ttl.disable_purge": "true",
	}
	for i := range 20 {
		source[fmt.Sprintf("index.a%02d", i)] = "1"
		target[fmt.Sprintf("index.a%02d", i)] = "2"
		target[fmt.Sprintf("index.b%02d", i)] = "1"
	}
	d := defining{}
	d.run.Plan.Restore.IgnoreSettings = []string{"index.t*"} // it arrived although it should not
	found := few(d.differences(elastic.Metadata{Settings: source}, elastic.Metadata{
		Settings: target,
		Aliases:  map[string]json.RawMessage{"surplus": json.RawMessage(`{}`)},
	}))
	require.Len(t, found, mostDifferences)
	require.Contains(t, found[0], "setting index.ttl.disable_purge is \"true\" on the target, which does not know it")
	require.Contains(t, found[1], "setting index.zzz is \"1\" on the source and not set on the target")
	require.Contains(t, found[2], "setting index.a00 is")
	require.Equal(t, "34 more differences", found[9])

	long := few([]string{strings.Repeat("ä", 1000)})
	require.Less(t, len(long[0]), longestDifference+10)
}

// In a rehearsal the writers explain a difference, or they don't.
func TestARehearsalTellsMovedIndicesFromOthers(t *testing.T) {
	w := newRehearsal(t)
	w.prepared()
	opened := w.round("s")
	seen := migration.CountedWrites(w.indices())
	require.NoError(t, w.from.Index("movies", "dogville"))
	w.to.Smuggle(w.run.TargetIndex("catalog"), "a", 0)
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget,
		migration.VerifyRequest{
			Run: w.run, Indices: w.indices(), Counters: opened.Counters, Seen: seen,
			Most: 48 << 10,
		})
	catalog, movies := result.Indices[0], result.Indices[1]
	require.False(t, catalog.Equal)
	require.False(t, catalog.Moved, "nobody wrote to it")
	require.False(t, movies.Equal)
	require.True(t, movies.Moved)
}

// What an activity gives fits into a payload, whatever is not equal or differs.
func TestResultsOfAVerificationAreBounded(t *testing.T) {
	const most = 48 << 10
	var verdicts []migration.IndexResult
	metadata := map[string][]string{}
	for i := range 3000 {
		verdict := migration.IndexResult{
			Name: fmt.Sprintf("%s-%04d", strings.Repeat("n", 95), i), SourceDocs: 1, TargetDocs: 1,
			Equal: i%100 != 7, Checksum: strings.Repeat("f", 32),
		}
		if i%2 == 1 {
			verdict.Differences = few(slices.Repeat([]string{strings.Repeat(`"<x>"`, 200)}, 20))
			metadata[verdict.Name] = verdict.Differences
		}
		verdicts = append(verdicts, verdict)
	}
	for name, result := range map[string]migration.VerifyResult{
		"equal": boundedResult(verdicts, most), "failed": failedResult(verdicts, most),
		"rehearsed": rehearsedResult(slices.Clone(verdicts), metadata, most),
	} {
		text, err := json.Marshal(result)
		require.NoError(t, err)
		require.LessOrEqual(t, len(text), 2*most, name)
		require.NotNil(t, result.Unlisted, name)
		require.Equal(t, 3000, len(result.Indices)+result.Unlisted.Indices(), name)
		require.False(t, result.Indices[0].Equal, "what is not equal comes before all others")
	}
	require.Equal(t, 3000, len(boundedResult(verdicts, 0).Indices))
}
