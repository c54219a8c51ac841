package objectstoretest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// onlyReader hides whatever else a body can do.
type onlyReader struct{ io.Reader }

func testPut(t *testing.T, sink objectstore.Sink) {
	ctx := t.Context()
	for _, version := range []string{"first", "other"} {
		meta := map[string]string{"snapferry-etag": "e-" + version, "snapferry-length": "5"}
		_, err := sink.Put(ctx, "put", onlyReader{strings.NewReader(version)}, 5, meta)
		require.NoError(t, err)
		info, err := sink.Head(ctx, "put")
		require.NoError(t, err)
		require.Equal(t, meta, info.Metadata)
		require.Equal(t, CRC64([]byte(version)), info.CRC64)
		data, got, err := sink.Get(ctx, "put", 5)
		require.NoError(t, err)
		require.Equal(t, version, string(data))
		require.Equal(t, meta, got.Metadata)
	}
	_, err := sink.Put(ctx, "put", strings.NewReader("shor"), 5, nil)
	requireKind(t, objectstore.Transient, err)
	data, _, err := sink.Get(ctx, "put", 5)
	require.NoError(t, err)
	require.Equal(t, "other", string(data), "a broken put leaves the old object alone")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = sink.Put(cancelled, "never", strings.NewReader("x"), 1, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = sink.Head(ctx, "never")
	requireKind(t, objectstore.NotFound, err)
}

func testUpload(t *testing.T, sink objectstore.Sink) {
	ctx := t.Context()
	const size = 250_000
	data := Random(5, size)
	part := func(u objectstore.Upload, n int) objectstore.Part {
		from, to := (n-1)*objectstore.MinPartSize, min(n*objectstore.MinPartSize, size)
		p, err := sink.UploadPart(ctx, u, n, onlyReader{bytes.NewReader(data[from:to])}, int64(to-from))
		require.NoError(t, err)
		require.Equal(t, n, p.Number)
		require.Equal(t, int64(to-from), p.Size)
		require.True(t, objectstore.SameMD5(md5Hex(data[from:to]), p.ETag))
		require.Equal(t, CRC64(data[from:to]), p.CRC64)
		return p
	}
	meta := map[string]string{"snapferry-etag": "abc-3"}
	u, err := sink.CreateUpload(ctx, "parts", meta)
	require.NoError(t, err)
	three, one := part(u, 3), part(u, 1) // in any order
	part(u, 2)
	two := part(u, 2) // and again
	listed, err := sink.ListParts(ctx, u)
	require.NoError(t, err)
	require.Len(t, listed, 3)
	for i, p := range []objectstore.Part{one, two, three} {
		p.CRC64 = 0
		listed[i].CRC64 = 0
		require.Equal(t, p, listed[i])
	}
	_, err = sink.Head(ctx, "parts")
	requireKind(t, objectstore.NotFound, err)
	result, err := sink.Complete(ctx, u, []objectstore.Part{one, two, three})
	require.NoError(t, err)
	require.Equal(t, CRC64(data), result.CRC64)
	got, info, err := sink.Get(ctx, "parts", size)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.Equal(t, meta, info.Metadata)
	require.Equal(t, result.ETag, info.ETag)
	require.Equal(t, result.CRC64, info.CRC64)
	require.False(t, info.ETagIsMD5)
	for _, o := range collect(t, sink, "parts") {
		require.Equal(t, result.ETag, o.ETag)
	}
	_, err = sink.Complete(ctx, u, []objectstore.Part{one, two, three})
	requireKind(t, objectstore.NotFound, err)
}

func testBadUpload(t *testing.T, sink objectstore.Sink) {
	ctx := t.Context()
	u, err := sink.CreateUpload(ctx, "bad", nil)
	require.NoError(t, err)
	small, err := sink.UploadPart(ctx, u, 1, strings.NewReader("small"), 5)
	require.NoError(t, err)
	last, err := sink.UploadPart(ctx, u, 2, strings.NewReader("last"), 4)
	require.NoError(t, err)
	_, err = sink.Complete(ctx, u, []objectstore.Part{small, last})
	requireKind(t, objectstore.Invalid, err)
	_, err = sink.Complete(ctx, u, []objectstore.Part{{Number: 3, ETag: small.ETag}})
	requireKind(t, objectstore.Invalid, err)
	_, err = sink.UploadPart(ctx, u, 0, strings.NewReader("x"), 1)
	requireKind(t, objectstore.Invalid, err)

	require.NoError(t, sink.Abort(ctx, u))
	require.NoError(t, sink.Abort(ctx, u), "again")
	_, err = sink.UploadPart(ctx, u, 1, strings.NewReader("x"), 1)
	requireKind(t, objectstore.NotFound, err)
	_, err = sink.ListParts(ctx, u)
	requireKind(t, objectstore.NotFound, err)
	_, err = sink.Head(ctx, "bad")
	requireKind(t, objectstore.NotFound, err)
}
