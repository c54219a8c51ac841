package osstest

import (
	"encoding/hex"
	"net/url"
	"strings"
)

// Face is one of the protocols in front of the store.
type Face string

// The faces.
const (
	FaceOSS Face = "oss"
	FaceS3  Face = "s3"
)

// dialect is all in which the faces differ, but for what only one of them has: OSS's ACLs and
// bucket info, S3's checksums.
type dialect struct {
	face Face
	// header begins the names of the face's own headers, server names the server.
	header, server string
	// namespace is an attribute of the outermost element of answers.
	namespace string
	// The names of operations that both have.
	createBucket, deleteObjects, createUpload string
	// contentType is that of an object whose writer names none.
	contentType string
	// minPartSize is for every part but the last.
	minPartSize int64
	validKey    func(key string) bool
	// escape is how keys are escaped in listings.
	escape func(string) string
	// etag is an ETag as the face writes it, tag what a part's adds to the digest that becomes the
	// ETag of the object.
	etag func(string) string
	tag  func(etag string) []byte
	// storageClass names a class of OSS, readClass reads the class that a request names.
	storageClass func(string) string
	readClass    func(string) (string, error)
	// word words an error.
	word func(*apiError) *apiError
	// authenticate verifies the signature and returns the key that made it.
	authenticate func(c *call, authorization string) (Key, error)
	// refusal is the answer to a request for what the face doesn't serve.
	refusal func(*call) (operation, bool)
	// forbidsOverwrite tells whether a write must not replace an object.
	forbidsOverwrite func(*call) bool
	badDigest        func(*call) error

	listBuckets, location, newBucket, list, listV2, get, head func(*call) error
}

var ossDialect = dialect{
	face: FaceOSS, header: "X-Oss-", server: "AliyunOSS",
	createBucket: "PutBucket", deleteObjects: "DeleteMultipleObjects", createUpload: "InitiateMultipartUpload",
	contentType: "application/octet-stream", minPartSize: minPartSize, validKey: validKey,
	// "+" must become %2B, since some clients read the keys with a query unescape, and a space %20,
	// since others don't.
	escape:       func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") },
	etag:         func(etag string) string { return `"` + etag + `"` },
	tag:          func(etag string) []byte { return []byte(etag) },
	storageClass: func(class string) string { return class }, readClass: storageClass,
	word:         func(e *apiError) *apiError { return e },
	authenticate: (*call).authenticateOSS,
	refusal:      (*call).unknownRequest,
	forbidsOverwrite: func(c *call) bool {
		return strings.EqualFold(c.own("Forbid-Overwrite"), "true")
	},
	badDigest: func(c *call) error {
		return errInvalidDigest.with("Content-MD5", c.r.Header.Get("Content-Md5"))
	},
	listBuckets: (*call).listBuckets, location: (*call).getBucketLocation, newBucket: (*call).putBucket,
	list: (*call).listObjects, listV2: (*call).listObjectsV2, get: (*call).getObject, head: (*call).headObject,
}

var s3Dialect = dialect{
	face: FaceS3, header: "X-Amz-", server: "AmazonS3", namespace: ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`,
	createBucket: "CreateBucket", deleteObjects: "DeleteObjects", createUpload: "CreateMultipartUpload",
	contentType: "binary/octet-stream", minPartSize: minPartSizeS3, validKey: validKeyS3, // S3: PutObject
	escape: func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }, // a slash stays
	etag:   func(etag string) string { return `"` + strings.ToLower(etag) + `"` },
	tag: func(etag string) []byte {
		if sum, err := hex.DecodeString(etag); err == nil {
			return sum
		}
		return []byte(etag)
	},
	storageClass: func(class string) string { return classesS3[class] }, readClass: storageClassS3,
	word:         (*apiError).inS3,
	authenticate: (*call).authenticateSigV4,
	refusal:      (*call).unknownRequestS3,
	forbidsOverwrite: func(c *call) bool {
		return c.r.Header.Get("If-None-Match") == "*"
	},
	badDigest:   func(*call) error { return errBadDigest },
	listBuckets: (*call).listBucketsS3, location: (*call).getBucketLocationS3, newBucket: (*call).createBucketS3,
	list: (*call).listObjectsS3, listV2: (*call).listObjectsV2S3, get: (*call).getObjectS3, head: (*call).headObjectS3,
}

// dialects are those of the faces.
var dialects = map[Face]*dialect{FaceOSS: &ossDialect, FaceS3: &s3Dialect}
