package migration

import "fmt"

// SnapshotName names the snapshot of a round and attempt, such as movies-r0003-a1. Elasticsearch
// wants lower case and none of \ / * ? " < > | , # or space (SnapshotsService.validate), which a
// plan's name can't hold.
func SnapshotName(plan string, round, attempt int) string {
	return fmt.Sprintf("%s-r%04d-a%d", plan, round, attempt)
}
