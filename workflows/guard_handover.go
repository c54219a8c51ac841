package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// What a guard does once the cutover has begun.

// list learns which indices are handed over, before there is no way back.
func (g *guard) list(_ workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if !g.serves(c) {
		return g.answer(false), nil
	}
	if c.First {
		g.handover = nil
	}
	at := map[string]int{}
	for i, index := range g.handover {
		at[index.Name] = i
	}
	for _, index := range c.Handover {
		if i, listed := at[index.Name]; listed {
			g.handover[i] = index
			continue
		}
		at[index.Name] = len(g.handover)
		g.handover = append(g.handover, index)
	}
	g.Listed = len(g.handover)
	return g.answer(true), nil
}

// begin decides for the cutover, unless the block is being removed, or has to be.
func (g *guard) begin(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if !g.serves(c) || !g.Blocked || workflow.Now(ctx).UnixMilli() >= g.UntilMillis {
		return g.answer(false), nil
	}
	g.decide(migration.GuardHandingOver, "")
	return g.answer(true), nil
}

// The pauses between tries to hand over what was refused, when nobody asks for one. So many tries
// take more than a day.
const (
	firstTurn     = time.Minute
	longestTurn   = time.Hour
	handoverTurns = 30
)

// carryOut hands over, batch by batch. What is refused keeps nothing else from it, and is tried
// again when the migration asks, and in any case now and then.
func (g *guard) carryOut(ctx workflow.Context) {
	for turn, pause := 1, firstTurn; ; turn, pause = turn+1, min(2*pause, longestTurn) {
		g.handOver(ctx)
		g.pressed = false
		if len(g.handover) == 0 {
			break
		}
		g.notifyTrouble(ctx, "make the target writable", g.handoverTrouble())
		if !g.looked { // what is refused must not keep the source from being looked at
			g.lookForLate(ctx)
		}
		g.passes++
		g.show(ctx)
		if turn >= handoverTurns && g.Ended != "" {
			break
		}
		pressed := func() bool { return g.pressed }
		if turn < handoverTurns {
			_, _ = workflow.AwaitWithTimeout(ctx, pause, pressed)
		} else {
			_ = workflow.Await(ctx, func() bool { return g.pressed || g.Ended != "" })
		}
	}
	g.notifyHandedOver(ctx)
	g.lookForLate(ctx)
	g.Phase = migration.GuardHandedOver
	g.passes++
	g.lookAgain(ctx)
}

// handOver tries to hand over what is not handed over yet.
func (g *guard) handOver(ctx workflow.Context) {
	done := map[string]bool{}
	var refused []migration.Refusal
	g.trouble = nil
	for _, batch := range migration.Batches(slices.Clone(g.handover), migration.LongestBatch) {
		result, err := call[migration.HandOverResult](ctx, urgent(pollUntilDone("hand over "+indexCount(len(batch)))),
			migration.ActivityHandOver, migration.HandOverRequest{Run: g.forSource(), Indices: batch})
		if err != nil {
			g.trouble = err // of all: the next try goes on here
			break
		}
		refused = append(refused, result.Refused...)
		for _, index := range batch {
			done[index.Name] = true
		}
		for _, refusal := range result.Refused {
			delete(done, refusal.Index)
		}
	}
	g.handover = slices.DeleteFunc(g.handover, func(index migration.HandoverIndex) bool { return done[index.Name] })
	g.Refused, g.RefusedOmitted = migration.FirstOf(refused)
}

// handoverTrouble is why something is not handed over yet.
func (g *guard) handoverTrouble() error {
	if g.trouble != nil {
		return g.trouble
	}
	return refusedError(migration.ErrorHandover, "make the target writable", g.Refused,
		len(g.Refused)+g.RefusedOmitted)
}

// askedToHandOver returns once a try has ended, or at once if all is handed over. Any run of the
// migration may ask: it changes nothing of what was decided.
func (g *guard) askedToHandOver(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if c.Token != g.Token || !g.Phase.Begun() {
		return g.answer(false), nil
	}
	if len(c.LeaveOut) > 0 {
		before := len(g.handover)
		g.handover = slices.DeleteFunc(g.handover, func(index migration.HandoverIndex) bool {
			return slices.Contains(c.LeaveOut, index.Name)
		})
		g.LeftOut += before - len(g.handover)
	}
	passes := g.passes
	g.pressed = true
	err := workflow.Await(ctx, func() bool { return g.Phase == migration.GuardHandedOver || g.passes > passes })
	if err != nil || g.trouble != nil {
		return migration.GuardAnswer{}, inner(orElse(err, g.trouble))
	}
	return g.answer(true), nil
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// release says that the migration tells of the end. The source is looked at a last time for it.
func (g *guard) release(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if c.Token == g.Token && g.Phase == migration.GuardHandedOver {
		g.Released, g.told = true, true
		g.stopWatching()
		g.lookForLate(ctx)
	}
	return g.answer(true), nil
}

// afterHandover looks at the source again, and makes sure that somebody tells of the handover: the
// migration, or the guard if that is gone. It returns true when nothing is left to do, which ends
// the guard.
func (g *guard) afterHandover(ctx workflow.Context) bool {
	settled := func() bool { return !g.told && (g.Released || g.Ended != "") }
	switch {
	case settled():
	case len(g.looks) > 0:
		_, _ = workflow.AwaitWithTimeout(ctx, g.untilLook(ctx), settled)
	case g.told:
		return g.over(ctx, func() bool { return false })
	default: // the last looks are done, and the migration is still at work
		_ = workflow.Await(ctx, settled)
	}
	if settled() {
		g.told = true
		g.stopWatching()
		if !g.Released {
			g.callHooks(ctx, migration.HookAfterHandover)
			message := "snapferry handed over although the migration is no longer running (" + g.Ended + ")"
			if len(g.handover) > 0 {
				message += "; on the target, " + human.Things(len(g.handover), "index takes", "indices take") +
					" no writes yet"
			}
			for _, made := range g.Hooks {
				if made.Outcome != migration.HookDone {
					message += "; " + made.Sentence()
				}
			}
			g.tell(ctx, migration.GuardEventHandedOver, message)
		}
		return false
	}
	g.looks = g.looks[1:]
	g.lookForLate(ctx)
	g.removeLate(ctx) // what an earlier window has left
	return false
}

// lookForLate finds the plan's indices that take writes on the source, blocks them and counts their
// documents.
func (g *guard) lookForLate(ctx workflow.Context) {
	if err := g.source.Lock(ctx); err != nil {
		return
	}
	defer g.source.Unlock()
	g.looked = true
	look := func(names []string) ([]migration.LateIndex, error) {
		return call[[]migration.LateIndex](ctx, urgent(bestEffort("look at the source again")),
			migration.ActivityLookAgain, migration.LookAgainRequest{Run: g.plan, Indices: names})
	}
	late, err := look(nil)
	if err != nil {
		workflow.GetLogger(ctx).Warn("could not look at the source after the cutover", "error", err)
		return
	}
	if len(late) == 0 {
		return
	}
	var indices []migration.SourceIndex
	for i := range late {
		known, met := g.window.get(late[i].Name)
		late[i].New = !met || known.UUID != late[i].UUID
		indices = append(indices, migration.SourceIndex{Name: late[i].Name, UUID: late[i].UUID, Blocks: known.Blocks})
	}
	problems := map[string]string{}
	for _, batch := range migration.Batches(indices, migration.LongestBatch) {
		result, err := call[migration.BlockResult](ctx, urgent(bestEffort("block "+indexCount(len(batch)))),
			migration.ActivityBlockSource, migration.BlockRequest{Run: g.forSource(), Indices: batch})
		if err != nil {
			for _, index := range batch {
				problems[index.Name] = describe(ctx, "", err, 1).Message
			}
		}
		for _, refusal := range result.Refused {
			problems[refusal.Index] = refusal.Message
		}
	}
	first, _ := migration.FirstOf(late)
	var names []string
	for _, index := range first {
		names = append(names, index.Name)
	}
	counted, err := look(names)
	for i := range first {
		first[i].Problem = human.Shorten(problems[first[i].Name], longestAttention)
		for _, index := range counted {
			if err == nil && index.Name == first[i].Name {
				first[i].Docs = index.Docs
			}
		}
	}
	g.keepLate(late)
	if g.told {
		message := human.Things(len(late), "index", "indices") + " took writes on the source after the cutover"
		g.notifyLate(ctx, message)
		g.tell(ctx, migration.GuardEventLate, message)
	}
}

// keepLate adds what a look has found. An index may be found again, if it could not be blocked.
func (g *guard) keepLate(late []migration.LateIndex) {
	for _, index := range late {
		at := slices.IndexFunc(g.Late, func(l migration.LateIndex) bool { return l.Name == index.Name })
		switch {
		case at >= 0:
			g.Late[at] = index
		case len(g.Late) < migration.GuardNamed:
			g.Late = append(slices.Clone(g.Late), index)
		default:
			g.LateOmitted++
		}
	}
}

// tell calls the plan's webhook. Nobody waits for it.
func (g *guard) tell(ctx workflow.Context, event, message string) {
	if g.plan.Plan.Cutover.Webhook.URL == "" {
		return
	}
	now := workflow.Now(ctx).UnixMilli()
	result := migration.ResultCompleted
	if event == migration.GuardEventRemoved {
		result = migration.ResultBlockRemoved
	}
	err := do(ctx, bestEffort("call the webhook: "+event), migration.ActivityCallWebhook, migration.WebhookRequest{
		Run: g.forSource(), Report: migration.Report{
			Result: result, WorkflowID: g.WorkflowID, Plan: g.Plan, StartedMillis: now, EndedMillis: now,
			Late: g.Late, LateOmitted: g.LateOmitted,
			Guard: &migration.GuardReport{Event: event, Message: message, Status: g.GuardStatus},
		},
	})
	if err != nil {
		workflow.GetLogger(ctx).Warn("could not call the webhook", "event", event, "error", err)
	}
}
