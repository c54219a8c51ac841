package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
)

// own is when Elasticsearch itself was at work.
type own struct{ snapshot, restore byhand.Timed }

func (o own) seconds() float64 { return o.snapshot.Seconds() + o.restore.Seconds() }

// ownTime asks the clusters for their own account: the source from the snapshot's start to its end,
// the target from the first shard's start to the last one's end. So many shards are expected.
func ownTime(ctx context.Context, l *lab.Lab, repository, snapshot, restored string, expected int) (own, error) {
	var taken struct {
		Snapshots []struct {
			State string
			Start int64 `json:"start_time_in_millis"`
			End   int64 `json:"end_time_in_millis"`
		}
	}
	if err := l.Source.Direct().Do(ctx, http.MethodGet, "/_snapshot/"+repository+"/"+snapshot, nil,
		&taken); err != nil {
		return own{}, err
	}
	if len(taken.Snapshots) != 1 || taken.Snapshots[0].State != "SUCCESS" {
		return own{}, fmt.Errorf("the snapshot %s is not there as a success", snapshot)
	}
	var recovered map[string]struct {
		Shards []struct {
			ID      int
			Primary bool
			Type    string
			Source  struct{ Snapshot string }
			Start   int64 `json:"start_time_in_millis"`
			Stop    int64 `json:"stop_time_in_millis"`
		}
	}
	if err := l.Target.Direct().Do(ctx, http.MethodGet, "/"+restored+"/_recovery", nil, &recovered); err != nil {
		return own{}, err
	}
	var first, last int64
	shards := 0
	for index, r := range recovered {
		for _, s := range r.Shards {
			if !s.Primary {
				continue
			}
			if s.Type != "SNAPSHOT" || s.Source.Snapshot != snapshot || s.Stop == 0 {
				return own{}, fmt.Errorf("[%s][%d] was not restored from %s", index, s.ID, snapshot)
			}
			if first == 0 || s.Start < first {
				first = s.Start
			}
			last = max(last, s.Stop)
			shards++
		}
	}
	if shards != expected {
		return own{}, fmt.Errorf("%d shards were restored from %s, %d were expected", shards, snapshot, expected)
	}
	return own{
		snapshot: byhand.Timed{
			Began: time.UnixMilli(taken.Snapshots[0].Start), Ended: time.UnixMilli(taken.Snapshots[0].End),
		},
		restore: byhand.Timed{Began: time.UnixMilli(first), Ended: time.UnixMilli(last)},
	}, nil
}
