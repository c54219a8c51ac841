package lab

import "syscall"

// endsWithParent makes the kernel kill the child when the thread that started it ends, and keeps a
// terminal's Ctrl-C from the child: its parent ends it, in order.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
