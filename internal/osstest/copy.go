package osstest

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// copySource opens the object that x-oss-copy-source (or x-amz-copy-source) names,
// "/bucket/escaped-key". The caller must release it.
func (c *call) copySource() (*object, error) {
	// For a space the Go SDK writes "+", the Java SDK "%20".
	source, err := url.QueryUnescape(strings.TrimPrefix(c.own("Copy-Source"), "/"))
	if err != nil {
		return nil, errInvalidArgument.with("ArgumentName", "copy-source")
	}
	name, key, ok := strings.Cut(source, "/")
	if !ok || !validKey(key) && !c.d.validKey(key) {
		return nil, errInvalidArgument.with("ArgumentName", "copy-source").with("ArgumentValue", source)
	}
	b, err := c.store.bucket(name)
	if err != nil {
		return nil, err
	}
	o, err := b.open(key)
	if err != nil {
		return nil, err
	}
	if err := o.conditions(c.r.Header, c.d.header+"Copy-Source-", c.d.face == FaceS3); err != nil {
		o.release()
		if c.d.face == FaceS3 && errors.Is(err, errNotModified) {
			return nil, errPrecondition
		}
		return nil, err
	}
	if o.archived() {
		o.release()
		return nil, errObjectState.with("ObjectName", key)
	}
	return o, nil
}

func (c *call) copyObject() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	header, class, err := c.attributes()
	if err != nil {
		return err
	}
	source, err := c.copySource()
	if err != nil {
		return err
	}
	defer source.release()
	if source.Size > maxPutSize {
		return errTooLarge
	}
	if !strings.EqualFold(c.own("Metadata-Directive"), "REPLACE") {
		header = maps.Clone(source.Header)
	}
	body, err := c.copyBytes(source, 0, source.Size)
	if err != nil {
		return err
	}
	defer body.discard()
	o := b.object(c.key, body, class, header, c.second())
	if err := b.publish(o, body, c.d.forbidsOverwrite(c)); err != nil {
		return err
	}
	c.copied("CopyObjectResult", o.ETag, o.CRC64, o.Modified)
	return nil
}

// copyBytes stages a range of an object as if it had been uploaded. One that was put in one request
// keeps its bytes and digests.
func (c *call) copyBytes(o *object, offset, n int64) (*staged, error) {
	if sum, err := hex.DecodeString(o.ETag); offset == 0 && n == o.Size && o.Type == typeNormal && err == nil {
		st := &staged{
			path: filepath.Join(c.store.dir, "tmp", randomHex(12)), size: n, md5: [md5.Size]byte(sum),
			crc: o.CRC64,
		}
		if err := os.Link(o.Files[0].path(o.dir), st.path); err == nil {
			return st, nil
		}
	}
	r := &reader{o: o, offset: offset, n: n}
	defer r.Close()
	return c.store.stage(io.Reader(r), maxPutSize)
}

func (c *call) copied(name, etag string, crc uint64, modified time.Time) {
	c.digests(etag, crc)
	var d document
	d.root(name, c.d)
	d.element("LastModified", stamp(modified))
	d.element("ETag", c.d.etag(etag))
	d.close(name)
	c.reply(http.StatusOK, &d)
}
