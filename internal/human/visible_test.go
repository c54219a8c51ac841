package human_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/human"
)

func TestNothingThatATerminalActsUponStays(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, tabs\tand\nlines, µs and 漢字": "plain text, tabs\tand\nlines, µs and 漢字",
		"\x1b]52;c;aGFjaw==\x07":                  `\u001b]52;c;aGFjaw==\u0007`,
		"\x1b[2J\x1b[HPhase: completed":           `\u001b[2J\u001b[HPhase: completed`,
		"a\rb\bc\x7f":                             `a\u000db\u0008c\u007f`,
		"\u009b2J":                                `\u009b2J`,
		"\x9b2J":                                  `\u009b2J`, // a byte that some terminals read as C1
		"user\u202etxt.exe":                       `user\u202etxt.exe`,
		"\u2066\u2069\u200f\u061c\u200b\ufeff":    `\u2066\u2069\u200f\u061c\u200b\ufeff`,
		"\u2028forged":                            `\u2028forged`,
		"\U000e0041":                              `\udb40\udc41`,
	} {
		require.Equal(t, want, human.Visible(text), "%q", text)
		require.Equal(t, want, human.Visible(want), "what is visible stays")
	}
	require.Equal(t, `a b \u001b c`, human.Line("a\nb \x1b\r\nc"))
}

// A character may arrive in pieces.
func TestTheWriterKeepsCharactersTogether(t *testing.T) {
	text := "漢\x1b字\u202e\U0001F600 end"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		w := human.NewVisibleWriter(&out)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			written, err := w.Write(rest[:n])
			require.NoError(t, err)
			require.Equal(t, n, written)
			rest = rest[n:]
		}
		require.Equal(t, `漢\u001b字\u202e`+"\U0001F600 end", out.String(), "pieces of %d bytes", size)
		require.Same(t, &out, human.Raw(w))
	}
}

// JSON stays JSON, with the same text in it.
func TestJSONStaysJSON(t *testing.T) {
	want := map[string]string{"reason": "\u009b2J\u202e\x7f\x1b\u2028 ok"}
	var out bytes.Buffer
	require.NoError(t, json.NewEncoder(human.NewVisibleWriter(&out)).Encode(want))
	require.NotContains(t, out.String(), "\u202e")
	var got map[string]string
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Equal(t, want, got)
}
