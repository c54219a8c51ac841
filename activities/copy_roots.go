package activities

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// readSource reads the highest root index-N in S3 and keeps its bytes: those
// are published, whatever stands there by then.
func (j *copyJob) readSource(ctx context.Context) (sides.Side, error) {
	from, err := j.s3.ReadSide(ctx)
	if err != nil {
		return from, err
	}
	if !from.Found {
		return from, fail(migration.ErrorMissing, "copy the snapshot %s: there is no repository below %s in the S3 bucket %s",
			j.request.Snapshot.Name, j.request.SourceBasePath(), j.request.Plan.Source.Repository.Bucket)
	}
	if _, wrong := errors.AsType[*repository.FormatError](from.Flaw); wrong {
		return from, fail(migration.ErrorRepository, "copy the snapshot %s: %s in S3 can't be understood: %w", j.request.Snapshot.Name, from.Key(), from.Flaw)
	}
	return from, from.Flaw
}

// usable makes sure that the root in S3 lists the snapshot as a success, and
// finds the others that are.
func (j *copyJob) usable(ctx context.Context) error {
	var err error
	if j.success, err = j.successful(ctx, j.from.Root); err != nil {
		return j.blame(ctx, nil, err)
	}
	key, want := repository.RootIndexKey(j.from.Generation), j.request.Snapshot
	listed, ok := j.from.Snapshot(want.UUID)
	switch {
	case !ok || listed.Name != want.Name:
		return j.unusable("%s in S3 doesn't list it [%s]", key, want.UUID)
	case !slices.ContainsFunc(j.success, func(s repository.Snapshot) bool { return s.UUID == want.UUID }):
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
		data, _, err := j.s3.Read(ctx, key)
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
func (j *copyJob) readTarget(ctx context.Context) (sides.Side, error) {
	to, err := j.oss.ReadSide(ctx)
	if lost, ok := errors.AsType[*objectstore.Error](err); ok && errors.Is(err, sides.ErrMoved) {
		return to, lost // nothing takes a root of OSS away but somebody else
	}
	if err != nil {
		return to, err
	}
	if _, wrong := errors.AsType[*repository.FormatError](to.Flaw); wrong {
		return to, j.conflict("%s in OSS can't be understood: %v", to.Key(), to.Flaw)
	}
	return to, to.Flaw
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
	if j.from.Legacy() {
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
	case n == j.from.Generation && !bytes.Equal(j.to.Data, j.from.Data):
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
	return sides.InParallel(ctx, j.options.Concurrency, proven, func(ctx context.Context, s repository.Snapshot) error {
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
	for _, s := range j.success {
		if j.to.Root != nil {
			if known, ok := j.to.Snapshot(s.UUID); ok && known.State == s.State {
				continue
			}
		}
		uuids = append(uuids, s.UUID)
	}
	return uuids
}
