//go:build lab

package activities

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// The copier as a worker has it, between an S3 server and an OSS server that check signatures.
func TestLabCopy(t *testing.T) {
	l, run := startStores(t)
	request := migration.CopyRequest{BaseGeneration: -1, Run: run}
	oss, client := l.OSS.Server, storesClient(l)

	cluster := repositorytest.New(1, repositorytest.Options{Compress: true})
	for _, round := range []struct {
		name    string
		changes []repositorytest.Change
	}{
		{"r0", []repositorytest.Change{
			repositorytest.CreateIndex("movies", 2),
			repositorytest.AddSegments("movies", 20, 5000),
			// One that is piped, one that is uploaded in parts of the source's sizes.
			repositorytest.AddSegments("movies", 1, 12<<20), repositorytest.AddSegments("movies", 1, 60<<20),
		}},
		{"r1", []repositorytest.Change{repositorytest.AddSegments("movies", 5, 5000)}},
	} {
		before := cluster.Objects()
		uuid := cluster.Snapshot(round.name, round.changes...)
		for key, data := range cluster.Objects() {
			if !bytes.Equal(before[key], data) {
				upload(t, client, l.S3.Bucket, request.SourceBasePath()+"/"+key, data)
			}
		}
		request.Snapshot = migration.Snapshot{Name: round.name, UUID: uuid}
		copier := copierAlone()
		env := newEnvironment(quiet{})
		env.RegisterActivity(copier.CopySnapshot)
		oss.ResetCounts()
		began := time.Now()
		value, err := env.ExecuteActivity(copier.CopySnapshot, request)
		require.NoError(t, err)
		var result migration.CopyResult
		require.NoError(t, value.Get(&result))
		t.Logf("%s: %+v in %v, OSS was asked %v", round.name, result, time.Since(began).Round(time.Millisecond),
			oss.Counts())

		objects := map[string][]byte{}
		for _, o := range oss.Objects(l.OSS.Bucket) {
			key, ok := strings.CutPrefix(o.Key, request.TargetBasePath()+"/")
			require.True(t, ok, o.Key)
			objects[key], err = oss.Read(l.OSS.Bucket, o.Key)
			require.NoError(t, err)
		}
		root := sidestest.RequireReadable(t, objects)
		require.Equal(t, cluster.Generation(), root.Generation)
		require.Empty(t, oss.Uploads(l.OSS.Bucket))
		request.BaseUUID, request.BaseGeneration = uuid, result.Generation
	}
}

// upload puts an object as Elasticsearch does: in parts beyond a size, here 20 MB.
func upload(t *testing.T, client *sdk.Client, into, key string, data []byte) {
	t.Helper()
	ctx, bucket := t.Context(), aws.String(into)
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

// startStores runs an S3 server and an OSS server with a bucket each. The run is that of a
// migration between them.
func startStores(t *testing.T) (*lab.Lab, migration.Run) {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{
		Dir: t.TempDir(), Out: t.Output(), Parts: []lab.Part{lab.PartS3, lab.PartOSS}, S3Region: "eu-west-1",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
	setEnvironment(t, l)
	plan := l.Plan("stores")
	plan.Copy.Concurrency = 16
	plan.Source.Repository.BasePath, plan.Target.Repository.BasePath = "ferry/movies", "ferry/films"
	return l, migration.Run{Plan: plan, Token: "tok"}
}

// storesClient uploads plain bodies, as Elasticsearch's plugin does.
func storesClient(l *lab.Lab) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: l.S3.Region, BaseEndpoint: &l.S3.Endpoint, UsePathStyle: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		Credentials:                credentials.NewStaticCredentialsProvider(l.S3.AccessKey, l.S3.SecretKey, ""),
	})
}
