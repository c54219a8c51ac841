package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

const (
	// tries is how often an audit is begun, because a repository changed during each one.
	tries = 3
	// indicesAtOnce bounds the indices that are compared at the same time. For each of them the
	// objects of a shard are in memory.
	indicesAtOnce = 8
	// smallObject is the size in bytes up to which two data blobs without comparable checksums are
	// read to compare them.
	smallObject = 1 << 20
)

// Options of an audit. Source and Sink are required.
type Options struct {
	Source objectstore.Source // the repository in S3
	Sink   objectstore.Sink   // the repository in OSS; it is only read
	// Transfer is how objects are read. Its Concurrency, at least 1, bounds the requests at a time.
	// Its Progress is not used.
	Transfer transfer.Options
	// Progress is given changes of what people see of the work, from many goroutines. Default:
	// nobody sees them.
	Progress func(change func(*migration.Progress))
}

// Run compares both repositories. What it finds is the result, however bad.
//
// It fails with [Missing] if there is no repository in S3 or no such snapshot, with [Damaged] if
// the root in S3 can't be understood, and with [Refused] if it is that of Elasticsearch 1.x. A
// repository that changes during each of three tries is no error: the report has a problem that
// says so.
func Run(ctx context.Context, o Options, request migration.AuditRequest) (migration.AuditReport, error) {
	o.Transfer.Concurrency = max(o.Transfer.Concurrency, 1)
	o.Transfer.Progress = nil
	if o.Progress == nil {
		o.Progress = func(func(*migration.Progress)) {}
	}
	var report migration.AuditReport
	for range tries {
		var err error
		report, err = newJob(o, request).run(ctx)
		if !errors.Is(err, sides.ErrMoved) {
			return report, err
		}
	}
	// Rounds that are shorter than the audit would keep it from ever ending.
	report.Whole = false
	report.Problems = append(report.Problems, fmt.Sprintf("a repository changed while it was audited, %d times: "+
		"pause the migration, then audit again", tries))
	return report, nil
}

// job is one try to compare both repositories as they are when it begins.
type job struct {
	Options
	*tally
	request migration.AuditRequest
	s3, oss sides.Store
	mover   *transfer.Mover
	// submit begins work that needs requests beside the walk through the listings. Its context
	// outlives that of the walk.
	submit sides.Submit

	from, to  sides.Side
	snapshots []snapshot
	indices   map[string]*index // by id
}

// snapshot is a successful snapshot that a root lists.
type snapshot struct {
	repository.Snapshot
	root *repository.Root // which lists it: the source's, if both do
}

// index is an index of audited snapshots. Its metadata are the snapshots, by number, that need an
// object of metadata, by key.
type index struct{ metadata map[string][]int }

func newJob(o Options, request migration.AuditRequest) *job {
	mover := transfer.New(o.Source, o.Sink, o.Transfer)
	s3, oss := sides.Open(o.Source, o.Sink, mover, o.Transfer.Retry)
	return &job{Options: o, tally: newTally(request, o.Progress), request: request, s3: s3, oss: oss, mover: mover}
}

func (j *job) run(ctx context.Context) (migration.AuditReport, error) {
	j.doing("reading both repositories")
	if err := j.readRoots(ctx); err != nil {
		return j.report, err
	}
	if err := j.chooseSnapshots(ctx); err != nil {
		return j.report, err
	}
	if err := j.chooseIndices(); err != nil {
		return j.report, err
	}
	j.compareRoots()
	j.doing("comparing")
	err := j.compare(ctx)
	j.sumUp(j.snapshots)
	for _, side := range []sides.Side{j.from, j.to} {
		if err == nil {
			err = side.Unchanged(ctx)
		}
	}
	return j.report, err
}

// doing replaces what people see of the work.
func (j *job) doing(what string) {
	j.Progress(func(p *migration.Progress) { *p = migration.Progress{Doing: what} })
}

// everything says that the complete repositories are compared, not one snapshot of them.
func (j *job) everything() bool { return j.request.Snapshot == "" }

// indicesAtOnce is how many indices are compared at the same time.
func (j *job) indicesAtOnce() int { return min(j.Transfer.Concurrency, indicesAtOnce) }

// chooseSnapshots finds the snapshots to audit.
func (j *job) chooseSnapshots(ctx context.Context) error {
	seen := map[string]bool{}
	for _, root := range []*repository.Root{j.from.Root, j.to.Root} {
		if root == nil {
			continue
		}
		for _, s := range root.Snapshots {
			only := j.request.Snapshot
			if seen[s.UUID] || only != "" && only != s.Name && only != s.UUID {
				continue
			}
			seen[s.UUID] = true
			state, err := j.stateOf(ctx, s)
			if err != nil {
				return err
			}
			if state == repository.StateSuccess {
				j.snapshots = append(j.snapshots, snapshot{s, root})
			} else if only != "" {
				j.problem("the snapshot %s is %s: only successful ones are copied", s.Name, state)
			}
		}
	}
	if !j.everything() && len(seen) == 0 {
		return failed(Missing, "audit the snapshot %s: neither %s in S3 nor the root in OSS lists it",
			j.request.Snapshot, j.from.Key())
	}
	j.report.SnapshotsChecked = len(j.snapshots)
	return nil
}

// stateOf is a snapshot's state; roots before 5.3 give none. A state that can't be found out counts
// as a success: then its blobs must be there.
func (j *job) stateOf(ctx context.Context, s repository.Snapshot) (repository.State, error) {
	if s.State != repository.StateUnknown {
		return s.State, nil
	}
	key, err := repository.SnapshotKey(s.UUID)
	if err != nil {
		return s.State, err
	}
	data, err := j.either(ctx, key)
	if info, parse := repository.ParseSnapshotInfo(data); parse == nil {
		return info.State, nil
	}
	return repository.StateSuccess, err
}

// chooseIndices finds the indices of the snapshots to audit.
func (j *job) chooseIndices() error {
	j.indices = map[string]*index{}
	for n, s := range j.snapshots {
		for _, i := range s.root.IndicesOf(s.UUID) {
			key, err := repository.IndexMetadataKey(i.ID, s.IndexMetadataID(i.ID))
			if err != nil {
				return err
			}
			known := j.indices[i.ID]
			if known == nil {
				known = &index{metadata: map[string][]int{}}
				j.indices[i.ID] = known
			}
			known.metadata[key] = append(known.metadata[key], n)
		}
	}
	return nil
}

// compare goes through both repositories.
func (j *job) compare(ctx context.Context) error {
	return sides.WalkAndWork(ctx, j.Transfer.Concurrency, func(ctx context.Context, submit sides.Submit) error {
		j.submit = submit
		return j.compareAll(ctx)
	})
}

func (j *job) compareAll(ctx context.Context) error {
	if err := j.compareRootFolder(ctx); err != nil {
		return err
	}
	ids := map[string]bool{}
	for id := range j.indices {
		ids[id] = true
	}
	if j.everything() {
		inS3, _, err := j.s3.Indices(ctx)
		if err != nil {
			return err
		}
		inOSS, beside, err := j.oss.Indices(ctx)
		if err != nil {
			return err
		}
		for _, id := range slices.Concat(inS3, inOSS) {
			ids[id] = true
		}
		j.foreign(beside)
	}
	j.Progress(func(p *migration.Progress) { p.ShardsTotal = 0 })
	return sides.InParallel(ctx, j.indicesAtOnce(), slices.Sorted(maps.Keys(ids)), j.compareIndex)
}
