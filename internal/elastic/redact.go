package elastic

import (
	"github.com/snapferry/snapferry/internal/redact"
)

// redactor removes from texts known secrets and whatever looks like a secret. All calls of a client
// share it.
type redactor struct{ redact.Redactor }

// addSettings adds the secrets among a repository's settings.
func (r *redactor) addSettings(settings map[string]any) {
	for name, value := range settings {
		if text, ok := value.(string); ok && redact.Sensitive.MatchString(name) {
			r.Add(text)
		}
	}
}

func (r *redactor) error(e *Error) {
	e.Reason = r.Text(e.Reason)
	e.Subject = r.Text(e.Subject)
	for i, cause := range e.Causes {
		e.Causes[i] = r.Text(cause)
	}
}
