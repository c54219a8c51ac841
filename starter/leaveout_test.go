package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// Only a retry can leave indices out.
func TestRetryLeavesIndicesOut(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.answer = migration.Answer{Message: "it is done", Phase: migration.PhaseCutover}
	c := newConsole(t, fake)
	c.run(exitOK, "retry", "movies", "--leave-out", "films,shows", "--leave-out", "books")
	require.Equal(t, []string{"films", "shows", "books"},
		fake.updates[0].Args[0].(migration.RequestInput).LeaveOut)
	_, errs := c.run(exitUsage, "freeze", "movies", "--leave-out", "films")
	require.Contains(t, errs, "unknown flag: --leave-out")
}
