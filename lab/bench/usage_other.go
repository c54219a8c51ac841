//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

type usage struct {
	cpu  time.Duration
	peak int64
}

func usageOf(int) (usage, error) {
	return usage{}, errors.New("the benchmarks read what a process takes from /proc: run them on Linux")
}

func load() float64 { return 0 }

func settle() {}

func endsWithParent() *syscall.SysProcAttr { return nil }

func freeBytes(string) int64 { return 0 }

func freeMemory() int64 { return 0 }
