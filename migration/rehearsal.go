package migration

import "strings"

// RehearsalWorkflowID is the one id of a plan's rehearsals: none of them meets the plan's
// migration.
func RehearsalWorkflowID(planName string) string { return "rehearsal/" + planName }

// WorkflowID is the id under which the plan is started: that of its migration, or of its
// rehearsals.
func (p Plan) WorkflowID() string {
	if p.Rehearsal {
		return RehearsalWorkflowID(p.Name)
	}
	return WorkflowID(p.Name)
}

// rehearsalPrefix begins the names of a rehearsal's indices on the target. It holds nothing that
// has a meaning in the replacement of a Java expression.
func (r Run) rehearsalPrefix() string { return "snapferry-rehearsal-" + r.Token + "-" }

// TargetIndex is the name that an index of the source has on the target: the same one, and in a
// rehearsal a throw-away name that no other run ever uses.
func (r Run) TargetIndex(source string) string {
	if r.Plan.Rehearsal {
		return r.rehearsalPrefix() + source
	}
	return source
}

// SourceIndex is the inverse of TargetIndex.
func (r Run) SourceIndex(target string) string {
	if r.Plan.Rehearsal {
		return strings.TrimPrefix(target, r.rehearsalPrefix())
	}
	return target
}

// RestoreRename is rename_pattern and rename_replacement of a restore, which follow Java's
// String.replaceAll: they make TargetIndex of each name. Both are empty without a rehearsal.
func (r Run) RestoreRename() (pattern, replacement string) {
	if r.Plan.Rehearsal {
		return "^(.+)$", r.rehearsalPrefix() + "$1"
	}
	return "", ""
}

// LongestIndexName is Elasticsearch's limit in bytes
// (MetaDataCreateIndexService.MAX_INDEX_NAME_BYTES).
const LongestIndexName = 255

// RestoresAliases tells whether restores bring the source's aliases along. A rehearsal's never do:
// searches on the target must not find its documents.
func (p Plan) RestoresAliases() bool { return !p.Rehearsal && !p.Restore.ExcludeAliases }

// Rehearsal is what a rehearsal has found.
type Rehearsal struct {
	// Window is the frozen window to expect: what a migration would do while writes are blocked was
	// done while they went on, and measured. Only BlockMillis is an estimate. Nil if the rehearsal
	// didn't come so far.
	Window *FrozenWindow `json:"window,omitempty"`
	// AfterInterval is what a window will probably take that begins one rounds.interval after the
	// last round, at the rate at which the source was written; nil if that isn't known. A hot round
	// makes it shorter.
	AfterInterval *Prediction `json:"afterInterval,omitempty"`
	// Footprint is the space that it took; nil if it didn't come so far.
	Footprint *Footprint `json:"footprint,omitempty"`
	// Attention is what would have needed a person's attention in a migration, in the order in
	// which it came up; AttentionOmitted counts what was left out of very much.
	Attention        []Attention `json:"attention,omitempty"`
	AttentionOmitted int         `json:"attentionOmitted,omitempty"`
	// EndedIn is the phase that it could not get past; empty if it went through.
	EndedIn Phase `json:"endedIn,omitempty"`
}

// Footprint is the space that a migration takes, in bytes, beside the source.
type Footprint struct {
	// TargetBytes is what the indices take on the target's disks with the plan's restore.replicas,
	// TargetBytesAfterCutover with the source's replicas.
	TargetBytes             int64 `json:"targetBytes"`
	TargetBytesAfterCutover int64 `json:"targetBytesAfterCutover"`
	// What the snapshots of all rounds took.
	S3Bytes    int64 `json:"s3Bytes"`
	S3Objects  int64 `json:"s3Objects"`
	OSSBytes   int64 `json:"ossBytes"`
	OSSObjects int64 `json:"ossObjects"`
}

// DeletedIndices is what became of a rehearsal's indices on the target.
type DeletedIndices struct {
	Deleted int `json:"deleted"`
	// Left are indices that bear the rehearsal's names and weren't restored by it.
	Left []string `json:"left,omitempty"`
}

// DeletedSnapshots is what became of a rehearsal's snapshots.
type DeletedSnapshots struct {
	Deleted int `json:"deleted"`
	// LeftObjects and LeftBytes count what Elasticsearch leaves below the repository's base path: a
	// root index-N that lists no snapshot, and the like.
	LeftObjects int64 `json:"leftObjects,omitempty"`
	LeftBytes   int64 `json:"leftBytes,omitempty"`
	// Unseen says why that isn't known.
	Unseen string `json:"unseen,omitempty"`
}

// DeletedCopies is what became of a rehearsal's objects in OSS.
type DeletedCopies struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Uploads int   `json:"uploads"`
}

// RehearsedIndicesRequest names a rehearsal's indices on the target by what they are called on the
// source. Expected and Begun are those of a CloseRequest: what is in neither isn't the rehearsal's.
type RehearsedIndicesRequest struct {
	Run
	Indices    []Index               `json:"indices"`
	IndicesOf  Stored[[]Index]       `json:"indicesOf,omitzero"`
	Expected   WriteCounters         `json:"expected,omitempty"`
	ExpectedOf Stored[WriteCounters] `json:"expectedOf,omitzero"`
	Begun      []string              `json:"begun,omitempty"`
	BegunOf    []Stored[[]Index]     `json:"begunOf,omitempty"`
}

// JudgeRehearsal is Judge for a rehearsal: it freezes nothing, hands nothing over and waits for
// nobody.
func JudgeRehearsal(request Request, phase Phase, paused bool) (Verdict, string) {
	switch {
	case phase.Ended():
		return Ignored, "the rehearsal has ended (" + string(phase) + ")"
	case phase == PhaseAborting:
		return Ignored, "the rehearsal is being aborted"
	case phase == PhaseCleanUp:
		return Ignored, "the rehearsal is over: it only removes what it has made"
	}
	switch request {
	case RequestFreeze, RequestCutover:
		return Ignored, "this is a rehearsal: it blocks nothing, hands nothing over, and ends automatically"
	case RequestRound:
		return Ignored, "this is a rehearsal: it runs the rounds that it needs automatically"
	case RequestRetry:
		return Ignored, "this is a rehearsal: it waits for nobody, and only reports what would have needed attention"
	case RequestAbort:
		return Taken, "the rehearsal stops and removes what it has made"
	case RequestPause:
		if paused {
			return Ignored, "it is already paused"
		}
		return Taken, "no further step starts until resume"
	case RequestResume:
		if !paused {
			return Ignored, "it is not paused"
		}
		return Taken, "it goes on"
	}
	return Ignored, "there is no such request"
}
