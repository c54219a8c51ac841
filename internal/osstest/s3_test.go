package osstest_test

import (
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
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
