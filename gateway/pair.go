package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/adminside"
	"switchbridge/internal/certs"
	"switchbridge/internal/listen"
	"switchbridge/internal/watched"
	"switchbridge/pair"
	"switchbridge/policy"
	"switchbridge/policy/machine"
	"switchbridge/settings"
)

// openPair listens for the other gateway, where there is one.
func (g *Gateway) openPair(set *settings.Pair, versions *bridge.Versions) error {
	if !set.On() {
		return nil
	}
	shown, err := watched.OpenPair(set.Cert, set.Key, g.log, g.results)
	if err != nil {
		return fmt.Errorf("pair: %w", err)
	}
	cas, err := certs.Pool(set.CA)
	if err != nil {
		return fmt.Errorf("pair.ca: %w", err)
	}
	peer, _, err := net.SplitHostPort(set.Peer)
	if err != nil {
		return fmt.Errorf("pair.peer: %w", err)
	}
	l, err := net.Listen("tcp", set.Listen)
	if err != nil {
		return fmt.Errorf("pair.listen: %w", err)
	}
	l = g.refusals.Within(l, "pair", listen.PairBound())
	g.pairCert = shown
	g.pair, err = pair.New(pair.Config{
		Listener: l, Peer: set.Peer, Member: set.Member, Prefer: set.Prefer, Timeout: set.Timeout, Poll: set.Timeout / 4,
		Server: &tls.Config{MinVersion: tls.VersionTLS13, ClientCAs: cas, ClientAuth: tls.RequireAndVerifyClientCert,
			// The authority may have signed certificates of others. The peer shows the one that it also shows where it listens.
			VerifyConnection: func(c tls.ConnectionState) error { return c.PeerCertificates[0].VerifyHostname(peer) },
			GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Get(), nil }},
		Client: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: cas,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown.Get(), nil }},
		Serial:   func() uint64 { return versions.Confirmed().Serial },
		Behind:   versions.Behind,
		Newer:    versions.CheckSoon,
		Hold:     g.hold,
		Receive:  g.receive,
		Switches: g.pairSwitches,
		Claims:   g.forgetStates,
		Logger:   g.log, Metrics: pair.NewMetrics(g.registry),
	})
	if err != nil {
		l.Close()
	}
	return err
}

// hold prepares a handover of the lead: nothing more is sent to any switch.
func (g *Gateway) hold(ctx context.Context) error {
	holding := []func(context.Context) error{g.server.Hold}
	for _, s := range g.p4 {
		holding = append(holding, s.Hold)
	}
	errs := make([]error, len(holding))
	var all sync.WaitGroup
	for i, hold := range holding {
		all.Go(func() { errs[i] = hold(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// receive takes a packet that the other gateway has received from a switch.
func (g *Gateway) receive(dpid flow.DPID, p *flow.PacketIn) error {
	for _, s := range g.p4 {
		if s.DPID() == dpid {
			return s.Receive(p)
		}
	}
	return g.server.Receive(dpid, p)
}

// pairSwitches are the switches that the gateways of a pair may claim: those that are connected, and those of P4 that are configured.
func (g *Gateway) pairSwitches() (list []flow.DPID) {
	for _, s := range g.server.Sessions() {
		if s.Switch.DPID != 0 { // else it has not said yet who it is
			list = append(list, s.Switch.DPID)
		}
	}
	for _, s := range g.p4 {
		list = append(list, s.DPID())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// forgetStates forgets the states that this gateway alone has: the other one may have changed what they are of, and does not say so. Where the start state
// of a machine permits more than another one, it would open what this gateway has closed, so the store is left as it is.
func (g *Gateway) forgetStates() {
	r := g.running.Load()
	if r == nil {
		return
	}
	if p := r.functions.decides.Load(); p == nil || !opensByForgetting(p) {
		g.states.Forget()
	}
	r.functions.forget()
}

// opensByForgetting reports whether a policy could let in more when states are forgotten.
func opensByForgetting(p *policy.Policy) bool {
	return slices.ContainsFunc(p.Chain, func(entry policy.Source) bool {
		if m, ok := entry.(*machine.Config); ok {
			return len(m.Forgetful()) > 0
		}
		r, ok := entry.(policy.Remembering)
		return ok && r.Remembers()
	})
}

// actHandover gives the lead to the other gateway.
func (g *Gateway) actHandover(r *http.Request) (any, error) {
	if err := adminside.ReadJSON(r, &struct{}{}); err != nil {
		return nil, badRequest{err}
	}
	// What was begun is finished, though the caller may go.
	if err := g.Handover(context.WithoutCancel(r.Context())); err != nil {
		return nil, err
	}
	return g.pair.Status(), nil
}

// Handover gives the lead to the other gateway of a pair, without a packet lost.
func (g *Gateway) Handover(ctx context.Context) error {
	if g.pair == nil {
		return errors.New("this gateway is alone: pair.peer is not configured")
	}
	return g.pair.Handover(ctx)
}
