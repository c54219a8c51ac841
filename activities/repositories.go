package activities

import (
	"context"
	"errors"
	"maps"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// RegisterRepositories registers the folder of this run in S3 as a repository of the source, and
// the folder in OSS as one of the target. Both have the same name. To repeat it changes nothing.
func (a *Activities) RegisterRepositories(ctx context.Context, run migration.Run) error {
	_, err := perform(ctx, a, "registering the repositories", func(ctx context.Context, p *pulse) (none, error) {
		// What the fence refuses, and the target's secrets, come first: nothing is registered then.
		if _, err := a.keys.sourceRegistration(run); err != nil {
			return none{}, err
		}
		if _, err := a.keys.targetRepository(ctx, run); err != nil {
			return none{}, err
		}
		for _, at := range []side{onSource, onTarget} {
			if err := a.register(ctx, p, at, run); err != nil {
				return none{}, err
			}
		}
		to, err := a.cluster(ctx, onTarget, run)
		if err != nil {
			return none{}, err
		}
		// Elasticsearch hardly verifies a read-only repository (5.x: not at all). A listing makes
		// it read OSS, so that a wrong key, endpoint or bucket shows now.
		_, err = to.Snapshots(ctx, run.RepositoryName())
		return none{}, err
	})
	return err
}

// none is the result of activities that return nothing.
type none struct{}

// register registers the run's repository on one cluster.
func (a *Activities) register(ctx context.Context, p *pulse, at side, run migration.Run) error {
	repository, err := a.keys.sourceRegistration(run)
	if at == onTarget {
		repository, err = a.keys.targetRepository(ctx, run)
	}
	if err != nil {
		return err
	}
	client, err := a.cluster(ctx, at, run)
	if err != nil {
		return err
	}
	return a.whenFree(ctx, p, func() error { return client.PutRepository(ctx, run.RepositoryName(), repository) })
}

// registered does what needs the run's repository on a cluster. A migration takes weeks: somebody
// may delete the registration meanwhile, and the key that it holds on the target may be replaced.
// Then the repository is registered again as the plan and its secrets say now, and the work is done
// once more. A throttle that was set there is the plan's again.
func registered[T any](ctx context.Context, a *Activities, p *pulse, at side, run migration.Run,
	work func() (T, error),
) (T, error) {
	result, err := work()
	if !registrationLost(at, err) {
		return result, err
	}
	activity.GetLogger(ctx).Warn("the repository is registered again", "repository", run.RepositoryName(), "cluster",
		at, "because", messageOf(err))
	if err := a.register(ctx, p, at, run); err != nil {
		return result, err
	}
	return work()
}

// registrationLost tells whether a cluster has no registration, or one with a key that the store
// refuses. On the source no key is part of it: there, somebody has to fix the role.
func registrationLost(at side, err error) bool {
	failure, ok := errors.AsType[*elastic.Error](err)
	if !ok {
		return false
	}
	return failure.Type == "repository_missing_exception" ||
		at == onTarget && failure.Kind == elastic.Rejected && badKey.MatchString(failure.Error())
}

// sourceRepository is the registration on Amazon's side.
func sourceRepository(run migration.Run) elastic.Repository {
	plan := run.Plan.Source.Repository
	settings := withSettings(plan.Settings, map[string]any{
		"bucket":    plan.Bucket,
		"base_path": run.SourceBasePath(),
		"role_arn":  plan.RoleARN,
	})
	switch {
	case plan.Endpoint != "":
		settings["endpoint"] = plan.Endpoint
	case plan.Region == "us-east-1":
		// Amazon's documentation asks for the endpoint instead of the region in this one case.
		settings["endpoint"] = "s3.amazonaws.com"
	default:
		settings["region"] = plan.Region
	}
	if plan.ServerSideEncryption {
		settings["server_side_encryption"] = true
	}
	return elastic.Repository{Type: "s3", Settings: settings}
}

// registeredEndpoints refuses a registration with which a cluster would connect to where this worker
// may not.
func (k keys) registeredEndpoints(at side, run migration.Run) error {
	for _, e := range run.Plan.RegisteredEndpoints(string(at)) {
		if err := k.endpoint(e.Field, e.URL); err != nil {
			return err
		}
	}
	return nil
}

// sourceRegistration is sourceRepository, within the fence.
func (k keys) sourceRegistration(run migration.Run) (elastic.Repository, error) {
	return sourceRepository(run), k.registeredEndpoints(onSource, run)
}

// targetRepository is the registration on Alibaba's side. It holds the cluster's key in clear text:
// the plugin of 5.5.3 offers no other way.
func (k keys) targetRepository(ctx context.Context, run migration.Run) (elastic.Repository, error) {
	plan := run.Plan.Target.Repository
	if err := k.registeredEndpoints(onTarget, run); err != nil {
		return elastic.Repository{}, err
	}
	id, err := k.secret(ctx, "target.repository.accessKeyId", plan.AccessKeyID)
	if err != nil {
		return elastic.Repository{}, err
	}
	secret, err := k.secret(ctx, "target.repository.secretAccessKey", plan.SecretAccessKey)
	if err != nil {
		return elastic.Repository{}, err
	}
	return elastic.Repository{Type: "oss", Settings: withSettings(plan.Settings, map[string]any{
		"endpoint":          plan.Endpoint,
		"bucket":            plan.Bucket,
		"base_path":         run.TargetBasePath(),
		"access_key_id":     id,
		"secret_access_key": secret,
		"compress":          true,
		// From the first PUT on. The target would write to a writable repository, and from 7.6 on
		// would not see what the copy publishes there.
		"readonly": true,
	})}, nil
}

// targetRegistration is targetRepository for whoever has the run only.
func (k keys) targetRegistration(ctx context.Context) func(migration.Run) (elastic.Repository, error) {
	return func(run migration.Run) (elastic.Repository, error) { return k.targetRepository(ctx, run) }
}

// withSettings adds our settings to the plan's. Ours win, except for compress, which the plan may
// turn off.
func withSettings(plan, ours map[string]any) map[string]any {
	settings := maps.Clone(ours)
	for name, value := range plan {
		if _, taken := ours[name]; !taken || name == "compress" {
			settings[name] = value
		}
	}
	return settings
}

// UnregisterRepositories removes both registrations. The objects stay.
func (a *Activities) UnregisterRepositories(ctx context.Context, run migration.Run) error {
	_, err := perform(ctx, a, "unregistering the repositories", func(ctx context.Context, p *pulse) (none, error) {
		// The target first: its registration holds a key. If one cluster doesn't answer, the
		// other's registration is removed anyway.
		var failures []error
		for _, at := range []side{onTarget, onSource} {
			client, err := a.cluster(ctx, at, run)
			if err == nil {
				err = a.whenFree(ctx, p, func() error { return client.DeleteRepository(ctx, run.RepositoryName()) })
			}
			if err != nil {
				failures = append(failures, err)
			}
		}
		return none{}, retryableFirst(failures)
	})
	return err
}

// EnsureTargetBucket creates the OSS bucket if it is absent and the plan says so. It refuses a
// bucket that others can read, or that the cluster can't read. A rehearsal creates none, since the
// bucket would stay behind.
func (a *Activities) EnsureTargetBucket(ctx context.Context, run migration.Run) error {
	_, err := perform(ctx, a, "checking the OSS bucket", func(ctx context.Context, _ *pulse) (none, error) {
		found, err := a.buckets.target(ctx, run)
		if err != nil {
			return none{}, err
		}
		if !found.exists && run.Plan.Target.Repository.CreateBucket && !run.Plan.Rehearsal {
			if err := a.buckets.createTarget(ctx, run); err != nil {
				return none{}, err
			}
			if found, err = a.buckets.target(ctx, run); err != nil {
				return none{}, err
			}
		}
		switch {
		case !found.exists:
			return none{}, fail(migration.ErrorMissing, "%s", found.problem(run))
		case found.problem(run) != "":
			return none{}, fail(migration.ErrorRefused, "%s", found.problem(run))
		}
		return none{}, nil
	})
	return err
}

// whenFree repeats a call as long as another snapshot or restore is in its way, and shows that in
// the progress.
func (a *Activities) whenFree(ctx context.Context, p *pulse, call func() error) error {
	pace := a.slotPace()
	for {
		err := call()
		if elastic.KindOf(err) != elastic.SlotTaken {
			p.update(func(progress *migration.Progress) { progress.Waiting = "" })
			return err
		}
		p.update(func(progress *migration.Progress) { progress.Waiting = err.Error() })
		if err := a.wait(ctx, &pace); err != nil {
			return err
		}
	}
}
