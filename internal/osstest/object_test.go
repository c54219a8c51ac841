package osstest_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func md5Base64(data []byte) string {
	sum := md5.Sum(data)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func quotedMD5(data []byte) string { return fmt.Sprintf(`"%X"`, md5.Sum(data)) }

func TestPutHeadGet(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		data := noise(300_001)
		var h http.Header
		require.NoError(t, b.PutObject("a/b c+%2F?&ü", bytes.NewReader(data), oss.GetResponseHeader(&h),
			oss.ContentType("x/y"), oss.Meta("Src-Etag", "e"), oss.ContentMD5(md5Base64(data)),
			oss.CacheControl("no-store")))
		assert.Equal(t, quotedMD5(data), h.Get("ETag"))
		assert.Equal(t, crcOf(data), h.Get("X-Oss-Hash-Crc64ecma"))

		head, err := b.GetObjectDetailedMeta("a/b c+%2F?&ü")
		require.NoError(t, err)
		for name, want := range map[string]string{
			"ETag": quotedMD5(data), "X-Oss-Hash-Crc64ecma": crcOf(data), "Content-Length": "300001",
			"Content-Type":        "x/y",
			"X-Oss-Meta-Src-Etag": "e", "X-Oss-Object-Type": "Normal", "X-Oss-Storage-Class": "Standard",
			"Cache-Control": "no-store",
			"Content-Md5":   md5Base64(data), "Accept-Ranges": "bytes",
		} {
			assert.Equal(t, want, head.Get(name), name)
		}
		meta, err := b.GetObjectMeta("a/b c+%2F?&ü")
		require.NoError(t, err)
		assert.Equal(t, quotedMD5(data), meta.Get("ETag"))
		assert.Equal(t, data, read(t, b, "a/b c+%2F?&ü", oss.GetResponseHeader(&h)))
		assert.Equal(t, crcOf(data), h.Get("X-Oss-Hash-Crc64ecma"))

		objects := srv.Objects("bkt")
		require.Len(t, objects, 1)
		assert.Equal(t, "a/b c+%2F?&ü", objects[0].Key)
		assert.Equal(t, int64(len(data)), objects[0].Size)
		assert.Equal(t, map[string]string{"src-etag": "e"}, objects[0].Meta)
		stored, err := srv.Read("bkt", "a/b c+%2F?&ü")
		require.NoError(t, err)
		assert.Equal(t, data, stored)

		require.NoError(t, b.DeleteObject("a/b c+%2F?&ü"))
		require.NoError(t, b.DeleteObject("a/b c+%2F?&ü"), "deleting what isn't there is success")
		_, err = b.GetObject("a/b c+%2F?&ü")
		e := refused(t, err, 404, "NoSuchKey")
		assert.Equal(t, "0026-00000001", e.Ec)
		_, err = b.GetObjectDetailedMeta("a/b c+%2F?&ü")
		refused(t, err, 404, "NoSuchKey") // read from x-oss-err
	})
}

func TestPutRefusals(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	put := func(options ...oss.Option) error { return b.PutObject("k", strings.NewReader("data"), options...) }
	refused(t, put(oss.ContentMD5(md5Base64([]byte("other")))), 400, "InvalidDigest")
	refused(t, put(oss.ContentMD5("junk")), 400, "InvalidDigest")
	refused(t, put(oss.ObjectStorageClass("Fast")), 400, "InvalidArgument")
	assert.Empty(t, srv.Objects("bkt"))
	require.NoError(t, put(oss.ForbidOverWrite(true)))
	refused(t, put(oss.ForbidOverWrite(true)), 409, "FileAlreadyExists")
	require.NoError(t, put(oss.ForbidOverWrite(false)))
	other, err := client(t, srv, "ak", "sk").Bucket("nothere")
	require.NoError(t, err)
	refused(t, other.PutObject("k", strings.NewReader("x")), 404, "NoSuchBucket")
	assert.Empty(t, leftovers(t, srv))
}

// leftovers are temporary files; there must be none when no request is running.
func leftovers(t *testing.T, srv *osstest.Server) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(srv.Dir(), "tmp", "*"))
	require.NoError(t, err)
	return found
}

// The rows are those of OSS's page on GetObject: a range that isn't wholly inside is ignored,
// unless asked otherwise.
func TestRanges(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	require.NoError(t, srv.Put("bkt", "k", []byte("0123456789")))
	require.NoError(t, srv.Put("bkt", "empty", nil))
	for _, c := range []struct {
		header, plain, standard string
	}{
		{"0-0", "206 0", "206 0"},
		{"2-4", "206 234", "206 234"},
		{"7-", "206 789", "206 789"},
		{"-3", "206 789", "206 789"},
		{"0-9", "206 0123456789", "206 0123456789"},
		{"5-20", "200 0123456789", "206 56789"},
		{"10-20", "200 0123456789", "416"},
		{"10-", "200 0123456789", "416"},
		{"-20", "200 0123456789", "206 0123456789"},
		{"4-2", "200 0123456789", "200 0123456789"},
		{"x-2", "200 0123456789", "200 0123456789"},
		{"-", "200 0123456789", "200 0123456789"},
	} {
		get := func(options ...oss.Option) string {
			var h http.Header
			res, err := b.DoGetObject(&oss.GetObjectRequest{ObjectKey: "k"},
				append(options, oss.NormalizedRange(c.header), oss.GetResponseHeader(&h)))
			if err != nil {
				refused(t, err, 416, "InvalidRange")
				return "416"
			}
			defer res.Response.Body.Close()
			body, err := io.ReadAll(res.Response.Body)
			require.NoError(t, err)
			assert.Equal(t, crcOf([]byte("0123456789")), res.Response.Headers.Get("X-Oss-Hash-Crc64ecma"),
				"the whole object's")
			assert.Equal(t, fmt.Sprint(len(body)), res.Response.Headers.Get("Content-Length"))
			if res.Response.StatusCode == 206 {
				assert.Contains(t, res.Response.Headers.Get("Content-Range"), "/10")
			}
			return fmt.Sprint(res.Response.StatusCode, " ", string(body))
		}
		assert.Equal(t, c.plain, get(), c.header)
		assert.Equal(t, c.standard, get(oss.RangeBehavior("standard")), c.header)
	}
	assert.Empty(t, read(t, b, "empty", oss.NormalizedRange("0-0")))
	assert.Empty(t, read(t, b, "empty"))
}

func TestConditions(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	srv := start(t, osstest.Options{Now: func() time.Time { return now }})
	b := bucket(t, srv)
	require.NoError(t, srv.Put("bkt", "k", []byte("x")))
	etag := srv.Objects("bkt")[0].ETag
	for _, c := range []struct {
		name   string
		option oss.Option
		status int
	}{
		{"match", oss.IfMatch(`"` + etag + `"`), 200},
		{"match unquoted", oss.IfMatch(etag), 200},
		{"match any", oss.IfMatch("*"), 200},
		{"match other", oss.IfMatch("other"), 412},
		{"none match", oss.IfNoneMatch(etag), 304},
		{"none match other", oss.IfNoneMatch("other"), 200},
		{"modified since", oss.IfModifiedSince(now.Add(-time.Second)), 200},
		{"not modified since", oss.IfModifiedSince(now), 304},
		{"unmodified since", oss.IfUnmodifiedSince(now), 200},
		{"not unmodified since", oss.IfUnmodifiedSince(now.Add(-time.Second)), 412},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := b.GetObject("k", c.option)
			_, headErr := b.GetObjectDetailedMeta("k", c.option)
			switch c.status {
			case 200:
				require.NoError(t, err)
				require.NoError(t, r.Close())
				require.NoError(t, headErr)
			case 304: // the SDK knows no body and no ServiceError here
				require.ErrorContains(t, err, "304")
				require.ErrorContains(t, headErr, "304")
			default:
				refused(t, err, c.status, "PreconditionFailed")
				refused(t, headErr, c.status, "PreconditionFailed")
			}
		})
	}
}

func TestCopy(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		require.NoError(t, srv.CreateBucket("other", osstest.BucketOptions{StorageClass: "IA"}))
		b := bucket(t, srv, version)
		data := noise(1000)
		require.NoError(t, b.PutObject("dir/a +", bytes.NewReader(data), oss.Meta("m", "1"), oss.ContentType("x/y")))
		res, err := b.CopyObject("dir/a +", "b")
		require.NoError(t, err)
		assert.Equal(t, quotedMD5(data), res.ETag)
		_, err = b.CopyObjectTo("other", "c", "dir/a +", oss.MetadataDirective(oss.MetaReplace), oss.Meta("m", "2"))
		require.NoError(t, err)
		assert.Equal(t, "1", srv.Objects("bkt")[0].Meta["m"])
		assert.Equal(t, "x/y", srv.Objects("bkt")[0].ContentType)
		c := srv.Objects("other")[0]
		assert.Equal(t, map[string]string{"m": "2"}, c.Meta)
		assert.Equal(t, "IA", c.StorageClass)
		got, err := srv.Read("other", "c")
		require.NoError(t, err)
		assert.Equal(t, data, got)

		// onto itself or others: a plain overwrite
		_, err = b.CopyObject("dir/a +", "b", oss.MetadataDirective(oss.MetaReplace))
		require.NoError(t, err)
		_, err = b.CopyObject("nothere", "b")
		refused(t, err, 404, "NoSuchKey")
		_, err = b.CopyObject("dir/a +", "d", oss.CopySourceIfMatch("other"))
		refused(t, err, 412, "PreconditionFailed")
		_, err = b.CopyObject("dir/a +", "b", oss.ForbidOverWrite(true))
		refused(t, err, 409, "FileAlreadyExists")
	})
}

func TestArchivedObjectsCannotBeRead(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	require.NoError(t, b.PutObject("k", strings.NewReader("x"), oss.ObjectStorageClass(oss.StorageArchive)))
	_, err := b.GetObject("k")
	refused(t, err, 403, "InvalidObjectState")
	_, err = b.CopyObject("k", "l")
	refused(t, err, 403, "InvalidObjectState")
	h, err := b.GetObjectDetailedMeta("k")
	require.NoError(t, err)
	assert.Equal(t, "Archive", h.Get("X-Oss-Storage-Class"))
}

func TestDeleteMany(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		for _, k := range []string{"a b", "c+d", "e&<f>", "keep"} {
			require.NoError(t, srv.Put("bkt", k, []byte(k)))
		}
		res, err := b.DeleteObjects([]string{"a b", "c+d", "never there"})
		require.NoError(t, err)
		assert.Equal(t, []string{"a b", "c+d", "never there"}, res.DeletedObjects)
		res, err = b.DeleteObjects([]string{"e&<f>"}, oss.DeleteObjectsQuiet(true))
		require.NoError(t, err)
		assert.Empty(t, res.DeletedObjects)
		require.Len(t, srv.Objects("bkt"), 1)
		_, err = b.DeleteObjects(make([]string, 1001))
		require.Error(t, err)
		_, err = b.DeleteMultipleObjectsXml("<Delete><Object><Key>keep</Key></Object></Delete>",
			oss.ContentMD5(md5Base64(nil)))
		if err != nil { // the SDK computes the digest itself; should it ever stop that, the server must refuse
			refused(t, err, 400, "InvalidDigest")
		}
	})
}

// A hostile key is a name in the index and a hash on the disk: it can't leave the folder.
func TestHostileKeysStayInside(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	names := []string{
		"../../escape", "a/../b", "a//b", "a/./b", ".", "..", "a/", "nul\x01byte", "bucket.json", "a\\b",
		strings.Repeat("d/", 500),
	}
	for i, key := range names {
		require.NoError(t, b.PutObject(key, strings.NewReader(fmt.Sprint(i))), key)
	}
	for i, key := range names {
		assert.Equal(t, fmt.Sprint(i), string(read(t, b, key)), key)
	}
	assert.Len(t, srv.Objects("bkt"), len(names))
	_, err := os.Stat(filepath.Join(filepath.Dir(srv.Dir()), "escape"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Readers of a key that is overwritten and deleted all the time see one whole version or NoSuchKey.
func TestReadersSeeWholeVersions(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	versions := [][]byte{bytes.Repeat([]byte("a"), 50_000), bytes.Repeat([]byte("b"), 70_000)}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for n := range 20 {
				assert.NoError(t, b.PutObject("k", bytes.NewReader(versions[i])))
				if n%5 == 0 {
					assert.NoError(t, b.DeleteObject("k"))
				}
			}
		})
		wg.Go(func() {
			for range 30 {
				r, err := b.GetObject("k")
				if err != nil {
					var e oss.ServiceError
					if assert.ErrorAs(t, err, &e) {
						assert.Equal(t, "NoSuchKey", e.Code)
					}
					continue
				}
				data, err := io.ReadAll(r)
				assert.NoError(t, err)
				assert.NoError(t, r.Close())
				assert.Equal(t, 1, len(bytes.Trim(data, string(data[:1])))+1, "one letter only")
				assert.Contains(t, []int{50_000, 70_000}, len(data))
			}
		})
	}
	wg.Wait()
	assert.Empty(t, leftovers(t, srv))
	assert.Len(t, dataFiles(t, srv), len(srv.Objects("bkt")), "no overwritten or deleted bytes stay behind")
}

func dataFiles(t *testing.T, srv *osstest.Server) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(srv.Dir(), "buckets", "*", "data", "*", "*"))
	require.NoError(t, err)
	return found
}

// A body of unknown length travels in chunks, as the Java SDK sends it when the metadata gives no
// length.
func TestChunkedPut(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		data := noise(200_000)
		require.NoError(t, b.PutObject("k", io.MultiReader(bytes.NewReader(data[:1000]), bytes.NewReader(data[1000:]))))
		assert.Equal(t, data, read(t, b, "k"))
	})
}

func TestNoBodyAboveFiveGigabytes(t *testing.T) {
	srv := start(t, osstest.Options{})
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	b := bucket(t, srv, oss.HTTPClient(&http.Client{Transport: transport}))
	endless := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{}), 5<<30+1) }
	wait := oss.SetHeader("Expect", "100-continue")
	refused(t, b.PutObject("k", endless(), wait), 400, "EntityTooLarge")
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	_, err = b.UploadPart(up, endless(), 5<<30+1, 1, wait)
	refused(t, err, 400, "EntityTooLarge")
}
