package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// List implements objectstore.Reader.
func (s *Source) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		err := s.pages(ctx, prefix, "", func(page *s3.ListObjectsV2Output) bool {
			for _, o := range page.Contents {
				if object, ok := s.object(o); ok && !yield(object, nil) {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield(objectstore.Object{}, err)
		}
	}
}

// ListFolder implements objectstore.Reader.
func (s *Source) ListFolder(ctx context.Context, prefix string) (objectstore.Folder, error) {
	var f objectstore.Folder
	err := s.pages(ctx, prefix, "/", func(page *s3.ListObjectsV2Output) bool {
		for _, o := range page.Contents {
			if object, ok := s.object(o); ok {
				f.Objects = append(f.Objects, object)
			}
		}
		for _, p := range page.CommonPrefixes {
			if folder, ok := s.base.Relative(strings.TrimSuffix(aws.ToString(p.Prefix), "/")); ok {
				f.Folders = append(f.Folders, folder+"/")
			}
		}
		return true
	})
	return f, err
}

func (s *Source) pages(ctx context.Context, prefix, delimiter string, each func(*s3.ListObjectsV2Output) bool) error {
	full, err := s.base.Prefix(prefix)
	if err != nil {
		return err
	}
	in := &s3.ListObjectsV2Input{Bucket: aws.String(s.base.Bucket()), Prefix: &full}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	pages := s3.NewListObjectsV2Paginator(s.client, in,
		func(o *s3.ListObjectsV2PaginatorOptions) { o.StopOnDuplicateToken = true })
	last := ""
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.wrap(ctx, "ListObjectsV2", full, err)
		}
		if token := aws.ToString(page.NextContinuationToken); aws.ToBool(page.IsTruncated) &&
			(token == "" || token == last) {
			return s.fail(objectstore.Transient, "ListObjectsV2", full,
				"the listing doesn't say where the next page begins")
		} else {
			last = token
		}
		if !each(page) {
			return nil
		}
	}
	return nil
}

func (s *Source) object(o types.Object) (objectstore.Object, bool) {
	key, ok := s.base.Relative(aws.ToString(o.Key))
	return objectstore.Object{
		Key: key, Size: aws.ToInt64(o.Size), ETag: objectstore.Unquote(aws.ToString(o.ETag)),
		LastModified: aws.ToTime(o.LastModified),
	}, ok
}

// Head implements objectstore.Reader.
func (s *Source) Head(ctx context.Context, key string) (objectstore.Info, error) {
	out, err := s.head(ctx, key, "", 0)
	if err != nil {
		return objectstore.Info{}, err
	}
	return headInfo(key, out), nil
}

func (s *Source) head(ctx context.Context, key, etag string, part int32) (*s3.HeadObjectOutput, error) {
	full, err := s.base.Key(key)
	if err != nil {
		return nil, err
	}
	in := &s3.HeadObjectInput{Bucket: aws.String(s.base.Bucket()), Key: &full, IfMatch: quote(etag)}
	if part > 0 {
		in.PartNumber = &part
	}
	out, err := s.client.HeadObject(ctx, in)
	if err != nil {
		return nil, s.wrap(ctx, "HeadObject", full, err)
	}
	return out, nil
}

func headInfo(key string, out *s3.HeadObjectOutput) objectstore.Info {
	etag := objectstore.Unquote(aws.ToString(out.ETag))
	return objectstore.Info{
		Object: objectstore.Object{
			Key: key, Size: aws.ToInt64(out.ContentLength), ETag: etag,
			LastModified: aws.ToTime(out.LastModified),
		},
		ETagIsMD5: isMD5(etag, out.ServerSideEncryption, out.SSECustomerAlgorithm), Metadata: out.Metadata,
	}
}

// isMD5 follows S3's rule: the ETag of an object that was put in one request is its MD5, if it is
// not encrypted, or with SSE-S3.
func isMD5(etag string, encryption types.ServerSideEncryption, customer *string) bool {
	return objectstore.LooksLikeMD5(etag) && showsMD5(encryption, customer)
}

func showsMD5(encryption types.ServerSideEncryption, customer *string) bool {
	return (encryption == "" || encryption == types.ServerSideEncryptionAes256) && aws.ToString(customer) == ""
}

// Parts implements objectstore.Source: the first part's size is the length of HEAD with part number
// 1.
func (s *Source) Parts(ctx context.Context, key, etag string) (objectstore.Parts, error) {
	out, err := s.head(ctx, key, etag, 1)
	if err != nil || aws.ToInt32(out.PartsCount) < 1 {
		return objectstore.Parts{}, err
	}
	return objectstore.Parts{
		Count: int(*out.PartsCount), PartSize: aws.ToInt64(out.ContentLength),
		OfMD5s: showsMD5(out.ServerSideEncryption, out.SSECustomerAlgorithm),
	}, nil
}

// Get implements objectstore.Reader.
func (s *Source) Get(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
	full, err := s.base.Key(key)
	if err != nil {
		return nil, objectstore.Info{}, err
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.base.Bucket()), Key: &full})
	if err != nil {
		return nil, objectstore.Info{}, s.wrap(ctx, "GetObject", full, err)
	}
	defer out.Body.Close()
	if out.ContentLength == nil {
		return nil, objectstore.Info{}, s.fail(objectstore.Transient, "GetObject", full,
			"the answer has no length, so nothing shows whether it is complete")
	}
	etag, size := objectstore.Unquote(aws.ToString(out.ETag)), aws.ToInt64(out.ContentLength)
	info := objectstore.Info{
		Object:    objectstore.Object{Key: key, Size: size, ETag: etag, LastModified: aws.ToTime(out.LastModified)},
		ETagIsMD5: isMD5(etag, out.ServerSideEncryption, out.SSECustomerAlgorithm), Metadata: out.Metadata,
	}
	if size > limit {
		return nil, info, s.fail(objectstore.Invalid, "GetObject", full,
			fmt.Sprintf("it has %d bytes, more than the limit of %d", size, limit))
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(out.Body, data); err != nil {
		return nil, info, s.wrap(ctx, "GetObject", full, fmt.Errorf("the body broke off: %w", err))
	}
	return data, info, nil
}

// ReadRange implements objectstore.Source.
func (s *Source) ReadRange(ctx context.Context, key, etag string, offset, length int64) (objectstore.Body, error) {
	if length == 0 { // no range can express that
		out, err := s.head(ctx, key, etag, 0)
		if err != nil {
			return objectstore.Body{}, err
		}
		info := headInfo(key, out)
		return objectstore.Body{
			ReadCloser: io.NopCloser(bytes.NewReader(nil)), ETag: info.ETag,
			ETagIsMD5: info.ETagIsMD5,
		}, nil
	}
	full, err := s.base.Key(key)
	if err != nil {
		return objectstore.Body{}, err
	}
	if body, ok, err := s.readDirect(ctx, full, etag, offset, length); ok {
		return body, err
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String(s.base.Bucket()), Key: &full, IfMatch: quote(etag),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)),
	})
	if err != nil {
		return objectstore.Body{}, s.wrap(ctx, "GetObject", full, err)
	}
	if err := s.beginsAt(full, aws.ToString(out.ContentRange), offset); err != nil {
		_ = out.Body.Close()
		return objectstore.Body{}, err
	}
	got := objectstore.Unquote(aws.ToString(out.ETag))
	return objectstore.Body{
		ReadCloser: s.body(ctx, full, out.Body), ETag: got,
		ETagIsMD5: isMD5(got, out.ServerSideEncryption, out.SSECustomerAlgorithm),
	}, nil
}

func (s *Source) beginsAt(full, contentRange string, offset int64) error {
	if objectstore.BeginsAt(contentRange, offset) {
		return nil
	}
	return s.fail(objectstore.Invalid, "GetObject", full,
		fmt.Sprintf("asked for bytes from %d on, but the answer's range is %q: the server or proxy there must "+
			"support ranges", offset, contentRange))
}

// quote makes an ETag a header's value; nil for none.
func quote(etag string) *string {
	if etag == "" {
		return nil
	}
	return aws.String(`"` + etag + `"`)
}
