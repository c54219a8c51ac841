package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// upstream is a node that says what it was asked.
func upstream(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/_nodes" {
			_, _ = io.WriteString(w,
				`{"nodes":{"n1":{"name":"node","ip":"10.0.0.1","settings":{"path":{"home":"/secret"}},"version":"5.5.2"}}}`)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %s auth=%q", r.Method, r.RequestURI, body, r.Header.Get("Authorization"))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func amazon(t *testing.T, o AmazonOptions) *AmazonProxy {
	o.Upstream, o.Region, o.AccessKey, o.SecretKey = upstream(t), Region, AWSAccessKey, AWSSecretKey
	o.Account, o.Domain, o.PassableRoles = Account, "lab", []string{RoleARN}
	if o.Version == "" {
		o.Version = "5.5.2"
	}
	p, err := NewAmazonProxy(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// call sends a request as the client has it and returns the status and the body.
func call(t *testing.T, client *http.Client, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func signing() *http.Client { return SigningClient(Region, AWSAccessKey, AWSSecretKey) }

func TestAmazonPassesWhatTheSDKSigned(t *testing.T) {
	p := amazon(t, AmazonOptions{})
	for _, path := range []string{
		"/", "/movies/_search", "/movies/_search?q=title:a+b&pretty&size=3", "/a,b*/_settings",
		"/%3Clogs-%7Bnow%2Fd%7D%3E/_count",
		"/_snapshot/mig/s-1?wait_for_completion=false", "/a//b", "/movies/movie/%C3%A9%20x?routing=a%2Fb%20c",
		"/_cat/indices?h=a,b&h=0",
	} {
		for _, body := range []string{"", `{"query":{}}`, strings.Repeat("x", 70_000)} {
			status, text := call(t, signing(), http.MethodPost, p.URL()+path, body)
			assert.Equal(t, 200, status, text)
			assert.Contains(t, text, body+` auth=""`, "the node sees the body and no credentials")
		}
	}
}

func TestAmazonPassesThePathAsItCame(t *testing.T) {
	p := amazon(t, AmazonOptions{})
	_, text := call(t, signing(), http.MethodGet, p.URL()+"/%3Clogs-%7Bnow%2Fd%7D%3E/_count?q=a%2Cb", "")
	assert.Equal(t, `GET /%3Clogs-%7Bnow%2Fd%7D%3E/_count?q=a%2Cb  auth=""`, text)
}

// changing alters a request after it was signed.
type changing struct {
	change func(*http.Request)
	base   http.RoundTripper
}

func (c changing) RoundTrip(r *http.Request) (*http.Response, error) {
	c.change(r)
	return c.base.RoundTrip(r)
}

func TestAmazonRefusesWhatIsNotSignedAsItIs(t *testing.T) {
	now := time.Now().UTC()
	p := amazon(t, AmazonOptions{Now: func() time.Time { return now }})
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	resign := func(service, region, key string, at time.Time) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Del("X-Amz-Date")
			_ = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key, SecretAccessKey: AWSSecretKey},
				r, sigv4.Hash([]byte("{}")), service, region, at)
		}
	}
	for name, test := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"unsigned": {
			func(r *http.Request) { r.Header.Del("Authorization") },
			`{"Message":"User: anonymous is not authorized to perform: es:ESHttpPut on resource: arn:aws:es:ap-southeast-1:123456789012:domain/lab/movies/_settings"}`,
		},
		"basic": {header("Authorization", "Basic abc"), "requires 'AWS4-HMAC-SHA256'"},
		"no signature": {header("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, "+
			"SignedHeaders=host"), "requires 'Signature' parameter"},
		"short scope": {
			header("Authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"),
			"exactly 5 slash-delimited",
		},
		"other key": {
			resign("es", Region, "SOMEBODYELSE", now),
			`{"message":"The security token included in the request is invalid."}`,
		},
		"other region":   {resign("es", "us-east-1", AWSAccessKey, now), "scoped to a valid region, not 'us-east-1'"},
		"other service":  {resign("s3", Region, AWSAccessKey, now), "correct service: 'es'"},
		"old":            {resign("es", Region, AWSAccessKey, now.Add(-6*time.Minute)), "Signature expired"},
		"from tomorrow":  {resign("es", Region, AWSAccessKey, now.Add(6*time.Minute)), "Signature not yet current"},
		"without a date": {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "requires existence of either"},
		"other body": {
			func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("[]")) },
			"signature we calculated does not match",
		},
		"other method": {
			func(r *http.Request) { r.Method = http.MethodPost },
			"signature we calculated does not match",
		},
		"other path": {
			func(r *http.Request) { r.URL.Path = "/other/_settings" },
			"signature we calculated does not match",
		},
		"other query": {
			func(r *http.Request) { r.URL.RawQuery = "pretty=" },
			"signature we calculated does not match",
		},
		"other header": {header("X-Elastic-Client-Meta", "es=8"), "signature we calculated does not match"},
		"other host":   {func(r *http.Request) { r.Host = "example.org" }, "signature we calculated does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			client := signing()
			signer := client.Transport.(*signingTransport)
			signer.base = changing{test.change, signer.base}
			defer signer.base.(changing).base.(*http.Transport).CloseIdleConnections()
			r, err := http.NewRequest(http.MethodPut, p.URL()+"/movies/_settings", strings.NewReader("{}"))
			require.NoError(t, err)
			r.Header.Set("X-Elastic-Client-Meta", "es=7")
			response, err := client.Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, 403, response.StatusCode)
			assert.Contains(t, string(text), test.want)
			assert.True(t, json.Valid(text))
		})
	}
	status, text := call(t, SigningClient(Region, AWSAccessKey, "wrong"), http.MethodGet, p.URL()+"/", "")
	assert.Equal(t, 403, status)
	assert.Contains(t, text, "The Canonical String for this request should have been\\n'GET")
}

func TestAmazonsRules(t *testing.T) {
	repository := func(kind, role string) string {
		return fmt.Sprintf(`{"type":%q,"settings":{"bucket":"b","region":"r","role_arn":%q}}`, kind, role)
	}
	for _, test := range []struct {
		version, method, path, body string
		status                      int
		want                        string
	}{
		{"5.5.2", "POST", "/a/_close", "", 401, `{"Message":"Your request: '/a/_close' is not allowed."}`},
		{"7.10.2", "POST", "/a/_close", "", 200, ""},
		{"7.1.1", "POST", "/a/_close", "", 401, "not allowed"},
		{"5.5.2", "POST", "/_cluster/reroute", "", 401, "not allowed"},
		{"5.5.2", "GET", "/_close/movie/1", "", 200, ""},
		{"5.5.2", "PUT", "/_snapshot/mig", repository("s3", RoleARN), 200, ""},
		{"5.5.2", "POST", "/_snapshot/mig", repository("s3", RoleARN), 200, ""},
		{
			"5.5.2", "PUT", "/_snapshot/mig", repository("s3", ""), 400,
			`{"Message":"settings.role_arn is needed for snapshot registration."}`,
		},
		{"5.5.2", "PUT", "/_snapshot/mig", `{"type":"s3"}`, 400, "role_arn is needed"},
		{
			"5.5.2", "PUT", "/_snapshot/mig", repository("s3", "arn:aws:iam::1:role/x"), 403,
			"is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/x",
		},
		{
			"5.5.2", "PUT", "/_snapshot/mig", repository("fs", RoleARN), 401,
			"Your request: '/_snapshot/mig' payload is not allowed.",
		},
		{"5.5.2", "PUT", "/_snapshot/cs-mine", repository("s3", RoleARN), 401, "not allowed"},
		{"5.5.2", "GET", "/_snapshot/cs-automated", "", 200, ""},
		{"5.5.2", "PUT", "/_snapshot/mig/s1", `{"indices":"a"}`, 200, ""},
		{"5.5.2", "POST", "/_snapshot/mig/_verify", "", 200, ""},
		{"5.5.2", "POST", "/_bulk", strings.Repeat("x", 1001), 413, `{"Message":"Request size exceeded 1000 bytes"}`},
		{"5.5.2", "POST", "/_bulk", strings.Repeat("x", 5_000_000), 413, "exceeded"},
		{"5.5.2", "POST", "/_bulk", strings.Repeat("x", 1000), 200, ""},
	} {
		p := amazon(t, AmazonOptions{Version: test.version, MaxBody: 1000})
		status, text := call(t, signing(), test.method, p.URL()+test.path, test.body)
		assert.Equal(t, test.status, status, "%s %s: %s", test.method, test.path, text)
		assert.Contains(t, text, test.want)
	}
}

func TestAmazonHidesTheNodes(t *testing.T) {
	p := amazon(t, AmazonOptions{})
	_, text := call(t, signing(), http.MethodGet, p.URL()+"/_nodes", "")
	assert.JSONEq(t, `{"nodes":{"n1":{"name":"node","version":"5.5.2"}}}`, text)
}

func TestAlibabaAsksWhoItIs(t *testing.T) {
	p, err := NewAlibabaProxy(AlibabaOptions{Upstream: upstream(t), User: TargetUser, Password: TargetPassword})
	require.NoError(t, err)
	defer p.Close()
	anonymous := &http.Client{Transport: &http.Transport{}}
	defer anonymous.CloseIdleConnections()
	response, err := anonymous.Get(p.URL() + "/_cat/indices")
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, 401, response.StatusCode)
	assert.Contains(t, response.Header.Get("WWW-Authenticate"), `Basic realm="security"`)

	status, text := call(t, BasicClient(TargetUser, "wrong"), http.MethodGet, p.URL()+"/", "")
	assert.Equal(t, 401, status)
	assert.Contains(t, text, "failed to authenticate user [elastic]")
	assert.NotContains(t, text, "wrong")

	status, text = call(t, BasicClient(TargetUser, TargetPassword), http.MethodPut, p.URL()+"/a", "{}")
	assert.Equal(t, 200, status)
	assert.Equal(t, `PUT /a {} auth=""`, text)
}
