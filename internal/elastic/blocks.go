package elastic

import (
	"context"
	"errors"
	"regexp"
	"slices"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

const writeBlock = "index.blocks.write"

// BlockWrites sets index.blocks.write: every write fails with 403, while reads, snapshots and
// closing still work. It uses the "write" block, since an index with a "read_only" block can't be
// closed. To repeat it is harmless.
//
// It returns before writes under way have ended: watch [Client.WriteCounters] until they stand
// still. PUT /a/_block/write of 7.9 and later would wait for them. But once asked, it can't be
// stopped: it sets its block after the setting was removed, and nobody removes that one.
func (c *Client) BlockWrites(ctx context.Context, indices []string) error {
	return c.putSettings(ctx, "block writes", indices, map[string]any{writeBlock: true})
}

// Block is a block that is in force on an index or on the cluster.
type Block struct {
	ID          string // 5 is read_only, 8 is write, 12 is read_only_allow_delete
	Description string
	// UUID is set on the block that PUT /a/_block/write holds while it waits for writes. No setting
	// stands for it.
	UUID string
	// Writes tells whether it refuses writes.
	Writes bool
}

// ActiveBlocks are the blocks in force, which is more than the settings tell.
type ActiveBlocks struct {
	Cluster []Block
	Indices map[string][]Block
}

// ActiveBlocks reads the blocks in force from the cluster's state. [NotSupported] or [Unauthorized]
// where a service doesn't offer that.
func (c *Client) ActiveBlocks(ctx context.Context) (ActiveBlocks, error) {
	type blocks map[string]struct {
		UUID        string   `json:"uuid"`
		Description string   `json:"description"`
		Levels      []string `json:"levels"`
	}
	var answer struct {
		Blocks struct {
			Global  blocks            `json:"global"`
			Indices map[string]blocks `json:"indices"`
		} `json:"blocks"`
	}
	err := c.do(ctx, call{operation: "read the blocks in force"}, esapi.ClusterStateRequest{Metric: []string{"blocks"}},
		&answer)
	list := func(found blocks) (all []Block) {
		for id, block := range found {
			all = append(all, Block{id, block.Description, block.UUID, slices.Contains(block.Levels, "write")})
		}
		return all
	}
	active := ActiveBlocks{Cluster: list(answer.Blocks.Global), Indices: map[string][]Block{}}
	for name, found := range answer.Blocks.Indices {
		active.Indices[name] = list(found)
	}
	return active, err
}

var (
	clusterBlock = regexp.MustCompile(`/\d+/cluster `)
	blockID      = regexp.MustCompile(`[A-Z_]+/(\d+)/`)
	settingName  = regexp.MustCompile(`\b(archived\.)?index\.[a-z_]+(\.[A-Za-z0-9_*-]+)*`)
)

// blockSettings are the settings behind the blocks of an index, by their numbers.
var blockSettings = map[string]string{
	"5": "index.blocks.read_only", "7": "index.blocks.read", "8": writeBlock, "9": "index.blocks.metadata",
	"12": "index.blocks.read_only_allow_delete",
}

// BlockedByCluster reports whether a block of the cluster refused a call, which then concerns all
// indices.
func BlockedByCluster(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == Blocked && clusterBlock.MatchString(e.Reason)
}

// FromCluster reports whether Elasticsearch itself refused a call, and not something in front of
// it: the refusal may then concern one of several indices.
func FromCluster(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Type != ""
}

// SettingOf is the index setting that an error names, by a block or by its name; empty if it names
// none.
func SettingOf(err error) string {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return ""
	}
	if e.Kind == Blocked {
		for _, found := range blockID.FindAllStringSubmatch(e.Reason, -1) {
			if setting := blockSettings[found[1]]; setting != "" {
				return setting
			}
		}
	}
	return settingName.FindString(e.Reason)
}
