package migration

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const wholePlan = `
name: movies
source:
  endpoint: https://search-shop-abc.ap-southeast-1.es.amazonaws.com
  repository:
    bucket: from-bucket
    region: ap-southeast-1
    roleArn: arn:aws:iam::123456789012:role/Snap
target:
  endpoint: http://es.example.com:9200
  auth: {user: elastic, password: env:TARGET_PASSWORD}
  repository:
    bucket: to-bucket
    region: ap-southeast-1
    endpoint: http://oss-internal.example.com
    accessKeyId: env:A
    secretAccessKey: file:/run/secrets/oss
    writer:
      endpoint: https://oss.example.com
      accessKeyId: env:C
      accessKeySecret: env:D
indices: [movies, "logs-*"]
`

func TestDecodeFillsInTheDefaults(t *testing.T) {
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	require.Equal(t, AuthSigV4, plan.Source.Auth.Type)
	require.Equal(t, "ap-southeast-1", plan.Source.Auth.Region)
	require.Equal(t, AuthBasic, plan.Target.Auth.Type)
	require.Equal(t, "snapferry/movies", plan.Source.Repository.BasePath)
	require.Equal(t, "snapferry/movies", plan.Target.Repository.BasePath)
	require.Equal(t, 15*time.Minute, plan.Rounds.Interval.Std())
	require.Equal(t, 2*time.Hour, plan.Freeze.MaxDuration.Std())
	require.Equal(t, ChecksumVersions, plan.Verify.Checksum)

	run := Run{Plan: plan, Token: "0a1b2c3d"}
	require.Equal(t, "snapferry-movies-0a1b2c3d", run.RepositoryName())
	require.Equal(t, "snapferry/movies/0a1b2c3d", run.TargetBasePath())
}

func TestAPlanSurvivesTheWayToTheWorkflowAndBack(t *testing.T) {
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	input, err := NewInput(plan)
	require.NoError(t, err)
	wire, err := json.Marshal(input)
	require.NoError(t, err)
	var arrived Input
	require.NoError(t, json.Unmarshal(wire, &arrived))
	got, err := arrived.Plan()
	require.NoError(t, err)
	require.Equal(t, plan, got)
}

// Each row changes one line of a good plan. The error must name the field and say what to write.
func TestDecodeRefuses(t *testing.T) {
	for name, test := range map[string]struct{ replace, with, says string }{
		"unknown field": {
			"region: ap-southeast-1", "regoin: ap-southeast-1",
			"source.repository.regoin is not a field of a plan; did you mean source.repository.region?",
		},
		"unknown top field": {"indices:", "indexes:", "indexes is not a field of a plan; did you mean indices?"},
		"missing field": {
			"    roleArn: arn:aws:iam::123456789012:role/Snap\n", "",
			"source.repository.roleArn is missing; for example roleArn: arn:aws:iam::",
		},
		"missing in an object": {"    writer:\n      endpoint: https://oss.example.com\n      accessKeyId: " +
			"env:C\n      accessKeySecret: env:D\n", "", "target.repository.writer.endpoint is missing"},
		"number for a string": {
			"bucket: from-bucket", "bucket: 7",
			"source.repository.bucket (7) must be a string; for example bucket: shop-es-migration",
		},
		"string for a list": {
			`indices: [movies, "logs-*"]`, "indices: movies",
			`indices ("movies") must be a list; for example indices: [movies`,
		},
		"number in a list": {
			`indices: [movies, "logs-*"]`, "indices: [movies, 7]",
			"indices[1] (7) must be a string",
		},
		"no index": {`indices: [movies, "logs-*"]`, "indices: []", "indices is empty"},
		"comma in an index": {
			`indices: [movies, "logs-*"]`, `indices: ["a,b"]`,
			"indices[0] (a,b) is not an index name or pattern: it contains ,",
		},
		"upper case in an index": {
			`indices: [movies, "logs-*"]`, `indices: [Movies]`,
			"indices[0] (Movies) is not an index name or pattern: it is not in lower case",
		},
		"an index that begins with +": {
			`indices: [movies, "logs-*"]`, `indices: ["+movies"]`,
			"indices[0] (+movies) is not an index name or pattern: it begins with +",
		},
		"only exclusions": {
			`indices: [movies, "logs-*"]`, `indices: ["-movies"]`,
			"indices only excludes",
		},
		"an index that is excluded": {
			`indices: [movies, "logs-*"]`, `indices: [movies, "-movies"]`,
			"indices[1] (-movies) excludes an index that is listed",
		},
		"index twice": {
			`indices: [movies, "logs-*"]`, "indices: [movies, movies]",
			"indices[1] (movies) is listed twice",
		},
		"dot pattern": {
			`indices: [movies, "logs-*"]`, `indices: [".kib*"]`,
			"indices[0] (.kib*) is a pattern for internal indices",
		},
		"bucket with a scheme": {
			"bucket: from-bucket", "bucket: s3://from",
			"source.repository.bucket (s3://from) is not an S3 bucket name",
		},
		"OSS bucket with a dot": {
			"bucket: to-bucket", "bucket: to.bucket",
			"target.repository.bucket (to.bucket) is not an OSS bucket name",
		},
		"region with oss-": {
			"region: ap-southeast-1\n    endpoint", "region: oss ap\n    endpoint",
			"target.repository.region (oss ap) is not an Alibaba Cloud region",
		},
		"role that is none": {
			"arn:aws:iam::123456789012:role/Snap", "Snap",
			"source.repository.roleArn (Snap) is not the ARN of an IAM role",
		},
		"leading slash": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    basePath: /a\n    roleArn",
			"source.repository.basePath (/a) is not a usable folder",
		},
		"dots in a path": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    basePath: a/../b\n    roleArn",
			"source.repository.basePath (a/../b) is not a usable folder",
		},
		"endpoint without http": {
			"http://es.example.com:9200", "es.example.com:9200",
			"target.endpoint must be a URL that begins with http:// or https://",
		},
		"endpoint with a path": {
			"http://es.example.com:9200", "http://es.example.com:9200/es",
			"target.endpoint (http://es.example.com:9200/es) must have nothing after the host and port",
		},
		"unknown auth": {
			"{user: elastic,", "{type: digest, user: elastic,",
			"target.auth.type (digest) is not an allowed value; use one of sigv4, basic, none",
		},
		"basic without a user": {"{user: elastic, ", "{", "target.auth.user is missing"},
		"name with spaces":     {"name: movies", "name: My Movies", "name (My Movies) is not a valid name"},
		"own repository setting": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    settings: {base_path: x}\n    roleArn",
			"source.repository.settings.base_path is a setting of snapferry's own",
		},
		"a chunk that is too small": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    settings: {chunk_size: 64kb}\n    roleArn",
			"source.repository.settings.chunk_size (64kb) must be from 5mb to 5tb: the repository refuses others; " +
				"for example chunk_size: 100mb",
		},
		"a chunk without a unit": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    settings: {chunk_size: 1000000000}\n    roleArn",
			"source.repository.settings.chunk_size (1000000000) is not a size with a unit",
		},
		"a chunk smaller than its buffer": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    settings: {chunk_size: 100MB, buffer_size: 0.5gb}\n    roleArn",
			"source.repository.settings.chunk_size (100MB) must not be less than buffer_size (0.5gb)",
		},
		"duration without unit": {
			"indices:", "rounds: {interval: 30}\nindices:",
			"rounds.interval (30) must be a duration: a string with a unit; for example interval: 15m",
		},
		"duration too short": {
			"indices:", "rounds: {interval: 10ms}\nindices:",
			`rounds.interval ("10ms") must be at least 1s; for example interval: 15m`,
		},
		"an explicit zero": {
			"indices:", "freeze: {maxDuration: 0s}\nindices:",
			`freeze.maxDuration ("0s") must be at least 10s`,
		},
		"a negative number": {
			"indices:", "restore: {replicas: -1}\nindices:",
			"restore.replicas (-1) must be at least 0",
		},
		"longer than a month": {
			"indices:", "rounds: {interval: 10000h}\nindices:",
			"rounds.interval (10000h) must be at most 720h",
		},
		"standstill too long": {
			"indices:", "freeze: {maxDuration: 1m, standstillTimeout: 2m}\nindices:",
			"freeze.standstillTimeout (2m) must be less than freeze.maxDuration (1m); for example " +
				"standstillTimeout: 30s",
		},
		"a port that is none": {
			"http://es.example.com:9200", "http://es.example.com:99999",
			"target.endpoint (http://es.example.com:99999) has no valid host and port",
		},
		"a setting with a key": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    settings: {client.default.secret_key: x}\n    roleArn",
			"source.repository.settings.client.default.secret_key looks like a secret",
		},
		"a webhook with a query": {
			"indices:",
			"cutover: {webhook: {url: \"https://h.example.com/?token=x\"}}\nindices:",
			"cutover.webhook.url must have no query and no fragment",
		},
		"sigv4 without a region": {
			"{user: elastic, password: env:TARGET_PASSWORD}", "{type: sigv4}",
			"target.auth.region is missing",
		},
		"control characters": {
			`indices: [movies, "logs-*"]`, `indices: ["a\u00a0b"]`,
			"is not an index name or pattern",
		},
		"two documents": {"indices:", "---\nindices:", "contains more than one YAML document"},
		"a field twice": {"indices:", "name: again\nindices:", "already set"},
		"concurrency": {
			"indices:", "copy: {concurrency: 1000}\nindices:",
			"copy.concurrency (1000) must be from 1 to 256",
		},
		"fraction": {
			"indices:", "copy: {concurrency: 1.5}\nindices:",
			"copy.concurrency (1.5) must be a whole number",
		},
		"checksum": {
			"indices:", "verify: {checksum: md5}\nindices:",
			"verify.checksum (md5) is not an allowed value; use one of versions, versions-in-window, none",
		},
		"no YAML": {"name: movies", "name: [", "is neither YAML nor JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(wholePlan, test.replace, test.with, 1)
			require.NotEqual(t, wholePlan, text, "the row changes nothing")
			_, err := Decode([]byte(text))
			var invalid *InvalidPlanError
			require.True(t, errors.As(err, &invalid), "%v", err)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	_, err := Decode([]byte("name: movies"))
	var invalid *InvalidPlanError
	require.True(t, errors.As(err, &invalid))
	var fields []string
	for _, problem := range invalid.Problems {
		fields = append(fields, problem.Field)
	}
	require.Contains(t, fields, "source.endpoint")
	require.Contains(t, fields, "target.repository.writer.accessKeySecret")
	require.Contains(t, fields, "indices")
}

func TestValuesAreJudgedBesideAMistakeInTheShape(t *testing.T) {
	text := strings.Replace(wholePlan, "name: movies", "name: Films_1", 1)
	text = strings.Replace(text, "arn:aws:iam::123456789012:role/Snap", "nonsense", 1)
	text = strings.Replace(text, "    bucket: to-bucket\n", "", 1) + "rounds: {interval: -5m}\n"
	_, err := Decode([]byte(text))
	for _, says := range []string{
		"name (Films_1)", "source.repository.roleArn (nonsense)",
		"target.repository.bucket is missing", "rounds.interval",
	} {
		require.ErrorContains(t, err, says)
	}
	var invalid *InvalidPlanError
	require.True(t, errors.As(err, &invalid))
	require.Len(t, invalid.Problems, 4)
}

func TestAShortFreezeHasAShorterStandstill(t *testing.T) {
	plan, err := Decode([]byte(wholePlan + "freeze: {maxDuration: 1m}\n"))
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, plan.Freeze.StandstillTimeout.Std())
}

// A secret that was written into the plan by mistake must not come back in the error.
func TestASecretInThePlanIsNotRepeated(t *testing.T) {
	const planted = "LTAI5tPlantedSecret"
	for _, replace := range []string{"env:A", "file:/run/secrets/oss", "env:C", "env:D", "env:TARGET_PASSWORD"} {
		_, err := Decode([]byte(strings.Replace(wholePlan, replace, planted, 1)))
		require.ErrorContains(t, err, "must be a reference to a secret")
		require.NotContains(t, err.Error(), planted)
	}
	_, err := Decode([]byte(strings.Replace(wholePlan, "http://es.example.com", "http://elastic:"+planted+
		"@es.example.com", 1)))
	require.ErrorContains(t, err, "target.endpoint contains a user or password")
	require.NotContains(t, err.Error(), planted)
}

// A value in the place of an object, a list or a URL may be a secret too.
func TestWhatMayBeASecretIsNotRepeated(t *testing.T) {
	const planted = "hunter2"
	for _, change := range [][2]string{
		{"auth: {user: elastic, password: env:TARGET_PASSWORD}", "auth: \"elastic:hunter2\""},
		{"auth: {user: elastic, password: env:TARGET_PASSWORD}", "auth: [{password: hunter2}]"},
		{"{user: elastic,", "{user: [hunter2],"},
		{"http://es.example.com:9200", "http://es.example.com:9200/?api_key=hunter2"},
		{"http://es.example.com:9200", "http://es.example.com:9200/#hunter2"},
		{"    roleArn", "    settings: {secret_key: [hunter2]}\n    roleArn"},
		{"indices:", "cutover: {webhook: \"https://h/hunter2\"}\nindices:"},
	} {
		_, err := Decode([]byte(strings.Replace(wholePlan, change[0], change[1], 1)))
		require.Error(t, err, change[1])
		require.NotContains(t, err.Error(), planted)
	}
}

// JSON must not bring in what YAML refuses.
func TestJSONHoldsEachFieldOnce(t *testing.T) {
	for _, text := range []string{
		`{"name": "a", "name": "b"}`,
		`{"freeze": {"maxDuration": "10s", "typo": 1}, "freeze": {}}`, `{"name": "a"} {"name": "b"}`,
	} {
		_, err := decodeJSON([]byte(text), Plan.allProblems)
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "is missing", "it is the syntax that is wrong")
	}
	plan, err := Decode([]byte(wholePlan + "rounds: {interval: }\nverify:\n"))
	require.NoError(t, err, "null is the same as absent")
	require.Equal(t, DefaultRoundInterval, plan.Rounds.Interval)
}

func TestDuration(t *testing.T) {
	for text, printed := range map[string]string{
		"30s": "30s", "15m": "15m", "1h": "1h", "90m": "1h30m",
		"1m30s": "1m30s", "250ms": "250ms", "20m0s": "20m",
	} {
		var d Duration
		require.NoError(t, json.Unmarshal([]byte(`"`+text+`"`), &d))
		again, err := json.Marshal(d)
		require.NoError(t, err)
		require.Equal(t, `"`+printed+`"`, string(again))
	}
	for _, bad := range []string{`30`, `"30"`, `"soon"`, `{}`, `null5`} {
		var d Duration
		require.Error(t, json.Unmarshal([]byte(bad), &d), bad)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(wholePlan))
	f.Add([]byte(`{"name": 1}`))
	f.Add([]byte("indices: [[[]]]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		plan, err := Decode(data)
		if err != nil {
			var invalid *InvalidPlanError
			require.True(t, errors.As(err, &invalid))
			require.NotEmpty(t, invalid.Problems)
			return
		}
		again, err := json.Marshal(plan)
		require.NoError(t, err)
		second, err := Decode(again)
		require.NoError(t, err, "what was accepted is accepted again")
		require.Equal(t, plan, second)
	})
}

func TestAPlanThatIsTooLargeIsRefused(t *testing.T) {
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	for i := range 2000 {
		plan.Indices = append(plan.Indices, fmt.Sprintf("index-%04d-%s", i, strings.Repeat("x", 80)))
	}
	text, err := json.Marshal(plan)
	require.NoError(t, err)
	_, err = Decode(text)
	require.ErrorContains(t, err, "makes the plan too large")
	require.ErrorContains(t, err, "use patterns")

	// A migration with such a plan may be under way: its runs read it again.
	var input Input
	require.NoError(t, input.UnmarshalJSON(text))
	_, err = input.Plan()
	require.ErrorContains(t, err, "use patterns")
	before, err := input.PlanBefore()
	require.NoError(t, err)
	require.Len(t, before.Indices, len(plan.Indices))
	running, err := input.Running()
	require.NoError(t, err)
	require.Equal(t, before, running)
}

func TestAResolvedPlanIsHandedOnAsItIs(t *testing.T) {
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	plan.Rounds.Interval = 0
	text, err := json.Marshal(ResolvedInput(plan))
	require.NoError(t, err)
	var arrived Input
	require.NoError(t, arrived.UnmarshalJSON(text))
	got, err := arrived.Resolved()
	require.NoError(t, err)
	require.Equal(t, plan, got)
	_, err = new(Input).Resolved()
	require.Error(t, err)
}

// A colon was legal until 7.0, and 2.x had names that begin with a sign: they can be excluded.
func TestIndicesOfAPlan(t *testing.T) {
	var c checker
	indices := []string{"app:events", "*", "-logs-debug-*", "--dash", "-+plus", "-.kibana*"}
	c.checkIndices(indices)
	require.Empty(t, c.problems)
	for _, entry := range indices {
		require.Regexp(t, indexPattern, entry)
	}
	require.Equal(t, IndexSelection{
		Names: []string{"app:events"}, Patterns: []string{"*"},
		Excluded: []string{"logs-debug-*", "-dash", "+plus", ".kibana*"},
	}, Plan{Indices: indices}.Selection())
}

// What no worker reads is told before anything is started. A migration that runs keeps its plan.
func TestReferencesToWhatIsTheWorkersOwnAreRefused(t *testing.T) {
	for _, ref := range []string{
		"env:AWS_SECRET_ACCESS_KEY", "env:TEMPORAL_API_KEY", "file:/proc/self/environ", "file:/run/../dev/stdin",
	} {
		text := strings.Replace(wholePlan, "env:TARGET_PASSWORD", ref, 1)
		require.NotEqual(t, wholePlan, text)
		_, err := Decode([]byte(text))
		require.ErrorContains(t, err, "target.auth.password")
		require.ErrorContains(t, err, "no worker reads it for a plan")
	}
}
