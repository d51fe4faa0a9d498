package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asProgram has this binary be the program, for a test that needs a process.
const asProgram = "SWITCHBRIDGE_TEST_AS_PROGRAM"

// openPTY makes a terminal: what types into it, and what a process has of it.
func openPTY(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("no terminals here:", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Skip("no terminals here:", err)
	}
	return master, tty
}

// process is a process of a command, and what it logs.
type process struct {
	*exec.Cmd
	t     *testing.T
	lines chan string
}

func startProgram(t *testing.T, tty *os.File, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(args[0], args[1:]...), t: t, lines: make(chan string, 100)}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if tty != nil {
		p.Stdin, p.SysProcAttr.Setctty = tty, true
	}
	logs, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // it has ended, where the test is good
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(logs); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

func (p *process) await(what string) {
	p.t.Helper()
	var seen []string
	timeout := time.After(60 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("it ended (%v) before it said %q:\n%s", p.Wait(), what, strings.Join(seen, "\n"))
			}
			if seen = append(seen, line); strings.Contains(line, what) {
				return
			}
		case <-timeout:
			p.t.Fatalf("no %q after a minute:\n%s", what, strings.Join(seen, "\n"))
		}
	}
}

// ends waits until it ended in good order.
func (p *process) ends() {
	p.t.Helper()
	for range p.lines { // until its log is closed
	}
	if err := p.Wait(); err != nil {
		p.t.Errorf("it ended with %v, want code 0", err)
	}
}

func TestHangup(t *testing.T) {
	// Tests that are run by nohup ignore SIGHUP, and so would the programs that they start. What is caught is not passed on.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "switchbridge.yaml")
	if err := os.WriteFile(config, []byte("function: {urls: [native]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := []string{self, "run", "--config", config, "--openflow", "tcp:127.0.0.1:0", "--admin", "off"}
	function := []string{self, "function", "serve", "--native", "--plain", "--listen", "127.0.0.1:0", "--records", "off"}
	for _, row := range []struct {
		name, up string
		args     []string
	}{{"gateway", "waiting for switches", gateway}, {"function", "msg=serving ", function}} {
		t.Run(row.name+" whose terminal is closed", func(t *testing.T) {
			master, tty := openPTY(t)
			p := startProgram(t, tty, row.args...)
			tty.Close()
			p.await(row.up)
			master.Close() // the kernel sends SIGHUP to whoever leads the terminal's session
			p.ends()
		})
		t.Run(row.name+" without a terminal", func(t *testing.T) {
			p := startProgram(t, nil, row.args...)
			p.await(row.up)
			for range 2 {
				p.Process.Signal(syscall.SIGHUP)
				p.await("msg=reload by=SIGHUP")
			}
			p.Process.Signal(syscall.SIGTERM)
			p.ends()
		})
	}
	t.Run("gateway by nohup", func(t *testing.T) {
		_, tty := openPTY(t)
		defer tty.Close()
		p := startProgram(t, tty, append([]string{"/bin/sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, gateway...)...)
		p.await("waiting for switches")
		p.Process.Signal(syscall.SIGHUP)
		p.await("msg=reload by=SIGHUP")
		p.Process.Signal(syscall.SIGTERM)
		p.ends()
	})
}
