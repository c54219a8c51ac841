//go:build lab

package activities

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// The copy between what real nodes write and what real nodes read, where names are used again and
// things vanish under it. Whatever becomes of a copy, each snapshot that a node sees in OSS can be
// restored, with the documents that it was taken of.
func TestLabCopyOnNodes(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		t.Skip("this process is a worker of the test")
	}
	l, front := useSharedLab(t)
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
		}{{"", ferry.DefaultPaging}, {" in pages", ferry.Paging{
			Blobs: 3, Bytes: 8 << 20,
			Most: ferry.DefaultPaging.Most,
		}}} {
			t.Run(scenario.name+p.name, func(t *testing.T) { scenario.test(newNodesWorld(t, l, front, p.pages)) })
		}
	}
}

// nodesWorld is an index on the source node, the repository that it is snapshotted into, that
// repository's copy, and what the workflow knows of it.
type nodesWorld struct {
	t              *testing.T
	ctx            context.Context
	lab            *lab.Lab
	front          *s3Front
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

// nodesWorlds counts them, so that each has a name of its own.
var nodesWorlds int

func newNodesWorld(t *testing.T, l *lab.Lab, front *s3Front, pages ferry.Paging) *nodesWorld {
	nodesWorlds++
	plan := l.Plan(fmt.Sprintf("nodes%d", nodesWorlds))
	plan.Copy.Concurrency = 4
	plan.Source.Repository.BasePath, plan.Target.Repository.BasePath = "from/"+plan.Name, "to/"+plan.Name
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	w := &nodesWorld{
		t: t, ctx: ctx, lab: l, front: front, source: l.Source.Direct(), target: l.Target.Direct(),
		run: migration.Run{Plan: plan, Token: "tok"}, pages: pages,
		generation: -1, shards: 1, documents: map[string]string{}, held: map[string]map[string]string{},
		uuids: map[string]string{}, stop: make(chan struct{}),
	}
	t.Cleanup(func() {
		cancel()
		l.OSS.Server.ClearFaults()
		// A shard that can't be restored would hold the node's only slot.
		for _, node := range []*cluster.Client{w.target, w.source} {
			_ = node.Do(context.Background(), http.MethodDelete, "/"+w.index(), nil, nil)
			_ = node.Do(context.Background(), http.MethodDelete, w.repository(), nil, nil)
		}
	})
	w.register()
	return w
}

func (w *nodesWorld) index() string      { return w.run.Plan.Name }
func (w *nodesWorld) repository() string { return "/_snapshot/" + w.run.Plan.Name }

// ask sends a request to a node, which must do what it is told.
func (w *nodesWorld) ask(node *cluster.Client, method, path string, body, answer any) {
	w.t.Helper()
	require.NoError(w.t, node.Do(w.ctx, method, path, body, answer))
}

// register registers the repository on both nodes.
func (w *nodesWorld) register() {
	w.t.Helper()
	settings := map[string]any{
		"bucket": w.lab.S3.Bucket, "region": w.lab.S3.Region,
		"base_path": w.run.SourceBasePath(), "role_arn": w.lab.Source.RoleARN,
	}
	w.ask(w.source, http.MethodPut, w.repository(), map[string]any{"type": "s3", "settings": settings}, nil)
	key := w.lab.OSS.ClusterKey
	w.ask(w.target, http.MethodPut, w.repository(), map[string]any{
		"type": "oss",
		"settings": map[string]any{
			"bucket":   w.lab.OSS.Bucket,
			"endpoint": w.lab.OSS.Endpoint, "base_path": w.run.TargetBasePath(), "access_key_id": key.ID,
			"secret_access_key": key.Secret, "readonly": true,
		},
	}, nil)
}

// batches is how many segments a shard has: enough for the few names of a segment's files to come
// back for files of the same kind.
const batches = 8

// write gives so many documents a new text of the same length, a segment a batch: what one such
// write and the next leave in files has the same sizes, and if they are of as many documents,
// nothing stays of the one before.
func (w *nodesWorld) write(seed uint64, documents, length int) {
	w.t.Helper()
	if len(w.documents) == 0 {
		w.ask(w.source, http.MethodPut, "/"+w.index(), map[string]any{
			"settings": map[string]any{
				"number_of_shards": w.shards, "number_of_replicas": 0, "refresh_interval": "-1",
				"merge.policy.segments_per_tier": 100,
			},
			"mappings": map[string]any{nodesType: map[string]any{
				"_all": map[string]any{"enabled": false},
				"properties": map[string]any{"text": map[string]any{
					"type": "keyword", "index": false,
					"doc_values": false,
				}},
			}},
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
	w.ask(w.source, http.MethodPut, w.repository()+"/"+name+"?wait_for_completion=true",
		map[string]any{"indices": w.index(), "include_global_state": false}, &answer)
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

// onOSS injects a fault into requests for this copy's objects. Operations that name no object are
// none of them.
func (w *nodesWorld) onOSS(match func(op, key string) bool, times int, fault osstest.Fault) {
	w.lab.OSS.Server.Inject(osstest.Rule{Times: times, Fault: fault, Match: func(c osstest.Call) bool {
		key, ours := strings.CutPrefix(c.Key, w.run.TargetBasePath()+"/")
		return ours && match(c.Op, key)
	}})
}

func writes(op string) bool {
	return slices.Contains([]string{"PutObject", "InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload"},
		op)
}

func writesData(op, key string) bool     { return writes(op) && sidestest.IsData(key) }
func writesMetadata(op, key string) bool { return writes(op) && !sidestest.IsData(key) }
func writesRoot(op, key string) bool {
	return writes(op) && repository.Classify(key).Class == repository.ClassRootIndex
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
	c := copierAlone()
	c.pages = pages
	env := newEnvironment(quiet{})
	env.SetWorkerStopChannel(stop)
	c.Register(env)
	value, err := env.ExecuteActivity(activity, request)
	if err != nil {
		return err
	}
	return value.Get(result)
}

// copy copies a snapshot to OSS as the workflow does, without Temporal's retries.
func (w *nodesWorld) copy(snapshot string) (migration.CopyResult, error) {
	request := migration.CopyRequest{
		Run: w.run, Snapshot: migration.Snapshot{Name: snapshot, UUID: w.uuids[snapshot]},
		BaseUUID: w.base, BaseGeneration: w.generation, Again: w.begun,
	}
	w.begun = true
	for range ferry.Rounds {
		var result migration.CopyResult
		if err := w.act(migration.ActivityCopySnapshot, request, &result); err != nil || result.Pages == nil {
			return result, err
		}
		publish, moved := migration.PublishRequest{CopyRequest: request, Delta: result.Pages.Delta}, false
		for _, page := range result.Pages.Pages {
			var done migration.PageResult
			err := w.act(migration.ActivityCopyPage, migration.PageRequest{
				Run: request.Run, Snapshot: request.Snapshot,
				Delta: publish.Delta, Page: page, Again: request.Again,
			}, &done)
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

// copyAndRestore copies a snapshot, has the target node restore all that it sees then and remembers
// the snapshot as the base of the next.
func (w *nodesWorld) copyAndRestore(snapshot string) {
	w.t.Helper()
	result, err := w.copy(snapshot)
	require.NoError(w.t, err)
	require.Contains(w.t, w.requireRestorable(), snapshot)
	w.base, w.generation = w.uuids[snapshot], result.Generation
}

// requireRestorable has the target node restore each snapshot that it sees, and compares the
// documents with those of the source's index when the snapshot was taken. It names the snapshots.
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
	err := w.target.Do(w.ctx, http.MethodPost, w.repository()+"/"+snapshot+"/_restore?wait_for_completion=true",
		map[string]any{"indices": w.index()}, &answer)
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
	require.True(w.t, maps.Equal(w.held[snapshot], documents),
		"the %d restored documents of %s are not the %d that it was taken of",
		len(documents), snapshot, len(w.held[snapshot]))
	w.ask(w.target, http.MethodDelete, "/"+w.index(), nil, nil)
}

// roots are what a reader of OSS begins with.
func (w *nodesWorld) roots() map[string]string {
	w.t.Helper()
	roots := map[string]string{}
	for key, data := range w.inOSS() {
		if class := repository.Classify(key).Class; class == repository.ClassRootIndex ||
			class == repository.ClassLatest {
			roots[key] = string(data)
		}
	}
	return roots
}

// requireFails copies a snapshot, which must fail with an error of this type that says what is to
// blame, and leave what is published as it was.
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

// first publishes a snapshot that stays.
func (w *nodesWorld) first() {
	w.t.Helper()
	w.write(1, 30, 300)
	w.snapshot("s1")
	result, err := w.copy("s1")
	require.NoError(w.t, err)
	w.base, w.generation = w.uuids["s1"], result.Generation
}
