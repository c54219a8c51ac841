package sides

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
)

func open(source objectstore.Source, sink objectstore.Sink) (from, to Store) {
	return Open(source, sink, transfer.New(source, sink, transfer.Options{}), transfer.Retry{})
}

// A million keys are never in memory: both listings are read in step.
func TestListingsAreMergedAsTheyCome(t *testing.T) {
	const keys = 100_000
	source, sink := &endless{step: 1, keys: keys}, &endless{step: 3, keys: keys}
	from, to := open(source, sink)
	seen, both := 0, 0
	for pair, err := range Pairs(t.Context(), from, to, "") {
		require.NoError(t, err)
		seen++
		if pair.Source != nil && pair.Target != nil {
			both++
			require.Equal(t, pair.Source.Key, pair.Target.Key)
		}
		require.LessOrEqual(t, source.given, seen+1)
		require.LessOrEqual(t, sink.given, both+1)
	}
	require.Equal(t, keys, seen)
	require.Equal(t, (keys+2)/3, both)
}

// endless lists each key whose number is a multiple of its step, and counts those it has given.
type endless struct {
	*memory.Store
	step, keys, given int
}

func (s *endless) List(_ context.Context, _ string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		for n := 0; n < s.keys; n += s.step {
			s.given++
			if !yield(objectstore.Object{Key: fmt.Sprintf("indices/movies/0/__%08d", n)}, nil) {
				return
			}
		}
	}
}

// A march enters each shard once, sees all keys of it and leaves it, and comes to the expected
// shards that stand nowhere at the end.
func TestMarchGoesFromShardToShard(t *testing.T) {
	source, sink := memory.NewSource(), memory.NewSink()
	for _, key := range []string{
		"indices/a/0/__0", "indices/a/0/snap-s.dat", "indices/a/10/__0", "indices/a/2/__0",
		"indices/a/meta-s.dat", "indices/ab/0/__0",
	} {
		source.Store(key, []byte("x"))
	}
	for _, key := range []string{"indices/a/0/__0", "indices/a/1/__0", "indices/a/notes"} {
		sink.Store(key, []byte("x"))
	}
	from, to := open(source, sink)
	var steps []string
	march := March{
		Source: from, Target: to,
		Enter: func(_ context.Context, s repository.ShardID) error {
			steps = append(steps, fmt.Sprint("enter ", s.Number))
			return nil
		},
		Leave: func(_ context.Context, s repository.ShardID) error {
			steps = append(steps, fmt.Sprint("leave ", s.Number))
			return nil
		},
		See: func(_ context.Context, p Pair, k repository.Key) error {
			require.Equal(t, repository.Classify(p.Key), k)
			steps = append(steps, fmt.Sprint(p.Key[len("indices/a/"):], p.Source != nil, p.Target != nil))
			return nil
		},
	}
	shard := func(n int) repository.ShardID { return repository.ShardID{IndexID: "a", Number: n} }
	require.NoError(t, march.Index(t.Context(), "a", []repository.ShardID{shard(7), shard(0), shard(4)}))
	require.Equal(t, []string{
		"enter 0", "0/__0true true", "0/snap-s.dattrue false", "leave 0",
		"enter 1", "1/__0false true", "leave 1",
		"enter 10", "10/__0true false", "leave 10",
		"enter 2", "2/__0true false", "meta-s.dattrue false", "notesfalse true", "leave 2",
		"enter 4", "leave 4", "enter 7", "leave 7",
	}, steps)
}

// The first error of a callback, or of a listing, ends a march.
func TestMarchEndsAtTheFirstError(t *testing.T) {
	failure := errors.New("enough")
	source, sink := memory.NewSource(), memory.NewSink()
	source.Store("indices/a/0/__0", []byte("x"))
	from, to := open(source, sink)
	shard := func(context.Context, repository.ShardID) error { return nil }
	see := func(context.Context, Pair, repository.Key) error { return nil }
	fails := func(context.Context, repository.ShardID) error { return failure }
	for name, march := range map[string]March{
		"enter": {Enter: fails, Leave: shard, See: see},
		"leave": {Enter: shard, Leave: fails, See: see},
		"see": {
			Enter: shard, Leave: shard,
			See: func(context.Context, Pair, repository.Key) error { return failure },
		},
	} {
		march.Source, march.Target = from, to
		require.ErrorIs(t, march.Index(t.Context(), "a", nil), failure, name)
	}
	source.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Forbidden, c) }})
	err := March{Source: from, Target: to, Enter: shard, Leave: shard, See: see}.Index(t.Context(), "a", nil)
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err))
}
