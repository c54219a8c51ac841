package oss

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/objectstore"
)

const (
	metaPrefix = "X-Oss-Meta-"
	pageSize   = 1000
)

// List implements objectstore.Reader.
func (s *Sink) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		err := s.pages(ctx, prefix, "", func(page oss.ListObjectsResultV2) bool {
			for _, o := range page.Objects {
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
func (s *Sink) ListFolder(ctx context.Context, prefix string) (objectstore.Folder, error) {
	var f objectstore.Folder
	err := s.pages(ctx, prefix, "/", func(page oss.ListObjectsResultV2) bool {
		for _, o := range page.Objects {
			if object, ok := s.object(o); ok {
				f.Objects = append(f.Objects, object)
			}
		}
		for _, p := range page.CommonPrefixes {
			if folder, ok := s.base.Relative(strings.TrimSuffix(p, "/")); ok {
				f.Folders = append(f.Folders, folder+"/")
			}
		}
		return true
	})
	return f, err
}

func (s *Sink) pages(ctx context.Context, prefix, delimiter string, each func(oss.ListObjectsResultV2) bool) error {
	full, err := s.base.Prefix(prefix)
	if err != nil {
		return err
	}
	r := &request{sink: s, ctx: ctx, op: "ListObjectsV2", key: full}
	token := ""
	for {
		options := r.options(oss.Prefix(full), oss.MaxKeys(pageSize))
		if delimiter != "" {
			options = append(options, oss.Delimiter(delimiter))
		}
		if token != "" {
			options = append(options, oss.ContinuationToken(token))
		}
		page, err := s.bucket.ListObjectsV2(options...)
		if err != nil {
			return r.wrap(err)
		}
		if !each(page) || !page.IsTruncated {
			return nil
		}
		if page.NextContinuationToken == "" || page.NextContinuationToken == token {
			return r.fail(objectstore.Transient, "the listing doesn't say where the next page begins")
		}
		token = page.NextContinuationToken
	}
}

func (s *Sink) object(o oss.ObjectProperties) (objectstore.Object, bool) {
	key, ok := s.base.Relative(o.Key)
	return objectstore.Object{
		Key: key, Size: o.Size, ETag: objectstore.Unquote(o.ETag),
		LastModified: o.LastModified,
	}, ok
}

// Head implements objectstore.Reader.
func (s *Sink) Head(ctx context.Context, key string) (objectstore.Info, error) {
	r, err := s.on(ctx, "HeadObject", key)
	if err != nil {
		return objectstore.Info{}, err
	}
	header, err := s.bucket.GetObjectDetailedMeta(r.key, r.options()...)
	if err != nil {
		return objectstore.Info{}, r.wrap(err)
	}
	return info(key, header), nil
}

func info(key string, h http.Header) objectstore.Info {
	i := objectstore.Info{
		Object:   objectstore.Object{Key: key, ETag: objectstore.Unquote(h.Get("ETag"))},
		Metadata: map[string]string{},
	}
	i.Size, _ = strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	i.LastModified, _ = time.Parse(http.TimeFormat, h.Get("Last-Modified"))
	i.CRC64, _ = strconv.ParseUint(h.Get(oss.HTTPHeaderOssCRC64), 10, 64)
	// With KMS, OSS doesn't document whether the ETag is an MD5.
	i.ETagIsMD5 = objectstore.LooksLikeMD5(i.ETag) && h.Get("X-Oss-Object-Type") != "Multipart" &&
		h.Get(oss.HTTPHeaderOssServerSideEncryption) != "KMS"
	for name, values := range h {
		if meta, ok := strings.CutPrefix(name, metaPrefix); ok && len(values) > 0 {
			i.Metadata[strings.ToLower(meta)] = values[0]
		}
	}
	return i
}

// Get implements objectstore.Reader.
func (s *Sink) Get(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
	r, err := s.on(ctx, "GetObject", key)
	if err != nil {
		return nil, objectstore.Info{}, err
	}
	body, err := s.bucket.GetObject(r.key, r.options()...)
	if err != nil {
		return nil, objectstore.Info{}, r.wrap(err)
	}
	defer body.Close()
	i := info(key, r.header)
	if i.Size > limit {
		return nil, i, r.fail(objectstore.Invalid, fmt.Sprintf("it has %d bytes, more than the limit of %d", i.Size,
			limit))
	}
	data := make([]byte, i.Size)
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, i, r.wrap(fmt.Errorf("the body broke off: %w", err))
	}
	return data, i, nil
}
