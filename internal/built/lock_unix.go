//go:build unix

package built

import (
	"os"
	"syscall"
)

// exclude waits until no other process has the file locked, and locks it until it is closed.
func exclude(lock *os.File) error { return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) }
