package activities

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// auditNeed is an object that must be in OSS.
type auditNeed struct {
	sides.Pair
	class repository.Class
	// length is what the snapshot says, -1 if it doesn't.
	length int64
	// optional objects are there for listings and writers: no restore reads them.
	optional bool
	// snapshots need it, by number.
	snapshots []int
	// conflict says why no object can satisfy all who need it.
	conflict string
}

// compareIndex compares the folder of an index.
func (j *auditJob) compareIndex(ctx context.Context, id string) error {
	needs, shards, err := j.indexNeeds(ctx, id)
	if err != nil {
		return err
	}
	w := &indexWalk{auditJob: j, needs: needs, shards: shards}
	march := sides.March{Source: j.s3, Target: j.oss, Enter: w.enter, See: w.see, Leave: w.leave}
	if err := march.Index(ctx, id, slices.Collect(maps.Keys(shards))); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(needs)) {
		if err := j.judge(ctx, needs[key]); err != nil {
			return err
		}
	}
	return nil
}

// indexNeeds reads the metadata of an index: which of it is needed, and which
// snapshots have which shards.
func (j *auditJob) indexNeeds(ctx context.Context, id string) (map[string]*auditNeed, map[repository.ShardID][]int, error) {
	needs, shards := map[string]*auditNeed{}, map[repository.ShardID][]int{}
	index := j.indices[id]
	if index == nil {
		return needs, shards, nil
	}
	for key, snapshots := range index.metadata {
		needs[key] = &auditNeed{Pair: sides.Pair{Key: key}, class: repository.ClassIndexMetadata, length: -1, snapshots: snapshots}
		data, err := j.either(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		metadata, err := repository.ParseIndexMetadata(data)
		if err != nil {
			needs[key].conflict = fmt.Sprintf("it can't be understood: %v", err)
			continue
		}
		for n := range metadata.Shards {
			shard := repository.ShardID{IndexID: id, Number: n}
			shards[shard] = append(shards[shard], snapshots...)
		}
	}
	j.pulse.update(func(p *migration.Progress) { p.ShardsTotal += len(shards) })
	return needs, shards, nil
}

// indexWalk is what an audit knows while it goes through an index.
type indexWalk struct {
	*auditJob
	needs  map[string]*auditNeed
	shards map[repository.ShardID][]int // the snapshots that need each
	shard  *auditShard                  // the present one
}

func (w *indexWalk) enter(ctx context.Context, id repository.ShardID) (err error) {
	w.shard, err = w.openShard(ctx, id, w.shards[id])
	return err
}

func (w *indexWalk) see(_ context.Context, pair sides.Pair, k repository.Key) error {
	needs := w.needs
	switch k.Class {
	case repository.ClassData, repository.ClassShardSnapshot, repository.ClassShardIndex:
		needs = w.shard.needs
	}
	if n := needs[pair.Key]; n != nil {
		n.Pair = pair
	} else if w.request.Snapshot == "" {
		w.unneeded(pair)
	}
	return nil
}

func (w *indexWalk) leave(ctx context.Context, _ repository.ShardID) error {
	if err := w.judgeShard(ctx, w.shard); err != nil {
		return err
	}
	if len(w.shard.needs) > 0 {
		w.pulse.update(func(p *migration.Progress) { p.ShardsDone++ })
	}
	return nil
}

// auditShard is what snapshots need of a shard.
type auditShard struct {
	id    repository.ShardID
	needs map[string]*auditNeed
	files map[string]repository.File // by the name of their blobs
}

// openShard reads the shard's lists of files.
func (j *auditJob) openShard(ctx context.Context, id repository.ShardID, snapshots []int) (*auditShard, error) {
	shard := &auditShard{id: id, needs: map[string]*auditNeed{}, files: map[string]repository.File{}}
	for _, n := range snapshots {
		key, err := repository.ShardSnapshotKey(id, j.snapshots[n].UUID)
		if err != nil {
			return nil, err
		}
		need := &auditNeed{Pair: sides.Pair{Key: key}, class: repository.ClassShardSnapshot, length: -1, snapshots: []int{n}}
		shard.needs[key] = need
		data, err := j.either(ctx, key)
		if err != nil {
			return nil, err
		}
		files, err := repository.ParseShardSnapshot(data)
		if err != nil {
			need.conflict = fmt.Sprintf("it can't be understood: %v", err)
			continue
		}
		if err := shard.add(files, n); err != nil {
			need.conflict = err.Error()
		}
	}
	return shard, nil
}

// add takes a snapshot's files. Two snapshots may name the same blob, if they
// mean the same.
func (s *auditShard) add(list *repository.ShardSnapshot, snapshot int) error {
	for _, f := range list.Files {
		if f.Virtual() {
			continue
		}
		known, again := s.files[f.Name]
		conflict := ""
		if again && (known.Length != f.Length || known.Checksum != f.Checksum || known.PartSize != f.PartSize) {
			conflict = "two snapshots need different contents of it"
		}
		s.files[f.Name] = f
		for _, part := range f.Blobs() {
			key, err := repository.DataBlobKey(s.id, f.Name, part.Part)
			if err != nil {
				return err
			}
			need := s.needs[key]
			if need == nil {
				need = &auditNeed{Pair: sides.Pair{Key: key}, class: repository.ClassData, length: part.Length}
				s.needs[key] = need
			}
			need.snapshots = append(need.snapshots, snapshot)
			need.conflict = cmp.Or(need.conflict, conflict)
		}
	}
	return nil
}

// judgeShard decides on every blob of a shard, file by file in a deep audit.
func (j *auditJob) judgeShard(ctx context.Context, shard *auditShard) error {
	for _, key := range slices.Sorted(maps.Keys(shard.needs)) {
		if n := shard.needs[key]; n.class != repository.ClassData || !j.request.Deep {
			if err := j.judge(ctx, n); err != nil {
				return err
			}
		}
	}
	if !j.request.Deep {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(shard.files)) {
		if err := j.judgeFile(ctx, shard, shard.files[name]); err != nil {
			return err
		}
	}
	return nil
}

// judge decides on one object, if the listings don't do, by a check of its own
// beside the others.
func (j *auditJob) judge(ctx context.Context, n *auditNeed) error {
	if n.optional && n.Source == nil {
		if n.Target != nil {
			j.surplus(n.Pair, n.class, "S3 has none any more, and no restore reads it", true)
		}
		return nil
	}
	j.count(n)
	if kind, reason := n.obvious(); reason != "" {
		j.bad(n, kind, reason)
		return nil
	}
	if n.Source != nil && objectstore.SameMD5(n.Source.ETag, n.Target.ETag) {
		j.proven(n)
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j.check(func(ctx context.Context) error {
		reason, err := j.prove(ctx, n)
		switch {
		case err != nil:
			return err
		case reason != "":
			j.bad(n, different, reason)
		default:
			j.proven(n)
		}
		return nil
	})
	return nil
}

// obvious is what listings and snapshots alone tell.
func (n *auditNeed) obvious() (findingKind, string) {
	switch {
	case n.Target == nil && n.Source == nil:
		return missing, "neither OSS nor S3 has it"
	case n.Target == nil:
		return missing, "it is not in OSS"
	case n.conflict != "":
		return different, n.conflict
	case n.length >= 0 && n.Target.Size != n.length:
		return different, fmt.Sprintf("OSS has %d bytes, the snapshot says %d", n.Target.Size, n.length)
	case n.Source != nil && n.Source.Size != n.Target.Size:
		return different, fmt.Sprintf("OSS has %d bytes, S3 %d", n.Target.Size, n.Source.Size)
	}
	return 0, ""
}

// prove compares two objects of one size whose ETags can't be compared: by what
// the copy has recorded, and small ones by their bytes. The reason is empty if
// they are the same.
func (j *auditJob) prove(ctx context.Context, n *auditNeed) (reason string, err error) {
	if n.Source == nil {
		return "S3 has lost it, so there is nothing to compare it with; --deep compares data with the checksum in the snapshot", nil
	}
	_, present, err := j.mover.Present(ctx, sides.BlobOf(n.Source))
	if err != nil || present {
		return "", err
	}
	if n.Source.Size > auditSmall && n.class == repository.ClassData {
		return fmt.Sprintf("its ETag is %s in S3 and %s in OSS, and nothing recorded there proves that it is the same; --deep reads it", n.Source.ETag, n.Target.ETag), nil
	}
	var data [2][]byte
	for i, store := range []sides.Store{j.s3, j.oss} {
		data[i], _, err = store.Read(ctx, n.Key)
		switch {
		case sides.Gone(err):
			return "", sides.ErrMoved
		case sides.Damaged(err):
			return fmt.Sprintf("it can't be read: %v", err), nil
		case err != nil:
			return "", err
		}
	}
	if !bytes.Equal(data[0], data[1]) {
		return "OSS has other bytes than S3, of the same length", nil
	}
	return "", nil
}

// unneeded is about an object that no audited snapshot needs.
func (j *auditJob) unneeded(pair sides.Pair) {
	k := repository.Classify(pair.Key)
	if k.Class == repository.ClassTemporary {
		return
	}
	j.tally(k.Class, func(c *migration.AuditClass) {
		if pair.Source != nil {
			c.Source.Add(pair.Source.Size)
		}
		if pair.Target != nil {
			c.Target.Add(pair.Target.Size)
		}
	})
	if pair.Target == nil {
		return
	}
	same := pair.Same()
	switch {
	case k.Class == repository.ClassRootIndex && k.Generation > j.from.Generation:
		j.surplus(pair, k.Class, "a cluster reads the highest root, and S3 doesn't have it", false)
	case k.Class == repository.ClassRootIndex:
		j.surplus(pair, k.Class, "an older root, which no cluster reads", true)
	case k.Class == repository.ClassShardIndex && same:
		// The shard's current one: writers read it.
	case k.Class == repository.ClassShardIndex:
		j.surplus(pair, k.Class, "only writers read the list of a shard's snapshots", true)
	case k.Class == repository.ClassUnknown:
		j.surplus(pair, k.Class, "Elasticsearch writes no such object and reads none; find out who does", true)
	default:
		j.surplus(pair, k.Class, "no listed snapshot needs it", true)
	}
}

// foreign are objects of OSS that stand where Elasticsearch has none.
func (j *auditJob) foreign(objects []objectstore.Object) {
	for _, o := range objects {
		j.unneeded(sides.Pair{Key: o.Key, Target: &o})
	}
}

type findingKind int

const (
	missing findingKind = iota + 1
	different
)

func (j *auditJob) tally(class repository.Class, count func(*migration.AuditClass)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.classes[class] == nil {
		j.classes[class] = &migration.AuditClass{Class: class.String()}
	}
	count(j.classes[class])
}

// count counts a needed object on the sides that have it.
func (j *auditJob) count(n *auditNeed) {
	j.tally(n.class, func(c *migration.AuditClass) {
		c.Needed.Add(n.size())
		if n.Source != nil {
			c.Source.Add(n.Source.Size)
		}
		if n.Target != nil {
			c.Target.Add(n.Target.Size)
		}
	})
}

// size is that which the object should have, as far as anyone knows.
func (n *auditNeed) size() int64 {
	switch {
	case n.length >= 0:
		return n.length
	case n.Source != nil:
		return n.Source.Size
	case n.Target != nil:
		return n.Target.Size
	}
	return 0
}

func (j *auditJob) proven(n *auditNeed) {
	j.tally(n.class, func(c *migration.AuditClass) { c.Proven.Add(n.size()) })
	j.progress(n)
}

func (j *auditJob) bad(n *auditNeed, kind findingKind, reason string) {
	// The list of a failed attempt, and what only readers that can't list use.
	harmless := n.optional
	if harmless {
		reason += "; no restore reads it"
	}
	j.tally(n.class, func(c *migration.AuditClass) {
		c.Bad++
		findings := &j.report.Missing
		if kind == different {
			findings = &j.report.Different
		}
		add(findings, n.Pair, n.class, n.size(), reason, harmless)
		if !harmless {
			for _, s := range n.snapshots {
				j.broken[s] = true
			}
		}
	})
	j.progress(n)
}

func (j *auditJob) surplus(pair sides.Pair, class repository.Class, reason string, harmless bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	add(&j.report.Surplus, pair, class, pair.Target.Size, reason, harmless)
}

func (j *auditJob) progress(n *auditNeed) {
	j.pulse.update(func(p *migration.Progress) {
		p.BlobsDone++
		p.BytesDone += n.size()
	})
}

func add(to *migration.AuditFindings, pair sides.Pair, class repository.Class, size int64, reason string, harmless bool) {
	to.Add(size)
	if harmless {
		to.Harmless++
	}
	f := migration.AuditFinding{Key: pair.Key, Class: class.String(), Reason: shorten(reason), Harmless: harmless, SourceBytes: -1, TargetBytes: -1}
	if pair.Source != nil {
		f.SourceBytes = pair.Source.Size
	}
	if pair.Target != nil {
		f.TargetBytes = pair.Target.Size
	}
	to.Examples = append(to.Examples, f)
	if len(to.Examples) > 2*migration.AuditExamples {
		tidy(to)
	}
}

// tidy keeps the first examples, what does harm before the rest.
func tidy(findings *migration.AuditFindings) {
	slices.SortFunc(findings.Examples, func(a, b migration.AuditFinding) int {
		if a.Harmless != b.Harmless {
			if a.Harmless {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Key, b.Key)
	})
	if len(findings.Examples) > migration.AuditExamples {
		findings.Examples = slices.Clone(findings.Examples[:migration.AuditExamples])
	}
}

// conclude sums up.
func (j *auditJob) conclude() {
	r := &j.report
	for _, findings := range []*migration.AuditFindings{&r.Missing, &r.Different, &r.Surplus} {
		tidy(findings)
	}
	r.SnapshotsBroken = len(j.broken)
	for _, n := range slices.Sorted(maps.Keys(j.broken)) {
		if len(r.Broken) < migration.AuditSnapshots {
			r.Broken = append(r.Broken, j.snapshots[n].Name)
		}
	}
	classes := slices.Collect(maps.Keys(j.classes))
	slices.SortFunc(classes, func(a, b repository.Class) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a, b))
	})
	for _, class := range classes {
		r.Classes = append(r.Classes, *j.classes[class])
	}
	r.Whole = len(r.Problems) == 0 && r.Missing.Harmful()+r.Different.Harmful()+r.Surplus.Harmful() == 0
}

// order is that of publishing, what is never published last.
func order(class repository.Class) repository.Stage {
	if stage := class.Stage(); stage != repository.StageNone {
		return stage
	}
	return repository.StageLatest + 1
}
