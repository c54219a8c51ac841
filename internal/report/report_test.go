package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// begin is a Monday night.
var begin = time.Date(2026, 3, 2, 22, 0, 0, 0, time.UTC).UnixMilli()

const (
	second = int64(1000)
	minute = 60 * second
	mib    = int64(1 << 20)
)

func completed() migration.Report {
	return migration.Report{
		Result: migration.ResultCompleted, WorkflowID: "migration/movies", Plan: "movies",
		StartedMillis: begin, EndedMillis: begin + 95*minute,
		Rounds: []migration.Round{
			{
				Number: 0, Kind: migration.RoundBaseline, Attempt: 1, Snapshot: "movies-r0000-a1", UUID: "u0",
				StartTimeMillis: begin + second, BlobsCopied: 1204, BytesCopied: 5200 * mib,
				SnapshotMillis: 4 * minute, CopyMillis: 9 * minute, RestoreMillis: 6 * minute, Docs: 2_000_000,
				Indices: 2, Taken: map[migration.Reason]int{migration.ReasonFull: 2},
			},
			{
				Number: 1, Kind: migration.RoundIncremental, Attempt: 1, Snapshot: "movies-r0001-a1", UUID: "u1",
				StartTimeMillis: begin + 30*minute, BlobsCopied: 31, BytesCopied: 210 * mib,
				BlobsSkipped: 1190, BytesSkipped: 5100 * mib, SnapshotMillis: 21 * second, CopyMillis: 14*second + 321,
				RestoreMillis: 18 * second, Docs: 2_000_412, Indices: 2,
				Taken: map[migration.Reason]int{migration.ReasonWritten: 1, migration.ReasonDefinition: 1},
			},
			{
				Number: 2, Kind: migration.RoundFinal, Attempt: 2, Snapshot: "movies-r0002-a2", UUID: "u2",
				StartTimeMillis: begin + 80*minute, BlobsCopied: 4, BytesCopied: 300_000,
				BlobsSkipped: 1221, BytesSkipped: 5300 * mib, SnapshotMillis: 2100, CopyMillis: 850,
				RestoreMillis: 3200, Docs: 2_000_500, Indices: 2,
				Taken: map[migration.Reason]int{migration.ReasonWritten: 1}, Skipped: 1,
				Files: &migration.RestoredFiles{Named: true, Files: 61, Bytes: 3400 * mib, Shards: 5},
			},
		},
		Indices: []migration.IndexResult{
			{
				Name: "movies", SourceDocs: 1_500_500, TargetDocs: 1_500_500, Equal: true,
				Evidence: &migration.Evidence{
					Proven: 3, Beyond: 2, Files: 5, Read: 412, SinceMillis: begin + 40*minute,
				},
			},
			{
				Name: "catalog", SourceDocs: 500_000, TargetDocs: 500_000, Equal: true, Checksum: "60303ae22b998861",
				Evidence: &migration.Evidence{Proven: 2, SinceMillis: begin + 35*minute},
			},
		},
		Hooks: []migration.HookCall{
			{
				Moment: migration.HookBeforeBlock, Name: "stop-writers", AtMillis: begin + 79*minute, Millis: 2100,
				Outcome: migration.HookDone, Message: "3 writers <b>stopped</b>",
			},
			{
				Moment: migration.HookAfterHandover, Name: "switch-dns", AtMillis: begin + 94*minute, Millis: 800,
				Outcome: migration.HookSkipped,
			},
		},
		HooksOmitted: 2,
		Evidence: &migration.Evidence{
			Proven: 5, Beyond: 2, Files: 5, Read: 412, SinceMillis: begin + 35*minute,
		},
		Prediction: &migration.Prediction{Millis: 8_200},
		FrozenWindow: &migration.FrozenWindow{
			StartedMillis: begin + 80*minute, Millis: 9450, BlockMillis: 1100,
			SnapshotMillis: 2100, CopyMillis: 850, RestoreMillis: 3200, VerifyMillis: 2000,
			BlockedMillis: 10*minute + 9450, HookMillis: 200, DownMillis: 16*minute + second,
			DownSinceMillis: begin + 79*minute,
		},
		Decisions: []migration.Decision{
			{
				Request: migration.RequestFreeze, By: "ann", Reason: "tonight", AtMillis: begin + 79*minute,
				Phase: migration.PhaseRounds, Verdict: migration.Taken, Commentary: "writes are blocked",
			},
			{
				Request: migration.RequestCutover, By: "ben", AtMillis: begin + 90*minute,
				Phase: migration.PhaseAwaitCutover, Verdict: migration.Taken, Commentary: "the target is handed over",
			},
		},
		Failed: []migration.FailedSnapshot{{
			Round: 2, Attempt: 1, Snapshot: "movies-r0002-a1", AtMillis: begin + 80*minute + second, Again: true,
			Reason: "take snapshot movies-r0002-a1: it ended as PARTIAL with 1 of 6 shards failed; " +
				"[movies][3]: node shutdown",
		}},
		Remains: []string{"S3: the snapshots below shop/movies/1a2b/", "OSS: rotate the key"},
	}
}

func aborted() migration.Report {
	return migration.Report{
		Result: migration.ResultAborted, WorkflowID: "migration/movies", Plan: "movies", StartedMillis: begin,
		EndedMillis: begin + 3*24*60*minute,
		Error:       "aborted in phase rounds by ann: <b>not</b> | tonight",
		Warnings:    []string{`index <script>alert("x")</script> vanished`},
		Decisions: []migration.Decision{{
			Request: migration.RequestAbort, By: "ann", Reason: "<b>not</b> | tonight",
			AtMillis: begin + minute,
			Phase:    migration.PhaseRounds, Verdict: migration.Taken,
		}},
	}
}

func rehearsed() migration.Report {
	r := completed()
	r.Result, r.WorkflowID = migration.ResultRehearsed, "rehearsal/movies"
	r.Rounds[2].Kind = migration.RoundRehearsed
	window := *r.FrozenWindow
	window.BlockedMillis, window.HookMillis, window.DownMillis, window.DownSinceMillis = 0, 0, 0, 0
	r.Hooks, r.HooksOmitted = nil, 0
	r.FrozenWindow, r.Decisions = nil, nil
	r.Indices[0] = migration.IndexResult{
		Name: "movies", SourceDocs: 1_500_512, TargetDocs: 1_500_500, Moved: true,
		Checksum: "9f86d081884c7d65",
	}
	r.Rehearsal = &migration.Rehearsal{
		Window: &window, AfterInterval: &migration.Prediction{Millis: 21_300},
		Footprint: &migration.Footprint{
			TargetBytes: 5100 * mib, TargetBytesAfterCutover: 10_200 * mib,
			S3Bytes: 5300 * mib, S3Objects: 1239, OSSBytes: 5299 * mib, OSSObjects: 1237,
		},
		Attention: []migration.Attention{
			{
				Step: "check clusters, buckets, versions and indices", Type: "PreflightFailed",
				Message: "index movies exists on the target <already>",
				Remedy:  "Fix what is listed, then rehearse again.", SinceMillis: begin, Failures: 1,
			},
			{
				Step: "restore snapshot movies-r0001-a1 into the target", Type: "RestoreFailed",
				Message: "shards failed:\n[movies][0]", Remedy: "Check the target's disks.", SinceMillis: begin,
				Failures: 2,
			},
		},
		AttentionOmitted: 3,
	}
	r.Remains = []string{"S3: 3 objects (700 B) below shop/movies/1a2b/"}
	return r
}

func TestHowARehearsalEnded(t *testing.T) {
	r := rehearsed()
	sentence, tone := outcome(r)
	require.Equal(t, "Rehearsed to the end: 5 things would have needed attention.", sentence)
	require.Equal(t, "warn", tone)
	r.Rehearsal.Attention, r.Rehearsal.AttentionOmitted = r.Rehearsal.Attention[:1], 0
	sentence, _ = outcome(r)
	require.Contains(t, sentence, "one thing would")
	r.Rehearsal.EndedIn = migration.PhaseBaseline
	sentence, tone = outcome(r)
	require.Contains(t, sentence, "could not get past phase baseline")
	require.Equal(t, "bad", tone)
	r.Rehearsal = &migration.Rehearsal{}
	_, tone = outcome(r)
	require.Equal(t, "good", tone)
	r.Warnings = []string{"w"}
	_, tone = outcome(r)
	require.Equal(t, "warn", tone)
	r.Result = migration.ResultAborted
	sentence, _ = outcome(r)
	require.Contains(t, sentence, "Aborted: the rehearsal")
}

func TestGolden(t *testing.T) {
	for name, report := range map[string]migration.Report{
		"completed": completed(), "aborted": aborted(),
		"rehearsed": rehearsed(),
	} {
		asJSON, err := json.MarshalIndent(report, "", "  ")
		require.NoError(t, err)
		asHTML, err := HTML(report, transcripts()[name], time.UTC)
		require.NoError(t, err)
		golden.Equal(t, "testdata/"+name+".json", append(asJSON, '\n'))
		golden.Equal(t, "testdata/"+name+".html", asHTML)
		golden.Equal(t, "testdata/"+name+".md", Markdown(report, time.UTC))
		golden.Equal(t, "testdata/"+name+".txt", Text(report, time.UTC))
	}
}

func TestThePageNeedsNothingBesideItself(t *testing.T) {
	page, err := HTML(aborted(), nil, time.UTC)
	require.NoError(t, err)
	for _, loads := range []string{"src=", "href=", "@import", "url(", "<script"} {
		require.NotContains(t, string(page), loads)
	}
	require.Contains(t, string(page), "&lt;script&gt;alert")
	require.NotContains(t, string(page), "ZgotmplZ", "the template engine refused a value")
}

func TestWhatPeopleSayIsNoMarkup(t *testing.T) {
	require.Contains(t, Markdown(aborted(), time.UTC), `&lt;b>not&lt;/b> \| tonight`)
}

func TestJSONIsTheReportItself(t *testing.T) {
	text, err := json.Marshal(completed())
	require.NoError(t, err)
	var back migration.Report
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, completed(), back)
}

func TestAnUnequalIndexIsNotPassedOver(t *testing.T) {
	report := completed()
	report.Indices[1].Equal = false
	report.Indices[1].TargetDocs--
	report.Indices[1].Differences = []string{"one document is missing in shard 3"}
	text := Text(report, time.UTC)
	require.Contains(t, text, "Completed, but 1 of 2 indices are not equal.")
	require.Contains(t, text, "NOT EQUAL")
	require.Contains(t, text, "one document is missing in shard 3")
}

func TestIndicesThatTheReportOmitsAreCounted(t *testing.T) {
	report := completed()
	report.Warnings = nil
	report.IndicesOmitted = &migration.Unlisted{Equal: 9998, Differing: 3, SourceDocs: 123456, TargetDocs: 123456}
	page, err := HTML(report, nil, time.UTC)
	require.NoError(t, err)
	for _, text := range []string{Text(report, time.UTC), Markdown(report, time.UTC), string(page)} {
		require.Contains(t, text, "Completed: all 10000 indices are equal.")
		require.Contains(t, text, "and 9,998 more indices, all equal, with 123,456 documents; settings, mappings or "+
			"aliases of 3 differ")
	}
	report.IndicesOmitted.Equal, report.IndicesOmitted.Unequal = 9997, 1
	text := Text(report, time.UTC)
	require.Contains(t, text, "Completed, but 1 of 10000 indices are not equal.")
	require.Contains(t, text, "of which 1 are not equal")
}

func TestThousandsOfRoundsStayReadable(t *testing.T) {
	report := completed()
	for number := range 2000 {
		report.Rounds = append(report.Rounds, migration.Round{Number: number + 3, Kind: migration.RoundIncremental})
	}
	text := Text(report, time.UTC)
	require.Less(t, strings.Count(text, "\n"), 90)
	require.Contains(t, text, "1973 more")
	require.Contains(t, text, "\n  2002 ")
}

// late are indices that took writes on the source after the cutover. Their sentences are those of
// lateSentences.
func late() []migration.LateIndex {
	return []migration.LateIndex{
		{Name: "logs-2", New: true, Docs: 12},
		{Name: "movies", Docs: 99, Problem: "it is read-only"},
	}
}

var lateSentences = []string{
	"index logs-2 appeared after the cutover had begun: its 12 documents are missing on the target. It is blocked now",
	"index movies took writes after the cutover had begun: its block was gone, and it holds 99 documents. What was " +
		"written since is missing on the target. It still takes writes: it is read-only",
	"3 more",
}

// What the target lacks is named on each page, and no page says that all is well.
func TestLateIndicesAreOnEachPage(t *testing.T) {
	report := completed()
	report.Late, report.LateOmitted = late(), 3
	sentence, tone := outcome(report)
	require.Equal(t, "Completed, but 5 indices took writes on the source after the cutover.", sentence)
	require.Equal(t, "bad", tone)
	page, err := HTML(report, nil, time.UTC)
	require.NoError(t, err)
	for _, text := range []string{Text(report, time.UTC), Markdown(report, time.UTC), string(page)} {
		require.Contains(t, text, sentence)
		require.Equal(t, 1, strings.Count(text, "On the source after the cutover"))
		text = strings.Join(strings.Fields(text), " ") // lines are wrapped
		for _, says := range lateSentences {
			require.Contains(t, text, says)
		}
	}
	require.NotContains(t, Text(completed(), time.UTC), "On the source after the cutover")

	// Unequal indices come first.
	report.Indices[0].Equal = false
	sentence, _ = outcome(report)
	require.Equal(t, "Completed, but 1 of 2 indices are not equal.", sentence)
}

func TestRoundsThatTheReportOmitsAreCounted(t *testing.T) {
	report := completed()
	report.RoundsOmitted = 500
	page, err := HTML(report, nil, time.UTC)
	require.NoError(t, err)
	require.Contains(t, string(page), "500 rounds omitted")
	for _, text := range []string{Text(report, time.UTC), Markdown(report, time.UTC)} {
		require.Contains(t, text, "500 omitted")
		require.Contains(t, text, "503")
		require.Contains(t, text, "more than 5.3 GiB")
	}
}

func TestAnEmptyReportPrints(t *testing.T) {
	_, err := HTML(migration.Report{}, nil, time.UTC)
	require.NoError(t, err)
	require.Contains(t, Text(migration.Report{Result: "terminated"}, time.UTC), "Ended: terminated.")
}
