//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// compared are the documents of a cluster that a rehearsal must leave byte for byte as they were,
// so far as JSON has bytes.
var compared = []string{
	"/_cluster/settings?flat_settings=true", "/_all/_settings?flat_settings=true&expand_wildcards=all",
	"/_all/_mapping?expand_wildcards=all",
	"/_all/_alias?expand_wildcards=all", "/_snapshot", "/_template", "/_cluster/state/blocks",
}

// theWorld is all that a rehearsal could leave something in.
type theWorld struct {
	clusters map[string]map[string]any // by cluster and document
	oss      []string                  // each object with its ETag
	uploads  []osstest.Upload
	s3       []string // keys
}

func (s *scenario) world() theWorld {
	s.t.Helper()
	w := theWorld{clusters: map[string]map[string]any{}}
	for side, c := range map[string]interface {
		Do(context.Context, string, string, any, any) error
	}{"source": s.lab.Source.Direct(), "target": s.lab.Target.Direct()} {
		w.clusters[side] = map[string]any{}
		for _, path := range compared {
			var document any
			require.NoError(s.t, c.Do(s.ctx, http.MethodGet, path, nil, &document))
			if blocks, ok := document.(map[string]any); ok && strings.HasSuffix(path, "/blocks") {
				document = blocks["blocks"] // the rest tells of the state's version
			}
			w.clusters[side][path] = document
		}
	}
	for _, object := range s.lab.OSS.Server.Objects(s.lab.OSS.Bucket) {
		if strings.Contains(object.Key, transcripts) {
			continue // workers write it in the background
		}
		w.oss = append(w.oss, object.Key+" "+object.ETag)
	}
	w.uploads = s.lab.OSS.Server.Uploads(s.lab.OSS.Bucket)
	pages := s3.NewListObjectsV2Paginator(s.lab.S3.Client(),
		&s3.ListObjectsV2Input{Bucket: aws.String(s.lab.S3.Bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		require.NoError(s.t, err)
		for _, object := range page.Contents {
			w.s3 = append(w.s3, aws.ToString(object.Key))
		}
	}
	return w
}

// same asserts that a rehearsal has left nothing: only what Elasticsearch leaves of a repository
// without snapshots may be in S3, and only below the rehearsal's folder.
func (s *scenario) same(before theWorld) (leftovers []string) {
	s.t.Helper()
	after := s.world()
	for side, documents := range before.clusters {
		for path, document := range documents {
			require.Equal(s.t, document, after.clusters[side][path], "%s of the %s", path, side)
		}
	}
	require.Equal(s.t, before.oss, after.oss)
	require.Equal(s.t, before.uploads, after.uploads)
	for _, key := range after.s3 {
		if slices.Contains(before.s3, key) {
			continue
		}
		leftovers = append(leftovers, key)
		require.True(s.t, strings.HasPrefix(key, "snapferry/"+s.name+"/"), key)
		name := key[strings.LastIndexByte(key, '/')+1:]
		// index is that of 2.x
		require.True(s.t, strings.HasPrefix(name, "index-") || name == "index.latest" ||
			name == "incompatible-snapshots" || name == "index", key)
	}
	for _, key := range before.s3 {
		require.Contains(s.t, after.s3, key)
	}
	return leftovers
}

// newRehearsal is a scenario whose target has an index and an alias in the migration's way, a
// template and a setting of its own, and whose buckets are not empty.
func newRehearsal(t *testing.T, r *rig.Rig, name string, documents int) *scenario {
	s := newScenario(t, r, name, documents)
	s.id = migration.RehearsalWorkflowID(name)
	s.plan.Freeze.HotRound = migration.HotRoundNever // a slow computer would make it run one
	target := s.lab.Target.Direct()
	require.NoError(t, target.Do(s.ctx, http.MethodPut, "/"+name+"/"+lab.CatalogType+"/theirs",
		map[string]any{"name": "theirs"}, nil))
	require.NoError(t, target.Do(s.ctx, http.MethodPut, "/"+name+"/_alias/"+name+"-alias", nil, nil))
	template := map[string]any{"settings": map[string]any{"number_of_replicas": 0}}
	// before 6.0
	if err := target.Do(s.ctx, http.MethodPut, "/_template/"+name,
		with(template, "index_patterns", []string{name + "-never-*"}), nil); err != nil {
		require.NoError(t, target.Do(s.ctx, http.MethodPut, "/_template/"+name,
			with(template, "template", name+"-never-*"), nil))
	}
	require.NoError(t, target.Do(s.ctx, http.MethodPut, "/_cluster/settings",
		map[string]any{"transient": map[string]any{"cluster.routing.allocation.node_concurrent_recoveries": 3}}, nil))
	require.NoError(t, s.lab.Source.Direct().Do(s.ctx, http.MethodPut, "/"+name+"/_alias/"+name+"-shop", nil, nil))
	s.bucket()
	require.NoError(t, s.lab.OSS.Server.Put(s.lab.OSS.Bucket, "snapferry/"+name+"/theirs", []byte("somebody's")))
	_, err := s.lab.S3.Client().PutObject(s.ctx, &s3.PutObjectInput{
		Bucket: aws.String(s.lab.S3.Bucket),
		Key:    aws.String("snapferry/" + name + "/theirs"), Body: strings.NewReader("somebody's"),
	})
	require.NoError(t, err)
	return s
}

// bucket makes the bucket in OSS, which a rehearsal doesn't do.
func (s *scenario) bucket() {
	if err := s.lab.OSS.Server.CreateBucket(s.lab.OSS.Bucket, osstest.BucketOptions{}); err != nil {
		s.t.Logf("the bucket is there already: %v", err)
	}
}

func with(object map[string]any, name string, value any) map[string]any {
	object = maps.Clone(object)
	object[name] = value
	return object
}

// written puts a writer on the index and returns when it has brought in the fields that it brings
// in: they change the mapping.
func (s *scenario) written() {
	s.write()
	s.awaitWrites(20)
}

func (s *scenario) rehearse() {
	s.t.Helper()
	path, err := s.lab.WritePlan(s.plan)
	require.NoError(s.t, err)
	out, err := s.rig.Starter(s.ctx, "start", "-f", path, "--rehearse")
	require.NoError(s.t, err)
	require.Zero(s.t, out.Code, out.Stdout+out.Stderr)
}

// A complete rehearsal while a writer writes: no write is refused, the report says what to expect,
// and everything is as before.
func TestARehearsalLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	s := newRehearsal(t, labs.take(t, usual), "rehearsed", 3000)
	s.written()
	before := s.world()
	s.worker()
	s.rehearse()

	report, err := s.rig.Report(s.ctx, s.id)
	require.NoError(t, err)
	require.NoError(t, s.writer.Stop())
	leftovers := s.same(before)
	written, err := s.writer.Verify(s.ctx, s.lab.Source.Client())
	require.NoError(t, err)
	require.Zero(t, written.Lost)
	require.Zero(t, s.writer.Stats().Refused, "a write was blocked")
	require.Positive(t, written.Acknowledged)
	require.NoError(t, s.put(s.lab.Source.Client()), "the source takes writes")

	require.Equal(t, migration.ResultRehearsed, report.Result)
	require.Empty(t, report.Error)
	require.Len(t, report.Rounds, 3)
	r := report.Rehearsal
	require.NotNil(t, r.Window)
	require.Positive(t, r.Window.SnapshotMillis)
	require.Positive(t, r.Window.RestoreMillis)
	require.Positive(t, r.Window.VerifyMillis)
	require.NotNil(t, r.AfterInterval)
	require.NotNil(t, r.Footprint)
	require.Positive(t, r.Footprint.TargetBytes)
	require.Positive(t, r.Footprint.S3Bytes)
	require.InDelta(t, r.Footprint.S3Bytes, r.Footprint.OSSBytes, float64(r.Footprint.S3Bytes)/2,
		"the copy is as large as the original, but for old roots")
	require.Len(t, r.Attention, 1, "%+v", r.Attention)
	require.Contains(t, r.Attention[0].Message, "index rehearsed exists on the target already")
	require.Len(t, report.Indices, 1)
	require.Equal(t, len(leftovers) > 0, strings.Contains(strings.Join(report.Remains, "\n"),
		fmt.Sprintf("S3: %d objects", len(leftovers))), "%v %v", leftovers, report.Remains)
	for _, round := range report.Rounds {
		t.Logf("round %+v", round)
	}
	t.Logf("it took %d ms; window to expect: %+v; room: %+v; left in S3: %v", report.EndedMillis-report.StartedMillis,
		*r.Window, *r.Footprint, leftovers)

	out := s.starter(5, "report", s.id)
	require.Contains(t, out.Stdout, "Rehearsal rehearsed")
	require.Contains(t, out.Stdout, "Would have needed attention")

	path := filepath.Join(t.TempDir(), "history.json")
	require.NoError(t, s.rig.History(s.ctx, s.id, path))
	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, path))
	history, err := os.ReadFile(path)
	require.NoError(t, err)
	s.noSecretIn("the history", string(history))
	text, err := json.Marshal(report)
	require.NoError(t, err)
	s.noSecretIn("the report", string(text))
}

func (s *scenario) starter(code int, arguments ...string) rig.Output {
	s.t.Helper()
	out, err := s.rig.Starter(s.ctx, arguments...)
	require.NoError(s.t, err)
	require.Equal(s.t, code, out.Code, "starter %v: %s%s", arguments, out.Stdout, out.Stderr)
	return out
}

// Without a write the verification counts: everything is equal, as it would be in the frozen
// window.
func TestARehearsalOfAnIndexAtRestFindsItEqual(t *testing.T) {
	t.Parallel()
	s := newRehearsal(t, labs.take(t, usual), "atrest", 500)
	before := s.world()
	s.worker()
	s.rehearse()
	report, err := s.rig.Report(s.ctx, s.id)
	require.NoError(t, err)
	s.same(before)
	require.True(t, report.Indices[0].Equal, "%+v", report.Indices[0])
	require.False(t, report.Indices[0].Moved)
	require.NotEmpty(t, report.Indices[0].Checksum)
	require.EqualValues(t, 500, report.Indices[0].TargetDocs)
}

// Its worker is killed at the worst moments, and then it is aborted or cancelled: what it has made
// is removed anyway.
func TestARehearsalThatIsStoppedLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, moment := range []struct {
		name          string
		source        bool
		method, match string
		cancel        bool
	}{
		{"stopregister", false, http.MethodPut, "/_snapshot/snapferry-rehearsal-", false},
		{"stopsnapshot", true, http.MethodPut, "-r0000-a1", false},
		{"stoprestore", false, http.MethodPost, "/_restore", true},
		{"stopdelete", false, http.MethodDelete, "/snapferry-rehearsal-", true},
	} {
		t.Run(moment.name, func(t *testing.T) {
			t.Parallel()
			s := newRehearsal(t, labs.take(t, usual), moment.name, 300)
			s.written()
			before := s.world()
			s.worker()
			faults := &s.lab.Target.Front.Faults
			if moment.source {
				faults = &s.lab.Source.Front.Faults
			}
			held := faults.HoldNext(func(r *http.Request) bool {
				return r.Method == moment.method && strings.Contains(r.URL.Path, moment.match)
			})
			s.rehearse()
			s.awaitHeld(held)
			s.replaceWorker()
			if moment.cancel {
				require.NoError(t, s.rig.Client.CancelWorkflow(s.ctx, s.id, ""))
			} else {
				s.signal(migration.RequestAbort)
			}
			held.Release() // what the dead worker had sent arrives late
			report, err := s.rig.Report(s.ctx, s.id)
			var failure *temporal.ApplicationError
			var cancelled *temporal.CanceledError
			require.True(t, errors.As(err, &failure) || errors.As(err, &cancelled), "%v", err)
			require.Equal(t, migration.ResultAborted, report.Result)
			require.NoError(t, s.writer.Stop())
			s.same(before)
			for _, remains := range report.Remains {
				require.True(t, strings.HasPrefix(remains, "S3: "), remains)
			}
		})
	}
}

// From 2.x to 7.x.
func TestARehearsalBetweenOtherVersions(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]versions{
		"try2to5": from2to5, "try5to6": from5to6, "try6to7": from6to7, "trywithin7": within7,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRehearsal(t, labs.take(t, between), name, 500)
			before := s.world()
			s.worker()
			s.rehearse()
			report, err := s.rig.Report(s.ctx, s.id)
			require.NoError(t, err)
			t.Logf("left in S3: %v; %+v", s.same(before), report.Rehearsal)
			require.Empty(t, report.Error)
			require.True(t, report.Indices[0].Equal, "%+v", report.Indices[0])
			require.EqualValues(t, 500, report.Indices[0].TargetDocs)
		})
	}
}
