package elastic

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

func newTransport(caCert []byte) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	// Polls, unblocking and the slices of a checksum run at the same time, and so do the batches of a
	// standstill: two for its samples, and those that it reads beside them.
	transport.MaxIdleConnsPerHost = 32
	if caCert != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(caCert) {
			return nil, errors.New("the CA certificate isn't in PEM form")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return transport, nil
}

// transportError is a request without a complete answer. It also hides a bare io.EOF from
// estransport, which would repeat the request even though retries are disabled.
type transportError struct {
	err     error
	sent    bool // some of the request may have reached the server
	refused bool // the request couldn't be signed
}

func (e *transportError) Error() string { return e.err.Error() }
func (e *transportError) Unwrap() error { return e.err }

// tracker finds out whether a failed request may have reached the server.
type tracker struct{ next http.RoundTripper }

func (t tracker) RoundTrip(request *http.Request) (*http.Response, error) {
	var dialled, written atomic.Bool
	request = request.Clone(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GetConn:      func(string) { dialled.Store(true) },
		WroteHeaders: func() { written.Store(true) },
	}))
	// ELASTIC_CLIENT_APIVERSIONING in the environment makes estransport ask for a media type
	// unknown before 7.11.
	for _, name := range []string{"Accept", "Content-Type"} {
		if strings.Contains(request.Header.Get(name), "vnd.elasticsearch") {
			request.Header.Set(name, "application/json")
		}
	}
	response, err := t.next.RoundTrip(request)
	if err == nil {
		return response, nil
	}
	if failure, ok := errors.AsType[*transportError](err); ok {
		return nil, failure
	}
	return nil, &transportError{err: err, sent: written.Load() || !dialled.Load()}
}
