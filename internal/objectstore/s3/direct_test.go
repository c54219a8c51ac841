package s3

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/version"
)

// wire answers every request with the same range, and keeps the last one.
type wire struct {
	header http.Header
	last   *http.Request
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	w.last = r
	return &http.Response{
		StatusCode: http.StatusPartialContent, Header: w.header, ContentLength: 5, Request: r,
		Body: io.NopCloser(strings.NewReader("hello")),
	}, nil
}

// Once the SDK has read a range, the next ones go past its middleware: the same request, and the
// same made of its answer.
func TestDirect(t *testing.T) {
	for name, tt := range map[string]struct {
		options Options
		host    string
	}{
		"Amazon":          {Options{}, "shop-es.s3.ap-southeast-1.amazonaws.com"},
		"Amazon by paths": {Options{PathStyle: true}, "s3.ap-southeast-1.amazonaws.com"},
		"another server":  {Options{Endpoint: "http://s3.example.com:9000", PathStyle: true}, "s3.example.com:9000"},
		"below a path":    {Options{Endpoint: "https://example.com/s3/"}, "shop-es.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			o := tt.options
			o.Bucket, o.BasePath, o.Region = "shop-es", "snapferry/movies/tok", "ap-southeast-1"
			o.Credentials = sdk.NewStaticCredentialsProvider("ak", "s3cr3t", "t0ken")
			source, err := New(t.Context(), o)
			require.NoError(t, err)
			w := &wire{header: http.Header{
				"Etag":          {`"5d41402abc4b2a76b9719d911017c592"`},
				"Content-Range": {"bytes 3-7/20"},
			}}
			source.direct.client = w
			read := func() (r *http.Request, isMD5 bool) {
				body, err := source.ReadRange(t.Context(), "indices/a b+%ü/__0", "abc", 3, 5)
				require.NoError(t, err)
				data, err := io.ReadAll(body)
				require.NoError(t, err)
				require.Equal(t, "hello", string(data))
				require.NoError(t, body.Close())
				require.Equal(t, "5d41402abc4b2a76b9719d911017c592", body.ETag)
				return w.last, body.ETagIsMD5
			}
			const mark = "Amz-Sdk-Invocation-Id"
			slow, isMD5 := read()
			require.NotEmpty(t, slow.Header.Get(mark))
			require.True(t, isMD5)
			direct, isMD5 := read()
			require.Empty(t, direct.Header.Get(mark), "the second one is direct")
			require.True(t, isMD5)
			require.Equal(t, tt.host, direct.URL.Host)
			require.Equal(t, slow.URL.Host, direct.URL.Host)
			require.Equal(t, slow.URL.Scheme, direct.URL.Scheme)
			require.Equal(t, slow.URL.EscapedPath(), direct.URL.EscapedPath())
			require.Empty(t, direct.URL.RawQuery)
			for _, name := range []string{
				"Range", "If-Match", "X-Amz-Content-Sha256", "X-Amz-Security-Token",
				"User-Agent", "Accept-Encoding",
			} {
				require.Equal(t, slow.Header.Get(name), direct.Header.Get(name), name)
			}
			require.Contains(t, direct.Header.Get("User-Agent"), version.UserAgent())
			require.Equal(t, "bytes=3-7", direct.Header.Get("Range"))
			require.Equal(t, `"abc"`, direct.Header.Get("If-Match"))
			scope := func(r *http.Request) string { return strings.Split(r.Header.Get("Authorization"), ",")[0] }
			require.Equal(t, scope(slow), scope(direct))
			w.header.Set("X-Amz-Server-Side-Encryption", "aws:kms")
			_, isMD5 = read()
			require.False(t, isMD5, "S3 with KMS writes ETags that are no MD5")
		})
	}
}

// A bucket that isn't read by requests signed in the usual way is left to the SDK.
func TestResolve(t *testing.T) {
	const express, accessPoint = "shop--euw1-az1--x-s3", "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
	key := sdk.NewStaticCredentialsProvider("ak", "s3cr3t", "")
	resolved := func(bucket string, o s3.Options) *endpoint {
		o.Region = "eu-west-1"
		return resolve(t.Context(), bucket, o)
	}
	require.Equal(t, &endpoint{
		scheme: "https", host: "shop-es.s3.eu-west-1.amazonaws.com", path: "/", rawPath: "/",
		signingName: "s3", signingRegion: "eu-west-1",
	},
		resolved("shop-es", s3.Options{Credentials: key}))
	require.Equal(t, &endpoint{
		scheme: "http", host: "s3.example.com", path: "/a/shop.es/", rawPath: "/a/shop.es/",
		signingName: "s3", signingRegion: "eu-west-1",
	},
		resolved("shop.es", s3.Options{
			Credentials: key, UsePathStyle: true,
			BaseEndpoint: aws.String("http://s3.example.com/a/"),
		}))
	require.Nil(t, resolved(accessPoint, s3.Options{Credentials: key}), "another signature")
	require.Nil(t, resolved(express, s3.Options{Credentials: key}), "another service, and a session")
	require.Nil(t, resolved("shop-es", s3.Options{}), "not signed")
	require.Nil(t, resolved("a/b", s3.Options{
		Credentials: key, UsePathStyle: true,
		EndpointOptions: s3.EndpointResolverOptions{UseFIPSEndpoint: aws.FIPSEndpointStateEnabled},
		BaseEndpoint:    aws.String("http://s3.example.com"),
	}), "refused by the resolver")
}

// The SDK reads fips in a region's name as a setting. Where it asks another host than the resolver
// gives for the bare name, every range goes through the SDK.
func TestDirectOnlyWhereTheSDKReads(t *testing.T) {
	source, err := New(t.Context(), Options{
		Bucket: "shop-es", BasePath: "b", Region: "us-gov-west-1-fips",
		Credentials: sdk.NewStaticCredentialsProvider("ak", "s3cr3t", ""),
	})
	require.NoError(t, err)
	w := &wire{header: http.Header{"Etag": {`"abc"`}, "Content-Range": {"bytes 3-7/20"}}}
	source.direct.client = w
	for range 2 {
		body, err := source.ReadRange(t.Context(), "k", "abc", 3, 5)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.Equal(t, "shop-es.s3-fips.us-gov-west-1.amazonaws.com", w.last.URL.Host)
		require.NotEmpty(t, w.last.Header.Get("Amz-Sdk-Invocation-Id"))
	}
}
