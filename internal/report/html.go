package report

import (
	"bytes"
	"embed"
	"html/template"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

//go:embed *.html
var pages embed.FS

// pageTemplates are the pages, which share their style.
var pageTemplates = template.Must(template.ParseFS(pages, "*.html"))

// HTML prints the report as one page that loads nothing: it can be mailed, printed and kept. Without
// a transcript, the page has no word of it.
func HTML(r migration.Report, t *Transcript, zone *time.Location) ([]byte, error) {
	v := newView(r, zone)
	v.Chart, v.Sent = newChart(r, zone), newSentView(t, r, zone)
	var out bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&out, "page.html", v); err != nil {
		return nil, err
	}
	return []byte(human.Visible(out.String())), nil
}
