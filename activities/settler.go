package activities

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// settler changes settings of many indices, so that one index which the cluster refuses holds none
// of the others.
type settler struct {
	client *elastic.Client
	// archived says that archived settings can be removed: on 6.0 and later.
	archived atomic.Bool
	// last says that an answer without a known meaning counts as a refusal: there were enough
	// attempts.
	last bool

	refused  map[string]error
	failures []error
}

func newSettler(ctx context.Context, client *elastic.Client) (*settler, error) {
	version, err := client.Version(ctx)
	s := &settler{
		client: client, refused: map[string]error{}, last: activity.GetInfo(ctx).Attempt >= attemptsOnInternal,
	}
	s.archived.Store(version.Major >= 6)
	return s, err
}

// accepted are those of the indices that were not refused.
func (s *settler) accepted(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return s.refused[name] != nil })
}

// put changes settings of indices. Of several refusals of an index, the first one is kept.
func (s *settler) put(ctx context.Context, names []string, settings map[string]any) {
	refused, trouble := inTurn(names, func(batch []string) error {
		err := s.client.PutIndexSettings(ctx, batch, settings)
		if _, named := settings[allArchived]; named && err != nil && settingIn(err) == "index."+allArchived {
			// It takes the name for that of an ordinary setting.
			s.archived.Store(false)
			without := maps.Clone(settings)
			delete(without, allArchived)
			err = s.client.PutIndexSettings(ctx, batch, without)
		}
		return err
	})
	for name, err := range refused {
		switch {
		case !s.last && !permanent(err):
			s.failures = append(s.failures, err)
		case s.refused[name] == nil:
			s.refused[name] = err
		}
	}
	s.failures = append(s.failures, trouble...)
}

// withArchived adds the removal of archived settings, where that is possible and needed.
func (s *settler) withArchived(settings map[string]any, indices []elastic.Index) map[string]any {
	needed := slices.ContainsFunc(indices, func(i elastic.Index) bool { return len(archivedIn(i.Settings)) > 0 })
	if !s.archived.Load() || !needed {
		return settings
	}
	settings = maps.Clone(settings)
	settings[allArchived] = nil
	return settings
}

// failed is the error that a retry may fix, if there is one, else one that ends the activity.
func (s *settler) failed() error { return retryableFirst(s.failures) }

// settingIn is the setting that a cluster's refusal names; empty if it names none.
func settingIn(err error) string {
	if found := unknownSetting.FindStringSubmatch(err.Error()); found != nil {
		return found[1]
	}
	if overShardLimit(err) {
		return numberOfReplicas
	}
	return elastic.SettingOf(err)
}

// unknownSetting finds archived settings and patterns, too, which have no name of an index setting.
var unknownSetting = regexp.MustCompile(`unknown setting \[([^\]]+)\]`)

// overShardLimit reports whether the cluster allows no more shards.
func overShardLimit(err error) bool {
	return strings.Contains(err.Error(), "maximum") && strings.Contains(err.Error(), "shards open")
}

func refusalOf(index string, err error, remedy string) migration.Refusal {
	return migration.Refusal{
		Index: index, Setting: settingIn(err), Message: human.Shorten(messageOf(err), longestRefusal), Remedy: remedy,
	}
}
