package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// UnblockSource removes our write block from the source's indices: afterwards each has the blocks
// that it had of itself. It makes sure that they take writes, unless one of those blocks forbids
// it.
//
//   - It removes the block before it reads anything: a cluster that is too busy to answer a
//     question must not stay blocked for that. Only later attempts look first: where each change
//     takes very long, they must not begin again with what is done.
//   - It goes on after a failure, so that one index keeps no other blocked.
//   - It ends, whatever a single index answers. Only a cluster that can't be asked is retried for
//     ever.
//
// A request of a dead worker may still be on its way and set the block after all this. Whoever
// calls this calls it again, some time after the last attempt to block can have been sent: it
// removes what has come since.
func (a *Activities) UnblockSource(ctx context.Context, in migration.UnblockRequest) (migration.UnblockResult, error) {
	return performForEver(ctx, a, "removing the write block from the source",
		func(ctx context.Context, p *pulse) (migration.UnblockResult, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return migration.UnblockResult{}, err
			}
			refused, err := a.unblock(ctx, client, in.Indices, activity.GetInfo(ctx).Attempt, p)
			return migration.UnblockResult{Refused: refused}, err
		})
}

// RemoveBlock is UnblockSource for runs that began before there was a guard.
func (a *Activities) RemoveBlock(ctx context.Context, in migration.LiftRequest) error {
	_, err := performForEver(ctx, a, "removing the write block from the source",
		func(ctx context.Context, p *pulse) (none, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return none{}, err
			}
			var indices []migration.SourceIndex
			for _, name := range slices.Sorted(maps.Keys(in.Found)) {
				indices = append(indices, migration.SourceIndex{Name: name, Blocks: in.Found[name]})
			}
			refused, err := a.unblock(ctx, client, indices, activity.GetInfo(ctx).Attempt, p)
			if err == nil && len(refused) > 0 {
				err = fail(migration.ErrorRefused, "%s", describeRefusals(refused))
			}
			return none{}, err
		})
	return err
}

// A block may outlive its setting: PUT /a/_block/write of 7.9 and later, which others may have
// sent, sets one without a setting while it waits for writes. It goes away once that request has
// ended and the setting is removed again. So each attempt tries for unblockPatience, and only after
// unblockAttempts of them a person is asked. All other indices take writes meanwhile.
const (
	unblockPatience = 45 * time.Second
	unblockPause    = time.Second
	unblockAttempts = 4
)

// retryStillBlocked is the type of the error between two of these attempts.
const retryStillBlocked = "StillBlocked"

// unblocking is what is known while blocks are being removed.
type unblocking struct {
	client *elastic.Client
	own    map[string]map[string]string // by index: the blocks that it had of itself
	uuids  map[string]string            // of the indices that had them; may be empty
	off    any                          // removes a setting

	mu      sync.Mutex
	refused map[string]error  // the cluster refused to remove the block, in the last pass
	final   map[string]error  // what ends it for an index
	pending map[string]string // indices that still refuse writes, and why
}

// unblock removes our block from the indices until each takes writes, or until nothing more can be
// done for those that don't.
func (a *Activities) unblock(ctx context.Context, client *elastic.Client, indices []migration.SourceIndex,
	attempt int32, p *pulse,
) ([]migration.Refusal, error) {
	u := &unblocking{
		client: client, own: map[string]map[string]string{}, uuids: map[string]string{}, final: map[string]error{},
	}
	for _, index := range indices {
		u.own[index.Name], u.uuids[index.Name] = index.Blocks, index.UUID
	}
	if len(u.own) == 0 {
		return nil, nil
	}
	u.off = unset(ctx, client)
	names := slices.Sorted(maps.Keys(u.own))
	began := a.now()
	blocked := names
	if attempt > 1 {
		blocked = u.stillBlocked(ctx, names)
	}
	for {
		trouble := u.remove(ctx, blocked)
		trouble = append(trouble, u.check(ctx, names)...)
		if len(trouble) > 0 {
			return nil, retryableFirst(trouble)
		}
		if names = slices.Sorted(maps.Keys(u.pending)); len(names) == 0 {
			return refusals(u.final), nil
		}
		if u.explain(ctx); len(u.pending) == 0 {
			return refusals(u.final), nil
		}
		names = slices.Sorted(maps.Keys(u.pending))
		blocked = names
		waiting := names[0] + ": " + u.pending[names[0]]
		p.update(func(progress *migration.Progress) { progress.Waiting = waiting })
		switch {
		case a.now().Sub(began) < unblockPatience:
		case attempt < unblockAttempts:
			return nil, passing(retryStillBlocked, fmt.Sprintf("remove the write block from %d indices on %s: %s",
				len(names), client.Host(), waiting), 0)
		default:
			for _, name := range names {
				u.final[name] = fmt.Errorf("remove the write block from index %s on %s: %s", name, client.Host(),
					u.pending[name])
			}
			return refusals(u.final), nil
		}
		if err := a.sleep(ctx, unblockPause); err != nil {
			return nil, err
		}
	}
}

// lookFirst bounds the look of a later attempt. A cluster that doesn't answer in that time gets the
// request to remove the blocks without one.
const lookFirst = 20 * time.Second

// stillBlocked leaves out indices that an earlier attempt has made writable.
func (u *unblocking) stillBlocked(ctx context.Context, names []string) []string {
	ctx, cancel := context.WithTimeout(ctx, lookFirst)
	defer cancel()
	present, unreadable, err := look(ctx, u.client, names)
	if err != nil {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		index, there := present[name]
		return unreadable[name] == nil && (!there || u.asItWas(index))
	})
}

// asItWas reports whether an index is left as if it had never had our block.
func (u *unblocking) asItWas(index elastic.Index) bool {
	if own := u.own[index.Name][writeBlock]; own == "false" {
		return index.Settings[writeBlock] == own
	}
	return !u.isOurs(index)
}

// remove takes our block away, without a look. An index that the cluster calls missing is not
// refused: check looks for all of them.
func (u *unblocking) remove(ctx context.Context, names []string) (trouble []error) {
	byValue := map[any][]string{}
	for _, name := range names {
		switch own := u.own[name]; {
		case forbidden(own):
			// It had a block of its own, so it has none of ours: see BlockSource. What it has now
			// is looked at, since such an index may refuse every change.
		case own[writeBlock] == "false":
			byValue["false"] = append(byValue["false"], name)
		default:
			byValue[u.off] = append(byValue[u.off], name)
		}
	}
	u.refused = map[string]error{}
	for value, batch := range byValue {
		trouble = append(trouble, u.put(ctx, batch, value)...)
	}
	return trouble
}

func (u *unblocking) put(ctx context.Context, names []string, value any) []error {
	refused, trouble := inTurn(names, func(batch []string) error {
		return u.client.PutIndexSettings(ctx, batch, map[string]any{writeBlock: value})
	})
	for name, err := range refused {
		if elastic.KindOf(err) != elastic.Missing {
			u.refused[name] = err
		}
	}
	return trouble
}

// unset is the value that removes a setting. 2.x can't remove one, so there it is false. A cluster
// that doesn't tell its version counts as a later one: check looks at the result.
func unset(ctx context.Context, client *elastic.Client) any {
	if version, err := client.Version(ctx); err == nil && version.Major < 5 {
		return false
	}
	return nil
}

// check looks at the indices, and finds out which of them don't take writes as they should.
func (u *unblocking) check(ctx context.Context, names []string) []error {
	u.pending = map[string]string{}
	present, unreadable, err := look(ctx, u.client, names)
	if err != nil {
		return []error{err}
	}
	for name, err := range unreadable {
		if u.refused[name] == nil {
			u.refused[name] = err
		}
		u.final[name] = u.refused[name]
	}
	// An own block that is gone made room for ours, and so did an index that is gone.
	var ours []string
	for name, index := range present {
		had := forbidden(u.own[name])
		if uuid := u.uuids[name]; uuid != "" && uuid != index.UUID {
			u.own[name] = nil
		}
		if had && u.isOurs(index) {
			ours = append(ours, name)
		}
	}
	if len(ours) > 0 {
		slices.Sort(ours)
		if trouble := u.put(ctx, ours, u.off); len(trouble) > 0 {
			return trouble
		}
		again, _, err := look(ctx, u.client, ours)
		if err != nil {
			return []error{err}
		}
		maps.Copy(present, again)
	}
	var open []string
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if u.checkSettings(present[name]) {
			open = append(open, name)
		}
	}
	return u.probe(ctx, open)
}

// isOurs reports whether the index has a write block that it didn't have of itself.
func (u *unblocking) isOurs(index elastic.Index) bool {
	return index.Settings[writeBlock] == "true" && u.own[index.Name][writeBlock] != "true"
}

// checkSettings looks whether our block is gone from an index. It reports whether a write should
// get through now.
func (u *unblocking) checkSettings(index elastic.Index) bool {
	name, now := index.Name, blocksOf(index.Settings)
	refused := u.refused[name]
	if u.isOurs(index) {
		switch {
		case refused == nil:
			u.wait(name, writeBlock+" is set again each time that it is removed")
		case elastic.KindOf(refused) == elastic.Internal:
			u.wait(name, messageOf(refused))
		default:
			u.end(name, refused)
		}
		return false
	}
	if u.standing(name, now) || !index.Open {
		return false // it took no writes before either
	}
	if since := refusing(now); len(since) > 0 {
		u.end(name, fmt.Errorf("our write block is removed from index %s on %s, but %s, which somebody else has set "+
			"since, refuses writes", name, u.client.Host(), since[0]))
		return false
	}
	return true
}

// probe makes sure that writes get through.
func (u *unblocking) probe(ctx context.Context, names []string) (trouble []error) {
	if len(names) == 0 {
		return nil
	}
	probes, err := u.client.ProbeWrites(ctx, names, elastic.ExpectOpen)
	if err != nil {
		return []error{err}
	}
	for _, name := range names {
		switch err := probes[name].Err; {
		case elastic.KindOf(err) == elastic.Missing:
		case noPrimary(err):
			u.wait(name, "our write block is removed, but the index takes no writes: "+messageOf(err))
		case err != nil && (concernsAll(err) || elastic.KindOf(err) == elastic.Internal):
			trouble = append(trouble, err)
		case err != nil:
			u.end(name, err)
		case probes[name].Blocked:
			u.wait(name, "our write block is removed, but writes are still refused by a block that is in none of the "+
				"index's settings")
		}
	}
	return trouble
}

// noPrimary tells whether one index can't answer a write, while the cluster does.
func noPrimary(err error) bool {
	failure, ok := errors.AsType[*elastic.Error](err)
	return ok && failure.Type == "unavailable_shards_exception"
}

// standing reports whether a block that the index had of itself still refuses writes.
func (u *unblocking) standing(name string, now map[string]string) bool {
	return slices.ContainsFunc(refusing(u.own[name]), func(block string) bool { return now[block] == "true" })
}

func (u *unblocking) wait(name, why string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending[name] = why
}

func (u *unblocking) end(name string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.final[name] = err
}

// explain tells, where the cluster shows its blocks, which block still refuses writes. One of the
// cluster's is nothing that waiting here would end.
func (u *unblocking) explain(ctx context.Context) {
	active, err := u.client.ActiveBlocks(ctx)
	if err != nil {
		for name, why := range u.pending {
			u.pending[name] = why + " (Amazon sets one on the cluster when disks or memory run short)"
		}
		return
	}
	for _, block := range active.Cluster {
		if !block.Writes {
			continue
		}
		for name := range u.pending {
			u.final[name] = fmt.Errorf("our write block is removed from index %s on %s, but a block of the cluster "+
				"refuses writes: %s", name, u.client.Host(), block.Description)
		}
		u.pending = map[string]string{}
		return
	}
	for name, why := range u.pending {
		for _, block := range active.Indices[name] {
			if block.Writes && block.UUID != "" {
				u.pending[name] = "a request PUT /" + name + "/_block/write, which is not snapferry's, has not ended"
			} else if block.Writes {
				u.pending[name] = why + " (" + block.Description + ")"
			}
		}
	}
}
