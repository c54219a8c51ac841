package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bufferSize = 128 << 10
	putLimit   = 300 << 10
)

var sizes = map[string]int{
	"empty": 0, "tiny": 3, "small": 100_000, "buffer": bufferSize, "piped": bufferSize + 1, "limit": putLimit, "parts": putLimit + 1,
	"large": 1_000_000,
}

// world is a source with blobs of every size and way of storing, and an empty sink.
type world struct {
	source, sink *memory.Store
	blobs        []transfer.Blob
	blobsDone    atomic.Int64
	bytesDone    atomic.Int64
}

// random is cut up for all blobs: making it takes longer than the tests.
var random = sync.OnceValue(func() []byte { return objectstoretest.Random(1, 1_100_000) })

func content(seed uint64, size int) []byte { return random()[seed*1000:][:size] }

func newWorld(t *testing.T) *world {
	w := &world{source: memory.NewSource(), sink: memory.NewSink()}
	seed := uint64(0)
	for name, size := range sizes {
		for way, store := range map[string]func(string, []byte){
			"plain":     w.source.Store,
			"encrypted": w.source.StoreEncrypted,
			"parts":     func(key string, data []byte) { w.source.StoreParts(key, data, 110_000) },
			"large":     func(key string, data []byte) { w.source.StoreParts(key, data, 200_000) }, // parts beyond a buffer
			"odd":       func(key string, data []byte) { w.source.StoreParts(key, data, 5000) },    // too small for OSS
		} {
			if size == 0 && way != "plain" && way != "encrypted" {
				continue
			}
			seed++
			store(name+"/"+way, content(seed, size))
		}
	}
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
		Concurrency: 6, Buffers: transfer.NewBuffers(bufferSize, 3), PutLimit: putLimit,
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
		"small/plain":     {"Put": 1},
		"piped/plain":     {"Put": 1},
		"parts/plain":     {"CreateUpload": 1, "UploadPart": 3, "Complete": 1}, // parts of a buffer
		"large/parts":     {"CreateUpload": 1, "UploadPart": 10, "Complete": 1},
		"large/large":     {"CreateUpload": 1, "UploadPart": 5, "Complete": 1},
		"piped/encrypted": {"CreateUpload": 1, "UploadPart": 2, "Complete": 1}, // the pipe finds out and gives up
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

// once runs a hook the first time that it meets each key.
func once() func(key string) bool {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(key string) bool {
		mu.Lock()
		defer mu.Unlock()
		first := !seen[key]
		seen[key] = true
		return first
	}
}

func flip(data []byte) []byte {
	if len(data) > 0 {
		data[len(data)/2] ^= 1
	}
	return data
}

func TestFaultsThatPass(t *testing.T) {
	for name, hooks := range map[string]func() (source, sink memory.Hooks){
		"throttled reads": func() (s, _ memory.Hooks) {
			first := once()
			s.Before = func(c memory.Call) error {
				if !first(fmt.Sprint(c)) {
					return nil
				}
				e := memory.Failure(objectstore.Throttled, c)
				e.RetryAfter = time.Millisecond
				return e
			}
			return s, memory.Hooks{}
		},
		"failing writes": func() (_, s memory.Hooks) {
			first := once()
			s.Before = func(c memory.Call) error {
				if !first(fmt.Sprint(c)) {
					return nil
				}
				return memory.Failure(objectstore.Transient, c)
			}
			return memory.Hooks{}, s
		},
		"lost answers": func() (_, s memory.Hooks) {
			first := once()
			s.After = func(c memory.Call) error {
				if !first(fmt.Sprint(c)) || c.Op == "Head" {
					return nil
				}
				return memory.Failure(objectstore.Transient, c)
			}
			return memory.Hooks{}, s
		},
		"reads that break off": func() (s, _ memory.Hooks) {
			first := once()
			s.Read = func(c memory.Call, data []byte) []byte {
				if first(c.Key) {
					return data[:len(data)*2/3]
				}
				return data
			}
			return s, memory.Hooks{}
		},
		"damaged writes": func() (_, s memory.Hooks) {
			first := once()
			s.Write = func(c memory.Call, data []byte) []byte {
				if first(fmt.Sprint(c)) {
					return flip(data)
				}
				return data
			}
			return memory.Hooks{}, s
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			source, sink := hooks()
			w.source.SetHooks(source)
			w.sink.SetHooks(sink)
			_, err := w.copyAll(t, w.blobs)
			require.NoError(t, err)
			w.source.SetHooks(memory.Hooks{})
			w.sink.SetHooks(memory.Hooks{})
			// A lost answer to CreateUpload leaves an upload that nobody knows of.
			if name != "lost answers" {
				w.requireEqual(t)
			}
			for key, data := range w.source.Objects() {
				require.True(t, bytes.Equal(data, w.sink.Objects()[key]), key)
			}
		})
	}
}

// A damaged read is found wherever S3's ETag says anything about the content.
func TestDamagedReads(t *testing.T) {
	w := newWorld(t)
	first := once()
	w.source.SetHooks(memory.Hooks{Read: func(c memory.Call, data []byte) []byte {
		if first(fmt.Sprint(c)) {
			return flip(data)
		}
		return data
	}})
	var provable []transfer.Blob
	for _, b := range w.blobs {
		// Parts of 5,000 bytes can't be uploaded as such, and no ETag tells anything of what is encrypted with KMS. A small
		// blob that was uploaded in parts isn't worth the question for their size.
		inParts := strings.HasSuffix(b.Key, "/large") || strings.HasSuffix(b.Key, "/parts")
		if strings.HasSuffix(b.Key, "/plain") || inParts && b.Size > bufferSize {
			provable = append(provable, b)
		}
	}
	_, err := w.copyAll(t, provable)
	require.NoError(t, err)
	for _, b := range provable {
		require.True(t, bytes.Equal(w.source.Objects()[b.Key], w.sink.Objects()[b.Key]), b.Key)
	}
}

func TestDamagedForGood(t *testing.T) {
	for _, key := range []string{"tiny/plain", "small/encrypted", "piped/plain", "parts/plain", "large/large", "large/odd"} {
		w := newWorld(t)
		w.sink.SetHooks(memory.Hooks{Write: func(_ memory.Call, data []byte) []byte { return flip(data) }})
		_, err := w.mover().CopyOne(t.Context(), w.find(key))
		requireBlobError(t, transfer.Corrupt, key, err)
		w.sink.SetHooks(memory.Hooks{})
		_, ok, err := w.mover().Present(t.Context(), w.find(key))
		require.NoError(t, err)
		require.False(t, ok, "%s: what stands in the sink must not be taken for a copy", key)
		require.Zero(t, w.sink.OpenUploads())
		require.Zero(t, w.bytesDone.Load())
	}
}

func requireBlobError(t *testing.T, kind transfer.Kind, key string, err error) {
	t.Helper()
	e := &transfer.Error{}
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.Equal(t, key, e.Key)
}

func TestVanishedAndChanged(t *testing.T) {
	for name := range sizes {
		key := name + "/plain"
		w := newWorld(t)
		w.source.Remove(key)
		_, err := w.mover().CopyOne(t.Context(), w.find(key))
		requireBlobError(t, transfer.Vanished, key, err)
		if name == "empty" {
			continue
		}
		w.source.Store(key, content(99, sizes[name])) // the same length
		_, err = w.mover().CopyOne(t.Context(), w.find(key))
		requireBlobError(t, transfer.Changed, key, err)
		require.NotContains(t, w.sink.Objects(), key)
		require.Zero(t, w.sink.OpenUploads())
	}
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
		"a copy":                              {data, meta, true},
		"no metadata":                         {data, nil, false},
		"the metadata of another":             {other, map[string]string{transfer.MetadataETag: "abc", transfer.MetadataLength: fmt.Sprint(blob.Size)}, false},
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

func TestGivesUp(t *testing.T) {
	w := newWorld(t)
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Transient, c) }})
	_, err := w.mover().CopyOne(t.Context(), w.find("tiny/plain"))
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
	require.Equal(t, 4, w.sink.Count("Put"))
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Forbidden, c) }})
	w.sink.ResetCounts()
	_, err = w.copyAll(t, w.blobs)
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err), "%v", err)
	require.LessOrEqual(t, w.sink.Count("Put"), 6, "one that fails for good ends all")
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	stopping := errors.New("the worker is stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "UploadPart" {
			cancel(stopping)
			return memory.Failure(objectstore.Transient, c)
		}
		return nil
	}})
	err := w.mover().Copy(ctx, slices.Values(w.blobs), func(transfer.Stored) {})
	require.ErrorIs(t, err, stopping)
	w.sink.SetHooks(memory.Hooks{})
	require.Zero(t, w.sink.OpenUploads(), "uploads are ended even so")
}

// No more requests and buffers at once than allowed, whatever the mix of blobs.
func TestBounds(t *testing.T) {
	w := newWorld(t)
	var now, most atomic.Int64
	w.sink.SetHooks(memory.Hooks{Write: func(_ memory.Call, data []byte) []byte {
		n := now.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		time.Sleep(100 * time.Microsecond)
		now.Add(-1)
		return data
	}})
	_, err := w.copyAll(t, w.blobs)
	require.NoError(t, err)
	require.LessOrEqual(t, most.Load(), int64(6))
}

func TestSmallObjects(t *testing.T) {
	w := newWorld(t)
	ctx, m := t.Context(), w.mover()
	first := once()
	w.source.SetHooks(memory.Hooks{Read: func(c memory.Call, data []byte) []byte {
		if first(c.Key) {
			return flip(data)
		}
		return data
	}})
	w.sink.SetHooks(memory.Hooks{Write: func(c memory.Call, data []byte) []byte {
		if first("sink" + c.Key) {
			return flip(data)
		}
		return data
	}})
	want := w.source.Objects()["tiny/plain"]
	data, info, err := m.Read(ctx, "tiny/plain", 10)
	require.NoError(t, err)
	require.Equal(t, want, data)
	require.NoError(t, m.Write(ctx, "tiny/plain", bytes.Clone(data), info.ETag))
	back, _, err := m.ReadBack(ctx, "tiny/plain", 10)
	require.NoError(t, err)
	require.Equal(t, want, back)
	_, _, err = m.Read(ctx, "absent", 10)
	requireBlobError(t, transfer.Vanished, "absent", err)
	_, _, err = m.ReadBack(ctx, "absent", 10)
	require.Equal(t, objectstore.NotFound, objectstore.KindOf(err))
	_, _, err = m.Read(ctx, "small/plain", 10)
	require.Equal(t, objectstore.Invalid, objectstore.KindOf(err))
}
