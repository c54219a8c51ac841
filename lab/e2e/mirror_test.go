//go:build lab

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// From Elasticsearch 2.4.6, whose repositories are mirrored: an abort gives the source free, and a migration outlives the worker in mid-copy
// and a snapshot's deletion at the source, carries objects that S3 has got in parts, and leaves the target as the source was.
func TestFrom2x(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{Dir: t.TempDir(), Out: os.Stderr, SourceVersion: "2.4.6", TargetVersion: "5.5.3"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	r, err := rig.New(t.Context(), l)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	defer func(usual *rig.Rig) { shared = usual }(shared)
	shared = r

	t.Run("abort", func(t *testing.T) {
		s := newScenario(t, "abort2x", 200)
		s.worker()
		s.start()
		s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
		s.signal(migration.RequestFreeze)
		s.awaitPhase(migration.PhaseAwaitCutover)
		require.ErrorContains(t, s.put(shared.Lab.Source.Client()), "cluster_block_exception")
		s.signal(migration.RequestAbort)
		_, err := shared.Report(s.ctx, s.id)
		require.Error(t, err)
		require.NoError(t, s.put(shared.Lab.Source.Client()), "the source takes writes again")
	})
	t.Run("whole", wholeFrom2x)
}

func wholeFrom2x(t *testing.T) {
	s := newScenario(t, "mirror2x", 2000)
	direct := shared.Lab.Source.Direct()
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/mirror2x/_settings", map[string]any{"index": map[string]any{"number_of_replicas": 1, "refresh_interval": "17s"}}, nil))
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/mirror2x/_alias/shop", nil, nil))
	// One segment of several times 5 MB, beyond which S3 gets it in parts.
	rng := rand.New(rand.NewPCG(2, 4))
	for n := range 16 {
		var words strings.Builder
		for range 60_000 {
			fmt.Fprintf(&words, "%x ", rng.Uint64())
		}
		require.NoError(t, direct.Do(s.ctx, http.MethodPut, fmt.Sprintf("/mirror2x/%s/large-%d?routing=one", lab.CatalogType, n), map[string]any{"description": words.String()}, nil))
	}
	require.NoError(t, direct.Do(s.ctx, http.MethodPost, "/mirror2x/_forcemerge?max_num_segments=1", nil, nil))
	s.write()
	s.worker()
	reached, release := make(chan struct{}), make(chan struct{})
	puts := 0
	shared.Lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
		if c.Op != "PutObject" || !strings.Contains(c.Key, "/__") {
			return false
		}
		puts++
		return puts == 3
	}, Times: 1, Fault: osstest.Hook(func() { close(reached); <-release })})
	s.plan.Rounds.Interval = migration.Duration(time.Hour) // rounds come when they are asked for
	s.start()
	select {
	case <-reached:
	case <-s.ctx.Done():
		t.Fatal("the copy never came to its third blob")
	}
	s.replaceWorker()
	close(release)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	round := func(ended int) {
		s.signal(migration.RequestRound)
		s.await(func(status migration.Status) bool { return status.RoundsEnded >= ended })
	}
	round(2)
	// The first round's snapshot goes, and with it blobs whose names come back.
	var found map[string]any
	require.NoError(t, direct.Do(s.ctx, http.MethodGet, "/_snapshot", nil, &found))
	for name := range found {
		if strings.HasPrefix(name, "snapferry-mirror2x-") {
			require.NoError(t, direct.Do(s.ctx, http.MethodDelete, "/_snapshot/"+name+"/mirror2x-r0000-a1", nil, nil))
		}
	}
	round(3)
	report := s.finish()
	for _, round := range report.Rounds {
		t.Logf("round %d: %d blobs copied (%d bytes), %d skipped", round.Number, round.BlobsCopied, round.BytesCopied, round.BlobsSkipped)
	}
	require.Empty(t, report.Indices[0].Differences, "settings, mappings and aliases are the source's")
	for _, warning := range report.Warnings {
		require.Contains(t, warning, "automatic snapshots", "the lab's clusters take none")
	}

	target := shared.Lab.Target.Direct()
	var atSource, atTarget map[string]any
	require.NoError(t, direct.Do(s.ctx, http.MethodGet, "/mirror2x/_alias", nil, &atSource))
	require.NoError(t, target.Do(s.ctx, http.MethodGet, "/mirror2x/_alias", nil, &atTarget))
	require.Equal(t, atSource, atTarget)
	parted := 0
	for _, o := range shared.Lab.OSS.Server.Objects(shared.Lab.OSS.Bucket) {
		if strings.HasPrefix(o.Key, "snapferry/mirror2x/") && strings.Contains(o.Meta[transfer.MetadataETag], "-") {
			parted++
		}
	}
	require.Positive(t, parted, "no object came in parts")

	path := filepath.Join(shared.Lab.Dir, s.name+".yaml")
	out, err := shared.Starter(s.ctx, "audit", "-f", path, "--deep")
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stdout+out.Stderr)
	t.Log(out.Stdout)
	// Until somebody deletes a blob of it.
	for _, o := range shared.Lab.OSS.Server.Objects(shared.Lab.OSS.Bucket) {
		if strings.HasPrefix(o.Key, "snapferry/mirror2x/") && strings.Contains(o.Key, "/__") && o.Size > 1<<20 {
			require.NoError(t, shared.Lab.OSS.Server.Delete(shared.Lab.OSS.Bucket, o.Key))
			break
		}
	}
	out, err = shared.Starter(s.ctx, "audit", "-f", path)
	require.NoError(t, err)
	require.Equal(t, 7, out.Code)
	require.Contains(t, out.Stdout, "Missing: 1")
}
