package activities

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// schedule is what the start times of a repository's automatic snapshots tell: how often one
// begins, and when the next one does.
type schedule struct {
	repository string
	last       time.Time
	interval   time.Duration // 0 if it is unknown
	// slack is how much earlier or later than predicted a snapshot may begin.
	slack time.Duration

	why      string // why there is no interval
	listedAt time.Time
	busy     bool // one was seen running
	failures int
}

// remembered is how many intervals an estimate uses.
const remembered = 12

// mostFailures is how often the list of snapshots may fail before it counts as unreadable.
const mostFailures = 3

// update lists the snapshots if that can tell something new: at first, when one has ended, from
// time to time while one is due, and once after that. A list costs the cluster a read of one object
// per snapshot.
func (s *schedule) update(ctx context.Context, on *slot, now time.Time, busy bool) error {
	ended := s.busy && !busy
	s.busy = busy
	switch {
	case s.listedAt.IsZero(), ended:
	case busy || !s.predicted(now):
		return nil
	case s.due(now) && now.Sub(s.listedAt) >= listPace, s.next(now).After(s.next(s.listedAt)):
	default:
		return nil
	}
	snapshots, err := on.client.LatestSnapshots(ctx, s.repository, remembered+1)
	if err != nil {
		if s.failures++; s.failures < mostFailures && !permanent(err) {
			s.listedAt, s.busy = time.Time{}, busy || ended
			return err
		}
		s.listedAt, s.interval, s.why = now, 0, err.Error()
		if elastic.KindOf(err) == elastic.Missing {
			s.why = "there is no such repository"
		}
		return nil
	}
	s.listedAt, s.failures = now, 0
	var starts []time.Time
	for _, snapshot := range snapshots {
		starts = append(starts, time.UnixMilli(snapshot.StartMillis))
	}
	s.learn(starts, on.usual(ctx))
	return nil
}

// learn estimates interval and slack from start times. It uses medians, so that one snapshot that
// was skipped or late changes nothing. With a single start time it uses the vendor's usual
// interval.
func (s *schedule) learn(starts []time.Time, usual time.Duration) {
	slices.SortFunc(starts, time.Time.Compare)
	s.interval, s.slack, s.why = 0, 0, ""
	if len(starts) == 0 {
		s.why = "it holds no snapshot"
		return
	}
	s.last = starts[len(starts)-1]
	var differences, deviations []time.Duration
	for i := len(starts) - 1; i > 0 && len(differences) < remembered; i-- {
		if difference := starts[i].Sub(starts[i-1]); difference > 0 {
			differences = append(differences, difference)
		}
	}
	s.interval = usual
	if len(differences) > 0 {
		s.interval = median(differences)
	}
	if s.interval <= 0 {
		s.why = "it holds a single snapshot"
		return
	}
	for _, difference := range differences {
		deviations = append(deviations, (difference - s.interval).Abs())
	}
	// Three times the median deviation covers nearly all; the minute is for clocks that differ.
	const clocks = time.Minute
	s.slack = max(min(clocks, s.interval/10), min(3*median(deviations), s.interval/4))
}

func median[T cmp.Ordered](values []T) (middle T) {
	if len(values) > 0 {
		values = slices.Sorted(slices.Values(values))
		middle = values[len(values)/2]
	}
	return middle
}

// stopped reports whether several snapshots were skipped: somebody has turned them off, or they go
// to another repository now.
func (s *schedule) stopped(now time.Time) bool {
	const several = 3
	return now.Sub(s.last) > several*s.interval+s.slack
}

func (s *schedule) predicted(now time.Time) bool { return s.interval > 0 && !s.stopped(now) }

// unpredictable says why the next snapshot can't be predicted; empty if it can.
func (s *schedule) unpredictable(now time.Time) string {
	if s.interval > 0 && s.stopped(now) {
		return fmt.Sprintf("none began since %s, although one began every %s before", s.last.UTC().Format(time.RFC3339),
			migration.Duration(s.interval.Round(time.Second)))
	}
	return s.why
}

// next is when the next snapshot begins, plus or minus the slack. One that is later than that
// counts as skipped.
func (s *schedule) next(now time.Time) time.Time {
	next := s.last.Add(s.interval)
	for next.Add(s.slack).Before(now) {
		next = next.Add(s.interval)
	}
	return next
}

// due reports whether the next snapshot may begin now.
func (s *schedule) due(now time.Time) bool { return !now.Before(s.next(now).Add(-s.slack)) }

// obstacle checks whether the window fits before the next snapshot; it is empty if so.
func (s *schedule) obstacle(at side, now time.Time, window time.Duration) []obstacle {
	next := s.next(now)
	if now.Add(window).Before(next.Add(-s.slack)) {
		return nil
	}
	if window+2*s.slack >= s.interval {
		return []obstacle{{hopeless: true, why: fmt.Sprintf("the predicted window of %s doesn't fit between two "+
			"automatic snapshots in repository %s on the %s: "+
			"one begins every %s, the next at about %s",
			migration.Duration(window.Round(time.Second)), s.repository, at,
			migration.Duration(s.interval.Round(time.Second)), human.TimeOfDay(next))}}
	}
	return []obstacle{{why: fmt.Sprintf("an automatic snapshot in repository %s on the %s begins at about %s, within "+
		"the predicted window of %s",
		s.repository, at, human.TimeOfDay(next), migration.Duration(window.Round(time.Second)))}}
}
