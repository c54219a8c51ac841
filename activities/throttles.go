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
// Elasticsearch: BlobStoreRepository reads the first two from the repository,
// 40mb if they are absent; from 7.9 on restores have no limit of their own and
// are reckoned to the recoveries, which RecoverySettings limits to 40mb. Either
// holds if both are set.
const (
	snapshotThrottle = "max_snapshot_bytes_per_sec"
	restoreThrottle  = "max_restore_bytes_per_sec"
	recoveryThrottle = "indices.recovery.max_bytes_per_sec"
)

// ReadThrottles tells which limits stand on both clusters before snapferry
// changes any, so that exactly those remain afterwards. What the target's cluster
// settings say is left out, with a warning, where it doesn't show them.
func (a *Activities) ReadThrottles(ctx context.Context, run migration.Run) (migration.ThrottlesFound, error) {
	return perform(ctx, a, "reading the clusters' throttles", func(ctx context.Context, _ *pulse) (migration.ThrottlesFound, error) {
		var found migration.ThrottlesFound
		from, to, err := a.bothClusters(ctx, run)
		if err != nil {
			return found, err
		}
		if found.Snapshot, err = repositorySetting(ctx, from, run.RepositoryName(), snapshotThrottle); err != nil {
			return found, err
		}
		if found.Restore, err = repositorySetting(ctx, to, run.RepositoryName(), restoreThrottle); err != nil {
			return found, err
		}
		version, err := to.Version(ctx)
		if err != nil || !version.AtLeast(7, 9) {
			return found, err
		}
		settings, err := to.ClusterSettings(ctx)
		switch {
		case permanent(err):
			found.Warnings = append(found.Warnings, fmt.Sprintf("%s on %s is left alone, since it can't be read: %s", recoveryThrottle, to.Host(), messageOf(err)))
			return found, nil
		case err != nil:
			return found, err
		}
		found.Recovery = &migration.RecoveryFound{Transient: settings.Transient[recoveryThrottle], Persistent: settings.Persistent[recoveryThrottle]}
		return found, nil
	})
}

// SetThrottles sets the limits that are wanted, and makes what was found of
// those that are kept; it changes nothing that stands so already. It waits for as
// long as a snapshot or restore uses a repository that has to be changed. A limit
// that a service refuses to change stays, with a warning: it costs time, and no
// migration has to stop for it.
func (a *Activities) SetThrottles(ctx context.Context, in migration.SetThrottlesRequest) (migration.ThrottlesSet, error) {
	return perform(ctx, a, "setting the clusters' throttles", func(ctx context.Context, p *pulse) (migration.ThrottlesSet, error) {
		var set migration.ThrottlesSet
		limits, err := a.throttles(ctx, in.Run, in.Found, in.Wanted)
		if err != nil {
			return set, err
		}
		var failures []error
		for _, failed := range a.apply(ctx, p, limits) {
			if permanent(failed.err) {
				set.Warnings = append(set.Warnings, fmt.Sprintf("%s stays as it is: %s", failed.what, messageOf(failed.err)))
			} else {
				failures = append(failures, failed.err)
			}
		}
		return set, retryableFirst(failures)
	})
}

// RestoreThrottles puts back exactly what ReadThrottles found, and makes sure
// that it is back. It waits for as long as a snapshot or restore uses a
// repository, after it has put back all that it can, and never gives up on an
// answer that it doesn't understand. A repository that is gone has no limit.
func (a *Activities) RestoreThrottles(ctx context.Context, in migration.RestoreThrottlesRequest) error {
	_, err := persist(ctx, a, "putting back the clusters' throttles", func(ctx context.Context, p *pulse) (none, error) {
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

// throttle is one limit at its place. Its values are as the cluster writes them,
// empty where none is set.
type throttle struct {
	what string // for people
	want string
	read func(context.Context) (string, error)
	set  func(context.Context, string) error
	err  error // that it failed with, classified
}

// throttles are the limits, each with the value that it shall have.
func (a *Activities) throttles(ctx context.Context, run migration.Run, found migration.ThrottlesFound, wanted migration.Limits) ([]*throttle, error) {
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
	name := run.RepositoryName()
	ofRepository := func(client *elastic.Client, setting, want string, registration func(migration.Run) (elastic.Repository, error)) *throttle {
		return &throttle{
			what: fmt.Sprintf("%s of repository %s on %s", setting, name, client.Host()),
			want: want,
			read: func(ctx context.Context) (string, error) { return repositorySetting(ctx, client, name, setting) },
			set: func(ctx context.Context, value string) error {
				return setInRepository(ctx, client, run, registration, setting, value)
			},
		}
	}
	fromPlan := func(run migration.Run) (elastic.Repository, error) { return sourceRepository(run), nil }
	limits := []*throttle{
		ofRepository(from, snapshotThrottle, want(wanted.Snapshot, found.Snapshot), fromPlan),
		ofRepository(to, restoreThrottle, want(wanted.Restore, found.Restore), targetRepository),
	}
	if found.Recovery == nil {
		return limits, nil
	}
	return append(limits, &throttle{
		what: recoveryThrottle + " on " + to.Host(),
		want: want(wanted.Recovery, found.Recovery.Transient),
		read: func(ctx context.Context) (string, error) {
			settings, err := to.ClusterSettings(ctx)
			return settings.Transient[recoveryThrottle], err
		},
		set: func(ctx context.Context, value string) error {
			return to.PutClusterSettings(ctx, nil, map[string]any{recoveryThrottle: orNull(value)})
		},
	}), nil
}

// orNull takes a setting away where there is no value.
func orNull(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// apply gives each limit its value, looks whether it has it, and returns those
// that failed. One that has to wait keeps no other waiting.
func (a *Activities) apply(ctx context.Context, p *pulse, limits []*throttle) (failed []*throttle) {
	turns := a.turns()
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
		if err := a.wait(ctx, &turns); err != nil {
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
		return passing(retryInternal, fmt.Sprintf("set %s: it is %q afterwards instead of %q", t.what, now, t.want), 0)
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

// setInRepository registers this run's repository again with one setting
// changed; an empty value takes it away. Elasticsearch knows no other way than to
// send all settings. What makes it this run's repository, secrets among it, comes
// from the plan, since the cluster doesn't tell the secrets, or must not be
// trusted with them; what else somebody has set meanwhile stays.
func setInRepository(ctx context.Context, client *elastic.Client, run migration.Run, registration func(migration.Run) (elastic.Repository, error), setting, value string) error {
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
			return fail(migration.ErrorRefused, "change repository %s on %s: its setting %s, which isn't the plan's, may hold a secret and would be lost; take it away, or set %s by hand",
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
