//go:build !unix

package main

import "os/exec"

// killAll can't find what a command has started on this system.
func killAll(*exec.Cmd) {}
