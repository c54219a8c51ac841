package elastic_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefusalsAreClassified(t *testing.T) {
	es := func(status int, kind, reason, causes string) answer {
		return answer{
			status,
			fmt.Sprintf(`{"error":{"root_cause":[{"type":%q,"reason":%q}],"type":%q,"reason":%q%s},"status":%d}`, kind,
				reason, kind, reason, causes, status),
		}
	}
	for name, c := range map[string]struct {
		answer answer
		want   elastic.Kind
		text   string
	}{
		"snapshot running": {es(503, "concurrent_snapshot_execution_exception",
			"[mig:s2]a snapshot is already running", ""), elastic.SlotTaken, "already running"},
		"close in snapshot": {
			es(400, "illegal_argument_exception",
				"Cannot close indices that are being snapshotted: [[a/x]]. Try again", ""), elastic.SlotTaken,
			"being snapshotted",
		},
		"close in restore": {es(400, "illegal_argument_exception",
			"Cannot close indices that are being restored: [[a/x]]", ""), elastic.SlotTaken, "being restored"},
		"close, 7.x": {es(400, "snapshot_in_progress_exception",
			"Cannot close indices that are being snapshotted: [[a/x]]", ""), elastic.SlotTaken, "being snapshotted"},
		"repository in use": {
			es(500, "illegal_state_exception",
				"trying to modify or unregister repository that is currently used ", ""), elastic.SlotTaken,
			"currently used",
		},
		"name taken": {
			es(400, "invalid_snapshot_name_exception",
				"[mig:s1] Invalid snapshot name [s1], snapshot with the same name already exists", ""),
			elastic.AlreadyExists, "already exists",
		},
		"name of one that runs": { // 7.x
			es(400, "invalid_snapshot_name_exception",
				"[mig:s1] Invalid snapshot name [s1], snapshot with the same name is already in-progress", ""),
			elastic.AlreadyExists, "already in-progress",
		},
		"bad name": {es(400, "invalid_snapshot_name_exception",
			"[mig:S1] Invalid snapshot name [S1], must be lowercase", ""), elastic.Invalid, "lowercase"},
		"missing index": {answer{
			404,
			`{"error":{"root_cause":[],"type":"index_not_found_exception","reason":"no such index","index":"nope"},"status":404}`,
		}, elastic.Missing, "no such index [nope]"},
		"missing snapshot": {
			es(404, "snapshot_missing_exception", "[mig:zz] is missing", ""), elastic.Missing,
			"mig:zz",
		},
		"unseen snapshot": {
			es(500, "snapshot_restore_exception", "[ro:s4]snapshot does not exist", ""),
			elastic.Missing, "does not exist",
		},
		"restore over open": {es(500, "snapshot_restore_exception",
			"[ro:s4/u] cannot restore index [a] because it's open", ""), elastic.Rejected, "open"},
		"verification": {es(500, "repository_verification_exception",
			"[mig] path  is not accessible on master node",
			`,"caused_by":{"type":"i_o_exception","reason":"Unable to upload object","caused_by":{"type":"amazon_s3_exception","reason":"Access Denied"}}`), elastic.Rejected, "caused by amazon_s3_exception: Access Denied"},
		"verification timeout": {es(500, "repository_verification_exception", "[mig] path is not accessible",
			`,"caused_by":{"type":"x","reason":"connect timed out"}`), elastic.Internal, "timed out"},
		"repository": {
			es(500, "repository_exception", "[mig] Could not read repository data", ""),
			elastic.Rejected, "Could not read",
		},
		"store throttled": {es(500, "snapshot_exception", "[mig:s1] failed to get snapshots",
			`,"caused_by":{"type":"amazon_s3_exception","reason":"Please reduce your request rate. (Service: Amazon S3; Status Code: 503; Error Code: SlowDown)"}`), elastic.OutcomeUnknown, "SlowDown"},
		"write block": {
			es(403, "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)];", ""),
			elastic.Blocked, "FORBIDDEN/8",
		},
		"no master": {es(503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master];",
			""), elastic.Unavailable, "no master"},
		"master not found": {
			es(503, "master_not_discovered_exception", "waited for [30s]", ""),
			elastic.Unavailable, "waited",
		},
		"queue full": {
			es(429, "es_rejected_execution_exception", "rejected execution", ""),
			elastic.Unavailable, "rejected",
		},
		"closed index, 5.x": {es(403, "index_closed_exception", "closed", ""), elastic.Invalid, "closed"},
		"unknown parameter": {es(400, "illegal_argument_exception",
			"request [/_count] contains unrecognized parameter: [x]", ""), elastic.Invalid, "unrecognized"},
		"no handler, 5.x": {
			answer{400, `No handler found for uri [/a/_block/write] and method [PUT]`},
			elastic.NotSupported, "No handler",
		},
		"wrong method": {
			answer{
				405,
				`{"error":"Incorrect HTTP method for uri [/a] and method [PUT], allowed: [GET]","status":405}`,
			},
			elastic.NotSupported, "Incorrect",
		},
		"old text": {
			answer{404, `{"error":"IndexMissingException[[a] missing]","status":404}`},
			elastic.Missing, "[a] missing",
		},
		"security": {es(403, "security_exception", "no permissions for [cluster:admin/snapshot/create]",
			""), elastic.Unauthorized, "no permissions"},
		"other 500": {es(500, "null_pointer_exception", "", ""), elastic.Internal, "null_pointer_exception"},
		"AWS not authorized": {answer{
			403,
			`{"Message":"User: arn:aws:iam::1:user/u is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/r"}`,
		}, elastic.Unauthorized, "iam:PassRole"},
		"AWS signature": {
			answer{
				403,
				`{"message":"The request signature we calculated does not match the signature you provided."}`,
			},
			elastic.Unauthorized, "signature",
		},
		"AWS not allowed": {
			answer{401, `{"Message":"Your request: '/a/_close' is not allowed."}`},
			elastic.NotSupported, "not allowed",
		},
		"AWS throttled": {
			answer{403, `{"Message":"Request throttled due to too many requests"}`},
			elastic.Unavailable, "throttled",
		},
		"AWS 429": {answer{429, `{"message":"Too Many Requests"}`}, elastic.Unavailable, "Too Many"},
		"AWS 502": {
			answer{502, `<html><body>Bad Gateway</body></html>`},
			elastic.Unavailable,
			"Bad Gateway",
		},
		"AWS 503": {answer{503, `{"message":null}`}, elastic.Unavailable, "503 Service Unavailable"},
		"AWS 504": {answer{504, `504 GATEWAY_TIMEOUT`}, elastic.OutcomeUnknown, "GATEWAY_TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			fake, client := newFake(t, "5.5.2", map[string]answer{"PUT /_snapshot/mig/s1": c.answer})
			err := client.CreateSnapshot(t.Context(), "mig", "s1", []string{"a"})
			require.Error(t, err)
			assert.Equal(t, c.want, elastic.KindOf(err), "%v", err)
			assert.Equal(t, c.want, elastic.KindOf(fmt.Errorf("round 3: %w", err)))
			assert.ErrorContains(t, err, c.text)
			assert.ErrorContains(t, err, "create snapshot mig/s1 on "+client.Host())
			sent := slices.DeleteFunc(fake.lines(), func(line string) bool {
				// the look at a missing index
				return strings.HasPrefix(line, "GET /_cluster/state/blocks,metadata/nope?")
			})
			assert.Len(t, sent, 1, "nothing is repeated automatically")
		})
	}
}

func TestAnObjectStoresTroubleBehindARepositoryIsRetriedButARefusalIsNot(t *testing.T) {
	const quick, bounded, forGood = elastic.Unavailable, elastic.Internal, elastic.Rejected
	for name, c := range map[string]struct {
		exception, causes string
		want              elastic.Kind
	}{
		"OSS is busy": {
			"repository_exception",
			`{"type":"o_s_s_exception","reason":"Please try later.\n[ErrorCode]: ServiceUnavailable\n[RequestId]: 5C3D"}`, quick,
		},
		"OSS throttles": {
			"repository_exception",
			`{"type":"o_s_s_exception","reason":"Please reduce your request rate.\n[ErrorCode]: PartitionQpsLimitted"}`,
			quick,
		},
		"two first reads": {
			"repository_exception",
			`{"type":"file_already_exists_exception","reason":"snapferry/movies/e3e28b66/incompatible-snapshots"}`,
			quick,
		},
		"S3 throttles": {
			"snapshot_exception",
			`{"type":"amazon_s3_exception","reason":"Please reduce your request rate. (Status Code: 503; Error Code: SlowDown)"}`, quick,
		},
		"OSS fails": {
			"repository_exception",
			`{"type":"i_o_exception","reason":"com.aliyun.oss.OSSException: We encountered an internal error. Please try again.\n[ErrorCode]: InternalError\n[RequestId]: 5C3D"}`, bounded,
		},
		"OSS doesn't answer": {
			"snapshot_exception",
			`{"type":"client_exception","reason":"b.oss-ap-southeast-1-internal.aliyuncs.com failed to respond\n[ErrorCode]: Unknown"}`, bounded,
		},
		"no name": {
			"repository_exception",
			`{"type":"client_exception","reason":"b.oss.aliyuncs.com: Temporary failure in name resolution\n[ErrorCode]: UnknownHost"}`, bounded,
		},
		"cut off": {
			"repository_exception",
			`{"type":"connection_closed_exception","reason":"Premature end of Content-Length delimited message body (expected: 400; received: 0"}`, bounded,
		},
		"broken pipe": {"index_shard_snapshot_exception", `{"type":"x","reason":"Broken pipe"}`, bounded},
		"S3 doesn't answer": {
			"snapshot_exception",
			`{"type":"sdk_client_exception","reason":"Unable to execute HTTP request: b.s3.amazonaws.com failed to respond"}`, bounded,
		},
		"an SDK says nothing": {
			"repository_verification_exception",
			`{"type":"i_o_exception","reason":"Unable to upload object tests-x/master.dat","caused_by":{"type":"amazon_client_exception","reason":"null"}}`, bounded,
		},
		"S3 fails": {
			"repository_verification_exception",
			`{"type":"amazon_s3_exception","reason":"We encountered an internal error. Please try again. (Service: Amazon S3; Status Code: 500; Error Code: InternalError)"}`, bounded,
		},

		"OSS denies": {
			"repository_exception",
			`{"type":"o_s_s_exception","reason":"You have no right to access this object.\n[ErrorCode]: AccessDenied"}`,
			forGood,
		},
		"wrong key": {
			"repository_exception",
			`{"type":"i_o_exception","reason":"x","caused_by":{"type":"o_s_s_exception","reason":"[ErrorCode]: InvalidAccessKeyId"}}`, forGood,
		},
		"wrong secret": {
			"repository_verification_exception",
			`{"type":"amazon_s3_exception","reason":"The request signature we calculated does not match (Status Code: 403; Error Code: SignatureDoesNotMatch)"}`, forGood,
		},
		"no bucket": {
			"repository_exception",
			`{"type":"o_s_s_exception","reason":"The specified bucket does not exist.\n[ErrorCode]: NoSuchBucket"}`,
			forGood,
		},
		"no object": {
			"repository_exception",
			`{"type":"amazon_s3_exception","reason":"The specified key does not exist. (Status Code: 404; Error Code: NoSuchKey)"}`, forGood,
		},
		"no file": {
			"snapshot_exception",
			`{"type":"no_such_file_exception","reason":"Blob object [snap-x.dat] not found"}`, forGood,
		},
		"corrupt": {
			"repository_exception",
			`{"type":"i_o_exception","reason":"x","caused_by":{"type":"corrupt_index_exception","reason":"checksum failed"}}`, forGood,
		},
		"Elasticsearch's own": {
			"snapshot_restore_exception",
			`{"type":"illegal_state_exception","reason":"index has other shards"}`, forGood,
		},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(
				`{"error":{"type":%q,"reason":"[mig] could not read repository data","caused_by":%s},"status":500}`,
				c.exception, c.causes)
			_, client := newFake(t, "5.5.3", map[string]answer{"GET /_snapshot/mig/s": {500, body}})
			_, err := client.Snapshot(t.Context(), "mig", "s")
			assert.Equal(t, c.want, elastic.KindOf(err), "%v", err)
		})
	}
}

func TestALostAnswerIsAnUnknownOutcomeOnlyWhereARepeatCouldHarm(t *testing.T) {
	gone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, _, _ := w.(http.Hijacker).Hijack()
		_ = connection.Close()
	}))
	defer gone.Close()
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"accepted":`))
	}))
	defer half.Close()
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refusing := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())

	const short = 40 * time.Millisecond
	for name, c := range map[string]struct {
		endpoint     string
		timeout      time.Duration
		create, read elastic.Kind
	}{
		"connection closed after the request": {gone.URL, 0, elastic.OutcomeUnknown, elastic.Unavailable},
		"answer cut off":                      {half.URL, 0, elastic.OutcomeUnknown, elastic.Unavailable},
		"no answer in time":                   {silent.URL, short, elastic.OutcomeUnknown, elastic.Unavailable},
		"connection refused":                  {refusing, 0, elastic.Unavailable, elastic.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := elastic.New(elastic.Config{Endpoint: c.endpoint, Timeout: c.timeout})
			require.NoError(t, err)
			defer client.Close()
			for what, got := range map[string]error{
				"create":  client.CreateSnapshot(t.Context(), "mig", "s1", []string{"a"}),
				"restore": client.Restore(t.Context(), "mig", "s1", elastic.RestoreOptions{Indices: []string{"a"}}),
				"delete":  client.DeleteSnapshot(t.Context(), "mig", "s1"),
			} {
				assert.Equal(t, c.create, elastic.KindOf(got), "%s: %v", what, got)
			}
			_, err = client.Info(t.Context())
			assert.Equal(t, c.read, elastic.KindOf(err), "%v", err)
			assert.Equal(t, c.read, elastic.KindOf(client.CloseIndices(t.Context(), []string{"a"})),
				"closing twice is harmless")
		})
	}
}

func TestCancellationIsPassedThrough(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(began); <-release }))
	defer silent.Close()
	defer close(release)
	client, err := elastic.New(elastic.Config{Endpoint: silent.URL})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	_, err = client.Info(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, elastic.Unclassified, elastic.KindOf(err))
}

func TestKindOfForeignErrors(t *testing.T) {
	assert.Equal(t, elastic.None, elastic.KindOf(nil))
	assert.Equal(t, elastic.Unclassified, elastic.KindOf(errors.New("x")))
	assert.Equal(t, "SlotTaken", elastic.SlotTaken.String())
}

func TestNamesThatMeanAllIndicesAreRefused(t *testing.T) {
	fake, client := newFake(t, "5.5.2", map[string]answer{})
	for _, names := range [][]string{nil, {""}, {"_all"}, {"*"}, {"a*"}, {"a,b"}, {"-a"}, {"a", "*"}} {
		for what, err := range map[string]error{
			"close":    client.CloseIndices(t.Context(), names),
			"delete":   client.DeleteIndices(t.Context(), names),
			"settings": client.PutIndexSettings(t.Context(), names, map[string]any{"index.blocks.write": true}),
			"block":    client.BlockWrites(t.Context(), names),
			"snapshot": client.CreateSnapshot(t.Context(), "mig", "s1", names),
			"restore":  client.Restore(t.Context(), "mig", "s1", elastic.RestoreOptions{Indices: names}),
		} {
			assert.Equal(t, elastic.Invalid, elastic.KindOf(err), "%s %q", what, names)
		}
	}
	assert.Equal(t, elastic.Invalid, elastic.KindOf(client.DeleteSnapshot(t.Context(), "mig", "*")))
	assert.Equal(t, elastic.Invalid, elastic.KindOf(client.DeleteRepository(t.Context(), "*")))
	assert.Empty(t, fake.lines())
}
