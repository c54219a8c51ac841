// Package oss is the Sink on Alibaba Cloud Object Storage Service (OSS), on Alibaba's Go SDK.
//
// It replaces two parts of the SDK. The SDK's transport dials without a context, so a cancelled
// call would hang: transport.go has its own, with time limits for a connection that makes no
// progress. The SDK's uploads hide from the connection that a body can lend its memory: write.go
// sends bodies itself. The SDK signs each request and parses each answer.
//
// Nothing here retries, and the caller compares the checksums.
package oss

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/skew"
	"github.com/snapferry/snapferry/internal/version"
)

// Options say where the bucket is and who writes it.
type Options struct {
	// Endpoint is OSS's URL without the bucket.
	Endpoint string
	Bucket   string
	BasePath string
	// Region is for signatures of version 4; the prefix oss- may be left out. Without a region,
	// requests are signed with version 1, which new buckets of aliyuncs.com refuse.
	Region          string
	AccessKeyID     string
	AccessKeySecret string
	SecurityToken   string
	// Concurrency is how many requests run at the same time: so many idle connections are kept.
	Concurrency int

	// Again reads the key again once OSS has refused it, since it may have been renewed. It may be
	// nil.
	Again func(context.Context) (Key, error)
	// CACert is a PEM bundle to trust instead of the system's.
	CACert []byte
}

// Key is an access key, with a token if it is temporary.
type Key struct{ AccessKeyID, AccessKeySecret, SecurityToken string }

// Key is the key that the options begin with.
func (o Options) Key() Key { return Key{o.AccessKeyID, o.AccessKeySecret, o.SecurityToken} }

const (
	connectTimeout = 10 * time.Second
	// stallTimeout ends a connection that takes no more bytes, if the caller doesn't do so earlier.
	// It replaces that of the SDK's transport.
	stallTimeout = 60 * time.Second
	// answerTimeout is how long OSS may take to answer: to complete an upload of many parts is
	// slow.
	answerTimeout = 5 * time.Minute
	// idleTimeout is shorter than OSS's: if OSS has closed an idle connection, net/http can't send
	// the SDK's request again.
	idleTimeout = 30 * time.Second
)

// Sink writes one base path of one bucket.
type Sink struct {
	base   objectstore.Base
	client *oss.Client
	bucket *oss.Bucket
	key    *renewedKey
	clock  skew.Clock
	now    func() time.Time
}

var _ objectstore.Sink = (*Sink)(nil)

// New makes a Sink. It sends no request.
func New(o Options) (*Sink, error) {
	base, err := objectstore.NewBase(o.Bucket, o.BasePath)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if o.CACert != nil {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(o.CACert) {
			return nil, &objectstore.Error{
				Kind: objectstore.Invalid, Op: "trust the certificate authorities for", Bucket: o.Bucket,
				Message: "the CA certificate isn't in PEM form",
			}
		}
	}
	key := newRenewedKey(o)
	options := []oss.ClientOption{
		oss.HTTPClient(httpClient(o.Concurrency, roots)), oss.SetCredentialsProvider(key),
		// The caller compares the service's checksums with its own; a hash here would be the second
		// one.
		oss.EnableCRC(false), oss.EnableMD5(false),
		oss.UserAgent(version.UserAgent()),
	}
	if o.Region != "" {
		options = append(options, oss.Region(strings.TrimPrefix(o.Region, "oss-")), oss.AuthVersion(oss.AuthV4))
	}
	client, err := oss.New(o.Endpoint, o.AccessKeyID, o.AccessKeySecret, options...)
	if err != nil {
		return nil, &objectstore.Error{
			Kind: objectstore.Invalid, Op: "open OSS at " + o.Endpoint, Bucket: o.Bucket,
			Message: err.Error(),
		}
	}
	bucket, err := client.Bucket(o.Bucket)
	if err != nil {
		return nil, &objectstore.Error{
			Kind: objectstore.Invalid, Op: "open bucket", Bucket: o.Bucket,
			Message: err.Error(),
		}
	}
	return &Sink{base: base, client: client, bucket: bucket, key: key, now: time.Now}, nil
}

// contentType is set on every object; else the SDK would guess it from the host's MIME tables.
const contentType = "application/octet-stream"

// request is one call: it keeps the answer's header, which the SDK's errors don't hold.
type request struct {
	sink   *Sink
	ctx    context.Context
	op     string
	key    string // full
	header http.Header
	ahead  time.Duration // of OSS's clock, as the signature took it
}

// on begins a call on an object.
func (s *Sink) on(ctx context.Context, op, key string) (*request, error) {
	full, err := s.base.Key(key)
	return &request{sink: s, ctx: ctx, op: op, key: full}, err
}

// options are those of every call, before its own.
func (r *request) options(more ...oss.Option) []oss.Option {
	all := []oss.Option{oss.WithContext(r.ctx), oss.GetResponseHeader(&r.header)}
	if date := r.date(); date != "" {
		all = append(all, oss.SetHeader(oss.HTTPHeaderDate, date))
	}
	return append(all, more...)
}

// date is the time to sign with, if OSS's is another than this computer's; empty leaves it to the
// SDK.
func (r *request) date() string {
	if r.ahead = r.sink.clock.Ahead(); r.ahead == 0 {
		return ""
	}
	return r.sink.clock.Now(r.sink.now()).UTC().Format(http.TimeFormat)
}
