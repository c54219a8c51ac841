package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
)

// What 2.4.6 and 5.5.3 show of the same index is the same, and what differs still differs.
func TestMappingsOf2x(t *testing.T) {
	const source = `{"product":{"properties":{"type":{"type":"string"},"sku":{"type":"string","index":"not_analyzed"},"when":{"type":"date","format":"yyyy"},
		"n":{"type":"string","norms":{"enabled":false},"fields":{"raw":{"type":"string","index":"not_analyzed"}}},"o":{"properties":{"p":{"type":"string","index":"not_analyzed"}}}}}}`
	const target = `{"product":{"properties":{"type":{"type":"string"},"sku":{"type":"string","index":"not_analyzed","fielddata":false},"when":{"type":"date","format":"yyyy"},
		"n":{"type":"string","norms":false,"fields":{"raw":{"type":"string","index":"not_analyzed","fielddata":false}}},"o":{"properties":{"p":{"type":"string","index":"not_analyzed","fielddata":false}}}}}}`
	same := func(d defining, a, b string) bool {
		shown := func(raw string) elastic.Mapping {
			return elastic.Mapping{Types: []string{"product"}, Raw: []byte(raw)}
		}
		return equalJSON(d.mapping(shown(a)), d.mapping(shown(b)))
	}
	require.True(t, same(defining{oldStrings: true}, source, target))
	require.False(t, same(defining{}, source, target))
	for _, other := range []string{
		`{"product":{"properties":{"n":{"type":"string","norms":true}}}}`,
		`{"product":{"properties":{"n":{"type":"string","norms":{"enabled":false},"fielddata":{"format":"disabled"}}}}}`,
		`{"product":{"properties":{"n":{"type":"text","norms":false,"fielddata":false}}}}`,
		`{"product":`,
	} {
		require.False(t, same(defining{oldStrings: true},
			`{"product":{"properties":{"n":{"type":"string","norms":{"enabled":false}}}}}`, other), other)
	}
}
