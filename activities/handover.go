package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// preparedHandover is what a handover needs of the source.
type preparedHandover struct {
	indices []migration.HandoverIndex
	// leftOut are the settings of the source that the target's indices don't get.
	leftOut []migration.LeftOut
}

// prepareHandover reads from the source what the target's indices get at the handover. Once the
// guard knows it, the handover needs the source no more.
func (a *Activities) prepareHandover(ctx context.Context, in migration.GuardRequest,
	indices []migration.Index,
) (preparedHandover, error) {
	client, err := a.cluster(ctx, onSource, in.Run)
	if err != nil {
		return preparedHandover{}, err
	}
	counters, err := fetch(ctx, a.lists, in.Run, in.Counters, in.CountersOf)
	if err != nil {
		return preparedHandover{}, err
	}
	names := migration.IndexNames(indices)
	settings, err := client.IndexSettings(ctx, names)
	if err != nil {
		return preparedHandover{}, err
	}
	prepared, err := a.prepared(ctx, in.Run, names, in.UnknownSettings, settings)
	for i := range prepared.indices {
		prepared.indices[i].UUID = counters[prepared.indices[i].Name].UUID
	}
	return prepared, err
}

// prepared says what indices get at the handover, given their settings on the source.
func (a *Activities) prepared(ctx context.Context, run migration.Run, names, unknown []string,
	settings map[string]map[string]string,
) (preparedHandover, error) {
	policies, err := a.policies(ctx, run, settings)
	if err != nil {
		return preparedHandover{}, err
	}
	var result preparedHandover
	var left leftOut
	for _, name := range names {
		index := migration.HandoverIndex{Name: name, Settings: map[string]string{}}
		found := settings[name]
		noPolicy := ""
		if policy := found[lifecyclePolicy]; !policies[policy] {
			noPolicy = fmt.Sprintf("the target has no lifecycle policy %q", policy)
		}
		for _, setting := range slices.Sorted(maps.Keys(found)) {
			why := whyLeftOut(run.Plan, unknown, setting)
			managed := matchesAny(heldBack, setting)
			if why == "" && managed {
				why = noPolicy
			}
			switch {
			case why != "":
				left.add(name, setting, why)
			case setting == autoExpand && found[setting] == "false":
				// As good as none. Without it, what is handed over differs from what is restored.
			case managed, slices.Contains(setAside, setting),
				setting == numberOfReplicas, setting == refreshInterval, setting == autoExpand:
				index.Settings[setting] = found[setting]
			}
		}
		result.indices = append(result.indices, index)
	}
	result.leftOut = left.all
	return result, nil
}

// policies tells which lifecycle policies of the source's indices the target knows. They are only
// looked up.
func (a *Activities) policies(ctx context.Context, run migration.Run,
	settings map[string]map[string]string,
) (map[string]bool, error) {
	policies := map[string]bool{}
	for _, index := range settings {
		if policy := index[lifecyclePolicy]; policy != "" {
			policies[policy] = false
		}
	}
	if len(policies) == 0 {
		return policies, nil
	}
	target, err := a.cluster(ctx, onTarget, run)
	if err != nil {
		return nil, err
	}
	known, err := target.LifecyclePolicies(ctx)
	for policy := range policies {
		policies[policy] = known[policy]
	}
	return policies, err
}

// CheckHandover makes sure that the target's indices are as the last restore left them, and behind
// our block. It is asked right before there is no way back. After that nobody asks again: whoever
// hands over expects writes.
func (a *Activities) CheckHandover(ctx context.Context, in migration.CheckHandoverRequest) error {
	_, err := perform(ctx, a, "checking the target's indices", func(ctx context.Context, _ *pulse) (none, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return none{}, err
		}
		names, err := a.lists.names(ctx, in.Run, in.Indices, in.IndicesOf)
		if err != nil {
			return none{}, err
		}
		counters, err := fetch(ctx, a.lists, in.Run, in.Counters, in.CountersOf)
		if err != nil {
			return none{}, err
		}
		if counters == nil {
			return none{}, blocked(ctx, client, names)
		}
		return none{}, unchanged(ctx, client, names, counters, comparison{docs: true, block: true})
	})
	return err
}

// blocked is an error if indices of the target could take writes: a person has accepted what was
// written, and nothing more.
func blocked(ctx context.Context, client *elastic.Client, names []string) error {
	found, _, err := existing(ctx, client, names)
	if err != nil {
		return err
	}
	var texts []string
	for _, name := range names {
		switch index, there := found[name]; {
		case !there:
			texts = append(texts, name+" (it does not exist)")
		case !index.Open:
			texts = append(texts, name+" (it is closed)")
		case !hasOurBlock(index):
			texts = append(texts, name+" (it lacks the write block: set index.blocks.write)")
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return fail(migration.ErrorTargetWritten, "make the indices on %s writable: %s", client.Host(),
		named("these are not as they were restored: ", texts))
}

// unchanged is an error if indices of the target are not as the last restore left them.
func unchanged(ctx context.Context, client *elastic.Client, names []string, expected migration.WriteCounters,
	compare comparison,
) error {
	changes, err := changedSince(ctx, client, names, expected, compare)
	if err != nil || len(changes) == 0 {
		return err
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		texts = append(texts, name+" ("+changes[name]+")")
	}
	return fail(migration.ErrorTargetWritten, "make the indices on %s writable: %s", client.Host(),
		named("these changed since they were verified: ", texts))
}

// HandOver makes the target's indices writable. Our write block goes first and by itself; then come
// the settings that a restore sets aside. One index that is refused holds neither the others nor
// its own writes. To repeat it is harmless: it changes only what is not as it should be, and asks
// nobody whether there were writes.
func (a *Activities) HandOver(ctx context.Context, in migration.HandOverRequest) (migration.HandOverResult, error) {
	return perform(ctx, a, "making the target writable",
		func(ctx context.Context, p *pulse) (migration.HandOverResult, error) {
			refused, err := a.handOver(ctx, in, p)
			return migration.HandOverResult{Refused: refused}, err
		})
}

func (a *Activities) handOver(ctx context.Context, in migration.HandOverRequest,
	p *pulse,
) ([]migration.Refusal, error) {
	client, err := a.cluster(ctx, onTarget, in.Run)
	if err != nil {
		return nil, err
	}
	settle, err := newSettler(ctx, client)
	if err != nil {
		return nil, err
	}
	h := handover{settler: settle, wanted: in.Indices}
	if err := h.find(ctx); err != nil {
		return nil, err
	}
	p.set(migration.Progress{Doing: "removing the target's write block"})
	h.unblock(ctx)
	p.set(migration.Progress{Doing: "setting the target's replicas and refresh intervals"})
	h.giveBack(ctx)
	p.set(migration.Progress{Doing: "probing the target's indices"})
	h.probe(ctx)
	if err := h.failed(); err != nil {
		return nil, err
	}
	return h.gathered(), nil
}

// handover is one batch of indices that are to take writes.
type handover struct {
	*settler
	wanted []migration.HandoverIndex
	// found are those that are there, ready their names.
	found map[string]elastic.Index
	ready []string

	mu sync.Mutex
	// refusals are those that need no change of settings to be found out.
	refusals []migration.Refusal
}

// find looks which indices are there, open, and the ones that were restored.
func (h *handover) find(ctx context.Context) error {
	var names []string
	for _, index := range h.wanted {
		names = append(names, index.Name)
	}
	if len(names) == 0 {
		return nil
	}
	found, _, err := existing(ctx, h.client, names)
	if err != nil {
		return err
	}
	h.found = found
	for _, index := range h.wanted {
		now, there := found[index.Name]
		leave := "Nothing can be handed over under this name: send retry and leave the index out."
		switch {
		case !there:
			h.refuse(index.Name, "it does not exist there", leave)
		case index.UUID != "" && now.UUID != index.UUID:
			h.refuse(index.Name, fmt.Sprintf("it is another index than the one that was verified (UUID %s instead "+
				"of %s)", now.UUID, index.UUID), leave)
		case !now.Open:
			h.refuse(index.Name, "it is closed", "Open it on the target (POST /"+index.Name+"/_open), then send retry.")
		default:
			h.ready = append(h.ready, index.Name)
		}
	}
	return nil
}

func (h *handover) refuse(name, why, remedy string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusals = append(h.refusals, refusalOf(name,
		fmt.Errorf("make index %s on %s writable: %s", name, h.client.Host(), why), remedy))
}

// unblock removes our block, together with archived settings, which would refuse that. An index
// without both is left alone: an earlier attempt was here.
func (h *handover) unblock(ctx context.Context) {
	var blocked []elastic.Index
	for _, name := range h.ready {
		if index := h.found[name]; index.Settings[writeBlock] != "" || h.archived.Load() &&
			len(archivedIn(index.Settings)) > 0 {
			blocked = append(blocked, index)
		}
	}
	h.put(ctx, indexNames(blocked), h.withArchived(map[string]any{writeBlock: nil}, blocked))
	h.ready = h.accepted(h.ready)
}

// together are settings that Elasticsearch validates against each other, so that one request has to
// change them.
var together = [][]string{{numberOfReplicas, autoExpand, waitForActive}, {refreshInterval}}

// giveBack sets what a restore had set aside. Requests are few: they are grouped by what they
// change.
func (h *handover) giveBack(ctx context.Context) {
	sets := slices.Clone(together)
	var others []string
	for _, index := range h.wanted {
		for name := range index.Settings {
			if !slices.ContainsFunc(together, func(set []string) bool { return slices.Contains(set, name) }) {
				others = append(others, name)
			}
		}
	}
	slices.Sort(others)
	sets = append(sets, slices.Compact(others))
	for _, set := range sets {
		var groups []settingsGroup
		for _, index := range h.wanted {
			if slices.Contains(h.ready, index.Name) {
				groups = grouped(groups, index.Name, changes(index.Settings, h.found[index.Name].Settings, set))
			}
		}
		for _, group := range groups {
			h.put(ctx, group.names, group.settings)
		}
	}
}

// changes are those of the settings that an index doesn't have as it should; nil removes one.
func changes(wanted, now map[string]string, set []string) map[string]any {
	different := map[string]any{}
	for _, name := range set {
		value, named := wanted[name]
		switch {
		case !named && name != refreshInterval && name != autoExpand:
		case value == now[name]:
		case value == "":
			different[name] = nil
		default:
			different[name] = value
		}
	}
	return different
}

type settingsGroup struct {
	settings map[string]any
	names    []string
}

func grouped(groups []settingsGroup, name string, settings map[string]any) []settingsGroup {
	if len(settings) == 0 {
		return groups
	}
	at := slices.IndexFunc(groups, func(g settingsGroup) bool { return maps.Equal(g.settings, settings) })
	if at < 0 {
		groups, at = append(groups, settingsGroup{settings: settings}), len(groups)
	}
	groups[at].names = append(groups[at].names, name)
	return groups
}

// probe makes sure that each index takes writes.
func (h *handover) probe(ctx context.Context) {
	if len(h.ready) == 0 {
		return
	}
	probes, err := h.client.ProbeWrites(ctx, h.ready, elastic.ExpectOpen)
	if err != nil {
		h.failures = append(h.failures, err)
		return
	}
	red := h.red(ctx, probes)
	for _, name := range h.ready {
		err := probes[name].Err
		switch {
		case err == nil && probes[name].Blocked:
			h.refuse(name, "our write block is removed, but another block refuses writes (a read_only block of "+
				"the index, or a block of the cluster)", "Remove the block from the target, then send retry.")
		case elastic.KindOf(err) == elastic.Unavailable && red[name]:
			h.refuse(name, "a primary is missing, so that it takes no writes", "Bring back the node that holds the "+
				"primary (GET /_cluster/allocation/explain says where it is missed), then send retry.")
		case err != nil && !concernsAll(err) && (h.last || permanent(err)):
			h.refuse(name, messageOf(err), "Fix on the target what the message names, then send retry.")
		case err != nil:
			h.failures = append(h.failures, err)
		}
	}
}

// red finds which of the indices that didn't answer have no primary.
func (h *handover) red(ctx context.Context, probes map[string]elastic.Probe) map[string]bool {
	var names []string
	for _, name := range h.ready {
		if elastic.KindOf(probes[name].Err) == elastic.Unavailable {
			names = append(names, name)
		}
	}
	red := map[string]bool{}
	if len(names) == 0 {
		return red
	}
	health, err := h.client.Health(ctx, names)
	if err != nil {
		return red
	}
	for _, name := range names {
		red[name] = health.Indices[name] == "red"
	}
	return red
}

// gathered are all refusals.
func (h *handover) gathered() []migration.Refusal {
	all := slices.Clone(h.refusals)
	for name, err := range h.refused {
		known := func(r migration.Refusal) bool { return r.Index == name }
		if !slices.ContainsFunc(all, known) { // that it takes no writes counts more than a setting
			all = append(all, refusalOf(name, err, remedyOfHandover(name, err)))
		}
	}
	slices.SortFunc(all, byRefusedName)
	return all
}

// remedyOfHandover is possible once the cutover has begun: the source stays blocked, and the plan
// is what it is.
func remedyOfHandover(name string, err error) string {
	setting := settingIn(err)
	switch {
	case overShardLimit(err):
		return "The index takes writes, and lacks replicas. Raise cluster.max_shards_per_node on the target, then " +
			"send retry."
	case elastic.KindOf(err) == elastic.Blocked:
		return "Remove the block from the index on the target (index.blocks.* in its settings), then send retry."
	case strings.HasPrefix(setting, archivedPrefix):
		return fmt.Sprintf("Send PUT /%s/_settings {\"index.blocks.write\": null, \"archived.*\": null} to the "+
			"target, then send retry.", name)
	case setting != "":
		return fmt.Sprintf("Correct %s of the index on the target, then send retry.", setting)
	}
	return "Fix on the target what the message names, then send retry."
}

// refusedAtHandover is the error that names indices which were refused.
func refusedAtHandover(host string, refused []migration.Refusal) error {
	var texts []string
	for _, refusal := range refused {
		texts = append(texts, refusal.Message+". "+refusal.Remedy)
	}
	return fail(migration.ErrorRefused, "make the indices on %s writable: %s", host,
		named("refused for some, all others take writes: ", texts))
}
