package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	"github.com/snapferry/snapferry/internal/transfer"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(serverVariable); what != "" {
		if err := serveBenchmark(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	bufferSize = 128 << 10
	putLimit   = 300 << 10
)

var sizes = map[string]int{
	"empty": 0, "tiny": 3, "small": 100_000, "buffer": bufferSize, "piped": bufferSize + 1, "limit": putLimit,
	"parts": putLimit + 1,
	"large": 1_000_000,
}

// world is a source with blobs of every size and way of storing, and an empty sink.
type world struct {
	source, sink *memory.Store
	blobs        []transfer.Blob
	blobsDone    atomic.Int64
	bytesDone    atomic.Int64
	stats        transfer.Stats
	buffers      *transfer.Buffers // the least that is legal: blocks of bufferSize
}

// random is cut up for all blobs: making it takes longer than the tests.
var random = sync.OnceValue(func() []byte { return objectstoretest.Random(1, 1_100_000) })

func content(seed uint64, size int) []byte { return random()[seed*1000:][:size] }

// template is what each world begins with: hashing it takes longer than most tests.
var template = sync.OnceValue(func() *memory.Store {
	source := memory.NewSource()
	seed := uint64(0)
	for name, size := range sizes {
		for way, store := range map[string]func(string, []byte){
			"plain":     source.Store,
			"encrypted": source.StoreEncrypted,
			"parts":     func(key string, data []byte) { source.StoreParts(key, data, 110_000) },
			// parts beyond a buffer
			"large": func(key string, data []byte) { source.StoreParts(key, data, 200_000) },
			// S3 with KMS: nothing shows its MD5s.
			"encrypted parts": func(key string, data []byte) { source.StoreEncryptedParts(key, data, 110_000) },
			// too small for OSS
			"odd": func(key string, data []byte) { source.StoreParts(key, data, 5000) },
		} {
			if size == 0 && way != "plain" && way != "encrypted" {
				continue
			}
			seed++
			store(name+"/"+way, content(seed, size))
		}
	}
	return source
})

func newWorld(t *testing.T) *world {
	w := &world{source: template().Clone(), sink: memory.NewSink()}
	var err error
	w.buffers, err = transfer.NewBuffers(transfer.LeastMemory)
	require.NoError(t, err)
	t.Cleanup(func() { require.Zero(t, w.buffers.InUse(), "slabs are given back") })
	w.blobs = w.list(t)
	return w
}

func (w *world) list(t *testing.T) []transfer.Blob {
	var blobs []transfer.Blob
	for o, err := range w.source.List(t.Context(), "") {
		require.NoError(t, err)
		blobs = append(blobs, transfer.Blob{Key: o.Key, Size: o.Size, ETag: o.ETag})
	}
	return blobs
}

func (w *world) mover() *transfer.Mover {
	return transfer.New(w.source, w.sink, transfer.Options{
		Concurrency: 6, Buffers: w.buffers, PutLimit: putLimit, Stats: &w.stats,
		Retry: transfer.Retry{Attempts: 4, First: time.Microsecond, Most: 10 * time.Microsecond},
		Progress: func(blobs, bytes int64) {
			w.blobsDone.Add(blobs)
			w.bytesDone.Add(bytes)
		},
	})
}

func (w *world) copyAll(t *testing.T, blobs []transfer.Blob) ([]transfer.Stored, error) {
	var mu sync.Mutex
	var stored []transfer.Stored
	err := w.mover().Copy(t.Context(), slices.Values(blobs), func(s transfer.Stored) {
		mu.Lock()
		defer mu.Unlock()
		stored = append(stored, s)
	})
	return stored, err
}

// requireEqual checks every byte, and that the copies are recognised.
func (w *world) requireEqual(t *testing.T) {
	t.Helper()
	want, got := w.source.Objects(), w.sink.Objects()
	require.Len(t, got, len(want))
	for key, data := range want {
		require.True(t, bytes.Equal(data, got[key]), key)
	}
	for _, blob := range w.blobs {
		_, ok, err := w.mover().Present(t.Context(), blob)
		require.NoError(t, err)
		require.True(t, ok, "%s isn't recognised as a copy", blob.Key)
	}
	require.Zero(t, w.sink.OpenUploads())
}

func TestCopyEverySizeAndKind(t *testing.T) {
	w := newWorld(t)
	stored, err := w.copyAll(t, w.blobs)
	require.NoError(t, err)
	require.Len(t, stored, len(w.blobs))
	w.requireEqual(t)
	var total int64
	for _, s := range stored {
		total += s.Size
		info, err := w.sink.Head(t.Context(), s.Key)
		require.NoError(t, err)
		require.Equal(t, info.ETag, s.SinkETag)
		require.False(t, s.Skipped)
	}
	require.Equal(t, total, w.bytesDone.Load())
	require.Equal(t, int64(len(w.blobs)), w.blobsDone.Load())

	w.sink.ResetCounts()
	for i := range w.blobs {
		w.blobs[i].Look = true
	}
	stored, err = w.copyAll(t, w.blobs)
	require.NoError(t, err)
	for _, s := range stored {
		require.True(t, s.Skipped)
	}
	require.Equal(t, map[string]int{"Head": len(w.blobs)}, w.sink.Counts(), "a second run writes nothing")
}

// The way of a blob is chosen by what it costs: see the package comment.
func TestWays(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"small/plain": {"Put": 1},
		"piped/plain": {"Put": 1},
		"parts/plain": {"ListUploads": 1, "CreateUpload": 1, "UploadPart": 3, "Complete": 1}, // parts of a buffer
		"large/parts": {"ListUploads": 1, "CreateUpload": 1, "UploadPart": 10, "Complete": 1},
		"large/large": {"ListUploads": 1, "CreateUpload": 1, "UploadPart": 5, "Complete": 1},
		// the pipe finds out and gives up
		"piped/encrypted": {"ListUploads": 1, "CreateUpload": 1, "UploadPart": 2, "Complete": 1},
	} {
		w := newWorld(t)
		_, err := w.mover().CopyOne(t.Context(), w.find(name))
		require.NoError(t, err)
		require.Equal(t, want, w.sink.Counts(), name)
	}
}

func (w *world) find(key string) transfer.Blob {
	return w.blobs[slices.IndexFunc(w.blobs, func(b transfer.Blob) bool { return b.Key == key })]
}

// A copy of another version, and one that was never proven, are not copies.
func TestPresent(t *testing.T) {
	w := newWorld(t)
	blob, ctx := w.find("small/plain"), t.Context()
	data := w.source.Objects()[blob.Key]
	other := content(98, len(data))
	meta := map[string]string{transfer.MetadataETag: blob.ETag, transfer.MetadataLength: fmt.Sprint(blob.Size)}
	for name, tt := range map[string]struct {
		data []byte
		meta map[string]string
		want bool
	}{
		"a copy":      {data, meta, true},
		"no metadata": {data, nil, false},
		"the metadata of another": {other, map[string]string{
			transfer.MetadataETag:   "abc",
			transfer.MetadataLength: fmt.Sprint(blob.Size),
		}, false},
		"the right metadata over other bytes": {other, meta, false},
		"another length":                      {data[1:], meta, false},
	} {
		_, err := w.sink.Put(ctx, blob.Key, bytes.NewReader(tt.data), int64(len(tt.data)), tt.meta)
		require.NoError(t, err)
		_, ok, err := w.mover().Present(ctx, blob)
		require.NoError(t, err)
		require.Equal(t, tt.want, ok, name)
		blob.Look = true
		_, err = w.mover().CopyOne(ctx, blob)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, w.sink.Objects()[blob.Key]), name)
	}
}

// Blobs of which only key and size are known become the same copies as listed ones, under the ETag
// that they turn out to have.
func TestCopyUnlisted(t *testing.T) {
	w := newWorld(t)
	unlisted := slices.Clone(w.blobs)
	for i := range unlisted {
		unlisted[i].ETag = ""
	}
	_, err := w.copyAll(t, unlisted)
	require.NoError(t, err)
	require.Zero(t, w.stats.Corruptions.Load())
	source, sink := w.source.Objects(), w.sink.Objects()
	for _, b := range w.blobs {
		require.True(t, bytes.Equal(source[b.Key], sink[b.Key]), b.Key)
		_, ok, err := w.mover().Present(t.Context(), b)
		require.NoError(t, err)
		require.True(t, ok, "%s carries the ETag that the listing shows", b.Key)
	}

	for name, wrong := range map[string]int64{"shorter than expected": 1, "longer than expected": -1} {
		for _, b := range w.blobs {
			if b.Size+wrong < 1 {
				continue
			}
			w := newWorld(t)
			_, err := w.copyAll(t, []transfer.Blob{{Key: b.Key, Size: b.Size + wrong}})
			_, ok := errors.AsType[*transfer.Error](err)
			require.True(t, ok, "%s %s: %v", b.Key, name, err)
			_, ok, err = w.mover().Present(t.Context(), b)
			require.NoError(t, err)
			require.False(t, ok, "%s %s", b.Key, name)
		}
	}

	w = newWorld(t)
	gone := unlisted[0]
	w.source.Remove(gone.Key)
	_, err = w.copyAll(t, []transfer.Blob{gone})
	lost, ok := errors.AsType[*transfer.Error](err)
	require.True(t, ok)
	require.Equal(t, transfer.Vanished, lost.Kind)
}

// notedSource notes when the first bytes of a range are read, notedSink when a part is uploaded.
type notedSource struct {
	objectstore.Source
	note func(string)
}

func (s notedSource) ReadRange(ctx context.Context, key, etag string, offset, length int64) (objectstore.Body, error) {
	body, err := s.Source.ReadRange(ctx, key, etag, offset, length)
	body.ReadCloser = &notedBody{body.ReadCloser, sync.OnceFunc(func() { s.note("read") })}
	return body, err
}

type notedBody struct {
	io.ReadCloser
	first func()
}

func (b *notedBody) Read(p []byte) (int, error) {
	b.first()
	return b.ReadCloser.Read(p)
}

type notedSink struct {
	objectstore.Sink
	note func(string)
}

func (s notedSink) UploadPart(ctx context.Context, u objectstore.Upload, number int, body io.Reader,
	size int64,
) (objectstore.Part, error) {
	s.note("upload")
	return s.Sink.UploadPart(ctx, u, number, body, size)
}

// All parts of a few large blobs are copied at the same time. If each was read before it is uploaded,
// the line from S3 would be idle while OSS gets them, and the other way round.
func TestLargePartsAreUploadedWhileTheyAreRead(t *testing.T) {
	source, sink := memory.NewSource(), memory.NewSink()
	const part = 2 << 20
	data := objectstoretest.Random(1, 2*part+1000)
	source.StoreParts("large", data, part)
	blob := (&world{source: source}).list(t)[0]
	var events []string
	note := func(event string) { events = append(events, event) }
	m := transfer.New(notedSource{source, note}, notedSink{sink, note}, transfer.Options{Concurrency: 1})
	_, err := m.CopyOne(t.Context(), blob)
	require.NoError(t, err)
	require.Equal(t, []string{"upload", "read", "upload", "read", "read", "upload"}, events, "the last part is small")
	require.Equal(t, data, sink.Objects()["large"])
}
