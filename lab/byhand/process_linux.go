package byhand

import "syscall"

// Settle writes out what earlier work has left in memory, so that no run pays for another.
func Settle() { syscall.Sync() }

// ownGroup puts a child and its children into a process group of their own, and has the kernel end
// it when the thread ends that started it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
