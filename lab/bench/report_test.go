package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/lab/benchmain"
)

// tool makes a measured tool of the figures that the targets look at.
func tool(name string, change func(*Tool)) Tool {
	t := Tool{
		Tool: name, WallSeconds: 10, CPUSeconds: 2, CPUSecondsPerGiB: 1, PeakRSSMiB: 100, ObjectsPerSecond: 1000,
		Verified: true, Walls: []float64{9, 10, 11},
		Requests:    Requests{Source: map[string]int64{"GetObject": 400}, Sink: map[string]int64{"PutObject": 500}},
		ListedBytes: 1000,
	}
	change(&t)
	return t
}

func caseOf(set, scenario string, latency int, tls bool, ours, rclone func(*Tool)) Case {
	return Case{
		Set: set, Scenario: scenario, LatencyMS: latency, TLS: tls,
		Work:  Work{Objects: 1000, Bytes: 1 << 30, Blobs: 300, Shards: 150, Indices: 30},
		Tools: []Tool{tool(toolOurs, ours), tool(toolRclone, rclone)},
	}
}

func same(*Tool) {}

func targetsOf(cases ...Case) map[string]Target {
	r := Report{Cases: cases}
	r.judge()
	targets := map[string]Target{}
	for _, t := range r.Targets {
		targets[t.Name] = t
	}
	return targets
}

func TestTargetsOnTheirLimits(t *testing.T) {
	wall := func(seconds float64) func(*Tool) { return func(t *Tool) { t.WallSeconds = seconds } }
	perGiB := func(seconds float64) func(*Tool) { return func(t *Tool) { t.CPUSecondsPerGiB = seconds } }
	rate := func(n float64) func(*Tool) { return func(t *Tool) { t.ObjectsPerSecond = n } }
	requests := func(n int64) func(*Tool) { return func(t *Tool) { t.Requests.Source["GetObject"] = n - 500 } }
	listed := func(n int64) func(*Tool) { return func(t *Tool) { t.ListedBytes = n } }
	peak := func(mib float64) func(*Tool) { return func(t *Tool) { t.PeakRSSMiB = mib } }
	twice := func(n int64) func(*Tool) { return func(t *Tool) { t.BytesReadTwice, t.BytesInFlight = n, 5000 } }
	const formula = 2*300 + 6*150 + 2*30 + 30
	for _, test := range []struct {
		target    string
		of        func(ours func(*Tool)) Case
		met, miss func(*Tool)
	}{
		{
			"C cold: CPU per GiB",
			func(o func(*Tool)) Case { return caseOf("C", cold, 0, false, o, same) }, perGiB(0.7),
			perGiB(0.71),
		},
		{
			"C cold: wall time", func(o func(*Tool)) Case { return caseOf("C", cold, 0, false, o, same) }, wall(10),
			wall(10.1),
		},
		{"C cold, TLS at the source: CPU per GiB", func(o func(*Tool)) Case {
			return caseOf("C", cold, 0, true, o,
				same)
		}, perGiB(0.8), perGiB(0.81)},
		{"C cold, TLS at the source: wall time", func(o func(*Tool)) Case {
			return caseOf("C", cold, 0, true, o,
				same)
		}, wall(9), wall(11)},
		{
			"A cold: objects per second", func(o func(*Tool)) Case { return caseOf("A", cold, 0, false, o, same) },
			rate(1800), rate(1799),
		},
		{
			"E delta at 20 ms: wall time", func(o func(*Tool)) Case { return caseOf("E", delta, 20, false, o, same) },
			wall(4), wall(4.1),
		},
		{
			"E delta at 20 ms, ten times the blobs: wall time",
			func(o func(*Tool)) Case { return caseOf("E", delta10x, 20, false, o, same) }, wall(1.5), wall(1.6),
		},
		{
			"E delta at 20 ms: requests", func(o func(*Tool)) Case { return caseOf("E", delta, 20, false, o, same) },
			requests(formula), requests(formula + 1),
		},
		{
			"E delta at 20 ms: no listing of the whole repository",
			func(o func(*Tool)) Case { return caseOf("E", delta, 20, false, o, same) }, listed(100), listed(101),
		},
		{
			"peak RSS of a worker, the highest",
			func(o func(*Tool)) Case { return caseOf("E", cold, 0, false, o, same) },
			peak(249), peak(250),
		},
		{
			"E kill: bytes read twice", func(o func(*Tool)) Case { return caseOf("E", kill, 0, false, o, same) },
			twice(5000), twice(5001),
		},
		{
			"A busy: activities that needed another attempt",
			func(o func(*Tool)) Case { return caseOf("A", busy, 0, false, o, same) }, same,
			func(t *Tool) { t.GivenUp = []string{"attempt 2 after: context canceled"} },
		},
	} {
		require.True(t, targetsOf(test.of(test.met))[test.target].Met, "%s: %+v", test.target,
			targetsOf(test.of(test.met)))
		missed, ok := targetsOf(test.of(test.miss))[test.target]
		require.True(t, ok, test.target)
		require.False(t, missed.Met, "%+v", missed)
		require.NotEmpty(t, missed.Got)
	}
}

func TestARunThatDidNotEndWellMeetsNothing(t *testing.T) {
	failed := func(t *Tool) {
		t.Verified, t.WallSeconds, t.CPUSecondsPerGiB, t.ObjectsPerSecond = false, 0.1, 0.1, 1e6
	}
	for name, target := range targetsOf(caseOf("C", cold, 0, false, failed, same),
		caseOf("A", cold, 0, false, same, failed), caseOf("E", delta, 20, false, failed, same)) {
		if name != "peak RSS of a worker, the highest" && !strings.Contains(name, "no listing") {
			require.False(t, target.Met, "%+v", target)
		}
	}
	ended := func(t *Tool) { t.Injected = map[string]int64{"source reset-download": 3} }
	require.True(t, targetsOf(caseOf("E", faults, 0, false, ended, failed))["E faults: the end"].Met)
	require.False(t, targetsOf(caseOf("E", faults, 0, false, same, same))["E faults: the end"].Met,
		"without a fault nothing is shown")
}

// A case with one tool, or none of a target's cases, leaves out what it can't answer.
func TestTargetsThatCannotBeJudgedAreLeftOut(t *testing.T) {
	alone := caseOf("E", delta, 20, false, same, same)
	alone.Tools = alone.Tools[:1]
	targets := targetsOf(alone)
	require.NotContains(t, targets, "E delta at 20 ms: wall time")
	require.Contains(t, targets, "E delta at 20 ms: requests")
	require.Empty(t, targetsOf())
}

func TestFanoutTarget(t *testing.T) {
	for seconds, met := range map[float64]bool{10: true, 11.2: false} {
		r := Report{Fanout: &Fanout{Workers: 4, OneSeconds: 36, AllSeconds: seconds, Verified: true}}
		r.judge()
		require.Len(t, r.Targets, 1)
		require.Equal(t, met, r.Targets[0].Met, "%+v", r.Targets[0])
		require.Equal(t, ">= 3.6 of one's", r.Targets[0].Want)
		r.Fanout.Verified = false
		r.judge()
		require.False(t, r.Targets[0].Met)
	}
}

func TestSummaryTakesMediansAndTheWorst(t *testing.T) {
	of := func(wall float64, gets, twice, inFlight int64) run {
		return run{
			wall: wall, cpu: wall / 2, peakRSS: int64(wall) << 20, twice: twice, inFlight: inFlight,
			verified: true,
			requests: Requests{Source: map[string]int64{"GetObject": gets}},
		}
	}
	work := Work{Objects: 300, Bytes: 2 << 30}
	got := summarize(toolOurs, work, []run{of(9, 1, 100, 500), of(3, 2, 80, 90), of(6, 3, 100, 200)})
	require.Equal(t, 6.0, got.WallSeconds)
	require.Equal(t, 3.0, got.CPUSeconds)
	require.Equal(t, 1.5, got.CPUSecondsPerGiB)
	require.Equal(t, 9.0, got.PeakRSSMiB, "the highest")
	require.Equal(t, 50.0, got.ObjectsPerSecond)
	require.Equal(t, int64(3), got.Requests.Source["GetObject"], "of the median run")
	require.Equal(t, []int64{80, 90}, []int64{got.BytesReadTwice, got.BytesInFlight},
		"the run that came closest to its bound")
	require.Equal(t, []float64{9, 3, 6}, got.Walls)
	require.True(t, got.Verified)

	bad := of(1, 1, 0, 0)
	bad.verified, bad.problem = false, "an object is missing"
	got = summarize(toolOurs, work, []run{of(9, 1, 0, 0), bad})
	require.False(t, got.Verified)
	require.Equal(t, "an object is missing", got.Problem)
	require.Equal(t, 5.0, got.WallSeconds, "of two runs, the mean")
	require.Zero(t, summarize(toolOurs, Work{Bytes: 1000}, []run{of(1, 1, 0, 0)}).CPUSecondsPerGiB)
	require.False(t, summarize(toolOurs, work, nil).Verified)
}

func TestTheReportPrintsAndWrites(t *testing.T) {
	r := Report{Seed: 7, CPUs: 2, Load: 2.5, Cases: []Case{
		caseOf("C", cold, 0, true, func(t *Tool) { t.CPUSecondsPerGiB = 0.4 }, same),
		caseOf("E", faults, 0, false, func(t *Tool) {
			t.Injected = map[string]int64{
				"sink throttle":         4,
				"source reset-download": 3,
			}
		},
			func(t *Tool) { t.Verified, t.Problem = false, "rclone ended with exit status 1" }),
	}, Fanout: &Fanout{
		Workers: 4, Bytes: 3 << 20, BytesPerSecondKey: 2 << 20, OneSeconds: 8, AllSeconds: 2,
		Verified: true,
	}}
	r.judge()
	var out bytes.Buffer
	require.NoError(t, r.print(&out))
	golden.Equal(t, "testdata/table.txt", out.Bytes())

	path := filepath.Join(t.TempDir(), "new", "bench.json")
	require.NoError(t, benchmain.Write(path, r))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	golden.Equal(t, "testdata/bench.json", data)
	var again Report
	require.NoError(t, json.Unmarshal(data, &again))
	require.Equal(t, r, again)
}
