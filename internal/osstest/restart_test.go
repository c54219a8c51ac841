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

	// What a crash may leave behind: a body in tmp, bytes that no sidecar names, a bucket whose making was cut short.
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

func TestAnUploadThatWasCompletedAtTheEndIsNotThereTwice(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	parts := upload(t, b, up, noise(10), 10)
	saved := t.TempDir()
	uploads := filepath.Join(dir, "buckets", "bkt", "uploads", up.UploadID)
	require.NoError(t, os.CopyFS(saved, os.DirFS(uploads)))
	_, err = b.CompleteMultipartUpload(up, parts)
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	require.NoError(t, os.CopyFS(uploads, os.DirFS(saved))) // as if the process had ended between the two

	srv = start(t, osstest.Options{Dir: dir})
	assert.Empty(t, srv.Uploads("bkt"))
	got, err := srv.Read("bkt", "k")
	require.NoError(t, err)
	assert.Equal(t, noise(10), got)
}

func TestDamageIsReported(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, osstest.Options{Dir: dir})
	require.NoError(t, srv.Put("bkt", "precious", []byte("x")))
	require.NoError(t, srv.Close())
	require.NoError(t, os.Remove(dataFiles(t, srv)[0]))
	_, err := osstest.Start(osstest.Options{Dir: dir})
	require.ErrorContains(t, err, "precious")
}

func TestATemporaryFolderGoesWithTheServer(t *testing.T) {
	srv, err := osstest.Start(osstest.Options{})
	require.NoError(t, err)
	require.NoError(t, srv.CreateBucket("bkt", osstest.BucketOptions{}))
	require.DirExists(t, srv.Dir())
	require.NoError(t, srv.Close())
	assert.NoDirExists(t, srv.Dir())
}
