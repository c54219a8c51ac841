package elastic

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/elastic/go-elasticsearch/v7/esapi"
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
	request := coldRequest{}
	for range mostColdPages {
		var page struct {
			PaginationID string `json:"pagination_id"`
			Total        int    `json:"total_results"`
			Indices      []struct {
				Index string `json:"index"`
			} `json:"indices"`
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
		request.after = page.PaginationID
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// coldRequest asks for a page of the indices in cold storage. esapi has no call of Amazon's.
type coldRequest struct {
	after string // the pagination id of the page before
}

// Do implements [esapi.Request].
func (r coldRequest) Do(ctx context.Context, to esapi.Transport) (*esapi.Response, error) {
	var content []byte
	if r.after != "" {
		content = fmt.Appendf(nil, `{"pagination_id":%q}`, r.after)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("/_cold/indices/_search?page_size=%d", coldPage), bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := to.Perform(request) //nolint:bodyclose // it goes to the caller, as from each call of esapi
	if err != nil {
		return nil, err
	}
	return &esapi.Response{StatusCode: response.StatusCode, Body: response.Body, Header: response.Header}, nil
}
