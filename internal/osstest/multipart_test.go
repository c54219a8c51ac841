package osstest_test

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

// upload puts data as parts of the given sizes, the last one first.
func upload(t *testing.T, b *oss.Bucket, up oss.InitiateMultipartUploadResult, data []byte,
	sizes ...int,
) []oss.UploadPart {
	t.Helper()
	parts, end := make([]oss.UploadPart, len(sizes)), len(data)
	for i := len(sizes) - 1; i >= 0; i-- {
		piece := data[end-sizes[i] : end]
		end -= sizes[i]
		var h http.Header
		p, err := b.UploadPart(up, bytes.NewReader(piece), int64(len(piece)), i+1, oss.GetResponseHeader(&h))
		require.NoError(t, err)
		assert.Equal(t, quotedMD5(piece), p.ETag)
		assert.Equal(t, crcOf(piece), h.Get("X-Oss-Hash-Crc64ecma"))
		parts[i] = p
	}
	return parts
}

func TestMultipartUpload(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		data := noise(102400 + 150000 + 7)
		up, err := b.InitiateMultipartUpload("big/a +", oss.Meta("m", "1"), oss.ContentType("x/y"))
		require.NoError(t, err)
		assert.Equal(t, "big/a +", up.Key)
		parts := upload(t, b, up, data, 102400, 150000, 7)
		assert.Empty(t, srv.Objects("bkt"), "not there before Complete")
		assert.Equal(t, 3, srv.Uploads("bkt")[0].Parts)
		var h http.Header
		res, err := b.CompleteMultipartUpload(up, parts, oss.GetResponseHeader(&h))
		require.NoError(t, err)
		assert.Equal(t, crcOf(data), h.Get("X-Oss-Hash-Crc64ecma"))
		assert.NotEqual(t, quotedMD5(data), res.ETag)
		assert.True(t, strings.HasSuffix(res.ETag, `-3"`), res.ETag)

		assert.Equal(t, data, read(t, b, "big/a +"))
		for _, r := range [][2]int64{{0, 0}, {102399, 102400}, {100000, 252400}, {252399, 252406}, {252400, 252406}} {
			assert.Equal(t, data[r[0]:r[1]+1], read(t, b, "big/a +", oss.Range(r[0], r[1])), r)
		}
		o := srv.Objects("bkt")[0]
		assert.Equal(t, "Multipart", o.Type)
		assert.Equal(t, map[string]string{"m": "1"}, o.Meta)
		assert.Equal(t, "x/y", o.ContentType)
		assert.Equal(t, res.ETag, `"`+o.ETag+`"`)
		assert.Empty(t, srv.Uploads("bkt"))
		_, err = b.CompleteMultipartUpload(up, parts)
		refused(t, err, 404, "NoSuchUpload")

		require.NoError(t, b.DeleteObject("big/a +"))
		assert.Empty(t, dataFiles(t, srv))
	})
}

func TestMultipartRules(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	data := noise(102400 + 102400 + 5)
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	parts := upload(t, b, up, data, 102400, 102400, 5)

	t.Run("part numbers", func(t *testing.T) {
		for _, n := range []int{0, -1, 10001} {
			_, err := b.UploadPart(up, strings.NewReader("x"), 1, n)
			refused(t, err, 400, "InvalidArgument")
		}
	})
	t.Run("digest of a part", func(t *testing.T) {
		_, err := b.UploadPart(up, strings.NewReader("x"), 1, 3, oss.ContentMD5(md5Base64(nil)))
		refused(t, err, 400, "InvalidDigest")
	})
	t.Run("unknown upload, or another key's", func(t *testing.T) {
		for _, u := range []oss.InitiateMultipartUploadResult{
			{Bucket: "bkt", Key: "k", UploadID: "nothere"},
			{Bucket: "bkt", Key: "l", UploadID: up.UploadID},
		} {
			_, err := b.UploadPart(u, strings.NewReader("x"), 1, 1)
			refused(t, err, 404, "NoSuchUpload")
			_, err = b.CompleteMultipartUpload(u, slices.Clone(parts))
			refused(t, err, 404, "NoSuchUpload")
			_, err = b.ListUploadedParts(u)
			refused(t, err, 404, "NoSuchUpload")
			refused(t, b.AbortMultipartUpload(u), 404, "NoSuchUpload")
		}
	})
	complete := func(body string, options ...oss.Option) error {
		headers := map[string]string{}
		c := client(t, srv, "ak", "sk")
		resp, err := c.Conn.Do(http.MethodPost, "bkt", "k", map[string]interface{}{"uploadId": up.UploadID}, headers,
			strings.NewReader(body), 0, nil)
		if resp != nil {
			_ = resp.Body.Close()
		}
		return err
	}
	list := func(order ...int) string {
		s := "<CompleteMultipartUpload>"
		for _, i := range order {
			s += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i,
				strings.Trim(parts[i-1].ETag, `"`))
		}
		return s + "</CompleteMultipartUpload>"
	}
	t.Run("order", func(t *testing.T) {
		refused(t, complete(list(2, 1, 3)), 400, "InvalidPartOrder")
		refused(t, complete(list(1, 1)), 400, "InvalidPartOrder")
	})
	t.Run("missing or different parts", func(t *testing.T) {
		refused(t, complete(strings.ReplaceAll(list(1, 2), "<PartNumber>2", "<PartNumber>9")), 400, "InvalidPart")
		refused(t, complete(strings.ReplaceAll(list(1, 2), strings.Trim(parts[0].ETag, `"`), "00")), 400, "InvalidPart")
	})
	t.Run("malformed", func(t *testing.T) {
		for _, body := range []string{
			"", "<CompleteMultipartUpload>",
			"<CompleteMultipartUpload></CompleteMultipartUpload>", "<Other/>",
		} {
			refused(t, complete(body), 400, "MalformedXML")
		}
	})
	t.Run("a small part that isn't the last", func(t *testing.T) {
		small, err := b.UploadPart(up, strings.NewReader("tail"), 4, 4)
		require.NoError(t, err)
		_, err = b.CompleteMultipartUpload(up, append(slices.Clone(parts), small))
		refused(t, err, 400, "EntityTooSmall")
	})
	t.Run("a part may be replaced", func(t *testing.T) {
		files := len(dataFiles(t, srv))
		again, err := b.UploadPart(up, strings.NewReader("again"), 5, 3)
		require.NoError(t, err)
		assert.Len(t, dataFiles(t, srv), files)
		_, err = b.CompleteMultipartUpload(up, slices.Clone(parts))
		refused(t, err, 400, "InvalidPart")
		parts[2] = again
	})
	require.NoError(t, srv.Put("bkt", "k", []byte("old")))
	t.Run("forbidden overwrite", func(t *testing.T) {
		_, err := b.CompleteMultipartUpload(up, slices.Clone(parts), oss.ForbidOverWrite(true))
		refused(t, err, 409, "FileAlreadyExists")
		_, err = b.InitiateMultipartUpload("k", oss.ForbidOverWrite(true))
		refused(t, err, 409, "FileAlreadyExists")
	})
	t.Run("unquoted tags, and a part left out", func(t *testing.T) {
		require.NoError(t, complete(list(1, 3)))
		assert.Equal(t, append(slices.Clone(data[:102400]), "again"...), read(t, b, "k"))
		assert.Len(t, dataFiles(t, srv), 2, "left out parts and the overwritten object are gone")
	})
	assert.Empty(t, leftovers(t, srv))
}

func TestAbort(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	other, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	upload(t, b, up, noise(10), 10)
	upload(t, b, other, noise(20), 20)
	require.NoError(t, b.AbortMultipartUpload(up))
	refused(t, b.AbortMultipartUpload(up), 404, "NoSuchUpload")
	assert.Equal(t, []osstest.Upload{{Key: "k", ID: other.UploadID, Parts: 1}}, srv.Uploads("bkt"),
		"uploads of one key are independent")
	assert.Len(t, dataFiles(t, srv), 1)
}

func TestUploadPartCopy(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		data := noise(300_000)
		require.NoError(t, srv.Put("bkt", "src +", data))
		up, err := b.InitiateMultipartUpload("k")
		require.NoError(t, err)
		p1, err := b.UploadPartCopy(up, "bkt", "src +", 0, 200_000, 1)
		require.NoError(t, err)
		p2, err := b.UploadPartCopy(up, "bkt", "src +", 200_000, 100_000, 2)
		require.NoError(t, err)
		assert.Equal(t, quotedMD5(data[200_000:]), p2.ETag)
		_, err = b.UploadPartCopy(up, "bkt", "src +", 200_000, 100_001, 3)
		refused(t, err, 400, "InvalidArgument")
		_, err = b.UploadPartCopy(up, "bkt", "nothere", 0, 1, 3)
		refused(t, err, 404, "NoSuchKey")
		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{p1, p2})
		require.NoError(t, err)
		assert.Equal(t, data, read(t, b, "k"))
	})
}

// The SDK's own combination of CRCs is the reference.
func TestCRCOfTheWholeAgreesWithTheSDK(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	data := noise(102400*3 + 1)
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	parts := upload(t, b, up, data, 102400, 102400, 102400, 1)
	var h http.Header
	_, err = b.CompleteMultipartUpload(up, parts, oss.GetResponseHeader(&h))
	require.NoError(t, err)
	sum := func(p []byte) uint64 { return crc64.Checksum(p, crc64.MakeTable(crc64.ECMA)) }
	combined := oss.CRC64Combine(sum(data[:204800]), sum(data[204800:]), uint64(len(data)-204800))
	assert.Equal(t, fmt.Sprint(combined), h.Get("X-Oss-Hash-Crc64ecma"))
}
