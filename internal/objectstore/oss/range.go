package oss

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// ReadRange opens length bytes from offset on, if the object still has the ETag, with the contract
// of objectstore.Source. An audit reads OSS so; the copy never does.
func (s *Sink) ReadRange(ctx context.Context, key, etag string, offset, length int64) (objectstore.Body, error) {
	r, err := s.on(ctx, "GetObject", key)
	if err != nil {
		return objectstore.Body{}, err
	}
	// Without "standard", OSS answers a range beyond the end with the complete object (OSS:
	// x-oss-range-behavior).
	options := r.options(oss.Range(offset, offset+length-1), oss.RangeBehavior("standard"))
	if etag != "" {
		options = append(options, oss.IfMatch(`"`+etag+`"`))
	}
	opened, err := s.bucket.GetObject(r.key, options...)
	if err != nil {
		return objectstore.Body{}, r.wrap(err)
	}
	if got := r.header.Get("Content-Range"); !objectstore.BeginsAt(got, offset) {
		_ = opened.Close()
		return objectstore.Body{}, r.fail(objectstore.Invalid,
			fmt.Sprintf("asked for bytes from %d on, but the answer's range is %q", offset, got))
	}
	i := info(key, r.header)
	return objectstore.Body{
		ReadCloser: &body{ReadCloser: opened, request: r}, ETag: i.ETag,
		ETagIsMD5: i.ETagIsMD5,
	}, nil
}

// body gives the port's errors while it is read.
type body struct {
	io.ReadCloser
	request *request
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = b.request.wrap(fmt.Errorf("the body broke off: %w", err))
	}
	return n, err
}
