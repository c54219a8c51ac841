package elastic

import (
	"context"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// RestoreOptions says what to restore and how. Global state is never restored, and never a partial snapshot.
type RestoreOptions struct {
	Indices []string
	// RenamePattern and RenameReplacement follow Java's String.replaceAll on each name: "(.+)" and "new-$1". Both empty: no
	// renaming. "(.*)" matches twice.
	RenamePattern, RenameReplacement string
	// IncludeAliases replaces the aliases of a restored index by the snapshot's; false keeps those it has.
	IncludeAliases bool
	// IndexSettings override the snapshot's, by flat name. They must be sent with each restore, because the snapshot's
	// settings replace those of the index. A nil value is stored as null instead of removing anything.
	IndexSettings map[string]any
	// IgnoreIndexSettings are names or wildcards of settings not to take from the snapshot, e.g. "index.blocks.*".
	IgnoreIndexSettings []string
}

// Restore starts a restore and returns before it's done: poll [Client.Recovery] and [Client.Shards]. An index that exists must be
// closed and have as many shards; the restore opens it and copies only files that differ.
//
// [SlotTaken] while another restore runs (before 6.6). [Missing] if the reading cluster doesn't see the snapshot (yet).
// [Rejected] with the reason if the snapshot or an index can't be restored here.
func (c *Client) Restore(ctx context.Context, repository, snapshot string, options RestoreOptions) error {
	what := call{operation: "restore snapshot", subject: repository + "/" + snapshot, once: true, slow: true}
	if err := firstError(oneName("repository", repository), oneName("snapshot", snapshot), concrete(options.Indices)); err != nil {
		return c.fail(what, Invalid, err.Error())
	}
	request := struct {
		Indices             string         `json:"indices"`
		IgnoreUnavailable   bool           `json:"ignore_unavailable"`
		IncludeGlobalState  bool           `json:"include_global_state"`
		IncludeAliases      bool           `json:"include_aliases"`
		Partial             bool           `json:"partial"`
		RenamePattern       string         `json:"rename_pattern,omitempty"`
		RenameReplacement   string         `json:"rename_replacement,omitempty"`
		IndexSettings       map[string]any `json:"index_settings,omitempty"`
		IgnoreIndexSettings []string       `json:"ignore_index_settings,omitempty"`
	}{Indices: strings.Join(options.Indices, ","), IncludeAliases: options.IncludeAliases,
		RenamePattern: options.RenamePattern, RenameReplacement: options.RenameReplacement,
		IndexSettings: options.IndexSettings, IgnoreIndexSettings: options.IgnoreIndexSettings}
	return c.accept(ctx, what, esapi.SnapshotRestoreRequest{Repository: segment(repository), Snapshot: segment(snapshot),
		WaitForCompletion: ptr(false), Body: body(request)})
}
