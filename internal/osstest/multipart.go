package osstest

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	minPartSize = 100 << 10 // every part but the last (OSS: CompleteMultipartUpload)
	maxParts    = 10000
)

// upload is a multipart upload in progress; its bucket's mu guards the parts.
type upload struct {
	ID           string
	Key          string
	Initiated    time.Time
	StorageClass string
	Header       map[string]string
	parts        map[int]part
}

type part struct {
	Number   int
	Size     int64
	ETag     string
	CRC64    uint64
	Modified time.Time
	File     segment
}

func (c *call) initiateUpload() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	header, class, err := c.attributes()
	if err != nil {
		return err
	}
	u := &upload{
		ID: strings.ToUpper(randomHex(16)), Key: c.key, Initiated: c.second(),
		StorageClass: cmp.Or(class, b.StorageClass), Header: header, parts: map[int]part{},
	}
	if err := b.begin(u, c.d.forbidsOverwrite(c)); err != nil {
		return err
	}
	var d document
	d.root("InitiateMultipartUploadResult", c.d)
	c.encodingType(&d)
	d.element("Bucket", c.bucket)
	d.element("Key", encode(c.key))
	d.element("UploadId", u.ID)
	d.close("InitiateMultipartUploadResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func (b *bucket) begin(u *upload, forbidOverwrite bool) error {
	line, err := record{Begin: u}.line()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.removed:
		return errNoSuchBucket.with("BucketName", b.Name)
	case forbidOverwrite && b.index.get(u.Key) != nil:
		return errExists
	}
	if err := b.journal.write(line); err != nil {
		return err
	}
	b.uploads[u.ID] = u
	return nil
}

// upload finds the request's upload. b.mu must be held.
func (b *bucket) upload(key, id string) (*upload, error) {
	if u := b.uploads[id]; u != nil && u.Key == key {
		return u, nil
	}
	return nil, errNoSuchUpload.with("UploadId", id)
}

// partRequest checks what UploadPart and UploadPartCopy have in common, before any byte is read.
func (c *call) partRequest() (*bucket, int, error) {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return nil, 0, err
	}
	number, err := strconv.Atoi(c.query.Get("partNumber"))
	if err != nil || number < 1 || number > maxParts {
		return nil, 0, errInvalidArgument.because("Part number must be an integer between 1 and 10000, inclusive").
			with("ArgumentName", "partNumber").with("ArgumentValue", c.query.Get("partNumber"))
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, err = b.upload(c.key, c.query.Get("uploadId"))
	return b, number, err
}

func (c *call) uploadPart() error {
	b, number, err := c.partRequest()
	if err != nil {
		return err
	}
	body, err := c.readBody()
	if err != nil {
		return err
	}
	defer body.discard()
	p := part{Number: number, Size: body.size, ETag: body.etag(), CRC64: body.crc, Modified: c.second()}
	if err := b.addPart(c.key, c.query.Get("uploadId"), p, body); err != nil {
		return err
	}
	c.digests(p.ETag, p.CRC64)
	c.reply(http.StatusOK, nil)
	return nil
}

func (c *call) uploadPartCopy() error {
	b, number, err := c.partRequest()
	if err != nil {
		return err
	}
	source, err := c.copySource()
	if err != nil {
		return err
	}
	defer source.release()
	start, length := int64(0), source.Size
	if text, ok := strings.CutPrefix(c.own("Copy-Source-Range"), "bytes="); ok {
		first, last, ok := parseRange(text)
		if !ok || first < 0 || last < first || last >= source.Size {
			return errInvalidArgument.with("ArgumentName", "x-oss-copy-source-range").with("ArgumentValue", text)
		}
		start, length = first, last-first+1
	}
	if length > maxPutSize {
		return errTooLarge
	}
	body, err := c.copyBytes(source, start, length)
	if err != nil {
		return err
	}
	defer body.discard()
	p := part{Number: number, Size: body.size, ETag: body.etag(), CRC64: body.crc, Modified: c.second()}
	if err := b.addPart(c.key, c.query.Get("uploadId"), p, body); err != nil {
		return err
	}
	c.copied("CopyPartResult", p.ETag, p.CRC64, p.Modified)
	return nil
}

// addPart adds or replaces a part.
func (b *bucket) addPart(key, id string, p part, body *staged) error {
	p.File = segment{ID: filepath.Base(body.path), Size: body.size}
	line, err := record{Upload: id, Part: &p}.line()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	u, err := b.upload(key, id)
	if err != nil {
		return err
	}
	if err := body.place(b.dir); err != nil {
		return err
	}
	if err := b.journal.write(line); err != nil {
		return err
	}
	if old, ok := u.parts[p.Number]; ok {
		_ = os.Remove(old.File.path(b.dir))
	}
	u.parts[p.Number] = p
	return nil
}

func (c *call) completeUpload() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	wanted, err := c.wantedParts()
	if err != nil {
		return err
	}
	if c.effect.slowComplete > 0 {
		c.injected(FaultSlowComplete)
		c.waitRegardless(c.effect.slowComplete)
	}
	o, err := b.complete(c.key, c.query.Get("uploadId"), wanted, c.d.forbidsOverwrite(c), c.second(), c.d)
	if err != nil {
		return err
	}
	if c.d.face == FaceOSS {
		c.digests(o.ETag, o.CRC64)
	}
	var d document
	d.root("CompleteMultipartUploadResult", c.d)
	c.encodingType(&d)
	d.element("Location", c.scheme()+"://"+c.r.Host+"/"+c.bucket+"/"+escape(c.key))
	d.element("Bucket", c.bucket)
	d.element("Key", encode(c.key))
	d.element("ETag", c.d.etag(o.ETag))
	d.close("CompleteMultipartUploadResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) scheme() string {
	if c.r.TLS != nil {
		return "https"
	}
	return "http"
}

type wantedPart struct {
	PartNumber int
	ETag       string
}

// wantedParts reads the list of parts; nil means all that are there (x-oss-complete-all).
func (c *call) wantedParts() ([]wantedPart, error) {
	var body struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []wantedPart
	}
	err := c.readXML(&body)
	if c.d.face == FaceOSS && strings.EqualFold(c.own("Complete-All"), "yes") {
		if err == nil {
			return nil, errInvalidArgument.because("A body isn't allowed with x-oss-complete-all.")
		}
		return nil, nil
	}
	if err != nil {
		return nil, malformedIfEmpty(err)
	}
	if len(body.Part) == 0 || len(body.Part) > maxParts {
		return nil, errMalformedXML
	}
	for i, p := range body.Part {
		if i > 0 && p.PartNumber <= body.Part[i-1].PartNumber {
			return nil, errPartOrder
		}
	}
	return body.Part, nil
}

// complete turns an upload into an object. The parts' files become the object's: nothing is copied
// or hashed again.
func (b *bucket) complete(key, id string, wanted []wantedPart, forbidOverwrite bool, now time.Time,
	of *dialect,
) (*object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, err := b.upload(key, id)
	if err != nil {
		return nil, err
	}
	if wanted == nil {
		for _, p := range u.sorted() {
			wanted = append(wanted, wantedPart{p.Number, p.ETag})
		}
	}
	o := &object{
		Key: key, Type: typeUploads, StorageClass: u.StorageClass, Modified: now, Header: u.Header, UploadID: id,
		dir: b.dir,
	}
	o.refs.Store(1)
	tags, used := md5.New(), map[int]bool{}
	for i, w := range wanted {
		p, ok := u.parts[w.PartNumber]
		if !ok || !strings.EqualFold(strings.Trim(w.ETag, `"`), p.ETag) {
			return nil, errInvalidPart.with("UploadId", id).with("PartNumber", strconv.Itoa(w.PartNumber))
		}
		if i < len(wanted)-1 && p.Size < of.minPartSize {
			return nil, errTooSmall.with("ProposedSize", strconv.FormatInt(p.Size, 10)).
				with("MinSizeAllowed", strconv.FormatInt(of.minPartSize, 10)).with("PartNumber",
				strconv.Itoa(p.Number)).with("ETag", p.ETag)
		}
		tags.Write(of.tag(p.ETag))
		o.CRC64 = combineCRC64(o.CRC64, p.CRC64, p.Size)
		o.Size += p.Size
		o.Files = append(o.Files, p.File)
		used[p.Number] = true
	}
	// OSS doesn't say how it makes this ETag, only that it's no MD5 of the content: there it isn't
	// made S3's way, lest a client relies on it. In S3 it's the MD5 of the parts' MD5s.
	o.ETag = strings.ToUpper(hex.EncodeToString(tags.Sum(nil))) + "-" + strconv.Itoa(len(wanted))
	line, err := record{Put: o}.line()
	if err != nil {
		return nil, err
	}
	old, err := b.replace(o, nil, line, forbidOverwrite)
	if err != nil {
		return nil, err
	}
	if old != nil {
		old.release()
	}
	b.forget(u, used)
	return o, nil
}

// forget ends an upload and removes its parts but those that live on in an object. b.mu must be
// held.
func (b *bucket) forget(u *upload, keep map[int]bool) {
	delete(b.uploads, u.ID)
	for n, p := range u.parts {
		if !keep[n] {
			_ = os.Remove(p.File.path(b.dir)) // if it stays, the next start sweeps it
		}
	}
}

// abort ends an upload without an object. b.mu must be held.
func (b *bucket) abort(u *upload) error {
	line, err := record{End: u.ID}.line()
	if err == nil {
		err = b.journal.write(line)
	}
	if err == nil {
		b.forget(u, nil)
	}
	return err
}

func (u *upload) sorted() []part {
	parts := make([]part, 0, len(u.parts))
	for _, p := range u.parts {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int { return a.Number - b.Number })
	return parts
}

func (c *call) abortUpload() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	b.mu.Lock()
	u, err := b.upload(c.key, c.query.Get("uploadId"))
	if err == nil {
		err = b.abort(u)
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	c.reply(http.StatusNoContent, nil)
	return nil
}
