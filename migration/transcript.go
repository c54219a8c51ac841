package migration

import "time"

// The transcript of a migration is every request that changed something on one of the clusters, in
// the order in which they were sent. Workers keep it in OSS, beside what else they keep of a run.
const (
	// TranscriptWorkflowType is the name under which the workflow that reads it is registered.
	TranscriptWorkflowType = "Transcript"
	// ActivityReadTranscript takes a [TranscriptRequest] and returns a [TranscriptPage].
	ActivityReadTranscript = "ReadTranscript"
)

// TranscriptWorkflowID is the one id of those who read a plan's transcript.
func TranscriptWorkflowID(planName string) string { return "transcript/" + planName }

// TranscriptPath is the folder in the OSS bucket that holds a run's transcript.
func (r Run) TranscriptPath() string { return r.ListsPath() + "/transcript" }

// Exchange is one request of the transcript, with its answer. Secrets are left out of it.
type Exchange struct {
	At     time.Time `json:"at"`
	Millis int64     `json:"millis"`
	// Side is "source" or "target". Step is the activity that sent the request, Attempt which time.
	Side    string `json:"side"`
	Step    string `json:"step"`
	Attempt int32  `json:"attempt,omitempty"`
	Method  string `json:"method"`
	Path    string `json:"path"` // with its query
	Body    string `json:"body,omitempty"`
	// Status and Answer are those of HTTP; Failure says why there was no answer.
	Status  int    `json:"status,omitempty"`
	Answer  string `json:"answer,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// TranscriptRequest asks for a part of a run's transcript.
type TranscriptRequest struct {
	Run
	// After is where the page before ended; empty for the first one.
	After string `json:"after,omitempty"`
}

// TranscriptPage is a part of a transcript.
type TranscriptPage struct {
	// Lines are the exchanges as lines of JSON, compressed with gzip.
	Lines []byte `json:"lines,omitempty"`
	// Unreadable counts parts that could not be read, and are left out.
	Unreadable int `json:"unreadable,omitempty"`
	// After is what to ask for next; empty if this was the last page.
	After string `json:"after,omitempty"`
}
