package human

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Visible makes a text harmless for a terminal, a log and a page: what clusters, front ends and
// people said may hold sequences that write to the clipboard, move the cursor, or turn the
// direction of the text. Such a character is shown as \u and its number, which is also how JSON
// writes it. Line feeds and tabs stay.
func Visible(text string) string {
	if !strings.ContainsFunc(text, hostile) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + 16)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			out.WriteString(fmt.Sprintf(`\u%04x`, text[i])) // not UTF-8: some terminals read it as C1
		case hostile(r):
			for _, unit := range utf16.Encode([]rune{r}) {
				out.WriteString(fmt.Sprintf(`\u%04x`, unit))
			}
		default:
			out.WriteString(text[i : i+size])
		}
		i += size
	}
	return out.String()
}

// Line is Visible on one line: whoever may choose a text can't make up lines of their own.
func Line(text string) string {
	return Visible(strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(text))
}

// hostile tells characters that a terminal acts upon, or that make a text look like another one.
func hostile(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case unicode.IsControl(r): // C0, DEL and C1
		return true
	case r == '\u2028', r == '\u2029': // line and paragraph separator
		return true
	case r == '\u00ad', r == '\ufeff', r >= '\ufff9' && r <= '\ufffb':
		return true // soft hyphen, byte order mark, interlinear annotations
	case r == '\u061c', r >= '\u200b' && r <= '\u200f', r >= '\u202a' && r <= '\u202e',
		r >= '\u2060' && r <= '\u2069': // direction, and what has no width
		return true
	case r >= 0xe0000 && r <= 0xe007f: // tags: text that nobody sees
		return true
	}
	return false
}

// VisibleWriter passes everything on through Visible. It keeps the bytes of a character that is not
// complete until the next call.
type VisibleWriter struct {
	to   io.Writer
	rest []byte
}

// NewVisibleWriter makes a VisibleWriter. It must not be shared between goroutines.
func NewVisibleWriter(to io.Writer) *VisibleWriter { return &VisibleWriter{to: to} }

func (w *VisibleWriter) Write(p []byte) (int, error) {
	text := append(w.rest, p...)
	end := len(text) - len(incomplete(text))
	w.rest = append([]byte(nil), text[end:]...)
	if _, err := io.WriteString(w.to, Visible(string(text[:end]))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// incomplete is the beginning of a character at the end of a text.
func incomplete(text []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		last := text[len(text)-n:]
		if utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return last
			}
			return nil
		}
	}
	return nil
}

// Raw is the writer behind a VisibleWriter, for a program's own escape sequences; any other writer
// stays as it is.
func Raw(w io.Writer) io.Writer {
	if visible, ok := w.(*VisibleWriter); ok {
		return visible.to
	}
	return w
}
