package activities

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// What a restore recovered is compared with the lists of files that its snapshot has in OSS. The
// lists are read while the target restores, so that little of it is left when it has done so.

const (
	// listsAtOnce bounds the requests to OSS.
	listsAtOnce = 16
	// shardsAtOnce bounds the shards of one answer of the target, which has the name of each file:
	// some hundred of 120 bytes in a shard.
	shardsAtOnce = 200
	longestWhy   = 300
	// listsPatience is how much longer than the restore the lists may take: writes may be blocked.
	listsPatience = 3 * time.Second
)

// listsRetry is short: the evidence is worth less than the time of a restore while writes are
// blocked.
var listsRetry = transfer.Retry{Attempts: 4}

// listed sums up the files that a snapshot lists, by index of the source and by shard.
type listed struct {
	lists *sides.FileLists
	sets  map[string][]repository.FileSet
	err   error
	done  chan struct{}
	stop  context.CancelFunc
}

// listFiles begins to read the snapshot's lists of files, if the evidence is wanted. Else it
// returns nil. Stop it.
func (r *restoring) listFiles(ctx context.Context) *listed {
	if !r.in.Files {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &listed{sets: map[string][]repository.FileSet{}, done: make(chan struct{}), stop: cancel}
	for _, index := range r.in.Indices {
		l.sets[r.in.SourceIndex(index.Name)] = make([]repository.FileSet, index.Shards)
	}
	go func() {
		defer close(l.done)
		l.err = l.read(ctx, r)
	}()
	return l
}

// end ends the reading, and waits for it.
func (l *listed) end() {
	if l != nil {
		l.stop()
		<-l.done
	}
}

func (l *listed) read(ctx context.Context, r *restoring) error {
	sink, err := r.sink(ctx, r.in.Run)
	if err != nil {
		return err
	}
	if l.lists, err = sides.ReadFileLists(ctx, sink, listsRetry, r.in.Snapshot.UUID); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listsAtOnce)
	for index, sets := range l.sets {
		for shard := range sets {
			group.Go(func() error {
				files, err := l.lists.Of(ctx, index, shard)
				if err == nil {
					sets[shard] = repository.NewFileSet(files)
				}
				return err
			})
		}
	}
	return group.Wait()
}

// compared adds the evidence to the result of a restore that is done. A restore doesn't fail for
// it: what decides is said by whoever proves that the target is equal.
func (r *restoring) compared(ctx context.Context, l *listed, result migration.RestoreResult,
	err error,
) (migration.RestoreResult, error) {
	if l == nil || err != nil {
		return result, err
	}
	found, err := r.compareFiles(ctx, l)
	if canceled(err) {
		return result, err
	}
	if err != nil {
		found = &migration.RestoredFiles{Why: human.Shorten(messageOf(err), longestWhy)}
	}
	result.Files = found
	return result, nil
}

func (r *restoring) compareFiles(ctx context.Context, l *listed) (*migration.RestoredFiles, error) {
	select {
	case <-l.done:
	case <-time.After(listsPatience):
		return nil, fmt.Errorf("the lists of files of snapshot %s could not be read from OSS within %s of the restore",
			r.in.Snapshot.Name, human.Span(listsPatience.Milliseconds()))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.err != nil {
		return nil, fmt.Errorf("read the lists of files of snapshot %s in OSS: %w", r.in.Snapshot.Name, l.err)
	}
	c := comparing{restoring: r, listed: l, found: migration.RestoredFiles{Named: true}}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(indicesAtOnce)
	for _, batch := range byShards(r.in.Indices) {
		group.Go(func() error { return c.batch(groupCtx, batch) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return &c.found, nil
}

// byShards splits indices so that each part has few shards.
func byShards(indices []migration.Index) [][]string {
	var all [][]string
	shards := shardsAtOnce
	for _, index := range indices {
		if shards+index.Shards > shardsAtOnce {
			all = append(all, nil)
			shards = 0
		}
		all[len(all)-1] = append(all[len(all)-1], index.Name)
		shards += index.Shards
	}
	return all
}

// comparing is one comparison under way.
type comparing struct {
	*restoring
	*listed
	mu    sync.Mutex
	found migration.RestoredFiles
}

// batch compares a few indices.
func (c *comparing) batch(ctx context.Context, names []string) error {
	shards, err := c.client.RecoveredFiles(ctx, names)
	if err != nil && elastic.KindOf(err) != elastic.Missing { // deleted since: then nothing is known of it
		return err
	}
	known := map[string]int{}
	for _, shard := range shards {
		index := c.in.SourceIndex(shard.Index)
		sets := c.sets[index]
		if shard.Repository != c.repository || shard.Snapshot != c.in.Snapshot.Name || shard.Shard >= len(sets) {
			continue
		}
		known[shard.Index]++
		if err := c.shard(ctx, index, sets[shard.Shard], shard); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		index := c.in.SourceIndex(name)
		if known[name] == len(c.sets[index]) {
			continue
		}
		if c.found.UnknownCount++; len(c.found.Unknown) < migration.MostUnknownIndices {
			c.found.Unknown = append(c.found.Unknown, index)
		}
	}
	return nil
}

// shard compares a shard. Only if it is different, its list is read once more, to say how.
func (c *comparing) shard(ctx context.Context, index string, want repository.FileSet,
	shard elastic.RecoveredShard,
) error {
	got := repository.FileSet{Files: int(shard.Count), Bytes: shard.Bytes}
	named := int64(len(shard.Files)) == shard.Count
	files := make([]repository.PhysicalFile, len(shard.Files))
	for i, f := range shard.Files {
		files[i] = repository.PhysicalFile{Name: f.Name, Length: f.Length}
	}
	if named {
		got = repository.NewFileSet(files)
	}
	same := want.Same(got)
	why := fmt.Sprintf("it recovered %d files with %d bytes, and the snapshot lists %d with %d", got.Files, got.Bytes,
		want.Files, want.Bytes)
	if !same && named {
		list, err := c.lists.Of(ctx, index, shard.Shard)
		if err != nil {
			return err
		}
		why += ": " + repository.DifferentFiles(list, files)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found.Named = c.found.Named && named
	if same {
		c.found.Shards++
		c.found.Files += int64(got.Files)
		c.found.Bytes += got.Bytes
		return nil
	}
	if c.found.UnlikeCount++; len(c.found.Unlike) < migration.MostUnlikeFiles {
		c.found.Unlike = append(c.found.Unlike, migration.UnlikeFiles{
			Index: index, Shard: shard.Shard, Why: human.Shorten(why, longestWhy),
		})
	}
	return nil
}
