package elastic

import (
	"context"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// RestoreOptions says what to restore and how. Neither the global state nor a partial snapshot is
// ever restored.
type RestoreOptions struct {
	Indices []string
	// RenamePattern and RenameReplacement rename each index as Java's String.replaceAll does, e.g.
	// "(.+)" and "new-$1". Both empty means no renaming. Don't use "(.*)": it matches twice.
	RenamePattern, RenameReplacement string
	// IncludeAliases replaces the aliases of a restored index by the snapshot's; false keeps the
	// present ones.
	IncludeAliases bool
	// IndexSettings override the snapshot's, by flat name. Send them with each restore, because the
	// snapshot's settings replace those of the index. A nil value is stored as null and removes
	// nothing.
	IndexSettings map[string]any
	// IgnoreIndexSettings are names or wildcards of the snapshot's settings to leave out, e.g.
	// "index.blocks.*".
	IgnoreIndexSettings []string
}

// Restore starts a restore and returns before it is done: poll [Client.Recovery] and
// [Client.Shards]. An index that exists must be closed and have the same number of shards. The
// restore opens it and copies only files that differ.
//
// [SlotTaken] while another restore runs (before 6.6). [Missing] if the cluster doesn't see the
// snapshot, or not yet. [Rejected] with the reason if the snapshot or an index can't be restored
// here. [OutcomeUnknown] if the answer is lost.
func (c *Client) Restore(ctx context.Context, repository, snapshot string, options RestoreOptions) error {
	what := call{operation: "restore snapshot", subject: repository + "/" + snapshot, once: true, slow: true}
	if err := firstError(oneName("repository", repository), oneName("snapshot", snapshot),
		concrete(options.Indices)); err != nil {
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
	}{
		Indices: strings.Join(options.Indices, ","), IncludeAliases: options.IncludeAliases,
		RenamePattern: options.RenamePattern, RenameReplacement: options.RenameReplacement,
		IndexSettings: options.IndexSettings, IgnoreIndexSettings: options.IgnoreIndexSettings,
	}
	return c.accept(ctx, what, esapi.SnapshotRestoreRequest{
		Repository:        segment(repository),
		Snapshot:          segment(snapshot),
		WaitForCompletion: ptr(false), Body: body(request), MasterTimeout: c.patience(ctx, what).master,
	})
}
