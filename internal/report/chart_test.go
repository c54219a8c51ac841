package report

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// timed is a round that began and took so many seconds.
func timed(number int, kind string, began, snapshot, copied, restore, mebibytes int64) migration.Round {
	return migration.Round{
		Number: number, Kind: kind, StartTimeMillis: begin + began*second, SnapshotMillis: snapshot * second,
		CopyMillis: copied * second, RestoreMillis: restore * second, BytesCopied: mebibytes * mib,
	}
}

// measured is a migration of 1000 seconds.
func measured(rounds ...migration.Round) migration.Report {
	return migration.Report{
		Result: migration.ResultCompleted, Plan: "movies", StartedMillis: begin, EndedMillis: begin + 1000*second,
		Rounds: rounds,
	}
}

// bars are the heights of a column's boxes by class. It asserts that they stand on each other.
func bars(t *testing.T, column *element) map[string]float64 {
	t.Helper()
	heights, top := map[string]float64{}, 100.0
	for _, box := range column.all("rect") {
		switch class := box.attributes["class"]; class {
		case "hit", "gap", "frame", "cut":
		default:
			heights[class] = box.percent(t, "height")
			require.InDelta(t, top, box.percent(t, "y")+heights[class], 0.02, "a box stands on the one before")
			top = box.percent(t, "y")
		}
	}
	return heights
}

func requireBars(t *testing.T, want map[string]float64, column *element) {
	t.Helper()
	got := bars(t, column)
	require.Len(t, got, len(want), "%v", got)
	for class, height := range want {
		require.InDelta(t, height, got[class], 0.01, "%s of %v", class, got)
	}
}

// The highest column is as high as the plot, and each box has its share of it.
func TestColumnsAreAsHighAsTheirNumbers(t *testing.T) {
	r := measured(timed(0, migration.RoundBaseline, 100, 40, 40, 20, 400),
		timed(1, migration.RoundIncremental, 300, 25, 15, 10, 200),
		timed(2, migration.RoundFinal, 801, 4, 3, 2, 100))
	r.FrozenWindow = &migration.FrozenWindow{
		StartedMillis: begin + 800*second, Millis: 20 * second, BlockMillis: second, SnapshotMillis: 4 * second,
		CopyMillis: 3 * second, RestoreMillis: 2 * second, VerifyMillis: 8 * second, HookMillis: 2 * second,
		BlockedMillis: 100 * second,
	}
	page := pageOf(t, r, nil)
	took := page.picture(t, "How long each round took").all("g")
	require.Len(t, took, 3)
	requireBars(t, map[string]float64{"p1": 35.2, "p2": 35.2, "p3": 17.6}, took[0])
	requireBars(t, map[string]float64{"p1": 22, "p2": 13.2, "p3": 8.8}, took[1])
	requireBars(t, map[string]float64{
		"p0": 0.88, "p5": 1.76, "p1": 3.52, "p2": 2.64, "p3": 1.76, "p4": 7.04,
	}, took[2])
	require.Equal(t, "Round 1 (incremental): 50s (snapshot 25s, copy 15s, restore 10s)", took[1].all("title")[0].text)
	require.Empty(t, with(took[1].all("rect"), "frame"))
	require.Len(t, with(took[2].all("rect"), "frame"), 1, "the frozen window stands out")

	copied := page.picture(t, "How much each round copied").all("g")
	for i, height := range []float64{88, 44, 22} {
		requireBars(t, map[string]float64{"p2": height}, copied[i])
	}
	require.Equal(t, "Round 1 (incremental): copied 200 MiB", copied[1].all("title")[0].text)

	strip := page.picture(t, "When the rounds ran")
	for class, places := range map[string][][2]float64{
		"p1": {{10, 4}, {30, 2.5}, {80.3, 0.4}}, "p2": {{14, 4}, {32.5, 1.5}, {80.7, 0.3}},
		"p3": {{18, 2}, {34, 1}, {81, 0.2}}, "p0": {{80, 0.1}}, "p5": {{80.1, 0.2}}, "p4": {{81.2, 0.8}},
		"blocked": {{80, 10}},
	} {
		boxes := with(strip.all("rect"), class)
		require.Len(t, boxes, len(places), class)
		for i, place := range places {
			require.InDelta(t, place[0], boxes[i].percent(t, "x"), 0.01, class)
			require.InDelta(t, place[1], boxes[i].percent(t, "width"), 0.01, class)
		}
	}
	require.Equal(t, "From 2026-03-02 22:00:00 UTC to 2026-03-02 22:16:40 UTC. Round 0 (baseline) began at 2026-03-02 "+
		"22:01:40 UTC. Round 2 (final) began at 2026-03-02 22:13:21 UTC. Writes were blocked from 2026-03-02 22:13:20 "+
		"UTC for 1m40s.", strip.all("desc")[0].text)
	var ticks []string
	for _, text := range strip.all("text")[1:] {
		ticks = append(ticks, text.text)
	}
	require.Equal(t, []string{"22:00:00", "22:04:10", "22:08:20", "22:12:30", "22:16:40"}, ticks)
}

// A baseline of hours doesn't make rounds of seconds flat.
func TestABaselineThatTowersIsCutOff(t *testing.T) {
	r := measured(timed(0, migration.RoundBaseline, 0, 300, 300, 300, 100),
		timed(1, migration.RoundIncremental, 950, 5, 3, 2, 100),
		timed(2, migration.RoundIncremental, 970, 2, 2, 1, 300))
	page := pageOf(t, r, nil)
	took := page.picture(t, "How long each round took")
	columns := took.all("g")
	third := 88.0 / 3
	requireBars(t, map[string]float64{"p1": third, "p2": third, "p3": third}, columns[0])
	requireBars(t, map[string]float64{"p1": 35.2, "p2": 21.12, "p3": 14.08}, columns[1])
	require.Len(t, with(columns[0].all("rect"), "cut"), 1)
	require.Empty(t, with(columns[1].all("rect"), "cut"))
	require.Equal(t, "15m", took.all("text")[0].text)
	require.Contains(t, page.text, "The first column is cut off: its number stands above it.")

	copied := page.picture(t, "How much each round copied")
	require.Empty(t, with(copied.all("rect"), "cut"), "it copied no more than others")
	require.Empty(t, copied.all("text"))
}

// Migrations that began in earlier versions have reports of 500 rounds.
func TestManyRoundsShareColumns(t *testing.T) {
	rounds := []migration.Round{timed(0, migration.RoundBaseline, 0, 10, 10, 10, 900)}
	for i := range 498 {
		n := int64(i)
		rounds = append(rounds, timed(i+8, migration.RoundIncremental, 40+n, n%9, 2, 1, n%9))
	}
	r := measured(append(rounds, timed(506, migration.RoundFinal, 990, 1, 1, 1, 1))...)
	r.RoundsOmitted = 7
	page := pageOf(t, r, nil)
	took := page.picture(t, "How long each round took").all("g")
	const columns = 1 + 1 + 56 + 1 // 498 rounds in groups of nine
	require.Len(t, took, columns)
	for i := range took[1:] {
		require.InDelta(t, 100.0/columns, took[i+1].all("rect")[0].percent(t, "x")-
			took[i].all("rect")[0].percent(t, "x"), 0.02)
	}
	require.Equal(t, "7 rounds that the report doesn't hold", took[1].all("title")[0].text)
	require.Len(t, with(took[1].all("rect"), "gap"), 1)
	require.Empty(t, bars(t, took[1]))
	require.Equal(t, "Rounds 8 to 16, on average: 7s (snapshot 4s, copy 2s, restore 1s)", took[2].all("title")[0].text)
	require.Equal(t, "Rounds 8 to 16, on average: copied 4.0 MiB",
		page.picture(t, "How much each round copied").all("g")[2].all("title")[0].text)
	require.Contains(t, page.text, "Between the first and the last round, each column is the average of up to 9 "+
		"rounds. 7 rounds after the baseline can't be shown: the report doesn't hold them.")
	require.Len(t, with(page.picture(t, "When the rounds ran").all("rect"), "gap"), 1)
	numbers := page.all("svg")[3].all("text")
	require.LessOrEqual(t, len(numbers), 11, "they don't touch each other on a telephone")
	require.Equal(t, "506", numbers[len(numbers)-1].text)
}

// Of a migration of weeks, a round is a line: its parts would hide each other.
func TestAShortRoundIsALine(t *testing.T) {
	r := measured(timed(0, migration.RoundBaseline, 0, 300, 300, 300, 100),
		timed(1, migration.RoundIncremental, 950, 2, 1, 1, 100),
		timed(2, migration.RoundIncremental, 970, 2, 2, 1, 300))
	page := pageOf(t, r, nil)
	strip := page.picture(t, "When the rounds ran").all("rect")
	require.Len(t, with(strip, "ran"), 1)
	require.InDelta(t, 95, with(strip, "ran")[0].percent(t, "x"), 0.01)
	require.InDelta(t, 0.4, with(strip, "ran")[0].percent(t, "width"), 0.01)
	require.Len(t, with(strip, "p1"), 2, "half a percent is enough for three parts")
	require.Contains(t, page.text, "A thin line is a round that was too short to show its parts there.")
}

func TestAsManyRoundsAsAReportHoldsHaveAColumnEach(t *testing.T) {
	var rounds []migration.Round
	for i := range 50 {
		rounds = append(rounds, timed(i, migration.RoundIncremental, int64(20*i), 1, 1, 1, 1))
	}
	page := pageOf(t, measured(rounds...), nil)
	columns := page.picture(t, "How long each round took").all("g")
	require.Len(t, columns, 50)
	for i, column := range columns {
		require.Contains(t, column.all("title")[0].text, fmt.Sprintf("Round %d (", i))
		requireBars(t, map[string]float64{"p1": 88.0 / 3, "p2": 88.0 / 3, "p3": 88.0 / 3}, column)
	}
	require.NotContains(t, page.text, "average")
}

// Steps of groups overlap, so they are one part with the time that they took together.
func TestGroupsAreOnePart(t *testing.T) {
	final := timed(1, migration.RoundFinal, 500, 6, 6, 6, 1)
	final.Groups, final.GroupedMillis = 3, 10*second
	r := measured(timed(0, migration.RoundBaseline, 0, 20, 5, 5, 1), final)
	r.FrozenWindow = &migration.FrozenWindow{
		StartedMillis: begin + 500*second, Millis: 13 * second, BlockMillis: second, SnapshotMillis: 6 * second,
		CopyMillis: 6 * second, RestoreMillis: 6 * second, VerifyMillis: 2 * second,
		Groups: 3, GroupedMillis: 10 * second,
	}
	page := pageOf(t, r, nil)
	requireBars(t, map[string]float64{"p0": 2.93, "p6": 29.33, "p4": 5.87},
		page.picture(t, "How long each round took").all("g")[1])
	for _, colour := range page.all("i") {
		require.NotEmpty(t, colour.attributes["class"])
	}
	require.Contains(t, page.text, "snapshot, copy and restore, in 3 groups")
}

func TestARehearsalBlocksNothing(t *testing.T) {
	page := pageOf(t, rehearsed(), nil)
	require.Empty(t, with(page.picture(t, "When the rounds ran").all("rect"), "blocked"))
	columns := page.picture(t, "How long each round took").all("g")
	require.Len(t, with(columns[len(columns)-1].all("rect"), "frame"), 1, "its window is one to expect")
}

// A report that lacks times, or whose clocks differ, is drawn as far as it goes.
func TestOddReportsAreDrawn(t *testing.T) {
	require.Nil(t, newChart(migration.Report{}, time.UTC))
	nothing := migration.Round{Number: 1, Kind: migration.RoundIncremental, Indices: 2, Skipped: 2}
	page := pageOf(t, migration.Report{Plan: "movies", Rounds: []migration.Round{{}, nothing}}, nil)
	require.Len(t, page.all("svg"), 3, "no time, no strip")
	for _, column := range page.picture(t, "How long each round took").all("g") {
		require.Empty(t, bars(t, column))
	}

	r := measured(timed(0, migration.RoundBaseline, -50, 40, 20, 20, 1),
		timed(1, migration.RoundFinal, 2000, 1, 1, 1, 1))
	for _, box := range pageOf(t, r, nil).picture(t, "When the rounds ran").all("rect") {
		require.Positive(t, box.percent(t, "width"))
		if box.attributes["class"] != "ground" {
			require.GreaterOrEqual(t, box.percent(t, "x"), 0.0)
			require.LessOrEqual(t, box.percent(t, "x")+box.percent(t, "width"), 100.0)
		}
	}
}

func TestTheLinesOfAPlotAreRoundNumbers(t *testing.T) {
	for top, want := range map[int64]int64{
		0: 1, 1: 1, 4: 1, 5: 2, 53_000: 15_000, 19 * minute: 5 * minute, 30 * 24 * 60 * minute: 180 * 60 * minute,
	} {
		require.Equal(t, want, spanStep(top), top)
	}
	for top, want := range map[int64]int64{0: 1, 4: 1, 5: 2, 300 * mib: 64 * mib, 800 << 30: 256 << 30} {
		require.Equal(t, want, sizeStep(top), top)
	}
}
