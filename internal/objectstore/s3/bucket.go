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
	if out, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}); err == nil && aws.ToString(out.BucketRegion) != "" {
		return BucketInfo{Region: *out.BucketRegion}, nil
	}
	out, err := s.client.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: bucket})
	if err != nil {
		return BucketInfo{}, nil // a policy may allow to list and nothing else; that is enough to copy
	}
	region := string(out.LocationConstraint)
	switch region {
	case "":
		region = "us-east-1" // S3: GetBucketLocation
	case "EU":
		region = "eu-west-1"
	}
	return BucketInfo{Region: region}, nil
}
