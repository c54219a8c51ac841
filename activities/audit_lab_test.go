//go:build lab

package activities

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

// What a worker copies between real protocols a worker finds complete there, shallow and deep, also
// where S3's objects were uploaded in parts. It finds an object that was replaced by another one of
// the same size.
func TestLabAudit(t *testing.T) {
	l, run := startStores(t)
	oss, client := l.OSS.Server, storesClient(l)

	cluster := repositorytest.New(1, repositorytest.Options{Compress: true})
	uuid := cluster.Snapshot("r0", repositorytest.CreateIndex("movies", 2),
		repositorytest.AddSegments("movies", 20, 5000),
		repositorytest.AddSegments("movies", 1, 12<<20), repositorytest.AddSegments("movies", 1, 60<<20))
	for key, data := range cluster.Objects() {
		upload(t, client, l.S3.Bucket, run.SourceBasePath()+"/"+key, data)
	}
	copier := copierAlone()
	environment := func() *testsuite.TestActivityEnvironment {
		env := newEnvironment(quiet{})
		env.RegisterActivity(copier.CopySnapshot)
		env.RegisterActivity(copier.AuditRepositories)
		return env
	}
	_, err := environment().ExecuteActivity(copier.CopySnapshot,
		migration.CopyRequest{Run: run, BaseGeneration: -1, Snapshot: migration.Snapshot{Name: "r0", UUID: uuid}})
	require.NoError(t, err)

	audit := func(deep bool) migration.AuditReport {
		oss.ResetCounts()
		began := time.Now()
		value, err := environment().ExecuteActivity(copier.AuditRepositories,
			migration.AuditRequest{Plan: run.Plan, Token: run.Token, Deep: deep})
		require.NoError(t, err)
		var report migration.AuditReport
		require.NoError(t, value.Get(&report))
		t.Logf("deep %v: whole %v, read %d bytes in %v, OSS was asked %v", deep, report.Whole, report.BytesRead,
			time.Since(began).Round(time.Millisecond), oss.Counts())
		return report
	}
	for _, deep := range []bool{false, true} {
		report := audit(deep)
		require.True(t, report.Whole, "%+v", report)
		require.EqualValues(t, len(cluster.Blobs(uuid)), classIn(t, report, repository.ClassData.String()).Proven.Blobs)
	}

	largest, size := "", int64(0)
	for key, n := range cluster.Blobs(uuid) {
		if n > size {
			largest, size = key, n
		}
	}
	sink, err := keys{}.openOSS(t.Context(), run) // the lab's names are those of the default fence
	require.NoError(t, err)
	require.NoError(t, replaceBlob(t, sink, largest, sidestest.Flip(cluster.Objects()[largest])))
	for _, deep := range []bool{false, true} {
		report := audit(deep)
		require.False(t, report.Whole)
		require.EqualValues(t, 1, report.Different.Harmful(), "%+v", report)
		require.Equal(t, largest, report.Different.Examples[0].Key)
	}
	require.NoError(t, sink.Delete(t.Context(), largest))
	require.EqualValues(t, 1, audit(false).Missing.Harmful())
}

// replaceBlob puts another object under a key, as somebody else would.
func replaceBlob(t *testing.T, sink objectstore.Sink, key string, data []byte) error {
	t.Helper()
	_, err := sink.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), nil)
	return err
}
