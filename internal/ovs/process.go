package ovs

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"switchbridge/internal/child"
)

// process is a program that runs beside the test.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the program is gone; err is set before
	err    error
}

// start starts the program, which ends with the test's process.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	if err := child.Start(cmd); err != nil {
		return p, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop asks the program to end, insists after two seconds, and returns when it is gone.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second):
		p.kill()
	}
}

// kill ends the program at once, as a crash would, and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// run runs a command to its end and returns what it printed; its failure is the test's.
func run(tb TB, cmd *exec.Cmd) string {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}
