package osstest_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestSmoke(t *testing.T) {
	srv, err := osstest.Start(osstest.Options{Dir: t.TempDir(), Region: "cn-hangzhou", Keys: []osstest.Key{{ID: "ak", Secret: "sk"}}})
	require.NoError(t, err)
	defer srv.Close()
	for _, v := range []oss.AuthVersionType{oss.AuthV1, oss.AuthV4} {
		cli, err := oss.New(srv.URL(), "ak", "sk", oss.Region("cn-hangzhou"), oss.AuthVersion(v))
		require.NoError(t, err)
		require.NoError(t, cli.CreateBucket("bkt"))
		b, err := cli.Bucket("bkt")
		require.NoError(t, err)
		require.NoError(t, b.PutObject("a/b c+ü", bytes.NewReader([]byte("hello"))))
		r, err := b.GetObject("a/b c+ü")
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "hello", string(data))
		l, err := b.ListObjectsV2(oss.Prefix("a/"))
		require.NoError(t, err)
		require.Len(t, l.Objects, 1)
		up, err := b.InitiateMultipartUpload("m")
		require.NoError(t, err)
		big := bytes.Repeat([]byte("x"), 100<<10)
		p1, err := b.UploadPart(up, bytes.NewReader(big), int64(len(big)), 1)
		require.NoError(t, err)
		p2, err := b.UploadPart(up, bytes.NewReader([]byte("tail")), 4, 2)
		require.NoError(t, err)
		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{p1, p2})
		require.NoError(t, err)
		r, err = b.GetObject("m")
		require.NoError(t, err)
		data, err = io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, append(big, "tail"...), data)
	}
}
