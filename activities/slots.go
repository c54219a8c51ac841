package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// ownRepositories is the prefix of the repositories of all migrations: nothing is scheduled in
// them.
const ownRepositories = "snapferry-"

// automaticRepositories are those of the vendors' automatic snapshots: cs-automated and, for
// encrypted domains, cs-automated-enc on Amazon (Amazon's documentation of index snapshots),
// aliyun_auto_snapshot on Alibaba Cloud. Longer names that begin with these count as well.
var automaticRepositories = map[side][]string{
	onSource: {"cs-automated", "cs-automated-enc"},
	onTarget: {"aliyun_auto_snapshot"},
}

// slotPace is how often the clusters are asked while a snapshot is in the way. listPace is how
// often the automatic snapshots are listed while one is due, since a short one may begin and end
// between two questions.
const (
	slotPace = 15 * time.Second
	listPace = 30 * time.Second
)

// AwaitFreeSlot returns when no snapshot runs on either cluster and no automatic one is due within
// the predicted window. Up to 7.8 a cluster takes one snapshot at a time, so an automatic one would
// delay the final one. In every version a snapshot on the target keeps its indices from being
// closed.
//
// It also returns when the deadline has passed or no wait would help; the result then says what is
// in the way. What it can't see or predict becomes a warning in the result, and it doesn't wait for
// that.
func (a *Activities) AwaitFreeSlot(ctx context.Context, in migration.FreeSlotRequest) (migration.FreeSlot, error) {
	return perform(ctx, a, "waiting for free snapshot slots",
		func(ctx context.Context, p *pulse) (migration.FreeSlot, error) {
			deadline := time.UnixMilli(in.DeadlineMillis)
			if in.DeadlineMillis == 0 {
				deadline = a.now().Add(in.Plan.Freeze.SlotWait.Std())
			}
			var slots []*slot
			for _, at := range []side{onSource, onTarget} {
				client, err := a.cluster(ctx, at, in.Run)
				if err != nil {
					return migration.FreeSlot{}, err
				}
				slots = append(slots, &slot{at: at, client: client, own: in.RepositoryName()})
			}
			pace := backoff{next: time.Second, most: slotPace}
			for {
				now := a.now()
				var found []obstacle
				for _, s := range slots {
					found = append(found, s.obstacles(ctx, now,
						time.Duration(in.PredictedWindowMillis)*time.Millisecond)...)
				}
				if ctx.Err() != nil {
					return migration.FreeSlot{}, ctx.Err()
				}
				waitable := slices.ContainsFunc(found, func(o obstacle) bool { return !o.hopeless })
				if !waitable || !now.Before(deadline) {
					return freeSlot(slots, found, now), nil
				}
				p.update(func(progress *migration.Progress) {
					progress.Waiting = fmt.Sprintf("%s; waiting until %s at most", sentences(found),
						human.TimeOfDay(deadline))
				})
				pause := min(pace.next, deadline.Sub(now))
				pace.next = min(pace.next*5/4, pace.most)
				if err := a.sleep(ctx, pause); err != nil {
					return migration.FreeSlot{}, err
				}
			}
		})
}

// obstacle is what is in the way of the write block.
type obstacle struct {
	why      string
	hopeless bool // no wait would remove it
}

func sentences(obstacles []obstacle) string {
	var all []string
	for _, o := range obstacles {
		all = append(all, o.why)
	}
	return strings.Join(all, "; ")
}

// freeSlot makes the result of AwaitFreeSlot.
func freeSlot(slots []*slot, found []obstacle, now time.Time) migration.FreeSlot {
	free := migration.FreeSlot{Free: len(found) == 0}
	for _, o := range found {
		free.Obstacles = append(free.Obstacles, o.why)
	}
	for _, s := range slots {
		for _, automatic := range s.automatic {
			if !automatic.predicted(now) {
				continue
			}
			next := automatic.next(now)
			free.Automatic = append(free.Automatic, migration.AutomaticSnapshots{
				Cluster: string(s.at), Repository: automatic.repository, LastMillis: automatic.last.UnixMilli(),
				NextMillis:     next.UnixMilli(),
				IntervalMillis: automatic.interval.Milliseconds(), SlackMillis: automatic.slack.Milliseconds(),
			})
			until := next.Add(-automatic.slack).UnixMilli()
			if free.FreeUntilMillis == 0 || until < free.FreeUntilMillis {
				free.FreeUntilMillis = until
			}
		}
		free.Warnings = append(free.Warnings, s.warnings(now)...)
	}
	return free
}

// slot is the snapshot slot of one cluster, with what is known of its automatic snapshots.
type slot struct {
	at     side
	client *elastic.Client
	own    string // this run's repository

	listed    bool   // its repositories are known
	unlisted  string // why they can't be listed
	automatic []*schedule
	others    []string // repositories of unknown owners

	noStatusAPI  bool   // the service doesn't offer GET /_snapshot/_status
	noCurrentAPI string // why it doesn't tell what runs in a repository either
}

// obstacles lists what is in the way on this cluster now. A question that the cluster doesn't
// answer is in the way, too, until it does or the deadline passes. A question that it refuses for
// good is not.
func (s *slot) obstacles(ctx context.Context, now time.Time, window time.Duration) (found []obstacle) {
	if err := s.discover(ctx); err != nil {
		return []obstacle{s.unanswered(err)}
	}
	running, err := s.running(ctx)
	if err != nil {
		return []obstacle{s.unanswered(err)}
	}
	for _, snapshot := range running {
		found = append(found, obstacle{why: fmt.Sprintf("snapshot %s in repository %s runs on the %s", snapshot.Name,
			snapshot.Repository, s.at)})
	}
	for _, automatic := range s.automatic {
		busy := slices.ContainsFunc(running,
			func(r elastic.RunningSnapshot) bool { return r.Repository == automatic.repository })
		if err := automatic.update(ctx, s, now, busy); err != nil {
			found = append(found, s.unanswered(err))
			continue
		}
		if !busy && automatic.predicted(now) {
			found = append(found, automatic.obstacle(s.at, now, window)...)
		}
	}
	return found
}

func (s *slot) unanswered(err error) obstacle {
	return obstacle{why: fmt.Sprintf("the %s doesn't answer: %s", s.at, messageOf(err))}
}

// discover finds the automatic repositories.
func (s *slot) discover(ctx context.Context) error {
	if s.listed {
		return nil
	}
	types, err := s.client.Repositories(ctx)
	if err != nil && !permanent(err) {
		return err
	}
	s.listed = true
	names := slices.Sorted(maps.Keys(types))
	if err != nil {
		s.unlisted = err.Error()
		names = automaticRepositories[s.at]
	}
	for _, name := range names {
		switch {
		case name == s.own:
		case slices.ContainsFunc(automaticRepositories[s.at],
			func(known string) bool { return strings.HasPrefix(name, known) }):
			s.automatic = append(s.automatic, &schedule{repository: name})
		default:
			if !strings.HasPrefix(name, ownRepositories) { // nothing is scheduled in another migration's
				s.others = append(s.others, name)
			}
		}
	}
	return nil
}

// running gives the snapshots under way. If the service doesn't offer those of all repositories, it
// gives those in our own and in the automatic ones.
func (s *slot) running(ctx context.Context) ([]elastic.RunningSnapshot, error) {
	if !s.noStatusAPI {
		running, err := s.client.RunningSnapshots(ctx)
		if err == nil || !permanent(err) {
			return running, err
		}
		s.noStatusAPI = true
	}
	var running []elastic.RunningSnapshot
	repositories := []string{s.own}
	for _, automatic := range s.automatic {
		repositories = append(repositories, automatic.repository)
	}
	s.noCurrentAPI = ""
	for _, repository := range repositories {
		current, err := s.client.CurrentSnapshots(ctx, repository)
		switch {
		case elastic.KindOf(err) == elastic.Missing:
		case err != nil && permanent(err):
			s.noCurrentAPI = err.Error()
		case err != nil:
			return nil, err
		}
		for _, snapshot := range current {
			running = append(running, elastic.RunningSnapshot{Repository: repository, Name: snapshot.Name})
		}
	}
	return running, nil
}

// warnings say what could not be read or predicted.
func (s *slot) warnings(now time.Time) (all []string) {
	if s.unlisted != "" {
		all = append(all, fmt.Sprintf("the repositories of the %s can't be listed, so only %s were checked: %s",
			s.at, strings.Join(automaticRepositories[s.at], ", "), s.unlisted))
	}
	if s.noCurrentAPI != "" {
		all = append(all, fmt.Sprintf("the %s doesn't tell whether a snapshot runs: %s", s.at, s.noCurrentAPI))
	}
	predicted := false
	for _, automatic := range s.automatic {
		predicted = predicted || automatic.predicted(now)
		if why := automatic.unpredictable(now); why != "" {
			all = append(all, fmt.Sprintf("the next automatic snapshot in repository %s on the %s can't be "+
				"predicted: %s", automatic.repository, s.at, why))
		}
	}
	if len(s.automatic) == 0 {
		all = append(all, fmt.Sprintf("the %s has no known repository of automatic snapshots (%s): if it takes any, "+
			"snapferry doesn't predict them",
			s.at, strings.Join(automaticRepositories[s.at], ", ")))
	}
	if len(s.others) > 0 && !predicted {
		all = append(all, fmt.Sprintf("snapferry doesn't predict snapshots in other repositories of the %s%s", s.at,
			named(": ", s.others)))
	}
	return all
}

// usual is the interval that the vendor documents, 0 if it documents none. Amazon takes a snapshot
// every hour from 5.3 on, and every day before. At Alibaba Cloud each instance has its own.
func (s *slot) usual(ctx context.Context) time.Duration {
	if s.at != onSource {
		return 0
	}
	if version, err := s.client.Version(ctx); err == nil && !version.AtLeast(5, 3) {
		return 24 * time.Hour
	}
	return time.Hour
}
