package elastic

import (
	"context"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"

	"github.com/snapferry/snapferry/internal/redact"
)

// Repository is a snapshot repository's registration.
type Repository struct {
	Type     string         // "s3" on the source, "oss" on the target
	Settings map[string]any // e.g. bucket, base_path, role_arn, readonly
}

// PutRepository registers a repository, or changes its registration, and has the cluster verify it.
// With the same settings it changes nothing. A read-only repository is hardly verified (5.x: not at
// all), so list its snapshots afterwards. Secrets among the settings are redacted from all later
// errors.
//
// [Rejected] with causes for a bucket, path or key that can't be used. [SlotTaken] while a snapshot
// or restore uses the repository. [Unauthorized] if Amazon doesn't let the caller pass the role.
func (c *Client) PutRepository(ctx context.Context, name string, repository Repository) error {
	return c.putRepository(ctx, call{operation: "register repository", subject: name, slow: true}, name, repository,
		nil)
}

// ChangeRepository is PutRepository without the verification, which writes to the store from every
// node. It is for settings that don't affect access to the store, such as limits. It replaces the
// complete registration, so give all settings. To repeat it is harmless. [SlotTaken] while a
// snapshot or restore uses the repository.
func (c *Client) ChangeRepository(ctx context.Context, name string, repository Repository) error {
	return c.putRepository(ctx, call{operation: "change repository", subject: name, slow: true}, name, repository,
		ptr(false))
}

func (c *Client) putRepository(ctx context.Context, what call, name string, repository Repository, verify *bool) error {
	if err := oneName("repository", name); err != nil {
		return c.fail(what, Invalid, err.Error())
	}
	c.redactor.addSettings(repository.Settings)
	settings := repository.Settings
	if settings == nil {
		settings = map[string]any{}
	}
	request := struct {
		Type     string         `json:"type"`
		Settings map[string]any `json:"settings"`
	}{repository.Type, settings}
	wait := c.patience(ctx, what)
	return c.acknowledge(ctx, what, esapi.SnapshotCreateRepositoryRequest{
		Repository: segment(name), Body: body(request), Verify: verify,
		MasterTimeout: wait.master, Timeout: wait.nodes,
	})
}

// Repositories gives the types of the registered repositories by name, the vendor's own included.
// It doesn't read their settings, which on 5.x hold secrets in clear text.
func (c *Client) Repositories(ctx context.Context) (map[string]string, error) {
	var answer map[string]struct {
		Type string `json:"type"`
	}
	err := c.do(ctx, call{operation: "list repositories"},
		esapi.SnapshotGetRepositoryRequest{FilterPath: []string{"*.type"}}, &answer)
	if err != nil {
		return nil, err
	}
	types := make(map[string]string, len(answer))
	for name, repository := range answer {
		types[name] = repository.Type
	}
	return types, nil
}

// GetRepository reads a registration. It replaces the values of secret settings, which the OSS
// plugin 5.5.3 returns in clear text. [Missing] if there is none.
func (c *Client) GetRepository(ctx context.Context, name string) (Repository, error) {
	what := call{operation: "read repository", subject: name}
	if err := oneName("repository", name); err != nil {
		return Repository{}, c.fail(what, Invalid, err.Error())
	}
	var answer map[string]struct {
		Type     string         `json:"type"`
		Settings map[string]any `json:"settings"`
	}
	if err := c.do(ctx, what, esapi.SnapshotGetRepositoryRequest{Repository: []string{segment(name)}},
		&answer); err != nil {
		return Repository{}, err
	}
	found, ok := answer[name]
	if !ok {
		return Repository{}, c.fail(what, Missing, "no such repository")
	}
	c.redactor.addSettings(found.Settings)
	hide(found.Settings)
	return Repository{found.Type, found.Settings}, nil
}

// hide replaces secrets, also in nested settings ("client": {"default": {"access_key": ..}}).
func hide(settings map[string]any) {
	for name, value := range settings {
		if nested, ok := value.(map[string]any); ok {
			hide(nested)
		} else if redact.Sensitive.MatchString(name) && !strings.HasSuffix(name, "_path") {
			settings[name] = redact.Mark
		}
	}
}

// Hidden names, sorted, the settings of which [Client.GetRepository] has replaced the value or a
// part of it.
func (r Repository) Hidden() []string {
	var names []string
	for name, value := range r.Settings {
		if hides(value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func hides(value any) bool {
	nested, ok := value.(map[string]any)
	if !ok {
		return value == redact.Mark
	}
	for _, part := range nested {
		if hides(part) {
			return true
		}
	}
	return false
}

// DeleteRepository removes a registration, never its objects. A repository that doesn't exist
// counts as removed. [SlotTaken] while a snapshot or restore uses it.
func (c *Client) DeleteRepository(ctx context.Context, name string) error {
	what := call{operation: "unregister repository", subject: name, changes: true}
	if err := oneName("repository", name); err != nil {
		return c.fail(what, Invalid, err.Error())
	}
	wait := c.patience(ctx, what)
	err := c.acknowledge(ctx, what, esapi.SnapshotDeleteRepositoryRequest{
		Repository: []string{segment(name)}, MasterTimeout: wait.master, Timeout: wait.nodes,
	})
	if KindOf(err) == Missing || Unacknowledged(err) {
		return nil
	}
	return err
}
