package migration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestTheNameOfASnapshotTellsItsTurn(t *testing.T) {
	turns := []migration.SnapshotTurn{
		{Round: 0, Attempt: 1},
		{Round: 0, Attempt: 2},
		{Round: 3, Group: 1, Attempt: 1},
		{Round: 3, Group: 2, Attempt: 2},
		{Round: 3, Group: 1, Attempt: 3},
		{Round: 12_345, Attempt: 1},
	}
	for i, turn := range turns {
		name := migration.SnapshotName("movies", turn.Round, turn.Attempt)
		if turn.Group > 0 {
			name = migration.GroupSnapshotName("movies", turn.Round, turn.Group, turn.Attempt)
		}
		got, ok := migration.TurnOf("movies", name)
		require.True(t, ok, name)
		require.Equal(t, turn, got, name)
		for j, other := range turns {
			require.Equal(t, i < j, turn.Compare(other) < 0, "%v %v", turn, other)
			require.Equal(t, i > j, turn.Compare(other) > 0, "%v %v", turn, other)
		}
		_, ok = migration.TurnOf("movie", name)
		require.False(t, ok, "another plan's")
		_, ok = migration.TurnOf("movies-r0001", "movies-r0001-x"+name)
		require.False(t, ok)
	}
	for _, name := range []string{
		"", "movies", "movies-r1-a1", "movies-r0001", "movies-r0001-a", "movies-r0001-a1-g2", "xmovies-r0001-a1",
		"movies-r0001-a1x", "movies-r0001-g-a1", "movies-r9999999999-a1",
	} {
		_, ok := migration.TurnOf("movies", name)
		require.False(t, ok, name)
	}
}
