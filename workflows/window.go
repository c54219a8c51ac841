package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// window is the frozen window: from the first look at the source's blocks until the block is
// removed or the migration has ended. How far it has come is asked in these ways; each answers for
// no window (nil) as well:
//
//   - run.frozen: there is a window. It begins right before the block, and ends when thaw has
//     removed the block. An abort keeps it to the end, for the report.
//   - armed: its steps run under the dead man's switch. The cutover, thaw and an abort disarm it.
//   - mayBlock: blocks were read, so ours may have been set. Then it has to be removed, or was
//     removed, unless the cutover begins.
//   - blocked: the block was asked for.
//   - proven: the target was found equal, and nothing has made that doubtful since.
//   - expired: it has ended by itself. The dead man's switch does that, and so does the guard.
type window struct {
	// ctx is that of the steps in the window; nil once it is disarmed. stop cancels it.
	ctx  workflow.Context
	stop func()

	// found are the blocks of the source before ours. uuids are those of the indices that had them:
	// an index that was deleted and created again has another one.
	found migration.Blocks
	uuids map[string]string
	// indices are those that are blocked, frozen is what they held once they stood still.
	indices migration.IndexList
	frozen  migration.Standstill
	// changed says what takes part in the final round; nil if it has to be found out.
	changed *migration.Changed
	// look is how the source stood right after the block, if the guard's answer told.
	look *migration.FrozenLook
	// asked is the final snapshot that the look has asked for.
	asked string
	// sinceMillis is when the block was asked for; 0 before that. untilMillis is when the dead
	// man's switch ends the window.
	sinceMillis int64
	untilMillis int64
	// watch runs from the block on, pass from where the freeze began last.
	watch, pass stopwatch
	measured    migration.FrozenWindow
	// predicted is what was foreseen right before the block.
	predicted *migration.Prediction
	// verified are the verdicts, and unlisted sums up those that are too many for a report.
	verified []migration.IndexResult
	unlisted *migration.Unlisted
	// evidence sums up by what the indices were found equal.
	evidence *migration.Evidence
	// doubtful says that the last restore brought settings that the target doesn't know.
	doubtful bool
	// proven is set once the target was found equal; measured is complete then.
	proven           bool
	cutoverRequested bool
	// overdue is set by the dead man's switch. lost says why the window ended otherwise.
	overdue bool
	lost    string
	// told is set once the receivers are told of the block.
	told bool

	// Of a guarded window: its number, whether the guard may have opened it, how often the freeze
	// began in it, and on which indices our block may still be.
	number         int
	opened         bool
	passes         int
	remains        []migration.Refusal
	remainsOmitted int

	// Of the plan's hooks: which moments had their call, how often each hook was called, the last one
	// if it did not let the step go on, and what those after the block took in this pass. heard is
	// set once the guard has told of those after the thaw.
	called     map[migration.HookMoment]bool
	attempts   map[string]int
	hook       *migration.HookCall
	hookMillis int64
	heard      bool
}

// openWindow begins a frozen window and arms the dead man's switch.
func openWindow(ctx workflow.Context, limit time.Duration, predicted *migration.Prediction) *window {
	w := &window{
		found: migration.Blocks{}, uuids: map[string]string{}, predicted: predicted,
		called: map[migration.HookMoment]bool{}, attempts: map[string]int{},
	}
	w.ctx, w.stop = workflow.WithCancel(ctx)
	w.untilMillis = workflow.Now(ctx).Add(limit).UnixMilli()
	workflow.GoNamed(w.ctx, "dead man's switch", func(ctx workflow.Context) {
		options := workflow.TimerOptions{Summary: "freeze.maxDuration: remove the block if nobody sends cutover"}
		if workflow.NewTimerWithOptions(ctx, limit, options).Get(ctx, nil) == nil {
			w.overdue = true
			w.stop()
		}
	})
	return w
}

// disarm switches the dead man's switch off. What the window found stays known.
func (w *window) disarm() {
	if w != nil {
		w.ctx = nil
		w.stop()
	}
}

func (w *window) armed() bool    { return w != nil && w.ctx != nil }
func (w *window) mayBlock() bool { return w != nil && (len(w.found) > 0 || w.opened) }
func (w *window) blocked() bool  { return w != nil && w.sinceMillis > 0 }
func (w *window) expired() bool  { return w != nil && (w.overdue || w.lost != "") }

// again begins a pass of the freeze: nothing is proven any more.
func (w *window) again(watch stopwatch) { w.pass, w.proven, w.hookMillis = watch, false, 0 }

// fresh names the indices that the window has not met before. One that was deleted and created
// again under its name is none that it has met.
func (w *window) fresh(found migration.IndexList) []string {
	var fresh []string
	for _, index := range found.Inline {
		if _, known := w.found[index.Name]; !known || w.uuids[index.Name] != index.UUID {
			fresh = append(fresh, index.Name)
		}
	}
	return fresh
}

// remember keeps the blocks that the source has of itself, and returns warnings about those that
// stay.
func (w *window) remember(found migration.Blocks) (warnings []string) {
	for _, index := range w.indices.Inline {
		w.uuids[index.Name] = index.UUID
	}
	for _, name := range workflow.DeterministicKeys(found) {
		w.found[name] = found[name]
		for _, block := range workflow.DeterministicKeys(found[name]) {
			if found[name][block] == "true" {
				warnings = append(warnings, fmt.Sprintf("index %s had %s before the freeze: snapferry leaves it as "+
					"it was", name, block))
			}
		}
	}
	return warnings
}

// block notes that the block is asked for now, the first time.
func (w *window) block(watch stopwatch) {
	if !w.blocked() {
		w.watch, w.pass = watch, watch
		w.sinceMillis, w.measured.StartedMillis = watch.beganMillis, watch.beganMillis
	}
}

// doubt notes whether the last restore brought settings that the target doesn't know.
func (w *window) doubt(archived bool) {
	if w != nil {
		w.doubtful = archived
	}
}

// holds tells whether these are the very indices that are blocked.
func (w *window) holds(found migration.IndexList) bool { return w.indices.SameIndices(found) }

// written names an index that is no longer what it was when it stood still; empty if all are.
func (w *window) written(now migration.Standstill) string {
	return now.ChangedIndex(w.frozen, slices.Concat(
		workflow.DeterministicKeys(now.Docs), workflow.DeterministicKeys(w.frozen.Docs),
		workflow.DeterministicKeys(now.Marks), workflow.DeterministicKeys(w.frozen.Marks)))
}

// result is the window as it was measured; nil unless the target was proven to be equal.
func (w *window) result() *migration.FrozenWindow {
	if w == nil || !w.proven {
		return nil
	}
	measured := w.measured
	return &measured
}

// verdict is what the verification found of an index; false if it hasn't come so far, or if the
// index is not among those that are listed.
func (w *window) verdict(name string) (migration.IndexResult, bool) {
	if w != nil {
		for _, verdict := range w.verified {
			if verdict.Name == name {
				return verdict, true
			}
		}
	}
	return migration.IndexResult{}, false
}

// equal tells whether the verification found an index equal; nil if it hasn't come so far, or if
// nothing is known of the index.
func (w *window) equal(name string) *bool {
	if verdict, listed := w.verdict(name); listed {
		return &verdict.Equal
	}
	if w != nil && w.unlisted != nil && w.unlisted.Unequal == 0 {
		all := true // those that are not listed
		return &all
	}
	return nil
}
