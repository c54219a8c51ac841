package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// The settings that limit how fast each node takes and restores snapshots.
//
// Elasticsearch's BlobStoreRepository reads the first two from the repository; the default is 40mb.
// From 7.9 on a restore has no default limit of its own, and counts as a recovery, which
// RecoverySettings limits to 40mb. If both are set, both apply.
const (
	snapshotThrottle = "max_snapshot_bytes_per_sec"
	restoreThrottle  = "max_restore_bytes_per_sec"
	recoveryThrottle = "indices.recovery.max_bytes_per_sec"
)

// ReadThrottles reads the limits of both clusters before snapferry raises any, so that
// RestoreThrottles can restore exactly those. If the target doesn't show its cluster settings,
// their limit is left out, with a warning.
func (a *Activities) ReadThrottles(ctx context.Context, run migration.Run) (migration.ThrottlesFound, error) {
	return perform(ctx, a, "reading the clusters' throttles",
		func(ctx context.Context, p *pulse) (migration.ThrottlesFound, error) {
			var found migration.ThrottlesFound
			from, to, err := a.bothClusters(ctx, run)
			if err != nil {
				return found, err
			}
			if found.Snapshot, err = registered(ctx, a, p, onSource, run, func() (string, error) {
				return repositorySetting(ctx, from, run.RepositoryName(), snapshotThrottle)
			}); err != nil {
				return found, err
			}
			if found.Restore, err = registered(ctx, a, p, onTarget, run, func() (string, error) {
				return repositorySetting(ctx, to, run.RepositoryName(), restoreThrottle)
			}); err != nil {
				return found, err
			}
			version, err := to.Version(ctx)
			if err != nil || !version.AtLeast(7, 9) {
				return found, err
			}
			settings, err := to.ClusterSettings(ctx)
			switch {
			case permanent(err):
				found.Warnings = append(found.Warnings,
					fmt.Sprintf("%s on %s stays as it is, since it can't be read: %s",
						recoveryThrottle, to.Host(), messageOf(err)))
				return found, nil
			case err != nil:
				return found, err
			}
			found.Recovery = &migration.RecoveryFound{
				Transient:  settings.Transient[recoveryThrottle],
				Persistent: settings.Persistent[recoveryThrottle],
			}
			return found, nil
		})
}

// SetThrottles sets each limit to the value that the plan wants, or to the one that was found. It
// changes no limit that has that value already. It waits as long as a snapshot or restore uses a
// repository that has to change. A limit that a service refuses to change stays as it is, with a
// warning: that costs time, but the migration can go on.
func (a *Activities) SetThrottles(ctx context.Context,
	in migration.SetThrottlesRequest,
) (migration.ThrottlesSet, error) {
	return perform(ctx, a, "setting the clusters' throttles",
		func(ctx context.Context, p *pulse) (migration.ThrottlesSet, error) {
			var set migration.ThrottlesSet
			limits, err := a.throttles(ctx, in.Run, in.Found, in.Wanted)
			if err != nil {
				return set, err
			}
			var failures []error
			for _, failed := range a.apply(ctx, p, limits) {
				if permanent(failed.err) {
					set.Warnings = append(set.Warnings, fmt.Sprintf("%s stays as it is: %s", failed.what,
						messageOf(failed.err)))
				} else {
					failures = append(failures, failed.err)
				}
			}
			return set, retryableFirst(failures)
		})
}

// RestoreThrottles restores exactly the limits that ReadThrottles found, and checks that they are
// restored. First it restores all that it can. Then it waits as long as a snapshot or restore uses
// a repository. It never gives up on an answer that it doesn't understand. A repository that is
// gone has no limit.
func (a *Activities) RestoreThrottles(ctx context.Context, in migration.RestoreThrottlesRequest) error {
	_, err := performForEver(ctx, a, "restoring the clusters' throttles",
		func(ctx context.Context, p *pulse) (none, error) {
			limits, err := a.throttles(ctx, in.Run, in.Found, migration.Limits{})
			if err != nil {
				return none{}, err
			}
			var failures []error
			for _, failed := range a.apply(ctx, p, limits) {
				if typeOf(failed.err) != migration.ErrorMissing {
					failures = append(failures, failed.err)
				}
			}
			return none{}, retryableFirst(failures)
		})
	return err
}

func (a *Activities) bothClusters(ctx context.Context, run migration.Run) (from, to *elastic.Client, err error) {
	if from, err = a.cluster(ctx, onSource, run); err != nil {
		return nil, nil, err
	}
	to, err = a.cluster(ctx, onTarget, run)
	return from, to, err
}

// throttle is one limit in one place. Its values are as the cluster writes them, empty if none is
// set.
type throttle struct {
	what string // for people
	want string
	read func(context.Context) (string, error)
	set  func(context.Context, string) error
	err  error // that it failed with, classified
}

// throttles are the limits, each with the value that it must have.
func (a *Activities) throttles(ctx context.Context, run migration.Run, found migration.ThrottlesFound,
	wanted migration.Limits,
) ([]*throttle, error) {
	from, to, err := a.bothClusters(ctx, run)
	if err != nil {
		return nil, err
	}
	want := func(wanted migration.Throttle, found string) string {
		if value, set := wanted.Setting(); set {
			return value
		}
		return found
	}
	limits := []*throttle{
		repositoryLimit(from, run, snapshotThrottle, want(wanted.Snapshot, found.Snapshot), a.keys.sourceRegistration),
		repositoryLimit(to, run, restoreThrottle, want(wanted.Restore, found.Restore), a.keys.targetRegistration(ctx)),
	}
	if found.Recovery == nil {
		return limits, nil
	}
	return append(limits, recoveryLimit(to, want(wanted.Recovery, found.Recovery.Transient))), nil
}

// repositoryLimit is the limit that a setting of the run's repository is.
func repositoryLimit(client *elastic.Client, run migration.Run, setting, want string,
	registration func(migration.Run) (elastic.Repository, error),
) *throttle {
	name := run.RepositoryName()
	return &throttle{
		what: fmt.Sprintf("%s of repository %s on %s", setting, name, client.Host()),
		want: want,
		read: func(ctx context.Context) (string, error) { return repositorySetting(ctx, client, name, setting) },
		set: func(ctx context.Context, value string) error {
			return setInRepository(ctx, client, run, registration, setting, value)
		},
	}
}

// recoveryLimit is the target's own limit, as its transient setting.
func recoveryLimit(client *elastic.Client, want string) *throttle {
	return &throttle{
		what: recoveryThrottle + " on " + client.Host(),
		want: want,
		read: func(ctx context.Context) (string, error) {
			settings, err := client.ClusterSettings(ctx)
			return settings.Transient[recoveryThrottle], err
		},
		set: func(ctx context.Context, value string) error {
			return client.PutClusterSettings(ctx, nil, map[string]any{recoveryThrottle: orNull(value)})
		},
	}
}

// orNull removes a setting if there is no value.
func orNull(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// apply sets each limit to its value, checks it, and returns those that failed. A limit that has to
// wait delays no other.
func (a *Activities) apply(ctx context.Context, p *pulse, limits []*throttle) (failed []*throttle) {
	pace := a.slotPace()
	for pending := slices.Clone(limits); ; {
		pending = slices.DeleteFunc(pending, func(t *throttle) bool {
			err := t.apply(ctx)
			if elastic.KindOf(err) == elastic.SlotTaken && ctx.Err() == nil {
				p.update(func(progress *migration.Progress) { progress.Waiting = err.Error() })
				return false
			}
			if t.err = classify(err); t.err != nil {
				failed = append(failed, t)
			}
			return true
		})
		if len(pending) == 0 {
			p.update(func(progress *migration.Progress) { progress.Waiting = "" })
			return failed
		}
		if err := a.wait(ctx, &pace); err != nil {
			for _, t := range pending {
				t.err = err
			}
			return append(failed, pending...)
		}
	}
}

func (t *throttle) apply(ctx context.Context) error {
	now, err := t.read(ctx)
	if err != nil || now == t.want {
		return err
	}
	if err := t.set(ctx, t.want); err != nil {
		return err
	}
	if now, err = t.read(ctx); err != nil {
		return err
	}
	if now != t.want {
		return passing(retryInternal, fmt.Sprintf("set %s to %q: afterwards it is %q", t.what, t.want, now), 0)
	}
	return nil
}

// repositorySetting is a setting of a registration as text, empty if it has none.
func repositorySetting(ctx context.Context, client *elastic.Client, repository, setting string) (string, error) {
	registered, err := client.GetRepository(ctx, repository)
	if err != nil {
		return "", err
	}
	if value, there := registered.Settings[setting]; there && value != nil {
		return fmt.Sprint(value), nil
	}
	return "", nil
}

// setInRepository registers this run's repository again with one setting changed; an empty value
// removes it. Elasticsearch needs all settings for that. Those of this run, secrets included, come
// from the plan: the cluster doesn't show secrets, or shows some that nobody should trust. All
// other settings stay as somebody has set them.
func setInRepository(ctx context.Context, client *elastic.Client, run migration.Run,
	registration func(migration.Run) (elastic.Repository, error), setting, value string,
) error {
	ours, err := registration(run)
	if err != nil {
		return err
	}
	run.Plan.Source.Repository.Settings, run.Plan.Target.Repository.Settings = nil, nil
	fixed, err := registration(run)
	if err != nil {
		return err
	}
	found, err := client.GetRepository(ctx, run.RepositoryName())
	if err != nil {
		return err
	}
	for _, hidden := range found.Hidden() {
		if _, known := fixed.Settings[hidden]; !known {
			return fail(migration.ErrorRefused, "change repository %s on %s: its setting %s is not the plan's, may "+
				"hold a secret, and would be lost: "+
				"remove that setting, or set %s yourself",
				run.RepositoryName(), client.Host(), hidden, setting)
		}
	}
	for name, value := range found.Settings {
		if _, known := fixed.Settings[name]; !known {
			ours.Settings[name] = value
		}
	}
	if value == "" {
		delete(ours.Settings, setting)
	} else {
		ours.Settings[setting] = value
	}
	return client.ChangeRepository(ctx, run.RepositoryName(), ours)
}
