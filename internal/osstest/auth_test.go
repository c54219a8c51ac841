package osstest_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

func TestKeys(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		srv := start(t, osstest.Options{})
		put := func(id, secret string, options ...oss.ClientOption) error {
			b, err := client(t, srv, id, secret, append(options, version)...).Bucket("bkt")
			require.NoError(t, err)
			return b.PutObject("a b+c/ü", bytes.NewReader([]byte("x")), oss.Meta("Mixed-Case", "a  b"))
		}
		require.NoError(t, put("ak", "sk"))
		refused(t, put("nobody", "sk"), 403, "InvalidAccessKeyId")
		e := refused(t, put("ak", "wrong"), 403, "SignatureDoesNotMatch")
		assert.Contains(t, e.RawMessage, "<StringToSign>")
		assert.NotEmpty(t, e.Ec)
		assert.NotContains(t, e.RawMessage, "wrong")
		refused(t, put("reader", "sk2"), 403, "AccessDenied")
		refused(t, put("STS.ak", "sk3"), 403, "InvalidAccessKeyId")
		refused(t, put("STS.ak", "sk3", oss.SecurityToken("old")), 403, "InvalidSecurityToken")
		require.NoError(t, put("STS.ak", "sk3", oss.SecurityToken("a+token/with=signs")))

		srv.SetKeys(osstest.Key{ID: "ak", Secret: "new"},
			osstest.Key{ID: "STS.ak", Secret: "sk3", Token: "t", Expires: time.Now().Add(-time.Second)})
		refused(t, put("ak", "sk"), 403, "SignatureDoesNotMatch")
		require.NoError(t, put("ak", "new"))
		refused(t, put("STS.ak", "sk3", oss.SecurityToken("t")), 403, "SecurityTokenExpired")
	})
}

func TestReadOnlyKeysReadAndNothingElse(t *testing.T) {
	srv := start(t, osstest.Options{})
	require.NoError(t, srv.Put("bkt", "k", []byte("x")))
	c := client(t, srv, "reader", "sk2")
	b, err := c.Bucket("bkt")
	require.NoError(t, err)
	assert.Equal(t, "x", string(read(t, b, "k")))
	_, err = b.GetObjectDetailedMeta("k")
	require.NoError(t, err)
	_, err = b.ListObjectsV2()
	require.NoError(t, err)
	_, err = b.ListMultipartUploads()
	require.NoError(t, err)
	_, err = c.GetBucketACL("bkt")
	require.NoError(t, err)

	refused(t, b.DeleteObject("k"), 403, "AccessDenied")
	_, err = b.DeleteObjects([]string{"k"})
	refused(t, err, 403, "AccessDenied")
	_, err = b.InitiateMultipartUpload("k")
	refused(t, err, 403, "AccessDenied")
	_, err = b.CopyObject("k", "k2")
	refused(t, err, 403, "AccessDenied")
	refused(t, c.CreateBucket("another"), 403, "AccessDenied")
	refused(t, c.DeleteBucket("bkt"), 403, "AccessDenied")
	assert.Len(t, srv.Objects("bkt"), 1)
}

func TestClockSkewAndRegion(t *testing.T) {
	bothSignatures(t, func(t *testing.T, version oss.ClientOption) {
		for offset, ok := range map[time.Duration]bool{
			14 * time.Minute: true, -14 * time.Minute: true,
			16 * time.Minute: false, -16 * time.Minute: false,
		} {
			srv := start(t, osstest.Options{Now: func() time.Time { return time.Now().Add(offset) }})
			err := bucket(t, srv, version).PutObject("k", bytes.NewReader(nil))
			if ok {
				require.NoError(t, err)
			} else {
				refused(t, err, 403, "RequestTimeTooSkewed")
			}
		}
	})
	srv := start(t, osstest.Options{})
	e := refused(t, bucket(t, srv, oss.AuthVersion(oss.AuthV4), oss.Region("cn-shanghai")).PutObject("k",
		bytes.NewReader(nil)), 400, "InvalidArgument")
	assert.Contains(t, e.Message, "cn-hangzhou")
}

func TestUnsignedAndMalformed(t *testing.T) {
	srv := start(t, osstest.Options{})
	date := time.Now().UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		name   string
		header http.Header
		code   string
	}{
		{"unsigned", http.Header{}, "AccessDenied"},
		{"no date", http.Header{"Authorization": {"OSS ak:c2ln"}}, "AccessDenied"},
		{"no colon", http.Header{"Authorization": {"OSS ak"}, "Date": {date}}, "InvalidArgument"},
		{"other scheme", http.Header{"Authorization": {"Bearer x"}, "Date": {date}}, "InvalidArgument"},
		{
			"no scope",
			http.Header{"Authorization": {"OSS4-HMAC-SHA256 Credential=ak,Signature=00"}, "Date": {date}},
			"InvalidArgument",
		},
		{
			"other day",
			http.Header{"Authorization": {"OSS4-HMAC-SHA256 " +
				"Credential=ak/20010101/cn-hangzhou/oss/aliyun_v4_request,Signature=00"}, "Date": {date}},
			"InvalidArgument",
		},
		{"aws-chunked", http.Header{"Content-Encoding": {"aws-chunked"}}, "InvalidArgument"},
		{"streaming", http.Header{"X-Amz-Content-Sha256": {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}}, "InvalidArgument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := plain(t, srv, http.MethodPut, "/bkt/k", c.header)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Contains(t, string(body), "<Code>"+c.code+"</Code>")
			assert.NotEmpty(t, resp.Header.Get("X-Oss-Request-Id"))
		})
	}
	assert.Empty(t, srv.Objects("bkt"))
}

// The signatures are those that Alibaba's SDKs expect of themselves (Go v1 and v2, Python v2, PHP,
// C#, Java v2: the same three): x-oss-date with and without Date, a token, a key and parameters
// that need escaping, parameters without a value, additional headers.
func TestV4SignaturesOfAlibabasSDKs(t *testing.T) {
	for _, c := range []struct {
		name          string
		seconds       int64
		token         string
		authorization string
	}{
		{
			"plain", 1702743657, "",
			"20231216/cn-hangzhou/oss/aliyun_v4_request,Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
		},
		{
			"token", 1702784856, "token",
			"20231217/cn-hangzhou/oss/aliyun_v4_request,Signature=b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
		},
		{"space after commas", 1702784856, "token", "20231217/cn-hangzhou/oss/aliyun_v4_request, " +
			"Signature=b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea"},
		{
			"additional headers", 1702747512, "",
			"20231216/cn-hangzhou/oss/aliyun_v4_request,AdditionalHeaders=abc;zabc,Signature=4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(c.seconds, 0).UTC()
			srv := start(t, osstest.Options{Now: func() time.Time { return now }})
			srv.SetKeys(osstest.Key{ID: "ak", Secret: "sk", Token: c.token})
			require.NoError(t, srv.CreateBucket("bucket", osstest.BucketOptions{}))
			header := http.Header{
				"X-Oss-Date": {now.Format("20060102T150405Z")}, "Date": {now.Format(http.TimeFormat)},
				"X-Oss-Content-Sha256": {"UNSIGNED-PAYLOAD"}, "X-Oss-Head1": {"value"}, "Content-Type": {"text/plain"},
				"Abc": {"value"}, "Zabc": {"value"}, "Xyz": {"value"},
				"Authorization": {"OSS4-HMAC-SHA256 Credential=ak/" + c.authorization},
			}
			if c.token != "" {
				header.Set("X-Oss-Security-Token", c.token)
				header.Del("Date")
			}
			const query = "?param1=value1&%7Cparam1=value4&%2Bparam1=value3&%2Bparam2=&%7Cparam2&param2"
			resp := plain(t, srv, http.MethodPut, "/bucket/1234%2B-/123/1.txt"+query, header)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
			require.Len(t, srv.Objects("bucket"), 1)
			assert.Equal(t, "1234+-/123/1.txt", srv.Objects("bucket")[0].Key)

			header.Set("X-Oss-Head1", "other")
			resp = plain(t, srv, http.MethodPut, "/bucket/1234%2B-/123/1.txt"+query, header)
			assert.Equal(t, http.StatusForbidden, resp.StatusCode)
		})
	}
}

// The example of OSS's own page on V1 signatures. Its Content-MD5 is the base64 of a hexadecimal
// text and so no digest: a signature that is accepted shows as InvalidDigest.
func TestV1SignatureOfTheDocumentation(t *testing.T) {
	srv := start(t, osstest.Options{Now: func() time.Time { return time.Date(2005, 11, 17, 18, 50, 0, 0, time.UTC) }})
	srv.SetKeys(osstest.Key{ID: "44CF9590006BF252F707", Secret: "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV"})
	require.NoError(t, srv.CreateBucket("oss-example", osstest.BucketOptions{}))
	resp := plain(t, srv, http.MethodPut, "/oss-example/nelson", http.Header{
		"Content-Md5": {"ODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM="}, "Content-Type": {"text/html"},
		"Date": {"Thu, 17 Nov 2005 18:49:58 GMT"}, "X-Oss-Meta-Author": {"foo@bar.com"}, "X-Oss-Magic": {"abracadabra"},
		"Authorization": {"OSS 44CF9590006BF252F707:26NBxoKdsyly4EDv6inkoDft/yA="},
	})
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), "<Code>InvalidDigest</Code>")
}

func TestAdditionalHeadersOfTheGoSDK(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv, oss.AuthVersion(oss.AuthV4), oss.AdditionalHeaders([]string{
		"User-Agent", "host",
		"Cache-Control",
	}))
	require.NoError(t, b.PutObject("k", bytes.NewReader([]byte("x")), oss.CacheControl("no-cache")))
	assert.Equal(t, "x", string(read(t, b, "k")))
}
