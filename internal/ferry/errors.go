package ferry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
)

// Kind says what a failure means for whoever asked for the copy.
type Kind int

// The kinds. No retry gets over any of them but Moving.
const (
	Missing  Kind = iota + 1 // there is no repository in S3
	Unusable                 // the snapshot isn't complete in S3: another one is needed
	Damaged                  // the root in S3 can't be understood
	Conflict                 // the repository in OSS isn't what this migration left there
	Refused                  // the repository is one that can't be copied
	Moving                   // the repository in S3 changed in each round; that passes
)

var kindNames = [...]string{"", "missing", "unusable", "damaged", "conflict", "refused", "moving"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		k = 0
	}
	return kindNames[k]
}

// Error is a failure with a known meaning. Its message is a sentence: what was tried, on what, what
// came back.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

// KindOf is the kind of the first *Error in err's chain, 0 if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

func failed(kind Kind, format string, args ...any) error {
	return &Error{kind, fmt.Sprintf(format, args...)}
}

// unusable says that the snapshot can't be copied as it stands in S3. Since every successful
// snapshot of the repository goes along, the one to blame may be another.
func (j *job) unusable(format string, args ...any) error {
	return failed(Unusable, "copy the snapshot %s: %s", j.snapshot.Name, fmt.Sprintf(format, args...))
}

// conflict says that the repository in OSS isn't what this migration left there.
func (j *job) conflict(format string, args ...any) error {
	return failed(Conflict, "publish the snapshot %s below %s in the OSS bucket %s: %s",
		j.snapshot.Name, j.run.TargetBasePath(), j.run.Plan.Target.Repository.Bucket, fmt.Sprintf(format, args...))
}

// unreadable is an object of S3 that can't be understood. Its bytes were proven, so to read them
// again would not help. What that means for the copy, who has the root tells: see blame.
type unreadable struct {
	key string
	err error
}

func (e *unreadable) Error() string {
	return fmt.Sprintf("%s in S3 can't be understood: %v", e.key, e.err)
}

func (e *unreadable) Unwrap() error { return e.err }

// parsed tells which object a parser's error is about.
func parsed(key string, err error) error {
	if _, ok := errors.AsType[*repository.FormatError](err); ok {
		return &unreadable{key, err}
	}
	return err
}

// contradiction is a blob of which the snapshot needs other bytes than the base.
type contradiction struct{ key, base string }

func (e *contradiction) Error() string {
	return fmt.Sprintf("the snapshot and the base need different bytes of the blob %s", e.key)
}

// lostBlob tells whether an error says that a blob in S3 is gone or another by now.
func lostBlob(err error) (*transfer.Error, bool) {
	blob, ok := errors.AsType[*transfer.Error](err)
	return blob, ok && blob.Kind != transfer.Corrupt
}

// blame finds out what a failure means that has to do with an object in S3. If an object is lost or
// changed and the root has moved on, the copy begins again from the new one; else somebody has
// taken a snapshot apart.
func (r *round) blame(ctx context.Context, p *plan, err error) error {
	if bad, ok := errors.AsType[*unreadable](err); ok {
		return r.damaged(r.from, p, bad.key, bad)
	}
	if both, ok := errors.AsType[*contradiction](err); ok {
		s, _ := r.from.Snapshot(both.base)
		return r.unusable("it needs other bytes of the blob %s than the snapshot %s [%s], which S3 lists as well: "+
			"the blob was lost there and its name used again. %s can't be restored from S3 any more, "+
			"and from OSS only until the blob is copied. Delete that one at the source (DELETE _snapshot/%s/%s), "+
			"then retry",
			both.key, s.Name, s.UUID, s.Name, r.run.RepositoryName(), s.Name)
	}
	blob, ok := lostBlob(err)
	if !ok {
		return err
	}
	if moved := r.from.Unchanged(ctx); moved != nil {
		return moved
	}
	return r.takenApart(r.from, p, blob, err)
}

// blame does that for a page, which has read no root until now.
func (g *page) blame(ctx context.Context, p *plan, err error) error {
	if bad, ok := errors.AsType[*unreadable](err); ok {
		return g.unusable("%v", bad)
	}
	if both, ok := errors.AsType[*contradiction](err); ok {
		return fmt.Errorf("%w, which the plan had not: %w", both, sides.ErrMoved)
	}
	blob, ok := lostBlob(err)
	if !ok {
		return err
	}
	from, moved := g.readSameRoot(ctx)
	if moved != nil {
		return moved
	}
	return g.takenApart(from, p, blob, err)
}

// takenApart says what the loss or change of an object means while the root is the same.
func (j *job) takenApart(from sides.Side, p *plan, blob *transfer.Error, err error) error {
	if blob.Kind == transfer.Changed {
		return fmt.Errorf("%w: %w", sides.ErrMoved, err)
	}
	return j.damaged(from, p, blob.Key, fmt.Errorf("%w, while the repository still lists it", err))
}

// damaged is unusable because of an object that is lost or damaged. If it belongs to another
// snapshot of the repository, a new one of ours would fail like this one: then the error names the
// other and what to do about it.
func (j *job) damaged(from sides.Side, p *plan, key string, reason error) error {
	owners := ownersOf(from, p, key)
	if len(owners) == 0 ||
		slices.ContainsFunc(owners, func(s repository.Snapshot) bool { return s.UUID == j.snapshot.UUID }) {
		return j.unusable("%v", reason)
	}
	names := make([]string, len(owners))
	for i, s := range owners {
		names[i] = fmt.Sprintf("%s [%s]", s.Name, s.UUID)
	}
	return j.unusable("%v. It belongs to another snapshot of the repository, which must be copied as well: %s. "+
		"Delete that one at the source (DELETE _snapshot/%s/%s), then retry",
		reason, strings.Join(names, ", "), j.run.RepositoryName(), owners[0].Name)
}

// ownersOf finds the snapshots that need an object, as far as that is known.
func ownersOf(from sides.Side, p *plan, key string) []repository.Snapshot {
	k := repository.Classify(key)
	needs := func(repository.Snapshot) bool { return false }
	switch k.Class {
	case repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassShardSnapshot:
		needs = func(s repository.Snapshot) bool { return s.UUID == k.UUID }
	case repository.ClassIndexMetadata:
		needs = func(s repository.Snapshot) bool {
			return slices.ContainsFunc(from.IndicesOf(s.UUID), func(i repository.Index) bool {
				return i.ID == k.Shard.IndexID && s.IndexMetadataID(i.ID) == k.UUID
			})
		}
	case repository.ClassData:
		needs = func(s repository.Snapshot) bool { return p.lists(s.UUID, k) }
	}
	var owners []repository.Snapshot
	for _, s := range from.Snapshots {
		if needs(s) {
			owners = append(owners, s)
		}
	}
	return owners
}
