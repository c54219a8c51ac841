package osstest

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

func (c *call) listBucketsS3() error {
	c.store.mu.RLock()
	var found []bucketInfo
	for _, name := range sortedKeys(c.store.buckets) {
		found = append(found, c.store.buckets[name].info())
	}
	c.store.mu.RUnlock()
	var d document
	d.root("ListAllMyBucketsResult", c.d)
	d.owner()
	d.open("Buckets")
	for _, b := range found {
		d.open("Bucket")
		d.element("Name", b.Name)
		d.element("CreationDate", stamp(b.Created))
		d.close("Bucket")
	}
	d.close("Buckets")
	d.close("ListAllMyBucketsResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) headBucketS3() error {
	if _, err := c.store.bucket(c.bucket); err != nil {
		return err
	}
	c.w.Header().Set("X-Amz-Bucket-Region", c.s3.says)
	c.reply(http.StatusOK, nil)
	return nil
}

// getBucketLocationS3: us-east-1 is told as nothing (S3: GetBucketLocation).
func (c *call) getBucketLocationS3() error {
	if _, err := c.store.bucket(c.bucket); err != nil {
		return err
	}
	var d document
	d.root("LocationConstraint", c.d)
	if c.s3.says != "us-east-1" {
		_ = xml.EscapeText(&d, []byte(c.s3.says))
	}
	d.close("LocationConstraint")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) createBucketS3() error {
	var body struct {
		XMLName xml.Name `xml:"CreateBucketConfiguration"`
	}
	if err := c.readXML(&body); err != nil && !errors.Is(err, io.EOF) { // the body is optional
		return err
	}
	if _, err := c.store.bucket(c.bucket); err == nil {
		return errOwnBucket.with("BucketName", c.bucket)
	}
	if err := c.store.create(bucketInfo{Name: c.bucket, Created: c.now().UTC()}); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.reply(http.StatusOK, nil)
	return nil
}

func (c *call) listObjectsS3() error   { return c.listingS3(false) }
func (c *call) listObjectsV2S3() error { return c.listingS3(true) }

// listingS3 is ListObjects or ListObjectsV2. Unlike OSS, S3 takes more than 1,000 max-keys for
// 1,000, and version 1 names the next marker only if there's a delimiter.
func (c *call) listingS3(v2 bool) error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	limit, err := c.number("max-keys", 1000, 0, 1<<31-1)
	if err != nil {
		return err
	}
	limit = min(limit, 1000)
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	after, token := c.query.Get("marker"), c.query.Get("continuation-token")
	if v2 {
		after = c.query.Get("start-after")
		if token != "" {
			key, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil {
				return errInvalidArgument.because("The continuation token provided is incorrect").with("ArgumentName",
					"continuation-token")
			}
			after = string(key)
		}
	}
	var p page
	if limit > 0 {
		p = b.list(prefix, delimiter, after, limit)
	}
	var d document
	d.root("ListBucketResult", c.d)
	d.element("Name", c.bucket)
	d.element("Prefix", encode(prefix))
	if delimiter != "" {
		d.element("Delimiter", encode(delimiter))
	}
	d.number("MaxKeys", int64(limit))
	c.encodingType(&d)
	d.element("IsTruncated", boolean(p.truncated))
	if v2 {
		d.number("KeyCount", int64(len(p.objects)+len(p.prefixes)))
		if s := c.query.Get("start-after"); s != "" {
			d.element("StartAfter", encode(s))
		}
		if token != "" {
			d.element("ContinuationToken", token)
		}
		if p.truncated {
			d.element("NextContinuationToken", base64.RawURLEncoding.EncodeToString([]byte(p.last)))
		}
	} else {
		d.element("Marker", encode(after))
		if p.truncated && delimiter != "" {
			d.element("NextMarker", encode(p.last))
		}
	}
	owner := !v2 || c.query.Get("fetch-owner") == "true"
	for _, o := range p.objects {
		d.open("Contents")
		d.element("Key", encode(o.Key))
		d.element("LastModified", stamp(o.Modified))
		d.element("ETag", c.d.etag(o.ETag))
		d.number("Size", o.Size)
		if owner {
			d.owner()
		}
		d.element("StorageClass", c.d.storageClass(o.StorageClass))
		d.close("Contents")
	}
	d.commonPrefixes(p.prefixes, encode)
	d.close("ListBucketResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) getObjectS3() error  { return c.objectS3(true) }
func (c *call) headObjectS3() error { return c.objectS3(false) }

// objectS3 is GetObject or HeadObject: all of it, a range, or the part of a multipart upload that
// made the object.
func (c *call) objectS3(body bool) error {
	o, err := c.find()
	if err != nil {
		return err
	}
	defer o.release()
	if body && o.archived() {
		return errObjectState
	}
	h := c.w.Header()
	if err := o.conditions(c.r.Header, "", true); err != nil {
		h.Set("ETag", c.d.etag(o.ETag))
		return err
	}
	var (
		start, length int64
		partial       bool
	)
	if c.query.Has("partNumber") {
		start, length, partial, err = c.partOf(o)
	} else {
		start, length, partial, err = c.rangeOf(o.Size)
	}
	if err != nil {
		return err
	}
	c.describeObjectS3(o)
	status := http.StatusOK
	if partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", contentRange(start, length, o.Size))
	}
	if body {
		return c.send(status, o, start, length)
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	c.w.WriteHeader(status)
	return nil
}

// partOf finds the part that partNumber names. An object that was put in one request is its own
// part 1, without a count (S3: HeadObject).
func (c *call) partOf(o *object) (start, length int64, partial bool, err error) {
	number, err := strconv.Atoi(c.query.Get("partNumber"))
	switch {
	case err != nil || number < 1 || number > maxParts:
		return 0, 0, false, errInvalidArgument.because("Part number must be an integer between 1 and 10000, inclusive")
	case c.r.Header.Get("Range") != "":
		return 0, 0, false, errInvalidRequest.because("Cannot specify both Range header and partNumber query parameter")
	case o.Type != typeUploads && number > 1, o.Type == typeUploads && number > len(o.Files):
		return 0, 0, false, errPartNumber.with("PartNumberRequested", strconv.Itoa(number))
	case o.Type != typeUploads:
		return 0, o.Size, o.Size > 0, nil
	}
	for _, f := range o.Files[:number-1] {
		start += f.Size
	}
	c.w.Header().Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(o.Files)))
	return start, o.Files[number-1].Size, o.Files[number-1].Size > 0, nil
}

// describeObjectS3 sets the headers of HEAD and GET. What was stored as x-oss-meta-* is
// x-amz-meta-* here.
func (c *call) describeObjectS3(o *object) {
	h := c.w.Header()
	for name, value := range o.Header {
		if own, ok := strings.CutPrefix(name, "X-Oss-"); ok {
			name = "X-Amz-" + own
		}
		h.Set(name, value)
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("ETag", c.d.etag(o.ETag))
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	if class := c.d.storageClass(o.StorageClass); class != "STANDARD" {
		h.Set("X-Amz-Storage-Class", class)
	}
	for name := range c.query {
		if field, ok := strings.CutPrefix(name, "response-"); ok {
			h.Set(field, c.query.Get(name))
		}
	}
}
