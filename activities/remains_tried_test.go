package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// A worker that dies while the target tries a definition leaves the throw-away index there. Its name
// says whose it is; what somebody has written into stays.
func TestTheThrowAwayIndexOfADeadWorkerIsRemoved(t *testing.T) {
	for name, forgotten := range map[string]bool{"its history is there": false, "nobody remembers the run": true} {
		t.Run(name, func(t *testing.T) {
			w, _ := newRun(t)
			if !forgotten {
				w.ended(wfFailed)
			}
			ours := []string{w.run.TriedIndex(), "snapferry-try-movies-0f3c9a71"}
			empty := map[string]string{"index.number_of_replicas": "0"}
			for _, index := range ours {
				w.to.Create(index, 1, empty)
			}
			stay := []string{
				"snapferry-try-movies-eu-0f3c9a71", // that of another plan
				"snapferry-try-movies-mine", "snapferry-try-movies-0f3c9a712", "snapferry-try-movies-ffffffff",
				"snapferry-try-movies-aaaaaaaa", "snapferry-try-movies-bbbbbbbb",
			}
			for _, index := range stay[:4] {
				w.to.Create(index, 1, empty)
			}
			require.NoError(t, w.to.Index("snapferry-try-movies-ffffffff", "somebody's"))
			w.to.Create(stay[4], 2, empty)
			w.to.Create(stay[5], 1, map[string]string{"index.blocks.write": "true", "index.number_of_replicas": "0"})

			found := summary(w.remains(migration.RemainsIndices))
			for _, index := range ours {
				require.Contains(t, found, "ours indices 1 "+index)
			}
			require.Contains(t, found, "kept indices 1 snapferry-try-movies-ffffffff")
			w.removeAll(migration.RemainsIndices)
			for _, index := range ours {
				require.False(t, w.to.Has(index), index)
			}
			for _, index := range stay {
				require.True(t, w.to.Has(index), index)
			}
		})
	}
}

// One that somebody writes into between the look and the removal stays.
func TestAThrowAwayIndexThatSomebodyUsesStays(t *testing.T) {
	w, _ := newRun(t)
	w.ended(wfFailed)
	w.to.Create(w.run.TriedIndex(), 1, map[string]string{"index.number_of_replicas": "0"})
	l, err := w.activities.search(t.Context(), migration.RemainsRequest{
		Plan: w.run.Plan, Remove: []migration.RemainsKind{migration.RemainsIndices},
	}, []migration.RemainsKind{migration.RemainsIndices}, &pulse{})
	require.NoError(t, err)
	require.NoError(t, w.to.Index(w.run.TriedIndex(), "somebody's"))
	result := migration.Removed{Kind: migration.RemainsIndices}
	require.NoError(t, (&removal{search: l, result: &result}).indices(t.Context()))
	require.True(t, w.to.Has(w.run.TriedIndex()))
	require.Contains(t, result.Left[0], w.run.TriedIndex())
}
