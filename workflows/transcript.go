package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// Transcript reads a part of what a migration has changed on the clusters. It is a workflow since
// only workers may read the bucket that it lies in. It changes nothing.
func Transcript(ctx workflow.Context, request migration.TranscriptRequest) (migration.TranscriptPage, error) {
	workflow.SetCurrentDetails(ctx, "Reads what "+request.Plan.Name+" has changed on the clusters.")
	return call[migration.TranscriptPage](ctx, bestEffort("read the transcript"), migration.ActivityReadTranscript,
		request)
}
