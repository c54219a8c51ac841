// Package objectstoretest is the contract of the ports as tests. Every implementation runs
// [TestSource] or [TestSink], the real services as well as the fakes, so that a test with a fake
// tells something about the service.
package objectstoretest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// many is more than a page of a listing.
const many = 1005

// Random is n bytes that look like data; the same seed gives the same.
func Random(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// CRC64 is the checksum that a Sink gives.
func CRC64(data []byte) uint64 { return crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)) }

func md5Hex(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

func collect(t *testing.T, r objectstore.Reader, prefix string) []objectstore.Object {
	t.Helper()
	var all []objectstore.Object
	for o, err := range r.List(t.Context(), prefix) {
		require.NoError(t, err)
		all = append(all, o)
	}
	return all
}

func keysOf(objects []objectstore.Object) []string {
	keys := []string{}
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}

func requireKind(t *testing.T, want objectstore.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, objectstore.KindOf(err), "%v", err)
}

// testReader checks what both ports can do on a store that holds the given objects below its base
// path and others beside it.
func testReader(t *testing.T, r objectstore.Reader, objects map[string][]byte) {
	ctx := t.Context()
	t.Run("list by prefix, in order, over pages", func(t *testing.T) {
		require.Len(t, collect(t, r, ""), len(objects))
		page := collect(t, r, "page/")
		require.Len(t, page, many)
		for i, o := range page {
			if i > 0 {
				require.Less(t, page[i-1].Key, o.Key)
			}
		}
		require.Equal(t, []string{"index-1", "index-10", "index.latest"}, keysOf(collect(t, r, "ind")[:3]))
		require.Equal(t, []string{"index-1", "index-10"}, keysOf(collect(t, r, "index-")),
			"a prefix may end within a name")
		require.Empty(t, collect(t, r, "absent/"))
		for _, o := range collect(t, r, "index-1") {
			require.Equal(t, int64(len(objects[o.Key])), o.Size)
			require.True(t, objectstore.SameMD5(md5Hex(objects[o.Key]), o.ETag), "ETag %s", o.ETag)
			require.False(t, o.LastModified.IsZero())
		}
	})
	t.Run("a listing can be left early", func(t *testing.T) {
		for o, err := range r.List(ctx, "") {
			require.NoError(t, err)
			require.NotEmpty(t, o.Key)
			break
		}
	})
	t.Run("list a folder", func(t *testing.T) {
		f, err := r.ListFolder(ctx, "")
		require.NoError(t, err)
		require.Equal(t, []string{"empty", "index-1", "index-10", "index.latest"}, keysOf(f.Objects))
		require.Equal(t, []string{"indices/", "page/"}, f.Folders)
		f, err = r.ListFolder(ctx, "indices/")
		require.NoError(t, err)
		require.Equal(t, []string{"indices/a b+%ü/", "indices/x/"}, f.Folders)
		require.Empty(t, f.Objects)
		f, err = r.ListFolder(ctx, "absent/")
		require.NoError(t, err)
		require.Empty(t, f.Objects)
	})
	t.Run("head and get", func(t *testing.T) {
		for _, key := range []string{"empty", "index-1", "indices/x/0/__0", "indices/a b+%ü/0/__1"} {
			want := objects[key]
			info, err := r.Head(ctx, key)
			require.NoError(t, err)
			require.Equal(t, key, info.Key)
			require.Equal(t, int64(len(want)), info.Size)
			require.True(t, info.ETagIsMD5)
			require.True(t, objectstore.SameMD5(md5Hex(want), info.ETag))
			require.False(t, info.LastModified.IsZero())
			data, got, err := r.Get(ctx, key, int64(len(want)))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, data))
			require.Equal(t, info.ETag, got.ETag)
			require.Equal(t, info.Size, got.Size)
		}
		_, _, err := r.Get(ctx, "index-1", int64(len(objects["index-1"]))-1)
		requireKind(t, objectstore.Invalid, err)
	})
	t.Run("absent", func(t *testing.T) {
		_, err := r.Head(ctx, "absent")
		requireKind(t, objectstore.NotFound, err)
		_, _, err = r.Get(ctx, "absent", 10)
		requireKind(t, objectstore.NotFound, err)
		_, err = r.Head(ctx, "indices/x")
		requireKind(t, objectstore.NotFound, err)
	})
	t.Run("no key leaves the base path", func(t *testing.T) {
		for _, key := range []string{
			"", "/index-1", "../outside", "a/../../outside", "a//b", "a/./b", "a/", "a\x00b",
			"a\nb", `..\outside`, "a\xffb", strings.Repeat("k", 1024),
		} {
			_, err := r.Head(ctx, key)
			requireKind(t, objectstore.Invalid, err)
			_, _, err = r.Get(ctx, key, 10)
			requireKind(t, objectstore.Invalid, err)
		}
		for _, prefix := range []string{"/", "../", "..", "a//"} {
			_, err := r.ListFolder(ctx, prefix)
			requireKind(t, objectstore.Invalid, err)
			for _, err := range r.List(ctx, prefix) {
				requireKind(t, objectstore.Invalid, err)
			}
		}
	})
	t.Run("a cancelled context ends a call and is recognised", func(t *testing.T) {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_, err := r.Head(cancelled, "index-1")
		require.ErrorIs(t, err, context.Canceled)
		_, _, err = r.Get(cancelled, "index-1", 100)
		require.ErrorIs(t, err, context.Canceled)
		for _, err := range r.List(cancelled, "") {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
}

// fixture is what the suite wants to find below the base path.
func fixture() map[string][]byte {
	objects := map[string][]byte{
		"empty": {}, "index-1": []byte("one"), "index-10": []byte("ten"), "index.latest": {0, 0, 0, 0, 0, 0, 0, 1},
		"indices/x/0/__0":      Random(1, 100_000),
		"indices/x/1/__0":      Random(2, 10),
		"indices/a b+%ü/0/__1": Random(3, 1000),
	}
	for i := range many {
		objects[fmt.Sprintf("page/%04d", i)] = []byte{byte(i)}
	}
	return objects
}

// SourceFixture is a Source and the means to change what it reads. Put takes keys relative to the
// base path.
type SourceFixture struct {
	Source objectstore.Source
	Put    func(key string, data []byte)
	// PutParts uploads an object in parts of that size; nil if the fixture can't.
	PutParts func(key string, data []byte, partSize int)
	Delete   func(key string)
	// PutOutside puts an object beside the base path, by its full key.
	PutOutside func(key string, data []byte)
	// BasePath of the Source.
	BasePath string
}

// TestSource checks a Source on an empty base path.
func TestSource(t *testing.T, f SourceFixture) {
	objects := fixture()
	for key, data := range objects {
		f.Put(key, data)
	}
	if f.PutOutside != nil {
		f.PutOutside("outside", []byte("no"))
		f.PutOutside(f.BasePath+"-beside/index-1", []byte("no"))
	}
	testReader(t, f.Source, objects)
	ctx := t.Context()
	const key = "indices/x/0/__0"
	data := objects[key]
	info, err := f.Source.Head(ctx, key)
	require.NoError(t, err)

	t.Run("read ranges", func(t *testing.T) {
		for _, r := range [][2]int64{{0, int64(len(data))}, {0, 1}, {99_999, 1}, {500, 70_000}} {
			body, err := f.Source.ReadRange(ctx, key, info.ETag, r[0], r[1])
			require.NoError(t, err)
			got, err := io.ReadAll(body)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			require.True(t, bytes.Equal(data[r[0]:r[0]+r[1]], got), "%v", r)
			require.Equal(t, info.ETag, body.ETag)
			require.True(t, body.ETagIsMD5)
		}
		body, err := f.Source.ReadRange(ctx, "empty", "", 0, 0)
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		require.Empty(t, got)
		require.NoError(t, body.Close())
	})
	t.Run("a body may be closed unread", func(t *testing.T) {
		for range 3 {
			body, err := f.Source.ReadRange(ctx, key, "", 0, int64(len(data)))
			require.NoError(t, err)
			require.NoError(t, body.Close())
		}
	})
	t.Run("absent and changed", func(t *testing.T) {
		_, err := f.Source.ReadRange(ctx, "absent", "", 0, 1)
		requireKind(t, objectstore.NotFound, err)
		_, err = f.Source.Parts(ctx, "absent", "")
		requireKind(t, objectstore.NotFound, err)
		f.Put("change", []byte("before"))
		before, err := f.Source.Head(ctx, "change")
		require.NoError(t, err)
		f.Put("change", []byte("behind"))
		_, err = f.Source.ReadRange(ctx, "change", before.ETag, 0, 6)
		requireKind(t, objectstore.Changed, err)
		f.Delete("change")
		_, err = f.Source.ReadRange(ctx, "change", before.ETag, 0, 6)
		requireKind(t, objectstore.NotFound, err)
	})
	t.Run("parts", func(t *testing.T) {
		parts, err := f.Source.Parts(ctx, key, info.ETag)
		require.NoError(t, err)
		require.Zero(t, parts)
		if f.PutParts == nil {
			t.Skip("this fixture uploads no parts")
		}
		data := Random(9, 11<<20)
		f.PutParts("multi", data, 5<<20)
		info, err := f.Source.Head(ctx, "multi")
		require.NoError(t, err)
		require.False(t, info.ETagIsMD5)
		require.True(t, strings.HasSuffix(info.ETag, "-3"), info.ETag)
		parts, err = f.Source.Parts(ctx, "multi", info.ETag)
		require.NoError(t, err)
		if parts != (objectstore.Parts{}) { // a service may not tell
			require.Equal(t, objectstore.Parts{Count: 3, PartSize: 5 << 20, OfMD5s: true}, parts)
		}
	})
}

// SinkFixture is a Sink on an empty base path. The rest is as in SourceFixture.
type SinkFixture struct {
	Sink       objectstore.Sink
	PutOutside func(key string, data []byte)
	BasePath   string
}

// TestSink checks a Sink.
func TestSink(t *testing.T, f SinkFixture) {
	ctx, sink := t.Context(), f.Sink
	objects := fixture()
	for key, data := range objects {
		result, err := sink.Put(ctx, key, bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err)
		require.True(t, objectstore.SameMD5(md5Hex(data), result.ETag), "ETag %s", result.ETag)
		require.Equal(t, CRC64(data), result.CRC64)
	}
	if f.PutOutside != nil {
		f.PutOutside("outside", []byte("no"))
		f.PutOutside(f.BasePath+"-beside/index-1", []byte("no"))
	}
	testReader(t, sink, objects)
	t.Run("put replaces, with metadata", func(t *testing.T) { testPut(t, sink) })
	t.Run("upload in parts", func(t *testing.T) { testUpload(t, sink) })
	t.Run("list uploads", func(t *testing.T) { testListUploads(t, sink) })
	t.Run("bodies that lend their memory", func(t *testing.T) { testLender(t, sink) })
	t.Run("what is wrong with an upload", func(t *testing.T) { testBadUpload(t, sink) })
	t.Run("delete", func(t *testing.T) {
		require.NoError(t, sink.Delete(ctx, "index-1"))
		require.NoError(t, sink.Delete(ctx, "index-1"), "again")
		_, err := sink.Head(ctx, "index-1")
		requireKind(t, objectstore.NotFound, err)
	})
	t.Run("nothing is written outside the base path", func(t *testing.T) {
		for _, key := range []string{"", "../x", "/x", "a//b"} {
			_, err := sink.Put(ctx, key, strings.NewReader("x"), 1, nil)
			requireKind(t, objectstore.Invalid, err)
			_, err = sink.CreateUpload(ctx, key, nil)
			requireKind(t, objectstore.Invalid, err)
			requireKind(t, objectstore.Invalid, sink.Delete(ctx, key))
		}
	})
}
