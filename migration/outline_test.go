package migration

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutline(t *testing.T) {
	for name, test := range map[string]struct {
		status Status
		want   Outline
	}{
		"rounds": {
			Status{
				Phase: PhaseRounds, PhaseSinceMillis: 1, Prediction: &Prediction{Millis: 42},
				Next: []string{"starter freeze movies", "temporal workflow signal ...", "starter round movies"},
			},
			Outline{Phase: PhaseRounds, PhaseSinceMillis: 1, WindowMillis: 42, Next: RequestFreeze},
		},
		"frozen": {
			Status{
				Phase: PhaseAwaitCutover, FrozenSinceMillis: 5, FrozenUntilMillis: 9,
				Prediction: &Prediction{Millis: 42}, FrozenWindow: &FrozenWindow{Millis: 7},
				Next: []string{"temporal workflow signal ..."},
			},
			Outline{Phase: PhaseAwaitCutover, FrozenSinceMillis: 5, FrozenUntilMillis: 9, WindowMillis: 7},
		},
		"thaw": {
			Status{Phase: PhaseThaw, FrozenSinceMillis: 5},
			Outline{Phase: PhaseThaw, FrozenSinceMillis: 5},
		},
		"completed": {
			Status{Phase: PhaseCompleted, FrozenSinceMillis: 5, FrozenWindow: &FrozenWindow{Millis: 7}},
			Outline{Phase: PhaseCompleted, WindowMillis: 7},
		},
		"attention": {
			Status{Phase: PhaseBaseline, Attention: &Attention{Type: strings.Repeat("x", 100), Retrying: true}},
			Outline{Phase: PhaseBaseline, Attention: strings.Repeat("x", longestAttention) + " ...", Retrying: true},
		},
		"rehearsal": {
			Status{Phase: PhaseRehearse, Rehearsal: &Rehearsal{
				Window: &FrozenWindow{Millis: 8}, Attention: make([]Attention, 2), AttentionOmitted: 3,
			}},
			Outline{Phase: PhaseRehearse, WindowMillis: 8, Findings: 5},
		},
	} {
		require.Equal(t, test.want, test.status.Outline(), name)
	}
}

// The command that the runbook gives registers what the workflow sets.
func TestTheCommandRegistersEachAttribute(t *testing.T) {
	for name, kind := range AttributeTypes() {
		require.Contains(t, RegisterAttributes, " --name "+name+" --type "+kind)
	}
	runbook, err := os.ReadFile("../docs/runbook.md")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(runbook), "\\\n", " ")), " ")
	require.True(t, strings.Contains(text, RegisterAttributes), "docs/runbook.md gives another command")
}

// Nobody can write from the first hook that stops the writers, or else from the block.
func TestDownSince(t *testing.T) {
	for name, c := range map[string]struct {
		status Status
		want   int64
	}{
		"rounds":               {Status{Phase: PhaseRounds}, 0},
		"a hook, no block yet": {Status{Phase: PhaseFreeze, DownSinceMillis: 5}, 5},
		"no hook":              {Status{Phase: PhaseVerify, FrozenSinceMillis: 7}, 7},
		"both":                 {Status{Phase: PhaseCutover, DownSinceMillis: 5, FrozenSinceMillis: 7}, 5},
		"an abort":             {Status{Phase: PhaseAborting, DownSinceMillis: 5, FrozenSinceMillis: 7}, 0},
		"the end":              {Status{Phase: PhaseCompleted, DownSinceMillis: 5, FrozenSinceMillis: 7}, 0},
	} {
		require.Equal(t, c.want, c.status.DownSince(), name)
	}
}
