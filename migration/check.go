package migration

// A check tells whether a plan is ready, and starts no migration.
const (
	// CheckWorkflowType is the name under which the workflow is registered.
	CheckWorkflowType = "Check"
	// ActivityCheckPlan takes a [Run] and returns [Checked]. It leaves both clusters as they were.
	ActivityCheckPlan = "CheckPlan"
	// ActivityWatchWrites takes a [WatchWritesRequest] and returns [Written]. It only reads.
	ActivityWatchWrites = "WatchWrites"
)

// CheckWorkflowID is the one id of a plan's checks: they run one after another.
func CheckWorkflowID(planName string) string { return "check/" + planName }

// CheckOptions says what a check does.
type CheckOptions struct {
	// Probe rehearses the plan with one index.
	Probe bool `json:"probe,omitempty"`
	// Watch is how long the writes on the source are counted, up to LongestWatch. Default: with a
	// probe as long as DefaultWatch, and else not at all.
	Watch Duration `json:"watch,omitempty"`
}

// Checked is what was found without moving anything.
type Checked struct {
	SourceVersion string `json:"sourceVersion,omitempty"`
	TargetVersion string `json:"targetVersion,omitempty"`
	// Indices, Shards (primaries), Segments (of these), Docs and Bytes are what the plan moves.
	Indices  int   `json:"indices"`
	Shards   int   `json:"shards"`
	Segments int64 `json:"segments"`
	Docs     int64 `json:"docs"`
	Bytes    int64 `json:"bytes"`
	// Probe is the index with which a probe would be made; nil if there is none. ProbeSegments counts
	// its segments.
	Probe         *Index `json:"probe,omitempty"`
	ProbeSegments int64  `json:"probeSegments,omitempty"`
	// Limits are those on the pace of the rounds, the baseline among them.
	Limits []PaceLimit `json:"limits,omitempty"`
	Areas  []CheckArea `json:"areas"`
	// NoBucket says that the bucket in OSS isn't there yet: the migration creates it.
	NoBucket bool `json:"noBucket,omitempty"`
}

// CheckArea is what was found in one area. Nothing found is good.
type CheckArea struct {
	Name     string   `json:"name"`
	Note     string   `json:"note,omitempty"` // what was looked at, where that isn't obvious
	Problems []string `json:"problems,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// CheckReport is the verdict on a plan.
type CheckReport struct {
	Plan  string `json:"plan"`
	Ready bool   `json:"ready"`
	Checked
	// Probed is what a rehearsal of one index has shown; nil if there was none. NoProbe says why not.
	Probed   *Probed   `json:"probed,omitempty"`
	NoProbe  string    `json:"noProbe,omitempty"`
	Forecast *Forecast `json:"forecast,omitempty"`
	// Written is what was written on the source while it was watched; nil if it wasn't. NotWatched
	// says why not.
	Written    *Written `json:"written,omitempty"`
	NotWatched string   `json:"notWatched,omitempty"`
	// Round is the forecast of an incremental round; nil if nothing was seen to be written.
	Round *RoundForecast `json:"round,omitempty"`
	// Costs are set by whoever has the prices.
	Costs *Costs `json:"costs,omitempty"`
}

// Probed is a rehearsal of one index, on a throw-away name.
type Probed struct {
	Index string `json:"index"`
	// Bytes and Blobs are those that its baseline copied.
	Bytes int64 `json:"bytes"`
	Blobs int64 `json:"blobs,omitempty"`
	// The times of its baseline.
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
	// Round is the round after it; nil if it didn't come so far.
	Round *ProbedRound `json:"round,omitempty"`
	// Remains names what the probe could not remove.
	Remains []string `json:"remains,omitempty"`
}

// ProbedRound is an incremental round that took the index in any case, so that it shows what a round
// takes whatever its size.
type ProbedRound struct {
	Bytes          int64 `json:"bytes"`
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
}

// Forecast is how long the baseline of the plan takes, at the pace of the probe. A small index has
// few shards, and fixed costs count more with it: so it is rather too long.
type Forecast struct {
	BaselineMillis int64 `json:"baselineMillis"`
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
}

// LeastProbe is how large an index has to be, in bytes, to say anything of the pace.
const LeastProbe = 32 << 20

// PickProbe picks the index for a probe: the smallest one that says something of the pace, or else the
// largest. An index without documents shows the permissions, too.
func PickProbe(indices []Index) *Index {
	var pick *Index
	for i := range indices {
		index := &indices[i]
		switch {
		case pick == nil:
			pick = index
		case pick.Bytes >= LeastProbe:
			if index.Bytes >= LeastProbe && index.Bytes < pick.Bytes {
				pick = index
			}
		case index.Bytes > pick.Bytes:
			pick = index
		}
	}
	return pick
}

// Conclude sets Ready.
func (r *CheckReport) Conclude() {
	r.Ready = true
	for _, area := range r.Areas {
		r.Ready = r.Ready && len(area.Problems) == 0
	}
}
