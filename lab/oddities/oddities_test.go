package oddities

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/lab/cluster"
)

func TestTheTableIsWhatTheCatalogueSays(t *testing.T) {
	golden.Equal(t, "../../docs/compatibility.md", Table(Pairs))
}

// Each oddity is carried between some versions. No two indices share a name.
func TestTheCatalogueIsWhole(t *testing.T) {
	for _, o := range Catalogue() {
		require.True(t, slices.ContainsFunc(Pairs, func(p Pair) bool { return p.cell(o) == "yes" }), o.Name)
		require.Equal(t, o.Needs == "", o.Refusal == "", o.Name)
	}
	for _, pair := range Pairs {
		v, _, err := pair.Versions()
		require.NoError(t, err)
		carried, err := pair.Indices(Carried)
		require.NoError(t, err)
		require.Greater(t, len(carried), 12)
		refused, err := pair.Indices(Refused)
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, x := range append(carried, refused...) {
			require.False(t, seen[x.Name], "%s in %s", x.Name, pair.Source)
			require.True(t, strings.HasPrefix(x.Name, Prefix))
			require.LessOrEqual(t, len(x.Name), 255)
			seen[x.Name] = true
			if !x.MadeBy {
				_, err := json.Marshal(x.definition(v))
				require.NoError(t, err)
			}
		}
	}
}

func TestWhatBecomesOfAnOddity(t *testing.T) {
	o := Oddity{From: v56, Until: Version{8, 0}, Needs: analysisCommon}
	for _, c := range []struct {
		source, target Version
		want           Fate
	}{
		{Version{5, 5}, Version{5, 5}, Impossible},
		{Version{8, 0}, Version{8, 17}, Impossible},
		{Version{6, 8}, Version{7, 10}, Untried},
		{Version{5, 6}, Version{6, 8}, Refused},
		{Version{7, 10}, Version{7, 10}, Carried},
	} {
		require.Equal(t, c.want, o.Between(c.source, c.target), "%s to %s", c.source, c.target)
	}
}

func TestVersions(t *testing.T) {
	v, err := ParseVersion("7.10.2")
	require.NoError(t, err)
	require.Equal(t, Version{7, 10}, v)
	require.True(t, v.Before(Version{7, 17}))
	require.True(t, Version{6, 8}.Before(v))
	require.False(t, v.Before(v))
	for _, bad := range []string{"", "7", "a.b", "7.b"} {
		_, err := ParseVersion(bad)
		require.Error(t, err, bad)
	}
}

// The comparison must find what it is for. Both clusters answer the same but for one part.
func TestTheComparisonFindsEachDifference(t *testing.T) {
	x := Index{
		Name: Prefix + "a+b", Docs: []Doc{{ID: "1"}}, Aliases: object{"films": nil},
		Queries: []Query{term("tag", "x")}, Lost: []string{"index.routing.allocation.*"},
	}
	usual := func() map[string]string {
		return map[string]string{
			"POST /odd-a%2Bb/_search?scroll=1m": `{"_scroll_id":"s","hits":{"hits":[{"_index":"i","_type":"doc","_id":"1",
				"_version":3,"_source":{"n":1}}]}}`,
			"POST /_search/scroll":    `{"_scroll_id":"s","hits":{"hits":[]}}`,
			"DELETE /_search/scroll":  `{}`,
			"GET /odd-a%2Bb/_mapping": `{"odd-a+b":{"mappings":{"doc":{"properties":{"n":{"type":"integer"}}}}}}`,
			"GET /odd-a%2Bb/_alias":   `{"odd-a+b":{"aliases":{"films":{"filter":{"term":{"n":1}}}}}}`,
			"POST /odd-a%2Bb/_search": `{"hits":{"hits":[{"_id":"1"}]}}`,
			"GET /odd-a%2Bb/_settings?flat_settings=true": `{"odd-a+b":{"settings":{"index.uuid":"u","index.codec":"x",
				"index.routing.allocation.exclude.rack":"r"}}}`,
		}
	}
	lost := strings.NewReplacer(`,
				"index.routing.allocation.exclude.rack":"r"`, "")
	settings := "GET /odd-a%2Bb/_settings?flat_settings=true"
	for name, c := range map[string]struct{ request, old, new, says string }{
		"nothing":  {"", "", "", ""},
		"version":  {"POST /odd-a%2Bb/_search?scroll=1m", `"_version":3`, `"_version":4`, "document doc/<nil>/1 is"},
		"source":   {"POST /odd-a%2Bb/_search?scroll=1m", `{"n":1}`, `{"n":2}`, "document doc/<nil>/1 is"},
		"routing":  {"POST /odd-a%2Bb/_search?scroll=1m", `"_id"`, `"_routing":"r","_id"`, "the target has no document"},
		"mapping":  {"GET /odd-a%2Bb/_mapping", "integer", "long", "mapping doc is"},
		"alias":    {"GET /odd-a%2Bb/_alias", `"n":1`, `"n":2`, "alias films is"},
		"query":    {"POST /odd-a%2Bb/_search", `{"_id":"1"}`, "", "the target has no finding of query 1, 1/"},
		"setting":  {settings, `"x"`, `"y"`, "setting index.codec is"},
		"archived": {settings, `"index.codec"`, `"archived.index.codec":"a","index.codec"`, "archived.index.codec"},
		"block":    {settings, `"index.codec"`, `"index.blocks.write":"true","index.codec"`, "index.blocks.write"},
	} {
		t.Run(name, func(t *testing.T) {
			there := usual()
			there[settings] = lost.Replace(there[settings])
			if c.request != "" {
				require.Contains(t, there[c.request], c.old)
				there[c.request] = strings.Replace(there[c.request], c.old, c.new, 1)
			}
			v := Version{5, 5}
			differences, err := Compare(t.Context(), Side{answering(t, usual()), v}, Side{answering(t, there), v}, x)
			require.NoError(t, err)
			if c.says == "" {
				require.Empty(t, differences)
				return
			}
			require.Contains(t, strings.Join(differences, "\n"), c.says)
		})
	}
}

// answering is a cluster that answers by method and path.
func answering(t *testing.T, answers map[string]string) *cluster.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.Method+" "+r.RequestURI]
		if !known {
			t.Errorf("nobody answers to %s %s", r.Method, r.RequestURI)
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	return &cluster.Client{URL: server.URL, HTTP: server.Client()}
}
