package human

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table aligns rows of cells and leaves no spaces at their ends.
func Table(out *bytes.Buffer, fill func(row func(...string))) {
	var raw bytes.Buffer
	w := tabwriter.NewWriter(&raw, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) { fmt.Fprintln(w, "  "+strings.Join(cells, "\t")) })
	_ = w.Flush() // a buffer takes everything
	for line := range strings.Lines(raw.String()) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}
