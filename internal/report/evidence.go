package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// ProvenBefore says how much is proven before the freeze, what is left to the window, and how long
// that will probably take.
func ProvenBefore(p migration.Proven, prediction *migration.Prediction) string {
	text := fmt.Sprintf("Proven equal before the freeze: %s of %s shards, about %s of %s documents.",
		human.Count(int64(p.Shards)), human.Count(int64(p.OfShards)), human.Count(p.Docs), human.Count(p.OfDocs))
	if p.LeftShards() > 0 {
		text += fmt.Sprintf(" A window would compare %s, about %s documents and what is written until then",
			human.Things(p.LeftShards(), "shard", "shards"), human.Count(p.LeftDocs()))
		if prediction != nil {
			text += ": about " + human.Span(prediction.VerifyMillis)
		}
		text += "."
	}
	return text
}

// verifiedBy says by which evidence all indices were found equal.
func verifiedBy(e migration.Evidence, zone *time.Location) string {
	var parts []string
	for _, kind := range []struct {
		shards int
		text   string
	}{
		{e.Proven, "proven before the freeze"},
		{e.Beyond, "beyond a sequence number"},
		{e.Scanned, "scanned in the window"},
		{e.Counted, "by counts only"},
	} {
		if kind.shards > 0 {
			parts = append(parts, human.Things(kind.shards, "shard", "shards")+" "+kind.text)
		}
	}
	text := strings.Join(parts, ", ")
	if e.Files > 0 {
		text += fmt.Sprintf("; the last restore gave %s the files that its snapshot lists",
			human.Things(e.Files, "shard", "shards"))
	}
	if e.Counted == 0 {
		text += fmt.Sprintf("; %s documents were read in the window", human.Count(e.Read))
	}
	if e.SinceMillis > 0 {
		text += "; the oldest proof is of " + human.Clock(e.SinceMillis, zone)
	}
	return text
}

// restoredFiles says what the last restore recovered, and who has checked what.
func restoredFiles(f migration.RestoredFiles) string {
	by := "by number and size"
	if f.Named {
		by = "by name and length"
	}
	const checked = ". That each file holds what it held is Elasticsearch's own check: it compares Lucene's " +
		"checksums when it restores"
	switch {
	case f.Why != "":
		return "not compared with the snapshot's list: " + f.Why
	case f.UnlikeCount > 0:
		return fmt.Sprintf("those of %s are NOT what the snapshot lists",
			human.Things(f.UnlikeCount, "shard", "shards"))
	}
	text := fmt.Sprintf("%s with %s in %s are what the snapshot lists, %s",
		human.Things(int(f.Files), "file", "files"), human.Size(f.Bytes), human.Things(f.Shards, "shard", "shards"), by)
	if f.UnknownCount > 0 {
		text += fmt.Sprintf("; of %s nobody knows, since a shard moved or a node was restarted",
			human.Things(f.UnknownCount, "index", "indices"))
	}
	return text + checked
}
