//go:build lab

package activities

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// markRig takes marks of one index.
type markRig struct {
	*labRig
	old bool // the marks are those of commits
}

const marked = "marked"

func newMarkRig(t *testing.T, version string) *markRig {
	r := &markRig{labRig: sourceRig(t, version), old: strings.HasPrefix(version, "2.") ||
		strings.HasPrefix(version, "5.")}
	r.create()
	r.ask(r.node(), http.MethodPut, "/_snapshot/local", map[string]any{"type": "fs", "settings": map[string]any{
		"location": filepath.Join(r.lab.Dir, "source", "repo"),
	}})
	return r
}

func (r *markRig) create() {
	r.ask(r.node(), http.MethodPut, "/"+marked, map[string]any{"settings": map[string]any{
		"number_of_shards": 2, "number_of_replicas": 0,
	}})
	for i := range 10 {
		require.True(r.t, r.write(marked, fmt.Sprint(i), ""))
	}
}

func (r *markRig) mark() migration.IndexMark {
	r.t.Helper()
	marks, err := r.client(onSource).Marks(r.t.Context(), []string{marked, "no-such-index"})
	require.NoError(r.t, err)
	require.Len(r.t, marks, 1)
	mark := marks[marked]
	require.NotEmpty(r.t, mark.UUID)
	require.NotEmpty(r.t, mark.Definition)
	require.Len(r.t, mark.Shards, 2)
	return migration.IndexMark{UUID: mark.UUID, Definition: mark.Definition, Shards: mark.Shards}
}

// quiet is a mark that is known.
func (r *markRig) quiet() migration.IndexMark {
	r.t.Helper()
	r.flush()
	r.until(func() bool { return !slices.Contains(r.mark().Shards, "") }) // primaries may start
	return r.mark()
}

func (r *markRig) flush() { r.ask(r.node(), http.MethodPost, "/"+marked+"/_flush", nil) }

func (r *markRig) snapshot(name string) {
	r.ask(r.node(), http.MethodPut, "/_snapshot/local/"+name+"?wait_for_completion=true",
		map[string]any{"indices": marked})
}

// ready waits for the primaries after they were allocated again.
func (r *markRig) ready() {
	r.ask(r.node(), http.MethodGet, "/_cluster/health/"+marked+"?wait_for_status=yellow&timeout=60s", nil)
}

// refreshed makes sure that a refresh is no write: a standstill refreshes between two of its samples.
func (r *markRig) refreshed() {
	client, names := r.client(onSource), []string{marked}
	counters := func() []elastic.ShardCounters {
		shards, err := client.WriteCounters(r.t.Context(), names)
		require.NoError(r.t, err)
		return shards
	}
	before := counters()
	require.NoError(r.t, client.Refresh(r.t.Context(), names))
	after := counters()
	require.Empty(r.t, movement(before, after))
	require.Equal(r.t, int64(10), after[0].Docs+after[1].Docs, "the sample after a refresh counts all documents")
}

// Marks stay as they are as long as nothing happens, and whatever happens to an index changes them
// or makes them unknown.
func TestLabMarks(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "6.8.23", "7.10.2"} {
		t.Run(version, func(t *testing.T) { newMarkRig(t, version).test() })
	}
}

func (r *markRig) test() {
	r.refreshed()
	before := r.mark()
	require.Equal(r.t, r.old, slices.Contains(before.Shards, ""), "operations that are not committed: %v", before)
	r.snapshot("first") // it commits
	idle := r.mark()
	require.NotContains(r.t, idle.Shards, "", "after a snapshot")
	if !r.old {
		require.True(r.t, idle.Unchanged(before), "%v %v", idle, before)
	}
	for what, do := range map[string]func(){
		"a refresh":         func() { r.ask(r.node(), http.MethodPost, "/"+marked+"/_refresh", nil) },
		"a search":          func() { r.ask(r.node(), http.MethodGet, "/"+marked+"/_search", nil) },
		"a flush":           r.flush,
		"a second snapshot": func() { r.snapshot("second") },
		"our write block": func() {
			r.setting(marked, map[string]any{"index.blocks.write": true})
			require.True(r.t, r.mark().Unchanged(idle), "while writes are blocked")
			require.False(r.t, r.write(marked, "late", ""))
			r.setting(marked, map[string]any{"index.blocks.write": false})
		},
	} {
		do()
		// A setting that is false is another one than none, so the digest must leave it out.
		require.True(r.t, r.mark().Unchanged(idle), "%s: %v, before %v", what, r.mark(), idle)
	}

	typed := r.docType()
	mapping := "/" + marked + "/_mapping"
	if r.docType() == "doc" {
		mapping += "/doc"
	} else if r.major() < 7 {
		mapping += "/_doc"
	}
	for _, change := range []struct {
		what   string
		reason migration.Reason // from 6.0 on, and of definitions before
		do     func()
	}{
		{"a new document", migration.ReasonWritten, func() { require.True(r.t, r.write(marked, "new", "")) }},
		{
			"an update that leaves the document as it was", migration.ReasonWritten,
			func() { require.True(r.t, r.write(marked, "1", "")) },
		},
		{"a document deleted and another made", migration.ReasonWritten, func() {
			r.ask(r.node(), http.MethodDelete, "/"+marked+"/"+typed+"/2", nil)
			require.True(r.t, r.write(marked, "instead", ""))
		}},
		{"a write that is committed", migration.ReasonWritten, func() {
			require.True(r.t, r.write(marked, "3", ""))
			r.flush()
		}},
		{"a mapping", migration.ReasonDefinition, func() {
			r.ask(r.node(), http.MethodPut, mapping, map[string]any{"properties": map[string]any{
				"length": map[string]any{"type": "long"},
			}})
		}},
		{"an alias", migration.ReasonDefinition, func() {
			r.ask(r.node(), http.MethodPut, "/"+marked+"/_alias/films", nil)
		}},
		{"a setting", migration.ReasonDefinition, func() {
			r.setting(marked, map[string]any{"index.refresh_interval": "30s"})
		}},
		{"a primary that is allocated again", migration.ReasonMoved, func() {
			r.ask(r.node(), http.MethodPost, "/_cluster/reroute", map[string]any{"commands": []any{
				map[string]any{"cancel": map[string]any{
					"index": marked, "shard": 0, "node": r.nodeName(), "allow_primary": true,
				}},
			}})
			r.ready()
		}},
		{"closed and opened", migration.ReasonMoved, func() {
			r.ask(r.node(), http.MethodPost, "/"+marked+"/_close", nil)
			r.ask(r.node(), http.MethodPost, "/"+marked+"/_open", nil)
			r.ready()
		}},
		{"a node that was killed", migration.ReasonMoved, func() {
			require.NoError(r.t, r.lab.Kill(lab.PartSource))
			require.NoError(r.t, r.lab.Restart(r.t.Context(), lab.PartSource))
			r.ready()
		}},
		{"deleted and created again", migration.ReasonCreatedAgain, func() {
			r.ask(r.node(), http.MethodDelete, "/"+marked, nil)
			r.create()
			r.flush()
		}},
	} {
		before := r.quiet()
		require.True(r.t, r.mark().Unchanged(before), "idle before %s", change.what)
		change.do()
		now := r.mark()
		r.t.Logf("%s: %v -> %v: %s", change.what, before, now, now.WhyChanged(before))
		if r.major() < 5 && change.reason == migration.ReasonMoved && now.Unchanged(before) {
			continue // 2.x knows no terms. The commit is the same, on the same copy, and nothing is uncommitted.
		}
		require.False(r.t, now.Unchanged(before), "%s: %v, before %v", change.what, now, before)
		if !r.old || change.reason != migration.ReasonWritten {
			require.Equal(r.t, change.reason, now.WhyChanged(before), "%s: %v, before %v", change.what, now, before)
		}
	}
}

func (r *markRig) major() int {
	version, err := r.client(onSource).Version(r.t.Context())
	require.NoError(r.t, err)
	return version.Major
}

func (r *markRig) nodeName() string { return "source-1" }
