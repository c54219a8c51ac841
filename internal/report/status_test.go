package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// statuses are moments of a migration, and one of a rehearsal.
func statuses() map[string]migration.Status {
	equal := true
	rate := migration.ByteRate(50_000_000)
	done := completed()
	plan := migration.Plan{Name: "movies", Freeze: migration.Freeze{Auto: true}}
	plan.Rounds.Until.Window = migration.Duration(time.Minute)
	rounds := migration.Status{
		WorkflowID: "migration/movies", Plan: plan, Phase: migration.PhaseRounds, PhaseSinceMillis: begin,
		Step:   "copy snapshot movies-r0002-a1 to OSS",
		Rounds: done.Rounds[:2], NextRoundMillis: begin + 15*minute, IndicesTotal: 60, CloseEnough: true,
		Because: []migration.TakenBecause{
			{Reason: migration.ReasonNew, Indices: 1, First: []string{"catalog"}},
			{Reason: migration.ReasonWritten, Indices: 18, First: []string{"log-1", "log-2", "movies"}},
		},
		Skipped:   41,
		Bandwidth: &rate,
		Copy: &migration.CopyProgress{
			PagesDone: 1, PagesTotal: 3, BlobsDone: 10, BlobsTotal: 31,
			BytesDone: 100 * mib, BytesTotal: 210 * mib,
		},
		Prediction: &migration.Prediction{
			AtMillis: begin, Millis: 9450, BlockMillis: 1100, SnapshotMillis: 2100,
			CopyMillis: 850, RestoreMillis: 3200, VerifyMillis: 2000,
		},
		Indices: []migration.IndexStatus{
			{Name: "movies", Shards: 5, SourceDocs: 1_500_500, TargetDocs: 1_500_000, Equal: &equal},
			{Name: "catalog", Shards: 1, SourceDocs: 500_000, TargetDocs: -1},
		},
		WaitsFor: "the next round, or freeze", Next: []string{"starter freeze movies", "starter round movies"},
		Warnings: []string{"index movies has an old mapping"}, Notes: done.Decisions,
	}
	frozen := rounds
	frozen.Phase, frozen.Step, frozen.CloseEnough = migration.PhaseAwaitCutover, "", false
	frozen.Copy, frozen.Bandwidth = nil, nil
	frozen.Failed, frozen.FailedOmitted = done.Failed, 2
	frozen.Hooks, frozen.DownSinceMillis = done.Hooks[:1], begin-minute
	frozen.FrozenSinceMillis, frozen.FrozenUntilMillis, frozen.FrozenWindow = begin, begin+120*minute, done.FrozenWindow
	frozen.Attention = &migration.Attention{
		Step: "compare the target with the frozen source",
		Type: "VerificationFailed", Message: "index movies:\n1 document is missing",
		Remedy: migration.ErrorVerification.RemedyIn(migration.PhaseVerify), SinceMillis: begin + 5*minute, Failures: 1,
	}
	rehearsal := migration.Status{
		WorkflowID: "rehearsal/movies", Plan: plan, Phase: migration.PhaseCleanUp,
		PhaseSinceMillis: begin, Paused: true, Rehearsal: rehearsed().Rehearsal,
	}
	return map[string]migration.Status{"rounds": rounds, "frozen": frozen, "rehearsal": rehearsal}
}

func TestStatusPages(t *testing.T) {
	for name, status := range statuses() {
		golden.Equal(t, "testdata/status-"+name+".md", StatusPage(status, "snapferry-rehearsal-0f3c9a71-*"))
	}
}

func TestTheStatusPageNamesLateIndices(t *testing.T) {
	page := StatusPage(migration.Status{Phase: migration.PhaseCutover, Late: late(), LateOmitted: 3}, "")
	for _, says := range lateSentences {
		require.Contains(t, page, "- **After the cutover**: "+says+"\n")
	}
	require.NotContains(t, StatusPage(statuses()["frozen"], ""), "After the cutover")
}

func TestTheStatusPageShowsTheNewestAttention(t *testing.T) {
	status := migration.Status{Rehearsal: &migration.Rehearsal{AttentionOmitted: 2}}
	for range shownAttention + 1 {
		status.Rehearsal.Attention = append(status.Rehearsal.Attention, migration.Attention{Message: "one"})
	}
	status.Rehearsal.Attention[0].Message = "the oldest"
	page := StatusPage(status, "")
	require.NotContains(t, page, "the oldest")
	require.Contains(t, page, "and 3 more")
}

func TestAuditPages(t *testing.T) {
	found := migration.AuditReport{
		Plan: "movies", Token: "0f3c9a71", SourceRoot: "index-4", TargetRoot: "index-3", SnapshotsChecked: 3,
		SnapshotsBroken: 1,
		Problems:        []string{"the root in OSS is an older one"},
		Classes: []migration.AuditClass{{
			Class: "data", Source: migration.Tally{Blobs: 31, Bytes: 300 * mib},
			Target: migration.Tally{Blobs: 30, Bytes: 290 * mib},
			Needed: migration.Tally{Blobs: 31, Bytes: 300 * mib}, Proven: migration.Tally{Blobs: 29, Bytes: 280 * mib},
			Bad: 2,
		}},
		Missing: migration.AuditFindings{
			Tally:    migration.Tally{Blobs: 1, Bytes: 5},
			Examples: []migration.AuditFinding{{Key: "indices/x/0/__1", Reason: "it is not in OSS"}},
		},
		Surplus: migration.AuditFindings{Tally: migration.Tally{Blobs: 12}, Harmless: 12},
	}
	for range 12 {
		found.Surplus.Examples = append(found.Surplus.Examples,
			migration.AuditFinding{Key: "indices/x/0/__2", Reason: "no snapshot needs it"})
	}
	golden.Equal(t, "testdata/audit.md", AuditPage(found))
}
