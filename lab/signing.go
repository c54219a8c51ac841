package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// signingTransport signs each request for the service es. The lab's own clients use it; snapferry
// has its own.
type signingTransport struct {
	base        http.RoundTripper
	credentials aws.Credentials
	region      string
	signer      *v4.Signer
}

// SigningClient is an HTTP client that signs its requests for the service es.
func SigningClient(region, accessKey, secretKey string) *http.Client {
	return &http.Client{Transport: &signingTransport{
		base: loopback, region: region, signer: v4.NewSigner(),
		credentials: aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey},
	}}
}

func (t *signingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	signed := r.Clone(r.Context())
	signed.Body, signed.ContentLength = http.NoBody, 0
	if len(body) > 0 {
		signed.Body, signed.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	err := t.signer.SignHTTP(context.WithoutCancel(r.Context()), t.credentials, signed, sigv4.Hash(body), "es",
		t.region, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s %s can't be signed: %w", r.Method, r.URL.Path, err)
	}
	return t.base.RoundTrip(signed)
}

func (t *signingTransport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// loopback is shared by the lab's own clients, so that making one costs no connection.
var loopback = newTransport()

// newTransport allows as many idle connections as the lab's clients use, and no proxy: everything
// is on this computer.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.MaxIdleConns, t.MaxIdleConnsPerHost = nil, 0, 64
	return t
}
