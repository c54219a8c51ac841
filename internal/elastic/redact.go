package elastic

import (
	"github.com/snapferry/snapferry/internal/human"
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

// beginning is the beginning of a text, of at most so many bytes, without secrets. To look through all
// of a bulk request of thousands of indices takes time inside the frozen window. So the rest is cut off
// first, and afterwards a spare with what the cut has left of a secret: keys are far shorter.
func (r *redactor) beginning(text []byte, most int) string {
	const spare = 8 << 10
	if len(text) <= most+spare {
		return human.Shorten(r.Text(string(text)), most)
	}
	kept := r.Text(string(text[:most+spare]))
	return human.Shorten(kept, max(min(most, len(kept)-spare), 0))
}

func (r *redactor) error(e *Error) {
	e.Reason = r.Text(e.Reason)
	e.Subject = r.Text(e.Subject)
	for i, cause := range e.Causes {
		e.Causes[i] = r.Text(cause)
	}
}
