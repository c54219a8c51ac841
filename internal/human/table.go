package human

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table aligns rows of cells and leaves no spaces at their ends. A cell is one line.
func Table(out *bytes.Buffer, fill func(row func(...string))) {
	var raw bytes.Buffer
	w := tabwriter.NewWriter(&raw, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) {
		line := make([]string, len(cells))
		for i, cell := range cells {
			line[i] = strings.ReplaceAll(Line(cell), "\t", " ")
		}
		fmt.Fprintln(w, "  "+strings.Join(line, "\t"))
	})
	_ = w.Flush() // a buffer takes everything
	for line := range strings.Lines(raw.String()) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}
