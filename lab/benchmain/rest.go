package benchmain

import (
	"context"
	"net/http"
	"time"

	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab/cluster"
)

// Rest commits everything that was written to indices, and waits until no merge is under way: whoever
// takes a snapshot then finds the same segments.
func Rest(ctx context.Context, source *cluster.Client, indices string) error {
	for quiet := 0; quiet < 2; quiet++ {
		for {
			var stats struct {
				All struct {
					Primaries struct{ Merges struct{ Current int } }
				} `json:"_all"`
			}
			if err := source.Do(ctx, http.MethodGet, "/"+indices+"/_stats/merge", nil, &stats); err != nil {
				return err
			}
			if stats.All.Primaries.Merges.Current == 0 {
				break
			}
			if err := pause.For(ctx, 200*time.Millisecond); err != nil {
				return err
			}
		}
		for _, call := range []string{"/_refresh", "/_flush?wait_if_ongoing=true"} {
			if err := source.Do(ctx, http.MethodPost, "/"+indices+call, nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
