package bench

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"
)

// usage is what a process group has used so far.
type usage struct {
	cpu time.Duration // user and system, of its live processes
	rss int64         // bytes, now
}

// groupUsage adds up the live processes of a group.
func groupUsage(pgid int) (u usage, err error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return u, err
	}
	found := false
	for _, p := range all {
		s, err := p.Stat()
		if err != nil || s.PGRP != pgid { // it has ended, or is of another group
			continue
		}
		found = true
		u.cpu += time.Duration(s.CPUTime() * float64(time.Second))
		u.rss += int64(s.ResidentMemory())
	}
	if !found {
		return u, fmt.Errorf("no process in group %d", pgid)
	}
	return u, nil
}

// GroupCPU is the CPU time that the live processes of a group have used.
func GroupCPU(pgid int) (time.Duration, error) {
	u, err := groupUsage(pgid)
	return u.cpu, err
}

// Memory measures a process's resident memory again and again, and keeps the most.
type Memory struct {
	most atomic.Int64
	end  chan struct{}
}

// WatchMemory begins to measure, every 50 ms until Stop.
func WatchMemory(pid int) *Memory {
	m := &Memory{end: make(chan struct{})}
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if n := Resident(pid); n > m.most.Load() {
				m.most.Store(n)
			}
			select {
			case <-m.end:
				return
			case <-tick.C:
			}
		}
	}()
	return m
}

// Reset returns the most since the last reset.
func (m *Memory) Reset() int64 { return m.most.Swap(0) }

// Stop ends the measuring.
func (m *Memory) Stop() { close(m.end) }

// Resident returns a process's resident memory in bytes, or 0 if it has ended.
func Resident(pid int) int64 {
	n, _ := resident(pid)
	return n
}

func resident(pid int) (int64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	s, err := p.NewStatus()
	return int64(s.VmRSS), err
}
