package osstest

import (
	"encoding/base64"
	"net/http"
	"sort"
	"strconv"
	"strings"
)

// page is one answer of a listing.
type page struct {
	objects   []*object
	prefixes  []string
	truncated bool
	last      string // the last key or common prefix: where the next page goes on
}

// list returns up to limit keys and common prefixes that begin with prefix and come after the key
// (or common prefix) "after".
func (b *bucket) list(prefix, delimiter, after string, limit int) page {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var p page
	from := max(prefix, after)
	if after != "" && strings.HasPrefix(after, prefix) && commonPrefix(after, prefix, delimiter) == after {
		if from = behind(after); from == "" { // the page before ended with a common prefix
			return p
		}
	}
	for {
		group, more := b.page(&p, prefix, delimiter, from, after, limit)
		if from = behind(group); !more || from == "" {
			return p
		}
	}
}

// page adds keys from one on, up to the first common prefix, which it adds and returns; more says
// whether the listing goes on behind.
func (b *bucket) page(p *page, prefix, delimiter, from, after string, limit int) (group string, more bool) {
	for o := range b.index.from(from) {
		if !strings.HasPrefix(o.Key, prefix) {
			return "", false
		}
		if o.Key == after {
			continue
		}
		if len(p.objects)+len(p.prefixes) == limit {
			p.truncated = true
			return "", false
		}
		if group := commonPrefix(o.Key, prefix, delimiter); group != "" {
			p.prefixes = append(p.prefixes, group)
			p.last = group
			return group, true
		}
		p.objects = append(p.objects, o)
		p.last = o.Key
	}
	return "", false
}

func commonPrefix(key, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	if i := strings.Index(key[len(prefix):], delimiter); i >= 0 {
		return key[:len(prefix)+i+len(delimiter)]
	}
	return ""
}

func (c *call) listObjects() error   { return c.listing(false) }
func (c *call) listObjectsV2() error { return c.listing(true) }

func (c *call) listing(v2 bool) error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	limit, err := c.number("max-keys", 100, 1, 1000)
	if err != nil {
		return err
	}
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	after, token := c.query.Get("marker"), c.query.Get("continuation-token")
	if v2 {
		after = c.query.Get("start-after")
		if token != "" {
			key, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil {
				return errInvalidArgument.with("ArgumentName", "continuation-token").with("ArgumentValue", token)
			}
			after = string(key)
		}
	}
	p := b.list(prefix, delimiter, after, limit)
	var d document
	d.open("ListBucketResult")
	c.encodingType(&d)
	d.element("Name", c.bucket)
	d.element("Prefix", encode(prefix))
	if v2 {
		d.element("StartAfter", encode(c.query.Get("start-after")))
		d.element("ContinuationToken", token)
		d.number("KeyCount", int64(len(p.objects)+len(p.prefixes)))
	} else {
		d.element("Marker", encode(after))
	}
	d.number("MaxKeys", int64(limit))
	d.element("Delimiter", encode(delimiter))
	d.element("IsTruncated", boolean(p.truncated))
	if p.truncated && v2 {
		// The SDK unescapes it: an alphabet without "+" and "%" survives that.
		d.element("NextContinuationToken", base64.RawURLEncoding.EncodeToString([]byte(p.last)))
	} else if p.truncated {
		d.element("NextMarker", encode(p.last))
	}
	for _, o := range p.objects {
		d.object(o, encode, !v2 || c.query.Get("fetch-owner") == "true")
	}
	d.commonPrefixes(p.prefixes, encode)
	d.close("ListBucketResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func (d *document) object(o *object, encode func(string) string, owner bool) {
	d.open("Contents")
	d.element("Key", encode(o.Key))
	d.element("LastModified", stamp(o.Modified))
	d.element("ETag", `"`+o.ETag+`"`)
	d.element("Type", o.Type)
	d.number("Size", o.Size)
	d.element("StorageClass", o.StorageClass)
	if owner {
		d.owner()
	}
	d.close("Contents")
}

func (d *document) commonPrefixes(prefixes []string, encode func(string) string) {
	for _, p := range prefixes {
		d.open("CommonPrefixes")
		d.element("Prefix", encode(p))
		d.close("CommonPrefixes")
	}
}

func (c *call) listParts() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	limit, err := c.number("max-parts", 1000, 1, 1000)
	if err != nil {
		return err
	}
	marker, err := c.number("part-number-marker", 0, 0, maxParts)
	if err != nil {
		return err
	}
	b.mu.RLock()
	u, err := b.upload(c.key, c.query.Get("uploadId"))
	if err != nil {
		b.mu.RUnlock()
		return err
	}
	parts := u.sorted()
	b.mu.RUnlock()
	parts = parts[sort.Search(len(parts), func(i int) bool { return parts[i].Number > marker }):]
	truncated := len(parts) > limit
	parts = parts[:min(limit, len(parts))]
	var d document
	d.root("ListPartsResult", c.d)
	c.encodingType(&d)
	d.element("Bucket", c.bucket)
	d.element("Key", encode(c.key))
	d.element("UploadId", u.ID)
	d.element("StorageClass", c.d.storageClass(u.StorageClass))
	d.number("PartNumberMarker", int64(marker))
	if len(parts) > 0 {
		d.number("NextPartNumberMarker", int64(parts[len(parts)-1].Number))
	} else if c.d.face == FaceOSS { // Alibaba's SDK for Python looks for it always
		d.number("NextPartNumberMarker", 0)
	}
	d.number("MaxParts", int64(limit))
	d.element("IsTruncated", boolean(truncated))
	for _, p := range parts {
		d.open("Part")
		d.number("PartNumber", int64(p.Number))
		d.element("LastModified", stamp(p.Modified))
		d.element("ETag", c.d.etag(p.ETag))
		if c.d.face == FaceOSS {
			d.element("HashCrc64ecma", strconv.FormatUint(p.CRC64, 10))
		}
		d.number("Size", p.Size)
		d.close("Part")
	}
	d.close("ListPartsResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) listUploads() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	limit, err := c.number("max-uploads", 1000, 1, 1000)
	if err != nil {
		return err
	}
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	keyMarker, idMarker := c.query.Get("key-marker"), c.query.Get("upload-id-marker")
	var (
		d           document
		groups      []string
		listed      []*upload
		lastKey     string
		lastID      string
		isTruncated bool
	)
	for _, u := range b.sortedUploads() {
		after := u.Key > keyMarker || u.Key == keyMarker && idMarker != "" && u.ID > idMarker
		if !after || !strings.HasPrefix(u.Key, prefix) {
			continue
		}
		group := commonPrefix(u.Key, prefix, delimiter)
		if group != "" && (group == keyMarker || len(groups) > 0 && groups[len(groups)-1] == group) {
			continue
		}
		if len(groups)+len(listed) == limit {
			isTruncated = true
			break
		}
		if group != "" {
			groups = append(groups, group)
			lastKey, lastID = group, ""
		} else {
			listed = append(listed, u)
			lastKey, lastID = u.Key, u.ID
		}
	}
	d.root("ListMultipartUploadsResult", c.d)
	c.encodingType(&d)
	d.element("Bucket", c.bucket)
	d.element("KeyMarker", encode(keyMarker))
	d.element("UploadIdMarker", idMarker)
	if isTruncated || c.d.face == FaceOSS { // Alibaba's SDK for Python looks for them always
		d.element("NextKeyMarker", encode(lastKey))
		d.element("NextUploadIdMarker", lastID)
	}
	d.element("Delimiter", encode(delimiter))
	d.element("Prefix", encode(prefix))
	d.number("MaxUploads", int64(limit))
	d.element("IsTruncated", boolean(isTruncated))
	for _, u := range listed {
		d.open("Upload")
		d.element("Key", encode(u.Key))
		d.element("UploadId", u.ID)
		d.element("StorageClass", c.d.storageClass(u.StorageClass))
		d.element("Initiated", stamp(u.Initiated))
		d.close("Upload")
	}
	d.commonPrefixes(groups, encode)
	d.close("ListMultipartUploadsResult")
	c.reply(http.StatusOK, &d)
	return nil
}

// sortedUploads are all uploads in progress by key, then by id.
func (b *bucket) sortedUploads() []*upload {
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := make([]*upload, 0, len(b.uploads))
	for _, u := range b.uploads {
		all = append(all, u)
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Key != all[j].Key {
			return all[i].Key < all[j].Key
		}
		return all[i].ID < all[j].ID
	})
	return all
}
