package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// BucketInfo is what preflight checks of a bucket.
type BucketInfo struct {
	// Region of the bucket; empty if the credentials don't permit to read it.
	Region string
}

// CheckBucket proves that the base path can be listed. BucketMissing if there is no such bucket,
// Forbidden if the credentials don't permit to list it. Invalid if the bucket is in another region;
// the message names it.
func (s *Source) CheckBucket(ctx context.Context) (BucketInfo, error) {
	full, err := s.base.Prefix("")
	if err != nil {
		return BucketInfo{}, err
	}
	bucket := aws.String(s.base.Bucket())
	if _, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: bucket, Prefix: &full,
		MaxKeys: aws.Int32(1),
	}); err != nil {
		return BucketInfo{}, s.wrap(ctx, "ListObjectsV2", full, err)
	}
	return BucketInfo{Region: s.findRegion(ctx, bucket)}, nil
}

// findRegion asks for the bucket's region. It is empty if the policy doesn't permit that: to copy,
// a policy need not.
func (s *Source) findRegion(ctx context.Context, bucket *string) string {
	if out, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}); err == nil &&
		aws.ToString(out.BucketRegion) != "" {
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

// Delete deletes an object, as Sink.Delete does. Only a cleanup asks for that: the policy that a
// copy needs does not permit it, and then it is Forbidden.
func (s *Source) Delete(ctx context.Context, key string) error {
	full, err := s.base.Key(key)
	if err != nil {
		return err
	}
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{
		Bucket: aws.String(s.base.Bucket()), Key: &full,
	}); err != nil {
		return s.wrap(ctx, "DeleteObject", full, err)
	}
	return nil
}
