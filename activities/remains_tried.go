package activities

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// lookForTried finds the throw-away indices on which runs of the plan tried definitions (see
// definitions.go). A worker that dies in that moment leaves one, and only the same run would delete
// it.
func (l *search) lookForTried(ctx context.Context, client *elastic.Client) error {
	prefix := migration.Run{Plan: l.request.Plan}.TriedIndex()
	present, err := l.matching(ctx, client, migration.IndexSelection{Patterns: []string{prefix + "*"}})
	if err != nil {
		return err
	}
	maps.DeleteFunc(present, func(name string, _ elastic.Index) bool {
		token, own := strings.CutPrefix(name, prefix)
		return !own || !migration.TokenPattern.MatchString(token) // another plan's, whose name begins with this one's
	})
	indices := slices.SortedFunc(maps.Values(present), byName)
	if err := client.Measure(ctx, indices); err != nil {
		return err
	}
	for _, index := range indices {
		name, token := index.Name, strings.TrimPrefix(index.Name, prefix)
		found := remnant{
			kind: migration.RemainsIndices, where: "target " + client.Host(), name: name, token: token,
			at: onTarget, uuid: index.UUID, run: migration.Run{Plan: l.request.Plan, Token: token}, tried: true,
			bytes: index.PrimaryBytes, origin: migration.OriginOurs,
			why: "a run of this plan tried definitions on them: they have its name, and are empty",
		}
		if !isThrowAway(index) {
			found.origin, found.stays = migration.OriginKept, true
			found.why = "they have the name of a throw-away index of this plan, but somebody uses them: they are not " +
				"as snapferry creates them, or not empty"
		}
		l.found = append(l.found, found)
	}
	return nil
}

func byName(a, b elastic.Index) int { return strings.Compare(a.Name, b.Name) }

// isThrowAway tells whether an index is as snapferry creates it to try a definition, and nobody has
// written to it. It must have been measured. Documents count only after a refresh, operations at once.
func isThrowAway(index elastic.Index) bool {
	return index.Open && index.Shards == 1 && index.Replicas == 0 && index.PrimaryDocs == 0 &&
		index.PrimaryWrites == 0 && !forbidden(index.Blocks)
}
