package oss

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
)

// BucketInfo is what preflight checks of a bucket.
type BucketInfo struct {
	ACL          string // private, public-read or public-read-write
	StorageClass string // such as Standard; Elasticsearch can't read archived objects
	Location     string // oss-<region>
	Versioning   string // Enabled or Suspended; empty if it never was
	// Retention describes the bucket's retention policy, such as "Locked, 30 days"; empty if it has
	// none, or if RetentionUnknown: the key may not ask.
	Retention        string
	RetentionUnknown bool
}

// CheckBucket describes the bucket and proves that the base path can be listed. BucketMissing if
// there is no such bucket, Forbidden if the key may not read it.
func (s *Sink) CheckBucket(ctx context.Context) (BucketInfo, error) {
	r := &request{sink: s, ctx: ctx, op: "GetBucketInfo"}
	out, err := s.client.GetBucketInfo(s.base.Bucket(), r.options()...)
	if err != nil {
		return BucketInfo{}, r.wrap(err)
	}
	info := BucketInfo{
		ACL: out.BucketInfo.ACL, StorageClass: out.BucketInfo.StorageClass,
		Location: out.BucketInfo.Location, Versioning: out.BucketInfo.Versioning,
	}
	if info.Retention, info.RetentionUnknown, err = s.retention(ctx); err != nil {
		return info, err
	}
	full, err := s.base.Prefix("")
	if err != nil {
		return info, err
	}
	r = &request{sink: s, ctx: ctx, op: "ListObjectsV2", key: full}
	if _, err := s.bucket.ListObjectsV2(r.options(oss.Prefix(full), oss.MaxKeys(1))...); err != nil {
		return info, r.wrap(err)
	}
	return info, nil
}

// retention asks for the bucket's retention policy (OSS: GetBucketWorm).
func (s *Sink) retention(ctx context.Context) (policy string, unknown bool, err error) {
	r := &request{sink: s, ctx: ctx, op: "GetBucketWorm"}
	worm, err := s.client.GetBucketWorm(s.base.Bucket(), r.options()...)
	if refused, ok := errors.AsType[oss.ServiceError](err); ok && refused.StatusCode < http.StatusInternalServerError {
		return "", refused.Code != "NoSuchWORMConfiguration", nil
	}
	if err != nil {
		return "", false, r.wrap(err)
	}
	return fmt.Sprintf("%s, %d days", worm.State, worm.RetentionPeriodInDays), false, nil
}

// CreateBucket creates the bucket, private and of class Standard. If it exists and is ours, that is
// success, and its storage class stays. If somebody else has the name, that is an error.
func (s *Sink) CreateBucket(ctx context.Context) error {
	r := &request{sink: s, ctx: ctx, op: "PutBucket"}
	err := s.client.CreateBucket(s.base.Bucket(), r.options(oss.ACL(oss.ACLPrivate),
		oss.StorageClass(oss.StorageStandard))...)
	if err != nil {
		return r.wrap(err)
	}
	return nil
}
