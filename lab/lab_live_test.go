//go:build lab

package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/lab/writer"
)

// helperLab makes the helper of process_test.go a parent with a complete lab.
const helperLab = "LAB_TEST_HELPER_LAB"

func init() {
	if os.Getenv(helperLab) == "" {
		return
	}
	helperChildren = func(dir string) ([]*Process, error) {
		l, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			return nil, err
		}
		return l.Processes(), nil
	}
}

// TestLab brings the complete lab up once and tries each part.
func TestLab(t *testing.T) {
	require.NoError(t, EnsureTools(t.Context(), t.Output()))
	dir := t.TempDir()
	l, err := Start(t.Context(), Options{Dir: dir, Out: t.Output(), UI: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })

	t.Run("versions", func(t *testing.T) {
		for want, c := range map[string]*cluster.Client{
			SourceVersion: l.Source.Client(), TargetVersion: l.Target.Client(),
		} {
			version, err := c.Version(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, version)
		}
	})
	t.Run("the folder is taken", func(t *testing.T) {
		_, err := Start(t.Context(), Options{Dir: dir})
		assert.ErrorContains(t, err, "another lab runs in "+dir)
	})
	t.Run("front ends", func(t *testing.T) { tryFrontEnds(t, l) })
	t.Run("s3 repository", func(t *testing.T) { tryS3(t, l) })
	t.Run("oss", func(t *testing.T) { tryOSS(t, l) })
	t.Run("writer", func(t *testing.T) { tryWriter(t, l) })
	t.Run("temporal", func(t *testing.T) { tryTemporal(t, l) })
	t.Run("restarts", func(t *testing.T) { tryRestarts(t, l) })
	t.Run("a program with the lab's environment", func(t *testing.T) {
		t.Setenv("AWS_PROFILE", "mine")
		p, err := l.Run("worker", []string{"sh", "-c", "env; exec cat"}, "MORE=1")
		require.NoError(t, err)
		require.NoError(t, p.await(t.Context(), longEnough, func(context.Context) error {
			for _, want := range append(l.Environment(), "MORE=1") {
				if !strings.Contains(p.log(), want+"\n") {
					return fmt.Errorf("no %s", want)
				}
			}
			return nil
		}))
		assert.NotContains(t, p.log(), "AWS_PROFILE")
	})
	t.Run("close", func(t *testing.T) {
		processes := l.Processes()
		require.Len(t, processes, 5)
		require.NoError(t, l.Close())
		for _, p := range processes {
			assert.True(t, gone(p.PID), p.Name)
		}
		for _, address := range []string{
			l.Source.Endpoint, l.Target.Endpoint, l.S3.Endpoint, l.OSS.Endpoint,
			l.Temporal.Address, l.Temporal.UIAddress,
		} {
			_, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
			assert.Error(t, err, address)
		}
		require.NoError(t, l.Close(), "twice is fine")
		assert.ErrorContains(t, l.Restart(t.Context(), PartS3), "closed")
	})
}

func tryFrontEnds(t *testing.T, l *Lab) {
	anonymous := &http.Client{Transport: newTransport()}
	status, text := call(t, anonymous, http.MethodGet, l.Source.Endpoint+"/", "")
	assert.Equal(t, 403, status)
	assert.Contains(t, text, `"Message":"User: anonymous is not authorized`)
	status, _ = call(t, anonymous, http.MethodGet, l.Target.Endpoint+"/", "")
	assert.Equal(t, 401, status)

	require.NoError(t, LoadMovies(t.Context(), l.Source.Client()))
	count, err := l.Source.Client().Count(t.Context(), MoviesIndex)
	require.NoError(t, err)
	assert.EqualValues(t, 3, count)
	assert.ErrorContains(t, l.Source.Client().Do(t.Context(), http.MethodPost, "/movies/_close", nil, nil),
		"Your request: '/movies/_close' is not allowed.")
	require.NoError(t, LoadCatalog(t.Context(), l.Source.Client(), CatalogOptions{Documents: 5000}))
	require.NoError(t, AddFilms(t.Context(), l.Source.Client()))

	require.NoError(t, LoadMovies(t.Context(), l.Target.Client()))
	require.NoError(t, l.Target.Client().Do(t.Context(), http.MethodPost, "/movies/_close", nil, nil))
	require.NoError(t, l.Target.Client().Do(t.Context(), http.MethodDelete, "/movies", nil, nil))
}

// snapshot takes one and expects SUCCESS.
func snapshot(t *testing.T, c *cluster.Client, repository string) {
	t.Helper()
	var answer struct {
		Snapshot struct {
			State  string
			Shards struct{ Total, Failed int }
		}
	}
	require.NoError(t, c.Do(t.Context(), http.MethodPut, "/_snapshot/"+repository+"/s1?wait_for_completion=true",
		map[string]any{"include_global_state": false}, &answer))
	assert.Equal(t, "SUCCESS", answer.Snapshot.State)
	assert.Zero(t, answer.Snapshot.Shards.Failed)
	assert.Positive(t, answer.Snapshot.Shards.Total)
}

func tryS3(t *testing.T, l *Lab) {
	c := l.Source.Client()
	register := func(bucket, role string) error {
		settings := map[string]any{
			"bucket": bucket, "region": l.S3.Region, "base_path": "live/1",
			"server_side_encryption": true,
		}
		if role != "" {
			settings["role_arn"] = role
		}
		return c.Do(t.Context(), http.MethodPut, "/_snapshot/mig", map[string]any{"type": "s3", "settings": settings},
			nil)
	}
	assert.ErrorContains(t, register(l.S3.Bucket, ""), "settings.role_arn is needed")
	assert.ErrorContains(t, register("no-such-bucket", l.Source.RoleARN), "HTTP 500")
	require.NoError(t, register(l.S3.Bucket, l.Source.RoleARN))
	snapshot(t, c, "mig")
	assert.FileExists(t, filepath.Join(l.S3.Dir, "live", "1", "index.latest"))
}

func tryOSS(t *testing.T, l *Lab) {
	as := func(key osstest.Key) *oss.Client {
		c, err := oss.New(l.OSS.Endpoint, key.ID, key.Secret, oss.ForcePathStyle(true))
		require.NoError(t, err)
		c.HTTPClient = &http.Client{Transport: newTransport()}
		t.Cleanup(c.HTTPClient.CloseIdleConnections)
		return c
	}
	copier, reader := as(l.OSS.CopierKey), as(l.OSS.ClusterKey)
	exists, err := copier.IsBucketExist(l.OSS.Bucket)
	require.NoError(t, err)
	assert.False(t, exists, "a migration creates the bucket")
	require.NoError(t, copier.CreateBucket(l.OSS.Bucket))
	bucket, err := copier.Bucket(l.OSS.Bucket)
	require.NoError(t, err)
	require.NoError(t, bucket.PutObject("a/b", bytes.NewReader([]byte("text"))))
	readOnly, err := reader.Bucket(l.OSS.Bucket)
	require.NoError(t, err)
	assert.ErrorContains(t, readOnly.PutObject("a/c", bytes.NewReader(nil)), "AccessDenied")
	found, err := readOnly.IsObjectExist("a/b")
	require.NoError(t, err)
	assert.True(t, found)

	c := l.Target.Client()
	register := func(name string, key osstest.Key, readonly bool) error {
		return c.Do(t.Context(), http.MethodPut, "/_snapshot/"+name,
			map[string]any{"type": "oss", "settings": map[string]any{
				"endpoint": l.OSS.Endpoint, "access_key_id": key.ID, "secret_access_key": key.Secret,
				"bucket": l.OSS.Bucket, "base_path": "live/1", "readonly": readonly,
			}}, nil)
	}
	require.NoError(t, LoadMovies(t.Context(), c))
	require.NoError(t, register("written", l.OSS.CopierKey, false))
	snapshot(t, c, "written")
	require.NoError(t, register("read", l.OSS.ClusterKey, true))
	var answer struct {
		Snapshots []struct{ Snapshot, State string }
	}
	require.NoError(t, c.Do(t.Context(), http.MethodGet, "/_snapshot/read/_all", nil, &answer))
	require.Len(t, answer.Snapshots, 1)
	assert.Equal(t, "SUCCESS", answer.Snapshots[0].State)
}

func tryWriter(t *testing.T, l *Lab) {
	w, err := writer.Start(writer.Options{
		Source: l.Source.Client(), Index: CatalogIndex, Type: CatalogType, Seed: 4,
		Rate: 500,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Stop() })
	require.Eventually(t, func() bool { return w.Stats().Acknowledged >= 500 }, longEnough, pollEvery)
	lost := l.Source.Front.LoseNext(2, Requests(http.MethodPost, "/_bulk"), 504)
	require.Eventually(t, func() bool { return lost.Hits() == 2 }, longEnough, pollEvery)
	block := func(value any) {
		require.NoError(t, l.Source.Client().Do(t.Context(), http.MethodPut, "/catalog/_settings",
			map[string]any{"index.blocks.write": value}, nil))
	}
	block(true)
	select {
	case <-w.Refused():
	case <-time.After(longEnough):
		t.Fatalf("the block refused nothing: %+v", w.Stats())
	}
	block(nil)
	acknowledged := w.Stats().Acknowledged
	require.Eventually(t, func() bool { return w.Stats().Acknowledged >= acknowledged+100 }, longEnough, pollEvery)
	require.NoError(t, w.Stop())
	s := w.Stats()
	assert.Zero(t, s.Rejected, s.LastRejection)
	assert.Positive(t, s.Unanswered)

	result, err := w.Verify(t.Context(), l.Source.Client())
	require.NoError(t, err)
	assert.Zero(t, result.Lost, result.Details)
	_, err = w.Verify(t.Context(), l.Target.Client())
	assert.ErrorContains(t, err, "index_not_found_exception", "the target has no catalog yet")
}

func tryTemporal(t *testing.T, l *Lab) {
	c, err := l.Temporal.Dial(t.Context())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "waits", TaskQueue: "nobody"}, "Anything")
	require.NoError(t, err)
	require.NoError(t, get(t.Context(), l.Temporal.UIAddress))

	address := l.Temporal.Address
	require.NoError(t, l.Kill(PartTemporal))
	require.NoError(t, l.Restart(t.Context(), PartTemporal))
	assert.Equal(t, address, l.Temporal.Address)
	described, err := c.DescribeWorkflowExecution(t.Context(), "waits", "") // over the old connection
	require.NoError(t, err)
	assert.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, described.WorkflowExecutionInfo.Status)
}

func tryRestarts(t *testing.T, l *Lab) {
	before, err := l.Source.Client().Count(t.Context(), MoviesIndex)
	require.NoError(t, err)
	for _, part := range []Part{PartSource, PartS3} {
		require.NoError(t, l.Kill(part))
		require.NoError(t, l.Restart(t.Context(), part))
	}
	require.NoError(t, l.Source.Direct().Do(t.Context(), http.MethodGet,
		"/_cluster/health/movies?wait_for_status=yellow&timeout=10m", nil, nil))
	after, err := l.Source.Client().Count(t.Context(), MoviesIndex)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	var answer struct{ Snapshots []any }
	require.NoError(t, l.Source.Client().Do(t.Context(), http.MethodGet, "/_snapshot/mig/_all", nil, &answer))
	assert.Len(t, answer.Snapshots, 1)
	assert.Error(t, l.Kill(PartOSS), "it is in this process")
}

func TestTheWholeLabEndsWithAKilledParent(t *testing.T) {
	require.NoError(t, EnsureTools(t.Context(), t.Output()))
	assert.Equal(t, 4, killParent(t, helperLab+"=1"))
}

func TestAPartThatDoesNotStartIsNamedAndTheOthersEnd(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "temporal", "temporal.db"), 0o755)) // no database can be there
	_, err := Start(t.Context(), Options{Dir: dir, Parts: []Part{PartS3, PartTemporal}})
	require.ErrorContains(t, err, "the lab's part temporal is not up")
	assert.ErrorContains(t, err, filepath.Join(dir, "temporal", "temporal.log"))
	assert.NoFileExists(t, filepath.Join(dir, "s3", "s3.pid"))

	require.NoError(t, os.Remove(filepath.Join(dir, "temporal", "temporal.db")))
	l, err := Start(t.Context(), Options{Dir: dir, Parts: []Part{PartS3, PartTemporal}}) // the folder was given back
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
