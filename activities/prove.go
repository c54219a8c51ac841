package activities

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// Prove compares shards on both clusters while the source takes writes, and says which documents the
// target was found to hold. A shard that changes during that, on either cluster, is not proven; nor is
// one whose index is closed or goes away. Both are no errors: rounds close the target's indices.
func (a *Activities) Prove(ctx context.Context, in migration.ProveRequest) (migration.Proved, error) {
	return perform(ctx, a, "comparing before the freeze",
		func(ctx context.Context, pulse *pulse) (migration.Proved, error) {
			tasks, err := fetch(ctx, a.lists, in.Run, in.Batch.Tasks, in.Batch.TasksOf)
			if lost(err) {
				return migration.Proved{}, nil // the next plan makes another list
			}
			if err != nil {
				return migration.Proved{}, err
			}
			p := proving{
				Activities: a, in: in, tasks: tasks, pulse: pulse, proofs: migration.Proofs{},
				// Each cluster has its own pace: one that is slow leaves the other one's share alone.
				paceFrom: elastic.NewPace(float64(in.Rate)), paceTo: elastic.NewPace(float64(in.Rate)),
			}
			if err := p.run(ctx); err != nil {
				return migration.Proved{}, err
			}
			p.result.Proofs, p.result.ProofsOf, err = storeIfLong(ctx, a.lists.shorter(32), in.Run, p.proofs)
			return p.result, err
		})
}

// lost tells whether a stored list can't be had any more.
func lost(err error) bool {
	return objectstore.KindOf(err) == objectstore.NotFound || typeOf(err) == migration.ErrorRepository
}

// proving is one batch.
type proving struct {
	*Activities
	in               migration.ProveRequest
	tasks            []migration.ProofTask
	pulse            *pulse
	from, to         *elastic.Client
	paceFrom, paceTo *elastic.Pace
	defining         defining
	layoutFrom       map[string]map[string]string
	layoutTo         map[string]map[string]string
	read             atomic.Int64
	// The marks before anything was read.
	sourceBefore, targetBefore map[string]elastic.Mark

	// defined are the differences of settings, mappings and aliases, of the indices that were asked for.
	defined map[string][]string

	mu     sync.Mutex
	proofs migration.Proofs
	result migration.Proved
}

func (p *proving) run(ctx context.Context) error {
	var err error
	if p.from, err = p.cluster(ctx, onSource, p.in.Run); err != nil {
		return err
	}
	if p.to, err = p.cluster(ctx, onTarget, p.in.Run); err != nil {
		return err
	}
	if p.defining, err = newDefining(ctx, p.in.Run, p.from, p.to); err != nil {
		return err
	}
	var names []string
	for _, task := range p.tasks {
		if !slices.Contains(names, task.Index) {
			names = append(names, task.Index)
		}
	}
	sourceBefore, targetBefore, err := p.marksOfBoth(ctx, p.in.Run, names)
	if err != nil {
		return err
	}
	p.sourceBefore, p.targetBefore = sourceBefore, targetBefore
	names = slices.DeleteFunc(names, func(name string) bool {
		return sourceBefore[name].UUID == "" || targetBefore[name].UUID == ""
	})
	if names, err = p.refresh(ctx, names); err != nil || len(names) == 0 {
		return err
	}
	if err := p.define(ctx, names); err != nil {
		return err
	}
	compared := make([]map[int]comparedShard, len(p.tasks))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(indicesAtOnce)
	for i, task := range p.tasks {
		if !slices.Contains(names, task.Index) || task.UUID != sourceBefore[task.Index].UUID {
			p.moved(len(task.Shards))
			continue
		}
		group.Go(func() error {
			var err error
			compared[i], err = p.compare(groupCtx, task)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// Only what was so before and after says anything of the time between.
	sourceAfter, targetAfter, err := p.marksOfBoth(ctx, p.in.Run, names)
	if err != nil {
		return err
	}
	at := p.now().UnixMilli()
	for i, task := range p.tasks {
		name := task.Index
		p.conclude(task, compared[i], at, [2]elastic.Mark{sourceBefore[name], sourceAfter[name]},
			[2]elastic.Mark{targetBefore[name], targetAfter[name]})
	}
	return nil
}

// refresh makes searches find everything, and reads what is needed to search. It returns the indices
// that are open on both clusters.
func (p *proving) refresh(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if p.layoutFrom, err = p.from.IndexSettings(groupCtx, names); err != nil {
			return err
		}
		return p.from.Refresh(groupCtx, names)
	})
	group.Go(func() error {
		onTarget := targetNames(p.in.Run, names)
		settings, err := p.to.IndexSettings(groupCtx, onTarget)
		if err != nil {
			return err
		}
		p.layoutTo = renamed(settings, p.in.SourceIndex)
		return p.to.Refresh(groupCtx, onTarget)
	})
	err := group.Wait()
	switch {
	case !moves(err):
		return names, err
	case len(names) == 1:
		return nil, nil
	}
	// One was closed or deleted just now.
	half := len(names) / 2
	first, err := p.refresh(ctx, names[:half])
	if err != nil {
		return nil, err
	}
	from, to := p.layoutFrom, p.layoutTo
	second, err := p.refresh(ctx, names[half:])
	p.layoutFrom, p.layoutTo = union(from, p.layoutFrom), union(to, p.layoutTo)
	return slices.Concat(first, second), err
}

func union[M ~map[string]V, V any](one, other M) M {
	all := M{}
	for _, part := range []M{one, other} {
		for name, value := range part {
			all[name] = value
		}
	}
	return all
}

// moves tells whether an index was closed or deleted, or one of its shards is on the move: a round
// is at work, or a person.
func moves(err error) bool {
	switch elastic.KindOf(err) {
	case elastic.Missing, elastic.Unavailable, elastic.Blocked:
		return true
	}
	return elastic.IsClosed(err)
}

// define compares the definitions of those of the indices whose tasks ask for it. Nothing is known of
// one that goes away during that.
func (p *proving) define(ctx context.Context, names []string) error {
	p.defined = map[string][]string{}
	var asked []string
	for _, task := range p.tasks {
		if task.Definition && slices.Contains(names, task.Index) {
			asked = append(asked, task.Index)
		}
	}
	return p.defineThese(ctx, asked)
}

func (p *proving) defineThese(ctx context.Context, names []string) error {
	err := p.defining.compare(ctx, names, func(s shape, differences []string) error {
		p.defined[s.name] = few(differences)
		return nil
	})
	if !moves(err) {
		return err
	}
	if len(names) == 1 {
		return nil
	}
	half := len(names) / 2
	if err := p.defineThese(ctx, names[:half]); err != nil {
		return err
	}
	return p.defineThese(ctx, names[half:])
}

func (p *proving) moved(shards int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.Moved += shards
}

// comparedShard is what came of the comparison of a shard.
type comparedShard struct {
	source, target elastic.ShardChecksum // of all documents
	unlike         string                // the first of the documents that the target lacks
	// unfinished says that some were not read, since the shard doesn't stand still.
	unfinished bool
}

// compare reads the shards of a task.
func (p *proving) compare(ctx context.Context, task migration.ProofTask) (map[int]comparedShard, error) {
	found := map[int]comparedShard{}
	var whole []elastic.ShardScan
	var large []migration.ShardTask
	for _, shard := range task.Shards {
		switch {
		case shard.Mark == "":
		case shard.Piece > 0:
			large = append(large, shard)
		default:
			whole = append(whole, elastic.ShardScan{Shard: shard.Shard})
		}
	}
	err := p.whole(ctx, task, whole, found)
	if err == nil {
		err = p.pieces(ctx, task.Index, large, found)
	}
	if err == nil {
		for _, shard := range task.Shards {
			if shard.Mark != "" {
				continue
			}
			if err = p.part(ctx, task, shard, found); err != nil {
				break
			}
		}
	}
	switch {
	case err == nil, ctx.Err() != nil:
		return found, ctx.Err()
	case errors.Is(err, errPiecesKept):
		return nil, err
	case moves(err):
		p.moved(len(task.Shards) - len(found))
		return found, nil
	case typeOf(err) == migration.ErrorUnauthorized, typeOf(err) == migration.ErrorSecret:
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.Failed += len(task.Shards) - len(found)
	p.result.Failure = human.Shorten(messageOf(err), longestDifference)
	return found, nil
}

// whole reads shards completely on both clusters.
func (p *proving) whole(ctx context.Context, task migration.ProofTask, shards []elastic.ShardScan,
	found map[int]comparedShard,
) error {
	if len(shards) == 0 {
		return nil
	}
	source, target, err := p.checksums(ctx, task.Index, shards)
	if err != nil {
		return err
	}
	for i := range source {
		found[source[i].Shard] = comparedShard{source: source[i], target: target[i]}
	}
	return nil
}

// checksums reads shards of an index, or parts of them, on both clusters.
func (p *proving) checksums(ctx context.Context, index string, scans []elastic.ShardScan,
) (source, target []elastic.ShardChecksum, err error) {
	err = both(ctx, p.from, p.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) ([]elastic.ShardChecksum, error) {
			return client.ShardChecksums(ctx, p.at(client, index), scans, p.options(client, index))
		})
	if err != nil {
		return nil, nil, err
	}
	for i := range source {
		p.measured(source[i].Docs, max(source[i].Took, target[i].Took))
	}
	return source, target, nil
}

// part looks documents of the source up on the target: those between two sequence numbers.
func (p *proving) part(ctx context.Context, task migration.ProofTask, shard migration.ShardTask,
	found map[int]comparedShard,
) error {
	var unlike string
	options := p.options(p.from, task.Index)
	options.Page = func(ctx context.Context, number int, page []elastic.Document) error {
		missing, err := p.to.Lookup(ctx, p.at(p.to, task.Index), number, page, elastic.LookupOptions{
			IgnoreTypes: p.defining.ignoreTypes, Settings: p.layoutTo[task.Index], Pace: p.paceTo, Sleep: p.sleep,
		})
		if err == nil && len(missing) > 0 && unlike == "" {
			unlike = missing[0].String()
		}
		return err
	}
	sums, err := p.from.ShardChecksums(ctx, task.Index, []elastic.ShardScan{
		{Shard: shard.Shard, Beyond: &shard.Beyond, UpTo: &shard.UpTo},
	}, options)
	if err != nil {
		return err
	}
	found[shard.Shard] = comparedShard{source: sums[0], unlike: unlike}
	return nil
}

func (p *proving) options(client *elastic.Client, name string) elastic.ChecksumOptions {
	options := elastic.ChecksumOptions{
		IgnoreTypes: p.defining.ignoreTypes, Settings: p.layoutFrom[name], Pace: p.paceFrom, Sleep: p.sleep,
		AtOnce: shardsProvenAtOnce,
	}
	if client == p.to {
		options.Settings, options.Pace = p.layoutTo[name], p.paceTo
	}
	var counted int64
	options.Progress = func(docs int64) {
		done := p.read.Add(docs - counted)
		counted = docs
		p.pulse.update(func(progress *migration.Progress) {
			progress.DocsDone, progress.DocsTotal = done, 2*p.in.Batch.Docs
		})
	}
	return options
}

// shardsProvenAtOnce keeps few searches under way: nobody waits for a proof.
const shardsProvenAtOnce = 2

func (p *proving) at(client *elastic.Client, name string) string {
	if client == p.to {
		return p.in.TargetIndex(name)
	}
	return name
}

// measured adds what was read, and how long the requests took.
func (p *proving) measured(docs int64, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.result.ReadRate = p.result.Add(migration.ReadRate{Docs: docs, Shards: 1, Millis: took.Milliseconds()})
}

// conclude says what the comparison of a task's shards has proven. The marks are those before and
// after.
func (p *proving) conclude(task migration.ProofTask, found map[int]comparedShard, at int64,
	source, target [2]elastic.Mark,
) {
	name := task.Index
	if source[1].UUID != task.UUID || source[0].UUID != source[1].UUID || target[0].UUID != target[1].UUID ||
		len(source[1].Shards) != task.Of || len(target[0].Shards) != task.Of || len(target[1].Shards) != task.Of {
		p.moved(len(found))
		return
	}
	proof := migration.Proof{UUID: task.UUID, TargetUUID: target[1].UUID, Shards: make([]migration.ShardProof, task.Of)}
	if all, known := p.proofs[name]; known {
		proof = all
	}
	if differences, compared := p.defined[name]; compared && task.Definition &&
		source[0].Definition == source[1].Definition && target[0].Definition == target[1].Definition {
		proof.Defined = &migration.DefinitionProof{
			Source: source[1].Definition, Target: target[1].Definition, Differences: differences, AtMillis: at,
		}
	}
	for _, shard := range task.Shards {
		compared, was := found[shard.Shard]
		if !was {
			continue
		}
		n := shard.Shard
		proven, ok := p.prove(shard, compared, source[0].Shards[n], source[1].Shards[n],
			source[0].Lives[n].ID, source[1].Lives[n], target[0].Shards[n], target[1].Shards[n])
		if !ok {
			p.moved(1)
			continue
		}
		proven.AtMillis = at
		proof.Shards[n] = proven
	}
	if !proof.Empty() {
		p.proofs[name] = proof
	}
}

// prove is the proof of a shard whose marks these were before and after.
func (p *proving) prove(shard migration.ShardTask, compared comparedShard, sourceBefore, sourceAfter, lifeBefore string,
	life elastic.Life, targetBefore, targetAfter string,
) (migration.ShardProof, bool) {
	var proof migration.ShardProof
	if targetBefore == "" || targetBefore != targetAfter {
		return proof, false
	}
	if shard.Mark == "" {
		if compared.unlike != "" || life.ID != shard.Life || lifeBefore != shard.Life ||
			shard.UpTo > life.SeqNo.Global {
			return proof, false // it may have been changed just now: the next plan looks again
		}
		proof.UpTo, proof.Life = &shard.UpTo, shard.Life
		if shard.Held != nil {
			held := *shard.Held + compared.source.Docs
			proof.Held = &held
		}
		return proof, true
	}
	if sourceBefore != shard.Mark || sourceAfter != shard.Mark {
		if life.ID == "" || life.ID != lifeBefore {
			return proof, false
		}
		// It is written to. From now on it is proven in parts, which writes don't spoil: nothing is not
		// beyond this number, and so the target holds all of it.
		none, nothing := int64(-1), int64(0)
		proof.UpTo, proof.Life, proof.Held = &none, life.ID, &nothing
		return proof, true
	}
	if compared.unfinished {
		return proof, false
	}
	proof.Mark, proof.Target = shard.Mark, targetAfter
	if compared.source.Checksum != compared.target.Checksum {
		proof.Unlike = "the source has " + human.Things(int(compared.source.Docs), "document", "documents") +
			" with the checksum " + hex(compared.source.Checksum) + ", the target " +
			human.Things(int(compared.target.Docs), "document", "documents") + " with " + hex(compared.target.Checksum)
		return proof, true
	}
	proof.Docs, proof.Checksum = compared.source.Docs, hex(compared.source.Checksum)
	if number, known := migration.SeqNo(shard.Mark); known && life.ID != "" && number <= life.SeqNo.Global {
		proof.UpTo, proof.Life, proof.Held = &number, life.ID, &compared.source.Docs
	}
	return proof, true
}

// typesDiffer tells whether two clusters show the type of a document differently: 7.x shows each as
// _doc, and 8.x shows none.
func typesDiffer(ctx context.Context, from, to *elastic.Client) (bool, error) {
	fromVersion, err := from.Version(ctx)
	if err != nil {
		return false, err
	}
	toVersion, err := to.Version(ctx)
	shown := func(v elastic.Version) int { return min(max(v.Major, 6), 8) }
	return shown(fromVersion) != shown(toVersion), err
}
