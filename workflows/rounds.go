package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// preflight checks, without changing anything, that the plan can be carried out.
func (m *run) preflight() (migration.Phase, error) {
	err := m.attempt("check clusters, buckets, versions and indices", func(ctx workflow.Context) error {
		found, err := call[migration.PreflightResult](ctx, quickCall("check clusters, buckets, versions, indices"), migration.ActivityPreflight, m.forActivities())
		if err != nil {
			return err
		}
		m.Indices = found.Indices
		for _, warning := range found.Warnings {
			m.warn(warning)
		}
		m.noteProblems(found.Problems)
		return nil
	})
	return migration.PhasePrepare, err
}

// prepare makes the bucket and registers the repository of this run on both
// clusters.
func (m *run) prepare() (migration.Phase, error) {
	err := m.attempt("make sure that the OSS bucket is there and private", func(ctx workflow.Context) error {
		return do(ctx, quickCall("bucket "+m.plan.Target.Repository.Bucket), migration.ActivityEnsureTargetBucket, m.forActivities())
	})
	if err != nil {
		return "", err
	}
	err = m.attempt("register the repository on both clusters", func(ctx workflow.Context) error {
		err := do(ctx, quickCall("repository "+m.forActivities().RepositoryName()), migration.ActivityRegisterRepositories, m.forActivities())
		m.Registered = err == nil
		return err
	})
	if err != nil {
		return "", err
	}
	return migration.PhaseBaseline, m.throttle(liftedRounds)
}

// baseline is round 0: everything is carried.
func (m *run) baseline() (migration.Phase, error) {
	return migration.PhaseRounds, m.round(migration.RoundBaseline)
}

// rounds waits for the next round and runs it, or goes on to the freeze.
func (m *run) rounds() (migration.Phase, error) {
	if err := m.awaitNextRound(); err != nil {
		return "", err
	}
	if m.FreezeRequested {
		return migration.PhaseReady, nil
	}
	m.RoundRequested = false
	throttles := liftedRounds
	if m.measures() {
		throttles = liftedWindow
	}
	if err := m.throttle(throttles); err != nil {
		return "", err
	}
	if err := m.round(migration.RoundIncremental); err != nil {
		return "", err
	}
	if err := m.throttle(liftedRounds); err != nil {
		return "", err
	}
	// Nobody is asked, so the window must be as short as the plan wants it, and not only
	// as short as it gets; and nobody came the last time, if there was one.
	if m.CloseEnough && m.plan.Freeze.Auto && m.atAim() && !m.AutoSpent {
		m.FreezeRequested, m.AutoFreeze = true, true
		m.decide(migration.Decision{
			Request: migration.RequestFreeze, By: "freeze.auto", AtMillis: workflow.Now(m.work).UnixMilli(), Phase: m.Phase, Verdict: migration.Taken,
			Commentary: "rounds.until is reached",
		})
	}
	return migration.PhaseRounds, nil
}

// awaitNextRound waits for the interval, for a person who wants a round now, or
// for the freeze; while paused, for resume first.
func (m *run) awaitNextRound() error {
	ctx := m.work
	for {
		now := workflow.Now(ctx).UnixMilli()
		asked := m.FreezeRequested || m.RoundRequested
		if !m.Paused && (asked || now >= m.NextRoundMillis) {
			return ctx.Err()
		}
		m.show(ctx)
		if m.Paused {
			if err := workflow.Await(ctx, func() bool { return !m.Paused }); err != nil {
				return err
			}
			continue
		}
		wait := time.Duration(m.NextRoundMillis-now) * time.Millisecond
		_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
			Timeout:      wait,
			TimerOptions: workflow.TimerOptions{Summary: fmt.Sprintf("until round %d", m.RoundNumber)},
		}, func() bool { return m.FreezeRequested || m.RoundRequested || m.Paused })
		if err != nil {
			return err
		}
	}
}

// round carries one snapshot over. If the snapshot turns out to be of no use,
// the round begins again with another.
func (m *run) round(kind string) error {
	for {
		m.Attempt++
		done, err := m.carry(migration.Round{Number: m.RoundNumber, Kind: kind, Attempt: m.Attempt})
		if errors.Is(err, errNewSnapshot) {
			continue
		}
		if err != nil {
			return err
		}
		m.ended(done)
		m.RoundNumber++
		m.Attempt = 0
		if kind != migration.RoundFinal {
			m.roundEnded(done)
		}
		return nil
	}
}

// roundEnded foresees the window and says when the next round comes: at once, as
// long as rounds.until asks for more, else after the interval.
func (m *run) roundEnded(round migration.Round) {
	now := workflow.Now(m.work)
	before := m.Prediction
	if len(m.Rounds) < 3 {
		before = nil // that of the baseline alone, which knows of no writes, is no measure of progress
	}
	m.predict(m.expectedWrites(round, now.UnixMilli()))
	m.CloseEnough = m.closeEnough(before)
	m.NextRoundMillis = now.Add(m.plan.Rounds.Interval.Std()).UnixMilli()
	if m.plan.Rounds.Until.Window > 0 && !m.CloseEnough {
		m.NextRoundMillis = now.UnixMilli()
	}
}

// expectedWrites is how much has probably been written since a round's snapshot
// began, at the rate of the time before it.
func (m *run) expectedWrites(round migration.Round, nowMillis int64) int64 {
	if len(m.Rounds) < 2 {
		return 0
	}
	before := m.Rounds[len(m.Rounds)-2]
	span := round.StartTimeMillis - before.StartTimeMillis
	if span <= 0 {
		return round.Writes
	}
	return int64(float64(round.Writes) * float64(nowMillis-round.StartTimeMillis) / float64(span))
}

// carry is one attempt at a round: snapshot, copy, close, restore, open, check.
func (m *run) carry(round migration.Round) (migration.Round, error) {
	if err := m.resolve(round.Kind); err != nil {
		return round, err
	}
	round.Writes, round.Lifted = m.writesSince(m.Indices), m.Lifted == liftedWindow
	seen := map[string]int64{}
	for _, index := range m.Indices {
		seen[index.Name] = index.Writes
	}
	snapshot, streamed, err := m.snapshot(&round)
	if err != nil {
		return round, err
	}
	closing := m.closeAhead(round.Kind)
	if err := m.copy(&round, snapshot, streamed); err != nil {
		if closing != nil {
			_ = closing.Get(m.context(), nil) // or it might close what the next attempt has restored
		}
		return round, err
	}
	if err := m.restore(&round, snapshot, closing); err != nil {
		return round, err
	}
	m.SeenWrites = seen
	return round, nil
}

// resolve finds the indices of this round. In the final round they are those
// that are blocked.
func (m *run) resolve(kind string) error {
	if kind == migration.RoundFinal {
		m.Indices = m.window.indices
		return nil
	}
	return m.attempt("find the plan's indices on the source", func(ctx workflow.Context) error {
		found, err := call[[]migration.Index](ctx, m.paced(quickCall("indices "+patterns(m.plan))), migration.ActivityResolveIndices, m.forActivities())
		if err == nil {
			m.Indices = found
		}
		return err
	})
}

// leftBehind names the indices that were restored and have left the source
// since; nothing if there are none.
func (m *run) leftBehind() string {
	var gone []string
	present := set(m.Indices)
	for _, name := range workflow.DeterministicKeys(m.Counters) {
		if !present[name] {
			gone = append(gone, name)
		}
	}
	const enough = 10
	if len(gone) > enough {
		return fmt.Sprintf("%s and %d more", strings.Join(gone[:enough], ", "), len(gone)-enough)
	}
	return strings.Join(gone, ", ")
}

// patterns shortens the plan's patterns to a summary: Temporal takes 200 bytes.
func patterns(plan migration.Plan) string {
	const enough = 150
	text := strings.Join(plan.Indices, ", ")
	if len(text) > enough {
		text = text[:enough] + " ..."
	}
	return text
}

// snapshot takes the round's snapshot on the source, and carries what is done of
// it meanwhile.
func (m *run) snapshot(round *migration.Round) (migration.Snapshot, *stream, error) {
	round.Snapshot = migration.SnapshotName(m.plan.Name, round.Number, round.Attempt)
	m.snapshotting = round.Snapshot
	var snapshot migration.Snapshot
	var streamed *stream
	watch := m.startWatch()
	err := m.attemptOr("take snapshot "+round.Snapshot, newSnapshot, func(ctx workflow.Context) error {
		streamed = m.follow(ctx, round.Snapshot)
		defer streamed.end(ctx)
		var err error
		snapshot, err = call[migration.Snapshot](ctx, m.paced(pollUntilDone("snapshot "+round.Snapshot)), migration.ActivityTakeSnapshot,
			migration.SnapshotRequest{Run: m.forActivities(), Snapshot: round.Snapshot, Indices: names(m.Indices)})
		round.SnapshotMillis = m.elapsed(watch)
		return err
	})
	if err != nil {
		return snapshot, nil, err
	}
	m.snapshotting = ""
	// Carrying to its end what was streamed is part of the copy.
	round.CopyMillis = m.elapsed(watch) - round.SnapshotMillis
	round.UUID = snapshot.UUID
	round.StartTimeMillis, round.EndTimeMillis = snapshot.StartMillis, snapshot.EndMillis
	round.BlobsStreamed, round.BytesStreamed = streamed.carried[snapshot.UUID].BlobsCopied, streamed.carried[snapshot.UUID].BytesCopied
	return snapshot, streamed, nil
}

// copy carries the snapshot's delta to OSS, proves it and publishes it.
func (m *run) copy(round *migration.Round, snapshot migration.Snapshot, streamed *stream) error {
	// What a failed or another snapshot's attempt has carried is worth a look.
	request := migration.CopyRequest{Run: m.forActivities(), Snapshot: snapshot, BaseGeneration: -1, Again: round.Attempt > 1}
	if m.Published != nil {
		request.BaseUUID, request.BaseGeneration = m.Published.UUID, m.Published.Generation
	}
	request.Carried = streamed.carried[snapshot.UUID].Carried
	watch := m.startWatch()
	err := m.attemptOr("copy snapshot "+snapshot.Name+" to OSS", newSnapshot, func(ctx workflow.Context) error {
		copied, err := m.ferry.carry(ctx, request)
		// What was carried before is looked at like anything else in OSS from now on.
		request.Again, request.Carried = true, nil
		if err != nil {
			return err
		}
		m.Published = &published{UUID: snapshot.UUID, Generation: copied.Generation}
		round.Generation = copied.Generation
		round.BlobsCopied, round.BytesCopied = copied.BlobsCopied+round.BlobsStreamed, copied.BytesCopied+round.BytesStreamed
		round.BlobsSkipped, round.BytesSkipped = copied.BlobsSkipped, copied.BytesSkipped
		return nil
	})
	round.CopyMillis += m.elapsed(watch)
	return err
}

// restore closes the target's indices, restores the snapshot over them and
// opens them again.
func (m *run) restore(round *migration.Round, snapshot migration.Snapshot, closing workflow.Future) error {
	watch := m.startWatch()
	if closing == nil || closing.Get(m.context(), nil) != nil {
		if err := m.closeTarget(); err != nil {
			return err
		}
	}
	m.beginRestore()
	err := m.attempt("restore snapshot "+snapshot.Name+" into the target", func(ctx workflow.Context) error {
		restored, err := call[migration.RestoreResult](ctx, m.paced(pollUntilDone("restore "+snapshot.Name)), migration.ActivityRestoreSnapshot,
			migration.RestoreRequest{Run: m.forActivities(), Snapshot: snapshot, Indices: m.Indices})
		round.BytesRestored, round.BytesReused = restored.BytesRestored, restored.BytesReused
		return err
	})
	if err != nil {
		return err
	}
	err = m.attempt("open the target's indices and count", func(ctx workflow.Context) error {
		opened, err := call[migration.OpenResult](ctx, m.paced(quickCall("open after "+snapshot.Name)), migration.ActivityOpenTarget,
			migration.IndicesRequest{Run: m.forActivities(), Indices: names(m.Indices)})
		if err != nil {
			return err
		}
		m.keepCounters(opened.Counters)
		return nil
	})
	if err != nil {
		return err
	}
	m.RestoreInDoubt, m.Begun = false, nil
	round.RestoreMillis = m.elapsed(watch)
	round.Indices = len(m.Indices)
	for _, index := range m.Indices {
		round.Docs += m.Counters[index.Name].Docs
	}
	return nil
}

// beginRestore remembers, before anything is restored, that the target is no
// longer what the counters say, and which indices were absent until now: closing
// the target made sure of that.
func (m *run) beginRestore() {
	m.RestoreInDoubt = true
	for _, index := range m.Indices {
		if _, restored := m.Counters[index.Name]; !restored {
			m.Begun = append(m.Begun, index.Name)
		}
	}
	slices.Sort(m.Begun)
	m.Begun = slices.Compact(m.Begun)
}

// closeAhead closes the target's indices while the final round is copied, when
// each moment counts. If that fails, closeTarget does it, and shows why it can't.
func (m *run) closeAhead(kind string) workflow.Future {
	if kind != migration.RoundFinal {
		return nil
	}
	return workflow.ExecuteActivity(workflow.WithActivityOptions(m.context(), m.paced(quickCall("close "+indexCount(len(m.Indices))))),
		migration.ActivityCloseTarget, m.closeRequest())
}

func (m *run) closeRequest() migration.CloseRequest {
	return migration.CloseRequest{
		Run: m.forActivities(), Indices: names(m.Indices), Expected: m.Counters, Begun: m.Begun, InDoubt: m.RestoreInDoubt,
	}
}

// closeTarget closes the indices that the last round restored, unless somebody
// wrote to them: then a person decides whether those writes may go.
func (m *run) closeTarget() error {
	request := m.closeRequest()
	return m.attempt("close the target's indices", func(ctx workflow.Context) error {
		err := do(ctx, m.paced(quickCall("close "+indexCount(len(m.Indices)))), migration.ActivityCloseTarget, request)
		if errorType(err) == migration.ErrorTargetWritten {
			request.AcceptWrites = true // for the next attempt, which only retry begins
		}
		return err
	})
}

// keepCounters remembers the target's counters after a restore. Those of
// indices that have left the source stay as they were.
func (m *run) keepCounters(counters migration.WriteCounters) {
	if m.Counters == nil {
		m.Counters = migration.WriteCounters{}
	}
	for _, name := range workflow.DeterministicKeys(counters) {
		m.Counters[name] = counters[name]
	}
}
