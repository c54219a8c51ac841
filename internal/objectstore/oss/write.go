package oss

import (
	"context"
	"fmt"
	"io"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
)

func metadataOptions(metadata map[string]string) []oss.Option {
	options := []oss.Option{contentType}
	for name, value := range metadata {
		options = append(options, oss.Meta(name, value))
	}
	return options
}

// exactly is a body of a known length, which the SDK asks for by Len. Shorter ones fail instead of leaving the server
// waiting, longer ones too instead of being cut off.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Len() int { return int(e.left) }

func (e *exactly) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		return n, fmt.Errorf("the body is %d bytes short: %w", e.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Put implements objectstore.Sink.
func (s *Sink) Put(ctx context.Context, key string, body io.Reader, size int64, metadata map[string]string) (objectstore.PutResult, error) {
	r, err := s.on(ctx, "PutObject", key)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	options := r.options(metadataOptions(metadata)...)
	if err := s.bucket.PutObject(r.key, &exactly{body, size}, options...); err != nil {
		return objectstore.PutResult{}, r.wrap(err)
	}
	return r.putResult()
}

func (r *request) putResult() (objectstore.PutResult, error) {
	crc, err := r.crc64()
	return objectstore.PutResult{ETag: objectstore.Unquote(r.header.Get("ETag")), CRC64: crc}, err
}

// CreateUpload implements objectstore.Sink.
func (s *Sink) CreateUpload(ctx context.Context, key string, metadata map[string]string) (objectstore.Upload, error) {
	r, err := s.on(ctx, "InitiateMultipartUpload", key)
	if err != nil {
		return objectstore.Upload{}, err
	}
	u, err := s.bucket.InitiateMultipartUpload(r.key, r.options(metadataOptions(metadata)...)...)
	if err != nil {
		return objectstore.Upload{}, r.wrap(err)
	}
	return objectstore.Upload{Key: key, ID: u.UploadID}, nil
}

// in begins a call on an upload.
func (s *Sink) in(ctx context.Context, op string, upload objectstore.Upload) (*request, oss.InitiateMultipartUploadResult, error) {
	r, err := s.on(ctx, op, upload.Key)
	return r, oss.InitiateMultipartUploadResult{Bucket: s.base.Bucket(), Key: r.key, UploadID: upload.ID}, err
}

// UploadPart implements objectstore.Sink.
func (s *Sink) UploadPart(ctx context.Context, upload objectstore.Upload, number int, body io.Reader, size int64) (objectstore.Part, error) {
	r, u, err := s.in(ctx, "UploadPart", upload)
	if err != nil {
		return objectstore.Part{}, err
	}
	part, err := s.bucket.UploadPart(u, &exactly{body, size}, size, number, r.options()...)
	if err != nil {
		return objectstore.Part{}, r.wrap(err)
	}
	crc, err := r.crc64()
	return objectstore.Part{Number: number, Size: size, ETag: objectstore.Unquote(part.ETag), CRC64: crc}, err
}

// ListParts implements objectstore.Sink.
func (s *Sink) ListParts(ctx context.Context, upload objectstore.Upload) ([]objectstore.Part, error) {
	r, u, err := s.in(ctx, "ListParts", upload)
	if err != nil {
		return nil, err
	}
	var parts []objectstore.Part
	for marker := 0; ; {
		page, err := s.bucket.ListUploadedParts(u, r.options(oss.MaxParts(pageSize), oss.PartNumberMarker(marker))...)
		if err != nil {
			return nil, r.wrap(err)
		}
		for _, p := range page.UploadedParts {
			parts = append(parts, objectstore.Part{Number: p.PartNumber, Size: int64(p.Size), ETag: objectstore.Unquote(p.ETag)})
			marker = p.PartNumber
		}
		if !page.IsTruncated || len(page.UploadedParts) == 0 {
			return parts, nil
		}
	}
}

// Complete implements objectstore.Sink.
func (s *Sink) Complete(ctx context.Context, upload objectstore.Upload, parts []objectstore.Part) (objectstore.PutResult, error) {
	r, u, err := s.in(ctx, "CompleteMultipartUpload", upload)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	list := make([]oss.UploadPart, len(parts))
	for i, p := range parts {
		list[i] = oss.UploadPart{PartNumber: p.Number, ETag: `"` + p.ETag + `"`}
	}
	out, err := s.bucket.CompleteMultipartUpload(u, list, r.options()...)
	if err != nil {
		return objectstore.PutResult{}, r.wrap(err)
	}
	result, err := r.putResult()
	if result.ETag == "" {
		result.ETag = objectstore.Unquote(out.ETag)
	}
	return result, err
}

// Abort implements objectstore.Sink.
func (s *Sink) Abort(ctx context.Context, upload objectstore.Upload) error {
	r, u, err := s.in(ctx, "AbortMultipartUpload", upload)
	if err != nil {
		return err
	}
	if err := s.bucket.AbortMultipartUpload(u, r.options()...); err != nil {
		if err = r.wrap(err); objectstore.KindOf(err) != objectstore.NotFound {
			return err
		}
	}
	return nil
}

// Delete implements objectstore.Sink.
func (s *Sink) Delete(ctx context.Context, key string) error {
	r, err := s.on(ctx, "DeleteObject", key)
	if err != nil {
		return err
	}
	if err := s.bucket.DeleteObject(r.key, r.options()...); err != nil {
		return r.wrap(err)
	}
	return nil
}
