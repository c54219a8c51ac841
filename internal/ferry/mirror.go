package ferry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

const (
	// mirrorFolders are listed side by side: a shard's list of files is in memory for each.
	mirrorFolders = 8
	// mirrorHeld bounds the metadata objects that a mirror remembers while it copies data: some 40
	// MB. If there are more to copy, they are listed once more.
	mirrorHeld = 100_000
)

// mirror is a round on a repository of Elasticsearch 2.x. Its root gives neither ids nor
// generations, so a snapshot's name is all that tells one from another, and a delta can't be
// trusted to lie between two of them. Instead both sides are listed below indices/ and merged in
// the order of their keys: what isn't a proven copy is copied, by the rules of [mirror.copyObject],
// the data first, then the shards' metadata, then the indices'. What the snapshots to publish need
// is read from their lists of files on the way, shard by shard, and has to be in S3.
//
// Nothing is deleted: what only OSS has stays.
type mirror struct {
	*round
	plan *plan
	// shards and metadata, by key, are what the snapshots to publish have.
	shards   map[repository.ShardID]shardTask
	metadata map[string]bool

	// later are metadata objects to copy when all before them are there, by stage; spilled are the
	// stages that have too many.
	later   map[repository.Stage][]mirrorPair
	held    int
	spilled map[repository.Stage]bool
	// needed sums up the data blobs that the snapshots to publish need.
	needed migration.Tally
}

// mirrorPair is an object of S3 and what stands under its key in OSS.
type mirrorPair struct {
	sides.Pair
	class repository.Class
	// needed says that a snapshot can't be published without it.
	needed bool
}

// mirror copies and publishes what S3 has.
func (r *round) mirror(ctx context.Context) error {
	m := &mirror{
		round: r, plan: newPlan(r.paging, r.unlisted()), shards: map[repository.ShardID]shardTask{},
		metadata: map[string]bool{},
		later:    map[repository.Stage][]mirrorPair{}, spilled: map[repository.Stage]bool{},
	}
	return r.blame(ctx, m.plan, m.run(ctx))
}

func (m *mirror) run(ctx context.Context) error {
	if err := m.chooseNeeds(ctx); err != nil {
		return err
	}
	if err := m.withdraw(ctx); err != nil {
		return err
	}
	m.doing("copying")
	if err := m.pass(ctx, m.walkNeeded, m.copyData); err != nil {
		return err
	}
	m.result.BlobsSkipped = max(m.needed.Blobs-m.mirrored.Blobs, 0)
	m.result.BytesSkipped = max(m.needed.Bytes-m.mirrored.Bytes, 0)
	if m.to.Root == nil { // as in prove: a baseline rests on nothing before it
		m.doing("proving")
		if err := m.pass(ctx, m.walkNeeded, m.proveData); err != nil {
			return err
		}
	}
	m.doing("publishing")
	for _, stage := range []repository.Stage{repository.StageShards, repository.StageIndexMetadata} {
		if err := m.copyLater(ctx, stage); err != nil {
			return err
		}
	}
	return m.publishRootFolder(ctx)
}

// chooseNeeds finds the shards and the metadata that the snapshots to publish need.
func (m *mirror) chooseNeeds(ctx context.Context) error {
	if err := m.findShards(ctx, m.plan); err != nil {
		return err
	}
	for _, t := range m.plan.shards {
		m.shards[t.shard] = t
	}
	for _, uuid := range m.plan.snapshots {
		s, _ := m.from.Snapshot(uuid)
		for _, index := range m.from.IndicesOf(uuid) {
			key, err := repository.IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
			if err != nil {
				return err
			}
			m.metadata[key] = true
		}
	}
	return nil
}

// mirrorAction is what a pass does with an object of S3, at once or by submit.
type mirrorAction func(p mirrorPair, submit sides.Submit)

// mirrorWalk goes through the folder of an index and gives each object of S3 to act.
type mirrorWalk func(ctx context.Context, id string, act func(mirrorPair)) error

// pass goes once through both listings below indices/, some folders at once, and returns when all
// that was submitted is done.
func (m *mirror) pass(ctx context.Context, walk mirrorWalk, act mirrorAction) error {
	folders, err := m.folders(ctx)
	if err != nil {
		return err
	}
	return sides.WalkAndWork(ctx, m.concurrency, func(ctx context.Context, submit sides.Submit) error {
		return sides.InParallel(ctx, min(m.concurrency, mirrorFolders), folders,
			func(ctx context.Context, id string) error {
				return walk(ctx, id, func(p mirrorPair) { act(p, submit) })
			})
	})
}

// folders are the ids of the indices in S3, and of those that should be there.
func (m *mirror) folders(ctx context.Context) ([]string, error) {
	listed, _, err := m.s3.Indices(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, id := range listed {
		if _, err := repository.IndexPrefix(id); err == nil { // else nothing below it is of the repository
			ids[id] = true
		}
	}
	for shard := range m.shards {
		ids[shard.IndexID] = true
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// copyData copies data and puts metadata off.
func (m *mirror) copyData(p mirrorPair, submit sides.Submit) {
	if p.class.Stage() != repository.StageData {
		m.putOff(p)
		return
	}
	if p.needed {
		m.mu.Lock()
		m.needed.Add(p.Source.Size)
		m.mu.Unlock()
	}
	if p.Same() {
		return
	}
	m.progress(func(progress *migration.Progress) {
		progress.BlobsTotal++
		progress.BytesTotal += p.Source.Size
	})
	submit(func(ctx context.Context) error {
		skipped, err := m.copyObject(ctx, p)
		if err != nil || skipped {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.result.BlobsCopied++
		m.result.BytesCopied += p.Source.Size
		if p.needed {
			m.mirrored.Add(p.Source.Size)
		}
		return nil
	})
}

// copyObject copies an object of S3 unless OSS has a proven copy of it. Its listing may show that;
// else, as where S3 has got it in parts, the object in OSS tells of which version it is a copy.
// skipped says that nothing was to be copied, or that an object that nobody needs is gone: the tail
// of a delete at the source.
func (m *mirror) copyObject(ctx context.Context, p mirrorPair) (skipped bool, err error) {
	if p.Same() {
		return true, nil
	}
	b := sides.BlobOf(p.Source)
	b.Look = p.Target != nil && p.Target.Size == p.Source.Size
	stored, err := m.mover.CopyOne(ctx, b)
	if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished && !p.needed {
		return true, nil
	}
	return stored.Skipped, err
}

// putOff remembers a metadata object that OSS lacks for its stage.
func (m *mirror) putOff(p mirrorPair) {
	if p.Same() {
		return
	}
	stage := p.class.Stage()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.spilled[stage]:
	case m.held >= cmp.Or(m.paging.held, mirrorHeld):
		m.spilled[stage] = true
		m.held -= len(m.later[stage])
		delete(m.later, stage)
	default:
		m.later[stage] = append(m.later[stage], p)
		m.held++
	}
}

// copyLater copies the metadata of a stage.
func (m *mirror) copyLater(ctx context.Context, stage repository.Stage) error {
	if !m.spilled[stage] {
		return sides.InParallel(ctx, m.concurrency, m.later[stage], func(ctx context.Context, p mirrorPair) error {
			_, err := m.copyObject(ctx, p)
			return err
		})
	}
	return m.pass(ctx, m.walkListed, func(p mirrorPair, submit sides.Submit) {
		if p.class.Stage() == stage && !p.Same() {
			submit(func(ctx context.Context) error {
				_, err := m.copyObject(ctx, p)
				return err
			})
		}
	})
}

// proveData makes sure that OSS has a proven copy of a data blob that is needed.
func (m *mirror) proveData(p mirrorPair, submit sides.Submit) {
	if p.class.Stage() != repository.StageData || !p.needed {
		return
	}
	submit(func(ctx context.Context) error {
		ok, err := p.Same(), error(nil)
		if !ok && p.Target != nil {
			_, ok, err = m.mover.Present(ctx, sides.BlobOf(p.Source))
		}
		if err != nil {
			return err
		}
		if !ok {
			return m.conflict("the blob %s was removed or replaced after it was copied", p.Key)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.result.Proven++
		return nil
	})
}

// publishRootFolder copies what the root needs beside it, then the root. Of the snapshots that the
// root doesn't list nothing may stand in the root folder: Elasticsearch 2.x finds snapshots by
// listing it.
func (m *mirror) publishRootFolder(ctx context.Context) error {
	groups, err := repository.MetadataOf(m.from.Root, nil, nil)
	if err != nil {
		return err
	}
	for _, group := range groups {
		if group.Stage == repository.StageRoot {
			continue
		}
		err := sides.InParallel(ctx, m.concurrency, group.Objects,
			func(ctx context.Context, o repository.Object) error {
				return m.publishObject(ctx, m.plan, o)
			})
		if err != nil {
			return err
		}
	}
	return m.publishLegacyRoot(ctx)
}

// publishLegacyRoot is the commit. Its name is the same in each round, so an attempt that was given
// up must not come back and replace a newer one: it looks right before it writes. Should it do so
// anyway, the next round finds a root that lists less than it should, and publishes again.
func (m *mirror) publishLegacyRoot(ctx context.Context) error {
	if err := m.unmoved(ctx); err != nil {
		return err
	}
	if err := m.unlessPublished(ctx); err != nil {
		return err
	}
	if err := m.mover.Write(ctx, repository.LegacyRootKey, m.from.Data, m.from.ETag); err != nil {
		return err
	}
	data, _, err := m.oss.Read(ctx, repository.LegacyRootKey)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, m.from.Data) {
		return m.conflict("the root %s in OSS was replaced right after it was written", repository.LegacyRootKey)
	}
	m.result.Generation = m.from.Generation
	return nil
}

// unlessPublished makes sure that nobody else has published to OSS since the round began.
func (m *mirror) unlessPublished(ctx context.Context) error {
	to, err := m.readTarget(ctx, -1)
	if err != nil {
		return err
	}
	if (to.Root == nil) != (m.to.Root == nil) || !bytes.Equal(to.Data, m.to.Data) {
		return sides.ErrMoved // the next round finds out who it was
	}
	return nil
}
