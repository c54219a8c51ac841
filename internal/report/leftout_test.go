package report

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// What the target lacks is named before any other warning.
func TestAReportNamesWhatTheTargetLacks(t *testing.T) {
	r := migration.Report{
		Result: migration.ResultCompleted, Indices: []migration.IndexResult{{Name: "a", Equal: true}},
		Warnings: []string{"other"},
		SettingsLeftOut: []migration.LeftOut{
			{Setting: "index.knn", Why: "a plugin's", Indices: 4, Names: []string{"a", "b", "c"}},
		},
	}
	v := newView(r, time.UTC)
	require.Equal(t, []string{"setting index.knn is not on the target: a plugin's (a, b, c and 1 more)", "other"},
		v.Warnings)
	require.Equal(t, "warn", v.Tone)
	r.NotHandedOver = []migration.Refusal{{Index: "a", Message: "it is gone"}}
	v = newView(r, time.UTC)
	require.Equal(t, "index a was left out of the handover: it is gone", v.Warnings[0])
	require.Equal(t, "bad", v.Tone)
	require.True(t, strings.HasPrefix(v.Outcome, "Completed, but 1 of 1"))
}
