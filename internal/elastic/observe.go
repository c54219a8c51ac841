package elastic

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"

	"github.com/snapferry/snapferry/internal/redact"
)

// Exchange is a request that changes something on the cluster, and what came of it. It holds no
// secret.
type Exchange struct {
	At   time.Time
	Took time.Duration
	// Method and Path are those of the request, the path with its query. Body is JSON, or lines of it.
	Method, Path, Body string
	// Status and Answer are empty if no answer came; Failure says why then.
	Status          int
	Answer, Failure string
}

// Bounds of an exchange, in bytes. A list of indices may fill a path of 4 KB.
const (
	longestExchangePath   = 4 << 10
	longestExchangeBody   = 16 << 10
	longestExchangeAnswer = 1 << 10
)

// Observed is this client, with somebody who is told of each request that may have changed something.
// Both share their connections. observe is called by the goroutine that sends the request.
func (c *Client) Observed(observe func(Exchange)) *Client {
	return &Client{wire: c.wire, observe: observe}
}

// reading are the last parts of paths to which a POST only asks something.
var reading = map[string]bool{
	"_search": true, "scroll": true, "_count": true, "_refresh": true, "explain": true,
}

func changes(r *http.Request) bool {
	switch r.Method {
	case http.MethodPut, http.MethodPost, http.MethodDelete:
		path := strings.TrimRight(r.URL.Path, "/")
		return !reading[path[strings.LastIndexByte(path, '/')+1:]]
	}
	return false
}

// recorder is a transport that remembers the last request.
type recorder struct {
	next esapi.Transport
	sent *http.Request
	body []byte
}

// Perform implements [esapi.Transport].
func (r *recorder) Perform(request *http.Request) (*http.Response, error) {
	r.sent, r.body = nil, nil
	if changes(request) {
		r.sent = request
		if request.Body != nil {
			text, err := io.ReadAll(request.Body)
			if err != nil {
				return nil, err
			}
			_ = request.Body.Close()
			r.body, request.Body = text, io.NopCloser(bytes.NewReader(text))
		}
	}
	return r.next.Perform(request)
}

// inJSON makes strings of what stands for secrets, so that JSON stays JSON.
func inJSON(body string) string {
	return strings.ReplaceAll(body, `":`+redact.Mark, `":"`+redact.Mark+`"`)
}

// observed sends a request, and tells of it.
func (c *Client) observed(ctx context.Context, request esapi.Request,
) (response *esapi.Response, tell func(answer []byte, err error), err error) {
	if c.observe == nil {
		response, err = request.Do(ctx, c.transport)
		return response, func([]byte, error) {}, err
	}
	r := &recorder{next: c.transport}
	began := time.Now()
	response, err = request.Do(ctx, r)
	tell = func(answer []byte, err error) {
		if r.sent == nil {
			return
		}
		path := r.sent.URL.EscapedPath()
		if r.sent.URL.RawQuery != "" {
			path += "?" + r.sent.URL.RawQuery
		}
		shown := func(text []byte, most int) string { return c.redactor.beginning(text, most) }
		e := Exchange{
			At: began, Took: time.Since(began), Method: r.sent.Method, Path: shown([]byte(path), longestExchangePath),
			Body: inJSON(shown(r.body, longestExchangeBody)),
		}
		if response != nil {
			e.Status, e.Answer = response.StatusCode, shown(answer, longestExchangeAnswer)
		}
		if err != nil {
			e.Failure = shown([]byte(err.Error()), longestExchangeAnswer)
		}
		c.observe(e)
	}
	return response, tell, err
}
