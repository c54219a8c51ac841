package oss

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
)

func (r *request) fail(kind objectstore.Kind, message string) *objectstore.Error {
	return &objectstore.Error{Kind: kind, Op: r.op, Bucket: r.sink.base.Bucket(), Key: r.key, Message: message}
}

// wrap makes the port's error of the SDK's. It omits RawMessage: for a wrong signature OSS repeats
// the complete request there, security token included.
func (r *request) wrap(err error) error {
	e := r.describe(err)
	if e.Kind == objectstore.Forbidden && r.sink.key.refused(r.ctx) {
		e.Kind = objectstore.Transient // the key was renewed: with the new one it may work
	}
	if e.Code == "RequestTimeTooSkewed" && r.sink.clock.Learn(r.header, r.sink.now(), r.ahead) {
		e.Kind = objectstore.Transient // this computer's clock is wrong: the next attempt has OSS's time
	}
	e.Message = r.sink.key.hidden.Text(e.Message)
	return e
}

func (r *request) describe(err error) *objectstore.Error {
	e := r.fail(objectstore.Transient, "")
	if cause := r.ctx.Err(); cause != nil {
		e.Message = cause.Error()
		return e.Because(cause)
	}
	if answer, ok := errors.AsType[oss.ServiceError](err); ok {
		e.Status, e.Code, e.RequestID, e.Message = answer.StatusCode, answer.Code, answer.RequestID, answer.Message
		e.Kind = objectstore.KindOfStatus(e.Status, e.Code)
		e.RetryAfter = retryAfter(r.header)
		return e
	}
	if answer, ok := errors.AsType[oss.UnexpectedStatusCodeError](err); ok {
		e.Status, e.Kind = answer.Got(), objectstore.KindOfStatus(answer.Got(), "")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	} else if _, ok := errors.AsType[net.Error](err); r.header == nil && !ok && !errors.Is(err, io.EOF) &&
		!errors.Is(err, io.ErrUnexpectedEOF) {
		e.Kind = objectstore.Invalid // the SDK itself refused: nothing was sent
	}
	e.RequestID = r.header.Get(oss.HTTPHeaderOssRequestID)
	e.Message = err.Error()
	if _, ok := errors.AsType[*xml.SyntaxError](err); ok {
		e.Message = "the answer is no XML: " + e.Message
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return e.Because(context.DeadlineExceeded)
	}
	return e
}

// retryAfter is how long OSS asks to wait when it throttles: milliseconds in a header of its own.
func retryAfter(h http.Header) time.Duration {
	if ms, err := strconv.Atoi(h.Get("X-Oss-Qos-Delay-Time")); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	return 0
}

// crc64 is the checksum of what the service has stored. The SDK would accept an answer without one.
func (r *request) crc64() (uint64, error) {
	crc, err := strconv.ParseUint(r.header.Get(oss.HTTPHeaderOssCRC64), 10, 64)
	if err != nil {
		e := r.fail(objectstore.Transient, "the answer has no checksum in "+oss.HTTPHeaderOssCRC64+
			", so nothing shows what was stored")
		e.RequestID = r.header.Get(oss.HTTPHeaderOssRequestID)
		return 0, e
	}
	return crc, nil
}
