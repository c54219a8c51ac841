package elastic

import (
	"context"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Refresh makes all writes so far visible to searches and counts.
func (c *Client) Refresh(ctx context.Context, indices []string) error {
	return c.broadcast(ctx, "refresh", indices,
		func(batch []string) esapi.Request { return esapi.IndicesRefreshRequest{Index: batch} })
}

// Flush commits all writes to disk. A snapshot does so, too; a flush before makes the snapshot
// start faster.
func (c *Client) Flush(ctx context.Context, indices []string) error {
	return c.broadcast(ctx, "flush", indices, func(batch []string) esapi.Request {
		return esapi.IndicesFlushRequest{Index: batch, WaitIfOngoing: ptr(true)}
	})
}

func (c *Client) broadcast(ctx context.Context, operation string, indices []string,
	request func([]string) esapi.Request,
) error {
	if err := c.named(operation, indices); err != nil {
		return err
	}
	return eachBatch(ctx, indices, func(ctx context.Context, batch []string) error {
		var answer struct {
			Shards shardsHeader `json:"_shards"`
		}
		what := call{operation: operation, subject: list(batch), slow: true}
		if err := c.do(ctx, what, request(segments(batch)), &answer); err != nil {
			return err
		}
		if answer.Shards.Failed > 0 {
			return c.fail(what, answer.Shards.kind(), answer.Shards.failure())
		}
		return nil
	})
}
