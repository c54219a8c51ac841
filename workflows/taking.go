package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// takenSnapshot is a snapshot that can be copied and restored: it has ended, or it is published because
// the root in S3 lists it.
type takenSnapshot struct {
	snapshot migration.Snapshot
	streamed streamed
	// taking is the activity that waits for its end; nil if it has ended.
	taking *takingSnapshot
}

// takingSnapshot is a round's snapshot that is being taken on the source.
type takingSnapshot struct {
	*run
	round *migration.Round
	// asked says that the source was asked for it, or may have been. ahead says that it has accepted
	// the request of the look at the blocked source.
	asked, ahead bool
	// ended is the activity under way. confirmed is set once it has said that the snapshot is complete
	// which was restored, and unknown as long as it has failed without saying how that has ended.
	ended              workflow.Future
	confirmed, unknown bool
}

// takeSnapshot takes the round's snapshot on the source, and copies what is done of it while it
// runs. What is published before its end needs confirmEnd.
func (m *run) takeSnapshot(round *migration.Round) (takenSnapshot, error) {
	if err := m.pauseBefore(m.context()); err != nil {
		return takenSnapshot{}, err
	}
	round.Snapshot = migration.SnapshotName(m.plan.Name, round.Number, round.Attempt)
	m.snapshotting = round.Snapshot
	var snapshot migration.Snapshot
	var following *stream
	t, begun, watch := &takingSnapshot{run: m, round: round, asked: !m.shape.delta()}, false, m.startWatch()
	if w := m.window; w != nil && w.asked == round.Snapshot {
		t.asked, t.ahead, w.asked = true, true, ""
	}
	err := t.attempt("take snapshot "+round.Snapshot, func(ctx workflow.Context) error {
		following = m.follow(ctx, round.Snapshot)
		if round.Kind == migration.RoundFinal && m.shape.ahead() {
			request := m.copyRequest(*round, migration.Snapshot{Name: round.Snapshot})
			request.Again, request.Publish = request.Again || begun, m.shape.early()
			following.ahead = &request
		}
		var err error
		defer func() {
			following.end(ctx, err == nil)
			begun = begun || following.begun
		}()
		t.begin(ctx)
		if m.shape.early() {
			_ = workflow.Await(ctx, func() bool { return t.ended.IsReady() || following.ready.Early != nil })
		}
		if early := following.ready.Early; early != nil && !t.ended.IsReady() {
			snapshot = early.Snapshot
			round.SnapshotMillis = max(m.elapsed(watch)-early.Millis, 0)
			return nil
		}
		snapshot, err = t.end(ctx)
		round.SnapshotMillis = m.elapsed(watch)
		return err
	})
	if err != nil {
		t.awaitEnd()
		return takenSnapshot{}, err
	}
	if t.ended == nil {
		if err := t.settle(snapshot); err != nil {
			return takenSnapshot{}, err
		}
		t = nil
	}
	// To copy to its end what was streamed is part of the copy.
	round.CopyMillis = m.elapsed(watch) - round.SnapshotMillis
	round.UUID = snapshot.UUID
	round.StartTimeMillis, round.EndTimeMillis = snapshot.StartMillis, snapshot.EndMillis
	copied := following.copied[snapshot.UUID]
	copied.begun = begun
	if following.ready.UUID == snapshot.UUID {
		copied.ready = following.ready
	}
	round.BlobsStreamed, round.BytesStreamed = copied.blobs, copied.bytes
	return takenSnapshot{snapshot, copied, t}, nil
}

// heard takes the source's answer on how the snapshot has ended, if it has come. The error is
// errNewSnapshot if another one is taken without a person. What else is wrong confirmEnd finds.
func (s takenSnapshot) heard() error {
	t := s.taking
	if t == nil || t.ended == nil || !t.ended.IsReady() {
		return nil
	}
	ctx := t.context()
	snapshot, err := t.end(ctx)
	switch {
	case err == nil:
		return s.accept(snapshot)
	case t.ofNoUse(ctx, t.round.Snapshot, err):
		return errNewSnapshot
	}
	t.unknown = true
	return nil
}

// confirmEnd waits until the source says as well that the snapshot is complete which was restored
// before its end: until then nothing counts of that.
func (s takenSnapshot) confirmEnd() error {
	t := s.taking
	if t == nil || t.confirmed {
		return nil
	}
	var snapshot migration.Snapshot
	err := t.attempt("wait for the end of snapshot "+t.round.Snapshot, func(ctx workflow.Context) error {
		if t.ended == nil { // it has failed
			t.begin(ctx)
		}
		var err error
		snapshot, err = t.end(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return s.accept(snapshot)
}

// accept takes the snapshot that the source tells of, if it is the one that was restored: that may be
// lost, and taken again under its name.
func (s takenSnapshot) accept(told migration.Snapshot) error {
	err := s.taking.settle(told)
	if err == nil && told.UUID != s.snapshot.UUID {
		err = errNewSnapshot
	}
	s.taking.confirmed = err == nil
	return err
}

// awaitEnd waits for a snapshot that is of no use any more. Up to Elasticsearch 7.8 there can be no
// other one as long as it runs. nil is one that has ended.
func (t *takingSnapshot) awaitEnd() {
	switch {
	case t == nil || t.ended == nil && !t.unknown:
		return
	case t.ended == nil:
		t.giveUp()
		return
	}
	ctx := t.context()
	t.step = "wait for the end of snapshot " + t.round.Snapshot
	t.show(ctx)
	defer func() { t.step = "" }()
	snapshot, err := t.end(ctx)
	if err == nil {
		_ = t.settle(snapshot)
		return
	}
	if ctx.Err() == nil {
		_ = t.ofNoUse(ctx, t.round.Snapshot, err)
	}
	t.giveUp()
}

// giveUp remembers a snapshot that may run, and that nobody waits for any more.
func (t *takingSnapshot) giveUp() {
	t.snapshotting, t.givenUp = "", append(t.givenUp, t.round.Snapshot)
}

// attempt is a step that begins the round again if the snapshot is of no use.
func (t *takingSnapshot) attempt(step string, run func(workflow.Context) error) error {
	again := func(cause error) error {
		if t.ofNoUse(t.context(), t.round.Snapshot, cause) {
			return errNewSnapshot
		}
		return nil
	}
	return t.attemptUnless(step, again, newSnapshot, run)
}

// begin has an activity ask for the snapshot and wait for its end.
func (t *takingSnapshot) begin(ctx workflow.Context) {
	options := t.paced(pollUntilDone("snapshot " + t.round.Snapshot))
	t.ended = workflow.ExecuteActivity(withOptions(ctx, options), migration.ActivityTakeSnapshot,
		migration.SnapshotRequest{
			Run: t.forActivities(), Snapshot: t.round.Snapshot,
			Indices: t.run.taking.Names(), IndicesOf: t.run.taking.Of(), New: !t.asked, Asked: t.ahead,
			PrimariesMillis: t.primariesMillis(), Frozen: t.frozen(),
			// Another attempt looks before it asks.
			AtOnce: t.round.Kind == migration.RoundFinal && t.round.Attempt == 1,
		})
	t.ahead = false // another activity looks
}

// end waits for the end of that activity.
func (t *takingSnapshot) end(ctx workflow.Context) (snapshot migration.Snapshot, err error) {
	err = t.ended.Get(ctx, &snapshot)
	t.ended, t.asked, t.unknown = nil, true, false
	return snapshot, err
}

// settle notes that the snapshot has ended. One that can't be known for this round's is of no use: a
// run that was reset has taken it, before this one has read the marks; or the answer to the first
// request was lost.
func (t *takingSnapshot) settle(snapshot migration.Snapshot) error {
	t.snapshotting = ""
	if snapshot.Earlier {
		t.leaveUnclaimed(t.context(), t.round.Snapshot)
		return errNewSnapshot
	}
	return nil
}
