// Package natsnode is a NATS server with JetStream as a process of the bench program: a store to measure with, alone or as one of a cluster.
package natsnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Node is one server.
type Node struct {
	Listen  string // HOST:PORT for clients
	Dir     string // of what it stores
	Name    string // in its cluster
	Cluster string // HOST:PORT for the other servers; empty: it is alone
	Routes  []string
}

// Serve runs the server until ctx is done.
func (n *Node) Serve(ctx context.Context) error {
	host, port, err := split(n.Listen)
	if err != nil {
		return err
	}
	o := &server.Options{ServerName: n.Name, Host: host, Port: port, JetStream: true, StoreDir: n.Dir, NoSigs: true, NoLog: true}
	if n.Cluster != "" {
		if o.Cluster.Host, o.Cluster.Port, err = split(n.Cluster); err != nil {
			return err
		}
		o.Cluster.Name = "switchbridge-bench"
		for _, addr := range n.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: addr})
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return errors.New("the NATS server is not ready after 20 s")
	}
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func split(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want HOST:PORT", addr)
	}
	return host, port, nil
}
