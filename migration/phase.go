package migration

// Phase is where a migration stands.
type Phase string

// The phases in their usual order. In makeReady, which freeze leads to, writes are not blocked yet.
// When freeze.maxDuration passes without a cutover, thaw removes the block and leads back to
// rounds.
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
	// PhaseRehearse and PhaseCleanUp are a rehearsal's. After makeReady it takes the steps of the
	// frozen window, while writes go on. Then it removes all that it has made.
	PhaseRehearse  Phase = "rehearse"
	PhaseCleanUp   Phase = "cleanUp"
	PhaseCompleted Phase = "completed"
	PhaseAborted   Phase = "aborted"
)

// OpenPhases are those of a migration or a rehearsal that has not ended, in their usual order.
func OpenPhases() []Phase {
	return []Phase{
		PhasePreflight, PhasePrepare, PhaseBaseline, PhaseRounds, PhaseReady, PhaseFreeze, PhaseFinalRound,
		PhaseVerify, PhaseAwaitCutover, PhaseCutover, PhaseThaw, PhaseAborting, PhaseRehearse, PhaseCleanUp,
	}
}

// Frozen tells whether in this phase we block writes to the source and could still remove the
// block: the frozen window and the wait for cutover.
func (p Phase) Frozen() bool {
	switch p {
	case PhaseFreeze, PhaseFinalRound, PhaseVerify, PhaseAwaitCutover:
		return true
	}
	return false
}

// Ended tells whether the migration is over.
func (p Phase) Ended() bool { return p == PhaseCompleted || p == PhaseAborted }

// BeforeFreeze tells whether a freeze can still come. The source takes writes, or will again soon
// (thaw).
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

// Judge says what a request means in a phase: taken now, remembered for later, or ignored, with a
// sentence for the person who sent it. It is the one place that decides, for signals and updates
// alike.
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
			return Remembered, "snapferry blocks writes after resume"
		case phase == PhaseRounds:
			return Taken, "snapferry ends the round in progress, if any, and prepares the block: perhaps one more " +
				"round, and a wait for a free snapshot slot"
		case phase == PhaseThaw:
			return Remembered, "snapferry blocks writes again once the block of the last freeze is removed"
		case phase == PhaseReady:
			return Ignored, "snapferry is already preparing the block"
		case phase.BeforeFreeze():
			return Remembered, "snapferry blocks writes once the baseline is restored"
		case phase.Frozen():
			return Ignored, "snapferry already blocks writes, or is about to"
		}
		return Ignored, "the cutover has begun: writes to the source stay blocked"
	case RequestCutover:
		switch {
		case phase == PhaseAwaitCutover:
			return Taken, "snapferry checks the source once more, then makes the target writable. " +
				"Wait for the phase completed before you point applications at the target"
		case phase.Frozen():
			return Remembered, "snapferry hands over as soon as the target is verified"
		case phase.BeforeFreeze():
			return Ignored, "cutover needs a verified target: send freeze first"
		}
		return Ignored, "the cutover has already begun"
	case RequestAbort:
		if phase == PhaseCutover {
			return Ignored, "the cutover has begun, and snapferry never makes the source writable again: " +
				"two writable clusters would lose data"
		}
		return Taken, "the migration stops. If it has blocked writes, it removes the block"
	case RequestPause:
		switch {
		case phase.Frozen():
			return Ignored, "a pause would only keep writes blocked for longer. To make the source writable again, " +
				"send abort"
		case phase == PhaseThaw:
			return Ignored, "snapferry is removing the write block: a pause would only keep writes blocked for longer"
		case phase == PhaseCutover:
			return Ignored, "the cutover has begun: a pause would only keep writes blocked for longer"
		case paused:
			return Ignored, "it is already paused"
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
			return Remembered, "a round starts once the block is removed"
		case phase == PhaseReady:
			return Ignored, "rounds have ended: snapferry is preparing the block"
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
