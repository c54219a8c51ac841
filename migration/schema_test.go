package migration

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/snapferry/snapferry/internal/golden"
)

// compiled is the schema as a validator of its own understands it.
func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("plan.schema.json", document))
	schema, err := compiler.Compile("plan.schema.json")
	require.NoError(t, err)
	return schema
}

// judge is what the schema says of a plan in YAML or JSON.
func judge(t testing.TB, schema *jsonschema.Schema, plan []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(plan)
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	return schema.Validate(value)
}

// Editors read the file in docs/.
func TestTheSchemaInTheDocsIsTheSchema(t *testing.T) {
	text, err := Schema()
	require.NoError(t, err)
	golden.Equal(t, "../docs/plan.schema.json", text)
}

// Every plan that Decode takes must be right in an editor as well.
func TestTheSchemaTakesWhatTheDecoderTakes(t *testing.T) {
	schema := compiled(t)
	plans := map[string]string{
		"whole":   wholePlan,
		"nothing": wholePlan + "rounds: {interval: }\nverify:\ncopy: {concurrency: , bandwidth: }\n",
		"durations": wholePlan + "rounds: {interval: 1h30m, until: {window: 1m}}\nfreeze: {maxDuration: " +
			"+1.5h, slotWait: .5h}\n",
		"rates":    wholePlan + "copy: {bandwidth: 100 MiB/s, concurrency: 256, pages: 1000}\n",
		"no limit": wholePlan + "copy: {bandwidth: none}\n",
		"throttles": wholePlan + "throttles: {rounds: {snapshot: keep, restore: 40MB}, window: {snapshot: " +
			"unlimited, recovery: 2gb}}\n",
		"hooks":   wholePlan + wholeHooks,
		"webhook": wholePlan + "cutover: {webhook: {url: file:/run/secrets/hook}}\n",
		"receivers": wholePlan + "notify: {beforeExpiry: 5m, receivers: [{name: a, kind: feishu, url: env:U, " +
			"events: [attention, thawed]}, {name: b, kind: email, email: {server: \"mail:25\", tls: none, from: " +
			"a@b.c, to: [d@e.f]}}]}\n",
		"settings": strings.Replace(wholePlan, "    roleArn",
			"    settings: {compress: true, chunk_size: 1gb, max: 3}\n    roleArn", 1),
		"switches": wholePlan + "rehearsal: true\nrestore: {replicas: 2, excludeAliases: true, " +
			"ignoreSettings: [index.opendistro.*]}\n",
		"no auth": strings.Replace(wholePlan, "{user: elastic, password: env:TARGET_PASSWORD}", "{type: none}", 1),
	}
	for _, name := range []string{"plan.yaml", "plan-minimal.yaml", "plan-vpc-useast1.json"} {
		text, err := os.ReadFile("../starter/examples/" + name)
		require.NoError(t, err)
		plans[name] = string(text)
	}
	for name, plan := range plans {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(plan))
			require.NoError(t, err)
			require.NoError(t, judge(t, schema, []byte(plan)))
		})
	}
}

// What a person gets wrong while writing, an editor must show. Decode refuses each of these too.
func TestTheSchemaRefuses(t *testing.T) {
	schema := compiled(t)
	for name, test := range map[string]struct{ replace, with string }{
		"unknown field":        {"region: ap-southeast-1", "regoin: ap-southeast-1"},
		"unknown top field":    {"indices:", "indexes:"},
		"another letter case":  {"roleArn:", "rolearn:"},
		"unknown deep field":   {"indices:", "freeze: {maxduration: 1h}\nindices:"},
		"missing field":        {"    roleArn: arn:aws:iam::123456789012:role/Snap\n", ""},
		"number for a string":  {"bucket: from-bucket", "bucket: 7"},
		"string for a list":    {`indices: [movies, "logs-*"]`, "indices: movies"},
		"number in a list":     {`indices: [movies, "logs-*"]`, "indices: [movies, 7]"},
		"no index":             {`indices: [movies, "logs-*"]`, "indices: []"},
		"index twice":          {`indices: [movies, "logs-*"]`, "indices: [movies, movies]"},
		"bucket with a scheme": {"bucket: from-bucket", "bucket: s3://from"},
		"role that is none":    {"arn:aws:iam::123456789012:role/Snap", "Snap"},
		"leading slash": {
			"    region: ap-southeast-1\n    roleArn",
			"    region: ap-southeast-1\n    basePath: /a\n    roleArn",
		},
		"without http":         {"http://es.example.com:9200", "es.example.com:9200"},
		"unknown auth":         {"{user: elastic,", "{type: digest, user: elastic,"},
		"name with spaces":     {"name: movies", "name: My Movies"},
		"a secret itself":      {"env:TARGET_PASSWORD", "hunter2"},
		"duration as a number": {"indices:", "rounds: {interval: 30}\nindices:"},
		"duration in words":    {"indices:", "rounds: {interval: 2 h}\nindices:"},
		"rate without a unit":  {"indices:", "copy: {bandwidth: 200MB}\nindices:"},
		"throttle of a rate":   {"indices:", "throttles: {window: {snapshot: 40MB/s}}\nindices:"},
		"concurrency":          {"indices:", "copy: {concurrency: 1000}\nindices:"},
		"a negative number":    {"indices:", "restore: {replicas: -1}\nindices:"},
		"fraction":             {"indices:", "copy: {concurrency: 1.5}\nindices:"},
		"checksum":             {"indices:", "verify: {checksum: md5}\nindices:"},
		"a hook as an object":  {"indices:", "hooks: {beforeBlock: {name: stop}}\nindices:"},
		"a hook without name":  {"indices:", "hooks: {afterThaw: [{activity: {type: A, taskQueue: q}}]}\nindices:"},
		"a hook's queue":       {"indices:", "hooks: {afterThaw: [{name: a, workflow: {type: A}}]}\nindices:"},
		"a hook's attempts": {
			"indices:", "hooks: {afterThaw: [{name: a, attempts: 11, workflow: {type: A, taskQueue: q}}]}\nindices:",
		},
		"a number as a header": {
			"indices:", "hooks: {afterBlock: [{name: a, http: {url: env:U, headers: {X-A: 1}}}]}\nindices:",
		},
		"a signing secret itself": {
			"indices:", "hooks: {afterBlock: [{name: a, http: {url: env:U, signingSecret: hunter2}}]}\nindices:",
		},
		"unknown receiver": {"indices:", "notify: {receivers: [{name: a, kind: irc, url: env:U}]}\nindices:"},
		"receiver's name":  {"indices:", "notify: {receivers: [{kind: slack, url: env:U}]}\nindices:"},
		"unknown event": {
			"indices:", "notify: {receivers: [{name: a, kind: slack, url: env:U, events: [x]}]}\nindices:",
		},
		"receiver's secret":   {"indices:", "notify: {receivers: [{name: a, kind: slack, url: \"https://a.b/c\"}]}\nindices:"},
		"a word for a switch": {"indices:", "rehearsal: sure\nindices:"},
		"a list as a setting": {"    roleArn", "    settings: {a: [b]}\n    roleArn"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(wholePlan, test.replace, test.with, 1)
			require.NotEqual(t, wholePlan, text, "the row changes nothing")
			require.Error(t, judge(t, schema, []byte(text)))
			_, err := Decode([]byte(text))
			require.Error(t, err)
		})
	}
}

// Each field has a description, and each description a field.
func TestEveryFieldIsDescribed(t *testing.T) {
	unused := map[string]bool{}
	for path := range descriptions {
		unused[path] = true
	}
	var walk func(path string, shape reflect.Type)
	walk = func(path string, shape reflect.Type) {
		for i := range shape.NumField() {
			field := shape.Field(i)
			name := join(path, fieldName(field))
			require.NotEmpty(t, describe(name), "%s has no description", name)
			delete(unused, name)
			delete(unused, anySecond(name))
			if field.Type.Kind() == reflect.Struct {
				walk(name, field.Type)
			}
			if ofStructs(field.Type) {
				walk(name+"[]", field.Type.Elem())
			}
		}
	}
	walk("", reflect.TypeFor[Plan]())
	require.Empty(t, unused, "descriptions of fields that do not exist")
	for path := range fieldPatterns {
		require.NotEmpty(t, describe(path), "the pattern of %s belongs to no field", path)
	}
	for path := range fieldMaxima {
		require.NotEmpty(t, describe(path), "the maximum of %s belongs to no field", path)
	}
}

func TestTheSchemaKnowsTheDefaults(t *testing.T) {
	require.Equal(t, AuthSigV4, fieldDefaults()["source.auth.type"])
	require.Equal(t, AuthBasic, fieldDefaults()["target.auth.type"])
	require.Equal(t, DefaultRoundInterval, fieldDefaults()["rounds.interval"])
	require.Equal(t, DefaultConcurrency, fieldDefaults()["copy.concurrency"])
	require.Equal(t, false, fieldDefaults()["rehearsal"])
	for _, dependent := range []string{
		"source.auth.region", "source.repository.basePath", "target.repository.basePath",
		"name", "rounds.until.window",
	} {
		require.NotContains(t, fieldDefaults(), dependent)
	}
}
