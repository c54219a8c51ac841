package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// CloseTarget closes the target's indices, as a restore over them demands. It refuses if somebody
// wrote to them: a restore would destroy those writes. It never closes an index that this migration
// did not restore, even if a person accepts writes: nobody has checked what it holds.
func (a *Activities) CloseTarget(ctx context.Context, in migration.CloseRequest) error {
	_, err := perform(ctx, a, "closing the target's indices", func(ctx context.Context, p *pulse) (none, error) {
		in, err := a.lists.unfolded(ctx, in)
		if err != nil {
			return none{}, err
		}
		in.Indices, in.Begun = targetNames(in.Run, in.Indices), targetNames(in.Run, in.Begun)
		in.Expected = targetCounters(in.Run, in.Expected)
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return none{}, err
		}
		found, aliases, err := existing(ctx, client, in.Indices)
		if err != nil {
			return none{}, err
		}
		if len(aliases) > 0 {
			return none{}, fail(migration.ErrorRefused, "close the target's indices on %s: %s", client.Host(),
				named("indices are to be restored under these names, but they are aliases there; remove them: ",
					aliases))
		}
		var open []elastic.Index
		for _, name := range in.Indices {
			if index, there := found[name]; there && index.Open {
				open = append(open, index)
			}
		}
		origins, err := originsOf(ctx, client, in.RepositoryName(), indexNames(open))
		if err != nil {
			return none{}, err
		}
		for _, name := range in.Indices {
			if index, there := found[name]; there && !known(in, index, origins[name]) && !origins[name].ours() {
				return none{}, foreign(client, name)
			}
		}
		if err := untouched(ctx, client, in, open, origins); err != nil || len(open) == 0 {
			return none{}, err
		}
		var toClose, toDelete []string
		for _, index := range open {
			if known(in, index, origins[index.Name]) {
				toClose = append(toClose, index.Name)
			} else {
				// Only its shards tell that it is ours: a restore failed, the index was deleted and
				// restored again, and nobody saw the end of that. Once closed, its shards tell
				// nothing any more, and the next attempt would take it for somebody else's index.
				toDelete = append(toDelete, index.Name)
			}
		}
		for _, name := range toDelete {
			if !hasOurBlock(found[name]) {
				return none{}, writtenTo(client, []string{name + " (it lacks the write block)"})
			}
		}
		if len(toDelete) > 0 {
			activity.GetLogger(ctx).Warn("the target's indices are not those that the last round left; they are "+
				"deleted, and the next restore restores them completely", "indices", toDelete)
			if err := a.whenFree(ctx, p, func() error { return client.DeleteIndices(ctx, toDelete) }); err != nil {
				return none{}, err
			}
		}
		return none{}, a.shut(ctx, client, in.RepositoryName(), toClose, p)
	})
	return err
}

// known reports whether the workflow's own state names the index as ours. Its name alone proves
// nothing, and neither does a write block. Of an index whose first restore was begun the workflow
// knows no more than the name: so it must have our block, or come from our repository, too.
// Somebody else may have made an index of that name after a restore that failed.
func known(in migration.CloseRequest, index elastic.Index, from origin) bool {
	expected := in.Expected[index.Name].UUID
	return expected != "" && expected == index.UUID ||
		slices.Contains(in.Begun, index.Name) && (hasOurBlock(index) || from.ours())
}

// shut closes indices, and waits while a snapshot or restore uses them. It deletes an index that a
// failed restore of ours holds for ever: the next restore restores it completely.
func (a *Activities) shut(ctx context.Context, client *elastic.Client, repository string, names []string,
	p *pulse,
) error {
	pace := a.slotPace()
	for len(names) > 0 {
		err := client.CloseIndices(ctx, names)
		if elastic.KindOf(err) != elastic.SlotTaken {
			return err
		}
		p.update(func(progress *migration.Progress) { progress.Waiting = err.Error() })
		copies, err := client.Shards(ctx, names)
		if err != nil {
			return err
		}
		stuck := stuckIn(copies, repository)
		if len(stuck) > 0 {
			if err := a.whenFree(ctx, p, func() error { return client.DeleteIndices(ctx, stuck) }); err != nil {
				return err
			}
			names = slices.DeleteFunc(slices.Clone(names),
				func(name string) bool { return slices.Contains(stuck, name) })
			continue
		}
		if err := a.wait(ctx, &pace); err != nil {
			return err
		}
	}
	return nil
}

// stuckIn names the indices with a primary whose restore from the repository has failed for good.
func stuckIn(copies []elastic.ShardCopy, repository string) []string {
	var stuck []string
	for _, c := range copies {
		if c.Primary && failedForGood(c) && c.Source != nil && c.Source.Repository == repository &&
			!slices.Contains(stuck, c.Index) {
			stuck = append(stuck, c.Index)
		}
	}
	return stuck
}

// foreign is the error for an index that this migration did not restore.
func foreign(client *elastic.Client, name string) error {
	return fail(migration.ErrorRefused, "close index %s on %s: this migration did not restore it, and a restore "+
		"would overwrite it: delete it there, or reindex it under another name and delete it", name, client.Host())
}

func hasOurBlock(index elastic.Index) bool { return index.Blocks[writeBlock] == "true" }

// asRestored reports whether an index has the settings of a restore apart from the block. A
// handover changes them. So an index without them may be handed over, and nothing of ours may close
// it or delete it: this may be a late attempt of an activity that nobody waits for any more.
func asRestored(index elastic.Index) bool {
	return hasOurBlock(index) || index.Settings[autoExpand] == "false"
}

// untouched makes sure that nobody wrote to the open indices since the last restore.
func untouched(ctx context.Context, client *elastic.Client, in migration.CloseRequest, open []elastic.Index,
	origins map[string]origin,
) error {
	var written, other []string
	for _, index := range open {
		if !asRestored(index) {
			other = append(other, index.Name)
		}
	}
	if len(other) > 0 {
		return fail(migration.ErrorTargetOpened, "close the target's indices on %s: %s", client.Host(),
			named("these lack the write block and the other settings of a restore, so that they are handed over, or "+
				"somebody changed them: ", other))
	}
	if in.AcceptWrites {
		return nil
	}
	var restored []elastic.Index
	for _, index := range open {
		switch {
		case !origins[index.Name].restoring:
			restored = append(restored, index)
		case !hasOurBlock(index):
			written = append(written, index.Name+" (it is being restored, and lacks the write block)")
		}
		// An index that is still being restored behind our block took no writes. It has no counters
		// for some of its shards.
	}
	if len(restored) > 0 {
		counted, err := counters(ctx, client, restored)
		if err != nil {
			return err
		}
		for _, index := range restored {
			now, expected := counted[index.Name], in.Expected[index.Name]
			expected.Definition = "" // it is no write, and the restore brings the source's back
			switch {
			case now.Writes == 0 && origins[index.Name].ours():
				// The shards are as a restore of ours left them, perhaps a later one than the
				// workflow knows of.
			case !hasOurBlock(index):
				written = append(written, fmt.Sprintf("%s (it lacks the write block; %d operations and %d documents "+
					"now)",
					index.Name, now.Writes, now.Docs))
			case now == expected:
			case now.Writes == 0 && in.InDoubt && known(in, index, origins[index.Name]):
				// Nobody saw the end of the restore, and then the target was restarted, so that it
				// doesn't tell any more where the shards came from.
			default:
				written = append(written, fmt.Sprintf("%s (%d operations and %d documents now, %d and %d after the "+
					"restore)", index.Name, now.Writes, now.Docs, expected.Writes, expected.Docs))
			}
		}
	}
	return writtenTo(client, written)
}

func writtenTo(client *elastic.Client, indices []string) error {
	if len(indices) == 0 {
		return nil
	}
	return fail(migration.ErrorTargetWritten, "close the target's indices on %s: somebody wrote to %s",
		client.Host(), named("", indices))
}

// counters adds up the write counters of each index's primaries.
func counters(ctx context.Context, client *elastic.Client, indices []elastic.Index) (migration.WriteCounters, error) {
	shards, err := client.WriteCounters(ctx, indexNames(indices))
	if err != nil {
		return nil, err
	}
	return summed(indices, shards), nil
}

// docsByShard are the documents of the primaries, by index. Shards are sorted, and none is missing.
func docsByShard(shards []elastic.ShardCounters) migration.ShardDocs {
	docs := migration.ShardDocs{}
	for _, shard := range shards {
		docs[shard.Index] = append(docs[shard.Index], shard.Docs)
	}
	return docs
}

// summed adds up the write counters of each index's primaries; shards of other indices don't count.
func summed(indices []elastic.Index, shards []elastic.ShardCounters) migration.WriteCounters {
	sums := make(migration.WriteCounters, len(indices))
	for _, index := range indices {
		sums[index.Name] = migration.Counter{UUID: index.UUID}
	}
	for _, shard := range shards {
		if sum, asked := sums[shard.Index]; asked {
			sum.Writes += shard.IndexTotal + shard.DeleteTotal
			sum.Docs += shard.Docs
			sums[shard.Index] = sum
		}
	}
	return sums
}

// countersAndDefinitions also reads the digests of the definitions.
func countersAndDefinitions(ctx context.Context, client *elastic.Client,
	indices []elastic.Index,
) (migration.WriteCounters, error) {
	var counted migration.WriteCounters
	var definitions map[string]string
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		counted, err = counters(ctx, client, indices)
		return err
	})
	both.Go(func() (err error) {
		definitions, err = client.DefinitionDigests(ctx, indexNames(indices))
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	for name, counter := range counted {
		counter.Definition = definitions[name]
		counted[name] = counter
	}
	return counted, nil
}

// comparison says what must be as the last restore left it, beyond the index itself and its write
// counters.
type comparison struct {
	docs, block bool
	// definition compares mappings, settings and aliases, where the last restore's are known.
	definition bool
	skip       func(elastic.Index) bool // indices to leave out; may be nil
	// count reads the counters of indices that exist and are open; nil has them read here.
	count func(context.Context, []elastic.Index) (migration.WriteCounters, error)
}

// changedSince says, in words and by index, what is not as the last restore left it. Without
// counters to compare with it says nothing.
func changedSince(ctx context.Context, client *elastic.Client, names []string, expected migration.WriteCounters,
	compare comparison,
) (map[string]string, error) {
	changes := map[string]string{}
	if expected == nil {
		return changes, nil
	}
	found, _, err := existing(ctx, client, names)
	if err != nil {
		return nil, err
	}
	var compared []elastic.Index
	for _, name := range names {
		index, there := found[name]
		switch {
		case !there:
			changes[name] = "it does not exist"
		case compare.skip != nil && compare.skip(index):
		case !index.Open:
			changes[name] = "it is closed"
		default:
			compared = append(compared, index)
		}
	}
	if len(compared) == 0 {
		return changes, nil
	}
	count := compare.count
	if count == nil {
		count = func(ctx context.Context, indices []elastic.Index) (migration.WriteCounters, error) {
			if compare.definition {
				return countersAndDefinitions(ctx, client, indices)
			}
			return counters(ctx, client, indices)
		}
	}
	counted, err := count(ctx, compared)
	if err != nil {
		return nil, err
	}
	for _, index := range compared {
		now := counted[index.Name]
		before, known := expected[index.Name]
		var change []string
		if !known {
			change = append(change, "its counters after the last restore are unknown")
		} else if now.UUID != before.UUID {
			change = append(change, fmt.Sprintf("it is another index (UUID %s instead of %s)", now.UUID, before.UUID))
		} else if compare.docs && now.Docs != before.Docs {
			change = append(change, fmt.Sprintf("it has %d documents instead of the %d that were restored", now.Docs,
				before.Docs))
		}
		if now.Writes != 0 {
			change = append(change, fmt.Sprintf("it took %d operations", now.Writes))
		}
		if before.Definition != "" && now.Definition != "" && now.Definition != before.Definition {
			change = append(change, "its mappings, settings or aliases are not those of the restore")
		}
		if compare.block && !hasOurBlock(index) {
			change = append(change, "it lacks the write block")
		}
		if len(change) > 0 {
			changes[index.Name] = strings.Join(change, ", ")
		}
	}
	return changes, nil
}

// origin tells where the primaries of an open index were restored from, or are being restored from.
type origin struct {
	// snapshots of our repository, one for each primary; "" for a primary that came from elsewhere,
	// or whose origin is unknown.
	snapshots []string
	// repositories are those of the snapshots, in the same order.
	repositories []string
	// restoring is set while one of the primaries is not started.
	restoring bool
}

// ours reports whether every primary came from our repository, which nobody else restores from.
func (o origin) ours() bool { return len(o.snapshots) > 0 && !slices.Contains(o.snapshots, "") }

// isAll reports whether every primary came from that snapshot.
func (o origin) isAll(snapshot string) bool {
	return o.ours() && !slices.ContainsFunc(o.snapshots, func(other string) bool { return other != snapshot })
}

// originsOf finds out where the primaries of open indices came from.
func originsOf(ctx context.Context, client *elastic.Client, repository string,
	open []string,
) (map[string]origin, error) {
	return originsAmong(ctx, client, func(name string) bool { return name == repository }, open)
}

// originsAmong is originsOf for several repositories of ours.
func originsAmong(ctx context.Context, client *elastic.Client, ours func(repository string) bool,
	open []string,
) (map[string]origin, error) {
	origins := map[string]origin{}
	if len(open) == 0 {
		return origins, nil
	}
	// The routing table first: it tells the source of a primary until that is started, and then its
	// recovery does. The other way round, a primary that starts between the two requests would be
	// in neither.
	copies, err := client.Shards(ctx, open)
	if err != nil {
		return nil, err
	}
	recoveries, err := client.Recovery(ctx, open)
	if err != nil {
		return nil, err
	}
	type shard struct {
		index  string
		number int
	}
	recovered := map[shard]elastic.RecoverySource{}
	for _, r := range recoveries {
		if r.Primary && r.Type == "SNAPSHOT" && ours(r.Repository) {
			recovered[shard{r.Index, r.Shard}] = elastic.RecoverySource{Repository: r.Repository, Snapshot: r.Snapshot}
		}
	}
	for _, c := range copies {
		if !c.Primary {
			continue
		}
		o, from := origins[c.Index], elastic.RecoverySource{}
		if c.Started() {
			from = recovered[shard{c.Index, c.Shard}]
		} else if c.Source != nil && c.Source.Type == "SNAPSHOT" && ours(c.Source.Repository) {
			from, o.restoring = *c.Source, true
		}
		o.snapshots, o.repositories = append(o.snapshots, from.Snapshot), append(o.repositories, from.Repository)
		origins[c.Index] = o
	}
	return origins, nil
}

// OpenTarget makes sure that the restored indices are open, have their primaries and refuse writes.
// It returns their counters, and the settings that the target doesn't know. It sets no block: every
// restore brings one, so an index without it was written by somebody, or is handed over and this is
// a late attempt.
func (a *Activities) OpenTarget(ctx context.Context, in migration.OpenRequest) (migration.OpenResult, error) {
	return perform(ctx, a, "opening the target's indices",
		func(ctx context.Context, p *pulse) (migration.OpenResult, error) {
			names, err := a.lists.names(ctx, in.Run, in.Indices, in.IndicesOf)
			if err != nil {
				return migration.OpenResult{}, err
			}
			in.Indices = targetNames(in.Run, names)
			client, err := a.cluster(ctx, onTarget, in.Run)
			if err != nil {
				return migration.OpenResult{}, err
			}
			if err := client.OpenIndices(ctx, in.Indices); err != nil {
				return migration.OpenResult{}, err
			}
			if err := a.notRed(ctx, client, in.Indices, p); err != nil {
				return migration.OpenResult{}, err
			}
			return a.countOpened(ctx, in, client)
		})
}

// openRestored is OpenTarget for indices whose primaries a restore has just started. So they are
// open and not red. nil leaves it to OpenTarget, which also says why it fails.
func (a *Activities) openRestored(ctx context.Context, in migration.RestoreRequest, client *elastic.Client,
	p *pulse,
) *migration.OpenResult {
	p.set(migration.Progress{Doing: "counting what was restored"})
	opened, err := a.countOpened(ctx, migration.OpenRequest{
		IndicesRequest: migration.IndicesRequest{
			Run: in.Run, Indices: migration.IndexNames(in.Indices), IndicesOf: in.IndicesOf,
		},
		Known: in.Open.Known, KnownOf: in.Open.KnownOf, All: in.Open.All, AllOf: in.Open.AllOf,
	}, client)
	if err != nil {
		activity.GetLogger(ctx).Warn("what was restored is left to be opened and counted", "error", err)
		return nil
	}
	return &opened
}

// countOpened makes sure that open indices refuse writes, and counts what they hold.
func (a *Activities) countOpened(ctx context.Context, in migration.OpenRequest, client *elastic.Client,
) (migration.OpenResult, error) {
	var indices []elastic.Index
	both, working := errgroup.WithContext(ctx)
	both.Go(func() error { return client.Refresh(working, in.Indices) })
	both.Go(func() (err error) {
		indices, err = client.Indices(working, in.Indices...)
		return err
	})
	if err := both.Wait(); err != nil {
		return migration.OpenResult{}, err
	}
	var unblocked []string
	for _, index := range indices {
		if !hasOurBlock(index) {
			unblocked = append(unblocked, index.Name)
		}
	}
	if len(unblocked) > 0 {
		return migration.OpenResult{}, fail(migration.ErrorTargetOpened, "open the target's indices on %s: %s",
			client.Host(), named("every restore sets the block index.blocks.write, and these are open for "+
				"writes: ", unblocked))
	}
	counted, err := countersAndDefinitions(ctx, client, indices)
	if err != nil {
		return migration.OpenResult{}, err
	}
	for name, counter := range counted {
		// A restored shard counts from 0. If somebody wrote since, CloseTarget and VerifyTarget must
		// notice that, so those writes don't count as the restore's.
		counter.Writes = 0
		counted[name] = counter
	}
	opened, err := a.lists.opened(ctx, in, renamed(counted, in.SourceIndex))
	opened.Archived = archivedOf(indices, in.SourceIndex)
	return opened, err
}

// longPoll is for how long a cluster is asked to wait until something is so. A person sees what it
// waits for after that time.
const longPoll = 5 * time.Second

// notRed waits until every index has its primaries.
func (a *Activities) notRed(ctx context.Context, client *elastic.Client, indices []string, p *pulse) error {
	pace := statusPace()
	for {
		if active, err := client.AwaitPrimaries(ctx, indices, longPoll); err != nil || active {
			return err
		}
		health, err := client.Health(ctx, indices)
		if err != nil {
			return err
		}
		var red []string
		for _, name := range indices {
			if status := health.Indices[name]; status != "green" && status != "yellow" {
				red = append(red, name)
			}
		}
		p.update(func(progress *migration.Progress) { progress.Waiting = named("primaries are missing in ", red) })
		if len(red) == 0 {
			return nil
		}
		if err := a.wait(ctx, &pace); err != nil {
			return err
		}
	}
}
