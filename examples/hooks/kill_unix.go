//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// killAll has a command killed with all that it has started.
func killAll(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
}
