package osstest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestThrottleTheNextRequests(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	srv.Inject(osstest.Rule{
		Match: func(c osstest.Call) bool {
			return c.Op == "PutObject" && strings.HasPrefix(c.Key, "hot/") && c.Bucket == "bkt"
		},
		Times: 2, Fault: osstest.Throttle(250 * time.Millisecond),
	})
	require.NoError(t, b.PutObject("cold/k", strings.NewReader("x")))
	for range 2 {
		var h http.Header
		err := b.PutObject("hot/k", bytes.NewReader(noise(1<<20)), oss.GetResponseHeader(&h))
		e := refused(t, err, 503, "PartitionQpsLimitted")
		assert.Equal(t, "0026-00000028", e.Ec)
		assert.Equal(t, "250", h.Get("X-Oss-Qos-Delay-Time"))
	}
	require.NoError(t, b.PutObject("hot/k", strings.NewReader("x")))
	assert.Len(t, srv.Objects("bkt"), 2)
}

func TestFaultsAtARateRepeatWithTheSeed(t *testing.T) {
	run := func(seed uint64) (outcome string) {
		srv := start(t, osstest.Options{Seed: seed})
		b := bucket(t, srv)
		srv.Inject(osstest.Rule{Rate: 0.3, Fault: osstest.Fail(500, "InternalError", "injected")})
		for range 40 {
			if err := b.DeleteObject("k"); err != nil {
				refused(t, err, 500, "InternalError")
				outcome += "x"
			} else {
				outcome += "."
			}
		}
		return outcome
	}
	first := run(7)
	assert.Equal(t, first, run(7))
	assert.NotEqual(t, first, run(8))
	assert.Greater(t, strings.Count(first, "x"), 3)
	assert.Greater(t, strings.Count(first, "."), 20)
}

func TestRulesCanBeTakenAway(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	remove := srv.Inject(osstest.Rule{
		Match: osstest.Op("DeleteObject"),
		Fault: osstest.Fail(500, "InternalError", "first"),
	})
	srv.Inject(osstest.Rule{Fault: osstest.Throttle(0)})
	refused(t, b.DeleteObject("k"), 500, "InternalError")
	remove()
	remove()
	refused(t, b.DeleteObject("k"), 503, "PartitionQpsLimitted")
	srv.ClearFaults()
	require.NoError(t, b.DeleteObject("k"))
}

func TestSpoiltDownloads(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv, oss.EnableCRC(false))
	data := noise(1 << 20)
	require.NoError(t, srv.Put("bkt", "k", data))
	get := func(fault osstest.Fault) ([]byte, string, error) {
		remove := srv.Inject(osstest.Rule{Match: osstest.Op("GetObject"), Fault: fault})
		defer remove()
		res, err := b.DoGetObject(&oss.GetObjectRequest{ObjectKey: "k"}, nil)
		require.NoError(t, err)
		defer res.Response.Body.Close()
		got, err := io.ReadAll(res.Response.Body)
		return got, res.Response.Headers.Get("Content-Length"), err
	}

	got, length, err := get(osstest.TruncateDownload(600_000))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, data[:600_000], got)
	assert.Equal(t, "1048576", length)

	got, _, err = get(osstest.ResetDownload(100_000))
	require.Error(t, err)
	assert.True(t, bytes.HasPrefix(data, got) && len(got) <= 100_000)

	got, length, err = get(osstest.ShortenDownload(1000))
	require.NoError(t, err)
	assert.Equal(t, data[:1000], got)
	assert.Equal(t, "1000", length)

	got, _, err = get(osstest.CorruptDownload(700_000))
	require.NoError(t, err)
	require.Len(t, got, len(data))
	assert.Equal(t, data[:700_000], got[:700_000])
	assert.NotEqual(t, data[700_000], got[700_000])
	assert.Equal(t, data[700_001:], got[700_001:])

	got, _, err = get(osstest.Latency(0))
	require.NoError(t, err)
	assert.Equal(t, data, got, "what is stored was never touched")
}

func TestBrokenUploadsLeaveNothing(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	srv.Inject(osstest.Rule{
		Match: osstest.Ops("PutObject", "UploadPart"), Times: 2,
		Fault: osstest.ResetUpload(300_000),
	})
	require.Error(t, b.PutObject("k", bytes.NewReader(noise(1<<20))))
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	_, err = b.UploadPart(up, bytes.NewReader(noise(1<<20)), 1<<20, 1)
	require.Error(t, err)
	require.NoError(t, b.PutObject("l", bytes.NewReader(noise(1<<20))))
	assert.Len(t, srv.Objects("bkt"), 1)
	assert.Zero(t, srv.Uploads("bkt")[0].Parts)
	require.NoError(t, srv.Close()) // waits for the handlers
	assert.Empty(t, leftovers(t, srv))
	assert.Len(t, dataFiles(t, srv), 1)
}

func TestWrongCRC(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	remove := srv.Inject(osstest.Rule{Fault: osstest.WrongCRC()})
	var e oss.CRCCheckError
	require.ErrorAs(t, b.PutObject("k", strings.NewReader("data")), &e)
	up, err := b.InitiateMultipartUpload("m")
	require.NoError(t, err)
	_, err = b.UploadPart(up, strings.NewReader("data"), 4, 1)
	require.ErrorAs(t, err, &e)
	remove()
	assert.Equal(t, "data", string(read(t, b, "k")), "the SDK checks the CRC of a download, so the stored one is right")
}

func TestSlowCompleteOutlivesItsClient(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	parts := upload(t, b, up, noise(10), 10)
	ctx, cancel := context.WithCancel(t.Context())
	srv.Inject(osstest.Rule{Match: osstest.Op("CompleteMultipartUpload"), Fault: osstest.SlowComplete(time.Hour)})
	completed := make(chan error, 1)
	go func() {
		_, err := b.CompleteMultipartUpload(up, parts, oss.WithContext(ctx))
		completed <- err
	}()
	// The client goes once the server has all of the request: one that was cut short is not carried
	// out.
	require.Eventually(t, func() bool { return srv.Injected()[osstest.FaultSlowComplete] == 1 }, 20*time.Minute,
		time.Millisecond)
	cancel()
	require.ErrorIs(t, <-completed, context.Canceled)
	assert.Empty(t, srv.Objects("bkt"))
	require.NoError(t, srv.Close()) // ends the hour
	assert.Len(t, srv.Objects("bkt"), 1)
}

func TestLostAnswers(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	up, err := b.InitiateMultipartUpload("m")
	require.NoError(t, err)
	parts := upload(t, b, up, noise(10), 10)
	remove := srv.Inject(osstest.Rule{Fault: osstest.LoseAnswer()})
	var se oss.ServiceError
	err = b.PutObject("k", strings.NewReader("x"))
	require.Error(t, err)
	assert.False(t, errors.As(err, &se))
	_, err = b.CompleteMultipartUpload(up, parts)
	require.Error(t, err)
	remove()
	assert.Len(t, srv.Objects("bkt"), 2, "both were carried out")
	_, err = b.CompleteMultipartUpload(up, parts)
	refused(t, err, 404, "NoSuchUpload")
}

func TestLatencyAndClosing(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	remove := srv.Inject(osstest.Rule{Fault: osstest.Latency(30 * time.Millisecond)})
	began := time.Now()
	require.NoError(t, b.DeleteObject("k"))
	assert.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)
	remove()

	waits := make(chan struct{})
	srv.Inject(osstest.Rule{Fault: osstest.Faults(osstest.Latency(time.Hour), osstest.Hook(func() { close(waits) }))})
	failed := make(chan error)
	go func() { failed <- b.DeleteObject("k") }()
	<-waits
	require.NoError(t, srv.Close())
	require.Error(t, <-failed)
}

func TestBandwidth(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	data := noise(400_000)
	took := func(f func()) time.Duration {
		began := time.Now()
		f()
		return time.Since(began)
	}
	put := func() { require.NoError(t, b.PutObject("k", bytes.NewReader(data))) }
	srv.SetBandwidth(4_000_000)
	assert.GreaterOrEqual(t, took(put), 90*time.Millisecond)
	assert.GreaterOrEqual(t, took(func() { assert.Equal(t, data, read(t, b, "k")) }), 30*time.Millisecond)
	srv.SetBandwidth(0)
	srv.SetKeyBandwidth("ak", 4_000_000)
	assert.GreaterOrEqual(t, took(put), 90*time.Millisecond)

	srv.SetKeyBandwidth("ak", 1) // what is capped would take days
	failed := make(chan error)
	began := make(chan struct{})
	srv.Inject(osstest.Rule{Match: osstest.Op("PutObject"), Fault: osstest.Hook(func() { close(began) })})
	go func() { failed <- b.PutObject("k", bytes.NewReader(data)) }()
	<-began
	reader, err := client(t, srv, "reader", "sk2").Bucket("bkt")
	require.NoError(t, err)
	assert.Equal(t, data, read(t, reader, "k"), "another key isn't capped")
	require.NoError(t, srv.Close()) // ends the wait
	require.Error(t, <-failed)
}

func TestCountsAndObserver(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	var mu sync.Mutex
	var events []osstest.Event
	srv.Observe(func(e osstest.Event) {
		mu.Lock()
		defer mu.Unlock()
		e.Took = 0
		events = append(events, e)
	})
	require.NoError(t, b.PutObject("k", strings.NewReader("12345")))
	read(t, b, "k", oss.Range(1, 3))
	_, err := b.GetObject("l")
	require.Error(t, err)
	bad, err := client(t, srv, "ak", "wrong").Bucket("bkt")
	require.NoError(t, err)
	require.Error(t, bad.PutObject("k", strings.NewReader("1")))
	// An event comes after its answer, so only Close makes sure that all have come.
	assert.Equal(t, int64(2), srv.Count("GetObject"))
	require.NoError(t, srv.Close())
	assert.Equal(t, map[string]int64{"PutObject": 2, "GetObject": 2}, srv.Counts())
	require.Len(t, events, 4)
	assert.Equal(t, osstest.Event{
		Face: osstest.FaceOSS, Op: "PutObject", Writes: true, Bucket: "bkt", Key: "k", AccessKey: "ak",
		Status: 200, BytesIn: 5,
	}, events[0])
	assert.Equal(t, osstest.Event{
		Face: osstest.FaceOSS, Op: "GetObject", Bucket: "bkt", Key: "k", AccessKey: "ak",
		Status: 206, BytesOut: 3,
	}, events[1])
	assert.Equal(t, "NoSuchKey", events[2].Code)
	assert.Equal(t, "SignatureDoesNotMatch", events[3].Code)
	assert.Empty(t, events[3].AccessKey)
	srv.ResetCounts()
	assert.Empty(t, srv.Counts())
}
