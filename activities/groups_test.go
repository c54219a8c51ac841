package activities

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// Groups of very many indices are stored like the list that they are cut from, and weigh about the
// same.
func TestGroupsOfVeryManyIndices(t *testing.T) {
	w := newWorld(t)
	var indices []migration.Index
	seen := map[string]int64{}
	for n := range 3000 {
		name := fmt.Sprintf("logs-%04d", n)
		indices = append(indices, migration.Index{Name: name, UUID: "u-" + name, Writes: int64(n), Docs: 10, Shards: 1})
		seen[name] = 0
	}
	request := migration.CutGroupsRequest{Run: w.run, Groups: 4}
	var err error
	request.IndicesOf, err = store(t.Context(), w.activities.lists, w.run, indices)
	require.NoError(t, err)
	request.SeenOf, err = store(t.Context(), w.activities.lists, w.run, seen)
	require.NoError(t, err)
	result := must[migration.CutGroupsResult](w, w.activities.CutGroups, request)
	require.Len(t, result.Groups, 4)
	all := map[string]bool{}
	for _, group := range result.Groups {
		require.True(t, group.Stored())
		of, err := fetch(t.Context(), w.activities.lists, w.run, nil, group.Of())
		require.NoError(t, err)
		require.Len(t, of, group.Len())
		require.Equal(t, migration.IdentityOf(of), group.Identity())
		var writes int64
		for _, index := range of {
			writes += index.Writes
			all[index.Name] = true
		}
		require.InDelta(t, 3000*2999/2/4, writes, 3000)
	}
	require.Len(t, all, 3000)
}
