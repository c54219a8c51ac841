package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// usage is what a process has taken so far.
type usage struct {
	cpu  time.Duration // user and system
	peak int64         // bytes of its resident set at most
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every architecture that Go knows.
const clockTick = 10 * time.Millisecond

// usageOf reads what the kernel says of a running process. The peak is that of the program itself:
// a child's rusage would begin with its parent's.
func usageOf(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// "pid (name) state ppid ...": the name may hold anything, so count from its end. proc(5):
	// utime is field 14, stime 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has only %d fields after the name", pid, len(fields))
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "VmHWM:" {
			kilobytes, err := strconv.ParseInt(string(fields[1]), 10, 64)
			if err != nil {
				return u, fmt.Errorf("/proc/%d/status: %w", pid, err)
			}
			u.peak = kilobytes << 10
		}
	}
	return u, nil
}

// load is how many threads wanted to run in the last minute, on average.
func load() float64 {
	var minute float64
	data, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		_, err = fmt.Sscan(string(data), &minute)
	}
	if err != nil {
		return 0
	}
	return minute
}

// settle writes out what earlier runs have left in memory, so that no run pays for another.
func settle() { syscall.Sync() }

// endsWithParent has the kernel end a child when the thread ends that started it.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// freeBytes is the room that a file system has; 0 if that can't be told.
func freeBytes(folder string) int64 {
	var s syscall.Statfs_t
	if syscall.Statfs(folder, &s) != nil {
		return 0
	}
	return int64(s.Bavail) * s.Bsize
}

// freeMemory is what the kernel could give to programs without swapping; 0 if that can't be told.
func freeMemory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(data, []byte("MemAvailable:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(string(fields[0]), 10, 64) // 0 is what it says then
	return kib << 10
}
