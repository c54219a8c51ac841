package activities

import (
	"context"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// Whether the target sees the snapshot that was copied, and what becomes of a restore of another one.

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
	return registrationLost(onTarget, err) || elastic.KindOf(err) == elastic.Missing
}

// confirm makes sure that what was restored is the snapshot that was copied. If it is another one of
// that name, it is deleted: by that name alone, the next attempt would take it for the right one.
// finished is how the restore ended.
func (r *restoring) confirm(ctx context.Context, finished error) error {
	seen := r.seen.wait()
	switch {
	case !r.seen.other && finished != nil:
		return finished
	case r.seen.other:
		if err := r.disown(ctx); err != nil {
			return err
		}
	}
	return seen
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
	pace := statusPace()
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
