package migration

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWebhookWhoseURLIsASecretIsNoticed(t *testing.T) {
	for _, secret := range []string{
		"https://hooks.slack.com/services/T0AAA0AAA/B0AAA0AAA/abcdefghijklmnopqrstuvwx",
		"https://discord.com/api/webhooks/123456789012345678/aB3dE-fG",
		"https://shop.webhook.office.com/webhookb2/x",
		"https://chat.example.com/hooks/xq3nqdyt5t8n7mdhf9k1ab7zcw", // Mattermost
		"https://ci.example.com/trigger/3f2504e0-4f89-11d3-9a0c-0305e82c3301",
		"https://api.telegram.org/bot123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11/sendMessage",
		"https://example.com/h/9f86d081884c7d65",
		"https://example.com/h/aBcDeFgHiJkLmN",
	} {
		plan := Plan{Cutover: Cutover{Webhook: Webhook{URL: secret}}}
		problems := plan.Exposed()
		require.Len(t, problems, 1, secret)
		require.NotContains(t, problems[0].String(), "http", "the URL isn't repeated")
		require.Contains(t, problems[0].String(), "env:SNAPFERRY_SECRET_WEBHOOK_URL")
	}
	for _, harmless := range []string{
		"", "env:SNAPFERRY_SECRET_WEBHOOK_URL", "file:/run/secrets/webhook-url",
		"https://deploy.example.com/hooks/search-moved", "http://127.0.0.1:1/hook", "https://hooks.slack.com",
		"https://deploy.example.com/api/v2/projects/searchMigration2026/notifications",
		"https://jenkins.example.com/job/switch-applications-to-new-cluster/build",
		"https://example.com/pipelines/20261201/run",
	} {
		require.Empty(t, Plan{Cutover: Cutover{Webhook: Webhook{URL: harmless}}}.Exposed(), harmless)
	}
}
