package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestWhatIsProvenBeforeTheFreezeAndWhatTheRestCosts(t *testing.T) {
	proven := migration.Proven{Shards: 10, OfShards: 12, Docs: 5000, OfDocs: 6000, BeyondShards: 1}
	require.Equal(t, "Proven equal before the freeze: 10 of 12 shards, about 5,000 of 6,000 documents. A window would "+
		"compare 3 shards, about 1,000 documents and what is written until then: about 1.5s.",
		ProvenBefore(proven, &migration.Prediction{VerifyMillis: 1500}))
	proven = migration.Proven{Shards: 12, OfShards: 12, Docs: 6000, OfDocs: 6000}
	require.Equal(t, "Proven equal before the freeze: 12 of 12 shards, about 6,000 of 6,000 documents.",
		ProvenBefore(proven, nil))
}

func TestEvidenceOfAllIndices(t *testing.T) {
	require.Equal(t, "10 shards proven before the freeze, 2 shards beyond a sequence number; the last restore gave "+
		"2 shards the files that its snapshot lists; 7 documents were read in the window; the oldest proof is of "+
		"2023-11-14 22:13:20 UTC",
		verifiedBy(migration.Evidence{
			Proven: 10, Beyond: 2, Files: 2, Read: 7, SinceMillis: 1_700_000_000_000,
		}, time.UTC))
	require.Equal(t, "3 shards by counts only", verifiedBy(migration.Evidence{Counted: 3}, time.UTC))
}

// Who has checked what: a list of names says nothing of what is in the files.
func TestFilesOfTheLastRestore(t *testing.T) {
	files := migration.RestoredFiles{Shards: 2, Files: 9, Bytes: 2048, Named: true}
	require.Equal(t, "9 files with 2.0 KiB in 2 shards are what the snapshot lists, by name and length. "+
		"That each file holds what it held is Elasticsearch's own check: it compares Lucene's checksums "+
		"when it restores",
		restoredFiles(files))
	files.Named, files.UnknownCount = false, 1
	require.Contains(t, restoredFiles(files), "by number and size; of 1 index nobody knows")
	files.UnlikeCount = 1
	require.Equal(t, "those of 1 shard are NOT what the snapshot lists", restoredFiles(files))
	require.Equal(t, "not compared with the snapshot's list: 403", restoredFiles(migration.RestoredFiles{Why: "403"}))
}
