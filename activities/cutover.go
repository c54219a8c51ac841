package activities

import (
	"context"
	"strconv"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// OpenTargetForWrites is CheckHandover and HandOver in one, for migrations that began before these
// were there. It compares each index with what the last restore left, and changes none if one
// differs. Then it makes them writable.
func (a *Activities) OpenTargetForWrites(ctx context.Context, in migration.HandoverRequest) error {
	_, err := perform(ctx, a, "making the target writable", func(ctx context.Context, p *pulse) (none, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return none{}, err
		}
		names := migration.IndexNames(in.Indices)
		prepared := a.preparedNow(ctx, in)
		if in.Counters != nil {
			if err := unchanged(ctx, client, names, in.Counters,
				comparison{docs: true, skip: func(index elastic.Index) bool {
					return handedOver(ctx,
						index)
				}}); err != nil {
				return none{}, err
			}
		}
		refused, err := a.handOver(ctx, migration.HandOverRequest{Run: in.Run, Indices: prepared}, p)
		if err == nil && len(refused) > 0 {
			err = refusedAtHandover(client.Host(), refused)
		}
		return none{}, err
	})
	return err
}

// handedOver reports whether this activity has made the index writable before: in an earlier
// attempt, or before a person sent retry, which shows in the index's other settings. Then writes to
// it are expected. Only the migrations that this activity serves have to infer it.
func handedOver(ctx context.Context, index elastic.Index) bool {
	return !hasOurBlock(index) && (activity.GetInfo(ctx).Attempt > 1 || !asRestored(index))
}

// preparedNow asks the source for what was set aside. This cutover must not depend on the source:
// if it doesn't answer, the indices get what the request says of them.
func (a *Activities) preparedNow(ctx context.Context, in migration.HandoverRequest) []migration.HandoverIndex {
	var prepared preparedHandover
	client, err := a.cluster(ctx, onSource, in.Run)
	if err == nil {
		var settings map[string]map[string]string
		if settings, err = client.IndexSettings(ctx, migration.IndexNames(in.Indices)); err == nil {
			prepared, err = a.prepared(ctx, in.Run, migration.IndexNames(in.Indices), nil, settings)
		}
	}
	if err != nil {
		activity.GetLogger(ctx).Warn("reading the source's settings failed; the target's indices get their number of "+
			"replicas and their refresh interval, and nothing else of what was set aside", "error", messageOf(err))
		prepared = preparedHandover{}
		for _, index := range in.Indices {
			prepared.indices = append(prepared.indices, migration.HandoverIndex{
				Name: index.Name, Settings: map[string]string{},
			})
		}
	}
	for i, index := range in.Indices {
		settings := prepared.indices[i].Settings
		settings[numberOfReplicas] = strconv.Itoa(index.Replicas)
		settings[refreshInterval] = index.RefreshInterval
	}
	return prepared.indices
}
