package workflows

import (
	"fmt"
	"slices"

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
}

// findChanged does what the activity does, with the world's marks.
func (w *world) findChanged(r migration.ChangedRequest) migration.Changed {
	w.marked++
	w.asked = append(w.asked, r)
	changed := migration.Changed{Marks: migration.IndexMarks{}}
	because := map[migration.Reason]*migration.TakenBecause{}
	taking := []migration.Index{}
	for _, index := range r.Indices {
		n := w.marked
		if w.idle[index.Name] || w.blocked {
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

// foundIn is a standstill with what takes part in the final round, if that was asked for.
func (w *world) foundIn(r migration.StandstillRequest, still migration.Standstill) migration.Standstill {
	if r.Find != nil {
		found := w.findChanged(*r.Find)
		still.Found = &found
	}
	return still
}
