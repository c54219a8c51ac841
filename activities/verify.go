package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// VerifyTarget proves that the target holds what the frozen source holds: the same number of
// documents in each shard and in each index and, unless the plan says otherwise, the same checksum
// over type, id, routing and version of every document. Differences of settings, mappings and
// aliases are reported and decide nothing.
//
// In a rehearsal the source isn't frozen, so no difference decides anything. VerifyTarget then
// compares with what the source holds at the start.
func (a *Activities) VerifyTarget(ctx context.Context, in migration.VerifyRequest) (migration.VerifyResult, error) {
	return perform(ctx, a, "comparing the target with the source",
		func(ctx context.Context, p *pulse) (migration.VerifyResult, error) {
			v := verifying{in: in, pulse: p}
			var err error
			if v.from, err = a.cluster(ctx, onSource, in.Run); err != nil {
				return migration.VerifyResult{}, err
			}
			if v.to, err = a.cluster(ctx, onTarget, in.Run); err != nil {
				return migration.VerifyResult{}, err
			}
			result, err := v.run(ctx)
			if err != nil {
				return migration.VerifyResult{}, err
			}
			if message := unequal(result); message != "" && !in.Plan.Rehearsal {
				return migration.VerifyResult{}, failWith(migration.ErrorVerification, boundedResult(result),
					"compare %s with %s: %s", v.to.Host(), v.from.Host(), message)
			}
			return result, nil
		})
}

// verifying is one comparison.
type verifying struct {
	in       migration.VerifyRequest
	pulse    *pulse
	from, to *elastic.Client

	restored migration.ShardDocs
	// written says by index, in words, what is not as the last restore left it.
	written     map[string]string
	ignoreTypes bool         // only one of the clusters shows types
	oldStrings  bool         // the source is 2.x
	read        atomic.Int64 // documents, on both clusters
}

// indicesAtOnce bounds the scans on each cluster. Each scan reads several shards of an index at the
// same time already.
const indicesAtOnce = 2

func (v *verifying) run(ctx context.Context) (migration.VerifyResult, error) {
	names := migration.IndexNames(v.in.Indices)
	onTarget := targetNames(v.in.Run, names)
	if err := v.to.Refresh(ctx, onTarget); err != nil {
		return migration.VerifyResult{}, err
	}
	restored, err := shardDocs(ctx, v.to, onTarget)
	if err != nil {
		return migration.VerifyResult{}, err
	}
	written, err := changedSince(ctx, v.to, onTarget, targetCounters(v.in.Run, v.in.Counters), comparison{block: true})
	if err != nil {
		return migration.VerifyResult{}, err
	}
	v.restored, v.written = renamed(restored, v.in.SourceIndex), renamed(written, v.in.SourceIndex)
	if v.in.Plan.Rehearsal {
		// As AwaitStandstill does: a snapshot holds documents that a search may not find yet.
		if err := v.from.Refresh(ctx, names); err != nil {
			return migration.VerifyResult{}, err
		}
		if v.in.Frozen, err = shardDocs(ctx, v.from, names); err != nil {
			return migration.VerifyResult{}, err
		}
	}
	fromVersion, err := v.from.Version(ctx)
	if err != nil {
		return migration.VerifyResult{}, err
	}
	toVersion, err := v.to.Version(ctx)
	if err != nil {
		return migration.VerifyResult{}, err
	}
	// 7.x shows every type as _doc.
	v.ignoreTypes = (fromVersion.Major < 7) != (toVersion.Major < 7)
	v.oldStrings = fromVersion.Major < 5

	results := make([]migration.IndexResult, len(v.in.Indices))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(indicesAtOnce + 1) // and the metadata
	var differences map[string][]string
	group.Go(func() (err error) {
		differences, err = v.metadata(groupCtx, names)
		return err
	})
	for i, index := range v.in.Indices {
		group.Go(func() (err error) {
			results[i], err = v.index(groupCtx, index)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return migration.VerifyResult{}, err
	}
	for i := range results {
		results[i].Differences = few(append(results[i].Differences, differences[results[i].Name]...))
	}
	if v.in.Plan.Rehearsal {
		return rehearsedResult(results, differences), nil
	}
	return migration.VerifyResult{Indices: results}, nil
}

// rehearsedResult lists differences of settings and mappings apart: the source goes on changing, so
// all else may differ. It lists them for the first indices only, since in a rehearsal all may
// differ.
func rehearsedResult(results []migration.IndexResult, metadata map[string][]string) migration.VerifyResult {
	result := migration.VerifyResult{Indices: results, Metadata: map[string][]string{}}
	told := 0
	for i, index := range results {
		switch {
		case len(index.Differences) == 0:
		case told == mostUnequal:
			results[i].Differences = nil
		default:
			told++
			if found := metadata[index.Name]; len(found) > 0 {
				result.Metadata[index.Name] = few(found)
			}
		}
	}
	return result
}

// index compares the documents of one index.
func (v *verifying) index(ctx context.Context, index migration.Index) (migration.IndexResult, error) {
	result := migration.IndexResult{Name: index.Name, Equal: true}
	differs := func(format string, args ...any) {
		result.Equal = false
		result.Differences = append(result.Differences, fmt.Sprintf(format, args...))
	}
	// A document that was overwritten leaves every count as it was.
	if change := v.written[index.Name]; change != "" {
		differs("somebody may have written to the target since the last restore: %s", change)
	}
	frozen, restored := v.in.Frozen[index.Name], v.restored[index.Name]
	switch {
	case len(frozen) == 0:
		differs("the source's documents were not counted in the freeze")
	case len(frozen) != len(restored):
		differs("it has %d shards on the source and %d on the target", len(frozen), len(restored))
	default:
		for shard := range frozen {
			if frozen[shard] != restored[shard] {
				differs("shard %d has %d documents on the source and %d on the target", shard, frozen[shard],
					restored[shard])
			}
		}
	}
	err := both(ctx, v.from, v.to, &result.SourceDocs, &result.TargetDocs,
		func(ctx context.Context, client *elastic.Client) (int64, error) {
			return client.Count(ctx, v.at(client, index.Name)[0])
		})
	if err != nil {
		return result, err
	}
	if result.SourceDocs != result.TargetDocs {
		differs("a search finds %d documents on the source and %d on the target", result.SourceDocs, result.TargetDocs)
	}
	if v.in.Plan.Verify.Checksum == migration.ChecksumNone {
		return result, nil
	}
	var source, target elastic.Checksum
	if err := both(ctx, v.from, v.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) (elastic.Checksum, error) {
			return v.checksum(ctx, client, index.Name)
		}); err != nil {
		return result, err
	}
	result.Checksum = hex(source)
	if source != target {
		differs("the checksum over type, id, routing and version is %s on the source (%d documents) and %s "+
			"on the target (%d documents)", hex(source), source.Docs, hex(target), target.Docs)
	}
	return result, nil
}

// checksum reads an index on one cluster and reports the number of documents read so far.
func (v *verifying) checksum(ctx context.Context, client *elastic.Client, index string) (elastic.Checksum, error) {
	var counted int64
	return client.Checksum(ctx, v.at(client, index)[0], elastic.ChecksumOptions{
		IgnoreTypes: v.ignoreTypes,
		Progress: func(docs int64) { // one call at a time
			done := v.read.Add(docs - counted)
			counted = docs
			v.pulse.set(migration.Progress{
				Doing: "comparing the target with the source", DocsDone: done,
				DocsTotal: 2 * v.docs(),
			})
		},
	})
}

// at are the names that indices have on one of the clusters.
func (v *verifying) at(client *elastic.Client, names ...string) []string {
	if client == v.to {
		return targetNames(v.in.Run, names)
	}
	return names
}

func (v *verifying) docs() int64 {
	var total int64
	for _, shards := range v.in.Frozen {
		for _, docs := range shards {
			total += docs
		}
	}
	return total
}

func hex(sum elastic.Checksum) string { return fmt.Sprintf("%016x%016x", sum.Sum, sum.Xor) }

// both asks the two clusters the same question at the same time.
func both[T any](ctx context.Context, from, to *elastic.Client, source, target *T,
	ask func(context.Context, *elastic.Client) (T, error),
) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { *source, err = ask(ctx, from); return err })
	group.Go(func() (err error) { *target, err = ask(ctx, to); return err })
	return group.Wait()
}

// The result of an activity must fit into a payload, however many indices and shards differ.
const (
	mostDifferences = 10  // of an index
	mostUnequal     = 100 // indices in the details of an error
)

func few(differences []string) []string {
	if len(differences) <= mostDifferences {
		return differences
	}
	return append(differences[:mostDifferences-1:mostDifferences-1],
		fmt.Sprintf("%d more differences", len(differences)-mostDifferences+1))
}

// boundedResult leaves out unequal indices beyond the first ones, and differences that decide
// nothing.
func boundedResult(result migration.VerifyResult) migration.VerifyResult {
	bounded, unequal := migration.VerifyResult{}, 0
	for _, index := range result.Indices {
		if index.Equal {
			index.Differences = nil
		} else if unequal++; unequal > mostUnequal {
			continue
		}
		bounded.Indices = append(bounded.Indices, index)
	}
	return bounded
}

// unequal names the indices that differ, with the first difference of each; it is empty if none
// does.
func unequal(result migration.VerifyResult) string {
	var texts []string
	for _, index := range result.Indices {
		if !index.Equal {
			texts = append(texts, fmt.Sprintf("index %s is not equal: %s", index.Name, index.Differences[0]))
		}
	}
	return named("", texts)
}

// metadata compares settings, mappings and aliases, and returns the differences by index, in words.
func (v *verifying) metadata(ctx context.Context, names []string) (map[string][]string, error) {
	differences := map[string][]string{}
	var sourceSettings, targetSettings map[string]map[string]string
	if err := both(ctx, v.from, v.to, &sourceSettings, &targetSettings,
		func(ctx context.Context, client *elastic.Client) (map[string]map[string]string, error) {
			settings, err := client.IndexSettings(ctx, v.at(client, names...))
			return renamed(settings, v.in.SourceIndex), err
		}); err != nil {
		return nil, err
	}
	var sourceMappings, targetMappings map[string]elastic.Mapping
	if err := both(ctx, v.from, v.to, &sourceMappings, &targetMappings,
		func(ctx context.Context, client *elastic.Client) (map[string]elastic.Mapping, error) {
			mappings, err := client.Mappings(ctx, v.at(client, names...))
			return renamed(mappings, v.in.SourceIndex), err
		}); err != nil {
		return nil, err
	}
	for _, name := range names {
		found := v.settings(sourceSettings[name], targetSettings[name])
		if !equalJSON(v.mapping(sourceMappings[name]), v.mapping(targetMappings[name])) {
			found = append(found, "the mappings differ")
		}
		differences[name] = found
	}
	if !v.in.Plan.RestoresAliases() {
		return differences, nil
	}
	var sourceAliases, targetAliases map[string]aliasDefinitions
	if err := both(ctx, v.from, v.to, &sourceAliases, &targetAliases,
		func(ctx context.Context, client *elastic.Client) (map[string]aliasDefinitions, error) {
			return client.Aliases(ctx, names)
		}); err != nil {
		return nil, err
	}
	for _, name := range names {
		differences[name] = append(differences[name], aliasesDiffer(sourceAliases[name], targetAliases[name])...)
	}
	return differences, nil
}

// ownOfEachCluster are settings that differ between any two clusters, or that snapferry sets on the
// target until the cutover.
var ownOfEachCluster = []string{
	"index.uuid", "index.provided_name", "index.creation_date", "index.version.*", "index.blocks.*", "index.routing.*",
	"index.number_of_replicas", "index.auto_expand_replicas", "index.history.*", "index.history_uuid", "index.resize.*",
	"index.shrink.*",
	"index.verified_before_close",
}

// settings compares the settings that a restore should take over.
func (v *verifying) settings(source, target map[string]string) []string {
	ignored := slices.Concat(ownOfEachCluster, notRestored(v.in.Plan, nil)) // the report names these
	var different []string
	all := maps.Clone(source)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, target)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if slices.ContainsFunc(ignored, func(pattern string) bool { return matches(pattern, name) }) {
			continue
		}
		from, onFrom := source[name]
		to, onTo := target[name]
		switch {
		case onFrom && !onTo:
			different = append(different, fmt.Sprintf("setting %s is %q on the source and not set on the target", name,
				from))
		case onTo && !onFrom:
			different = append(different, fmt.Sprintf("setting %s is %q on the target and not set on the source", name,
				to))
		case from != to:
			different = append(different, fmt.Sprintf("setting %s is %q on the source and %q on the target", name, from,
				to))
		}
	}
	if len(different) > mostNamed {
		different = append(different[:mostNamed:mostNamed],
			fmt.Sprintf("%d more settings differ", len(different)-mostNamed))
	}
	return different
}

// matches reports whether a name matches a pattern in which * stands for any characters.
func matches(pattern, name string) bool { return elastic.Matches(pattern, name) }
