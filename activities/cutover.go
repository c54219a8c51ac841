package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// OpenTargetForWrites hands the target over: our write block goes, replicas and
// refresh interval become what they were on the source, and a probe of each
// index must find it writable. What was verified must still be there: an index
// that is not as the last restore left it is handed over to nobody.
func (a *Activities) OpenTargetForWrites(ctx context.Context, in migration.HandoverRequest) error {
	_, err := perform(ctx, a, "making the target writable", func(ctx context.Context, _ *pulse) (none, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return none{}, err
		}
		names := migration.IndexNames(in.Indices)
		autoExpand := a.autoExpand(ctx, in)
		changes, err := changedSince(ctx, client, names, in.Counters, comparison{docs: true, skip: func(index elastic.Index) bool {
			return handedOver(ctx, index, autoExpand[index.Name])
		}})
		if err != nil {
			return none{}, err
		}
		if len(changes) > 0 {
			var texts []string
			for _, name := range slices.Sorted(maps.Keys(changes)) {
				texts = append(texts, name+" ("+changes[name]+")")
			}
			return none{}, fail(migration.ErrorTargetWritten, "make the indices on %s writable: %s", client.Host(), named("what was verified has changed: ", texts))
		}
		for _, group := range handovers(in, autoExpand) {
			if err := client.PutIndexSettings(ctx, group.names, group.settings.values()); err != nil {
				return none{}, err
			}
		}
		found, err := client.IndexSettings(ctx, names)
		if err != nil {
			return none{}, err
		}
		return none{}, retryableFirst(eachIndex(names, func(name string) error { return writable(ctx, client, name, found[name]) }))
	})
	return err
}

// handover is what an index gets at the cutover.
type handover struct {
	replicas        int
	refreshInterval string
	autoExpand      string
}

// values gives the settings by name; nil takes one away.
func (h handover) values() map[string]any {
	orNil := func(value string) any {
		if value == "" {
			return nil
		}
		return value
	}
	return map[string]any{
		writeBlock:                   nil,
		"index.number_of_replicas":   h.replicas,
		"index.refresh_interval":     orNil(h.refreshInterval),
		"index.auto_expand_replicas": orNil(h.autoExpand),
	}
}

type handoverGroup struct {
	settings handover
	names    []string
}

// handedOver tells whether an index was made writable by this activity already: an
// earlier attempt did so, or one before a person retried, which leaves its other
// settings behind. Writes to it are welcome.
func handedOver(ctx context.Context, index elastic.Index, autoExpand string) bool {
	if hasOurBlock(index) {
		return false
	}
	asRestored := index.Settings["index.auto_expand_replicas"] == "false" && autoExpand != "false"
	return activity.GetInfo(ctx).Attempt > 1 || !asRestored
}

// handovers groups the indices by what they get, for few calls.
func handovers(in migration.HandoverRequest, autoExpand map[string]string) []handoverGroup {
	var groups []handoverGroup
	for _, index := range in.Indices {
		settings := handover{index.Replicas, index.RefreshInterval, autoExpand[index.Name]}
		at := slices.IndexFunc(groups, func(g handoverGroup) bool { return g.settings == settings })
		if at < 0 {
			groups = append(groups, handoverGroup{settings: settings})
			at = len(groups) - 1
		}
		groups[at].names = append(groups[at].names, index.Name)
	}
	return groups
}

// autoExpand reads from the source which indices adapt their replicas to the
// number of nodes. The cutover must not depend on the source any more, so if it
// doesn't answer the number of replicas alone has to do.
func (a *Activities) autoExpand(ctx context.Context, in migration.HandoverRequest) map[string]string {
	values := map[string]string{}
	client, err := a.cluster(ctx, onSource, in.Run)
	if err == nil {
		var settings map[string]map[string]string
		settings, err = client.IndexSettings(ctx, migration.IndexNames(in.Indices))
		for name, index := range settings {
			values[name] = index["index.auto_expand_replicas"]
		}
	}
	if err != nil {
		activity.GetLogger(ctx).Warn("the source didn't tell index.auto_expand_replicas; the target's indices get the number of replicas that they had", "error", messageOf(err))
	}
	return values
}

func writable(ctx context.Context, client *elastic.Client, name string, settings map[string]string) error {
	if settings[writeBlock] == "true" {
		return passing(retryInternal, fmt.Sprintf("make index %s on %s writable: the write block is still set", name, client.Host()), 0)
	}
	blocked, err := client.ProbeWrite(ctx, name, "")
	if err == nil && blocked {
		err = fail(migration.ErrorRefused, "make index %s on %s writable: our write block is lifted, but something else refuses writes (a read-only block, or one of the whole cluster)", name, client.Host())
	}
	return err
}
