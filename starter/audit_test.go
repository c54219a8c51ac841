package main

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// auditTemporal is a server that runs audits beside the one migration.
type auditTemporal struct {
	*fakeTemporal
	found   migration.AuditReport
	failure error
	request migration.AuditRequest
}

func (f *auditTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, workflow any,
	args ...any,
) (client.WorkflowRun, error) {
	require.Equal(f.t, migration.AuditWorkflowType, workflow)
	require.Equal(f.t, "audit/movies", options.ID)
	require.Equal(f.t, migration.TaskQueue, options.TaskQueue)
	if f.startErr != nil {
		return nil, f.startErr
	}
	wire, err := json.Marshal(args[0])
	require.NoError(f.t, err)
	var input migration.AuditInput
	require.NoError(f.t, json.Unmarshal(wire, &input))
	f.request, err = input.Request()
	require.NoError(f.t, err)
	return auditRun{fake: f}, nil
}

type auditRun struct {
	client.WorkflowRun
	fake *auditTemporal
}

func (r auditRun) Get(_ context.Context, into any) error {
	*into.(*migration.AuditReport) = r.fake.found
	return r.fake.failure
}

func newAuditConsole(t *testing.T, found migration.AuditReport, moments ...moment) (*console, *auditTemporal) {
	fake := &auditTemporal{fakeTemporal: newFake(t, moments...), found: found}
	c := newConsole(t, fake.fakeTemporal)
	c.deps.dial = func(context.Context, client.Options) (temporalClient, error) { return fake, nil }
	return c, fake
}

func wholeAudit() migration.AuditReport {
	return migration.AuditReport{
		Whole: true, Plan: "movies", Token: migration.TokenOf("run-1"), SourceRoot: "index-4", TargetRoot: "index-4",
		SourceGeneration: 4, TargetGeneration: 4, RootsEqual: true, SnapshotsChecked: 5,
		Classes: []migration.AuditClass{
			{
				Class: "data", Source: migration.Tally{Blobs: 1300, Bytes: 9 << 30},
				Target: migration.Tally{Blobs: 1201, Bytes: 9 << 30},
				Needed: migration.Tally{Blobs: 1200, Bytes: 8 << 30},
				Proven: migration.Tally{Blobs: 1200, Bytes: 8 << 30},
			},
			{
				Class: "root index", Source: migration.Tally{Blobs: 2, Bytes: 900},
				Target: migration.Tally{Blobs: 1, Bytes: 500},
				Needed: migration.Tally{Blobs: 1, Bytes: 500}, Proven: migration.Tally{Blobs: 1, Bytes: 500},
			},
		},
		Surplus: migration.AuditFindings{
			Tally: migration.Tally{Blobs: 1, Bytes: 77}, Harmless: 1,
			Examples: []migration.AuditFinding{
				{
					Key: "indices/x/0/__zz", Class: "data", Reason: "no listed snapshot needs it", Harmless: true,
					SourceBytes: -1, TargetBytes: 77,
				},
			},
		},
	}
}

func brokenAudit() migration.AuditReport {
	r := wholeAudit()
	r.Whole, r.SnapshotsBroken, r.Broken, r.Deep, r.BytesRead = false, 2, []string{
		"movies-r0003-a1",
		"movies-r0004-a1",
	}, true, 8<<30
	r.Missing = migration.AuditFindings{Tally: migration.Tally{Blobs: 30, Bytes: 5 << 20}}
	for range 15 {
		r.Missing.Examples = append(r.Missing.Examples,
			migration.AuditFinding{Key: "indices/x/0/__1", Class: "data", Reason: "it is not in OSS"})
	}
	r.Different = migration.AuditFindings{
		Tally: migration.Tally{Blobs: 1, Bytes: 100},
		Examples: []migration.AuditFinding{
			{Key: "indices/x/1/__4", Class: "data", Reason: "OSS has other bytes than S3, of the same length"},
		},
	}
	return r
}

func TestAudit(t *testing.T) {
	c, fake := newAuditConsole(t, wholeAudit(), moment{status: inRounds(t)})
	out, errs := c.run(exitOK, "audit", "-f", minimal)
	golden.Equal(t, "testdata/audit-whole.txt", out)
	require.Empty(t, errs)
	require.Equal(t, moviesPlan(t), fake.request.Plan)
	require.Equal(t, migration.TokenOf("run-1"), fake.request.Token, "from the migration's first run")
	require.False(t, fake.request.Deep)

	out, _ = c.run(exitOK, "audit", "-f", minimal, "-o", "json")
	var report migration.AuditReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, wholeAudit(), report)

	// It works as well when nobody answers queries, and after the end.
	c, fake = newAuditConsole(t, brokenAudit(), moment{state: enums.WORKFLOW_EXECUTION_STATUS_FAILED})
	out, errs = c.run(exitIncomplete, "audit", "-f", minimal, "--deep", "--snapshot", "movies-r0003-a1", "--token",
		"abc")
	golden.Equal(t, "testdata/audit-broken.txt", out)
	require.Empty(t, errs, "the output has said it all")
	require.Equal(t, migration.AuditRequest{Plan: moviesPlan(t), Token: "abc", Snapshot: "movies-r0003-a1", Deep: true},
		fake.request)
	c.run(exitIncomplete, "audit", "-f", minimal, "-o", "json")
}

// Whatever is found, the last line is a command that makes sense then.
func TestAfterAudit(t *testing.T) {
	movies := target{name: "movies", id: "migration/movies"}
	stale := migration.AuditReport{
		Problems: []string{"index-3 in OSS is older"},
		Missing:  migration.AuditFindings{Tally: migration.Tally{Blobs: 1}},
	}
	for _, test := range []struct {
		report      migration.AuditReport
		state, says string
	}{
		{wholeAudit(), stateRunning, "starter status movies"},
		{wholeAudit(), "completed", "starter report movies"},
		{brokenAudit(), "completed", "starter report movies"},
		{brokenAudit(), "failed", "starter start -f p.yaml: "},
		{brokenAudit(), stateRunning, "starter abort movies, then starter start -f p.yaml: "},
		{stale, stateRunning, "starter round movies, then starter audit -f p.yaml"},
	} {
		require.Contains(t, afterAudit(test.report, movies, test.state, "p.yaml")[0], test.says)
	}
}

func TestAuditThatFindsNothingOut(t *testing.T) {
	c, fake := newAuditConsole(t, migration.AuditReport{}, moment{status: inRounds(t)})
	fake.failure = temporal.NewApplicationError("audit: there is no repository below a/b",
		string(migration.ErrorMissing))
	out, errs := c.run(exitFailed, "audit", "-f", minimal)
	require.Empty(t, out)
	require.Contains(t, errs, "the audit failed: there is no repository below a/b (Missing)")
	require.Contains(t, errs, "--token")

	fake.failure = temporal.NewCanceledError()
	_, errs = c.run(exitFailed, "audit", "-f", minimal)
	require.Contains(t, errs, "it has no result")

	fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("", "", "")
	_, errs = c.run(exitFailed, "audit", "-f", minimal)
	require.Contains(t, errs, "running already (workflow audit/movies)")

	fake.startErr, fake.failure, fake.found = nil, nil, wholeAudit()
	fake.pollers[migration.CopyTaskQueue] = false
	_, errs = c.run(exitOK, "audit", "-f", minimal)
	require.Contains(t, errs, "no worker polls task queue snapferry-copy")

	_, errs = c.run(exitUsage, "audit", "-f", minimal, "--token", "a/b")
	require.Contains(t, errs, "token must be the last part")
	c.run(exitUsage, "audit")

	c, _ = newAuditConsole(t, migration.AuditReport{})
	_, errs = c.run(exitNotFound, "audit", "-f", minimal)
	require.Contains(t, errs, "give --token")
}
