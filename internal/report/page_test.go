package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// element is a part of a page, with all text below it.
type element struct {
	name, text string
	attributes map[string]string
	parts      []*element
	written    strings.Builder // what becomes the text
}

// unclosed are the elements of HTML that a page doesn't close.
var unclosed = regexp.MustCompile(`<(meta|br)([^>]*)>`)

// parsed reads a page as strictly as XML: each element has to end where it should. None may load
// something.
func parsed(t *testing.T, page []byte) *element {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(unclosed.ReplaceAll(page, []byte("<$1$2/>"))))
	decoder.Entity = xml.HTMLEntity
	open := []*element{{name: "page"}}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			require.Len(t, open, 1)
			open[0].text = open[0].written.String()
			return open[0]
		}
		require.NoError(t, err)
		last := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attributes: map[string]string{}}
			for _, attribute := range token.Attr {
				name := attribute.Name.Local
				require.NotContains(t, []string{"src", "href"}, name, "a page loads nothing")
				require.False(t, strings.HasPrefix(name, "on"), "%s is a script", name)
				e.attributes[name] = attribute.Value
			}
			last.parts = append(last.parts, e)
			open = append(open, e)
		case xml.EndElement:
			last.text = last.written.String()
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.written.Write(token)
			}
		}
	}
}

func pageOf(t *testing.T, r migration.Report, sent *Transcript) *element {
	t.Helper()
	page, err := HTML(r, sent, time.UTC)
	require.NoError(t, err)
	for _, odd := range []string{"NaN", "Inf", "ZgotmplZ", "e-0"} {
		require.NotContains(t, string(page), odd)
	}
	return parsed(t, page)
}

// all finds the elements of a name below this one, in the order of the page.
func (e *element) all(name string) (found []*element) {
	for _, part := range e.parts {
		if part.name == name {
			found = append(found, part)
		}
		found = append(found, part.all(name)...)
	}
	return found
}

// with finds those of a class.
func with(elements []*element, class string) (found []*element) {
	for _, e := range elements {
		if e.attributes["class"] == class {
			found = append(found, e)
		}
	}
	return found
}

// picture is the one of this title.
func (e *element) picture(t *testing.T, title string) *element {
	t.Helper()
	for _, svg := range e.all("svg") {
		if titles := svg.all("title"); len(titles) > 0 && titles[0].text == title {
			require.Equal(t, "img", svg.attributes["role"])
			require.NotEmpty(t, svg.all("desc")[0].text)
			return svg
		}
	}
	t.Fatalf("there is no picture %s", title)
	return nil
}

func (e *element) percent(t *testing.T, attribute string) float64 {
	t.Helper()
	text, ok := strings.CutSuffix(e.attributes[attribute], "%")
	require.True(t, ok, "%s of %v", attribute, e.attributes)
	number, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return number
}
