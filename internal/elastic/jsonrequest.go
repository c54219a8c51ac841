package elastic

import (
	"context"
	"io"
	"net/http"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// jsonRequest is a call that esapi lacks: a newer one of Elasticsearch, or one of a vendor.
type jsonRequest struct {
	method, path string
	content      io.Reader // nil sends none
}

// Do implements [esapi.Request].
func (r jsonRequest) Do(ctx context.Context, to esapi.Transport) (*esapi.Response, error) {
	request, err := http.NewRequestWithContext(ctx, r.method, r.path, r.content)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := to.Perform(request) //nolint:bodyclose // Client.do closes it
	if err != nil {
		return nil, err
	}
	return &esapi.Response{StatusCode: response.StatusCode, Header: response.Header, Body: response.Body}, nil
}
