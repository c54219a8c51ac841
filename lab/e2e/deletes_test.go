//go:build lab

package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/migration"
)

// At the source somebody deletes the snapshot that is being copied and the one before, which is
// published. A person is asked. The round is taken again, under names of blobs that come back, and
// OSS no longer lists what was deleted.
func TestSnapshotsAreDeletedInMidCopy(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "deletes", 1000)
	s.write()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })

	// Blobs may travel while the snapshot still runs, which the delete would abort; the lists of
	// files follow when it has ended.
	deleted := make(chan []string, 1)
	s.lab.OSS.Server.Inject(osstest.Rule{
		Times: 1, Match: func(c osstest.Call) bool {
			return c.Op == "PutObject" && strings.Contains(c.Key, "/indices/") && strings.Contains(c.Key, "/snap-")
		},
		Fault: osstest.Hook(func() { deleted <- s.deleteNewest(2) }),
	})
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorSnapshotUnusable), attention.Type)
	gone := <-deleted
	require.Len(t, gone, 2, "the node refused to delete")
	require.Contains(t, attention.Message, gone[1])
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.Attention == nil && status.RoundsEnded >= 3 })
	s.finish()

	// Each root lists more than the one before, but for the one that was published last without
	// what was deleted.
	lists := map[string]int{}
	for _, o := range s.lab.OSS.Server.Objects(s.lab.OSS.Bucket) {
		below, ours := strings.CutPrefix(o.Key, "snapferry/"+s.name+"/")
		_, key, _ := strings.Cut(below, "/") // behind the run's token
		k := repository.Classify(key)
		if !ours || k.Class != repository.ClassRootIndex {
			continue
		}
		data, err := s.lab.OSS.Server.Read(s.lab.OSS.Bucket, o.Key)
		require.NoError(t, err)
		root, err := repository.ParseRoot(k.Generation, data)
		require.NoError(t, err)
		var names []string
		for _, snapshot := range root.Snapshots {
			names = append(names, snapshot.Name)
		}
		slices.Sort(names)
		lists[strings.Join(names, ", ")]++
	}
	t.Logf("%s were deleted; the roots in OSS list %v", gone, lists)
	require.Contains(t, slices.Collect(maps.Values(lists)), 2)
}

// deleteNewest deletes snapshots at the source and names them, the oldest first; fewer if the node
// refuses.
func (s *scenario) deleteNewest(n int) (deleted []string) {
	direct := s.lab.Source.Direct()
	var repositories map[string]any
	if direct.Do(s.ctx, http.MethodGet, "/_snapshot", nil, &repositories) != nil {
		return nil
	}
	for name := range repositories {
		var listed struct{ Snapshots []struct{ Snapshot string } }
		if !strings.HasPrefix(name, "snapferry-"+s.name+"-") ||
			direct.Do(s.ctx, http.MethodGet, "/_snapshot/"+name+"/_all", nil, &listed) != nil {
			continue
		}
		for _, snapshot := range slices.Backward(listed.Snapshots) {
			if len(deleted) < n && direct.Do(s.ctx, http.MethodDelete, "/_snapshot/"+name+"/"+snapshot.Snapshot, nil,
				nil) == nil {
				deleted = append(deleted, snapshot.Snapshot)
			}
		}
	}
	slices.Reverse(deleted)
	return deleted
}
