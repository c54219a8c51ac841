package activities

import (
	"context"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/migration"
)

// openSource opens the run's folder in S3 as the copy reads it.
func openSource(ctx context.Context, run migration.Run) (objectstore.Source, error) {
	return openS3(ctx, run)
}

// openSink opens the run's folder in OSS as the copy writes it.
func openSink(_ context.Context, run migration.Run) (objectstore.Sink, error) { return openOSS(run) }

// openS3 is openSource with what only S3 can be asked. Credentials come from
// the AWS SDK's own chain.
func openS3(ctx context.Context, run migration.Run) (*s3.Source, error) {
	repository := run.Plan.Source.Repository
	return s3.New(ctx, s3.Options{
		Bucket: repository.Bucket, BasePath: run.SourceBasePath(), Region: repository.Region,
		Endpoint: repository.Reader.Endpoint, PathStyle: repository.Reader.PathStyle,
		Concurrency: run.Plan.Copy.Concurrency,
	})
}

// openOSS is openSink with what only OSS can be asked. The writer's key is
// resolved anew each time, since it may be replaced while a migration runs.
func openOSS(run migration.Run) (*oss.Sink, error) {
	repository := run.Plan.Target.Repository
	o := oss.Options{
		Endpoint: repository.Writer.Endpoint, Bucket: repository.Bucket, BasePath: run.TargetBasePath(), Region: repository.Region,
		Concurrency: run.Plan.Copy.Concurrency,
	}
	for _, secret := range []struct {
		ref  migration.SecretRef
		into *string
	}{
		{repository.Writer.AccessKeyID, &o.AccessKeyID},
		{repository.Writer.AccessKeySecret, &o.AccessKeySecret},
		{repository.Writer.SecurityToken, &o.SecurityToken},
	} {
		if secret.ref == "" {
			continue // the token, of a key that is not temporary; the others are required
		}
		var err error
		if *secret.into, err = resolveSecret(secret.ref); err != nil {
			return nil, err
		}
	}
	return oss.New(o)
}
