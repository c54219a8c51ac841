package osstest

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// operation is one call of OSS's API. Its name is OSS's own.
type operation struct {
	name    string
	writes  bool
	serve   func(*call) error
	refusal error // instead of serve
}

// locate finds bucket, key and operation. The host may name the bucket; in a path the first slash ends it, and "%2F" is part of
// the key (the Go SDK sends every slash of a key that way).
func (c *call) locate() error {
	c.op = operation{name: "Unknown", refusal: errMethod}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return errInvalidArgument.because("The query string can't be read.")
	}
	c.query = query
	path := strings.TrimPrefix(c.r.URL.EscapedPath(), "/")
	if c.face == FaceOSS {
		c.bucket = bucketOfHost(c.r.Host, c.domains)
	}
	if c.bucket == "" {
		c.bucket, path, _ = strings.Cut(path, "/")
	}
	if c.key, err = url.PathUnescape(path); err != nil {
		return errObjectName
	}
	service, bucket, object, valid := c.serviceOperation, c.bucketOperation, c.objectOperation, validKey
	if c.face == FaceS3 {
		service, bucket, object, valid = c.serviceOperationS3, c.bucketOperationS3, c.objectOperationS3, validKeyS3
	}
	switch {
	case c.bucket == "":
		c.op = service()
	case !validBucketName(c.bucket):
		return errBucketName.with("BucketName", c.bucket)
	case c.key == "":
		c.op = bucket()
	case !valid(c.key):
		return errObjectName.with("ObjectName", c.key)
	default:
		c.op = object()
	}
	return nil
}

func bucketOfHost(host string, domains []string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	for _, d := range domains {
		if b, ok := strings.CutSuffix(host, "."+d); ok && !strings.Contains(b, ".") {
			return b
		}
	}
	return ""
}

// validBucketName: 3 to 63 of a-z, 0-9 and "-", which neither begins nor ends it (OSS: PutBucket).
func validBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// validKey: 1 to 1,023 bytes of UTF-8, not beginning with a slash or a backslash (OSS: Object naming conventions).
func validKey(key string) bool {
	return len(key) >= 1 && len(key) <= 1023 && utf8.ValidString(key) && key[0] != '/' && key[0] != '\\'
}

// unknown are the sub-resources that change what a request means and that this server doesn't serve. Without the list a
// "PUT /bucket?lifecycle" would be taken for the creation of a bucket.
var unknown = strings.Fields(`accessmonitor append asyncFetch callback cloudboxes cname comp cors encryption img inventory
	inventoryId lifecycle live logging metaQuery policy policyStatus position publicAccessBlock qos qosInfo referer regionList
	replication replicationLocation replicationProgress requestPayment resourceGroup responseHeader restore rtc stat status
	style styleName symlink tagging transferAcceleration udf versionId versioning versions vod website worm wormExtend wormId
	x-oss-async-process x-oss-process x-oss-signature x-oss-signature-version Signature Expires OSSAccessKeyId`)

func (c *call) unknownQuery() (operation, bool) { return c.refuses(unknown) }

func (c *call) refuses(subResources []string) (operation, bool) {
	if len(c.query) == 0 {
		return operation{}, false
	}
	for _, name := range subResources {
		if c.query.Has(name) {
			return operation{name: "Unknown", refusal: errNotImplemented.with("SubResource", name)}, true
		}
	}
	return operation{}, false
}

func (c *call) serviceOperation() operation {
	if op, ok := c.unknownQuery(); ok {
		return op
	}
	if c.r.Method == http.MethodGet {
		return operation{name: "ListBuckets", serve: (*call).listBuckets}
	}
	return c.op
}

func (c *call) bucketOperation() operation {
	if op, ok := c.unknownQuery(); ok {
		return op
	}
	has := c.query.Has
	switch c.r.Method {
	case http.MethodGet:
		switch {
		case has("acl"):
			return operation{name: "GetBucketAcl", serve: (*call).getBucketACL}
		case has("bucketInfo"):
			return operation{name: "GetBucketInfo", serve: (*call).getBucketInfo}
		case has("location"):
			return operation{name: "GetBucketLocation", serve: (*call).getBucketLocation}
		case has("uploads"):
			return operation{name: "ListMultipartUploads", serve: (*call).listUploads}
		case c.query.Get("list-type") == "2":
			return operation{name: "ListObjectsV2", serve: (*call).listObjectsV2}
		}
		return operation{name: "ListObjects", serve: (*call).listObjects}
	case http.MethodPut:
		if has("acl") {
			return operation{name: "PutBucketAcl", writes: true, serve: (*call).putBucketACL}
		}
		return operation{name: "PutBucket", writes: true, serve: (*call).putBucket}
	case http.MethodDelete:
		return operation{name: "DeleteBucket", writes: true, serve: (*call).deleteBucket}
	case http.MethodPost:
		if has("delete") {
			return operation{name: "DeleteMultipleObjects", writes: true, serve: (*call).deleteObjects}
		}
	}
	return c.op
}

func (c *call) objectOperation() operation {
	if op, ok := c.unknownQuery(); ok {
		return op
	}
	if c.query.Has("acl") {
		return operation{name: "Unknown", refusal: errNotImplemented.with("SubResource", "acl")}
	}
	has := c.query.Has
	copies := c.r.Header.Get("X-Oss-Copy-Source") != ""
	switch c.r.Method {
	case http.MethodGet:
		if has("uploadId") {
			return operation{name: "ListParts", serve: (*call).listParts}
		}
		return operation{name: "GetObject", serve: (*call).getObject}
	case http.MethodHead:
		if has("objectMeta") {
			return operation{name: "GetObjectMeta", serve: (*call).headObject}
		}
		return operation{name: "HeadObject", serve: (*call).headObject}
	case http.MethodPut:
		switch {
		case has("uploadId") && copies:
			return operation{name: "UploadPartCopy", writes: true, serve: (*call).uploadPartCopy}
		case has("uploadId"):
			return operation{name: "UploadPart", writes: true, serve: (*call).uploadPart}
		case copies:
			return operation{name: "CopyObject", writes: true, serve: (*call).copyObject}
		}
		return operation{name: "PutObject", writes: true, serve: (*call).putObject}
	case http.MethodPost:
		if has("uploads") {
			return operation{name: "InitiateMultipartUpload", writes: true, serve: (*call).initiateUpload}
		}
		if has("uploadId") {
			return operation{name: "CompleteMultipartUpload", writes: true, serve: (*call).completeUpload}
		}
	case http.MethodDelete:
		if has("uploadId") {
			return operation{name: "AbortMultipartUpload", writes: true, serve: (*call).abortUpload}
		}
		return operation{name: "DeleteObject", writes: true, serve: (*call).deleteObject}
	}
	return c.op
}
