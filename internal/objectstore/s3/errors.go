package s3

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/snapferry/snapferry/internal/awschain"
	"github.com/snapferry/snapferry/internal/objectstore"
)

func (s *Source) fail(kind objectstore.Kind, op, key, message string) *objectstore.Error {
	return &objectstore.Error{Kind: kind, Op: op, Bucket: s.base.Bucket(), Key: key, Message: message}
}

// wrap makes the port's error of the SDK's.
func (s *Source) wrap(ctx context.Context, op, key string, err error) error {
	e := s.fail(objectstore.Transient, op, key, "")
	if cause := ctx.Err(); cause != nil {
		e.Message = cause.Error()
		return e.Because(cause)
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.Response != nil {
		e.Status = response.HTTPStatusCode()
		e.RetryAfter = retryAfter(response.Response.Header)
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" && region != s.region {
			e.Message = "the bucket is in the region " + region + ", not in " + s.region
		}
	}
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		e.RequestID = response.ServiceRequestID()
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		e.Code = api.ErrorCode()
		if e.Message == "" && api.ErrorMessage() != e.Code {
			e.Message = api.ErrorMessage()
		}
	}
	switch {
	case e.Status >= 300:
		e.Kind = objectstore.KindOfStatus(e.Status, e.Code)
	case e.Code != "" && e.Status != 0: // 200 with an error inside, as ListObjects may do
		e.Kind = objectstore.KindOfStatus(http.StatusInternalServerError, e.Code)
	}
	if strings.Contains(err.Error(), "get identity") {
		credentials(e, err)
	} else if e.Message == "" {
		e.Message = plain(err)
	}
	if s.chain != nil {
		s.hidden.Add(s.chain.Secrets()...)
		if e.Kind == objectstore.Forbidden && e.Status != 0 && s.chain.Refused(ctx) {
			e.Kind = objectstore.Transient // the credentials were renewed: with the new ones it may work
		}
	}
	e.Message = s.hidden.Text(e.Message)
	return e
}

// credentials classifies a request that was never sent, because the credential chain gave nothing
// to sign it with. S3 has not answered, so the answers of other services don't count: only whether
// the failure is temporary does.
func credentials(e *objectstore.Error, err error) {
	switch {
	case !awschain.Passes(err):
		e.Kind = objectstore.Forbidden
	case e.Kind != objectstore.Throttled:
		e.Kind = objectstore.Transient
	}
	e.Message = "the AWS SDK's chain gave no usable credentials: " + plain(err) + awschain.Hint(err)
}

// plain is the innermost part of an error that has a meaning: the SDK's own text repeats the URL
// and the attempts.
func plain(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	} else if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		err = op.Err
	}
	return err.Error()
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
