package activities

import (
	"context"
	"errors"
	"fmt"
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
	// told says that the last look followed an answer of the target, and no pause.
	told bool
	// repeated is set once indices were deleted to be restored again.
	repeated bool
	// seen is the look at the snapshot.
	seen *sighting
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
	pace := restorePace
	r.told = false
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
		switch {
		case state.absent == "":
			vanished = 0
		case !r.told: // patience is counted by looks after a pause
			vanished++
		}
		if vanished > patientLooks {
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
		if err := r.awaitPrimaries(ctx, &pace); err != nil {
			return migration.RestoreResult{}, err
		}
	}
}

// restorePace is the pace at which a restore is looked at while the target waits for its primaries,
// and patientLooks is patience at that pace.
var (
	restorePace  = backoff{next: 500 * time.Millisecond, most: 5 * time.Second}
	patientLooks = pollsWithin(patience, restorePace)
)

// awaitPrimaries waits until as many shards are active as there are primaries, and no longer than a
// pause. The target tells it at once, and many looks would slow down what they look at. If it was told
// so at the last look already, it waits for the pause: replicas count as well.
func (r *restoring) awaitPrimaries(ctx context.Context, pace *backoff) error {
	began, primaries := r.now(), map[string]int{}
	for _, index := range r.in.Indices {
		primaries[index.Name] = index.Shards
	}
	active, err := r.client.AwaitActive(ctx, primaries, pace.next)
	if err != nil {
		return err
	}
	if r.told = active && !r.told; r.told {
		return nil
	}
	return r.sleep(ctx, max(0, pace.step()-r.now().Sub(began)))
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
