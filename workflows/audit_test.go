package workflows

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func auditInput(t *testing.T, text string) migration.AuditInput {
	t.Helper()
	var input migration.AuditInput
	require.NoError(t, json.Unmarshal([]byte(text), &input))
	return input
}

// runAudit runs the workflow with an activity in place of the real one.
func runAudit(t *testing.T, input migration.AuditInput,
	audit func(migration.AuditRequest) (migration.AuditReport, error),
) (migration.AuditReport, error) {
	t.Helper()
	env := newEnvironment(t)
	env.RegisterActivityWithOptions(func(ctx context.Context, r migration.AuditRequest) (migration.AuditReport, error) {
		require.Equal(t, migration.CopyTaskQueue, activity.GetInfo(ctx).TaskQueue)
		return audit(r)
	}, activity.RegisterOptions{Name: migration.ActivityAudit})
	env.ExecuteWorkflow(Audit, input)
	require.True(t, env.IsWorkflowCompleted())
	var report migration.AuditReport
	if err := env.GetWorkflowError(); err != nil {
		return report, err
	}
	return report, env.GetWorkflowResult(&report)
}

const auditJSON = `{"plan": ` + planJSON + `, "token": "0f3c9a71", "snapshot": "r1", "deep": true}`

func TestAuditCompletesWithWhatItFound(t *testing.T) {
	want := migration.AuditReport{
		Plan: "movies", Token: "0f3c9a71", SnapshotsChecked: 3, SnapshotsBroken: 1,
		Problems: []string{"a root"},
		Classes:  []migration.AuditClass{{Class: "data", Bad: 1}},
		Missing: migration.AuditFindings{
			Tally:    migration.Tally{Blobs: 1, Bytes: 5},
			Examples: []migration.AuditFinding{{Key: "indices/x/0/__1", Reason: "it is not in OSS"}},
		},
	}
	failures := 0
	found, err := runAudit(t, auditInput(t, auditJSON), func(r migration.AuditRequest) (migration.AuditReport, error) {
		require.Equal(t, "movies", r.Plan.Name)
		require.Equal(t, "snapferry/movies/0f3c9a71", r.Run().SourceBasePath(), "with the plan's defaults")
		require.Equal(t, "r1", r.Snapshot)
		require.True(t, r.Deep)
		if failures++; failures < 3 {
			// passes without a person
			return migration.AuditReport{}, temporal.NewApplicationError("S3 is busy", "Throttled")
		}
		return want, nil
	})
	require.NoError(t, err)
	require.Equal(t, want, found)

	page := report.AuditPage(found)
	require.Contains(t, page, "**Not complete**: 1 of 3 snapshots are broken.")
	require.Contains(t, page, "`indices/x/0/__1`: it is not in OSS")
	require.Contains(t, report.AuditPage(migration.AuditReport{Whole: true}), "**Complete**")
}

func TestAuditFailsWithTheReason(t *testing.T) {
	_, err := runAudit(t, auditInput(t, auditJSON), func(migration.AuditRequest) (migration.AuditReport, error) {
		return migration.AuditReport{}, temporal.NewApplicationErrorWithOptions("no repository there",
			string(migration.ErrorMissing),
			temporal.ApplicationErrorOptions{NonRetryable: true})
	})
	require.Equal(t, migration.ErrorMissing, errorType(err))
}

func TestAuditDecodesStrictly(t *testing.T) {
	for name, test := range map[string]struct{ input, says string }{
		"nothing":           {`null`, "no request was given"},
		"a bare plan":       {planJSON, "name is not a field of an audit's request"},
		"no token":          {`{"plan": ` + planJSON + `}`, "token is missing"},
		"a path as token":   {`{"plan": ` + planJSON + `, "token": "../x"}`, "must be the last part"},
		"a mistyped field":  {`{"plan": ` + planJSON + `, "token": "t", "depe": true}`, "did you mean deep?"},
		"text for a number": {`{"plan": ` + planJSON + `, "token": "t", "deep": "yes"}`, "must be true or false"},
		"a bad plan":        {`{"plan": {"name": "movies"}, "token": "t"}`, "plan.source.endpoint is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runAudit(t, auditInput(t, test.input),
				func(migration.AuditRequest) (migration.AuditReport, error) {
					t.Error("it is asked in vain")
					return migration.AuditReport{}, nil
				})
			require.Equal(t, migration.ErrorInvalidPlan, errorType(err))
			require.ErrorContains(t, err, test.says)
		})
	}
}

// Histories hold tokens: they must never come out otherwise.
func TestTokensStayWhatTheyAre(t *testing.T) {
	require.Equal(t, "2e462f16", migration.TokenOf("0199a1b2-0000-7000-8000-000000000001"))
}
