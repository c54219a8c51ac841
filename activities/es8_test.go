package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// to8 is a world whose source is 7.10.2, and whose target has no mapping types.
func to8(t *testing.T) *world {
	w := newWorld(t)
	w.from.Version, w.to.Version = "7.10.2", "8.17.2"
	for _, name := range both2 {
		w.from.Change(name, "index.version.created", "7100299")
	}
	return w
}

// 7.x shows a type of each document, 8.x shows none. What 8.x sets automatically is no difference.
func TestATargetWithoutTypesIsEqual(t *testing.T) {
	w := to8(t)
	w.from.Route("movies", 1, "dune", "herbert")
	request := w.frozen()
	for _, name := range both2 {
		w.to.Change(name, "index.routing.allocation.include._tier_preference", "data_content")
	}
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget, request)
	for _, index := range result.Indices {
		require.True(t, index.Equal, "%+v", index)
		require.NotEmpty(t, index.Checksum)
		require.Empty(t, index.Differences)
	}
	w.to.Smuggle("movies", "alien", 7)
	refused(w, migration.ErrorVerification, w.activities.VerifyTarget, request, "index movies is not equal",
		"checksum over type, id, routing and version")
}

// The handover asks whether writes get through, with and without bulk requests.
func TestATargetWithoutTypesIsHandedOver(t *testing.T) {
	for _, explicit := range []bool{true, false} {
		w := to8(t)
		w.to.NoExplicitIndices = !explicit
		request := w.frozen()
		must[any](w, w.activities.OpenTargetForWrites,
			migration.HandoverRequest{Run: w.run, Indices: request.Indices, Counters: request.Counters})
		for _, name := range both2 {
			require.NoError(t, w.to.Index(name, "written after the handover"))
		}
		require.Equal(t, explicit, len(w.to.Requests("POST /*/_update/*")) == 0)
	}
}

// An index of a 7.10 cluster may be older than 7.0. 8.x would refuse it at the first restore, and call
// it a snapshot of that version.
func TestPreflightRefusesWhat8xRefuses(t *testing.T) {
	w := to8(t)
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)
	w.from.Change("movies", "index.version.created", "6082399")
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run,
		"index movies was created by Elasticsearch 6.8.23, and 8.17.2 holds only indices created by 7.0 or later: "+
			"choose a version of Alibaba Cloud that can (7.10 if it is 7.10.2 or later, 7.16), or reindex it on the "+
			"source into a new index")
	w.prepared()
	refused(w, migration.ErrorRefused, w.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: w.run, Snapshot: w.snapshot("s"), Indices: w.indices()},
		"below the current versions minimum index compatibility version [7.0.0]")
}

func TestPreflightSaysWhichVersionsAreUntried(t *testing.T) {
	w := to8(t)
	w.to.Version = "8.9.1"
	warnings := must[migration.PreflightResult](w, w.activities.Preflight, w.run).Warnings
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "the target runs 8.9.1. Of 8.x, snapferry was tried with 8.17 only")
}

func TestTheDefinitionsThatATargetWithoutTypesLacks(t *testing.T) {
	w := to8(t)
	must[migration.TryResult](w, w.activities.TryDefinitions, w.run)
	w.to.Unknown = []string{"murmur3"}
	w.from.Define("movies", "", `{"properties":{"hash":{"type":"murmur3"}}}`)
	refused(w, migration.ErrorPreflight, w.activities.TryDefinitions, w.run,
		"field hash of index movies has the type murmur3, which the target does not know")
}
