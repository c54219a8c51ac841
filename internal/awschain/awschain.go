// Package awschain tells what a failure of the AWS SDK's credential chain means. The chain asks other services (STS, the
// instance's metadata, a container's endpoint), and their hiccups must not look like a missing permission.
package awschain

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// noInstance is how the SDK says that its last resort, the instance's metadata, gave no role. It gets there only if nothing
// else was configured.
const noInstance = "no EC2 IMDS role found"

// Passes tells whether a failure to get credentials passes by itself: the network, a name that isn't resolved, a service
// that is overloaded. What a service has answered for good doesn't, nor that there is no provider at all.
func Passes(err error) bool {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.Response != nil {
		switch status := response.HTTPStatusCode(); {
		case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
			return true
		}
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		_, throttled := retry.DefaultThrottleErrorCodes[answer.ErrorCode()]
		_, slow := retry.DefaultRetryableErrorCodes[answer.ErrorCode()]
		return throttled || slow || answer.ErrorFault() == smithy.FaultServer || answer.ErrorCode() == "IDPCommunicationError"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false // a proxy whose authority the worker doesn't trust
	}
	if strings.Contains(err.Error(), noInstance) && nobodyThere(err) {
		return false
	}
	return network(err)
}

// nobodyThere tells whether the address of the instance's metadata leads nowhere: then this is no instance of EC2. A
// metadata service that is there but slow runs into a timeout instead.
func nobodyThere(err error) bool {
	for _, refusal := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// network recognises failures on the way. Not every net.Error is one: an unreadable file's is as well.
func network(err error) bool {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// Hint says what a person can do if no part of the chain is configured, and nothing otherwise.
func Hint(err error) string {
	if !strings.Contains(err.Error(), noInstance) {
		return ""
	}
	return "; give the worker AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE, or a role of its instance or container"
}
