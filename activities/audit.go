package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
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
	return perform(ctx, c.beating, "reading both repositories", func(ctx context.Context, p *pulse) (migration.AuditReport, error) {
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
		listing := options
		listing.Concurrency = min(options.Concurrency, auditIndices)
		var report migration.AuditReport
		for range auditTries {
			job := &auditJob{
				request: request, source: source, sink: sink, pulse: p, options: options,
				mover: transfer.New(source, sink, options), lister: &copyJob{source: source, sink: sink, options: listing},
				classes: map[repository.Class]*migration.AuditClass{}, broken: map[int]bool{},
			}
			report, err = job.run(ctx)
			if !errors.Is(err, errMoved) {
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
	mover   *transfer.Mover
	options transfer.Options
	pulse   *pulse
	// lister lends the copy's way to list and to do things side by side.
	lister *copyJob
	// check begins what needs requests beside the listings, as many at once as the
	// plan allows. Its context outlives that of the listing.
	check func(func(ctx context.Context) error)

	from, to  auditedRoot
	snapshots []auditedSnapshot
	indices   map[string]*auditedIndex

	mu      sync.Mutex
	report  migration.AuditReport
	classes map[repository.Class]*migration.AuditClass
	broken  map[int]bool // by number of the snapshot
}

// auditedRoot is one side's root. Root is nil if there is none, or none that can
// be understood.
type auditedRoot struct {
	*repository.Root
	found      bool
	generation int64 // -1 if there is none, and of the root of 2.x
	data       []byte
	etag       string
	objects    map[string]objectstore.Object
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
	if err == nil {
		err = j.fence(ctx)
	}
	return j.report, err
}

func (j *auditJob) readRoots(ctx context.Context) (err error) {
	if j.from, err = j.readRoot(ctx, j.source, j.mover.Read); err != nil {
		return err
	}
	where := fmt.Sprintf("below %s in the S3 bucket %s", j.request.Run().SourceBasePath(), j.request.Plan.Source.Repository.Bucket)
	if !j.from.found {
		return fail(migration.ErrorMissing, "audit: there is no repository %s: nothing to compare with", where)
	}
	if j.from.Root == nil {
		return fail(migration.ErrorRepository, "audit: %s %s can't be understood", j.from.key(), where)
	}
	if j.to, err = j.readRoot(ctx, j.sink, j.mover.ReadBack); err != nil {
		return err
	}
	return j.completeRoots(ctx, where)
}

type readWhole func(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error)

// readRoot reads the highest root of a side. One that is damaged is none.
func (j *auditJob) readRoot(ctx context.Context, store objectstore.Reader, read readWhole) (auditedRoot, error) {
	objects, generation, found, err := rootFolder(ctx, j.lister, store)
	r := auditedRoot{objects: objects, generation: -1}
	if err != nil {
		return r, err
	}
	if generation, found = orLegacy(objects, generation, found); !found {
		return r, nil
	}
	r.found, r.generation = true, generation
	data, info, err := read(ctx, repository.RootIndexKey(generation), metadataLimit)
	if gone(err) {
		return r, errMoved // between the listing and now
	}
	if err != nil {
		return r, unlessDamaged(err)
	}
	r.data, r.etag = data, info.ETag
	if root, err := repository.ParseRoot(generation, data); err == nil {
		r.Root = root
	}
	return r, nil
}

// gone tells whether a read failed because there is no such object.
func gone(err error) bool {
	lost, ok := errors.AsType[*transfer.Error](err)
	return ok && lost.Kind == transfer.Vanished || objectstore.KindOf(err) == objectstore.NotFound
}

// unlessDamaged keeps an error that says nothing about the object: what can't be
// read unharmed, or is larger than such an object may be, is a finding instead.
func unlessDamaged(err error) error {
	if broken, ok := errors.AsType[*transfer.Error](err); ok && broken.Kind == transfer.Corrupt || objectstore.KindOf(err) == objectstore.Invalid {
		return nil
	}
	return err
}

// either reads a metadata object from S3, or from OSS if S3 has none. It is nil
// if neither gives one: then the listings and comparisons tell why.
func (j *auditJob) either(ctx context.Context, key string) ([]byte, error) {
	for _, read := range []readWhole{j.mover.Read, j.mover.ReadBack} {
		data, _, err := read(ctx, key, metadataLimit)
		if err == nil {
			return data, nil
		}
		if !gone(err) && unlessDamaged(err) != nil {
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
		return fail(migration.ErrorMissing, "audit: neither %s in S3 nor the root in OSS lists a snapshot %s", j.from.key(), j.request.Snapshot)
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
	j.report.SourceGeneration, j.report.TargetGeneration = j.from.generation, j.to.generation
	j.report.SourceRoot = j.from.key()
	from, to := j.from.key(), "the root"
	if j.to.found {
		j.report.TargetRoot = j.to.key()
		to = j.to.key()
	}
	j.report.RootsEqual = j.to.found && from == to && bytes.Equal(j.from.data, j.to.data)
	switch {
	case !j.to.found:
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
	case j.to.generation > j.from.generation:
		j.problem("%s stands in OSS, higher than %s in S3: a cluster reads that one", to, from)
	case j.to.generation < j.from.generation:
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	checks, working := errgroup.WithContext(ctx)
	checks.SetLimit(j.options.Concurrency)
	j.check = func(work func(context.Context) error) { checks.Go(func() error { return work(working) }) }
	err := j.compareAll(working)
	if err != nil {
		cancel()
	}
	// If a check has failed, err is its cancellation.
	return firstReal(err, checks.Wait())
}

// firstReal prefers an error that says something to the cancellation that followed from it.
func firstReal(a, b error) error {
	if a == nil || errors.Is(a, context.Canceled) && b != nil {
		return b
	}
	return a
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
		for _, store := range []objectstore.Reader{j.source, j.sink} {
			folder, err := retry(ctx, j.lister, func() (objectstore.Folder, error) { return store.ListFolder(ctx, repository.IndicesPrefix) })
			if err != nil {
				return err
			}
			for _, f := range folder.Folders {
				ids[f[len(repository.IndicesPrefix):len(f)-1]] = true
			}
			if store == objectstore.Reader(j.sink) {
				j.foreign(folder.Objects)
			}
		}
	}
	j.pulse.update(func(p *migration.Progress) { p.ShardsTotal = 0 })
	return inParallel(ctx, j.lister, slices.Sorted(maps.Keys(ids)), j.compareIndex)
}

// compareRootFolder compares the objects of the root folder but the root itself.
func (j *auditJob) compareRootFolder(ctx context.Context) error {
	needs, err := j.rootNeeds()
	if err != nil {
		return err
	}
	keys := maps.Clone(j.from.objects)
	maps.Copy(keys, j.to.objects)
	for key := range needs {
		keys[key] = objectstore.Object{}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		pair := keyPair{key: key, source: object(j.from.objects, key), target: object(j.to.objects, key)}
		if n := needs[key]; n != nil {
			n.keyPair = pair
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
	folder, err := retry(ctx, j.lister, func() (objectstore.Folder, error) { return j.sink.ListFolder(ctx, "") })
	if err != nil {
		return err
	}
	for _, name := range folder.Folders {
		if name == repository.IndicesPrefix {
			continue
		}
		for o, err := range j.lister.ordered(ctx, j.sink, name) {
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
		case n.target == nil:
			j.bad(n, missing, "the root that S3 has is not in OSS")
		case !j.report.RootsEqual && j.to.generation == j.from.generation:
			j.bad(n, different, "its bytes are others than in S3")
		default:
			j.proven(n)
		}
		return nil
	case n.class == repository.ClassLatest && n.target != nil:
		// The copy writes it anew: it goes with OSS's root, not with S3's object.
		j.count(n)
		data, _, err := j.mover.ReadBack(ctx, n.key, auditSmall)
		if err != nil && !gone(err) && unlessDamaged(err) != nil {
			return err
		}
		if bytes.Equal(data, repository.EncodeLatest(j.to.generation)) {
			j.proven(n)
		} else {
			j.bad(n, different, "it doesn't name the highest root in OSS")
		}
		return nil
	}
	return j.judge(ctx, n)
}

// fence makes sure that both roots are those that the audit began with.
func (j *auditJob) fence(ctx context.Context) error {
	for _, side := range []struct {
		store objectstore.Reader
		was   auditedRoot
	}{{j.source, j.from}, {j.sink, j.to}} {
		objects, generation, found, err := rootFolder(ctx, j.lister, side.store)
		if err != nil {
			return err
		}
		if generation, found = orLegacy(objects, generation, found); !found {
			generation = -1
		}
		if found != side.was.found || generation != side.was.generation || side.was.etag != "" && objects[repository.RootIndexKey(generation)].ETag != side.was.etag {
			return errMoved
		}
	}
	return nil
}

func object(objects map[string]objectstore.Object, key string) *objectstore.Object {
	if o, ok := objects[key]; ok {
		return &o
	}
	return nil
}
