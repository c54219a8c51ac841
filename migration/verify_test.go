package migration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Histories of earlier versions hold standstills and requests in these forms.
func TestWhatEarlierVersionsSentIsRead(t *testing.T) {
	var still Standstill
	require.NoError(t, json.Unmarshal([]byte(`{"docs":{"movies":[1,2]},"marks":{"movies":["a","b"]}}`), &still))
	require.Equal(t, Standstill{Docs: ShardDocs{"movies": {1, 2}}, Marks: ShardMarks{"movies": {"a", "b"}}}, still)
	text, err := json.Marshal(still)
	require.NoError(t, err)
	require.JSONEq(t, `{"docs":{"movies":[1,2]},"marks":{"movies":["a","b"]}}`, string(text))

	var standing StandstillRequest
	require.NoError(t, json.Unmarshal([]byte(`{"plan":{},"token":"t","indices":["movies"]}`), &standing))
	require.Equal(t, []string{"movies"}, standing.Indices)
	require.Equal(t, "t", standing.Token)
	require.False(t, standing.Store)

	var request VerifyRequest
	require.NoError(t, json.Unmarshal([]byte(`{"plan":{},"token":"t","indices":[{"name":"movies"}],
		"frozen":{"movies":[1]},"counters":{"movies":{"uuid":"u","writes":0,"docs":1}}}`), &request))
	require.Equal(t, "movies", request.Indices[0].Name)
	require.Equal(t, ShardDocs{"movies": {1}}, request.Frozen)
	require.Zero(t, request.Most)
}

func TestAStandstillIsComparedWithAnEarlierOne(t *testing.T) {
	before := Standstill{
		Docs:  ShardDocs{"catalog": {1, 2}, "movies": {3}},
		Marks: ShardMarks{"catalog": {"a", "b"}, "movies": {"c"}},
	}
	names := []string{"catalog", "movies"}
	require.Empty(t, before.ChangedIndex(before, names))
	for name, now := range map[string]Standstill{
		"a mark":   {Docs: before.Docs, Marks: ShardMarks{"catalog": {"a", "b"}, "movies": {"d"}}},
		"a count":  {Docs: ShardDocs{"catalog": {1, 2}, "movies": {4}}, Marks: before.Marks},
		"none now": {Docs: ShardDocs{"catalog": {1, 2}}, Marks: ShardMarks{"catalog": {"a", "b"}}},
		"shards":   {Docs: before.Docs, Marks: ShardMarks{"catalog": {"a", "b"}, "movies": {"c", "c"}}},
	} {
		require.Equal(t, "movies", now.ChangedIndex(before, names), name)
		require.Equal(t, "movies", before.ChangedIndex(now, names), name)
	}

	stored := Standstill{
		DocsOf:  Stored[ShardDocs]{Digest: strings.Repeat("a", 64), Entries: 2},
		MarksOf: Stored[ShardMarks]{Digest: strings.Repeat("b", 64), Entries: 2},
	}
	require.Empty(t, stored.ChangedIndex(stored, names))
	now := stored
	now.MarksOf.Digest = strings.Repeat("c", 64)
	require.NotEmpty(t, now.ChangedIndex(stored, names), "that something changed is known even without a name")
	now.Changed = "movies"
	require.Equal(t, "movies", now.ChangedIndex(stored, names))
	require.NotEmpty(t, before.ChangedIndex(stored, names), "another form is no proof")
	require.NotEmpty(t, Standstill{}.ChangedIndex(before, names))
}

func TestSmallReportsKeepEachVerdict(t *testing.T) {
	var verdicts []IndexResult
	for i := range 200 {
		verdicts = append(verdicts, IndexResult{
			Name: fmt.Sprint("logs-2020.01.", i), Equal: true, SourceDocs: 1e9, TargetDocs: 1e9,
			Checksum: strings.Repeat("f", 32),
		})
	}
	kept, unlisted := BoundVerdicts(verdicts, 48<<10)
	require.Equal(t, verdicts, kept)
	require.Nil(t, unlisted)
}

// Of very many verdicts the list keeps those that people need, and all are counted.
func TestVerdictsThatAreTooManyAreSummedUp(t *testing.T) {
	const most = 48 << 10
	var verdicts []IndexResult
	for i := range 10_000 {
		verdict := IndexResult{
			Name: fmt.Sprintf("%s-%05d", strings.Repeat("n", 94), i), Equal: true, SourceDocs: 2, TargetDocs: 2,
			Checksum: strings.Repeat("f", 32),
		}
		switch {
		case i == 4711:
			verdict.Equal, verdict.TargetDocs, verdict.Differences = false, 1, []string{"a document is missing"}
		case i == 17, i == 9999:
			verdict.Differences = []string{`setting "a" <differs>`}
		}
		verdicts = append(verdicts, verdict)
	}
	kept, unlisted := BoundVerdicts(verdicts, most)
	names := map[string]IndexResult{}
	for _, verdict := range kept {
		names[verdict.Name[95:]] = verdict
	}
	require.False(t, names["04711"].Equal)
	require.NotEmpty(t, names["04711"].Differences)
	require.Contains(t, names, "00017")
	require.Contains(t, names, "09999")
	require.Equal(t, 10_000, len(kept)+unlisted.Indices())
	require.Zero(t, unlisted.Unequal)
	require.Zero(t, unlisted.Differing)
	require.EqualValues(t, 2*unlisted.Equal, unlisted.SourceDocs)
	text, err := json.Marshal(kept)
	require.NoError(t, err)
	require.LessOrEqual(t, len(text), most)
	require.Greater(t, len(text), most/2)

	for i := range verdicts {
		verdicts[i].Equal = false
	}
	kept, unlisted = BoundVerdicts(verdicts, most)
	require.Equal(t, 10_000, len(kept)+unlisted.Unequal)
	require.Zero(t, unlisted.Equal)
	require.Zero(t, (*Unlisted)(nil).Indices())
}
