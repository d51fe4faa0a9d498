package judge

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"switchbridge/bridge"
	"switchbridge/bridge/guard"
	"switchbridge/flow"
	"switchbridge/ofproxy"
)

// gatewayConfig is a gateway for a court.
type gatewayConfig struct {
	function   flow.Decider
	off        []guard.Rail // names of guardrails that are switched off
	listeners  []net.Listener
	onDecision func(t flow.EventType, xid uint32, cookie uint64) // the answer's messages are in the switch's outbox
}

// AllRails, in place of a rail's name, is a gateway without any guardrail.
const AllRails guard.Rail = "all"

// lookInterval is how often the gateway reads the switch's tables, so that it knows the rules of others.
const lookInterval = 10 * time.Millisecond

// startGateway runs a gateway until stop is called. It is the only place that knows how one is put together.
func startGateway(c gatewayConfig) (stop func(), err error) {
	rails := guard.Default()
	rails.Off = make(map[guard.Rail]bool)
	for _, rail := range c.off {
		if rail == AllRails {
			for i := range guard.Rails {
				rails.Off[guard.Rails[i].Name] = true
			}
			continue
		}
		if !slices.ContainsFunc(guard.Rails, func(r guard.Row) bool { return r.Name == rail }) {
			return nil, fmt.Errorf("there is no guardrail %q", rail)
		}
		rails.Off[rail] = true
	}
	b, err := bridge.New(bridge.Config{
		Decider:      c.function,
		Guardrails:   rails,
		Gateway:      1,
		LookInterval: lookInterval,
		OnDecision:   func(r *bridge.Record) { c.onDecision(r.Event.Type, r.Event.XID, r.Cookie) },
		Subscribe: map[flow.EventType]bool{
			flow.EventFlowRemoved: true, flow.EventPortStatus: true, flow.EventError: true,
		},
	})
	if err != nil {
		return nil, err
	}
	srv, err := ofproxy.NewServer(ofproxy.Config{Bridge: b})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(c.listeners))
	for _, l := range c.listeners {
		go func() { done <- srv.Serve(ctx, &served{l, srv}, false) }()
	}
	return func() {
		cancel()
		for range c.listeners {
			<-done
		}
	}, nil
}

// served is a listener that has a connection wait until the gateway is done with all others. The one of a
// switch that connects again would be refused while the gateway takes the one before for the switch, and
// Open vSwitch would come again after a second.
type served struct {
	net.Listener
	srv *ofproxy.Server
}

// goneWithin is how long a gateway may take to be done with a connection that has ended.
const goneWithin = 10 * time.Second

func (l *served) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	poll := time.NewTicker(100 * time.Microsecond)
	defer poll.Stop()
	for end := time.Now().Add(goneWithin); len(l.srv.Sessions()) > 0; {
		if time.Now().After(end) {
			conn.Close()
			return nil, fmt.Errorf("the gateway has not done with the connection before after %v", goneWithin)
		}
		<-poll.C
	}
	return conn, nil
}
