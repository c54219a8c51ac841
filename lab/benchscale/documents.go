package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// DocumentsCase is a migration of one index on real nodes, of which few documents change.
type DocumentsCase struct {
	What           string `json:"what"`
	Count          int64  `json:"count"`
	DeltaDocuments int64  `json:"deltaDocuments"`
	// Proven says whether all that stood still was proven before the freeze.
	Proven        bool               `json:"proven"`
	WindowSeconds float64            `json:"windowSeconds"`
	VerifySeconds float64            `json:"verifySeconds"`
	Steps         map[string]float64 `json:"steps"`
	// ScriptWindowSeconds is 0 without the script.
	ScriptWindowSeconds float64 `json:"scriptWindowSeconds"`
	// CopiedBytes is what the final round copied from S3 to OSS.
	CopiedBytes int64 `json:"copiedBytes"`
}

// The versions of this case: both know sequence numbers.
const (
	documentsFrom = "6.8.23"
	documentsTo   = "7.10.2"
)

const (
	documentsIndex  = "ledger"
	documentsShards = 5
	deltaDocuments  = 2_000
	// documentsRate is verify.rate: with the default, 20 million documents would be compared for more
	// than an hour. The window doesn't depend on it.
	documentsRate = 400_000
)

// manyDocuments measures an index of so many documents.
func manyDocuments(ctx context.Context, root, rclone string, count int64, proven bool, out io.Writer,
) (result DocumentsCase, err error) {
	f, err := newField(ctx, root, rclone, documentsFrom, documentsTo, out)
	if err != nil {
		return result, err
	}
	defer func() { err = closing(f, err) }()
	ledger := &ledger{count: count}
	ready := ended(2)
	if proven {
		ready = provenAll
	}
	one, err := f.carry(ctx, fmt.Sprintf("ledger%d", count), subject{
		indices: documentsIndex, docType: "_doc", typeless: true, makeAll: ledger.makeAll, change: ledger.change,
		rate: documentsRate,
	}, ready)
	return DocumentsCase{
		What: "documents", Count: count, DeltaDocuments: deltaDocuments, Proven: proven,
		WindowSeconds: benchmain.Round3(one.window), VerifySeconds: one.steps[byhand.StepVerify], Steps: one.steps,
		ScriptWindowSeconds: benchmain.Round3(one.scriptWindow), CopiedBytes: one.last.BytesCopied,
	}, err
}

// ledger is an index of small documents.
type ledger struct{ count, written int64 }

func (l *ledger) makeAll(ctx context.Context, source *cluster.Client) error {
	err := source.Do(ctx, http.MethodPut, "/"+documentsIndex, map[string]any{
		"settings": map[string]any{
			"number_of_shards": documentsShards, "number_of_replicas": 0, "refresh_interval": "-1",
			"translog.durability": "async",
		},
		"mappings": map[string]any{
			"_doc": map[string]any{"properties": map[string]any{"n": map[string]any{"type": "long"}}},
		},
	}, nil)
	if err != nil {
		return err
	}
	return l.grow(ctx, source, l.count)
}

func (l *ledger) change(ctx context.Context, source *cluster.Client) error {
	return l.grow(ctx, source, deltaDocuments)
}

// grow adds documents.
func (l *ledger) grow(ctx context.Context, source *cluster.Client, documents int64) error {
	const batch = 5_000
	last := l.written + documents
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for from := l.written; from < last; from += batch {
		group.Go(func() error {
			var some []cluster.Document
			for n := from; n < min(from+batch, last); n++ {
				some = append(some, cluster.Document{ID: fmt.Sprintf("l-%09d", n), Source: map[string]any{"n": n}})
			}
			return source.Bulk(working, documentsIndex, "_doc", some)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("%s documents were not written: %w", human.Count(documents), err)
	}
	l.written = last
	return benchmain.Rest(ctx, source, documentsIndex)
}

// closing ends a field, also after a failure.
func closing(f *field, err error) error { return errors.Join(err, f.Close(false)) }

// provenAll tells whether everything that can be proven before the freeze is.
func provenAll(s migration.Status) bool {
	return ended(2)(s) && s.Proven != nil && s.Proven.OfShards > 0 && s.Proven.LeftDocs() == 0
}
