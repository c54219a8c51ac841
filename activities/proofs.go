package activities

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// PlanProofs puts together what was proven equal, and finds what can be proven now: shards that
// stand still as the target holds them, and of those that are written to, the documents that the
// target must hold already. It changes nothing.
func (a *Activities) PlanProofs(ctx context.Context, in migration.PlanProofsRequest) (migration.ProofPlan, error) {
	return perform(ctx, a, "planning proofs",
		func(ctx context.Context, _ *pulse) (migration.ProofPlan, error) {
			p, err := a.planning(ctx, in)
			if err != nil {
				return migration.ProofPlan{}, err
			}
			return p.plan(ctx)
		})
}

// provePlanner plans proofs.
type provePlanner struct {
	*Activities
	in      migration.PlanProofsRequest // with all its lists
	doubted map[string]bool
	// source and target are the marks of now, by the names on the source.
	source, target map[string]elastic.Mark

	result migration.ProofPlan
	still  []migration.ProofTask // shards of which everything is compared
	moving []migration.ProofTask // shards that are written to
	docs   map[string]int64      // of each shard of an index, about
}

func (a *Activities) planning(ctx context.Context, in migration.PlanProofsRequest) (*provePlanner, error) {
	p := &provePlanner{Activities: a, in: in, docs: map[string]int64{}}
	var err error
	if p.in.Indices, err = fetch(ctx, a.lists, in.Run, in.Indices, in.IndicesOf); err != nil {
		return nil, err
	}
	if p.in.Restored, err = fetch(ctx, a.lists, in.Run, in.Restored, in.RestoredOf); err != nil {
		return nil, err
	}
	if p.doubted, err = a.lists.doubted(ctx, in.Run, in.Doubted, in.DoubtedOf); err != nil {
		return nil, err
	}
	if err := p.gather(ctx); err != nil {
		return nil, err
	}
	names := migration.IndexNames(p.in.Indices)
	p.source, p.target, err = a.marksOfBoth(ctx, in.Run, names)
	return p, err
}

// gather puts the proofs together. A list that is lost from OSS is no reason to stop: what it said
// is proven again.
func (p *provePlanner) gather(ctx context.Context) error {
	all := migration.Proofs{}
	lists := slices.Concat([]migration.Stored[migration.Proofs]{p.in.ProofsOf}, p.in.NewOf)
	parts := slices.Concat([]migration.Proofs{p.in.Proofs}, p.in.New)
	for _, list := range lists {
		part, err := fetch(ctx, p.lists, p.in.Run, nil, list)
		if lost(err) {
			continue
		}
		if err != nil {
			return err
		}
		parts = append(parts, part)
	}
	for _, part := range parts {
		for name, proof := range part {
			all[name] = merged(all[name], proof)
		}
	}
	p.in.Proofs = all
	return nil
}

// merged is a proof with what another part of it says of other shards, or what is newer.
func merged(before, proof migration.Proof) migration.Proof {
	if before.UUID != proof.UUID || before.TargetUUID != proof.TargetUUID || len(before.Shards) != len(proof.Shards) {
		if before.NewestMillis() > proof.NewestMillis() {
			return before
		}
		return proof
	}
	shards := slices.Clone(before.Shards)
	for i, shard := range proof.Shards {
		if shard.AtMillis >= shards[i].AtMillis && shard.AtMillis > 0 {
			shards[i] = shard
		}
	}
	before.Shards = shards
	if before.Defined == nil || proof.Defined != nil && proof.Defined.AtMillis >= before.Defined.AtMillis {
		before.Defined = proof.Defined
	}
	return before
}

// marksOfBoth takes the marks of indices on both clusters, by their names on the source.
func (a *Activities) marksOfBoth(ctx context.Context, run migration.Run,
	names []string,
) (source, target map[string]elastic.Mark, err error) {
	if len(names) == 0 {
		return nil, nil, nil
	}
	from, err := a.cluster(ctx, onSource, run)
	if err != nil {
		return nil, nil, err
	}
	to, err := a.cluster(ctx, onTarget, run)
	if err != nil {
		return nil, nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { source, err = from.Marks(ctx, names); return err })
	group.Go(func() error {
		marks, err := to.Marks(ctx, targetNames(run, names))
		target = renamed(marks, run.SourceIndex)
		return err
	})
	err = group.Wait()
	return source, target, err
}

func (p *provePlanner) plan(ctx context.Context) (migration.ProofPlan, error) {
	p.result.Proven = migration.Proven{AtMillis: p.now().UnixMilli(), OfIndices: len(p.in.Indices)}
	kept := migration.Proofs{}
	for _, index := range p.in.Indices {
		if proof := p.index(index); !proof.Empty() {
			kept[index.Name] = proof
		}
	}
	batches := p.cut()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		p.result.Proofs, p.result.ProofsOf, err = storeIfLong(ctx, p.lists.shorter(4), p.in.Run, kept)
		return err
	})
	room := p.lists.longest
	for i := range batches {
		if size := batches[i].Size(); size <= room {
			room -= size // all batches lie in one payload
			continue
		}
		group.Go(func() (err error) {
			batches[i].TasksOf, err = store(ctx, p.lists, p.in.Run, batches[i].Tasks)
			batches[i].Tasks = nil
			return err
		})
	}
	err := group.Wait()
	p.result.Batches = batches
	return p.result, err
}

// index counts what of an index is proven, adds what can be, and returns the proof that still says
// something.
func (p *provePlanner) index(index migration.Index) migration.Proof {
	source, target, proven := p.source[index.Name], p.target[index.Name], &p.result.Proven
	shards := max(len(source.Shards), 1)
	p.docs[index.Name] = index.Docs/int64(shards) + 1
	proven.OfShards += shards
	proven.OfDocs += index.Docs
	proof := p.in.Proofs[index.Name]
	if proof.UUID != source.UUID || proof.TargetUUID != target.UUID || len(proof.Shards) != shards {
		proof = migration.Proof{
			UUID: source.UUID, TargetUUID: target.UUID, Shards: make([]migration.ShardProof, shards),
		}
	}
	proof.Shards = slices.Clone(proof.Shards)
	if source.UUID == "" || target.UUID == "" || len(target.Shards) != shards {
		return proof
	}
	restored := p.in.Restored[index.Name]
	if p.doubted[index.Name] || restored.UUID != source.UUID || len(restored.Shards) != shards {
		restored.Shards = make([]string, shards) // what the target holds is not known
	}
	whole := migration.ProofTask{Index: index.Name, UUID: source.UUID, Of: shards}
	part := whole
	done := 0
	for shard := range shards {
		s := provedShard{
			number: shard, mark: source.Shards[shard], restored: restored.Shards[shard], target: target.Shards[shard],
			from: source.Lives[shard], to: target.Lives[shard], proof: proof.Shards[shard],
		}
		if s.proof.Unlike != "" && !s.unlike() {
			s.proof = migration.ShardProof{}
			proof.Shards[shard] = s.proof
		}
		task, kind := s.task(p.doubted[index.Name], p.in.BatchDocs)
		if kind == wholeShard {
			task.Piece = pieceOf(s.mark, p.docs[index.Name], p.in.PieceDocs)
		}
		switch kind {
		case wholeShard:
			whole.Shards = append(whole.Shards, task)
		case partOfShard:
			part.Shards = append(part.Shards, task)
		}
		p.count(index, s)
		if s.proof.Holds(s.mark, s.target) {
			done++
		}
	}
	if done == shards {
		proven.Indices++
	}
	if !proof.Defined.Holds(source.Definition, target.Definition) {
		proof.Defined = nil
		if len(whole.Shards) == 0 && len(part.Shards) > 0 {
			part.Definition = true
		} else {
			whole.Definition = true
		}
	}
	if len(whole.Shards) > 0 || whole.Definition {
		p.still = append(p.still, whole)
	}
	if len(part.Shards) > 0 {
		p.moving = append(p.moving, part)
	}
	return proof
}

// count adds a shard to what is proven.
func (p *provePlanner) count(index migration.Index, s provedShard) {
	proven := &p.result.Proven
	// The shards' parts add up to the documents of the index.
	n, shards := int64(s.number), int64(max(len(p.source[index.Name].Shards), 1))
	docs := index.Docs*(n+1)/shards - index.Docs*n/shards
	switch reached, reaches := s.reached(); {
	case s.proof.Unlike != "":
		proven.UnlikeShards++
		if len(proven.Unlike) < migration.UnlikeNamed {
			proven.Unlike = append(proven.Unlike, fmt.Sprintf("[%s][%d]: %s", index.Name, s.number, s.proof.Unlike))
		}
	case s.proof.Holds(s.mark, s.target):
		proven.Shards++
		proven.Docs += docs
	case reaches && reached >= 0:
		proven.Shards++
		proven.BeyondShards++
		proven.Docs += int64(float64(docs) * min(1, float64(reached+1)/float64(max(s.from.SeqNo.Max+1, 1))))
	}
}

// shardsAtOnceProven bounds the shards of one batch: each takes some requests, however small it is.
const shardsAtOnceProven = 1000

// definitionsAtOnce bounds the indices of one batch whose definitions are compared.
const definitionsAtOnce = 500

// cut makes batches of about as many documents as were asked for. What stands still comes first: its
// proof lasts.
func (p *provePlanner) cut() []migration.ProofBatch {
	var batches []migration.ProofBatch
	var batch migration.ProofBatch
	end := func() {
		if len(batch.Tasks) > 0 && len(batches) < p.in.Batches {
			batches = append(batches, batch)
		}
		batch = migration.ProofBatch{}
	}
	for _, task := range slices.Concat(p.still, p.moving) {
		if len(batches) == p.in.Batches {
			break
		}
		shards := task.Shards
		task.Shards = nil
		add := func() {
			if len(task.Shards) == 0 && !task.Definition {
				return
			}
			batch.Tasks, batch.Indices = append(batch.Tasks, task), batch.Indices+1
			if task.Definition {
				batch.Definitions++
			}
			task.Shards, task.Definition = nil, false
		}
		if task.Definition && batch.Definitions >= definitionsAtOnce {
			end()
		}
		for _, shard := range shards {
			docs := p.docs[task.Index]
			if shard.Mark == "" {
				docs = min(docs, shard.UpTo-shard.Beyond)
			}
			if batch.Shards >= shardsAtOnceProven || batch.Docs > 0 && batch.Docs+docs > p.in.BatchDocs {
				add()
				end()
			}
			task.Shards = append(task.Shards, shard)
			batch.Shards++
			batch.Docs += docs
		}
		add()
	}
	end()
	return batches
}

// provedShard is what is known of a shard when proofs are planned.
type provedShard struct {
	number int
	// mark and target are those of now on the two clusters, restored is the source's of what the
	// target holds.
	mark, restored, target string
	from, to               elastic.Life
	proof                  migration.ShardProof
}

// stands tells whether the shard is as the target holds it.
func (s provedShard) stands() bool { return s.mark != "" && s.mark == s.restored && s.target != "" }

// unlike tells whether it is still what was found unequal.
func (s provedShard) unlike() bool {
	return s.stands() && s.proof.Mark == s.mark && s.proof.Target == s.target
}

// reached is the sequence number up to which its documents were found on the target.
func (s provedShard) reached() (int64, bool) {
	if s.proof.UpTo == nil || s.from.ID == "" || s.proof.Life != s.from.ID || s.proof.Unlike != "" {
		return -1, false
	}
	return *s.proof.UpTo, true
}

// pieceOf is how many sequence numbers of a shard hold about so many of its documents; 0 if they are
// no reason to cut it. No two documents have the same number, so a piece has at least as many.
func pieceOf(mark string, docs, piece int64) int64 {
	highest, known := migration.SeqNo(mark)
	if piece <= 0 || docs <= piece || !known || highest < piece {
		return 0
	}
	pieces := (docs + piece - 1) / piece
	return max(highest/pieces+1, piece)
}

type taskKind int

const (
	noTask taskKind = iota
	wholeShard
	partOfShard
)

// underWay is how far a snapshot may lag behind the highest sequence number that it holds: writes
// that were under way may be missing below it. Nothing wrong comes of it if it is more: then they
// are not found, and nothing is proven.
const underWay = 1 << 14

// task is what to prove of a shard.
func (s provedShard) task(doubted bool, docs int64) (migration.ShardTask, taskKind) {
	task := migration.ShardTask{Shard: s.number}
	reached, reaches := s.reached()
	if s.stands() {
		// An index that was restored again is proven by its sequence numbers, if all were compared.
		max, known := migration.SeqNo(s.mark)
		if s.proof.Unlike != "" || s.proof.Holds(s.mark, s.target) || reaches && known && reached >= max {
			return task, noTask
		}
		if !reaches {
			task.Mark = s.mark
			return task, wholeShard
		}
	}
	if doubted || s.target == "" || s.from.ID == "" || s.to.ID == "" {
		return task, noTask
	}
	task.Life, task.Beyond, task.UpTo = s.from.ID, reached, s.to.SeqNo.Max-underWay
	if reaches {
		task.Held = s.proof.Held
	}
	if number, known := migration.SeqNo(s.restored); known && s.restored == fmt.Sprintf("%d/%s", number, s.from.ID) {
		task.UpTo = number
	}
	task.UpTo = min(task.UpTo, s.from.SeqNo.Global, s.to.SeqNo.Max)
	if docs > 0 {
		task.UpTo = min(task.UpTo, task.Beyond+docs)
	}
	if task.UpTo <= task.Beyond {
		return task, noTask
	}
	return task, partOfShard
}
