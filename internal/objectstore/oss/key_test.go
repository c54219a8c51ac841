package oss

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/osstest"
)

// A key that lasts an hour is renewed in its file while a copy runs.
func TestARefusedKeyIsReadAgain(t *testing.T) {
	server, err := osstest.Start(osstest.Options{
		Dir: t.TempDir(), Region: "cn-hangzhou",
		Keys: []osstest.Key{{ID: "second", Secret: "second-secret", Token: "second-token"}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	require.NoError(t, server.CreateBucket("shop-es", osstest.BucketOptions{}))
	first := Key{"first", "first-secret", "first-token"}
	again, failure := first, error(nil)
	sink, err := New(Options{
		Endpoint: server.URL(), Bucket: "shop-es", BasePath: "base", Region: "cn-hangzhou",
		AccessKeyID: first.AccessKeyID, AccessKeySecret: first.AccessKeySecret, SecurityToken: first.SecurityToken,
		Again: func(context.Context) (Key, error) { return again, failure },
	})
	require.NoError(t, err)
	now := time.Unix(1_700_000_000, 0)
	sink.key.now = func() time.Time { return now }
	put := func() error {
		_, err := sink.Put(t.Context(), "k", strings.NewReader("data"), 4, nil)
		return err
	}
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(put()))
	now = now.Add(leastBetween)
	failure = errors.New("the file is being written")
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(put()))
	now = now.Add(leastBetween)
	again, failure = Key{"second", "second-secret", "second-token"}, nil
	require.Equal(t, objectstore.Transient, objectstore.KindOf(put()), "the next attempt has the new key")
	require.NoError(t, put())

	defer server.Inject(osstest.Rule{Fault: osstest.Fail(403, "AccessDenied", "no")})()
	require.Equal(t, objectstore.Transient, objectstore.KindOf(put()), "it may have been sent with the old one")
	now = now.Add(freshFor)
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(put()), "the new key lacks the permission")
}

// A front end that shows what it was sent.
func TestEchoedKeysAreRemoved(t *testing.T) {
	key := Key{"LTAIplanted", "planted/secret+key", "planted-token=="}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>you sent " +
			r.Header.Get("Authorization") + " with " + r.Header.Get("X-Oss-Security-Token") +
			" and planted%2Fsecret%2Bkey</Message></Error>"))
	}))
	t.Cleanup(echo.Close)
	sink, err := New(Options{
		Endpoint: echo.URL, Bucket: "shop-es", BasePath: "base",
		AccessKeyID: key.AccessKeyID, AccessKeySecret: key.AccessKeySecret, SecurityToken: key.SecurityToken,
	})
	require.NoError(t, err)
	_, err = sink.Put(t.Context(), "k", strings.NewReader("data"), 4, nil)
	require.ErrorContains(t, err, "you sent")
	require.NotContains(t, err.Error(), "planted")
}

// A clock that is off by more than OSS tolerates costs one attempt, and another when it is set.
func TestAWrongClockIsCorrected(t *testing.T) {
	for _, region := range []string{"", "cn-hangzhou"} { // signatures of version 1 and 4
		key := osstest.Key{ID: "id", Secret: "secret"}
		off := 20 * time.Minute
		server, err := osstest.Start(osstest.Options{
			Dir: t.TempDir(), Region: "cn-hangzhou", Keys: []osstest.Key{key},
			Now: func() time.Time { return time.Now().Add(off) },
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Close() })
		require.NoError(t, server.CreateBucket("shop-es", osstest.BucketOptions{}))
		sink, err := New(Options{
			Endpoint: server.URL(), Bucket: "shop-es", BasePath: "base", Region: region, AccessKeyID: key.ID,
			AccessKeySecret: key.Secret,
		})
		require.NoError(t, err)
		for _, off = range []time.Duration{20 * time.Minute, -20 * time.Minute, 0} {
			_, err = sink.Put(t.Context(), "k", strings.NewReader("data"), 4, nil)
			require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
			_, err = sink.Put(t.Context(), "k", strings.NewReader("data"), 4, map[string]string{"a": "b"})
			require.NoError(t, err)
			_, err = sink.CheckBucket(t.Context())
			require.NoError(t, err)
			content, _, err := sink.Get(t.Context(), "k", 10)
			require.NoError(t, err)
			require.Equal(t, "data", string(content))
		}
		for _, off = range []time.Duration{20 * time.Minute, 0} {
			_, err = sink.CheckBucket(t.Context())
			require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
			_, err = sink.CheckBucket(t.Context())
			require.NoError(t, err)
		}
		off = 25 * time.Hour
		_, err = sink.Put(t.Context(), "k", strings.NewReader("data"), 4, nil)
		require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err), "that is for a person")
	}
}
