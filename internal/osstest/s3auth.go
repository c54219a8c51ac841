package osstest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// authenticateSigV4 checks a request's Signature Version 4 as S3 wants it.
func (c *call) authenticateSigV4(auth string) (Key, error) {
	if auth == "" {
		return Key{}, errAccessDenied.because("Access Denied")
	}
	if !strings.HasPrefix(auth, sigv4.Algorithm+" ") {
		return Key{}, errInvalidRequest.because("The authorization mechanism you have provided is not supported. " +
			"Please use AWS4-HMAC-SHA256.")
	}
	a, complaint := sigv4.Parse(auth)
	if complaint != "" || a.Service != "s3" {
		return Key{}, errAuthorization.because("The authorization header is malformed; it needs " +
			"Credential=ID/DAY/REGION/s3/aws4_request, SignedHeaders and Signature.")
	}
	if c.s3.region != "" && a.Region != c.s3.region {
		return Key{}, errAuthorization.because("The authorization header is malformed; the region '%s' is wrong; "+
			"expecting '%s'", a.Region, c.s3.region).
			with("Region", c.s3.region)
	}
	key, err := c.lookUp(a.AccessKey)
	if err != nil {
		return Key{}, err
	}
	date := c.own("Date")
	sent, err := http.ParseTime(c.r.Header.Get("Date"))
	if date != "" {
		sent, err = time.Parse(sigv4.TimeFormat, date)
	} else if err == nil {
		date = sent.UTC().Format(sigv4.TimeFormat)
	}
	if err != nil {
		return Key{}, errAccessDenied.because("AWS authentication requires a valid Date or x-amz-date header")
	}
	if a.Date != sent.UTC().Format("20060102") {
		return Key{}, errAuthorization.because("The authorization header is malformed; its date %s isn't that of the "+
			"request, %s.", a.Date, date)
	}
	payload := c.own("Content-Sha256")
	if payload == "" {
		return Key{}, errInvalidRequest.because("Missing required header for this request: x-amz-content-sha256")
	}
	if sum, err := hex.DecodeString(payload); payload != sigv4.Unsigned && (err != nil || len(sum) != sha256.Size) {
		return Key{}, errInvalidArgument.because("x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 " +
			"value.")
	}
	if name := c.unsignedHeader(a.SignedHeaders); name != "" {
		return Key{}, errAccessDenied.because("There were headers present in the request which were not signed").with(
			"HeadersNotSigned", name)
	}
	check := a.Check(&c.signing, key.Secret, date, c.r, c.pathS3(), payload)
	if !check.Valid {
		return Key{}, errSignature.with("AWSAccessKeyId", a.AccessKey).with("SignatureProvided", a.Signature).
			with("StringToSign", check.StringToSign).with("CanonicalRequest", check.CanonicalRequest)
	}
	return key, c.checkClock(sent)
}

// unsignedHeader is the name of a header that the signature must cover and doesn't; "" if there's
// none.
func (c *call) unsignedHeader(signed []string) string {
	if !slices.Contains(signed, "host") {
		return "host"
	}
	for name := range c.r.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			if lower := strings.ToLower(name); !slices.Contains(signed, lower) {
				return lower
			}
		}
	}
	return ""
}

// pathS3 is the path as the client must have signed it.
func (c *call) pathS3() string {
	path := "/"
	if c.bucket != "" {
		path += c.bucket
		if c.key != "" || strings.HasPrefix(c.r.URL.Path, "/"+c.bucket+"/") {
			path += "/" + c.key
		}
	}
	return sigv4.Escape(path, "/")
}

// checksum is a digest that the client gave beforehand.
type checksum struct {
	hash.Hash
	want []byte
	err  *apiError
}

// tableNVME is CRC64-NVME, bits reflected (S3: Checking object integrity).
var (
	tableNVME       = crc64.MakeTable(0x9a6c9329ac4bc9b5)
	tableCastagnoli = crc32.MakeTable(crc32.Castagnoli)
)

type checksumHeader struct {
	name string
	new  func() hash.Hash
}

var checksumHeaders = []checksumHeader{
	{"X-Amz-Checksum-Crc32", func() hash.Hash { return crc32.NewIEEE() }},
	{"X-Amz-Checksum-Crc32c", func() hash.Hash { return crc32.New(tableCastagnoli) }},
	{"X-Amz-Checksum-Crc64nvme", func() hash.Hash { return crc64.New(tableNVME) }},
	{"X-Amz-Checksum-Sha1", sha1.New},
	{"X-Amz-Checksum-Sha256", sha256.New},
}

// checksums are those that the request asks to be verified in the S3 face, but Content-MD5: MD5 is
// computed anyway.
func (c *call) checksums() []checksum {
	if c.d.face != FaceS3 {
		return nil
	}
	var all []checksum
	for _, h := range checksumHeaders {
		if values := c.r.Header[h.name]; len(values) > 0 {
			want, _ := base64.StdEncoding.DecodeString(values[0]) // what can't be read agrees with nothing
			all = append(all,
				checksum{h.new(), want, errBadDigest.because("The %s you specified did not match what we received.",
					strings.ToLower(h.name))})
		}
	}
	if payload := c.own("Content-Sha256"); payload != sigv4.Unsigned {
		want, _ := hex.DecodeString(payload)
		all = append(all, checksum{sha256.New(), want, errPayloadHash})
	}
	return all
}

// givesDigest tells whether the client gave a digest that DeleteObjects is content with.
func (c *call) givesDigest() bool {
	if c.r.Header.Get("Content-Md5") != "" {
		return true
	}
	return c.d.face == FaceS3 && slices.ContainsFunc(checksumHeaders,
		func(h checksumHeader) bool { return c.r.Header.Get(h.name) != "" })
}

func hashes(sums []checksum) []hash.Hash {
	var all []hash.Hash
	for _, s := range sums {
		all = append(all, s.Hash)
	}
	return all
}

func verify(sums []checksum) error {
	for _, s := range sums {
		if !bytes.Equal(s.Sum(nil), s.want) {
			return s.err
		}
	}
	return nil
}

// The errors that only S3 has, in its words (S3: Error responses).
var (
	errInvalidRequest = &apiError{status: 400, code: "InvalidRequest", message: "Invalid Request"}
	errAuthorization  = &apiError{
		status: 400, code: "AuthorizationHeaderMalformed",
		message: "The authorization header you provided is not valid.",
	}
	errBadDigest = &apiError{
		status: 400, code: "BadDigest",
		message: "The Content-MD5 you specified did not match what we received.",
	}
	errPayloadHash = &apiError{
		status: 400, code: "XAmzContentSHA256Mismatch",
		message: "The provided 'x-amz-content-sha256' header does not match what was computed.",
	}
	errPartNumber = &apiError{
		status: 416, code: "InvalidPartNumber",
		message: "The requested partnumber is not satisfiable",
	}
	errOwnBucket = &apiError{
		status: 409, code: "BucketAlreadyOwnedByYou",
		message: "Your previous request to create the named bucket succeeded and you already own it.",
	}
)

// inS3 words an error of the store as S3 does.
func (e *apiError) inS3() *apiError {
	to := func(status int, code, message string) *apiError {
		return &apiError{status: status, code: code, message: message, details: e.details, delay: e.delay}
	}
	switch e.code {
	case "InvalidSecurityToken":
		return to(400, "InvalidToken", "The provided token is malformed or otherwise not valid.")
	case "SecurityTokenExpired":
		return to(400, "ExpiredToken", "The provided token has expired.")
	case "PartitionQpsLimitted":
		return to(503, "SlowDown", "Please reduce your request rate.")
	case "InvalidObjectName":
		return to(400, "KeyTooLongError", "Your key is too long, empty or no UTF-8.")
	case "FileAlreadyExists":
		return to(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	case "MissingArgument":
		return to(400, "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return e
}

// retryAfter is the delay of throttling in whole seconds, "" for less than one.
func (e *apiError) retryAfter() string {
	if s := int64(e.delay.Seconds()); s > 0 {
		return strconv.FormatInt(s, 10)
	}
	return ""
}
