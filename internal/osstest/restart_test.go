package osstest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	c := client(t, srv, "ak", "sk")
	require.NoError(t, c.CreateBucket("other", oss.ACL(oss.ACLPublicRead), oss.StorageClass(oss.StorageIA)))
	b := bucket(t, srv)
	data := noise(250_000)
	require.NoError(t, b.PutObject("a/b", bytes.NewReader(data), oss.Meta("m", "1"), oss.ContentType("x/y")))
	done, err := b.InitiateMultipartUpload("multi")
	require.NoError(t, err)
	_, err = b.CompleteMultipartUpload(done, upload(t, b, done, data, 140_000, 110_000))
	require.NoError(t, err)
	open, err := b.InitiateMultipartUpload("open", oss.Meta("m", "2"))
	require.NoError(t, err)
	parts := upload(t, b, open, data, 140_000, 110_000)
	aborted, err := b.InitiateMultipartUpload("aborted")
	require.NoError(t, err)
	upload(t, b, aborted, data, 140_000, 110_000)
	require.NoError(t, b.AbortMultipartUpload(aborted))
	before := srv.Objects("bkt")
	require.NoError(t, srv.Close())

	// What a crash may leave behind: a body in tmp, bytes that no sidecar names, a bucket whose
	// making was cut short.
	orphan := filepath.Join(dir, "buckets", "bkt", "data", "00", "00ff")
	require.NoError(t, os.MkdirAll(filepath.Dir(orphan), 0o755))
	require.NoError(t, os.WriteFile(orphan, data, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tmp", "x"), data, 0o644))

	srv = start(t, osstest.Options{Dir: dir})
	assert.Equal(t, before, srv.Objects("bkt"))
	assert.Empty(t, leftovers(t, srv))
	assert.NoFileExists(t, orphan)
	b = bucket(t, srv)
	assert.Equal(t, data, read(t, b, "a/b"))
	assert.Equal(t, data, read(t, b, "multi"))
	info, err := client(t, srv, "ak", "sk").GetBucketInfo("other")
	require.NoError(t, err)
	assert.Equal(t, "public-read", info.BucketInfo.ACL)
	assert.Equal(t, "IA", info.BucketInfo.StorageClass)

	assert.Equal(t, []osstest.Upload{{Key: "open", ID: open.UploadID, Parts: 2}}, srv.Uploads("bkt"))
	again, err := b.UploadPart(open, bytes.NewReader([]byte("tail")), 4, 3)
	require.NoError(t, err)
	_, err = b.CompleteMultipartUpload(open, append(parts, again))
	require.NoError(t, err)
	assert.Equal(t, append(data, "tail"...), read(t, b, "open"))
	assert.Equal(t, "2", srv.Objects("bkt")[2].Meta["m"])
}

// A process that is killed while it writes to the journal leaves half a line: what it says never
// happened, and what follows does.
func TestALineThatWasCutShortNeverHappened(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	parts := upload(t, b, up, noise(10), 10)
	journal := filepath.Join(dir, "buckets", "bkt", "journal")
	before, err := os.ReadFile(journal)
	require.NoError(t, err)
	_, err = b.CompleteMultipartUpload(up, parts)
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	whole, err := os.ReadFile(journal)
	require.NoError(t, err)
	for _, cut := range []int{len(before), len(before) + 1, len(whole) - 1} {
		require.NoError(t, os.WriteFile(journal, whole[:cut], 0o644))
		srv = start(t, osstest.Options{Dir: dir})
		assert.Empty(t, srv.Objects("bkt"))
		assert.Equal(t, []osstest.Upload{{Key: "k", ID: up.UploadID, Parts: 1}}, srv.Uploads("bkt"))
		require.NoError(t, srv.Close())
	}
	srv = start(t, osstest.Options{Dir: dir})
	_, err = bucket(t, srv).CompleteMultipartUpload(up, parts)
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	srv = start(t, osstest.Options{Dir: dir})
	assert.Empty(t, srv.Uploads("bkt"))
	got, err := srv.Read("bkt", "k")
	require.NoError(t, err)
	assert.Equal(t, noise(10), got)
}

func TestTheJournalDoesNotGrowForEver(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("open", oss.Meta("m", "1"))
	require.NoError(t, err)
	parts := upload(t, b, up, noise(10), 10)
	for i := range 1200 {
		require.NoError(t, srv.Put("bkt", "k", []byte{byte(i)}))
	}
	require.NoError(t, srv.Put("bkt", "<l>", []byte("l")))
	before := srv.Objects("bkt")
	require.NoError(t, srv.Close())
	srv = start(t, osstest.Options{Dir: dir}) // compacts
	assert.Equal(t, before, srv.Objects("bkt"))
	require.NoError(t, srv.Put("bkt", "m", nil))
	before = srv.Objects("bkt")
	require.NoError(t, srv.Close())
	text, err := os.ReadFile(filepath.Join(dir, "buckets", "bkt", "journal"))
	require.NoError(t, err)
	assert.Equal(t, 5, bytes.Count(text, []byte("\n")), "two objects, an upload, its part, and one object since")
	srv = start(t, osstest.Options{Dir: dir})
	assert.Equal(t, before, srv.Objects("bkt"))
	_, err = bucket(t, srv).CompleteMultipartUpload(up, parts)
	require.NoError(t, err)
	assert.Equal(t, "1", srv.Objects("bkt")[3].Meta["m"])
}

func TestDamageIsReported(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	require.NoError(t, srv.Put("bkt", "precious", []byte("x")))
	require.NoError(t, srv.Close())
	require.NoError(t, os.Remove(dataFiles(t, srv)[0]))
	_, err := osstest.Start(osstest.Options{Dir: dir})
	require.ErrorContains(t, err, "precious")

	journal := filepath.Join(dir, "buckets", "bkt", "journal")
	require.NoError(t, os.WriteFile(journal, []byte("{\n{}\n"), 0o644))
	_, err = osstest.Start(osstest.Options{Dir: dir})
	require.ErrorContains(t, err, "line 1")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "buckets", "bkt", "keys"), 0o755))
	_, err = osstest.Start(osstest.Options{Dir: dir})
	require.ErrorContains(t, err, "older version")
}

func TestATemporaryFolderGoesWithTheServer(t *testing.T) {
	srv, err := osstest.Start(osstest.Options{})
	require.NoError(t, err)
	require.NoError(t, srv.CreateBucket("bkt", osstest.BucketOptions{}))
	require.DirExists(t, srv.Dir())
	require.NoError(t, srv.Close())
	assert.NoDirExists(t, srv.Dir())
}
