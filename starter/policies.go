package main

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/snapferry/snapferry/migration"
)

// permissions are the policies that a plan needs.
type permissions struct {
	// DomainARN is the source domain's, with placeholders for what the plan does not tell.
	DomainARN    string       `json:"domainArn"`
	SnapshotRole snapshotRole `json:"snapshotRole"`
	Worker       attached     `json:"worker"`
	OSSWriter    attached     `json:"ossWriter"`
	OSSReader    attached     `json:"ossReader"`
	Notes        []string     `json:"notes"`
	Warnings     []string     `json:"warnings,omitempty"`
}

type snapshotRole struct {
	ARN         string `json:"arn"`
	TrustPolicy policy `json:"trustPolicy"`
	Policy      policy `json:"policy"`
}

type attached struct {
	Policy policy `json:"policy"`
}

// policy is a document of AWS IAM or of Alibaba Cloud RAM. Both have the same form.
type policy struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	// Sid is for IAM only: RAM has none.
	Sid       string                       `json:"Sid,omitempty"`
	Effect    string                       `json:"Effect"`
	Principal map[string]string            `json:"Principal,omitempty"`
	Action    []string                     `json:"Action"`
	Resource  []string                     `json:"Resource,omitempty"`
	Condition map[string]map[string]string `json:"Condition,omitempty"`
}

const (
	versionIAM = "2012-10-17"
	versionRAM = "1"
)

func newPermissions(plan migration.Plan) permissions {
	source, target := plan.Source.Repository, plan.Target.Repository
	domain, warnings := newDomain(plan)
	p := permissions{
		DomainARN: domain.arn(),
		SnapshotRole: snapshotRole{
			ARN: source.RoleARN, TrustPolicy: trustPolicy(domain), Policy: snapshotPolicy(domain.partition, source),
		},
		Worker:    attached{workerPolicy(domain, source)},
		OSSWriter: attached{ossWriterPolicy(target)},
		OSSReader: attached{ossReaderPolicy(target)},
		Warnings:  warnings,
	}
	p.Notes = notes(plan)
	return p
}

// trustPolicy lets the domain assume the role. The conditions prevent the service from using the
// role for another customer's domain (the confused deputy). Amazon: managedomains-snapshots, "Edit
// the trust relationship".
func trustPolicy(d domain) policy {
	return policy{versionIAM, []statement{{
		Sid: "SourceDomain", Effect: "Allow",
		Principal: map[string]string{"Service": "es.amazonaws.com"},
		Action:    []string{"sts:AssumeRole"},
		Condition: map[string]map[string]string{
			"StringEquals": {"aws:SourceAccount": d.account},
			"ArnLike":      {"aws:SourceArn": d.arn()},
		},
	}}}
}

// snapshotPolicy is what Elasticsearch's S3 repository needs. ListBucket has no condition on the
// prefix, since the repository also asks whether the bucket exists, without a prefix.
func snapshotPolicy(partition string, r migration.SourceRepository) policy {
	return policy{versionIAM, []statement{
		{
			Sid: "FindSnapshots", Effect: "Allow", Action: []string{"s3:ListBucket"},
			Resource: []string{bucketARN(partition, r.Bucket)},
		},
		{
			Sid: "KeepSnapshots", Effect: "Allow", Action: []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"},
			Resource: []string{objectsARN(partition, r)},
		},
	}}
}

func workerPolicy(d domain, r migration.SourceRepository) policy {
	return policy{versionIAM, []statement{
		{
			Sid: "HandTheSnapshotRoleToTheDomain", Effect: "Allow", Action: []string{"iam:PassRole"},
			Resource: []string{r.RoleARN},
		},
		{Sid: "UseTheDomain", Effect: "Allow", Action: []string{"es:ESHttp*"}, Resource: []string{d.arn() + "/*"}},
		{
			Sid: "FindSnapshots", Effect: "Allow", Action: []string{"s3:ListBucket"},
			Resource: []string{bucketARN(d.partition, r.Bucket)},
		},
		{
			Sid: "ReadSnapshots", Effect: "Allow", Action: []string{"s3:GetObject"},
			Resource: []string{objectsARN(d.partition, r)},
		},
	}}
}

// ossWriterPolicy is what the copy needs. oss:PutObject is for beginning an upload, sending parts
// and completing it, oss:GetObject for looking at an object. The copy deletes only objects of its
// own whose checksum is wrong.
func ossWriterPolicy(r migration.TargetRepository) policy {
	onBucket := []string{
		"oss:ListObjects", "oss:ListMultipartUploads", "oss:GetBucketInfo", "oss:GetBucketAcl",
		"oss:GetBucketWorm",
	}
	if r.CreateBucket {
		onBucket = append(onBucket, "oss:PutBucket")
	}
	return policy{versionRAM, []statement{
		{Effect: "Allow", Action: onBucket, Resource: []string{bucketOSS(r)}},
		{
			Effect: "Allow",
			Action: []string{
				"oss:PutObject", "oss:GetObject", "oss:ListParts", "oss:AbortMultipartUpload", "oss:DeleteObject",
			},
			Resource: []string{objectsOSS(r)},
		},
	}}
}

// ossReaderPolicy is what Alibaba's repository plugin needs to read. It asks whether the bucket
// exists. For that, OSS's Java SDK reads the bucket's ACL or, in later versions, its information.
func ossReaderPolicy(r migration.TargetRepository) policy {
	return policy{versionRAM, []statement{
		{
			Effect: "Allow", Action: []string{"oss:ListObjects", "oss:GetBucketAcl", "oss:GetBucketInfo"},
			Resource: []string{bucketOSS(r)},
		},
		{Effect: "Allow", Action: []string{"oss:GetObject"}, Resource: []string{objectsOSS(r)}},
	}}
}

func bucketARN(partition, bucket string) string { return "arn:" + partition + ":s3:::" + bucket }

// objectsARN covers the base path: each run has a folder of its own below it.
func objectsARN(partition string, r migration.SourceRepository) string {
	return bucketARN(partition, r.Bucket) + "/" + r.BasePath + "/*"
}

func bucketOSS(r migration.TargetRepository) string { return "acs:oss:*:*:" + r.Bucket }

func objectsOSS(r migration.TargetRepository) string {
	return bucketOSS(r) + "/" + r.BasePath + "/*"
}

func notes(plan migration.Plan) []string {
	source, target := plan.Source.Repository, plan.Target.Repository
	list := []string{
		fmt.Sprintf("The policies are limited to the plan's folders, %s/%s/ and %s/%s/. To use them for "+
			"other plans too, write %s/* and %s/* instead.",
			source.Bucket, source.BasePath, target.Bucket, target.BasePath, source.Bucket, target.Bucket),
		"The conditions of the trust policy need service software R20211203 or later on the domain. " +
			"For an older domain, leave Condition out.",
		"If the source has fine-grained access control: map the worker's user or role to the roles " +
			"manage_snapshots and all_access. Instead of all_access, a role that may read and change the " +
			"settings of the indices is enough.",
		"A resource policy on the domain must not deny the worker, and the worker must reach a domain in a " +
			"VPC.",
		"You need neither the policy AliyunOSSFullAccess nor a public bucket, which some guides ask for.",
		"The worker needs oss:DeleteObject for objects of its own copy whose checksum is wrong, and for what " +
			"a rehearsal has copied. The folders of a migration stay after it: starter cleanup removes them.",
		"For starter cleanup, the worker also needs s3:DeleteObject on the plan's folder in S3. Without it, the " +
			"source deletes the snapshots, and a few small objects remain. No migration needs it: grant it only " +
			"for the cleanup.",
		"Delete the target cluster's key after the migration: everyone who may read _snapshot on " +
			"Elasticsearch 5.x could see it.",
	}
	if source.ServerSideEncryption {
		list = append(list, "serverSideEncryption is SSE-S3 and needs no further permission. If the bucket "+
			"encrypts with a KMS key, both AWS policies need kms:Decrypt on that key, and the snapshot "+
			"role's also kms:GenerateDataKey.")
	}
	return list
}

// domain is the source domain, as far as the plan tells.
type domain struct{ partition, region, account, name string }

func (d domain) arn() string {
	return fmt.Sprintf("arn:%s:es:%s:%s:domain/%s", d.partition, d.region, d.account, d.name)
}

var (
	roleParts = regexp.MustCompile(`^arn:([a-z-]+):iam::([0-9]{12}):role/`)
	// Amazon: search-NAME-ID.REGION.es.amazonaws.com, vpc-NAME-ID for domains in a VPC, and
	// NAME-ID.aos.REGION.on.aws for endpoints with two address families. A name may contain
	// hyphens, an id contains none.
	domainHost  = regexp.MustCompile(`^(?:search|vpc)-(.+)-[a-z0-9]+\.([a-z0-9-]+)\.es\.amazonaws\.com(?:\.cn)?$`)
	domainHost2 = regexp.MustCompile(`^(?:search-|vpc-)?(.+)-[a-z0-9]+\.aos\.([a-z0-9-]+)\.on\.aws$`)
)

const placeholderName = "<DOMAIN-NAME>"

// newDomain reads the partition and the account from the role, which must be in the domain's
// account, and the rest from the endpoint.
func newDomain(plan migration.Plan) (domain, []string) {
	d := domain{
		partition: "aws", region: plan.Source.Auth.Region, account: "<ACCOUNT-ID>", name: placeholderName,
	}
	if d.region == "" {
		d.region = plan.Source.Repository.Region
	}
	var warnings []string
	// A valid plan always matches.
	if parts := roleParts.FindStringSubmatch(plan.Source.Repository.RoleARN); parts != nil {
		d.partition, d.account = parts[1], parts[2]
	}
	name := ""
	if endpoint, err := url.Parse(plan.Source.Endpoint); err == nil {
		name = strings.ToLower(endpoint.Hostname())
	}
	parts := domainHost.FindStringSubmatch(name)
	if parts == nil {
		parts = domainHost2.FindStringSubmatch(name)
	}
	switch {
	case parts == nil:
		warnings = append(warnings, fmt.Sprintf("the endpoint %s is not one of Amazon's own and does not "+
			"tell the domain's name: write the name in place of %s, and check the region %s (aws es "+
			"list-domain-names, or opensearch list-domain-names)",
			plan.Source.Endpoint, placeholderName, d.region))
	default:
		d.name = parts[1]
		if region := parts[2]; region != d.region {
			if plan.Source.Auth.Type == migration.AuthSigV4 {
				warnings = append(warnings, fmt.Sprintf("the endpoint says that the domain is in %s, "+
					"but the worker signs requests for %s: set "+
					"source.auth.region", region, d.region))
			}
			d.region = region
		}
	}
	if plan.Source.Auth.Type != migration.AuthSigV4 {
		warnings = append(warnings, fmt.Sprintf("source.auth.type is %s: Amazon accepts a repository with a "+
			"role only from signed requests (sigv4)", plan.Source.Auth.Type))
	}
	return d, warnings
}
