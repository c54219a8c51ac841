package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// provenBefore says how much is proven before the freeze, and what is left to the window.
func provenBefore(p migration.Proven) string {
	text := fmt.Sprintf("Proven equal before the freeze: %s of %s shards, about %s of %s documents.",
		human.Count(int64(p.Shards)), human.Count(int64(p.OfShards)), human.Count(p.Docs), human.Count(p.OfDocs))
	if p.LeftShards() > 0 {
		text += fmt.Sprintf(" A window would compare %s, about %s documents.",
			human.Things(p.LeftShards(), "shard", "shards"), human.Count(p.LeftDocs()))
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
		{e.Proven, "proven before the freeze"}, {e.Beyond, "beyond a sequence number"},
		{e.Scanned, "scanned in the window"}, {e.Counted, "by counts only"},
	} {
		if kind.shards > 0 {
			parts = append(parts, human.Things(kind.shards, "shard", "shards")+" "+kind.text)
		}
	}
	text := strings.Join(parts, ", ")
	if e.Counted == 0 {
		text += fmt.Sprintf("; %s documents were read in the window", human.Count(e.Read))
	}
	if e.SinceMillis > 0 {
		text += "; the oldest proof is of " + human.Clock(e.SinceMillis, zone)
	}
	return text
}
