package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// TakeSnapshot has the source take a snapshot of exactly the indices named. It returns when the
// snapshot has ended in SUCCESS with every index and no failed shard. It adopts a snapshot of that
// name that runs or has succeeded already: nobody else writes to this run's repository. But one that
// is there before anybody has asked for it is from before a reset of the workflow. It is older than
// what the workflow knows of the indices, so it is only reported.
func (a *Activities) TakeSnapshot(ctx context.Context, in migration.SnapshotRequest) (migration.Snapshot, error) {
	return perform(ctx, a, "taking snapshot "+in.Snapshot,
		func(ctx context.Context, p *pulse) (migration.Snapshot, error) {
			var err error
			if in.Indices, err = a.lists.names(ctx, in.Run, in.Indices, in.IndicesOf); err != nil {
				return migration.Snapshot{}, err
			}
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return migration.Snapshot{}, err
			}
			taking := taking{
				Activities: a, client: client, repository: in.RepositoryName(), in: in, pulse: p,
				unasked: in.New && !repeated(ctx), accepted: in.Asked && !repeated(ctx),
			}
			info, err := registered(ctx, a, p, onSource, in.Run,
				func() (elastic.SnapshotInfo, error) { return taking.run(ctx) })
			if err != nil {
				return migration.Snapshot{}, err
			}
			if taking.earlier {
				return migration.Snapshot{Name: in.Snapshot, Earlier: true}, nil
			}
			return completeSnapshot(info, in.Indices)
		})
}

// taking is one snapshot under way.
type taking struct {
	*Activities
	client     *elastic.Client
	repository string
	in         migration.SnapshotRequest
	pulse      *pulse
	// accepted is set once the cluster has accepted the request. From then on a missing snapshot
	// was asked for, but isn't listed yet.
	accepted bool
	// unasked says that this run has not asked for the snapshot yet, and earlier that it is there
	// anyway.
	unasked, earlier bool
	// looked says that the source was asked whether there is one.
	looked bool
	// awaited is set once the primaries were waited for.
	awaited bool
	// noStatusAPI is set if the service refuses to tell the progress of a snapshot (_status),
	// noCurrentAPI if it refuses to tell which ones run (_current).
	noStatusAPI, noCurrentAPI bool
	// askedAt is when it was asked for progress last.
	askedAt time.Time
}

// patience is how long something that must be there may be missing before that counts as an error,
// at the pace at which a watch begins. At a slower pace it is as many polls.
const patience = 7 * time.Second

// patientPolls is patience as a number of polls, and patientPollsFrozen in the frozen window.
var (
	patientPolls       = pollsWithin(patience, paceOf(false))
	patientPollsFrozen = pollsWithin(patience, paceOf(true))
)

// patientPollsOf is one of them.
func patientPollsOf(frozen bool) int {
	if frozen {
		return patientPollsFrozen
	}
	return patientPolls
}

// pollsWithin counts the polls from the first one on whose pauses make up a time.
func pollsWithin(limit time.Duration, pace backoff) (count int) {
	for waited := time.Duration(0); waited < limit; count++ {
		waited += pace.step()
	}
	return count
}

// run reads the snapshot before it asks for it, and after each lost answer. So it works from any
// state. A request that is to be sent at once has no look before it: for that the cluster would have to
// read its repository, and its answer says as well if there is one.
func (t *taking) run(ctx context.Context) (elastic.SnapshotInfo, error) {
	pace, slotPace, absent := paceOf(t.in.Frozen), t.slotPace(), 0
	if t.unasked && t.in.AtOnce {
		waiting, err := t.ask(ctx)
		if err != nil || t.earlier {
			return elastic.SnapshotInfo{}, err
		}
		next := &pace
		if waiting {
			next = &slotPace
		}
		if err := t.wait(ctx, next); err != nil {
			return elastic.SnapshotInfo{}, err
		}
	}
	for {
		if t.runs(ctx) {
			t.progress(ctx)
			if err := t.wait(ctx, &pace); err != nil {
				return elastic.SnapshotInfo{}, err
			}
			continue
		}
		info, err := t.client.Snapshot(ctx, t.repository, t.in.Snapshot)
		if registrationLost(onSource, err) {
			return info, err
		}
		t.looked = true
		switch elastic.KindOf(err) {
		case elastic.Missing:
			if t.accepted {
				if absent++; absent > patientPollsOf(t.in.Frozen) {
					return info, passing(retryInternal, "take snapshot "+t.in.Snapshot+
						": the source accepted it but doesn't list it: "+err.Error(), 0)
				}
				break
			}
			waiting, err := t.ask(ctx)
			if err != nil {
				return info, err
			}
			if waiting {
				if err := t.wait(ctx, &slotPace); err != nil {
					return info, err
				}
				continue
			}
		case elastic.None:
			if t.earlier = t.unasked; t.earlier || info.State != elastic.InProgress {
				return info, nil
			}
			t.accepted, absent = true, 0
			t.progress(ctx)
		default:
			return info, err
		}
		if err := t.wait(ctx, &pace); err != nil {
			return info, err
		}
	}
}

// runs reports whether the snapshot is known to run. The cluster state tells that at once; to read
// the snapshot itself the master has to read the repository.
func (t *taking) runs(ctx context.Context) bool {
	if !t.accepted || t.noCurrentAPI {
		return false
	}
	current, err := t.client.CurrentSnapshots(ctx, t.repository)
	switch elastic.KindOf(err) {
	case elastic.NotSupported, elastic.Unauthorized:
		t.noCurrentAPI = true
	}
	return err == nil &&
		slices.ContainsFunc(current, func(s elastic.SnapshotInfo) bool { return s.Name == t.in.Snapshot })
}

// ask asks the source for the snapshot. waiting reports that another snapshot is in the way, or
// that the answer was lost. earlier is set if what is there, or may be, can't be known for this run's.
func (t *taking) ask(ctx context.Context) (waiting bool, err error) {
	if err := t.awaitPrimaries(ctx); err != nil {
		return false, err
	}
	err = t.client.CreateSnapshot(ctx, t.repository, t.in.Snapshot, t.in.Indices)
	kind := elastic.KindOf(err)
	if t.unasked && (kind == elastic.AlreadyExists || kind == elastic.OutcomeUnknown && !t.looked) {
		t.earlier = true
		return false, nil
	}
	if kind == elastic.None || kind == elastic.OutcomeUnknown { // what is refused was never asked for
		t.unasked = false
	}
	switch kind {
	case elastic.SlotTaken:
		why := err.Error()
		if running, err := t.client.RunningSnapshots(ctx); err == nil && len(running) > 0 {
			why = fmt.Sprintf("snapshot %s in repository %s holds the source's only slot", running[0].Name,
				running[0].Repository)
		}
		t.pulse.update(func(p *migration.Progress) { p.Waiting = why })
		return true, nil
	case elastic.OutcomeUnknown:
		// It may still begin: read it for a while before asking again.
		t.pulse.update(func(p *migration.Progress) { p.Waiting = err.Error() })
		return true, nil
	case elastic.AlreadyExists:
		t.accepted = true
		return false, nil
	case elastic.Missing:
		if failure, ok := errors.AsType[*elastic.Error](err); ok && failure.Type == "index_not_found_exception" {
			// An index was deleted since the indices were resolved, perhaps while we waited for the
			// slot. To ask again is useless: retry resolves the indices again.
			return false, fail(migration.ErrorSnapshotFailed, "%w", err)
		}
	case elastic.Rejected:
		if elastic.LacksPrimaries(err) { // 7.x and later say so at once, earlier versions by a snapshot in state FAILED
			return false, fail(migration.ErrorSnapshotFailed, "%w", err)
		}
	case elastic.None:
		t.accepted = true
	}
	return false, err
}

// awaitPrimaries waits until each index has its primaries, for as long as the request says. If they
// don't come, the snapshot says which are missing.
func (t *taking) awaitPrimaries(ctx context.Context) error {
	if t.awaited || t.in.PrimariesMillis <= 0 {
		return nil
	}
	t.awaited = true
	until := t.now().Add(time.Duration(t.in.PrimariesMillis) * time.Millisecond)
	for pace := statusPace(); t.now().Before(until); {
		active, err := t.client.AwaitPrimaries(ctx, t.in.Indices, min(longPoll, until.Sub(t.now())))
		if err != nil || active {
			return err
		}
		t.pulse.update(func(p *migration.Progress) { p.Waiting = "a primary of the source is on no node" })
		if err := t.wait(ctx, &pace); err != nil {
			return err
		}
	}
	return nil
}

// progress puts the snapshot's progress into the heartbeat. It decides nothing, so its failures
// don't matter.
func (t *taking) progress(ctx context.Context) {
	const often = 500 * time.Millisecond // heartbeats aren't sent more often
	if now := t.now(); t.askedAt.IsZero() || now.Sub(t.askedAt) >= often {
		t.askedAt = now
	} else {
		return
	}
	doing := migration.Progress{Doing: "taking snapshot " + t.in.Snapshot}
	if !t.noStatusAPI {
		status, err := t.client.SnapshotStatus(ctx, t.repository, t.in.Snapshot)
		switch elastic.KindOf(err) {
		case elastic.NotSupported, elastic.Unauthorized:
			t.noStatusAPI = true
		}
		doing.ShardsDone, doing.ShardsTotal = status.ShardsDone, status.ShardsTotal
		doing.BytesDone, doing.BytesTotal = status.BytesDone, status.BytesTotal
		doing.BlobsDone, doing.BlobsTotal = status.FilesDone, status.FilesTotal
	}
	t.pulse.set(doing)
}

// completeSnapshot accepts only a snapshot that holds every index it was asked for. Versions before
// 6.0.1 leave out indices that they don't find, without an error.
func completeSnapshot(info elastic.SnapshotInfo, indices []string) (migration.Snapshot, error) {
	if !info.Complete() {
		return migration.Snapshot{}, fail(migration.ErrorSnapshotFailed,
			"take snapshot %s: it ended as %s with %d of %d shards failed%s",
			info.Name, info.State, info.ShardsFailed, info.ShardsTotal, reasons(info))
	}
	if missing, extra := differ(indices, info.Indices); len(missing)+len(extra) > 0 {
		return migration.Snapshot{}, fail(migration.ErrorSnapshotFailed,
			"take snapshot %s: it doesn't hold the indices that were asked for%s%s",
			info.Name, named("; missing: ", missing), named("; not asked for: ", extra))
	}
	return migration.Snapshot{
		Name: info.Name, UUID: info.UUID, StartMillis: info.StartMillis, EndMillis: info.EndMillis,
		Shards: info.ShardsTotal,
	}, nil
}

// mostNamed bounds lists of names in messages.
const mostNamed = 5

func reasons(info elastic.SnapshotInfo) string {
	var b strings.Builder
	if info.Reason != "" {
		b.WriteString(": " + info.Reason)
	}
	for i, failure := range info.Failures {
		if i == mostNamed {
			fmt.Fprintf(&b, "; and %d more", len(info.Failures)-i)
			break
		}
		fmt.Fprintf(&b, "; [%s][%d]: %s", failure.Index, failure.Shard, failure.Reason)
	}
	return b.String()
}

// differ compares two lists as sets: what have lacks, and what it has beyond want.
func differ(want, have []string) (missing, extra []string) {
	for _, name := range want {
		if !slices.Contains(have, name) {
			missing = append(missing, name)
		}
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			extra = append(extra, name)
		}
	}
	return missing, extra
}

// longestNamed bounds such a list in bytes: a name may have 255.
const longestNamed = 500

// named lists the first names after an introduction; it is empty if there are none.
func named(introduction string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	shown, length := 1, len(names[0])
	for shown < min(len(names), mostNamed) && length+2+len(names[shown]) <= longestNamed {
		length += 2 + len(names[shown])
		shown++
	}
	text := introduction + strings.Join(names[:shown], ", ")
	if shown < len(names) {
		text += fmt.Sprintf(" and %d more", len(names)-shown)
	}
	return text
}

// AbortSnapshot stops a snapshot of that name if it runs, and returns when it is gone. A snapshot
// that has ended stays, and it is no error if there is none.
func (a *Activities) AbortSnapshot(ctx context.Context, in migration.SnapshotRequest) error {
	_, err := perform(ctx, a, "stopping snapshot "+in.Snapshot, func(ctx context.Context, p *pulse) (none, error) {
		client, err := a.cluster(ctx, onSource, in.Run)
		if err != nil {
			return none{}, err
		}
		return none{}, a.stopSnapshot(ctx, client, in.RepositoryName(), in.Snapshot, p)
	})
	return err
}

func (a *Activities) stopSnapshot(ctx context.Context, client *elastic.Client, repository, name string,
	p *pulse,
) error {
	pace := statusPace()
	for {
		info, err := client.Snapshot(ctx, repository, name)
		if elastic.KindOf(err) == elastic.Missing {
			return nil
		}
		if err != nil || info.State != elastic.InProgress {
			return err
		}
		// The answer comes when the snapshot's objects are deleted, or gets lost.
		err = client.DeleteSnapshot(ctx, repository, name)
		switch elastic.KindOf(err) {
		case elastic.OutcomeUnknown, elastic.SlotTaken:
			p.update(func(progress *migration.Progress) { progress.Waiting = err.Error() })
		case elastic.Missing:
			return nil
		case elastic.None:
		default:
			return err
		}
		if err := a.wait(ctx, &pace); err != nil {
			return err
		}
	}
}
