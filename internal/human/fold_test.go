package human

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestFold(t *testing.T) {
	for text, want := range map[string]string{
		"short\n":                "short\n",
		"no end":                 "no end",
		"one two three four\n":   "one two\nthree four\n",
		"  - one two three\n":    "  - one\n    two\n    three\n",
		"  A:  one two three":    "  A:  one\n      two\n      three",
		"unbreakableline":        "unbreakableline",
		"a unbreakableline b":    "a\nunbreakableline\nb",
		"übär ööö äääää üü\n":    "übär ööö\näääää üü\n",
		"Next: keep this line\n": "Next: keep this line\n",
	} {
		folded := Fold(text, 10, func(line string) bool { return strings.HasPrefix(line, "Next:") })
		require.Equal(t, want, folded)
		require.Equal(t, text, Fold(text, 0, nil))
		require.True(t, utf8.ValidString(folded))
		require.Equal(t, strings.Fields(text), strings.Fields(folded), "no word is lost")
	}
}
