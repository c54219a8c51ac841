package migration

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// What a check says of the time that a migration takes: its baseline, and the rounds after it.

// The steps of a round whose pace something limits.
const (
	StepSnapshot = "snapshot"
	StepCopy     = "copy"
	StepRestore  = "restore"
)

// PaceLimit is a limit on how fast one step of a round goes.
type PaceLimit struct {
	Step string `json:"step"`
	// Setting is the setting of Elasticsearch, or the field of the plan. Value is as it is written
	// there. Default says that nobody has set it: it is Elasticsearch's own.
	Setting string `json:"setting"`
	Value   string `json:"value"`
	Default bool   `json:"default,omitempty"`
	// BytesPerSecond holds for each of so many nodes; for all together if Nodes is 0.
	BytesPerSecond int64 `json:"bytesPerSecond"`
	Nodes          int   `json:"nodes,omitempty"`
}

// perByte is how many milliseconds one byte takes at least.
func (l PaceLimit) perByte() float64 {
	return 1000 / (float64(l.BytesPerSecond) * float64(max(l.Nodes, 1)))
}

// Millis is how long so many bytes take at least.
func (l PaceLimit) Millis(bytes int64) int64 { return int64(math.Ceil(l.perByte() * float64(bytes))) }

// Surroundings are what of a plan's clusters bears on the pace.
type Surroundings struct {
	// SourceNodes and TargetNodes are the data nodes; 0 if they are not known. Shards counts the plan's
	// primaries.
	SourceNodes, TargetNodes, Shards int
	// Recovery is the target's limit on recoveries. Nil if it doesn't hold for restores: before 7.9,
	// which limits these by a setting of the repository alone.
	Recovery *RecoveryFound
}

// elasticThrottle is Elasticsearch's own limit (BlobStoreRepository, RecoverySettings).
const elasticThrottle Throttle = "40mb"

// PaceLimits are the limits on the rounds of this plan, the baseline among them, in the order of the
// steps. A limit that can't be read as a rate is left out.
func (p Plan) PaceLimits(in Surroundings) []PaceLimit {
	var limits []PaceLimit
	add := func(step, setting string, nodes int, values ...Throttle) {
		l := PaceLimit{Step: step, Setting: setting, Nodes: min(cmp.Or(nodes, in.Shards), in.Shards)}
		value := cmp.Or(values...)
		if value == "" {
			return
		}
		l.Value = string(value)
		l.Default = value == values[len(values)-1] && cmp.Or(values[:len(values)-1]...) == ""
		if rate, ok := sizeOf(string(value)); ok && rate >= 1 {
			l.BytesPerSecond = int64(rate)
			limits = append(limits, l)
		}
	}
	rounds := p.Throttles.Rounds
	source, target := p.Source.Repository.Settings, p.Target.Repository.Settings
	add(StepSnapshot, "max_snapshot_bytes_per_sec", in.SourceNodes,
		rounds.Snapshot.given(), throttleIn(source, "max_snapshot_bytes_per_sec"), elasticThrottle)
	if rate := p.Copy.Bandwidth; rate > 0 {
		limits = append(limits, PaceLimit{
			Step: StepCopy, Setting: "copy.bandwidth", Value: rate.String(), BytesPerSecond: rate.Bytes(),
		})
	}
	restore := elasticThrottle
	if in.Recovery != nil {
		restore = "" // from 7.9 on, recoveries have the default
	}
	add(StepRestore, "max_restore_bytes_per_sec", in.TargetNodes,
		rounds.Restore.given(), throttleIn(target, "max_restore_bytes_per_sec"), restore)
	if r := in.Recovery; r != nil {
		add(StepRestore, "indices.recovery.max_bytes_per_sec", in.TargetNodes,
			rounds.Recovery.given(), Throttle(r.Transient), Throttle(r.Persistent), elasticThrottle)
	}
	return limits
}

// given is what this throttle sets; empty if what stands there stays.
func (t Throttle) given() Throttle {
	value, _ := t.Setting()
	return Throttle(value)
}

func throttleIn(settings map[string]any, name string) Throttle {
	if value, there := settings[name]; there && value != nil {
		return Throttle(settingText(value))
	}
	return ""
}

// SlowestLimit is the limit that costs most of the time, whatever the number of bytes; false if there
// is none.
func SlowestLimit(limits []PaceLimit) (PaceLimit, bool) {
	if len(limits) == 0 {
		return PaceLimit{}, false
	}
	return slices.MaxFunc(limits, func(a, b PaceLimit) int { return cmp.Compare(a.perByte(), b.perByte()) }), true
}

// slowest is how many milliseconds one byte takes at least in this step.
func slowest(limits []PaceLimit, step string) float64 {
	var most float64
	for _, l := range limits {
		if l.Step == step {
			most = max(most, l.perByte())
		}
	}
	return most
}

// WatchWritesRequest asks for what is written to the plan's indices within a time.
type WatchWritesRequest struct {
	Run
	For Duration `json:"for"`
}

// Written is what was written to a plan's indices while a check watched them.
type Written struct {
	// Millis is how long they were watched.
	Millis int64 `json:"millis"`
	// Indexed and Deleted count the operations on primaries. Indices and Shards are those that had
	// any, and Bytes is their size.
	Indexed int64 `json:"indexed"`
	Deleted int64 `json:"deleted"`
	Indices int   `json:"indices"`
	Shards  int   `json:"shards"`
	Bytes   int64 `json:"bytes"`
	// NewBytes is what the indexed documents take, each as much as a document of its index does.
	// MergedBytes is what merges write again because of them, at most: as many bytes for each
	// operation as merges have read since the shards were started.
	NewBytes    int64 `json:"newBytes"`
	MergedBytes int64 `json:"mergedBytes"`
}

// Nothing tells whether nothing was written.
func (w Written) Nothing() bool { return w.Indexed+w.Deleted == 0 }

// PerSecond is how many operations were written in a second.
func (w Written) PerSecond() float64 {
	return float64(w.Indexed+w.Deleted) * 1000 / float64(max(w.Millis, 1))
}

// RoundForecast is what an incremental round copies and takes, if one begins so long after the one
// before has ended.
type RoundForecast struct {
	IntervalMillis int64 `json:"intervalMillis"`
	// Least counts the new documents only, and what a round takes whatever its size once. Most counts
	// what merges write again as well, and what a round takes whatever its size once for as many
	// shards as the probe had, one after the other.
	Least RoundEstimate `json:"least"`
	Most  RoundEstimate `json:"most"`
	// NoTime says why the times are not known.
	NoTime string `json:"noTime,omitempty"`
}

// RoundEstimate is one estimate of a round. Without a probe it has no times.
type RoundEstimate struct {
	Bytes          int64 `json:"bytes"`
	Millis         int64 `json:"millis,omitempty"`
	SnapshotMillis int64 `json:"snapshotMillis,omitempty"`
	CopyMillis     int64 `json:"copyMillis,omitempty"`
	RestoreMillis  int64 `json:"restoreMillis,omitempty"`
}

// Foresee sets what can be said of the baseline and of the rounds.
func (r *CheckReport) Foresee(interval Duration) {
	if r.Probed != nil {
		r.Forecast = r.Probed.Forecast(r.Bytes, r.Limits)
	}
	if r.Written != nil && !r.Written.Nothing() && r.Written.Millis > 0 {
		r.Round = r.foreseeRound(interval)
	}
}

func (r *CheckReport) foreseeRound(interval Duration) *RoundForecast {
	w, probed := *r.Written, r.Probed
	millis := float64(interval.Std().Milliseconds())
	least, most := float64(w.NewBytes)/float64(w.Millis), float64(w.NewBytes+w.MergedBytes)/float64(w.Millis)
	// A round copies no more than there is: the indices that are written, with what is new in them.
	all := float64(w.Bytes) + least*millis

	f := RoundForecast{IntervalMillis: interval.Std().Milliseconds()}
	var pace roundPace
	switch {
	case probed == nil:
		f.NoTime = "there was no probe"
	case probed.Round == nil:
		f.NoTime = "the probe ended before it had a second round"
	case probed.Bytes >= LeastProbe && probed.Bytes-probed.Round.Bytes < LeastProbe:
		f.NoTime = "the probed index was written to: its second round copied about as much as its first"
	default:
		pace = probed.pace(r.Limits)
	}
	estimate := func(times float64) {
		f.Least, f.Most = pace.estimate(millis, least, all), pace.times(times).estimate(millis, most, all)
	}
	estimate(max(1, float64(w.Shards)/float64(max(1, r.probeShards()))))
	if f.NoTime == "" && probed.Bytes < LeastProbe && f.Most.Bytes > probed.Bytes {
		f.NoTime = "a round copies more than the probe did, which copied too little to tell the pace"
		pace = roundPace{}
		estimate(1)
	}
	return &f
}

func (r *CheckReport) probeShards() int {
	if r.Checked.Probe == nil {
		return 1
	}
	return r.Checked.Probe.Shards
}

// roundPace is how long the steps of a round take, in their order.
type roundPace [3]line

// pace is what the probe's two rounds have shown: its second one copied next to nothing. No byte is
// faster than the limits allow.
func (p Probed) pace(limits []PaceLimit) roundPace {
	step := func(name string, baseline, round int64) line {
		measured := float64(max(baseline-round, 0)) / float64(max(p.Bytes-p.Round.Bytes, 1))
		return line{fixed: float64(round), perByte: max(measured, slowest(limits, name))}
	}
	return roundPace{
		step(StepSnapshot, p.SnapshotMillis, p.Round.SnapshotMillis),
		step(StepCopy, p.CopyMillis, p.Round.CopyMillis),
		step(StepRestore, p.RestoreMillis, p.Round.RestoreMillis),
	}
}

// times is the pace if what a round takes whatever its size is taken so many times.
func (p roundPace) times(n float64) roundPace {
	for i := range p {
		p[i].fixed *= n
	}
	return p
}

// estimate is a round that copies what is written from the beginning of the round before to its own,
// at this rate in bytes per millisecond, but no more than all.
func (p roundPace) estimate(interval, rate, all float64) RoundEstimate {
	var fixed, perByte float64
	for _, step := range p {
		fixed, perByte = fixed+step.fixed, perByte+step.perByte
	}
	// It takes t = fixed + perByte*bytes, and the bytes are rate*(interval+t).
	bytes := all
	if left := 1 - perByte*rate; left > 0 {
		bytes = min(rate*(interval+fixed)/left, all)
	}
	e := RoundEstimate{Bytes: int64(math.Round(bytes))}
	e.SnapshotMillis, e.CopyMillis, e.RestoreMillis = p[0].at(e.Bytes), p[1].at(e.Bytes), p[2].at(e.Bytes)
	e.Millis = e.SnapshotMillis + e.CopyMillis + e.RestoreMillis
	return e
}

// Forecast is the baseline of so many bytes at this pace, and no faster than the limits allow; nil if
// the probe was too small.
func (p Probed) Forecast(bytes int64, limits []PaceLimit) *Forecast {
	if p.Bytes < LeastProbe {
		return nil
	}
	times := float64(bytes) / float64(p.Bytes)
	scaled := func(step string, millis int64) int64 {
		least := int64(math.Ceil(slowest(limits, step) * float64(bytes)))
		return max(int64(float64(millis)*times), millis, least)
	}
	f := Forecast{
		SnapshotMillis: scaled(StepSnapshot, p.SnapshotMillis), CopyMillis: scaled(StepCopy, p.CopyMillis),
		RestoreMillis: scaled(StepRestore, p.RestoreMillis),
	}
	f.BaselineMillis = f.SnapshotMillis + f.CopyMillis + f.RestoreMillis
	return &f
}

// How long a check watches what is written.
const (
	// DefaultWatch goes with a probe, which takes about as long.
	DefaultWatch = Duration(time.Minute)
	LongestWatch = Duration(24 * time.Hour)
)

// WatchFor is how long a check watches what is written; 0 if it doesn't.
func (o CheckOptions) WatchFor(probes bool) Duration {
	switch {
	case o.Watch > 0:
		return min(o.Watch, LongestWatch)
	case probes:
		return DefaultWatch
	}
	return 0
}
