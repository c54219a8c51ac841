package objectstore_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
)

func TestBase(t *testing.T) {
	base, err := objectstore.NewBase("bkt", "snapferry/movies")
	require.NoError(t, err)
	key, err := base.Key("indices/x/0/__0")
	require.NoError(t, err)
	require.Equal(t, "snapferry/movies/indices/x/0/__0", key)
	prefix, err := base.Prefix("")
	require.NoError(t, err)
	require.Equal(t, "snapferry/movies/", prefix, "a sibling such as snapferry/movies2 must not be listed")
	for full, want := range map[string]string{
		"snapferry/movies/index-1": "index-1", "snapferry/movies/": "", "snapferry/movies": "",
		"snapferry/movies2/index-1": "",
		"snapferry/movies/x/":       "", "snapferry/movies/a/../b": "",
	} {
		got, ok := base.Relative(full)
		require.Equal(t, want != "", ok, full)
		if ok {
			require.Equal(t, want, got)
		}
	}
	for _, path := range []string{"/a", "a/", "a//b", "..", "a/./b", "a\tb", `a\b`} {
		_, err := objectstore.NewBase("bkt", path)
		require.Equal(t, objectstore.Invalid, objectstore.KindOf(err), path)
	}
	_, err = objectstore.NewBase("", "a")
	require.Equal(t, objectstore.Invalid, objectstore.KindOf(err))
	_, err = base.Key(strings.Repeat("k", 1023))
	require.Equal(t, objectstore.Invalid, objectstore.KindOf(err), "too long with the base path")
}

func TestKindOfStatus(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		want   objectstore.Kind
	}{
		{404, "NoSuchKey", objectstore.NotFound},
		{404, "NoSuchUpload", objectstore.NotFound},
		{404, "NoSuchBucket", objectstore.BucketMissing},
		{412, "", objectstore.Changed},
		{429, "", objectstore.Throttled},
		{503, "PartitionQpsLimitted", objectstore.Throttled},
		{503, "", objectstore.Throttled},
		{500, "InternalError", objectstore.Transient},
		{502, "", objectstore.Transient},
		{501, "NotImplemented", objectstore.Invalid},
		{400, "RequestTimeout", objectstore.Transient},
		{400, "InvalidDigest", objectstore.Transient},
		{409, "OperationAborted", objectstore.Transient},
		{403, "AccessDenied", objectstore.Forbidden},
		{400, "ExpiredToken", objectstore.Forbidden},
		{403, "InvalidObjectState", objectstore.Invalid},
		{400, "InvalidArgument", objectstore.Invalid},
		{307, "", objectstore.Invalid},
	} {
		require.Equal(t, tt.want, objectstore.KindOfStatus(tt.status, tt.code), "%d %s", tt.status, tt.code)
	}
}
