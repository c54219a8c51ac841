package writer

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/lab/cluster"
)

// Result is the comparison of the writer's record with a cluster.
type Result struct {
	Acknowledged int64    // writes that were acknowledged
	Documents    int      // that they were made to; deleted ones are among them
	Unanswered   int      // documents with a write of unknown outcome: either state was accepted
	Lost         int      // documents that are not in the state of their last acknowledged write
	Details      []string // of the first losses: what was acknowledged and what is there
}

// maxDetails bounds the losses that are described.
const maxDetails = 50

// Verify compares each document that was ever written with what a cluster holds: present or absent,
// version and content. Stop or pause the writer first. It reads by id, so nothing needs to be
// refreshed.
func (w *Writer) Verify(ctx context.Context, target *cluster.Client) (Result, error) {
	w.mu.Lock()
	documents := make([]document, 0, len(w.record))
	for _, d := range w.record {
		documents = append(documents, *d)
	}
	result := Result{Acknowledged: w.stats.Acknowledged, Documents: len(documents)}
	w.mu.Unlock()
	slices.SortFunc(documents, func(a, b document) int { return strings.Compare(a.id, b.id) })

	docType := w.o.Type
	if typeless, err := target.Typeless(ctx); err != nil {
		return Result{}, fmt.Errorf("the version of %s can't be read: %w", target.URL, err)
	} else if typeless {
		docType = ""
	}
	for batch := range slices.Chunk(documents, 500) {
		found, err := w.read(ctx, target, docType, batch)
		if err != nil {
			return Result{}, fmt.Errorf("the writer's documents can't be read from %s: %w", target.URL, err)
		}
		for i, d := range batch {
			if d.unanswered != nil {
				result.Unanswered++
			}
			if want, ok := d.matches(found[i]); !ok {
				result.Lost++
				if len(result.Details) < maxDetails {
					result.Details = append(result.Details,
						fmt.Sprintf("%s: acknowledged %s, found %s", d.id, want, found[i]))
				}
			}
		}
	}
	return result, nil
}

// state is a document as a cluster holds it.
type state struct {
	found            bool
	version, counter int64
}

func (s state) String() string {
	if !s.found {
		return "no document"
	}
	return fmt.Sprintf("version %d with content %d", s.version, s.counter)
}

// matches compares with the last acknowledged state and, if one is possible, with the unanswered
// one. A document that is not there has no version.
func (d document) matches(s state) (want state, ok bool) {
	want = state{found: d.exists}
	if d.exists {
		want.version, want.counter = d.version, d.counter
	}
	if s == want {
		return want, true
	}
	if d.unanswered == nil {
		return want, false
	}
	if d.unanswered.kind == remove {
		return want, !s.found
	}
	return want, s.found && s.counter == d.unanswered.counter
}

func (w *Writer) read(ctx context.Context, target *cluster.Client, docType string,
	documents []document,
) ([]state, error) {
	type reference struct {
		Index   string `json:"_index"`
		Type    string `json:"_type,omitempty"`
		ID      string `json:"_id"`
		Routing string `json:"routing,omitempty"`
	}
	references := make([]reference, len(documents))
	for i, d := range documents {
		references[i] = reference{w.o.Index, docType, d.id, d.routing}
	}
	var answer struct {
		Docs []struct {
			ID      string `json:"_id"`
			Found   bool
			Version int64 `json:"_version"`
			Source  struct {
				Counter int64 `json:"writerCounter"`
			} `json:"_source"`
			Error any
		}
	}
	if err := target.Do(ctx, http.MethodPost, "/_mget", map[string]any{"docs": references}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Docs) != len(documents) {
		return nil, fmt.Errorf("asked for %d documents, got %d", len(documents), len(answer.Docs))
	}
	states := make([]state, len(documents))
	for i, d := range answer.Docs {
		if d.ID != documents[i].id {
			return nil, fmt.Errorf("asked for %s, got %s", documents[i].id, d.ID)
		}
		if d.Error != nil {
			return nil, fmt.Errorf("%s: %v", d.ID, d.Error)
		}
		if d.Found {
			states[i] = state{true, d.Version, d.Source.Counter}
		}
	}
	return states, nil
}
