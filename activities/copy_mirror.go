package activities

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

const (
	// mirrorFolders are listed side by side: a shard's list of files is in memory for each.
	mirrorFolders = 8
	// mirrorHeld bounds the metadata objects that a mirror remembers while it copies data: some 40 MB. If there are
	// more to copy, they are listed once more.
	mirrorHeld = 100_000
)

// mirror is a round on a repository of Elasticsearch 2.x. Its root gives neither ids nor generations, so a snapshot's
// name is all that tells one from another, and a delta can't be trusted to lie between two of them. Instead both sides
// are listed below indices/ and merged in the order of their keys: what isn't a proven copy is copied, by the rules of
// [copyJob.carry], the data first, then the shards' metadata, then the indices'. What the snapshots to publish need is
// read from their lists of files meanwhile, shard by shard, and has to be in S3.
//
// Nothing is deleted: what only OSS has stays.
type mirror struct {
	*copyJob
	plan *copyPlan
	// shards and metadata, by key, are what the snapshots to publish have.
	shards   map[repository.ShardID]shardTask
	metadata map[string]bool

	// later are metadata objects to copy when all before them are there, by stage; spilled are the stages that have too many.
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
func (j *copyJob) mirror(ctx context.Context) error {
	m := &mirror{
		copyJob: j, plan: j.newPlan(j.unlisted()), shards: map[repository.ShardID]shardTask{}, metadata: map[string]bool{},
		later: map[repository.Stage][]mirrorPair{}, spilled: map[repository.Stage]bool{},
	}
	return j.blame(ctx, m.plan, m.run(ctx))
}

func (m *mirror) run(ctx context.Context) error {
	if err := m.chooseNeeds(ctx); err != nil {
		return err
	}
	if err := m.withdraw(ctx); err != nil {
		return err
	}
	m.doing("copying")
	if err := m.pass(ctx, true, m.copyData); err != nil {
		return err
	}
	m.result.BlobsSkipped = max(m.needed.Blobs-m.mirrored.Blobs, 0)
	m.result.BytesSkipped = max(m.needed.Bytes-m.mirrored.Bytes, 0)
	if m.to.Root == nil { // as in prove: a baseline rests on nothing before it
		m.doing("proving")
		if err := m.pass(ctx, true, m.proveData); err != nil {
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

// pass goes once through both listings below indices/, some folders at once, and returns when all that was submitted is
// done. complete makes sure that the listing of S3 has all that is needed.
func (m *mirror) pass(ctx context.Context, complete bool, act mirrorAction) error {
	folders, err := m.folders(ctx)
	if err != nil {
		return err
	}
	return sides.WalkAndWork(ctx, m.options.Concurrency, func(ctx context.Context, submit sides.Submit) error {
		return sides.InParallel(ctx, min(m.options.Concurrency, mirrorFolders), folders, func(ctx context.Context, id string) error {
			f := mirrorFolder{mirror: m, id: id, complete: complete}
			return f.walk(ctx, func(p mirrorPair) { act(p, submit) })
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
		ids[id] = true
	}
	for shard := range m.shards {
		ids[shard.IndexID] = true
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// mirrorFolder is a walk through the keys of an index in their order, one shard after the other.
type mirrorFolder struct {
	*mirror
	id       string
	complete bool

	// expected are the keys of the present shard that must come, with the length that the snapshots say or -1.
	expected map[string]int64
}

func (f *mirrorFolder) walk(ctx context.Context, act func(mirrorPair)) error {
	if _, err := repository.IndexPrefix(f.id); err != nil {
		return nil // no name that Elasticsearch gives: nothing below it is of the repository
	}
	var shards []repository.ShardID
	unseen := map[string]bool{}
	if f.complete {
		for shard := range f.shards {
			if shard.IndexID == f.id {
				shards = append(shards, shard)
			}
		}
		for key := range f.metadata {
			if repository.Classify(key).Shard.IndexID == f.id {
				unseen[key] = true
			}
		}
	}
	march := sides.March{Source: f.s3, Target: f.oss, Enter: f.enter, Leave: f.leave, See: func(ctx context.Context, pair sides.Pair, k repository.Key) (err error) {
		if pair.Source == nil {
			return nil // deleted at the source, which OSS doesn't follow
		}
		p := mirrorPair{Pair: pair, class: k.Class}
		switch k.Class {
		case repository.ClassData, repository.ClassShardSnapshot, repository.ClassShardIndex:
			if p.needed, err = f.inShard(k, pair.Source); err != nil {
				return err
			}
		case repository.ClassIndexMetadata:
			p.needed = f.metadata[pair.Key]
			delete(unseen, pair.Key)
		default:
			return nil // unfinished writes, verification, and what Elasticsearch doesn't write
		}
		act(p)
		return context.Cause(ctx)
	}}
	if err := march.Index(ctx, f.id, shards); err != nil {
		return err
	}
	for key := range unseen {
		return notListed(key)
	}
	return nil
}

// inShard tells whether an object of a shard is needed.
func (f *mirrorFolder) inShard(k repository.Key, o *objectstore.Object) (needed bool, err error) {
	if !f.complete {
		return k.Class == repository.ClassShardSnapshot && slices.Contains(f.shards[k.Shard].snapshots, k.UUID), nil
	}
	length, needed := f.expected[o.Key]
	if needed && length >= 0 && length != o.Size {
		return false, vanished(o.Key, "it has %d bytes in S3, the snapshot says %d", o.Size, length)
	}
	delete(f.expected, o.Key)
	return needed, nil
}

// enter reads which blobs the snapshots to publish need of a shard.
func (f *mirrorFolder) enter(ctx context.Context, shard repository.ShardID) error {
	f.expected = map[string]int64{}
	t, needed := f.shards[shard]
	if !f.complete || !needed {
		return nil
	}
	d, err := f.deltaOf(ctx, f.plan, t)
	if err != nil {
		return err
	}
	for _, b := range d.blobs {
		f.expected[b.Key] = b.Length
	}
	for _, uuid := range t.snapshots {
		key, err := repository.ShardSnapshotKey(shard, uuid)
		if err != nil {
			return err
		}
		f.expected[key] = -1
	}
	return nil
}

func (f *mirrorFolder) leave(context.Context, repository.ShardID) error {
	for key := range f.expected {
		return notListed(key)
	}
	return nil
}

func notListed(key string) error { return vanished(key, "it is not in the listing of S3") }

func vanished(key, format string, args ...any) error {
	return &transfer.Error{Kind: transfer.Vanished, Key: key, Err: fmt.Errorf(format, args...)}
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
	m.pulse.update(func(progress *migration.Progress) {
		progress.BlobsTotal++
		progress.BytesTotal += p.Source.Size
	})
	submit(func(ctx context.Context) error {
		skipped, err := m.carry(ctx, p)
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

// carry copies an object of S3 unless OSS has a proven copy of it. Its listing may show that; else, as where S3 has got
// it in parts, the object in OSS tells of which version it is a copy. skipped says that nothing was to be copied, or that an object
// that nobody needs is gone: the tail of a delete at the source.
func (j *copyJob) carry(ctx context.Context, p mirrorPair) (skipped bool, err error) {
	if p.Same() {
		return true, nil
	}
	b := sides.BlobOf(p.Source)
	b.Look = p.Target != nil && p.Target.Size == p.Source.Size
	stored, err := j.mover.CopyOne(ctx, b)
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
	case m.held >= cmp.Or(m.pages.held, mirrorHeld):
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
		return sides.InParallel(ctx, m.options.Concurrency, m.later[stage], func(ctx context.Context, p mirrorPair) error {
			_, err := m.carry(ctx, p)
			return err
		})
	}
	return m.pass(ctx, false, func(p mirrorPair, submit sides.Submit) {
		if p.class.Stage() == stage && !p.Same() {
			submit(func(ctx context.Context) error {
				_, err := m.carry(ctx, p)
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
			return m.conflict("the blob %s is gone or another since it was copied there", p.Key)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.result.Proven++
		return nil
	})
}

// publishRootFolder copies what the root needs beside it, then the root. Of the snapshots that the root doesn't list
// nothing may stand in the root folder: Elasticsearch 2.x finds snapshots by listing it.
func (m *mirror) publishRootFolder(ctx context.Context) error {
	groups, err := repository.MetadataOf(m.from.Root, nil, nil)
	if err != nil {
		return err
	}
	for _, group := range groups {
		if group.Stage == repository.StageRoot {
			continue
		}
		if err := sides.InParallel(ctx, m.options.Concurrency, group.Objects, func(ctx context.Context, o repository.Object) error { return m.publishObject(ctx, m.plan, o) }); err != nil {
			return err
		}
	}
	return m.publishLegacyRoot(ctx)
}

// publishLegacyRoot is the commit. Its name is the same in each round, so an attempt that was given up must not come back and
// replace a newer one: it looks right before it writes. Should it do so all the same, the next round finds a root that lists
// less than it should, and publishes anew.
func (m *mirror) publishLegacyRoot(ctx context.Context) error {
	if err := m.from.Unchanged(ctx); err != nil {
		return err
	}
	data, info, err := m.s3.Read(ctx, repository.LegacyRootKey)
	if sides.Gone(err) {
		return sides.ErrMoved
	}
	if err != nil {
		return err
	}
	// Its bytes are the same again when a snapshot was deleted and another taken under its name. An object's header tells
	// seconds, a listing may tell more.
	before := m.from.Objects[repository.LegacyRootKey]
	if !bytes.Equal(data, m.from.Data) || !info.LastModified.Truncate(time.Second).Equal(before.LastModified.Truncate(time.Second)) {
		return sides.ErrMoved
	}
	if err := m.unlessPublished(ctx); err != nil {
		return err
	}
	if err := m.mover.Write(ctx, repository.LegacyRootKey, m.from.Data, m.from.ETag); err != nil {
		return err
	}
	if data, _, err = m.oss.Read(ctx, repository.LegacyRootKey); err != nil {
		return err
	}
	if !bytes.Equal(data, m.from.Data) {
		return m.conflict("the root %s there was replaced right after it was written", repository.LegacyRootKey)
	}
	m.result.Generation = m.from.Generation
	return nil
}

// unlessPublished makes sure that nobody else has published to OSS since the round began.
func (m *mirror) unlessPublished(ctx context.Context) error {
	to, err := m.readTarget(ctx)
	if err != nil {
		return err
	}
	if (to.Root == nil) != (m.to.Root == nil) || !bytes.Equal(to.Data, m.to.Data) {
		return sides.ErrMoved // the next round finds out who it was
	}
	return nil
}

// leftByCopy tells whether a small object in OSS was written by a copy, and is what that has written.
func leftByCopy(info objectstore.Info) bool {
	return info.Metadata[transfer.MetadataETag] != "" && info.Metadata[transfer.MetadataLength] == strconv.FormatInt(info.Size, 10) &&
		info.Metadata[transfer.MetadataCRC64] == strconv.FormatUint(info.CRC64, 10)
}

// completed reads what a root of Elasticsearch 2.x leaves to its snapshots' own objects, and gives those in state SUCCESS.
func (j *copyJob) completed(ctx context.Context, root *repository.Root) ([]repository.Snapshot, error) {
	infos, err := sides.SnapshotInfos(ctx, j.options.Concurrency, root, func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
		if j.from.OfElasticsearch1(s, key) {
			return nil, fail(migration.ErrorRefused, "copy the snapshot %s: the repository in S3 is of Elasticsearch 1.x, whose snapshots only 2.x restores", j.request.Snapshot.Name)
		}
		data, _, err := j.s3.Read(ctx, key)
		return data, err
	})
	if err != nil {
		if wrong, ok := errors.AsType[*sides.InfoError](err); ok {
			return nil, j.parse(wrong.Key, wrong.Err)
		}
		return nil, err
	}
	if err := root.Complete(infos); err != nil {
		return nil, j.parse(repository.RootIndexKey(root.Generation), err)
	}
	return root.Successful(), nil
}

// completeTarget finds out the indices of the snapshot that is asked for from OSS.
func (j *copyJob) completeTarget(ctx context.Context) error {
	key, err := repository.SnapshotKey(j.request.Snapshot.UUID)
	if err != nil {
		return err
	}
	data, err := j.published(ctx, key)
	if err != nil {
		return err
	}
	info, err := repository.ParseSnapshotInfo(data)
	if err == nil {
		err = j.to.Complete([]*repository.SnapshotInfo{info})
	}
	if err == nil && len(j.to.IndicesOf(j.request.Snapshot.UUID)) == 0 {
		err = errors.New("it is that of another snapshot, or of none of the indices")
	}
	if err != nil {
		return j.conflict("%s there can't be understood: %v", key, err)
	}
	return nil
}

// compareLegacyRoots is compareRoots for a repository of Elasticsearch 2.x. Such a root has no generation, but what a copy
// writes carries its mark.
func (j *copyJob) compareLegacyRoots() (published bool, err error) {
	base, want := j.request.BaseUUID, j.request.Snapshot
	switch {
	case j.to.Root == nil && base != "":
		return false, j.conflict("the root %s of the last round is gone", repository.LegacyRootKey)
	case j.to.Root == nil:
		return false, nil
	case !j.to.Legacy():
		return false, j.conflict("index-%d stands there, which S3 doesn't have: a cluster on which the repository isn't readonly has written it", j.to.Generation)
	case !leftByCopy(j.to.Info):
		return false, j.conflict("the root %s there was not written by a copy", repository.LegacyRootKey)
	}
	if _, ok := j.to.Snapshot(want.UUID); ok {
		return true, nil // an earlier attempt, whose answer got lost
	}
	if _, ok := j.to.Snapshot(base); ok {
		return false, nil
	}
	// A publish that the workflow didn't hear of, or one that came late and replaced a newer root. What is copied doesn't
	// build on either, so only somebody else's is a conflict.
	for _, s := range j.to.Snapshots {
		if _, ok := j.from.Snapshot(s.UUID); !ok {
			return false, j.conflict("the root %s there doesn't list the snapshot of the last round, and lists %s, which S3 doesn't have", repository.LegacyRootKey, s.Name)
		}
	}
	return false, nil
}

// unlisted are the successful snapshots that the root in OSS doesn't list.
func (j *copyJob) unlisted() []string {
	var uuids []string
	for _, s := range j.success {
		if j.to.Root != nil {
			if _, ok := j.to.Snapshot(s.UUID); ok {
				continue
			}
		}
		uuids = append(uuids, s.UUID)
	}
	return uuids
}
