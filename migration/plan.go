package migration

import "time"

// Plan is the only input of a migration. It contains references to secrets, never secrets. Decode
// reads it strictly: an unknown field, a wrong type or a missing value is an error that names the
// field and shows an example.
//
// The struct tags are part of the format. A plan without a `required` field is not valid. Errors
// show the `example`, written as in YAML. `enum` lists the allowed values. `min` is the least
// allowed value. Schema reads the same tags, and describe.go says what each field is for. Fields
// are never removed, since recorded histories must stay decodable.
type Plan struct {
	// Name names the migration; its workflow id is migration/<name>.
	Name   string `json:"name" required:"true" example:"movies"`
	Source Source `json:"source" required:"true"`
	Target Target `json:"target" required:"true"`
	// Indices are index names, or patterns with * that each round resolves again. A pattern never
	// matches names that begin with a dot: those must be written in full. An entry that begins with
	// - excludes what patterns match.
	Indices   []string  `json:"indices" required:"true" example:"[movies, \"logs-*\"]"`
	Rounds    Rounds    `json:"rounds,omitzero"`
	Copy      Copy      `json:"copy,omitzero"`
	Throttles Throttles `json:"throttles,omitzero"`
	Freeze    Freeze    `json:"freeze,omitzero"`
	Restore   Restore   `json:"restore,omitzero"`
	Verify    Verify    `json:"verify,omitzero"`
	Cutover   Cutover   `json:"cutover,omitzero"`
	Hooks     Hooks     `json:"hooks,omitzero"`
	Notify    Notify    `json:"notify,omitzero"`
	// Rehearsal tries the plan on throw-away names of the target. It blocks no writes, hands nothing
	// over and leaves nothing behind.
	Rehearsal bool `json:"rehearsal,omitempty" example:"true"`
}

// Source is the Amazon Elasticsearch Service domain that the indices leave.
type Source struct {
	// Endpoint is the domain's URL; no path.
	Endpoint string `json:"endpoint" required:"true" example:"https://search-shop-abc123.ap-southeast-1.es.amazonaws.com"`
	// CAFile is a PEM file of the worker with the certificate authorities to trust instead of the
	// system's. It lies where the plan's secrets lie.
	CAFile     string           `json:"caFile,omitempty" example:"/run/secrets/source-ca.pem"`
	Auth       Auth             `json:"auth,omitzero"`
	Repository SourceRepository `json:"repository" required:"true"`
	// Warm says what becomes of indices in UltraWarm or cold storage: refuse (the default), leaveOut or
	// include. No snapshot takes them together with others.
	Warm string `json:"warm,omitempty" enum:"refuse,leaveOut,include" example:"leaveOut"`
}

// Target is the Alibaba Cloud Elasticsearch cluster that the indices go to.
type Target struct {
	// Endpoint is the cluster's URL; no path.
	Endpoint string `json:"endpoint" required:"true" example:"http://es-sg-abc123.elasticsearch.aliyuncs.com:9200"`
	// CAFile is a PEM file of the worker with the certificate authorities to trust instead of the
	// system's. It lies where the plan's secrets lie.
	CAFile     string           `json:"caFile,omitempty" example:"/run/secrets/target-ca.pem"`
	Auth       Auth             `json:"auth,omitzero"`
	Repository TargetRepository `json:"repository" required:"true"`
}

// The ways to authenticate at a cluster.
const (
	AuthSigV4 = "sigv4"
	AuthBasic = "basic"
	AuthNone  = "none"
)

// Auth says how requests to a cluster are authenticated.
type Auth struct {
	// Type is sigv4, basic or none. sigv4 is the source's default and takes credentials from the
	// AWS SDK's own chain in the worker. basic is the target's default.
	Type string `json:"type,omitempty" enum:"sigv4,basic,none" example:"basic"`
	// Region is the domain's region, for sigv4. Default: the region of the source's repository.
	Region string `json:"region,omitempty" example:"ap-southeast-1"`
	// User and Password are for basic.
	User     string    `json:"user,omitempty" example:"elastic"`
	Password SecretRef `json:"password,omitempty" example:"env:SNAPFERRY_SECRET_TARGET_PASSWORD"`
}

// SourceRepository is the snapshot repository on S3 that the source writes.
type SourceRepository struct {
	Bucket string `json:"bucket" required:"true" example:"shop-es-migration"`
	// Region of the bucket.
	Region string `json:"region" required:"true" example:"ap-southeast-1"`
	// Endpoint is registered instead of the region. For us-east-1 the default is s3.amazonaws.com,
	// as Amazon's documentation demands.
	Endpoint string `json:"endpoint,omitempty" example:"s3.amazonaws.com"`
	// RoleARN is the role that the domain assumes to write snapshots.
	RoleARN string `json:"roleArn" required:"true" example:"arn:aws:iam::123456789012:role/EsSnapshotRole"`
	// BasePath is the folder in the bucket, without a leading slash. A token of the run is added,
	// so that nothing else ever writes there.
	BasePath             string `json:"basePath,omitempty" example:"snapferry/movies"`
	ServerSideEncryption bool   `json:"serverSideEncryption,omitempty" example:"true"`
	// Settings are more repository settings, passed on unchanged.
	Settings map[string]any `json:"settings,omitempty" example:"{compress: true}"`
	Reader   SourceReader   `json:"reader,omitzero"`
}

// SourceReader says how the copy reads S3, if not from Amazon's own endpoints.
type SourceReader struct {
	// Endpoint is the URL of an S3-compatible endpoint. Default: Amazon's for the region.
	Endpoint  string `json:"endpoint,omitempty" example:"https://s3.ap-southeast-1.amazonaws.com"`
	PathStyle bool   `json:"pathStyle,omitempty" example:"true"`
	// CAFile is like that of the source, for this endpoint.
	CAFile string `json:"caFile,omitempty" example:"/run/secrets/s3-ca.pem"`
}

// TargetRepository is the copy of the source repository on OSS, which the target reads. It is
// always registered with readonly: true.
type TargetRepository struct {
	Bucket string `json:"bucket" required:"true" example:"shop-es-migration-sg"`
	// Region of the bucket, without oss-: for signatures of version 4 and to create the bucket.
	Region string `json:"region" required:"true" example:"ap-southeast-1"`
	// Endpoint is OSS as the target cluster reaches it: usually the internal one.
	Endpoint string `json:"endpoint" required:"true" example:"http://oss-ap-southeast-1-internal.aliyuncs.com"`
	// AccessKeyID and SecretAccessKey are the key with which the cluster reads OSS. Elasticsearch
	// 5.x shows it to anyone who may read _snapshot. Use a key that can only read this bucket, and
	// delete it after the migration.
	AccessKeyID     SecretRef `json:"accessKeyId" required:"true" example:"env:SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_ID"`
	SecretAccessKey SecretRef `json:"secretAccessKey" required:"true" example:"env:SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_SECRET"`
	// BasePath is the folder in the bucket. Default: that of the source's repository.
	BasePath string `json:"basePath,omitempty" example:"snapferry/movies"`
	// CreateBucket creates the bucket (private, Standard) if there is none.
	CreateBucket bool `json:"createBucket,omitempty" example:"true"`
	// Settings are more repository settings, passed on unchanged.
	Settings map[string]any `json:"settings,omitempty" example:"{max_restore_bytes_per_sec: 80mb}"`
	Writer   TargetWriter   `json:"writer" required:"true"`
}

// TargetWriter says how the copy writes OSS.
type TargetWriter struct {
	// Endpoint is OSS as the worker reaches it.
	Endpoint        string    `json:"endpoint" required:"true" example:"https://oss-ap-southeast-1.aliyuncs.com"`
	AccessKeyID     SecretRef `json:"accessKeyId" required:"true" example:"env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_ID"`
	AccessKeySecret SecretRef `json:"accessKeySecret" required:"true" example:"env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_SECRET"`
	SecurityToken   SecretRef `json:"securityToken,omitempty" example:"env:SNAPFERRY_SECRET_OSS_SECURITY_TOKEN"`
	// CAFile is like that of the target, for this endpoint.
	CAFile string `json:"caFile,omitempty" example:"/run/secrets/oss-ca.pem"`
}

// Rounds says when incremental rounds run.
type Rounds struct {
	// Interval is the time from the end of one round to the start of the next.
	Interval Duration `json:"interval,omitempty" min:"1s" example:"15m"`
	// Until says when the rounds are close enough. Until then they run without the interval.
	Until Until `json:"until,omitzero"`
	// FullEvery has every nth round take all indices, and not only those that changed; 0 stands for
	// none but the baseline.
	FullEvery int `json:"fullEvery,omitempty" min:"0" example:"96"`
}

// Until is the frozen window that the rounds should reach.
type Until struct {
	// Window is the target length of the predicted frozen window. Rounds are also close enough when
	// they no longer shorten it.
	Window Duration `json:"window,omitempty" min:"1s" example:"60s"`
}

// Copy bounds the copy from S3 to OSS.
type Copy struct {
	// Concurrency is how many requests one copy activity runs at the same time.
	Concurrency int `json:"concurrency,omitempty" min:"1" example:"64"`
	// Pages is how many activities copy one large delta at the same time, on all workers together.
	Pages int `json:"pages,omitempty" min:"1" example:"16"`
	// Bandwidth is the most that all copies together read from S3. Default: no limit. It can change
	// while the migration runs.
	Bandwidth ByteRate `json:"bandwidth,omitempty" example:"200MB/s"`
}

// Freeze says how writes are stopped.
type Freeze struct {
	// MaxDuration is the dead man's switch: without a cutover within this time, the block is
	// removed and the rounds go on.
	MaxDuration Duration `json:"maxDuration,omitempty" min:"10s" example:"2h"`
	// StandstillTimeout is how long the write counters may still move after the block before the
	// migration needs attention.
	StandstillTimeout Duration `json:"standstillTimeout,omitempty" min:"1s" example:"2m"`
	// SlotWait is how long the block may wait for a good moment: no snapshot runs on either
	// cluster, and no automatic one is due within the predicted window.
	SlotWait Duration `json:"slotWait,omitempty" min:"1s" example:"1h"`
	// HotRound says whether one more round runs right before the block.
	HotRound string `json:"hotRound,omitempty" enum:"auto,always,never" example:"auto"`
	// HotRoundAbove is for auto: a hot round runs if snapshot, copy and restore of what was written
	// since the last round are predicted to take longer together.
	HotRoundAbove Duration `json:"hotRoundAbove,omitempty" min:"1s" example:"10s"`
	// Auto freezes without a person as soon as the predicted window is as short as rounds.until. It
	// does so once. After a window without a cutover only a person freezes.
	Auto bool `json:"auto,omitempty" example:"false"`
	// Pipeline says when the final round is cut into groups whose steps overlap.
	Pipeline Pipeline `json:"pipeline,omitzero"`
}

// Restore says how snapshots are restored into the target.
type Restore struct {
	// Replicas during the migration. The cutover sets the source's number.
	Replicas int `json:"replicas,omitempty" min:"0" example:"0"`
	// ExcludeAliases leaves the source's aliases behind.
	ExcludeAliases bool `json:"excludeAliases,omitempty" example:"true"`
	// IgnoreSettings are index settings that are not restored. Blocks and allocation rules never
	// are.
	IgnoreSettings []string `json:"ignoreSettings,omitempty" example:"[\"index.opendistro.*\"]"`
	// DeletedIndices says what becomes of the target's copy of an index that was deleted on the
	// source: keep (the default) or delete. A copy that is kept has no aliases.
	DeletedIndices string `json:"deletedIndices,omitempty" enum:"keep,delete" example:"delete"`
}

// When a hot round runs.
const (
	HotRoundAuto   = "auto"
	HotRoundAlways = "always"
	HotRoundNever  = "never"
)

// The depths of verification.
const (
	ChecksumVersions = "versions"
	// ChecksumInWindow reads every document while writes are blocked, whatever was proven before.
	ChecksumInWindow = "versions-in-window"
	ChecksumNone     = "none"
)

// Verify says how the target is proven equal to the frozen source.
type Verify struct {
	// Checksum is versions (the default), versions-in-window or none. versions compares the counts,
	// and type, id, routing and version of each document: before the freeze where the source stands
	// still, and in the window what has changed since. versions-in-window reads every document in the
	// window. none compares the counts only.
	Checksum string `json:"checksum,omitempty" enum:"versions,versions-in-window,none" example:"versions"`
	// Rate is how many documents a second all comparisons before the freeze read together, on each
	// cluster.
	Rate int `json:"rate,omitempty" min:"1" example:"5000"`
}

// Cutover says what happens at the handover.
type Cutover struct {
	Webhook Webhook `json:"webhook,omitzero"`
	// KeepRepositories leaves both repositories registered after the cutover.
	KeepRepositories bool `json:"keepRepositories,omitempty" example:"true"`
}

// Webhook is called with the report as JSON once the target takes writes.
type Webhook struct {
	// URL is the receiver's, or a reference to it (env:NAME, file:/PATH) if it contains a secret. A
	// URL with a query is refused, since a query often contains one. So is, in a new plan, one whose
	// path does.
	URL string `json:"url,omitempty" example:"https://deploy.example.com/hooks/search-moved"`
	// Authorization is the value of the Authorization header.
	Authorization SecretRef `json:"authorization,omitempty" example:"env:SNAPFERRY_SECRET_WEBHOOK_AUTHORIZATION"`
}

// Defaults of a plan. docs/plan.md gives the reason for each.
const (
	DefaultRoundInterval     = Duration(15 * time.Minute)
	DefaultConcurrency       = 64
	DefaultPages             = 16
	MaxConcurrency           = 256
	MaxPages                 = 1000
	DefaultFreezeMaxDuration = Duration(2 * time.Hour)
	DefaultHotRoundAbove     = Duration(10 * time.Second)
	DefaultPipelineFrom      = Duration(20 * time.Second)
	DefaultStandstillTimeout = Duration(2 * time.Minute)
	DefaultVerifyRate        = 5000
)

// withDefaults fills in what the plan leaves out, so that the status shows the plan that is used.
func (p Plan) withDefaults() Plan {
	p.Source.Auth.Type = or(p.Source.Auth.Type, AuthSigV4)
	if p.Source.Auth.Type == AuthSigV4 {
		p.Source.Auth.Region = or(p.Source.Auth.Region, p.Source.Repository.Region)
	}
	p.Source.Warm = or(p.Source.Warm, WarmRefused)
	p.Target.Auth.Type = or(p.Target.Auth.Type, AuthBasic)
	p.Source.Repository.BasePath = or(p.Source.Repository.BasePath, "snapferry/"+p.Name)
	p.Target.Repository.BasePath = or(p.Target.Repository.BasePath, p.Source.Repository.BasePath)
	p.Rounds.Interval = or(p.Rounds.Interval, DefaultRoundInterval)
	p.Copy.Concurrency = or(p.Copy.Concurrency, DefaultConcurrency)
	p.Copy.Pages = or(p.Copy.Pages, DefaultPages)
	p.Freeze.MaxDuration = or(p.Freeze.MaxDuration, DefaultFreezeMaxDuration)
	p.Throttles = p.Throttles.withDefaults()
	p.Freeze.SlotWait = or(p.Freeze.SlotWait, DefaultSlotWait)
	p.Freeze.HotRound = or(p.Freeze.HotRound, HotRoundAuto)
	p.Freeze.HotRoundAbove = or(p.Freeze.HotRoundAbove, DefaultHotRoundAbove)
	p.Freeze.Pipeline.From = or(p.Freeze.Pipeline.From, DefaultPipelineFrom)
	p.Freeze.StandstillTimeout = or(p.Freeze.StandstillTimeout, min(DefaultStandstillTimeout, p.Freeze.MaxDuration/2))
	p.Restore.DeletedIndices = or(p.Restore.DeletedIndices, DeletedKept)
	p.Verify.Checksum = or(p.Verify.Checksum, ChecksumVersions)
	p.Verify.Rate = or(p.Verify.Rate, DefaultVerifyRate)
	p.Hooks = p.Hooks.withDefaults(p.Freeze.MaxDuration)
	p.Notify = p.Notify.withDefaults(p.Freeze)
	return p
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
