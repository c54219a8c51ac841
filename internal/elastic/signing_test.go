package elastic_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	region = "ap-southeast-1"
	keyID  = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	token  = "FwoGZXIvYXdzEXAMPLETOKEN"
)

// signatureProblem signs what arrived again, from the wire's own path, query, headers and body, and
// compares.
func signatureProblem(r *http.Request, body []byte, credentials aws.Credentials) string {
	got := r.Header.Get("Authorization")
	_, list, found := strings.Cut(got, "SignedHeaders=")
	if !found {
		return "no signature"
	}
	list, _, _ = strings.Cut(list, ",")
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.RequestURI, bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	again.ContentLength = r.ContentLength
	for _, name := range strings.Split(list, ";") {
		if name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	when, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err.Error()
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, again, hex.EncodeToString(hash[:]), "es",
		region, when); err != nil {
		return err.Error()
	}
	if want := again.Header.Get("Authorization"); want != got {
		return "want " + want + ", got " + got
	}
	return ""
}

// renewable credentials are valid from the second set on, as if the first had expired.
type renewable struct {
	mu          sync.Mutex
	invalidated int
}

func (c *renewable) Retrieve(context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: token}
	if c.invalidated == 0 {
		set.SessionToken += "OLD"
	}
	return set, nil
}

func (c *renewable) Invalidate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.invalidated++
}

func TestEveryRequestIsSigned(t *testing.T) {
	var mu sync.Mutex
	var problems, lines []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, r.Method+" "+r.RequestURI)
		current := aws.Credentials{
			AccessKeyID: keyID, SecretAccessKey: secret,
			SessionToken: r.Header.Get("X-Amz-Security-Token"),
		}
		if problem := signatureProblem(r, body, current); problem != "" {
			problems = append(problems, r.Method+" "+r.RequestURI+": "+problem)
		}
		if len(body) > 0 && (r.ContentLength != int64(len(body)) || len(r.TransferEncoding) > 0) {
			problems = append(problems, r.RequestURI+": the body came without a length")
		}
		if current.SessionToken != token {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"The security token included in the request is expired"}`)
			return
		}
		_, _ = io.WriteString(w,
			`{"accepted":true,"acknowledged":true,"count":0,"_shards":{},"version":{"number":"5.5.2"}}`)
	}))
	defer server.Close()
	provider := &renewable{}
	client, err := elastic.New(elastic.Config{
		Endpoint: server.URL + "/",
		Auth:     elastic.SigV4{Region: region, Credentials: provider},
	})
	require.NoError(t, err)
	defer client.Close()

	// The first request finds the credentials expired; its body must arrive again, with a new
	// signature.
	require.NoError(t, client.CreateSnapshot(t.Context(), "mig", "s1", []string{"a", "b"}))
	assert.Equal(t, 1, provider.invalidated)
	_, err = client.Info(t.Context())
	assert.NoError(t, err)
	_, _ = client.Indices(t.Context(), "a,b*", "<logs-{now/d}>", "50%")
	assert.NoError(t, client.CloseIndices(t.Context(), []string{"a", "b+c", "d%e"}))
	assert.NoError(t, client.PutIndexSettings(t.Context(), []string{"a", "b"},
		map[string]any{"index.blocks.write": true}))
	assert.NoError(t, client.DeleteIndices(t.Context(), []string{"a"}))
	_, err = client.Count(t.Context(), "a")
	assert.NoError(t, err)

	assert.Empty(t, problems)
	assert.Contains(t, lines, "POST /a,b%2Bc,d%25e/_close?master_timeout=200000ms&timeout=75000ms")
	assert.Contains(t, lines,
		"GET /a,b*,%3Clogs-%7Bnow%2Fd%7D%3E,50%25/_settings?expand_wildcards=open%2Cclosed&flat_settings=true")
	assert.Equal(t, "PUT /_snapshot/mig/s1?master_timeout=200000ms&wait_for_completion=false", lines[0])
	assert.Equal(t, lines[0], lines[1])
}

func TestAForgedRequestFailsTheCheckOfThisTest(t *testing.T) {
	request := httptest.NewRequest("PUT", "/a,b/_settings", nil)
	valid := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
	hash := sha256.Sum256([]byte("body"))
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), valid, request, hex.EncodeToString(hash[:]), "es", region,
		time.Now()))
	assert.Empty(t, signatureProblem(request, []byte("body"), valid))
	assert.NotEmpty(t, signatureProblem(request, []byte("other"), valid))
	request.RequestURI = "/a,c/_settings"
	assert.NotEmpty(t, signatureProblem(request, []byte("body"), valid))
}

func TestMissingCredentialsAreAPersonsMatter(t *testing.T) {
	err := signedWith(t, errors.New("no EC2 IMDS role found, access disabled to EC2 IMDS via client option"))
	assert.Equal(t, elastic.Unauthorized, elastic.KindOf(err), "%v", err)
	assert.ErrorContains(t, err, "get AWS credentials")
	assert.ErrorContains(t, err, "AWS_ACCESS_KEY_ID")
	assert.ErrorContains(t, err, "AWS_PROFILE")
}

func TestAHiccupWhileCredentialsAreFetchedPasses(t *testing.T) {
	for _, hiccup := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("i/o timeout")},
		&net.DNSError{Err: "server misbehaving", Name: "sts.amazonaws.com", IsTemporary: true},
		io.ErrUnexpectedEOF,
	} {
		err := signedWith(t, hiccup)
		assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), "nothing was sent: %v", err)
		assert.ErrorContains(t, err, "get AWS credentials")
	}
}

// signedWith asks for a snapshot while the provider of credentials fails.
func signedWith(t *testing.T, failure error) error {
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{},
			failure
	})
	client, err := elastic.New(elastic.Config{
		Endpoint: "http://127.0.0.1:1",
		Auth:     elastic.SigV4{Region: region, Credentials: none},
	})
	require.NoError(t, err)
	return client.CreateSnapshot(t.Context(), "mig", "s1", []string{"a"})
}

// Amazon refuses a signature whose time is off by five minutes, and says its own in the same answer.
func TestAWrongClockIsCorrected(t *testing.T) {
	var off time.Duration
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		there := time.Now().Add(off)
		w.Header().Set("Date", there.UTC().Format(http.TimeFormat))
		signed, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		switch late := there.Sub(signed); {
		case late > 5*time.Minute:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Signature expired: 20260101T000000Z is now earlier than ..."}`)
		case late < -5*time.Minute:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Signature not yet current: 20260101T000000Z is still later than ..."}`)
		default:
			_, _ = io.WriteString(w, `{"acknowledged":true}`)
		}
	}))
	defer server.Close()
	client, err := elastic.New(elastic.Config{
		Endpoint: server.URL, Auth: elastic.SigV4{Region: region, Credentials: &rotated{"KEY", "KEY"}},
	})
	require.NoError(t, err)
	defer client.Close()
	set := func() error {
		return client.PutIndexSettings(t.Context(), []string{"a"}, map[string]any{"index.blocks.write": nil})
	}
	for _, off = range []time.Duration{20 * time.Minute, -20 * time.Minute, 0} {
		requests = 0
		require.NoError(t, set())
		require.Equal(t, 2, requests, "the second one with the time of the first answer")
		require.NoError(t, set())
		require.Equal(t, 3, requests, "and so the next one")
	}
	off = 48 * time.Hour
	require.Equal(t, elastic.Unauthorized, elastic.KindOf(set()), "that is for a person")
}
