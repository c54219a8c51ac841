package lab

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// This file checks Signature Version 4 as a service does, from the request on the wire, and on purpose without the SDK's signer:
// the two agree only if both follow AWS's description ("Create a signed AWS API request").

const (
	sigV4Algorithm = "AWS4-HMAC-SHA256"
	sigV4Time      = "20060102T150405Z"
	sigV4Skew      = 5 * time.Minute // what Amazon's front end of the service es tolerates
)

// sigV4Header is a parsed Authorization header.
type sigV4Header struct {
	accessKey, date, region, service string
	signedHeaders                    []string
	signature                        string
}

// parseSigV4 reads the header. The complaint is Amazon's, empty if the header is complete.
func parseSigV4(authorization string) (h sigV4Header, complaint string) {
	rest, ok := strings.CutPrefix(authorization, sigV4Algorithm)
	if !ok {
		return h, fmt.Sprintf("Authorization header requires '%s'.", sigV4Algorithm)
	}
	fields := map[string]string{}
	for _, field := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if fields[name] == "" {
			return h, fmt.Sprintf("Authorization header requires '%s' parameter.", name)
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return h, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
	}
	return sigV4Header{
		accessKey: scope[0], date: scope[1], region: scope[2], service: scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"), signature: fields["Signature"],
	}, ""
}

// canonicalRequest is the text that the client must have signed. The path of services other than S3 is escaped once more than on the wire.
func canonicalRequest(r *http.Request, body []byte, signedHeaders []string) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.Method, escapeSigV4(path, "/"), canonicalQuery(r.URL.RawQuery))
	for _, name := range signedHeaders {
		var values []string
		switch name {
		case "host": // net/http takes these two out of Header
			values = []string{r.Host}
		case "content-length":
			values = []string{fmt.Sprint(len(body))}
		default:
			values = slices.Clone(r.Header.Values(name))
		}
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		fmt.Fprintf(&b, "%s:%s\n", name, strings.Join(values, ","))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(signedHeaders, ";"), hexSHA256(body))
	return b.String()
}

func canonicalQuery(raw string) string {
	var pairs []string
	for _, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, escapeSigV4(unescapeQuery(name), "")+"="+escapeSigV4(unescapeQuery(value), ""))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func unescapeQuery(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// escapeSigV4 percent-encodes everything but RFC 3986's unreserved characters and those in also.
func escapeSigV4(s, also string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~"+also, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// sign derives the key for the scope and signs the canonical request.
func (h sigV4Header) sign(secretKey, timestamp, canonical string) (stringToSign, signature string) {
	scope := strings.Join([]string{h.date, h.region, h.service, "aws4_request"}, "/")
	stringToSign = strings.Join([]string{sigV4Algorithm, timestamp, scope, hexSHA256([]byte(canonical))}, "\n")
	key := []byte("AWS4" + secretKey)
	for _, part := range []string{h.date, h.region, h.service, "aws4_request", stringToSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return stringToSign, hex.EncodeToString(key)
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// signingTransport signs each request for the service es. The lab's own clients use it; snapferry has its own.
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
	err := t.signer.SignHTTP(context.WithoutCancel(r.Context()), t.credentials, signed, hexSHA256(body), "es", t.region, time.Now())
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

// newTransport allows as many idle connections as the lab's clients use, and no proxy: everything is on this computer.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.MaxIdleConns, t.MaxIdleConnsPerHost = nil, 0, 64
	return t
}
