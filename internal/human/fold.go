package human

import (
	"strings"
	"unicode/utf8"
)

// Fold breaks lines between words so that none is wider than a terminal of so many columns. What goes
// on in the next line stands below the beginning of its column or of its bullet. A word that is wider
// stays as it is, and so does a line that keep wants complete, such as a command. 0 columns fold
// nothing.
func Fold(text string, columns int, keep func(line string) bool) string {
	if columns <= 0 {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		body, end := strings.TrimSuffix(line, "\n"), ""
		if len(body) < len(line) {
			end = "\n"
		}
		if utf8.RuneCountInString(body) <= columns || keep != nil && keep(body) {
			out.WriteString(line)
			continue
		}
		out.WriteString(foldLine([]rune(body), columns) + end)
	}
	return out.String()
}

func foldLine(line []rune, columns int) string {
	hang := hangOf(line, columns)
	indent := strings.Repeat(" ", hang)
	var out strings.Builder
	for len(line) > columns {
		at := breakAt(line, hang, columns)
		if at < 0 {
			break
		}
		out.WriteString(strings.TrimRight(string(line[:at]), " ") + "\n")
		line = []rune(indent + strings.TrimLeft(string(line[at:]), " "))
	}
	out.WriteString(string(line))
	return out.String()
}

// breakAt is the last space within the columns, or the first one after them; negative if there is none
// behind the indentation.
func breakAt(line []rune, hang, columns int) int {
	for at := min(columns, len(line)-1); at > hang; at-- {
		if line[at] == ' ' {
			return at
		}
	}
	for at := columns + 1; at < len(line); at++ {
		if line[at] == ' ' {
			return at
		}
	}
	return -1
}

// hangOf is where the last column of a line begins, if enough room is left of the line from there on.
// Columns stand two spaces apart, and a bullet's text behind its dash.
func hangOf(line []rune, columns int) int {
	most := columns * 2 / 3 //nolint:mnd // a third of the line is left
	hang := 0
	for i := range min(most+1, len(line)) {
		gap := i >= 2 && line[i-1] == ' ' && line[i-2] == ' '
		bullet := i >= 2 && line[i-1] == ' ' && line[i-2] == '-' && strings.TrimSpace(string(line[:i-2])) == ""
		if line[i] != ' ' && (gap || bullet) {
			hang = i
		}
	}
	return hang
}
