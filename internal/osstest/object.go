package osstest

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxPutSize  = 5 << 30 // of one request's body and of a CopyObject (OSS: Limits)
	maxXMLSize  = 4 << 20
	maxDeletes  = 1000
	typeNormal  = "Normal"
	typeUploads = "Multipart"
)

// readBody receives the request's body into the store and checks it against Content-MD5.
func (c *call) readBody() (*staged, error) {
	if c.r.ContentLength > maxPutSize {
		return nil, errTooLarge
	}
	want, err := contentMD5(c.r.Header)
	if err != nil {
		return nil, err
	}
	sums := c.checksums()
	st, err := c.store.stage(c.body, maxPutSize, hashes(sums)...)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errIncompleteBody
	case err != nil:
		return nil, err
	case want != nil && !bytes.Equal(want, st.md5[:]):
		st.discard()
		return nil, c.d.badDigest(c)
	}
	if err := verify(sums); err != nil {
		st.discard()
		return nil, err
	}
	return st, nil
}

// contentMD5 is the digest that the client gives, nil if none.
func contentMD5(h http.Header) ([]byte, error) {
	v := h.Get("Content-Md5")
	if v == "" {
		return nil, nil
	}
	sum, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(sum) != md5.Size {
		return nil, errInvalidDigest.with("Content-MD5", v)
	}
	return sum, nil
}

// readXML decodes a body that has to be XML, after its digest; io.EOF if it's empty.
func (c *call) readXML(v any) error {
	data, err := io.ReadAll(io.LimitReader(c.body, maxXMLSize+1))
	if errors.Is(err, errAbort) {
		return err
	}
	if err != nil {
		return errIncompleteBody
	}
	want, err := contentMD5(c.r.Header)
	if err != nil {
		return err
	}
	if want != nil {
		if sum := md5.Sum(data); !bytes.Equal(want, sum[:]) {
			return c.d.badDigest(c)
		}
	}
	sums := c.checksums()
	for _, s := range sums {
		s.Write(data)
	}
	if err := verify(sums); err != nil {
		return err
	}
	if len(data) == 0 {
		return io.EOF
	}
	if len(data) > maxXMLSize || xml.Unmarshal(data, v) != nil {
		return errMalformedXML
	}
	return nil
}

var keptHeaders = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}

// attributes are the request's headers that become part of the object.
func (c *call) attributes() (header map[string]string, class string, err error) {
	header = map[string]string{"Content-Type": cmp.Or(c.r.Header.Get("Content-Type"), c.d.contentType)}
	for _, name := range keptHeaders {
		if v := c.r.Header.Get(name); v != "" {
			header[name] = v
		}
	}
	metadata := 0
	for name, values := range c.r.Header {
		if meta, ok := strings.CutPrefix(name, c.d.header+"Meta-"); ok {
			header["X-Oss-Meta-"+meta] = values[0]
			metadata += len(name) + len(values[0])
		}
	}
	if c.d.face == FaceOSS && metadata >= largestMetadata {
		return nil, "", errInvalidArgument.because("The size of the user metadata exceeds 8 KB.").
			with("ArgumentName", "x-oss-meta-*")
	}
	switch sse := c.own("Server-Side-Encryption"); sse {
	case "":
	case "AES256":
		header["X-Oss-Server-Side-Encryption"] = sse // said, not done
		c.w.Header().Set(c.d.header+"Server-Side-Encryption", sse)
	case "KMS", "SM4", "aws:kms":
		return nil, "", errNotImplemented.because("osstest knows no server-side encryption but AES256, not %s.", sse)
	default:
		return nil, "", errEncryption.with("ArgumentValue", sse)
	}
	class, err = c.d.readClass(c.own("Storage-Class"))
	return intern(header), class, err
}

// largestMetadata is how much the names and values of an object's user metadata may have (OSS:
// PutObject).
const largestMetadata = 8 << 10

// trafficLimit checks a request's limit on its own speed, in bits per second (OSS: single-connection
// bandwidth throttling). It limits nothing.
func (c *call) trafficLimit() error {
	given := cmp.Or(c.own("Traffic-Limit"), c.query.Get("x-oss-traffic-limit"))
	if given == "" || c.d.face != FaceOSS {
		return nil
	}
	if n, err := strconv.Atoi(given); err != nil || n < 819200 || n > 838860800 {
		return errInvalidArgument.because("The traffic limit must be from 819200 to 838860800.").
			with("ArgumentName", "x-oss-traffic-limit").with("ArgumentValue", given)
	}
	return nil
}

// storageClass reads a class that a request names.
func storageClass(class string) (string, error) {
	if class != "" && !slices.Contains(storageClasses, class) {
		return "", errInvalidArgument.with("ArgumentName", "x-oss-storage-class").with("ArgumentValue", class)
	}
	return class, nil
}

// second is the server's time in the resolution of OSS's Last-Modified.
func (c *call) second() time.Time { return c.now().UTC().Truncate(time.Second) }

func (c *call) putObject() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	header, class, err := c.attributes()
	if err != nil {
		return err
	}
	body, err := c.readBody()
	if err != nil {
		return err
	}
	defer body.discard()
	o := b.object(c.key, body, class, header, c.second())
	if err := b.publish(o, body, c.d.forbidsOverwrite(c)); err != nil {
		return err
	}
	c.digests(o.ETag, o.CRC64)
	c.reply(http.StatusOK, nil)
	return nil
}

// object describes a body that was received in one request.
func (b *bucket) object(key string, body *staged, class string, header map[string]string, now time.Time) *object {
	return &object{
		Key: key, Size: body.size, ETag: body.etag(), CRC64: body.crc, Type: typeNormal,
		StorageClass: cmp.Or(class, b.StorageClass), Modified: now, Header: header,
	}
}

// digests tells the client what arrived.
func (c *call) digests(etag string, crc uint64) {
	c.w.Header().Set("ETag", c.d.etag(etag))
	if c.d.face == FaceS3 {
		return
	}
	if c.effect.wrongCRC {
		c.injected(FaultWrongCRC)
		crc++
	}
	c.w.Header().Set("X-Oss-Hash-Crc64ecma", strconv.FormatUint(crc, 10))
}

func (o *object) archived() bool { return strings.HasSuffix(o.StorageClass, "Archive") }

// find opens the object of the request. The caller must release it.
func (c *call) find() (*object, error) {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return nil, err
	}
	return b.open(c.key)
}

func (c *call) headObject() error {
	o, err := c.find()
	if err != nil {
		return err
	}
	defer o.release()
	if err := o.conditions(c.r.Header, "", false); err != nil {
		return err
	}
	c.describeObject(o)
	c.w.Header().Set("Content-Length", strconv.FormatInt(o.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// describeObject sets the headers of HEAD and GET.
func (c *call) describeObject(o *object) {
	h := c.w.Header()
	for name, value := range o.Header {
		h.Set(name, value)
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("ETag", `"`+o.ETag+`"`)
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	h.Set("X-Oss-Object-Type", o.Type)
	h.Set("X-Oss-Storage-Class", o.StorageClass)
	h.Set("X-Oss-Hash-Crc64ecma", strconv.FormatUint(o.CRC64, 10))
	if o.Type == typeNormal {
		if sum, err := hexMD5(o.ETag); err == nil {
			h.Set("Content-Md5", sum)
		}
	}
	for name := range c.query {
		if field, ok := strings.CutPrefix(name, "response-"); ok {
			h.Set(field, c.query.Get(name))
		}
	}
}

func (c *call) getObject() error {
	o, err := c.find()
	if err != nil {
		return err
	}
	defer o.release()
	if o.archived() {
		return errObjectState.with("ObjectName", o.Key)
	}
	if err := o.conditions(c.r.Header, "", false); err != nil {
		return err
	}
	start, length, partial, err := c.rangeOf(o.Size)
	if err != nil {
		return err
	}
	c.describeObject(o)
	status, h := http.StatusOK, c.w.Header()
	if partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", contentRange(start, length, o.Size))
		h.Del("Content-Md5")
	}
	return c.send(status, o, start, length)
}

// send answers with a range of an object.
func (c *call) send(status int, o *object, start, length int64) error {
	c.w.Header().Set("Content-Length", strconv.FormatInt(c.declared(length), 10))
	c.w.WriteHeader(status)
	body := &reader{o: o, offset: start, n: length}
	defer body.Close()
	_, err := body.WriteTo(c.shape(c.w))
	if errors.Is(err, errCut) {
		return nil
	}
	return err
}

func (c *call) deleteObject() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	if err := b.remove(c.key); err != nil {
		return err
	}
	c.reply(http.StatusNoContent, nil)
	return nil
}

// deleteObjects removes up to 1,000 keys. OSS wants a Content-MD5 here, S3 that or a checksum.
func (c *call) deleteObjects() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	if !c.givesDigest() {
		return errMissingArgument.with("ArgumentName", "Content-MD5")
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	var body struct {
		XMLName xml.Name `xml:"Delete"`
		Quiet   bool
		Object  []struct{ Key string }
	}
	if err := c.readXML(&body); err != nil {
		return malformedIfEmpty(err)
	}
	if len(body.Object) == 0 || len(body.Object) > maxDeletes {
		return errMalformedXML
	}
	var d document
	d.root("DeleteResult", c.d)
	c.encodingType(&d)
	for _, o := range body.Object {
		if !validKey(o.Key) && !c.d.validKey(o.Key) {
			return errObjectName.with("ObjectName", o.Key)
		}
		if err := b.remove(o.Key); err != nil {
			return err
		}
		if body.Quiet {
			continue
		}
		d.open("Deleted")
		d.element("Key", encode(o.Key))
		d.close("Deleted")
	}
	d.close("DeleteResult")
	if body.Quiet && c.d.face == FaceOSS {
		c.reply(http.StatusOK, nil)
	} else {
		c.reply(http.StatusOK, &d)
	}
	return nil
}

func malformedIfEmpty(err error) error {
	if errors.Is(err, io.EOF) {
		return errMalformedXML
	}
	return err
}
