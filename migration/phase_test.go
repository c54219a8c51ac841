package migration

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The complete table: what becomes of each request in each phase.
func TestJudge(t *testing.T) {
	const (
		T = Taken
		R = Remembered
		I = Ignored
	)
	phases := []Phase{
		PhasePreflight, PhasePrepare, PhaseBaseline, PhaseRounds, PhaseFreeze, PhaseFinalRound,
		PhaseVerify, PhaseAwaitCutover, PhaseCutover, PhaseAborting, PhaseCompleted, PhaseAborted,
	}
	table := map[Request][]Verdict{
		RequestFreeze:  {R, R, R, T, I, I, I, I, I, I, I, I},
		RequestCutover: {I, I, I, I, R, R, R, T, I, I, I, I},
		RequestAbort:   {T, T, T, T, T, T, T, T, I, I, I, I},
		RequestPause:   {T, T, T, T, I, I, I, I, I, I, I, I},
		RequestResume:  {I, I, I, I, I, I, I, I, I, I, I, I},
		RequestRetry:   {I, I, I, I, I, I, I, I, I, I, I, I},
		RequestRound:   {R, R, R, T, I, I, I, I, I, I, I, I},
	}
	for _, request := range Requests() {
		require.NotEmpty(t, request.Description())
		for i, phase := range phases {
			verdict, why := Judge(request, phase, false, false)
			require.Equal(t, table[request][i], verdict, "%s in %s", request, phase)
			require.NotEmpty(t, why)
		}
	}
	verdict, _ := Judge(RequestRetry, PhaseCutover, false, true)
	require.Equal(t, Taken, verdict, "what needs attention during the cutover can be retried")
	verdict, _ = Judge(RequestRetry, PhaseAborting, false, true)
	require.Equal(t, Taken, verdict)
	verdict, _ = Judge(RequestResume, PhaseRounds, true, false)
	require.Equal(t, Taken, verdict)
	verdict, _ = Judge(RequestPause, PhaseRounds, true, false)
	require.Equal(t, Ignored, verdict)
	verdict, _ = Judge(RequestFreeze, PhaseRounds, true, false)
	require.Equal(t, Remembered, verdict)
}
