package elastic

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// Amazon keeps an index in one of three tiers. A hot one lies on the disks of data nodes. A warm one
// (UltraWarm) lies in S3 and belongs to the cluster, read-only: no snapshot takes it together with
// a hot one, and none takes two of them. A cold one lies in S3 and belongs to no cluster; only calls
// below _cold show it. (Amazon OpenSearch Service Developer Guide: UltraWarm storage, Cold storage.)

// boxType says on which nodes an index lies. Amazon sets it to warm when it moves an index to
// UltraWarm storage, and lets nobody give nodes such an attribute.
const (
	boxType     = "index.routing.allocation.require.box_type"
	boxTypeWarm = "warm"
)

// Warm tells whether an index of Amazon's is in UltraWarm storage, which there is from 6.8 on.
func (i Index) Warm(cluster Version) bool {
	return cluster.AtLeast(6, 8) && i.Settings[boxType] == boxTypeWarm
}

// MakeWarmHot is the request with which Amazon moves an index from UltraWarm to hot storage.
func MakeWarmHot(index string) string {
	return "POST /_ultrawarm/migration/" + segment(index) + "/_hot"
}

// MakeColdWarm is the request with which Amazon moves indices from cold to UltraWarm storage.
func MakeColdWarm(indices string) string {
	return fmt.Sprintf("POST /_cold/migration/_warm {\"indices\": %q}", indices)
}

// coldPage is how many indices one answer names, and mostColdPages bounds the answers.
const (
	coldPage      = 100
	mostColdPages = 1000
)

// ColdIndices names the indices in Amazon's cold storage, sorted. There are none before 7.9, and
// none where nothing answers to the call.
func (c *Client) ColdIndices(ctx context.Context) ([]string, error) {
	version, err := c.Version(ctx)
	if err != nil || !version.AtLeast(7, 9) {
		return nil, err
	}
	var names []string
	after := "" // the pagination id of the page before
	for range mostColdPages {
		var page struct {
			PaginationID string `json:"pagination_id"`
			Total        int    `json:"total_results"`
			Indices      []struct {
				Index string `json:"index"`
			} `json:"indices"`
		}
		request := jsonRequest{http.MethodGet, fmt.Sprintf("/_cold/indices/_search?page_size=%d", coldPage), nil}
		if after != "" {
			request.content = body(map[string]string{"pagination_id": after})
		}
		err := c.do(ctx, call{operation: "list the indices in cold storage"}, request, &page)
		switch KindOf(err) {
		case None:
		case NotSupported, Missing, Invalid: // without that storage, _cold is no valid name of an index
			return nil, nil
		default:
			return nil, err
		}
		for _, index := range page.Indices {
			names = append(names, index.Index)
		}
		if len(page.Indices) == 0 || len(names) >= page.Total || page.PaginationID == "" {
			break
		}
		after = page.PaginationID
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
