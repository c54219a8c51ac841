//go:build lab

package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// The evidence that a target is equal, each kind against corruptions that it has to find, and one
// that it can't. Indices that begin with s are scanned whole. Those with b were proven after a first
// round, and then changed on the source; those with f show their files.
var (
	scanned = []string{"s-same", "s-drop", "s-add", "s-change", "s-routing", "s-forged"}
	beyond  = []string{
		"b-same", "b-drop-new", "b-change-new", "b-drop-old", "b-change-old", "b-add", "b-older", "b-swap", "b-forged",
	}
	filed = []string{"f-same", "f-stale", "f-older", "f-written"}
)

const (
	evidenceDocs   = 60
	evidenceShards = 2
)

type evidenceLab struct {
	*verifyLab
	from, to *elastic.Client
	indices  []migration.Index
	taken    []migration.Snapshot
	copied   []migration.CopyResult
	proven   map[string][]int64 // global checkpoint of each shard at its proof
}

func newEvidenceLab(t *testing.T, from, to string) *evidenceLab {
	t.Helper()
	return newEvidenceLabOf(t, from, to, slices.Concat(scanned, beyond, filed)...)
}

// newEvidenceLabOf has these indices with the documents d0 to d59, and one with a routing.
func newEvidenceLabOf(t *testing.T, from, to string, indices ...string) *evidenceLab {
	t.Helper()
	return evidenceOn(newVerifyLab(t, from, to, indices...), from)
}

func evidenceOn(v *verifyLab, from string) *evidenceLab {
	e := &evidenceLab{verifyLab: v, proven: map[string][]int64{}}
	e.from, e.to = e.client(onSource), e.client(onTarget)
	mappings := map[string]any{"properties": map[string]any{"list": map[string]any{"type": "nested"}}}
	if from[0] < '7' {
		mappings = map[string]any{"doc": mappings}
	}
	for _, index := range e.run.Plan.Indices {
		e.put("/"+index, map[string]any{
			"settings": map[string]any{"number_of_shards": evidenceShards, "number_of_replicas": 0},
			"mappings": mappings,
		})
		var ids []string
		for i := range evidenceDocs {
			ids = append(ids, fmt.Sprintf("d%d", i))
		}
		e.write(e.source, index, "first", ids...)
		e.send(e.source, http.MethodPut, index, "routed", "routing=r", `{"n":"first"}`)
	}
	return e
}

// send writes one document.
func (e *evidenceLab) send(c *cluster.Client, method, index, id, query string, body any) {
	e.t.Helper()
	version, err := c.Version(e.t.Context())
	require.NoError(e.t, err)
	docType := "doc"
	if version >= "7" {
		docType = "_doc"
	}
	e.ask(c, method, fmt.Sprintf("/%s/%s/%s?refresh=true&%s", index, docType, id, query), body)
}

func (e *evidenceLab) write(c *cluster.Client, index, text string, ids ...string) {
	e.t.Helper()
	version, err := c.Version(e.t.Context())
	require.NoError(e.t, err)
	var lines strings.Builder
	for _, id := range ids {
		action := map[string]any{"_index": index, "_id": id}
		if version < "7" {
			action["_type"] = "doc"
		}
		require.NoError(e.t, json.NewEncoder(&lines).Encode(map[string]any{"index": action}))
		fmt.Fprintf(&lines, `{"n":%q,"list":[{"a":1},{"a":2}]}`+"\n", text)
	}
	require.Contains(e.t, e.ask(c, http.MethodPost, "/_bulk?refresh=true", lines.String()), `"errors":false`)
}

func (e *evidenceLab) blocked(c *cluster.Client, index string, blocked bool) {
	e.t.Helper()
	e.ask(c, http.MethodPut, "/"+index+"/_settings", map[string]any{"index.blocks.write": blocked})
}

// corrupt writes to the target behind the product's back.
func (e *evidenceLab) corrupt(index string, do func()) {
	e.t.Helper()
	e.blocked(e.target, index, false)
	do()
	e.blocked(e.target, index, true)
}

// round blocks the source, and copies what it has to OSS.
func (e *evidenceLab) round(number int) {
	e.t.Helper()
	a := e.activities
	e.indices = labMust[migration.IndexList](e.labRig, a.ResolveIndices, migration.ResolveRequest{Run: e.run}).Inline
	request := migration.IndicesRequest{Run: e.run, Indices: migration.IndexNames(e.indices)}
	labMust[any](e.labRig, a.BlockWrites, request)
	labMust[migration.Standstill](e.labRig, a.AwaitStandstill, migration.StandstillRequest{IndicesRequest: request})
	snapshot := labMust[migration.Snapshot](e.labRig, a.TakeSnapshot, migration.SnapshotRequest{
		Run: e.run, Snapshot: migration.SnapshotName(e.run.Plan.Name, number, 1), Indices: request.Indices,
	})
	base := migration.CopyRequest{Run: e.run, Snapshot: snapshot, BaseGeneration: -1}
	if last := len(e.taken) - 1; last >= 0 {
		base.BaseUUID, base.BaseGeneration = e.taken[last].UUID, e.copied[last].Generation
	}
	e.copied = append(e.copied, labMust[migration.CopyResult](e.labRig, copierAlone().CopySnapshot, base))
	e.taken = append(e.taken, snapshot)
}

// restore restores indices of a round, and gives the evidence of their files.
func (e *evidenceLab) restore(number int, names ...string) *migration.RestoredFiles {
	e.t.Helper()
	var indices []migration.Index
	for _, index := range e.indices {
		if slices.Contains(names, index.Name) {
			indices = append(indices, index)
		}
	}
	result := labMust[migration.RestoreResult](e.labRig, e.activities.RestoreSnapshot, migration.RestoreRequest{
		Run: e.run, Snapshot: e.taken[number-1], Indices: indices, Files: true,
	})
	require.NoError(e.t, e.to.Refresh(e.t.Context(), names))
	return result.Files
}

func (e *evidenceLab) settings(client *elastic.Client) elastic.ChecksumOptions {
	return elastic.ChecksumOptions{PageSize: 20, IgnoreTypes: e.ignoresTypes()}
}

func (e *evidenceLab) ignoresTypes() bool {
	differ, err := typesDiffer(e.t.Context(), e.from, e.to)
	require.NoError(e.t, err)
	return differ
}

// scan is the evidence of a full scan: empty if the index is equal.
func (e *evidenceLab) scan(index string) string {
	e.t.Helper()
	var shards []elastic.ShardScan
	for shard := range evidenceShards {
		shards = append(shards, elastic.ShardScan{Shard: shard})
	}
	return e.compare(index, shards)
}

func (e *evidenceLab) compare(index string, shards []elastic.ShardScan) string {
	e.t.Helper()
	source, err := e.from.ShardChecksums(e.t.Context(), index, shards, e.settings(e.from))
	require.NoError(e.t, err)
	target, err := e.to.ShardChecksums(e.t.Context(), index, shards, e.settings(e.to))
	require.NoError(e.t, err)
	var different []string
	for i := range source {
		if source[i].Checksum != target[i].Checksum {
			different = append(different, fmt.Sprintf("shard %d: %d documents %016x and %d documents %016x", i,
				source[i].Docs, source[i].Sum, target[i].Docs, target[i].Sum))
		}
	}
	return strings.Join(different, "; ")
}

// sinceProof is the evidence of an index that was written to since its proof. Each part is empty
// if it finds no difference.
type sinceProof struct{ beyond, lookup, counts, digest string }

func (s sinceProof) String() string {
	return fmt.Sprintf("beyond [%s], look-up [%s], counts [%s], digest [%s]", s.beyond, s.lookup, s.counts, s.digest)
}

func (e *evidenceLab) since(index string) (found sinceProof) {
	e.t.Helper()
	ctx := e.t.Context()
	var shards []elastic.ShardScan
	for shard, p := range e.proven[index] {
		shards = append(shards, elastic.ShardScan{Shard: shard, Beyond: &p})
	}
	found.beyond = e.compare(index, shards)
	options := e.settings(e.from)
	options.AtOnce = 1
	var unlike []string
	options.Page = func(ctx context.Context, shard int, page []elastic.Document) error {
		missing, err := e.to.Lookup(ctx, index, shard, page, elastic.LookupOptions{IgnoreTypes: e.ignoresTypes()})
		for _, u := range missing {
			unlike = append(unlike, u.String())
		}
		return err
	}
	_, err := e.from.ShardChecksums(ctx, index, shards, options)
	require.NoError(e.t, err)
	found.lookup = strings.Join(unlike, "; ")
	for shard, p := range e.proven[index] {
		var counts [2]int64
		var digests [2]elastic.SeqNoDigest
		for i, client := range []*elastic.Client{e.from, e.to} {
			settings, err := client.IndexSettings(ctx, []string{index})
			require.NoError(e.t, err)
			require.True(e.t, elastic.Numbered(settings[index]))
			counts[i], err = client.CountNotBeyond(ctx, index, shard, p, true)
			require.NoError(e.t, err)
			visited, err := client.CountNotBeyond(ctx, index, shard, p, false)
			require.NoError(e.t, err)
			require.Equal(e.t, visited, counts[i])
			digests[i], err = client.SeqNoDigest(ctx, index, shard, p)
			require.NoError(e.t, err)
			require.Equal(e.t, counts[i], digests[i].Docs)
		}
		if counts[0] != counts[1] {
			found.counts += fmt.Sprintf("shard %d: %d and %d ", shard, counts[0], counts[1])
		}
		if digests[0] != digests[1] {
			found.digest += fmt.Sprintf("shard %d: %.8s and %.8s ", shard, digests[0].Sum, digests[1].Sum)
		}
	}
	return found
}

// ofOneShard are documents of the first round that lie in one shard.
func (e *evidenceLab) ofOneShard(index string) []string {
	e.t.Helper()
	var ids []string
	_, err := e.from.ShardChecksums(e.t.Context(), index, []elastic.ShardScan{{Shard: 0}}, elastic.ChecksumOptions{
		Page: func(_ context.Context, _ int, page []elastic.Document) error {
			for _, d := range page {
				if d.Routing == "" {
					ids = append(ids, d.ID)
				}
			}
			return nil
		},
	})
	require.NoError(e.t, err)
	slices.Sort(ids)
	return ids
}

func (e *evidenceLab) verdict(index, evidence string) {
	verdict := "NOT EQUAL"
	if evidence == "" {
		verdict = "equal"
	}
	e.t.Logf("%-14s %-9s %s", index, verdict, evidence)
}

func TestLabEvidence(t *testing.T) {
	for _, pair := range [][2]string{{"5.5.2", "5.5.3"}, {"6.8.23", "7.10.2"}, {"7.10.2", "7.17.28"}} {
		t.Run(pair[0]+" "+pair[1], func(t *testing.T) {
			newEvidenceLab(t, pair[0], pair[1]).findsEverything(pair[0], pair[1])
		})
	}
}

// findsEverything has the evidence find what it has to.
func (e *evidenceLab) findsEverything(from, to string) {
	e.t.Helper()
	e.round(1)
	files := e.restore(1, e.run.Plan.Indices...)
	e.t.Logf("files of round 1: %+v", *files)
	require.Zero(e.t, files.UnlikeCount+files.UnknownCount, "%+v", files)
	require.Empty(e.t, files.Why)
	require.Equal(e.t, evidenceShards*len(e.run.Plan.Indices), files.Shards)
	require.Equal(e.t, to[0] >= '7', files.Named)
	for _, index := range e.run.Plan.Indices {
		require.Empty(e.t, e.scan(index), index)
	}
	e.scans()
	numbered := from[0] >= '6'
	if numbered {
		e.prove()
	}
	swap := e.secondRound()
	e.files()
	if numbered {
		e.beyondProofs(swap)
	}
}

// scans are what a full scan finds, and what it doesn't.
func (e *evidenceLab) scans() {
	e.t.Helper()
	e.corrupt("s-drop", func() { e.send(e.target, http.MethodDelete, "s-drop", "d7", "", nil) })
	e.corrupt("s-add", func() { e.write(e.target, "s-add", "first", "more") })
	e.corrupt("s-change", func() { e.write(e.target, "s-change", "other", "d7") })
	e.corrupt("s-routing", func() { // the same id and version, in another shard or of another routing
		e.send(e.target, http.MethodDelete, "s-routing", "routed", "routing=r", nil)
		e.send(e.target, http.MethodPut, "s-routing", "routed", "routing=q", `{"n":"first"}`)
	})
	// No way of writing leaves the version, but this one: what it writes no scan can find.
	e.corrupt("s-forged", func() {
		e.send(e.target, http.MethodPut, "s-forged", "d7", "version=1&version_type=external_gte", `{"n":"other"}`)
	})
	for _, index := range scanned {
		found := e.scan(index)
		e.verdict(index, found)
		require.Equal(e.t, index == "s-same" || index == "s-forged", found == "", index)
	}
}

// prove remembers how far each shard was when it was found equal.
func (e *evidenceLab) prove() {
	e.t.Helper()
	counters, err := e.from.WriteCounters(e.t.Context(), beyond)
	require.NoError(e.t, err)
	for _, shard := range counters {
		require.True(e.t, shard.Settled())
		e.proven[shard.Index] = append(e.proven[shard.Index], shard.SeqNo.Global)
	}
}

// secondRound changes the source, and restores what changed. It returns the documents of b-swap of
// which the source deletes the first.
func (e *evidenceLab) secondRound() []string {
	e.t.Helper()
	swap := e.ofOneShard("b-swap")
	for _, index := range slices.Concat(beyond, filed) {
		e.blocked(e.source, index, false)
		if index == "b-swap" {
			e.send(e.source, http.MethodDelete, index, swap[0], "", nil)
			continue
		}
		e.write(e.source, index, "second", "d1", "d2", "d3", "n1", "n2", "n3", "n4")
		e.send(e.source, http.MethodDelete, index, "d4", "", nil)
	}
	e.round(2)
	return swap
}

// beyondProofs are what the evidence finds in indices that were written to since their proof.
func (e *evidenceLab) beyondProofs(swap []string) {
	e.t.Helper()
	e.restore(2, slices.DeleteFunc(slices.Clone(beyond), func(index string) bool {
		return index == "b-older" || index == "b-swap" // these stay what the first round made of them
	})...)
	e.corrupt("b-drop-new", func() { e.send(e.target, http.MethodDelete, "b-drop-new", "n2", "", nil) })
	e.corrupt("b-change-new", func() { e.write(e.target, "b-change-new", "other", "n2") })
	e.corrupt("b-drop-old", func() { e.send(e.target, http.MethodDelete, "b-drop-old", "d20", "", nil) })
	e.corrupt("b-change-old", func() { e.write(e.target, "b-change-old", "other", "d20") })
	e.corrupt("b-add", func() { e.write(e.target, "b-add", "first", "more") })
	// What the source has deleted is still there, and another document of the shard is lost.
	e.corrupt("b-swap", func() { e.send(e.target, http.MethodDelete, "b-swap", swap[1], "", nil) })
	e.corrupt("b-forged", func() {
		e.send(e.target, http.MethodPut, "b-forged", "n2", "version=1&version_type=external_gte", `{"n":"other"}`)
	})
	finds := map[string]string{ // which parts of the evidence have to find it
		"b-same": "", "b-forged": "",
		"b-drop-new": "beyond lookup", "b-change-new": "beyond lookup", "b-add": "beyond",
		"b-drop-old": "counts digest", "b-change-old": "beyond counts digest",
		"b-older": "beyond lookup counts digest", "b-swap": "digest",
	}
	for _, index := range beyond {
		found := e.since(index)
		var parts []string
		for _, part := range []struct{ name, text string }{
			{"beyond", found.beyond}, {"lookup", found.lookup}, {"counts", found.counts}, {"digest", found.digest},
		} {
			if part.text != "" {
				parts = append(parts, part.name)
			}
		}
		text := strings.Join(parts, " ")
		e.verdict(index, map[bool]string{true: text + ": " + found.String()}[text != ""])
		require.Equal(e.t, finds[index], text, index)
	}
	require.Empty(e.t, e.scan("b-forged"), "a full scan doesn't find it either")
	require.NotEmpty(e.t, e.scan("b-swap"), "a full scan finds what counts can't")
}

// files are what the names and lengths of files show, and what they don't.
func (e *evidenceLab) files() {
	e.t.Helper()
	// OSS gives the target an old list of files, as if it were that of the new snapshot.
	key := map[int]string{1: e.listKey("f-stale", e.taken[0].UUID), 2: e.listKey("f-stale", e.taken[1].UUID)}
	right := e.object(key[2])
	e.store(key[2], e.object(key[1]))
	found := e.restore(2, "f-same", "f-stale", "f-written")
	require.True(e.t, found.Same("f-stale"), "as long as OSS says so: OSS against S3 is the audit's: %+v", found)
	e.store(key[2], right)
	e.corrupt("f-written", func() { e.send(e.target, http.MethodDelete, "f-written", "d9", "", nil) })

	found = e.restore(2, "f-same", "f-stale", "f-written") // it adopts what was restored
	e.verdict("f-stale", fmt.Sprint(found.Unlike))
	require.Equal(e.t, 1, found.UnlikeCount, "%+v", found)
	require.Equal(e.t, "f-stale", found.Unlike[0].Index)
	require.False(e.t, found.Same("f-stale"))
	e.verdict("f-same", "")
	require.True(e.t, found.Same("f-same"))
	// What is written after the restore is in no list of what the restore recovered.
	e.verdict("f-written", "")
	require.True(e.t, found.Same("f-written"))
	require.NotEmpty(e.t, e.scan("f-written"), "a scan finds it")
	require.NotEmpty(e.t, e.scan("f-stale"), "what the files show was no false alarm")

	// An index of an older snapshot is unknown to the evidence of this one, and so it isn't the same.
	shards, err := e.to.RecoveredFiles(e.t.Context(), []string{"f-older"})
	require.NoError(e.t, err)
	require.Equal(e.t, e.taken[0].Name, shards[0].Snapshot)
	e.verdict("f-older", "it was restored from "+shards[0].Snapshot)
	// The target's own merges change nothing of what it recovered.
	before, err := e.to.RecoveredFiles(e.t.Context(), []string{"f-same"})
	require.NoError(e.t, err)
	e.corrupt("f-same", func() { e.ask(e.target, http.MethodPost, "/f-same/_forcemerge?max_num_segments=1", nil) })
	after, err := e.to.RecoveredFiles(e.t.Context(), []string{"f-same"})
	require.NoError(e.t, err)
	require.Equal(e.t, before, after)
}

// listKey is where OSS has the list of files of an index's first shard.
func (e *evidenceLab) listKey(index, snapshot string) string {
	e.t.Helper()
	sink, err := e.activities.sink(e.t.Context(), e.run)
	require.NoError(e.t, err)
	folder, err := sink.ListFolder(e.t.Context(), "")
	require.NoError(e.t, err)
	var keys []string
	for _, o := range folder.Objects {
		keys = append(keys, o.Key)
	}
	generation, ok := repository.LatestGeneration(keys)
	require.True(e.t, ok)
	root, err := repository.ParseRoot(generation, e.object(repository.RootIndexKey(generation)))
	require.NoError(e.t, err)
	at := slices.IndexFunc(root.Indices, func(i repository.Index) bool { return i.Name == index })
	require.NotEqual(e.t, -1, at)
	key, err := repository.ShardSnapshotKey(repository.ShardID{IndexID: root.Indices[at].ID}, snapshot)
	require.NoError(e.t, err)
	return key
}

func (e *evidenceLab) object(key string) []byte {
	e.t.Helper()
	sink, err := e.activities.sink(e.t.Context(), e.run)
	require.NoError(e.t, err)
	data, _, err := sink.Get(e.t.Context(), key, 1<<20)
	require.NoError(e.t, err)
	return data
}

func (e *evidenceLab) store(key string, data []byte) {
	e.t.Helper()
	sink, err := e.activities.sink(e.t.Context(), e.run)
	require.NoError(e.t, err)
	_, err = sink.Put(e.t.Context(), key, bytes.NewReader(data), int64(len(data)), nil)
	require.NoError(e.t, err)
}
