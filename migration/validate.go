package migration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
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
	// Value is what the plan has there; empty if it has nothing, or if it may be a secret.
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

func (e *InvalidPlanError) Error() string { return notValid("the plan", e.Problems) }

// notValid says on one line what is wrong with it.
func notValid(it string, problems []Problem) string {
	lines := make([]string, len(problems))
	for i, problem := range problems {
		lines[i] = problem.String()
	}
	if len(lines) == 1 {
		return it + " is not valid: " + lines[0]
	}
	return fmt.Sprintf("%s is not valid (%d problems): %s", it, len(lines), strings.Join(lines, " | "))
}

var (
	planName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	// S3's rules for new buckets (3 to 63 characters) are those of OSS too, but OSS allows no dot.
	bucketS3  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	bucketOSS = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	region    = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
	roleARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$`)
	basePath  = regexp.MustCompile(`^[A-Za-z0-9!_.'()-]+(/[A-Za-z0-9!_.'()-]+)*$`)
	hostname  = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+)$`)
	// secretName finds names of fields and settings that sound like a secret's.
	secretName = regexp.MustCompile(`(?i)secret|passw|token|access_?key|authorization|credential|private`)
	// Elasticsearch: MetaDataCreateIndexService.validateIndexName, with * for patterns, and with -
	// before what is excluded. Up to 6.x a name may hold a colon.
	indexPattern = regexp.MustCompile(`^(-[^A-Z\\/?"<>| ,#]+|[^A-Z\\/?"<>| ,#+_-][^A-Z\\/?"<>| ,#]*)$`)
	s3Hostname   = regexp.MustCompile(`^[a-z0-9.-]+$`)
)

// ownSettings are repository settings that snapferry sets from other fields of the plan. The plan's
// own settings must not contain them.
var ownSettings = []string{
	"bucket", "region", "endpoint", "base_path", "role_arn", "readonly", "access_key_id", "secret_access_key",
	"access_key", "secret_key", "security_token", "server_side_encryption",
}

type checker struct{ problems []Problem }

func (c *checker) add(field, value, message, remedy string) {
	c.problems = append(c.problems, Problem{Field: field, Value: value, Message: message, Remedy: remedy})
}

func (c *checker) match(field, value string, pattern *regexp.Regexp, message, remedy string) {
	if !pattern.MatchString(value) {
		c.add(field, value, message, remedy)
	}
}

// MaxPlan is how large a plan may be, in bytes of JSON with all defaults: it is a part of what each
// activity is told, and a payload may have 256 KB.
const MaxPlan = 128 << 10

// allProblems reports what is wrong with the values of a plan whose shape is right.
func (p Plan) allProblems() []Problem { return append(p.problems(), p.newerProblems()...) }

// newerProblems are those by the rules that came after problems was closed: a new rule goes here.
func (p Plan) newerProblems() []Problem {
	var c checker
	if size := p.size(); size > MaxPlan {
		c.add("indices", "", fmt.Sprintf("makes the plan too large: it has %d bytes as JSON, and at most %d are "+
			"possible", size, MaxPlan), "use patterns such as \"logs-*\" instead of names")
	}
	c.checkReferences("", reflect.ValueOf(p))
	c.checkHooks(p)
	c.checkNotify(p)
	return c.problems
}

// checkReferences finds references that no worker reads, whatever its flags are.
func (c *checker) checkReferences(path string, value reflect.Value) {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name := join(path, fieldName(field))
		switch {
		case field.Type.Kind() == reflect.Struct:
			c.checkReferences(name, value.Field(i))
		case ofStructs(field.Type):
			for n := range value.Field(i).Len() {
				c.checkReferences(fmt.Sprintf("%s[%d]", name, n), value.Field(i).Index(n))
			}
		}
		if ref, ok := value.Field(i).Interface().(SecretRef); ok && ref.ownOfWorker() {
			c.add(name, string(ref), ownOfWorkerProblem, ownOfWorkerRemedy)
		}
	}
}

const (
	ownOfWorkerProblem = "belongs to the worker itself, and no worker reads it for a plan"
	ownOfWorkerRemedy  = "use a variable of its own, for example env:SNAPFERRY_SECRET_TARGET_PASSWORD"
)

// ofStructs tells whether a field is a list of objects.
func ofStructs(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

func (p Plan) size() int {
	text, err := json.Marshal(p)
	if err != nil {
		return 0 // decoding has reported it
	}
	return len(text)
}

// problems are those by the first rules. It is closed: migrations whose runs don't remember their
// plan check it again at each replay by these, and one that is refused stands still for ever.
func (p Plan) problems() []Problem {
	var c checker
	c.match("name", p.Name, planName, "is not a valid name",
		"use up to 63 lower-case letters, digits and hyphens, for example name: movies")
	c.checkIndices(p.Indices)
	c.checkSource(p.Source)
	c.checkTarget(p.Target)
	c.checkEnums("", reflect.ValueOf(p))

	c.atMost("rounds.interval", p.Rounds.Interval)
	c.atMost("freeze.maxDuration", p.Freeze.MaxDuration)
	c.atMost("freeze.standstillTimeout", p.Freeze.StandstillTimeout)
	c.atMost("freeze.slotWait", p.Freeze.SlotWait)
	c.atMost("freeze.hotRoundAbove", p.Freeze.HotRoundAbove)
	c.atMost("freeze.pipeline.from", p.Freeze.Pipeline.From)
	c.upTo("freeze.pipeline.groups", p.Freeze.Pipeline.Groups, 0, MaxGroups, 0)
	c.checkThrottles(p)
	c.upTo("copy.concurrency", p.Copy.Concurrency, 1, MaxConcurrency, DefaultConcurrency)
	c.upTo("copy.pages", p.Copy.Pages, 1, MaxPages, DefaultPages)
	c.upTo("restore.replicas", p.Restore.Replicas, 0, mostReplicas, 0)
	c.atMost("rounds.until.window", p.Rounds.Until.Window)
	c.upTo("rounds.fullEvery", p.Rounds.FullEvery, 0, mostFullEvery, 0)
	if p.Freeze.Auto && p.Rounds.Until.Window == 0 {
		c.add("freeze.auto", "true", "needs rounds.until.window, which says when to freeze",
			"add rounds: {until: {window: 60s}}, or leave freeze.auto out and send freeze yourself")
	}
	if p.Freeze.StandstillTimeout >= p.Freeze.MaxDuration {
		c.add("freeze.standstillTimeout", p.Freeze.StandstillTimeout.String(),
			"must be less than freeze.maxDuration ("+p.Freeze.MaxDuration.String()+")",
			"for example standstillTimeout: "+(p.Freeze.MaxDuration/2).String())
	}
	if p.Cutover.Webhook.URL != "" && SecretRef(p.Cutover.Webhook.URL).Validate() != nil {
		c.checkURL("cutover.webhook.url", p.Cutover.Webhook.URL, true, "https://deploy.example.com/hooks/search-moved")
	}
	c.checkSecret("cutover.webhook.authorization", p.Cutover.Webhook.Authorization, false)
	if p.Cutover.Webhook.URL == "" && p.Cutover.Webhook.Authorization != "" {
		c.add("cutover.webhook.url", "", "is missing", "write the URL to call, or leave cutover.webhook out")
	}
	return c.problems
}

func (c *checker) checkIndices(indices []string) {
	if len(indices) == 0 {
		c.add("indices", "", "is empty", "for example indices: [movies, \"logs-*\"]")
	}
	selection := Plan{Indices: indices}.Selection()
	if len(indices) > 0 && len(selection.Names)+len(selection.Patterns) == 0 {
		c.add("indices", "", "only excludes", "add what to migrate, for example indices: [\"*\", \"-logs-debug-*\"]")
	}
	listed := map[string]bool{}
	for i, entry := range indices {
		field := fmt.Sprintf("indices[%d]", i)
		name, excluded := strings.CutPrefix(entry, Exclusion)
		rule := brokenRule(name)
		if !excluded && strings.HasPrefix(name, "+") {
			rule = "it begins with +"
		}
		switch {
		case rule != "":
			c.add(field, entry, "is not an index name or pattern: "+rule,
				"write one name per entry; * matches any characters, and - before a name or pattern leaves out what "+
					"the patterns match")
		case listed[entry]:
			c.add(field, entry, "is listed twice", "remove one of the two")
		case excluded && slices.Contains(selection.Names, name):
			c.add(field, entry, "excludes an index that is listed", "remove one of the two: only what a pattern "+
				"matches can be excluded")
		case !excluded && strings.HasPrefix(name, ".") && strings.Contains(name, "*"):
			c.add(field, name, "is a pattern for internal indices",
				"if the target should have internal indices, write their names in full")
		}
		listed[entry] = true
	}
}

// forbiddenInNames no index name may hold in any version. A colon may be in one up to 6.x.
const forbiddenInNames = `\/?"<>|,#`

// brokenRule says which of Elasticsearch's rules a name or pattern breaks; empty if it breaks none.
func brokenRule(name string) string {
	switch at := strings.IndexAny(name, forbiddenInNames); {
	case name == "":
		return "it is empty"
	case name == "." || name == "..":
		return "it is no name"
	case len(name) > LongestIndexName:
		return fmt.Sprintf("it is longer than %d bytes", LongestIndexName)
	case hasControl(name):
		return "it contains a space or a control character"
	case at >= 0:
		return "it contains " + name[at:at+1]
	case strings.ToLower(name) != name:
		return "it is not in lower case"
	case strings.HasPrefix(name, "_"):
		return "it begins with _"
	}
	return ""
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) })
}

func (c *checker) checkSource(s Source) {
	c.checkURL("source.endpoint", s.Endpoint, false, "https://search-shop-abc123.ap-southeast-1.es.amazonaws.com")
	c.checkCAFile("source.caFile", s.CAFile, s.Endpoint)
	c.checkAuth("source.auth", s.Auth)
	r := s.Repository
	if strings.Contains(r.Bucket, "..") || net.ParseIP(r.Bucket) != nil {
		c.add("source.repository.bucket", r.Bucket, "is not an S3 bucket name",
			"no two dots in a row and no IP address, for example bucket: shop-es-migration")
	}
	c.match("source.repository.bucket", r.Bucket, bucketS3, "is not an S3 bucket name",
		"use 3 to 63 lower-case letters, digits, dots and hyphens, without s3:// and without a folder, "+
			"for example bucket: shop-es-migration")
	c.match("source.repository.region", r.Region, region, "is not an AWS region", "for example region: ap-southeast-1")
	c.match("source.repository.roleArn", r.RoleARN, roleARN, "is not the ARN of an IAM role",
		"for example roleArn: arn:aws:iam::123456789012:role/EsSnapshotRole")
	c.checkBasePath("source.repository.basePath", r.BasePath)
	if r.Endpoint != "" {
		c.match("source.repository.endpoint", r.Endpoint, s3Hostname, "must be a host name without a scheme",
			"for example endpoint: s3.amazonaws.com")
	}
	c.checkSettings("source.repository.settings", r.Settings)
	c.checkSizes("source.repository.settings", r.Settings, sourceSizes)
	if r.Reader.Endpoint != "" {
		c.checkURL("source.repository.reader.endpoint", r.Reader.Endpoint, false,
			"https://s3.ap-southeast-1.amazonaws.com")
	}
	c.checkCAFile("source.repository.reader.caFile", r.Reader.CAFile, r.Reader.Endpoint)
}

func (c *checker) checkTarget(t Target) {
	c.checkURL("target.endpoint", t.Endpoint, false, "http://es-sg-abc123.elasticsearch.aliyuncs.com:9200")
	c.checkCAFile("target.caFile", t.CAFile, t.Endpoint)
	c.checkAuth("target.auth", t.Auth)
	r := t.Repository
	c.match("target.repository.bucket", r.Bucket, bucketOSS, "is not an OSS bucket name",
		"use 3 to 63 lower-case letters, digits and hyphens, without oss:// and without a folder, "+
			"for example bucket: shop-es-migration-sg")
	c.match("target.repository.region", r.Region, region, "is not an Alibaba Cloud region",
		"write it without oss- in front, for example region: ap-southeast-1")
	c.checkURL("target.repository.endpoint", r.Endpoint, false, "http://oss-ap-southeast-1-internal.aliyuncs.com")
	c.checkURL("target.repository.writer.endpoint", r.Writer.Endpoint, false, "https://oss-ap-southeast-1.aliyuncs.com")
	c.checkCAFile("target.repository.writer.caFile", r.Writer.CAFile, r.Writer.Endpoint)
	c.checkBasePath("target.repository.basePath", r.BasePath)
	c.checkSettings("target.repository.settings", r.Settings)
	c.checkSizes("target.repository.settings", r.Settings, targetSizes)
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
			c.add(field+".type", auth.Type, "takes no user and password",
				"write type: basic, or leave user and password out")
		}
	}
	if auth.Region != "" {
		c.match(field+".region", auth.Region, region, "is not an AWS region", "for example region: ap-southeast-1")
	}
}

func (c *checker) checkBasePath(field, value string) {
	const longestPath = 200 // keys may be 1,023 bytes long on OSS, and some 150 come behind it
	inside := "/" + value + "/"
	if !basePath.MatchString(value) || len(value) > longestPath ||
		strings.Contains(inside, "/../") || strings.Contains(inside, "/./") {
		c.add(field, value, "is not a usable folder",
			"write it without spaces and without a slash at the beginning or end, for example basePath: "+
				"snapferry/movies; OSS finds nothing below a slash at the beginning")
	}
}

func (c *checker) checkSettings(field string, settings map[string]any) {
	for _, name := range slices.Sorted(mapKeys(settings)) {
		switch {
		case slices.Contains(ownSettings, strings.ToLower(name)):
			c.add(field+"."+name, "", "is a setting of snapferry's own", "use the plan's field for it, or leave it out")
		case secretName.MatchString(name):
			c.add(field+"."+name, "", "looks like a secret, and a plan must not contain secrets",
				"leave it out; the plan's own fields take references to secrets")
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
			c.add(field, "", "is missing", "write a reference to the secret: env:NAME or file:/PATH")
		}
		return
	}
	if err := ref.Validate(); err != nil {
		// The value stays out of the message: it may be the secret.
		c.add(field, "", err.Error(), "")
	}
}

// checkCAFile checks the path of a file with certificates. Without TLS nothing would look at it.
func (c *checker) checkCAFile(field, path, endpoint string) {
	switch {
	case path == "":
	case !filepath.IsAbs(path):
		c.add(field, path, "must be an absolute path of a PEM file of the worker",
			"for example caFile: /run/secrets/ca.pem")
	case strings.HasPrefix(strings.ToLower(endpoint), "http://"):
		c.add(field, path, "has no effect on an endpoint that begins with http://",
			"write https:// there, or leave caFile out")
	}
}

func (c *checker) checkURL(field, value string, path bool, example string) {
	parsed, err := url.Parse(value)
	name := field[strings.LastIndexByte(field, '.')+1:]
	remedy := fmt.Sprintf("for example %s: %s", name, example)
	switch {
	case err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "":
		c.add(field, "", "must be a URL that begins with http:// or https://", remedy)
	case parsed.User != nil:
		c.add(field, "", "contains a user or password",
			"remove it from the URL, and use auth with a reference to a secret")
	case parsed.RawQuery != "" || parsed.Fragment != "":
		// The value stays out of the message: keys are often in a query.
		c.add(field, "", "must have no query and no fragment",
			"if the URL contains a secret, write a reference (env:NAME or file:/PATH) where the field "+
				"takes one; "+remedy)
	case !path && strings.Trim(parsed.Path, "/") != "":
		c.add(field, value, "must have nothing after the host and port", remedy)
	case !hostname.MatchString(parsed.Hostname()) || !validPort(parsed.Port()):
		c.add(field, value, "has no valid host and port", remedy)
	}
}

// mostFullEvery is as many rounds as a year has quarters of an hour.
const mostFullEvery = 35040

// mostReplicas is more than any cluster has nodes for.
const mostReplicas = 100

// longest bounds every duration of a plan: more is a typing mistake.
const longest = Duration(30 * 24 * time.Hour)

// upTo holds a number to its range. The least is the decoder's to check: it sees what was written.
func (c *checker) upTo(field string, value, least, most, example int) {
	if value > most {
		name := field[strings.LastIndexByte(field, '.')+1:]
		c.add(field, strconv.Itoa(value), fmt.Sprintf("must be from %d to %d", least, most),
			fmt.Sprintf("for example %s: %d", name, example))
	}
}

func (c *checker) atMost(field string, value Duration) {
	if value > longest {
		name := field[strings.LastIndexByte(field, '.')+1:]
		c.add(field, value.String(), "must be at most "+longest.String(), fmt.Sprintf("for example %s: 15m", name))
	}
}

// checkEnums checks every field that has an enum tag; of a list, each element.
func (c *checker) checkEnums(path string, value reflect.Value) {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name := join(path, fieldName(field))
		allowed := field.Tag.Get("enum")
		switch {
		case field.Type.Kind() == reflect.Struct:
			c.checkEnums(name, value.Field(i))
		case ofStructs(field.Type):
			for at := range value.Field(i).Len() {
				c.checkEnums(fmt.Sprintf("%s[%d]", name, at), value.Field(i).Index(at))
			}
		case allowed == "":
		case field.Type.Kind() == reflect.Slice:
			for at := range value.Field(i).Len() {
				c.checkEnum(fmt.Sprintf("%s[%d]", name, at), value.Field(i).Index(at).String(), allowed)
			}
		default:
			c.checkEnum(name, value.Field(i).String(), allowed)
		}
	}
}

func (c *checker) checkEnum(field, value, allowed string) {
	if value != "" && !slices.Contains(strings.Split(allowed, ","), value) {
		c.add(field, value, "is not an allowed value", "use one of "+strings.ReplaceAll(allowed, ",", ", "))
	}
}
