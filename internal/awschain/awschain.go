// Package awschain tells what a failure of the AWS SDK's credential chain means. The chain asks
// other services: STS, the instance's metadata, a container's endpoint. Their temporary failures
// must not look like a missing permission. So [Passes] tells temporary failures from permanent
// ones, and [Hint] says what to configure.
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

// noInstance is how the SDK says that the instance's metadata gave no role. The SDK asks for it
// last, only if nothing else is configured.
const noInstance = "no EC2 IMDS role found"

// Passes reports whether a failure to get credentials is temporary: the network, a name that isn't
// resolved, an overloaded service. A refusal of a service is permanent, and so is the lack of any
// provider.
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
		return throttled || slow || answer.ErrorFault() == smithy.FaultServer ||
			answer.ErrorCode() == "IDPCommunicationError"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false // a proxy with a certificate authority that the worker doesn't trust
	}
	if strings.Contains(err.Error(), noInstance) && nobodyThere(err) {
		return false
	}
	return network(err)
}

// nobodyThere reports whether nothing answers at the address of the instance's metadata: then this
// is no EC2 instance. A slow metadata service causes a timeout instead.
func nobodyThere(err error) bool {
	for _, refusal := range []error{
		syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.EHOSTDOWN,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// network recognises failures of the network. Not every net.Error is one: that of an unreadable
// file is a net.Error, too.
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

// Hint says what to do if no part of the chain is configured; else it is empty.
func Hint(err error) string {
	if !strings.Contains(err.Error(), noInstance) {
		return ""
	}
	return "; set one of these for the worker: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, " +
		"AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE, or a role of its instance or container"
}
