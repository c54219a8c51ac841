package workflows

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

const checked = "check clusters, buckets, versions and indices"

// preflight checks, without changing anything, that the plan can be carried out.
func (m *run) preflight() (migration.Phase, error) {
	if _, err := m.meet(); err != nil {
		return "", err
	}
	err := m.attempt(checked, func(ctx workflow.Context) error {
		options := quickCall("check clusters, buckets, versions, indices")
		found, err := call[migration.PreflightResult](ctx, options, migration.ActivityPreflight, m.forActivities())
		if err != nil {
			return err
		}
		m.Indices = m.setApart(found.Indices)
		m.warnAll(found.Warnings)
		for _, problem := range found.Problems { // of a rehearsal, which can do without
			m.Rehearsal.note(workflow.Now(ctx), migration.Attention{
				Step: checked,
				Type: string(migration.ErrorPreflight), Message: problem,
			})
		}
		return nil
	})
	return migration.PhasePrepare, err
}

// prepare has the target try what the indices are made of, makes the bucket, and registers the
// repository of this run on both clusters.
func (m *run) prepare() (migration.Phase, error) {
	if err := m.tryDefinitions(); err != nil {
		return "", err
	}
	err := m.attempt("make sure that the OSS bucket is there and private", func(ctx workflow.Context) error {
		return do(ctx, quickCall("bucket "+m.plan.Target.Repository.Bucket), migration.ActivityEnsureTargetBucket,
			m.forActivities())
	})
	if err != nil {
		return "", err
	}
	err = m.attempt("register the repository on both clusters", func(ctx workflow.Context) error {
		options := quickCall("repository " + m.forActivities().RepositoryName())
		err := do(ctx, options, migration.ActivityRegisterRepositories, m.forActivities())
		m.Registered = err == nil
		return err
	})
	if err != nil {
		return "", err
	}
	return migration.PhaseBaseline, m.throttle(raisedRounds)
}

// baseline is round 0: everything is copied.
func (m *run) baseline() (migration.Phase, error) {
	if _, err := m.meet(); err != nil {
		return "", err
	}
	if err := m.round(migration.RoundBaseline); err != nil {
		return "", err
	}
	return migration.PhaseRounds, m.tryEarly()
}

// rounds waits for the next round and runs it, or goes on to the freeze.
func (m *run) rounds() (migration.Phase, error) {
	m.startProving()
	if err := m.awaitNextRound(); err != nil {
		return "", err
	}
	if m.prover.wantsNewRun() && !m.freezeOrRound() {
		return migration.PhaseRounds, nil
	}
	if m.FreezeRequested {
		return migration.PhaseReady, nil
	}
	m.RoundRequested = false
	if _, err := m.meet(); err != nil {
		return "", err
	}
	throttles := raisedRounds
	if m.measures() {
		throttles = raisedWindow
	}
	if err := m.throttle(throttles); err != nil {
		return "", err
	}
	if err := m.round(migration.RoundIncremental); err != nil {
		return "", err
	}
	if err := m.tryAfterRound(); err != nil {
		return "", err
	}
	if err := m.throttle(raisedRounds); err != nil {
		return "", err
	}
	if m.autoFreezes(m.plan) {
		m.FreezeRequested, m.AutoFreeze = true, true
		m.decide(migration.Decision{
			Request: migration.RequestFreeze, By: "freeze.auto", AtMillis: workflow.Now(m.work).UnixMilli(),
			Phase: m.Phase, Verdict: migration.Taken, Commentary: "rounds.until is reached",
		})
	}
	return migration.PhaseRounds, nil
}

// awaitNextRound waits for the interval, for a person who wants a round now, or for the freeze;
// while paused, for resume first.
func (m *run) awaitNextRound() error {
	ctx := m.work
	for {
		now := workflow.Now(ctx).UnixMilli()
		if !m.Paused && (m.freezeOrRound() || now >= m.NextRoundMillis || m.prover.wantsNewRun()) {
			return ctx.Err()
		}
		m.show(ctx)
		if m.Paused {
			if err := workflow.Await(ctx, func() bool { return !m.Paused }); err != nil {
				return err
			}
			continue
		}
		_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
			Timeout:      time.Duration(m.NextRoundMillis-now) * time.Millisecond,
			TimerOptions: workflow.TimerOptions{Summary: fmt.Sprintf("until round %d", m.RoundNumber)},
		}, func() bool { return m.freezeOrRound() || m.Paused || m.prover.wantsNewRun() })
		if err != nil {
			return err
		}
	}
}

// round copies one snapshot over. If the snapshot turns out to be of no use, the round begins again
// with another: without a person some times, if the source could not take it.
func (m *run) round(kind string) error {
	m.pause = 0
	for {
		m.Attempt++
		done, err := m.attemptRound(migration.Round{Number: m.RoundNumber, Kind: kind, Attempt: m.Attempt})
		if errors.Is(err, errNewSnapshot) {
			continue
		}
		if err != nil {
			return err
		}
		m.endRound(done, m.mostRounds())
		m.TakenAgain = 0
		m.takenIn = m.RoundNumber
		if kind != migration.RoundFinal {
			m.planNextRound()
		}
		return nil
	}
}

// planNextRound foresees the window and says when the next round comes: at once, as long as
// rounds.until asks for more, else after the interval.
func (m *run) planNextRound() {
	now, rounds := workflow.Now(m.work), m.plan.Rounds
	before := m.Prediction
	m.predict(m.expectedWrites(now.UnixMilli()), m.spread)
	m.CloseEnough = m.converged(rounds.Until, len(m.Rounds), before)
	m.NextRoundMillis = now.Add(rounds.Interval.Std()).UnixMilli()
	if rounds.Until.Window > 0 && !m.CloseEnough {
		m.NextRoundMillis = now.UnixMilli()
	}
}

// attemptRound is one attempt at a round: snapshot, copy, close, restore, open, check.
func (m *run) attemptRound(round migration.Round) (migration.Round, error) {
	if err := m.findIndices(round.Kind); err != nil {
		return round, err
	}
	round.Writes, round.Lifted = m.since(m.Indices), m.Raised == raisedWindow
	counted := seen(m.Indices)
	if err := m.findChanged(&round); err != nil {
		return round, err
	}
	if m.taking.Len() == 0 && m.shape.delta() {
		err := m.takeNothing(&round)
		if err == nil {
			m.seenWrites = counted
		}
		return round, err
	}
	m.spread = m.weights(m.taking)
	if groups, err := m.cutGroups(round); err != nil || len(groups) > 1 {
		if err == nil {
			err = m.carryGroups(&round, groups)
		}
		if err == nil {
			m.seenWrites = counted
		}
		return round, err
	}
	var closing workflow.Future
	if m.shape.delta() {
		closing = m.closeAhead(round.Kind)
	}
	taken, err := m.takeSnapshot(&round)
	if err != nil {
		m.awaitClosing(closing)
		return round, err
	}
	if !m.shape.delta() {
		closing = m.closeAhead(round.Kind)
	}
	if err := m.copySnapshot(&round, taken); err != nil {
		taken.taking.awaitEnd()
		m.awaitClosing(closing)
		return round, err
	}
	if err := m.restore(&round, taken, closing); err != nil {
		taken.taking.awaitEnd()
		return round, err
	}
	m.seenWrites = counted
	return round, nil
}

// findIndices finds the indices of this round. In the final round they are those that are blocked.
func (m *run) findIndices(kind string) error {
	if kind == migration.RoundFinal {
		m.Indices = m.window.indices
		return nil
	}
	return m.attempt("find the plan's indices on the source", func(ctx workflow.Context) error {
		found, err := m.resolve(ctx)
		if err == nil {
			m.Indices = found
		}
		return err
	})
}

// resolve has the plan's patterns resolved on the source.
func (m *run) resolve(ctx workflow.Context, pick ...string) (migration.IndexList, error) {
	var found migration.IndexList
	request := m.resolveRequest()
	request.Pick = pick
	err := m.startResolving(ctx, request).Get(ctx, &found)
	return found, err
}

func (m *run) startResolving(ctx workflow.Context, request migration.ResolveRequest) resolving {
	// Its requests grow with the number of indices.
	options := m.paced(pollUntilDone("indices " + patterns(m.plan)))
	return resolving{m, workflow.ExecuteActivity(withOptions(ctx, options), migration.ActivityResolveIndices, request)}
}

func (m *run) resolveRequest() migration.ResolveRequest {
	return migration.ResolveRequest{
		Run: m.forActivities(), Seen: m.SeenWrites, SeenOf: m.SeenWritesOf, LeaveOut: true, Frozen: m.frozen(),
	}
}

// resolving is an activity under way that finds the plan's indices.
type resolving struct {
	m      *run
	future workflow.Future
}

// Get waits for the indices, and remembers what is left out.
func (r resolving) Get(ctx workflow.Context, found *migration.IndexList) error {
	if err := r.future.Get(ctx, found); err != nil {
		return err
	}
	*found = r.m.setApart(*found)
	return nil
}

// setApart remembers what a list of indices says of those that are left out, and returns the list
// alone.
func (m *run) setApart(found migration.IndexList) migration.IndexList {
	m.warnAll(found.Warnings)
	m.NotHot = found.NotHot
	found.Warnings, found.NotHot = nil, nil
	return found
}

// patterns shortens the plan's patterns to a summary: Temporal takes 200 bytes.
func patterns(plan migration.Plan) string {
	return human.Shorten(strings.Join(plan.Indices, ", "), 150)
}

// copySnapshot copies the snapshot's delta to OSS, proves it and publishes it.
func (m *run) copySnapshot(round *migration.Round, taken takenSnapshot) error {
	snapshot, streamed := taken.snapshot, taken.streamed
	request := m.copyRequest(*round, snapshot)
	request.Carried, request.CarriedOf = streamed.carried, streamed.carriedOf
	request.Again = request.Again || streamed.begun && streamed.ready.UUID == ""
	watch, ready := m.startWatch(), streamed.ready
	err := m.attemptOr("copy snapshot "+snapshot.Name+" to OSS", newSnapshot, func(ctx workflow.Context) error {
		copied, done := m.publishAhead(ctx, snapshot, ready)
		var err error
		if !done {
			request.Again = request.Again || ready.UUID != ""
			copied, err = m.copying.copySnapshot(ctx, request)
		}
		ready = migration.Ahead{}
		// What was copied before is treated like anything else in OSS from now on.
		request.Again, request.Carried, request.CarriedOf = true, nil, nil
		if err != nil {
			return err
		}
		m.Published = &published{UUID: snapshot.UUID, Generation: copied.Generation}
		round.Generation = copied.Generation
		round.BlobsCopied = copied.BlobsCopied + round.BlobsStreamed
		round.BytesCopied = copied.BytesCopied + round.BytesStreamed
		round.BlobsSkipped, round.BytesSkipped = copied.BlobsSkipped, copied.BytesSkipped
		return nil
	})
	round.CopyMillis += m.elapsed(watch)
	return err
}

// copyRequest asks for a round's snapshot to be copied.
func (m *run) copyRequest(round migration.Round, snapshot migration.Snapshot) migration.CopyRequest {
	base := m.base()
	return migration.CopyRequest{
		Run: m.forActivities(), Snapshot: snapshot, BaseUUID: base.UUID, BaseGeneration: base.Generation,
		Again: round.Attempt > 1, // the attempt with another snapshot has left some blobs
	}
}

// publishAhead publishes what was copied before the snapshot had ended, if that is not done. Nothing
// depends on it: if it fails, the snapshot is copied as any other is.
func (m *run) publishAhead(ctx workflow.Context, snapshot migration.Snapshot,
	ready migration.Ahead,
) (migration.CopyResult, bool) {
	switch {
	case ready.UUID == "":
		return migration.CopyResult{}, false
	case ready.Early != nil:
		return migration.CopyResult{
			Generation: ready.Early.Generation, BlobsCopied: ready.BlobsCopied, BytesCopied: ready.BytesCopied,
			BlobsSkipped: ready.BlobsSkipped, BytesSkipped: ready.BytesSkipped,
		}, true
	}
	options := tryOnce(m.paced(copyActivity("publish " + snapshot.Name)))
	published, err := call[migration.CopyResult](ctx, options, migration.ActivityPublishAhead,
		migration.PublishAheadRequest{Run: m.forActivities(), Snapshot: snapshot, Ready: ready})
	if err != nil || published.Moved {
		workflow.GetLogger(ctx).Info("the snapshot is copied once more", "snapshot", snapshot.Name, "error", err)
		return migration.CopyResult{}, false
	}
	return published, true
}

// restore closes the target's indices, restores the snapshot over them and opens them again. Before
// that, what has left the source is cleared out of the way.
func (m *run) restore(round *migration.Round, taken takenSnapshot, closing workflow.Future) error {
	watch, snapshot := m.startWatch(), taken.snapshot
	if err := m.clearTarget(); err != nil {
		return err
	}
	if closing == nil || closing.Get(m.context(), nil) != nil {
		if err := m.closeTarget(); err != nil {
			return err
		}
	}
	m.beginRestore(m.taking)
	if m.shape.delta() {
		m.doubt(m.taking)
	}
	var opening *migration.OpenResult
	step := "restore snapshot " + snapshot.Name + " into the target"
	// An answer that has come may say that no restore of it is of use.
	lost := func(error) error { return taken.heard() }
	err := m.attemptUnless(step, lost, newSnapshot, func(ctx workflow.Context) error {
		options := m.paced(pollUntilDone("restore " + snapshot.Name))
		restored, err := call[migration.RestoreResult](ctx, options, migration.ActivityRestoreSnapshot,
			migration.RestoreRequest{
				Run: m.forActivities(), Snapshot: snapshot,
				Indices: m.taking.Inline, IndicesOf: m.taking.Of(),
				IgnoreSettings: m.UnknownSettings,
				Files:          m.shape.delta(),
				Open:           m.openAfterRestore(),
				Frozen:         m.frozen(),
			})
		round.BytesRestored, round.BytesReused = restored.BytesRestored, restored.BytesReused
		round.Files = restored.Files
		opening = restored.Opened
		return err
	})
	if err != nil {
		return err
	}
	if err := taken.confirmEnd(); err != nil {
		return err
	}
	err = m.attempt("open the target's indices and count", func(ctx workflow.Context) error {
		opened, err := m.opened(ctx, snapshot, opening)
		if err != nil {
			return err
		}
		m.keep(opened)
		m.learn(opened.Archived)
		m.window.doubt(len(opened.Archived) > 0)
		return nil
	})
	if err != nil {
		return err
	}
	m.endRestore()
	if m.shape.delta() {
		m.hold(m.changed)
		m.warnOfFiles(round.Files)
	}
	round.RestoreMillis = m.elapsed(watch)
	round.Indices = m.Indices.Len()
	round.Docs = m.docs(m.Indices)
	return nil
}

// openRequest hands the known counters over if the workflow can't add the new ones to them itself.
func (m *run) openRequest(indices migration.IndexList) migration.OpenRequest {
	request := migration.OpenRequest{IndicesRequest: m.indicesRequest(indices)}
	if m.Indices.Stored() || !m.CountersOf.IsZero() {
		request.Known, request.KnownOf = m.Counters, m.CountersOf
		if indices.Len() < m.Indices.Len() {
			request.All, request.AllOf = m.Indices.Names(), m.Indices.Of()
		}
	}
	return request
}

func (m *run) indicesRequest(indices migration.IndexList) migration.IndicesRequest {
	return migration.IndicesRequest{Run: m.forActivities(), Indices: indices.Names(), IndicesOf: indices.Of()}
}

// awaitClosing waits for what closes the target's indices ahead when its round has failed: it might
// close what the next attempt has restored.
func (m *run) awaitClosing(closing workflow.Future) {
	if closing != nil {
		_ = closing.Get(m.context(), nil)
	}
}

// closeAhead closes the target's indices while the final round's snapshot is taken, when each
// moment counts. If that fails, closeTarget does it, and shows why it can't. If the target is to be
// cleared first, both wait for the copy.
func (m *run) closeAhead(kind string) workflow.Future {
	if kind != migration.RoundFinal || m.mustClear() {
		return nil
	}
	options := m.paced(quickCall("close " + indexCount(m.taking.Len())))
	return workflow.ExecuteActivity(withOptions(m.bounded(m.context()), options), migration.ActivityCloseTarget,
		m.closeRequest())
}

func (m *run) closeRequest() migration.CloseRequest {
	return migration.CloseRequest{
		Run: m.forActivities(), Indices: m.taking.Names(), IndicesOf: m.taking.Of(),
		Expected: m.Counters, ExpectedOf: m.CountersOf, Begun: m.Begun, BegunOf: m.BegunOf,
		InDoubt: m.RestoreInDoubt,
	}
}

// closeTarget closes the indices that the last round restored, unless somebody wrote to them: then
// a person decides whether those writes may go.
func (m *run) closeTarget() error {
	request := m.closeRequest()
	return m.attempt("close the target's indices", func(ctx workflow.Context) error {
		err := do(ctx, m.paced(quickCall("close "+indexCount(m.taking.Len()))), migration.ActivityCloseTarget, request)
		if errorType(err) == migration.ErrorTargetWritten {
			request.AcceptWrites = true // for the next attempt, which only retry begins
		}
		return err
	})
}
