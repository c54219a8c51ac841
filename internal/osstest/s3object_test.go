package osstest_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

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
