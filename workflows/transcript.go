package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// Transcript reads a part of what a migration has changed on the clusters. It is a workflow since
// only workers may read the bucket that it lies in. It changes nothing.
func Transcript(ctx workflow.Context, request migration.TranscriptRequest) (migration.TranscriptPage, error) {
	const what = "read the transcript"
	workflow.SetCurrentDetails(ctx, "Reads what "+request.Plan.Name+" has changed on the clusters, for starter transcript.")
	return call[migration.TranscriptPage](ctx, bestEffort(what), migration.ActivityReadTranscript, request)
}
