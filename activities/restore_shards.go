package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// How far the primaries of a restore are, and why some don't come.

// shardsState sums up the primaries of a restore.
type shardsState struct {
	started, total   int
	restored, reused int64
	bytes            int64
	unassigned       string // a primary that no node holds, in words
	absent           string // an index without any shard
	failed           []failedShard
}

type failedShard struct{ index, why string }

func (s shardsState) done() bool { return s.started == s.total }

func (s shardsState) sameAs(other shardsState) bool {
	return s.started == other.started && s.restored == other.restored && s.reused == other.reused &&
		s.unassigned == other.unassigned
}

func (s shardsState) progress(doing string) migration.Progress {
	return migration.Progress{
		Doing: doing, ShardsDone: s.started, ShardsTotal: s.total,
		BytesDone: s.restored + s.reused, BytesTotal: s.bytes, Waiting: s.unassigned,
	}
}

func (r *restoring) state(ctx context.Context) (shardsState, error) {
	names := migration.IndexNames(r.in.Indices)
	// The routing table first: if a primary is started there, the later answer has its complete
	// recovery.
	copies, err := r.client.Shards(ctx, names)
	if err != nil {
		return shardsState{}, err
	}
	recoveries, err := r.client.Recovery(ctx, names)
	if err != nil && elastic.KindOf(err) != elastic.Missing { // an index was deleted: the routing table shows which
		return shardsState{}, err
	}
	var state shardsState
	shards := map[string]int{}
	for _, c := range copies {
		shards[c.Index] = max(shards[c.Index], c.Shard+1)
	}
	for _, index := range r.in.Indices {
		state.total += index.Shards
		switch there := shards[index.Name]; there {
		case index.Shards:
		case 0:
			state.absent = index.Name
		default: // it would never have as many as are waited for
			return state, fail(migration.ErrorSnapshotFailed, "restore snapshot %s on %s: index %s has %d shards "+
				"there, and had %d on the source when it was listed: it was deleted and created again in between",
				r.in.Snapshot.Name, r.client.Host(), index.Name, there, index.Shards)
		}
	}
	for _, c := range copies {
		if u := c.Unassigned; c.Primary && u != nil && u.Reason == "ALLOCATION_FAILED" && r.first[c.String()] == "" {
			r.first[c.String()] = u.Details
		}
		switch {
		case !c.Primary:
		case c.Started():
			state.started++
		case failedForGood(c) || r.refusedByAllNodes(c):
			why := fmt.Sprintf("%s: %s", c, reasonOf(c))
			if first := r.first[c.String()]; strings.Contains(why, leftovers) {
				if strings.Contains(first, leftovers) {
					first = "see the target's log"
				}
				why += "; that is the reason of the last attempt only, that of the first one: " + first
			}
			state.failed = append(state.failed, failedShard{c.Index, why})
		case c.State == "UNASSIGNED":
			found := r.explain(ctx, c)
			why := fmt.Sprintf("%s is on no node: %s%s", c, reasonOf(c), found.why)
			if found.final {
				state.failed = append(state.failed, failedShard{c.Index, why})
			} else if state.unassigned == "" {
				state.unassigned = why
			}
		}
	}
	for _, v := range recoveries {
		if !v.Primary || v.Type != "SNAPSHOT" || v.Repository != r.repository {
			continue // a primary that moved since, or whose node was restarted
		}
		if v.Snapshot != r.in.Snapshot.Name {
			return state, fail(migration.ErrorRestoreFailed,
				"restore snapshot %s on %s: [%s][%d] is being restored from snapshot %s: check whether a "+
					"second migration uses these indices", r.in.Snapshot.Name, r.client.Host(), v.Index, v.Shard,
				v.Snapshot)
		}
		state.restored += v.BytesRecovered
		state.reused += v.BytesReused
		state.bytes += v.BytesTotal
	}
	return state, nil
}

// leftovers is the error of every attempt but the first on 5.x, whatever the cause was
// (elastic/elasticsearch#27476). So the reason that Elasticsearch shows is not the one that counts.
const leftovers = "FileAlreadyExistsException"

// lastAllocation is the default of index.allocation.max_retries: after so many attempts
// Elasticsearch stops to try.
const lastAllocation = 5

// failedForGood reports whether Elasticsearch has given up a primary. Before 6.2 it says so only
// for corrupt data; any other failure leaves the shard unassigned for ever, and every later restore
// is refused (elastic/elasticsearch#27493).
func failedForGood(c elastic.ShardCopy) bool {
	return failedOnce(c) && c.Unassigned.FailedAttempts >= lastAllocation
}

func failedOnce(c elastic.ShardCopy) bool {
	return c.State == "UNASSIGNED" && c.Unassigned != nil && c.Unassigned.Reason == "ALLOCATION_FAILED"
}

// refusedByAllNodes reports whether a primary failed and no node takes it again, as from 6.2 on
// after corrupt data. Between two attempts that may be so for a moment, so it counts only after a
// while.
func (r *restoring) refusedByAllNodes(c elastic.ShardCopy) bool {
	if !failedOnce(c) || c.Unassigned.AllocationStatus != "deciders_no" {
		return false
	}
	key := fmt.Sprintf("%s %d", c, c.Unassigned.FailedAttempts)
	if !r.told {
		r.refused[key]++
	}
	return r.refused[key] > patientLooks
}

// explanation is why no node takes a primary. It is final once its restore has failed.
type explanation struct {
	why   string
	final bool
}

// explain asks, after a while and then from time to time, why no node takes a primary that has never
// failed: because the disks are too full, for example. From 6.2 on, the restore of such a shard has
// failed, and it stays on no node whatever changes. Before that, it is restored as soon as a node
// takes it.
func (r *restoring) explain(ctx context.Context, c elastic.ShardCopy) explanation {
	if c.Unassigned == nil || c.Unassigned.AllocationStatus != "deciders_no" {
		return explanation{}
	}
	key := c.String()
	if r.told {
		return r.explained[key]
	}
	if r.refused[key]++; r.refused[key]%patientLooks != 0 {
		return r.explained[key]
	}
	deciders, err := r.client.WhyUnassigned(ctx, c.Index, c.Shard)
	if err != nil { // it decides nothing that the routing table would not
		return r.explained[key]
	}
	var whys []string
	for _, decider := range slices.Sorted(maps.Keys(deciders)) {
		if decider != elastic.RestoreDecider {
			whys = append(whys, deciders[decider])
		}
	}
	_, final := deciders[elastic.RestoreDecider]
	if len(whys) == 0 && final {
		whys = append(whys, deciders[elastic.RestoreDecider])
	}
	found := explanation{final: final}
	if len(whys) > 0 {
		found.why = ", " + shorten(strings.Join(whys, ", "))
	}
	r.explained[key] = found
	return found
}

func reasonOf(c elastic.ShardCopy) string {
	u := c.Unassigned
	if u == nil {
		return "no reason is given"
	}
	text := strings.ToLower(strings.ReplaceAll(u.Reason, "_", " "))
	if u.FailedAttempts > 0 {
		text += fmt.Sprintf(" after %d attempts", u.FailedAttempts)
	}
	if u.AllocationStatus != "" {
		text += " (" + u.AllocationStatus + ")"
	}
	if u.Details != "" {
		text += ", " + u.Details
	}
	return text
}
