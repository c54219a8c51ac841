package migration

// A check tells whether a plan is ready, and starts no migration.
const (
	// CheckWorkflowType is the name under which the workflow is registered.
	CheckWorkflowType = "Check"
	// ActivityCheckPlan takes a [Run] and returns [Checked]. It leaves both clusters as they were.
	ActivityCheckPlan = "CheckPlan"
)

// CheckWorkflowID is the one id of a plan's checks: they run one after another.
func CheckWorkflowID(planName string) string { return "check/" + planName }

// CheckOptions says what a check does.
type CheckOptions struct {
	// Probe rehearses the plan with one index.
	Probe bool `json:"probe,omitempty"`
}

// Checked is what was found without moving anything.
type Checked struct {
	SourceVersion string `json:"sourceVersion,omitempty"`
	TargetVersion string `json:"targetVersion,omitempty"`
	// Indices, Shards (primaries), Docs and Bytes are what the plan moves.
	Indices int   `json:"indices"`
	Shards  int   `json:"shards"`
	Docs    int64 `json:"docs"`
	Bytes   int64 `json:"bytes"`
	// Probe is the index with which a probe would be made; nil if there is none.
	Probe *Index      `json:"probe,omitempty"`
	Areas []CheckArea `json:"areas"`
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
}

// Probed is a baseline of one index, on a throw-away name.
type Probed struct {
	Index string `json:"index"`
	Bytes int64  `json:"bytes"` // that were copied
	// The times of its baseline.
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
	// Remains names what the probe could not remove.
	Remains []string `json:"remains,omitempty"`
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

// Forecast is the baseline of so many bytes at this pace; nil if the probe was too small.
func (p Probed) Forecast(bytes int64) *Forecast {
	if p.Bytes < LeastProbe {
		return nil
	}
	times := float64(bytes) / float64(p.Bytes)
	scaled := func(millis int64) int64 { return max(int64(float64(millis)*times), millis) }
	f := Forecast{
		SnapshotMillis: scaled(p.SnapshotMillis), CopyMillis: scaled(p.CopyMillis),
		RestoreMillis: scaled(p.RestoreMillis),
	}
	f.BaselineMillis = f.SnapshotMillis + f.CopyMillis + f.RestoreMillis
	return &f
}

// Conclude sets Ready.
func (r *CheckReport) Conclude() {
	r.Ready = true
	for _, area := range r.Areas {
		r.Ready = r.Ready && len(area.Problems) == 0
	}
}
