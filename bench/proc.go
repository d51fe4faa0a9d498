package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// usage is what a process group has used so far.
type usage struct {
	cpu time.Duration // user and system, of its live processes
	rss int64         // bytes, now
}

// clockTick is the unit of times in /proc: USER_HZ, 100 on every Linux that Go
// runs on (proc(5)).
const clockTick = time.Second / 100

// groupUsage adds up the processes of a group, from /proc (proc(5)).
func groupUsage(pgid int) (u usage, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return u, err
	}
	found := false
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		f, ok := statFields(stat)
		if !ok || f.pgrp != pgid {
			continue
		}
		found = true
		u.cpu += f.cpu
		u.rss += f.rss
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

type procStat struct {
	pgrp int
	cpu  time.Duration
	rss  int64
}

// statFields reads a line of /proc/PID/stat. The name of the program, in
// parentheses, may hold anything.
func statFields(line []byte) (s procStat, ok bool) {
	_, rest, found := bytes.Cut(line, []byte(") "))
	for found {
		_, next, more := bytes.Cut(rest, []byte(") "))
		if !more {
			break
		}
		rest = next
	}
	f := strings.Fields(string(rest))
	const pgrp, utime, stime, rss = 2, 11, 12, 21 // fields 5, 14, 15 and 24, counted from the state
	if !found || len(f) <= rss {
		return s, false
	}
	var n [4]int64
	for i, at := range []int{pgrp, utime, stime, rss} {
		v, err := strconv.ParseInt(f[at], 10, 64)
		if err != nil {
			return s, false
		}
		n[i] = v
	}
	return procStat{pgrp: int(n[0]), cpu: time.Duration(n[1]+n[2]) * clockTick, rss: n[3] * int64(os.Getpagesize())}, true
}

// Memory looks at a process's resident memory ever again.
type Memory struct {
	most atomic.Int64
	end  chan struct{}
}

// WatchMemory begins to look.
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

// Stop ends the looking.
func (m *Memory) Stop() { close(m.end) }

// Resident is a process's resident memory in bytes (proc(5), statm); 0 of one that is gone.
func Resident(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
