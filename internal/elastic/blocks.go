package elastic

import (
	"context"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

const writeBlock = "index.blocks.write"

// BlockWrites sets index.blocks.write: every write fails with 403, while reads, snapshots and
// closing still work. It uses the "write" block, since an index with a "read_only" block can't be
// closed. To repeat it is harmless.
//
// The settings form works on all versions, but returns before writes under way have ended: watch
// [Client.WriteCounters] until they stand still. From 7.9 on, PUT /a/_block/write waits for them
// and is tried first. If the service doesn't offer it, or if it doesn't block every index, the
// settings form follows. Both set the same setting.
func (c *Client) BlockWrites(ctx context.Context, indices []string) error {
	if err := c.named("block writes", indices); err != nil {
		return err
	}
	version, err := c.Version(ctx)
	if err != nil {
		return err
	}
	if version.AtLeast(7, 9) {
		blocked, err := c.addWriteBlock(ctx, indices)
		if blocked || err != nil {
			return err
		}
	}
	return c.putSettings(ctx, "block writes", indices, map[string]any{writeBlock: true})
}

// addWriteBlock uses the _block API and reports whether that blocked every index.
func (c *Client) addWriteBlock(ctx context.Context, indices []string) (bool, error) {
	for _, batch := range batches(indices) {
		var answer struct {
			Acknowledged       bool `json:"acknowledged"`
			ShardsAcknowledged bool `json:"shards_acknowledged"`
			Indices            []struct {
				Blocked bool `json:"blocked"`
			} `json:"indices"`
		}
		err := c.do(ctx, call{operation: "block writes", subject: list(batch), slow: true},
			esapi.IndicesAddBlockRequest{Index: segments(batch), Block: "write"}, &answer)
		switch KindOf(err) {
		case None:
		case NotSupported, Unauthorized, Invalid, Unavailable, Internal:
			return false, nil
		default:
			return false, err
		}
		if !answer.Acknowledged || !answer.ShardsAcknowledged {
			return false, nil
		}
		for _, index := range answer.Indices {
			if !index.Blocked {
				return false, nil
			}
		}
	}
	return true, nil
}
