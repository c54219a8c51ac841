package migration

import "time"

// DefaultSlotWait is the interval of Amazon's automatic snapshots: none of them is in the way for
// longer.
const DefaultSlotWait = Duration(time.Hour)

// FreeSlotRequest asks for a moment in which no snapshot runs on either cluster, and no automatic
// one is due within the predicted window.
type FreeSlotRequest struct {
	Run
	// PredictedWindowMillis is how long writes will probably be blocked; 0 asks for nothing but
	// that no snapshot runs or is due now.
	PredictedWindowMillis int64 `json:"predictedWindowMillis"`
	// DeadlineMillis is the epoch time at which the wait ends; an attempt after a crash must not
	// begin it again. 0 is the plan's freeze.slotWait after the attempt began.
	DeadlineMillis int64 `json:"deadlineMillis,omitempty"`
}

// FreeSlot is what was seen of the clusters' snapshot slots in the end.
type FreeSlot struct {
	// Free tells that the predicted window fits. Otherwise Obstacles say, in sentences, what stands
	// in the way: the deadline passed, or no wait would help.
	Free      bool     `json:"free"`
	Obstacles []string `json:"obstacles,omitempty"`
	// FreeUntilMillis is the epoch time at which the next automatic snapshot may begin on one of
	// the clusters; 0 if none is predicted.
	FreeUntilMillis int64                `json:"freeUntilMillis,omitempty"`
	Automatic       []AutomaticSnapshots `json:"automatic,omitempty"`
	// Warnings say what couldn't be seen or predicted.
	Warnings []string `json:"warnings,omitempty"`
}

// AutomaticSnapshots are those that a vendor takes automatically, as far as their start times tell.
type AutomaticSnapshots struct {
	// Cluster is source or target.
	Cluster    string `json:"cluster"`
	Repository string `json:"repository"`
	// LastMillis is the epoch time at which the newest began, NextMillis that of the next;
	// IntervalMillis lies between two, give or take SlackMillis.
	LastMillis     int64 `json:"lastMillis"`
	NextMillis     int64 `json:"nextMillis"`
	IntervalMillis int64 `json:"intervalMillis"`
	SlackMillis    int64 `json:"slackMillis"`
}
