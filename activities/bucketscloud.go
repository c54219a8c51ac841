package activities

import (
	"context"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/migration"
)

// cloudBuckets asks S3 and OSS themselves.
type cloudBuckets struct{}

func (cloudBuckets) source(ctx context.Context, run migration.Run) (sourceBucket, error) {
	store, err := sourceBucketStore(ctx, run)
	if err != nil {
		return sourceBucket{}, err
	}
	info, err := store.CheckBucket(ctx)
	if objectstore.KindOf(err) == objectstore.BucketMissing {
		return sourceBucket{}, nil
	}
	return sourceBucket{exists: err == nil, region: info.Region}, err
}

func (cloudBuckets) target(ctx context.Context, run migration.Run) (targetBucket, error) {
	store, err := targetBucketStore(ctx, run)
	if err != nil {
		return targetBucket{}, err
	}
	info, err := store.CheckBucket(ctx)
	if objectstore.KindOf(err) == objectstore.BucketMissing {
		return targetBucket{}, nil
	}
	return targetBucket{exists: err == nil, acl: info.ACL, storageClass: info.StorageClass}, err
}

func (cloudBuckets) createTarget(ctx context.Context, run migration.Run) error {
	store, err := targetBucketStore(ctx, run)
	if err != nil {
		return err
	}
	return store.CreateBucket(ctx)
}

func sourceBucketStore(ctx context.Context, run migration.Run) (*s3.Source, error) {
	plan := run.Plan.Source.Repository
	return s3.New(ctx, s3.Options{
		Bucket: plan.Bucket, BasePath: run.SourceBasePath(), Region: plan.Region,
		Endpoint: plan.Reader.Endpoint, PathStyle: plan.Reader.PathStyle,
	})
}

func targetBucketStore(_ context.Context, run migration.Run) (*oss.Sink, error) {
	plan := run.Plan.Target.Repository
	id, err := resolveSecret(plan.Writer.AccessKeyID)
	if err != nil {
		return nil, err
	}
	secret, err := resolveSecret(plan.Writer.AccessKeySecret)
	if err != nil {
		return nil, err
	}
	var token string
	if plan.Writer.SecurityToken != "" {
		if token, err = resolveSecret(plan.Writer.SecurityToken); err != nil {
			return nil, err
		}
	}
	return oss.New(oss.Options{
		Endpoint: plan.Writer.Endpoint, Bucket: plan.Bucket, BasePath: run.TargetBasePath(), Region: plan.Region,
		AccessKeyID: id, AccessKeySecret: secret, SecurityToken: token,
	})
}
