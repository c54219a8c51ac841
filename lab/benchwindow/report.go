package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/byhand"
)

// The ways that are compared.
const (
	wayOurs        = "snapferry"
	wayScript      = "script"
	wayUnthrottled = "script unthrottled"
	// The ways of the case with slow lines.
	wayGroups   = "in groups"
	wayOneByOne = "one by one"
)

// Report is what a run measured; .lab/bench-window.json holds it. It names no host and no path.
// Seconds are those of the medians.
type Report struct {
	Quick   bool     `json:"quick,omitempty"`
	Seed    uint64   `json:"seed"` // of the documents
	CPUs    int      `json:"cpus"` // shared by clusters, servers and clients
	Seconds float64  `json:"seconds"`
	Cases   []Case   `json:"cases"`
	Lines   *Lines   `json:"lines,omitempty"`
	Targets []Target `json:"targets"`
}

// Case is one delta at one latency.
type Case struct {
	Delta             string `json:"delta"`
	LatencyMS         int    `json:"latencyMs"`  // before each answer of S3 and OSS, for everyone
	DeltaBytes        int64  `json:"deltaBytes"` // that the final round copied
	Ours              Way    `json:"ours"`
	Script            Way    `json:"script"`
	ScriptUnthrottled Way    `json:"scriptUnthrottled"`
}

// Lines is the case with slow lines: the same migration with its final round in groups, whose steps
// overlap, and without.
type Lines struct {
	MegabytesPerSecond int   `json:"megabytesPerSecond"` // of S3 and of OSS, in each direction
	Indices            int   `json:"indices"`
	DeltaBytes         int64 `json:"deltaBytes"`
	Groups             int   `json:"groups"` // that were cut in the median run
	InGroups           Way   `json:"inGroups"`
	OneByOne           Way   `json:"oneByOne"`
	// LineSeconds is what one line needs for the delta, and BestSeconds what so many equal groups take
	// if shards are copied while others are snapshotted: snapshot and copy of one group, and then the
	// restore of all. Without groups it is twice what one line needs.
	LineSeconds float64 `json:"lineSeconds"`
	BestSeconds float64 `json:"bestSeconds"`
}

// linesLimit is the share of the window without groups that one in groups may take.
const linesLimit = 0.75

func newLines(megabytes, indices int, runs map[string][]run) *Lines {
	grouped := runs[wayGroups]
	l := &Lines{
		MegabytesPerSecond: megabytes, Indices: indices,
		DeltaBytes: int64(benchmain.Median(grouped, func(r run) float64 { return float64(r.delta) })),
		Groups:     int(benchmain.Median(grouped, func(r run) float64 { return float64(r.groups) })),
		InGroups:   newWay(grouped), OneByOne: newWay(runs[wayOneByOne]),
	}
	l.LineSeconds = benchmain.Round3(float64(l.DeltaBytes) / float64(megabytes) / 1e6)
	l.BestSeconds = benchmain.Round3(l.LineSeconds * (1 + 1/float64(max(l.Groups, 1))))
	return l
}

func (l *Lines) judge() Target {
	t := Target{
		Name: fmt.Sprintf("%d indices at %d MB/s: window in groups against one without", l.Indices,
			l.MegabytesPerSecond),
		Want: fmt.Sprintf("<= %.2f", linesLimit), Got: "not measured",
	}
	if a, b := l.InGroups.WindowSeconds, l.OneByOne.WindowSeconds; a > 0 && b > 0 {
		t.Got, t.Met = shareOf(a, b), a/b <= linesLimit && l.Groups > 1
	}
	return t
}

func (l *Lines) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%d indices, delta %s, S3 and OSS give %d MB/s in each direction: %.1f s for the delta\n\n",
		l.Indices, human.Size(l.DeltaBytes), l.MegabytesPerSecond, l.LineSeconds)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "final round\tgroups\twindow\tmin-max\tblock\tsnapshot\tcopy\trestore\tverify\tpredicted\t"+
		"best possible\t")
	for _, row := range []struct {
		name   string
		groups int
		best   float64
		Way
	}{{wayGroups, l.Groups, l.BestSeconds, l.InGroups}, {wayOneByOne, 1, 2 * l.LineSeconds, l.OneByOne}} {
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%s\t", row.name, row.groups, row.WindowSeconds, spread(row.Windows))
		for _, name := range byhand.Steps() {
			fmt.Fprintf(t, "%.2f\t", row.Steps[name])
		}
		fmt.Fprintf(t, "%s\t%.1f\t\n", row.predicted(), row.best)
	}
	return t.Flush()
}

// Way is what one way took: medians, each of its own.
type Way struct {
	// WindowSeconds are from the block's request until the target was verified.
	WindowSeconds float64            `json:"windowSeconds"`
	Steps         map[string]float64 `json:"steps"`
	// ElasticsearchSeconds are what the clusters say of their snapshot and restore.
	ElasticsearchSeconds         float64 `json:"elasticsearchSeconds"`
	ElasticsearchSnapshotSeconds float64 `json:"elasticsearchSnapshotSeconds"`
	ElasticsearchRestoreSeconds  float64 `json:"elasticsearchRestoreSeconds"`
	// ElasticsearchRequestsSeconds are the same by what the clusters asked of S3 and OSS. They count
	// what ends a snapshot, and what is read of a repository before the first shard is restored.
	ElasticsearchRequestsSeconds         float64 `json:"elasticsearchRequestsSeconds"`
	ElasticsearchRequestsSnapshotSeconds float64 `json:"elasticsearchRequestsSnapshotSeconds"`
	ElasticsearchRequestsRestoreSeconds  float64 `json:"elasticsearchRequestsRestoreSeconds"`
	// PredictedSeconds is what was predicted right before the block; ours only.
	PredictedSeconds *float64 `json:"predictedSeconds,omitempty"`
	// Windows and Predictions are those of each run, in order.
	Windows     []float64 `json:"windows"`
	Predictions []float64 `json:"predictions,omitempty"`
	// Timeline is the window of the median run, activity by activity; ours only.
	Timeline []Span `json:"timeline,omitempty"`
}

// Target is something that a report must show.
type Target struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

func newCase(delta string, latencyMS int, runs map[string][]run) Case {
	return Case{
		Delta: delta, LatencyMS: latencyMS, DeltaBytes: int64(benchmain.Median(runs[wayOurs],
			func(r run) float64 { return float64(r.delta) })),
		Ours: newWay(runs[wayOurs]), Script: newWay(runs[wayScript]), ScriptUnthrottled: newWay(runs[wayUnthrottled]),
	}
}

func newWay(runs []run) Way {
	w := Way{Steps: map[string]float64{}, Windows: []float64{}}
	if len(runs) == 0 {
		return w
	}
	figure := func(of func(run) float64) float64 { return benchmain.Round3(benchmain.Median(runs, of)) }
	w.WindowSeconds = figure(func(r run) float64 { return r.window })
	w.ElasticsearchSnapshotSeconds = figure(func(r run) float64 { return r.own.snapshot.Seconds() })
	w.ElasticsearchRestoreSeconds = figure(func(r run) float64 { return r.own.restore.Seconds() })
	w.ElasticsearchSeconds = figure(func(r run) float64 { return r.own.seconds() })
	w.ElasticsearchRequestsSnapshotSeconds = figure(func(r run) float64 { return r.requests.snapshot.Seconds() })
	w.ElasticsearchRequestsRestoreSeconds = figure(func(r run) float64 { return r.requests.restore.Seconds() })
	w.ElasticsearchRequestsSeconds = figure(func(r run) float64 { return r.requests.seconds() })
	for _, name := range byhand.Steps() {
		w.Steps[name] = figure(func(r run) float64 { return r.steps[name] })
	}
	told := true
	for _, r := range runs {
		w.Windows = append(w.Windows, benchmain.Round3(r.window))
		if told = told && len(r.timeline) > 0 && r.predicted >= 0; told {
			w.Predictions = append(w.Predictions, benchmain.Round3(r.predicted))
		}
	}
	if told {
		predicted := figure(func(r run) float64 { return r.predicted })
		w.PredictedSeconds = &predicted
	} else {
		w.Predictions = nil
	}
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b run) int { return cmp.Compare(a.window, b.window) })
	w.Timeline = sorted[(len(sorted)-1)/2].timeline
	return w
}

func (c Case) name() string { return fmt.Sprintf("%s delta at %d ms", c.Delta, c.LatencyMS) }

// overhead is what a window takes beyond what the clusters need for snapshot and restore, by their
// own account.
func (w Way) overhead() float64 { return w.WindowSeconds - w.ElasticsearchSeconds }

// overheadByRequests is the same by what the clusters asked of S3 and OSS.
func (w Way) overheadByRequests() float64 { return w.WindowSeconds - w.ElasticsearchRequestsSeconds }

func (w Way) predicted() string {
	if w.PredictedSeconds == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", *w.PredictedSeconds)
}

// unthrottledLimit is the share of the window of a script that raises the clusters' throttles that
// ours may take.
const unthrottledLimit = 0.8

// beyondLimit is the share of what a script adds to Elasticsearch's own times that we may add.
const beyondLimit = 0.6

// throttledLimit is the share of the window of a script that leaves them that ours may take.
func (c Case) throttledLimit() float64 {
	switch {
	case c.Delta == deltaLarge:
		return 0.35
	case c.LatencyMS > 0:
		return 0.6
	}
	return 0.5
}

// A prediction may be off by this share of the true window, or by this many seconds.
const (
	predictionShare   = 0.3
	predictionSeconds = 1.0
)

// judge fills in the targets.
func (r *Report) judge() {
	r.Targets = []Target{}
	for _, c := range r.Cases {
		for _, against := range []struct {
			way   string
			other Way
			limit float64
		}{
			{wayScript, c.Script, c.throttledLimit()},
			{wayUnthrottled, c.ScriptUnthrottled, unthrottledLimit},
		} {
			t := Target{
				Name: c.name() + ": window against " + against.way, Want: fmt.Sprintf("<= %.2f", against.limit),
				Got: "not measured",
			}
			if a, b := c.Ours.WindowSeconds, against.other.WindowSeconds; a > 0 && b > 0 {
				t.Got, t.Met = shareOf(a, b), a/b <= against.limit
			}
			r.Targets = append(r.Targets, t,
				c.judgeBeyond("Elasticsearch's own", against.way, c.Ours.overhead(), against.other.overhead()),
				c.judgeBeyond("what Elasticsearch asks of S3 and OSS", against.way, c.Ours.overheadByRequests(),
					against.other.overheadByRequests()))
		}
		r.Targets = append(r.Targets, c.judgePrediction())
	}
	if r.Lines != nil {
		r.Targets = append(r.Targets, r.Lines.judge())
	}
}

// judgeBeyond compares what two ways take beyond what is Elasticsearch's own.
func (c Case) judgeBeyond(what, way string, ours, other float64) Target {
	t := Target{
		Name: c.name() + ": beyond " + what + ", against " + way,
		Want: fmt.Sprintf("<= %.2f", beyondLimit), Got: "not measured",
	}
	if ours > 0 && other > 0 {
		t.Got, t.Met = shareOf(ours, other), ours/other <= beyondLimit
	}
	return t
}

// judgePrediction holds each run to its own prediction, and tells of the one that was furthest off.
func (c Case) judgePrediction() Target {
	t := Target{
		Name: c.name() + ": prediction before the block",
		Want: fmt.Sprintf("within %.0f %% or %.0f s, in each run", predictionShare*100, predictionSeconds),
		Got:  "none was shown",
	}
	if len(c.Ours.Predictions) == 0 || len(c.Ours.Predictions) != len(c.Ours.Windows) {
		return t
	}
	t.Met = true
	worst := -1.0
	for i, predicted := range c.Ours.Predictions {
		window := c.Ours.Windows[i]
		off := math.Abs(predicted - window)
		allowed := max(predictionShare*window, predictionSeconds)
		t.Met = t.Met && off <= allowed
		if off/allowed > worst {
			worst = off / allowed
			t.Got = fmt.Sprintf("%.2f s for %.2f s", predicted, window)
		}
	}
	return t
}

// print writes the table: a row for each way in each case, then where our windows went, then the
// targets.
func (r *Report) print(out io.Writer) error {
	if r.Quick {
		fmt.Fprintln(out, "quick: a part of the cases, few runs")
	}
	fmt.Fprintf(out, "seed %d, %d CPUs shared by clusters, servers and clients; seconds, medians; %.0f s in all\n\n",
		r.Seed, r.CPUs, r.Seconds)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "case\tdelta\tway\twindow\tmin-max\tblock\tsnapshot\tcopy\trestore\tverify\tES snapshot\tES "+
		"restore\tbeyond ES\tES requests\tbeyond requests\tpredicted\t")
	for _, c := range r.Cases {
		for _, row := range []struct {
			name string
			Way
		}{{wayOurs, c.Ours}, {wayScript, c.Script}, {wayUnthrottled, c.ScriptUnthrottled}} {
			fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%s\t", c.name(), human.Size(c.DeltaBytes), row.name,
				row.WindowSeconds, spread(row.Windows))
			for _, name := range byhand.Steps() {
				fmt.Fprintf(t, "%.2f\t", row.Steps[name])
			}
			fmt.Fprintf(t, "%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t\n", row.ElasticsearchSnapshotSeconds,
				row.ElasticsearchRestoreSeconds, row.overhead(),
				row.ElasticsearchRequestsSeconds, row.overheadByRequests(), row.predicted())
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := r.printTimelines(out); err != nil {
		return err
	}
	if r.Lines != nil {
		if err := r.Lines.print(out); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	t = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "target\twanted\tmeasured\tmet")
	for _, target := range r.Targets {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", target.Name, target.Want, target.Got, yesNo(target.Met))
	}
	return t.Flush()
}

// printTimelines tells where our median windows went: milliseconds, from the events of their
// histories.
func (r *Report) printTimelines(out io.Writer) error {
	for _, c := range r.Cases {
		if len(c.Ours.Timeline) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s, %s, a median window, ms:\n", c.name(), wayOurs)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "at\tdeciding before\tqueued\tran\tbefore ES\tafter ES\tattempts\tactivity\t")
		var decided, queued int64
		for _, s := range c.Ours.Timeline {
			before, after := "", ""
			if o := s.Own; o != nil {
				before, after = fmt.Sprint(o.BeforeMS), fmt.Sprint(o.AfterMS)
			}
			fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t\n", s.AtMS, s.DecideMS, s.QueuedMS, s.RanMS, before, after,
				s.Attempts, s.Activity)
			decided += s.DecideMS
			queued += s.QueuedMS
		}
		fmt.Fprintf(t, "\t%d\t%d\t\t\t\t\tall\t\n", decided, queued)
		if err := t.Flush(); err != nil {
			return err
		}
		for _, s := range c.Ours.Timeline {
			if s.Failed != "" {
				fmt.Fprintf(out, "%s at %d ms, the attempt before the last: %s\n", s.Activity, s.AtMS, s.Failed)
			}
		}
	}
	return nil
}

func stepsText(steps map[string]float64) string {
	var parts []string
	for _, name := range byhand.Steps() {
		parts = append(parts, fmt.Sprintf("%s %.2f", name, steps[name]))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func spread(windows []float64) string {
	if len(windows) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f-%.2f", slices.Min(windows), slices.Max(windows))
}

func shareOf(ours, other float64) string {
	return fmt.Sprintf("%.2f (%.2f s / %.2f s)", ours/other, ours, other)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}
