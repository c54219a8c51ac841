package activities

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// sourceRoot is the repository in S3 as a round found it.
type sourceRoot struct {
	*repository.Root
	data    []byte
	etag    string
	objects map[string]objectstore.Object // of the root folder
	success []repository.Snapshot         // those that must be whole before this root is published
}

// targetRoot is the repository in OSS as a round found it. Root is nil as long
// as nothing was published.
type targetRoot struct {
	*repository.Root
	data    []byte
	objects map[string]objectstore.Object
	// ours says that a copy has written it, not a cluster.
	ours bool
}

func rootFolder(ctx context.Context, j *copyJob, store objectstore.Reader) (objects map[string]objectstore.Object, latest int64, found bool, err error) {
	folder, err := retry(ctx, j, func() (objectstore.Folder, error) { return store.ListFolder(ctx, "") })
	if err != nil {
		return nil, 0, false, err
	}
	objects = map[string]objectstore.Object{}
	keys := make([]string, 0, len(folder.Objects))
	for _, o := range folder.Objects {
		objects[o.Key] = o
		keys = append(keys, o.Key)
	}
	latest, found = repository.LatestGeneration(keys)
	return objects, latest, found, nil
}

// readSource reads the highest root index-N in S3 and keeps its bytes: those
// are published, whatever stands there by then.
func (j *copyJob) readSource(ctx context.Context) (from sourceRoot, err error) {
	objects, generation, found, err := rootFolder(ctx, j, j.source)
	if err != nil {
		return from, err
	}
	from.objects = objects
	if generation, found = orLegacy(objects, generation, found); !found {
		return from, fail(migration.ErrorMissing, "copy the snapshot %s: there is no repository below %s in the S3 bucket %s",
			j.request.Snapshot.Name, j.request.SourceBasePath(), j.request.Plan.Source.Repository.Bucket)
	}
	key := repository.RootIndexKey(generation)
	data, info, err := j.mover.Read(ctx, key, metadataLimit)
	if lost, ok := errors.AsType[*transfer.Error](err); ok && lost.Kind == transfer.Vanished {
		return from, errMoved // between the listing and now
	}
	if err != nil {
		return from, err
	}
	from.data, from.etag = data, info.ETag
	if from.Root, err = repository.ParseRoot(generation, data); err != nil {
		return from, fail(migration.ErrorRepository, "copy the snapshot %s: %s in S3 can't be understood: %w", j.request.Snapshot.Name, key, err)
	}
	return from, nil
}

// usable makes sure that the root in S3 lists the snapshot as a success, and
// finds the others that are.
func (j *copyJob) usable(ctx context.Context) error {
	var err error
	if j.from.success, err = j.successful(ctx, j.from.Root); err != nil {
		return j.blame(ctx, nil, err)
	}
	key, want := repository.RootIndexKey(j.from.Generation), j.request.Snapshot
	listed, ok := j.from.Snapshot(want.UUID)
	switch {
	case !ok || listed.Name != want.Name:
		return j.unusable("%s in S3 doesn't list it [%s]", key, want.UUID)
	case !slices.ContainsFunc(j.from.success, func(s repository.Snapshot) bool { return s.UUID == want.UUID }):
		return j.unusable("its state in %s is %s", key, listed.State)
	}
	return nil
}

// successful are the snapshots in state SUCCESS. Roots before 5.3 give no
// states: then the snapshots themselves tell.
func (j *copyJob) successful(ctx context.Context, root *repository.Root) ([]repository.Snapshot, error) {
	if root.Generation < 0 {
		return j.completed(ctx, root)
	}
	success := root.Successful()
	for _, s := range root.Snapshots {
		if s.State != repository.StateUnknown {
			continue
		}
		key, err := repository.SnapshotKey(s.UUID)
		if err != nil {
			return nil, err
		}
		data, _, err := j.mover.Read(ctx, key, metadataLimit)
		if err != nil {
			return nil, err
		}
		info, err := repository.ParseSnapshotInfo(data)
		if err != nil {
			return nil, j.parse(key, err)
		}
		if info.State == repository.StateSuccess {
			success = append(success, s)
		}
	}
	return success, nil
}

// readTarget reads the highest root index-N in OSS.
func (j *copyJob) readTarget(ctx context.Context) (targetRoot, error) {
	objects, generation, found, err := rootFolder(ctx, j, j.sink)
	to := targetRoot{objects: objects}
	if err != nil {
		return to, err
	}
	if generation, found = orLegacy(objects, generation, found); !found {
		return to, nil
	}
	key := repository.RootIndexKey(generation)
	var info objectstore.Info
	if to.data, info, err = j.mover.ReadBack(ctx, key, metadataLimit); err != nil {
		return to, err
	}
	to.ours = leftByCopy(info)
	if to.Root, err = repository.ParseRoot(generation, to.data); err != nil {
		return to, j.conflict("%s in OSS can't be understood: %v", key, err)
	}
	return to, nil
}

// conflict says that the repository in OSS isn't what this migration left there.
func (j *copyJob) conflict(format string, args ...any) error {
	args = append([]any{j.request.Snapshot.Name, j.request.TargetBasePath(), j.request.Plan.Target.Repository.Bucket}, args...)
	return fail(migration.ErrorRepository, "publish the snapshot %s below %s in the OSS bucket %s: "+format, args...)
}

// compareRoots makes sure that OSS holds what the last publish left there, or
// nothing, and tells whether this snapshot is published already.
func (j *copyJob) compareRoots() (published bool, err error) {
	base, want := j.request.BaseUUID, j.request.Snapshot
	if j.from.legacy() {
		return j.compareLegacyRoots()
	}
	if j.to.Root == nil {
		if base != "" {
			return false, j.conflict("the index-%d of the last round is gone", j.request.BaseGeneration)
		}
		return false, nil
	}
	switch n := j.to.Generation; {
	case n > j.from.Generation:
		return false, j.conflict("index-%d stands there, which is higher than index-%d in S3", n, j.from.Generation)
	case n == j.from.Generation && !bytes.Equal(j.to.data, j.from.data):
		return false, j.conflict("index-%d there is another than in S3", n)
	}
	if s, ok := j.to.Snapshot(want.UUID); ok && s.Name == want.Name {
		return true, nil // an earlier attempt, whose answer got lost
	}
	if base != "" {
		_, listed := j.to.Snapshot(base)
		_, kept := j.from.Snapshot(base)
		withdrawn := !listed && !kept && j.to.Generation > j.request.BaseGeneration
		if !listed && !withdrawn || j.to.Generation < j.request.BaseGeneration {
			return false, j.conflict("index-%d there is neither the index-%d of the last round nor a later one of this migration", j.to.Generation, j.request.BaseGeneration)
		}
		if j.to.Generation == j.request.BaseGeneration {
			return false, nil
		}
	}
	// A copy may have published and been cancelled before the workflow heard of it, as the dead man's switch does. Then S3
	// has all that OSS lists; what somebody else has published it hasn't.
	for _, s := range j.to.Snapshots {
		if known, ok := j.from.Snapshot(s.UUID); !ok || known.Name != s.Name {
			return false, j.conflict("index-%d there lists the snapshot %s, which S3 doesn't have", j.to.Generation, s.Name)
		}
	}
	return false, nil
}

// chooseBase finds the newest snapshot whose blobs are known to be whole in OSS,
// because the root there lists it as a success. It must still be in S3: of one
// that is deleted, the blobs' names may be in use again, and an attempt that
// died may have written those to OSS. Any such snapshot is right, a newer one
// only leaves less to carry.
func (j *copyJob) chooseBase(ctx context.Context) error {
	j.base = ""
	if j.to.Root == nil {
		return nil
	}
	if known := j.request.BaseUUID; known != "" {
		if _, ok := j.from.Snapshot(known); ok {
			j.base = known
			if j.to.Generation == j.request.BaseGeneration {
				return nil // nothing was published after it
			}
		}
	}
	var proven []repository.Snapshot
	for _, s := range j.to.Successful() {
		if _, ok := j.from.Snapshot(s.UUID); ok {
			proven = append(proven, s)
		}
	}
	// The order within a root means nothing (5.5: a hash map's), so the snapshots tell their times.
	newest := int64(-1)
	return inParallel(ctx, j, proven, func(ctx context.Context, s repository.Snapshot) error {
		key, err := repository.SnapshotKey(s.UUID)
		if err != nil {
			return err
		}
		data, err := j.published(ctx, key)
		if err != nil {
			return err
		}
		info, err := repository.ParseSnapshotInfo(data)
		if err != nil {
			return j.conflict("%s there can't be understood: %v", key, err)
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if info.StartTime > newest {
			newest, j.base = info.StartTime, s.UUID
		}
		return nil
	})
}

// missing are the successful snapshots that OSS doesn't list: this one, and any
// earlier one whose copy was never published.
func (j *copyJob) missing() []string {
	var uuids []string
	for _, s := range j.from.success {
		if j.to.Root != nil {
			if known, ok := j.to.Snapshot(s.UUID); ok && known.State == s.State {
				continue
			}
		}
		uuids = append(uuids, s.UUID)
	}
	return uuids
}

// fence makes sure that the root in S3 is still the one that the round began
// with. Elasticsearch changes the root before it removes what the old one needs.
func (j *copyJob) fence(ctx context.Context) error {
	objects, generation, found, err := rootFolder(ctx, j, j.source)
	if err != nil {
		return err
	}
	generation, found = orLegacy(objects, generation, found)
	if !found || generation != j.from.Generation || objects[repository.RootIndexKey(generation)].ETag != j.from.etag {
		return errMoved
	}
	return nil
}
