package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snapferry/snapferry/migration"
)

const mib = int64(1 << 20)

// moviesPlan is the plan of the migration in these tests.
func moviesPlan(t *testing.T) migration.Plan {
	plan, err := migration.Decode([]byte(minimalPlan))
	require.NoError(t, err)
	return plan
}

func baselineRound() migration.Round {
	return migration.Round{
		Number: 0, Kind: migration.RoundBaseline, Attempt: 1, Snapshot: "movies-r0000-a1",
		StartTimeMillis: at(80 * time.Minute), EndTimeMillis: at(76 * time.Minute),
		BlobsCopied: 1204, BytesCopied: 5200 * mib, SnapshotMillis: 240_000, CopyMillis: 540_000,
		RestoreMillis: 360_000, Docs: 2_000_000, Indices: 2,
	}
}

func firstRound() migration.Round {
	return migration.Round{
		Number: 1, Kind: migration.RoundIncremental, Attempt: 1, Snapshot: "movies-r0001-a1",
		StartTimeMillis: at(20 * time.Minute), EndTimeMillis: at(19 * time.Minute),
		BlobsCopied: 31, BytesCopied: 210 * mib, BlobsSkipped: 1190, BytesSkipped: 5100 * mib, SnapshotMillis: 21_000,
		CopyMillis: 14_321, RestoreMillis: 18_000, Docs: 2_000_412, Indices: 2,
		Taken: map[migration.Reason]int{migration.ReasonWritten: 1}, Skipped: 1,
	}
}

// inRounds is a migration between two rounds.
func inRounds(t *testing.T) *migration.Status {
	plan := moviesPlan(t)
	plan.Rounds.Until.Window = migration.Duration(time.Minute)
	return &migration.Status{
		Version: "v1.2.3", WorkflowID: "migration/movies", Plan: plan, Phase: migration.PhaseRounds,
		PhaseSinceMillis: at(70 * time.Minute), StartedMillis: at(90 * time.Minute),
		Round: 2, RoundsEnded: 2, Rounds: []migration.Round{baselineRound(), firstRound()},
		NextRoundMillis: at(-5 * time.Minute),
		Indices: []migration.IndexStatus{
			{Name: "movies", Shards: 5, SourceDocs: 1_500_412, SourceBytes: 3 * 1024 * mib, TargetDocs: 1_500_400},
			{Name: "logs-2026", Shards: 1, SourceDocs: 500_000, SourceBytes: 700 * mib, TargetDocs: -1},
		},
		IndicesTotal: 2, CloseEnough: true,
		Because: []migration.TakenBecause{{Reason: migration.ReasonWritten, Indices: 1, First: []string{"movies"}}},
		Skipped: 1,
		Prediction: &migration.Prediction{
			AtMillis: at(70 * time.Minute), Millis: 42_000, BlockMillis: 350,
			SnapshotMillis: 9_000, CopyMillis: 4_000, RestoreMillis: 8_000, VerifyMillis: 20_650,
		},
		WaitsFor: "the next round, or freeze",
		Next: []string{
			"starter freeze movies", "temporal workflow signal --workflow-id migration/movies --name freeze",
			"starter round movies", "temporal workflow signal --workflow-id migration/movies --name round",
		},
		Warnings: []string{"index logs-2025 is gone from the source"},
		Notes: []migration.Decision{{
			Request: migration.RequestRound, By: "ann", Reason: "before lunch",
			AtMillis: at(21 * time.Minute),
			Phase:    migration.PhaseRounds, Verdict: migration.Taken, Commentary: "a round starts now",
		}},
	}
}

func inNeed(t *testing.T) *migration.Status {
	s := inRounds(t)
	s.WaitsFor = "a person: copy the snapshot needs attention"
	s.Next = []string{
		"starter retry movies", "temporal workflow signal --workflow-id migration/movies --name retry",
		"starter abort movies",
	}
	s.NextRoundMillis = 0
	s.Attention = &migration.Attention{
		Step: "copy the snapshot", Type: "Unauthorized", Message: "OSS refused PutObject on shop:\n403 AccessDenied",
		Remedy: "fix the credentials, then retry", SinceMillis: at(3 * time.Minute), Failures: 2,
	}
	return s
}

func verified(t *testing.T) *migration.Status {
	s := inRounds(t)
	s.Phase, s.PhaseSinceMillis, s.NextRoundMillis = migration.PhaseAwaitCutover, at(time.Minute), 0
	yes := true
	for i := range s.Indices {
		s.Indices[i].Equal, s.Indices[i].TargetDocs = &yes, s.Indices[i].SourceDocs
	}
	s.FrozenSinceMillis, s.FrozenUntilMillis = at(2*time.Minute), at(-118*time.Minute)
	s.FrozenWindow = &migration.FrozenWindow{
		StartedMillis: at(2 * time.Minute), Millis: 9450, BlockMillis: 1100,
		SnapshotMillis: 2100, CopyMillis: 850, RestoreMillis: 3200, VerifyMillis: 2000,
	}
	s.WaitsFor = "cutover: the target is verified, writes to the source are blocked"
	s.Next = []string{"starter cutover movies", "starter abort movies"}
	return s
}

// copying is a copy that is under way, at this many of 4 GiB.
func copying(t *testing.T, id string, done int64, attempt int32) *workflowpb.PendingActivityInfo {
	details, err := converter.GetDefaultDataConverter().ToPayloads(migration.Progress{
		Doing: "copying", BlobsDone: done / (100 * mib), BlobsTotal: 41, BytesDone: done, BytesTotal: 4096 * mib,
	})
	require.NoError(t, err)
	info := &workflowpb.PendingActivityInfo{
		ActivityId: id, ActivityType: &commonpb.ActivityType{Name: migration.ActivityCopySnapshot}, Attempt: attempt,
		State: enums.PENDING_ACTIVITY_STATE_STARTED, HeartbeatDetails: details,
		LastStartedTime: timestamppb.New(now.Add(-time.Minute)),
	}
	if attempt > 1 {
		info.LastFailure = &failurepb.Failure{
			Message: "OSS answers 503 SlowDown",
			FailureInfo: &failurepb.Failure_ApplicationFailureInfo{
				ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "Throttled"},
			},
		}
	}
	return info
}

func completedReport() migration.Report {
	return migration.Report{
		Result: migration.ResultCompleted, WorkflowID: "migration/movies", Plan: "movies",
		StartedMillis: at(90 * time.Minute), EndedMillis: at(time.Minute),
		Rounds: []migration.Round{baselineRound(), firstRound()},
		Indices: []migration.IndexResult{{
			Name: "movies", SourceDocs: 1_500_500, TargetDocs: 1_500_500,
			Equal: true, Checksum: "9f86d081884c7d65",
		}},
		FrozenWindow: &migration.FrozenWindow{
			StartedMillis: at(5 * time.Minute), Millis: 9450, BlockMillis: 1100,
			SnapshotMillis: 2100, CopyMillis: 850, RestoreMillis: 3200, VerifyMillis: 2000, BlockedMillis: 129450,
		},
		Remains: []string{"OSS: rotate the key"},
	}
}

// lateReport is that of a migration after whose cutover the source took writes.
func lateReport() migration.Report {
	report := completedReport()
	report.Late = []migration.LateIndex{
		{Name: "logs-2", New: true, Docs: 12}, {Name: "movies", Docs: 1_500_501, Problem: "it is read-only"},
	}
	report.LateOmitted = 2
	return report
}

func abortedReport() migration.Report {
	return migration.Report{
		Result: migration.ResultAborted, WorkflowID: "migration/movies", Plan: "movies",
		StartedMillis: at(90 * time.Minute), EndedMillis: at(time.Minute),
		Rounds: []migration.Round{baselineRound()}, Error: "aborted in phase rounds by ann: not tonight",
		Remains: []string{"target: the indices as the last round restored them"},
	}
}
