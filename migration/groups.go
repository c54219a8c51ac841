package migration

import (
	"cmp"
	"slices"
)

// Pipeline says when the final round is cut into groups of indices whose snapshots, copies and
// restores overlap: while one group is copied and restored, the next one's snapshot is taken.
type Pipeline struct {
	// From is the predicted window from which on it pays to try.
	From Duration `json:"from,omitempty" min:"1s" example:"20s"`
	// Groups is how many groups there are: 0 stands for as many as are predicted to be best, 1 for
	// no pipeline. More are cut even if nothing is gained by it.
	Groups int `json:"groups,omitempty" min:"0" example:"0"`
}

// MaxGroups is how many groups a final round may have. Each costs a snapshot and a restore of its
// own.
const MaxGroups = 8

// A pipeline must gain at least this part of the time, and this time: what is predicted is not exact.
const (
	pipelineGain       = 0.1
	pipelineGainMillis = 1_000
)

// mostFixedMillis bounds what a step takes for each group whatever its size. Few rounds, of about the
// same size, don't tell what of their time that was: a snapshot, copy or restore of next to nothing
// takes less than half a second.
const mostFixedMillis = 500

// ActivityCutGroups takes a [CutGroupsRequest] and returns a [CutGroupsResult]. It changes nothing.
const ActivityCutGroups = "CutGroups"

// CutGroupsRequest asks for indices to be cut into groups by what was written to each since its
// operations were counted.
type CutGroupsRequest struct {
	Run
	Indices   []Index                  `json:"indices,omitempty"`
	IndicesOf Stored[[]Index]          `json:"indicesOf,omitzero"`
	Seen      map[string]int64         `json:"seen,omitempty"`
	SeenOf    Stored[map[string]int64] `json:"seenOf,omitzero"`
	Groups    int                      `json:"groups"`
}

// CutGroupsResult has the groups in the order in which their snapshots are taken.
type CutGroupsResult struct {
	Groups []IndexList `json:"groups"`
}

// DeltaWeights tell how much each index has been written since its operations were counted.
func DeltaWeights(indices []Index, seen map[string]int64) []int64 {
	weights := make([]int64, len(indices))
	for i := range indices {
		weights[i] = WritesSince(indices[i:i+1], seen)
	}
	return weights
}

// CutGroups cuts what has these weights into so many groups of about the same weight. The lightest
// group comes first, so that the steps after it begin soon. Each group has the numbers of its
// members, in their order. No group is empty.
func CutGroups(weights []int64, groups int) [][]int {
	groups = max(min(groups, len(weights)), 1)
	type group struct {
		weight  int64
		members []int
	}
	cut := make([]group, groups)
	heaviest := make([]int, len(weights))
	for i := range heaviest {
		heaviest[i] = i
	}
	slices.SortStableFunc(heaviest, func(a, b int) int { return cmp.Compare(weights[b], weights[a]) })
	for _, i := range heaviest {
		lightest := 0
		for g := range cut {
			if cmp.Or(cmp.Compare(cut[g].weight, cut[lightest].weight),
				cmp.Compare(len(cut[g].members), len(cut[lightest].members))) < 0 {
				lightest = g
			}
		}
		cut[lightest].weight += weights[i]
		cut[lightest].members = append(cut[lightest].members, i)
	}
	slices.SortStableFunc(cut, func(a, b group) int { return cmp.Compare(a.weight, b.weight) })
	members := make([][]int, groups)
	for g := range cut {
		slices.Sort(cut[g].members)
		members[g] = cut[g].members
	}
	return members
}

// pace tells what the steps of a round take for a delta of some size.
type pace struct{ snapshot, copy, restore line }

// overlapped is what groups take together, one after the other, if each step works on the next
// group as soon as it is through with one.
func (p pace) overlapped(groups []int64) int64 {
	var snapshot, copied, restored int64
	for _, bytes := range groups {
		snapshot += p.snapshot.at(bytes)
		copied = max(snapshot, copied) + p.copy.at(bytes)
		restored = max(copied, restored) + p.restore.at(bytes)
	}
	return restored
}

// perGroup is a pace for parts of a delta of so many bytes: all of it in one group takes as long.
func (p pace) perGroup(bytes int64) pace {
	return pace{p.snapshot.perGroup(bytes), p.copy.perGroup(bytes), p.restore.perGroup(bytes)}
}

func (l line) perGroup(bytes int64) line {
	more := l.fixed - mostFixedMillis
	if more <= 0 || bytes <= 0 {
		return l
	}
	return line{mostFixedMillis, l.perByte + more/float64(bytes)}
}

// groups says how many groups are best for a delta of so many bytes that is spread like these
// weights, and what they take together. It is one, and no time, if no pipeline pays.
func (p Pipeline) groups(pace pace, weights []int64, bytes, windowMillis int64) (groups int, millis int64) {
	most := min(len(weights), MaxGroups)
	least := 2
	switch {
	case p.Groups == 1 || most < 2:
		return 1, 0
	case p.Groups > 1:
		least, most = min(p.Groups, most), min(p.Groups, most)
	case windowMillis < p.From.Std().Milliseconds():
		return 1, 0
	}
	pace = pace.perGroup(bytes)
	groups = 1
	for n := least; n <= most; n++ {
		took := pace.overlapped(shares(weights, CutGroups(weights, n), bytes))
		if groups == 1 || took < millis {
			groups, millis = n, took
		}
	}
	gain := pace.overlapped([]int64{bytes}) - millis
	if p.Groups == 0 && (gain < pipelineGainMillis || float64(gain) < pipelineGain*float64(gain+millis)) {
		return 1, 0
	}
	return groups, millis
}

// shares are the bytes of each group.
func shares(weights []int64, groups [][]int, bytes int64) []int64 {
	var all float64
	for _, weight := range weights {
		all += float64(weight)
	}
	of := make([]int64, len(groups))
	for g, members := range groups {
		part := float64(len(members)) / float64(len(weights))
		if all > 0 {
			part = 0
			for _, i := range members {
				part += float64(weights[i]) / all
			}
		}
		of[g] = int64(part * float64(bytes))
	}
	return of
}
