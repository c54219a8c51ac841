package elastic_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/snapferry/snapferry/internal/elastic"
)

// The vendors' plugins let the exceptions of their SDKs through, so these stand at the top of an
// answer, without a cause. Between nodes, Elasticsearch puts the name of such an exception in front
// of its reason, or wraps it.
func TestAVendorsExceptionAtTheTopIsClassifiedLikeACause(t *testing.T) {
	const quick, bounded, forGood = elastic.Unavailable, elastic.Internal, elastic.Rejected
	for name, c := range map[string]struct {
		exception, reason, causes string
		want                      elastic.Kind
	}{
		"wrong key": {
			"o_s_s_exception", "The request signature we calculated does not match the signature you " +
				"provided. Check your key and signing method.\n[ErrorCode]: SignatureDoesNotMatch\n[RequestId]: 5C3D",
			"",
			forGood,
		},
		"wrong key, from another node": {
			"o_s_s_exception", "o_s_s_exception: The OSS Access Key Id you provided does not exist in our records." +
				"\n[ErrorCode]: InvalidAccessKeyId", "", forGood,
		},
		"denied, in a blob store's exception": {
			"blob_store_exception", "Failed to check if blob exists",
			`{"type":"o_s_s_exception","reason":"You have no right\n[ErrorCode]: AccessDenied"}`, forGood,
		},
		"no bucket, noticed at the first use": {
			"blob_store_exception", "Bucket [b] does not exist", "", forGood,
		},
		"no bucket, says OSS": {
			"o_s_s_exception", "The specified bucket does not exist.\n[ErrorCode]: NoSuchBucket", "", forGood,
		},
		"wrapped in Elasticsearch's own": {
			"uncategorized_execution_exception", "Failed execution",
			`{"type":"execution_exception","reason":"x","caused_by":{"type":"o_s_s_exception","reason":"[ErrorCode]: ` +
				`AccessDenied"}}`, forGood,
		},
		"S3 denies": {
			"amazon_s3_exception", "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)",
			"", forGood,
		},
		"S3 denies, second SDK": {
			"s3_exception", "Access Denied (Service: S3, Status Code: 403, Request ID: 5C3D)", "", forGood,
		},
		"S3's bucket is gone": {
			"no_such_bucket_exception", "The specified bucket does not exist (Service: S3, Status Code: 404)", "",
			forGood,
		},
		"a role can't be assumed": {
			"a_w_s_security_token_service_exception", "User: arn:aws:sts::1:assumed-role/es is not authorized to " +
				"perform: sts:AssumeRole (Status Code: 403; Error Code: AccessDenied)", "", forGood,
		},
		"no credentials": {
			"sdk_client_exception", "Unable to load AWS credentials from any provider in the chain", "", forGood,
		},

		"OSS is busy": {
			"o_s_s_exception", "Please try later.\n[ErrorCode]: ServiceUnavailable", "", quick,
		},
		"S3 throttles": {
			"amazon_s3_exception", "Please reduce your request rate. (Status Code: 503; Error Code: SlowDown)", "",
			quick,
		},
		"OSS doesn't answer": {
			"client_exception", "Connection error due to: connect timed out\n[ErrorCode]: ConnectionTimeout", "", quick,
		},

		"OSS has an error": {
			"o_s_s_exception", "We encountered an internal error.\n[ErrorCode]: InternalError", "", bounded,
		},
		"no such host": {
			"client_exception", "b.oss.example.com\n[ErrorCode]: UnknownHost", "", bounded,
		},
		"an SDK says nothing":       {"amazon_client_exception", "null", "", bounded},
		"a blob store says nothing": {"blob_store_exception", "could not", "", bounded},
		"Elasticsearch's own":       {"null_pointer_exception", "forbidden", "", bounded},
	} {
		t.Run(name, func(t *testing.T) {
			causes := ""
			if c.causes != "" {
				causes = `,"caused_by":` + c.causes
			}
			body := fmt.Sprintf(`{"error":{"root_cause":[{"type":%q,"reason":%q}],"type":%q,"reason":%q%s},"status":500}`,
				c.exception, c.reason, c.exception, c.reason, causes)
			_, client := newFake(t, "5.5.3", map[string]answer{
				"GET /_snapshot/mig/_all": {500, body},
				"GET /_snapshot/mig/s":    {500, body},
			})
			_, err := client.Snapshots(t.Context(), "mig")
			assert.Equal(t, c.want, elastic.KindOf(err), "%v", err)
			_, err = client.Snapshot(t.Context(), "mig", "s")
			assert.Equal(t, c.want, elastic.KindOf(err), "%v", err)
		})
	}
}
