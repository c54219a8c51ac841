package objectstoretest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

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

// testListUploads begins more uploads than a page of the listing has.
func testListUploads(t *testing.T, sink objectstore.Sink) {
	ctx := t.Context()
	begin := func(key string) objectstore.Upload {
		u, err := sink.CreateUpload(ctx, key, nil)
		require.NoError(t, err)
		return u
	}
	list := func(prefix string) map[string][]string { // ids by key
		uploads, err := sink.ListUploads(ctx, prefix)
		require.NoError(t, err)
		ids, last := map[string][]string{}, ""
		for _, u := range uploads {
			require.GreaterOrEqual(t, u.Key, last)
			require.NotContains(t, ids[u.Key], u.ID, "listed twice")
			ids[u.Key], last = append(ids[u.Key], u.ID), u.Key
			if !u.Initiated.IsZero() {
				require.WithinDuration(t, time.Now(), u.Initiated, time.Hour)
			}
		}
		return ids
	}
	require.Empty(t, list("uploads/"))
	first, second := begin("uploads/a b+%ü"), begin("uploads/a b+%ü")
	other := begin("uploads/other")
	begin("uploadsbeside")
	require.ElementsMatch(t, []string{first.ID, second.ID}, list("uploads/")[first.Key])
	require.Equal(t, []string{other.ID}, list("uploads/o")[other.Key], "a prefix may end within a name")
	require.Len(t, list("uploads/"), 2)
	require.Len(t, list(""), 3)
	require.NoError(t, sink.Abort(ctx, first))
	part, err := sink.UploadPart(ctx, other, 1, strings.NewReader("whole"), 5)
	require.NoError(t, err)
	_, err = sink.Complete(ctx, other, []objectstore.Part{part})
	require.NoError(t, err)
	require.Equal(t, map[string][]string{second.Key: {second.ID}}, list("uploads/"), "what has ended isn't listed")
	require.NoError(t, sink.Delete(ctx, other.Key))
	want := map[string][]string{}
	for i := range many {
		u := begin(fmt.Sprintf("uploads/page/%04d", i/3)) // some pages end between the uploads of one key
		want[u.Key] = append(want[u.Key], u.ID)
	}
	got := list("uploads/page/")
	require.Len(t, got, len(want))
	for key, ids := range want {
		require.ElementsMatch(t, ids, got[key], key)
	}
	_, err = sink.ListUploads(ctx, "../")
	requireKind(t, objectstore.Invalid, err)
	all, err := sink.ListUploads(ctx, "uploads")
	require.NoError(t, err)
	for _, u := range all {
		require.NoError(t, sink.Abort(ctx, u))
	}
	require.Empty(t, list(""))
}

// lender lends its memory in pieces, and spoils what it has lent as soon as it may.
type lender struct {
	data  []byte
	piece []byte
}

func (l *lender) Next(most int) ([]byte, error) {
	for i := range l.piece {
		l.piece[i] = 0xEE
	}
	if len(l.data) == 0 {
		return nil, io.EOF
	}
	n := min(most, len(l.data), 70_001)
	l.piece = append(l.piece[:0], l.data[:n]...)
	l.data = l.data[n:]
	return l.piece, nil
}

func (l *lender) Read(p []byte) (int, error) {
	next, err := l.Next(len(p))
	return copy(p, next), err
}

func testLender(t *testing.T, sink objectstore.Sink) {
	ctx := t.Context()
	data := Random(6, 1_000_000)
	result, err := sink.Put(ctx, "lent", &lender{data: data}, int64(len(data)), nil)
	require.NoError(t, err)
	require.Equal(t, CRC64(data), result.CRC64)
	require.True(t, objectstore.SameMD5(md5Hex(data), result.ETag))
	u, err := sink.CreateUpload(ctx, "lent", nil)
	require.NoError(t, err)
	part, err := sink.UploadPart(ctx, u, 1, &lender{data: data[:500_000]}, 500_000)
	require.NoError(t, err)
	require.Equal(t, CRC64(data[:500_000]), part.CRC64)
	require.NoError(t, sink.Abort(ctx, u))
	_, err = sink.Put(ctx, "lent", &lender{data: data[1:]}, int64(len(data)), nil)
	requireKind(t, objectstore.Transient, err)
	got, _, err := sink.Get(ctx, "lent", int64(len(data)))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got), "a broken put leaves the old object alone")
	require.NoError(t, sink.Delete(ctx, "lent"))
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
