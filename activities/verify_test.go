package activities

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// frozen brings the world to the point before the verification.
func (w *world) frozen() migration.VerifyRequest {
	w.t.Helper()
	w.prepared()
	must[any](w, w.activities.BlockWrites, w.request())
	docs := must[migration.Standstill](w, w.activities.AwaitStandstill, w.still()).Docs
	opened := w.round("s")
	return migration.VerifyRequest{Run: w.run, Indices: w.indices(), Frozen: docs, Counters: opened.Counters}
}

func TestTargetsThatAreNotEqual(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*world)
		says  string
	}{
		"a document is missing": {func(w *world) { w.to.Smuggle("movies", "alien", 0) }, "documents on the source and"},
		"one is stale": {
			func(w *world) { w.to.Smuggle("movies", "alien", 7) },
			"checksum over type, id, routing and version",
		},
		"one is another": {func(w *world) {
			w.to.Smuggle("movies", "alien", 0)
			w.to.Smuggle("movies", "aliens", 1)
		}, "index movies is not equal"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			request := w.frozen()
			tt.spoil(w)
			failure := refusal(w, migration.ErrorVerification, w.activities.VerifyTarget, request, "movies", tt.says)
			require.NotContains(t, failure.Message(), "catalog is not equal")
			var result migration.VerifyResult
			require.NoError(t, failure.Details(&result))
			require.Len(t, result.Indices, 2)
			require.True(t, result.Indices[0].Equal)
			require.False(t, result.Indices[1].Equal)
			require.NotEmpty(t, result.Indices[1].Differences)
		})
	}
}

func TestCountsAloneIfThePlanSaysSo(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Verify.Checksum = migration.ChecksumNone
	request := w.frozen()
	w.to.Smuggle("movies", "alien", 7)
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget, request)
	require.True(t, result.Indices[1].Equal)
	require.Empty(t, result.Indices[1].Checksum)
	require.Len(t, w.from.Requests("POST /*/_search"), 1, "only the counts of both")
}

func TestAnIndexThatWasNotCountedIsNotEqual(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	delete(request.Frozen, "movies")
	refused(w, migration.ErrorVerification, w.activities.VerifyTarget, request, "movies", "not counted")
}

// An update leaves every count as it was, and without checksums only the write counters tell.
func TestTargetThatWasWrittenSinceTheRestoreIsNotEqual(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*world)
		says  string
	}{
		"it was written": {func(w *world) {
			removeBlock(w, onTarget, "movies")
			require.NoError(w.t, w.to.Index("movies", "alien"))
			require.NoError(w.t, clientOf(w, onTarget).BlockWrites(w.t.Context(), []string{"movies"}))
		}, "it took 1 operations"},
		"it can be written": {func(w *world) {
			removeBlock(w, onTarget, "movies")
		}, "lacks the write block"},
		"it is another index": {func(w *world) {
			require.NoError(w.t, clientOf(w, onTarget).DeleteIndices(w.t.Context(), []string{"movies"}))
			w.to.Create("movies", 2, map[string]string{"index.blocks.write": "true"})
		}, "it is another index"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run.Plan.Verify.Checksum = migration.ChecksumNone
			request := w.frozen()
			tt.spoil(w)
			refused(w, migration.ErrorVerification, w.activities.VerifyTarget, request, "index movies is not equal",
				tt.says)
			handover := migration.HandoverRequest{Run: w.run, Indices: request.Indices, Counters: request.Counters}
			if name == "it can be written" {
				must[any](w, w.activities.OpenTargetForWrites, handover) // as it is about to be
			} else {
				refused(w, migration.ErrorTargetWritten, w.activities.OpenTargetForWrites, handover,
					"these changed since they were verified: movies", tt.says)
				require.Equal(t, "true", w.to.Setting("catalog", "index.blocks.write"), "all or nothing")
			}
			request.Counters = nil
			_, err := do[any](w, w.activities.VerifyTarget, request)
			if name != "it is another index" {
				require.NoError(t, err, "nothing to compare with")
			}
		})
	}
}

// What was handed over takes writes at once; that keeps no retry from going on.
func TestCutoverMayGoOnAfterItsFirstWrites(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	handover := migration.HandoverRequest{Run: w.run, Indices: request.Indices, Counters: request.Counters}
	w.to.RefuseWrite("catalog", http.StatusForbidden, "cluster_block_exception",
		"blocked by: [FORBIDDEN/6/cluster read-only (api)]")
	refused(w, migration.ErrorRefused, w.activities.OpenTargetForWrites, handover, "catalog",
		"another block refuses writes")
	require.NoError(t, w.to.Index("movies", "dune", "alien"))
	must[any](w, w.activities.OpenTargetForWrites, handover)
	require.NoError(t, w.to.Index("catalog", "g"))
}

func TestVerdictsFitIntoAPayload(t *testing.T) {
	var verdicts []migration.IndexResult
	for i := range 300 {
		verdicts = append(verdicts, migration.IndexResult{
			Name: "x", Equal: i%2 == 0,
			Differences: []string{"first", "second"},
		})
	}
	equal, unequal := 0, 0
	for _, index := range failedResult(verdicts, 0).Indices {
		if index.Equal {
			equal++
			require.Empty(t, index.Differences)
		} else {
			unequal++
			require.Len(t, index.Differences, 2)
		}
	}
	require.Equal(t, 150, equal)
	require.Equal(t, mostUnequal, unequal)

	var differences []string
	for i := range 12 {
		differences = append(differences, strconv.Itoa(i))
	}
	require.Len(t, few(differences[:10]), 10)
	bounded := few(differences)
	require.Len(t, bounded, mostDifferences)
	require.Equal(t, []string{"8", "3 more differences"}, bounded[8:])
}

func TestSettingsAndAliasesAreReportedOnly(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	w.to.AddAlias("movies", "more")
	w.from.AddAlias("movies", "fewer")
	require.NoError(t, clientOf(w, onTarget).PutIndexSettings(t.Context(), []string{"movies"},
		map[string]any{"index.max_result_window": 5, "index.refresh_interval": "1s"}))
	w.to.SetTypes("movies", "film")
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget, request)
	require.True(t, result.Indices[1].Equal)
	require.Equal(t, []string{
		"alias fewer is missing on the target",
		"the mappings differ",
		`setting index.refresh_interval is "30s" on the source and "1s" on the target`,
		`setting index.max_result_window is "5" on the target and not set on the source`,
		"alias more is on the target only",
	}, result.Indices[1].Differences)
	require.Empty(t, result.Indices[0].Differences)
}

func TestPatternsOfSettings(t *testing.T) {
	for pattern, names := range map[string]string{
		"index.blocks.*":         "index.blocks.write index.blocks. | index.block index.blocks",
		"*":                      "anything | ",
		"index.*.enabled":        "index.a.enabled index.a.b.enabled | index.enabled index.a.enabled.not",
		"index.refresh_interval": "index.refresh_interval | index.refresh",
	} {
		yes, no, _ := strings.Cut(names, "|")
		for _, name := range strings.Fields(yes) {
			require.True(t, matches(pattern, name), "%s %s", pattern, name)
		}
		for _, name := range strings.Fields(no) {
			require.False(t, matches(pattern, name), "%s %s", pattern, name)
		}
	}
}

func TestCutoverWithoutTheSource(t *testing.T) {
	w := newWorld(t)
	w.from.Create("movies", 2, map[string]string{"index.auto_expand_replicas": "0-all"})
	request := w.frozen()
	handover := migration.HandoverRequest{Run: w.run, Indices: request.Indices}
	must[any](w, w.activities.OpenTargetForWrites, handover)
	require.Equal(t, "0-all", w.to.Setting("movies", "index.auto_expand_replicas"))

	w.from.Close()
	must[any](w, w.activities.OpenTargetForWrites, handover)
	require.Empty(t, w.to.Setting("movies", "index.auto_expand_replicas"))
	require.NoError(t, w.to.Index("movies", "dune"))
}

func TestCutoverProvesThatWritesGetThrough(t *testing.T) {
	w := newWorld(t)
	request := w.frozen()
	w.to.RefuseWrite("movies", http.StatusForbidden, "cluster_block_exception",
		"blocked by: [FORBIDDEN/6/cluster read-only (api)]")
	refused(w, migration.ErrorRefused, w.activities.OpenTargetForWrites,
		migration.HandoverRequest{Run: w.run, Indices: request.Indices}, "movies", "another block refuses writes")
}

func TestWebhook(t *testing.T) {
	w := newWorld(t)
	status, header := http.StatusNoContent, http.Header{}
	var got []string
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+
			r.Header.Get("Content-Type"))
		for name := range header {
			rw.Header().Set(name, header.Get(name))
		}
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte("you sent " + r.Header.Get("Authorization")))
	}))
	t.Setenv("TEST_URL", receiver.URL+"/planted-path?token=planted-query")
	w.run.Plan.Cutover.Webhook.URL = "env:TEST_URL"
	request := migration.WebhookRequest{Run: w.run, Report: migration.Report{Result: migration.ResultCompleted}}

	must[any](w, w.activities.CallWebhook, request)
	require.Equal(t, []string{"POST /planted-path?token=planted-query " + webhookSecret + " application/json"}, got)

	for _, status = range []int{408, 429, 500, 503} {
		passes(w, retryUnavailable, w.activities.CallWebhook, request)
	}
	header.Set("Location", receiver.URL+"/elsewhere?token=planted-query")
	for _, status = range []int{302, 400, 401, 404} {
		refused(w, migration.ErrorWebhook, w.activities.CallWebhook, request, "it answered")
	}
	receiver.Close()
	passes(w, retryUnavailable, w.activities.CallWebhook, request)

	request.Plan.Cutover.Webhook = migration.Webhook{}
	must[any](w, w.activities.CallWebhook, request)
}
