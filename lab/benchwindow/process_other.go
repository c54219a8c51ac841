//go:build !linux

package main

import "syscall"

func settle() {}

// ownGroup puts a child and its children into a process group of their own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
