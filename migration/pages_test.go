package migration_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestPagesAsText(t *testing.T) {
	page := migration.CopyPage{Shards: []migration.ShardRange{{
		IndexID: "gCFnl0ZYR4KbKGLA22rnjw", Shard: 3, From: 500,
		To: 1000,
	}}, Blobs: 500, Bytes: 1 << 40}
	text, err := json.Marshal(page)
	require.NoError(t, err)
	require.JSONEq(t, `{"shards":["gCFnl0ZYR4KbKGLA22rnjw/3:500-1000"],"blobs":500,"bytes":1099511627776}`,
		string(text))
	var back migration.CopyPage
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, page, back)
	var based migration.ShardRange
	for _, text := range []string{
		"gCFnl0ZYR4KbKGLA22rnjw/3:500-1000@-", "gCFnl0ZYR4KbKGLA22rnjw/3:0-1@qjA76Fi0iEQbqjwyW9gvnw",
	} {
		require.NoError(t, based.UnmarshalText([]byte(text)))
		again, err := based.MarshalText()
		require.NoError(t, err)
		require.Equal(t, text, string(again))
	}
	require.Equal(t, "qjA76Fi0iEQbqjwyW9gvnw", based.Base)
	for _, wrong := range []string{
		"", "a/1", "a/1:2", "/1:2-3", "a/-1:2-3", "a/1:2-9999999999", "a/b/1:2-3", "a/1:2-3@", "a/1:2-3@b@c",
	} {
		require.Error(t, new(migration.ShardRange).UnmarshalText([]byte(wrong)), wrong)
	}

	shard := migration.SnapshotShard{Index: "logs-2017.03", Shard: 12}
	text, err = json.Marshal([]migration.SnapshotShard{shard})
	require.NoError(t, err)
	require.JSONEq(t, `["logs-2017.03/12"]`, string(text))
	var shards []migration.SnapshotShard
	require.NoError(t, json.Unmarshal(text, &shards))
	require.Equal(t, []migration.SnapshotShard{shard}, shards)
	require.Error(t, json.Unmarshal([]byte(`["logs"]`), &shards))

	result := migration.PageResult{Digest: 0xfedcba9876543210}
	text, err = json.Marshal(result)
	require.NoError(t, err)
	require.Contains(t, string(text), `"digest":"fedcba9876543210"`)
	var read migration.PageResult
	require.NoError(t, json.Unmarshal(text, &read))
	require.Equal(t, result, read)
	for _, wrong := range []string{"", "1", "fedcba987654321g", "-edcba9876543210"} {
		require.Error(t, new(migration.Digest).UnmarshalText([]byte(wrong)), wrong)
	}
}
