package osstest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// apiError is an answer that isn't success, as OSS words it.
type apiError struct {
	status  int
	code    string
	message string
	ec      string        // OSS's finer error number, "0026-00000001"
	details [][2]string   // further elements of the XML
	delay   time.Duration // for throttling: x-oss-qos-delay-time
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

// kind is how an injected answer is counted.
func (e *apiError) kind() string {
	if e.status == http.StatusServiceUnavailable || e.status == http.StatusTooManyRequests {
		return FaultThrottle
	}
	return FaultError
}

func (e *apiError) with(name, value string) *apiError {
	c := *e
	c.details = append(append([][2]string(nil), e.details...), [2]string{name, value})
	return &c
}

func (e *apiError) because(format string, args ...any) *apiError {
	c := *e
	c.message = fmt.Sprintf(format, args...)
	return &c
}

// The codes and texts are those of OSS's error pages; an EC is given where a public page or an
// SDK's test shows it.
var (
	errAccessDenied     = &apiError{status: 403, code: "AccessDenied", message: "AccessDenied", ec: "0003-00000001"}
	errInvalidAccessKey = &apiError{
		status: 403, code: "InvalidAccessKeyId",
		message: "The OSS Access Key Id you provided does not exist in our records.", ec: "0002-00000902",
	}
	errInvalidToken = &apiError{
		status: 403, code: "InvalidSecurityToken",
		message: "The security token you provided is invalid.", ec: "0002-00000006",
	}
	errExpiredToken = &apiError{
		status: 403, code: "SecurityTokenExpired",
		message: "The security token you provided has expired.", ec: "0002-00000007",
	}
	errSignature = &apiError{
		status: 403, code: "SignatureDoesNotMatch",
		message: "The request signature we calculated does not match the signature you provided. Check your key and " +
			"signing method.", ec: "0002-00000040",
	}
	errSkewed = &apiError{
		status: 403, code: "RequestTimeTooSkewed",
		message: "The difference between the request time and the current time is too large.", ec: "0002-00000504",
	}
	errBucketName = &apiError{
		status: 400, code: "InvalidBucketName",
		message: "The specified bucket is not valid.",
	}
	errNoSuchBucket = &apiError{
		status: 404, code: "NoSuchBucket", message: "The specified bucket does not exist.",
		ec: "0015-00000101",
	}
	errBucketNotEmpty = &apiError{
		status: 409, code: "BucketNotEmpty",
		message: "The bucket has objects. Please delete them first.",
	}
	errObjectName = &apiError{
		status: 400, code: "InvalidObjectName",
		message: "The specified object is not valid.",
	}
	errNoSuchKey = &apiError{
		status: 404, code: "NoSuchKey", message: "The specified key does not exist.",
		ec: "0026-00000001",
	}
	errNoSuchUpload = &apiError{
		status: 404, code: "NoSuchUpload",
		message: "The specified upload does not exist. The upload ID may be invalid, or the upload may have been " +
			"aborted or completed.", ec: "0042-00000002",
	}
	errExists = &apiError{
		status: 409, code: "FileAlreadyExists",
		message: "The object you specified already exists and can not be overwritten.",
	}
	errImmutable = &apiError{
		status: 409, code: "FileImmutable",
		message: "The object you specified is immutable.",
	}
	errNoWorm = &apiError{
		status: 404, code: "NoSuchWORMConfiguration",
		message: "The WORM Configuration does not exist.",
	}
	errEncryption = &apiError{
		status: 400, code: "InvalidEncryptionAlgorithmError",
		message: "The Encryption request you specified is not valid.",
	}
	errObjectState = &apiError{
		status: 403, code: "InvalidObjectState",
		message: "The operation is not valid for the object's state",
	}
	errInvalidDigest = &apiError{
		status: 400, code: "InvalidDigest",
		message: "The Content-MD5 you specified was invalid.",
	}
	errTooLarge = &apiError{
		status: 400, code: "EntityTooLarge",
		message: "Your proposed upload exceeds the maximum allowed size.",
	}
	errTooSmall = &apiError{
		status: 400, code: "EntityTooSmall",
		message: "Your proposed upload smaller than the minimum allowed size.",
	}
	errInvalidPart = &apiError{
		status: 400, code: "InvalidPart",
		message: "One or more of the specified parts could not be found or the specified entity tag might not have " +
			"matched the part's entity tag.",
	}
	errPartOrder = &apiError{
		status: 400, code: "InvalidPartOrder",
		message: "The list of parts was not in ascending order. Parts list must specified in order by part number.",
	}
	errInvalidArgument = &apiError{status: 400, code: "InvalidArgument", message: "Invalid Argument."}
	errMissingArgument = &apiError{status: 400, code: "MissingArgument", message: "Missing Some Required Arguments."}
	errMalformedXML    = &apiError{
		status: 400, code: "MalformedXML",
		message: "The XML you provided was not well-formed or did not validate against our published schema.",
	}
	errIncompleteBody = &apiError{
		status: 400, code: "IncompleteBody",
		message: "You did not provide the number of bytes specified by the Content-Length HTTP header.",
	}
	errInvalidRange = &apiError{
		status: 416, code: "InvalidRange",
		message: "The requested range cannot be satisfied",
	}
	errPrecondition = &apiError{
		status: 412, code: "PreconditionFailed",
		message: "At least one of the pre-conditions you specified did not hold.",
	}
	errNotModified = &apiError{status: 304, code: "NotModified", message: "Not Modified"}
	errMethod      = &apiError{
		status: 405, code: "MethodNotAllowed",
		message: "The specified method is not allowed against this resource.",
	}
	errNotImplemented = &apiError{
		status: 501, code: "NotImplemented",
		message: "A header or query you provided implies functionality that osstest does not implement.",
	}
	errAWSChunked = &apiError{
		status: 400, code: "InvalidArgument",
		message: "aws-chunked encoding is not supported with the specified x-amz-content-sha256 value.",
	}
	errClosing = &apiError{status: 503, code: "ServiceUnavailable", message: "The server is closing."}
	errAbort   = errors.New("abort the connection") // answer nothing: reset it
	// a client that still sends must be able to read the error
	maxDrain int64 = 64 << 20
)

// fail answers with err: XML in the body, or in x-oss-err for HEAD (which has no body).
func (c *call) fail(err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{status: 500, code: "InternalError", message: "osstest: " + err.Error()}
	}
	e = c.d.word(e)
	c.code = e.code
	h := c.w.Header()
	for _, name := range []string{"ETag", "Content-Range", "X-Oss-Hash-Crc64ecma"} {
		h.Del(name)
	}
	if e.status == http.StatusNotModified {
		h.Del("Content-Length")
		c.w.WriteHeader(e.status)
		return
	}
	if c.r.Header.Get("Expect") == "" {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.r.Body, maxDrain))
	}
	var d document
	d.open("Error")
	d.element("Code", e.code)
	d.element("Message", e.message)
	d.element("RequestId", c.requestID)
	d.element("HostId", c.r.Host)
	for _, f := range e.details {
		d.element(f[0], f[1])
	}
	if e.ec != "" && c.d.face == FaceOSS {
		d.element("EC", e.ec)
		h.Set("X-Oss-Ec", e.ec)
	}
	d.close("Error")
	if e.delay > 0 && c.d.face == FaceOSS {
		h.Set("X-Oss-Qos-Delay-Time", strconv.FormatInt(e.delay.Milliseconds(), 10))
	}
	if seconds := e.retryAfter(); seconds != "" && c.d.face == FaceS3 {
		h.Set("Retry-After", seconds)
	}
	if c.r.Method == http.MethodHead {
		if c.d.face == FaceOSS {
			h.Set("X-Oss-Err", base64.StdEncoding.EncodeToString(d.Bytes()))
		}
		h.Set("Content-Length", "0")
		c.w.WriteHeader(e.status)
		return
	}
	c.reply(e.status, &d)
}
