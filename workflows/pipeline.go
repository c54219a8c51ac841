package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// pipeline is a final round whose indices are cut into groups. Snapshot, copy and restore load
// three different machines: each of them works on one group at a time, and on the next one while
// the step behind it works on this one. Each group is a coroutine.
//
// A group that fails is set aside, and the others go on. When they have ended, it is repeated from
// the step that failed, as soon as that makes sense: at once if the failure may pass, or if another
// snapshot is taken without a person, else when a person has sent retry. What needs a person is
// shown from the beginning.
type pipeline struct {
	*run
	round  *migration.Round
	groups []*group
	// closing closes the target's indices, ahead of the first restore. close is its request: what
	// the target held before any group was restored.
	closing workflow.Future
	close   migration.CloseRequest
	// archived says that a restore brought settings that the target doesn't know.
	archived bool
}

// groupStep is what is to be done next with a group.
type groupStep int

const (
	takeGroup groupStep = iota
	copyGroup
	restoreGroup
	groupEnded
)

// group is a part of the final round's indices.
type group struct {
	number  int
	indices migration.IndexList
	next    groupStep
	// name is its snapshot's, which is for one attempt only.
	name     string
	snapshot migration.Snapshot
	// following copies what is done of the snapshot, until what came of it is in streamed.
	following *stream
	streamed  streamed
	// asked says that a snapshot of its name was asked for.
	asked bool
	// again says that OSS may have some of it already, begun that its restore was begun, and
	// acceptWrites that a person lets writes to the target go.
	again, begun, acceptWrites bool
	// files are those that its restore recovered.
	files *migration.RestoredFiles
	// failure is what it was set aside for in step, which failed so often.
	step     string
	failure  error
	failures int
	// after says that it was restored again because another group may have been in its way.
	after bool
	// retake says that another snapshot is taken without a person.
	retake bool
	// shown says that the failure is what the status shows.
	shown bool
}

// cutGroups cuts what takes part in a final round into groups, if that makes the window shorter;
// else there is none.
func (m *run) cutGroups(round migration.Round) ([]migration.IndexList, error) {
	if !m.shape.delta() || round.Kind != migration.RoundFinal || !m.window.armed() || m.mustClear() ||
		m.window.asked != "" {
		return nil, nil
	}
	prediction := m.measured(m.weights(m.taking)).Predict(round.Writes)
	if prediction.Groups < 2 {
		return nil, nil
	}
	if m.taking.Stored() || !m.SeenWritesOf.IsZero() {
		return m.cutStored(prediction.Groups)
	}
	var groups []migration.IndexList
	for _, members := range migration.CutGroups(m.weights(m.taking), prediction.Groups) {
		var of []migration.Index
		for _, i := range members {
			of = append(of, m.taking.Inline[i])
		}
		groups = append(groups, migration.ListIndices(of))
	}
	return groups, nil
}

// cutStored has a list cut that the workflow doesn't see.
func (m *run) cutStored(groups int) ([]migration.IndexList, error) {
	var cut migration.CutGroupsResult
	err := m.attempt("cut the indices into groups", func(ctx workflow.Context) error {
		var err error
		options := m.paced(quickCall("cut " + indexCount(m.taking.Len()) + " into groups"))
		cut, err = call[migration.CutGroupsResult](ctx, options, migration.ActivityCutGroups,
			migration.CutGroupsRequest{
				Run: m.forActivities(), Indices: m.taking.Inline, IndicesOf: m.taking.Of(),
				Seen: m.SeenWrites, SeenOf: m.SeenWritesOf, Groups: groups,
			})
		return err
	})
	return cut.Groups, err
}

// weights tell how the writes are spread over indices. Of a list that the workflow doesn't see it
// takes them to be spread evenly over the indices of the last round.
func (m *run) weights(found migration.IndexList) []int64 {
	if found.Stored() || !m.SeenWritesOf.IsZero() {
		return slices.Repeat([]int64{1}, m.taking.Len())
	}
	return migration.DeltaWeights(found.Inline, m.SeenWrites)
}

// carryGroups snapshots, copies and restores the groups of a final round.
func (m *run) carryGroups(round *migration.Round, cut []migration.IndexList) error {
	ctx, watch := m.context(), m.startWatch()
	p := &pipeline{run: m, round: round, close: m.closeRequest()}
	for i, indices := range cut {
		g := &group{number: i + 1, indices: indices, again: round.Attempt > 1}
		p.groups = append(p.groups, g)
		if i > 0 {
			m.Attempt++
		}
		p.name(g)
	}
	defer m.stopShowing()
	m.step = "copy what was written in " + human.Things(len(cut), "group", "groups") + " of indices"
	m.show(ctx)
	all := workflow.NewWaitGroup(ctx)
	for _, g := range p.groups {
		all.Add(1)
		workflow.GoNamed(ctx, fmt.Sprintf("group %d of %d", g.number, len(cut)), func(ctx workflow.Context) {
			defer all.Done()
			p.carry(ctx, g)
		})
	}
	all.Wait(ctx)
	m.step = ""
	defer p.awaitRest(ctx)
	for _, g := range p.groups {
		if err := p.repeat(ctx, g); err != nil {
			return err
		}
	}
	m.givenUp = nil
	m.endRestore()
	m.hold(m.changed)
	for _, g := range p.groups {
		round.Files = round.Files.Add(g.files)
	}
	m.warnOfFiles(round.Files)
	m.window.doubt(p.archived)
	round.Snapshot, round.UUID = p.last().name, p.last().snapshot.UUID
	round.StartTimeMillis, round.EndTimeMillis = p.groups[0].snapshot.StartMillis, p.last().snapshot.EndMillis
	round.Groups, round.GroupedMillis = len(p.groups), m.elapsed(watch)
	round.Indices, round.Docs = m.Indices.Len(), m.docs(m.Indices)
	return nil
}

// awaitRest waits for what groups that failed have left under way. It might close what the next
// attempt has restored.
func (p *pipeline) awaitRest(ctx workflow.Context) {
	p.awaitClosing(p.closing)
	for _, g := range p.groups {
		if g.following != nil {
			g.following.under.Wait(ctx)
		}
	}
}

func (p *pipeline) last() *group { return p.groups[len(p.groups)-1] }

// name gives a group's next snapshot its name. Attempts are counted over all groups, so the name
// tells which of two snapshots of a round is the later one.
func (p *pipeline) name(g *group) {
	g.name = migration.GroupSnapshotName(p.plan.Name, p.round.Number, g.number, p.Attempt)
	g.asked = false
}

// carry takes a group through all steps, each as soon as no earlier group needs it any more, until
// one fails.
func (p *pipeline) carry(ctx workflow.Context, g *group) {
	for g.next < groupEnded {
		if workflow.Await(ctx, func() bool { return p.mayBegin(g) }) != nil || p.awaitResume(ctx) != nil {
			return
		}
		if g.failure = p.advance(ctx, g); g.failure == nil {
			continue
		}
		if !p.retakes(ctx, g) && ctx.Err() == nil && p.attention == nil {
			p.needs(ctx, describe(ctx, g.step, g.failure, g.failures))
			g.shown = true
		}
		return
	}
}

// mayBegin tells whether no earlier group needs what the next step of this one does. Those that
// failed need nothing until all others have ended.
func (p *pipeline) mayBegin(g *group) bool {
	return !slices.ContainsFunc(p.groups[:g.number-1], func(earlier *group) bool {
		return earlier.next <= g.next && earlier.failure == nil
	})
}

// repeat brings a group to its end that failed while the others went on.
func (p *pipeline) repeat(ctx workflow.Context, g *group) error {
	if g.next == groupEnded {
		return nil
	}
	for g.next < groupEnded {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.outdated(g.failure) {
			return errBlockAgain
		}
		if p.neededAnother(g) {
			g.failure = p.advance(ctx, g)
			continue
		}
		if g.retake {
			if err := p.pauseBefore(ctx); err != nil {
				return err
			}
		} else if err := p.park(ctx, g); err != nil {
			return err
		}
		if g.next == restoreGroup && newSnapshot(errorType(g.failure)) != nil {
			return errNewSnapshot // of indices that no group holds
		}
		if newSnapshot(errorType(g.failure)) != nil {
			p.Attempt++
			p.name(g)
			g.next, g.begun, g.retake = takeGroup, false, false
		}
		if err := p.awaitResume(ctx); err != nil {
			return err
		}
		g.failure = p.advance(ctx, g)
		for g.failure == nil && g.next < groupEnded {
			g.failure = p.advance(ctx, g)
		}
		p.retakes(ctx, g)
	}
	p.stopShowing()
	return nil
}

// retakes tells whether a group's snapshot was of no use and another one is taken without a person.
func (p *pipeline) retakes(ctx workflow.Context, g *group) bool {
	g.retake = g.next == takeGroup && p.ofNoUse(ctx, g.name, g.failure)
	return g.retake
}

// neededAnother tells whether a group is to be restored again without a person: an alias may have
// got its write index from another group, which is restored now.
func (p *pipeline) neededAnother(g *group) bool {
	if g.after || g.next != restoreGroup || newSnapshot(errorType(g.failure)) == nil {
		return false
	}
	if g.after = true; g.shown {
		g.shown = false
		p.stopShowing()
	}
	return true
}

// park waits for a person if a group's failure needs one.
func (p *pipeline) park(ctx workflow.Context, g *group) error {
	if !g.shown {
		return p.course.failed(ctx, describe(ctx, g.step, g.failure, g.failures))
	}
	g.shown = false
	if keepsFailing(g.failure) {
		return ctx.Err()
	}
	return p.awaitRetry(ctx) // or it has come already
}

// advance does the next step of a group.
func (p *pipeline) advance(ctx workflow.Context, g *group) error {
	ctx = p.bounded(ctx)
	var err error
	switch g.next {
	case takeGroup:
		g.step, err = "take snapshot "+g.name, p.take(ctx, g)
	case copyGroup:
		g.step, err = "copy snapshot "+g.name+" to OSS", p.copy(ctx, g)
	case restoreGroup:
		g.step, err = "restore snapshot "+g.name+" into the target", p.restore(ctx, g)
	case groupEnded:
	}
	if err != nil {
		g.failures++
		return err
	}
	g.next++
	g.failures = 0
	return nil
}

// take takes a group's snapshot, and copies what is done of it while it runs.
func (p *pipeline) take(ctx workflow.Context, g *group) error {
	if p.snapshotting != "" && p.snapshotting != g.name {
		p.givenUp = append(p.givenUp, p.snapshotting)
	}
	p.snapshotting = g.name
	watch := p.startWatch()
	following := p.follow(ctx, g.name)
	options := p.paced(pollUntilDone("snapshot " + g.name))
	snapshot, err := call[migration.Snapshot](ctx, options, migration.ActivityTakeSnapshot,
		migration.SnapshotRequest{
			Run: p.forActivities(), Snapshot: g.name, Indices: g.indices.Names(), IndicesOf: g.indices.Of(),
			New: !g.asked, PrimariesMillis: p.primariesMillis(), Frozen: true,
		})
	g.asked = true
	if err == nil && p.snapshotting == g.name {
		p.snapshotting = ""
	}
	p.round.SnapshotMillis += p.elapsed(watch)
	following.stop()
	if err != nil {
		following.under.Wait(ctx)
		return err
	}
	if snapshot.Earlier { // a run that was reset has taken it, before this one has read the marks
		p.leaveUnclaimed(ctx, g.name)
		p.Attempt++
		p.name(g)
		return p.take(ctx, g)
	}
	g.snapshot = snapshot
	// What is being copied is copied to its end while the next group's snapshot begins.
	g.following = following
	return nil
}

// copy copies a group's delta to OSS, proves it and publishes it.
func (p *pipeline) copy(ctx workflow.Context, g *group) error {
	if p.closing == nil {
		p.closing = p.closeAhead(p.round.Kind)
	}
	watch := p.startWatch()
	defer func() { p.round.CopyMillis += p.elapsed(watch) }()
	if g.following != nil {
		g.following.under.Wait(ctx)
		g.streamed = g.following.copied[g.snapshot.UUID]
		p.round.BlobsStreamed += g.streamed.blobs
		p.round.BytesStreamed += g.streamed.bytes
		p.round.BlobsCopied += g.streamed.blobs
		p.round.BytesCopied += g.streamed.bytes
		g.following = nil
	}
	base := p.base()
	request := migration.CopyRequest{
		Run: p.forActivities(), Snapshot: g.snapshot, BaseUUID: base.UUID, BaseGeneration: base.Generation,
		Again: g.again, Carried: g.streamed.carried, CarriedOf: g.streamed.carriedOf,
	}
	for _, later := range p.groups[g.number:] {
		request.Later = append(request.Later, later.name)
	}
	copied, err := p.copying.copySnapshot(ctx, request)
	// What was copied before is treated like anything else in OSS from now on.
	g.again, g.streamed = true, streamed{}
	if err != nil {
		return err
	}
	p.Published = &published{UUID: g.snapshot.UUID, Generation: copied.Generation}
	p.round.Generation = copied.Generation
	p.round.BlobsCopied += copied.BlobsCopied
	p.round.BytesCopied += copied.BytesCopied
	p.round.BlobsSkipped += copied.BlobsSkipped
	p.round.BytesSkipped += copied.BytesSkipped
	return nil
}

// restore restores a group into the target and opens it.
func (p *pipeline) restore(ctx workflow.Context, g *group) error {
	watch := p.startWatch()
	defer func() { p.round.RestoreMillis += p.elapsed(watch) }()
	if g.begun || p.closing == nil || p.closing.Get(ctx, nil) != nil {
		if err := p.shut(ctx, g); err != nil {
			return err
		}
	}
	if !g.begun {
		p.beginRestore(g.indices)
		p.doubt(g.indices)
		g.begun = true
	}
	restored, err := call[migration.RestoreResult](ctx, p.paced(pollUntilDone("restore "+g.name)),
		migration.ActivityRestoreSnapshot, migration.RestoreRequest{
			Run: p.forActivities(), Snapshot: g.snapshot,
			Indices: g.indices.Inline, IndicesOf: g.indices.Of(), IgnoreSettings: p.UnknownSettings,
			Files: true, Frozen: true,
		})
	if err != nil {
		return err
	}
	p.round.BytesRestored += restored.BytesRestored
	p.round.BytesReused += restored.BytesReused
	g.files = restored.Files
	opened, err := call[migration.OpenResult](ctx, p.paced(quickCall("open after "+g.name)),
		migration.ActivityOpenTarget, p.openRequest(g.indices))
	if err != nil {
		return err
	}
	p.keep(opened)
	p.learn(opened.Archived)
	p.archived = p.archived || len(opened.Archived) > 0
	return nil
}

// shut closes a group's indices on the target, unless somebody wrote to them.
func (p *pipeline) shut(ctx workflow.Context, g *group) error {
	request := p.close
	request.Indices, request.IndicesOf = g.indices.Names(), g.indices.Of()
	request.InDoubt, request.AcceptWrites = request.InDoubt || g.begun, g.acceptWrites
	err := do(ctx, p.paced(quickCall("close "+indexCount(g.indices.Len()))), migration.ActivityCloseTarget, request)
	if errorType(err) == migration.ErrorTargetWritten {
		g.acceptWrites = true // for the next attempt, which only retry begins
	}
	return err
}
