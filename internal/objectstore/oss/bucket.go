package oss

import (
	"context"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
)

// BucketInfo is what preflight wants to know of a bucket.
type BucketInfo struct {
	ACL          string // private, public-read or public-read-write
	StorageClass string // Standard; Elasticsearch can't read archived objects
	Location     string // oss-<region>
}

// CheckBucket describes the bucket and proves that the base path can be listed. An error is typed as every other:
// BucketMissing or Forbidden.
func (s *Sink) CheckBucket(ctx context.Context) (BucketInfo, error) {
	r := &request{sink: s, ctx: ctx, op: "GetBucketInfo"}
	out, err := s.client.GetBucketInfo(s.base.Bucket(), r.options()...)
	if err != nil {
		return BucketInfo{}, r.wrap(err)
	}
	info := BucketInfo{ACL: out.BucketInfo.ACL, StorageClass: out.BucketInfo.StorageClass, Location: out.BucketInfo.Location}
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

// CreateBucket makes the bucket: private, Standard. That it is there already, and ours, is success and leaves its storage
// class alone; a name that somebody else has is an error.
func (s *Sink) CreateBucket(ctx context.Context) error {
	r := &request{sink: s, ctx: ctx, op: "PutBucket"}
	err := s.client.CreateBucket(s.base.Bucket(), r.options(oss.ACL(oss.ACLPrivate), oss.StorageClass(oss.StorageStandard))...)
	if err != nil {
		return r.wrap(err)
	}
	return nil
}
