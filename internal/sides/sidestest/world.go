package sidestest

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// Steps are what the workflow asks of a copy.
type Steps struct {
	Copy    func(migration.CopyRequest) (migration.CopyResult, error)
	Page    func(migration.PageRequest) (migration.PageResult, error)
	Publish func(migration.PublishRequest) (migration.CopyResult, error)
}

// World is a cluster that snapshots into S3, and a bucket in OSS that is empty at first.
type World struct {
	*repositorytest.Repository
	Source, Sink *memory.Store
	Names        map[string]string // of snapshots, by uuid
	// Steps copy.
	Steps func(t *testing.T) Steps
	// Base and BaseGeneration are what the workflow knows from round to round.
	Base           string
	BaseGeneration int64
	// Begun says that a copy was tried before.
	Begun bool
}

// Layouts are those that a copy takes a delta of, by the version that writes them.
var Layouts = map[string]repositorytest.Layout{"5.5": repositorytest.Layout55, "7.10": repositorytest.Layout710}

// New makes a world without a snapshot.
func New(layout repositorytest.Layout) *World {
	return &World{
		Repository: repositorytest.New(42, repositorytest.Options{Layout: layout, ChunkSize: 400, Compress: true}),
		Source:     memory.NewSource(), Sink: memory.NewSink(), Names: map[string]string{}, BaseGeneration: -1,
	}
}

// Take takes a snapshot in the cluster and gives its uuid; the bucket in S3 has it at once.
func (w *World) Take(name string, changes ...repositorytest.Change) string {
	uuid := w.Snapshot(name, changes...)
	w.Names[uuid] = name
	w.Sync()
	return uuid
}

// Sync makes the bucket in S3 hold what the cluster has, and nothing else.
func (w *World) Sync() { w.Source.Replace(w.Objects()) }

// Request asks for a snapshot to be copied.
func (w *World) Request(uuid string) migration.CopyRequest {
	return migration.CopyRequest{
		Run: migration.Run{Token: "tok", Plan: migration.Plan{
			Name: "movies",
			Copy: migration.Copy{Concurrency: 4},
		}},
		Snapshot: migration.Snapshot{Name: w.Names[uuid], UUID: uuid}, BaseUUID: w.Base,
		BaseGeneration: w.BaseGeneration,
	}
}

// ErrMoves says that the source moved in each try of Run.
var ErrMoves = errors.New("the source moves on and on")

// rounds is how often a copy in pages begins again.
const rounds = 5

// Run copies a snapshot as the workflow does, without Temporal's retries.
func (w *World) Run(t *testing.T, request migration.CopyRequest) (migration.CopyResult, error) {
	t.Helper()
	steps := w.Steps(t)
	request.Again, w.Begun = request.Again || w.Begun, true
	for range rounds {
		result, err := steps.Copy(request)
		if err != nil || result.Pages == nil {
			return result, err
		}
		request.Again = true
		publish := migration.PublishRequest{
			CopyRequest: request, Delta: result.Pages.Delta, Blobs: result.Pages.CarriedBlobs,
			Digest: result.Pages.CarriedDigest, Root: result.Pages.Root, RootOf: result.Pages.RootOf,
		}
		moved := false
		for _, page := range result.Pages.Pages {
			publish.Blobs += page.Blobs
			done, err := steps.Page(migration.PageRequest{
				Run: request.Run, Snapshot: request.Snapshot,
				Delta: result.Pages.Delta, Page: page, Again: w.Begun,
			})
			if err != nil {
				return migration.CopyResult{}, err
			}
			publish.Digest += done.Digest
			moved = moved || done.Moved
			result.BlobsCopied += done.BlobsCopied
			result.BytesCopied += done.BytesCopied
			result.BlobsSkipped += done.BlobsSkipped
			result.BytesSkipped += done.BytesSkipped
		}
		if moved {
			continue
		}
		last, err := steps.Publish(publish)
		if err != nil {
			return migration.CopyResult{}, err
		}
		if !last.Moved {
			result.Generation, result.Proven, result.Pages = last.Generation, last.Proven, nil
			return result, nil
		}
	}
	return migration.CopyResult{}, ErrMoves
}

// Copy copies a snapshot, checks what OSS has then and remembers it as the base of the next.
func (w *World) Copy(t *testing.T, uuid string) migration.CopyResult {
	t.Helper()
	result, err := w.Run(t, w.Request(uuid))
	require.NoError(t, err)
	w.RequirePublished(t, uuid)
	require.Equal(t, w.Generation(), result.Generation)
	w.Base, w.BaseGeneration = uuid, result.Generation
	return result
}

// RequirePublished checks that a reader of OSS finds the repository as S3 has it, with this
// snapshot.
func (w *World) RequirePublished(t *testing.T, uuid string) {
	t.Helper()
	root := RequireReadable(t, w.Sink.Objects())
	require.NotNil(t, root)
	require.Equal(t, w.Generation(), root.Generation)
	s, ok := root.Snapshot(uuid)
	require.True(t, ok)
	require.Equal(t, w.Names[uuid], s.Name)
	got := w.Sink.Objects()
	for key, data := range w.Objects() {
		k := repository.Classify(key)
		switch k.Class {
		case repository.ClassRootIndex:
			if k.Generation != w.Generation() {
				continue // 5.x keeps index-(N-1) as well
			}
		case repository.ClassShardIndex:
			if list, _ := repository.ShardSnapshotKey(k.Shard, uuid); got[list] == nil {
				continue // a shard that this snapshot doesn't have
			}
		case repository.ClassData, repository.ClassShardSnapshot, repository.ClassIndexMetadata:
			continue // read above, as far as a successful snapshot needs them
		}
		require.Equal(t, string(data), string(got[key]), key)
	}
	require.Zero(t, w.Sink.OpenUploads())
}

// ErrCrash is what a worker gets that is dead.
var ErrCrash = &objectstore.Error{Kind: objectstore.Forbidden, Op: "crash", Message: "the worker is dead"}

// CrashAt lets n writes of OSS through and nothing after them, as if the worker had died; reached
// says whether the last one still reached OSS.
func (w *World) CrashAt(n int, reached bool) (crashed func() bool) {
	writes := make(chan struct{}, n)
	dead := make(chan struct{}, 1)
	step := func(c memory.Call) error {
		if len(dead) > 0 {
			return ErrCrash
		}
		if c.Op != "Put" {
			return nil
		}
		select {
		case writes <- struct{}{}:
			return nil
		default:
		}
		select {
		case dead <- struct{}{}:
		default:
		}
		return ErrCrash
	}
	hooks := memory.Hooks{Before: step}
	if reached {
		hooks = memory.Hooks{After: step, Before: func(memory.Call) error {
			if len(dead) > 0 {
				return ErrCrash
			}
			return nil
		}}
	}
	w.Sink.SetHooks(hooks)
	return func() bool { return len(dead) > 0 }
}

// CountData counts, by a hook, what OSS is told to write of data blobs.
func CountData(store *memory.Store) func() int {
	puts := make(chan struct{}, 1_000_000)
	store.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if IsData(c.Key) && strings.HasPrefix(c.Op, "Put") {
			puts <- struct{}{}
		}
		return nil
	}})
	return func() int { return len(puts) }
}

// IsData tells whether a key is that of a data blob.
func IsData(key string) bool { return repository.Classify(key).Class == repository.ClassData }

// Keys are those of a map, in no order.
func Keys[V any](m map[string]V) []string {
	var out []string
	for key := range m {
		out = append(out, key)
	}
	return out
}
