package migration

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// Exposed says where a plan holds a secret in clear. It is asked when a plan is read from a file and
// in preflight, and is no part of a plan's validation: a migration that runs keeps its plan.
func (p Plan) Exposed() []Problem {
	var problems []Problem
	check := func(field, url, variable string) {
		if secretPath(url) {
			problems = append(problems, Problem{ // the value stays out of the message
				Field:   field,
				Message: "has a secret in its path: whoever may read the workflow could send messages in your name",
				Remedy: "put the URL into the worker's environment or into a file, and write the reference, for " +
					"example url: env:SNAPFERRY_SECRET_" + variable,
			})
		}
	}
	check("cutover.webhook.url", p.Cutover.Webhook.URL, "WEBHOOK_URL")
	p.Hooks.each(func(_ HookMoment, field string, hook Hook) {
		check(field+".http.url", hook.HTTP.URL, "HOOK_URL")
	})
	return problems
}

// webhookHosts are services whose webhooks are secrets as a whole. A dot in front stands for all
// hosts below.
var webhookHosts = []string{
	"hooks.slack.com", "hooks.slack-gov.com", "hooks.zapier.com", "hooks.chime.aws", "webhook.site",
	"api.telegram.org", "maker.ifttt.com", "oapi.dingtalk.com", "open.feishu.cn", "open.larksuite.com",
	"qyapi.weixin.qq.com", "chat.googleapis.com", "outlook.office.com", "outlook.office365.com",
	".webhook.office.com", ".logic.azure.com", ".api.powerplatform.com", ".discord.com", ".discordapp.com",
	"events.pagerduty.com", ".m.pipedream.net", "hook.eu1.make.com", ".make.com",
}

var uuid = regexp.MustCompile(`(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// secretPath tells whether a URL's path gives access by itself.
func secretPath(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	path := strings.Trim(u.Path, "/")
	if path == "" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	for _, known := range webhookHosts {
		if host == strings.TrimPrefix(known, ".") || known[0] == '.' && strings.HasSuffix(host, known) {
			return true
		}
	}
	if uuid.MatchString(path) {
		return true
	}
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/-_.~:+", r) }) {
		if opaque(word) {
			return true
		}
	}
	return false
}

// opaque tells a token from a word: it is long, and has digits or capitals where words have none.
func opaque(word string) bool {
	const longestWord, shortestToken = 23, 12
	letters, capitals, changes := 0, 0, 0
	var before rune
	for i, r := range word {
		if i > 0 && unicode.IsDigit(r) != unicode.IsDigit(before) {
			changes++ // a year at the end is one, a token has many
		}
		if before = r; unicode.IsDigit(r) {
			continue
		}
		letters++
		if i > 0 && unicode.IsUpper(r) {
			capitals++
		}
	}
	switch {
	case len(word) > longestWord:
		return true
	case len(word) < shortestToken:
		return false
	}
	return changes > 2 || capitals > 3 && capitals < letters
}
