package ferry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
)

// withdraw has OSS list no snapshot any more that is deleted in S3, before the first blob is
// written whose name may have been one of theirs: Elasticsearch up to 6.x names blobs by a counter,
// which goes back when the newest snapshot is deleted. From then on such a snapshot can't be
// restored, and the copy may die long before it publishes. Elasticsearch deletes in the same order:
// first the root that lists the snapshot no more, then what it needed.
//
// The root that it writes is the published one without those snapshots. Its generation is one that
// S3 has passed already, and below the one to come.
func (r *round) withdraw(ctx context.Context, p *plan) error {
	gone := r.overwritten(p)
	if len(gone) == 0 {
		return nil
	}
	r.doing("withdrawing what was deleted")
	generation := r.from.Generation - 1
	if generation <= r.to.Generation { // a delete and a snapshot since have raised it by two
		return r.conflict("index-%d in OSS lists the snapshot %s, and index-%d in S3 doesn't",
			r.to.Generation, gone[0].Name, r.from.Generation)
	}
	data, err := without(r.to.Data, gone)
	if err != nil {
		return r.conflict("index-%d in OSS can't be understood: %v", r.to.Generation, err)
	}
	root, err := repository.ParseRoot(generation, data)
	if err != nil {
		return r.conflict("index-%d in OSS can't be written without the snapshot %s: %v", r.to.Generation, gone[0].Name,
			err)
	}
	if err := r.unlessPublished(ctx, generation); err != nil {
		return err
	}
	if err := r.mover.Write(ctx, repository.RootIndexKey(generation), data, ""); err != nil {
		return err
	}
	r.to = r.to.WithRoot(root, data)
	return r.publishLatest(ctx, generation)
}

// overwritten are the snapshots that OSS lists and S3 doesn't, if the delta may overwrite blobs of
// any of them: it does so only within an index that they have in common, which keeps its id as long
// as a snapshot of it is left.
func (r *round) overwritten(p *plan) []repository.Snapshot {
	if r.to.Root == nil || len(p.counted) == 0 {
		return nil
	}
	gone := deleted(r.from, r.to)
	if !slices.ContainsFunc(gone, func(s repository.Snapshot) bool {
		return slices.ContainsFunc(r.to.IndicesOf(s.UUID), func(i repository.Index) bool { return p.counted[i.ID] })
	}) {
		return nil
	}
	return gone
}

// deleted are the snapshots that OSS lists and S3 doesn't.
func deleted(from, to sides.Side) []repository.Snapshot {
	return slices.DeleteFunc(slices.Clone(to.Snapshots), func(s repository.Snapshot) bool {
		_, ok := from.Snapshot(s.UUID)
		return ok
	})
}

// withdraw is that of a mirrored repository, whose blobs are all named by counters.
func (m *mirror) withdraw(ctx context.Context) error {
	if m.to.Root == nil {
		return nil
	}
	gone := deleted(m.from, m.to)
	if len(gone) == 0 {
		return nil
	}
	data, err := without(m.to.Data, gone)
	if err != nil {
		return m.conflict("%s in OSS can't be understood: %v", repository.LegacyRootKey, err)
	}
	root, err := repository.ParseRoot(m.to.Generation, data)
	if err != nil {
		return m.conflict("the root %s in OSS can't be written without the snapshot %s: %v",
			repository.LegacyRootKey, gone[0].Name, err)
	}
	if err := m.unlessPublished(ctx); err != nil {
		return err
	}
	if err := m.mover.Write(ctx, repository.LegacyRootKey, data, m.from.ETag); err != nil {
		return err
	}
	m.to = m.to.WithRoot(root, data)
	return nil
}

// without makes a root index-N that lists all but these snapshots. Whatever else it holds stays as
// it is.
func without(root []byte, gone []repository.Snapshot) ([]byte, error) {
	isGone := func(entry json.RawMessage) bool {
		uuid := snapshotOf(entry)
		return slices.ContainsFunc(gone, func(s repository.Snapshot) bool { return s.UUID == uuid })
	}
	var fields, indices map[string]json.RawMessage
	if err := json.Unmarshal(root, &fields); err != nil {
		return nil, err
	}
	if err := filterField(fields, "snapshots", isGone, nil); err != nil {
		return nil, err
	}
	if fields["indices"] == nil { // 2.x
		return json.Marshal(fields)
	}
	if err := json.Unmarshal(fields["indices"], &indices); err != nil {
		return nil, fmt.Errorf("its indices: %w", err)
	}
	for name, text := range indices {
		var index map[string]json.RawMessage
		if err := json.Unmarshal(text, &index); err != nil {
			return nil, fmt.Errorf("the index %s: %w", name, err)
		}
		left := 0
		err := filterField(index, "snapshots", isGone, &left)
		if err != nil {
			return nil, fmt.Errorf("the index %s: %w", name, err)
		}
		if left == 0 { // Elasticsearch forgets such an index, too
			delete(indices, name)
			continue
		}
		if indices[name], err = json.Marshal(index); err != nil {
			return nil, err
		}
	}
	var err error
	if fields["indices"], err = json.Marshal(indices); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// filterField drops entries of a list and counts those that are left.
func filterField(object map[string]json.RawMessage, name string, drop func(json.RawMessage) bool, left *int) error {
	var list []json.RawMessage
	if err := json.Unmarshal(object[name], &list); err != nil {
		return fmt.Errorf("its %s: %w", name, err)
	}
	list = slices.DeleteFunc(list, drop)
	if left != nil {
		*left = len(list)
	}
	text, err := json.Marshal(append([]json.RawMessage{}, list...)) // an empty list is [], not null
	object[name] = text
	return err
}

// snapshotOf is the uuid of an entry that stands for a snapshot: an object, or, in the list of an
// index since 5.4.1, the uuid alone.
func snapshotOf(entry json.RawMessage) (uuid string) {
	if json.Unmarshal(entry, &uuid) == nil {
		return uuid
	}
	var object struct {
		UUID string `json:"uuid"`
	}
	_ = json.Unmarshal(entry, &object)
	return object.UUID
}
