package osstest_test

import (
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	adapter "github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/internal/osstest"
)

const regionS3 = "eu-central-1"

// startS3 runs a server with both faces.
func startS3(t *testing.T, o osstest.Options) *osstest.Server {
	t.Helper()
	if o.S3 == nil {
		o.S3 = &osstest.S3Options{Region: regionS3}
	}
	return start(t, o)
}

// clientS3 is the SDK without retries and with a transport that the test closes.
func clientS3(t *testing.T, srv *osstest.Server, change ...func(*s3.Options)) *s3.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(srv.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	url := srv.S3URL()
	o := s3.Options{
		Region: regionS3, BaseEndpoint: &url, UsePathStyle: true, RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("ak", "sk", ""),
	}
	for _, f := range change {
		f(&o)
	}
	return s3.New(o)
}

func as(id, secret, token string) func(*s3.Options) {
	return func(o *s3.Options) { o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, token) }
}

// refusedS3 asserts that err is S3's answer with that status and code. An answer to HEAD has no
// code.
func refusedS3(t *testing.T, err error, status int, code string) {
	t.Helper()
	var response *awshttp.ResponseError
	require.ErrorAs(t, err, &response)
	assert.Equal(t, status, response.HTTPStatusCode(), "%v", err)
	assert.Len(t, response.ServiceRequestID(), 24)
	var api smithy.APIError
	require.ErrorAs(t, err, &api)
	assert.Equal(t, code, api.ErrorCode(), "%v", err)
}

func hexMD5(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

// uploadS3 puts an object in parts.
func uploadS3(t *testing.T, c *s3.Client, key string, parts ...[]byte) *s3.CompleteMultipartUploadOutput {
	t.Helper()
	up, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
		Bucket: aws.String("bkt"), Key: &key,
		Metadata: map[string]string{"made": "in parts"},
	})
	require.NoError(t, err)
	var done []types.CompletedPart
	for i, data := range parts {
		number := aws.Int32(int32(i + 1))
		out, err := c.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: up.Bucket, Key: &key, UploadId: up.UploadId,
			PartNumber: number, Body: bytes.NewReader(data),
		})
		require.NoError(t, err)
		require.Equal(t, `"`+hexMD5(data)+`"`, *out.ETag)
		done = append(done, types.CompletedPart{PartNumber: number, ETag: out.ETag})
	}
	out, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: up.Bucket, Key: &key,
		UploadId:        up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	require.NoError(t, err)
	return out
}

func readS3(t *testing.T, c *s3.Client, in *s3.GetObjectInput) ([]byte, *s3.GetObjectOutput) {
	t.Helper()
	in.Bucket = aws.String("bkt")
	out, err := c.GetObject(t.Context(), in)
	require.NoError(t, err)
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	return data, out
}

func TestS3Buckets(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket:                    aws.String("other"),
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: regionS3},
	})
	require.NoError(t, err)
	_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("other")})
	refusedS3(t, err, 409, "BucketAlreadyOwnedByYou")
	all, err := c.ListBuckets(ctx, &s3.ListBucketsInput{})
	require.NoError(t, err)
	require.Len(t, all.Buckets, 2)
	assert.Equal(t, "bkt", *all.Buckets[0].Name)
	assert.WithinDuration(t, time.Now(), *all.Buckets[1].CreationDate, time.Minute)
	head, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("other")})
	require.NoError(t, err)
	assert.Equal(t, regionS3, *head.BucketRegion)
	location, err := c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String("other")})
	require.NoError(t, err)
	assert.EqualValues(t, regionS3, location.LocationConstraint)
	_, err = c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("absent")})
	refusedS3(t, err, 404, "NotFound")
	_, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("absent")})
	refusedS3(t, err, 404, "NoSuchBucket")
	require.NoError(t, srv.Put("other", "k", nil))
	_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("other")})
	refusedS3(t, err, 409, "BucketNotEmpty")
	_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("other"), Key: aws.String("k")})
	require.NoError(t, err)
	_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("other")})
	require.NoError(t, err)
}

func TestS3AndOSSReadEachOther(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, b, ctx := clientS3(t, srv), bucket(t, srv), t.Context()
	data := noise(300_000)
	for _, key := range []string{"a/b", "a b+ü%/&=?#;:@$,~!'()*", "empty"} {
		if key == "empty" {
			data = nil
		}
		put, err := c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String("bkt"), Key: &key,
			Body:        bytes.NewReader(data),
			ContentType: aws.String("x/y"), Metadata: map[string]string{"src-etag": "e 1"},
		})
		require.NoError(t, err, key)
		assert.Equal(t, `"`+hexMD5(data)+`"`, *put.ETag)
		var h http.Header
		assert.Equal(t, data, append([]byte(nil), read(t, b, key, oss.GetResponseHeader(&h))...))
		assert.Equal(t, "e 1", h.Get("X-Oss-Meta-Src-Etag"))
		assert.Equal(t, "x/y", h.Get("Content-Type"))
		assert.Equal(t, strings.ToUpper(*put.ETag), h.Get("Etag"))
		assert.Equal(t, crcOf(data), h.Get("X-Oss-Hash-Crc64ecma"))
		got, out := readS3(t, c, &s3.GetObjectInput{Key: &key})
		assert.Equal(t, data, append([]byte(nil), got...))
		assert.Equal(t, map[string]string{"src-etag": "e 1"}, out.Metadata)
	}
	require.NoError(t, b.PutObject("from-oss", strings.NewReader("hello"), oss.Meta("m", "1"),
		oss.CacheControl("no-store")))
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("bkt"), Key: aws.String("from-oss")})
	require.NoError(t, err)
	assert.Equal(t, `"5d41402abc4b2a76b9719d911017c592"`, *head.ETag)
	assert.Equal(t, map[string]string{"m": "1"}, head.Metadata)
	assert.Equal(t, "no-store", *head.CacheControl)
	assert.EqualValues(t, 5, *head.ContentLength)
	assert.Empty(t, head.StorageClass, "S3 doesn't name STANDARD")
	_, err = c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("bkt"), Key: aws.String("absent")})
	refusedS3(t, err, 404, "NotFound")
	_, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bkt"), Key: aws.String("absent")})
	refusedS3(t, err, 404, "NoSuchKey")
}

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

// The SDK sends each kind of checksum when it's told to; the server must agree with it, and tell a
// wrong one.
func TestS3Checksums(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	for _, algorithm := range []types.ChecksumAlgorithm{
		types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c,
		types.ChecksumAlgorithmSha1,
		types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme,
	} {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String("bkt"), Key: aws.String(string(algorithm)),
			Body: bytes.NewReader(noise(70_000)), ChecksumAlgorithm: algorithm,
		})
		require.NoError(t, err, algorithm)
	}
	for _, in := range []*s3.PutObjectInput{
		{ChecksumCRC32: aws.String("AAAAAA==")},
		{ChecksumSHA256: aws.String("AAAA")},
		{ContentMD5: aws.String(md5Base64(nil))},
	} {
		in.Bucket, in.Key, in.Body = aws.String("bkt"), aws.String("bad"), strings.NewReader("x")
		_, err := c.PutObject(ctx, in)
		refusedS3(t, err, 400, "BadDigest")
	}
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String("bkt"), Key: aws.String("bad"),
		Body: strings.NewReader("x"), ContentMD5: aws.String("no digest"),
	})
	refusedS3(t, err, 400, "InvalidDigest")
	assert.Len(t, srv.Objects("bkt"), 5)
	assert.Empty(t, leftovers(t, srv))
}

func TestS3RangesAndConditions(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	data := noise(1000)
	require.NoError(t, srv.Put("bkt", "k", data))
	for text, want := range map[string][2]int{
		"bytes=0-0": {0, 1}, "bytes=10-19": {10, 20}, "bytes=990-": {990, 1000},
		"bytes=990-5000": {990, 1000},
		"bytes=-10":      {990, 1000}, "bytes=-5000": {0, 1000},
	} {
		got, out := readS3(t, c, &s3.GetObjectInput{
			Key: aws.String("k"), Range: aws.String(text),
			IfMatch: aws.String(`"` + hexMD5(data) + `"`),
		})
		assert.Equal(t, data[want[0]:want[1]], got, text)
		assert.Equal(t, fmt.Sprintf("bytes %d-%d/1000", want[0], want[1]-1), *out.ContentRange)
	}
	got, out := readS3(t, c, &s3.GetObjectInput{Key: aws.String("k"), Range: aws.String("bytes=9-3")})
	assert.Equal(t, data, got)
	assert.Nil(t, out.ContentRange)
	for _, text := range []string{"bytes=1000-", "bytes=-0"} {
		_, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bkt"), Key: aws.String("k"), Range: &text})
		refusedS3(t, err, 416, "InvalidRange")
	}
	get := func(change func(*s3.GetObjectInput)) error {
		in := &s3.GetObjectInput{Bucket: aws.String("bkt"), Key: aws.String("k")}
		change(in)
		out, err := c.GetObject(ctx, in)
		if err == nil {
			err = out.Body.Close()
		}
		return err
	}
	etag, past := aws.String(`"`+hexMD5(data)+`"`), aws.Time(time.Now().Add(-time.Hour))
	refusedS3(t, get(func(in *s3.GetObjectInput) { in.IfMatch = aws.String(`"0"`) }), 412, "PreconditionFailed")
	refusedS3(t, get(func(in *s3.GetObjectInput) { in.IfUnmodifiedSince = past }), 412, "PreconditionFailed")
	require.NoError(t, get(func(in *s3.GetObjectInput) { in.IfMatch, in.IfUnmodifiedSince = etag, past }),
		"the ETag outweighs the time")
	var response *awshttp.ResponseError
	require.ErrorAs(t, get(func(in *s3.GetObjectInput) { in.IfNoneMatch = etag }), &response)
	assert.Equal(t, 304, response.HTTPStatusCode())
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String("bkt"), Key: aws.String("k"),
		IfNoneMatch: aws.String("*"),
	})
	refusedS3(t, err, 412, "PreconditionFailed")
}

func TestS3Listings(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	want := []string{"a", "a b", "a+b", "a/", "a/1", "a/b/1", "a/b/2", "a0", "b/c/d", "ü/%"}
	for _, key := range []int{5, 0, 9, 3, 8, 1, 4, 2, 7, 6} {
		require.NoError(t, srv.Put("bkt", want[key], []byte(want[key])))
	}
	for _, encoding := range []types.EncodingType{"", types.EncodingTypeUrl} {
		decode := func(s *string) string {
			if encoding == "" {
				return *s
			}
			return unescape(t, *s)
		}
		for _, size := range []int32{1, 3, 1000, 5000} {
			for _, delimiter := range []string{"", "/"} {
				in := &s3.ListObjectsV2Input{
					Bucket: aws.String("bkt"), MaxKeys: &size, EncodingType: encoding,
					FetchOwner: aws.Bool(true),
				}
				v1 := &s3.ListObjectsInput{Bucket: in.Bucket, MaxKeys: &size, EncodingType: encoding}
				expected := want
				if delimiter != "" {
					in.Delimiter, v1.Delimiter, expected = &delimiter, &delimiter,
						[]string{"a", "a b", "a+b", "a/", "a0", "b/", "ü/"}
				}
				var v1Keys, v2Keys []string
				for pages := s3.NewListObjectsV2Paginator(c, in); pages.HasMorePages(); {
					page, err := pages.NextPage(ctx)
					require.NoError(t, err)
					require.EqualValues(t, len(page.Contents)+len(page.CommonPrefixes), *page.KeyCount)
					require.LessOrEqual(t, *page.KeyCount, size)
					for _, o := range page.Contents {
						v2Keys = append(v2Keys, decode(o.Key))
						require.NotNil(t, o.Owner)
						require.Equal(t, types.ObjectStorageClassStandard, o.StorageClass)
						require.Equal(t, `"`+hexMD5([]byte(decode(o.Key)))+`"`, *o.ETag)
					}
					for _, p := range page.CommonPrefixes {
						v2Keys = append(v2Keys, decode(p.Prefix))
					}
				}
				for {
					page, err := c.ListObjects(ctx, v1)
					require.NoError(t, err)
					last := ""
					for _, o := range page.Contents {
						v1Keys, last = append(v1Keys, decode(o.Key)), max(last, decode(o.Key))
					}
					for _, p := range page.CommonPrefixes {
						v1Keys, last = append(v1Keys, decode(p.Prefix)), max(last, decode(p.Prefix))
					}
					if !*page.IsTruncated {
						break
					}
					if delimiter != "" {
						require.Equal(t, last, decode(page.NextMarker))
					} else {
						require.Nil(t, page.NextMarker)
					}
					v1.Marker = &last
				}
				slices.Sort(v1Keys)
				slices.Sort(v2Keys)
				assert.Equal(t, expected, v1Keys)
				assert.Equal(t, expected, v2Keys)
			}
		}
	}
	page, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: aws.String("bkt"), StartAfter: aws.String("a0"),
		Prefix: aws.String("b"),
	})
	require.NoError(t, err)
	require.Len(t, page.Contents, 1)
	assert.Equal(t, "b/c/d", *page.Contents[0].Key)
	page, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("bkt"), MaxKeys: aws.Int32(0)})
	require.NoError(t, err)
	assert.Empty(t, page.Contents)
	assert.False(t, *page.IsTruncated)
	_, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("bkt"), ContinuationToken: aws.String("%")})
	refusedS3(t, err, 400, "InvalidArgument")
}

func TestS3Multipart(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	first, second := noise(5<<20), noise(6<<20)
	out := uploadS3(t, c, "m/k", first, second, []byte("tail"))
	sums := make([]byte, 0, 48)
	for _, p := range [][]byte{first, second, []byte("tail")} {
		sum := md5.Sum(p)
		sums = append(sums, sum[:]...)
	}
	assert.Equal(t, `"`+hexMD5(sums)+`-3"`, *out.ETag)
	whole := slices.Concat(first, second, []byte("tail"))
	got, get := readS3(t, c, &s3.GetObjectInput{Key: aws.String("m/k")})
	assert.True(t, bytes.Equal(whole, got))
	assert.Equal(t, *out.ETag, *get.ETag)
	assert.Equal(t, map[string]string{"made": "in parts"}, get.Metadata)
	assert.Nil(t, get.PartsCount)
	assert.True(t, bytes.Equal(whole, read(t, bucket(t, srv), "m/k")), "through the other face, with its CRC")

	for number, want := range [][]byte{first, second, []byte("tail")} {
		n := aws.Int32(int32(number + 1))
		head, err := c.HeadObject(ctx, &s3.HeadObjectInput{
			Bucket: aws.String("bkt"), Key: aws.String("m/k"),
			PartNumber: n,
		})
		require.NoError(t, err)
		assert.EqualValues(t, 3, *head.PartsCount)
		assert.EqualValues(t, len(want), *head.ContentLength)
		got, get := readS3(t, c, &s3.GetObjectInput{Key: aws.String("m/k"), PartNumber: n})
		assert.True(t, bytes.Equal(want, got))
		assert.EqualValues(t, 3, *get.PartsCount)
		assert.True(t, strings.HasSuffix(*get.ContentRange, "/"+strconv.Itoa(len(whole))))
	}
	_, err := c.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String("bkt"), Key: aws.String("m/k"),
		PartNumber: aws.Int32(4),
	})
	refusedS3(t, err, 416, "InvalidPartNumber")
	require.NoError(t, srv.Put("bkt", "whole", []byte("x")))
	head, err := c.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: aws.String("bkt"), Key: aws.String("whole"),
		PartNumber: aws.Int32(1),
	})
	require.NoError(t, err)
	assert.Nil(t, head.PartsCount)
	assert.EqualValues(t, 1, *head.ContentLength)
	_, err = c.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String("bkt"), Key: aws.String("whole"),
		PartNumber: aws.Int32(2),
	})
	refusedS3(t, err, 416, "InvalidPartNumber")
}

func TestS3MultipartRules(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	bkt, key := aws.String("bkt"), aws.String("k+ ü")
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bkt, Key: key})
	require.NoError(t, err)
	var parts []types.CompletedPart
	for n := range int32(2) {
		out, err := c.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: bkt, Key: key, UploadId: up.UploadId,
			PartNumber: aws.Int32(n + 1), Body: bytes.NewReader(noise(200_000)),
		})
		require.NoError(t, err)
		parts = append(parts, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(n + 1)})
	}
	complete := func(parts ...types.CompletedPart) error {
		_, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: bkt, Key: key,
			UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	}
	refusedS3(t, complete(parts...), 400, "EntityTooSmall")
	refusedS3(t, complete(parts[1], parts[0]), 400, "InvalidPartOrder")
	refusedS3(t, complete(types.CompletedPart{ETag: aws.String("0"), PartNumber: aws.Int32(1)}), 400, "InvalidPart")
	refusedS3(t, complete(), 400, "MalformedXML")
	listed, err := c.ListParts(ctx, &s3.ListPartsInput{
		Bucket: bkt, Key: key, UploadId: up.UploadId,
		MaxParts: aws.Int32(1),
	})
	require.NoError(t, err)
	assert.True(t, *listed.IsTruncated)
	require.Len(t, listed.Parts, 1)
	assert.Equal(t, parts[0].ETag, listed.Parts[0].ETag)
	assert.EqualValues(t, 200_000, *listed.Parts[0].Size)
	uploads, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bkt, Prefix: aws.String("k+")})
	require.NoError(t, err)
	require.Len(t, uploads.Uploads, 1)
	assert.Equal(t, *key, *uploads.Uploads[0].Key)
	assert.Equal(t, up.UploadId, uploads.Uploads[0].UploadId)
	assert.WithinDuration(t, time.Now(), *uploads.Uploads[0].Initiated, time.Minute)
	_, err = c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bkt, Key: key, UploadId: up.UploadId})
	require.NoError(t, err)
	refusedS3(t, complete(parts[0]), 404, "NoSuchUpload")
	assert.Empty(t, srv.Uploads("bkt"))
}

func TestS3CopyAndDelete(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	bkt := aws.String("bkt")
	data := noise(6 << 20)
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: bkt, Key: aws.String("a b"), Body: bytes.NewReader(data),
		Metadata: map[string]string{"m": "1"},
	})
	require.NoError(t, err)
	copied, err := c.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bkt, Key: aws.String("copy"),
		CopySource: aws.String("bkt/a%20b"),
	})
	require.NoError(t, err)
	assert.Equal(t, `"`+hexMD5(data)+`"`, *copied.CopyObjectResult.ETag)
	_, err = c.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bkt, Key: aws.String("replaced"),
		CopySource:        aws.String("bkt/a%20b"),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"m": "2"},
	})
	require.NoError(t, err)
	_, err = c.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bkt, Key: aws.String("never"),
		CopySource: aws.String("bkt/a%20b"), CopySourceIfMatch: aws.String(`"0"`),
	})
	refusedS3(t, err, 412, "PreconditionFailed")
	for key, meta := range map[string]string{"copy": "1", "replaced": "2"} {
		got, out := readS3(t, c, &s3.GetObjectInput{Key: &key})
		assert.True(t, bytes.Equal(data, got))
		assert.Equal(t, map[string]string{"m": meta}, out.Metadata)
	}
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bkt, Key: aws.String("joined")})
	require.NoError(t, err)
	part, err := c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket: bkt, Key: up.Key, UploadId: up.UploadId,
		PartNumber: aws.Int32(1),
		CopySource: aws.String("bkt/a%20b"), CopySourceRange: aws.String("bytes=10-29"),
	})
	require.NoError(t, err)
	assert.Equal(t, `"`+hexMD5(data[10:30])+`"`, *part.CopyPartResult.ETag)
	_, err = c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bkt, Key: up.Key, UploadId: up.UploadId})
	require.NoError(t, err)

	ids := func(keys ...string) *types.Delete {
		d := &types.Delete{}
		for _, k := range keys {
			d.Objects = append(d.Objects, types.ObjectIdentifier{Key: &k})
		}
		return d
	}
	out, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bkt, Delete: ids("copy", "absent")})
	require.NoError(t, err)
	assert.Len(t, out.Deleted, 2)
	quiet := ids("replaced")
	quiet.Quiet = aws.Bool(true)
	out, err = c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bkt, Delete: quiet})
	require.NoError(t, err)
	assert.Empty(t, out.Deleted)
	assert.Equal(t, []string{"a b"}, keysOf(srv.Objects("bkt")))
}

func TestS3UnknownCallsNeverSucceed(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c, ctx := clientS3(t, srv), t.Context()
	bkt := aws.String("bkt")
	_, err := c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: bkt})
	refusedS3(t, err, 501, "NotImplemented")
	_, err = c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bkt})
	refusedS3(t, err, 501, "NotImplemented")
	for name, in := range map[string]*s3.PutObjectInput{
		"acl":   {ACL: types.ObjectCannedACLPublicRead},
		"tags":  {Tagging: aws.String("a=b")},
		"kms":   {ServerSideEncryption: types.ServerSideEncryptionAwsKms},
		"class": {StorageClass: types.StorageClassSnow},
	} {
		in.Bucket, in.Key, in.Body = bkt, aws.String("k"), strings.NewReader("x")
		_, err := c.PutObject(ctx, in)
		refusedS3(t, err, 501, "NotImplemented")
		assert.Empty(t, srv.Objects("bkt"), name)
	}
	sign, err := s3.NewPresignClient(c).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bkt, Key: aws.String("k")})
	require.NoError(t, err)
	resp, err := http.Get(sign.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	assert.Equal(t, http.StatusNotImplemented, resp.StatusCode, "signatures in the URL aren't served")
}

func TestS3OverTLS(t *testing.T) {
	srv := startS3(t, osstest.Options{S3: &osstest.S3Options{TLS: true}})
	require.True(t, strings.HasPrefix(srv.S3URL(), "https://"))
	c := clientS3(t, srv,
		func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	data := noise(100_000)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("bkt"), Key: aws.String("k"),
		Body: bytes.NewReader(data),
	})
	require.NoError(t, err)
	got, _ := readS3(t, c, &s3.GetObjectInput{Key: aws.String("k")})
	assert.Equal(t, data, got)
	srv.Inject(osstest.Rule{Match: osstest.Op("GetObject"), Fault: osstest.ResetDownload(50_000)})
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bkt"), Key: aws.String("k")})
	require.NoError(t, err)
	_, err = io.ReadAll(out.Body)
	require.Error(t, err)
	require.NoError(t, out.Body.Close())
	// Over TLS the SDK streams its checksum behind the body by default, which OSS refuses.
	supported := func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported }
	_, err = clientS3(t, srv, supported).PutObject(t.Context(),
		&s3.PutObjectInput{Bucket: aws.String("bkt"), Key: aws.String("k"), Body: bytes.NewReader(data)})
	refusedS3(t, err, 400, "InvalidArgument")
	stranger := clientS3(t, srv,
		func(o *s3.Options) { o.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} })
	_, err = stranger.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	var unknown x509.UnknownAuthorityError
	require.True(t, errors.As(err, &unknown), "%v", err)
}

// The project's own Source, held to its contract.
func TestS3FaceServesTheSource(t *testing.T) {
	srv := startS3(t, osstest.Options{})
	c := clientS3(t, srv)
	const base = "snapferry/movies/tok"
	source, err := adapter.New(t.Context(), adapter.Options{
		Bucket: "bkt", BasePath: base, Region: regionS3,
		Endpoint: srv.S3URL(), PathStyle: true, Attempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("ak", "sk", ""),
	})
	require.NoError(t, err)
	objectstoretest.TestSource(t, objectstoretest.SourceFixture{
		Source: source, BasePath: base,
		Put:        func(key string, data []byte) { require.NoError(t, srv.Put("bkt", base+"/"+key, data)) },
		PutOutside: func(key string, data []byte) { require.NoError(t, srv.Put("bkt", key, data)) },
		Delete:     func(key string) { require.NoError(t, srv.Delete("bkt", base+"/"+key)) },
		PutParts: func(key string, data []byte, size int) {
			uploadS3(t, c, base+"/"+key, slices.Collect(slices.Chunk(data, size))...)
		},
	})
	info, err := source.CheckBucket(t.Context())
	require.NoError(t, err)
	assert.Equal(t, regionS3, info.Region)
	parts, err := source.Parts(t.Context(), "multi", "")
	require.NoError(t, err)
	assert.Equal(t, 3, parts.Count, "this server tells")
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	u, err := url.QueryUnescape(s)
	require.NoError(t, err)
	return u
}

// unsignedPayload makes the SDK sign without reading the body, as over TLS: what is damaged on the
// way then reaches the store.
func unsignedPayload(stack *middleware.Stack) error {
	return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
}
