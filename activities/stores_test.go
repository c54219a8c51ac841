package activities

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/migration"
)

// The run's folders are those that the clusters are told of, and the secrets are read when they are
// needed.
func TestStores(t *testing.T) {
	server, err := osstest.Start(osstest.Options{
		Dir: t.TempDir(), Region: "ap-southeast-1",
		Keys: []osstest.Key{{ID: "the-ak", Secret: "the-sk", Token: "the-sts"}},
	})
	require.NoError(t, err)
	defer server.Close()
	require.NoError(t, server.CreateBucket("bucket-oss", osstest.BucketOptions{}))
	var path string
	amazon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		w.WriteHeader(http.StatusNotFound)
	}))
	defer amazon.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "the-ak")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "the-sk")
	t.Setenv("TEST_OSS_ID", "the-ak")
	t.Setenv("TEST_OSS_SECRET", "the-sk")
	t.Setenv("TEST_OSS_TOKEN", "the-sts")
	run := migration.Run{Token: "tok", Plan: migration.Plan{
		Source: migration.Source{Repository: migration.SourceRepository{
			Bucket: "bucket-s3", Region: "eu-west-1",
			BasePath: "ferry/movies",
			Reader:   migration.SourceReader{Endpoint: amazon.URL, PathStyle: true},
		}},
		Target: migration.Target{Repository: migration.TargetRepository{
			Bucket: "bucket-oss", Region: "ap-southeast-1",
			BasePath: "ferry/films",
			Writer: migration.TargetWriter{
				Endpoint: server.URL(), AccessKeyID: "env:TEST_OSS_ID",
				AccessKeySecret: "env:TEST_OSS_SECRET", SecurityToken: "env:TEST_OSS_TOKEN",
			},
		}},
	}}
	sink, err := testKeys.openSink(t.Context(), run)
	require.NoError(t, err)
	_, err = sink.Put(t.Context(), "index-0", strings.NewReader("{}"), 2, nil)
	require.NoError(t, err)
	require.Equal(t, "ferry/films/tok/index-0", server.Objects("bucket-oss")[0].Key)

	source, err := testKeys.openSource(t.Context(), run)
	require.NoError(t, err)
	_, err = source.Head(t.Context(), "index-0")
	require.Error(t, err)
	require.Equal(t, "/bucket-s3/ferry/movies/tok/index-0", path)

	run.Plan.Target.Repository.Writer.AccessKeySecret = "env:TEST_OSS_ABSENT"
	_, err = testKeys.openSink(t.Context(), run)
	requireType(t, migration.ErrorSecret, err)
}

// Copies share the clients and their connections; a key that was replaced is seen, and so are,
// after a while, the AWS SDK's files.
func TestStoresAreShared(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("TEST_OSS_ID", "the-ak")
	t.Setenv("TEST_OSS_SECRET", "the-sk")
	now := time.Unix(0, 0)
	s := newStores(testKeys)
	s.now = func() time.Time { return now }
	run := migration.Run{Token: "tok", Plan: migration.Plan{
		Source: migration.Source{Repository: migration.SourceRepository{
			Bucket: "bucket-s3", Region: "eu-west-1",
			BasePath: "a",
		}},
		Target: migration.Target{Repository: migration.TargetRepository{
			Bucket: "bucket-oss", Region: "ap-southeast-1",
			BasePath: "a",
			Writer: migration.TargetWriter{
				Endpoint: "https://oss.example.com", AccessKeyID: "env:TEST_OSS_ID",
				AccessKeySecret: "env:TEST_OSS_SECRET",
			},
		}},
	}}
	both := func() (objectstore.Source, objectstore.Sink) {
		source, err := s.source(t.Context(), run)
		require.NoError(t, err)
		sink, err := s.sink(t.Context(), run)
		require.NoError(t, err)
		return source, sink
	}
	source, sink := both()
	again, andAgain := both()
	require.Same(t, source, again)
	require.Same(t, sink, andAgain)
	t.Setenv("TEST_OSS_SECRET", "another")
	again, andAgain = both()
	require.Same(t, source, again)
	require.NotSame(t, sink, andAgain)
	now = now.Add(keptFor)
	again, _ = both()
	require.NotSame(t, source, again)
	run.Token = "other"
	_, other := both()
	require.NotSame(t, andAgain, other)
	for n := range 2 * mostKept {
		run.Token = strconv.Itoa(n)
		both()
	}
	require.LessOrEqual(t, len(s.sinks), mostKept)
	t.Setenv("TEST_OSS_SECRET", "")
	_, err := s.sink(t.Context(), run)
	requireType(t, migration.ErrorSecret, err)
}
