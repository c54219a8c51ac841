package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// direct sends ranged GETs past the SDK's stack of middleware, which costs more CPU than all the rest of copying a small blob. Nothing is
// guessed: endpoint, path, region and headers are those of the first GET that the SDK itself has sent with success, the signature is
// the SDK's signer's, the connections are the SDK's. What isn't a plain success or a plain error of the object goes through the SDK, which
// knows about clocks that are wrong, redirects, and credentials that are missing.
type direct struct {
	client      aws.HTTPClient
	signer      *v4.Signer
	credentials aws.CredentialsProvider
	learned     atomic.Pointer[example]
}

// example is what a GetObject of the SDK has in common with the next one.
type example struct {
	scheme, host string
	prefix       string // of the escaped path, before the key
	region       string // for the signature
	payload      string // X-Amz-Content-Sha256
	userAgent    string
}

func newDirect(client aws.HTTPClient) *direct {
	return &direct{client: client, signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
}

type learnKey struct{}

// learning marks a GetObject of the SDK, on the full key, as an example.
func learning(ctx context.Context, full string) context.Context {
	return context.WithValue(ctx, learnKey{}, full)
}

// Do implements aws.HTTPClient for the SDK.
func (d *direct) Do(r *http.Request) (*http.Response, error) {
	response, err := d.client.Do(r)
	if err == nil && response.StatusCode == http.StatusPartialContent && d.learned.Load() == nil {
		if full, ok := r.Context().Value(learnKey{}).(string); ok {
			d.learned.Store(learn(r, full))
		}
	}
	return response, err
}

// learn gives nil for a request that isn't signed in the usual way (S3 Express, multi-region access points).
func learn(r *http.Request, full string) *example {
	prefix, ok := strings.CutSuffix(r.URL.EscapedPath(), httpbinding.EscapePath(full, false))
	credential, isV4 := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	scope := strings.Split(credential, "/") // key, date, region, service, aws4_request and the rest
	if !ok || !isV4 || len(scope) < 5 || scope[3] != "s3" || r.Header.Get("X-Amz-S3session-Token") != "" {
		return nil
	}
	return &example{scheme: r.URL.Scheme, host: r.URL.Host, prefix: prefix, region: scope[2], payload: r.Header.Get("X-Amz-Content-Sha256"),
		userAgent: r.Header.Get("User-Agent")}
}

// get reads a range. ok is false if the SDK has to do it.
func (d *direct) get(ctx context.Context, full, etag string, offset, length int64) (response *http.Response, ok bool, err error) {
	like := d.learned.Load()
	if like == nil {
		return nil, false, nil
	}
	credentials, err := d.credentials.Retrieve(ctx)
	if err != nil {
		return nil, false, nil //nolint:nilerr // the SDK will say it better
	}
	escaped := like.prefix + httpbinding.EscapePath(full, false)
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, false, nil //nolint:nilerr // can't be: it was escaped here
	}
	r := (&http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: like.scheme, Host: like.host, Path: path, RawPath: escaped}, Host: like.host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Range":                {"bytes=" + strconv.FormatInt(offset, 10) + "-" + strconv.FormatInt(offset+length-1, 10)},
			"User-Agent":           {like.userAgent},
			"Accept-Encoding":      {"identity"}, // or net/http would ask for gzip, and unpack it
			"X-Amz-Content-Sha256": {like.payload},
		},
	}).WithContext(ctx)
	if etag != "" {
		r.Header["If-Match"] = []string{`"` + etag + `"`}
	}
	if err := d.signer.SignHTTP(ctx, credentials, r, like.payload, "s3", like.region, time.Now()); err != nil {
		return nil, false, nil //nolint:nilerr // the SDK will say it better
	}
	response, err = d.client.Do(r)
	return response, true, err
}

// readDirect is ReadRange past the SDK; ok is false if the SDK has to do it.
func (s *Source) readDirect(ctx context.Context, full, etag string, offset, length int64) (b objectstore.Body, ok bool, err error) {
	response, ok, err := s.direct.get(ctx, full, etag, offset, length) //nolint:bodyclose // by the body that is returned
	if !ok {
		return b, false, nil
	}
	if err != nil {
		return b, true, s.wrap(ctx, "GetObject", full, err)
	}
	h := response.Header
	switch status := response.StatusCode; {
	case status == http.StatusPartialContent, status == http.StatusOK:
		if err := s.beginsAt(full, h.Get("Content-Range"), offset); err != nil {
			_ = response.Body.Close()
			return b, true, err
		}
		got := objectstore.Unquote(h.Get("ETag"))
		customer := h.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm")
		return objectstore.Body{
			ReadCloser: s.body(ctx, full, response.Body), ETag: got,
			ETagIsMD5: isMD5(got, types.ServerSideEncryption(h.Get("X-Amz-Server-Side-Encryption")), &customer),
		}, true, nil
	case status == http.StatusNotFound, status == http.StatusPreconditionFailed, status == http.StatusTooManyRequests, status >= 500:
		return b, true, s.refused(full, response)
	}
	drain(response.Body)
	return b, false, nil
}

// refused makes the port's error of an answer that is one.
func (s *Source) refused(full string, response *http.Response) error {
	var said struct{ Code, Message string }
	const most = 64 << 10
	body, _ := io.ReadAll(io.LimitReader(response.Body, most)) // what can't be read or parsed says nothing
	_ = xml.Unmarshal(body, &said)
	drain(response.Body)
	e := s.fail(objectstore.KindOfStatus(response.StatusCode, said.Code), "GetObject", full, said.Message)
	e.Status, e.Code, e.RequestID, e.RetryAfter = response.StatusCode, said.Code, response.Header.Get("X-Amz-Request-Id"), retryAfter(response.Header)
	return e
}

// drain leaves a connection usable. A few bytes are read faster than a connection is opened.
func drain(body io.ReadCloser) {
	const worthReading = 64 << 10
	_, _ = io.CopyN(io.Discard, body, worthReading)
	_ = body.Close()
}

// body gives the port's errors while it is read, and leaves the connection usable when it is closed.
type body struct {
	io.ReadCloser
	ctx    context.Context
	source *Source
	full   string
	ended  bool
}

func (s *Source) body(ctx context.Context, full string, opened io.ReadCloser) *body {
	return &body{ReadCloser: opened, ctx: ctx, source: s, full: full}
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.ended = true
	if err == io.EOF { //nolint:errorlint // readers give io.EOF itself
		return n, err
	}
	return n, b.source.wrap(b.ctx, "GetObject", b.full, fmt.Errorf("the body broke off: %w", err))
}

func (b *body) Close() error {
	if b.ended || b.ctx.Err() != nil {
		return b.ReadCloser.Close()
	}
	drain(b.ReadCloser)
	return nil
}
