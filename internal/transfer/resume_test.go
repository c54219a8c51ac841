package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/transfer"
)

// kill copies a blob until some of its parts stand in the sink, as a worker does that is killed
// then: it ends nothing.
func (w *world) kill(t *testing.T, key string, after int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "UploadPart" && c.Offset > after {
			<-ctx.Done() // the others finish first, as there is one slot
			return memory.Failure(objectstore.Transient, c)
		}
		return nil
	}, After: func(c memory.Call) error {
		if c.Op == "UploadPart" && c.Offset == after {
			cancel()
		}
		return nil
	}})
	m := transfer.New(w.source, w.sink, transfer.Options{Concurrency: 1, Buffers: w.buffers})
	_, err := m.CopyOne(ctx, w.find(key))
	require.Error(t, err)
	cancel()
	w.sink.SetHooks(memory.Hooks{})
	w.sink.ResetCounts()
	w.source.ResetCounts()
}

// requireCopied copies a blob and checks its bytes, and that the copy is recognised.
func (w *world) requireCopied(t *testing.T, key string) {
	t.Helper()
	_, err := w.mover().CopyOne(t.Context(), w.find(key))
	require.NoError(t, err)
	require.True(t, bytes.Equal(w.source.Objects()[key], w.sink.Objects()[key]), key)
	_, ok, err := w.mover().Present(t.Context(), w.find(key))
	require.NoError(t, err)
	require.True(t, ok, key)
	require.Zero(t, w.sink.OpenUploads())
	require.Equal(t, w.find(key).Size, w.bytesDone.Load())
}

// inParts are blobs that travel in their own parts: some fit a slab, some are piped.
var inParts = []string{"large/parts", "large/large"}

func TestResume(t *testing.T) {
	for _, key := range inParts {
		w := newWorld(t)
		w.kill(t, key, 3)
		require.Equal(t, 1, w.sink.OpenUploads())
		parts := map[string]int{"large/parts": 10, "large/large": 5}[key]
		w.requireCopied(t, key)
		require.Equal(t, parts-3, w.sink.Count("UploadPart"), "only what is missing is sent")
		require.Equal(t, parts-3, w.source.Count("ReadRange"), "and read")
		require.Zero(t, w.sink.Count("CreateUpload"))
		require.Equal(t, map[string]int64{"large/parts": 330_000, "large/large": 600_000}[key],
			w.stats.BytesResumed.Load())
		require.Zero(t, w.stats.Corruptions.Load())
	}
}

// A blob may have been replaced, by one of the same size and parts, since the upload was begun.
func TestResumeTakesNothingOfAnotherVersion(t *testing.T) {
	for _, key := range inParts {
		for done := range int64(5) { // with none, only the metadata is wrong
			w := newWorld(t)
			if done == 0 {
				_, err := w.sink.CreateUpload(t.Context(), key, map[string]string{
					transfer.MetadataETag: w.find(key).ETag, transfer.MetadataLength: fmt.Sprint(w.find(key).Size),
					transfer.MetadataParts: "5",
				})
				require.NoError(t, err)
			} else {
				w.kill(t, key, done)
			}
			before := w.find(key)
			w.source.StoreParts(key, content(90, int(before.Size)),
				map[string]int64{"large/parts": 110_000, "large/large": 200_000}[key])
			w.blobs = w.list(t)
			require.NotEqual(t, before.ETag, w.find(key).ETag)
			w.requireCopied(t, key)
			_, ok, err := w.mover().Present(t.Context(), before)
			require.NoError(t, err)
			require.False(t, ok, "it isn't taken for the version before")
		}
	}
}

func TestResumeLeavesWhatDoesNotFit(t *testing.T) {
	const key = "large/large"
	for name, put := range map[string]func(t *testing.T, sink *memory.Store, u objectstore.Upload){
		"another size of parts": func(t *testing.T, sink *memory.Store, u objectstore.Upload) {
			_, err := sink.UploadPart(t.Context(), u, 1, bytes.NewReader(content(1, 150_000)), 150_000)
			require.NoError(t, err)
		},
		"more parts": func(t *testing.T, sink *memory.Store, u objectstore.Upload) {
			_, err := sink.UploadPart(t.Context(), u, 6, bytes.NewReader(content(1, 200_000)), 200_000)
			require.NoError(t, err)
		},
		"other bytes": func(t *testing.T, sink *memory.Store, u objectstore.Upload) {
			_, err := sink.UploadPart(t.Context(), u, 2, bytes.NewReader(content(1, 200_000)), 200_000)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u, err := w.sink.CreateUpload(t.Context(), key, nil)
			require.NoError(t, err)
			put(t, w.sink, u)
			_, err = w.sink.CreateUpload(t.Context(), key+"-beside", nil) // a longer key isn't touched
			require.NoError(t, err)
			_, err = w.mover().CopyOne(t.Context(), w.find(key))
			require.NoError(t, err)
			require.True(t, bytes.Equal(w.source.Objects()[key], w.sink.Objects()[key]))
			require.Equal(t, 1, w.sink.OpenUploads())
			require.Zero(t, w.stats.Corruptions.Load(), "what isn't ours isn't damaged")
			if name != "other bytes" {
				require.Equal(t, w.find(key).Size, w.stats.BytesRead.Load(), "what can't fit isn't tried")
			}
		})
	}
}

// Of several uploads the one that has most is taken over, and the others are ended.
func TestResumeTakesTheBest(t *testing.T) {
	const key = "large/large"
	w := newWorld(t)
	_, err := w.sink.CreateUpload(t.Context(), key, nil)
	require.NoError(t, err)
	meta := map[string]string{
		transfer.MetadataETag: w.find(key).ETag, transfer.MetadataLength: "1000000",
		transfer.MetadataParts: "5",
	}
	for _, parts := range []int{1, 3, 2} {
		u, err := w.sink.CreateUpload(t.Context(), key, meta)
		require.NoError(t, err)
		for n := range parts {
			_, err = w.sink.UploadPart(t.Context(), u, n+1,
				bytes.NewReader(w.source.Objects()[key][n*200_000:][:200_000]), 200_000)
			require.NoError(t, err)
		}
	}
	w.sink.ResetCounts()
	w.requireCopied(t, key)
	require.Equal(t, 2, w.sink.Count("UploadPart"))
}

// Uploads that nobody can go on with are ended by the next attempt.
func TestUnprovablePartsAreNotTakenOver(t *testing.T) {
	for _, key := range []string{"large/plain", "large/odd", "large/encrypted", "large/encrypted parts"} {
		w := newWorld(t)
		u, err := w.sink.CreateUpload(t.Context(), key, nil)
		require.NoError(t, err)
		_, err = w.sink.UploadPart(t.Context(), u, 1, bytes.NewReader(content(1, bufferSize)), bufferSize)
		require.NoError(t, err)
		w.requireCopied(t, key)
		require.Zero(t, w.stats.BytesResumed.Load())
	}
}

// An attempt that doesn't know that it is dead works on the same upload at the same time: both end
// well, whoever is first, at whatever call the other one does all its work.
func TestTwoAttemptsAtOnce(t *testing.T) {
	for _, key := range inParts {
		for call := range 40 {
			w := newWorld(t)
			var mu sync.Mutex
			calls := 0
			var second error
			w.sink.SetHooks(memory.Hooks{Before: func(memory.Call) error {
				mu.Lock()
				calls++
				now := calls == call
				mu.Unlock()
				if now {
					_, second = w.mover().CopyOne(t.Context(), w.find(key))
				}
				return nil
			}})
			zombie := transfer.New(w.source, w.sink, transfer.Options{Concurrency: 2, Buffers: w.buffers})
			_, err := zombie.CopyOne(t.Context(), w.find(key))
			require.NoError(t, err, "call %d", call)
			require.NoError(t, second, "call %d", call)
			w.sink.SetHooks(memory.Hooks{})
			require.True(t, bytes.Equal(w.source.Objects()[key], w.sink.Objects()[key]), key)
			_, ok, err := w.mover().Present(t.Context(), w.find(key))
			require.NoError(t, err)
			require.True(t, ok)
			if call > 2 && call <= calls { // the upload was there before the other one began
				require.Equal(t, 1, w.sink.Count("CreateUpload"),
					"call %d: what the other one has done isn't done again", call)
			}
			if call > calls {
				require.Greater(t, calls, 6)
				break
			}
		}
	}
}

// An attempt for another version replaces a part just before the upload is completed.
func TestPartReplacedBeforeItsEnd(t *testing.T) {
	const key = "large/large"
	w := newWorld(t)
	w.kill(t, key, 2)
	uploads, err := w.sink.ListUploads(t.Context(), key)
	require.NoError(t, err)
	first := once()
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Complete" && first(c.Op) {
			_, err := w.sink.UploadPart(t.Context(), uploads[0], 2, bytes.NewReader(content(1, 200_000)), 200_000)
			return err
		}
		return nil
	}})
	w.requireCopied(t, key)
}

// An upload that is ended by somebody else each time is no damage: it may pass.
func TestAlwaysGone(t *testing.T) {
	w := newWorld(t)
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "UploadPart" {
			_, err := w.mover().Sweep(t.Context(), "")
			return err
		}
		return nil
	}})
	_, err := w.mover().CopyOne(t.Context(), w.find("large/large"))
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
	require.Zero(t, w.stats.Corruptions.Load())
}

func TestChangedSourceEndsItsUpload(t *testing.T) {
	for _, vanish := range []bool{false, true} {
		w := newWorld(t)
		const key = "large/large"
		w.kill(t, key, 2)
		first := once()
		w.source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "ReadRange" && first(key) {
				w.source.Remove(key)
				if !vanish {
					w.source.StoreParts(key, content(90, 1_000_000), 200_000)
				}
			}
			return nil
		}})
		_, err := w.mover().CopyOne(t.Context(), w.find(key))
		kind := transfer.Changed
		if vanish {
			kind = transfer.Vanished
		}
		requireBlobError(t, kind, key, err)
		require.Zero(t, w.sink.OpenUploads())
		require.Zero(t, w.bytesDone.Load())
	}
}

// A key without the right to list uploads copies anyway, and is refused once.
func TestListingUploadsIsForbidden(t *testing.T) {
	w := newWorld(t)
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "ListUploads" {
			return memory.Failure(objectstore.Forbidden, c)
		}
		return nil
	}})
	m := transfer.New(w.source, w.sink, transfer.Options{Concurrency: 1, Buffers: w.buffers})
	for _, key := range inParts {
		_, err := m.CopyOne(t.Context(), w.find(key))
		require.NoError(t, err)
		require.True(t, bytes.Equal(w.source.Objects()[key], w.sink.Objects()[key]), key)
	}
	require.Equal(t, 1, w.sink.Count("ListUploads"))
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		_, err := w.sink.CreateUpload(t.Context(), fmt.Sprintf("indices/%d/__0", i%10), nil)
		require.NoError(t, err)
	}
	_, err := w.sink.CreateUpload(t.Context(), "elsewhere", nil)
	require.NoError(t, err)
	failing := once()
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if failing(fmt.Sprint(c)) {
			return memory.Failure(objectstore.Transient, c)
		}
		return nil
	}})
	n, err := w.mover().Sweep(t.Context(), "indices/")
	require.NoError(t, err)
	require.Equal(t, 30, n)
	w.sink.SetHooks(memory.Hooks{})
	left, err := w.sink.ListUploads(t.Context(), "elsewhere")
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, 1, w.sink.OpenUploads())
	w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Forbidden, c) }})
	_, err = w.mover().Sweep(t.Context(), "")
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err))
}

// Many movers at once, of every kind of blob, in the least memory that is legal: all end, and none
// ever has more than that.
func TestManyMoversInTheLeastMemory(t *testing.T) {
	w := newWorld(t)
	var over failures
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			sink := memory.NewSink()
			sink.SetHooks(memory.Hooks{Before: func(memory.Call) error {
				if n := w.buffers.InUse(); n > transfer.LeastMemory {
					over.add(fmt.Errorf("%d bytes are handed out", n))
				}
				return nil
			}})
			m := transfer.New(w.source, sink, transfer.Options{
				Concurrency: 1 + i%4, Buffers: w.buffers,
				PutLimit: putLimit,
			})
			blobs := slices.Clone(w.blobs)
			slices.SortFunc(blobs, func(a, b transfer.Blob) int {
				return bytes.Compare([]byte(a.ETag)[i:],
					[]byte(b.ETag)[i:])
			})
			blobs = blobs[:len(blobs)/3]
			over.add(m.Copy(t.Context(), slices.Values(blobs), func(transfer.Stored) {}))
			for _, blob := range blobs {
				if !bytes.Equal(w.source.Objects()[blob.Key], sink.Objects()[blob.Key]) {
					over.add(fmt.Errorf("mover %d: %s differs", i, blob.Key))
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, over.join())
}

// failures collects errors of many goroutines.
type failures struct {
	mu  sync.Mutex
	all []error
}

func (e *failures) add(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, err)
}

func (e *failures) join() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.all...)
}
