package workflows

import (
	"github.com/stretchr/testify/assert"

	"github.com/snapferry/snapferry/migration"
)

// registerHandover makes the fakes of what is tried and checked before a handover.
func (w *world) registerHandover() {
	register(w, migration.ActivityTryHandover,
		func(r migration.TryHandoverRequest) (migration.TryHandoverResult, error) {
			assert.False(w.t, w.targetWritable)
			w.trials = append(w.trials, r)
			result := migration.TryHandoverResult{Archived: w.archived}
			for _, name := range r.Indices {
				if w.tries != nil && w.tries(name) != nil {
					result.Refused = append(result.Refused, *w.tries(name))
				}
			}
			result.RefusedCount = len(result.Refused)
			return result, nil
		})
	register(w, migration.ActivityCheckShardLimit, func(migration.ShardLimitRequest) (any, error) { return nil, nil })
	register(w, migration.ActivityOpenTargetForWrites, func(r migration.HandoverRequest) (any, error) {
		w.opened = append(w.opened, r)
		assert.True(w.t, w.blocked, "the target is opened although the source takes writes")
		w.targetWritable = true
		return nil, nil
	})
}
