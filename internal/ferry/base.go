package ferry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// bases are the snapshots from which the deltas of indices are taken: a snapshot's uuid by the id
// of an index. Each is complete in OSS and holds the index: what it has, a delta leaves out. Of an
// index without one, all is copied.
type bases map[string]string

// digest stands for the bases; 0 if there are none.
func (b bases) digest() (sum migration.Digest) {
	for id, uuid := range b {
		sum += digestOf(id, 0, uuid)
	}
	return sum
}

// usual is the base of most indices.
func (b bases) usual() (usual string) {
	count := map[string]int{}
	for _, uuid := range b {
		count[uuid]++
	}
	for _, uuid := range slices.Sorted(maps.Keys(count)) {
		if count[uuid] > count[usual] {
			usual = uuid
		}
	}
	return usual
}

// chooseBases finds the bases of the indices that the missing snapshots hold. A round's snapshot
// need not hold every index, so the newest one says nothing of those that it lacks.
func (r *round) chooseBases(ctx context.Context) error {
	chosen, err := r.basesOf(ctx, r.from, r.to, r.idsOf(r.missing()), r.request.BaseUUID)
	r.bases = chosen
	return err
}

// idsOf are the ids of the indices of snapshots.
func (r *round) idsOf(snapshots []string) map[string]bool {
	ids := map[string]bool{}
	for _, uuid := range snapshots {
		for _, index := range r.from.IndicesOf(uuid) {
			ids[index.ID] = true
		}
	}
	return ids
}

// basesOf finds for each index, by its id, the newest snapshot that the root in OSS lists as a
// success and that holds it. It must still be in S3: of one that is deleted, the blobs' names may
// be in use again, and an attempt that died may have written those to OSS. Any such snapshot is
// right, a newer one only leaves less to copy. known is one that succeeded, for certain.
func (j *job) basesOf(ctx context.Context, from, to sides.Side, ids map[string]bool, known string) (bases, error) {
	chosen := bases{}
	if to.Root == nil {
		return chosen, nil
	}
	open := map[string][]repository.Snapshot{}
	for _, index := range to.Indices {
		if !ids[index.ID] {
			continue
		}
		for _, uuid := range index.Snapshots {
			s, _ := to.Snapshot(uuid)
			if _, kept := from.Snapshot(uuid); kept && !failedForGood(s.State) {
				open[index.ID] = append(open[index.ID], s)
			}
		}
	}
	infos := &publishedInfos{job: j, to: to, known: known, of: map[string]*repository.SnapshotInfo{}}
	// What an object tells may raise the question for the next one; each is read once.
	for len(open) > 0 {
		var unread []string
		for id, candidates := range open {
			base, ask := infos.newest(candidates)
			if len(ask) > 0 {
				unread = append(unread, ask...)
				continue
			}
			delete(open, id)
			if base != "" {
				chosen[id] = base
			}
		}
		slices.Sort(unread)
		if err := infos.read(ctx, slices.Compact(unread)); err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// failedForGood tells whether a root says that a snapshot is none to build on.
func failedForGood(state repository.State) bool {
	return state != repository.StateSuccess && state != repository.StateUnknown
}

// publishedInfos are snapshots' own objects in OSS, by uuid, as far as they are needed.
type publishedInfos struct {
	*job
	to    sides.Side
	known string
	of    map[string]*repository.SnapshotInfo
}

// newest is the newest of the snapshots that succeeded, "" if none did; or ask names those whose
// own objects must be read to tell. The names of ours give their order, since the order within a
// root means nothing (5.5: a hash map's). Others' tell their times, and so does ours that is
// compared with them.
func (i *publishedInfos) newest(snapshots []repository.Snapshot) (base string, ask []string) {
	var ours *repository.Snapshot
	var turn migration.SnapshotTurn
	var others []repository.Snapshot
	for _, s := range snapshots {
		t, isOurs := migration.TurnOf(i.run.Plan.Name, s.Name)
		switch {
		case i.failed(s):
		case !isOurs:
			others = append(others, s)
		case ours == nil || t.Compare(turn) > 0:
			ours, turn = &s, t
		}
	}
	if ours != nil {
		others = append(others, *ours)
	}
	newest := int64(-1)
	for _, s := range others {
		info := i.of[s.UUID]
		if info == nil && (len(others) > 1 || s.State == repository.StateUnknown && s.UUID != i.known) {
			ask = append(ask, s.UUID)
		}
		if info == nil && len(others) == 1 {
			base = s.UUID
		}
		if info != nil && info.StartTime > newest {
			newest, base = info.StartTime, s.UUID
		}
	}
	return base, ask
}

// failed tells whether a snapshot is known not to have succeeded.
func (i *publishedInfos) failed(s repository.Snapshot) bool {
	info := i.of[s.UUID]
	return info != nil && s.State == repository.StateUnknown && info.State != repository.StateSuccess
}

func (i *publishedInfos) read(ctx context.Context, uuids []string) error {
	return sides.InParallel(ctx, i.concurrency, uuids, func(ctx context.Context, uuid string) error {
		key, err := repository.SnapshotKey(uuid)
		if err != nil {
			return err
		}
		data, err := i.published(ctx, i.to, key)
		if err != nil {
			return err
		}
		info, err := repository.ParseSnapshotInfo(data)
		if err != nil {
			return i.conflict("%s in OSS can't be understood: %v", key, err)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.of[uuid] = info
		return nil
	})
}

// noBase stands, in a page, for an index of which all is copied, if others have a base. It is no
// uuid.
const noBase = "-"

// mark says in the pages of a delta which indices have another base than most.
func (b bases) mark(pages []migration.CopyPage, usual string) {
	for _, page := range pages {
		for i := range page.Shards {
			r := &page.Shards[i]
			base, ok := b[r.IndexID]
			if !ok && usual != "" {
				base = noBase
			}
			if base != usual {
				r.Base = base
			}
		}
	}
}

// basesIn are those of a page.
func basesIn(page []migration.ShardRange, usual string) bases {
	b := bases{}
	for _, r := range page {
		base := r.Base
		if base == "" {
			base = usual
		}
		if base != noBase && base != "" {
			b[r.IndexID] = base
		}
	}
	return b
}

// agreedBases makes sure that a delta in pages was taken from the bases that there are now. A plan
// of an older worker has one base for all.
func (r *round) agreedBases(ctx context.Context, delta migration.CopyDelta) error {
	if err := r.chooseBases(ctx); err != nil {
		return err
	}
	if delta.Bases == 0 {
		for id := range r.idsOf(delta.Snapshots) {
			if delta.Base != "" {
				r.bases[id] = delta.Base
			}
		}
		return nil
	}
	if r.bases.digest() != delta.Bases {
		return fmt.Errorf("the delta is taken from other snapshots than the pages: %w", sides.ErrMoved)
	}
	return nil
}
