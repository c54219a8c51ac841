package elastic_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
)

// A node that has just been started has no index until it has read its state, and says so by 404
// (seen on 5.5.2). That index is not gone.
func TestAnIndexIsNotGoneWhileTheClusterReadsItsState(t *testing.T) {
	for name, c := range map[string]struct {
		state answer
		kind  elastic.Kind
	}{
		"it reads its state": {
			ok(`{"blocks":{"global":{"1":{"description":"state not recovered / initialized"}}}}`), elastic.Unavailable,
		},
		"no elected master":    {ok(`{"blocks":{"global":{"2":{"description":"no master"}}}}`), elastic.Unavailable},
		"it has read it since": {ok(`{"metadata":{"indices":{"a":{"state":"open"}}}}`), elastic.Unavailable},
		"it is gone again":     {answer{503, `{"message":"Service Unavailable"}`}, elastic.Unavailable},
		"really gone":          {ok(`{}`), elastic.Missing},
		"read-only cluster":    {ok(`{"blocks":{"global":{"6":{"description":"cluster read-only"}}}}`), elastic.Missing},
		"a front end refuses":  {answer{401, `{"Message":"Your request is not allowed."}`}, elastic.Missing},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newFake(t, "5.5.2", map[string]answer{
				"GET /a/_settings": {404, `{"error":{"type":"index_not_found_exception","reason":"no such index",` +
					`"resource.id":"a","index":"a"},"status":404}`},
				"GET /_cluster/state/blocks,metadata/a": c.state,
			})
			_, err := client.IndexSettings(t.Context(), []string{"a"})
			require.Equal(t, c.kind, elastic.KindOf(err), "%v", err)
			require.ErrorContains(t, err, "no such index [a]")
		})
	}
}
