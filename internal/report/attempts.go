package report

import (
	"fmt"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

const failedTitle = "Snapshots that failed"

// FailedSnapshots says of each failed snapshot why, and what came next.
func FailedSnapshots(failed []migration.FailedSnapshot, omitted int, zone *time.Location) []string {
	var texts []string
	if omitted > 0 {
		texts = append(texts, fmt.Sprintf("%s before these", human.Things(omitted, "snapshot", "snapshots")))
	}
	for _, f := range failed {
		next := "The next one needs a person"
		if f.Again {
			next = "snapferry took another one"
		}
		texts = append(texts, fmt.Sprintf("%s, round %d, attempt %d, %s: %s. %s.", human.Clock(f.AtMillis, zone),
			f.Round, f.Attempt, f.Snapshot, f.Reason, next))
	}
	return texts
}
