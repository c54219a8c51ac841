package repository

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// One root per shape that a version writes.
var roots = map[string]string{
	"2.x": `{"snapshots":["snap1","snap2"]}`,
	"5.0": `{"snapshots":[{"name":"snap1","uuid":"S1"}],"indices":{"b":{"id":"IB","snapshots":[{"name":"snap1","uuid":"S1"}]},"a":{"id":"IA","snapshots":[{"name":"snap1","uuid":"S1"}]}}}`,
	"5.4.1 to 7.5": `{"snapshots":[{"name":"snap1","uuid":"S1","state":1},{"name":"snap2","uuid":"S2","state":3},{"name":"snap3","uuid":"S3","state":1}],
		"indices":{"b":{"id":"IB","snapshots":["S1","S3"]},"a":{"id":"IA","snapshots":["S1","S2"]}}}`,
	"7.6": `{"min_version":"7.6.0","snapshots":[{"name":"snap1","uuid":"S1","state":1,"version":"7.6.2"}],
		"indices":{"a":{"id":"IA","snapshots":["S1"],"shard_generations":["MwjmFzyOT_2NI6DdXLcsNw",null,"_new","3"]}}}`,
	"7.9": `{"snapshots":[{"name":"snap1","uuid":"S1","state":1,"index_metadata_lookup":{"IA":"Uz7B9HV2SJ6peiLiUMJhyg-_na_-1-2-1"},"version":"7.10.2"},
			{"name":"snap0","uuid":"S0","state":1,"index_metadata_lookup":{},"version":"7.8.0"}],
		"indices":{"a":{"id":"IA","snapshots":["S1","S0"],"shard_generations":["x"]}},
		"min_version":"7.9.0","index_metadata_identifiers":{"Uz7B9HV2SJ6peiLiUMJhyg-_na_-1-2-1":"N1BHtXsBYxjWXi8lXhTR"}}`,
	"7.12": `{"min_version":"7.12.0","uuid":"C87ijmZURAK3ij8MsAaDAw","cluster_id":"aSNpPgDAShyYAiKhsun6IA",
		"snapshots":[{"name":"my_snapshot_1","uuid":"2hiUzvH3RPCp9iOeiTa6TQ","state":1,"index_metadata_lookup":{"Uxom82JcSfORXgbtZ4jLSg":"U-_na_-1-2-1"},"version":"7.12.0","start_time_millis":1,"end_time_millis":2}],
		"indices":{"my_index":{"id":"Uxom82JcSfORXgbtZ4jLSg","snapshots":["2hiUzvH3RPCp9iOeiTa6TQ"],"shard_generations":["MwjmFzyOT_2NI6DdXLcsNw"]}},
		"index_metadata_identifiers":{"U-_na_-1-2-1":"N1BHtXsBYxjWXi8lXhTR"}}`,
	"empty": `{"snapshots":[],"indices":{}}`,
}

func parse(t *testing.T, version string) *Root {
	t.Helper()
	root, err := ParseRoot(7, []byte(roots[version]))
	require.NoError(t, err)
	assert.EqualValues(t, 7, root.Generation)
	return root
}

func TestRootOf2(t *testing.T) {
	root, err := ParseRoot(-1, []byte(roots["2.x"]))
	require.NoError(t, err)
	assert.EqualValues(t, -1, root.Generation)
	s, ok := root.ByName("snap2")
	require.True(t, ok)
	assert.Equal(t, Snapshot{Name: "snap2", UUID: "snap2", State: StateUnknown}, s)
	assert.Empty(t, root.Successful(), "a root of 2.x knows no states")
}

func TestRootOf50(t *testing.T) {
	root := parse(t, "5.0")
	s, ok := root.Snapshot("S1")
	require.True(t, ok)
	assert.Equal(t, StateUnknown, s.State)
	assert.Equal(t, []Index{
		{Name: "a", ID: "IA", Snapshots: []string{"S1"}},
		{Name: "b", ID: "IB", Snapshots: []string{"S1"}},
	}, root.IndicesOf("S1"))
}

func TestRootOf55(t *testing.T) {
	root := parse(t, "5.4.1 to 7.5")
	var successful []string
	for _, s := range root.Successful() {
		successful = append(successful, s.Name)
	}
	assert.Equal(t, []string{"snap1", "snap3"}, successful)
	s, ok := root.ByName("snap2")
	require.True(t, ok)
	assert.Equal(t, StatePartial, s.State)
	assert.Equal(t, "PARTIAL", s.State.String())
	assert.Equal(t, "S2", s.IndexMetadataID("IA"))
	assert.Equal(t, []Index{{Name: "b", ID: "IB", Snapshots: []string{"S1", "S3"}}}, root.IndicesOf("S3"))
	_, ok = root.Snapshot("snap1")
	assert.False(t, ok, "a name is no uuid")
	assert.Empty(t, root.IndicesOf("S9"))
}

func TestRootOf76(t *testing.T) {
	root := parse(t, "7.6")
	assert.Equal(t, "7.6.0", root.MinVersion)
	assert.Equal(t, []string{"MwjmFzyOT_2NI6DdXLcsNw", "", "", "3"}, root.Indices[0].ShardGenerations)
	assert.Equal(t, "7.6.2", root.Snapshots[0].Version)
}

func TestRootOf79(t *testing.T) {
	root := parse(t, "7.9")
	assert.Equal(t, "N1BHtXsBYxjWXi8lXhTR", root.Snapshots[0].IndexMetadataID("IA"))
	assert.Equal(t, "S0", root.Snapshots[1].IndexMetadataID("IA"), "a snapshot of before 7.9 keeps its own object")
}

func TestRootOf712(t *testing.T) {
	root := parse(t, "7.12")
	assert.Equal(t, "C87ijmZURAK3ij8MsAaDAw", root.UUID)
	assert.Equal(t, "aSNpPgDAShyYAiKhsun6IA", root.ClusterID)
}

func TestRootKeepsOneOfRepeatedReferences(t *testing.T) {
	root, err := ParseRoot(0,
		[]byte(`{"indices":{"a":{"id":"I","snapshots":["S","S"]}},"snapshots":[{"name":"s","uuid":"S","state":1}]}`))
	require.NoError(t, err)
	assert.Len(t, root.IndicesOf("S"), 1)
}

func TestParseRootRefuses(t *testing.T) {
	one := `{"name":"s","uuid":"S","state":1}`
	for title, data := range map[string]string{
		"nothing":            ``,
		"no object":          `[]`,
		"no snapshots":       `{"indices":{}}`,
		"cut short":          `{"snapshots":[`,
		"more after the end": `{"snapshots":[]}{}`,
		"not UTF-8":          "{\"snapshots\":[\"\xff\"]}",
		"an unknown field":   `{"snapshots":[],"deleted":[]}`,
		"a field twice":      `{"snapshots":[],"snapshots":[]}`,
		"an index twice": `{"snapshots":[` + one +
			`],"indices":{"a":{"id":"I","snapshots":[]},"a":{"id":"J","snapshots":[]}}}`,
		"an unknown snapshot": `{"snapshots":[` + one + `],"indices":{"a":{"id":"I","snapshots":["T"]}}}`,
		"a reference without uuid": `{"snapshots":[` + one +
			`],"indices":{"a":{"id":"I","snapshots":[{"name":"s"}]}}}`,
		"an index without id": `{"snapshots":[` + one + `],"indices":{"a":{"snapshots":["S"]}}}`,
		"an index id twice": `{"snapshots":[` + one +
			`],"indices":{"a":{"id":"I","snapshots":[]},"b":{"id":"I","snapshots":[]}}}`,
		"an index id with a slash":      `{"snapshots":[` + one + `],"indices":{"a":{"id":"../I","snapshots":[]}}}`,
		"an index named ..":             `{"snapshots":[` + one + `],"indices":{"..":{"id":"I","snapshots":[]}}}`,
		"a uuid twice":                  `{"snapshots":[` + one + `,{"name":"t","uuid":"S","state":1}]}`,
		"a name twice":                  `{"snapshots":[` + one + `,{"name":"s","uuid":"T","state":1}]}`,
		"a uuid of dots":                `{"snapshots":[{"name":"s","uuid":"..","state":1}]}`,
		"a uuid with a slash":           `{"snapshots":[{"name":"s","uuid":"a/b","state":1}]}`,
		"a uuid with a control":         `{"snapshots":[{"name":"s","uuid":"a\u0000b","state":1}]}`,
		"no uuid":                       `{"snapshots":[{"name":"s","state":1}]}`,
		"no name":                       `{"snapshots":[{"uuid":"s","state":1}]}`,
		"state 5":                       `{"snapshots":[{"name":"s","uuid":"S","state":5}]}`,
		"state -1":                      `{"snapshots":[{"name":"s","uuid":"S","state":-1}]}`,
		"a state in words":              `{"snapshots":[{"name":"s","uuid":"S","state":"SUCCESS"}]}`,
		"state 1.5":                     `{"snapshots":[{"name":"s","uuid":"S","state":1.5}]}`,
		"a generation with a slash":     `{"snapshots":[],"indices":{"a":{"id":"I","snapshots":[],"shard_generations":["../x"]}}}`,
		"a generation that is a number": `{"snapshots":[],"indices":{"a":{"id":"I","snapshots":[],"shard_generations":[3]}}}`,
		"metadata without identifier":   `{"snapshots":[{"name":"s","uuid":"S","state":1,"index_metadata_lookup":{"I":"x"}}]}`,
		"metadata id with a slash":      `{"snapshots":[{"name":"s","uuid":"S","state":1,"index_metadata_lookup":{"I":"x"}}],"index_metadata_identifiers":{"x":"../y"}}`,
		"a newer repository":            `{"min_version":"8.0.0","snapshots":[]}`,
		"a version that is none":        `{"min_version":"new","snapshots":[]}`,
		"too many shards":               `{"snapshots":[],"indices":{"a":{"id":"I","snapshots":[],"shard_generations":[` + strings.Repeat("null,", maxShards) + `null]}}}`,
		"nested too deep": `{"snapshots":[{"x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) +
			`}]}`,
	} {
		t.Run(title, func(t *testing.T) {
			root, err := ParseRoot(3, []byte(data))
			require.Error(t, err)
			assert.Nil(t, root)
			var format *FormatError
			require.ErrorAs(t, err, &format)
			assert.Equal(t, "root index-3", format.What)
			assert.Less(t, len(err.Error()), 600)
		})
	}
}

func TestReaderBoundsEntries(t *testing.T) {
	read := func(budget int) error {
		var list []string
		return readValue([]byte(`{"a":["x","y"],"b":1}`), budget, func(r *reader) error {
			return r.object(func(name string) error {
				if name == "a" {
					return r.strings(&list)
				}
				return r.skip()
			})
		})
	}
	require.NoError(t, read(4))
	require.ErrorIs(t, read(3), errTooMany)
	require.ErrorIs(t, read(2), errTooMany)
}

func FuzzParseRoot(f *testing.F) {
	for _, data := range roots {
		f.Add(int64(3), []byte(data))
	}
	f.Add(int64(-1), []byte(`{"snapshots":[{"name":"s","uuid":"../S","state":1}]}`))
	f.Fuzz(func(t *testing.T, generation int64, data []byte) {
		root, err := ParseRoot(generation, data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepted what is not JSON: %q", data)
		}
		shapes := map[string]Shape{}
		for _, index := range root.Indices {
			shapes[index.ID] = Shape{Shards: 2}
		}
		for _, s := range root.Snapshots {
			groups, err := MetadataOf(root, []string{s.UUID}, shapes)
			if s.State != StateSuccess && s.State != StateUnknown {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			checkGroups(t, groups)
		}
	})
}

// checkGroups proves that every key is what it claims, below the base path, in its stage, and that
// the stages are in order.
func checkGroups(t testing.TB, groups []Group) {
	t.Helper()
	last := StageData
	for _, g := range groups {
		if g.Stage <= last {
			t.Fatalf("stage %v comes after %v", g.Stage, last)
		}
		last = g.Stage
		for _, o := range g.Objects {
			if k := Classify(o.Key); k.Class.Stage() != g.Stage || k.Class != o.Class {
				t.Fatalf("%q is %v, not %v", o.Key, k.Class, o.Class)
			}
		}
	}
}

func ExampleParseRoot() {
	root, err := ParseRoot(4, []byte(`{"snapshots":[{"name":"movies-r0001-a1","uuid":"2hiUzvH3RPCp9iOeiTa6TQ","state":1}],
		"indices":{"movies":{"id":"Uxom82JcSfORXgbtZ4jLSg","snapshots":["2hiUzvH3RPCp9iOeiTa6TQ"]}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range root.Successful() {
		for _, index := range root.IndicesOf(s.UUID) {
			key, _ := IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
			fmt.Println(s.Name, index.Name, key)
		}
	}
	// Output: movies-r0001-a1 movies indices/Uxom82JcSfORXgbtZ4jLSg/meta-2hiUzvH3RPCp9iOeiTa6TQ.dat
}
