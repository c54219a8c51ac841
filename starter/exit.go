package main

import (
	"errors"
	"fmt"
)

// The exit codes. They are part of the interface: scripts rely on them.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitRefused    = 3
	exitNotFound   = 4
	exitAttention  = 5
	exitAborted    = 6
	exitIncomplete = 7
	exitLate       = 8
	exitRemains    = 9
	exitNotReady   = 10
	// exitInterrupted is the code that shells use for a program that Ctrl-C has ended.
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes:
  0    done; for watch and report: the migration has completed
  1    an error; stderr explains it
  2    wrong usage, or a plan that is not valid
  3    the migration refused the request in its present phase; or it is running, so that
       nothing is left behind yet (recover, cleanup)
  4    there is no such migration
  5    the migration needs attention: a step failed and waits for retry (status,
       watch --exit-on-attention), or no worker serves it (status); or a rehearsal
       found problems that would have needed attention (status, watch, report)
  6    the migration was aborted or has failed (status, watch, report)
  7    the repository in OSS is not complete (audit)
  8    the migration has completed, but indices took writes on the source after the
       cutover (status, watch, report)
  9    earlier runs left something behind that is still there (recover, cleanup)
  10   the plan is not ready (check)
  130  interrupted; the migration goes on`

// exitError ends a command with a code. Without err there is nothing to print: the output has said
// everything.
type exitError struct {
	code int
	err  error
	// next is a command that helps.
	next string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// fail makes an error with a code; it wraps with %w.
func fail(code int, format string, args ...any) *exitError {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// silently ends a command with a code.
func silently(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// codeOf is the exit code of what a command returned. An error that no command has made comes from
// cobra, before a command ran: wrong usage.
func codeOf(err error) int {
	if err == nil {
		return exitOK
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return exitUsage
}
