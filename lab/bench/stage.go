package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/osstest"
)

// stage is a set of data on running servers.
type stage struct {
	dir     string
	data    *dataset
	tls     bool
	seed    uint64
	servers *process
	at      addresses
	http    *http.Client
	// The servers' own admin interfaces, and S3's for what is done between runs.
	sourceAdmin, sinkAdmin *osstest.Admin
	source, sink           *s3.Client
	caFile                 string // "" without TLS
}

// Both tools find the source in one folder; in the sink each run has one of its own, so that none
// sees what another left.
const (
	runToken   = "bench"
	sourceBase = "repo/" + runToken
)

// sinkBase is where a migration whose target base path is name keeps its repository.
func sinkBase(name string) string { return name + "/" + runToken }

// newStage fills the source with the repository, and the sink's folders that are named with the
// same, as if it had been copied there; then it starts the servers. None of this is timed.
func newStage(ctx context.Context, dir string, data *dataset, tls bool, seed uint64,
	published ...string,
) (st *stage, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	st = &stage{dir: dir, data: data, tls: tls, seed: seed, http: &http.Client{Transport: &http.Transport{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	if err := fill(ctx, filepath.Join(dir, "source"), sourceBucket, data.objects, sourceBase); err != nil {
		return st, err
	}
	bases := make([]string, len(published))
	for i, name := range published {
		bases[i] = sinkBase(name)
	}
	if err := fill(ctx, filepath.Join(dir, "sink"), sinkBucket, data.repo.Needed(), bases...); err != nil {
		return st, err
	}
	return st, st.serve(ctx)
}

// fill puts objects below each base path of a bucket, straight into the store of a server that
// doesn't run yet.
func fill(ctx context.Context, dir, bucket string, objects map[string][]byte, basePaths ...string) (err error) {
	server, err := osstest.New(osstest.Options{Dir: dir, Region: region})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := server.CreateBucket(bucket, osstest.BucketOptions{}); err != nil {
		return err
	}
	// In the order of their keys: the store's index is a sorted list, into the middle of which
	// nothing goes cheaply.
	keys := slices.Sorted(maps.Keys(objects))
	for _, basePath := range basePaths {
		for _, key := range keys {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := server.Put(bucket, basePath+"/"+key, objects[key]); err != nil {
				return fmt.Errorf("the object %s can't be made: %w", key, err)
			}
		}
	}
	return nil
}

func (st *stage) serve(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ready := filepath.Join(st.dir, "server.ready")
	arguments := []string{
		"server", "--source", filepath.Join(st.dir, "source"), "--sink",
		filepath.Join(st.dir, "sink"), "--seed", fmt.Sprint(st.seed), "--ready", ready,
	}
	if st.tls {
		arguments = append(arguments, "--tls")
	}
	if st.servers, err = start(filepath.Join(st.dir, "server.log"), environment(asChild), self,
		arguments...); err != nil {
		return err
	}
	told, err := st.servers.awaitFile(ctx, ready)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(told, &st.at); err != nil {
		return err
	}
	if st.at.SourceCA != "" {
		st.caFile = filepath.Join(st.dir, "ca.pem")
		if err := os.WriteFile(st.caFile, []byte(st.at.SourceCA), 0o644); err != nil {
			return err
		}
	}
	st.sourceAdmin, st.sinkAdmin = osstest.NewAdmin(st.at.Admin+adminSource,
		st.http), osstest.NewAdmin(st.at.Admin+adminSink, st.http)
	st.source, st.sink = clientOf(st.at.SourceS3, st.at.SourceCA), clientOf(st.at.SinkS3, "")
	return nil
}

func clientOf(endpoint, ca string) *s3.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: writers}
	if ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ca))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: region, UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		Credentials:                credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
}

// close ends the servers and removes everything that they held.
func (st *stage) close() error {
	if st.servers != nil {
		st.servers.stop()
	}
	st.http.CloseIdleConnections()
	return os.RemoveAll(st.dir)
}

// writers is how many requests this process sends at once between the runs.
const writers = 8

// advance takes the next snapshot and puts what it wrote into the source.
func (st *stage) advance(ctx context.Context, filesPerShard int) error {
	st.data.next(filesPerShard)
	written, deleted := st.data.written()
	if err := st.reset(ctx, conditions{}); err != nil {
		return err
	}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for key, data := range written {
		group.Go(func() error { return put(working, st.source, sourceBucket, sourceBase+"/"+key, data) })
	}
	for _, key := range deleted {
		group.Go(func() error {
			_, err := st.source.DeleteObject(working, &s3.DeleteObjectInput{
				Bucket: aws.String(sourceBucket),
				Key:    aws.String(sourceBase + "/" + key),
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("the snapshot %s can't be put into the source: %w", st.data.snapshot.Name, err)
	}
	return nil
}

func put(ctx context.Context, client *s3.Client, bucket, key string, data []byte) error {
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)})
	return err
}

// verify compares what the repository needs with what stands in a folder of the sink: by the CRC64
// that the sink's server has of the bytes as it stored them, and by that of the bytes that were
// made.
func (st *stage) verify(ctx context.Context, basePath string) error {
	all, err := st.sinkAdmin.Objects(ctx, sinkBucket)
	if err != nil {
		return fmt.Errorf("the sink can't be listed: %w", err)
	}
	found := make(map[string]osstest.Object, len(all))
	for _, o := range all {
		if name, ok := relative(basePath, o.Key); ok {
			found[name] = o
		}
	}
	needed := st.data.repo.Needed()
	var wrong []string
	for name, data := range needed {
		switch o, ok := found[name]; {
		case !ok:
			wrong = append(wrong, name+" is missing")
		case o.Size != int64(len(data)):
			wrong = append(wrong, fmt.Sprintf("%s has %d bytes and not %d", name, o.Size, len(data)))
		case o.CRC64 != st.data.sum(name, data):
			wrong = append(wrong, name+" has other bytes")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	const shown = 3
	return fmt.Errorf("the sink is not what the source was: %d of %d objects: %s", len(wrong), len(needed),
		strings.Join(wrong[:min(shown, len(wrong))], ", "))
}

// forget removes a folder of the sink.
func (st *stage) forget(ctx context.Context, basePath string) error {
	for {
		page, err := st.sink.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
			Bucket: aws.String(sinkBucket),
			Prefix: aws.String(basePath + "/"),
		})
		if err != nil {
			return err
		}
		if len(page.Contents) == 0 {
			return nil
		}
		var objects []types.ObjectIdentifier
		for _, o := range page.Contents {
			objects = append(objects, types.ObjectIdentifier{Key: o.Key})
		}
		if _, err := st.sink.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: aws.String(sinkBucket),
			Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
		}); err != nil {
			return fmt.Errorf("what a run left can't be removed: %w", err)
		}
	}
}
