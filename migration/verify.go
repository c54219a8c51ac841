package migration

import "slices"

// StandstillRequest asks for indices of the source to stand still.
type StandstillRequest struct {
	IndicesRequest
	// Store allows lists that are too long for a payload to be stored. Workflows that began before
	// there were such lists don't set it: they would take a stored list for an empty one.
	Store bool `json:"store,omitempty"`
	// Before is an earlier standstill of the same indices, for Standstill.Changed.
	Before *Standstill `json:"before,omitempty"`
	// Find asks as well which indices take part in the final round, for Standstill.Found.
	Find *ChangedRequest `json:"find,omitempty"`
}

// Standstill is the source once nobody writes to it any more.
type Standstill struct {
	Docs    ShardDocs          `json:"docs,omitempty"`
	DocsOf  Stored[ShardDocs]  `json:"docsOf,omitzero"`
	Marks   ShardMarks         `json:"marks,omitempty"`
	MarksOf Stored[ShardMarks] `json:"marksOf,omitzero"`
	// Changed names an index whose documents or marks are not those that it had before; empty if
	// nothing has changed, or if there was nothing to compare with.
	Changed string `json:"changed,omitempty"`
	// Found are the indices that take part in the final round, if they were asked for.
	Found *Changed `json:"found,omitempty"`
}

// ChangedIndex names an index that is not what it was in an earlier standstill; empty if all are.
// names are those to compare of what is not stored. An update leaves the number of documents as it
// is, so the marks count too.
func (s Standstill) ChangedIndex(before Standstill, names []string) string {
	switch {
	case s.DocsOf == before.DocsOf && s.MarksOf == before.MarksOf:
		// What is stored is equal, if anything is.
	case s.Changed != "":
		return s.Changed
	default:
		return "(which one is not known)"
	}
	for _, name := range names {
		if !slices.Equal(s.Docs[name], before.Docs[name]) || !slices.Equal(s.Marks[name], before.Marks[name]) {
			return name
		}
	}
	return ""
}

// VerifyRequest asks for the target to be compared with the frozen source.
type VerifyRequest struct {
	Run
	Indices   []Index           `json:"indices,omitempty"`
	IndicesOf Stored[[]Index]   `json:"indicesOf,omitzero"`
	Frozen    ShardDocs         `json:"frozen,omitempty"`
	FrozenOf  Stored[ShardDocs] `json:"frozenOf,omitzero"`
	// Counters are the target's after the last restore: other ones mean that somebody wrote there.
	Counters   WriteCounters         `json:"counters,omitempty"`
	CountersOf Stored[WriteCounters] `json:"countersOf,omitzero"`
	// Seen are the operations that each index had counted on the source when the last snapshot
	// began, in a rehearsal: more of them now explain a difference.
	Seen   map[string]int64         `json:"seen,omitempty"`
	SeenOf Stored[map[string]int64] `json:"seenOf,omitzero"`
	// Proofs were made before the freeze. Marks are the source's now that it stands still: only what
	// is not proven for these is read.
	Proofs   Proofs             `json:"proofs,omitempty"`
	ProofsOf Stored[Proofs]     `json:"proofsOf,omitzero"`
	Marks    IndexMarks         `json:"marks,omitempty"`
	MarksOf  Stored[IndexMarks] `json:"marksOf,omitzero"`
	// OnTarget is what the target had of indices that stand since before the freeze, as it was looked at
	// after the block. Of the others it is asked now.
	OnTarget   TargetIndices         `json:"onTarget,omitempty"`
	OnTargetOf Stored[TargetIndices] `json:"onTargetOf,omitzero"`
	// Files is what the last restore recovered, and Taken are the indices that it restored.
	Files   *RestoredFiles  `json:"files,omitempty"`
	Taken   []Index         `json:"taken,omitempty"`
	TakenOf Stored[[]Index] `json:"takenOf,omitzero"`
	// Most bounds the verdicts of the result, in bytes; 0 stands for one for each index.
	Most int `json:"most,omitempty"`
}

// VerifyResult holds the verdicts. If one is unequal, the activity fails with ErrorVerification and
// the result stands in the error's details.
type VerifyResult struct {
	Indices []IndexResult `json:"indices"`
	// Unlisted sums up the indices that Indices leaves out; nil if it leaves none out.
	Unlisted *Unlisted `json:"unlisted,omitempty"`
	// Evidence sums up by which evidence all of them were found equal.
	Evidence *Evidence `json:"evidence,omitempty"`
	// Metadata holds, by index, those of the differences that are in settings and mappings; in a
	// rehearsal only.
	Metadata map[string][]string `json:"metadata,omitempty"`
}

// Unlisted sums up indices that a list leaves out, so that it keeps its size however many there
// are.
type Unlisted struct {
	// Equal counts those that are equal, Differing those of them whose settings, mappings or
	// aliases differ, Unequal those that are not equal.
	Equal     int `json:"equal"`
	Differing int `json:"differing,omitempty"`
	Unequal   int `json:"unequal,omitempty"`
	// SourceDocs and TargetDocs are the documents of all of them.
	SourceDocs int64 `json:"sourceDocs"`
	TargetDocs int64 `json:"targetDocs"`
	// AllOf are the verdicts on all indices, those that are listed as well.
	AllOf Stored[[]IndexResult] `json:"allOf,omitzero"`
}

// Indices is how many there are; 0 for nil.
func (u *Unlisted) Indices() int {
	if u == nil {
		return 0
	}
	return u.Equal + u.Unequal
}

func (u *Unlisted) add(index IndexResult) {
	u.SourceDocs += index.SourceDocs
	u.TargetDocs += index.TargetDocs
	if !index.Equal {
		u.Unequal++
		return
	}
	u.Equal++
	if len(index.Differences) > 0 {
		u.Differing++
	}
}

// matters orders verdicts by how much a person needs them: 0 most.
func (r IndexResult) matters() int {
	switch {
	case !r.Equal && !r.Moved:
		return 0
	case !r.Equal:
		return 1
	case len(r.Differences) > 0:
		return 2
	}
	return 3
}

// size is what a verdict takes as JSON in bytes, or a little more.
func (r IndexResult) size() int {
	const fields = 130
	size := fields + len(r.Name) + len(r.Checksum)
	if r.Evidence != nil {
		const evidence = 150
		size += evidence
	}
	for _, difference := range r.Differences {
		size += len(difference) + 3
		for _, b := range []byte(difference) {
			switch {
			case b == '"', b == '\\':
				size++
			case b < ' ', b == '<', b == '>', b == '&':
				size += 5
			}
		}
	}
	return size
}

// BoundVerdicts keeps verdicts as long as they have room in so many bytes, in their order, and sums
// up the others. Those that matter most are kept first: what is not equal, then what differs in
// settings, mappings or aliases. All that fit are kept as they are.
func BoundVerdicts(verdicts []IndexResult, most int) ([]IndexResult, *Unlisted) {
	total := 0
	for _, verdict := range verdicts {
		total += verdict.size()
	}
	if total <= most {
		return verdicts, nil
	}
	keep := make([]bool, len(verdicts))
	room := most
	for rank := range 4 {
		for i, verdict := range verdicts {
			if verdict.matters() != rank {
				continue
			}
			if room -= verdict.size(); room < 0 {
				break // what matters less doesn't take the place of what matters more
			}
			keep[i] = true
		}
		if room < 0 {
			break
		}
	}
	var kept []IndexResult
	unlisted := &Unlisted{}
	for i, verdict := range verdicts {
		if keep[i] {
			kept = append(kept, verdict)
		} else {
			unlisted.add(verdict)
		}
	}
	return kept, unlisted
}
