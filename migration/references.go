package migration

import (
	"fmt"
	"slices"
	"strings"
)

// Reference is a reference to a secret or a file of the worker, with the plan's field that holds it.
type Reference struct {
	Field string
	Ref   SecretRef
}

// References lists what a plan refers to. Fields that are empty, or that hold no reference, are left
// out.
func (p Plan) References() []Reference {
	source, target := p.Source.Repository, p.Target.Repository
	var found []Reference
	for _, r := range append([]Reference{
		{"source.auth.password", p.Source.Auth.Password},
		{"source.caFile", caReference(p.Source.CAFile)},
		{"source.repository.reader.caFile", caReference(source.Reader.CAFile)},
		{"target.auth.password", p.Target.Auth.Password},
		{"target.caFile", caReference(p.Target.CAFile)},
		{"target.repository.accessKeyId", target.AccessKeyID},
		{"target.repository.secretAccessKey", target.SecretAccessKey},
		{"target.repository.writer.accessKeyId", target.Writer.AccessKeyID},
		{"target.repository.writer.accessKeySecret", target.Writer.AccessKeySecret},
		{"target.repository.writer.securityToken", target.Writer.SecurityToken},
		{"target.repository.writer.caFile", caReference(target.Writer.CAFile)},
		{"cutover.webhook.url", p.Cutover.Webhook.reference()},
		{"cutover.webhook.authorization", p.Cutover.Webhook.Authorization},
	}, p.Notify.references()...) {
		if r.Ref != "" {
			found = append(found, r)
		}
	}
	p.Hooks.each(func(_ HookMoment, field string, hook Hook) {
		found = append(found, hook.HTTP.references(field+".http")...)
	})
	return found
}

// references are those of an HTTP call.
func (h HookHTTP) references(field string) (found []Reference) {
	if isReference(h.URL) {
		found = append(found, Reference{field + ".url", SecretRef(h.URL)})
	}
	for _, name := range slices.Sorted(mapKeys(h.Headers)) {
		if isReference(h.Headers[name]) {
			found = append(found, Reference{field + ".headers." + name, SecretRef(h.Headers[name])})
		}
	}
	if h.SigningSecret != "" {
		found = append(found, Reference{field + ".signingSecret", h.SigningSecret})
	}
	return found
}

// references are those of all receivers. Some may be empty.
func (n Notify) references() (found []Reference) {
	for i, r := range n.Receivers {
		field := fmt.Sprintf("notify.receivers[%d].", i)
		found = append(found, Reference{field + "url", r.URL}, Reference{field + "authorization", r.Authorization},
			Reference{field + "signingSecret", r.SigningSecret}, Reference{field + "caFile", caReference(r.CAFile)},
			Reference{field + "email.password", r.Email.Password})
	}
	return found
}

// endpoints are the mail servers. The URLs of webhooks are references.
func (n Notify) endpoints() (found []Endpoint) {
	for i, r := range n.Receivers {
		found = append(found, Endpoint{fmt.Sprintf("notify.receivers[%d].email.server", i), r.Email.Server})
	}
	return found
}

func caReference(path string) SecretRef {
	if path == "" {
		return ""
	}
	return SecretRef("file:" + path)
}

// reference is the webhook's URL if that is a reference.
func (w Webhook) reference() SecretRef {
	if ref := SecretRef(w.URL); ref.Validate() == nil {
		return ref
	}
	return ""
}

// Endpoint is a URL or host that a plan names, with its field.
type Endpoint struct{ Field, URL string }

// Endpoints lists the endpoints that a plan names, also those in the settings of repositories. Fields
// that are empty are left out, and so is a webhook's URL that is a reference.
func (p Plan) Endpoints() []Endpoint {
	source, target := p.Source.Repository, p.Target.Repository
	var found []Endpoint
	for _, e := range append([]Endpoint{
		{"source.endpoint", p.Source.Endpoint},
		{"source.repository.endpoint", source.Endpoint},
		{"source.repository.reader.endpoint", source.Reader.Endpoint},
		{"target.endpoint", p.Target.Endpoint},
		{"target.repository.endpoint", target.Endpoint},
		{"target.repository.writer.endpoint", target.Writer.Endpoint},
		{"cutover.webhook.url", p.Cutover.Webhook.URL},
	}, p.Notify.endpoints()...) {
		if e.URL != "" && SecretRef(e.URL).Validate() != nil {
			found = append(found, e)
		}
	}
	p.Hooks.each(func(_ HookMoment, field string, hook Hook) {
		if hook.HTTP.URL != "" && !isReference(hook.HTTP.URL) {
			found = append(found, Endpoint{field + ".http.url", hook.HTTP.URL})
		}
	})
	found = append(found, settingEndpoints("source.repository.settings", source.Settings)...)
	return append(found, settingEndpoints("target.repository.settings", target.Settings)...)
}

// RegisteredEndpoints are those of Endpoints to which a cluster connects by its registration of the
// repository: that of the source, or that of the target.
func (p Plan) RegisteredEndpoints(side string) []Endpoint {
	field := side + ".repository."
	return slices.DeleteFunc(p.Endpoints(), func(e Endpoint) bool {
		name, own := strings.CutPrefix(e.Field, field)
		return !own || name != "endpoint" && !strings.HasPrefix(name, "settings.")
	})
}
