//go:build lab

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// From Elasticsearch 2.4.6, whose repositories are compared folder by folder: after an abort the
// source is writable again. A migration outlives the death of the worker in mid-copy and the
// deletion of a snapshot at the source. It copies objects that S3 has got in parts, and leaves the
// target as the source was.
func TestFrom2x(t *testing.T) {
	t.Parallel()
	r := labs.take(t, from2to5)
	t.Run("abort", func(t *testing.T) {
		s := newScenario(t, r, "abort2x", 200)
		s.worker()
		s.start()
		s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
		s.signal(migration.RequestFreeze)
		s.awaitPhase(migration.PhaseAwaitCutover)
		require.ErrorContains(t, s.put(s.lab.Source.Client()), "cluster_block_exception")
		s.signal(migration.RequestAbort)
		_, err := s.rig.Report(s.ctx, s.id)
		require.Error(t, err)
		require.NoError(t, s.put(s.lab.Source.Client()), "the source takes writes again")
	})
	t.Run("whole", func(t *testing.T) { wholeFrom2x(newScenario(t, r, "mirror2x", 2000)) })
}

func wholeFrom2x(s *scenario) {
	t := s.t
	direct := s.lab.Source.Direct()
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/mirror2x/_settings",
		map[string]any{"index": map[string]any{"number_of_replicas": 1, "refresh_interval": "17s"}}, nil))
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/mirror2x/_alias/shop", nil, nil))
	// One segment of several times 5 MB, beyond which S3 gets it in parts.
	rng := rand.New(rand.NewPCG(2, 4))
	for n := range 16 {
		var words strings.Builder
		for range 60_000 {
			fmt.Fprintf(&words, "%x ", rng.Uint64())
		}
		require.NoError(t, direct.Do(s.ctx, http.MethodPut,
			fmt.Sprintf("/mirror2x/%s/large-%d?routing=one", lab.CatalogType, n),
			map[string]any{"description": words.String()}, nil))
	}
	require.NoError(t, direct.Do(s.ctx, http.MethodPost, "/mirror2x/_forcemerge?max_num_segments=1", nil, nil))
	s.write()
	s.worker()
	reached, release := make(chan struct{}), make(chan struct{})
	puts := 0
	s.lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
		if c.Op != "PutObject" || !strings.Contains(c.Key, "/__") {
			return false
		}
		puts++
		return puts == 3
	}, Times: 1, Fault: osstest.Hook(func() { close(reached); <-release })})
	s.noRoundBesides()
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
		t.Logf("round %d: %d blobs copied (%d bytes), %d skipped", round.Number, round.BlobsCopied, round.BytesCopied,
			round.BlobsSkipped)
	}
	require.Empty(t, report.Indices[0].Differences, "settings, mappings and aliases are the source's")
	for _, warning := range report.Warnings {
		require.Contains(t, warning, "automatic snapshots", "the lab's clusters take none")
	}

	target := s.lab.Target.Direct()
	var atSource, atTarget map[string]any
	require.NoError(t, direct.Do(s.ctx, http.MethodGet, "/mirror2x/_alias", nil, &atSource))
	require.NoError(t, target.Do(s.ctx, http.MethodGet, "/mirror2x/_alias", nil, &atTarget))
	require.Equal(t, atSource, atTarget)
	parted := 0
	for _, o := range s.lab.OSS.Server.Objects(s.lab.OSS.Bucket) {
		if strings.HasPrefix(o.Key, "snapferry/mirror2x/") && strings.Contains(o.Meta[transfer.MetadataETag], "-") {
			parted++
		}
	}
	require.Positive(t, parted, "no object came in parts")

	path := filepath.Join(s.lab.Dir, s.name+".yaml")
	out, err := s.rig.Starter(s.ctx, "audit", "-f", path, "--deep")
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stdout+out.Stderr)
	t.Log(out.Stdout)
	// Until somebody deletes a blob of it.
	for _, o := range s.lab.OSS.Server.Objects(s.lab.OSS.Bucket) {
		if strings.HasPrefix(o.Key, "snapferry/mirror2x/") && strings.Contains(o.Key, "/__") && o.Size > 1<<20 {
			require.NoError(t, s.lab.OSS.Server.Delete(s.lab.OSS.Bucket, o.Key))
			break
		}
	}
	out, err = s.rig.Starter(s.ctx, "audit", "-f", path)
	require.NoError(t, err)
	require.Equal(t, 7, out.Code)
	require.Contains(t, out.Stdout, "Missing: 1")
}
