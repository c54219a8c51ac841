package oss

import (
	"context"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
)

// BucketInfo is what preflight checks of a bucket.
type BucketInfo struct {
	ACL          string // private, public-read or public-read-write
	StorageClass string // such as Standard; Elasticsearch can't read archived objects
	Location     string // oss-<region>
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
		Location: out.BucketInfo.Location,
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
