package workflows

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/assert"

	"github.com/snapferry/snapferry/migration"
)

// changing is what the world knows of indices that change or don't.
type changing struct {
	// idle are indices whose marks stay as they are. All others are written before each look.
	idle map[string]bool
	// marked counts the looks at the source's marks, spoilt are indices that the target lost.
	marked int
	spoilt map[string]bool
	// asked are the requests, and answered their results.
	asked    []migration.ChangedRequest
	answered []migration.Changed
	// stopped are snapshots that an abort or the end of a window has stopped.
	stopped []string
	// earlier are snapshots that a run which was reset has taken.
	earlier []string
	// cuts are the requests to cut indices into groups.
	cuts []migration.CutGroupsRequest
	// taken, opens and trials are requests of the round.
	taken  []migration.SnapshotRequest
	opens  []migration.OpenRequest
	trials []migration.TryHandoverRequest
	// list is what the indices are resolved to if it is stored, and few are those of it that change.
	list migration.IndexList
	few  []migration.Index
}

// stores has the world's indices be a list that the workflow doesn't see, of which few change.
func (w *world) stores(list migration.IndexList, few []migration.Index) {
	w.list, w.few, w.storesStandstill = list, few, true
}

// openedStored is what the target holds of a stored list.
func (w *world) openedStored() migration.OpenResult {
	opened := migration.Opened{First: migration.WriteCounters{}}
	opened.Docs = w.list.Docs()
	return migration.OpenResult{
		CountersOf: migration.Stored[migration.WriteCounters]{Digest: strings.Repeat("c", 64), Entries: w.list.Len()},
		Opened:     &opened,
	}
}

// still has these indices change no more.
func (w *world) still(names ...string) {
	if w.idle == nil {
		w.idle = map[string]bool{}
	}
	for _, name := range names {
		w.idle[name] = true
	}
}

func (w *world) registerChanged() {
	register(w, migration.ActivityFindChanged, func(r migration.ChangedRequest) (migration.Changed, error) {
		assert.False(w.t, w.targetWritable)
		return w.findChanged(r), nil
	})
	register(w, migration.ActivityCutGroups, w.cutGroups)
}

// cutGroups does what the activity does.
func (w *world) cutGroups(r migration.CutGroupsRequest) (result migration.CutGroupsResult, err error) {
	w.cuts = append(w.cuts, r)
	for _, members := range migration.CutGroups(migration.DeltaWeights(r.Indices, r.Seen), r.Groups) {
		var group []migration.Index
		for _, i := range members {
			group = append(group, r.Indices[i])
		}
		result.Groups = append(result.Groups, migration.ListIndices(group))
	}
	return result, nil
}

// findChanged does what the activity does, with the world's marks.
func (w *world) findChanged(r migration.ChangedRequest) migration.Changed {
	w.marked++
	w.asked = append(w.asked, r)
	if w.list.Stored() {
		return w.findStored(r)
	}
	changed := migration.Changed{Marks: migration.IndexMarks{}}
	because := map[migration.Reason]*migration.TakenBecause{}
	taking := []migration.Index{}
	for _, index := range r.Indices {
		n := w.marked
		if w.blocked {
			n = 1000 // nobody writes any more
		}
		if w.idle[index.Name] {
			n = 0
		}
		now := migration.IndexMark{UUID: "u" + index.UUID, Definition: "d", Shards: []string{fmt.Sprintf("%d/a", n)}}
		before, known := r.Restored[index.Name]
		reason := now.WhyChanged(before)
		switch {
		case r.All:
			reason = migration.ReasonFull
		case slices.Contains(r.Doubted, index.Name):
			reason = migration.ReasonUnknown
		case !known && r.Expected[index.Name] != migration.Counter{}:
			reason = migration.ReasonUnknown
		case !known:
			reason = migration.ReasonNew
		case reason == "" && w.spoilt[index.Name]:
			reason = migration.ReasonTarget
		}
		changed.Marks[index.Name] = now
		if reason == "" {
			changed.Skipped++
			continue
		}
		taking = append(taking, index)
		if because[reason] == nil {
			because[reason] = &migration.TakenBecause{Reason: reason}
		}
		because[reason].Indices++
		because[reason].First = append(because[reason].First, index.Name)
	}
	for _, reason := range migration.Reasons() {
		if because[reason] != nil {
			changed.Because = append(changed.Because, *because[reason])
		}
	}
	changed.Taking = migration.ListIndices(taking)
	w.answered = append(w.answered, changed)
	return changed
}

// findStored is findChanged of a stored list.
func (w *world) findStored(r migration.ChangedRequest) migration.Changed {
	changed := migration.Changed{
		Taking: migration.ListIndices(w.few), Skipped: w.list.Len() - len(w.few),
		Because: []migration.TakenBecause{{Reason: migration.ReasonWritten, Indices: len(w.few)}},
		MarksOf: migration.Stored[migration.IndexMarks]{Digest: fmt.Sprintf("%064x", w.marked), Entries: w.list.Len()},
	}
	if r.All {
		changed.Taking, changed.Skipped = w.list, 0
		changed.Because = []migration.TakenBecause{{Reason: migration.ReasonFull, Indices: w.list.Len()}}
	}
	w.answered = append(w.answered, changed)
	return changed
}

// foundIn is a standstill with what takes part in the final round, if that was asked for.
func (w *world) foundIn(r migration.StandstillRequest, still migration.Standstill) migration.Standstill {
	if r.Find != nil {
		found := w.findChanged(*r.Find)
		still.Found = &found
	}
	return still
}
