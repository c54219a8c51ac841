package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/transfer"
)

// chaos makes requests fail at random. A blob is corrupted once at most, and nothing else happens
// to it from then on until it is copied, so that each corruption must be caught, and counted,
// exactly once: what a retry for another reason would have replaced by chance needn't be.
type chaos struct {
	mu        sync.Mutex
	rng       *rand.Rand
	corrupted map[string]bool
	injected  map[string]int
	// blind are the blobs of which no ETag tells anything (KMS): whether they are damaged before
	// they arrive here, nothing can show. What they are stored as is compared with what arrived.
	blind map[string]bool
}

const (
	throttled = "503"
	reset     = "reset in mid-body"
	truncated = "truncated body"
	flipped   = "flipped bit"
	lost      = "lost answer"
	wrongCRC  = "wrong CRC64"

	createUpload = "InitiateMultipartUpload" // answers without a CRC64
)

// draw decides what happens to a request: one in twenty fails, in one of these ways.
func (c *chaos) draw(key string, ways ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corrupted[key] || c.rng.IntN(20) > 0 {
		return ""
	}
	way := ways[c.rng.IntN(len(ways))]
	if way == flipped || way == wrongCRC {
		c.corrupted[key] = true
	}
	c.injected[way]++
	return way
}

func (c *chaos) number(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Int64N(max(n, 1))
}

func failure(kind objectstore.Kind, op, key string) error {
	e := &objectstore.Error{Kind: kind, Op: op, Key: key, Code: "Injected"}
	if kind == objectstore.Throttled {
		e.Status, e.RetryAfter = 503, time.Second
	}
	return e
}

// chaoticSource fails as S3 does.
type chaoticSource struct {
	*memory.Store
	*chaos
}

func (s chaoticSource) ReadRange(ctx context.Context, key, etag string, offset,
	length int64,
) (objectstore.Body, error) {
	ways := []string{throttled, reset, truncated}
	if !s.blind[key] && length > 0 {
		ways = append(ways, flipped)
	}
	way := s.draw(key, ways...)
	if way == throttled {
		return objectstore.Body{}, failure(objectstore.Throttled, "GetObject", key)
	}
	body, err := s.Store.ReadRange(ctx, key, etag, offset, length)
	if err == nil && way != "" {
		body.ReadCloser = &spoilt{ReadCloser: body.ReadCloser, way: way, left: s.number(length), key: key}
	}
	return body, err
}

func (s chaoticSource) Parts(ctx context.Context, key, etag string) (objectstore.Parts, error) {
	if s.draw(key, throttled) != "" {
		return objectstore.Parts{}, failure(objectstore.Throttled, "HeadObject", key)
	}
	return s.Store.Parts(ctx, key, etag)
}

// spoilt is a body to which something happens after left bytes.
type spoilt struct {
	io.ReadCloser
	way  string
	key  string
	left int64
}

func (s *spoilt) Read(p []byte) (int, error) {
	switch {
	case s.left < 0:
		return s.ReadCloser.Read(p)
	case s.left == 0 && s.way == flipped:
		s.left = -1
		n, err := s.ReadCloser.Read(p)
		if n > 0 {
			p[0] ^= 0x10
		}
		return n, err
	case s.left == 0 && s.way == truncated:
		return 0, io.EOF
	case s.left == 0:
		return 0, failure(objectstore.Transient, "GetObject", s.key)
	}
	n, err := s.ReadCloser.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

// chaoticSink fails as OSS does.
type chaoticSink struct {
	*memory.Store
	*chaos
}

// write draws for a request with a body, before it is sent and after it was executed.
func (s chaoticSink) write(op, key string, body io.Reader, size int64,
	carryOut func(io.Reader) error,
) (wrong bool, err error) {
	switch way := s.draw(key, throttled, reset); way {
	case throttled:
		return false, failure(objectstore.Throttled, op, key)
	case reset:
		if _, err := io.CopyN(io.Discard, body, s.number(size)); err != nil {
			return false, err
		}
		return false, failure(objectstore.Transient, op, key)
	}
	flips := size > 0 && s.draw(key, flipped) != ""
	if flips {
		body = &spoilt{ReadCloser: io.NopCloser(body), way: flipped, left: s.number(size)}
	}
	if err := carryOut(body); err != nil {
		return false, err
	}
	// A CRC64 proves only what no ETag does.
	if s.blind[key] && !flips && op != createUpload && s.draw(key, wrongCRC) != "" {
		return true, nil
	}
	if s.draw(key, lost) != "" {
		return false, failure(objectstore.Transient, op, key)
	}
	return false, nil
}

func (s chaoticSink) Put(ctx context.Context, key string, body io.Reader, size int64,
	metadata map[string]string,
) (result objectstore.PutResult, err error) {
	wrong, err := s.write("PutObject", key, body, size, func(body io.Reader) (err error) {
		result, err = s.Store.Put(ctx, key, body, size, metadata)
		return err
	})
	if wrong {
		result.CRC64++
	}
	return result, err
}

func (s chaoticSink) UploadPart(ctx context.Context, u objectstore.Upload, n int, body io.Reader,
	size int64,
) (part objectstore.Part, err error) {
	wrong, err := s.write("UploadPart", u.Key, body, size, func(body io.Reader) (err error) {
		part, err = s.Store.UploadPart(ctx, u, n, body, size)
		return err
	})
	if wrong {
		part.CRC64++
	}
	return part, err
}

func (s chaoticSink) CreateUpload(ctx context.Context, key string,
	metadata map[string]string,
) (u objectstore.Upload, err error) {
	_, err = s.write(createUpload, key, nil, 0, func(io.Reader) (err error) {
		u, err = s.Store.CreateUpload(ctx, key, metadata)
		return err
	})
	return u, err
}

func (s chaoticSink) Complete(ctx context.Context, u objectstore.Upload,
	parts []objectstore.Part,
) (result objectstore.PutResult, err error) {
	wrong, err := s.write("CompleteMultipartUpload", u.Key, nil, 0, func(io.Reader) (err error) {
		result, err = s.Store.Complete(ctx, u, parts)
		return err
	})
	if wrong {
		result.CRC64++
	}
	return result, err
}

func (s chaoticSink) ListUploads(ctx context.Context, prefix string) ([]objectstore.Upload, error) {
	if s.draw(prefix, throttled, reset) != "" {
		return nil, failure(objectstore.Transient, "ListMultipartUploads", prefix)
	}
	return s.Store.ListUploads(ctx, prefix)
}

func (s chaoticSink) Head(ctx context.Context, key string) (objectstore.Info, error) {
	if s.draw(key, throttled, reset) != "" {
		return objectstore.Info{}, failure(objectstore.Transient, "HeadObject", key)
	}
	return s.Store.Head(ctx, key)
}

// TestChaos copies thousands of blobs of every size and way of storing while one request in twenty
// fails. SNAPFERRY_SEED repeats a run; it runs on the clock of a bubble, so that pauses cost
// nothing.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SNAPFERRY_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("SNAPFERRY_SEED=%d repeats what is drawn", seed)
	synctest.Test(t, func(t *testing.T) { runChaos(t, seed) })
}

func runChaos(t *testing.T, seed uint64) {
	c := &chaos{
		rng: rand.New(rand.NewPCG(seed, 1)), corrupted: map[string]bool{}, injected: map[string]int{},
		blind: map[string]bool{},
	}
	source, sink := memory.NewSource(), memory.NewSink()
	for i := range 3000 {
		size := c.rng.IntN(6000)
		switch {
		case i%20 == 0:
			size = bufferSize + c.rng.IntN(putLimit-bufferSize) // piped
		case i%100 == 1:
			size = putLimit + c.rng.IntN(putLimit) // in parts
		case i%25 == 2:
			size = c.rng.IntN(bufferSize)
		}
		key, data := fmt.Sprintf("%04d", i), random()[i*17:][:size]
		switch way := i / 3 % 5; {
		case way == 0 && size > 0:
			source.StoreEncrypted(key, data)
			c.blind[key] = true
		case way == 1 && size > bufferSize:
			source.StoreParts(key, data, 110_000)
		case way == 2 && size > bufferSize:
			source.StoreParts(key, data, 200_000)
		case way == 3 && size > bufferSize:
			source.StoreEncryptedParts(key, data, 110_000)
			c.blind[key] = true
		default:
			source.Store(key, data)
		}
	}
	var blobs []transfer.Blob
	for o, err := range source.List(t.Context(), "") {
		require.NoError(t, err)
		blobs = append(blobs, transfer.Blob{Key: o.Key, Size: o.Size, ETag: o.ETag})
	}
	buffers, err := transfer.NewBuffers(1 << 20)
	require.NoError(t, err)
	stats := &transfer.Stats{}
	var progress, bytesDone int64
	var mu sync.Mutex
	m := transfer.New(chaoticSource{source, c}, chaoticSink{sink, c}, transfer.Options{
		Concurrency: 16, Buffers: buffers, PutLimit: putLimit, Stats: stats, Retry: transfer.Retry{Attempts: 12},
		Progress: func(blobs, bytes int64) {
			mu.Lock()
			defer mu.Unlock()
			progress, bytesDone = progress+blobs, bytesDone+bytes
		},
	})
	require.NoError(t, m.Copy(t.Context(), slices.Values(blobs), func(transfer.Stored) {}))

	want, got := source.Objects(), sink.Objects()
	require.Len(t, got, len(want))
	var total int64
	for key, data := range want {
		total += int64(len(data))
		require.True(t, bytes.Equal(data, got[key]), key)
	}
	require.Equal(t, int64(len(want)), progress)
	require.Equal(t, total, bytesDone)
	t.Logf("injected: %v; %d corruptions caught, %d retries, %d bytes read for %d", c.injected,
		stats.Corruptions.Load(), stats.Retries.Load(),
		stats.BytesRead.Load(), total)
	require.Equal(t, int64(c.injected[flipped]+c.injected[wrongCRC]), stats.Corruptions.Load(),
		"each corruption is caught, and nothing else is taken for one")
	for _, way := range []string{throttled, reset, truncated, flipped, lost, wrongCRC} {
		require.NotZero(t, c.injected[way], "%s never happened", way)
	}
	passing := c.injected[throttled] + c.injected[reset] + c.injected[truncated] + c.injected[lost]
	require.GreaterOrEqual(t, stats.Retries.Load(), int64(passing/2), "what may pass is tried again")
	require.GreaterOrEqual(t, stats.BytesRead.Load(), total)
	require.Zero(t, buffers.InUse())
	// Uploads of which the answer was lost are left; nothing else would ever end them.
	_, err = m.Sweep(t.Context(), "")
	require.NoError(t, err)
	require.Zero(t, sink.OpenUploads())
}
