package migration

// Phase is where a migration stands.
type Phase string

// The phases in their usual order. In makeReady, which freeze leads to, writes
// are not blocked yet. When freeze.maxDuration passes without a
// cutover, thaw lifts the block and leads back to rounds.
const (
	PhasePreflight    Phase = "preflight"
	PhasePrepare      Phase = "prepare"
	PhaseBaseline     Phase = "baseline"
	PhaseRounds       Phase = "rounds"
	PhaseReady        Phase = "makeReady"
	PhaseFreeze       Phase = "freeze"
	PhaseFinalRound   Phase = "finalRound"
	PhaseVerify       Phase = "verify"
	PhaseAwaitCutover Phase = "awaitCutover"
	PhaseCutover      Phase = "cutover"
	PhaseThaw         Phase = "thaw"
	PhaseAborting     Phase = "aborting"
	// PhaseRehearse and PhaseCleanUp are a rehearsal's: after makeReady it does
	// what a migration does in the frozen window, while writes go on, and then
	// removes all that it has made.
	PhaseRehearse  Phase = "rehearse"
	PhaseCleanUp   Phase = "cleanUp"
	PhaseCompleted Phase = "completed"
	PhaseAborted   Phase = "aborted"
)

// Frozen tells whether writes to the source are blocked by us in this phase and
// could be given free again: the frozen window and the wait for cutover.
func (p Phase) Frozen() bool {
	switch p {
	case PhaseFreeze, PhaseFinalRound, PhaseVerify, PhaseAwaitCutover:
		return true
	}
	return false
}

// Ended tells whether the migration is over.
func (p Phase) Ended() bool { return p == PhaseCompleted || p == PhaseAborted }

// BeforeFreeze tells whether the source takes writes and a freeze can still
// come.
func (p Phase) BeforeFreeze() bool {
	switch p {
	case PhasePreflight, PhasePrepare, PhaseBaseline, PhaseRounds, PhaseReady, PhaseThaw:
		return true
	}
	return false
}

// CanAbort tells whether abort means anything in this phase.
func (p Phase) CanAbort() bool {
	return p != PhaseCutover && p != PhaseAborting && !p.Ended()
}

// Judge says what a request means in a phase: taken now, remembered for later,
// or of no use, with a sentence for the person who sent it. It is the one place
// that decides, for signals and updates alike.
func Judge(request Request, phase Phase, paused, needsAttention bool) (Verdict, string) {
	if phase.Ended() {
		return Ignored, "the migration has ended (" + string(phase) + ")"
	}
	if phase == PhaseAborting && request != RequestRetry {
		return Ignored, "the migration is being aborted"
	}
	switch request {
	case RequestFreeze:
		switch {
		case phase == PhaseRounds && paused:
			return Remembered, "writes are blocked after resume"
		case phase == PhaseRounds:
			return Taken, "writes are blocked as soon as the round in progress, if any, has ended"
		case phase == PhaseThaw:
			return Remembered, "writes are blocked again once the block of the last freeze is lifted"
		case phase == PhaseReady:
			return Ignored, "the clusters are made ready for the block already"
		case phase.BeforeFreeze():
			return Remembered, "writes are blocked once the baseline is restored"
		case phase.Frozen():
			return Ignored, "writes are blocked already"
		}
		return Ignored, "the cutover has begun: writes to the source stay blocked"
	case RequestCutover:
		switch {
		case phase == PhaseAwaitCutover:
			return Taken, "the source is looked at once more, then the target is opened for writes: wait for the phase completed before anything is pointed at it"
		case phase.Frozen():
			return Remembered, "the target is handed over once it is verified"
		case phase.BeforeFreeze():
			return Ignored, "cutover needs a verified target: freeze first"
		}
		return Ignored, "the cutover has begun already"
	case RequestAbort:
		if phase == PhaseCutover {
			return Ignored, "the cutover has begun: two writable clusters would be worse than none, so nothing gives the source free from here on"
		}
		return Taken, "the migration stops; if it has blocked writes, that block is lifted"
	case RequestPause:
		switch {
		case phase.Frozen() || phase == PhaseThaw || phase == PhaseCutover:
			return Ignored, "writes are blocked, a pause would only keep them blocked for longer; abort gives the source free"
		case paused:
			return Ignored, "it is paused already"
		}
		return Taken, "no further step starts until resume"
	case RequestResume:
		if !paused {
			return Ignored, "it is not paused"
		}
		return Taken, "it goes on"
	case RequestRetry:
		if !needsAttention {
			return Ignored, "nothing needs attention"
		}
		return Taken, "the step runs again"
	case RequestRound:
		switch {
		case phase == PhaseRounds && paused:
			return Remembered, "a round starts after resume"
		case phase == PhaseRounds:
			return Taken, "a round starts now, or once the round in progress has ended"
		case phase == PhaseThaw:
			return Remembered, "a round starts once the block is lifted"
		case phase == PhaseReady:
			return Ignored, "rounds have ended: the clusters are made ready for the block"
		case phase.BeforeFreeze():
			return Remembered, "a round starts once the baseline is restored"
		}
		return Ignored, "rounds have ended: writes are blocked"
	}
	return Ignored, "there is no such request"
}

// Verdict is what becomes of a request.
type Verdict string

// The verdicts of Judge.
const (
	Taken      Verdict = "taken"
	Remembered Verdict = "remembered"
	Ignored    Verdict = "ignored"
)
