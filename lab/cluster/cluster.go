// Package cluster speaks to an Elasticsearch cluster in the few words that the lab's loaders,
// writers and tests need: any request with JSON, bulk indexing, refresh, count, version. It shares
// no code with package elastic, which it helps to test: a mistake in one of them is not made twice.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Client is a cluster at an address. HTTP signs or authenticates; the address has no secrets in it.
type Client struct {
	URL  string // http://HOST:PORT
	HTTP *http.Client
}

// StatusError is an answer whose status is not 2xx.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

func (e *StatusError) Error() string {
	body := e.Body
	if len(body) > 1000 {
		body = body[:1000] + " ..."
	}
	return fmt.Sprintf("%s %s: HTTP %d: %s", e.Method, e.Path, e.Status, body)
}

// Do sends a request and decodes the answer's JSON into out, unless that is nil. A body that is a
// string or []byte is sent as it is, nil sends none, anything else goes as JSON. The path is sent
// as given: escape what needs it.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("%s %s: no JSON of the body: %w", method, path, err)
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, reader)
	if err != nil {
		return err
	}
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: the answer broke off: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		return &StatusError{Method: method, Path: path, Status: response.StatusCode, Body: string(text)}
	}
	if out == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(out); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, path, err)
	}
	return nil
}

// Document is one document to index. An empty routing is the default one.
type Document struct {
	ID, Routing string
	Source      any
}

// Bulk indexes documents in one request and fails if any of them was refused. An empty type is for
// clusters that have none.
func (c *Client) Bulk(ctx context.Context, index, docType string, documents []Document) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, d := range documents {
		action := map[string]string{"_index": index, "_id": d.ID}
		if docType != "" {
			action["_type"] = docType
		}
		if d.Routing != "" {
			action["routing"] = d.Routing
		}
		if err := encoder.Encode(map[string]any{"index": action}); err != nil {
			return err
		}
		if err := encoder.Encode(d.Source); err != nil {
			return fmt.Errorf("document %s: %w", d.ID, err)
		}
	}
	var answer struct {
		Errors bool
		Items  []map[string]struct {
			ID     string `json:"_id"`
			Status int
			Error  json.RawMessage
		}
	}
	if err := c.Do(ctx, http.MethodPost, "/_bulk", body.Bytes(), &answer); err != nil {
		return err
	}
	if !answer.Errors {
		return nil
	}
	for _, item := range answer.Items {
		for action, result := range item {
			if result.Status/100 != 2 {
				return fmt.Errorf("bulk %s of %s/%s: HTTP %d: %s", action, index, result.ID, result.Status,
					result.Error)
			}
		}
	}
	return fmt.Errorf("bulk request to %s: the answer reports errors but names none", index)
}

// Refresh makes what was written visible to counts and searches.
func (c *Client) Refresh(ctx context.Context, index string) error {
	return c.Do(ctx, http.MethodPost, "/"+url.PathEscape(index)+"/_refresh", nil, nil)
}

// Count is the number of documents that searches see.
func (c *Client) Count(ctx context.Context, index string) (int64, error) {
	var answer struct{ Count int64 }
	err := c.Do(ctx, http.MethodGet, "/"+url.PathEscape(index)+"/_count", nil, &answer)
	return answer.Count, err
}

// Version is what the cluster says of itself, such as 5.5.2.
func (c *Client) Version(ctx context.Context) (string, error) {
	var answer struct{ Version struct{ Number string } }
	err := c.Do(ctx, http.MethodGet, "/", nil, &answer)
	return answer.Version.Number, err
}

// Typeless tells whether the cluster refuses mapping types: from 8.0 on.
func (c *Client) Typeless(ctx context.Context) (bool, error) {
	version, err := c.Version(ctx)
	major, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(major)
	return n >= 8, err
}

// DocumentPath is the path of a document of an index with that mapping type.
func (c *Client) DocumentPath(ctx context.Context, index, docType, id string) (string, error) {
	typeless, err := c.Typeless(ctx)
	if typeless {
		docType = "_doc"
	}
	return "/" + url.PathEscape(index) + "/" + url.PathEscape(docType) + "/" + url.PathEscape(id), err
}
