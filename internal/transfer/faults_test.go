package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/transfer"
)

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
		// Parts of 5,000 bytes can't be uploaded as such, nor what is smaller than OSS's parts, and
		// no ETag tells anything of what is encrypted with KMS.
		inParts := strings.HasSuffix(b.Key, "/large") || strings.HasSuffix(b.Key, "/parts")
		if strings.HasSuffix(b.Key, "/plain") || inParts && b.Size > objectstore.MinPartSize {
			provable = append(provable, b)
		}
	}
	_, err := w.copyAll(t, provable)
	require.NoError(t, err)
	for _, b := range provable {
		require.True(t, bytes.Equal(w.source.Objects()[b.Key], w.sink.Objects()[b.Key]), b.Key)
	}
	require.Positive(t, w.stats.Corruptions.Load())
}

func TestDamagedForGood(t *testing.T) {
	for _, key := range []string{
		"tiny/plain", "small/encrypted", "piped/plain", "parts/plain", "large/large",
		"large/odd",
	} {
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

// When the worker stops, an upload that the next attempt can go on with is left to it; the others
// are ended.
func TestCancel(t *testing.T) {
	for key, left := range map[string]int{
		"large/large": 1, "large/parts": 1, "large/plain": 0, "large/odd": 0,
		"large/encrypted parts": 0,
	} {
		w := newWorld(t)
		stopping := errors.New("the worker is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "UploadPart" && c.Offset > 1 {
				cancel(stopping)
				return memory.Failure(objectstore.Transient, c)
			}
			return nil
		}})
		blob := w.find(key)
		err := w.mover().Copy(ctx, slices.Values([]transfer.Blob{blob}), func(transfer.Stored) {})
		require.ErrorIs(t, err, stopping)
		w.sink.SetHooks(memory.Hooks{})
		require.Equal(t, left, w.sink.OpenUploads(), key)
		require.Zero(t, w.bytesDone.Load(), key)
		_, err = w.copyAll(t, []transfer.Blob{blob})
		require.NoError(t, err)
		require.Equal(t, blob.Size, w.bytesDone.Load(), key)
		require.Zero(t, w.sink.OpenUploads(), key)
		require.True(t, bytes.Equal(w.source.Objects()[key], w.sink.Objects()[key]), key)
	}
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
		runtime.Gosched()
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
