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

// HTML prints the report as one page that loads nothing: it can be mailed, printed and kept.
func HTML(r migration.Report, zone *time.Location) ([]byte, error) {
	var out bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&out, "page.html", newView(r, zone)); err != nil {
		return nil, err
	}
	return []byte(human.Visible(out.String())), nil
}
