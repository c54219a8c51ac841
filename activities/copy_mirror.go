package activities

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
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
	keyPair
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
type mirrorAction func(p mirrorPair, submit func(work func(context.Context) error))

// pass goes once through both listings below indices/, some folders at once, and returns when all that was submitted is
// done. complete makes sure that the listing of S3 has all that is needed.
func (m *mirror) pass(ctx context.Context, complete bool, act mirrorAction) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	folders, err := m.folders(ctx)
	if err != nil {
		return err
	}
	work, working := errgroup.WithContext(ctx)
	work.SetLimit(m.options.Concurrency)
	submit := func(do func(context.Context) error) { work.Go(func() error { return do(working) }) }
	walk, walking := errgroup.WithContext(working)
	walk.SetLimit(min(m.options.Concurrency, mirrorFolders))
	for _, id := range folders {
		if walking.Err() != nil {
			break
		}
		walk.Go(func() error {
			f := mirrorFolder{mirror: m, id: id, complete: complete}
			return f.walk(walking, func(p mirrorPair) { act(p, submit) })
		})
	}
	err = walk.Wait()
	if err != nil {
		cancel()
	}
	// If what was submitted has failed, err is its cancellation.
	if err := firstReal(err, work.Wait()); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// folders are the ids of the indices in S3, and of those that should be there.
func (m *mirror) folders(ctx context.Context) ([]string, error) {
	folder, err := retry(ctx, m.copyJob, func() (objectstore.Folder, error) { return m.source.ListFolder(ctx, repository.IndicesPrefix) })
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, f := range folder.Folders {
		ids[f[len(repository.IndicesPrefix):len(f)-1]] = true
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

	shard *repository.ShardID
	// left are the shards still to come, expected the keys of the present one, with the length that the snapshots say or -1.
	left     map[repository.ShardID]bool
	expected map[string]int64
}

func (f *mirrorFolder) walk(ctx context.Context, act func(mirrorPair)) error {
	f.left = map[repository.ShardID]bool{}
	unseen := map[string]bool{}
	prefix, err := repository.IndexPrefix(f.id)
	if err != nil {
		return nil // no name that Elasticsearch gives: nothing below it is of the repository
	}
	if f.complete {
		for shard := range f.shards {
			if shard.IndexID == f.id {
				f.left[shard] = true
			}
		}
		for key := range f.metadata {
			if repository.Classify(key).Shard.IndexID == f.id {
				unseen[key] = true
			}
		}
	}
	for pair, err := range f.pairs(ctx, prefix) {
		if err != nil {
			return err
		}
		if pair.source == nil {
			continue // deleted at the source, which OSS doesn't follow
		}
		k := repository.Classify(pair.key)
		p := mirrorPair{keyPair: pair, class: k.Class}
		switch k.Class {
		case repository.ClassData, repository.ClassShardSnapshot, repository.ClassShardIndex:
			if p.needed, err = f.inShard(ctx, k, pair.source); err != nil {
				return err
			}
		case repository.ClassIndexMetadata:
			p.needed = f.metadata[pair.key]
			delete(unseen, pair.key)
		default:
			continue // unfinished writes, verification, and what Elasticsearch doesn't write
		}
		if act(p); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	for key := range unseen {
		return notListed(key)
	}
	return f.end(ctx)
}

// inShard tells whether an object of a shard is needed, after it has entered that shard.
func (f *mirrorFolder) inShard(ctx context.Context, k repository.Key, o *objectstore.Object) (needed bool, err error) {
	if !f.complete {
		return k.Class == repository.ClassShardSnapshot && slices.Contains(f.shards[k.Shard].snapshots, k.UUID), nil
	}
	if f.shard == nil || *f.shard != k.Shard {
		if err := f.enter(ctx, k.Shard); err != nil {
			return false, err
		}
	}
	length, needed := f.expected[o.Key]
	if needed && length >= 0 && length != o.Size {
		return false, vanished(o.Key, "it has %d bytes in S3, the snapshot says %d", o.Size, length)
	}
	delete(f.expected, o.Key)
	return needed, nil
}

// enter leaves the present shard and reads which blobs the snapshots to publish need of another.
func (f *mirrorFolder) enter(ctx context.Context, shard repository.ShardID) error {
	if err := f.leave(); err != nil {
		return err
	}
	f.shard, f.expected = &shard, map[string]int64{}
	if !f.left[shard] {
		return nil
	}
	delete(f.left, shard)
	t := f.shards[shard]
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

func (f *mirrorFolder) leave() error {
	for key := range f.expected {
		return notListed(key)
	}
	return nil
}

// end comes to the shards of which no key stands in S3.
func (f *mirrorFolder) end(ctx context.Context) error {
	for len(f.left) > 0 {
		for shard := range f.left {
			if err := f.enter(ctx, shard); err != nil {
				return err
			}
		}
	}
	return f.leave()
}

func notListed(key string) error { return vanished(key, "it is not in the listing of S3") }

func vanished(key, format string, args ...any) error {
	return &transfer.Error{Kind: transfer.Vanished, Key: key, Err: fmt.Errorf(format, args...)}
}

// copyData copies data and puts metadata off.
func (m *mirror) copyData(p mirrorPair, submit func(func(context.Context) error)) {
	if p.class.Stage() != repository.StageData {
		m.putOff(p)
		return
	}
	if p.needed {
		m.mu.Lock()
		m.needed.Add(p.source.Size)
		m.mu.Unlock()
	}
	if p.same() {
		return
	}
	m.pulse.update(func(progress *migration.Progress) {
		progress.BlobsTotal++
		progress.BytesTotal += p.source.Size
	})
	submit(func(ctx context.Context) error {
		skipped, err := m.carry(ctx, p)
		if err != nil || skipped {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.result.BlobsCopied++
		m.result.BytesCopied += p.source.Size
		if p.needed {
			m.mirrored.Add(p.source.Size)
		}
		return nil
	})
}

// same tells by the listings that OSS has the very bytes: both ETags are the same MD5. A counter in Elasticsearch 2.x
// gives names anew, often with the same length, so length and name prove nothing.
func (p keyPair) same() bool {
	return p.target != nil && p.source.Size == p.target.Size && objectstore.SameMD5(p.source.ETag, p.target.ETag)
}

// carry copies an object of S3 unless OSS has a proven copy of it. Its listing may show that; else, as where S3 has got
// it in parts, the object in OSS tells of which version it is a copy. skipped says that nothing was to be copied, or that an object
// that nobody needs is gone: the tail of a delete at the source.
func (j *copyJob) carry(ctx context.Context, p mirrorPair) (skipped bool, err error) {
	if p.same() {
		return true, nil
	}
	b := blobOf(p.source)
	b.Look = p.target != nil && p.target.Size == p.source.Size
	stored, err := j.mover.CopyOne(ctx, b)
	if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished && !p.needed {
		return true, nil
	}
	return stored.Skipped, err
}

// putOff remembers a metadata object that OSS lacks for its stage.
func (m *mirror) putOff(p mirrorPair) {
	if p.same() {
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
		return inParallel(ctx, m.copyJob, m.later[stage], func(ctx context.Context, p mirrorPair) error {
			_, err := m.carry(ctx, p)
			return err
		})
	}
	return m.pass(ctx, false, func(p mirrorPair, submit func(func(context.Context) error)) {
		if p.class.Stage() == stage && !p.same() {
			submit(func(ctx context.Context) error {
				_, err := m.carry(ctx, p)
				return err
			})
		}
	})
}

// proveData makes sure that OSS has a proven copy of a data blob that is needed.
func (m *mirror) proveData(p mirrorPair, submit func(func(context.Context) error)) {
	if p.class.Stage() != repository.StageData || !p.needed {
		return
	}
	submit(func(ctx context.Context) error {
		ok, err := p.same(), error(nil)
		if !ok && p.target != nil {
			_, ok, err = m.mover.Present(ctx, blobOf(p.source))
		}
		if err != nil {
			return err
		}
		if !ok {
			return m.conflict("the blob %s is gone or another since it was copied there", p.key)
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
		if err := inParallel(ctx, m.copyJob, group.Objects, func(ctx context.Context, o repository.Object) error { return m.publishObject(ctx, m.plan, o) }); err != nil {
			return err
		}
	}
	return m.publishLegacyRoot(ctx)
}

// publishLegacyRoot is the commit. Its name is the same in each round, so an attempt that was given up must not come back and
// replace a newer one: it looks right before it writes. Should it do so all the same, the next round finds a root that lists
// less than it should, and publishes anew.
func (m *mirror) publishLegacyRoot(ctx context.Context) error {
	if err := m.fence(ctx); err != nil {
		return err
	}
	data, info, err := m.mover.Read(ctx, repository.LegacyRootKey, metadataLimit)
	if gone(err) {
		return errMoved
	}
	if err != nil {
		return err
	}
	// Its bytes are the same again when a snapshot was deleted and another taken under its name. An object's header tells
	// seconds, a listing may tell more.
	before := m.from.objects[repository.LegacyRootKey]
	if !bytes.Equal(data, m.from.data) || !info.LastModified.Truncate(time.Second).Equal(before.LastModified.Truncate(time.Second)) {
		return errMoved
	}
	if err := m.unlessPublished(ctx); err != nil {
		return err
	}
	if err := m.mover.Write(ctx, repository.LegacyRootKey, m.from.data, m.from.etag); err != nil {
		return err
	}
	if data, _, err = m.mover.ReadBack(ctx, repository.LegacyRootKey, metadataLimit); err != nil {
		return err
	}
	if !bytes.Equal(data, m.from.data) {
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
	if (to.Root == nil) != (m.to.Root == nil) || !bytes.Equal(to.data, m.to.data) {
		return errMoved // the next round finds out who it was
	}
	return nil
}

// legacy tells whether the repository is one of Elasticsearch 2.x.
func (r sourceRoot) legacy() bool { return r.Root != nil && r.Generation < 0 }

func (r targetRoot) legacy() bool { return r.Root != nil && r.Generation < 0 }

// orLegacy finds the root of Elasticsearch 2.x where there is no index-N: 5.0 and later prefers one, even if the other is
// there (Elasticsearch 5.5: BlobStoreRepository.getRepositoryData).
func orLegacy(objects map[string]objectstore.Object, generation int64, found bool) (int64, bool) {
	if _, legacy := objects[repository.LegacyRootKey]; !found && legacy {
		return -1, true
	}
	return generation, found
}

// leftByCopy tells whether a small object in OSS was written by a copy, and is what that has written.
func leftByCopy(info objectstore.Info) bool {
	return info.Metadata[transfer.MetadataETag] != "" && info.Metadata[transfer.MetadataLength] == strconv.FormatInt(info.Size, 10) &&
		info.Metadata[transfer.MetadataCRC64] == strconv.FormatUint(info.CRC64, 10)
}

// completed reads what a root of Elasticsearch 2.x leaves to its snapshots' own objects, and gives those in state SUCCESS.
func (j *copyJob) completed(ctx context.Context, root *repository.Root) ([]repository.Snapshot, error) {
	infos, err := snapshotInfos(ctx, j, root, func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
		// Elasticsearch 1.x: snapshot-NAME.
		if _, old := j.from.objects["snapshot-"+s.Name]; old && j.from.objects[key].Key == "" {
			return nil, fail(migration.ErrorRefused, "copy the snapshot %s: the repository in S3 is of Elasticsearch 1.x, whose snapshots only 2.x restores", j.request.Snapshot.Name)
		}
		data, _, err := j.mover.Read(ctx, key, metadataLimit)
		return data, err
	})
	if err != nil {
		if wrong, ok := errors.AsType[*snapshotInfoError](err); ok {
			return nil, j.parse(wrong.key, wrong.err)
		}
		return nil, err
	}
	if err := root.Complete(infos); err != nil {
		return nil, j.parse(repository.RootIndexKey(root.Generation), err)
	}
	return root.Successful(), nil
}

// snapshotInfoError says that a snapshot's own object can't be understood.
type snapshotInfoError struct {
	key string
	err error
}

func (e *snapshotInfoError) Error() string { return e.key + ": " + e.err.Error() }

func (e *snapshotInfoError) Unwrap() error { return e.err }

// snapshotInfos reads the objects of all snapshots that a root lists. It leaves out those of which read gives nothing.
func snapshotInfos(ctx context.Context, j *copyJob, root *repository.Root, read func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error)) ([]*repository.SnapshotInfo, error) {
	infos := make([]*repository.SnapshotInfo, len(root.Snapshots))
	numbers := make([]int, len(root.Snapshots))
	for n := range numbers {
		numbers[n] = n
	}
	err := inParallel(ctx, j, numbers, func(ctx context.Context, n int) error {
		s := root.Snapshots[n]
		key, err := repository.SnapshotKey(s.UUID)
		if err != nil {
			return err
		}
		data, err := read(ctx, key, s)
		if err != nil || data == nil {
			return err
		}
		info, err := repository.ParseSnapshotInfo(data)
		if err == nil && info.Name != s.Name {
			err = &repository.FormatError{What: "snapshot info", Reason: fmt.Sprintf("it is that of another snapshot, %q", info.Name)}
		}
		if err != nil {
			return &snapshotInfoError{key, err}
		}
		infos[n] = info
		return nil
	})
	return slices.DeleteFunc(infos, func(info *repository.SnapshotInfo) bool { return info == nil }), err
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
	case !j.to.legacy():
		return false, j.conflict("index-%d stands there, which S3 doesn't have: a cluster on which the repository isn't readonly has written it", j.to.Generation)
	case !j.to.ours:
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
	for _, s := range j.from.success {
		if j.to.Root != nil {
			if _, ok := j.to.Snapshot(s.UUID); ok {
				continue
			}
		}
		uuids = append(uuids, s.UUID)
	}
	return uuids
}

// ordered lists a prefix and goes on behind the last key when the listing breaks
// off.
func (j *copyJob) ordered(ctx context.Context, store objectstore.Reader, prefix string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		last, stopped := "", false
		_, err := retry(ctx, j, func() (struct{}, error) {
			for o, err := range store.List(ctx, prefix) {
				if err != nil {
					return struct{}{}, err
				}
				if o.Key <= last {
					continue
				}
				last = o.Key
				if stopped = !yield(o, nil); stopped {
					break
				}
			}
			return struct{}{}, nil
		})
		if err != nil && !stopped {
			yield(objectstore.Object{}, err)
		}
	}
}

// pairs merges the listings of both sides.
func (j *copyJob) pairs(ctx context.Context, prefix string) iter.Seq2[keyPair, error] {
	return func(yield func(keyPair, error) bool) {
		nextSource, stopSource := iter.Pull2(j.ordered(ctx, j.source, prefix))
		defer stopSource()
		nextTarget, stopTarget := iter.Pull2(j.ordered(ctx, j.sink, prefix))
		defer stopTarget()
		s, sourceErr, more := nextSource()
		t, targetErr, moreTarget := nextTarget()
		for more || moreTarget {
			if err := cmp.Or(sourceErr, targetErr); err != nil {
				yield(keyPair{}, err)
				return
			}
			source, target := s, t
			var pair keyPair
			if more && (!moreTarget || source.Key <= target.Key) {
				pair.key, pair.source = source.Key, &source
			}
			if moreTarget && (!more || target.Key <= source.Key) {
				pair.key, pair.target = target.Key, &target
			}
			if pair.source != nil {
				s, sourceErr, more = nextSource()
			}
			if pair.target != nil {
				t, targetErr, moreTarget = nextTarget()
			}
			if !yield(pair, nil) {
				return
			}
		}
	}
}
