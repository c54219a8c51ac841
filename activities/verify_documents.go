package activities

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// differing takes what makes an index unequal.
type differing func(format string, args ...any)

// markTarget takes the target's marks of indices, if there are proofs that may hold.
func (v *verifying) markTarget(ctx context.Context, names []string) (map[string]elastic.Mark, error) {
	if v.in.Plan.Verify.Checksum != migration.ChecksumVersions || len(v.in.Proofs) == 0 || len(v.in.Marks) == 0 ||
		len(names) == 0 {
		return nil, nil
	}
	marks, err := v.to.Marks(ctx, targetNames(v.in.Run, names))
	return renamed(marks, v.in.SourceIndex), err
}

// shardWork says how a shard is verified: proven and beyond are nil for a shard that is read whole.
type shardWork struct {
	proven *migration.ShardProof
	beyond *int64
	held   *int64 // as in the proof
	since  int64
}

// shardScan is what is read of a shard.
type shardScan struct {
	elastic.ShardScan
	held *int64
}

// work decides how each shard of an index is verified. Any doubt has it read whole.
func (v *verifying) work(name string) []shardWork {
	work := make([]shardWork, len(v.in.Frozen[name]))
	proof, source, target := v.in.Proofs[name], v.in.Marks[name], v.target[name]
	if proof.UUID == "" || proof.UUID != source.UUID || proof.TargetUUID != target.UUID || v.written[name] != "" ||
		len(proof.Shards) != len(work) || len(source.Shards) != len(work) || len(target.Shards) != len(work) {
		return work
	}
	for i := range work {
		shard := proof.Shards[i]
		holds := shard.Holds(source.Shards[i], target.Shards[i])
		upTo, reaches := shard.Reaches(source.Shards[i])
		switch {
		case holds && shard.Docs == 0 && v.in.Frozen[name][i] > 0:
			// A search that found nothing proves nothing: something may hide the documents.
		case holds:
			work[i] = shardWork{proven: &shard, since: shard.AtMillis}
		case reaches && upTo >= 0 && target.Lives[i].ID != "":
			work[i] = shardWork{beyond: &upTo, held: shard.Held, since: shard.AtMillis}
		}
	}
	return work
}

// standing tells whether all documents of an index are proven equal, and nothing has changed on either
// cluster since.
func (v *verifying) standing(name string) bool {
	work := v.work(name)
	return len(work) > 0 && !slices.ContainsFunc(work, func(w shardWork) bool { return w.proven == nil })
}

// documents compares what searches find.
func (v *verifying) documents(ctx context.Context, s shape, result *migration.IndexResult, differs differing) error {
	work := v.work(s.name)
	evidence := migration.Evidence{}
	result.Evidence = &evidence
	var scans []shardScan
	var proven elastic.Checksum
	for shard, w := range work {
		if w.since > 0 && (evidence.SinceMillis == 0 || w.since < evidence.SinceMillis) {
			evidence.SinceMillis = w.since
		}
		switch {
		case w.proven != nil:
			evidence.Proven++
			part := elastic.Checksum{Docs: w.proven.Docs}
			if _, err := fmt.Sscanf(w.proven.Checksum, "%016x%016x", &part.Sum, &part.Xor); err != nil {
				return fmt.Errorf("read the checksum of a proof of index %s: %w", s.name, err)
			}
			proven.Add(part)
			continue
		case w.beyond != nil:
			evidence.Beyond++
		default:
			evidence.Scanned++
		}
		scans = append(scans, shardScan{elastic.ShardScan{Shard: shard, Beyond: w.beyond}, w.held})
	}
	if v.standing(s.name) { // so a search finds what it found then
		result.Checksum, result.SourceDocs, result.TargetDocs = hex(proven), proven.Docs, proven.Docs
		return nil
	}
	if err := v.countDocuments(ctx, s, result, differs); err != nil {
		return err
	}
	switch {
	case v.in.Plan.Verify.Checksum == migration.ChecksumNone:
		evidence = migration.Evidence{Counted: len(work)}
		return nil
	case len(work) == 0 || evidence.Scanned == len(work):
		return v.all(ctx, s, result, differs)
	}
	return v.shards(ctx, s, result, scans, proven, differs)
}

// countDocuments compares how many documents searches find.
func (v *verifying) countDocuments(ctx context.Context, s shape, result *migration.IndexResult,
	differs differing,
) error {
	err := both(ctx, v.from, v.to, &result.SourceDocs, &result.TargetDocs,
		func(ctx context.Context, client *elastic.Client) (int64, error) {
			name := v.at(client, s.name)[0]
			if count, known := v.counted[client][name]; known {
				return count, nil
			}
			return client.Count(ctx, name)
		})
	if err != nil {
		return err
	}
	if result.SourceDocs != result.TargetDocs {
		differs("a search finds %d documents on the source and %d on the target", result.SourceDocs, result.TargetDocs)
	}
	if held := sum(v.in.Frozen[s.name]); result.SourceDocs == 0 && result.TargetDocs == 0 && held > 0 {
		// Two searches that find nothing would prove that nothing equals nothing.
		differs("a search finds none of its %d documents, so they can't be compared", held)
	}
	return nil
}

// all reads all documents of an index.
func (v *verifying) all(ctx context.Context, s shape, result *migration.IndexResult, differs differing) error {
	var source, target elastic.Checksum
	if err := both(ctx, v.from, v.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) (elastic.Checksum, error) {
			return client.Checksum(ctx, v.at(client, s.name)[0], v.options(client, s))
		}); err != nil {
		return err
	}
	result.Checksum, result.Evidence.Read = hex(source), source.Docs
	if source != target {
		differs("the checksum over type, id, routing and version is %s on the source (%d documents) and %s "+
			"on the target (%d documents)", hex(source), source.Docs, hex(target), target.Docs)
	}
	return nil
}

// shards reads some shards of an index, or what of them is beyond a sequence number. Of the latter
// it also compares what it does not read: each of these documents was found on the target, and none
// may be lost or have come back since.
func (v *verifying) shards(ctx context.Context, s shape, result *migration.IndexResult, scans []shardScan,
	total elastic.Checksum, differs differing,
) error {
	var source, target []elastic.ShardChecksum
	var mu sync.Mutex
	read := make([]elastic.ShardScan, len(scans))
	for i, scan := range scans {
		read[i] = scan.ShardScan
	}
	err := both(ctx, v.from, v.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) ([]elastic.ShardChecksum, error) {
			return client.ShardChecksums(ctx, v.at(client, s.name)[0], read, v.options(client, s))
		})
	if err != nil {
		return err
	}
	whole := true
	for i, scan := range scans {
		total.Add(source[i].Checksum)
		result.Evidence.Read += source[i].Docs
		if source[i].Checksum != target[i].Checksum {
			beyond := ""
			if scan.Beyond != nil {
				beyond = fmt.Sprintf(" beyond sequence number %d", *scan.Beyond)
			}
			differs("the checksum over type, id, routing and version of shard %d%s is %s on the source (%d documents) "+
				"and %s on the target (%d documents)", scan.Shard, beyond, hex(source[i].Checksum), source[i].Docs,
				hex(target[i].Checksum), target[i].Docs)
		}
		whole = whole && scan.Beyond == nil
	}
	if whole {
		result.Checksum = hex(total)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(digestsAtOnce)
	for _, scan := range scans {
		if scan.Beyond == nil {
			continue
		}
		group.Go(func() error {
			if same, err := v.unchanged(groupCtx, s, scan); err != nil || same {
				return err
			}
			source, target, err := v.digests(groupCtx, s.name, scan.ShardScan)
			if err != nil || source == target {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			differs("the documents of shard %d up to sequence number %d are not those that were compared before the "+
				"freeze: %d on the source and %d on the target", scan.Shard, *scan.Beyond, source.Docs, target.Docs)
			return nil
		})
	}
	return group.Wait()
}

// unchanged tells whether counts suffice for the documents that are not read. If the source has as
// many as were compared, it has these: writes take documents away from there, and add none. The
// target got its files from a snapshot of just that. If it also has as many, nothing that was
// restored is gone since.
func (v *verifying) unchanged(ctx context.Context, s shape, scan shardScan) (bool, error) {
	if scan.held == nil || !v.taken[s.name] || v.in.Files == nil || !v.in.Files.Same(s.name) {
		return false, nil
	}
	numbered := elastic.Numbered(s.source) && elastic.Numbered(s.target)
	var source, target int64
	err := both(ctx, v.from, v.to, &source, &target, func(ctx context.Context, client *elastic.Client) (int64, error) {
		return client.CountNotBeyond(ctx, v.at(client, s.name)[0], scan.Shard, *scan.Beyond, numbered)
	})
	return source == *scan.held && target == *scan.held, err
}

// digests tell which sequence numbers the documents of a shard have that are not read.
func (v *verifying) digests(ctx context.Context, name string,
	scan elastic.ShardScan,
) (source, target elastic.SeqNoDigest, err error) {
	err = both(ctx, v.from, v.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) (elastic.SeqNoDigest, error) {
			return client.SeqNoDigest(ctx, v.at(client, name)[0], scan.Shard, *scan.Beyond)
		})
	return source, target, err
}

// digestsAtOnce bounds the shards of an index whose sequence numbers are compared at the same time.
const digestsAtOnce = 8

// options are those for reading an index on one cluster. They report how many documents were read so
// far.
func (v *verifying) options(client *elastic.Client, s shape) elastic.ChecksumOptions {
	settings, docs := s.source, v.in.Frozen[s.name]
	if client == v.to {
		settings, docs = s.target, v.restored[s.name]
	}
	var counted int64
	return elastic.ChecksumOptions{
		IgnoreTypes: v.defining.ignoreTypes, Settings: settings, ShardDocs: docs, Sleep: v.sleep,
		Progress: func(docs int64) { // one call at a time
			done := v.read.Add(docs - counted)
			counted = docs
			v.pulse.set(migration.Progress{
				Doing: "comparing the target with the source", DocsDone: done,
				DocsTotal: 2 * v.docs(),
			})
		},
	}
}

// evidenceOf sums up the evidence of all indices.
func evidenceOf(verdicts []migration.IndexResult) *migration.Evidence {
	var all migration.Evidence
	for _, index := range verdicts {
		if index.Evidence != nil {
			all.Add(*index.Evidence)
		}
	}
	return &all
}

// files adds what the last restore recovered. Other files than the snapshot lists are a difference,
// whatever searches find: nobody knows what else is different then.
func (v *verifying) files(name string, result *migration.IndexResult, differs differing) {
	if !v.taken[name] || v.in.Files == nil {
		return
	}
	for _, unlike := range v.in.Files.Unlike {
		if unlike.Index == name {
			differs("shard %d was not restored from the files that the snapshot lists: %s", unlike.Shard, unlike.Why)
		}
	}
	if v.in.Files.UnlikeCount > len(v.in.Files.Unlike) && result.Equal {
		differs("%s were not restored from the files that the snapshot lists, and some of them may be of this index",
			human.Things(v.in.Files.UnlikeCount, "shard", "shards"))
	}
	if v.in.Files.Same(name) && result.Evidence != nil {
		result.Evidence.Files = len(v.in.Frozen[name])
	}
}
