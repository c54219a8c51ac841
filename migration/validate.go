package migration

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Problem is one thing that is wrong with a plan.
type Problem struct {
	// Field is the path of the field, such as source.repository.bucket.
	Field string `json:"field"`
	// Value is what stood there; empty if nothing did, or if it may be a secret.
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
	// Remedy says what to write instead.
	Remedy string `json:"remedy"`
}

func (p Problem) String() string {
	text := p.Field
	if p.Value != "" {
		text += " (" + p.Value + ")"
	}
	text += " " + p.Message
	if p.Remedy != "" {
		text += "; " + p.Remedy
	}
	return text
}

// InvalidPlanError lists everything that is wrong with a plan.
type InvalidPlanError struct{ Problems []Problem }

func (e *InvalidPlanError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, problem := range e.Problems {
		lines[i] = problem.String()
	}
	if len(lines) == 1 {
		return "the plan is not valid: " + lines[0]
	}
	return fmt.Sprintf("the plan is not valid (%d problems): %s", len(lines), strings.Join(lines, " | "))
}

var (
	planName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	// S3's rules for new buckets (3 to 63 characters) hold for OSS as well,
	// except that OSS allows no dot.
	bucketS3  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	bucketOSS = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	region    = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
	roleARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$`)
	basePath  = regexp.MustCompile(`^[A-Za-z0-9!_.'()-]+(/[A-Za-z0-9!_.'()-]+)*$`)
	hostname  = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+)$`)
	// secretName finds names of fields and settings that hold secrets.
	secretName = regexp.MustCompile(`(?i)secret|passw|token|access_?key|authorization|credential|private`)
	// Elasticsearch: MetaDataCreateIndexService.validateIndexName, with * for
	// patterns.
	indexPattern = regexp.MustCompile(`^[^A-Z\\/?"<>| ,#:+_-][^A-Z\\/?"<>| ,#:]*$`)
	s3Hostname   = regexp.MustCompile(`^[a-z0-9.-]+$`)
)

// ownSettings are repository settings that snapferry sets from fields of their
// own and that may therefore not be given among the further settings.
var ownSettings = []string{"bucket", "region", "endpoint", "base_path", "role_arn", "readonly", "access_key_id", "secret_access_key", "access_key", "secret_key", "security_token", "server_side_encryption"}

type checker struct{ problems []Problem }

func (c *checker) add(field, value, message, remedy string) {
	c.problems = append(c.problems, Problem{Field: field, Value: value, Message: message, Remedy: remedy})
}

func (c *checker) match(field, value string, pattern *regexp.Regexp, message, remedy string) {
	if !pattern.MatchString(value) {
		c.add(field, value, message, remedy)
	}
}

// Problems reports what is wrong with the values of a plan whose shape is right.
func (p Plan) problems() []Problem {
	var c checker
	c.match("name", p.Name, planName, "is not a usable name", "use up to 63 lower-case letters, digits and hyphens, for example name: movies")
	c.checkIndices(p.Indices)
	c.checkSource(p.Source)
	c.checkTarget(p.Target)
	c.checkEnums("", reflect.ValueOf(p))

	c.atMost("rounds.interval", p.Rounds.Interval)
	c.atMost("freeze.maxDuration", p.Freeze.MaxDuration)
	c.atMost("freeze.standstillTimeout", p.Freeze.StandstillTimeout)
	c.atMost("freeze.slotWait", p.Freeze.SlotWait)
	c.atMost("freeze.hotRoundAbove", p.Freeze.HotRoundAbove)
	c.checkThrottles(p)
	if p.Copy.Concurrency > MaxConcurrency {
		c.add("copy.concurrency", fmt.Sprint(p.Copy.Concurrency), fmt.Sprintf("must be from 1 to %d", MaxConcurrency), fmt.Sprintf("for example concurrency: %d", DefaultConcurrency))
	}
	if p.Copy.Pages > MaxPages {
		c.add("copy.pages", fmt.Sprint(p.Copy.Pages), fmt.Sprintf("must be from 1 to %d", MaxPages), fmt.Sprintf("for example pages: %d", DefaultPages))
	}
	c.atMost("rounds.until.window", p.Rounds.Until.Window)
	if p.Freeze.Auto && p.Rounds.Until.Window == 0 {
		c.add("freeze.auto", "true", "has nothing to wait for without rounds.until", "add rounds: {until: {window: 60s}}, or freeze by hand")
	}
	if p.Restore.Replicas > mostReplicas {
		c.add("restore.replicas", fmt.Sprint(p.Restore.Replicas), "is more than any cluster has nodes for", "for example replicas: 0")
	}
	if p.Freeze.StandstillTimeout >= p.Freeze.MaxDuration {
		c.add("freeze.standstillTimeout", p.Freeze.StandstillTimeout.String(), "must be less than freeze.maxDuration ("+p.Freeze.MaxDuration.String()+")", "for example standstillTimeout: "+(p.Freeze.MaxDuration/2).String())
	}
	if p.Cutover.Webhook.URL != "" && SecretRef(p.Cutover.Webhook.URL).Validate() != nil {
		c.checkURL("cutover.webhook.url", p.Cutover.Webhook.URL, true, "https://deploy.example.com/hooks/search-moved")
	}
	c.checkSecret("cutover.webhook.authorization", p.Cutover.Webhook.Authorization, false)
	if p.Cutover.Webhook.URL == "" && p.Cutover.Webhook.Authorization != "" {
		c.add("cutover.webhook.url", "", "is missing", "give the URL that is to be called, or leave cutover.webhook out")
	}
	return c.problems
}

func (c *checker) checkIndices(indices []string) {
	if len(indices) == 0 {
		c.add("indices", "", "names no index", "for example indices: [movies, \"logs-*\"]")
	}
	for i, name := range indices {
		field := fmt.Sprintf("indices[%d]", i)
		switch {
		case !indexPattern.MatchString(name) || name == "." || name == ".." || len(name) > 255 || strings.ToLower(name) != name || hasControl(name):
			c.add(field, name, "is no index name or pattern", "names are lower-case and begin with no _, - or +; * matches any characters; give one name an entry")
		case slices.Contains(indices[:i], name):
			c.add(field, name, "stands there twice", "remove one of the two")
		case strings.HasPrefix(name, ".") && strings.Contains(name, "*"):
			c.add(field, name, "is a pattern for internal indices", "name internal indices in full, if you are sure that the target should have them")
		}
	}
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) })
}

func (c *checker) checkSource(s Source) {
	c.checkURL("source.endpoint", s.Endpoint, false, "https://search-shop-abc123.ap-southeast-1.es.amazonaws.com")
	c.checkAuth("source.auth", s.Auth)
	r := s.Repository
	if strings.Contains(r.Bucket, "..") || net.ParseIP(r.Bucket) != nil {
		c.add("source.repository.bucket", r.Bucket, "is no S3 bucket name", "no two dots in a row and no IP address, for example bucket: shop-es-migration")
	}
	c.match("source.repository.bucket", r.Bucket, bucketS3, "is no S3 bucket name", "3 to 63 lower-case letters, digits, dots and hyphens, without s3:// and without a folder, for example bucket: shop-es-migration")
	c.match("source.repository.region", r.Region, region, "is no AWS region", "for example region: ap-southeast-1")
	c.match("source.repository.roleArn", r.RoleARN, roleARN, "is no IAM role's ARN", "for example roleArn: arn:aws:iam::123456789012:role/EsSnapshotRole")
	c.checkBasePath("source.repository.basePath", r.BasePath)
	if r.Endpoint != "" {
		c.match("source.repository.endpoint", r.Endpoint, s3Hostname, "must be a host name without a scheme", "for example endpoint: s3.amazonaws.com")
	}
	c.checkSettings("source.repository.settings", r.Settings)
	if r.Reader.Endpoint != "" {
		c.checkURL("source.repository.reader.endpoint", r.Reader.Endpoint, false, "https://s3.ap-southeast-1.amazonaws.com")
	}
}

func (c *checker) checkTarget(t Target) {
	c.checkURL("target.endpoint", t.Endpoint, false, "http://es-sg-abc123.elasticsearch.aliyuncs.com:9200")
	c.checkAuth("target.auth", t.Auth)
	r := t.Repository
	c.match("target.repository.bucket", r.Bucket, bucketOSS, "is no OSS bucket name", "3 to 63 lower-case letters, digits and hyphens, without oss:// and without a folder, for example bucket: shop-es-migration-sg")
	c.match("target.repository.region", r.Region, region, "is no Alibaba Cloud region", "without oss- in front, for example region: ap-southeast-1")
	c.checkURL("target.repository.endpoint", r.Endpoint, false, "http://oss-ap-southeast-1-internal.aliyuncs.com")
	c.checkURL("target.repository.writer.endpoint", r.Writer.Endpoint, false, "https://oss-ap-southeast-1.aliyuncs.com")
	c.checkBasePath("target.repository.basePath", r.BasePath)
	c.checkSettings("target.repository.settings", r.Settings)
	c.checkSecret("target.repository.accessKeyId", r.AccessKeyID, true)
	c.checkSecret("target.repository.secretAccessKey", r.SecretAccessKey, true)
	c.checkSecret("target.repository.writer.accessKeyId", r.Writer.AccessKeyID, true)
	c.checkSecret("target.repository.writer.accessKeySecret", r.Writer.AccessKeySecret, true)
	c.checkSecret("target.repository.writer.securityToken", r.Writer.SecurityToken, false)
}

func (c *checker) checkAuth(field string, auth Auth) {
	switch auth.Type {
	case AuthBasic:
		if auth.User == "" {
			c.add(field+".user", "", "is missing", "for example user: elastic")
		}
		c.checkSecret(field+".password", auth.Password, true)
	case AuthSigV4, AuthNone:
		if auth.Type == AuthSigV4 && auth.Region == "" {
			c.add(field+".region", "", "is missing", "for example region: ap-southeast-1")
		}
		if auth.User != "" || auth.Password != "" {
			c.add(field+".type", auth.Type, "takes no user and password", "write type: basic, or leave user and password out")
		}
	}
	if auth.Region != "" {
		c.match(field+".region", auth.Region, region, "is no AWS region", "for example region: ap-southeast-1")
	}
}

func (c *checker) checkBasePath(field, value string) {
	const longestPath = 200 // keys may be 1,023 bytes long on OSS, and some 150 come behind it
	if !basePath.MatchString(value) || len(value) > longestPath || strings.Contains("/"+value+"/", "/../") || strings.Contains("/"+value+"/", "/./") {
		c.add(field, value, "is no usable folder", "no slash at the beginning or the end and no spaces: OSS would look for keys that begin with a slash and find nothing; for example basePath: snapferry/movies")
	}
}

func (c *checker) checkSettings(field string, settings map[string]any) {
	for _, name := range slices.Sorted(mapKeys(settings)) {
		switch {
		case slices.Contains(ownSettings, strings.ToLower(name)):
			c.add(field+"."+name, "", "is set by snapferry itself", "use the plan's field for it, or leave it out")
		case secretName.MatchString(name):
			c.add(field+"."+name, "", "looks like a secret, which a plan must not hold", "leave it out; the plan's own fields take references to secrets")
		}
	}
}

func validPort(port string) bool {
	if port == "" {
		return true
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}

func (c *checker) checkSecret(field string, ref SecretRef, required bool) {
	if ref == "" {
		if required {
			c.add(field, "", "is missing", "give a reference to the secret: env:NAME or file:/PATH")
		}
		return
	}
	if err := ref.Validate(); err != nil {
		// The value is left out: it may be the secret.
		c.add(field, "", err.Error(), "")
	}
}

func (c *checker) checkURL(field, value string, path bool, example string) {
	parsed, err := url.Parse(value)
	name := field[strings.LastIndexByte(field, '.')+1:]
	remedy := fmt.Sprintf("for example %s: %s", name, example)
	switch {
	case err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "":
		c.add(field, "", "is no URL that begins with http:// or https://", remedy)
	case parsed.User != nil:
		c.add(field, "", "holds a user or password", "take it out of the URL and use auth with a reference to a secret")
	case parsed.RawQuery != "" || parsed.Fragment != "":
		// Not repeated: a query is where keys stand.
		c.add(field, "", "must have no query and no fragment", "if it holds a secret, give a reference (env:NAME or file:/PATH) where the field takes one; "+remedy)
	case !path && strings.Trim(parsed.Path, "/") != "":
		c.add(field, value, "must have nothing after the host and port", remedy)
	case !hostname.MatchString(parsed.Hostname()) || !validPort(parsed.Port()):
		c.add(field, value, "has no usable host and port", remedy)
	}
}

// mostReplicas is more than any cluster has nodes for.
const mostReplicas = 100

// longest bounds every duration of a plan: more is a slip of the pen.
const longest = Duration(30 * 24 * time.Hour)

func (c *checker) atMost(field string, value Duration) {
	if value > longest {
		name := field[strings.LastIndexByte(field, '.')+1:]
		c.add(field, value.String(), "must be at most "+longest.String(), fmt.Sprintf("for example %s: 15m", name))
	}
}

// checkEnums holds every field with an enum tag to its values.
func (c *checker) checkEnums(path string, value reflect.Value) {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name := join(path, fieldName(field))
		if field.Type.Kind() == reflect.Struct {
			c.checkEnums(name, value.Field(i))
			continue
		}
		allowed := field.Tag.Get("enum")
		if allowed == "" || value.Field(i).String() == "" {
			continue
		}
		if !slices.Contains(strings.Split(allowed, ","), value.Field(i).String()) {
			c.add(name, value.Field(i).String(), "is none of the allowed values", "use one of "+strings.ReplaceAll(allowed, ",", ", "))
		}
	}
}
