package migration

import (
	"fmt"
	"strings"
)

// The activities of a handover. What they answer by index comes in batches.
const (
	// ActivityTryHandover takes a [TryHandoverRequest] and returns a [TryHandoverResult].
	ActivityTryHandover = "TryHandover"
	// ActivityCheckShardLimit takes a [ShardLimitRequest] and has no result. ErrorShardLimit if the
	// target has no room for the replicas that the cutover adds.
	ActivityCheckShardLimit = "CheckShardLimit"
	// ActivityCheckHandover takes a [CheckHandoverRequest] and has no result. It is the last check
	// before there is no way back, and changes nothing.
	ActivityCheckHandover = "CheckHandover"
	// ActivityHandOver takes a [HandOverRequest] and returns a [HandOverResult].
	ActivityHandOver = "HandOver"
)

// LeftOut is a setting that indices have on the source and don't get on the target.
type LeftOut struct {
	Setting string `json:"setting"`
	// Why says what keeps it from the target, for people.
	Why string `json:"why,omitempty"`
	// Indices counts the indices that have it, Names are the first of them, at most LeftOutNames.
	Indices int      `json:"indices"`
	Names   []string `json:"names,omitempty"`
}

// The most that a report tells of what was left out.
const (
	LeftOutNames    = 3
	LeftOutSettings = 100
)

// Sentence says what was left out, where, and why.
func (l LeftOut) Sentence() string {
	text := fmt.Sprintf("setting %s is not on the target", l.Setting)
	if l.Why != "" {
		text += ": " + l.Why
	}
	indices := strings.Join(l.Names, ", ")
	if more := l.Indices - len(l.Names); more > 0 {
		indices += fmt.Sprintf(" and %d more", more)
	}
	return text + " (" + indices + ")"
}

// AddLeftOut adds what further indices lack. Of the same setting for the same reason there is one
// entry, and of very many settings the first.
func AddLeftOut(all []LeftOut, more ...LeftOut) []LeftOut {
	for _, add := range more {
		at := -1
		for i := range all {
			if all[i].Setting == add.Setting && all[i].Why == add.Why {
				at = i
				break
			}
		}
		if at < 0 {
			if len(all) < LeftOutSettings {
				add.Names = add.Names[:min(len(add.Names), LeftOutNames):min(len(add.Names), LeftOutNames)]
				all = append(all, add)
			}
			continue
		}
		all[at].Indices += add.Indices
		for _, name := range add.Names {
			if len(all[at].Names) < LeftOutNames {
				all[at].Names = append(all[at].Names, name)
			}
		}
	}
	return all
}

// TryHandoverRequest asks whether the target will accept what a handover asks of it. It is tried on
// the indices as they were restored, and our block stays.
type TryHandoverRequest struct {
	IndicesRequest
	// Doubtful tries only those that have settings which the target doesn't know.
	Doubtful bool `json:"doubtful,omitempty"`
}

// TryHandoverResult names the indices whose handover would be refused, and what the trial removed.
type TryHandoverResult struct {
	// Refused are the first of RefusedCount indices.
	Refused      []Refusal `json:"refused,omitempty"`
	RefusedCount int       `json:"refusedCount,omitempty"`
	// Archived are settings that the target didn't know and had kept; they are removed.
	Archived []LeftOut `json:"archived,omitempty"`
}

// ShardLimitRequest says how many shards the cutover adds to the target.
type ShardLimitRequest struct {
	Run
	Adds int `json:"adds"`
	// IndicesOf is the list that says so if it is stored.
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
}

// AddedAtCutover counts the replicas that indices get at the cutover, in shards.
func AddedAtCutover(indices []Index, replicas int) int {
	adds := 0
	for _, index := range indices {
		adds += max(0, index.Shards*(index.Replicas-replicas))
	}
	return adds
}

// CheckHandoverRequest asks whether the target's indices are as the last restore left them: behind
// our block, with the same counters. ErrorTargetWritten if not.
type CheckHandoverRequest struct {
	Run
	Indices   []string        `json:"indices"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	// Without counters, a person has accepted what was written: then only the block counts.
	Counters   WriteCounters         `json:"counters,omitempty"`
	CountersOf Stored[WriteCounters] `json:"countersOf,omitzero"`
}

// HandoverIndex is one index of the target, and the settings that it gets once it takes writes.
type HandoverIndex struct {
	Name string `json:"name"`
	// UUID is that of the restored index: another one is not handed over.
	UUID string `json:"uuid,omitempty"`
	// Settings are replicas, refresh interval and whatever else a restore sets aside, by flat name.
	// An empty value removes the setting. So does the absence of index.refresh_interval and
	// index.auto_expand_replicas, which most indices don't have.
	Settings map[string]string `json:"settings,omitempty"`
}

// HandOverRequest asks for indices to take writes. It comes only after ActivityCheckHandover has
// succeeded and the cutover has begun, so whoever runs it compares nothing: writes to an index that
// has no block any more are expected.
type HandOverRequest struct {
	Run
	Indices []HandoverIndex `json:"indices"`
}

// HandOverResult names the indices that don't take writes yet, or lack settings. All others do, and
// were probed.
type HandOverResult struct {
	Refused []Refusal `json:"refused,omitempty"`
}
