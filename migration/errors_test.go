package migration

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// errorTypes are those that park a migration, or that a warning tells of.
func errorTypes(t *testing.T) []ErrorType {
	t.Helper()
	text, err := os.ReadFile("errors.go")
	require.NoError(t, err)
	var types []ErrorType
	for _, match := range regexp.MustCompile(`Error\w+ +ErrorType = "(\w+)"`).FindAllSubmatch(text, -1) {
		if found := ErrorType(match[1]); found != ErrorInvalidPlan && found != ErrorAborted {
			types = append(types, found)
		}
	}
	require.Contains(t, types, ErrorTargetOpened)
	require.Contains(t, types, ErrorWebhook)
	return types
}

func TestKnownErrorTypes(t *testing.T) {
	for _, known := range append(errorTypes(t), AttentionFailed, AttentionTimedOut) {
		require.True(t, known.Known(), known)
	}
	require.False(t, ErrorType("PanicError").Known())
}

var allPhases = []Phase{
	PhasePreflight, PhasePrepare, PhaseBaseline, PhaseRounds, PhaseReady, PhaseFreeze, PhaseFinalRound, PhaseVerify,
	PhaseAwaitCutover, PhaseCutover, PhaseThaw, PhaseAborting, PhaseRehearse, PhaseCleanUp, PhaseCompleted,
	PhaseAborted,
}

// A remedy that the phase refuses would send a person the wrong way in the worst moment.
func TestARemedyNamesOnlyWhatThePhaseAllows(t *testing.T) {
	for _, errorType := range append(errorTypes(t), "Failed") {
		for _, phase := range allPhases {
			text := errorType.RemedyIn(phase)
			where := string(errorType) + " in " + string(phase) + ": " + text
			require.NotEmpty(t, errorType.remedy().fix, where)
			waits := errorType != ErrorWebhook && errorType != ErrorReceiver && !phase.Ended()
			require.Equal(t, waits, regexp.MustCompile(`[Ss]end retry`).MatchString(text), where)
			verdict, _ := Judge(RequestRetry, phase, false, true)
			require.False(t, waits && verdict == Ignored, where)

			aborts := regexp.MustCompile(`\babort\b`).MatchString(text)
			verdict, _ = Judge(RequestAbort, phase, false, true)
			require.False(t, aborts && verdict != Taken, where)
			require.Equal(t, phase.Frozen(), regexp.MustCompile("removes the write block").MatchString(text), where)

			overwrites := regexp.MustCompile("overwrites|restores over").MatchString(text)
			require.False(t, overwrites && errorType == ErrorTargetWritten && phase == PhaseCutover, where)
		}
		rehearsed := errorType.RehearsalRemedy()
		require.NotContains(t, rehearsed, "retry", "a rehearsal waits for nobody")
		require.Regexp(t, "rehearse again", rehearsed)
	}
}

// Only a retry of the steps that read it accepts what was written.
func TestARemedyPromisesOnlyWhatARetryDoes(t *testing.T) {
	require.Contains(t, ErrorTargetWritten.RemedyIn(PhaseFinalRound), "the next restore overwrites it")
	require.Contains(t, ErrorTargetWritten.RemedyIn(PhaseCutover), "it stays")
	require.NotContains(t, ErrorTargetOpened.RemedyIn(PhaseFinalRound), "accepts")
	require.Contains(t, ErrorTargetOpened.RemedyIn(PhaseRounds), "index.blocks.write")
	require.Contains(t, ErrorWebhook.RemedyAfterwards(), "by hand")
	require.Empty(t, ErrorUnauthorized.RemedyAfterwards())
}

// What keeps failing asks for no retry: none is needed.
func TestTheRemedyOfWhatKeepsFailing(t *testing.T) {
	for _, phase := range allPhases {
		text := Attention{Type: "Unavailable", Retrying: true}.RemedyIn(phase)
		require.NotContains(t, text, "send retry")
		require.Equal(t, phase.CanAbort(), regexp.MustCompile(`\babort\b`).MatchString(text), "%s: %s", phase, text)
	}
	require.Equal(t, ErrorMissing.RemedyIn(PhaseRounds), Attention{Type: "Missing"}.RemedyIn(PhaseRounds))
}

// What errors, status and troubleshooting say of an error type goes together.
func TestEveryErrorTypeIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/troubleshooting.md")
	require.NoError(t, err)
	for _, errorType := range errorTypes(t) {
		require.Contains(t, string(text), "\n## "+string(errorType)+"\n")
		if errorType != ErrorRefused {
			require.Contains(t, remedies, errorType)
		}
	}
}
