package osstest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file verifies Signature Version 4 as S3 wants it ("Create a signed AWS API request"), from the request on the wire and
// without the SDK's signer: the two agree only if both follow the description.

const (
	sigV4Algorithm  = "AWS4-HMAC-SHA256"
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// authenticateSigV4 reads "AWS4-HMAC-SHA256 Credential=ID/DAY/REGION/s3/aws4_request, SignedHeaders=a;b, Signature=HEX".
func (c *call) authenticateSigV4(auth string) (Key, error) {
	if auth == "" {
		return Key{}, errAccessDenied.because("Access Denied")
	}
	rest, ok := strings.CutPrefix(auth, sigV4Algorithm+" ")
	if !ok {
		return Key{}, errInvalidRequest.because("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	}
	fields := map[string]string{}
	for f := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != "s3" || scope[4] != "aws4_request" || fields["Signature"] == "" || fields["SignedHeaders"] == "" {
		return Key{}, errAuthorization.because("The authorization header is malformed; it needs Credential=ID/DAY/REGION/s3/aws4_request, SignedHeaders and Signature.")
	}
	id, day, region := scope[0], scope[1], scope[2]
	if c.s3.region != "" && region != c.s3.region {
		return Key{}, errAuthorization.because("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", region, c.s3.region).
			with("Region", c.s3.region)
	}
	key, err := c.lookUp(id)
	if err != nil {
		return Key{}, err
	}
	date := c.own("Date")
	sent, err := http.ParseTime(c.r.Header.Get("Date"))
	if date != "" {
		sent, err = time.Parse(timeV4, date)
	} else if err == nil {
		date = sent.UTC().Format(timeV4)
	}
	if err != nil {
		return Key{}, errAccessDenied.because("AWS authentication requires a valid Date or x-amz-date header")
	}
	if day != sent.UTC().Format("20060102") {
		return Key{}, errAuthorization.because("The authorization header is malformed; its date %s isn't that of the request, %s.", day, date)
	}
	payload := c.own("Content-Sha256")
	if payload == "" {
		return Key{}, errInvalidRequest.because("Missing required header for this request: x-amz-content-sha256")
	}
	if sum, err := hex.DecodeString(payload); payload != unsignedPayload && (err != nil || len(sum) != sha256.Size) {
		return Key{}, errInvalidArgument.because("x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.")
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	if name := c.unsignedHeader(signed); name != "" {
		return Key{}, errAccessDenied.because("There were headers present in the request which were not signed").with("HeadersNotSigned", name)
	}
	canonical := c.canonicalRequestS3(signed, payload)
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{sigV4Algorithm, date, strings.Join(scope[1:], "/"), hex.EncodeToString(sum[:])}, "\n")
	given, _ := hex.DecodeString(fields["Signature"])
	if !hmac.Equal(c.signatures.sign("AWS4"+key.Secret, scope[1:], text), given) {
		return Key{}, errSignature.with("AWSAccessKeyId", id).with("SignatureProvided", fields["Signature"]).with("StringToSign", text).
			with("CanonicalRequest", canonical)
	}
	return key, c.checkClock(sent)
}

// unsignedHeader is the name of a header that the signature must cover and doesn't; "" if there's none.
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

func (c *call) canonicalRequestS3(signed []string, payload string) string {
	path := "/"
	if c.bucket != "" {
		path += c.bucket
		if c.key != "" || strings.HasPrefix(c.r.URL.Path, "/"+c.bucket+"/") {
			path += "/" + c.key
		}
	}
	var b strings.Builder
	b.WriteString(c.r.Method + "\n" + strings.ReplaceAll(escape(path), "%2F", "/") + "\n" + canonicalQueryS3(c.query) + "\n")
	for _, name := range signed {
		value := c.headerValue(name)
		if strings.Contains(value, "  ") {
			value = strings.Join(strings.Fields(value), " ")
		}
		b.WriteString(name + ":" + value + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

// canonicalQueryS3 is sorted by the escaped pairs, and each has a "=".
func canonicalQueryS3(query url.Values) string {
	pairs := make([]string, 0, len(query))
	for name, values := range query {
		for _, value := range values {
			pairs = append(pairs, escape(name)+"="+escape(value))
		}
	}
	slices.SortFunc(pairs, func(a, b string) int {
		nameA, valueA, _ := strings.Cut(a, "=")
		nameB, valueB, _ := strings.Cut(b, "=")
		if nameA != nameB {
			return strings.Compare(nameA, nameB)
		}
		return strings.Compare(valueA, valueB)
	})
	return strings.Join(pairs, "&")
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

// checksums are those that the request asks to be verified in the S3 face, but Content-MD5: MD5 is computed anyway.
func (c *call) checksums() []checksum {
	if c.face != FaceS3 {
		return nil
	}
	var all []checksum
	for _, h := range checksumHeaders {
		if values := c.r.Header[h.name]; len(values) > 0 {
			want, _ := base64.StdEncoding.DecodeString(values[0]) // what can't be read agrees with nothing
			all = append(all, checksum{h.new(), want, errBadDigest.because("The %s you specified did not match what we received.", strings.ToLower(h.name))})
		}
	}
	if payload := c.own("Content-Sha256"); payload != unsignedPayload {
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
	return c.face == FaceS3 && slices.ContainsFunc(checksumHeaders, func(h checksumHeader) bool { return c.r.Header.Get(h.name) != "" })
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
	errAuthorization  = &apiError{status: 400, code: "AuthorizationHeaderMalformed", message: "The authorization header you provided is not valid."}
	errBadDigest      = &apiError{status: 400, code: "BadDigest", message: "The Content-MD5 you specified did not match what we received."}
	errPayloadHash    = &apiError{status: 400, code: "XAmzContentSHA256Mismatch", message: "The provided 'x-amz-content-sha256' header does not match what was computed."}
	errPartNumber     = &apiError{status: 416, code: "InvalidPartNumber", message: "The requested partnumber is not satisfiable"}
	errOwnBucket      = &apiError{status: 409, code: "BucketAlreadyOwnedByYou", message: "Your previous request to create the named bucket succeeded and you already own it."}
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
