package osstest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestServeInAnotherProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, ready := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- osstest.Serve(ctx, osstest.Options{
			Dir: t.TempDir(), Region: region, Keys: keys,
			S3: &osstest.S3Options{},
		}, ready)
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err)
	var at osstest.Endpoints
	require.NoError(t, json.Unmarshal(line, &at))
	require.True(t, strings.HasPrefix(at.Admin, "http://127.0.0.1:"), "bound to loopback")

	admin := osstest.NewAdmin(at.Admin, nil)
	require.NoError(t, admin.CreateBucket(ctx, "bkt"))
	require.Error(t, admin.CreateBucket(ctx, "no_bucket"))
	b := bucketAt(t, at.OSS)
	require.NoError(t, admin.SetFaults(ctx, osstest.FaultSpec{
		Kind: osstest.FaultThrottle, Rate: 1, Times: 2,
		Delay: time.Second, AccessKey: "ak",
	}))
	for range 2 {
		refused(t, b.PutObject("k", strings.NewReader("12345")), 503, "PartitionQpsLimitted")
	}
	require.NoError(t, b.PutObject("k", strings.NewReader("12345")))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c := s3.New(s3.Options{
		Region: "any", BaseEndpoint: &at.S3, UsePathStyle: true,
		HTTPClient: &http.Client{Transport: transport},
	}, as("reader", "sk2", ""))
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bkt"), Key: aws.String("k")})
	require.NoError(t, err)
	data, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	assert.Equal(t, "12345", string(data))

	// A request counts once it's done, which its client may see first.
	var report osstest.Report
	require.Eventually(t, func() bool {
		report, err = admin.Report(ctx)
		return err == nil && len(report.Usage) == 3 && report.Usage[1].Requests == 1
	}, 20*time.Minute, time.Millisecond)
	assert.Equal(t, osstest.Usage{Face: osstest.FaceOSS, AccessKey: "ak", Op: "PutObject", Requests: 1, BytesIn: 5},
		report.Usage[1])
	assert.Equal(t, osstest.Usage{Face: osstest.FaceS3, AccessKey: "reader", Op: "GetObject", Requests: 1, BytesOut: 5},
		report.Usage[2])
	assert.EqualValues(t, 2, report.Usage[0].Failed, "without a verified key, since throttled before")
	assert.Equal(t, map[string]int64{osstest.FaultThrottle: 2}, report.Faults)
	require.NoError(t, admin.Reset(ctx))
	report, err = admin.Report(ctx)
	require.NoError(t, err)
	assert.Empty(t, report.Usage)
	assert.Empty(t, report.Faults)

	objects, err := admin.Objects(ctx, "bkt")
	require.NoError(t, err)
	require.Len(t, objects, 1)
	assert.Equal(t, quotedMD5([]byte("12345")), `"`+objects[0].ETag+`"`)
	_, err = admin.Objects(ctx, "absent")
	require.ErrorContains(t, err, "NoSuchBucket")
	for _, bad := range []osstest.FaultSpec{
		{Kind: "meteorite", Rate: 1},
		{Kind: osstest.FaultError},
		{Kind: osstest.FaultError, Rate: 1.1},
	} {
		require.Error(t, admin.SetFaults(ctx, bad))
	}
	require.NoError(t, admin.SetLimits(ctx, "ak", osstest.Limits{Latency: 20 * time.Millisecond}))
	began := time.Now()
	require.NoError(t, b.DeleteObject("k"))
	assert.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)

	cancel()
	require.NoError(t, <-ended)
	_, err = admin.Report(t.Context())
	require.Error(t, err)
}

func TestTheAdminInterfaceAnswersLoopbackOnly(t *testing.T) {
	srv := start(t, osstest.Options{})
	ask := func(host, from string) int {
		r := httptest.NewRequest(http.MethodGet, "/report", nil)
		r.Host, r.RemoteAddr = host, from
		w := httptest.NewRecorder()
		srv.AdminHandler().ServeHTTP(w, r)
		return w.Code
	}
	assert.Equal(t, 200, ask("127.0.0.1:1234", "127.0.0.1:5"))
	assert.Equal(t, 200, ask("localhost:1234", "[::1]:5"))
	assert.Equal(t, 403, ask("attacker.example:1234", "127.0.0.1:5"), "a name that resolves to 127.0.0.1")
	assert.Equal(t, 403, ask("127.0.0.1:1234", "10.0.0.7:5"))
	r := httptest.NewRequest(http.MethodPut, "http://127.0.0.1/faults",
		strings.NewReader(`[{"kind":"error","rate":1,"typo":1}]`))
	r.RemoteAddr = "127.0.0.1:5"
	w := httptest.NewRecorder()
	srv.AdminHandler().ServeHTTP(w, r)
	assert.Equal(t, 400, w.Code)
}

// Each fault is counted when it takes effect, and a client that looks can catch each: the two
// numbers must agree.
func TestInjectedFaultsAreCaught(t *testing.T) {
	const objects, size = 60, 50_000
	srv := startS3(t, osstest.Options{Seed: 42})
	c := clientS3(t, srv,
		func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	data := noise(size)
	etag := `"` + hexMD5(data) + `"`
	put := func(key string) (ok bool) {
		out, err := c.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("bkt"), Key: &key,
			Body: bytes.NewReader(data),
		},
			s3.WithAPIOptions(unsignedPayload))
		return err == nil && *out.ETag == etag
	}
	get := func(key string) (ok bool) {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bkt"), Key: &key})
		if err != nil {
			return false
		}
		defer out.Body.Close()
		got, err := io.ReadAll(out.Body)
		return err == nil && bytes.Equal(got, data)
	}
	require.True(t, put("k"))
	for kind, request := range map[string]func(string) bool{
		osstest.FaultThrottle: put, osstest.FaultError: get, osstest.FaultResetUpload: put,
		osstest.FaultShortenUpload: put, osstest.FaultCorruptUpload: put,
		osstest.FaultResetDownload: get, osstest.FaultTruncateDownload: get, osstest.FaultShortenDownload: get,
		osstest.FaultCorruptDownload: get,
		osstest.FaultLoseAnswer:      put,
	} {
		t.Run(kind, func(t *testing.T) {
			require.NoError(t, srv.SetFaults())
			require.True(t, put("k"))
			srv.ResetCounts()
			require.NoError(t, srv.SetFaults(osstest.FaultSpec{Kind: kind, Rate: 0.3, Face: osstest.FaceS3}))
			caught := int64(0)
			for range objects {
				if !request("k") {
					caught++
				}
			}
			assert.Equal(t, map[string]int64{kind: caught}, srv.Injected())
			assert.Greater(t, caught, int64(objects/10))
			assert.Less(t, caught, int64(objects))
		})
	}
	srv.ResetCounts()
	require.NoError(t, srv.SetFaults(osstest.FaultSpec{
		Kind: osstest.FaultCorruptDownload, Rate: 1,
		Offset: aws.Int64(size),
	},
		osstest.FaultSpec{Kind: osstest.FaultCorruptDownload, Rate: 1, Face: osstest.FaceOSS},
		osstest.FaultSpec{Kind: osstest.FaultCorruptDownload, Rate: 1, AccessKey: "reader"}))
	require.True(t, put("k"))
	require.True(t, get("k"))
	assert.Empty(t, srv.Injected(), "nothing was hit: a byte behind the end, another face, another key")
}

// The cap holds for all connections of a key together.
func TestBandwidthIsSharedByAKeysConnections(t *testing.T) {
	srv := start(t, osstest.Options{})
	const rate, connections, each = 20_000_000, 16, 500_000
	srv.SetLimits("ak", osstest.Limits{Bandwidth: rate})
	data := noise(each)
	began := time.Now()
	failed := make(chan error, connections)
	for i := range connections {
		b := bucket(t, srv)
		go func() { failed <- b.PutObject("k"+string(rune('a'+i)), bytes.NewReader(data)) }()
	}
	for range connections {
		require.NoError(t, <-failed)
	}
	took := time.Since(began)
	want := time.Second * connections * each / rate
	t.Logf("%d connections: %.2f of the capped time", connections, took.Seconds()/want.Seconds())
	assert.GreaterOrEqual(t, took, want*98/100)

	// A line gives as much in one direction as in the other, whatever goes the other way.
	srv.SetLimits("ak", osstest.Limits{Received: rate / 10, Sent: 1})
	began = time.Now()
	require.NoError(t, bucket(t, srv).PutObject("received", bytes.NewReader(data)))
	assert.GreaterOrEqual(t, time.Since(began), 240*time.Millisecond)
	srv.SetLimits("ak", osstest.Limits{Sent: rate / 10, Received: 1})
	began = time.Now()
	assert.Equal(t, data, read(t, bucket(t, srv), "ka"))
	assert.GreaterOrEqual(t, time.Since(began), 240*time.Millisecond)

	srv.SetLimits("ak", osstest.Limits{RequestBandwidth: rate / 10})
	began = time.Now()
	assert.Equal(t, data, read(t, bucket(t, srv), "ka"))
	assert.GreaterOrEqual(t, time.Since(began), 240*time.Millisecond)
}
