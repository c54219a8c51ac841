package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/cluster"
)

// IndicesCase is a migration of many indices on real nodes, of which few change.
type IndicesCase struct {
	What    string `json:"what"`
	Count   int    `json:"count"`
	Changed int    `json:"changed"`
	// WindowSeconds is from the block to the verified target, RoundSeconds a round before that.
	WindowSeconds float64            `json:"windowSeconds"`
	RoundSeconds  float64            `json:"roundSeconds"`
	Steps         map[string]float64 `json:"steps"`
	// ScriptWindowSeconds is 0 without the script.
	ScriptWindowSeconds float64 `json:"scriptWindowSeconds"`
	// CopiedBytes is what the last round copied from S3 to OSS.
	CopiedBytes int64 `json:"copiedBytes"`
	// Taken is how many indices the last round copied.
	Taken int `json:"taken"`
}

const (
	// changedIndices are written to before each round.
	changedIndices = 20
	docsPerIndex   = 20
	manyDocType    = "event"
)

// manyIndices measures so many indices.
func manyIndices(ctx context.Context, root, rclone string, count int, out io.Writer) (result IndicesCase, err error) {
	f, err := newField(ctx, root, rclone, lab.SourceVersion, lab.TargetVersion, out)
	if err != nil {
		return result, err
	}
	defer func() { err = closing(f, err) }()
	many := many{count: count, changed: min(changedIndices, count)}
	one, err := f.carry(ctx, fmt.Sprintf("many%d", count), subject{
		indices: "events-*", docType: manyDocType, makeAll: many.makeAll, change: many.change,
	}, provenAll)
	taken, _ := one.last.Took()
	return IndicesCase{
		What: "indices", Count: count, Changed: many.changed, WindowSeconds: benchmain.Round3(one.window),
		RoundSeconds: benchmain.Round3(one.round), Steps: one.steps,
		ScriptWindowSeconds: benchmain.Round3(one.scriptWindow), CopiedBytes: one.last.BytesCopied, Taken: taken,
	}, err
}

// many is a set of small indices.
type many struct{ count, changed, written int }

func indexName(n int) string { return fmt.Sprintf("events-%05d", n) }

func (m *many) makeAll(ctx context.Context, source *cluster.Client) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for n := range m.count {
		group.Go(func() error {
			err := source.Do(working, http.MethodPut, "/"+indexName(n), map[string]any{
				"settings": map[string]any{"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
			}, nil)
			if err != nil {
				return err
			}
			return m.write(working, source, n, 0)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	m.written = docsPerIndex
	return benchmain.Rest(ctx, source, "events-*")
}

// change writes to a few indices.
func (m *many) change(ctx context.Context, source *cluster.Client) error {
	for n := range m.changed {
		if err := m.write(ctx, source, n, m.written); err != nil {
			return err
		}
	}
	m.written += docsPerIndex
	return benchmain.Rest(ctx, source, "events-*")
}

func (m *many) write(ctx context.Context, source *cluster.Client, index, from int) error {
	documents := make([]cluster.Document, docsPerIndex)
	for i := range documents {
		documents[i] = cluster.Document{
			ID:     fmt.Sprintf("e-%d", from+i),
			Source: map[string]any{"n": from + i, "in": index},
		}
	}
	return source.Bulk(ctx, indexName(index), manyDocType, documents)
}
