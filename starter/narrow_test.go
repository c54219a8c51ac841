package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
)

// In a terminal of 80 columns each line fits, but for commands, which a person may copy.
func TestPagesFitATerminal(t *testing.T) {
	const columns = 80
	for _, page := range []string{"status", "watch"} {
		c := newConsole(t, newFake(t, moment{status: inRounds(t)}))
		c.deps.columns = func() int { return columns }
		arguments := []string{page, "movies"}
		if page == "watch" {
			arguments = append(arguments, "--until", "rounds")
		}
		out, _ := c.run(exitOK, arguments...)
		golden.Equal(t, "testdata/"+page+"-narrow.txt", out)
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "Next: ") && !strings.HasPrefix(line, "  or: ") {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, line)
			}
		}
	}
}
