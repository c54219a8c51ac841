package migration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Histories hold arrays of indices, which newer workers read as lists.
func TestAListOfIndicesIsAnArrayOrStandsForOne(t *testing.T) {
	inline := ListIndices([]Index{
		{Name: "catalog", UUID: "u1", Shards: 3, Docs: 5, Bytes: 50},
		{Name: "movies", UUID: "u2", Shards: 1, Docs: 2, Bytes: 20},
	})
	text, err := json.Marshal(inline)
	require.NoError(t, err)
	require.JSONEq(t, `[{"name":"catalog","uuid":"u1","shards":3,"docs":5,"bytes":50,"replicas":0},
		{"name":"movies","uuid":"u2","shards":1,"docs":2,"bytes":20,"replicas":0}]`, string(text))
	var back IndexList
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, inline, back)
	require.Equal(t, []string{"catalog", "movies"}, back.Names())
	require.True(t, back.Of().IsZero())
	require.EqualValues(t, 7, back.Docs())

	stored := IndexList{About: &AboutIndices{
		IndicesOf: Stored[[]Index]{Digest: strings.Repeat("0a", 32), Entries: 2},
		Count:     2, Shards: 4, Docs: 7, Bytes: 70, Identity: IdentityOf(inline.Inline), First: inline.Inline[:1],
	}}
	text, err = json.Marshal(stored)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, stored, back)
	require.Nil(t, back.Names())
	require.False(t, back.Of().IsZero())
	require.Equal(t, 2, back.Len())
	require.EqualValues(t, 7, back.Docs())
	require.Len(t, back.First(50), 1)
	require.True(t, back.SameIndices(inline), "whichever form a list has")

	remade := ListIndices([]Index{{Name: "catalog", UUID: "u3"}, {Name: "movies", UUID: "u2"}})
	require.False(t, inline.SameIndices(remade))
	require.NoError(t, json.Unmarshal([]byte("null"), &back))
	require.True(t, back.IsZero())
}

func TestWritesSince(t *testing.T) {
	indices := []Index{
		{Name: "counts-on", Writes: 12},
		{Name: "began-again", Writes: 4},
		{Name: "new", Writes: 1, Docs: 9},
		{Name: "still", Writes: 7},
	}
	require.EqualValues(t, 2+4+9, WritesSince(indices, map[string]int64{
		"counts-on": 10, "began-again": 100,
		"still": 7,
	}))
	require.Equal(t, map[string]int64{"counts-on": 12, "began-again": 4, "new": 1, "still": 7}, CountedWrites(indices))
}

func TestLeftBehind(t *testing.T) {
	counters := WriteCounters{"c": {}, "a": {}, "b": {}}
	require.Equal(t, []string{"a", "c"}, LeftBehind(counters, []string{"b", "d"}))
	require.Empty(t, LeftBehind(nil, []string{"b"}))
}
