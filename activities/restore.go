package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// RestoreSnapshot restores a published snapshot over closed or absent indices of
// the target, and returns when every primary of every index is started from
// that very snapshot. Indices that are being restored from it, or were already,
// are adopted. If a shard can't be restored, its index is deleted and restored
// whole, once by itself: writers may be waiting, and most such failures are of
// the moment. The second time a person sees it.
func (a *Activities) RestoreSnapshot(ctx context.Context, in migration.RestoreRequest) (migration.RestoreResult, error) {
	in.Indices = targetIndices(in.Run, in.Indices)
	return perform(ctx, a, "restoring snapshot "+in.Snapshot.Name, func(ctx context.Context, p *pulse) (migration.RestoreResult, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return migration.RestoreResult{}, err
		}
		r := restoring{Activities: a, client: client, repository: in.RepositoryName(), in: in, pulse: p, first: map[string]string{}, refused: map[string]int{}}
		if err := r.visible(ctx); err != nil {
			return migration.RestoreResult{}, err
		}
		for {
			if err := r.begin(ctx); err != nil {
				return migration.RestoreResult{}, err
			}
			if result, err := r.finish(ctx); !errors.Is(err, errOnceMore) {
				return result, err
			}
		}
	})
}

// errOnceMore says that what failed is out of the way, and is to be restored
// again at once.
var errOnceMore = errors.New("to be restored anew")

// restoring is one restore on its way.
type restoring struct {
	*Activities
	client     *elastic.Client
	repository string
	in         migration.RestoreRequest // with the target's names of the indices
	pulse      *pulse
	// first holds, by shard, the first reason seen for a failed attempt.
	first map[string]string
	// refused counts, by shard and failed attempts, the looks at which no node
	// would take it.
	refused map[string]int
	// repeated is set once indices were deleted to be restored anew.
	repeated bool
}

// visible makes sure that the target sees the very snapshot that was copied, and
// sees it whole.
func (r *restoring) visible(ctx context.Context) error {
	polls := r.polls()
	for attempt := 0; ; attempt++ {
		info, err := r.client.Snapshot(ctx, r.repository, r.in.Snapshot.Name)
		switch {
		case err == nil && info.UUID != r.in.Snapshot.UUID:
			return fail(migration.ErrorRepository, "look for snapshot %s on %s: the target sees another one of that name (%s instead of %s)", info.Name, r.client.Host(), info.UUID, r.in.Snapshot.UUID)
		case err == nil && !info.Complete():
			return fail(migration.ErrorRepository, "look for snapshot %s on %s: the target sees it as %s with %d of %d shards failed", info.Name, r.client.Host(), info.State, info.ShardsFailed, info.ShardsTotal)
		case err == nil:
			if missing, _ := differ(r.inSnapshot(migration.IndexNames(r.in.Indices)), info.Indices); len(missing) > 0 {
				return fail(migration.ErrorRepository, "look for snapshot %s on %s: %s", info.Name, r.client.Host(), named("it lacks ", missing))
			}
			return nil
		case elastic.KindOf(err) != elastic.Missing:
			return err
		case attempt == patientPolls:
			return fail(migration.ErrorRepository, "look for snapshot %s on %s: the target doesn't see it although it was published: %w", r.in.Snapshot.Name, r.client.Host(), err)
		}
		// The listing of a store may be behind for a moment.
		if err := r.wait(ctx, &polls); err != nil {
			return err
		}
	}
}

// begin starts the restore of every index that isn't being restored from this
// snapshot already. It looks again after each lost answer.
func (r *restoring) begin(ctx context.Context) error {
	turns := r.turns()
	for refused := 0; ; {
		wanted, err := r.wanted(ctx)
		if err != nil || len(wanted) == 0 {
			return err
		}
		err = r.client.Restore(ctx, r.repository, r.in.Snapshot.Name, r.options(wanted))
		switch elastic.KindOf(err) {
		case elastic.None, elastic.Unclassified:
			return err
		case elastic.SlotTaken:
			freed, freeErr := r.free(ctx)
			if freeErr != nil {
				return freeErr
			}
			if freed {
				continue
			}
			r.pulse.update(func(p *migration.Progress) { p.Waiting = err.Error() })
		case elastic.OutcomeUnknown:
			r.pulse.update(func(p *migration.Progress) { p.Waiting = err.Error() })
		default:
			// An index that was opened between the look and the request is closed
			// the next time; anything else stays refused.
			if refused++; refused > 1 || !strings.Contains(err.Error(), "open") {
				return err
			}
		}
		if err := r.wait(ctx, &turns); err != nil {
			return err
		}
	}
}

// free abandons what an earlier attempt began and lost: before 6.2 a lost shard
// holds the slot that is waited for, until its index is deleted.
func (r *restoring) free(ctx context.Context) (freed bool, err error) {
	copies, err := r.client.Shards(ctx, migration.IndexNames(r.in.Indices))
	if err != nil {
		return false, err
	}
	stuck := stuckIn(copies, r.repository)
	var failed []failedShard
	for _, c := range copies {
		if c.Primary && failedForGood(c) && slices.Contains(stuck, c.Index) {
			failed = append(failed, failedShard{c.Index, fmt.Sprintf("%s: %s", c, reasonOf(c))})
		}
	}
	if len(failed) == 0 {
		return false, nil
	}
	if err := r.abandon(ctx, failed); !errors.Is(err, errOnceMore) {
		return false, err
	}
	return true, nil
}

// wanted finds the indices that are still to be restored, and closes those that
// are open behind our block. Whether somebody wrote to them, CloseTarget has
// asked; without the block somebody may have written since, or the migration has
// handed the index over already and this is a late attempt of an activity that
// nobody waits for any more.
func (r *restoring) wanted(ctx context.Context) ([]string, error) {
	names := migration.IndexNames(r.in.Indices)
	found, aliases, err := existing(ctx, r.client, names)
	if err != nil {
		return nil, err
	}
	if len(aliases) > 0 {
		return nil, fail(migration.ErrorRefused, "restore snapshot %s on %s: %s", r.in.Snapshot.Name, r.client.Host(), named("an alias stands under the name ", aliases))
	}
	var open []string
	for _, name := range names {
		if found[name].Open {
			open = append(open, name)
		}
	}
	origins, err := originsOf(ctx, r.client, r.repository, open)
	if err != nil {
		return nil, err
	}
	var wanted, toClose []string
	for _, name := range names {
		if later := r.laterThanAsked(origins[name]); later != "" {
			return nil, fail(migration.ErrorRefused, "restore snapshot %s on %s: index %s was restored from %s already, which is later: the target doesn't go back", r.in.Snapshot.Name, r.client.Host(), name, later)
		}
		if found[name].Open && origins[name].isAll(r.in.Snapshot.Name) {
			continue
		}
		wanted = append(wanted, name)
		if !found[name].Open {
			continue
		}
		if !hasOurBlock(found[name]) {
			return nil, fail(migration.ErrorTargetWritten, "restore index %s on %s: it is open for writes there; somebody created or opened it meanwhile", name, r.client.Host())
		}
		toClose = append(toClose, name)
	}
	return wanted, r.shut(ctx, r.client, r.repository, toClose, r.pulse)
}

// laterThanAsked names a snapshot of a later round or attempt that a primary was
// restored from.
func (r *restoring) laterThanAsked(o origin) string {
	round, attempt, ok := roundOf(r.in.Plan.Name, r.in.Snapshot.Name)
	if !ok {
		return ""
	}
	for _, name := range o.snapshots {
		theirs, theirAttempt, ok := roundOf(r.in.Plan.Name, name)
		if ok && (theirs > round || theirs == round && theirAttempt > attempt) {
			return name
		}
	}
	return ""
}

// roundOf takes a snapshot's name apart again.
func roundOf(plan, snapshot string) (round, attempt int, ok bool) {
	rest, ok := strings.CutPrefix(snapshot, plan+"-r")
	if !ok {
		return 0, 0, false
	}
	_, err := fmt.Sscanf(rest, "%d-a%d", &round, &attempt)
	return round, attempt, err == nil && migration.SnapshotName(plan, round, attempt) == snapshot
}

// fixedSettings can't be left out by a restore; Elasticsearch refuses the whole
// request if one is named (RestoreService.UNREMOVABLE_SETTINGS).
var fixedSettings = []string{
	"index.number_of_shards", "index.number_of_replicas", "index.auto_expand_replicas", "index.version.created",
	"index.version.upgraded", "index.version.minimum_compatible", "index.uuid", "index.creation_date",
}

// inSnapshot are the names that the target's indices have in the snapshot.
func (r *restoring) inSnapshot(names []string) []string {
	saved := make([]string, len(names))
	for i, name := range names {
		saved[i] = r.in.SourceIndex(name)
	}
	return saved
}

// options gives the target's side of the restored settings. They replace the
// snapshot's and must be sent with each restore.
func (r *restoring) options(indices []string) elastic.RestoreOptions {
	plan := r.in.Plan.Restore
	ignored := []string{
		"index.blocks.*",             // the source's, ours of the freeze among them
		"index.routing.allocation.*", // names nodes that the target hasn't
	}
	for _, setting := range plan.IgnoreSettings {
		if !slices.Contains(ignored, setting) && !slices.Contains(fixedSettings, setting) {
			ignored = append(ignored, setting)
		}
	}
	pattern, replacement := r.in.RestoreRename()
	return elastic.RestoreOptions{
		Indices:       r.inSnapshot(indices),
		RenamePattern: pattern, RenameReplacement: replacement,
		IncludeAliases: r.in.Plan.RestoresAliases(),
		IndexSettings: map[string]any{
			writeBlock:                   true, // until cutover nobody writes to the target
			"index.number_of_replicas":   plan.Replicas,
			"index.auto_expand_replicas": false, // it would overrule the number
		},
		IgnoreIndexSettings: ignored,
	}
}

// standstillOfRestore is how long a restore may make no headway while a primary
// has no place before a person is asked to look.
const standstillOfRestore = 10 * time.Minute

// finish waits for the primaries. _recovery shows no failed shards and may be
// empty at first, so the routing table decides and _recovery tells what was
// carried.
func (r *restoring) finish(ctx context.Context) (migration.RestoreResult, error) {
	polls := r.polls()
	var headway shardsState
	moved, vanished := r.now(), 0
	for {
		state, err := r.state(ctx)
		if err != nil {
			return migration.RestoreResult{}, err
		}
		r.pulse.set(state.progress("restoring snapshot " + r.in.Snapshot.Name))
		if state.done() {
			return migration.RestoreResult{BytesRestored: state.restored, BytesReused: state.reused, Shards: state.total}, nil
		}
		if len(state.failed) > 0 {
			return migration.RestoreResult{}, r.abandon(ctx, state.failed)
		}
		if state.absent == "" {
			vanished = 0
		} else if vanished++; vanished > patientPolls {
			// The next attempt restores it again.
			return migration.RestoreResult{}, passing(retryInternal, fmt.Sprintf("restore snapshot %s on %s: index %s vanished meanwhile", r.in.Snapshot.Name, r.client.Host(), state.absent), 0)
		}
		if !state.sameAs(headway) {
			headway, moved = state, r.now()
		}
		if state.unassigned != "" && r.now().Sub(moved) > standstillOfRestore {
			return migration.RestoreResult{}, fail(migration.ErrorRestoreFailed, "restore snapshot %s on %s: nothing moved for %s: %s", r.in.Snapshot.Name, r.client.Host(), standstillOfRestore, state.unassigned)
		}
		if err := r.wait(ctx, &polls); err != nil {
			return migration.RestoreResult{}, err
		}
	}
}

// shardsState sums up the primaries of a restore.
type shardsState struct {
	started, total   int
	restored, reused int64
	bytes            int64
	unassigned       string // a primary without a place, in words
	absent           string // an index without any shard
	failed           []failedShard
}

type failedShard struct{ index, why string }

func (s shardsState) done() bool { return s.started == s.total }

func (s shardsState) sameAs(other shardsState) bool {
	return s.started == other.started && s.restored == other.restored && s.reused == other.reused && s.unassigned == other.unassigned
}

func (s shardsState) progress(doing string) migration.Progress {
	return migration.Progress{
		Doing: doing, ShardsDone: s.started, ShardsTotal: s.total,
		BytesDone: s.restored + s.reused, BytesTotal: s.bytes, Waiting: s.unassigned,
	}
}

func (r *restoring) state(ctx context.Context) (shardsState, error) {
	names := migration.IndexNames(r.in.Indices)
	// The routing table first: a primary that is started there has its recovery
	// in the later answer, complete.
	copies, err := r.client.Shards(ctx, names)
	if err != nil {
		return shardsState{}, err
	}
	recoveries, err := r.client.Recovery(ctx, names)
	if err != nil && elastic.KindOf(err) != elastic.Missing { // an index vanished: the routing table shows which
		return shardsState{}, err
	}
	var state shardsState
	for _, index := range r.in.Indices {
		state.total += index.Shards
		if !slices.ContainsFunc(copies, func(c elastic.ShardCopy) bool { return c.Index == index.Name }) {
			state.absent = index.Name
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
				why += "; that is only the last attempt, the first one's reason: " + first
			}
			state.failed = append(state.failed, failedShard{c.Index, why})
		case c.State == "UNASSIGNED" && state.unassigned == "":
			state.unassigned = fmt.Sprintf("%s has no place on any node: %s", c, reasonOf(c))
		}
	}
	for _, v := range recoveries {
		if !v.Primary || v.Type != "SNAPSHOT" || v.Repository != r.repository {
			continue // a primary that moved since, or whose node was restarted
		}
		if v.Snapshot != r.in.Snapshot.Name {
			return state, fail(migration.ErrorRestoreFailed, "restore snapshot %s on %s: [%s][%d] is being restored from snapshot %s; is a second worker or migration at work?", r.in.Snapshot.Name, r.client.Host(), v.Index, v.Shard, v.Snapshot)
		}
		state.restored += v.BytesRecovered
		state.reused += v.BytesReused
		state.bytes += v.BytesTotal
	}
	return state, nil
}

// leftovers is what every attempt but the first stumbles over on 5.x (issue
// 27476), so that the reason that counts is not the one shown.
const leftovers = "FileAlreadyExistsException"

// lastAllocation is index.allocation.max_retries' default: after so many
// attempts Elasticsearch leaves a shard alone.
const lastAllocation = 5

// failedForGood tells whether a primary has failed for good. Elasticsearch itself says so
// only for corrupt data before 6.2; any other failure leaves the shard
// unassigned for ever, and every later restore refused (issue 27493).
func failedForGood(c elastic.ShardCopy) bool {
	return failedOnce(c) && c.Unassigned.FailedAttempts >= lastAllocation
}

func failedOnce(c elastic.ShardCopy) bool {
	return c.State == "UNASSIGNED" && c.Unassigned != nil && c.Unassigned.Reason == "ALLOCATION_FAILED"
}

// refusedByAllNodes tells whether a primary failed and no node will take it again, as from
// 6.2 on after corrupt data. Between two attempts that may be so for a moment.
func (r *restoring) refusedByAllNodes(c elastic.ShardCopy) bool {
	if !failedOnce(c) || c.Unassigned.AllocationStatus != "deciders_no" {
		return false
	}
	key := fmt.Sprintf("%s %d", c, c.Unassigned.FailedAttempts)
	r.refused[key]++
	return r.refused[key] > patientPolls
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

// abandon deletes the indices with lost shards: they hold nothing that the
// snapshot hasn't, before 6.2 only this ends the restore, and on 5.x a second
// restore would stumble over the half-copied files (issue 27476).
func (r *restoring) abandon(ctx context.Context, failed []failedShard) error {
	var indices, reasons []string
	for _, shard := range failed {
		if !slices.Contains(indices, shard.index) {
			indices = append(indices, shard.index)
		}
		reasons = append(reasons, shard.why)
	}
	err := r.whenFree(ctx, r.pulse, func() error { return r.client.DeleteIndices(ctx, indices) })
	if err != nil {
		return err
	}
	if !r.repeated {
		r.repeated = true
		clear(r.first)
		clear(r.refused)
		activity.GetLogger(ctx).Warn("shards could not be restored; their indices were deleted on the target and are restored anew", "snapshot", r.in.Snapshot.Name, "shards", reasons)
		return errOnceMore
	}
	return fail(migration.ErrorRestoreFailed, "restore snapshot %s on %s, twice: %s%s", r.in.Snapshot.Name, r.client.Host(),
		named("shards failed: ", reasons), named("; deleted on the target, to be restored anew: ", indices))
}
