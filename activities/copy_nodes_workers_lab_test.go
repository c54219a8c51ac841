//go:build lab

package activities

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// dead is what a worker that was stopped can't do any more.
var dead = osstest.Fail(503, "ServiceUnavailable", "the worker is dead")

// stopAt lets n writes of a kind through and stops the worker at the next; from then on it writes
// nothing at all.
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
	w.copyAndRestore("s2")
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
	w.copyAndRestore("s2")
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
	work, err := json.Marshal(childWork{
		Activity: activity, Blobs: c.pages.Blobs, Bytes: c.pages.Bytes,
		Most: c.pages.Most, Request: body,
	})
	require.NoError(c.t, err)
	answer := filepath.Join(c.t.TempDir(), "answer")
	command := exec.Command(os.Args[0], "-test.run=^TestLabCopyProcess$", "-test.timeout="+lab.Patience.String())
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
	require.NoError(t, runCopier(ferry.Paging{Blobs: work.Blobs, Bytes: work.Bytes, Most: work.Most},
		make(chan struct{}), work.Activity, request, &result))
	answer, err := json.Marshal(result)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(os.Getenv(childVariable+"_ANSWER"), answer, 0o600))
}
