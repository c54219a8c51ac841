package activities

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/migration"
)

func TestPreflightNamesEveryProblemAtOnce(t *testing.T) {
	w := newWorld(t)
	w.from.Create("old", 1, map[string]string{"index.version.created": "1070599"})
	w.from.Create("shut", 1, nil)
	w.from.SetOpen("shut", false)
	w.from.Create("broken", 1, nil)
	w.from.LosePrimary("broken")
	w.from.Create(".kibana", 1, nil)
	w.to.Create("movies", 1, nil)
	w.to.Create("other", 1, nil)
	w.to.AddAlias("other", "catalog")
	w.to.Version = "5.5.1"
	w.buckets.from.region = "us-east-1"
	w.buckets.to.acl = "public-read"
	w.run.Plan.Indices = []string{"movies", "*", "shut", "gone", "nothing-*", "films"}
	before := w.text()

	failure := refusal(w, migration.ErrorPreflight, w.activities.Preflight, w.run)
	lines := strings.Split(failure.Message(), "\n- ")
	for i, says := range []string{
		"preflight found",
		"the source runs 5.5.2, the target 5.5.1",
		"S3 bucket from-bucket is in region us-east-1, but source.repository.region says ap-southeast-1",
		"OSS bucket to-bucket can be read by others (public-read)",
		"there is no index gone on the source",
		"no index matches nothing-* on the source",
		"films is an alias of movies and not an index",
		"index catalog was created by Elasticsearch 5.5.2, which is newer",
		"index movies was created", // once, though two patterns match it
		"index old was created by Elasticsearch 1.7.5",
		"index shut is closed",
		"index broken is red",
		"index movies exists on the target already",
		"catalog is an alias on the target",
	} {
		require.True(t, containsLine(lines, says), "line %d: no line says %q: %q", i, says, lines)
	}
	require.NotContains(t, failure.Message(), ".kibana", "patterns match no internal indices")
	require.Equal(t, before, w.text(), "nothing is changed")
	require.Zero(t, w.buckets.created)
}

func containsLine(lines []string, says string) bool {
	for _, line := range lines {
		if strings.Contains(line, says) {
			return true
		}
	}
	return false
}

func TestPreflightTakesInternalIndicesByTheirFullName(t *testing.T) {
	w := newWorld(t)
	w.from.Create(".kibana", 1, nil)
	w.run.Plan.Indices = []string{"movies", ".kibana"}
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Equal(t, 2, found.Indices.Len())
	require.Len(t, found.Warnings, 1)
	require.Contains(t, found.Warnings[0], "index .kibana belongs to Elasticsearch or to a plugin")
}

// Elasticsearch refuses a restore whose alias is an index.
func TestPreflightRefusesAnAliasThatIsAnIndexOnTheTarget(t *testing.T) {
	w := newWorld(t) // movies has the alias films
	w.to.Create("films", 1, nil)
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"films is an alias of movies on the source and an index on the target", "delete the index films there")
	w.run.Plan.Restore.ExcludeAliases = true
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
}

func TestPreflightWarnsOfAnAliasThatPointsElsewhereOnTheTarget(t *testing.T) {
	w := newWorld(t)
	w.to.Create("old-films", 1, nil)
	w.to.AddAlias("old-films", "films")
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Len(t, found.Warnings, 1)
	require.Contains(t, found.Warnings[0], "alias films points to old-films on the target. After the restore it also "+
		"points to movies")
	w.run.Plan.Restore.ExcludeAliases = true
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
}

func TestPreflightWithBadCredentials(t *testing.T) {
	w := newWorld(t)
	t.Setenv("TEST_TARGET_PASSWORD", "planted-wrong-password")
	refused(w, migration.ErrorUnauthorized, w.activities.Preflight, w.run, "security_exception")

	w = newWorld(t)
	w.buckets.err = &objectstore.Error{
		Kind: objectstore.Forbidden, Op: "GetBucketInfo", Bucket: "to-bucket",
		Status: 403, Code: "AccessDenied",
	}
	refused(w, migration.ErrorUnauthorized, w.activities.Preflight, w.run, "OSS bucket to-bucket",
		"S3 bucket from-bucket", "AccessDenied")
}

func TestPreflightWithoutASecret(t *testing.T) {
	w := newWorld(t)
	t.Setenv("TEST_CLUSTER_SECRET", "")
	t.Setenv("TEST_WEBHOOK", "")
	w.run.Plan.Cutover.Webhook.URL = "file:/nowhere/url"
	refused(w, migration.ErrorSecret, w.activities.Preflight, w.run, "env:TEST_CLUSTER_SECRET", "env:TEST_WEBHOOK",
		"file:/nowhere/url")
}

func TestPreflightWaitsForAClusterThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.to.Refuse("GET /", 1, http.StatusServiceUnavailable, "", "")
	passes(w, retryUnavailable, w.activities.Preflight, w.run)
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
}

func TestPreflightCountsALastingSilenceAsAProblem(t *testing.T) {
	f := preflight{}
	require.NoError(t, f.collect(passing(retryUnavailable, "dial tcp: no such host", 0)))
	require.Equal(t, []string{"dial tcp: no such host"}, f.problems)
	f = preflight{patient: true}
	require.Error(t, f.collect(passing(retryUnavailable, "dial tcp: no such host", 0)))
}

func TestPreflightWarns(t *testing.T) {
	w := newWorld(t)
	w.to.Version = "6.7.0"
	w.from.SetTypes("movies", "film", "series")
	free := 3_100
	w.to.On("GET /_nodes/stats/fs", 100, func(rw http.ResponseWriter, _ *http.Request) bool {
		const node = `"%s":{"roles":["data"],"fs":{"total":{"total_in_bytes":5000,"free_in_bytes":%d,` +
			`"available_in_bytes":%d}}}`
		_, _ = fmt.Fprintf(rw, `{"nodes":{`+node+","+node+`}}`, "a", free/2, free/2, "b", free/2, free/2)
		return true
	})
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Len(t, found.Warnings, 2)
	require.Contains(t, found.Warnings[0], "index movies has 2 mapping types (film, series)")
	require.Contains(t, found.Warnings[1],
		"cutover sets the source's number of replicas. With these, the indices (2.1 KiB) fill")

	free = 1_900
	require.Contains(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings[1],
		"beyond what cluster.routing.allocation.disk.watermark.low (85%) allows")
	w.to.SetClusterSetting("transient", "cluster.routing.allocation.disk.threshold_enabled", "false")
	require.Contains(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings[1],
		"With these, the indices need 2.1 KiB, and", "a cluster that looks at no disk stops at none")
	free = 700
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"the target's disks have 700 B left, and the indices need 800 B")
}

// Before 8.0 a node that is the only one gets shards however full its disk is.
func TestPreflightKnowsThatTheOnlyNodeTakesAll(t *testing.T) {
	w := newWorld(t)
	w.to.Total, w.to.Free = 100_000, 2_500
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
	w.to.Free = 700
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"the target's disks have 700 B left, and the indices need 800 B")
}

// A data node whose disk is over the low watermark gets no shards.
func TestPreflightLooksAtTheWatermark(t *testing.T) {
	w := newWorld(t)
	w.to.On("GET /_nodes/stats/fs", 100, func(rw http.ResponseWriter, _ *http.Request) bool {
		_, _ = rw.Write([]byte(`{"nodes":{"a":{"roles":["data"],"fs":{"total":{"total_in_bytes":100000,` +
			`"free_in_bytes":60000,"available_in_bytes":60000}}},"b":{"roles":["data"],"fs":{"total":{` +
			`"total_in_bytes":100000,"free_in_bytes":50000,"available_in_bytes":50000}}}}}`))
		return true
	})
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
	w.to.SetClusterSetting("transient", "cluster.routing.allocation.disk.watermark.low", "55kb")
	require.Contains(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings[0],
		"the disks of 1 of the target's 2 data nodes")
	w.to.SetClusterSetting("transient", "cluster.routing.allocation.disk.watermark.low", "90tb")
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "the disks of all data nodes of the target (2)",
		"cluster.routing.allocation.disk.watermark.low (90tb)")
	w.to.SetClusterSetting("transient", "cluster.routing.allocation.disk.threshold_enabled", "false")
	require.Empty(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings)
}

func TestPreflightRefusesOpenSearch(t *testing.T) {
	w := newWorld(t)
	w.from.On("GET /", 1, func(rw http.ResponseWriter, _ *http.Request) bool {
		_, _ = rw.Write(
			[]byte(`{"version":{"number":"7.10.2"},"tagline":"The OpenSearch Project: https://opensearch.org/"}`))
		return true
	})
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "OpenSearch")
}

func TestBuckets(t *testing.T) {
	for name, tt := range map[string]struct {
		bucket targetBucket
		create bool
		want   migration.ErrorType
		says   string
	}{
		"as it should be": {bucket: targetBucket{exists: true, acl: "private", storageClass: "Standard"}},
		"public": {
			bucket: targetBucket{exists: true, acl: "public-read-write", storageClass: "Standard"},
			create: true, want: migration.ErrorRefused, says: "can be read by others",
		},
		"an archive": {
			bucket: targetBucket{exists: true, acl: "private", storageClass: "ColdArchive"},
			create: true, want: migration.ErrorRefused, says: "ColdArchive",
		},
		"a retention policy": {
			bucket: targetBucket{exists: true, acl: "private", storageClass: "Standard", retention: "Locked, 30 days"},
			create: true, want: migration.ErrorRefused, says: "retention policy (Locked, 30 days)",
		},
		"its region": {bucket: targetBucket{
			exists: true, acl: "private", storageClass: "Standard",
			location: "oss-ap-southeast-1",
		}},
		"without prefix": {bucket: targetBucket{
			exists: true, acl: "private", storageClass: "Standard",
			location: "ap-southeast-1",
		}},
		"another region": {
			bucket: targetBucket{
				exists: true, acl: "private", storageClass: "Standard",
				location: "oss-cn-hangzhou",
			}, create: true, want: migration.ErrorRefused,
			says: "is in region cn-hangzhou, but target.repository.region says ap-southeast-1",
		},
		"absent":        {want: migration.ErrorMissing, says: "createBucket"},
		"to be created": {create: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.buckets.to = tt.bucket
			w.run.Plan.Target.Repository.CreateBucket = tt.create
			if tt.want == "" {
				must[any](w, w.activities.EnsureTargetBucket, w.run)
				must[any](w, w.activities.EnsureTargetBucket, w.run)
				require.LessOrEqual(t, w.buckets.created, 1)
				return
			}
			refused(w, tt.want, w.activities.EnsureTargetBucket, w.run, tt.says)
			refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, tt.says)
			require.Zero(t, w.buckets.created)
		})
	}
}

// What a bucket keeps costs room, and what nobody may ask can't be checked: neither stops anybody.
func TestPreflightWarnsOfABucketThatKeepsVersions(t *testing.T) {
	w := newWorld(t)
	w.buckets.to.versioning, w.buckets.to.retentionUnknown = "Enabled", true
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	warnings := strings.Join(found.Warnings, "\n")
	require.Contains(t, warnings, "OSS bucket to-bucket has versioning (Enabled)")
	require.Contains(t, warnings, "oss:GetBucketWorm")
}

// As OSS itself tells it.
func TestPreflightReadsTheRegionOfTheOSSBucket(t *testing.T) {
	server, err := osstest.Start(osstest.Options{
		Dir: t.TempDir(), Region: "cn-hangzhou",
		Keys: []osstest.Key{{ID: "the-ak", Secret: "the-sk"}},
	})
	require.NoError(t, err)
	defer server.Close()
	require.NoError(t, server.CreateBucket("to-bucket", osstest.BucketOptions{}))
	w := newWorld(t)
	t.Setenv("TEST_WRITER_KEY_ID", "the-ak")
	t.Setenv("TEST_WRITER_SECRET", "the-sk")
	w.run.Plan.Target.Repository.Writer.Endpoint = server.URL()
	w.run.Plan.Target.Repository.Region = "cn-hangzhou"
	found, err := cloudBuckets{testKeys}.target(t.Context(), w.run)
	require.NoError(t, err)
	require.Equal(t, "oss-cn-hangzhou", found.location)
	require.Empty(t, found.problem(w.run))
	w.run.Plan.Target.Repository.Region = "ap-southeast-1"
	require.Contains(t, found.problem(w.run), "OSS bucket to-bucket is in region cn-hangzhou")
}

func TestRepositories(t *testing.T) {
	w := newWorld(t)
	must[any](w, w.activities.RegisterRepositories, w.run)
	name := w.run.RepositoryName()
	kind, settings := w.from.Repository(name)
	require.Equal(t, "s3", kind)
	require.Equal(t, map[string]any{
		"bucket": "from-bucket", "region": "ap-southeast-1", "base_path": "snapferry/movies/t0ken",
		"role_arn":               "arn:aws:iam::123456789012:role/Snap",
		"server_side_encryption": true, "max_snapshot_bytes_per_sec": "80mb",
	}, settings)
	kind, settings = w.to.Repository(name)
	require.Equal(t, "oss", kind)
	require.Equal(t, map[string]any{
		"bucket": "to-bucket", "endpoint": "http://oss-ap-southeast-1-internal.aliyuncs.com",
		"base_path":     "snapferry/movies/t0ken",
		"access_key_id": clusterKeyID, "secret_access_key": clusterSecret, "compress": true, "readonly": true,
	}, settings)

	// Each region's own way, and the plan's word above all.
	for _, tt := range []struct{ region, endpoint, wantRegion, wantEndpoint string }{
		{"eu-west-1", "", "eu-west-1", ""},
		{"us-east-1", "", "", "s3.amazonaws.com"},
		{"eu-west-1", "s3.eu-west-1.amazonaws.com", "", "s3.eu-west-1.amazonaws.com"},
	} {
		run := w.run
		run.Plan.Source.Repository.Region, run.Plan.Source.Repository.Endpoint = tt.region, tt.endpoint
		settings := sourceRepository(run).Settings
		if tt.wantRegion == "" {
			require.NotContains(t, settings, "region")
			require.Equal(t, tt.wantEndpoint, settings["endpoint"])
		} else {
			require.NotContains(t, settings, "endpoint")
			require.Equal(t, tt.wantRegion, settings["region"])
		}
	}

	must[any](w, w.activities.UnregisterRepositories, w.run)
	must[any](w, w.activities.UnregisterRepositories, w.run)
	kind, _ = w.to.Repository(name)
	require.Empty(t, kind)
}

// No target restores its snapshots.
func TestPreflightRefusesASourceBefore20(t *testing.T) {
	w := newWorld(t)
	w.from.Version = "1.7.6"
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"the source runs 1.7.6, and snapferry copies snapshots of 2.0 and later")
	w.from.Version = "2.4.6"
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.Equal(t, "2.4.6", found.SourceVersion)
}

// Elasticsearch and the plugins quote settings in their errors.
func TestRegistrationThatFailsShowsNoSecret(t *testing.T) {
	w := newWorld(t)
	w.to.Refuse("PUT /_snapshot/*", 1, http.StatusInternalServerError, "repository_exception",
		"failed to create repository with {access_key_id="+clusterKeyID+", secret_access_key="+clusterSecret+"}")
	refused(w, migration.ErrorRefused, w.activities.RegisterRepositories, w.run, "repository_exception")
	w.to.Refuse("GET /_snapshot/*/_all", 1, http.StatusInternalServerError, "repository_exception",
		"InvalidAccessKeyId "+clusterKeyID+" [ResponseError]: <Error>"+strings.Repeat("x", 5000))
	failure := refusal(w, migration.ErrorUnauthorized, w.activities.RegisterRepositories, w.run, "InvalidAccessKeyId")
	require.NotContains(t, failure.Message(), "<Error>")
}

// However many indices have the same fault, the list of them is short.
func TestPreflightIsBounded(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	for i := range 500 {
		name := fmt.Sprintf("%s-%03d", strings.Repeat("x", 200), i)
		w.from.Create(name, 1, nil)
		w.from.AddAlias(name, "everything")
		w.from.SetSetting(name, "index.blocks.read_only", "true")
		w.from.SetSetting(name, "index.lifecycle.name", "hot-warm")
		w.from.SetTypes(name, "a", "b")
	}
	w.to.Version = "6.8.23"
	w.to.Create("elsewhere", 1, nil)
	w.to.AddAlias("elsewhere", "everything")
	found := must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	require.LessOrEqual(t, len(found.Warnings), 12)
	for _, warning := range found.Warnings {
		require.LessOrEqual(t, len(warning), 1024)
	}
	for _, says := range []string{
		"have index.blocks.read_only on the source", "by index.lifecycle.name", "and 498 more",
		"the same holds for 495 more indices", "alias everything points to elsewhere",
	} {
		require.True(t, containsLine(found.Warnings, says), "%s: %q", says, found.Warnings)
	}
	for i := range 500 {
		w.from.LosePrimary(fmt.Sprintf("%s-%03d", strings.Repeat("x", 200), i))
		w.to.Create(fmt.Sprintf("%s-%03d", strings.Repeat("x", 200), i), 1, nil)
	}
	failure := refusal(w, migration.ErrorPreflight, w.activities.Preflight, w.run)
	require.Less(t, len(failure.Message()), 60_000)
}

func TestPreflightNamesWhatMakesIndices(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = []string{"*"}
	w.from.Create("orders-000001", 1, nil)
	w.from.AddAlias("orders-000001", "orders")
	w.from.Create("logs-2026.11.28", 1, nil)
	w.from.SetSetting("movies", "index.opendistro.index_state_management.policy_id", "hot")
	warnings := must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings
	for _, says := range []string{
		"by index.opendistro.index_state_management.policy_id: movies (hot)", "orders-000001 behind orders",
		"(action.auto_create_index), and these look like one a day or a month: logs-2026.11.28",
	} {
		require.True(t, containsLine(warnings, says), "%s: %q", says, warnings)
	}
	require.NoError(t, clientOf(w, onSource).PutClusterSettings(t.Context(),
		map[string]any{"action.auto_create_index": "false"}, nil))
	require.Len(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings, len(warnings)-1)
}

// What Elasticsearch can't do with an index is said before anything is copied.
func TestPreflightNamesBlocks(t *testing.T) {
	w := newWorld(t)
	w.from.SetSetting("movies", "index.blocks.write", "true")
	warnings := must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "have index.blocks.write on the source and take no writes: movies")
	require.Contains(t, warnings[0], "earlier migration")
	w.from.SetSetting("catalog", "index.blocks.read_only", "true")
	require.Len(t, must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings, 2)
	w.from.Version = "2.4.6"
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"index catalog has index.blocks.read_only on the source, and 2.4.6 refuses to refresh")
	w.from.SetSetting("movies", "index.blocks.read", "true")
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "index movies has index.blocks.read")
}

// No name may hold a colon from 7.0 on.
func TestPreflightRefusesAColonWhereTheTargetDoes(t *testing.T) {
	w := newWorld(t)
	w.from.Version, w.to.Version = "6.8.23", "6.8.23"
	w.from.Create("app:events", 1, map[string]string{"index.version.created": "6082399"})
	w.run.Plan.Indices = []string{"app:events"}
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	w = newWorld(t)
	w.from.Version, w.to.Version = "6.8.23", "7.10.2"
	w.from.Create("app:events", 1, map[string]string{"index.version.created": "6082399"})
	w.run.Plan.Indices = []string{"app:events"}
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "index app:events can't be restored by 7.10.2")
}
