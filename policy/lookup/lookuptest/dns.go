// Package lookuptest is a small name server for tests, on loopback.
package lookuptest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server that knows what a test tells it.
type DNS struct {
	addr string

	mu     sync.Mutex
	hosts  map[string][]netip.Addr
	failed []string
}

// NewDNS runs a name server until the test ends.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &DNS{addr: c.LocalAddr().String(), hosts: map[string][]netip.Addr{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if answer, err := s.answer(b[:n]); err == nil {
				_, _ = c.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return s
}

// Set makes these the addresses of a name; none: there is no such name.
func (s *DNS) Set(name string, addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hosts, name)
	for _, a := range addresses {
		s.hosts[name] = append(s.hosts[name], netip.MustParseAddr(a))
	}
}

// Fail has questions of these families, ip4 and ip6, answered by SERVFAIL from now on.
func (s *DNS) Fail(families ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = families
}

// Resolver asks this server and no other.
func (s *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.addr)
	}}
}

func (s *DNS) answer(question []byte) ([]byte, error) {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, known := s.hosts[strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))]
	head.Response, head.Authoritative, head.RecursionAvailable = true, true, true
	family := map[dnsmessage.Type]string{dnsmessage.TypeA: "ip4", dnsmessage.TypeAAAA: "ip6"}[q.Type]
	switch {
	case slices.Contains(s.failed, family):
		head.RCode = dnsmessage.RCodeServerFailure
	case !known:
		head.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, head)
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	for _, a := range list {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
		switch {
		case head.RCode != dnsmessage.RCodeSuccess:
		case a.Is4() && family == "ip4":
			err = b.AResource(rh, dnsmessage.AResource{A: a.As4()})
		case a.Is6() && family == "ip6":
			err = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return nil, err
		}
	}
	return b.Finish()
}
