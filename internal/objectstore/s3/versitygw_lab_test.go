//go:build lab

package s3_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/lab"
)

// The source as a worker has it, on an S3 server that checks signatures.
func TestLabVersity(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{Dir: t.TempDir(), Out: t.Output(), Parts: []lab.Part{lab.PartS3}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	endpoint := l.S3.Endpoint
	keys := credentials.NewStaticCredentialsProvider(l.S3.AccessKey, l.S3.SecretKey, "")
	withKeys := func(o *s3.Options) { o.Credentials = keys }
	client := sdk.New(sdk.Options{
		Region: l.S3.Region, BaseEndpoint: &endpoint, UsePathStyle: true, Credentials: keys,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
	bucket, ctx := aws.String("shop-es"), t.Context()
	const base = "snapferry/movies/tok"

	source := open(t, endpoint, withKeys)
	_, err = source.CheckBucket(ctx)
	require.Equal(t, objectstore.BucketMissing, objectstore.KindOf(err), "%v", err)
	_, err = client.CreateBucket(ctx, &sdk.CreateBucketInput{
		Bucket: bucket,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{
			LocationConstraint: "ap-southeast-1",
		},
	})
	require.NoError(t, err)
	info, err := source.CheckBucket(ctx)
	require.NoError(t, err)
	require.Equal(t, s3.BucketInfo{Region: "ap-southeast-1"}, info)
	_, err = open(t, endpoint, func(o *s3.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(l.S3.AccessKey, "wrong", "")
	}).CheckBucket(ctx)
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err), "%v", err)

	put := func(key string, data []byte) {
		_, err := client.PutObject(ctx, &sdk.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(data)})
		require.NoError(t, err)
	}
	objectstoretest.TestSource(t, objectstoretest.SourceFixture{
		Source: source, BasePath: base, PutOutside: put,
		Put: func(key string, data []byte) { put(base+"/"+key, data) },
		PutParts: func(key string, data []byte, partSize int) {
			putParts(ctx, t, client, bucket, base+"/"+key, data, partSize)
		},
		Delete: func(key string) {
			_, err := client.DeleteObject(ctx, &sdk.DeleteObjectInput{
				Bucket: bucket,
				Key:    aws.String(base + "/" + key),
			})
			require.NoError(t, err)
		},
	})
	parts, err := source.Parts(ctx, "multi", "")
	require.NoError(t, err)
	t.Logf("versitygw tells the shape of an upload: %+v", parts)
}

func putParts(ctx context.Context, t *testing.T, client *sdk.Client, bucket *string, key string, data []byte,
	partSize int,
) {
	t.Helper()
	u, err := client.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
	require.NoError(t, err)
	var done []types.CompletedPart
	for from := 0; from < len(data); from += partSize {
		number := aws.Int32(int32(len(done) + 1))
		part, err := client.UploadPart(ctx, &sdk.UploadPartInput{
			Bucket: bucket, Key: &key, UploadId: u.UploadId,
			PartNumber: number,
			Body:       bytes.NewReader(data[from:min(from+partSize, len(data))]),
		})
		require.NoError(t, err)
		done = append(done, types.CompletedPart{PartNumber: number, ETag: part.ETag})
	}
	_, err = client.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{
		Bucket: bucket, Key: &key,
		UploadId:        u.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	require.NoError(t, err)
}
