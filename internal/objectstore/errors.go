package objectstore

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind says what a failure means for the caller.
type Kind int

// The kinds.
const (
	Unclassified  Kind = iota // not an *Error
	NotFound                  // no such object or upload
	Changed                   // the object under the key is not the one that was asked for (412)
	BucketMissing             // no such bucket
	Throttled                 // too many requests or bytes; try again after RetryAfter
	Forbidden                 // the credentials are wrong, or lack a permission
	Transient                 // the network or the service failed; try again
	Invalid                   // the request is refused, and would be again
)

var kindNames = [...]string{
	"unclassified", "not found", "changed", "no such bucket", "throttled", "forbidden",
	"transient", "invalid",
}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		k = Unclassified
	}
	return kindNames[k]
}

// Error is a failed call. It holds no secret: no credentials, no signed URL, no header of the
// request.
type Error struct {
	Kind   Kind
	Op     string // the service's name of the call, such as PutObject
	Bucket string
	Key    string // with the base path; empty for calls on the bucket
	// Status, Code and RequestID are the service's; Status is 0 if it didn't answer.
	Status    int
	Code      string
	RequestID string
	Message   string
	// RetryAfter is how long the service asks to wait, 0 if it doesn't say.
	RetryAfter time.Duration

	// cause is the context's error, if that ended the call. Other errors are not kept, since they
	// may hold URLs.
	cause error
}

// Error is one sentence: what was tried, on what, what came back.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + " " + e.Bucket)
	if e.Key != "" {
		b.WriteString("/" + e.Key)
	}
	b.WriteString(": ")
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d ", e.Status)
	}
	if e.Code != "" {
		b.WriteString(e.Code + ": ")
	}
	if e.Message != "" {
		b.WriteString(e.Message)
	} else {
		b.WriteString(e.Kind.String())
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// Unwrap gives the context's error, if that ended the call.
func (e *Error) Unwrap() error { return e.cause }

// Because sets the context's error as the cause.
func (e *Error) Because(cause error) *Error {
	e.cause = cause
	return e
}

// KindOf is the kind of the first *Error in err's chain, else Unclassified; also for nil.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unclassified
}

// KindOfStatus classifies an answer by its HTTP status and the service's code. It knows the codes
// that S3 and OSS share, and those that only one of them has. Sources: S3, Error responses; OSS,
// Error codes.
func KindOfStatus(status int, code string) Kind {
	switch code {
	case "NoSuchBucket":
		return BucketMissing
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests",
		"BandwidthLimitExceeded",
		"PartitionQpsLimitted", "DownloadTrafficRateLimitExceeded", "UploadTrafficRateLimitExceeded",
		"DownloadTrafficRateLimitExceeded2", "TotalQpsLimitExceeded":
		return Throttled
	case "RequestTimeout", "IncompleteBody", "InternalError", "OperationAborted", "InvalidDigest", "BadDigest":
		// The two digests: the network damaged what was sent.
		return Transient
	case "InvalidObjectState", "BucketAlreadyExists", "BucketAlreadyOwnedByYou", "FileAlreadyExists":
		return Invalid // some of them come with 409, which else is Transient
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidSecurityToken", "SecurityTokenExpired":
		return Forbidden // some of them come with 400
	}
	switch {
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusPreconditionFailed:
		return Changed
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return Throttled
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500 &&
		status != http.StatusNotImplemented:
		return Transient
	}
	return Invalid
}
