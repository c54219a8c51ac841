package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// Preflight checks whether the plan can be executed, and changes nothing. It collects every problem
// before it fails, so that a person can fix them all at once. A failure that a retry may fix, such
// as a cluster that doesn't answer, first ends the attempt early. After some attempts it counts as
// a problem, since a mistyped endpoint looks the same.
func (a *Activities) Preflight(ctx context.Context, run migration.Run) (migration.PreflightResult, error) {
	return perform(ctx, a, "checking clusters, buckets, versions and indices",
		func(ctx context.Context, p *pulse) (migration.PreflightResult, error) {
			check := preflight{Activities: a, run: run, patient: activity.GetInfo(ctx).Attempt < attemptsOnSilence}
			return check.everything(ctx, p)
		})
}

// attemptsOnSilence is how often a cluster or bucket may fail to answer before a person is asked
// whether the plan names the right one.
const attemptsOnSilence = 5

// preflight is one check of a plan.
type preflight struct {
	*Activities
	run     migration.Run
	patient bool

	from, to         *elastic.Client
	source, target   elastic.Info
	indices          []elastic.Index
	notHot           *migration.NotHot
	onSource         map[string]map[string]json.RawMessage // aliases of the source, by index
	problems         []string
	warnings         []string
	ofMigration      []string // problems that a rehearsal doesn't have, but its migration would
	createsBucket    bool     // the migration will make the bucket in OSS
	refusals, absent int      // problems with credentials, with secrets
}

func (f *preflight) everything(ctx context.Context, p *pulse) (migration.PreflightResult, error) {
	if err := f.secrets(ctx); err != nil {
		return migration.PreflightResult{}, err
	}
	for _, step := range f.steps() {
		p.set(migration.Progress{Doing: step.doing})
		if err := f.collect(step.check(ctx)); err != nil {
			return migration.PreflightResult{}, err
		}
	}
	if len(f.problems) > 0 {
		return migration.PreflightResult{}, fail(f.verdict(), "preflight found problems:\n- %s",
			bounded(f.problems, "\n- "))
	}
	found := f.lists.listed(described(f.indices))
	found.NotHot = f.notHot
	return migration.PreflightResult{
		SourceVersion: f.source.Version.String(), TargetVersion: f.target.Version.String(),
		Indices: found, Warnings: atMost(f.warnings), Problems: atMost(f.ofMigration),
	}, nil
}

// preflightStep is one of its checks. The area is its name for people.
type preflightStep struct {
	area, doing string
	check       func(context.Context) error
}

// steps are the checks after that of the secrets, in their order: some need what others have found.
func (f *preflight) steps() []preflightStep {
	return []preflightStep{
		{"Clusters and versions", "asking the clusters", f.clusters},
		{"Buckets", "checking the buckets", f.bothBuckets},
		{"Indices on the source", "checking the source's indices", f.sourceIndices},
		{"Policies and templates", "looking for what makes indices on the source", f.makers},
		{"Names on the target", "checking the target's indices", f.targetIndices},
		{"Aliases", "comparing aliases", f.aliases},
		{"Write indices", "comparing write indices", f.writeIndices},
		{"Ingest pipelines", "looking for pipelines", f.dependencies},
		{"Disks of the target", "checking the target's disks", f.disks},
		{"Shard limit of the target", "checking the target's shard limit", f.shards},
		{"Settings of the indices", "checking the indices' settings", f.indexSettings},
	}
}

// verdict is the type of the error. A missing secret hides other problems, and so do wrong
// credentials, so these come first, in this order.
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

// problemOfMigration is a problem, unless this is a rehearsal: with its throw-away names a
// rehearsal doesn't have it.
func (f *preflight) problemOfMigration(format string, args ...any) {
	if !f.run.Plan.Rehearsal {
		f.problem(format, args...)
		return
	}
	f.ofMigration = append(f.ofMigration, fmt.Sprintf(format, args...))
}

// collect makes a problem of an error that no retry can fix, and returns any other error.
func (f *preflight) collect(err error) error {
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

// secrets reads every secret of the plan once, so that a missing one is noticed now and not hours
// later, within the frozen window. It also looks at the endpoints, and at secrets in the plan
// itself.
func (f *preflight) secrets(ctx context.Context) error {
	for _, problem := range f.run.Plan.Exposed() {
		f.problem("%s", problem)
	}
	for _, r := range f.run.Plan.References() {
		if _, err := f.keys.secret(ctx, r.Field, r.Ref); err != nil {
			if err := f.collect(err); err != nil {
				return err
			}
		}
	}
	for _, e := range f.run.Plan.Endpoints() {
		_ = f.collect(f.keys.endpoint(e.Field, e.URL)) // always permanent
	}
	return nil
}

// clusters connects to both clusters and compares their versions. The client of a cluster that
// doesn't answer stays nil, and checks that need it are left out.
func (f *preflight) clusters(ctx context.Context) error {
	for _, at := range []side{onSource, onTarget} {
		client, err := f.cluster(ctx, at, f.run)
		var info elastic.Info
		if err == nil {
			info, err = client.Info(ctx)
		}
		if err != nil {
			if err := f.collect(err); err != nil {
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
	} else if warning := untried(f.target.Version); warning != "" {
		f.warnings = append(f.warnings, warning)
	}
	if strings.HasPrefix(f.run.RepositoryName(), "cs-") {
		f.problem("repository name %s: Amazon reserves names that begin with cs-; choose another name",
			f.run.RepositoryName())
	}
	return nil
}

func (f *preflight) bothBuckets(ctx context.Context) error {
	from, err := f.buckets.source(ctx, f.run)
	if err := f.collect(f.bucket("S3", f.run.Plan.Source.Repository.Bucket, err)); err != nil {
		return err
	}
	if problem := from.problem(f.run); err == nil && problem != "" {
		f.problem("%s", problem)
	}
	to, err := f.buckets.target(ctx, f.run)
	if err := f.collect(f.bucket("OSS", f.run.Plan.Target.Repository.Bucket, err)); err != nil {
		return err
	}
	f.createsBucket = err == nil && !to.exists && f.run.Plan.Target.Repository.CreateBucket && !f.run.Plan.Rehearsal
	if problem := to.problem(f.run); err == nil && problem != "" && !f.createsBucket {
		f.problem("%s", problem)
	}
	f.warnings = append(f.warnings, to.warnings(f.run)...)
	return nil
}

// bucket adds the service to a refusal: those of S3 and OSS look the same.
func (f *preflight) bucket(service, name string, err error) error {
	if objectstore.KindOf(err) == objectstore.Forbidden {
		return fail(migration.ErrorUnauthorized, "read %s bucket %s: %w", service, name, err)
	}
	return err
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
			f.problemOfMigration("index %s exists on the target already, and the restore would overwrite it: delete "+
				"it there if nobody needs it", name)
		}
	}
	for _, name := range aliases {
		f.problemOfMigration("%s is an alias on the target, so no index of that name can be restored: remove the alias",
			name)
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
			f.problem("index %s can't be rehearsed: its throw-away name %s is longer than "+
				"Elasticsearch's limit of %d bytes; "+
				"leave the index out of the rehearsal", name, renamed, migration.LongestIndexName)
			continue
		}
		possible = append(possible, renamed)
	}
	found, aliases, err := existing(ctx, f.to, possible)
	if err != nil {
		return err
	}
	for _, taken := range append(slices.Sorted(maps.Keys(found)), aliases...) {
		f.problem("the throw-away name %s is taken on the target: start the "+
			"rehearsal again, it then uses other names", taken)
	}
	return nil
}

// disks compares the room on the target with the size of the indices. Replicas during the migration
// count; replicas after the cutover only cause a warning.
func (f *preflight) disks(ctx context.Context) error {
	if f.to == nil || len(f.indices) == 0 {
		return nil
	}
	disk, err := f.to.DiskFree(ctx)
	if err != nil {
		return err
	}
	if !disk.Known {
		f.warnings = append(f.warnings, "the target doesn't tell how much room its disks have: check that the "+
			"indices fit")
		return nil
	}
	var during, after int64
	for _, index := range f.indices {
		during += index.PrimaryBytes * int64(1+f.run.Plan.Restore.Replicas)
		after += index.PrimaryBytes * int64(1+index.Replicas)
	}
	mark, err := f.watermark(ctx, disk)
	if err != nil {
		return err
	}
	f.fullDisks(disk, mark)
	switch usable := mark.Room(disk); {
	case during > disk.SumAvailable:
		f.problem("the target's disks have %s left, and the indices need %s: add disks or nodes",
			human.Size(disk.SumAvailable), human.Size(during))
	case during > usable:
		f.warnings = append(f.warnings, fmt.Sprintf("the indices (%s) fill the target's disks (%s left) beyond what "+
			"%s (%s) allows, where Elasticsearch stops to allocate shards", human.Size(during),
			human.Size(disk.SumAvailable), watermarkSetting, mark.Low))
	case after > disk.SumAvailable:
		f.warnings = append(f.warnings, fmt.Sprintf("cutover sets the source's number of replicas. With these, the "+
			"indices need %s, and the target's disks have %s left", human.Size(after), human.Size(disk.SumAvailable)))
	case after > usable:
		f.warnings = append(f.warnings, fmt.Sprintf("cutover sets the source's number of replicas. With these, the "+
			"indices (%s) fill the target's disks (%s left) beyond what %s (%s) allows", human.Size(after),
			human.Size(disk.SumAvailable), watermarkSetting, mark.Low))
	}
	return nil
}

const watermarkSetting = "cluster.routing.allocation.disk.watermark.low"

// watermark is the one by which the target allocates shards. A cluster of one data node looks at no
// disk, before 8.0.
func (f *preflight) watermark(ctx context.Context, disk elastic.Disk) (elastic.Watermark, error) {
	if disk.Nodes == 1 && f.target.Version.Major < 8 {
		return elastic.Watermark{}, nil
	}
	return f.to.LowWatermark(ctx)
}

// fullDisks makes sure that the target's data nodes take shards.
func (f *preflight) fullDisks(disk elastic.Disk, mark elastic.Watermark) {
	switch full := mark.Full(disk); {
	case full == 0:
	case full == disk.Nodes:
		f.problem("the disks of all data nodes of the target (%d) are fuller than %s (%s) allows, so the target "+
			"restores no shard: add disks or nodes, or free room", disk.Nodes, watermarkSetting, mark.Low)
	default:
		f.warnings = append(f.warnings, fmt.Sprintf("the disks of %d of the target's %d data nodes are fuller than %s "+
			"(%s) allows, so these get no shards", full, disk.Nodes, watermarkSetting, mark.Low))
	}
}
