//go:build lab

package activities

import (
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

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
	w.copyAndRestore("s3")
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
	w.copyAndRestore("s3")
}

// added are the blobs that only the newest snapshot needs, in the order of their names.
func (w *nodesWorld) added() []string {
	w.t.Helper()
	var added []string
	copied := w.inOSS()
	for key := range w.inS3() {
		if _, ok := copied[key]; !ok && sidestest.IsData(key) {
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
	w.snapshot("s3") // the node sees that the blob is gone and writes it again
	w.delete("s2")
	w.copyAndRestore("s3")
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

// The newest blob of what is published vanishes from S3, and the node gives its name to another:
// then two snapshots that S3 lists need different bytes.
func reuseVanished(w *nodesWorld) {
	w.first()
	old := w.inS3()
	var newest string
	for key := range old {
		if sidestest.IsData(key) && key > newest {
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
	w.copyAndRestore("s2")
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
	w.copyAndRestore("s2")
}
