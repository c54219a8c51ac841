package osstest_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestS3Authentication(t *testing.T) {
	srv := startS3(t,
		osstest.Options{Keys: []osstest.Key{{
			ID: "old", Secret: "sk", Token: "t",
			Expires: time.Now().Add(-time.Minute),
		}}})
	ctx := t.Context()
	list := func(c *s3.Client) error {
		_, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
			Bucket: aws.String("bkt"),
			Prefix: aws.String("a b/+ü&="),
		})
		return err
	}
	put := func(c *s3.Client) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String("bkt"), Key: aws.String("k"),
			Body: strings.NewReader("x"),
		})
		return err
	}
	require.NoError(t, list(clientS3(t, srv)))
	require.NoError(t, put(clientS3(t, srv, as("STS.ak", "sk3", "a+token/with=signs"))))
	refusedS3(t, list(clientS3(t, srv, as("ak", "wrong", ""))), 403, "SignatureDoesNotMatch")
	refusedS3(t, list(clientS3(t, srv, as("nobody", "sk", ""))), 403, "InvalidAccessKeyId")
	refusedS3(t, put(clientS3(t, srv, as("STS.ak", "sk3", "another"))), 400, "InvalidToken")
	refusedS3(t, put(clientS3(t, srv, as("old", "sk", "t"))), 400, "ExpiredToken")
	require.NoError(t, list(clientS3(t, srv, as("reader", "sk2", ""))))
	refusedS3(t, put(clientS3(t, srv, as("reader", "sk2", ""))), 403, "AccessDenied")
	refusedS3(t, list(clientS3(t, srv, func(o *s3.Options) { o.Region = "us-east-1" })), 400,
		"AuthorizationHeaderMalformed")
	refusedS3(t, list(clientS3(t, srv, func(o *s3.Options) { o.Credentials = aws.AnonymousCredentials{} })), 403,
		"AccessDenied")
	assert.Len(t, srv.Objects("bkt"), 1)
}

// signedS3 sends a request that is signed and then changed.
func signedS3(t *testing.T, srv *osstest.Server, method, path string, body []byte, payload string, at time.Time,
	change func(*http.Request),
) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.S3URL()+path, bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	r.Close = true
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	require.NoError(t, signer.SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "ak", SecretAccessKey: "sk"}, r,
		payload, "s3", regionS3, at))
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	_, code, _ := strings.Cut(string(answer), "<Code>")
	code, _, _ = strings.Cut(code, "</Code>")
	return resp.StatusCode, code
}

func TestS3SignaturesCoverTheRequest(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	const unsigned = "UNSIGNED-PAYLOAD"
	for _, tt := range []struct {
		name, path, payload string
		off                 time.Duration
		change              func(*http.Request)
		status              int
		code                string
	}{
		{"right", "/bkt/k%20%2Bx?x-id=PutObject", unsigned, 0, nil, 200, ""},
		{"right, 14 minutes off", "/bkt/k", unsigned, -14 * time.Minute, nil, 200, ""},
		{"clock", "/bkt/k", unsigned, -16 * time.Minute, nil, 403, "RequestTimeTooSkewed"},
		{
			"another key", "/bkt/k", unsigned, 0, func(r *http.Request) { r.URL.Path = "/bkt/l" }, 403,
			"SignatureDoesNotMatch",
		},
		{
			"another query", "/bkt/k", unsigned, 0, func(r *http.Request) { r.URL.RawQuery = "a=b" }, 403,
			"SignatureDoesNotMatch",
		},
		{
			"another method", "/bkt/k", unsigned, 0, func(r *http.Request) { r.Method = http.MethodDelete }, 403,
			"SignatureDoesNotMatch",
		},
		{
			"header added", "/bkt/k", unsigned, 0, func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") }, 403,
			"AccessDenied",
		},
		{
			"payload hash changed", "/bkt/k", unsigned, 0,
			func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", strings.Repeat("0", 64)) }, 403,
			"SignatureDoesNotMatch",
		},
		{
			"payload hash missing", "/bkt/k", unsigned, 0,
			func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") },
			400, "InvalidRequest",
		},
		{"payload differs from its hash", "/bkt/k", strings.Repeat("0", 64), 0, nil, 400, "XAmzContentSHA256Mismatch"},
		{"streaming", "/bkt/k", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 0, nil, 400, "InvalidArgument"},
		{
			"Content-MD5 of something else", "/bkt/k", unsigned, 0,
			func(r *http.Request) { r.Header.Set("Content-Md5", md5Base64([]byte("y"))) }, 400, "BadDigest",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, code := signedS3(t, srv, http.MethodPut, tt.path, []byte("x"), tt.payload, time.Now().Add(tt.off),
				tt.change)
			assert.Equal(t, tt.status, status)
			assert.Equal(t, tt.code, code)
		})
	}
	assert.Equal(t, []string{"k", "k +x"}, keysOf(srv.Objects("bkt")))
	assert.Empty(t, leftovers(t, srv))
}

func keysOf(objects []osstest.Object) (keys []string) {
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}
