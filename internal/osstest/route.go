package osstest

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// operation is one call of the API. Its name is the face's own.
type operation struct {
	name    string
	writes  bool
	serve   func(*call) error
	refusal error // instead of serve
}

// locate finds bucket, key and operation. The host may name the bucket; in a path the first slash
// ends it, and "%2F" is part of the key (the Go SDK sends every slash of a key that way).
func (c *call) locate() error {
	c.op = operation{name: "Unknown", refusal: errMethod}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return errInvalidArgument.because("The query string can't be read.")
	}
	c.query = query
	path := strings.TrimPrefix(c.r.URL.EscapedPath(), "/")
	if c.d.face == FaceOSS {
		c.bucket = bucketOfHost(c.r.Host, c.domains)
	}
	if c.bucket == "" {
		c.bucket, path, _ = strings.Cut(path, "/")
	}
	if c.key, err = url.PathUnescape(path); err != nil {
		return errObjectName
	}
	switch {
	case c.bucket == "":
		c.op = c.serviceOperation()
	case !validBucketName(c.bucket):
		return errBucketName.with("BucketName", c.bucket)
	case c.key == "":
		c.op = c.bucketOperation()
	case !c.d.validKey(c.key):
		return errObjectName.with("ObjectName", c.key)
	default:
		c.op = c.objectOperation()
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

// validKey: 1 to 1,023 bytes of UTF-8, not beginning with a slash or a backslash (OSS: Object
// naming conventions).
func validKey(key string) bool {
	return len(key) >= 1 && len(key) <= 1023 && utf8.ValidString(key) && key[0] != '/' && key[0] != '\\'
}

// unknown are the sub-resources that change what a request means and that this server doesn't
// serve. Without the list a "PUT /bucket?lifecycle" would be taken for the creation of a bucket.
var unknown = strings.Fields(`accessmonitor append asyncFetch callback cloudboxes cname comp cors encryption
	img inventory inventoryId lifecycle live logging metaQuery policy policyStatus position publicAccessBlock
	qos qosInfo referer regionList replication replicationLocation replicationProgress requestPayment
	resourceGroup responseHeader restore rtc stat status style styleName symlink tagging transferAcceleration
	udf versionId versioning versions vod website wormExtend wormId x-oss-async-process x-oss-process
	x-oss-signature x-oss-signature-version Signature Expires OSSAccessKeyId`)

// unknownRequest refuses the sub-resources that OSS's face doesn't serve. An object has no ACL
// here.
func (c *call) unknownRequest() (operation, bool) {
	if op, refused := c.refuses(unknown); refused {
		return op, true
	}
	if c.key != "" && c.query.Has("acl") {
		return operation{name: "Unknown", refusal: errNotImplemented.with("SubResource", "acl")}, true
	}
	return operation{}, false
}

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
	if op, refused := c.d.refusal(c); refused {
		return op
	}
	if c.r.Method == http.MethodGet {
		return operation{name: "ListBuckets", serve: c.d.listBuckets}
	}
	return c.op
}

func (c *call) bucketOperation() operation {
	if op, refused := c.d.refusal(c); refused {
		return op
	}
	has, ofOSS := c.query.Has, c.d.face == FaceOSS
	if has("worm") && c.r.Method != http.MethodGet { // no policy is made here
		return operation{name: "Unknown", refusal: errNotImplemented.with("SubResource", "worm")}
	}
	switch c.r.Method {
	case http.MethodHead:
		if !ofOSS {
			return operation{name: "HeadBucket", serve: (*call).headBucketS3}
		}
	case http.MethodGet:
		switch {
		case ofOSS && has("acl"):
			return operation{name: "GetBucketAcl", serve: (*call).getBucketACL}
		case ofOSS && has("bucketInfo"):
			return operation{name: "GetBucketInfo", serve: (*call).getBucketInfo}
		case ofOSS && has("worm"):
			return operation{name: "GetBucketWorm", serve: (*call).getBucketWorm}
		case has("location"):
			return operation{name: "GetBucketLocation", serve: c.d.location}
		case has("uploads"):
			return operation{name: "ListMultipartUploads", serve: (*call).listUploads}
		case c.query.Get("list-type") == "2":
			return operation{name: "ListObjectsV2", serve: c.d.listV2}
		}
		return operation{name: "ListObjects", serve: c.d.list}
	case http.MethodPut:
		if ofOSS && has("acl") {
			return operation{name: "PutBucketAcl", writes: true, serve: (*call).putBucketACL}
		}
		return operation{name: c.d.createBucket, writes: true, serve: c.d.newBucket}
	case http.MethodDelete:
		return operation{name: "DeleteBucket", writes: true, serve: (*call).deleteBucket}
	case http.MethodPost:
		if has("delete") {
			return operation{name: c.d.deleteObjects, writes: true, serve: (*call).deleteObjects}
		}
	}
	return c.op
}

func (c *call) objectOperation() operation {
	if op, refused := c.d.refusal(c); refused {
		return op
	}
	has := c.query.Has
	copies := c.own("Copy-Source") != ""
	switch c.r.Method {
	case http.MethodGet:
		if has("uploadId") {
			return operation{name: "ListParts", serve: (*call).listParts}
		}
		return operation{name: "GetObject", serve: c.d.get}
	case http.MethodHead:
		if c.d.face == FaceOSS && has("objectMeta") {
			return operation{name: "GetObjectMeta", serve: c.d.head}
		}
		return operation{name: "HeadObject", serve: c.d.head}
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
			return operation{name: c.d.createUpload, writes: true, serve: (*call).initiateUpload}
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
