package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// atOnce does something for all names in as few requests as possible. Names that a cluster refuses
// together are halved until the guilty ones stand alone: Elasticsearch refuses a complete request
// for one index, and old versions don't say which one it was. So an index that is refused keeps no
// other from it. Trouble is what concerns all of them, such as a cluster that doesn't answer: it is
// not halved.
func atOnce(names []string, do func(batch []string) error) (refused map[string]error, trouble []error) {
	return batched(names, sideBySide, do)
}

// inTurn is atOnce for changes of the cluster's state. The elected master makes one after another,
// so several requests at the same time would only wait for each other, each within its own time.
// A change that was made, and that a node didn't confirm in time, is no trouble: whoever calls this
// looks at the indices afterwards.
func inTurn(names []string, do func(batch []string) error) (refused map[string]error, trouble []error) {
	return batched(names, 1, func(batch []string) error {
		err := do(batch)
		if elastic.Unacknowledged(err) {
			return nil
		}
		return err
	})
}

func batched(names []string, limit int, do func(batch []string) error) (refused map[string]error, trouble []error) {
	var mu sync.Mutex
	refused = map[string]error{}
	var halve func(batch []string)
	halve = func(batch []string) {
		err := do(batch)
		switch {
		case err == nil:
		case concernsAll(err):
			mu.Lock()
			defer mu.Unlock()
			trouble = append(trouble, err)
		case len(batch) == 1 || elastic.BlockedByCluster(err):
			mu.Lock()
			defer mu.Unlock()
			for _, name := range batch {
				refused[name] = err
			}
		default:
			halve(batch[:len(batch)/2])
			halve(batch[len(batch)/2:])
		}
	}
	var group errgroup.Group
	group.SetLimit(limit)
	for _, batch := range elastic.Batches(names) {
		group.Go(func() error { halve(batch); return nil })
	}
	_ = group.Wait() // none of them returns an error
	return refused, trouble
}

// concernsAll reports whether a failure has nothing to do with any of the indices that a request
// named.
func concernsAll(err error) bool {
	switch elastic.KindOf(err) {
	case elastic.Unavailable, elastic.OutcomeUnknown, elastic.SlotTaken, elastic.Unclassified:
		return true
	case elastic.Unauthorized, elastic.NotSupported, elastic.Internal:
		return !elastic.FromCluster(err)
	}
	return false
}

// look reads which of the names are indices now, with their settings. An index that can't be read,
// since it has index.blocks.metadata, is returned apart.
func look(ctx context.Context, client *elastic.Client,
	names []string,
) (present map[string]elastic.Index, unreadable map[string]error, err error) {
	present = map[string]elastic.Index{}
	if len(names) == 0 {
		return present, nil, nil
	}
	var mu sync.Mutex
	unreadable, trouble := atOnce(names, func(batch []string) error {
		found, _, err := client.Present(ctx, batch)
		mu.Lock()
		defer mu.Unlock()
		for name, index := range found {
			present[name] = index
		}
		return err
	})
	return present, unreadable, retryableFirst(trouble)
}

// refusals describes what the cluster answered about each index.
func refusals(failed map[string]error) []migration.Refusal {
	var all []migration.Refusal
	for name, err := range failed {
		setting := elastic.SettingOf(err)
		all = append(all, migration.Refusal{
			Index: name, Setting: setting, Message: shorten(messageOf(err)), Remedy: remedyFor(name, setting, err),
		})
	}
	slices.SortFunc(all, byRefusedName)
	return all
}

// remedyFor says what to do about an index that refuses. It names no signal: who shows it knows
// which one is possible.
func remedyFor(name, setting string, err error) string {
	switch {
	case elastic.BlockedByCluster(err):
		return "Remove the cluster's block on the source (GET _cluster/settings shows it: cluster.blocks.*)."
	case strings.HasPrefix(setting, "index.blocks."):
		return "Remove it on the source: PUT /" + name + `/_settings {"` + setting + `": false}.`
	case setting != "":
		return "Remove the setting " + setting + " from index " + name + " on the source."
	}
	return "Fix the cause on the source."
}

func byRefusedName(a, b migration.Refusal) int { return strings.Compare(a.Index, b.Index) }

// mostRefusals and longestRefusal bound a message about several indices.
const (
	mostRefusals   = 3
	longestRefusal = 300
)

// describeRefusals is refusals as one sentence for each of the first indices, and the names of
// more.
func describeRefusals(all []migration.Refusal) string {
	var texts, more []string
	for i, refusal := range all {
		if i < mostRefusals {
			texts = append(texts, human.Shorten(refusal.Message, longestRefusal)+". "+refusal.Remedy)
		} else {
			more = append(more, refusal.Index)
		}
	}
	return strings.Join(texts, " ") + named(" Also refused: ", more)
}

// mostTexts and longestText bound a list of sentences in a message.
const (
	mostTexts   = 50
	longestText = 1024
)

// bounded joins the first of several sentences, each cut to what a person reads.
func bounded(texts []string, separator string) string {
	return strings.Join(atMost(texts), separator)
}

// atMost is the first of several sentences, each cut, and how many more there are.
func atMost(texts []string) []string {
	short := make([]string, 0, min(len(texts), mostTexts+1))
	for i, text := range texts {
		if i == mostTexts {
			return append(short, fmt.Sprintf("%d more of these", len(texts)-mostTexts))
		}
		short = append(short, human.Shorten(text, longestText-len(" ...")))
	}
	return short
}
