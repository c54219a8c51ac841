package activities

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// CheckPlan looks at everything that can be looked at before a plan is started, and leaves both
// clusters as they were. What it finds is its result, however bad: also a cluster that doesn't answer.
func (a *Activities) CheckPlan(ctx context.Context, run migration.Run) (migration.Checked, error) {
	return perform(ctx, a, "checking the plan", func(ctx context.Context, p *pulse) (migration.Checked, error) {
		c := checking{preflight: preflight{Activities: a, run: run}, pulse: p}
		err := c.everything(ctx)
		return c.result, err
	})
}

// checking is one check.
type checking struct {
	preflight
	pulse  *pulse
	result migration.Checked
	noted  string // what the step under way has looked at
}

func (c *checking) everything(ctx context.Context) error {
	steps := slices.Concat(
		[]preflightStep{{"Secrets and endpoints", "reading the secrets", c.secrets}},
		c.steps(),
		[]preflightStep{
			{"Analysis, mappings, filters", "trying definitions on the target", c.definitions},
			{"Permission to block writes", "setting what is set already", c.mayBlock},
			{"Other snapshots", "looking for other snapshots", c.otherSnapshots},
			{"Throttles", "reading the clusters' throttles", c.pace},
		})
	for _, step := range steps {
		c.pulse.set(migration.Progress{Doing: step.doing})
		c.noted = ""
		problems, warnings := len(c.problems), len(c.warnings)
		if err := c.collect(step.check(ctx)); err != nil {
			return err
		}
		c.result.Areas = append(c.result.Areas, migration.CheckArea{
			Name: step.area, Note: c.noted,
			Problems: atMost(c.problems[problems:]), Warnings: atMost(c.warnings[warnings:]),
		})
	}
	if c.from != nil {
		c.result.SourceVersion = c.source.Version.String()
	}
	if c.to != nil {
		c.result.TargetVersion = c.target.Version.String()
	}
	c.result.NoBucket = c.createsBucket
	return ctx.Err()
}

// sum says what the plan moves. It knows that once the indices were looked for.
func (c *checking) sum() {
	indices := described(c.indices)
	c.result.Indices, c.result.Probe = len(indices), migration.PickProbe(indices)
	for _, index := range indices {
		c.result.Shards += index.Shards
		c.result.Docs += index.Docs
		c.result.Bytes += index.Bytes
	}
}

// note says what was looked at.
func (c *checking) note(format string, args ...any) { c.noted = fmt.Sprintf(format, args...) }

// definitions tries what the indices are made of in a throw-away index.
func (c *checking) definitions(ctx context.Context) error {
	if c.from == nil || c.to == nil {
		c.note("not tried: a cluster doesn't answer")
		return nil
	}
	t := trying{run: c.run, pulse: c.pulse, from: c.from, to: c.to}
	err := t.everything(ctx)
	c.note("%s tried in a throw-away index", human.Things(t.result.Tried, "definition", "definitions"))
	for _, problem := range t.problems {
		c.problem("%s", problem)
	}
	c.warnings = append(c.warnings, t.result.Warnings...)
	return err
}

// priority is a setting that each index may have, that may always be set, and that means nothing until
// a cluster recovers. To set it as it is needs the permission that the write block needs.
const priority = "index.priority"

// mayBlock sets something on the source's indices that is set already.
func (c *checking) mayBlock(ctx context.Context) error {
	if c.from == nil || len(c.indices) == 0 {
		c.note("not tried: no index to try it on")
		return nil
	}
	groups := map[string][]string{}
	for _, index := range c.indices {
		groups[index.Settings[priority]] = append(groups[index.Settings[priority]], index.Name)
	}
	c.note("%s set as it is on %s", priority, human.Things(len(c.indices), "index", "indices"))
	for _, value := range slices.Sorted(maps.Keys(groups)) {
		names := groups[value]
		var now any
		if value != "" {
			now = value
		}
		err := c.from.PutIndexSettings(ctx, names, map[string]any{priority: now})
		switch {
		case err == nil || elastic.Unacknowledged(err):
		case elastic.KindOf(err) == elastic.Unauthorized:
			c.problem("the source doesn't let the worker change settings of %s, so it could not block writes: allow "+
				"PUT INDEX/_settings (%s)", named("", names), messageOf(err))
		default:
			return err
		}
	}
	return nil
}

// otherSnapshots tells what would come in the way of the final snapshot.
func (c *checking) otherSnapshots(ctx context.Context) error {
	now := c.now()
	for _, s := range []*slot{{at: onSource, client: c.from}, {at: onTarget, client: c.to}} {
		if s.client == nil {
			continue
		}
		s.own = c.run.RepositoryName()
		if found := s.obstacles(ctx, now, 0); len(found) > 0 {
			c.warnings = append(c.warnings, "now: "+sentences(found))
		}
		c.warnings = append(c.warnings, s.warnings(now)...)
	}
	return nil
}

// pace reads what limits the pace of the rounds, and what a forecast of the costs needs.
func (c *checking) pace(ctx context.Context) error {
	c.sum()
	if c.from == nil || len(c.indices) == 0 {
		c.note("not read: there is no index")
		return nil
	}
	loads, err := c.from.Loads(ctx, indexNames(c.indices))
	if err != nil {
		return err
	}
	for _, load := range loads {
		c.result.Segments += load.Segments
	}
	c.result.ProbeSegments = loads[c.result.Probe.Name].Segments

	if c.to == nil {
		c.note("not read: the target doesn't answer")
		return nil
	}
	from, err := c.from.DiskFree(ctx)
	if err != nil {
		return err
	}
	to, err := c.to.DiskFree(ctx)
	if err != nil {
		return err
	}
	around := migration.Surroundings{Shards: c.result.Shards, SourceNodes: from.Nodes, TargetNodes: to.Nodes}
	unread := ""
	if c.target.Version.AtLeast(7, 9) {
		settings, err := c.to.ClusterSettings(ctx)
		switch {
		case permanent(err):
			unread = "; " + recoveryThrottle + " can't be read, so the default is assumed"
		case err != nil:
			return err
		}
		around.Recovery = &migration.RecoveryFound{
			Transient: settings.Transient[recoveryThrottle], Persistent: settings.Persistent[recoveryThrottle],
		}
	}
	c.result.Limits = c.run.Plan.PaceLimits(around)
	var limits []string
	for _, l := range c.result.Limits {
		limits = append(limits, l.Setting+" "+l.Value)
	}
	c.note("%s%s", cmp.Or(strings.Join(limits, ", "), "there are none"), unread)
	return nil
}
