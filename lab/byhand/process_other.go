//go:build !linux

package byhand

import "syscall"

// Settle does nothing here.
func Settle() {}

// ownGroup puts a child and its children into a process group of their own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
