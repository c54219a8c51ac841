// Package s3 is the Source on Amazon S3, or on a server that speaks its protocol, on the AWS SDK.
//
// For a small blob the SDK's stack of middleware costs more CPU than the rest of the copy. So
// direct.go sends ranged GETs itself, once the SDK has read a range with success. Every other call
// goes through the SDK, and so does a ranged GET with an unusual answer. The SDK retries what comes
// before a body; the caller reads the rest of a body that broke off.
package s3

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/snapferry/snapferry/internal/awschain"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/redact"
	"github.com/snapferry/snapferry/internal/version"
)

// Options say where the bucket is and how it is read.
type Options struct {
	Bucket   string
	BasePath string
	Region   string
	// Endpoint is that of a compatible server; empty means Amazon's endpoint of the region.
	Endpoint  string
	PathStyle bool
	// Concurrency is how many requests run at the same time: so many idle connections are kept.
	Concurrency int
	// CACert is a PEM bundle to trust instead of the system's.
	CACert []byte
	// Credentials are for tests; nil means the SDK's own chain, which is read again once it is
	// refused.
	Credentials aws.CredentialsProvider
	// Attempts is how often the SDK tries what comes before a body, with its own back-off; 0 means
	// 3.
	Attempts int
}

const (
	// readTimeout ends a connection on which nothing arrives. Else a stalled one would hang for
	// ever.
	readTimeout    = 60 * time.Second
	connectTimeout = 10 * time.Second
	// attempts is the SDK's own default. Its retries also correct for a wrong clock.
	attempts = 3
)

// Source reads one base path of one bucket.
type Source struct {
	base   objectstore.Base
	chain  *awschain.Credentials // nil with other credentials
	hidden *redact.Redactor
	region string
	client *s3.Client
	direct *direct
}

var _ objectstore.Source = (*Source)(nil)

// New makes a Source. It sends no request to S3, but it may ask the services of the credential
// chain.
func New(ctx context.Context, o Options) (*Source, error) {
	base, err := objectstore.NewBase(o.Bucket, o.BasePath)
	if err != nil {
		return nil, err
	}
	client, err := httpClient(o.Concurrency, o.CACert)
	if err != nil {
		return nil, &objectstore.Error{
			Kind: objectstore.Invalid, Op: "trust the certificate authorities for", Bucket: o.Bucket,
			Message: err.Error(),
		}
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(o.Region), config.WithHTTPClient(client), config.WithRetryMaxAttempts(
			cmp.Or(o.Attempts, attempts)),
		config.WithAPIOptions([]func(*middleware.Stack) error{awsmiddleware.AddUserAgentKeyValue("snapferry",
			version.Short())}),
	}
	if o.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(o.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, &objectstore.Error{
			Kind: objectstore.Invalid, Op: "load AWS configuration", Bucket: o.Bucket,
			Message: err.Error(),
		}
	}
	source := &Source{base: base, region: o.Region, hidden: &redact.Redactor{}}
	if o.Credentials == nil {
		source.chain = awschain.New(o.Region)
	} else {
		source.chain, _ = o.Credentials.(*awschain.Credentials)
	}
	direct := newDirect(cfg.HTTPClient)
	source.client = s3.NewFromConfig(cfg, func(s *s3.Options) {
		s.HTTPClient = direct
		if source.chain != nil {
			s.Credentials = source.chain // as it is: the SDK's cache would keep what it gave first
		}
		if o.Endpoint != "" {
			s.BaseEndpoint = &o.Endpoint
		}
		s.UsePathStyle = o.PathStyle
		// S3 sends no checksum for ranges, and the SDK's CRC64 costs more than TLS. The caller
		// verifies what it reads.
		s.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		s.DisableLogOutputChecksumValidationSkipped = true
	})
	set := source.client.Options()
	direct.credentials, direct.endpoint = set.Credentials, resolve(ctx, o.Bucket, set)
	source.direct = direct
	return source, nil
}

// httpClient keeps one connection for each reader. HTTP/2 would put all of them through one.
func httpClient(concurrency int, caCert []byte) (*awshttp.BuildableClient, error) {
	var roots *x509.CertPool
	if caCert != nil {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(caCert) {
			return nil, errors.New("the CA certificate isn't in PEM form")
		}
	}
	return awshttp.NewBuildableClient().WithReadTimeout(readTimeout).WithTransportOptions(func(t *http.Transport) {
		t.ForceAttemptHTTP2 = false
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
		t.TLSClientConfig.RootCAs = roots
		t.MaxIdleConns = 0
		t.MaxIdleConnsPerHost = max(concurrency, 16)
		t.TLSHandshakeTimeout = connectTimeout
		t.ResponseHeaderTimeout = readTimeout
		t.ReadBufferSize = 16 << 10 // larger reads go to the reader's own memory
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &bufferedConn{Conn: c, buffered: bufio.NewReaderSize(c, recordsAtOnce)}, nil
		}
	}), nil
}

// recordsAtOnce is the size of four TLS records in bytes. crypto/tls reads each record with a call
// of its own, which costs more than to decrypt it. A read of this size or more, as of a body
// without TLS, bypasses the buffer.
const recordsAtOnce = 64 << 10

type bufferedConn struct {
	net.Conn
	buffered *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.buffered.Read(p) }
