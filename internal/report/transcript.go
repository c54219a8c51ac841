package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/snapferry/snapferry/migration"
)

// Console is an exchange in the form that the console of Kibana's Dev Tools takes: a comment, the
// request, and its answer as a comment.
func Console(e migration.Exchange) string {
	var text strings.Builder
	attempt := ""
	if e.Attempt > 1 {
		attempt = fmt.Sprintf(" (attempt %d)", e.Attempt)
	}
	fmt.Fprintf(&text, "# %s, %s, %s%s: ", e.At.UTC().Format("2006-01-02 15:04:05.000"), e.Side, e.Step, attempt)
	if e.Status > 0 {
		fmt.Fprintf(&text, "%d after %d ms\n", e.Status, e.Millis)
	} else {
		fmt.Fprintf(&text, "no answer after %d ms: %s\n", e.Millis, oneLine(e.Failure))
	}
	fmt.Fprintf(&text, "%s %s\n", e.Method, e.Path)
	if body := strings.TrimRight(e.Body, "\n"); body != "" {
		text.WriteString(consoleBody(body) + "\n")
	}
	if answer := oneLine(e.Answer); answer != "" {
		text.WriteString("# " + answer + "\n")
	}
	return text.String()
}

// consoleBody shows JSON over several lines. What is no JSON, such as the lines of a bulk request or a
// body that was cut off, stays as it is.
func consoleBody(body string) string {
	var pretty bytes.Buffer
	if json.Indent(&pretty, []byte(body), "", "  ") != nil {
		return body
	}
	return pretty.String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
