package osstest

import (
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var (
	bucketACLs     = []string{"private", "public-read", "public-read-write"}
	storageClasses = []string{"Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"}
)

func (s *store) create(info bucketInfo) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[info.Name]; b != nil { // the owner may put a bucket again, to change its ACL
		if info.ACL == "" {
			return nil
		}
		return b.setACL(info.ACL)
	}
	info.ACL = cmp.Or(info.ACL, "private")
	info.StorageClass = cmp.Or(info.StorageClass, "Standard")
	b := s.newBucket(info)
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	if err := b.openJournal(); err != nil {
		return err
	}
	if err := b.save(); err != nil {
		return errors.Join(err, b.journal.file.Close())
	}
	s.buckets[info.Name] = b
	return nil
}

func (b *bucket) save() error {
	path, err := b.store.stageJSON(b.bucketInfo)
	if err != nil {
		return err
	}
	return move(path, filepath.Join(b.dir, "bucket.json"))
}

func (b *bucket) setACL(acl string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ACL = acl
	return b.save()
}

// info returns a copy, since the ACL may change.
func (b *bucket) info() bucketInfo {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.bucketInfo
}

func (s *store) drop(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		return errNoSuchBucket.with("BucketName", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.index.n > 0 || len(b.uploads) > 0 {
		return errBucketNotEmpty.with("BucketName", name)
	}
	// bucket.json first: without it the rest is rubbish to the next start.
	if err := os.Remove(filepath.Join(b.dir, "bucket.json")); err != nil {
		return err
	}
	b.removed = true
	delete(s.buckets, name)
	return errors.Join(b.journal.file.Close(), os.RemoveAll(b.dir))
}

func (c *call) acl() (string, error) {
	acl := c.r.Header.Get("X-Oss-Acl")
	if acl != "" && !slices.Contains(bucketACLs, acl) {
		return "", errInvalidArgument.because("no such bucket access control exists").with("ArgumentName",
			"x-oss-acl").with("ArgumentValue", acl)
	}
	return acl, nil
}

func (c *call) putBucket() error {
	acl, err := c.acl()
	if err != nil {
		return err
	}
	var body struct {
		XMLName      xml.Name `xml:"CreateBucketConfiguration"`
		StorageClass string
	}
	if err := c.readXML(&body); err != nil && !errors.Is(err, io.EOF) { // the body is optional
		return err
	}
	if class := body.StorageClass; class != "" && !slices.Contains(storageClasses, class) {
		return errInvalidArgument.with("ArgumentName", "StorageClass").with("ArgumentValue", class)
	}
	if err := c.store.create(bucketInfo{
		Name: c.bucket, ACL: acl, StorageClass: body.StorageClass,
		Created: c.now().UTC(),
	}); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.reply(http.StatusOK, nil)
	return nil
}

func (c *call) putBucketACL() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	acl, err := c.acl()
	if err != nil {
		return err
	}
	if acl == "" {
		return errMissingArgument.with("ArgumentName", "x-oss-acl")
	}
	if err := b.setACL(acl); err != nil {
		return err
	}
	c.reply(http.StatusOK, nil)
	return nil
}

func (c *call) deleteBucket() error {
	if err := c.store.drop(c.bucket); err != nil {
		return err
	}
	c.reply(http.StatusNoContent, nil)
	return nil
}

func (d *document) acl(acl string) {
	d.open("AccessControlList")
	d.element("Grant", acl)
	d.close("AccessControlList")
}

func (c *call) location() string { return "oss-" + c.region }

func (c *call) getBucketACL() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	var d document
	d.open("AccessControlPolicy")
	d.owner()
	d.acl(b.info().ACL)
	d.close("AccessControlPolicy")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) getBucketInfo() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	info := b.info()
	var d document
	d.open("BucketInfo")
	d.open("Bucket")
	d.element("Name", info.Name)
	d.element("CreationDate", stamp(info.Created))
	d.element("Location", c.location())
	d.element("ExtranetEndpoint", c.location()+".aliyuncs.com")
	d.element("IntranetEndpoint", c.location()+"-internal.aliyuncs.com")
	d.element("StorageClass", info.StorageClass)
	d.element("DataRedundancyType", "LRS")
	if info.Versioning != "" {
		d.element("Versioning", info.Versioning)
	}
	d.acl(info.ACL)
	d.owner()
	d.close("Bucket")
	d.close("BucketInfo")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) getBucketWorm() error {
	b, err := c.store.bucket(c.bucket)
	if err != nil {
		return err
	}
	info := b.info()
	if info.Worm == "" {
		return errNoWorm.with("BucketName", info.Name)
	}
	var d document
	d.open("WormConfiguration")
	d.element("WormId", "1666E2CFB2B3418")
	d.element("State", info.Worm)
	d.number("RetentionPeriodInDays", int64(info.WormDays))
	d.element("CreationDate", stamp(info.Created))
	d.close("WormConfiguration")
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) getBucketLocation() error {
	if _, err := c.store.bucket(c.bucket); err != nil {
		return err
	}
	var d document
	d.element("LocationConstraint", c.location())
	c.reply(http.StatusOK, &d)
	return nil
}

func (c *call) listBuckets() error {
	limit, err := c.number("max-keys", 100, 1, 1000)
	if err != nil {
		return err
	}
	prefix, marker := c.query.Get("prefix"), c.query.Get("marker")
	c.store.mu.RLock()
	var found []bucketInfo
	for _, name := range sortedKeys(c.store.buckets) {
		if strings.HasPrefix(name, prefix) && name > marker {
			found = append(found, c.store.buckets[name].info())
		}
	}
	c.store.mu.RUnlock()
	truncated := len(found) > limit
	found = found[:min(limit, len(found))]
	var d document
	d.open("ListAllMyBucketsResult")
	d.element("Prefix", prefix)
	d.element("Marker", marker)
	d.number("MaxKeys", int64(limit))
	d.element("IsTruncated", boolean(truncated))
	if truncated {
		d.element("NextMarker", found[limit-1].Name)
	}
	d.owner()
	d.open("Buckets")
	for _, b := range found {
		d.open("Bucket")
		d.element("Name", b.Name)
		d.element("Location", c.location())
		d.element("Region", c.region)
		d.element("CreationDate", stamp(b.Created))
		d.element("ExtranetEndpoint", c.location()+".aliyuncs.com")
		d.element("IntranetEndpoint", c.location()+"-internal.aliyuncs.com")
		d.element("StorageClass", b.StorageClass)
		d.close("Bucket")
	}
	d.close("Buckets")
	d.close("ListAllMyBucketsResult")
	c.reply(http.StatusOK, &d)
	return nil
}

func boolean(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
