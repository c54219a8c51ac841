package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab/benchmain"
)

// The tools that are compared.
const (
	toolOurs   = "snapferry"
	toolRclone = "rclone"
)

// The scenarios.
const (
	cold     = "cold"     // an empty sink
	noop     = "noop"     // the sink holds the last snapshot, and the new one has no new blobs
	delta    = "delta"    // the new one has a few
	delta10x = "delta10x" // the same few, in a repository of ten times the blobs
	kill     = "kill"     // cold; SIGKILL when the sink has half of the bytes, then started again at once
	busy     = "busy"     // ours alone, while other processes burn ten times the processors
	faults   = "faults"   // cold, with 5 % of the requests on both sides spoiled
)

// Report is what a run of the benchmarks measured; .lab/bench.json holds it. It names no host and
// no path.
type Report struct {
	Quick   bool     `json:"quick,omitempty"` // a tenth of the sets
	Seed    uint64   `json:"seed"`            // of the repositories and the faults
	CPUs    int      `json:"cpus"`            // shared by servers and clients
	Load    float64  `json:"load"`            // of the minute before, by other programs
	Cases   []Case   `json:"cases"`
	Fanout  *Fanout  `json:"fanout,omitempty"`
	Targets []Target `json:"targets"`
}

// Case is one scenario on one set of data.
type Case struct {
	Set       string `json:"set"`
	Scenario  string `json:"scenario"`
	LatencyMS int    `json:"latencyMs"` // before each answer, on both sides
	TLS       bool   `json:"tls"`       // at the source
	Work      Work   `json:"work"`
	Tools     []Tool `json:"tools"`
}

// Work is what there is to copy in a case.
type Work struct {
	Objects  int64 `json:"objects"`  // that the sink lacks, metadata included
	Bytes    int64 `json:"bytes"`    // of those
	Blobs    int64 `json:"blobs"`    // data blobs among those
	Shards   int64 `json:"shards"`   // of the snapshot
	Indices  int64 `json:"indices"`  // of the snapshot
	AllBlobs int64 `json:"allBlobs"` // of the snapshot
}

// Tool is what one tool took: the medians of its runs, the highest of their peaks, the requests of
// the run with the median wall time, and the bytes read twice of the run in which these were
// closest to those in flight.
type Tool struct {
	Tool        string  `json:"tool"`
	WallSeconds float64 `json:"wallSeconds"`
	// CPUSeconds are those of the process that copies, user and system.
	CPUSeconds       float64  `json:"cpuSeconds"`
	CPUSecondsPerGiB float64  `json:"cpuSecondsPerGiB,omitempty"` // left out below 64 MiB
	PeakRSSMiB       float64  `json:"peakRssMiB"`
	ObjectsPerSecond float64  `json:"objectsPerSecond"`
	Requests         Requests `json:"requests"`
	// ListedBytes are the bodies of the answers to all list requests.
	ListedBytes int64 `json:"listedBytes"`
	// BytesReadTwice is what the source served of data blobs beyond each one's length.
	BytesReadTwice int64 `json:"bytesReadTwice"`
	// BytesInFlight is what the source had served when the process was killed and the sink had not
	// stored.
	BytesInFlight int64 `json:"bytesInFlight,omitempty"`
	// Injected are the faults by kind, on both sides.
	Injected map[string]int64 `json:"injected,omitempty"`
	// Verified says that after each run every object that the snapshot needs stood in the sink with
	// the source's bytes.
	Verified bool `json:"verified"`
	// GivenUp says of each activity that needed another attempt why the one before ended, of all runs.
	GivenUp []string `json:"givenUp,omitempty"`
	// Problem is what a run that didn't end well said.
	Problem string    `json:"problem,omitempty"`
	Walls   []float64 `json:"walls"` // of each run, in order
}

// Requests are counts by operation.
type Requests struct {
	Source map[string]int64 `json:"source"`
	Sink   map[string]int64 `json:"sink"`
}

func (r Requests) total() (n int64) {
	for _, side := range []map[string]int64{r.Source, r.Sink} {
		for _, count := range side {
			n += count
		}
	}
	return n
}

// Fanout compares one worker with several, each with an access key of its own that the servers
// limit.
type Fanout struct {
	Workers           int     `json:"workers"`
	BytesPerSecondKey int64   `json:"bytesPerSecondKey"` // that one key may move, on each side
	Bytes             int64   `json:"bytes"`
	OneSeconds        float64 `json:"oneSeconds"`
	AllSeconds        float64 `json:"allSeconds"`
	Verified          bool    `json:"verified"`
	Problem           string  `json:"problem,omitempty"`
}

// Target is something that a report must show.
type Target struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

// run is one run of one tool.
type run struct {
	wall     float64 // seconds
	cpu      float64 // seconds
	peakRSS  int64   // bytes
	requests Requests
	listed   int64
	twice    int64
	inFlight int64
	givenUp  []string
	injected map[string]int64
	verified bool
	problem  string
}

// leastForRate is the least that CPU time per GiB says something of.
const leastForRate = 64 << 20

// summarize makes one Tool of the runs of a case.
func summarize(tool string, work Work, runs []run) Tool {
	t := Tool{Tool: tool, Verified: len(runs) > 0, Walls: []float64{}}
	if len(runs) == 0 {
		t.Problem = "no run"
		return t
	}
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b run) int { return cmp.Compare(a.wall, b.wall) })
	middle := sorted[len(sorted)/2]
	t.WallSeconds = benchmain.Round3(benchmain.Median(runs, func(r run) float64 { return r.wall }))
	t.CPUSeconds = benchmain.Round3(benchmain.Median(runs, func(r run) float64 { return r.cpu }))
	if work.Bytes >= leastForRate {
		t.CPUSecondsPerGiB = benchmain.Round3(t.CPUSeconds / (float64(work.Bytes) / (1 << 30)))
	}
	if t.WallSeconds > 0 {
		t.ObjectsPerSecond = math.Round(float64(work.Objects) / t.WallSeconds)
	}
	t.Requests, t.ListedBytes, t.Injected = middle.requests, middle.listed, middle.injected
	worst := slices.MaxFunc(runs, func(a, b run) int { return cmp.Compare(a.twice-a.inFlight, b.twice-b.inFlight) })
	t.BytesReadTwice, t.BytesInFlight = worst.twice, worst.inFlight
	for _, r := range runs {
		t.Walls, t.GivenUp = append(t.Walls, benchmain.Round3(r.wall)), append(t.GivenUp, r.givenUp...)
		t.PeakRSSMiB = max(t.PeakRSSMiB, math.Round(float64(r.peakRSS)/(1<<20)))
		t.Verified = t.Verified && r.verified && r.problem == ""
		if t.Problem == "" {
			t.Problem = r.problem
		}
	}
	return t
}

// find gives the two tools of a case; ok is false if the case wasn't run with both.
func (r *Report) find(set, scenario string, latency int, tls bool) (ours, rclone Tool, ok bool) {
	for _, c := range r.Cases {
		if c.Set != set || c.Scenario != scenario || c.LatencyMS != latency || c.TLS != tls {
			continue
		}
		var both int
		for _, t := range c.Tools {
			switch t.Tool {
			case toolOurs:
				ours = t
				both++
			case toolRclone:
				rclone = t
				both++
			}
		}
		return ours, rclone, both == 2
	}
	return Tool{}, Tool{}, false
}

// peakLimitMiB is what a worker may take at most.
const peakLimitMiB = 250

// judge fills in the targets that the cases can answer. A case in which one of the tools failed
// answers none.
func (r *Report) judge() {
	r.Targets = nil
	// atMost and atLeast compare one of our figures with rclone's in the same case.
	compareTools := func(name, set, scenario string, latency int, tls bool, figure func(Tool) float64, limit float64,
		atLeast bool,
	) {
		ours, rclone, ok := r.find(set, scenario, latency, tls)
		if !ok {
			return
		}
		t := Target{Name: name, Want: fmt.Sprintf("<= %.2f of rclone's", limit), Got: "not measured"}
		if atLeast {
			t.Want = fmt.Sprintf(">= %.2f of rclone's", limit)
		}
		if a, b := figure(ours), figure(rclone); b > 0 && ours.Verified && rclone.Verified {
			ratio := a / b
			t.Got = fmt.Sprintf("%.2f (%.4g / %.4g)", ratio, a, b)
			t.Met = ratio <= limit
			if atLeast {
				t.Met = ratio >= limit
			}
		} else {
			t.Got = "a tool did not end with the source's bytes"
		}
		r.Targets = append(r.Targets, t)
	}
	wall, perGiB := func(t Tool) float64 { return t.WallSeconds }, func(t Tool) float64 { return t.CPUSecondsPerGiB }
	compareTools("C cold: CPU per GiB", "C", cold, 0, false, perGiB, 0.7, false)
	compareTools("C cold: wall time", "C", cold, 0, false, wall, 1, false)
	compareTools("C cold, TLS at the source: CPU per GiB", "C", cold, 0, true, perGiB, 0.8, false)
	compareTools("C cold, TLS at the source: wall time", "C", cold, 0, true, wall, 1, false)
	compareTools("A cold: objects per second", "A", cold, 0, false, func(t Tool) float64 { return t.ObjectsPerSecond },
		1.8, true)
	compareTools("E delta at 20 ms: wall time", "E", delta, 20, false, wall, 0.4, false)
	compareTools("E delta at 20 ms, ten times the blobs: wall time", "E", delta10x, 20, false, wall, 0.15, false)
	r.judgeRequests()
	r.judgeOurs()
	if f := r.Fanout; f != nil {
		t := Target{
			Name: fmt.Sprintf("%d workers, a limited key each: speed", f.Workers),
			Want: fmt.Sprintf(">= %.1f of one's", fanoutShare*float64(f.Workers)), Got: f.Problem,
		}
		if f.Verified && f.AllSeconds > 0 {
			times := f.OneSeconds / f.AllSeconds
			t.Got, t.Met = fmt.Sprintf("%.2f (%.1f s, %.1f s)", times, f.OneSeconds,
				f.AllSeconds), times >= fanoutShare*float64(f.Workers)
		}
		r.Targets = append(r.Targets, t)
	}
}

// fanoutShare is how much of its own speed each of several workers must have: 3.6 of 4.
const fanoutShare = 0.9

// allowedRequests is what a delta may cost.
func allowedRequests(w Work) int64 { return 2*w.Blobs + 6*w.Shards + 2*w.Indices + 30 }

func (r *Report) judgeRequests() {
	for _, c := range r.Cases {
		if c.Scenario != delta && c.Scenario != noop && c.Scenario != delta10x {
			continue
		}
		ours, rclone, both := r.find(c.Set, c.Scenario, c.LatencyMS, c.TLS)
		if ours.Tool == "" {
			continue
		}
		name := fmt.Sprintf("%s %s at %d ms: ", c.Set, c.Scenario, c.LatencyMS)
		got, allowed := ours.Requests.total(), allowedRequests(c.Work)
		r.Targets = append(r.Targets, Target{
			Name: name + "requests",
			Want: fmt.Sprintf("<= %d (2 a delta blob + 6 a shard + 2 an index + 30)", allowed),
			Got:  fmt.Sprint(got), Met: got <= allowed && ours.Verified,
		})
		if both && rclone.ListedBytes > 0 {
			share := float64(ours.ListedBytes) / float64(rclone.ListedBytes)
			r.Targets = append(r.Targets, Target{
				Name: name + "no listing of the whole repository",
				Want: "<= 0.10 of the bytes listed by rclone, which lists all of it",
				Got:  fmt.Sprintf("%.3f", share), Met: share <= 0.1,
			})
		}
	}
}

// judgeOurs judges what needs no comparison.
func (r *Report) judgeOurs() {
	peak, where := 0.0, ""
	for _, c := range r.Cases {
		ours, _, _ := r.find(c.Set, c.Scenario, c.LatencyMS, c.TLS)
		if ours.Tool == "" {
			continue
		}
		if ours.PeakRSSMiB > peak {
			peak, where = ours.PeakRSSMiB, c.name()
		}
		switch c.Scenario {
		case kill:
			r.Targets = append(r.Targets, Target{
				Name: c.name() + ": bytes read twice",
				Want: fmt.Sprintf("<= %d in flight", ours.BytesInFlight),
				Got:  fmt.Sprint(ours.BytesReadTwice), Met: ours.Verified && ours.BytesReadTwice <= ours.BytesInFlight,
			})
		case busy:
			r.Targets = append(r.Targets, Target{
				Name: c.name() + ": activities that needed another attempt", Want: "none",
				Got: fmt.Sprint(len(ours.GivenUp)), Met: ours.Verified && len(ours.GivenUp) == 0,
			})
		case faults:
			var injected int64
			for _, n := range ours.Injected {
				injected += n
			}
			got := fmt.Sprintf("complete and verified after %d faults", injected)
			if !ours.Verified {
				got = "not complete: " + ours.Problem
			}
			r.Targets = append(r.Targets, Target{
				Name: c.name() + ": the end", Want: "complete and verified", Got: got,
				Met: ours.Verified && injected > 0,
			})
		}
	}
	if where != "" {
		r.Targets = append(r.Targets, Target{
			Name: "peak RSS of a worker, the highest",
			Want: fmt.Sprintf("< %d MiB", peakLimitMiB),
			Got:  fmt.Sprintf("%.0f MiB (%s)", peak, where), Met: peak < peakLimitMiB,
		})
	}
}

func (c Case) name() string {
	name := c.Set + " " + c.Scenario
	if c.LatencyMS > 0 {
		name += fmt.Sprintf(" at %d ms", c.LatencyMS)
	}
	if c.TLS {
		name += " with TLS"
	}
	return name
}

// print writes the one table: a row for each tool in each case, then the targets.
func (r *Report) print(out io.Writer) error {
	if r.Quick {
		fmt.Fprintln(out, "quick: a tenth of the sets; what a full run shows is more")
	}
	fmt.Fprintf(out, "seed %d, %d CPUs shared by servers and clients, a load of %.1f before\n", r.Seed, r.CPUs, r.Load)
	if r.Load > float64(r.CPUs) {
		fmt.Fprintln(out, "other programs kept this computer busy: run it again when they don't")
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "case\ttool\twall s\tmin-max s\tCPU s\tCPU s/GiB\tpeak MiB\tobjects/s\trequests "+
		"source\tsink\tread twice\tverified\t")
	for _, c := range r.Cases {
		for _, tool := range c.Tools {
			fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t%.2f\t%s\t%.0f\t%.0f\t%d\t%d\t%s\t%s\t\n", c.name(), tool.Tool,
				tool.WallSeconds, spread(tool.Walls), tool.CPUSeconds,
				orDash(tool.CPUSecondsPerGiB), tool.PeakRSSMiB, tool.ObjectsPerSecond,
				Requests{Source: tool.Requests.Source}.total(), Requests{Sink: tool.Requests.Sink}.total(),
				size(tool.BytesReadTwice), yesNo(tool.Verified))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Cases {
		for _, tool := range c.Tools {
			if len(tool.Injected) > 0 {
				fmt.Fprintf(out, "\n%s, %s: faults injected:%s", c.name(), tool.Tool, counts(tool.Injected))
			}
			for _, why := range tool.GivenUp {
				fmt.Fprintf(out, "\n%s, %s: %s", c.name(), tool.Tool, why)
			}
			if tool.Problem != "" {
				fmt.Fprintf(out, "\n%s, %s: %s", c.name(), tool.Tool, tool.Problem)
			}
		}
	}
	if f := r.Fanout; f != nil {
		fmt.Fprintf(out, "\nfan-out: %s with keys limited to %s/s: 1 worker %.1f s, %d workers %.1f s, verified %s %s",
			size(f.Bytes), size(f.BytesPerSecondKey),
			f.OneSeconds, f.Workers, f.AllSeconds, yesNo(f.Verified), f.Problem)
	}
	fmt.Fprint(out, "\n\n")
	t = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "target\twanted\tmeasured\tmet")
	for _, target := range r.Targets {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", target.Name, target.Want, target.Got, yesNo(target.Met))
	}
	return t.Flush()
}

func spread(walls []float64) string {
	if len(walls) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f-%.2f", slices.Min(walls), slices.Max(walls))
}

func orDash(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", x)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func counts(n map[string]int64) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&text, " %d %s", n[name], name)
	}
	return text.String()
}

func size(n int64) string { return human.Size(n) }
