package oss_test

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/internal/osstest"
)

const (
	bucket = "shop-es"
	secret = "s3cr3t-of-the-key"
	token  = "token-of-sts"
)

func start(t *testing.T) *osstest.Server {
	t.Helper()
	server, err := osstest.Start(osstest.Options{Dir: t.TempDir(), Region: "ap-southeast-1", Keys: []osstest.Key{
		{ID: "ak", Secret: secret},
		{ID: "sts", Secret: secret, Token: token},
		{ID: "reader", Secret: secret, ReadOnly: true},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.CreateBucket(bucket, osstest.BucketOptions{}))
	return server
}

func open(t *testing.T, server *osstest.Server, change ...func(*oss.Options)) *oss.Sink {
	t.Helper()
	o := oss.Options{
		Endpoint: server.URL(), Bucket: bucket, BasePath: "snapferry/movies/tok", Region: "ap-southeast-1",
		AccessKeyID: "ak", AccessKeySecret: secret,
	}
	for _, c := range change {
		c(&o)
	}
	sink, err := oss.New(o)
	require.NoError(t, err)
	return sink
}

func TestSink(t *testing.T) {
	for name, change := range map[string]func(*oss.Options){
		"signature 4": func(*oss.Options) {},
		"signature 1": func(o *oss.Options) { o.Region = "" },
		"temporary key, whole bucket": func(o *oss.Options) {
			o.AccessKeyID, o.SecurityToken, o.BasePath = "sts", token, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			f := objectstoretest.SinkFixture{Sink: open(t, server, change), BasePath: "snapferry/movies/tok"}
			if !strings.Contains(name, "whole bucket") {
				f.PutOutside = func(key string, data []byte) { require.NoError(t, server.Put(bucket, key, data)) }
			}
			objectstoretest.TestSink(t, f)
			for _, o := range server.Objects(bucket) {
				require.Equal(t, "application/octet-stream", o.ContentType, o.Key)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	server := start(t)
	sink := open(t, server)
	put := func(s *oss.Sink) error {
		_, err := s.Put(t.Context(), "k", strings.NewReader("data"), 4, nil)
		return err
	}
	for _, tt := range []struct {
		name  string
		fault osstest.Fault
		kind  objectstore.Kind
		after time.Duration
	}{
		{"throttled", osstest.Throttle(1500 * time.Millisecond), objectstore.Throttled, 1500 * time.Millisecond},
		{"server error", osstest.Fail(500, "InternalError", "try again"), objectstore.Transient, 0},
		{"unknown, by its status", osstest.Fail(418, "Teapot", "no"), objectstore.Invalid, 0},
		{"reset before the body", osstest.ResetUpload(0), objectstore.Transient, 0},
		{"lost answer", osstest.LoseAnswer(), objectstore.Transient, 0},
		{"forbidden", osstest.Fail(403, "AccessDenied", "no"), objectstore.Forbidden, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer server.Inject(osstest.Rule{Fault: tt.fault})()
			err := put(sink)
			require.Error(t, err)
			require.Equal(t, tt.kind, objectstore.KindOf(err), "%v", err)
			e := &objectstore.Error{}
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.after, e.RetryAfter)
			require.Equal(t, "snapferry/movies/tok/k", e.Key)
			if e.Status != 0 {
				require.NotEmpty(t, e.RequestID)
			}
		})
	}
	for name, tt := range map[string]struct {
		change func(*oss.Options)
		kind   objectstore.Kind
	}{
		"wrong secret": {func(o *oss.Options) { o.AccessKeySecret = "wrong-" + secret }, objectstore.Forbidden},
		"wrong token": {
			func(o *oss.Options) { o.AccessKeyID, o.SecurityToken = "sts", "wrong-"+token },
			objectstore.Forbidden,
		},
		"read-only key": {func(o *oss.Options) { o.AccessKeyID = "reader" }, objectstore.Forbidden},
		"no bucket":     {func(o *oss.Options) { o.Bucket = "absent" }, objectstore.BucketMissing},
		"nobody there":  {func(o *oss.Options) { o.Endpoint = "http://127.0.0.1:1" }, objectstore.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			err := put(open(t, server, tt.change))
			require.Error(t, err)
			require.Equal(t, tt.kind, objectstore.KindOf(err), "%v", err)
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, err.Error(), token)
		})
	}
}

// A server, or a proxy in front of it, that leaves the checksum out must not count as one that
// agrees.
func TestMissingChecksum(t *testing.T) {
	server := start(t)
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.ServeHTTP(withoutCRC{w}, r)
	}), ReadHeaderTimeout: time.Minute}
	url := serve(t, proxy)
	sink := open(t, server, func(o *oss.Options) { o.Endpoint = url })
	_, err := sink.Put(t.Context(), "k", strings.NewReader("data"), 4, nil)
	require.ErrorContains(t, err, "no checksum")
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err))
}

type withoutCRC struct{ http.ResponseWriter }

func (w withoutCRC) WriteHeader(status int) {
	maps.DeleteFunc(w.Header(), func(name string, _ []string) bool {
		return strings.EqualFold(name,
			"x-oss-hash-crc64ecma")
	})
	w.ResponseWriter.WriteHeader(status)
}

// A call that hangs ends with its context.
func TestCancel(t *testing.T) {
	server := start(t)
	sink := open(t, server)
	defer server.Inject(osstest.Rule{Fault: osstest.Latency(time.Hour)})()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := sink.Head(ctx, "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestBucket(t *testing.T) {
	server := start(t)
	sink := open(t, server, func(o *oss.Options) { o.Bucket = "new-bucket" })
	_, err := sink.CheckBucket(t.Context())
	require.Equal(t, objectstore.BucketMissing, objectstore.KindOf(err), "%v", err)
	require.NoError(t, sink.CreateBucket(t.Context()))
	require.NoError(t, sink.CreateBucket(t.Context()), "again")
	info, err := sink.CheckBucket(t.Context())
	require.NoError(t, err)
	require.Equal(t, oss.BucketInfo{ACL: "private", StorageClass: "Standard", Location: "oss-ap-southeast-1"}, info)
}

func TestARetentionPolicyAndVersioningAreSeen(t *testing.T) {
	server := start(t)
	require.NoError(t, server.CreateBucket("kept", osstest.BucketOptions{
		Worm: "Locked", WormDays: 30, Versioning: "Enabled",
	}))
	kept := open(t, server, func(o *oss.Options) { o.Bucket = "kept" })
	info, err := kept.CheckBucket(t.Context())
	require.NoError(t, err)
	require.Equal(t, "Locked, 30 days", info.Retention)
	require.Equal(t, "Enabled", info.Versioning)

	put := func() error {
		_, err := kept.Put(t.Context(), "index.latest", strings.NewReader("x"), 1, nil)
		return err
	}
	require.NoError(t, put())
	require.Error(t, put(), "as preflight says, the second round's fails")
	server.Inject(osstest.Rule{
		Match: osstest.Op("GetBucketWorm"), Times: 1, Fault: osstest.Fail(403, "AccessDenied", "no"),
	})
	info, err = kept.CheckBucket(t.Context())
	require.NoError(t, err)
	require.Empty(t, info.Retention)
	require.True(t, info.RetentionUnknown)
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]oss.Options{
		"bucket":    {Endpoint: "http://oss.example.com", Bucket: "Not_A_Bucket"},
		"no bucket": {Endpoint: "http://oss.example.com"},
		"base path": {Endpoint: "http://oss.example.com", Bucket: bucket, BasePath: "a/../b"},
		"slash":     {Endpoint: "http://oss.example.com", Bucket: bucket, BasePath: "/a"},
	} {
		_, err := oss.New(o)
		require.Equal(t, objectstore.Invalid, objectstore.KindOf(err), "%s: %v", name, err)
	}
}

// An error's own text that breaks off is the network's fault, not the request's.
func TestAnErrorThatBreaksOffPasses(t *testing.T) {
	url := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("<?xml"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})})
	sink, err := oss.New(oss.Options{
		Endpoint: url, Bucket: bucket, BasePath: "b", Region: "ap-southeast-1",
		AccessKeyID: "ak", AccessKeySecret: secret,
	})
	require.NoError(t, err)
	_, err = sink.Put(t.Context(), "k", strings.NewReader("hello"), 5, nil)
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
	_, _, err = sink.Get(t.Context(), "k", 10)
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
}
