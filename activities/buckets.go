package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// buckets is what preflight and prepare ask of S3 and OSS.
type buckets interface {
	source(context.Context, migration.Run) (sourceBucket, error)
	target(context.Context, migration.Run) (targetBucket, error)
	// createTarget creates the OSS bucket, private and of class Standard. It succeeds if the bucket
	// exists and is ours.
	createTarget(context.Context, migration.Run) error
}

// sourceBucket is what preflight checks of the bucket in S3.
type sourceBucket struct {
	exists bool
	region string // empty if the service doesn't tell
}

func (b sourceBucket) problem(run migration.Run) string {
	plan := run.Plan.Source.Repository
	switch {
	case !b.exists:
		return fmt.Sprintf("S3 bucket %s does not exist, or belongs to somebody else", plan.Bucket)
	case b.region != "" && b.region != plan.Region:
		return fmt.Sprintf("S3 bucket %s is in region %s, but source.repository.region says %s", plan.Bucket, b.region,
			plan.Region)
	}
	return ""
}

// targetBucket is what preflight checks of the bucket in OSS.
type targetBucket struct {
	exists       bool
	acl          string // private, public-read, public-read-write
	storageClass string // Standard, IA, Archive, ColdArchive, DeepColdArchive
	location     string // its region with oss- in front; empty if the service doesn't tell
	versioning   string // Enabled, Suspended or empty
	// retention is its policy in words; empty if it has none, or if retentionUnknown.
	retention        string
	retentionUnknown bool
}

// coldClasses are storage classes whose objects must be restored before a read (OSS:
// RestoreObject).
var coldClasses = []string{"Archive", "ColdArchive", "DeepColdArchive"}

func (b targetBucket) problem(run migration.Run) string {
	bucket, planned := run.Plan.Target.Repository.Bucket, withoutOSS(run.Plan.Target.Repository.Region)
	switch {
	case !b.exists && run.Plan.Rehearsal:
		return fmt.Sprintf("OSS bucket %s does not exist, and a rehearsal creates none, since it would stay behind: "+
			"create the bucket, private and of class Standard", bucket)
	case !b.exists:
		return fmt.Sprintf("OSS bucket %s does not exist: create it, or set target.repository.createBucket", bucket)
	case b.location != "" && planned != "" && withoutOSS(b.location) != planned:
		return fmt.Sprintf("OSS bucket %s is in region %s, but target.repository.region says %s", bucket,
			withoutOSS(b.location), planned)
	case b.acl != "" && b.acl != "private":
		return fmt.Sprintf("OSS bucket %s can be read by others (%s), and a snapshot holds every document: make the "+
			"bucket private", bucket, b.acl)
	case slices.Contains(coldClasses, b.storageClass):
		return fmt.Sprintf("OSS bucket %s has storage class %s, whose objects Elasticsearch "+
			"can't read before they are restored: "+
			"use a bucket of class Standard", bucket, b.storageClass)
	case b.retention != "":
		return fmt.Sprintf("OSS bucket %s has a retention policy (%s): OSS refuses to replace and to delete its "+
			"objects, and each round replaces index.latest: use a bucket without one", bucket, b.retention)
	}
	return ""
}

// warnings are about what doesn't stop a migration.
func (b targetBucket) warnings(run migration.Run) (warnings []string) {
	bucket := run.Plan.Target.Repository.Bucket
	if b.versioning != "" {
		warnings = append(warnings, fmt.Sprintf("OSS bucket %s has versioning (%s): what snapferry replaces or "+
			"deletes stays as an earlier version, and takes room, until a lifecycle rule deletes it", bucket,
			b.versioning))
	}
	if b.retentionUnknown {
		warnings = append(warnings, fmt.Sprintf("OSS doesn't tell whether bucket %s has a retention policy "+
			"(oss:GetBucketWorm). With one, the second round fails: make sure that it has none", bucket))
	}
	return warnings
}

// withoutOSS is a region without the prefix that OSS puts in front of it.
func withoutOSS(region string) string { return strings.TrimPrefix(region, "oss-") }

// cloudBuckets asks S3 and OSS themselves.
type cloudBuckets struct{ keys }

func (b cloudBuckets) source(ctx context.Context, run migration.Run) (sourceBucket, error) {
	store, err := b.openS3(ctx, run)
	if err != nil {
		return sourceBucket{}, err
	}
	info, err := store.CheckBucket(ctx)
	if objectstore.KindOf(err) == objectstore.BucketMissing {
		return sourceBucket{}, nil
	}
	return sourceBucket{exists: err == nil, region: info.Region}, err
}

func (b cloudBuckets) target(ctx context.Context, run migration.Run) (targetBucket, error) {
	store, err := b.openOSS(ctx, run)
	if err != nil {
		return targetBucket{}, err
	}
	info, err := store.CheckBucket(ctx)
	if objectstore.KindOf(err) == objectstore.BucketMissing {
		return targetBucket{}, nil
	}
	return targetBucket{
		exists: err == nil, acl: info.ACL, storageClass: info.StorageClass,
		location: info.Location, versioning: info.Versioning,
		retention: info.Retention, retentionUnknown: info.RetentionUnknown,
	}, err
}

func (b cloudBuckets) createTarget(ctx context.Context, run migration.Run) error {
	store, err := b.openOSS(ctx, run)
	if err != nil {
		return err
	}
	return store.CreateBucket(ctx)
}
