//go:build lab

package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// The copy between what real nodes write and what real nodes read, where names
// are used again and things vanish under it. Whatever becomes of a copy, each
// snapshot that a node sees in OSS can be restored, with the documents that it
// was taken of.
func TestLabCopyOnNodes(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		t.Skip("this process is a worker of the test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Dir: t.TempDir(), Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
	for _, variable := range l.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	for _, scenario := range []struct {
		name string
		test func(w *nodesWorld)
	}{
		{"names of a snapshot that was never published are used again", reuseUnpublished},
		{"names of a published snapshot are used again", reusePublished},
		{"a snapshot is aborted after shards of it were copied", abortAfterShards},
		{"the snapshot is deleted while its blobs are copied", deleteWhileCopying},
		{"the snapshot is deleted before it is published", deleteBeforePublish},
		{"a blob vanished", vanishedBlob},
		{"a blob vanishes while others are copied", blobVanishes},
		{"the name of a blob that vanished is used again", reuseVanished},
		{"a higher index-N stands in OSS", higherRoot},
		{"the worker is stopped in the middle of an upload", stopInUpload},
		{"the worker is killed in the middle of an upload", killInUpload},
	} {
		for _, p := range []struct {
			name  string
			pages ferry.Paging
		}{{"", ferry.DefaultPaging}, {" in pages", ferry.Paging{Blobs: 3, Bytes: 8 << 20, Most: ferry.DefaultPaging.Most}}} {
			t.Run(scenario.name+p.name, func(t *testing.T) { scenario.test(newNodesWorld(t, l, p.pages)) })
		}
	}
}

// nodesWorld is an index on the source node, the repository that it is
// snapshotted into, that repository's copy, and what the workflow knows of it.
type nodesWorld struct {
	t              *testing.T
	ctx            context.Context
	lab            *lab.Lab
	source, target *cluster.Client
	run            migration.Run
	pages          ferry.Paging
	base           string
	generation     int64
	begun          bool // a copy was tried before
	shards         int
	documents      map[string]string            // of the index now: their text by id
	held           map[string]map[string]string // of each snapshot, by its name
	uuids          map[string]string            // of snapshots, by name
	stop           chan struct{}                // closed when the worker stops
	// outside runs the activities in a process of their own.
	outside func(activity string, request, result any) error
	// after is called after each activity.
	after func(activity string)
}

const nodesType = "doc"

var (
	nodesWorlds int
	// dead is what a worker that was stopped can't do any more.
	dead = osstest.Fail(503, "ServiceUnavailable", "the worker is dead")
)

func newNodesWorld(t *testing.T, l *lab.Lab, pages ferry.Paging) *nodesWorld {
	nodesWorlds++
	plan := l.Plan(fmt.Sprintf("nodes%d", nodesWorlds))
	plan.Copy.Concurrency = 4
	plan.Source.Repository.BasePath, plan.Target.Repository.BasePath = "from/"+plan.Name, "to/"+plan.Name
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	w := &nodesWorld{
		t: t, ctx: ctx, lab: l, source: l.Source.Direct(), target: l.Target.Direct(), run: migration.Run{Plan: plan, Token: "tok"}, pages: pages,
		generation: -1, shards: 1, documents: map[string]string{}, held: map[string]map[string]string{}, uuids: map[string]string{}, stop: make(chan struct{}),
	}
	t.Cleanup(func() {
		cancel()
		l.OSS.Server.ClearFaults()
		// A shard that can't be restored would hold the node's only slot.
		_ = w.target.Do(context.Background(), http.MethodDelete, "/"+w.index(), nil, nil)
		_ = w.source.Do(context.Background(), http.MethodDelete, "/"+w.index(), nil, nil)
	})
	w.register("")
	return w
}

func (w *nodesWorld) index() string      { return w.run.Plan.Name }
func (w *nodesWorld) repository() string { return "/_snapshot/" + w.run.Plan.Name }

// ask sends a request to a node, which must do what it is told.
func (w *nodesWorld) ask(node *cluster.Client, method, path string, body, answer any) {
	w.t.Helper()
	require.NoError(w.t, node.Do(w.ctx, method, path, body, answer))
}

// register registers the repository on both nodes; rate bounds what snapshots
// write a second.
func (w *nodesWorld) register(rate string) {
	w.t.Helper()
	settings := map[string]any{"bucket": w.lab.S3.Bucket, "region": w.lab.S3.Region, "base_path": w.run.SourceBasePath(), "role_arn": w.lab.Source.RoleARN}
	if rate != "" {
		settings["max_snapshot_bytes_per_sec"] = rate
	}
	w.ask(w.source, http.MethodPut, w.repository(), map[string]any{"type": "s3", "settings": settings}, nil)
	key := w.lab.OSS.ClusterKey
	w.ask(w.target, http.MethodPut, w.repository(), map[string]any{"type": "oss", "settings": map[string]any{"bucket": w.lab.OSS.Bucket,
		"endpoint": w.lab.OSS.Endpoint, "base_path": w.run.TargetBasePath(), "access_key_id": key.ID, "secret_access_key": key.Secret, "readonly": true}}, nil)
}

// batches is how many segments a shard has: enough for the few names of a
// segment's files to come back for files of the same kind.
const batches = 8

// write gives so many documents a new text of the same length, a segment a batch:
// what one such write and the next leave in files has the same sizes, and if they
// are of as many documents, nothing stays of the one before.
func (w *nodesWorld) write(seed uint64, documents, length int) {
	w.t.Helper()
	if len(w.documents) == 0 {
		w.ask(w.source, http.MethodPut, "/"+w.index(), map[string]any{
			"settings": map[string]any{"number_of_shards": w.shards, "number_of_replicas": 0, "refresh_interval": "-1", "merge.policy.segments_per_tier": 100},
			"mappings": map[string]any{nodesType: map[string]any{"_all": map[string]any{"enabled": false},
				"properties": map[string]any{"text": map[string]any{"type": "keyword", "index": false, "doc_values": false}}}},
		}, nil)
	}
	w.t.Logf("the seed of what is written is %d", seed)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	random, now := rand.New(rand.NewPCG(seed, 0)), maps.Clone(w.documents)
	for batch := range batches {
		var part []cluster.Document
		for n := batch; n < documents; n += batches {
			text := make([]byte, length)
			for i := range text {
				text[i] = letters[random.IntN(len(letters))]
			}
			id := fmt.Sprintf("d-%04d", n)
			now[id] = string(text)
			part = append(part, cluster.Document{ID: id, Source: map[string]string{"text": string(text)}})
		}
		if len(part) == 0 {
			break
		}
		require.NoError(w.t, w.source.Bulk(w.ctx, w.index(), nodesType, part))
		require.NoError(w.t, w.source.Refresh(w.ctx, w.index()))
	}
	w.documents = now
}

// snapshot takes one and waits for it.
func (w *nodesWorld) snapshot(name string) {
	w.t.Helper()
	var answer struct {
		Snapshot struct{ UUID, State string }
	}
	w.ask(w.source, http.MethodPut, w.repository()+"/"+name+"?wait_for_completion=true", map[string]any{"indices": w.index(), "include_global_state": false}, &answer)
	require.Equal(w.t, "SUCCESS", answer.Snapshot.State)
	w.held[name], w.uuids[name] = w.documents, answer.Snapshot.UUID
}

func (w *nodesWorld) delete(snapshot string) {
	w.t.Helper()
	w.ask(w.source, http.MethodDelete, w.repository()+"/"+snapshot, nil, nil)
}

// inS3 is the source's repository.
func (w *nodesWorld) inS3() map[string][]byte {
	w.t.Helper()
	folder, objects := filepath.Join(w.lab.S3.Dir, filepath.FromSlash(w.run.SourceBasePath())), map[string][]byte{}
	require.NoError(w.t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		key, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		objects[filepath.ToSlash(key)], err = os.ReadFile(path)
		return err
	}))
	return objects
}

// inOSS is its copy.
func (w *nodesWorld) inOSS() map[string][]byte {
	w.t.Helper()
	objects := map[string][]byte{}
	for _, o := range w.lab.OSS.Server.Objects(w.lab.OSS.Bucket) {
		key, ours := strings.CutPrefix(o.Key, w.run.TargetBasePath()+"/")
		if !ours {
			continue
		}
		var err error
		objects[key], err = w.lab.OSS.Server.Read(w.lab.OSS.Bucket, o.Key)
		require.NoError(w.t, err)
	}
	return objects
}

// removeFromS3 does what somebody's clean-up does.
func (w *nodesWorld) removeFromS3(key string) {
	w.t.Helper()
	key = w.run.SourceBasePath() + "/" + key
	_, err := w.lab.S3.Client().DeleteObject(w.ctx, &s3.DeleteObjectInput{Bucket: &w.lab.S3.Bucket, Key: &key})
	require.NoError(w.t, err)
}

// onOSS injects a fault into requests for this copy's objects. Operations that
// name no object are none of them.
func (w *nodesWorld) onOSS(match func(op, key string) bool, times int, fault osstest.Fault) {
	w.lab.OSS.Server.Inject(osstest.Rule{Times: times, Fault: fault, Match: func(c osstest.Call) bool {
		key, ours := strings.CutPrefix(c.Key, w.run.TargetBasePath()+"/")
		return ours && match(c.Op, key)
	}})
}

func writes(op string) bool {
	return slices.Contains([]string{"PutObject", "InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload"}, op)
}

func writesData(op, key string) bool     { return writes(op) && isData(key) }
func writesMetadata(op, key string) bool { return writes(op) && !isData(key) }

// stopAt lets n writes of a kind through and stops the worker at the next; from
// then on it writes nothing at all.
func (w *nodesWorld) stopAt(n int, match func(op, key string) bool) {
	var mu sync.Mutex
	stopped := false
	w.onOSS(func(op, key string) bool {
		mu.Lock()
		defer mu.Unlock()
		if !stopped && match(op, key) {
			if n--; n < 0 {
				stopped = true
				close(w.stop)
			}
		}
		return stopped && writes(op)
	}, 0, dead)
}

// another is the worker that takes over.
func (w *nodesWorld) another() {
	w.t.Helper()
	select {
	case <-w.stop:
	default:
		require.Fail(w.t, "the worker was never stopped")
	}
	w.lab.OSS.Server.ClearFaults()
	w.stop = make(chan struct{})
}

// act runs an activity of a worker.
func (w *nodesWorld) act(activity string, request, result any) error {
	run := w.outside
	if run == nil {
		run = func(activity string, request, result any) error {
			return runCopier(w.pages, w.stop, activity, request, result)
		}
	}
	err := run(activity, request, result)
	if w.after != nil {
		w.after(activity)
	}
	return err
}

func runCopier(pages ferry.Paging, stop chan struct{}, activity string, request, result any) error {
	c := NewCopier()
	c.pages = pages
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerStopChannel(stop)
	c.Register(env)
	value, err := env.ExecuteActivity(activity, request)
	if err != nil {
		return err
	}
	return value.Get(result)
}

// copy carries a snapshot to OSS as the workflow does, without Temporal's
// retries.
func (w *nodesWorld) copy(snapshot string) (migration.CopyResult, error) {
	request := migration.CopyRequest{Run: w.run, Snapshot: migration.Snapshot{Name: snapshot, UUID: w.uuids[snapshot]},
		BaseUUID: w.base, BaseGeneration: w.generation, Again: w.begun}
	w.begun = true
	for range ferry.Rounds {
		var result migration.CopyResult
		if err := w.act(migration.ActivityCopySnapshot, request, &result); err != nil || result.Pages == nil {
			return result, err
		}
		publish, moved := migration.PublishRequest{CopyRequest: request, Delta: result.Pages.Delta}, false
		for _, page := range result.Pages.Pages {
			var done migration.PageResult
			err := w.act(migration.ActivityCopyPage, migration.PageRequest{Run: request.Run, Snapshot: request.Snapshot, Delta: publish.Delta, Page: page, Again: request.Again}, &done)
			if err != nil {
				return migration.CopyResult{}, err
			}
			publish.Blobs += page.Blobs
			publish.Digest += done.Digest
			moved = moved || done.Moved
		}
		request.Again = true
		if moved {
			continue
		}
		var last migration.CopyResult
		if err := w.act(migration.ActivityPublishSnapshot, publish, &last); err != nil || !last.Moved {
			return last, err
		}
	}
	return migration.CopyResult{}, temporal.NewApplicationError("the source moves on and on", retrySourceMoves)
}

// carry copies a snapshot, has the target node restore all that it sees then and
// remembers the snapshot as the base of the next.
func (w *nodesWorld) carry(snapshot string) {
	w.t.Helper()
	result, err := w.copy(snapshot)
	require.NoError(w.t, err)
	require.Contains(w.t, w.requireRestorable(), snapshot)
	w.base, w.generation = w.uuids[snapshot], result.Generation
}

// requireRestorable has the target node restore each snapshot that it sees, and
// compares the documents with those of the source's index when the snapshot was
// taken. It names the snapshots.
func (w *nodesWorld) requireRestorable() []string {
	w.t.Helper()
	var names []string
	for _, s := range w.seen() {
		require.Equal(w.t, "SUCCESS", s.State)
		require.Equal(w.t, w.uuids[s.Snapshot], s.UUID)
		w.requireRestores(s.Snapshot)
		names = append(names, s.Snapshot)
	}
	return names
}

type seenSnapshot struct{ Snapshot, UUID, State string }

func (w *nodesWorld) seen() []seenSnapshot {
	w.t.Helper()
	var listed struct{ Snapshots []seenSnapshot }
	w.ask(w.target, http.MethodGet, w.repository()+"/_all", nil, &listed)
	return listed.Snapshots
}

func (w *nodesWorld) requireRestores(snapshot string) {
	w.t.Helper()
	var answer struct {
		Snapshot struct{ Shards struct{ Total, Failed int } }
	}
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	err := w.target.Do(ctx, http.MethodPost, w.repository()+"/"+snapshot+"/_restore?wait_for_completion=true", map[string]any{"indices": w.index()}, &answer)
	require.NoError(w.t, err, "the snapshot %s is published and can't be restored", snapshot)
	require.Zero(w.t, answer.Snapshot.Shards.Failed, "the snapshot %s is published and can't be restored", snapshot)
	require.Equal(w.t, w.shards, answer.Snapshot.Shards.Total)
	w.ask(w.target, http.MethodPost, "/"+w.index()+"/_refresh", nil, nil)
	var found struct {
		Hits struct {
			Hits []struct {
				ID     string                `json:"_id"`
				Source struct{ Text string } `json:"_source"`
			}
		}
	}
	w.ask(w.target, http.MethodGet, "/"+w.index()+"/_search?size=10000&_source=text", nil, &found)
	documents := map[string]string{}
	for _, hit := range found.Hits.Hits {
		documents[hit.ID] = hit.Source.Text
	}
	require.True(w.t, maps.Equal(w.held[snapshot], documents), "the %d restored documents of %s are not the %d that it was taken of",
		len(documents), snapshot, len(w.held[snapshot]))
	w.ask(w.target, http.MethodDelete, "/"+w.index(), nil, nil)
}

// roots are what a reader of OSS begins with.
func (w *nodesWorld) roots() map[string]string {
	w.t.Helper()
	roots := map[string]string{}
	for key, data := range w.inOSS() {
		if class := repository.Classify(key).Class; class == repository.ClassRootIndex || class == repository.ClassLatest {
			roots[key] = string(data)
		}
	}
	return roots
}

// requireFails copies a snapshot, which must fail with an error of this type that
// says what is to blame, and leave what is published as it was.
func (w *nodesWorld) requireFails(snapshot string, want migration.ErrorType, says ...string) {
	w.t.Helper()
	before := w.roots()
	_, err := w.copy(snapshot)
	if err == nil {
		w.requireRestorable()
	}
	requireType(w.t, want, err)
	for _, text := range says {
		require.ErrorContains(w.t, err, text)
	}
	w.t.Logf("it fails with: %v", err)
	require.Equal(w.t, before, w.roots())
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
}

// reused counts the data blobs of S3 whose names stood for other bytes of the
// same size, and makes sure that there are some.
func (w *nodesWorld) reused(before map[string][]byte) (same []string) {
	w.t.Helper()
	names := 0
	for key, data := range w.inS3() {
		old, ok := before[key]
		if !isData(key) || !ok || bytes.Equal(old, data) {
			continue
		}
		if names++; len(old) == len(data) {
			same = append(same, key)
		}
	}
	w.t.Logf("%d names stand for other bytes now, %d of them for as many", names, len(same))
	require.NotEmpty(w.t, same, "this test needs names that come back with other bytes of the same size")
	return same
}

// first publishes a snapshot that stays.
func (w *nodesWorld) first() {
	w.t.Helper()
	w.write(1, 30, 300)
	w.snapshot("s1")
	result, err := w.copy("s1")
	require.NoError(w.t, err)
	w.base, w.generation = w.uuids["s1"], result.Generation
}

func reuseUnpublished(w *nodesWorld) {
	w.first()
	w.write(2, 30, 300)
	w.snapshot("s2")
	old := w.inS3()
	w.stopAt(0, writesMetadata)
	_, err := w.copy("s2")
	requireRetryable(w.t, err)
	w.another()
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
	w.delete("s2")
	w.write(3, 30, 300)
	w.snapshot("s3")
	copied := w.inOSS()
	for _, key := range w.reused(old) {
		require.Equal(w.t, old[key], copied[key], "OSS has what the name stood for")
	}
	w.carry("s3")
	require.Len(w.t, w.seen(), 2)
}

// What is published is taken apart at the source and its names are used again:
// while these are being overwritten in OSS, nothing there may list it any more.
func reusePublished(w *nodesWorld) {
	w.first()
	w.write(2, 30, 300)
	w.snapshot("s2")
	w.carry("s2")
	old := w.inS3()
	w.delete("s2")
	w.write(3, 30, 300)
	w.snapshot("s3")
	same := w.reused(old)
	w.stopAt(len(same), writesData)
	_, err := w.copy("s3")
	requireRetryable(w.t, err)
	w.another()
	w.t.Logf("after a death in mid-copy the target sees %v", w.requireRestorable())
	w.carry("s3")
	require.Len(w.t, w.seen(), 2)
}

func abortAfterShards(w *nodesWorld) {
	w.shards = 4
	w.first()
	w.write(2, 200, 6000)
	w.register("150kb")
	w.ask(w.source, http.MethodPut, w.repository()+"/s2", map[string]any{"indices": w.index(), "include_global_state": false}, nil)
	uuid, done := w.awaitShards("s2")

	// The shards that are done have their lists of files, so they can be copied already.
	for _, n := range done {
		w.copyShard(uuid, n)
	}
	old := w.inS3()
	if _, done := w.awaitShards("s2"); len(done) == w.shards {
		w.t.Fatal("the snapshot ended before it could be aborted")
	}
	w.delete("s2")
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
	w.register("")
	w.write(3, 200, 6000)
	w.snapshot("s3")
	copied := w.inOSS()
	stale := 0
	for _, key := range w.reused(old) {
		if bytes.Equal(copied[key], old[key]) {
			stale++
		}
	}
	require.NotZero(w.t, stale, "this test needs names in OSS that stand for what was aborted")
	w.carry("s3")
	require.Len(w.t, w.seen(), 2)
}

// awaitShards waits until a snapshot has shards that are done.
func (w *nodesWorld) awaitShards(snapshot string) (uuid string, done []int) {
	w.t.Helper()
	for {
		var status struct {
			Snapshots []struct {
				UUID    string
				Indices map[string]struct {
					Shards map[int]struct{ Stage string }
				}
			}
		}
		w.ask(w.source, http.MethodGet, w.repository()+"/"+snapshot+"/_status", nil, &status)
		require.Len(w.t, status.Snapshots, 1)
		shards := status.Snapshots[0].Indices[w.index()].Shards
		for n, shard := range shards {
			if shard.Stage == "DONE" {
				done = append(done, n)
			}
		}
		if len(done) > 0 {
			return status.Snapshots[0].UUID, done
		}
	}
}

// copyShard carries what a snapshot that still runs has written of a shard.
func (w *nodesWorld) copyShard(uuid string, n int) {
	w.t.Helper()
	objects := w.inS3()
	generation, ok := repository.LatestGeneration(slices.Collect(maps.Keys(objects)))
	require.True(w.t, ok)
	root, err := repository.ParseRoot(generation, objects[repository.RootIndexKey(generation)])
	require.NoError(w.t, err)
	require.Len(w.t, root.Indices, 1)
	shard := repository.ShardID{IndexID: root.Indices[0].ID, Number: n}
	files := func(uuid string) *repository.ShardSnapshot {
		key, err := repository.ShardSnapshotKey(shard, uuid)
		require.NoError(w.t, err)
		list, err := repository.ParseShardSnapshot(objects[key])
		require.NoError(w.t, err)
		return list
	}
	delta, err := repository.ShardDelta(shard, files(uuid), shard, files(w.base))
	require.NoError(w.t, err)
	page := migration.CopyPage{Shards: []migration.ShardRange{{IndexID: shard.IndexID, Shard: n, To: len(delta.Blobs)}}, Blobs: int64(len(delta.Blobs)), Bytes: delta.Bytes}
	var result migration.PageResult
	require.NoError(w.t, w.act(migration.ActivityCopyPage, migration.PageRequest{Run: w.run, Snapshot: migration.Snapshot{Name: "s2", UUID: uuid},
		Delta: migration.CopyDelta{RootGeneration: generation, Snapshots: []string{uuid}, Base: w.base}, Page: page}, &result))
	require.Equal(w.t, page.Blobs, result.BlobsCopied)
}

// second takes the snapshot that is to be copied onto the first.
func (w *nodesWorld) second() {
	w.t.Helper()
	w.first()
	w.write(2, 30, 300)
	w.snapshot("s2")
}

func deleteWhileCopying(w *nodesWorld) {
	w.second()
	var once sync.Once
	w.onOSS(writesData, 0, osstest.Hook(func() { once.Do(func() { w.delete("s2") }) }))
	w.requireFails("s2", migration.ErrorSnapshotUnusable, "doesn't list it")
	w.lab.OSS.Server.ClearFaults()
	w.write(3, 30, 300)
	w.snapshot("s3")
	w.carry("s3")
}

func deleteBeforePublish(w *nodesWorld) {
	w.second()
	var once sync.Once
	if w.pages == ferry.DefaultPaging {
		w.onOSS(writesMetadata, 0, osstest.Hook(func() { once.Do(func() { w.delete("s2") }) }))
	} else {
		pages := 0
		w.after = func(activity string) {
			if activity == migration.ActivityCopyPage {
				pages++
			}
			if pages == 2 {
				once.Do(func() { w.delete("s2") })
			}
		}
	}
	w.requireFails("s2", migration.ErrorSnapshotUnusable, "doesn't list it")
	w.lab.OSS.Server.ClearFaults()
	w.write(3, 30, 300)
	w.snapshot("s3")
	w.carry("s3")
}

// added are the blobs that only the newest snapshot needs, in the order of their names.
func (w *nodesWorld) added() []string {
	w.t.Helper()
	var added []string
	copied := w.inOSS()
	for key := range w.inS3() {
		if _, ok := copied[key]; !ok && isData(key) {
			added = append(added, key)
		}
	}
	require.NotEmpty(w.t, added)
	slices.Sort(added)
	return added
}

func vanishedBlob(w *nodesWorld) {
	w.second()
	lost := w.added()[0]
	w.removeFromS3(lost)
	w.requireFails("s2", migration.ErrorSnapshotUnusable, lost)
	w.snapshot("s3") // the node sees that the blob is gone and writes it anew
	w.delete("s2")
	w.carry("s3")
}

func blobVanishes(w *nodesWorld) {
	w.second()
	added := w.added()
	lost := added[len(added)-1]
	var once sync.Once
	w.onOSS(writesData, 0, osstest.Hook(func() { once.Do(func() { w.removeFromS3(lost) }) }))
	w.run.Plan.Copy.Concurrency = 1
	w.requireFails("s2", migration.ErrorSnapshotUnusable, lost)
}

// The newest blob of what is published vanishes from S3, and the node gives its
// name to another: then two snapshots that S3 lists need different bytes.
func reuseVanished(w *nodesWorld) {
	w.first()
	old := w.inS3()
	var newest string
	for key := range old {
		if isData(key) && key > newest {
			newest = key
		}
	}
	w.removeFromS3(newest)
	w.write(2, 30, 300)
	w.snapshot("s2")
	require.NotEqual(w.t, old[newest], w.inS3()[newest])
	require.Contains(w.t, w.inS3(), newest, "this test needs a name that is used again")
	w.requireFails("s2", migration.ErrorSnapshotUnusable, newest, "s1")
	w.delete("s1")
	w.carry("s2")
}

func higherRoot(w *nodesWorld) {
	w.second()
	key := w.run.TargetBasePath() + "/" + repository.RootIndexKey(99)
	server, bucket := w.lab.OSS.Server, w.lab.OSS.Bucket
	require.NoError(w.t, server.Put(bucket, key, w.inOSS()[repository.RootIndexKey(w.generation)]))
	before := w.inOSS()
	w.requireFails("s2", migration.ErrorRepository, "index-99")
	require.Equal(w.t, before, w.inOSS(), "nothing may be written")
	require.NoError(w.t, server.Delete(bucket, key))
	w.carry("s2")
}

// large takes a snapshot with a blob that the node uploads in parts.
func (w *nodesWorld) large() {
	w.t.Helper()
	w.first()
	w.write(2, 1, 11<<20)
	w.snapshot("s2")
	largest := 0
	for _, data := range w.inS3() {
		largest = max(largest, len(data))
	}
	require.Greater(w.t, largest, 10<<20, "this test needs a blob of some parts")
}

func uploadsPart(op, _ string) bool { return op == "UploadPart" }

func stopInUpload(w *nodesWorld) {
	w.large()
	w.stopAt(1, uploadsPart)
	_, err := w.copy("s2")
	requireRetryable(w.t, err)
	w.another()
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
	w.carry("s2")
}

func killInUpload(w *nodesWorld) {
	w.large()
	worker := &copyProcess{t: w.t, pages: w.pages}
	w.outside = worker.run
	parts := 0
	w.onOSS(func(op, _ string) bool {
		if op == "UploadPart" {
			parts++
		}
		return parts == 2
	}, 1, osstest.Hook(worker.kill))
	_, err := w.copy("s2")
	require.ErrorContains(w.t, err, "killed")
	w.outside = nil
	require.True(w.t, slices.ContainsFunc(w.lab.OSS.Server.Uploads(w.lab.OSS.Bucket), func(u osstest.Upload) bool {
		return strings.HasPrefix(u.Key, w.run.TargetBasePath()+"/")
	}), "the dead worker leaves its upload behind")
	require.Equal(w.t, []string{"s1"}, w.requireRestorable())
	w.carry("s2")
}

// childVariable tells a process of this test binary which activity it is to run.
const childVariable = "SNAPFERRY_TEST_COPY"

// childWork is what it finds there.
type childWork struct {
	Activity           string
	Blobs, Bytes, Most int64
	Request            json.RawMessage
}

// copyProcess runs each activity in a process, which can be killed.
type copyProcess struct {
	t     *testing.T
	pages ferry.Paging
	mu    sync.Mutex
	now   *exec.Cmd
}

func (c *copyProcess) run(activity string, request, result any) error {
	c.t.Helper()
	body, err := json.Marshal(request)
	require.NoError(c.t, err)
	work, err := json.Marshal(childWork{Activity: activity, Blobs: c.pages.Blobs, Bytes: c.pages.Bytes, Most: c.pages.Most, Request: body})
	require.NoError(c.t, err)
	answer := filepath.Join(c.t.TempDir(), "answer")
	command := exec.Command(os.Args[0], "-test.run=^TestLabCopyProcess$", "-test.timeout=1m")
	command.Env = append(os.Environ(), childVariable+"="+string(work), childVariable+"_ANSWER="+answer)
	c.mu.Lock()
	c.now = command
	require.NoError(c.t, command.Start())
	c.mu.Unlock()
	if err := command.Wait(); err != nil {
		return err
	}
	text, err := os.ReadFile(answer)
	require.NoError(c.t, err)
	return json.Unmarshal(text, result)
}

func (c *copyProcess) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.now.Process.Kill()
}

// TestLabCopyProcess is the process that runs one activity.
func TestLabCopyProcess(t *testing.T) {
	text := os.Getenv(childVariable)
	if text == "" {
		t.Skip("only a process that another test starts has something to do")
	}
	var work childWork
	require.NoError(t, json.Unmarshal([]byte(text), &work))
	var request any
	switch work.Activity {
	case migration.ActivityCopySnapshot:
		request = &migration.CopyRequest{}
	case migration.ActivityCopyPage:
		request = &migration.PageRequest{}
	default:
		request = &migration.PublishRequest{}
	}
	require.NoError(t, json.Unmarshal(work.Request, request))
	var result any
	require.NoError(t, runCopier(ferry.Paging{Blobs: work.Blobs, Bytes: work.Bytes, Most: work.Most}, make(chan struct{}), work.Activity, request, &result))
	answer, err := json.Marshal(result)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(os.Getenv(childVariable+"_ANSWER"), answer, 0o600))
}
