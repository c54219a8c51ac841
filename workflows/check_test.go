package workflows

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// runCheck runs the workflow with activities in place of the real ones, and a rehearsal. Nil watched
// stands for a source that can't be watched.
func runCheck(t *testing.T, text string, options migration.CheckOptions, checked migration.Checked,
	watched *migration.Written, rehearse func(migration.Plan) (migration.Report, error),
) (migration.CheckReport, error) {
	t.Helper()
	env := newEnvironment(t)
	env.RegisterActivityWithOptions(func(ctx context.Context, run migration.Run) (migration.Checked, error) {
		require.NotEmpty(t, run.Token)
		require.False(t, run.Plan.Rehearsal)
		return checked, nil
	}, activity.RegisterOptions{Name: migration.ActivityCheckPlan})
	env.RegisterActivityWithOptions(
		func(ctx context.Context, in migration.WatchWritesRequest) (migration.Written, error) {
			if in.Run.Plan.Name == "" || watched == nil {
				return migration.Written{}, temporal.NewNonRetryableApplicationError("the source is away",
					"Refused", nil)
			}
			found := *watched
			found.Millis = in.For.Std().Milliseconds()
			return found, nil
		}, activity.RegisterOptions{Name: migration.ActivityWatchWrites})
	env.RegisterWorkflowWithOptions(
		func(ctx workflow.Context, input migration.Input, _ *Carried) (migration.Report, error) {
			plan, err := input.Plan()
			require.NoError(t, err)
			require.Equal(t, "rehearsal/movies", workflow.GetInfo(ctx).WorkflowExecution.ID)
			return rehearse(plan)
		}, workflow.RegisterOptions{Name: migration.WorkflowType})
	var input migration.Input
	require.NoError(t, json.Unmarshal([]byte(text), &input))
	env.ExecuteWorkflow(Check, input, options)
	require.True(t, env.IsWorkflowCompleted())
	var found migration.CheckReport
	if err := env.GetWorkflowError(); err != nil {
		return found, err
	}
	return found, env.GetWorkflowResult(&found)
}

func readyPlan() migration.Checked {
	return migration.Checked{
		SourceVersion: "5.5.2", TargetVersion: "5.5.3", Indices: 2, Bytes: 10 << 30,
		Probe: &migration.Index{Name: "movies-1", Bytes: 64 << 20},
		Areas: []migration.CheckArea{{Name: "Buckets", Warnings: []string{"the bucket is far away"}}},
	}
}

// nothing is a source that nobody writes to.
var nothing = &migration.Written{}

func TestCheckWithAProbe(t *testing.T) {
	probe := migration.CheckOptions{Probe: true}
	telling := strings.Replace(planJSON, "{",
		`{"notify": {"receivers": [{"name": "room", "kind": "slack", "url": "env:SNAPFERRY_SECRET_URL"}]}, `, 1)
	rehearse := func(plan migration.Plan) (migration.Report, error) {
		require.True(t, plan.Rehearsal)
		require.Empty(t, plan.Notify.Receivers, "nobody is told of a probe")
		require.Equal(t, []string{"movies-1"}, plan.Indices)
		require.Equal(t, 1, plan.Rounds.FullEvery, "its round must take the index, or it shows nothing")
		return migration.Report{
			Rehearsal: &migration.Rehearsal{}, Remains: []string{"S3: 2 objects"},
			Rounds: []migration.Round{
				{
					BytesCopied: 64 << 20, BlobsCopied: 40, SnapshotMillis: 1000, CopyMillis: 2000,
					RestoreMillis: 3000,
				},
				{BytesCopied: 100, SnapshotMillis: 200, CopyMillis: 300, RestoreMillis: 400},
				{BytesCopied: 1, SnapshotMillis: 1, CopyMillis: 1, RestoreMillis: 1},
			},
		}, nil
	}
	found, err := runCheck(t, telling, probe, readyPlan(), nothing, rehearse)
	require.NoError(t, err)
	require.True(t, found.Ready)
	require.Equal(t, "Ready, with 1 warning.", report.CheckVerdict(found))
	require.Equal(t, &migration.Probed{
		Index: "movies-1", Bytes: 64 << 20, Blobs: 40, SnapshotMillis: 1000, CopyMillis: 2000, RestoreMillis: 3000,
		Remains: []string{"S3: 2 objects"},
		Round:   &migration.ProbedRound{Bytes: 100, SnapshotMillis: 200, CopyMillis: 300, RestoreMillis: 400},
	}, found.Probed)
	require.Equal(t, &migration.Forecast{
		BaselineMillis: 160 * 6000, SnapshotMillis: 160_000, CopyMillis: 320_000, RestoreMillis: 480_000,
	}, found.Forecast)
	require.Contains(t, report.CheckPage(found), "at most about 16m")
	require.Equal(t, "nothing within 1m", report.CheckWritten(found), "a probe is watched for a minute")
	require.Nil(t, found.Round)

	// What would have needed a person in the rehearsal is a problem of the plan.
	for name, rehearse := range map[string]func(migration.Plan) (migration.Report, error){
		"attention": func(migration.Plan) (migration.Report, error) {
			return migration.Report{Rehearsal: &migration.Rehearsal{Attention: []migration.Attention{{
				Step: "take a snapshot", Type: "Unauthorized", Message: "the role may not write",
			}}}}, nil
		},
		"failed": func(migration.Plan) (migration.Report, error) {
			return migration.Report{}, temporal.NewNonRetryableApplicationError("it broke", "Aborted", nil)
		},
	} {
		found, err := runCheck(t, planJSON, probe, readyPlan(), nothing, rehearse)
		require.NoError(t, err)
		require.False(t, found.Ready, name)
		last := found.Areas[len(found.Areas)-1]
		require.Equal(t, "Probe", last.Name)
		require.Len(t, last.Problems, 1)
		require.Regexp(t, "take a snapshot: Unauthorized: the role may not write|it broke", last.Problems[0])
		require.Nil(t, found.Forecast)
	}
}

func TestCheckWithoutAProbe(t *testing.T) {
	never := func(migration.Plan) (migration.Report, error) {
		t.Error("a rehearsal was started")
		return migration.Report{}, nil
	}
	found, err := runCheck(t, planJSON, migration.CheckOptions{}, readyPlan(), nothing, never)
	require.NoError(t, err)
	require.True(t, found.Ready)
	require.Equal(t, "none: it was not asked for", report.CheckProbe(found))

	spoilt := readyPlan()
	spoilt.Areas[0].Problems = []string{"the bucket is gone"}
	found, err = runCheck(t, planJSON, migration.CheckOptions{Probe: true}, spoilt, nothing, never)
	require.NoError(t, err)
	require.False(t, found.Ready)
	require.Contains(t, report.CheckPage(found), "**Not ready: 1 problem.**")
	require.Equal(t, "none: the problems come first", report.CheckProbe(found))

	_, err = runCheck(t, `{"name": "Bad Name"}`, migration.CheckOptions{}, readyPlan(), nothing, never)
	require.Error(t, err)
	require.Contains(t, err.Error(), string(migration.ErrorInvalidPlan))
}

// A check that watches the source tells what a round copies, and with a probe what it takes.
func TestCheckThatWatchesTheSource(t *testing.T) {
	busy := &migration.Written{Indexed: 500, Indices: 1, Shards: 1, Bytes: 1 << 30, NewBytes: 60_000}
	long := migration.CheckOptions{Watch: migration.Duration(10 * time.Minute)}
	found, err := runCheck(t, planJSON, long, readyPlan(), busy, nil)
	require.NoError(t, err)
	require.EqualValues(t, 600_000, found.Written.Millis)
	require.Equal(t, "0.83 operations a second within 10m, in 1 index with 1 shard and 1.0 GiB",
		report.CheckWritten(found))
	require.EqualValues(t, 90_000, found.Round.Least.Bytes, "0.1 bytes/ms in a quarter of an hour")
	require.Equal(t, "there was no probe", found.Round.NoTime)

	found, err = runCheck(t, planJSON, migration.CheckOptions{Probe: true}, readyPlan(), busy,
		func(migration.Plan) (migration.Report, error) {
			return migration.Report{
				Rehearsal: &migration.Rehearsal{},
				Rounds: []migration.Round{
					{BytesCopied: 64 << 20, SnapshotMillis: 1000, CopyMillis: 2000, RestoreMillis: 3000},
					{SnapshotMillis: 200, CopyMillis: 300, RestoreMillis: 400},
				},
			}, nil
		})
	require.NoError(t, err)
	require.EqualValues(t, 60_000, found.Written.Millis)
	require.Contains(t, report.CheckPage(found), "Round: about ")
	require.InDelta(t, 900, found.Round.Most.Millis, 100)

	// Without what is written the check says less, and is no failure.
	found, err = runCheck(t, planJSON, long, readyPlan(), nil, nil)
	require.NoError(t, err)
	require.True(t, found.Ready)
	require.Nil(t, found.Round)
	require.Equal(t, "not known: the source is away", report.CheckWritten(found))
	none := readyPlan()
	none.Indices = 0
	found, err = runCheck(t, planJSON, long, none, busy, nil)
	require.NoError(t, err)
	require.Equal(t, "not known: the plan has no index yet", report.CheckWritten(found))
}

func TestTheIndexOfAProbe(t *testing.T) {
	index := func(name string, megabytes int64) migration.Index {
		return migration.Index{Name: name, Bytes: megabytes << 20}
	}
	for want, indices := range map[string][]migration.Index{
		"":  nil,
		"b": {index("a", 500), index("b", 40), index("c", 3), index("d", 90)},
		"c": {index("a", 1), index("b", 2), index("c", 3)},
	} {
		pick := migration.PickProbe(indices)
		if want == "" {
			require.Nil(t, pick)
			continue
		}
		require.Equal(t, want, pick.Name)
	}
}
