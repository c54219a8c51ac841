package osstest_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const region = "cn-hangzhou"

var keys = []osstest.Key{
	{ID: "ak", Secret: "sk"},
	{ID: "reader", Secret: "sk2", ReadOnly: true},
	{ID: "STS.ak", Secret: "sk3", Token: "a+token/with=signs"},
}

// start runs a server with a bucket named "bkt".
func start(t *testing.T, o osstest.Options) *osstest.Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Region, o.Keys = region, append(o.Keys, keys...)
	srv, err := osstest.Start(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	require.NoError(t, srv.CreateBucket("bkt", osstest.BucketOptions{}))
	return srv
}

// client is the SDK with a transport that the test closes.
func client(t *testing.T, srv *osstest.Server, id, secret string, options ...oss.ClientOption) *oss.Client {
	t.Helper()
	return clientAt(t, srv.URL(), id, secret, options...)
}

func clientAt(t *testing.T, url, id, secret string, options ...oss.ClientOption) *oss.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	options = append([]oss.ClientOption{oss.Region(region), oss.HTTPClient(&http.Client{Transport: transport})},
		options...)
	c, err := oss.New(url, id, secret, options...)
	require.NoError(t, err)
	return c
}

func bucketAt(t *testing.T, url string) *oss.Bucket {
	t.Helper()
	b, err := clientAt(t, url, "ak", "sk").Bucket("bkt")
	require.NoError(t, err)
	return b
}

func bucket(t *testing.T, srv *osstest.Server, options ...oss.ClientOption) *oss.Bucket {
	t.Helper()
	b, err := client(t, srv, "ak", "sk", options...).Bucket("bkt")
	require.NoError(t, err)
	return b
}

// bothSignatures runs a test with each signature version.
func bothSignatures(t *testing.T, f func(t *testing.T, version oss.ClientOption)) {
	t.Run("V1", func(t *testing.T) { f(t, oss.AuthVersion(oss.AuthV1)) })
	t.Run("V4", func(t *testing.T) { f(t, oss.AuthVersion(oss.AuthV4)) })
}

// refused asserts that err is OSS's answer with that status and code, and returns it.
func refused(t *testing.T, err error, status int, code string) oss.ServiceError {
	t.Helper()
	var e oss.ServiceError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, status, e.StatusCode, e.Message)
	assert.Equal(t, code, e.Code, e.Message)
	assert.Len(t, e.RequestID, 24)
	return e
}

func read(t *testing.T, b *oss.Bucket, key string, options ...oss.Option) []byte {
	t.Helper()
	r, err := b.GetObject(key, options...)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return data
}

// noise is n bytes that are the same in each run.
func noise(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func crcOf(data []byte) string {
	return strconv.FormatUint(crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)), 10)
}

func TestBuckets(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		c := client(t, srv, "ak", "sk", version)
		require.NoError(t, c.CreateBucket("other", oss.ACL(oss.ACLPublicRead), oss.StorageClass(oss.StorageIA)))
		require.NoError(t, c.CreateBucket("other"), "one's own bucket may be put again")

		acl, err := c.GetBucketACL("other")
		require.NoError(t, err)
		assert.Equal(t, "public-read", acl.ACL)
		info, err := c.GetBucketInfo("other")
		require.NoError(t, err)
		assert.Equal(t, "other", info.BucketInfo.Name)
		assert.Equal(t, "IA", info.BucketInfo.StorageClass)
		assert.Equal(t, "public-read", info.BucketInfo.ACL)
		location, err := c.GetBucketLocation("other")
		require.NoError(t, err)
		assert.Equal(t, "oss-cn-hangzhou", location)
		require.NoError(t, c.SetBucketACL("other", oss.ACLPrivate))
		acl, err = c.GetBucketACL("other")
		require.NoError(t, err)
		assert.Equal(t, "private", acl.ACL)

		exists, err := c.IsBucketExist("bkt")
		require.NoError(t, err)
		assert.True(t, exists)
		exists, err = c.IsBucketExist("bk")
		require.NoError(t, err)
		assert.False(t, exists, "a prefix of a name is no bucket")
		l, err := c.ListBuckets(oss.MaxKeys(1))
		require.NoError(t, err)
		assert.True(t, l.IsTruncated)
		l, err = c.ListBuckets(oss.Marker(l.NextMarker))
		require.NoError(t, err)
		require.Len(t, l.Buckets, 1)
		assert.Equal(t, "other", l.Buckets[0].Name)
		assert.Equal(t, "IA", l.Buckets[0].StorageClass)

		require.NoError(t, srv.Put("other", "k", nil))
		refused(t, c.DeleteBucket("other"), 409, "BucketNotEmpty")
		require.NoError(t, srv.Delete("other", "k"))
		b, err := c.Bucket("other")
		require.NoError(t, err)
		up, err := b.InitiateMultipartUpload("k")
		require.NoError(t, err)
		refused(t, c.DeleteBucket("other"), 409, "BucketNotEmpty")
		require.NoError(t, b.AbortMultipartUpload(up))
		require.NoError(t, c.DeleteBucket("other"))
		refused(t, c.DeleteBucket("other"), 404, "NoSuchBucket")
		_, err = c.GetBucketInfo("other")
		refused(t, err, 404, "NoSuchBucket")
	})
}

func TestNamesThatOSSRefuses(t *testing.T) {
	srv := start(t, osstest.Options{})
	for _, name := range []string{"ab", "-abc", "abc-", "Abc", "a_b", "a.bc", string(bytes.Repeat([]byte("a"), 64))} {
		require.Error(t, srv.CreateBucket(name, osstest.BucketOptions{}), name)
		assert.Equal(t, http.StatusBadRequest, plain(t, srv, http.MethodPut, "/"+name, nil).StatusCode, name)
	}
	b := bucket(t, srv)
	refused(t, b.PutObject(`\key`, bytes.NewReader(nil)), 400, "InvalidObjectName")
	assert.Equal(t, http.StatusBadRequest, plain(t, srv, http.MethodPut, "/bkt/%2Fkey", nil).StatusCode)
	assert.Equal(t, http.StatusBadRequest, plain(t, srv, http.MethodPut, "/bkt/%ff", nil).StatusCode, "not UTF-8")
	long := string(bytes.Repeat([]byte("k"), 1023))
	require.NoError(t, b.PutObject(long, bytes.NewReader([]byte("x"))))
	assert.Equal(t, "x", string(read(t, b, long)))
	assert.Equal(t, http.StatusBadRequest, plain(t, srv, http.MethodPut, "/bkt/"+long+"k", nil).StatusCode)
}

// plain sends an unsigned request.
func plain(t *testing.T, srv *osstest.Server, method, path string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL()+path, nil)
	require.NoError(t, err)
	r.Header, r.Close = header.Clone(), true
	if r.Header == nil {
		r.Header = http.Header{}
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestVirtualHostStyle(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.URL()[len("http://"):])
		}}
		t.Cleanup(transport.CloseIdleConnections)
		for _, endpoint := range []string{"http://oss-cn-hangzhou.aliyuncs.com", "http://localhost:1"} {
			c, err := oss.New(endpoint, "ak", "sk", version, oss.Region(region),
				oss.HTTPClient(&http.Client{Transport: transport}))
			require.NoError(t, err)
			b, err := c.Bucket("bkt")
			require.NoError(t, err)
			require.NoError(t, b.PutObject("a/b", bytes.NewReader([]byte("virtual"))))
			assert.Equal(t, "virtual", string(read(t, b, "a/b")))
			_, err = c.GetBucketInfo("bkt")
			require.NoError(t, err)
		}
		assert.Len(t, srv.Objects("bkt"), 1)
	})
}

func TestUnknownCallsNeverSucceed(t *testing.T) {
	srv := start(t, osstest.Options{})
	c := client(t, srv, "ak", "sk")
	refused(t, c.SetBucketVersioning("bkt", oss.VersioningConfig{Status: "Enabled"}), 501, "NotImplemented")
	_, err := c.GetBucketLifecycle("bkt")
	refused(t, err, 501, "NotImplemented")
	b := bucket(t, srv)
	refused(t, b.PutSymlink("link", "target"), 501, "NotImplemented")
	_, err = b.AppendObject("log", bytes.NewReader([]byte("x")), 0)
	refused(t, err, 501, "NotImplemented")
	refused(t, b.PutObject("k", bytes.NewReader(nil), oss.ServerSideEncryption("KMS")), 501, "NotImplemented")
	assert.Equal(t, http.StatusMethodNotAllowed, plain(t, srv, http.MethodPatch, "/bkt/k", nil).StatusCode)
	assert.Empty(t, srv.Objects("bkt"))
}

func TestCloseAgainAndAsHandler(t *testing.T) {
	srv, err := osstest.New(osstest.Options{Keys: keys})
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close())
	_, err = osstest.Start(osstest.Options{Addr: "256.0.0.1:0"})
	require.Error(t, err)

	srv, err = osstest.New(osstest.Options{Keys: keys})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	require.NoError(t, srv.CreateBucket("bkt", osstest.BucketOptions{}))
	srv.Inject(osstest.Rule{Times: 1, Fault: osstest.LoseAnswer()})
	handler := httptest.NewServer(srv)
	t.Cleanup(handler.Close)
	b := bucketAt(t, handler.URL)
	require.Error(t, b.PutObject("k", strings.NewReader("x")))
	assert.Equal(t, "x", string(read(t, b, "k")))
}

// The Java SDK looks for metadata under names in lower case, as OSS sends them; Go's clients hide
// how a name was spelt.
func TestHeadersAreSpeltAsOSSDoes(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	require.NoError(t, b.PutObject("k", strings.NewReader("x"), oss.Meta("Src-Etag", "e")))
	sign, err := b.SignURL("k", oss.HTTPGet, 60)
	require.NoError(t, err)
	resp, err := http.Get(sign)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	assert.Equal(t, http.StatusNotImplemented, resp.StatusCode, "signatures in the URL aren't served")

	recorder := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodHead, "/bkt/k", nil)
	require.NoError(t, signV1(r, "/bkt/k"))
	srv.ServeHTTP(recorder, r)
	for _, name := range []string{
		"x-oss-meta-src-etag", "x-oss-request-id", "x-oss-hash-crc64ecma",
		"x-oss-object-type", "ETag", "Content-MD5", "Last-Modified",
	} {
		assert.Contains(t, recorder.Header(), name)
	}
}

// signV1 signs a request without headers of its own, as the documentation of OSS says.
func signV1(r *http.Request, resource string) error {
	date := time.Now().UTC().Format(http.TimeFormat)
	mac := hmac.New(sha1.New, []byte("sk"))
	_, err := io.WriteString(mac, r.Method+"\n\n\n"+date+"\n"+resource)
	r.Header.Set("Date", date)
	r.Header.Set("Authorization", "OSS ak:"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return err
}
