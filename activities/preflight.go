package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// Preflight finds out, without changing anything, whether the plan can be
// carried out. It collects every problem before it fails, so that a person
// mends them all at once. A failure that passes by itself, such as a cluster
// that doesn't answer, ends it early at first; after some attempts it counts as
// a problem, since a mistyped endpoint looks just like that.
func (a *Activities) Preflight(ctx context.Context, run migration.Run) (migration.PreflightResult, error) {
	return perform(ctx, a, "checking clusters, buckets, versions and indices", func(ctx context.Context, p *pulse) (migration.PreflightResult, error) {
		check := preflight{Activities: a, run: run, patient: activity.GetInfo(ctx).Attempt < attemptsOnSilence}
		return check.everything(ctx, p)
	})
}

// attemptsOnSilence is how often a cluster or bucket may stay silent before a
// person is asked whether the plan names the right one.
const attemptsOnSilence = 5

// preflight is one check of a plan.
type preflight struct {
	*Activities
	run     migration.Run
	patient bool

	from, to         *elastic.Client
	source, target   elastic.Info
	indices          []elastic.Index
	problems         []string
	warnings         []string
	forgiven         []string // problems that only a migration would have
	refusals, absent int      // problems with credentials, with secrets
}

func (f *preflight) everything(ctx context.Context, p *pulse) (migration.PreflightResult, error) {
	f.secrets()
	for _, step := range []struct {
		doing string
		check func(context.Context) error
	}{
		{"asking the clusters", f.clusters},
		{"looking at the buckets", f.bothBuckets},
		{"looking at the source's indices", f.sourceIndices},
		{"looking at the target's indices", f.targetIndices},
		{"comparing aliases", f.aliases},
		{"looking at the target's disks", f.disks},
	} {
		p.set(migration.Progress{Doing: step.doing})
		if err := f.note(step.check(ctx)); err != nil {
			return migration.PreflightResult{}, err
		}
	}
	if len(f.problems) > 0 {
		return migration.PreflightResult{}, fail(f.verdict(), "preflight found what keeps the plan from being carried out:\n- %s", strings.Join(f.problems, "\n- "))
	}
	return migration.PreflightResult{
		SourceVersion: f.source.Version.String(), TargetVersion: f.target.Version.String(),
		Indices: described(f.indices), Warnings: f.warnings, Problems: f.forgiven,
	}, nil
}

// verdict is the type of the error. What a worker lacks hides the rest, and what
// credentials hide may be wrong too, so they come first in this order.
func (f *preflight) verdict() migration.ErrorType {
	switch {
	case f.absent > 0:
		return migration.ErrorSecret
	case f.refusals > 0:
		return migration.ErrorUnauthorized
	}
	return migration.ErrorPreflight
}

func (f *preflight) problem(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(f.problems, text) {
		f.problems = append(f.problems, text)
	}
}

// problemOfMigration is a problem, unless this is a rehearsal: on its throw-away
// names it gets on all the same.
func (f *preflight) problemOfMigration(format string, args ...any) {
	if !f.run.Plan.Rehearsal {
		f.problem(format, args...)
		return
	}
	f.forgiven = append(f.forgiven, fmt.Sprintf(format, args...))
}

// note turns what a retry can't mend into a problem and gives the rest back.
func (f *preflight) note(err error) error {
	if err == nil || !permanent(err) && (f.patient || canceled(err)) {
		return err
	}
	before := len(f.problems)
	f.problem("%s", messageOf(err))
	if len(f.problems) > before {
		switch typeOf(err) {
		case migration.ErrorUnauthorized:
			f.refusals++
		case migration.ErrorSecret:
			f.absent++
		}
	}
	return nil
}

// secrets reads every secret of the plan once, so that none turns out to be
// missing hours later, within the frozen window.
func (f *preflight) secrets() {
	plan := f.run.Plan
	references := []migration.SecretRef{
		plan.Source.Auth.Password, plan.Target.Auth.Password,
		plan.Target.Repository.AccessKeyID, plan.Target.Repository.SecretAccessKey,
		plan.Target.Repository.Writer.AccessKeyID, plan.Target.Repository.Writer.AccessKeySecret, plan.Target.Repository.Writer.SecurityToken,
		plan.Cutover.Webhook.Authorization,
	}
	if _, err := webhookURL(plan.Cutover.Webhook); err != nil {
		_ = f.note(err) // always permanent
	}
	for _, reference := range references {
		if reference == "" {
			continue
		}
		if _, err := resolveSecret(reference); err != nil {
			_ = f.note(err) // always permanent
		}
	}
}

// clusters connects to both and compares their versions. One that can't be
// asked stays nil, and what needs it is left out.
func (f *preflight) clusters(ctx context.Context) error {
	for _, at := range []side{onSource, onTarget} {
		client, err := f.cluster(ctx, at, f.run)
		var info elastic.Info
		if err == nil {
			info, err = client.Info(ctx)
		}
		if err != nil {
			if err := f.note(err); err != nil {
				return err
			}
			continue
		}
		if at == onSource {
			f.from, f.source = client, info
		} else {
			f.to, f.target = client, info
		}
	}
	if f.from == nil || f.to == nil {
		return nil
	}
	if problem := versionProblem(f.source, f.target); problem != "" {
		f.problem("%s", problem)
	} else if f.target.Version.Major > 7 {
		f.warnings = append(f.warnings, fmt.Sprintf("the target runs %s: snapferry knows Alibaba Cloud Elasticsearch up to 7.17", f.target.Version))
	}
	if strings.HasPrefix(f.run.RepositoryName(), "cs-") {
		f.problem("repository name %s: names that begin with cs- are Amazon's own", f.run.RepositoryName())
	}
	return nil
}

func (f *preflight) bothBuckets(ctx context.Context) error {
	from, err := f.buckets.source(ctx, f.run)
	if err := f.note(f.bucket("S3", f.run.Plan.Source.Repository.Bucket, err)); err != nil {
		return err
	}
	if problem := from.problem(f.run); err == nil && problem != "" {
		f.problem("%s", problem)
	}
	to, err := f.buckets.target(ctx, f.run)
	if err := f.note(f.bucket("OSS", f.run.Plan.Target.Repository.Bucket, err)); err != nil {
		return err
	}
	willBeCreated := !to.exists && f.run.Plan.Target.Repository.CreateBucket && !f.run.Plan.Rehearsal
	if problem := to.problem(f.run); err == nil && problem != "" && !willBeCreated {
		f.problem("%s", problem)
	}
	return nil
}

// bucket says whose bucket it was; S3 and OSS answer alike.
func (f *preflight) bucket(service, name string, err error) error {
	if objectstore.KindOf(err) == objectstore.Forbidden {
		return fail(migration.ErrorUnauthorized, "look at %s bucket %s: %w", service, name, err)
	}
	return err
}

func (f *preflight) sourceIndices(ctx context.Context) error {
	if f.from == nil {
		return nil
	}
	found, problems, err := resolve(ctx, f.from, f.run.Plan.Indices)
	if err != nil {
		return err
	}
	f.indices = found
	for _, problem := range problems {
		f.problem("%s on the source", problem)
	}
	if len(found) == 0 {
		return nil
	}
	var open []string
	for _, index := range found {
		if !index.Open {
			f.problem("index %s is closed on the source: a snapshot of it fails, and nobody writes to it; open it, or leave it out", index.Name)
			continue
		}
		open = append(open, index.Name)
		if strings.HasPrefix(index.Name, ".") {
			f.warnings = append(f.warnings, fmt.Sprintf("index %s belongs to Elasticsearch or to a plugin, which may make its own on the target or refuse the source's: leave it out unless you know that the target's version can use it", index.Name))
		}
		if f.to == nil {
			continue
		}
		if problem := createdProblem(index.Name, index.CreatedVersion, f.target.Version); problem != "" {
			f.problem("%s", problem)
		}
	}
	if len(open) == 0 {
		return nil
	}
	health, err := f.from.Health(ctx, open)
	if err != nil {
		return err
	}
	for _, name := range open {
		if health.Indices[name] == "red" {
			f.problem("index %s is red on the source: a primary is missing, so no snapshot of it can be whole", name)
		}
	}
	return f.types(ctx, open)
}

// types warns of several mapping types in one index.
func (f *preflight) types(ctx context.Context, open []string) error {
	if f.source.Version.Major > 5 || f.to == nil {
		return nil
	}
	mappings, err := f.from.Mappings(ctx, open)
	if err != nil {
		return err
	}
	for _, name := range open {
		if types := mappings[name].Types; len(types) > 1 && f.target.Version.Major >= 6 {
			f.warnings = append(f.warnings, fmt.Sprintf("index %s has %d mapping types (%s): %s restores it, but new indices can't be like it and some features refuse it", name, len(types), strings.Join(types, ", "), f.target.Version))
		}
	}
	return nil
}

// targetIndices makes sure that nothing on the target would be overwritten.
func (f *preflight) targetIndices(ctx context.Context) error {
	if f.to == nil || len(f.indices) == 0 {
		return nil
	}
	names := indexNames(f.indices)
	found, aliases, err := existing(ctx, f.to, names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, there := found[name]; there {
			f.problemOfMigration("index %s exists on the target already: it would have to be closed and overwritten; delete it there if nobody needs it", name)
		}
	}
	for _, name := range aliases {
		f.problemOfMigration("%s is an alias on the target: no index of that name can be restored; remove the alias", name)
	}
	return f.throwAwayNames(ctx, names)
}

// throwAwayNames makes sure that a rehearsal's indices can have their names.
func (f *preflight) throwAwayNames(ctx context.Context, names []string) error {
	if !f.run.Plan.Rehearsal {
		return nil
	}
	var possible []string
	for _, name := range names {
		renamed := f.run.TargetIndex(name)
		if len(renamed) > migration.LongestIndexName {
			f.problem("index %s can't be rehearsed: its throw-away name %s would be longer than %d bytes, Elasticsearch's limit; leave it out of the rehearsal", name, renamed, migration.LongestIndexName)
			continue
		}
		possible = append(possible, renamed)
	}
	found, aliases, err := existing(ctx, f.to, possible)
	if err != nil {
		return err
	}
	for _, taken := range append(slices.Sorted(maps.Keys(found)), aliases...) {
		f.problem("the throw-away name %s is taken on the target; start the rehearsal again, which takes others", taken)
	}
	return nil
}

// aliases compares the source's aliases, which are restored along with their
// indices, with the names on the target. An index named like one of them refuses
// every restore; an alias of that name is made to point to both.
func (f *preflight) aliases(ctx context.Context) error {
	if f.from == nil || f.to == nil || len(f.indices) == 0 || f.run.Plan.Restore.ExcludeAliases {
		return nil
	}
	byIndex, err := f.from.Aliases(ctx, indexNames(f.indices))
	if err != nil {
		return err
	}
	behind := map[string][]string{} // by alias: the source's indices
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		for alias := range byIndex[index] {
			behind[alias] = append(behind[alias], index)
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(behind)) {
		there, err := f.to.Indices(ctx, alias)
		if elastic.KindOf(err) == elastic.Missing {
			continue
		}
		if err != nil {
			return err
		}
		var elsewhere []string
		for _, index := range there {
			switch {
			case index.Name == alias:
				f.problemOfMigration("%s is an alias of %s on the source and an index on the target: no restore with that alias is possible; delete the index %s there, or set restore.excludeAliases",
					alias, strings.Join(behind[alias], ", "), alias)
			case !slices.Contains(behind[alias], index.Name):
				elsewhere = append(elsewhere, index.Name)
			}
		}
		if len(elsewhere) > 0 {
			f.warnings = append(f.warnings, fmt.Sprintf("alias %s points to %s on the target: after the restore it points to %s as well, and searches through it find the documents of both; remove it there, or set restore.excludeAliases",
				alias, strings.Join(elsewhere, ", "), strings.Join(behind[alias], ", ")))
		}
	}
	return nil
}

// Elasticsearch allocates no shards to a node whose disk is fuller than this by
// default (cluster.routing.allocation.disk.watermark.low).
const lowWatermark = 0.85

// disks compares the room on the target with what will be restored. Replicas
// during the migration count, those after it only earn a warning.
func (f *preflight) disks(ctx context.Context) error {
	if f.to == nil || len(f.indices) == 0 {
		return nil
	}
	disk, err := f.to.DiskFree(ctx)
	if err != nil {
		return err
	}
	if !disk.Known {
		f.warnings = append(f.warnings, "the target doesn't tell how much room its disks have: make sure that the indices fit")
		return nil
	}
	var during, after int64
	for _, index := range f.indices {
		during += index.PrimaryBytes * int64(1+f.run.Plan.Restore.Replicas)
		after += index.PrimaryBytes * int64(1+index.Replicas)
	}
	usable := disk.SumAvailable - int64((1-lowWatermark)*float64(disk.SumInTotal))
	switch {
	case during > disk.SumAvailable:
		f.problem("the target's disks have %s left, the indices need %s", size(disk.SumAvailable), size(during))
	case during > usable:
		f.warnings = append(f.warnings, fmt.Sprintf("the indices (%s) fill the target's disks (%s left) beyond %.0f %%, where Elasticsearch stops allocating shards by default", size(during), size(disk.SumAvailable), lowWatermark*100))
	case after > usable:
		f.warnings = append(f.warnings, fmt.Sprintf("with the source's replicas, which cutover sets, the indices (%s) fill the target's disks (%s left) beyond %.0f %%", size(after), size(disk.SumAvailable), lowWatermark*100))
	}
	return nil
}

func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }
