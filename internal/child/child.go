// Package child starts servers that tests need, so that they end with the test's process however that ends.
package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Start is cmd.Start for a program that the kernel ends when this process does, even if this one is killed and no cleanup runs.
// The caller waits for it as for any other.
//
// The kernel sends the signal when the thread ends that started the program, and the runtime may end threads at any time. So each program
// keeps a thread of its own.
func Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			select {} // the thread is the program's
		}
	}()
	return <-started
}
