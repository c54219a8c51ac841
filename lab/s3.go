package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// S3 is the S3 server with its one bucket. Objects are ordinary files below Dir.
type S3 struct {
	Endpoint  string // http://HOST:PORT, path style
	Region    string
	AccessKey string
	SecretKey string
	Bucket    string
	Dir       string // the bucket's folder
}

// Client is a client of the server.
func (s S3) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: s.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:  &http.Client{Transport: loopback},
	})
}

// createBucket makes the bucket unless an earlier run with the same folder did.
func (s S3) createBucket(ctx context.Context) error {
	input := &s3.CreateBucketInput{Bucket: aws.String(s.Bucket)}
	if s.Region != "us-east-1" {
		region := types.BucketLocationConstraint(s.Region)
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: region}
	}
	client := s.Client()
	_, err := client.CreateBucket(ctx, input)
	var owned *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &owned) {
		return fmt.Errorf("the bucket %s was not created at %s: %w", s.Bucket, s.Endpoint, err)
	}
	return nil
}

func newVersitygw(dir string, t *toolbox, s *S3) *server {
	objects, meta := filepath.Join(dir, "objects"), filepath.Join(dir, "metadata")
	s.Dir = filepath.Join(objects, s.Bucket)
	port := 0
	return &server{
		name: "s3", ports: []*int{&port},
		spec: func() processSpec {
			s.Endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
			return processSpec{
				name: "s3", path: t.versitygw().path, dir: dir,
				// The sidecar holds what would otherwise be extended attributes, which not every
				// folder has.
				args: []string{
					"--port", fmt.Sprintf("127.0.0.1:%d", port), "--region", s.Region, "--health", "/health",
					"--quiet", "--keep-alive",
					"posix", "--sidecar", meta, objects,
				},
				env: plainEnv("ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey),
			}
		},
		ready: func(ctx context.Context, _ *Process) error { return get(ctx, s.Endpoint+"/health") },
	}
}

func s3Folders(dir string) error {
	for _, folder := range []string{"objects", "metadata"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return fmt.Errorf("no folder for the S3 server: %w", err)
		}
	}
	return nil
}

// get expects 200.
func get(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Close = true
	response, err := (&http.Client{Transport: loopback}).Do(r)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}
