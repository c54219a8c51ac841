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
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyauth "github.com/aws/smithy-go/auth"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// direct sends ranged GETs past the SDK's stack of middleware, which costs more CPU than everything
// else in the copy of a small blob.
//
// Nothing is guessed. The SDK's own resolver gives endpoint, path and region, its signer signs, and
// its connections are used. direct waits until the SDK has read a range with success from that very
// endpoint, since the SDK reads more settings than the resolver is told. Whatever is not a plain
// success, or a plain error of the object, goes through the SDK: it knows about wrong clocks,
// redirects and missing credentials.
type direct struct {
	client      aws.HTTPClient
	signer      *v4.Signer
	credentials aws.CredentialsProvider
	endpoint    *endpoint // nil if only the SDK can read this bucket
	// userAgent is that of the first range that the SDK has read with success; nil before.
	userAgent atomic.Pointer[string]
}

// endpoint is where the objects of a bucket stand.
type endpoint struct {
	scheme, host  string
	path, rawPath string // before the key: plain, and escaped
	signingName   string
	signingRegion string
}

// asked tells whether a request of the SDK went to this endpoint, signed for its region.
func (e *endpoint) asked(r *http.Request) bool {
	return e != nil && r.URL.Scheme == e.scheme && r.URL.Host == e.host &&
		strings.Contains(r.Header.Get("Authorization"), "/"+e.signingRegion+"/"+e.signingName+"/")
}

// noPayload is the SHA-256 of an empty body, as the SDK sends it with a GET.
const noPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func newDirect(client aws.HTTPClient) *direct {
	return &direct{client: client, signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
}

// Do implements aws.HTTPClient for the SDK.
func (d *direct) Do(r *http.Request) (*http.Response, error) {
	response, err := d.client.Do(r)
	if err == nil && r.Method == http.MethodGet && response.StatusCode == http.StatusPartialContent &&
		d.userAgent.Load() == nil && d.endpoint.asked(r) {
		userAgent := r.Header.Get("User-Agent")
		d.userAgent.Store(&userAgent)
	}
	return response, err
}

// resolve asks the SDK's resolver for the endpoint of a bucket, as the SDK itself does for each
// request. It gives nil where requests are not signed in the usual way (S3 Express, multi-region
// access points, no credentials), and where the resolver refuses: then the SDK says why.
func resolve(ctx context.Context, bucket string, o s3.Options) *endpoint {
	if o.Credentials == nil {
		return nil
	}
	found, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket:  &bucket,
		Region:  &o.Region,
		UseFIPS: aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(
			o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		Endpoint:                       o.BaseEndpoint,
		ForcePathStyle:                 aws.Bool(o.UsePathStyle),
		Accelerate:                     aws.Bool(o.UseAccelerate),
		DisableMultiRegionAccessPoints: aws.Bool(o.DisableMultiRegionAccessPoints),
		UseArnRegion:                   aws.Bool(o.UseARNRegion),
		DisableS3ExpressSessionAuth:    o.DisableS3ExpressSessionAuth,
	})
	if err != nil || len(found.Headers) > 0 {
		return nil
	}
	schemes, _ := smithyauth.GetAuthOptions(&found.Properties)
	for _, scheme := range schemes {
		if scheme.SchemeID != "sigv4" { // as the resolver's rules name it
			continue
		}
		name, _ := smithyhttp.GetSigV4SigningName(&scheme.SignerProperties)
		region, _ := smithyhttp.GetSigV4SigningRegion(&scheme.SignerProperties)
		if name != "s3" || region == "" {
			return nil
		}
		return &endpoint{
			scheme: found.URI.Scheme, host: found.URI.Host, signingName: name, signingRegion: region,
			path: beforeKey(found.URI.Path), rawPath: beforeKey(found.URI.EscapedPath()),
		}
	}
	return nil
}

// beforeKey is the path of an endpoint as the SDK puts it in front of a key.
func beforeKey(path string) string { return strings.TrimSuffix(smithyhttp.JoinPath(path, "/k"), "k") }

// get reads a range. ok is false if the SDK has to do it.
func (d *direct) get(ctx context.Context, full, etag string,
	offset, length int64,
) (response *http.Response, ok bool, err error) {
	at, userAgent := d.endpoint, d.userAgent.Load()
	if at == nil || userAgent == nil {
		return nil, false, nil
	}
	credentials, err := d.credentials.Retrieve(ctx)
	if err != nil {
		return nil, false, nil //nolint:nilerr // the SDK reports it
	}
	r := (&http.Request{
		Method: http.MethodGet,
		URL: &url.URL{
			Scheme: at.scheme, Host: at.host, Path: at.path + full,
			RawPath: at.rawPath + httpbinding.EscapePath(full, false),
		},
		Host:  at.host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Range": {"bytes=" + strconv.FormatInt(offset, 10) + "-" +
				strconv.FormatInt(offset+length-1, 10)},
			"User-Agent":           {*userAgent},
			"Accept-Encoding":      {"identity"}, // else net/http would ask for gzip, and unpack it
			"X-Amz-Content-Sha256": {noPayload},
		},
	}).WithContext(ctx)
	if etag != "" {
		r.Header["If-Match"] = []string{`"` + etag + `"`}
	}
	if err := d.signer.SignHTTP(ctx, credentials, r, noPayload, at.signingName, at.signingRegion,
		time.Now()); err != nil {
		return nil, false, nil //nolint:nilerr // the SDK reports it
	}
	response, err = d.client.Do(r)
	return response, true, err
}

// readDirect is ReadRange without the SDK. ok is false if the SDK has to do it.
func (s *Source) readDirect(ctx context.Context, full, etag string,
	offset, length int64,
) (b objectstore.Body, ok bool, err error) {
	response, ok, err := s.direct.get(ctx, full, etag, offset, length)
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
	case status == http.StatusNotFound, status == http.StatusPreconditionFailed, status == http.StatusTooManyRequests,
		status >= 500:
		return b, true, s.refused(full, response)
	}
	drain(response.Body)
	return b, false, nil
}

// refused makes the port's error of an answer that is an error.
func (s *Source) refused(full string, response *http.Response) error {
	var said struct{ Code, Message string }
	const most = 64 << 10
	// if it can't be read or parsed, code and message stay empty
	body, _ := io.ReadAll(io.LimitReader(response.Body, most))
	_ = xml.Unmarshal(body, &said)
	drain(response.Body)
	e := s.fail(objectstore.KindOfStatus(response.StatusCode, said.Code), "GetObject", full, said.Message)
	e.Status, e.Code, e.RequestID, e.RetryAfter = response.StatusCode, said.Code, response.Header.Get(
		"X-Amz-Request-Id"), retryAfter(response.Header)
	return e
}

// drain reads the rest of a body, so that its connection can be reused. To read a few bytes is
// faster than to open a connection.
func drain(body io.ReadCloser) {
	const worthReading = 64 << 10
	_, _ = io.CopyN(io.Discard, body, worthReading)
	_ = body.Close()
}

// body gives the port's errors while it is read. When it is closed, its connection can be reused.
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
	if err == io.EOF { // readers give io.EOF itself
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
