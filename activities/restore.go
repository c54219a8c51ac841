package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// RestoreSnapshot restores a published snapshot over closed or absent indices of the target. It
// returns when every primary of every index is started from that snapshot. It adopts indices that
// are being restored from it, or were restored already.
//
// If a shard can't be restored, its index is deleted and restored completely, once without asking:
// writers may be waiting, and most such failures don't come back. The second time the activity
// fails, so that a person sees it.
func (a *Activities) RestoreSnapshot(ctx context.Context,
	in migration.RestoreRequest,
) (migration.RestoreResult, error) {
	return perform(ctx, a, "restoring snapshot "+in.Snapshot.Name,
		func(ctx context.Context, p *pulse) (migration.RestoreResult, error) {
			indices, err := fetch(ctx, a.lists, in.Run, in.Indices, in.IndicesOf)
			if err != nil {
				return migration.RestoreResult{}, err
			}
			in.Indices = targetIndices(in.Run, indices)
			client, err := a.cluster(ctx, onTarget, in.Run)
			if err != nil {
				return migration.RestoreResult{}, err
			}
			r := restoring{
				Activities: a, client: client, repository: in.RepositoryName(), in: in, pulse: p,
				first: map[string]string{}, refused: map[string]int{}, explained: map[string]explanation{},
				earlier: map[string]bool{},
			}
			r.see(ctx)
			defer r.seen.end()
			wanted, err := r.wanted(ctx)
			if err == nil && !in.Frozen {
				err = r.seen.wait()
			}
			if err != nil {
				return migration.RestoreResult{}, err
			}
			files := r.listFiles(ctx)
			defer files.end()
			for {
				if err := r.beginSeen(ctx, wanted); err != nil {
					return migration.RestoreResult{}, err
				}
				result, err := r.finish(ctx)
				err = r.confirm(ctx, err)
				if errors.Is(err, errOnceMore) {
					if wanted, err = r.wanted(ctx); err != nil {
						return migration.RestoreResult{}, err
					}
					continue
				}
				result, err = r.compared(ctx, files, result, err)
				if err == nil && in.Open != nil {
					result.Opened = a.openRestored(ctx, in, client, p)
				}
				return result, err
			}
		})
}

// errOnceMore says that the indices that failed are deleted, and must be restored again at once.
var errOnceMore = errors.New("to be restored again")

// restoring is one restore under way.
type restoring struct {
	*Activities
	client     *elastic.Client
	repository string
	in         migration.RestoreRequest // with the target's names of the indices
	pulse      *pulse
	// first holds, by shard, the first reason seen for a failed attempt.
	first map[string]string
	// refused counts, by shard and failed attempts, the polls in which no node would take the
	// shard.
	refused map[string]int
	// earlier says of snapshots whether they were taken before the one that is restored.
	earlier map[string]bool
	// explained says, by shard, why no node takes it.
	explained map[string]explanation
	// repeated is set once indices were deleted to be restored again.
	repeated bool
	// seen is the look at the snapshot.
	seen *sighting
}

// sighting is whether the target sees the snapshot. It is found out beside other requests, since the
// target reads its repository for that.
type sighting struct {
	stop context.CancelFunc
	done chan struct{}
	err  error
	// other says that the target sees something else.
	other bool
}

// see begins the look.
func (r *restoring) see(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	s := &sighting{stop: stop, done: make(chan struct{})}
	r.seen = s
	go func() {
		defer close(s.done)
		s.other, s.err = r.visible(ctx)
	}()
}

func (s *sighting) wait() error {
	<-s.done
	return s.err
}

func (s *sighting) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// end ends the look, and waits for that.
func (s *sighting) end() {
	s.stop()
	<-s.done
}

// beginSeen starts the restore. In the frozen window the snapshot may not have been seen yet: writers
// wait, and the target reads the same of its repository for the restore as for the look. If that was
// too early, it starts the restore once more.
func (r *restoring) beginSeen(ctx context.Context, wanted []string) error {
	early := !r.seen.ended()
	if !early && r.seen.err != nil {
		return r.confirm(ctx, r.seen.err) // an earlier attempt may have restored what the target sees
	}
	err := r.begin(ctx, wanted)
	if !early || !notSeenYet(err) {
		return err
	}
	if err := r.seen.wait(); err != nil {
		return err
	}
	if wanted, err = r.wanted(ctx); err != nil {
		return err
	}
	return r.begin(ctx, wanted)
}

// notSeenYet tells whether a restore was refused because the target has no such snapshot, or no
// repository.
func notSeenYet(err error) bool {
	failure, ok := errors.AsType[*elastic.Error](err)
	return registrationLost(onTarget, err) || elastic.KindOf(err) == elastic.Missing ||
		ok && failure.Type == "snapshot_restore_exception" && strings.Contains(failure.Error(), "does not exist")
}

// confirm makes sure that what was restored is the snapshot that was copied. If it is another one of
// that name, it is deleted: by that name alone, the next attempt would take it for the right one.
// finished is how the restore ended.
func (r *restoring) confirm(ctx context.Context, finished error) error {
	err := r.seen.wait()
	if !r.seen.other {
		if finished != nil {
			return finished
		}
		return err
	}
	if err := r.disown(ctx); err != nil {
		return err
	}
	return err
}

// disown deletes the indices that were restored from a snapshot of that name. It looks each time
// before it deletes: this may be a late attempt, and an index without our block may be handed over.
func (r *restoring) disown(ctx context.Context) error {
	return r.whenFree(ctx, r.pulse, func() error {
		found, _, err := existing(ctx, r.client, migration.IndexNames(r.in.Indices))
		if err != nil {
			return err
		}
		var open []string
		for name, index := range found {
			if index.Open && hasOurBlock(index) {
				open = append(open, name)
			}
		}
		origins, err := originsOf(ctx, r.client, r.repository, open)
		if err != nil {
			return err
		}
		open = slices.DeleteFunc(open, func(name string) bool { return !origins[name].isAll(r.in.Snapshot.Name) })
		if len(open) == 0 {
			return nil
		}
		return r.client.DeleteIndices(ctx, open)
	})
}

// visible makes sure that the target sees the snapshot that was copied, and sees all of it. other
// says that it sees something else.
func (r *restoring) visible(ctx context.Context) (other bool, err error) {
	pace := r.statusPace()
	for attempt := 0; ; attempt++ {
		info, err := registered(ctx, r.Activities, r.pulse, onTarget, r.in.Run, func() (elastic.SnapshotInfo, error) {
			return r.client.Snapshot(ctx, r.repository, r.in.Snapshot.Name)
		})
		switch {
		case err == nil && info.UUID != r.in.Snapshot.UUID:
			return true, fail(migration.ErrorRepository, "read snapshot %s on %s: the target sees another snapshot "+
				"of that name (UUID %s instead of %s)", info.Name, r.client.Host(), info.UUID, r.in.Snapshot.UUID)
		case err == nil && !info.Complete():
			return true, fail(migration.ErrorRepository, "read snapshot %s on %s: the target sees it as %s with %d of "+
				"%d shards failed", info.Name, r.client.Host(), info.State, info.ShardsFailed, info.ShardsTotal)
		case err == nil:
			if missing, _ := differ(r.inSnapshot(migration.IndexNames(r.in.Indices)), info.Indices); len(missing) > 0 {
				return true, fail(migration.ErrorRepository, "read snapshot %s on %s: %s", info.Name, r.client.Host(),
					named("it lacks ", missing))
			}
			return false, nil
		case elastic.KindOf(err) != elastic.Missing:
			return false, err
		case attempt == patientPolls:
			return false, fail(migration.ErrorRepository, "read snapshot %s on %s: the target doesn't see it, "+
				"although it was published: %w", r.in.Snapshot.Name, r.client.Host(), err)
		}
		// The listing of an object store may be behind for a moment.
		if err := r.wait(ctx, &pace); err != nil {
			return false, err
		}
	}
}

// begin starts the restore of the indices that are wanted. After a lost answer it first checks again
// which indices those are.
func (r *restoring) begin(ctx context.Context, wanted []string) error {
	pace := r.slotPace()
	for refused := 0; len(wanted) > 0; {
		if r.seen.ended() && r.seen.other {
			return r.seen.err
		}
		err := r.client.Restore(ctx, r.repository, r.in.Snapshot.Name, r.options(wanted))
		if err != nil && movedWriteIndex.MatchString(err.Error()) {
			// Not until the other index is restored: the snapshot is too old or too small.
			return fail(migration.ErrorSnapshotFailed, "%w: the alias got another write index on the source, and the "+
				"snapshot doesn't hold both", err)
		}
		freed := false
		switch elastic.KindOf(err) {
		case elastic.None, elastic.Unclassified:
			return err
		case elastic.SlotTaken:
			var failed error
			if freed, failed = r.free(ctx); failed != nil {
				return failed
			}
			r.pulse.update(func(p *migration.Progress) { p.Waiting = err.Error() })
		case elastic.OutcomeUnknown:
			r.pulse.update(func(p *migration.Progress) { p.Waiting = err.Error() })
		default:
			// An index that was opened between check and request is closed the next time. Any other
			// refusal is final.
			if refused++; refused > 1 || !strings.Contains(err.Error(), "open") {
				return err
			}
		}
		if !freed {
			if err := r.wait(ctx, &pace); err != nil {
				return err
			}
		}
		if wanted, err = r.wanted(ctx); err != nil {
			return err
		}
	}
	return nil
}

// movedWriteIndex finds the refusal of an index that is an alias's write index, while another index
// of the target still is (from 6.4 on). A snapshot that holds both takes it from one to the other.
var movedWriteIndex = regexp.MustCompile(`alias \[[^\]]*\] has more than one write index`)

// free deletes the indices with shards that an earlier attempt could not restore: before 6.2 such a
// shard holds the slot until its index is deleted.
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

// wanted finds the indices that are still to be restored, and closes those that are open behind our
// block. CloseTarget has checked that nobody wrote to them. An open index without our block is
// refused: somebody may have written to it since, or the cutover is over and this is a late attempt
// of an activity that nobody waits for.
func (r *restoring) wanted(ctx context.Context) ([]string, error) {
	names := migration.IndexNames(r.in.Indices)
	found, aliases, err := existing(ctx, r.client, names)
	if err != nil {
		return nil, err
	}
	if len(aliases) > 0 {
		return nil, fail(migration.ErrorRefused, "restore snapshot %s on %s: %s", r.in.Snapshot.Name, r.client.Host(),
			named("these names are aliases there; remove them: ", aliases))
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
		later, err := r.laterThanAsked(ctx, origins[name])
		if err != nil {
			return nil, err
		}
		if later != "" {
			return nil, fail(migration.ErrorRefused, "restore snapshot %s on %s: index %s was restored from the "+
				"later snapshot %s already: snapferry never restores an older one over it", r.in.Snapshot.Name,
				r.client.Host(), name, later)
		}
		if found[name].Open && origins[name].isAll(r.in.Snapshot.Name) {
			continue
		}
		wanted = append(wanted, name)
		if !found[name].Open {
			continue
		}
		if !hasOurBlock(found[name]) {
			return nil, fail(migration.ErrorTargetOpened,
				"restore index %s on %s: it is open for writes there, without index.blocks.write, so somebody created "+
					"or "+
					"opened it since the last round", name, r.client.Host())
		}
		toClose = append(toClose, name)
	}
	return wanted, r.shut(ctx, r.client, r.repository, toClose, r.pulse)
}

// laterThanAsked names a snapshot of a later round or attempt that a primary was restored from;
// empty if there is none.
func (r *restoring) laterThanAsked(ctx context.Context, o origin) (string, error) {
	asked, ok := migration.TurnOf(r.in.Plan.Name, r.in.Snapshot.Name)
	if !ok {
		return "", nil
	}
	for _, name := range o.snapshots {
		theirs, ok := migration.TurnOf(r.in.Plan.Name, name)
		if !ok || theirs.Compare(asked) <= 0 {
			continue
		}
		if earlier, err := r.takenEarlier(ctx, name); err != nil || !earlier {
			return name, err
		}
	}
	return "", nil
}

// takenEarlier tells whether the source took a snapshot before the one that is asked for, although
// its round or attempt is a later one: a workflow that was reset counts its rounds again. Of a
// snapshot that is gone nobody knows.
func (r *restoring) takenEarlier(ctx context.Context, name string) (bool, error) {
	if known, asked := r.earlier[name]; asked {
		return known, nil
	}
	// Beside visible, which may find only now that the registration is lost.
	info, err := registered(ctx, r.Activities, r.pulse, onTarget, r.in.Run, func() (elastic.SnapshotInfo, error) {
		return r.client.Snapshot(ctx, r.repository, name)
	})
	if err != nil && elastic.KindOf(err) != elastic.Missing {
		return false, err
	}
	r.earlier[name] = err == nil && info.StartMillis > 0 && info.StartMillis < r.in.Snapshot.StartMillis
	return r.earlier[name], nil
}

// inSnapshot are the names that the target's indices have in the snapshot.
func (r *restoring) inSnapshot(names []string) []string {
	saved := make([]string, len(names))
	for i, name := range names {
		saved[i] = r.in.SourceIndex(name)
	}
	return saved
}

// options gives the settings of the target's indices. They replace the snapshot's and must be sent
// with each restore.
func (r *restoring) options(indices []string) elastic.RestoreOptions {
	plan := r.in.Plan.Restore
	pattern, replacement := r.in.RestoreRename()
	return elastic.RestoreOptions{
		Indices:       r.inSnapshot(indices),
		RenamePattern: pattern, RenameReplacement: replacement,
		IncludeAliases: r.in.Plan.RestoresAliases(),
		IndexSettings: map[string]any{
			writeBlock:       true, // until cutover nobody writes to the target
			numberOfReplicas: plan.Replicas,
			autoExpand:       false, // it would override the number
		},
		IgnoreIndexSettings: notRestored(r.in.Plan, r.in.IgnoreSettings),
	}
}

// standstillOfRestore is how long a restore may make no progress while a primary is unassigned,
// before a person sees it.
const standstillOfRestore = 10 * time.Minute

// finish waits for the primaries. _recovery doesn't show failed shards and may be empty at first,
// so the routing table decides; _recovery tells how much was restored.
func (r *restoring) finish(ctx context.Context) (migration.RestoreResult, error) {
	pace := r.paceOf(r.in.Frozen)
	var headway shardsState
	moved, vanished := r.now(), 0
	for {
		state, err := r.state(ctx)
		if err != nil {
			return migration.RestoreResult{}, err
		}
		r.pulse.set(state.progress("restoring snapshot " + r.in.Snapshot.Name))
		if state.done() {
			return migration.RestoreResult{
				BytesRestored: state.restored, BytesReused: state.reused,
				Shards: state.total,
			}, nil
		}
		if len(state.failed) > 0 {
			return migration.RestoreResult{}, r.abandon(ctx, state.failed)
		}
		if state.absent == "" {
			vanished = 0
		} else if vanished++; vanished > patientPollsOf(r.in.Frozen) {
			// The next attempt restores it again.
			return migration.RestoreResult{}, passing(retryInternal,
				fmt.Sprintf("restore snapshot %s on %s: index %s was deleted during the restore", r.in.Snapshot.Name,
					r.client.Host(), state.absent), 0)
		}
		if !state.sameAs(headway) {
			headway, moved = state, r.now()
		}
		if state.unassigned != "" && r.now().Sub(moved) > standstillOfRestore {
			return migration.RestoreResult{}, fail(migration.ErrorRestoreFailed,
				"restore snapshot %s on %s: no progress for %s: %s", r.in.Snapshot.Name, r.client.Host(),
				standstillOfRestore, state.unassigned)
		}
		if err := r.wait(ctx, &pace); err != nil {
			return migration.RestoreResult{}, err
		}
	}
}

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
	r.refused[key]++
	return r.refused[key] > patientPollsOf(r.in.Frozen)
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
	r.refused[key]++
	if r.refused[key]%patientPollsOf(r.in.Frozen) != 0 {
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

// abandon deletes the indices with failed shards. They hold nothing that the snapshot lacks. Before
// 6.2 only this ends the restore, and on 5.x a second restore would fail over the half-copied files
// (elastic/elasticsearch#27476).
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
		clear(r.explained)
		activity.GetLogger(ctx).Warn("shards could not be restored; their indices were deleted on "+
			"the target and are restored again", "snapshot", r.in.Snapshot.Name, "shards", reasons)
		return errOnceMore
	}
	failure := migration.ErrorRestoreFailed
	if badKey.MatchString(strings.Join(reasons, " ")) {
		failure = migration.ErrorUnauthorized // the key was revoked while shards were being read
	}
	return fail(failure, "restore snapshot %s on %s, twice: %s%s", r.in.Snapshot.Name, r.client.Host(),
		named("shards failed: ", reasons), named("; deleted on the target, so that retry restores them again: ",
			indices))
}
