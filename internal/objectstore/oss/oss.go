// Package oss is the Sink on Alibaba Cloud Object Storage Service (OSS).
package oss

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/version"
)

// Options say where the bucket is and who writes it.
type Options struct {
	// Endpoint is OSS's URL without the bucket.
	Endpoint string
	Bucket   string
	BasePath string
	// Region without oss-, for signatures of version 4. Without it requests are signed with version 1, which new buckets of
	// aliyuncs.com refuse.
	Region          string
	AccessKeyID     string
	AccessKeySecret string
	SecurityToken   string
	// Concurrency is how many requests run at once: so many idle connections are kept.
	Concurrency int

	roots *x509.CertPool // for tests; nil means the system's
}

const (
	connectTimeout = 10 * time.Second
	// stallTimeout ends a connection that takes no more bytes, should the caller not do so earlier. The SDK's own is lost with its
	// transport.
	stallTimeout = 60 * time.Second
	// answerTimeout is how long OSS may stay silent: completing an upload of many parts takes its time.
	answerTimeout = 5 * time.Minute
	// idleTimeout is shorter than OSS's: the SDK's requests can't be sent again by net/http when a kept connection turns out
	// to be closed.
	idleTimeout = 30 * time.Second
)

// Sink writes one base path of one bucket.
type Sink struct {
	base   objectstore.Base
	client *oss.Client
	bucket *oss.Bucket
}

var _ objectstore.Sink = (*Sink)(nil)

// New makes a Sink. It calls nobody.
func New(o Options) (*Sink, error) {
	base, err := objectstore.NewBase(o.Bucket, o.BasePath)
	if err != nil {
		return nil, err
	}
	options := []oss.ClientOption{
		oss.HTTPClient(httpClient(o.Concurrency, o.roots)),
		// The transfer compares what the service says it has stored with what was read; a hash here would be the second one.
		oss.EnableCRC(false), oss.EnableMD5(false),
		oss.UserAgent(version.UserAgent()),
	}
	if o.SecurityToken != "" {
		options = append(options, oss.SecurityToken(o.SecurityToken))
	}
	if o.Region != "" {
		options = append(options, oss.Region(strings.TrimPrefix(o.Region, "oss-")), oss.AuthVersion(oss.AuthV4))
	}
	client, err := oss.New(o.Endpoint, o.AccessKeyID, o.AccessKeySecret, options...)
	if err != nil {
		return nil, &objectstore.Error{Kind: objectstore.Invalid, Op: "open OSS at " + o.Endpoint, Bucket: o.Bucket, Message: err.Error()}
	}
	bucket, err := client.Bucket(o.Bucket)
	if err != nil {
		return nil, &objectstore.Error{Kind: objectstore.Invalid, Op: "open bucket", Bucket: o.Bucket, Message: err.Error()}
	}
	return &Sink{base: base, client: client, bucket: bucket}, nil
}

// contentType is set on every object: the SDK would guess it from the host's MIME tables.
const contentType = "application/octet-stream"

// request is one call: it keeps the answer's header, which the SDK's errors don't hold.
type request struct {
	sink   *Sink
	ctx    context.Context
	op     string
	key    string // full
	header http.Header
}

// on begins a call on an object.
func (s *Sink) on(ctx context.Context, op, key string) (*request, error) {
	full, err := s.base.Key(key)
	return &request{sink: s, ctx: ctx, op: op, key: full}, err
}

// options are those of every call, before its own.
func (r *request) options(more ...oss.Option) []oss.Option {
	return append([]oss.Option{oss.WithContext(r.ctx), oss.GetResponseHeader(&r.header)}, more...)
}
