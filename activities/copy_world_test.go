package activities

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// copyWorld is a cluster that snapshots into S3, an empty bucket in OSS and a
// worker between them.
type copyWorld struct {
	*repositorytest.Repository
	source, sink *memory.Store
	names        map[string]string // of snapshots, by uuid
	// base and generation are what the workflow would carry from round to round.
	base       string
	generation int64
	// pages bound a page; begun says that a copy was tried before.
	pages paging
	begun bool
}

// onePage takes every delta in one activity, smallPages none but the smallest.
var (
	onePage    = paging{blobs: pageBlobs, bytes: pageBytes, most: mostPages}
	smallPages = paging{blobs: 3, bytes: 2000, most: mostPages}
)

func newCopyWorld(layout repositorytest.Layout) *copyWorld {
	return &copyWorld{
		Repository: repositorytest.New(42, repositorytest.Options{Layout: layout, ChunkSize: 400, Compress: true}),
		source:     memory.NewSource(), sink: memory.NewSink(), names: map[string]string{}, generation: -1, pages: onePage,
	}
}

var layouts = map[string]repositorytest.Layout{"5.5": repositorytest.Layout55, "7.10": repositorytest.Layout710}

// eachLayout runs a test on each layout of a repository, without pages and with.
func eachLayout(t *testing.T, test func(t *testing.T, w *copyWorld)) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) { test(t, newCopyWorld(layout)) })
		t.Run(name+" in pages", func(t *testing.T) {
			w := newCopyWorld(layout)
			w.pages = smallPages
			test(t, w)
		})
	}
}

// snapshot takes one in the cluster; the bucket in S3 has it at once.
func (w *copyWorld) snapshot(name string, changes ...repositorytest.Change) string {
	uuid := w.Snapshot(name, changes...)
	w.names[uuid] = name
	w.sync()
	return uuid
}

func (w *copyWorld) sync() { w.source.Replace(w.Objects()) }

func (w *copyWorld) request(uuid string) migration.CopyRequest {
	return migration.CopyRequest{
		Run:      migration.Run{Token: "tok", Plan: migration.Plan{Name: "movies", Copy: migration.Copy{Concurrency: 4}}},
		Snapshot: migration.Snapshot{Name: w.names[uuid], UUID: uuid}, BaseUUID: w.base, BaseGeneration: w.generation,
	}
}

// copier is a worker's, with pauses and pages that suit a test.
func (w *copyWorld) copier() *Copier {
	return &Copier{
		source: func(context.Context, migration.Run) (objectstore.Source, error) { return w.source, nil },
		sink:   func(context.Context, migration.Run) (objectstore.Sink, error) { return w.sink, nil },
		moving: transfer.Options{Buffers: transfer.DefaultBuffers(),
			Retry: transfer.Retry{Attempts: 10, First: time.Microsecond, Most: 10 * time.Microsecond}},
		pages:   w.pages,
		beating: &Activities{heartbeat: activity.RecordHeartbeat, beat: time.Hour},
	}
}

// run carries a snapshot as the workflow does, without Temporal's retries.
func (w *copyWorld) run(t *testing.T, request migration.CopyRequest) (migration.CopyResult, error) {
	t.Helper()
	c := w.copier()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestActivityEnvironment()
	c.Register(env)
	request.Again, w.begun = request.Again || w.begun, true
	for range copyRounds {
		result, err := runActivity[migration.CopyResult](env, c.CopySnapshot, request)
		if err != nil || result.Pages == nil {
			return result, err
		}
		request.Again = true
		publish := migration.PublishRequest{
			CopyRequest: request, Delta: result.Pages.Delta, Blobs: result.Pages.CarriedBlobs, Digest: result.Pages.CarriedDigest,
		}
		moved := false
		for _, page := range result.Pages.Pages {
			publish.Blobs += page.Blobs
			done, err := runActivity[migration.PageResult](env, c.CopyPage,
				migration.PageRequest{Run: request.Run, Snapshot: request.Snapshot, Delta: result.Pages.Delta, Page: page, Again: w.begun})
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
		last, err := runActivity[migration.CopyResult](env, c.PublishSnapshot, publish)
		if err != nil {
			return migration.CopyResult{}, err
		}
		if !last.Moved {
			result.Generation, result.Proven, result.Pages = last.Generation, last.Proven, nil
			return result, nil
		}
	}
	return migration.CopyResult{}, temporal.NewApplicationError("the source moves on and on", retrySourceMoves)
}

func runActivity[O, I any](env *testsuite.TestActivityEnvironment, run func(context.Context, I) (O, error), request I) (result O, err error) {
	value, err := env.ExecuteActivity(run, request)
	if err != nil {
		return result, err
	}
	return result, value.Get(&result)
}

// quiet keeps the failures that tests ask for out of their output.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// carry copies a snapshot, checks what OSS has then and remembers it as the
// base of the next.
func (w *copyWorld) carry(t *testing.T, uuid string) migration.CopyResult {
	t.Helper()
	result, err := w.run(t, w.request(uuid))
	require.NoError(t, err)
	w.requirePublished(t, uuid)
	require.Equal(t, w.Generation(), result.Generation)
	w.base, w.generation = uuid, result.Generation
	return result
}

// requirePublished checks that a reader of OSS finds the repository as S3 has
// it, with this snapshot.
func (w *copyWorld) requirePublished(t *testing.T, uuid string) {
	t.Helper()
	root := requireReadable(t, w.sink.Objects())
	require.NotNil(t, root)
	require.Equal(t, w.Generation(), root.Generation)
	s, ok := root.Snapshot(uuid)
	require.True(t, ok)
	require.Equal(t, w.names[uuid], s.Name)
	got := w.sink.Objects()
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
	require.Zero(t, w.sink.OpenUploads())
}

// requireReadable reads OSS as Elasticsearch would, from the highest root
// index-N down to every byte of every successful snapshot. It returns the root,
// nil if there is none.
func requireReadable(t *testing.T, objects map[string][]byte) *repository.Root {
	t.Helper()
	var keys []string
	for key := range objects {
		require.NotEqual(t, repository.ClassTemporary, repository.Classify(key).Class, key)
		keys = append(keys, key)
	}
	generation, ok := repository.LatestGeneration(keys)
	if !ok {
		return nil
	}
	read := func(key string, err error) []byte {
		require.NoError(t, err)
		data, ok := objects[key]
		require.True(t, ok, "index-%d needs %s", generation, key)
		return data
	}
	root, err := repository.ParseRoot(generation, objects[repository.RootIndexKey(generation)])
	require.NoError(t, err)
	for _, s := range root.Successful() {
		_, err := repository.ParseSnapshotInfo(read(repository.SnapshotKey(s.UUID)))
		require.NoError(t, err)
		read(repository.SnapshotMetadataKey(s.UUID))
		for _, index := range root.IndicesOf(s.UUID) {
			metadata, err := repository.ParseIndexMetadata(read(repository.IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))))
			require.NoError(t, err)
			for n := range metadata.Shards {
				requireShard(t, repository.ShardID{IndexID: index.ID, Number: n}, s.UUID, read)
			}
		}
	}
	return root
}

func requireShard(t *testing.T, shard repository.ShardID, uuid string, read func(string, error) []byte) {
	t.Helper()
	files, err := repository.ParseShardSnapshot(read(repository.ShardSnapshotKey(shard, uuid)))
	require.NoError(t, err)
	for _, f := range files.Files {
		if f.Virtual() {
			continue
		}
		var content []byte
		for _, b := range f.Blobs() {
			part := read(repository.DataBlobKey(shard, f.Name, b.Part))
			require.Len(t, part, int(b.Length))
			content = append(content, part...)
		}
		require.Equal(t, f.Checksum, strconv.FormatInt(int64(crc32.ChecksumIEEE(content)), 36), "%s of snapshot %s in %v has other content", f.Name, uuid, shard)
	}
}

func requireType(t *testing.T, want migration.ErrorType, err error) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, string(want), failure.Type(), "%v", err)
	require.True(t, failure.NonRetryable())
}

func requireRetryable(t *testing.T, err error) {
	t.Helper()
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(t, ok, "%v", err)
	require.False(t, failure.NonRetryable(), "%v", err)
}

func isData(key string) bool { return repository.Classify(key).Class == repository.ClassData }

// countData counts what OSS was told to write of data blobs, by a hook.
func countData(store *memory.Store) func() int {
	puts := make(chan struct{}, 1_000_000)
	store.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if isData(c.Key) && strings.HasPrefix(c.Op, "Put") {
			puts <- struct{}{}
		}
		return nil
	}})
	return func() int { return len(puts) }
}

var errCrash = &objectstore.Error{Kind: objectstore.Forbidden, Op: "crash", Message: "the worker is dead"}

// crashAt lets n writes of OSS through and nothing after them, as if the worker
// had died; carriedOut says whether the last one reached OSS.
func (w *copyWorld) crashAt(n int, carriedOut bool) (crashed func() bool) {
	writes := make(chan struct{}, n)
	dead := make(chan struct{}, 1)
	die := func(memory.Call) error {
		select {
		case dead <- struct{}{}:
		default:
		}
		return errCrash
	}
	step := func(c memory.Call) error {
		if len(dead) > 0 {
			return errCrash
		}
		if c.Op != "Put" {
			return nil
		}
		select {
		case writes <- struct{}{}:
			return nil
		default:
			return die(c)
		}
	}
	hooks := memory.Hooks{Before: step}
	if carriedOut {
		hooks = memory.Hooks{After: step, Before: func(memory.Call) error {
			if len(dead) > 0 {
				return errCrash
			}
			return nil
		}}
	}
	w.sink.SetHooks(hooks)
	return func() bool { return len(dead) > 0 }
}

func (w *copyWorld) String() string {
	return fmt.Sprintf("generation %d, base %s", w.generation, w.base)
}
