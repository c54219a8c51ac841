package migration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
)

// AuditWorkflowType is the name under which the audit workflow is registered.
const AuditWorkflowType = "Audit"

// AuditWorkflowID is the one id of a plan's audits: they run one after another.
func AuditWorkflowID(planName string) string { return "audit/" + planName }

// TokenOf is the token of the migration whose first run has this id: the last part of its folders
// in both buckets, which tells them from every other's. A reset and a continue-as-new keep it.
func TokenOf(firstRunID string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(firstRunID))
	return fmt.Sprintf("%08x", hash.Sum32())
}

// AuditRequest asks for the repository in OSS to be compared with the one in S3. Nothing is
// written.
type AuditRequest struct {
	Plan Plan `json:"plan" required:"true"`
	// Token names the migration's run, as the last part of both folders.
	Token string `json:"token" required:"true" example:"0f3c9a71"`
	// Snapshot is the name or uuid of the only snapshot to check; empty for the complete
	// repository.
	Snapshot string `json:"snapshot,omitempty" example:"movies-r0003-a1"`
	// Deep reads every byte that is needed in OSS.
	Deep bool `json:"deep,omitempty" example:"true"`
}

// Run is what the activity needs to find both folders.
func (r AuditRequest) Run() Run { return Run{Plan: r.Plan, Token: r.Token} }

var auditToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// AuditInput is an AuditRequest as it arrived. Like Input, it decodes from any JSON, and Request
// says what was wrong.
type AuditInput struct {
	raw     json.RawMessage
	request AuditRequest
	err     error
}

// NewAuditInput wraps a request for a start.
func NewAuditInput(request AuditRequest) (AuditInput, error) {
	raw, err := json.Marshal(request)
	if err != nil {
		return AuditInput{}, err
	}
	return decodeAudit(raw), nil
}

// Request is the validated request, or an *InvalidPlanError.
func (in AuditInput) Request() (AuditRequest, error) {
	if in.raw == nil {
		return AuditRequest{}, &InvalidPlanError{Problems: []Problem{{
			Field: "(input)", Message: "no request was given",
			Remedy: `pass {"plan": {...}, "token": "0f3c9a71"} as the workflow's one input, as starter audit does`,
		}}}
	}
	return in.request, in.err
}

// MarshalJSON gives back the JSON that the input was decoded from.
func (in AuditInput) MarshalJSON() ([]byte, error) {
	if in.raw == nil {
		return []byte("null"), nil
	}
	return in.raw, nil
}

// UnmarshalJSON never fails; Request tells what was wrong.
func (in *AuditInput) UnmarshalJSON(data []byte) error {
	*in = AuditInput{}
	if !bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		*in = decodeAudit(data)
	}
	return nil
}

func decodeAudit(data []byte) AuditInput {
	in := AuditInput{raw: slices.Clone(data)}
	in.request, in.err = readAudit(data)
	return in
}

func readAudit(data []byte) (AuditRequest, error) {
	request, problems := decodeRequest[AuditRequest](data, "an audit's request")
	if len(problems) == 0 {
		request.Plan = request.Plan.withDefaults()
		problems = inPlan(request.Plan.allProblems())
		if !auditToken.MatchString(request.Token) {
			problems = append(problems, Problem{
				Field:   "token",
				Message: "must be the last part of the migration's folder in S3", Remedy: "for example token: 0f3c9a71",
			})
		}
	}
	if len(problems) > 0 {
		return AuditRequest{}, &InvalidPlanError{Problems: problems}
	}
	return request, nil
}

// The most that an audit's report lists of each kind.
const (
	AuditExamples  = 100
	AuditSnapshots = 100
)

// AuditReport is what an audit has found.
type AuditReport struct {
	// Whole means complete: every blob that a successful snapshot needs is in OSS, proven to be the
	// same as in S3, and a cluster that reads OSS finds the root that S3 has. With
	// AuditRequest.Snapshot it is about that snapshot only.
	Whole    bool   `json:"whole"`
	Plan     string `json:"plan"`
	Token    string `json:"token"`
	Snapshot string `json:"snapshot,omitempty"`
	Deep     bool   `json:"deep,omitempty"`
	// Problems are sentences about the repository itself. Each alone means that it isn't complete.
	Problems []string `json:"problems,omitempty"`

	// SourceRoot and TargetRoot name the roots in S3 and OSS: index-N with the highest N, or index
	// in a repository of Elasticsearch 2.x; empty if there is none.
	SourceRoot string `json:"sourceRoot,omitempty"`
	TargetRoot string `json:"targetRoot,omitempty"`
	// SourceGeneration and TargetGeneration are the N; -1 if there is none.
	SourceGeneration int64 `json:"sourceGeneration"`
	TargetGeneration int64 `json:"targetGeneration"`
	RootsEqual       bool  `json:"rootsEqual"`
	// SnapshotsChecked counts the successful snapshots that were checked. Broken names those that
	// can't be trusted, at most AuditSnapshots of them.
	SnapshotsChecked int      `json:"snapshotsChecked"`
	SnapshotsBroken  int      `json:"snapshotsBroken"`
	Broken           []string `json:"broken,omitempty"`

	// Classes are the counts by kind of object, in the order of publishing.
	Classes []AuditClass `json:"classes"`
	// Missing blobs are needed and not in OSS; Different ones are there and are not, or not
	// provably, what S3 has; Surplus ones no listed snapshot needs.
	Missing   AuditFindings `json:"missing"`
	Different AuditFindings `json:"different"`
	Surplus   AuditFindings `json:"surplus"`
	// BytesRead is what a deep audit has read of OSS.
	BytesRead int64 `json:"bytesRead,omitempty"`
}

// AuditClass counts the objects of a kind.
type AuditClass struct {
	Class  string `json:"class"`
	Source Tally  `json:"source"`
	Target Tally  `json:"target"`
	Needed Tally  `json:"needed"`
	Proven Tally  `json:"proven"`
	Bad    int64  `json:"bad,omitempty"` // missing or different
}

// Tally counts blobs and their bytes.
type Tally struct {
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

// Add counts one more.
func (t *Tally) Add(bytes int64) {
	t.Blobs++
	t.Bytes += bytes
}

// AuditFindings are the findings of one kind.
type AuditFindings struct {
	Tally
	// Harmless counts those that no restore can meet.
	Harmless int64 `json:"harmless,omitempty"`
	// Examples are the first in the order of their keys, at most AuditExamples; those that do harm
	// come first.
	Examples []AuditFinding `json:"examples,omitempty"`
}

// AuditFinding is one blob.
type AuditFinding struct {
	Key   string `json:"key"`
	Class string `json:"class"`
	// Reason says what was found, and for something harmless why it is.
	Reason   string `json:"reason"`
	Harmless bool   `json:"harmless,omitempty"`
	// SourceBytes and TargetBytes are -1 where there is none.
	SourceBytes int64 `json:"sourceBytes"`
	TargetBytes int64 `json:"targetBytes"`
}

// Harmful counts the findings that keep the repository from being complete.
func (f AuditFindings) Harmful() int64 { return f.Blobs - f.Harmless }
