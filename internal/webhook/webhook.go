// Package webhook is what all calls to addresses of a plan share: hooks, messages and the webhook. They
// are signed alike, so that one receiver can check all of them; what is secret of an address stays out
// of messages; and a receiver may ask to be left alone for a while.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/redact"
)

// The headers of a call. What is signed is the timestamp, a dot and the body.
const (
	HeaderTimestamp   = "Snapferry-Timestamp" // seconds since 1970
	HeaderSignature   = "Snapferry-Signature"
	HeaderIdempotency = "Idempotency-Key"
)

// Sign signs a call with HMAC-SHA256.
func Sign(header http.Header, key string, body []byte, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	header.Set(HeaderTimestamp, timestamp)
	header.Set(HeaderSignature, Signature(key, timestamp, body))
}

// Signature is what a receiver computes as well, and compares.
func Signature(key, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return fmt.Sprintf("v1=%x", mac.Sum(nil))
}

// Hide keeps an address and its parts out of messages.
func Hide(hidden *redact.Redactor, address *url.URL) {
	hidden.Add(address.String(), address.Host, address.Hostname(), address.EscapedPath(), address.RawQuery)
	for _, values := range address.Query() {
		hidden.Add(values...)
	}
	const word = 8 // shorter parts, such as send, are no keys
	for part := range strings.SplitSeq(address.Path, "/") {
		if len(part) >= word {
			hidden.Add(part)
		}
	}
}

// Cause is an error of the HTTP client without the address, which its own text repeats.
func Cause(err error) error {
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err
	}
	return err
}

// RetryAfter reads the header Retry-After, in seconds or as a date. It is 0 without one, and an hour
// at most.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return min(at.Sub(now), time.Hour)
	}
	return 0
}
