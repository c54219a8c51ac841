package osstest_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func names(objects []oss.ObjectProperties, prefixes []string) (all []string) {
	for _, o := range objects {
		all = append(all, o.Key)
	}
	all = append(all, prefixes...)
	slices.Sort(all)
	return all
}

// pagesV2 lists to the end and checks that each page is as big as asked.
func pagesV2(t *testing.T, b *oss.Bucket, size int, options ...oss.Option) (all []string) {
	t.Helper()
	token := ""
	for {
		page := append(slices.Clone(options), oss.MaxKeys(size))
		if token != "" {
			page = append(page, oss.ContinuationToken(token))
		}
		l, err := b.ListObjectsV2(page...)
		require.NoError(t, err)
		all = append(all, names(l.Objects, l.CommonPrefixes)...)
		if !l.IsTruncated {
			require.Empty(t, l.NextContinuationToken)
			return all
		}
		require.Len(t, names(l.Objects, l.CommonPrefixes), size)
		token = l.NextContinuationToken
	}
}

func pagesV1(t *testing.T, b *oss.Bucket, size int, options ...oss.Option) (all []string) {
	t.Helper()
	marker := ""
	for {
		l, err := b.ListObjects(append(slices.Clone(options), oss.MaxKeys(size), oss.Marker(marker))...)
		require.NoError(t, err)
		all = append(all, names(l.Objects, l.CommonPrefixes)...)
		if !l.IsTruncated {
			return all
		}
		marker = l.NextMarker
	}
}

func TestListings(t *testing.T) {
	keys := []string{"a", "a b", "a+b", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a0", "b/c/d", "b/c/e", "ü/%", "z"}
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		for _, i := range []int{5, 0, 11, 3, 8, 1, 12, 4, 2, 10, 7, 6, 9} {
			require.NoError(t, srv.Put("bkt", keys[i], []byte(keys[i])))
		}
		for _, c := range []struct {
			name    string
			options []oss.Option
			want    []string
		}{
			{"all", nil, []string{
				"a", "a b", "a+b", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a0", "b/c/d", "b/c/e", "z",
				"ü/%",
			}},
			{"prefix", []oss.Option{oss.Prefix("a/")}, []string{"a/", "a/1", "a/2", "a/b/1", "a/b/2"}},
			{"prefix that needs escapes", []oss.Option{oss.Prefix("a+")}, []string{"a+b"}},
			{"delimiter", []oss.Option{oss.Delimiter("/")}, []string{"a", "a b", "a+b", "a/", "a0", "b/", "z", "ü/"}},
			{
				"prefix and delimiter",
				[]oss.Option{oss.Prefix("a/"), oss.Delimiter("/")},
				[]string{"a/", "a/1", "a/2", "a/b/"},
			},
			{"nothing", []oss.Option{oss.Prefix("nothing")}, nil},
		} {
			for _, size := range []int{1, 2, 3, 1000} {
				assert.Equal(t, c.want, pagesV2(t, b, size, c.options...), "v2 %s by %d", c.name, size)
				assert.Equal(t, c.want, pagesV1(t, b, size, c.options...), "v1 %s by %d", c.name, size)
			}
		}
		assert.Equal(t, []string{"a/b/2", "a0", "b/c/d", "b/c/e", "z", "ü/%"},
			pagesV2(t, b, 1, oss.StartAfter("a/b/1")))
		assert.Equal(t, []string{"a/1", "a/2", "a/b/"},
			pagesV2(t, b, 1, oss.StartAfter("a/"), oss.Prefix("a/"), oss.Delimiter("/")))
		assert.Equal(t, []string{"b/c/d", "b/c/e"}, pagesV2(t, b, 1, oss.StartAfter("a/b/1"), oss.Prefix("b")))
		l, err := b.ListObjectsV2()
		require.NoError(t, err)
		o := l.Objects[0]
		assert.Equal(t, quotedMD5([]byte("a")), o.ETag)
		assert.Equal(t, int64(1), o.Size)
		assert.Equal(t, "Normal", o.Type)
		assert.Equal(t, "Standard", o.StorageClass)
		assert.WithinDuration(t, time.Now(), o.LastModified, time.Minute)
		assert.Empty(t, o.Owner.ID)
		l, err = b.ListObjectsV2(oss.FetchOwner(true))
		require.NoError(t, err)
		assert.NotEmpty(t, l.Objects[0].Owner.ID)
		l1, err := b.ListObjects()
		require.NoError(t, err)
		assert.NotEmpty(t, l1.Objects[0].Owner.ID)
		assert.NotEmpty(t, l1.Objects[0].Owner.DisplayName)

		_, err = b.ListObjectsV2(oss.MaxKeys(1001))
		refused(t, err, 400, "InvalidArgument")
		_, err = b.ListObjectsV2(oss.ContinuationToken("!"))
		refused(t, err, 400, "InvalidArgument")
	})
}

// A listing without encoding-type carries keys as they are, escaped for XML only (the Java SDK's
// older calls ask so).
func TestListingWithoutEncoding(t *testing.T) {
	srv := start(t, osstest.Options{})
	require.NoError(t, srv.Put("bkt", "a b+<c>&%20", []byte("x")))
	c := client(t, srv, "ak", "sk")
	resp, err := c.Conn.Do(http.MethodGet, "bkt", "", map[string]interface{}{"prefix": "a"}, nil, nil, 0, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), "<Key>a b+&lt;c&gt;&amp;%20</Key>")
	assert.NotContains(t, string(body), "EncodingType")
	assert.Contains(t, string(body), "<Owner><ID>")
}

func TestTwentyThousandObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 20,000 objects")
	}
	const n = 20_000
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	for i := range n {
		require.NoError(t, srv.Put("bkt", fmt.Sprintf("indices/%03d/__%d", i%100, i), []byte("x")))
	}
	require.NoError(t, srv.Close())
	srv = start(t, osstest.Options{Dir: dir})
	b := bucket(t, srv)
	began := time.Now()
	all := pagesV2(t, b, 1000)
	assert.Len(t, all, n)
	assert.True(t, slices.IsSorted(all))
	assert.Len(t, pagesV2(t, b, 1000, oss.Prefix("indices/"), oss.Delimiter("/")), 100)
	t.Log("21 pages in", time.Since(began))
	_, err := b.DeleteObjects(all[:1000])
	require.NoError(t, err)
	assert.Len(t, srv.Objects("bkt"), n-1000)
}

func TestUploadsAreListed(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		b := bucket(t, srv, version)
		for _, key := range []string{"a+ b", "d/x", "d/y", "d/y", "z"} {
			_, err := b.InitiateMultipartUpload(key)
			require.NoError(t, err)
		}
		l, err := b.ListMultipartUploads()
		require.NoError(t, err)
		assert.Len(t, l.Uploads, 5)
		l, err = b.ListMultipartUploads(oss.Delimiter("/"))
		require.NoError(t, err)
		assert.Len(t, l.Uploads, 2)
		assert.Equal(t, []string{"d/"}, l.CommonPrefixes)
		l, err = b.ListMultipartUploads(oss.Prefix("d/"))
		require.NoError(t, err)
		assert.Len(t, l.Uploads, 3)
		var seen []string
		options := []oss.Option{oss.MaxUploads(1)}
		for {
			l, err = b.ListMultipartUploads(options...)
			require.NoError(t, err)
			require.Len(t, l.Uploads, 1)
			seen = append(seen, l.Uploads[0].Key+l.Uploads[0].UploadID)
			if !l.IsTruncated {
				break
			}
			options = []oss.Option{
				oss.MaxUploads(1), oss.KeyMarker(l.NextKeyMarker),
				oss.UploadIDMarker(l.NextUploadIDMarker),
			}
		}
		assert.Len(t, slices.Compact(seen), 5)
		assert.True(t, strings.HasPrefix(seen[0], "a+ b"))
		assert.Len(t, srv.Uploads("bkt"), 5)

		// Two uploads of one key, cut apart by a page below a prefix.
		l, err = b.ListMultipartUploads(oss.Prefix("d/"), oss.MaxUploads(2))
		require.NoError(t, err)
		require.True(t, l.IsTruncated)
		assert.Equal(t, 2, l.MaxUploads)
		assert.Equal(t, "d/", l.Prefix)
		last := l.Uploads[1]
		assert.Equal(t, []string{last.Key, last.UploadID}, []string{l.NextKeyMarker, l.NextUploadIDMarker})
		l, err = b.ListMultipartUploads(oss.Prefix("d/"), oss.KeyMarker(l.NextKeyMarker),
			oss.UploadIDMarker(l.NextUploadIDMarker))
		require.NoError(t, err)
		require.Len(t, l.Uploads, 1)
		assert.False(t, l.IsTruncated)
		assert.Equal(t, "d/y", l.Uploads[0].Key)
		assert.NotEqual(t, last.UploadID, l.Uploads[0].UploadID)
		// A key marker alone stands behind all uploads of that key.
		l, err = b.ListMultipartUploads(oss.KeyMarker("d/y"))
		require.NoError(t, err)
		require.Len(t, l.Uploads, 1)
		assert.Equal(t, "z", l.Uploads[0].Key)
		assert.WithinDuration(t, time.Now(), l.Uploads[0].Initiated, time.Minute)
		_, err = b.ListMultipartUploads(oss.MaxUploads(1001))
		refused(t, err, 400, "InvalidArgument")
	})
}

func TestPartsAreListed(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("a+ b")
	require.NoError(t, err)
	for _, n := range []int{7, 2, 10000} {
		_, err := b.UploadPart(up, bytes.NewReader([]byte("part")), 4, n)
		require.NoError(t, err)
	}
	l, err := b.ListUploadedParts(up)
	require.NoError(t, err)
	assert.Equal(t, "a+ b", l.Key)
	require.Len(t, l.UploadedParts, 3)
	assert.Equal(t, 2, l.UploadedParts[0].PartNumber)
	assert.Equal(t, 4, l.UploadedParts[0].Size)
	assert.Equal(t, quotedMD5([]byte("part")), l.UploadedParts[0].ETag)
	l, err = b.ListUploadedParts(up, oss.MaxParts(2))
	require.NoError(t, err)
	assert.True(t, l.IsTruncated)
	assert.Equal(t, "7", l.NextPartNumberMarker)
	l, err = b.ListUploadedParts(up, oss.PartNumberMarker(7))
	require.NoError(t, err)
	require.Len(t, l.UploadedParts, 1)
	assert.Equal(t, 10000, l.UploadedParts[0].PartNumber)
}
