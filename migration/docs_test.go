package migration

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The plan reference names every field, with its default, and no field that there isn't.
func TestThePlanReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile("../docs/plan.md")
	require.NoError(t, err)
	known := map[string]bool{}
	var walk func(path string, shape reflect.Type)
	walk = func(path string, shape reflect.Type) {
		for i := range shape.NumField() {
			field := shape.Field(i)
			name := join(path, fieldName(field))
			require.NotEqual(t, field.Type.Kind() != reflect.Struct, field.Tag.Get("example") == "",
				"%s has no example for errors", name)
			if field.Type.Kind() == reflect.Struct {
				walk(name, field.Type)
				continue
			}
			known[name] = true
			require.Contains(t, string(text), "`"+name+"`")
		}
	}
	walk("", reflect.TypeFor[Plan]())
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, name := range strings.Split(strings.Split(line, "|")[1], ",") {
			require.True(t, known[strings.Trim(strings.TrimSpace(name), "`")], "%s is documented but no field", name)
		}
	}
}

// What errors, status and troubleshooting say of an error type goes together.
func TestEveryErrorTypeHasARemedy(t *testing.T) {
	for _, errorType := range []ErrorType{
		ErrorPreflight, ErrorUnauthorized, ErrorSecret, ErrorMissing, ErrorSnapshotFailed, ErrorSnapshotUnusable,
		ErrorRepository,
		ErrorTargetWritten, ErrorRestoreFailed, ErrorNoStandstill, ErrorVerification, ErrorWebhook,
	} {
		require.NotEqual(t, ErrorType("").Remedy(), errorType.Remedy(), errorType)
	}
	require.NotEmpty(t, ErrorRefused.Remedy())
}

// A remedy that the phase refuses would send a person the wrong way in the worst moment.
func TestARemedyNamesOnlyWhatThePhaseAllows(t *testing.T) {
	for errorType := range remedies {
		require.Equal(t, errorType.Remedy(), errorType.RemedyIn(PhaseRounds))
		for _, phase := range []Phase{PhaseCutover, PhaseAborting} {
			text := errorType.RemedyIn(phase)
			require.NotContains(t, text, "abort", "%s in %s", errorType, phase)
			require.Contains(t, text, "send retry")
		}
		require.NotContains(t, errorType.RehearsalRemedy(), "retry", "a rehearsal waits for nobody")
	}
	require.Contains(t, ErrorVerification.RemedyIn(PhaseVerify), "An abort removes the write block")
	require.Contains(t, ErrorTargetWritten.RemedyIn(PhaseFinalRound), "the next restore overwrites it")
	require.Contains(t, ErrorTargetWritten.RemedyIn(PhaseCutover), "it stays")
}
