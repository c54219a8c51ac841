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

// OpenTargetForWrites makes the target's indices writable. It removes our write block and sets
// replicas and refresh interval as on the source. Then a probe must find each index writable.
// Before that, it compares each index with what the last restore left, and changes none if one
// differs.
func (a *Activities) OpenTargetForWrites(ctx context.Context, in migration.HandoverRequest) error {
	_, err := perform(ctx, a, "making the target writable", func(ctx context.Context, _ *pulse) (none, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return none{}, err
		}
		names := migration.IndexNames(in.Indices)
		autoExpand := a.autoExpand(ctx, in)
		changes, err := changedSince(ctx, client, names, in.Counters,
			comparison{docs: true, skip: func(index elastic.Index) bool {
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
			return none{}, fail(migration.ErrorTargetWritten, "make the indices on %s writable: %s", client.Host(),
				named("these changed since they were verified: ", texts))
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
		return none{}, retryableFirst(eachIndex(names, func(name string) error {
			return writable(ctx, client, name,
				found[name])
		}))
	})
	return err
}

// handover is what an index gets at the cutover.
type handover struct {
	replicas        int
	refreshInterval string
	autoExpand      string
}

// values gives the settings by name; nil removes one.
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

// handedOver reports whether this activity has made the index writable before: in an earlier
// attempt, or before a person sent retry, which shows in the index's other settings. Then writes to
// it are expected.
func handedOver(ctx context.Context, index elastic.Index, autoExpand string) bool {
	if hasOurBlock(index) {
		return false
	}
	asRestored := index.Settings["index.auto_expand_replicas"] == "false" && autoExpand != "false"
	return activity.GetInfo(ctx).Attempt > 1 || !asRestored
}

// handovers groups the indices by their new settings, so that few calls are needed.
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

// autoExpand reads from the source which indices adapt their replicas to the number of nodes. The
// cutover must not depend on the source: if it doesn't answer, the indices get their number of
// replicas only.
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
		activity.GetLogger(ctx).Warn("reading index.auto_expand_replicas from the source failed; "+
			"the target's indices get their number of replicas without it", "error", messageOf(err))
	}
	return values
}

func writable(ctx context.Context, client *elastic.Client, name string, settings map[string]string) error {
	if settings[writeBlock] == "true" {
		return passing(retryInternal, fmt.Sprintf("make index %s on %s writable: the write block is still set", name,
			client.Host()), 0)
	}
	blocked, err := client.ProbeWrite(ctx, name, "")
	if err == nil && blocked {
		err = fail(migration.ErrorRefused, "make index %s on %s writable: our write block is removed, but another "+
			"block refuses writes (a read_only block of the index, or a block of the cluster)", name, client.Host())
	}
	return err
}
