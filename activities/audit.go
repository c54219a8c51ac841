package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

const (
	// auditTries is how often an audit begins again because a repository changed under it.
	auditTries = 3
	// auditIndices are looked at side by side: the list of a shard's blobs is in memory for each.
	auditIndices = 8
	// auditSmall is the size up to which two objects without comparable checksums are read to compare them.
	auditSmall = 1 << 20
)

// AuditRepositories compares the repository in OSS with the one in S3 and
// writes nothing. What it finds is the result, however bad: it fails only if the
// repositories can't be read, and with ErrorMissing if there is nothing to
// compare.
//
// The snapshots say which blobs are needed, both listings which are there. A
// blob is proven as the copy proves it: by an ETag that is the same MD5 on both
// sides, or by what the copy has recorded with it; a deep audit reads it. Its
// size alone proves nothing.
func (c *Copier) AuditRepositories(ctx context.Context, request migration.AuditRequest) (migration.AuditReport, error) {
	return perform(ctx, c, "reading both repositories", func(ctx context.Context, p *pulse) (migration.AuditReport, error) {
		run := request.Run()
		source, err := c.source(ctx, run)
		if err != nil {
			return migration.AuditReport{}, err
		}
		sink, err := c.sink(ctx, run)
		if err != nil {
			return migration.AuditReport{}, err
		}
		options := c.moving
		options.Concurrency = max(request.Plan.Copy.Concurrency, 1)
		var report migration.AuditReport
		for range auditTries {
			mover := transfer.New(source, sink, options)
			s3, oss := sides.Open(source, sink, mover, options.Retry)
			job := &auditJob{
				request: request, source: source, sink: sink, s3: s3, oss: oss, mover: mover, pulse: p, options: options,
				classes: map[repository.Class]*migration.AuditClass{}, broken: map[int]bool{},
			}
			report, err = job.run(ctx)
			if !errors.Is(err, sides.ErrMoved) {
				return report, err
			}
		}
		// A migration whose rounds are shorter than the audit would keep it from ever ending.
		report.Whole = false
		report.Problems = append(report.Problems, fmt.Sprintf("a repository changed while it was audited, %d times: pause the migration, then audit again", auditTries))
		return report, nil
	})
}

// auditJob is one look at both repositories.
type auditJob struct {
	request migration.AuditRequest
	source  objectstore.Source
	sink    objectstore.Sink
	s3, oss sides.Store
	mover   *transfer.Mover
	options transfer.Options
	pulse   *pulse
	// check begins what needs requests beside the listings, as many at once as the
	// plan allows. Its context outlives that of the listing.
	check sides.Submit

	from, to  sides.Side
	snapshots []auditedSnapshot
	indices   map[string]*auditedIndex

	mu      sync.Mutex
	report  migration.AuditReport
	classes map[repository.Class]*migration.AuditClass
	broken  map[int]bool // by number of the snapshot
}

// auditedSnapshot is a successful snapshot that either root lists.
type auditedSnapshot struct {
	repository.Snapshot
	root *repository.Root // which lists it: the source's, if both do
}

// auditedIndex is an index that audited snapshots have. metadata are the
// snapshots, by number, that need a metadata object.
type auditedIndex struct{ metadata map[string][]int }

func (j *auditJob) run(ctx context.Context) (migration.AuditReport, error) {
	j.pulse.set(migration.Progress{Doing: "reading both repositories"})
	j.report = migration.AuditReport{Plan: j.request.Plan.Name, Token: j.request.Token, Snapshot: j.request.Snapshot, Deep: j.request.Deep,
		SourceGeneration: -1, TargetGeneration: -1}
	if err := j.readRoots(ctx); err != nil {
		return j.report, err
	}
	if err := j.chooseSnapshots(ctx); err != nil {
		return j.report, err
	}
	j.compareRoots()
	j.pulse.set(migration.Progress{Doing: "comparing"})
	err := j.compare(ctx)
	j.conclude()
	for _, side := range []sides.Side{j.from, j.to} {
		if err == nil {
			err = side.Unchanged(ctx)
		}
	}
	return j.report, err
}

// listing is how many folders of indices are looked at side by side.
func (j *auditJob) listing() int { return min(j.options.Concurrency, auditIndices) }

func (j *auditJob) readRoots(ctx context.Context) (err error) {
	if j.from, err = j.s3.ReadSide(ctx); err != nil {
		return err
	}
	where := fmt.Sprintf("below %s in the S3 bucket %s", j.request.Run().SourceBasePath(), j.request.Plan.Source.Repository.Bucket)
	if !j.from.Found {
		return fail(migration.ErrorMissing, "audit: there is no repository %s: nothing to compare with", where)
	}
	if j.from.Root == nil {
		return fail(migration.ErrorRepository, "audit: %s %s can't be understood", j.from.Key(), where)
	}
	if j.to, err = j.oss.ReadSide(ctx); err != nil {
		return err
	}
	return j.completeRoots(ctx, where)
}

// either reads a metadata object from S3, or from OSS if S3 has none. It is nil
// if neither gives one: then the listings and comparisons tell why.
func (j *auditJob) either(ctx context.Context, key string) ([]byte, error) {
	for _, store := range []sides.Store{j.s3, j.oss} {
		data, _, err := store.Read(ctx, key)
		if err == nil {
			return data, nil
		}
		if !sides.Gone(err) && !sides.Damaged(err) {
			return nil, err
		}
	}
	return nil, nil
}

// chooseSnapshots finds the snapshots to look at, and their indices.
func (j *auditJob) chooseSnapshots(ctx context.Context) error {
	seen, asked := map[string]bool{}, false
	for _, root := range []*repository.Root{j.from.Root, j.to.Root} {
		if root == nil {
			continue
		}
		for _, s := range root.Snapshots {
			only := j.request.Snapshot
			if seen[s.UUID] || only != "" && only != s.Name && only != s.UUID {
				continue
			}
			seen[s.UUID], asked = true, true
			state, err := j.stateOf(ctx, s)
			if err != nil {
				return err
			}
			if state == repository.StateSuccess {
				j.snapshots = append(j.snapshots, auditedSnapshot{s, root})
			} else if only != "" {
				j.problem("the snapshot %s is %s: only successful ones are copied", s.Name, state)
			}
		}
	}
	if j.request.Snapshot != "" && !asked {
		return fail(migration.ErrorMissing, "audit: neither %s in S3 nor the root in OSS lists a snapshot %s", j.from.Key(), j.request.Snapshot)
	}
	j.report.SnapshotsChecked = len(j.snapshots)
	return j.chooseIndices()
}

// stateOf is a snapshot's state; roots before 5.3 give none. What can't be found
// out counts as a success: then its blobs must be there.
func (j *auditJob) stateOf(ctx context.Context, s repository.Snapshot) (repository.State, error) {
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

func (j *auditJob) chooseIndices() error {
	j.indices = map[string]*auditedIndex{}
	for n, s := range j.snapshots {
		for _, index := range s.root.IndicesOf(s.UUID) {
			key, err := repository.IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
			if err != nil {
				return err
			}
			known := j.indices[index.ID]
			if known == nil {
				known = &auditedIndex{metadata: map[string][]int{}}
				j.indices[index.ID] = known
			}
			known.metadata[key] = append(known.metadata[key], n)
		}
	}
	return nil
}

// compareRoots says what a cluster that reads OSS finds there.
func (j *auditJob) compareRoots() {
	j.report.SourceGeneration, j.report.TargetGeneration = j.from.Generation, j.to.Generation
	j.report.SourceRoot = j.from.Key()
	from, to := j.from.Key(), "the root"
	if j.to.Found {
		j.report.TargetRoot = j.to.Key()
		to = j.to.Key()
	}
	j.report.RootsEqual = j.to.Found && from == to && bytes.Equal(j.from.Data, j.to.Data)
	switch {
	case !j.to.Found:
		j.problem("there is no root index-N in OSS: nothing was published there")
		return
	case j.to.Root == nil:
		j.problem("%s in OSS can't be understood", to)
		return
	}
	if j.request.Snapshot != "" {
		for _, s := range j.snapshots {
			listed, ok := j.to.Snapshot(s.UUID)
			switch {
			case !ok || listed.Name != s.Name:
				j.problem("%s in OSS doesn't list the snapshot %s [%s]", to, s.Name, s.UUID)
			case listed.State != s.State:
				j.problem("%s in OSS says that the snapshot %s [%s] ended %v, in S3 it is %v", to, s.Name, s.UUID, listed.State, s.State)
			case !maps.Equal(indicesIn(s.root, s.Snapshot), indicesIn(j.to.Root, listed)):
				j.problem("%s in OSS gives the snapshot %s [%s] other indices than %s in S3, or other ids", to, s.Name, s.UUID, from)
			}
		}
		return
	}
	switch {
	case j.to.Generation > j.from.Generation:
		j.problem("%s stands in OSS, higher than %s in S3: a cluster reads that one", to, from)
	case j.to.Generation < j.from.Generation:
		j.problem("%s in OSS is older than %s in S3: what came after it is not published", to, from)
	case !j.report.RootsEqual:
		j.problem("%s in OSS is another than in S3", to)
	}
}

// indicesIn gives, by name, where a snapshot's indices stand.
func indicesIn(root *repository.Root, s repository.Snapshot) map[string]string {
	found := map[string]string{}
	for _, index := range root.IndicesOf(s.UUID) {
		found[index.Name] = index.ID + " " + s.IndexMetadataID(index.ID)
	}
	return found
}

func (j *auditJob) problem(format string, args ...any) {
	j.report.Problems = append(j.report.Problems, fmt.Sprintf(format, args...))
}

// compare goes through both repositories.
func (j *auditJob) compare(ctx context.Context) error {
	return sides.WalkAndWork(ctx, j.options.Concurrency, func(ctx context.Context, check sides.Submit) error {
		j.check = check
		return j.compareAll(ctx)
	})
}

func (j *auditJob) compareAll(ctx context.Context) error {
	if err := j.compareRootFolder(ctx); err != nil {
		return err
	}
	ids := map[string]bool{}
	for id := range j.indices {
		ids[id] = true
	}
	if j.request.Snapshot == "" {
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
	j.pulse.update(func(p *migration.Progress) { p.ShardsTotal = 0 })
	return sides.InParallel(ctx, j.listing(), slices.Sorted(maps.Keys(ids)), j.compareIndex)
}

// compareRootFolder compares the objects of the root folder but the root itself.
func (j *auditJob) compareRootFolder(ctx context.Context) error {
	needs, err := j.rootNeeds()
	if err != nil {
		return err
	}
	keys := maps.Clone(j.from.Objects)
	maps.Copy(keys, j.to.Objects)
	for key := range needs {
		keys[key] = objectstore.Object{}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		pair := sides.Pair{Key: key, Source: j.from.Object(key), Target: j.to.Object(key)}
		if n := needs[key]; n != nil {
			n.Pair = pair
			if err := j.compareRootObject(ctx, n); err != nil {
				return err
			}
		} else if j.request.Snapshot == "" {
			j.unneeded(pair)
		}
	}
	if j.request.Snapshot != "" {
		return nil
	}
	folder, err := j.oss.Folder(ctx, "")
	if err != nil {
		return err
	}
	for _, name := range folder.Folders {
		if name == repository.IndicesPrefix {
			continue
		}
		for o, err := range j.oss.Ordered(ctx, name) {
			if err != nil {
				return err
			}
			j.foreign([]objectstore.Object{o})
		}
	}
	return nil
}

// rootNeeds are the objects of the root folder that belong to what is audited.
func (j *auditJob) rootNeeds() (map[string]*auditNeed, error) {
	needs := map[string]*auditNeed{}
	for _, root := range []*repository.Root{j.from.Root, j.to.Root} {
		if root == nil {
			continue
		}
		groups, err := repository.MetadataOf(root, nil, nil)
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			for _, o := range group.Objects {
				// An older root of OSS is no need, and a snapshot that S3 lists as a failure isn't one.
				if needs[o.Key] == nil && (o.Class != repository.ClassRootIndex || root == j.from.Root) {
					needs[o.Key] = &auditNeed{class: o.Class, length: -1, optional: o.Optional}
				}
			}
		}
	}
	own := map[string]bool{}
	for n, s := range j.snapshots {
		for _, key := range []func(string) (string, error){repository.SnapshotKey, repository.SnapshotMetadataKey} {
			k, err := key(s.UUID)
			if err != nil {
				return nil, err
			}
			if need := needs[k]; need != nil {
				need.snapshots, need.optional, own[k] = append(need.snapshots, n), false, true
			}
		}
	}
	if j.request.Snapshot != "" {
		maps.DeleteFunc(needs, func(key string, _ *auditNeed) bool { return !own[key] })
	}
	return needs, nil
}

func (j *auditJob) compareRootObject(ctx context.Context, n *auditNeed) error {
	switch {
	case n.class == repository.ClassRootIndex:
		j.count(n)
		switch {
		case n.Target == nil:
			j.bad(n, missing, "the root that S3 has is not in OSS")
		case !j.report.RootsEqual && j.to.Generation == j.from.Generation:
			j.bad(n, different, "its bytes are others than in S3")
		default:
			j.proven(n)
		}
		return nil
	case n.class == repository.ClassLatest && n.Target != nil:
		// The copy writes it anew: it goes with OSS's root, not with S3's object.
		j.count(n)
		data, _, err := j.mover.ReadBack(ctx, n.Key, auditSmall)
		if err != nil && !sides.Gone(err) && !sides.Damaged(err) {
			return err
		}
		if bytes.Equal(data, repository.EncodeLatest(j.to.Generation)) {
			j.proven(n)
		} else {
			j.bad(n, different, "it doesn't name the highest root in OSS")
		}
		return nil
	}
	return j.judge(ctx, n)
}
