package workflows

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// What a guard does to the source: it blocks, removes the block, and looks again.

const sourceWriteBlock = "index.blocks.write"

// forSource is what the activities need that change the source: the plan without its list of
// indices, which would stand in every one of them.
func (g *guard) forSource() migration.Run {
	run := g.plan
	run.Plan.Indices = nil
	return run
}

// announce learns the names of indices before anything is blocked, and which blocks they have.
func (g *guard) announce(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if err := g.source.Lock(ctx); err != nil {
		return migration.GuardAnswer{}, err
	}
	defer g.source.Unlock()
	if !g.serves(c) {
		return g.answer(false), nil
	}
	fresh, _ := g.unknown(c.Indices)
	if len(fresh) == 0 {
		return g.answer(true), nil
	}
	found := fresh
	if !c.Read || !g.shape.lean() {
		var err error
		found, err = g.readBlocks(ctx, fresh)
		if !g.serves(c) {
			return g.answer(false), nil
		}
		if err != nil {
			return migration.GuardAnswer{}, inner(err)
		}
	}
	for i := range found {
		found[i].Blocks = g.notOurs(found[i])
		g.window.add(found[i])
	}
	g.Announced = len(g.window.names)
	answer := g.answer(true)
	own := slices.DeleteFunc(slices.Clone(found), func(index migration.SourceIndex) bool {
		return !slices.ContainsFunc(workflow.DeterministicKeys(index.Blocks),
			func(block string) bool { return index.Blocks[block] == "true" })
	})
	answer.Own, answer.OwnOmitted = migration.FirstOf(own)
	return answer, nil
}

// readBlocks reads uuid and blocks of indices whose names are known.
func (g *guard) readBlocks(ctx workflow.Context, indices []migration.SourceIndex) ([]migration.SourceIndex, error) {
	request := migration.IndicesRequest{Run: g.forSource()}
	for _, index := range indices {
		request.Indices = append(request.Indices, index.Name)
	}
	ctx, cancel := workflow.WithCancel(ctx)
	g.stopBlocking = append(g.stopBlocking, cancel)
	return call[[]migration.SourceIndex](ctx, urgent(quickCall("blocks of "+indexCount(len(indices)))),
		migration.ActivityReadSourceBlocks, request)
}

// notOurs are the blocks that an index has of itself. A write block on a name for which ours was
// asked is ours, also if the block of an earlier window could not be removed. It is not if the
// first reading of that same index had one: an index that was created again since never had it.
func (g *guard) notOurs(found migration.SourceIndex) map[string]string {
	first, before := g.window.get(found.Name)
	ours := before && g.asked[found.Name]
	if !ours {
		first, ours = g.left.get(found.Name)
	}
	same := first.UUID == "" || first.UUID == found.UUID
	if !ours || same && first.Blocks[sourceWriteBlock] == "true" {
		return found.Blocks
	}
	blocks := map[string]string{}
	for _, name := range workflow.DeterministicKeys(found.Blocks) {
		blocks[name] = found.Blocks[name]
	}
	delete(blocks, sourceWriteBlock)
	if value, had := first.Blocks[sourceWriteBlock]; had && same {
		blocks[sourceWriteBlock] = value
	}
	return blocks
}

// block blocks all announced indices. If one refuses, or if it fails, none stays blocked while a
// person is waited for.
func (g *guard) block(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if err := g.source.Lock(ctx); err != nil {
		return migration.GuardAnswer{}, err
	}
	defer g.source.Unlock()
	if !g.serves(c) {
		return g.answer(false), nil
	}
	blocking, cancel := workflow.WithCancel(ctx)
	g.stopBlocking = append(g.stopBlocking, cancel)
	g.Asked = true
	var refused []migration.Refusal
	for _, batch := range migration.Batches(g.window.list(), migration.LongestBatch) {
		for _, index := range batch {
			g.asked[index.Name] = true
		}
		result, err := call[migration.BlockResult](blocking, urgent(quickCall("block "+indexCount(len(batch)))),
			migration.ActivityBlockSource, migration.BlockRequest{Run: g.forSource(), Indices: batch})
		if !g.serves(c) {
			return g.answer(false), nil
		}
		if err != nil {
			g.unblockAtOnce(blocking)
			return migration.GuardAnswer{}, inner(err)
		}
		for _, index := range result.Blocked {
			// Another index under the name brings its own blocks: nobody may give it back those of
			// the one before.
			if known, announced := g.window.get(index.Name); announced && known.UUID != index.UUID {
				g.window.add(index)
			}
		}
		if refused = append(refused, result.Refused...); len(refused) > 0 {
			break
		}
	}
	if len(refused) > 0 {
		g.unblockAtOnce(blocking)
	}
	if !g.serves(c) {
		return g.answer(false), nil
	}
	g.Blocked = len(refused) == 0
	answer := g.answer(true)
	answer.Refused, answer.RefusedOmitted = migration.FirstOf(refused)
	return answer, nil
}

// unblockAtOnce removes the block from the others when one index can't be blocked. What that
// doesn't reach is removed at the window's end.
func (g *guard) unblockAtOnce(ctx workflow.Context) {
	g.Blocked = false
	for _, removed := range g.unblockBatches(ctx, g.askedFor(), func(count string) workflow.ActivityOptions {
		return urgent(bestEffort("remove the block of " + count))
	}, false) {
		if removed.err != nil {
			workflow.GetLogger(ctx).Warn("the block of some indices stays until the window ends", "error", removed.err)
		}
	}
}

// askedFor are the indices of the window that may have our block.
func (g *guard) askedFor() []migration.SourceIndex {
	return slices.DeleteFunc(g.window.list(), func(index migration.SourceIndex) bool { return !g.asked[index.Name] })
}

// askedToRemove ends the window, and returns once the block is removed, or once that has failed.
// Another run than the served one may ask, too: it follows on that one, which a reset has ended.
func (g *guard) askedToRemove(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if c.Token == g.Token && (c.RunID != g.RunID || c.Window == g.Window) {
		cause := "the migration asked for it"
		if workflow.Now(ctx).UnixMilli() >= g.UntilMillis {
			cause = deadlinePassed
		}
		g.decide(migration.GuardRemoving, cause)
	}
	passes := g.passes
	g.pressed = true
	err := workflow.Await(ctx, func() bool { return g.Phase != migration.GuardRemoving || g.passes > passes })
	if err != nil || g.Phase == migration.GuardRemoving && g.trouble != nil {
		return migration.GuardAnswer{}, errors.Join(err, inner(g.trouble))
	}
	return g.answer(false), nil
}

// The pauses between tries to remove the block. Temporal itself retries what may pass; these are
// for what needs a person, such as credentials.
const (
	firstPause   = 2 * time.Second
	longestPause = 10 * time.Minute
	// refusedTries is how often indices are tried again that refuse the removal, before they are
	// named. The looks try again.
	refusedTries = 3
)

// remove removes the block from everything that may have it, for as long as it takes.
func (g *guard) remove(ctx workflow.Context) {
	if err := g.source.Lock(ctx); err != nil {
		return
	}
	indices := g.askedFor()
	g.left.add(indices...)
	for pause := firstPause; ; pause = min(2*pause, longestTurn) {
		var refused []migration.Refusal
		refused, g.trouble = g.unblock(ctx, indices)
		for try := 1; g.trouble == nil && len(refused) > 0 && try < refusedTries; try++ {
			_ = workflow.Sleep(ctx, firstPause)
			refused, g.trouble = g.unblock(ctx, g.refusedOf(refused))
		}
		if g.trouble == nil {
			g.Remains, g.RemainsOmitted = migration.FirstOf(refused)
			break
		}
		g.notifyTrouble(ctx, "remove the write block from the source", g.trouble)
		g.passes++
		g.pressed = false
		g.show(ctx)
		longest := longestPause
		if g.full(ctx) {
			longest = longestTurn
		}
		_, _ = workflow.AwaitWithTimeout(ctx, min(pause, longest), func() bool { return g.pressed })
	}
	g.source.Unlock()
	g.stopWatching()
	g.Phase, g.Blocked = migration.GuardRemoved, false
	g.thawHooks(ctx)
	g.passes++
	if len(indices) > 0 {
		g.lookAgain(ctx)
	}
	if g.Cause == deadlinePassed || g.Ended != "" {
		g.notifyThawed(ctx)
		g.tell(ctx, migration.GuardEventRemoved, "snapferry removed the write block from the source: "+g.Cause)
	}
}

// unblock removes our block, batch by batch. What a single index answers is in the refusals; a
// failure is one of all, and the next try begins again.
func (g *guard) unblock(ctx workflow.Context, indices []migration.SourceIndex) ([]migration.Refusal, error) {
	var refused []migration.Refusal
	for _, removed := range g.unblockBatches(ctx, indices, func(count string) workflow.ActivityOptions {
		return urgent(quickCall("remove the block of " + count))
	}, true) {
		if removed.err != nil {
			return nil, removed.err
		}
		refused = append(refused, removed.Refused...)
	}
	return refused, nil
}

// unblockedBatch is what became of a batch.
type unblockedBatch struct {
	migration.UnblockResult
	err error
}

// unblocksAtOnce bounds the batches that lose their block at the same time. Each is at most some
// hundred indices, and a busy cluster manager takes one change after the other anyway.
const unblocksAtOnce = 4

// unblockBatches removes our block from several batches side by side: writes to the last one should
// not wait for the looks at the others. stops tells a guard of the first shape, which takes one
// batch after the other, to end with the first failure.
func (g *guard) unblockBatches(ctx workflow.Context, indices []migration.SourceIndex,
	options func(count string) workflow.ActivityOptions, stops bool,
) []unblockedBatch {
	batches := migration.Batches(indices, migration.LongestBatch)
	results := make([]unblockedBatch, len(batches))
	remove := func(ctx workflow.Context, i int) {
		results[i].UnblockResult, results[i].err = call[migration.UnblockResult](ctx,
			options(indexCount(len(batches[i]))), migration.ActivityUnblockSource,
			migration.UnblockRequest{Run: g.forSource(), Indices: batches[i]})
	}
	if !g.shape.lean() {
		for i := range batches {
			if remove(ctx, i); results[i].err != nil && stops {
				return results[:i+1]
			}
		}
		return results
	}
	places, ended := workflow.NewSemaphore(ctx, unblocksAtOnce), workflow.NewWaitGroup(ctx)
	for i := range batches {
		if results[i].err = places.Acquire(ctx, 1); results[i].err != nil {
			continue // the window is over, and whoever ended it removes all blocks
		}
		ended.Add(1)
		workflow.GoNamed(ctx, "remove the block of batch "+strconv.Itoa(i+1), func(ctx workflow.Context) {
			defer func() { places.Release(1); ended.Done() }()
			remove(ctx, i)
		})
	}
	ended.Wait(ctx)
	return results
}

func (g *guard) refusedOf(refused []migration.Refusal) []migration.SourceIndex {
	var indices []migration.SourceIndex
	for _, refusal := range refused {
		if index, known := g.left.get(refusal.Index); known {
			indices = append(indices, index)
		}
	}
	return indices
}

// The looks after a removal or a handover: an attempt that was under way when it was given up may
// still change the source for as long as its timeout, which is two minutes.
var laterLooks = []time.Duration{2 * time.Minute, 10 * time.Minute}

func (g *guard) lookAgain(ctx workflow.Context) {
	g.looks = nil
	for _, after := range laterLooks {
		g.looks = append(g.looks, workflow.Now(ctx).Add(after).UnixMilli())
	}
}

// untilLook is the time until the next look is due.
func (g *guard) untilLook(ctx workflow.Context) time.Duration {
	return max(time.Duration(g.looks[0]-workflow.Now(ctx).UnixMilli())*time.Millisecond, 0)
}

// afterRemoval looks again when a look is due. It returns true when none is left and no window is
// open, which ends the guard.
func (g *guard) afterRemoval(ctx workflow.Context) bool {
	opened := func() bool { return g.Phase == migration.GuardWatching }
	wait := time.Duration(0)
	switch {
	case len(g.looks) > 0:
		wait = g.untilLook(ctx)
	case g.Phase == migration.GuardIdle:
		wait = firstWindow
	}
	if open, _ := workflow.AwaitWithTimeout(ctx, wait, opened); open {
		return false
	}
	if len(g.looks) == 0 {
		return g.over(ctx, opened)
	}
	g.looks = g.looks[1:]
	g.removeLate(ctx)
	return false
}

// firstWindow is how long a guard waits for its first window.
const firstWindow = 10 * time.Minute

// over waits until all who asked have their answers, and until all hooks are called. It returns
// false if an ask has brought something to do.
func (g *guard) over(ctx workflow.Context, interrupted func() bool) bool {
	_ = workflow.Await(ctx, func() bool {
		return workflow.AllHandlersFinished(ctx) && !g.HooksDue || interrupted()
	})
	return !interrupted()
}

// removeLate removes again what a late attempt may have set since the removal. Indices of a window
// that was opened meanwhile are that one's.
func (g *guard) removeLate(ctx workflow.Context) {
	if err := g.source.Lock(ctx); err != nil {
		return
	}
	defer g.source.Unlock()
	indices := slices.DeleteFunc(g.left.list(), func(index migration.SourceIndex) bool {
		_, again := g.window.get(index.Name)
		return again && g.Phase.Holds()
	})
	if len(indices) == 0 {
		return
	}
	var refused []migration.Refusal
	for _, removed := range g.unblockBatches(ctx, indices, func(count string) workflow.ActivityOptions {
		return urgent(bestEffort("look again at " + count))
	}, true) {
		if removed.err != nil {
			workflow.GetLogger(ctx).Warn("could not look at the source again", "error", removed.err)
			return
		}
		refused = append(refused, removed.Refused...)
	}
	g.Remains, g.RemainsOmitted = migration.FirstOf(refused)
}

// inner is the failure of an activity without what Temporal puts around it, so that whoever asked
// sees its type.
func inner(err error) error {
	var failure *temporal.ApplicationError
	if errors.As(err, &failure) {
		return failure
	}
	return err
}
