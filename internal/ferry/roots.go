package ferry

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

// readSource reads the highest root index-N in S3 and keeps its bytes: those are published,
// whatever stands there by then. It is fast if that is the expected one.
func (j *job) readSource(ctx context.Context, expected int64) (sides.Side, error) {
	from, err := j.s3.ReadSideExpecting(ctx, expected)
	if err != nil {
		return from, err
	}
	if !from.Found {
		return from, failed(Missing, "copy the snapshot %s: there is no repository below %s in the S3 bucket %s",
			j.snapshot.Name, j.run.SourceBasePath(), j.run.Plan.Source.Repository.Bucket)
	}
	if _, wrong := errors.AsType[*repository.FormatError](from.Flaw); wrong {
		return from, failed(Damaged, "copy the snapshot %s: %s in S3 can't be understood: %v",
			j.snapshot.Name, from.Key(), from.Flaw)
	}
	return from, from.Flaw
}

// usable makes sure that the root in S3 lists the snapshot as a success, and finds the others that
// are.
func (r *round) usable(ctx context.Context) error {
	var err error
	if r.success, err = r.successful(ctx, r.from.Root); err != nil {
		return r.blame(ctx, newPlan(r.paging, nil), err)
	}
	key, want := repository.RootIndexKey(r.from.Generation), r.snapshot
	listed, ok := r.from.Snapshot(want.UUID)
	switch {
	case !ok || listed.Name != want.Name:
		return r.unusable("%s in S3 doesn't list it [%s]", key, want.UUID)
	case !slices.ContainsFunc(r.success, func(s repository.Snapshot) bool { return s.UUID == want.UUID }):
		return r.unusable("its state in %s is %s", key, listed.State)
	}
	return nil
}

// successful are the snapshots in state SUCCESS. Roots before 5.3 give no states: then the
// snapshots themselves tell. Those that OSS lists already need not be asked: nothing of them is
// missing.
func (r *round) successful(ctx context.Context, root *repository.Root) ([]repository.Snapshot, error) {
	if root.Generation < 0 {
		return r.completed(ctx, root)
	}
	success := root.Successful()
	for _, s := range root.Snapshots {
		if s.State != repository.StateUnknown || s.UUID != r.snapshot.UUID && r.listed(s) {
			continue
		}
		info, err := r.snapshotInfo(ctx, s.UUID)
		if err != nil {
			return nil, err
		}
		if info.State == repository.StateSuccess {
			success = append(success, s)
		}
	}
	return success, nil
}

// snapshotInfo is what S3's snapshot tells of itself.
func (j *job) snapshotInfo(ctx context.Context, uuid string) (*repository.SnapshotInfo, error) {
	key, err := repository.SnapshotKey(uuid)
	if err != nil {
		return nil, err
	}
	data, _, err := j.s3.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	info, err := repository.ParseSnapshotInfo(data)
	return info, parsed(key, err)
}

// readTarget reads the highest root index-N in OSS. It is fast if that is the expected one.
func (j *job) readTarget(ctx context.Context, expected int64) (sides.Side, error) {
	to, err := j.oss.ReadSideExpecting(ctx, expected)
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

// compareRoots makes sure that OSS holds what the last publish left there, or nothing, and tells
// whether this snapshot is published already.
func (r *round) compareRoots() (published bool, err error) {
	base, want := r.request.BaseUUID, r.snapshot
	if r.from.Legacy() {
		return r.compareLegacyRoots()
	}
	if r.to.Root == nil {
		if base != "" {
			return false, r.conflict("index-%d of the last round is gone", r.request.BaseGeneration)
		}
		return false, nil
	}
	switch n := r.to.Generation; {
	case n > r.from.Generation:
		return false, r.conflict("index-%d in OSS is higher than index-%d in S3", n, r.from.Generation)
	case n == r.from.Generation && !bytes.Equal(r.to.Data, r.from.Data):
		return false, r.conflict("index-%d in OSS has other bytes than in S3", n)
	}
	if s, ok := r.to.Snapshot(want.UUID); ok && s.Name == want.Name {
		return true, nil // an earlier attempt, whose answer got lost
	}
	if base != "" {
		_, listed := r.to.Snapshot(base)
		_, kept := r.from.Snapshot(base)
		withdrawn := !listed && !kept && r.to.Generation > r.request.BaseGeneration
		if !listed && !withdrawn || r.to.Generation < r.request.BaseGeneration {
			return false, r.conflict("index-%d in OSS is neither index-%d of the last round nor a later root of this "+
				"migration",
				r.to.Generation, r.request.BaseGeneration)
		}
		if r.to.Generation == r.request.BaseGeneration {
			return false, nil
		}
	}
	// A copy may have published and been cancelled before the workflow heard of it, as the dead
	// man's switch does. Then S3 has all that OSS lists; what somebody else has published it
	// hasn't. But a snapshot of our own that was published right before its end may be gone from S3:
	// an abort or the dead man's switch stops what the cluster has not ended yet.
	for _, s := range r.to.Snapshots {
		known, ok := r.from.Snapshot(s.UUID)
		if _, ours := migration.TurnOf(r.run.Plan.Name, s.Name); !ok && ours {
			continue // see withdraw
		}
		if !ok || known.Name != s.Name {
			return false, r.conflict("index-%d in OSS lists the snapshot %s, which S3 doesn't have", r.to.Generation,
				s.Name)
		}
	}
	return false, nil
}

// missing are the successful snapshots that OSS doesn't list: this one, and any earlier one whose
// copy was never published.
func (r *round) missing() []string {
	var uuids []string
	for _, s := range r.success {
		if !r.listed(s) {
			uuids = append(uuids, s.UUID)
		}
	}
	return uuids
}

// listed tells whether OSS lists a snapshot of S3 as the same.
func (r *round) listed(s repository.Snapshot) bool {
	if r.to.Root == nil {
		return false
	}
	known, ok := r.to.Snapshot(s.UUID)
	return ok && known.State == s.State && known.SameMetadata(s)
}
