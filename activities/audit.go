package activities

import (
	"context"

	"github.com/snapferry/snapferry/internal/audit"
	"github.com/snapferry/snapferry/migration"
)

// AuditRepositories compares the repository in OSS with the one in S3 and writes nothing. What it
// finds is the result, however bad. See [audit.Run].
//
// It fails with ErrorMissing if there is nothing to compare, with ErrorRepository if the root in S3
// can't be understood, and with ErrorRefused if the repository is of Elasticsearch 1.x.
func (c *Copier) AuditRepositories(ctx context.Context, request migration.AuditRequest) (migration.AuditReport, error) {
	work := func(ctx context.Context, p *pulse) (migration.AuditReport, error) {
		source, err := c.source(ctx, request.Run())
		if err != nil {
			return migration.AuditReport{}, err
		}
		sink, err := c.sink(ctx, request.Run())
		if err != nil {
			return migration.AuditReport{}, err
		}
		reading := c.moving
		reading.Concurrency = request.Plan.Copy.Concurrency
		return audit.Run(ctx, audit.Options{Source: source, Sink: sink, Transfer: reading, Progress: p.update}, request)
	}
	return perform(ctx, c, "reading both repositories", work)
}
