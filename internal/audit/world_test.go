package audit

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// world is a cluster, both buckets, and the plainest copy that there can be. A test takes a
// snapshot with w.Take and copies it with w.Copy, harms either bucket, and asks w.audit what is
// found. See package sidestest. What package ferry copies is audited by the tests of activities/.
type world struct{ *sidestest.World }

func newWorld(layout repositorytest.Layout) *world { return worldOf(sidestest.New(layout)) }

func worldOf(of *sidestest.World) *world {
	w := &world{of}
	of.Steps = func(t *testing.T) sidestest.Steps {
		return sidestest.Steps{Copy: func(migration.CopyRequest) (migration.CopyResult, error) {
			return w.copyPlainly(t.Context())
		}}
	}
	return w
}

// reading has pauses that suit a test.
func reading() transfer.Options {
	return transfer.Options{
		Concurrency: 4, Buffers: transfer.DefaultBuffers(),
		Retry: transfer.Retry{Attempts: 10, First: time.Microsecond, Most: 10 * time.Microsecond},
	}
}

// copyPlainly copies all that the newest root in S3 may need, in the order of publishing. The mover
// records what it copies.
func (w *world) copyPlainly(ctx context.Context) (migration.CopyResult, error) {
	mover := transfer.New(w.Source, w.Sink, reading())
	from, to := sides.Open(w.Source, w.Sink, mover, reading().Retry)
	root, err := from.ReadSide(ctx)
	if err != nil {
		return migration.CopyResult{}, err
	}
	var pairs []sides.Pair
	for pair, err := range sides.Pairs(ctx, from, to, "") {
		if err != nil {
			return migration.CopyResult{}, err
		}
		k := repository.Classify(pair.Key)
		older := k.Class == repository.ClassRootIndex && pair.Key != root.Key()
		if pair.Source != nil && !pair.Same() && !older && k.Class.Stage() != repository.StageNone {
			pairs = append(pairs, pair)
		}
	}
	slices.SortStableFunc(pairs, func(a, b sides.Pair) int {
		return cmp.Compare(repository.Classify(a.Key).Class.Stage(), repository.Classify(b.Key).Class.Stage())
	})
	for _, pair := range pairs {
		if _, err := mover.CopyOne(ctx, sides.BlobOf(pair.Source)); err != nil {
			return migration.CopyResult{}, err
		}
	}
	return migration.CopyResult{Generation: root.Generation}, nil
}

// tryAudit audits once, and makes sure that it writes nothing.
func (w *world) tryAudit(t *testing.T, snapshot string, deep bool) (migration.AuditReport, error) {
	t.Helper()
	request := migration.AuditRequest{Plan: w.Request("").Plan, Token: "tok", Snapshot: snapshot, Deep: deep}
	w.Sink.ResetCounts()
	report, err := Run(t.Context(), Options{Source: w.Source, Sink: w.Sink, Transfer: reading()}, request)
	for _, op := range []string{"Put", "CreateUpload", "UploadPart", "Complete", "Abort", "Delete"} {
		require.Zero(t, w.Sink.Count(op), "an audit writes nothing")
	}
	return report, err
}

func (w *world) audit(t *testing.T, snapshot string, deep bool) migration.AuditReport {
	t.Helper()
	report, err := w.tryAudit(t, snapshot, deep)
	require.NoError(t, err)
	return report
}

// audited is a world with three rounds copied.
func audited(t *testing.T, layout repositorytest.Layout) (w *world, uuids []string) {
	w = newWorld(layout)
	uuids = []string{
		w.Take("r0", repositorytest.CreateIndex("movies", 3), repositorytest.CreateIndex("books", 1),
			repositorytest.AddSegments("movies", 3, 900)),
		w.Take("r1", repositorytest.AddSegments("movies", 1, 900)),
		w.Take("r2", repositorytest.Merge("movies")),
	}
	for _, uuid := range uuids {
		w.Copy(t, uuid)
	}
	return w, uuids
}

// legacyWorld is a world whose cluster runs Elasticsearch 2.x.
type legacyWorld struct {
	*sidestest.Legacy
	world *world
}

func newLegacyWorld() *legacyWorld {
	legacy := sidestest.NewLegacy()
	return &legacyWorld{legacy, worldOf(legacy.World)}
}

func (w *legacyWorld) audit(t *testing.T, snapshot string, deep bool) migration.AuditReport {
	t.Helper()
	return w.world.audit(t, snapshot, deep)
}

// auditedLegacy is a world of 2.x with three rounds copied.
func auditedLegacy(t *testing.T) *legacyWorld {
	w := newLegacyWorld()
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 3), repositorytest.CreateIndex("books", 1),
		repositorytest.AddSegments("movies", 3, 900)))
	w.Copy(t, w.Take("r1", repositorytest.AddSegments("movies", 1, 900)))
	w.Copy(t, w.Take("r2", repositorytest.Merge("movies")))
	return w
}

// first is the first key of a class in OSS whose object has at least so many bytes.
func (w *world) first(t *testing.T, class repository.Class, least int) string {
	var keys []string
	for key, data := range w.Sink.Objects() {
		if repository.Classify(key).Class == class && len(data) >= least {
			keys = append(keys, key)
		}
	}
	require.NotEmpty(t, keys)
	return slices.Min(keys)
}

func classIn(t *testing.T, report migration.AuditReport, class string) migration.AuditClass {
	i := slices.IndexFunc(report.Classes, func(c migration.AuditClass) bool { return c.Class == class })
	require.GreaterOrEqual(t, i, 0, class)
	return report.Classes[i]
}

func whyIn(findings migration.AuditFindings, key string) string {
	for _, f := range findings.Examples {
		if f.Key == key {
			return f.Reason
		}
	}
	return ""
}

func requireKind(t *testing.T, want Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, KindOf(err), "%v", err)
}
