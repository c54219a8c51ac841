//go:build lab

package activities

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

// The copier as a worker has it, between an S3 server and an OSS server that check signatures.
func TestLabCopy(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "ak")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "sk")
	t.Setenv("OSS_ID", "ak")
	t.Setenv("OSS_SECRET", "sk")
	oss, err := osstest.Start(osstest.Options{Dir: t.TempDir(), Region: "ap-southeast-1", Keys: []osstest.Key{{ID: "ak", Secret: "sk"}}})
	require.NoError(t, err)
	defer oss.Close()
	require.NoError(t, oss.CreateBucket("bucket-oss", osstest.BucketOptions{}))
	endpoint := startS3(t)
	request := migration.CopyRequest{BaseGeneration: -1, Run: migration.Run{Token: "tok", Plan: migration.Plan{
		Copy: migration.Copy{Concurrency: 16},
		Source: migration.Source{Repository: migration.SourceRepository{Bucket: "bucket-s3", Region: "eu-west-1", BasePath: "ferry/movies",
			Reader: migration.SourceReader{Endpoint: endpoint, PathStyle: true}}},
		Target: migration.Target{Repository: migration.TargetRepository{Bucket: "bucket-oss", Region: "ap-southeast-1", BasePath: "ferry/films",
			Writer: migration.TargetWriter{Endpoint: oss.URL(), AccessKeyID: "env:OSS_ID", AccessKeySecret: "env:OSS_SECRET"}}},
	}}}
	client := sdk.New(sdk.Options{Region: "eu-west-1", BaseEndpoint: &endpoint, UsePathStyle: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired, Credentials: credentials.NewStaticCredentialsProvider("ak", "sk", "")})
	_, err = client.CreateBucket(t.Context(), &sdk.CreateBucketInput{Bucket: aws.String("bucket-s3"),
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	require.NoError(t, err)

	cluster := repositorytest.New(1, repositorytest.Options{Compress: true})
	for _, round := range []struct {
		name    string
		changes []repositorytest.Change
	}{
		{"r0", []repositorytest.Change{repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 20, 5000),
			// One that is piped, one that is uploaded in parts of the source's sizes.
			repositorytest.AddSegments("movies", 1, 12<<20), repositorytest.AddSegments("movies", 1, 60<<20)}},
		{"r1", []repositorytest.Change{repositorytest.AddSegments("movies", 5, 5000)}},
	} {
		before := cluster.Objects()
		uuid := cluster.Snapshot(round.name, round.changes...)
		for key, data := range cluster.Objects() {
			if !bytes.Equal(before[key], data) {
				upload(t, client, request.SourceBasePath()+"/"+key, data)
			}
		}
		request.Snapshot = migration.Snapshot{Name: round.name, UUID: uuid}
		copier := NewCopier()
		var suite testsuite.WorkflowTestSuite
		suite.SetLogger(quiet{})
		env := suite.NewTestActivityEnvironment()
		env.SetTestTimeout(time.Minute)
		env.RegisterActivity(copier.CopySnapshot)
		oss.ResetCounts()
		began := time.Now()
		value, err := env.ExecuteActivity(copier.CopySnapshot, request)
		require.NoError(t, err)
		var result migration.CopyResult
		require.NoError(t, value.Get(&result))
		t.Logf("%s: %+v in %v, OSS was asked %v", round.name, result, time.Since(began).Round(time.Millisecond), oss.Counts())

		objects := map[string][]byte{}
		for _, o := range oss.Objects("bucket-oss") {
			key, ok := strings.CutPrefix(o.Key, request.TargetBasePath()+"/")
			require.True(t, ok, o.Key)
			objects[key], err = oss.Read("bucket-oss", o.Key)
			require.NoError(t, err)
		}
		root := sidestest.RequireReadable(t, objects)
		require.Equal(t, cluster.Generation(), root.Generation)
		require.Empty(t, oss.Uploads("bucket-oss"))
		request.BaseUUID, request.BaseGeneration = uuid, result.Generation
	}
}

// upload puts an object as Elasticsearch does: in parts beyond a size, here 20 MB.
func upload(t *testing.T, client *sdk.Client, key string, data []byte) {
	t.Helper()
	ctx, bucket := t.Context(), aws.String("bucket-s3")
	const partSize = 20_000_000
	if len(data) <= partSize {
		_, err := client.PutObject(ctx, &sdk.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(data)})
		require.NoError(t, err)
		return
	}
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

func startS3(t *testing.T) string {
	t.Helper()
	binary, err := filepath.Abs("../.lab/bin/versitygw")
	require.NoError(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Skip("the lab's S3 server is not built")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	cmd := exec.Command(binary, "--port", address, "--region", "eu-west-1", "--health", "/health", "--keep-alive", "--quiet",
		"posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=ak", "ROOT_SECRET_KEY=sk")
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
