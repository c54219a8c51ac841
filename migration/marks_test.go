package migration_test

import (
	"testing"

	"github.com/snapferry/snapferry/migration"
)

func TestAnIndexIsUnchangedOnlyIfEverythingIsKnownAndEqual(t *testing.T) {
	t.Parallel()
	mark := migration.IndexMark{UUID: "u", Definition: "d", Shards: []string{"1", "2"}}
	if !mark.Unchanged(mark) {
		t.Error("an index with the same mark counts as changed")
	}
	for name, now := range map[string]migration.IndexMark{
		"created again":          {UUID: "v", Definition: "d", Shards: []string{"1", "2"}},
		"a changed mapping":      {UUID: "u", Definition: "e", Shards: []string{"1", "2"}},
		"a write to shard 1":     {UUID: "u", Definition: "d", Shards: []string{"1", "3"}},
		"fewer shards":           {UUID: "u", Definition: "d", Shards: []string{"1"}},
		"an unknown shard":       {UUID: "u", Definition: "d", Shards: []string{"1", ""}},
		"an unknown definition":  {UUID: "u", Shards: []string{"1", "2"}},
		"no shard that is known": {UUID: "u", Definition: "d"},
		"nothing":                {},
	} {
		if now.Unchanged(mark) {
			t.Errorf("%s counts as unchanged", name)
		}
	}
	unknown := migration.IndexMark{UUID: "u", Definition: "d", Shards: []string{""}}
	if unknown.Unchanged(unknown) {
		t.Error("two unknown marks count as equal")
	}
}
