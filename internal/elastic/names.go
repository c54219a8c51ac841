package elastic

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/human"
)

var segmentEscaper = strings.NewReplacer(
	"%2A", "*", // as every other client sends it
	"+", "%2B", // Elasticsearch 5.x takes a plus sign for a space, in paths too
)

// segment escapes one part of a path, which esapi doesn't do: date math names, slashes, percent and
// plus signs.
func segment(name string) string { return segmentEscaper.Replace(url.PathEscape(name)) }

func segments(names []string) []string {
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = segment(name)
	}
	return escaped
}

// longestPath is in bytes. It keeps the request line below Elasticsearch's
// http.max_initial_line_length (4 KiB), with room for parameters.
const longestPath = 3000

// Batches splits names so that each batch fits into one request.
func Batches(names []string) [][]string { return batches(names) }

// batches splits names so that each batch fits into one request line.
func batches(names []string) [][]string {
	var all [][]string
	length := longestPath
	for _, name := range names {
		need := len(segment(name)) + 1
		if length+need > longestPath {
			all = append(all, nil)
			length = 0
		}
		all[len(all)-1] = append(all[len(all)-1], name)
		length += need
	}
	return all
}

// batchesAtOnce bounds the batches that one call asks about at the same time.
const batchesAtOnce = 4

// eachBatch asks about names in batches that fit into one request line, some of them side by side.
func eachBatch(ctx context.Context, names []string, ask func(context.Context, []string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(batchesAtOnce)
	for _, batch := range batches(names) {
		group.Go(func() error { return ask(ctx, batch) })
	}
	return group.Wait()
}

// concrete refuses what Elasticsearch would expand to other or all indices.
func concrete(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("no index is named, and an empty list would mean all indices")
	}
	for _, name := range names {
		if name == "" || name == "_all" || strings.ContainsAny(name, "*?,\"\\/ |>") && !dateMath(name) ||
			strings.HasPrefix(name, "-") || strings.HasPrefix(name, "+") {
			return fmt.Errorf("%q isn't the name of one index", name)
		}
	}
	return nil
}

func dateMath(name string) bool {
	return strings.HasPrefix(name, "<") && strings.HasSuffix(name, ">") && !strings.ContainsAny(name, "*,")
}

// oneName refuses names that would stand for several repositories or snapshots.
func oneName(what, name string) error {
	if name == "" || name == "_all" || name == "_current" || strings.ContainsAny(name, "*,") {
		return fmt.Errorf("%q isn't the name of one %s", name, what)
	}
	return nil
}

func list(names []string) string {
	return human.Shorten(strings.Join(names, ","), 200)
}
