//go:build lab

package s3_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
)

// startVersity runs an S3 server that checks SigV4 and gives its endpoint.
func startVersity(t *testing.T) string {
	t.Helper()
	binary, err := filepath.Abs("../../../.lab/bin/versitygw")
	require.NoError(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Skip("the lab's S3 server is not built")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	cmd := exec.Command(binary, "--port", address, "--region", "ap-southeast-1", "--health", "/health", "--keep-alive", "--quiet",
		"posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=ak", "ROOT_SECRET_KEY="+secret)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + address + "/health")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond)
	return "http://" + address
}

func TestVersity(t *testing.T) {
	endpoint := startVersity(t)
	client := sdk.New(sdk.Options{Region: "ap-southeast-1", BaseEndpoint: &endpoint, UsePathStyle: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		Credentials:                credentials.NewStaticCredentialsProvider("ak", secret, "")})
	bucket, ctx := aws.String("shop-es"), t.Context()
	const base = "snapferry/movies/tok"

	source := open(t, endpoint)
	_, err := source.CheckBucket(ctx)
	require.Equal(t, objectstore.BucketMissing, objectstore.KindOf(err), "%v", err)
	_, err = client.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: bucket, CreateBucketConfiguration: &types.CreateBucketConfiguration{
		LocationConstraint: "ap-southeast-1"}})
	require.NoError(t, err)
	info, err := source.CheckBucket(ctx)
	require.NoError(t, err)
	require.Equal(t, s3.BucketInfo{Region: "ap-southeast-1"}, info)
	_, err = open(t, endpoint, func(o *s3.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("ak", "wrong", "")
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
			_, err := client.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: bucket, Key: aws.String(base + "/" + key)})
			require.NoError(t, err)
		},
	})
	parts, err := source.Parts(ctx, "multi", "")
	require.NoError(t, err)
	t.Logf("versitygw tells the shape of an upload: %+v", parts)
}

func putParts(ctx context.Context, t *testing.T, client *sdk.Client, bucket *string, key string, data []byte, partSize int) {
	t.Helper()
	u, err := client.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
	require.NoError(t, err)
	var done []types.CompletedPart
	for from := 0; from < len(data); from += partSize {
		number := aws.Int32(int32(len(done) + 1))
		part, err := client.UploadPart(ctx, &sdk.UploadPartInput{Bucket: bucket, Key: &key, UploadId: u.UploadId, PartNumber: number,
			Body: bytes.NewReader(data[from:min(from+partSize, len(data))])})
		require.NoError(t, err)
		done = append(done, types.CompletedPart{PartNumber: number, ETag: part.ETag})
	}
	_, err = client.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: u.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done}})
	require.NoError(t, err)
}
