package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// BucketInfo is what preflight wants to know of a bucket.
type BucketInfo struct {
	// Region of the bucket; empty if the credentials may not ask.
	Region string
}

// CheckBucket proves that the base path can be listed. An error is typed as every other: BucketMissing, Forbidden, or
// Invalid with the bucket's own region in its message if the request went to the wrong one.
func (s *Source) CheckBucket(ctx context.Context) (BucketInfo, error) {
	full, err := s.base.Prefix("")
	if err != nil {
		return BucketInfo{}, err
	}
	bucket := aws.String(s.base.Bucket())
	if _, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &full, MaxKeys: aws.Int32(1)}); err != nil {
		return BucketInfo{}, s.wrap(ctx, "ListObjectsV2", full, err)
	}
	return BucketInfo{Region: s.findRegion(ctx, bucket)}, nil
}

// findRegion asks for the bucket's region. A policy may allow to list and nothing else, which is enough to copy: then it is
// empty.
func (s *Source) findRegion(ctx context.Context, bucket *string) string {
	if out, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}); err == nil && aws.ToString(out.BucketRegion) != "" {
		return *out.BucketRegion
	}
	out, err := s.client.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: bucket})
	if err != nil {
		return ""
	}
	switch region := string(out.LocationConstraint); region {
	case "":
		return "us-east-1" // S3: GetBucketLocation
	case "EU":
		return "eu-west-1"
	default:
		return region
	}
}
