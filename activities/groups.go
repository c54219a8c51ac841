package activities

import (
	"context"

	"github.com/snapferry/snapferry/migration"
)

// CutGroups cuts the indices of a final round into groups of about the same delta, where there are
// so many that a workflow doesn't see them.
func (a *Activities) CutGroups(ctx context.Context,
	in migration.CutGroupsRequest,
) (migration.CutGroupsResult, error) {
	return perform(ctx, a, "cutting the indices into groups",
		func(ctx context.Context, _ *pulse) (result migration.CutGroupsResult, err error) {
			indices, err := fetch(ctx, a.lists, in.Run, in.Indices, in.IndicesOf)
			if err != nil {
				return result, err
			}
			seen, err := fetch(ctx, a.lists, in.Run, in.Seen, in.SeenOf)
			if err != nil {
				return result, err
			}
			for _, members := range migration.CutGroups(migration.DeltaWeights(indices, seen), in.Groups) {
				var group []migration.Index
				for _, i := range members {
					group = append(group, indices[i])
				}
				list := a.lists.listed(group)
				if list.Stored() {
					if list.About.IndicesOf, err = store(ctx, a.lists, in.Run, group); err != nil {
						return result, err
					}
				}
				result.Groups = append(result.Groups, list)
			}
			return result, nil
		})
}
