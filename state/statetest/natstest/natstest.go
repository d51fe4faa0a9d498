// Package natstest runs NATS servers of one's own for tests.
package natstest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is a NATS server with JetStream in this process, which ends with its test.
type Server struct {
	URL  string
	port int
	dir  string
	now  *server.Server
	t    testing.TB
}

// Start starts one.
func Start(t testing.TB) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{port: l.Addr().(*net.TCPAddr).Port, dir: t.TempDir(), t: t}
	l.Close()
	s.Restart()
	s.URL = s.now.ClientURL()
	t.Cleanup(s.Stop)
	return s
}

// Restart starts the server, which does not run, on the same port and with what it had stored.
func (s *Server) Restart() {
	s.t.Helper()
	var err error
	if s.now, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: s.port, JetStream: true, StoreDir: s.dir, NoSigs: true, NoLog: true, SyncAlways: true}); err != nil {
		s.t.Fatal(err)
	}
	go s.now.Start()
	if !s.now.ReadyForConnections(20 * time.Second) {
		s.t.Fatal("the NATS server is not ready after 20 s")
	}
}

// Stop ends the server.
func (s *Server) Stop() {
	s.now.Shutdown()
	s.now.WaitForShutdown()
}
