//go:build !linux

package lab

import "syscall"

// endsWithParent has nothing to offer here. A Ctrl-C in a terminal reaches the child too; after a
// kill of the parent only the end of standard input is left, which ends the Elasticsearch nodes.
func endsWithParent() *syscall.SysProcAttr { return nil }
