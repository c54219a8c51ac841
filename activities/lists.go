package activities

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/migration"
)

// lists keeps lists that are too long for payloads in OSS.
type lists struct {
	// open opens the folder that holds a run's lists. It lies beside the run's repository:
	// Elasticsearch doesn't expect anybody else's objects inside.
	open func(context.Context, migration.Run) (objectstore.Sink, error)
	// longest bounds, in bytes of JSON, a list that isn't stored.
	longest int
}

func newLists(k keys) lists { return lists{open: k.openLists, longest: migration.LongestInline} }

func (k keys) openLists(ctx context.Context, run migration.Run) (objectstore.Sink, error) {
	return k.openBeside(ctx, run, run.ListsPath())
}

// openBeside opens a folder that lies beside the run's repository.
func (k keys) openBeside(ctx context.Context, run migration.Run, path string) (objectstore.Sink, error) {
	o, err := k.ossOptions(ctx, run)
	if err != nil {
		return nil, err
	}
	o.BasePath = path
	return oss.New(o)
}

// longestStored bounds a stored list, in bytes of JSON: some 100,000 indices.
const longestStored = 64 << 20

// store puts a list into OSS under its digest, so that to store it again changes nothing.
func store[T any](ctx context.Context, l lists, run migration.Run, list T) (migration.Stored[T], error) {
	var stored migration.Stored[T]
	text, err := json.Marshal(list)
	if err != nil {
		return stored, err
	}
	sum := sha256.Sum256(text)
	stored = migration.Stored[T]{Digest: fmt.Sprintf("%x", sum), Entries: reflect.ValueOf(list).Len()}
	sink, err := l.open(ctx, run)
	if err != nil {
		return stored, err
	}
	_, err = sink.Put(ctx, stored.Digest, bytes.NewReader(text), int64(len(text)), nil)
	return stored, err
}

// storeIfLong is store for a list that is too long for a payload; a short one is returned.
func storeIfLong[T any](ctx context.Context, l lists, run migration.Run, list T) (T, migration.Stored[T], error) {
	if !l.long(list) {
		return list, migration.Stored[T]{}, nil
	}
	stored, err := store(ctx, l, run, list)
	var none T
	return none, stored, err
}

// shorter is for lists of which a payload holds several.
func (l lists) shorter(several int) lists {
	l.longest /= several
	return l
}

// long tells whether a list is too long for a payload.
func (l lists) long(list any) bool {
	text, err := json.Marshal(list)
	return err == nil && len(text) > l.longest
}

// fetch is the list that is stored, or the inline one if none is.
func fetch[T any](ctx context.Context, l lists, run migration.Run, inline T, stored migration.Stored[T]) (T, error) {
	if stored.IsZero() {
		return inline, nil
	}
	var list T
	sink, err := l.open(ctx, run)
	if err != nil {
		return list, err
	}
	text, _, err := sink.Get(ctx, stored.Digest, longestStored)
	if err != nil {
		return list, fmt.Errorf("read a stored list of %d entries below %s in the bucket %s: %w", stored.Entries,
			run.ListsPath(), run.Plan.Target.Repository.Bucket, err)
	}
	if sum := sha256.Sum256(text); fmt.Sprintf("%x", sum) != stored.Digest {
		return list, fail(migration.ErrorRepository, "read the stored list %s below %s in the bucket %s: "+
			"somebody has changed it", stored.Digest, run.ListsPath(), run.Plan.Target.Repository.Bucket)
	}
	return list, json.Unmarshal(text, &list)
}

// names are those that a request has, or those of its stored list.
func (l lists) names(ctx context.Context, run migration.Run, inline []string,
	stored migration.Stored[[]migration.Index],
) ([]string, error) {
	if stored.IsZero() {
		return inline, nil
	}
	indices, err := fetch(ctx, l, run, nil, stored)
	return migration.IndexNames(indices), err
}

// doubted are the indices whose marks mean nothing: those that a request names, and those of stored
// lists.
func (l lists) doubted(ctx context.Context, run migration.Run, inline []string,
	stored []migration.Stored[[]migration.Index],
) (map[string]bool, error) {
	doubted := map[string]bool{}
	for _, name := range inline {
		doubted[name] = true
	}
	for _, list := range stored {
		names, err := l.names(ctx, run, nil, list)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			doubted[name] = true
		}
	}
	return doubted, nil
}

// indexList is what a workflow gets of indices: the list itself, or, if it is too long, what stands
// for it.
func (l lists) indexList(ctx context.Context, run migration.Run, indices []migration.Index,
	request migration.ResolveRequest,
) (migration.IndexList, error) {
	list := l.listed(indices)
	if list.About == nil {
		return list, nil
	}
	seen, err := fetch(ctx, l, run, request.Seen, request.SeenOf)
	if err != nil {
		return list, err
	}
	list.About.Since = migration.WritesSince(indices, seen)
	counted := migration.CountedWrites(indices)
	for _, name := range request.Pick {
		if migration.MovedSince(name, counted, seen) {
			list.About.Moved = append(list.About.Moved, name)
		}
	}
	if list.About.IndicesOf, err = store(ctx, l, run, indices); err != nil {
		return list, err
	}
	list.About.CountedOf, err = store(ctx, l, run, counted)
	return list, err
}

// listed is indexList for a workflow that asks for nothing of the list: it stores nothing.
func (l lists) listed(indices []migration.Index) migration.IndexList {
	if !l.long(indices) {
		return migration.ListIndices(indices)
	}
	about := migration.AboutIndices{
		Count: len(indices), Identity: migration.IdentityOf(indices),
		First: slices.Clone(indices[:min(len(indices), migration.StatusIndices)]),
	}
	for _, index := range indices {
		about.Shards += int64(index.Shards)
		about.Docs += index.Docs
		about.Bytes += index.Bytes
	}
	return migration.IndexList{About: &about}
}

// opened is the result of opening indices whose counters these are.
func (l lists) opened(ctx context.Context, in migration.OpenRequest,
	counted migration.WriteCounters,
) (migration.OpenResult, error) {
	if len(in.Known) == 0 && in.KnownOf.IsZero() && in.IndicesOf.IsZero() {
		return migration.OpenResult{Counters: counted}, nil
	}
	known, err := fetch(ctx, l, in.Run, in.Known, in.KnownOf)
	if err != nil {
		return migration.OpenResult{}, err
	}
	all := maps.Clone(known)
	if all == nil {
		all = migration.WriteCounters{}
	}
	maps.Copy(all, counted)
	names := slices.Sorted(maps.Keys(counted))
	if len(in.All) > 0 || !in.AllOf.IsZero() {
		if names, err = l.names(ctx, in.Run, in.All, in.AllOf); err != nil {
			return migration.OpenResult{}, err
		}
	}
	opened := migration.Opened{First: migration.WriteCounters{}}
	for i, name := range names {
		opened.Docs += all[name].Docs
		if i < migration.StatusIndices {
			opened.First[name] = all[name]
		}
	}
	left := migration.LeftBehind(all, names)
	opened.LeftCount = len(left)
	opened.Left = left[:min(len(left), migration.LeftNamed)]
	result := migration.OpenResult{Opened: &opened}
	result.Counters, result.CountersOf, err = storeIfLong(ctx, l, in.Run, all)
	return result, err
}

// unfolded is a request to close indices with all its lists.
func (l lists) unfolded(ctx context.Context, in migration.CloseRequest) (migration.CloseRequest, error) {
	var err error
	if in.Indices, err = l.names(ctx, in.Run, in.Indices, in.IndicesOf); err != nil {
		return in, err
	}
	if in.Expected, err = fetch(ctx, l, in.Run, in.Expected, in.ExpectedOf); err != nil {
		return in, err
	}
	in.Begun, err = l.begun(ctx, in.Run, in.Begun, in.BegunOf, in.Expected)
	return in, err
}

// rehearsed is a request about a rehearsal's indices with all its lists.
func (l lists) rehearsed(ctx context.Context,
	in migration.RehearsedIndicesRequest,
) (migration.RehearsedIndicesRequest, error) {
	var err error
	if in.Indices, err = fetch(ctx, l, in.Run, in.Indices, in.IndicesOf); err != nil {
		return in, err
	}
	if in.Expected, err = fetch(ctx, l, in.Run, in.Expected, in.ExpectedOf); err != nil {
		return in, err
	}
	in.Begun, err = l.begun(ctx, in.Run, in.Begun, in.BegunOf, in.Expected)
	return in, err
}

// begun names the indices whose first restore was begun: those of the lists that have no counters.
func (l lists) begun(ctx context.Context, run migration.Run, inline []string,
	stored []migration.Stored[[]migration.Index], expected migration.WriteCounters,
) ([]string, error) {
	names := slices.Clone(inline)
	for _, list := range stored {
		more, err := l.names(ctx, run, nil, list)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { _, restored := expected[name]; return restored })
	slices.Sort(names)
	return slices.Compact(names), nil
}
