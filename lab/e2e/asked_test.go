//go:build lab

package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// A write that nobody expects any more comes after the final snapshot was asked for, and before the
// source was found to stand still. That snapshot is void: the next one has the write.
func TestAWriteAfterTheFinalSnapshotWasAskedFor(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "lastwrite", 500)
	s.noRoundBesides()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	source := s.lab.Source.Direct()
	require.NoError(t, s.put(source), "or nothing takes part")
	// The refresh belongs to what the last sample waits for, and the request for the snapshot doesn't
	// wait for it.
	asked := s.lab.Source.Front.HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"-r"))
	held := s.heldOnceBlocked(lab.Requests(http.MethodPost, "/"+s.name+"/_refresh"))
	s.awaitHeld(held)
	s.awaitHeld(asked)
	asked.Release()
	block := func(value any) {
		require.NoError(t, source.Do(s.ctx, http.MethodPut, "/"+s.index+"/_settings",
			map[string]any{"index.blocks.write": value}, nil))
	}
	block(nil)
	require.NoError(t, s.put(source))
	block(true)
	held.Release()
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestCutover)
	report := s.completed()
	final := report.Rounds[len(report.Rounds)-1]
	require.Equal(t, 2, final.Attempt)
	require.Equal(t, migration.RoundFinal, final.Kind)
}
