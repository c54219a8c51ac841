package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Guard holds the authority over writes to the source of one plan. A migration that could block
// them by itself would leave them blocked when it is terminated. So it asks the guard to block, to
// remove the block and to hand over, and the guard carries that out.
//
//   - The guard alone decides between "the block is removed" and "the cutover has begun": the phase
//     leaves watching in one of two ways, once.
//   - It removes the block at the window's deadline, and when the run that it serves is gone.
//   - It hands over to the end whatever becomes of the migration.
//   - It looks again after a removal: an attempt of an activity that nobody waits for any more may
//     set a block late.
//
// It needs the server, a worker and the source, and the target only to hand over. It can't be
// cancelled. It ends by itself, with what it knows as its result.
func Guard(ctx workflow.Context, input migration.GuardInput) (migration.GuardStatus, error) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	g := newGuard(ctx, input)
	if err := g.listen(ctx); err != nil {
		return migration.GuardStatus{}, err
	}
	if err := g.takeOver(ctx, input); err != nil {
		return migration.GuardStatus{}, err
	}
	g.ready = true
	g.run(bounded(ctx, frozenBound)) // so that whoever asked hears what keeps failing
	g.teller.started(ctx)
	return g.GuardStatus, nil
}

// guard is one guard. What is decided stands in the status.
type guard struct {
	migration.GuardStatus
	plan  migration.Run
	shape guardShape
	// ready is set once the guard knows what an earlier one knew.
	ready bool
	// source lets one coroutine at a time change the source.
	source workflow.Mutex
	teller teller
	// troubled is the failure that was told last.
	troubled string
	// stopBlocking cancel what sets the block.
	stopBlocking []func()
	stopWatching func()

	// window are the announced indices, as they were found before our block. asked are those for
	// which the block was asked for at least once.
	window indexSet
	asked  map[string]bool
	// left are those from which the block was removed, or could not be. They are looked at again.
	left indexSet
	// handover are the indices that are still to be handed over.
	handover []migration.HandoverIndex

	// passes counts the tries to remove or to hand over that have ended; trouble is why the last
	// one failed as a whole. pressed is set by an ask for another try.
	passes  int
	trouble error
	pressed bool
	// looked is set once the source was looked at after the handover. told says that nobody needs
	// to be told of the handover any more.
	looked, told bool
	// looks are the times at which to look again, in epoch milliseconds.
	looks []int64
}

func newGuard(ctx workflow.Context, input migration.GuardInput) *guard {
	return &guard{
		GuardStatus: migration.GuardStatus{
			Plan: input.Run.Plan.Name, Token: input.Token, WorkflowID: input.WorkflowID, Cluster: input.Cluster,
		},
		plan: input.Run, shape: guardShapeOf(ctx), source: workflow.NewMutex(ctx), stopWatching: func() {},
		asked: map[string]bool{},
	}
}

// takeOver learns what a guard knew that ended before it was done. Of another migration's guard
// only the blocks count that it may have left.
func (g *guard) takeOver(ctx workflow.Context, input migration.GuardInput) error {
	before := input.Before
	if before == nil || before.Token != g.Token && before.Phase.Begun() {
		return nil
	}
	own := g.GuardStatus
	same := before.Token == own.Token
	// Until it has the names, a guard that takes over from this one has to ask where this one did.
	g.GuardStatus, g.TakesOver = *before, input.From
	lists := []migration.GuardList{migration.GuardAnnounced, migration.GuardLeft}
	if same {
		lists = append(lists, migration.GuardHandover)
	}
	for _, list := range lists {
		if err := g.readAll(ctx, input.From, list); err != nil {
			return err
		}
	}
	g.TakesOver = ""
	if same && before.HooksDue {
		g.thawHooks(ctx)
	}
	if !same {
		g.GuardStatus = own
		g.left.add(g.window.list()...)
		g.window = indexSet{}
		g.lookAgain(ctx)
		return nil
	}
	g.Plan, g.Cluster = own.Plan, own.Cluster
	for _, name := range g.window.names {
		g.asked[name] = before.Asked
	}
	if g.Phase == migration.GuardRemoved || g.Phase == migration.GuardHandedOver {
		g.lookAgain(ctx)
	}
	if (g.Phase == migration.GuardWatching || g.Phase.Begun()) && g.Ended == "" && !g.Released {
		g.watch(ctx)
	}
	return nil
}

// readAll reads a list of a guard that has ended.
func (g *guard) readAll(ctx workflow.Context, run string, list migration.GuardList) error {
	for from := 0; ; {
		options := waiting(urgent(quickCall("read " + string(list) + " of the last guard")))
		page, err := call[migration.GuardPage](ctx, options,
			migration.ActivityReadGuard, migration.ReadGuardRequest{
				WorkflowID: migration.GuardID(g.plan.Plan.Name), RunID: run,
				GuardPageRequest: migration.GuardPageRequest{List: list, From: from},
			})
		if err != nil {
			return err
		}
		switch list {
		case migration.GuardAnnounced:
			g.window.add(page.Indices...)
		case migration.GuardLeft:
			g.left.add(page.Indices...)
		case migration.GuardHandover:
			g.handover = append(g.handover, page.Handover...)
		}
		if from = page.Next; from == 0 {
			return nil
		}
	}
}

// run does what each phase asks for, until there is nothing more to guard.
func (g *guard) run(ctx workflow.Context) {
	for {
		g.show(ctx)
		switch g.Phase {
		case migration.GuardWatching:
			g.awaitDecision(ctx)
		case migration.GuardRemoving:
			g.remove(ctx)
		case migration.GuardHandingOver:
			g.carryOut(ctx)
		case migration.GuardHandedOver:
			if g.afterHandover(ctx) {
				return
			}
		default:
			if g.afterRemoval(ctx) {
				return
			}
		}
	}
}

// decide leaves the phase watching. Whoever comes first decides.
func (g *guard) decide(phase migration.GuardPhase, cause string) {
	if g.Phase != migration.GuardWatching {
		return
	}
	g.Phase, g.Cause = phase, cause
	for _, stop := range g.stopBlocking {
		stop()
	}
	g.stopBlocking = nil
}

// awaitDecision waits until the migration has decided, and decides if it is gone or too late.
func (g *guard) awaitDecision(ctx workflow.Context) {
	left := time.Duration(g.UntilMillis-workflow.Now(ctx).UnixMilli()) * time.Millisecond
	inTime, _ := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
		Timeout:      max(left, 0),
		TimerOptions: workflow.TimerOptions{Summary: "freeze.maxDuration: remove the block if nobody sends cutover"},
	}, func() bool { return g.Phase != migration.GuardWatching || g.Ended != "" })
	switch {
	case g.Ended != "":
		g.decide(migration.GuardRemoving, "the migration is no longer running ("+g.Ended+")")
	case !inTime:
		g.decide(migration.GuardRemoving, deadlinePassed)
	}
}

const deadlinePassed = "freeze.maxDuration passed without a cutover"

// watch notes when the run ends that the guard serves.
func (g *guard) watch(ctx workflow.Context) {
	g.stopWatching()
	request := migration.WatchRequest{WorkflowID: g.WorkflowID, RunID: g.RunID}
	ctx, g.stopWatching = workflow.WithCancel(bounded(ctx, bound{}))
	workflow.GoNamed(ctx, "watch the migration", func(ctx workflow.Context) {
		options := waiting(urgent(watchSnapshot("notice when the migration ends")))
		for ctx.Err() == nil {
			end, err := call[migration.MigrationEnd](ctx, options, migration.ActivityWatchMigration, request)
			if err == nil && request.RunID == g.RunID && ctx.Err() == nil {
				g.Ended = end.Status
				return
			}
			if ctx.Err() == nil { // freeze.maxDuration removes the block in any case
				workflow.GetLogger(ctx).Warn("nobody knows whether the migration runs", "workflowID", g.WorkflowID,
					"error", err)
			}
			_ = workflow.Sleep(ctx, longestPause)
		}
	})
}

// serves tells whether the window is open for whoever calls.
func (g *guard) serves(c migration.GuardCall) bool {
	return c.Token == g.Token && g.Phase == migration.GuardWatching && g.Ended == "" && c.RunID == g.RunID &&
		c.Window == g.Window
}

// answer says how things stand.
func (g *guard) answer(served bool) migration.GuardAnswer {
	return migration.GuardAnswer{
		Served: served, Phase: g.Phase, Cause: g.Cause, Told: g.Ended != "" || g.Released,
		Hooks:        g.Hooks,
		GuardOutcome: g.GuardOutcome,
	}
}

// full tells whether the history is so long that no further window begins in it. The guard then
// ends when its looks are done, and the next window has another one.
func (g *guard) full(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return info.GetCurrentHistoryLength() > maxGuardHistory || info.GetCurrentHistorySize() > maxGuardBytes
}

// A window takes some hundred events, and some 7 MB with 10,000 indices whose names have 100 bytes.
// The server ends a workflow at 51,200 events or 50 MB.
const (
	maxGuardHistory = 5000
	maxGuardBytes   = 10 << 20
)

// listen registers the queries and the updates.
func (g *guard) listen(ctx workflow.Context) error {
	queries := map[string]any{
		migration.QueryStatus:       func() (migration.GuardStatus, error) { return g.GuardStatus, nil },
		migration.QueryGuardUnknown: g.unknown,
		migration.QueryGuardHolds:   g.holds,
		migration.QueryGuardPage:    g.page,
	}
	for _, name := range workflow.DeterministicKeys(queries) {
		if err := workflow.SetQueryHandler(ctx, name, queries[name]); err != nil {
			return err
		}
	}
	for _, ask := range migration.GuardUpdates() {
		handle := map[migration.GuardAsk]func(workflow.Context, migration.GuardCall) (migration.GuardAnswer, error){
			migration.AskOpen: g.open, migration.AskAnnounce: g.announce, migration.AskBlock: g.block,
			migration.AskRemove: g.askedToRemove, migration.AskList: g.list, migration.AskBegin: g.begin,
			migration.AskHandOver: g.askedToHandOver, migration.AskHooks: g.askedForHooks,
			migration.AskRelease: g.release,
		}[ask]
		err := workflow.SetUpdateHandlerWithOptions(ctx, string(ask),
			func(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
				ctx, _ = workflow.NewDisconnectedContext(bounded(ctx, frozenBound))
				if err := workflow.Await(ctx, func() bool { return g.ready }); err != nil {
					return migration.GuardAnswer{}, err
				}
				return handle(ctx, c)
			}, workflow.UpdateHandlerOptions{Description: ask.Description()})
		if err != nil {
			return err
		}
	}
	return nil
}

// open opens a window, unless another one is open or the cutover has begun.
func (g *guard) open(ctx workflow.Context, c migration.GuardCall) (migration.GuardAnswer, error) {
	if c.Token != g.Token || g.Phase != migration.GuardIdle && g.Phase != migration.GuardRemoved ||
		g.HooksDue || g.full(ctx) {
		return g.answer(g.serves(c)), nil
	}
	g.Phase, g.Cause, g.Ended, g.Blocked, g.Asked, g.Announced = migration.GuardWatching, "", "", false, false, 0
	g.RunID, g.Window, g.UntilMillis = c.RunID, c.Window, c.UntilMillis
	g.window, g.asked, g.handover, g.Listed = indexSet{}, map[string]bool{}, nil, 0
	g.Hooks = nil
	g.watch(ctx)
	return g.answer(true), nil
}

func (g *guard) show(ctx workflow.Context) {
	text := map[migration.GuardPhase]string{
		migration.GuardIdle:     "No frozen window is open.",
		migration.GuardRemoving: "**The write block is being removed** from the source: " + g.Cause + ".",
		migration.GuardRemoved:  "The write block is removed from the source: " + g.Cause + ".",
		migration.GuardHandingOver: "**The cutover has begun.** The source stays blocked, and the target is made " +
			"writable.",
		migration.GuardHandedOver: "The target takes writes. The source stays blocked.",
	}[g.Phase]
	if g.Phase == migration.GuardWatching {
		text = fmt.Sprintf("A frozen window is open for %s. If the cutover has not begun at %s, or if that run ends, "+
			"the guard removes the write block.", g.WorkflowID, human.Clock(g.UntilMillis, time.UTC))
	}
	if g.HooksDue {
		text += "\n- The hooks after the thaw are being called."
	}
	for _, made := range g.Hooks {
		text += "\n- " + made.Sentence()
	}
	for _, refusal := range slices.Concat(g.Remains, g.Refused) {
		text += "\n- " + refusal.Index + ": " + refusal.Message
	}
	workflow.SetCurrentDetails(ctx, text)
}

// The answers to the queries of the activities.

func (g *guard) unknown(indices []migration.SourceIndex) ([]migration.SourceIndex, error) {
	var unknown []migration.SourceIndex
	for _, index := range indices {
		if known, met := g.window.get(index.Name); !met || known.UUID != index.UUID {
			unknown = append(unknown, index)
		}
	}
	return unknown, nil
}

func (g *guard) holds(names []string) ([]string, error) {
	var held []string
	for _, name := range names {
		if _, met := g.window.get(name); met && g.Phase.Holds() && len(held) < migration.GuardNamed {
			held = append(held, name)
		}
	}
	return held, nil
}

func (g *guard) page(r migration.GuardPageRequest) (page migration.GuardPage, err error) {
	switch r.List {
	case migration.GuardAnnounced:
		page.Indices, page.Next = pageOf(g.window.list(), r.From)
	case migration.GuardLeft:
		page.Indices, page.Next = pageOf(g.left.list(), r.From)
	case migration.GuardHandover:
		page.Handover, page.Next = pageOf(g.handover, r.From)
	}
	return page, nil
}

// pageOf is what fits into a page from an entry on, and where the next one begins, 0 if nowhere.
func pageOf[T migration.Sized](list []T, from int) (page []T, next int) {
	if from < 0 || from >= len(list) {
		return nil, 0
	}
	page = migration.Batches(list[from:], migration.LongestBatch)[0]
	if next = from + len(page); next == len(list) {
		next = 0
	}
	return page, next
}

// indexSet keeps indices by name, in the order in which they came.
type indexSet struct {
	names  []string
	byName map[string]migration.SourceIndex
}

func (s *indexSet) add(indices ...migration.SourceIndex) {
	if s.byName == nil {
		s.byName = map[string]migration.SourceIndex{}
	}
	for _, index := range indices {
		if _, known := s.byName[index.Name]; !known {
			s.names = append(s.names, index.Name)
		}
		s.byName[index.Name] = index
	}
}

func (s *indexSet) get(name string) (migration.SourceIndex, bool) {
	index, known := s.byName[name]
	return index, known
}

func (s *indexSet) list() []migration.SourceIndex {
	indices := make([]migration.SourceIndex, len(s.names))
	for i, name := range s.names {
		indices[i] = s.byName[name]
	}
	return indices
}
