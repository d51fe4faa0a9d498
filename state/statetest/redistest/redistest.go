// Package redistest runs Redis servers of one's own for tests.
package redistest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/child"
	"switchbridge/internal/testlong"
)

// Server is a Redis on a port of loopback, which ends with its test. It writes everything to its disk before it answers.
type Server struct {
	Addr string
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
	t    testing.TB
}

// Start starts a server with more arguments, or skips the test where there is none to start.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" || testlong.Installed() {
			t.Fatal("redis-server is not installed: make setup")
		}
		t.Skip("redis-server is not installed: make setup")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), dir: t.TempDir(), port: port, args: args, t: t}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Restart starts the server, which does not run, on the same port and with what it had stored.
func (s *Server) Restart() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"}, s.args...)...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := child.Start(s.cmd); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		var said []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said = append(said, lines.Text())
			if strings.Contains(lines.Text(), "Ready to accept connections") {
				ready <- ""
				said = nil
			}
		}
		ready <- strings.Join(said, "\n")
	}()
	select {
	case said := <-ready:
		if said != "" {
			s.t.Fatalf("redis-server ended:\n%s", said)
		}
	case <-time.After(20 * time.Second):
		s.Kill()
		s.t.Fatal("redis-server is not ready after 20 s")
	}
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}
