package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
)

const secret = "s3cr3t-of-the-key"

func open(t *testing.T, endpoint string, change ...func(*s3.Options)) *s3.Source {
	t.Helper()
	o := s3.Options{
		Bucket: "shop-es", BasePath: "snapferry/movies/tok", Region: "ap-southeast-1", Endpoint: endpoint,
		PathStyle: true, Attempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("ak", secret, ""),
	}
	for _, c := range change {
		c(&o)
	}
	source, err := s3.New(t.Context(), o)
	require.NoError(t, err)
	return source
}

// answers serves one fixed answer and keeps the last request.
type answers struct {
	status int
	code   string
	header map[string]string
	body   string
	last   *http.Request
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.last = r
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.Header().Set("X-Amz-Request-Id", "REQ1")
	w.WriteHeader(a.status)
	if a.code != "" && r.Method != http.MethodHead {
		fmt.Fprintf(w,
			`<?xml version="1.0"?><Error><Code>%s</Code><Message>said %s</Message><RequestId>REQ1</RequestId></Error>`,
			a.code, a.code)
	}
	fmt.Fprint(w, a.body)
}

func serve(t *testing.T, a *answers) string {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return server.URL
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer answers
		get    objectstore.Kind
		head   objectstore.Kind // HEAD has no body, so less is known
	}{
		{"no key", answers{status: 404, code: "NoSuchKey"}, objectstore.NotFound, objectstore.NotFound},
		{"no bucket", answers{status: 404, code: "NoSuchBucket"}, objectstore.BucketMissing, objectstore.NotFound},
		{"changed", answers{status: 412, code: "PreconditionFailed"}, objectstore.Changed, objectstore.Changed},
		{"denied", answers{status: 403, code: "AccessDenied"}, objectstore.Forbidden, objectstore.Forbidden},
		{
			"wrong secret",
			answers{status: 403, code: "SignatureDoesNotMatch"},
			objectstore.Forbidden,
			objectstore.Forbidden,
		},
		{"expired", answers{status: 400, code: "ExpiredToken"}, objectstore.Forbidden, objectstore.Invalid},
		{"bad request", answers{status: 400, code: "InvalidArgument"}, objectstore.Invalid, objectstore.Invalid},
		{"archived", answers{status: 403, code: "InvalidObjectState"}, objectstore.Invalid, objectstore.Forbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := open(t, serve(t, &tt.answer))
			_, err := source.ReadRange(t.Context(), "k", "abc", 0, 5)
			require.Equal(t, tt.get, objectstore.KindOf(err), "%v", err)
			e := &objectstore.Error{}
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.answer.status, e.Status)
			require.Equal(t, tt.answer.code, e.Code)
			require.Equal(t, "REQ1", e.RequestID)
			require.Equal(t, "snapferry/movies/tok/k", e.Key)
			require.Equal(t, "shop-es", e.Bucket)
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, err.Error(), "Signature=")
			_, err = source.Head(t.Context(), "k")
			require.Equal(t, tt.head, objectstore.KindOf(err), "%v", err)
		})
	}
}

func TestThrottled(t *testing.T) {
	a := &answers{status: 503, code: "SlowDown", header: map[string]string{"Retry-After": "7"}}
	source := open(t, serve(t, a))
	_, err := source.Head(t.Context(), "k")
	require.Equal(t, objectstore.Throttled, objectstore.KindOf(err), "%v", err)
	e := &objectstore.Error{}
	require.ErrorAs(t, err, &e)
	require.Equal(t, 7*time.Second, e.RetryAfter)
}

func TestRequest(t *testing.T) {
	a := &answers{status: 206, header: map[string]string{
		"ETag":                         `"5d41402abc4b2a76b9719d911017c592"`,
		"X-Amz-Server-Side-Encryption": "aws:kms",
		"Content-Range":                "bytes 3-7/20",
	}, body: "hello"}
	source := open(t, serve(t, a))
	body, err := source.ReadRange(t.Context(), "k", "abc", 3, 5)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, "bytes=3-7", a.last.Header.Get("Range"))
	require.Equal(t, `"abc"`, a.last.Header.Get("If-Match"))
	require.Equal(t, "/shop-es/snapferry/movies/tok/k", a.last.URL.Path)
	require.Equal(t, "5d41402abc4b2a76b9719d911017c592", body.ETag)
	require.False(t, body.ETagIsMD5, "S3 with KMS writes ETags that are no MD5")

	a.header["X-Amz-Server-Side-Encryption"] = "AES256"
	a.header["Content-Range"] = "bytes 0-4/20"
	body, err = source.ReadRange(t.Context(), "k", "", 0, 5)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.True(t, body.ETagIsMD5)
	require.Empty(t, a.last.Header.Get("If-Match"))
}

// A direct request fails as one of the SDK does.
func TestDirectErrors(t *testing.T) {
	for _, tt := range []struct {
		answer answers
		sdk    bool // it is asked for what it knows better
	}{
		{answers{status: 404, code: "NoSuchKey"}, false},
		{answers{status: 404, code: "NoSuchBucket"}, false},
		{answers{status: 412, code: "PreconditionFailed"}, false},
		{answers{status: 503, code: "SlowDown", header: map[string]string{"Retry-After": "7"}}, false},
		{answers{status: 500, code: "InternalError"}, false},
		{answers{status: 502, body: "<html>a proxy</html>"}, false},
		{answers{status: 403, code: "AccessDenied"}, true},
		{answers{status: 400, code: "ExpiredToken"}, true},
		{answers{
			status: 301, code: "PermanentRedirect",
			header: map[string]string{"X-Amz-Bucket-Region": "eu-central-1"},
		}, true},
	} {
		t.Run(fmt.Sprint(tt.answer.status, tt.answer.code), func(t *testing.T) {
			a := &answers{status: 206, body: "hello"}
			url := serve(t, a)
			source := open(t, url)
			body, err := source.ReadRange(t.Context(), "k", "abc", 0, 5)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			*a = tt.answer
			_, direct := source.ReadRange(t.Context(), "k", "abc", 0, 5)
			require.Equal(t, tt.sdk, a.last.Header.Get("Amz-Sdk-Invocation-Id") != "")
			_, bySDK := open(t, url).ReadRange(t.Context(), "k", "abc", 0, 5)
			want, got := &objectstore.Error{}, &objectstore.Error{}
			require.ErrorAs(t, direct, &got)
			require.ErrorAs(t, bySDK, &want)
			if tt.answer.code == "" {
				want.Code, want.Message = got.Code, got.Message // which the SDK makes up
			}
			require.Equal(t, want, got)
			require.NotContains(t, direct.Error(), secret)
		})
	}
}

// A body that ends early must not look like one that is whole.
func TestBrokenBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	source := open(t, server.URL)
	_, _, err := source.Get(t.Context(), "k", 100)
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
}

func TestWrongRegion(t *testing.T) {
	a := &answers{
		status: 301, code: "PermanentRedirect",
		header: map[string]string{"X-Amz-Bucket-Region": "eu-central-1"},
	}
	_, err := open(t, serve(t, a)).CheckBucket(t.Context())
	require.Equal(t, objectstore.Invalid, objectstore.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "the bucket is in the region eu-central-1, not in ap-southeast-1")
}

func TestNoCredentials(t *testing.T) {
	source := open(t, serve(t, &answers{status: 200}), func(o *s3.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, fmt.Errorf("no EC2 IMDS role found")
		})
	})
	_, err := source.Head(t.Context(), "k")
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "no usable credentials")
	require.ErrorContains(t, err, "AWS_ACCESS_KEY_ID")
}

func TestAHiccupWhileCredentialsAreFetchedPasses(t *testing.T) {
	overloaded := &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 500}},
		Err:      errors.New("STS is ill"),
	}
	for _, hiccup := range []error{&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("i/o timeout")}, overloaded} {
		source := open(t, serve(t, &answers{status: 200}), func(o *s3.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials,
				error,
			) {
				return aws.Credentials{}, hiccup
			})
		})
		_, err := source.Head(t.Context(), "k")
		require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
		require.ErrorContains(t, err, "no usable credentials")
	}
}

func TestNobodyThere(t *testing.T) {
	source := open(t, "http://127.0.0.1:1")
	_, err := source.Head(t.Context(), "k")
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
}

// answering is a source that gets the same answer to each request.
func answering(t *testing.T, answer http.HandlerFunc) *s3.Source {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return open(t, server.URL)
}

// What ignores ranges would give the object's beginning for each of its parts.
func TestARangeThatIsIgnoredIsRefused(t *testing.T) {
	source := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"abc-2"`)
		fmt.Fprint(w, "0123456789")
	})
	for range 2 { // by the SDK, and past it
		body, err := source.ReadRange(t.Context(), "k", "abc-2", 0, 5)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		_, err = source.ReadRange(t.Context(), "k", "abc-2", 5, 5)
		require.Equal(t, objectstore.Invalid, objectstore.KindOf(err), "%v", err)
	}
}

func TestAListingThatDoesntSayHowItGoesOnIsNotTheEnd(t *testing.T) {
	for name, token := range map[string]string{
		"without a token": "",
		"always the same": "<NextContinuationToken>x</NextContinuationToken>",
	} {
		t.Run(name, func(t *testing.T) {
			source := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w,
					`<ListBucketResult><IsTruncated>true</IsTruncated>%s<Contents><Key>snapferry/movies/tok/index-1</Key><Size>3</Size><ETag>"a"</ETag></Contents></ListBucketResult>`, token)
			})
			_, err := source.ListFolder(t.Context(), "")
			require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
		})
	}
}

func TestAnAnswerWithoutItsLengthIsNoEmptyObject(t *testing.T) {
	source := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"5d41402abc4b2a76b9719d911017c592"`)
		w.Header().Set("X-Amz-Server-Side-Encryption", "aws:kms")
		fmt.Fprint(w, "hel")
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "lo")
	})
	_, _, err := source.Get(t.Context(), "k", 100)
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
}

// Only a cleanup deletes, and the usual policy of a worker forbids it.
func TestDelete(t *testing.T) {
	deleted := ""
	source := answering(t, func(w http.ResponseWriter, r *http.Request) {
		deleted = r.Method + " " + r.URL.Path
		w.WriteHeader(http.StatusNoContent)
	})
	require.NoError(t, source.Delete(t.Context(), "t0ken/index-0"))
	require.True(t, strings.HasPrefix(deleted, "DELETE /"), deleted)
	require.True(t, strings.HasSuffix(deleted, "/t0ken/index-0"), deleted)

	err := open(t, serve(t, &answers{status: 403, code: "AccessDenied"})).Delete(t.Context(), "k")
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err), "%v", err)
	require.Equal(t, objectstore.Invalid, objectstore.KindOf(source.Delete(t.Context(), "../k")))
}
