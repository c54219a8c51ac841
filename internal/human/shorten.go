package human

import "strings"

// Shorten gives a text of at most so many bytes, and " ..." behind it if something was cut off. It
// never cuts within a character.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}
