package report

import (
	"bytes"
	_ "embed"
	"html/template"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// HTML prints the report as one page that loads nothing: it can be mailed, printed and kept.
func HTML(r migration.Report, zone *time.Location) ([]byte, error) {
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, newView(r, zone)); err != nil {
		return nil, err
	}
	return []byte(human.Visible(out.String())), nil
}
