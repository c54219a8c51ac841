package workflows

import (
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// proofs is what was found equal before the freeze.
type proofs struct {
	Proofs   migration.Proofs                   `json:"proofs,omitempty"`
	ProofsOf migration.Stored[migration.Proofs] `json:"proofsOf,omitzero"`
	// NewProofs are those that no plan has put together with the others yet.
	NewProofs   []migration.Proofs                   `json:"newProofs,omitempty"`
	NewProofsOf []migration.Stored[migration.Proofs] `json:"newProofsOf,omitempty"`
	// Proven sums up how much is proven, as of the last plan; nil before the first.
	Proven *migration.Proven `json:"proven,omitempty"`
	// ReadRate is how fast the clusters gave documents.
	ReadRate migration.ReadRate `json:"readRate,omitzero"`
}

// addProved keeps what a batch has proven.
func (p *proofs) addProved(proved migration.Proved) {
	if len(proved.Proofs) > 0 {
		p.NewProofs = append(p.NewProofs, proved.Proofs)
	}
	if !proved.ProofsOf.IsZero() {
		p.NewProofsOf = append(p.NewProofsOf, proved.ProofsOf)
	}
	p.ReadRate = p.ReadRate.Add(proved.ReadRate)
}

// takePlan replaces what is known by a plan that was made of it.
func (p *proofs) takePlan(plan migration.ProofPlan, request migration.PlanProofsRequest) {
	p.Proofs, p.ProofsOf, p.Proven = plan.Proofs, plan.ProofsOf, &plan.Proven
	p.NewProofs = slices.Clone(p.NewProofs[len(request.New):])
	p.NewProofsOf = slices.Clone(p.NewProofsOf[len(request.NewOf):])
}

const (
	// batchesInFlight is how many batches are proven at the same time, on all workers.
	batchesInFlight = 4
	// batchesPlanned is how many one plan has: between two plans the source goes on changing.
	batchesPlanned = 16
	// mostBatchSeconds is how long a batch takes at most at the rate of the plan, unless it is a single
	// shard. What a killed worker has compared is compared again, but for pieces of large shards.
	mostBatchSeconds = 300
	// pieceSeconds is how long a piece of a large shard takes at that rate, and leastPiece how many
	// documents it has at least: each piece opens a scroll.
	pieceSeconds = 60
	leastPiece   = 5_000
)

// batchSeconds is how long a batch takes. A round restores what is written to, and spoils the batches
// that compare it: several have to fit between two rounds.
func batchSeconds(rounds migration.Rounds) int64 {
	const inARound, least = 4, 2
	return min(max(int64(rounds.Interval.Std().Seconds())/inARound, least), mostBatchSeconds)
}

// prover has proofs made in the background, while rounds go on. Nothing depends on it: what it
// doesn't prove is read in the window.
type prover struct {
	m     *run
	stop  func()
	ended bool
	// problem says what was in its way last; empty if nothing was.
	problem string
	// full says that the history is long enough for a new run, which goes on.
	full bool
}

// proves tells whether anything is proven before the freeze.
func (m *run) proves() bool {
	return m.shape.delta() && !m.plan.Rehearsal && m.plan.Verify.Checksum == migration.ChecksumVersions
}

// startProving begins to prove, unless that is under way.
func (m *run) startProving() {
	if !m.proves() || m.prover != nil {
		return
	}
	ctx, stop := workflow.WithCancel(m.work)
	p := &prover{m: m, stop: stop}
	m.prover = p
	workflow.GoNamed(ctx, "prove before the freeze", p.run)
}

// stopProving ends it, and waits until no batch is under way.
func (m *run) stopProving(ctx workflow.Context) error {
	p := m.prover
	if p == nil {
		return nil
	}
	p.stop()
	err := workflow.Await(ctx, func() bool { return p.ended })
	m.prover = nil
	return err
}

// wantsNewRun tells whether it goes on in the next run only.
func (p *prover) wantsNewRun() bool { return p != nil && p.full }

func (p *prover) run(ctx workflow.Context) {
	defer func() { p.ended = true }()
	for ctx.Err() == nil {
		restored := p.m.RoundNumber
		if p.pass(ctx) {
			continue
		}
		// The next restore brings more to prove, and what failed is tried again after it.
		_ = workflow.Await(ctx, func() bool { return p.m.RoundNumber != restored })
	}
}

// pass plans once and has the batches proven. It tells whether another pass may prove more.
func (p *prover) pass(ctx workflow.Context) bool {
	m := p.m
	if workflow.Await(ctx, func() bool { return !m.Paused }) != nil {
		return false
	}
	if info := workflow.GetInfo(ctx); info.GetContinueAsNewSuggested() ||
		info.GetCurrentHistoryLength() > maxHistoryLength {
		p.full = true
		_ = workflow.Await(ctx, func() bool { return false }) // until it is stopped
		return false
	}
	plan, err := m.planProofs(ctx, batchesPlanned)
	if err != nil {
		p.failed(ctx, err.Error())
		return false
	}
	p.problem = ""
	if len(plan.Batches) == 0 {
		return false
	}
	return p.batches(ctx, plan.Batches)
}

// planProofs puts together what was proven, and plans so many batches.
func (m *run) planProofs(ctx workflow.Context, batches int) (migration.ProofPlan, error) {
	request := migration.PlanProofsRequest{
		Run: m.forActivities(), Indices: m.Indices.Inline, IndicesOf: m.Indices.Of(),
		Restored: m.Restored, RestoredOf: m.RestoredOf, Doubted: m.Doubted, DoubtedOf: m.DoubtedOf,
		Proofs: m.Proofs, ProofsOf: m.ProofsOf, New: m.NewProofs, NewOf: m.NewProofsOf,
		Batches: batches, BatchDocs: int64(m.plan.Verify.Rate) * batchSeconds(m.plan.Rounds) / batchesInFlight,
		PieceDocs: max(int64(m.plan.Verify.Rate)*pieceSeconds/batchesInFlight, leastPiece),
	}
	options := pollUntilDone("what of " + indexCount(m.Indices.Len()) + " is proven")
	plan, err := call[migration.ProofPlan](bounded(ctx, usualBound), options, migration.ActivityPlanProofs, request)
	if err != nil {
		return plan, err
	}
	m.takePlan(plan, request)
	if proven := plan.Proven; proven.UnlikeShards > 0 {
		m.warn(fmt.Sprintf("compared before the freeze, %s not equal: %s", shardsAre(proven.UnlikeShards),
			strings.Join(proven.Unlike, "; ")))
	}
	m.show(ctx)
	return plan, nil
}

func shardsAre(n int) string {
	if n == 1 {
		return "1 shard is"
	}
	return human.Count(int64(n)) + " shards are"
}

// batches has batches proven, a few at the same time, and tells whether anything was proven.
func (p *prover) batches(ctx workflow.Context, batches []migration.ProofBatch) bool {
	m := p.m
	inFlight := min(batchesInFlight, len(batches))
	slots := workflow.NewSemaphore(ctx, int64(inFlight))
	under := workflow.NewWaitGroup(ctx)
	some := false
	for i, batch := range batches {
		if slots.Acquire(ctx, 1) != nil || workflow.Await(ctx, func() bool { return !m.Paused }) != nil ||
			p.problem != "" {
			break
		}
		under.Add(1)
		name := fmt.Sprintf("prove %s, batch %d of %d", batchOf(batch), i+1, len(batches))
		workflow.GoNamed(ctx, name, func(ctx workflow.Context) {
			defer under.Done()
			defer slots.Release(1)
			proved, err := call[migration.Proved](bounded(ctx, proofBound), pollUntilDone(name),
				migration.ActivityProve, migration.ProveRequest{
					Run: m.forActivities(), Batch: batch, Rate: max(m.plan.Verify.Rate/inFlight, 1),
				})
			if err != nil {
				p.failed(ctx, err.Error())
				return
			}
			if proved.Failed > 0 {
				p.failed(ctx, proved.Failure)
			}
			some = some || len(proved.Proofs) > 0 || !proved.ProofsOf.IsZero()
			m.addProved(proved)
		})
	}
	uncancelled, stop := workflow.NewDisconnectedContext(ctx)
	defer stop()
	under.Wait(uncancelled)
	return some && p.problem == "" && ctx.Err() == nil
}

// batchOf says what a batch compares.
func batchOf(batch migration.ProofBatch) string {
	if batch.Shards == 0 {
		return "definitions of " + indexCount(batch.Definitions)
	}
	return shardCount(batch.Shards)
}

// proofBound is how often a batch is tried before what is in its way is shown.
var proofBound = bound{attempts: 10, quick: usualBound.quick}

// failed shows what was in the way. It stops nothing: the window reads what isn't proven. It is
// tried again after the next round.
func (p *prover) failed(ctx workflow.Context, problem string) {
	if ctx.Err() != nil {
		return
	}
	p.problem = human.Shorten(problem, longestWarning/2)
	p.m.warn("comparing before the freeze is held up, and tried again after the next round: " + p.problem)
	p.m.show(ctx)
}

// settleProofs ends the proofs before the block, and finds out what the window has to read.
func (m *run) settleProofs() error {
	if !m.proves() {
		return nil
	}
	if err := m.stopProving(m.work); err != nil {
		return err
	}
	return m.attempt("find out what is proven equal already", func(ctx workflow.Context) error {
		_, err := m.planProofs(ctx, 0)
		return err
	})
}
