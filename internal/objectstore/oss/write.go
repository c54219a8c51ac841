package oss

import (
	"context"
	"io"
	"maps"
	"net/http"
	"strconv"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
)

func metadataOptions(metadata map[string]string) []oss.Option {
	options := []oss.Option{oss.ContentType(contentType)}
	for name, value := range metadata {
		options = append(options, oss.Meta(name, value))
	}
	return options
}

// Put implements objectstore.Sink.
func (s *Sink) Put(ctx context.Context, key string, body io.Reader, size int64,
	metadata map[string]string,
) (objectstore.PutResult, error) {
	r, err := s.on(ctx, "PutObject", key)
	if err != nil {
		return objectstore.PutResult{}, err
	}
	headers := make(map[string]string, len(metadata)+1)
	headers[oss.HTTPHeaderContentType] = contentType
	for name, value := range metadata {
		headers[metaPrefix+name] = value
	}
	if err := r.send(nil, headers, body, size); err != nil {
		return objectstore.PutResult{}, err
	}
	return r.putResult()
}

// send sends a body of exactly size bytes. It doesn't use the SDK's PutObject and UploadPart, which
// would hide from the connection that the body can lend its memory.
func (r *request) send(params map[string]any, headers map[string]string, body io.Reader, size int64) error {
	e := newExactly(body, size)
	defer e.end()
	if date := r.date(); date != "" {
		headers = maps.Clone(headers)
		if headers == nil {
			headers = map[string]string{}
		}
		headers[oss.HTTPHeaderDate] = date
	}
	answer, err := r.sink.client.Conn.DoWithContext(r.ctx, http.MethodPut, r.sink.base.Bucket(), r.key, params, headers,
		e, 0, nil)
	if answer != nil {
		r.header = answer.Headers
		_, _ = io.Copy(io.Discard, answer.Body) // else the connection couldn't be reused
		_ = answer.Body.Close()
	}
	if err != nil {
		return r.wrap(err)
	}
	return nil
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
func (s *Sink) in(ctx context.Context, op string,
	upload objectstore.Upload,
) (*request, oss.InitiateMultipartUploadResult, error) {
	r, err := s.on(ctx, op, upload.Key)
	return r, oss.InitiateMultipartUploadResult{Bucket: s.base.Bucket(), Key: r.key, UploadID: upload.ID}, err
}

// UploadPart implements objectstore.Sink.
func (s *Sink) UploadPart(ctx context.Context, upload objectstore.Upload, number int, body io.Reader,
	size int64,
) (objectstore.Part, error) {
	r, err := s.on(ctx, "UploadPart", upload.Key)
	if err != nil {
		return objectstore.Part{}, err
	}
	params := map[string]any{"partNumber": strconv.Itoa(number), "uploadId": upload.ID}
	if err := r.send(params, nil, body, size); err != nil {
		return objectstore.Part{}, err
	}
	crc, err := r.crc64()
	return objectstore.Part{
		Number: number, Size: size, ETag: objectstore.Unquote(r.header.Get("ETag")),
		CRC64: crc,
	}, err
}

// ListUploads implements objectstore.Sink.
func (s *Sink) ListUploads(ctx context.Context, prefix string) ([]objectstore.Upload, error) {
	full, err := s.base.Prefix(prefix)
	if err != nil {
		return nil, err
	}
	r := &request{sink: s, ctx: ctx, op: "ListMultipartUploads", key: full}
	var uploads []objectstore.Upload
	key, id := "", "" // where the next page begins
	for {
		options := r.options(oss.Prefix(full), oss.MaxUploads(pageSize))
		if key != "" {
			options = append(options, oss.KeyMarker(key), oss.UploadIDMarker(id))
		}
		page, err := s.bucket.ListMultipartUploads(options...)
		if err != nil {
			return nil, r.wrap(err)
		}
		for _, u := range page.Uploads {
			if key, ok := s.base.Relative(u.Key); ok {
				uploads = append(uploads, objectstore.Upload{Key: key, ID: u.UploadID, Initiated: u.Initiated})
			}
		}
		if !page.IsTruncated {
			return uploads, nil
		}
		if page.NextKeyMarker == "" || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return nil, r.fail(objectstore.Transient, "the listing doesn't say where the next page begins")
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
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
		before := marker
		for _, p := range page.UploadedParts {
			parts = append(parts, objectstore.Part{
				Number: p.PartNumber, Size: int64(p.Size),
				ETag: objectstore.Unquote(p.ETag),
			})
			marker = p.PartNumber
		}
		if !page.IsTruncated || len(page.UploadedParts) == 0 {
			return parts, nil
		}
		if marker <= before {
			return nil, r.fail(objectstore.Transient, "the listing of the parts stops before its end")
		}
	}
}

// Complete implements objectstore.Sink.
func (s *Sink) Complete(ctx context.Context, upload objectstore.Upload,
	parts []objectstore.Part,
) (objectstore.PutResult, error) {
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
