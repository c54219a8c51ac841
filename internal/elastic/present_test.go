package elastic_test

import (
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPresentTellsIndicesAliasesAndAbsentNamesApart(t *testing.T) {
	fake, client := newFake(t, "5.5.3", map[string]answer{
		"GET /a,b,films,more,gone,lost/_settings": ok(
			`{"a":{"settings":{"index.uuid":"u1","index.blocks.write":"true"}},"b":{"settings":{"index.uuid":"u2"}},` +
				`"other":{"settings":{"index.uuid":"u3"}},"lost":{"settings":{"index.uuid":"u4"}}}`),
		"GET /a,b,lost,other/_alias": ok(
			`{"a":{"aliases":{"more":{}}},"b":{"aliases":{}},"other":{"aliases":{"films":{},"unasked":{}}}}`),
		"GET /_cluster/state/metadata/a,b,lost": ok(
			`{"metadata":{"indices":{"a":{"state":"open"},"b":{"state":"close"}}}}`),
	})
	indices, aliases, err := client.Present(t.Context(), []string{"a", "b", "films", "more", "gone", "lost"})
	require.NoError(t, err)
	assert.Equal(t, []string{"films", "more"}, aliases)
	require.Len(t, indices, 2, "one was deleted between the requests")
	assert.True(t, indices["a"].Open)
	assert.Equal(t, "u1", indices["a"].UUID)
	assert.Equal(t, "true", indices["a"].Blocks["index.blocks.write"])
	assert.False(t, indices["b"].Open)
	assert.Contains(t, fake.lines()[0], "ignore_unavailable=true")
	assert.Contains(t, fake.lines()[1], "ignore_unavailable=true")
}

func TestPresentWhereNothingIs(t *testing.T) {
	fake, client := newFake(t, "5.5.3", map[string]answer{"GET /gone/_settings": ok(`{}`)})
	indices, aliases, err := client.Present(t.Context(), []string{"gone"})
	require.NoError(t, err)
	assert.Empty(t, indices)
	assert.Empty(t, aliases)
	assert.Len(t, fake.lines(), 1)
	_, _, err = client.Present(t.Context(), nil)
	assert.Equal(t, elastic.Invalid, elastic.KindOf(err))
}
