package osstest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

// What Alibaba's SDKs for Python read of an answer, and the one for Go doesn't.
func TestAnswersHaveWhatOtherSDKsLookFor(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	get := func(path, resource string) string {
		recorder := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		require.NoError(t, signV1(r, resource))
		srv.ServeHTTP(recorder, r)
		require.Equal(t, http.StatusOK, recorder.Code, recorder.Body)
		return recorder.Body.String()
	}
	up, err := b.InitiateMultipartUpload("k")
	require.NoError(t, err)
	parts := get("/bkt/k?uploadId="+up.UploadID, "/bkt/k?uploadId="+up.UploadID)
	assert.Contains(t, parts, "<NextPartNumberMarker>0</NextPartNumberMarker>", "of no part at all")
	uploads := get("/bkt/?uploads", "/bkt/?uploads")
	assert.Contains(t, uploads, "<NextKeyMarker>k</NextKeyMarker>", "although the listing is complete")
	assert.Contains(t, uploads, "<NextUploadIdMarker>"+up.UploadID+"</NextUploadIdMarker>")

	require.NoError(t, b.PutObject("a b+c", strings.NewReader("x")))
	listed := get("/bkt/?encoding-type=url", "/bkt/")
	assert.Contains(t, listed, "<Key>a%20b%2Bc</Key>")
	for _, text := range []string{get("/", "/"), get("/bkt/?bucketInfo", "/bkt/?bucketInfo")} {
		assert.Regexp(t, `<CreationDate>[0-9T:-]+\.000Z</CreationDate>`, text, "whole seconds")
	}
}

func TestWhatOSSRefusesOfHeaders(t *testing.T) {
	srv := start(t, osstest.Options{})
	b := bucket(t, srv)
	put := func(options ...oss.Option) error { return b.PutObject("k", strings.NewReader("x"), options...) }

	var answer http.Header
	require.NoError(t, put(oss.ServerSideEncryption("AES256"), oss.GetResponseHeader(&answer)))
	assert.Equal(t, "AES256", answer.Get("X-Oss-Server-Side-Encryption"))
	refused(t, put(oss.ServerSideEncryption("ROT13")), 400, "InvalidEncryptionAlgorithmError")
	refused(t, put(oss.ServerSideEncryption("KMS")), 501, "NotImplemented")

	require.NoError(t, put(oss.Meta("A", strings.Repeat("x", 8000))))
	refused(t, put(oss.Meta("A", strings.Repeat("x", 8192))), 400, "InvalidArgument")
	refused(t, put(oss.Meta("A", strings.Repeat("x", 5000)), oss.Meta("B", strings.Repeat("x", 5000))), 400,
		"InvalidArgument")

	for limit, fine := range map[int64]bool{
		1: false, 819199: false, 819200: true, 838860800: true, 838860801: false,
	} {
		if err := put(oss.TrafficLimitHeader(limit)); fine {
			assert.NoError(t, err, limit)
		} else {
			refused(t, err, 400, "InvalidArgument")
		}
	}
}

func TestARetentionPolicyForbidsToReplaceAndToDelete(t *testing.T) {
	srv := start(t, osstest.Options{})
	c := client(t, srv, "ak", "sk")
	require.NoError(t, srv.CreateBucket("plain", osstest.BucketOptions{}))
	_, err := c.GetBucketWorm("plain")
	refused(t, err, 404, "NoSuchWORMConfiguration")
	require.NoError(t, srv.CreateBucket("kept", osstest.BucketOptions{Worm: "Locked", WormDays: 30}))
	worm, err := c.GetBucketWorm("kept")
	require.NoError(t, err)
	assert.Equal(t, "Locked", worm.State)
	assert.Equal(t, 30, worm.RetentionPeriodInDays)
	b, err := c.Bucket("kept")
	require.NoError(t, err)
	require.NoError(t, b.PutObject("k", strings.NewReader("x")))
	refused(t, b.PutObject("k", strings.NewReader("y")), 409, "FileImmutable")
	refused(t, b.DeleteObject("k"), 409, "FileImmutable")
	_, err = c.InitiateBucketWorm("plain", 1)
	refused(t, err, 501, "NotImplemented")
}
