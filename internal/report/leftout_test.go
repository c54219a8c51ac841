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

// What stays on the source is named on each page, and no page says that all is well.
func TestIndicesThatAreNotHotAreOnEachPage(t *testing.T) {
	apart := &migration.NotHot{Warm: []string{"logs-1", "logs-2"}, Cold: []string{"logs-0"}, MoreCold: 7, LeftOut: true}
	says := []string{
		"in UltraWarm storage, so no round takes them: logs-1, logs-2. They stay on the source (source.warm: leaveOut)",
		"in cold storage, so no round takes them: logs-0 and 7 more. They stay on the source (source.warm: leaveOut)",
	}
	r := completed()
	r.NotHot, r.Warnings = apart, nil
	v := newView(r, time.UTC)
	require.Equal(t, "Completed: all 2 indices are equal. Others stay on the source, in UltraWarm or cold storage.",
		v.Outcome)
	require.Equal(t, "warn", v.Tone)
	page, err := HTML(r, nil, time.UTC)
	require.NoError(t, err)
	for _, text := range []string{Text(r, time.UTC), Markdown(r, time.UTC), string(page)} {
		require.Equal(t, 1, strings.Count(text, "Left on the source"))
		text = strings.Join(strings.Fields(text), " ") // lines are wrapped
		for _, sentence := range says {
			require.Contains(t, text, sentence)
		}
	}
	require.NotContains(t, Text(completed(), time.UTC), "Left on the source")

	status := StatusPage(migration.Status{Phase: migration.PhaseRounds, NotHot: apart}, "")
	for _, sentence := range says {
		require.Contains(t, status, "- **Left on the source**: "+sentence+"\n")
	}
	require.NotContains(t, StatusPage(statuses()["frozen"], ""), "Left on the source")
}
