package migration

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRestoredFilesOfGroupsAddUp(t *testing.T) {
	one := &RestoredFiles{Shards: 1, Files: 2, Bytes: 3, Named: true}
	require.Equal(t, one, one.Add(nil))
	require.Equal(t, one, (*RestoredFiles)(nil).Add(one))
	require.Nil(t, (*RestoredFiles)(nil).Add(nil))
	require.Nil(t, (*RestoredFiles)(nil).Brief())
	other := &RestoredFiles{Shards: 10, Files: 20, Bytes: 30, Why: "no lists"}
	for i := range MostUnknownIndices {
		other.Unlike = append(other.Unlike, UnlikeFiles{Index: strconv.Itoa(i)})
		other.Unknown = append(other.Unknown, strconv.Itoa(i))
		other.UnlikeCount, other.UnknownCount = i+1, i+1
	}
	sum := one.Add(other).Add(other)
	require.Len(t, sum.Unlike, MostUnlikeFiles)
	require.Len(t, sum.Unknown, MostUnknownIndices)
	require.Equal(t, &RestoredFiles{
		Shards: 21, Files: 42, Bytes: 63, Why: "no lists", UnlikeCount: 100, UnknownCount: 100,
	}, sum.Brief())
	require.False(t, sum.Same("a"), "too many are not named")
}

func TestEvidenceInWords(t *testing.T) {
	for want, evidence := range map[string]Evidence{
		"":                         {},
		"proven before the freeze": {Proven: 5},
		"scanned in the window, with the snapshot's files":                                    {Scanned: 2, Files: 2},
		"3 proven before the freeze, 2 beyond a sequence number, 1 with the snapshot's files": {Proven: 3, Beyond: 2, Files: 1},
	} {
		require.Equal(t, want, evidence.Text())
	}
}
